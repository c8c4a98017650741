"""The uv program: where it is, where it takes distributions from, and running it."""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from servegen.errors import LockError
from servegen.process import Completed, run
from servegen.progress import Progress
from servegen.redact import redacted


@dataclass(frozen=True, kw_only=True)
class Indexes:
    """Where uv takes distributions from; nothing of it is ever written to a lock."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    wheelhouse: Path | None = None
    """A folder of wheels, used instead of any index."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment of the uv process."""

    def arguments(self) -> list[str]:
        """uv's options for these sources."""
        if self.wheelhouse:
            return ["--no-index", "--offline", "--find-links", str(self.wheelhouse.absolute())]
        return []

    def variables(self) -> dict[str, str]:
        """Environment of uv with these sources: arguments with a login could be read by everybody here."""
        env = dict(self.env)
        if self.index_url:
            env.pop("UV_INDEX_URL", None)
            env["UV_DEFAULT_INDEX"] = self.index_url
        if self.extra_index_urls:
            env["UV_INDEX"] = " ".join(self.extra_index_urls)
        return env

    def identity(self) -> list[str]:
        """What tells these sources from others, without logins."""
        urls = [self.index_url or "", *self.extra_index_urls]
        return [*(redacted(url) for url in urls), str(self.wheelhouse or "")]


def run_uv(arguments: Sequence[str], indexes: Indexes, cwd: Path, progress: Progress) -> Completed:
    """Run uv with `arguments` in the folder `cwd`; LockError when it is not installed."""
    # Neither a uv.toml nor a .venv around the caller may change the result: hence also a folder of ours.
    fixed = {"UV_NO_CONFIG": "1", "UV_NO_INSTALLER_METADATA": "1"}
    # As pip does: a company's own certificate is in the system's store.
    defaults = {"UV_SYSTEM_CERTS": "1"}
    env = {**defaults, **indexes.variables(), **fixed, "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
    try:
        argv = [_program(), *arguments, "--python", sys.executable, *indexes.arguments()]
        return run(argv, progress=progress, env=env, cwd=cwd)
    except FileNotFoundError as exc:
        msg = "uv is not installed"
        raise LockError(msg, hint="pip install uv") from exc


def source_failure(text: str) -> LockError | None:
    """The error for an index that is silent or wants a login; None when uv failed for another reason."""
    if "invalid peer certificate" in text:
        return LockError(
            "the certificate of the package index is not trusted",
            hint="SSL_CERT_FILE=FILE with the certificate of your company or proxy",
            details=text,
        )
    if re.search(
        r"error sending request|dns error|Connection refused|timed out|tcp connect|client error \(Connect\)",
        text,
    ):
        # A requirement may name a URL of its own, so it need not be the index.
        silent = re.search(r"(?:for url \(|Failed to fetch: `?)(\w+://[^/)\s`]+)", text)
        return LockError(
            f"{silent[1] if silent else 'the package index'} does not answer",
            hint="check the network and proxy, or use a folder of wheels: --wheelhouse DIR",
            details=text,
        )
    if login := re.search(r"(?:HTTP status|status code)[^\d]*(401|403)", text):
        return LockError(
            f"the package index wants a login (HTTP {login[1]})",
            hint="UV_INDEX_<NAME>_USERNAME and _PASSWORD, or .netrc",
            details=text,
        )
    return None


def _program() -> str:
    # The uv that was installed with servegen comes before another one on PATH.
    beside = Path(sysconfig.get_path("scripts")) / "uv"
    return str(beside) if beside.is_file() else "uv"
