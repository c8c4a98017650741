"""`base`, `components/release-ENVIRONMENT`, `overlays/ENVIRONMENT`; the record is in the component."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from servegen.gitops.layouts import Layout, notes, programs, seals
from servegen.kube import Object, yaml
from servegen.progress import Progress
from servegen.renderers import manifests
from servegen.renderers.kustomize import Kustomize as Renderer
from servegen.values.bundle import Bundle
from servegen.values.deployment import Deployment
from servegen.values.gitops import DEFAULT_ENVIRONMENT, Record

_FILE = "kustomization.yaml"
_RELEASE = "release-"


class Kustomize:
    """Folders for `kubectl kustomize DIR/overlays/ENVIRONMENT`."""

    shares = True

    def holds(self, folder: Path) -> bool:
        """Whether there is a base, or a release."""
        return (folder / "base" / _FILE).is_file() or bool(self.environments(folder))

    def bundle(self, deployment: Deployment, *, held: str | None = None) -> Bundle:
        """What `render --format kustomize` writes, with seals."""
        made = Renderer().render(deployment)
        files = seals.sealed(dict(made.files))
        if held:
            files |= self.hold(files, deployment.environment, held)
        return replace(made, files=tuple(files.items()))

    def hold(self, files: Mapping[str, str], environment: str | None, held: str | None) -> dict[str, str]:
        """The component with that annotation, or without it."""
        path = f"{_component(environment)}/{_FILE}"
        content = notes.load(files[path], path)
        notes.hold(content, held, path)
        return seals.sealed({path: f"{seals.OWNED}\n{yaml.dump(content)}"})

    def read(self, folder: Path, environment: str | None) -> Record | None:
        """The annotations of the component, and the image that it sets."""
        path = folder / _component(environment) / _FILE
        if not path.is_file():
            return None
        where = str(path.relative_to(folder))
        content = notes.load(path.read_text("utf-8", "replace"), where)
        about, images = content.get("metadata"), content.get("images")
        annotations = about.get("annotations") if isinstance(about, dict) else None
        first = images[0] if isinstance(images, list) and images else None
        if not isinstance(annotations, dict) or not isinstance(first, dict):
            notes.unreadable(where, "lacks the annotations or the image of a release")
        return notes.record(annotations, f"{first.get('name')}@{first.get('digest')}", where, environment)

    def environments(self, folder: Path) -> tuple[str, ...]:
        """Those that have a component."""
        found = (folder / "components").glob(f"{_RELEASE}*/{_FILE}")
        return tuple(sorted(path.parent.name.removeprefix(_RELEASE) for path in found))

    def named(self, folder: Path, environment: str | None) -> str | None:  # noqa: ARG002 (the protocol's signature)
        """Of the Deployment in the base."""
        return notes.name_in(folder / "base" / manifests.path("Deployment"))

    def owned(self, folder: Path, environment: str | None) -> tuple[str, ...]:
        """The files of the component; the base belongs to the other environments, too."""
        found = (folder / _component(environment)).glob("*.yaml")
        return tuple(sorted(str(path.relative_to(folder)) for path in found))

    def applied(self, environment: str | None) -> str:
        """The overlay."""
        return f"overlays/{environment or DEFAULT_ENVIRONMENT}"

    def build(
        self, folder: Path, environment: str | None, *, env: Mapping[str, str], progress: Progress
    ) -> list[Object]:
        """The overlay, built by kubectl or kustomize."""
        return programs.kustomized(folder / self.applied(environment), env=env, progress=progress)


def _component(environment: str | None) -> str:
    return f"components/{_RELEASE}{environment or DEFAULT_ENVIRONMENT}"


LAYOUT: type[Layout] = Kustomize
