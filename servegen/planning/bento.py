"""Model and settings → the texts of a folder that `bentoml build` makes a Bento of. Pure."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Sequence

import yaml

from servegen.planning.deployment import resources
from servegen.planning.serving import variables
from servegen.values.bundle import Bundle
from servegen.values.deployment import Settings
from servegen.values.model import Model
from servegen.values.serving import ServingSettings

MODEL = "model"
"""Where the model's files go."""
_SERVICE = '''\
"""The Service of this Bento; settings.json has what servegen.yaml said."""

from pathlib import Path

from servegen.server.bento import from_folder

service = from_folder(Path(__file__).resolve().parent)
'''


def plan(model: Model, requirements: Sequence[str], serving: ServingSettings, deploy: Settings) -> Bundle:
    """Service, its settings and `bentofile.yaml`; the model and the server's code are not text of ours."""
    asked = resources(deploy.resources)
    settings = {
        "variables": {
            "SERVEGEN_MODEL_NAME": model.pin.name,
            **({"SERVEGEN_MODEL_VERSION": model.pin.version} if model.pin.version else {}),
            "SERVEGEN_QUEUE_SIZE": str(deploy.queue_size),
            "SERVEGEN_REQUEST_TIMEOUT": str(deploy.request_timeout_seconds),
            **dict(variables(serving)),
        },
        "resources": {"cpu": asked.cpu, "memory": asked.memory},
    }
    # A wheel of the model is `name @ path#sha256=…`, and BentoML takes wheels by path.
    own = [line.partition(" @ ")[2] for line in requirements if "#sha256=" in line and "://" not in line]
    wheels = [f"{MODEL}/{urllib.parse.unquote(reference.partition('#')[0])}" for reference in own]
    packages = [line for line in requirements if line.partition(" @ ")[2] not in own]
    bentofile = {
        "service": "service:service",
        "labels": {"servegen-model": model.pin.name, "servegen-digest": model.pin.digest},
        "include": ["service.py", "settings.json", "servegen/", f"{MODEL}/"],
        "python": {"packages": packages, "wheels": wheels, "lock_packages": False},
    }
    return Bundle.of(
        {
            "service.py": _SERVICE,
            "settings.json": json.dumps(settings, indent=2) + "\n",
            "bentofile.yaml": yaml.safe_dump(bentofile, sort_keys=False),
        }
    )
