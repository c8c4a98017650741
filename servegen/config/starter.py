"""The servegen.yaml that `servegen init` writes."""

from __future__ import annotations

import yaml

from servegen.config.schema import SCHEMA_FILE


def starter(model: str, image: str) -> str:
    """A servegen.yaml with what most users change."""
    quoted = [
        yaml.safe_dump(text, default_style='"', width=2**31, allow_unicode=True).strip()
        for text in (model, image)
    ]
    return f"""\
# yaml-language-server: $schema={SCHEMA_FILE}
# Every key: docs/reference/servegen-yaml.md
model: {quoted[0]}
image: {quoted[1]}
deploy:
  namespace: models
  resources:
    cpu: 500m
    memory: 1Gi
  autoscaling:
    min_replicas: 2
    max_replicas: 10
    cpu_utilization: 50
"""
