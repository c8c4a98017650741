"""Plain manifests: one file an object, or all of them as one YAML stream."""

from __future__ import annotations

from servegen.kube import metadata, objects, yaml
from servegen.renderers import Renderer
from servegen.values.bundle import Bundle
from servegen.values.deployment import Deployment

_FILES = {"PodDisruptionBudget": "pdb", "HorizontalPodAutoscaler": "hpa"}
"""Short names as people know them; other files are called as their kind."""
_OPTIONAL = (
    "ConfigMap",
    "NetworkPolicy",
    "HorizontalPodAutoscaler",
    "PodMonitor",
    "ServiceMonitor",
    "ScaledObject",
    "HTTPRoute",
)
"""Kinds that a change of settings takes away; `kubectl apply -f DIR` would go on applying their old file."""


class Manifests:
    """Files for `kubectl apply --server-side -f DIR`."""

    layered = False

    def render(self, deployment: Deployment) -> Bundle:
        """One file an object."""
        made = {path(one["kind"]): yaml.dump(one) for one in objects.build(deployment)}
        ours = yaml.fragment({f"{metadata.PREFIX}instance": deployment.instance}).strip()
        return Bundle.of(made, obsolete={path(kind): ours for kind in _OPTIONAL if path(kind) not in made})

    def stream(self, deployment: Deployment) -> str:
        """All objects in the order of apply, as one YAML stream."""
        return yaml.dump_all(objects.build(deployment))


def path(kind: str) -> str:
    """The file of the objects of `kind`."""
    return f"{_FILES.get(kind, kind.lower())}.yaml"


RENDERER: type[Renderer] = Manifests
