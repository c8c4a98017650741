"""Programs that turn a folder into objects."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence

import yaml

from servegen.errors import RenderError
from servegen.kube import Object
from servegen.process import run
from servegen.progress import Progress


class AbsentProgramError(RenderError):
    """No program is here that could build the folder."""


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
