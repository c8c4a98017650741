"""The stage: start the image, replay the model's example, compare with the model's own answer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from servegen.errors import VerifyError
from servegen.oci.image import ImageConfig, read_image
from servegen.oci.store import Store
from servegen.progress import Progress
from servegen.typed import typed
from servegen.values.image import StoredImage, Verified
from servegen.verify.sandbox import Command, Sandbox, free_port, open_sandbox


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """How an image is tried out."""

    scratch: Path
    records: Path
    """Folder of results by image digest: an image is tried once."""
    env: Mapping[str, str]
    """Environment for the programs of this machine; nothing of it reaches the image."""
    means: str | None = None
    timeout_seconds: int = 120
    """From the server's start to its being ready."""
    again: bool = False
    """Run it even if a result is recorded."""


def verify(image: StoredImage, options: VerifyOptions, progress: Progress) -> Verified:
    """What running `image` showed; VerifyError when it does not start or answers otherwise than the model."""
    record = options.records / f"{str(image.image.ref.digest).removeprefix('sha256:')}.json"
    if not options.again and (known := _recorded(record)) is not None:
        return known
    config = image_config(image)
    with open_sandbox(
        image,
        config,
        scratch=options.scratch,
        env=options.env,
        progress=progress,
        means=options.means,
        # The layers that an earlier run has unpacked and found good will do, unless asked otherwise.
        reuse=not options.again,
    ) as sandbox:
        progress.step("running the image and replaying the model's example")
        result, noise = _check(sandbox, config, options, progress)
    if not result.get("ok"):
        raise _failure(result, noise)
    verified = Verified(
        means=sandbox.means,
        load_seconds=float(result["load_seconds"]),
        peak_memory_bytes=int(result["peak_memory_bytes"]),
        p50_seconds=float(result["p50_seconds"] or 0.0),
        replayed=bool(result["replayed"]),
    )
    record.parent.mkdir(parents=True, exist_ok=True)
    temporary = record.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(verified)), encoding="utf-8")
    temporary.replace(record)
    return verified


def image_config(image: StoredImage) -> ImageConfig:
    """The OCI config of a stored image."""
    store = Store(image.store)
    return read_image(store, store.manifest(str(image.image.ref.digest)))[1]


def _check(
    sandbox: Sandbox, config: ImageConfig, options: VerifyOptions, progress: Progress
) -> tuple[dict[str, Any], str]:
    port = config.ports[0] if sandbox.isolated and config.ports else free_port()
    env = {
        **dict(config.env),
        "SERVEGEN_PORT": str(port),
        "SERVEGEN_HOST": "127.0.0.1",
        "SERVEGEN_DRAIN_DELAY": "0",
    }
    check = ("-m", "servegen.server.check", "--spawn", "--timeout", str(options.timeout_seconds))
    program = [config.entrypoint[0], *check]
    argv = sandbox.argv(Command(program=program, env=env, port=port))
    progress.program(argv)
    # Start, load, 20 calls and the in-process prediction: all of it has ended long before this.
    limit = 3 * options.timeout_seconds + 60
    try:
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired as exc:
        msg = f"the image did not finish its check within {limit} s"
        raise VerifyError(msg, hint="--verify-timeout SECONDS, or --no-verify") from exc
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("{"):
            return json.loads(line), done.stderr
    msg = f"the image's check ended with status {done.returncode} and without a result"
    raise VerifyError(msg, hint="run with -v for its output", details=_tail(done.stderr))


def _failure(result: Mapping[str, Any], noise: str) -> VerifyError:
    log = "\n".join(str(line) for line in result.get("log_tail") or []) or _tail(noise)
    difference = result.get("difference")
    if difference:
        served, expected = json.dumps(difference["served"]), json.dumps(difference["expected"])
        where = difference["path"]
        msg = f"the image answers {_cut(served)}, in-process predict answers {_cut(expected)} (at {where})"
        return VerifyError(
            msg, hint="the versions of its packages differ from those it was trained with", details=log
        )
    error = " ".join(str(result.get("error") or "unknown").split())
    missing = error.partition("No module named ")[2].strip(" '\"").partition("'")[0]
    if missing:
        hint = (
            f"--add-requirement {missing}, or --mlflow full; or log the model with {missing} as a requirement"
        )
    else:
        hint = "try the model here with: servegen serve MODEL"
    return VerifyError(f"the image cannot serve the model: {_cut(error)}", hint=hint, details=log)


def _recorded(path: Path) -> Verified | None:
    try:
        return typed(Verified, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        # Not tried yet, or by a version that kept other facts.
        return None


def _cut(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _tail(text: str, lines: int = 30) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
