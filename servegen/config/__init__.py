"""servegen.yaml and the environment → frozen options."""

from servegen.config.anchors import anchored
from servegen.config.environment import Environment, calm_mlflow, environment
from servegen.config.options import Config, Overrides
from servegen.config.reading import FILE, find, read
from servegen.config.schema import SCHEMA_FILE, schema
from servegen.config.starter import starter

__all__ = [
    "FILE",
    "SCHEMA_FILE",
    "Config",
    "Environment",
    "Overrides",
    "anchored",
    "calm_mlflow",
    "environment",
    "find",
    "read",
    "schema",
    "starter",
]
