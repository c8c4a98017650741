"""What a model's folder in a repository gives a cluster, and whether that takes it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from servegen.errors import RenderError, ValidationError
from servegen.git.worktree import Tree
from servegen.gitops.layouts import Layout
from servegen.kube import Object, strict
from servegen.progress import Progress
from servegen.values.deployment import KubeVersion

_LONGEST = 500


def objects_of(
    chosen: Layout, folder: Path, environment: str | None, tree: Tree, progress: Progress
) -> list[Object]:
    """The objects of an environment; raises RenderError, which names places in the repository.

    Those of the tree are gone when somebody reads it.
    """
    try:
        return chosen.build(folder, environment, env=tree.git.env, progress=progress)
    except RenderError as exc:
        root = f"{tree.folder}/"
        text = str(exc).replace(root, "")[:_LONGEST]
        raise type(exc)(text, hint=exc.hint.replace(root, "")) from exc


def refuse_invalid(built: Iterable[Object], version: KubeVersion) -> None:
    """ValidationError for objects that Kubernetes `version` would refuse."""
    wrong = [text for one in built for text in _problems(one, version)]
    if wrong:
        msg = f"what was written is refused by Kubernetes {version}: {wrong[0]}"
        raise ValidationError(msg, hint="mend the overlay or servegen.yaml", details="\n".join(wrong))


def _problems(one: Object, version: KubeVersion) -> list[str]:
    about = one.get("metadata")
    name = about.get("name") if isinstance(about, dict) else None
    return [f"{one.get('kind')} {name}: {text}" for text in strict.problems(one, version)]
