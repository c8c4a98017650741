"""Deployments that exist: which one a command means."""

from __future__ import annotations

from servegen.errors import ConfigError
from servegen.job import Job
from servegen.pipeline import resolve_model
from servegen.planning.deployment import instance_name
from servegen.progress import Progress
from servegen.sources.uri import RegistryURI, parse


def instance(named: str | None, job: Job, progress: Progress) -> str:
    """The deployment that a command is about: `named`, else the one that `deploy` makes of servegen.yaml.

    The name that all its objects have. Stores are asked only where the model's name is not in its URI.
    """
    if named is not None:
        return named
    config = job.config
    if config.deploy.name is not None:
        return instance_name(config.deploy.name, config.deploy)
    if config.model is None:
        msg = "no deployment is named"
        raise ConfigError(msg, hint="name it, or type the command in the folder of its servegen.yaml")
    uri = parse(config.model)
    name = uri.name if isinstance(uri, RegistryURI) else resolve_model(job, progress).pin.name
    return instance_name(name, config.deploy)
