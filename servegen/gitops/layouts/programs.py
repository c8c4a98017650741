"""Programs that turn a folder into objects."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from servegen.errors import RenderError
from servegen.kube import Object
from servegen.process import run
from servegen.progress import Progress

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
"""The names that the file of a kustomization may have."""


class AbsentProgramError(RenderError):
    """What the folder is built with is not here: a program, or what it would have to fetch."""


def objects(argvs: Sequence[Sequence[str]], *, env: Mapping[str, str], progress: Progress) -> list[Object]:
    """What the first installed one of `argvs` prints; raises RenderError where it fails or none is there."""
    argv = next((one for one in argvs if shutil.which(one[0], path=env.get("PATH"))), None)
    if argv is None:
        names = " or ".join(one[0] for one in argvs)
        msg = f"{argvs[0][-1]} cannot be built without {names}"
        raise AbsentProgramError(msg, hint=f"install {names}")
    done = run(argv, progress=progress, env=env)
    if done.status:
        msg = f"{argv[-1]} cannot be built: {' '.join(done.stderr.split())[:5000]}"
        raise RenderError(msg, hint=f"see it with: {' '.join(argv)}")
    return [one for one in yaml.safe_load_all(done.stdout) if one is not None]


def kustomized(folder: Path, *, env: Mapping[str, str], progress: Progress) -> list[Object]:
    """The objects that the kustomization in `folder` makes; raises as `objects` does."""
    argvs = (("kubectl", "kustomize", str(folder)), ("kustomize", "build", str(folder)))
    return objects(argvs, env=env, progress=progress)


def require(argv: Sequence[str], *, what: str, env: Mapping[str, str], progress: Progress) -> None:
    """Raise AbsentProgramError where `argv`, which asks for `what`, is not installed or fails."""
    hint = f"see it with: {' '.join(argv)}"
    if shutil.which(argv[0], path=env.get("PATH")) is None:
        msg, hint = f"{what} cannot be had without {argv[0]}", f"install {argv[0]}"
        raise AbsentProgramError(msg, hint=hint)
    done = run(argv, progress=progress, env=env)
    if done.status:
        msg = f"{what} cannot be had: {' '.join(done.stderr.split())[:300]}"
        raise AbsentProgramError(msg, hint=hint)
