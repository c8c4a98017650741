"""One file an object, in the folder or in one for each environment; the record is on the Deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import yaml as pyyaml

from servegen.errors import RenderError
from servegen.gitops.layouts import Layout, notes, programs, seals
from servegen.kube import Object, metadata, yaml
from servegen.progress import Progress
from servegen.renderers import manifests
from servegen.values.bundle import Bundle
from servegen.values.deployment import Deployment
from servegen.values.gitops import DEFAULT_ENVIRONMENT, Record

_DEPLOYMENT = manifests.path("Deployment")
_SCALERS = (
    (manifests.path("HorizontalPodAutoscaler"), "minReplicas", "maxReplicas"),
    (manifests.path("ScaledObject"), "minReplicaCount", "maxReplicaCount"),
)


class Manifests:
    """Files for `kubectl apply -f DIR`; without an environment they are in the folder itself."""

    shares = False

    def holds(self, folder: Path) -> bool:
        """Whether a release is there."""
        return bool(self.environments(folder))

    def bundle(self, deployment: Deployment, *, held: str | None = None) -> Bundle:
        """What `render --format manifests` writes, with seals."""
        made = manifests.Manifests().render(deployment)
        place = f"{deployment.environment}/" if deployment.environment else ""
        files = {place + path: text for path, text in seals.sealed(dict(made.files)).items()}
        if held:
            files |= self.hold(files, deployment.environment, held)
        return replace(
            made,
            files=tuple(files.items()),
            obsolete=tuple((place + path, mark) for path, mark in made.obsolete),
        )

    def hold(self, files: Mapping[str, str], environment: str | None, held: str | None) -> dict[str, str]:
        """The Deployment with that annotation, or without it."""
        path = f"{environment}/{_DEPLOYMENT}" if environment else _DEPLOYMENT
        content = notes.load(files[path], path)
        notes.hold(content, held, path)
        return seals.sealed({path: yaml.dump(content)})

    def read(self, folder: Path, environment: str | None) -> Record | None:
        """Annotations, version and image of the Deployment."""
        place = folder / (environment or "")
        path = place / _DEPLOYMENT
        if not path.is_file() or not _is_release(path):
            return None
        where = str(path.relative_to(folder))
        content = notes.load(path.read_text("utf-8", "replace"), where)
        about = content["metadata"]
        try:
            image = content["spec"]["template"]["spec"]["containers"][0]["image"]  # type: ignore[index]
            version = about["labels"]["app.kubernetes.io/version"]  # type: ignore[index]
            known = dict(about["annotations"])  # type: ignore[index]
            replicas = content["spec"].get("replicas")  # type: ignore[attr-defined]
        except (KeyError, IndexError, TypeError, AttributeError):
            notes.unreadable(where, "lacks the image, version or annotations of a release")
        for name, fewest, most in _SCALERS:
            if (place / name).is_file():
                spec = notes.load((place / name).read_text("utf-8", "replace"), name).get("spec")
                if isinstance(spec, dict):
                    replicas = notes.span(spec.get(fewest), spec.get(most))
        known[f"{metadata.PREFIX}model-version"] = version
        return notes.record(
            known, str(image), where, environment, replicas=None if replicas is None else str(replicas)
        )

    def environments(self, folder: Path) -> tuple[str, ...]:
        """The folder itself is `default`."""
        found = [path.parent.name for path in folder.glob(f"*/{_DEPLOYMENT}") if _is_release(path)]
        here = folder / _DEPLOYMENT
        return tuple(sorted([*found, *([DEFAULT_ENVIRONMENT] if _is_release(here) else [])]))

    def named(self, folder: Path, environment: str | None) -> str | None:
        """Of the Deployment."""
        return notes.name_in(folder / (environment or "") / _DEPLOYMENT)

    def owned(self, folder: Path, environment: str | None) -> tuple[str, ...]:
        """All sealed files of the environment."""
        found = (folder / (environment or "")).glob("*.yaml")
        sealed = (path for path in found if seals.seal(path.read_text("utf-8", "replace")))
        return tuple(sorted(str(path.relative_to(folder)) for path in sealed))

    def applied(self, environment: str | None) -> str:
        """The environment's folder."""
        return environment or "."

    def build(
        self,
        folder: Path,
        environment: str | None,
        *,
        env: Mapping[str, str],
        progress: Progress,
    ) -> list[Object]:
        """All objects of the environment's folder, whoever wrote them."""
        place = folder / (environment or "")
        if any((place / name).is_file() for name in programs.KUSTOMIZATIONS):
            # Then whoever applies the folder does as it says.
            return programs.kustomized(place, env=env, progress=progress)
        return [one for path in sorted(place.glob("*.yaml")) for one in _objects(path)]


def _objects(path: Path) -> list[Object]:
    try:
        documents = list(pyyaml.safe_load_all(path.read_text("utf-8", "replace")))
    except (OSError, pyyaml.YAMLError, ValueError, RecursionError) as exc:
        msg = f"{path} cannot be read: {' '.join(str(exc).split())[:200]}"
        raise RenderError(msg, hint="mend it, or take it out of the folder, all of which is applied") from exc
    found = [one for one in documents if one is not None]
    for one in found:
        if yaml.is_huge(one):
            msg = f"{path} stands for more than any object of Kubernetes, by its aliases"
            raise RenderError(msg, hint="take it out of the folder, all of which is applied")
        if not isinstance(one, dict) or not isinstance(one.get("kind"), str):
            msg = f"{path} holds what is no object of Kubernetes"
            raise RenderError(msg, hint="take it out of the folder, all of which is applied")
    return found


def _is_release(path: Path) -> bool:
    """Whether servegen wrote that Deployment, and not as the base of something."""
    if not path.is_file():
        return False
    text = path.read_text("utf-8", "replace")
    return (
        seals.OWNED in text and f"{metadata.PREFIX}model-name" in text and "app.kubernetes.io/version" in text
    )


LAYOUT: type[Layout] = Manifests
