"""What a model's folder in a repository gives a cluster."""

from __future__ import annotations

from pathlib import Path

from servegen.errors import RenderError
from servegen.git.worktree import Tree
from servegen.gitops.layouts import Layout
from servegen.kube import Object
from servegen.progress import Progress

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
