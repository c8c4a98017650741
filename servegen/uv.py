"""The uv program: where it is, where it takes distributions from, and running it."""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from servegen.errors import DiskFullError, LockError, ServegenError
from servegen.process import Completed, run
from servegen.progress import Progress
from servegen.redact import redacted


@dataclass(frozen=True, kw_only=True)
class Indexes:
    """Where uv takes distributions from; nothing of it is ever written to a lock."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    model_index_urls: tuple[str, ...] = ()
    """Further indexes that the model names; they add to those of the environment."""
    find_links: tuple[str, ...] = ()
    """Pages and folders of distributions that the model names."""
    wheelhouses: tuple[Path, ...] = ()
    """Folders of distributions, used instead of any index."""
    model: Path = Path()
    """Folder of the model, for the wheels that it brings."""
    urls: Mapping[str, str] = field(default_factory=dict)
    """Canonical name → URL, for requirements that name one."""
    built: Path = Path()
    """Folder of wheels that were built here."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment of the uv process."""

    def arguments(self) -> list[str]:
        """uv's options for these sources."""
        folders = [str(folder.absolute()) for folder in self.wheelhouses]
        folders += [link for link in self.find_links if "://" not in link]
        links = [argument for folder in folders for argument in ("--find-links", folder)]
        return ["--no-index", "--offline", *links] if self.wheelhouses else links

    def variables(self) -> dict[str, str]:
        """Environment of uv with these sources: arguments with a login could be read by everybody here."""
        env = dict(self.env)
        if self.index_url:
            env.pop("UV_INDEX_URL", None)
            env["UV_DEFAULT_INDEX"] = self.index_url
        if self.extra_index_urls:
            env["UV_INDEX"] = " ".join(self.extra_index_urls)
        if self.model_index_urls:
            env["UV_INDEX"] = " ".join([*env.get("UV_INDEX", "").split(), *self.model_index_urls])
        if pages := [link for link in self.find_links if "://" in link]:
            env["UV_FIND_LINKS"] = ",".join([*filter(None, [env.get("UV_FIND_LINKS")]), *pages])
        return env

    def identity(self) -> list[str]:
        """What tells these sources from others, without logins and without a path of this machine."""
        urls = [self.index_url or "", *self.extra_index_urls, *self.model_index_urls]
        found = [*(redacted(url) for url in urls), "wheelhouse" if self.wheelhouses else ""]
        return found + [redacted(link) if "://" in link else Path(link).name for link in self.find_links]


def run_uv(
    arguments: Sequence[str],
    indexes: Indexes,
    cwd: Path,
    progress: Progress,
    *,
    python: str = sys.executable,
    sources: bool = True,
) -> Completed:
    """Run uv with `arguments` in the folder `cwd`; LockError when it is not installed."""
    # Neither a uv.toml nor a .venv around the caller may change the result: hence also a folder of ours.
    fixed = {"UV_NO_CONFIG": "1", "UV_NO_INSTALLER_METADATA": "1", "UV_PYTHON_DOWNLOADS": "never"}
    # As pip does: a company's own certificate is in the system's store. Builds take no time of theirs.
    defaults = {"UV_SYSTEM_CERTS": "1", "SOURCE_DATE_EPOCH": "315532800"}
    env = {**defaults, **indexes.variables(), **fixed, "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
    named = ["--python", python] if sources else [python]
    try:
        argv = [program(), *arguments, *named, *(indexes.arguments() if sources else ())]
        return run(argv, progress=progress, env=env, cwd=cwd)
    except FileNotFoundError as exc:
        msg = "uv is not installed"
        raise LockError(msg, hint="pip install uv") from exc


def source_failure(text: str) -> ServegenError | None:
    """The error for a full disk and for an index that is silent or wants a login; None for other reasons."""
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return DiskFullError("the disk is full for packages", details=text)
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
    if login := re.search(
        r"(?:(?:HTTP status|status code)[^\d]*|valid authentication credentials \()(401|403)", text
    ):
        place = re.search(r"index URL \((\w+://[^)\s]+)\)", text)
        return LockError(
            f"{place[1] if place else 'the package index'} wants a login (HTTP {login[1]})",
            hint="UV_INDEX_<NAME>_USERNAME and _PASSWORD, or .netrc",
            details=text,
        )
    return None


def program() -> str:
    """Path or name of uv."""
    # The uv that was installed with servegen comes before another one on PATH.
    beside = Path(sysconfig.get_path("scripts")) / "uv"
    return str(beside) if beside.is_file() else "uv"
