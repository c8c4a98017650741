"""Repositories and deliveries for tests of `--target git`: bare ones on disk, and over HTTP with logins."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from servegen.config import Config, environment
from servegen.planning.deployment import plan
from servegen.progress import Progress, Silent
from servegen.targets.git import Git
from servegen.values.delivery import Delivery
from servegen.values.deployment import Deployment, Settings
from servegen.values.gitops import GitSettings
from servegen.values.image import LABEL, Image, ImageRef, Platform


def image(name: str = "iris", version: str = "7", asked: str | None = None) -> Image:
    """An image as `servegen package` describes it; another version has another digest."""
    labels = {
        f"{LABEL}model-name": name,
        f"{LABEL}pin": f"models:/{name}/{version}",
        f"{LABEL}model-version": version,
        f"{LABEL}run-id": "0f3c",
    }
    digest = f"sha256:{int(version):064x}"
    ref = ImageRef(registry="registry.example.com", repository=f"ml/{name}", tag=version, digest=digest)
    return Image(
        ref=ref, platform=Platform.parse("linux/amd64"), labels=tuple(sorted(labels.items())), asked=asked
    )


def deployment(
    name: str = "iris",
    version: str = "7",
    env: str | None = "staging",
    asked: str | None = None,
    **settings: Any,
) -> Deployment:
    """What is delivered."""
    return plan(image(name, version, asked), Settings(environment=env, **settings), Settings(**settings))


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """A folder with a Git configuration of its own, and what is done there."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @classmethod
    def at(cls, folder: Path) -> Workshop:
        """A workshop in `folder`, where git knows an author."""
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "gitconfig"
        if not config.exists():
            config.write_text("[user]\nname = T\nemail = t@example.com\n[init]\ndefaultBranch = main\n")
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "GIT_CONFIG_GLOBAL": str(config),
            "GIT_CONFIG_NOSYSTEM": "1",
            "SERVEGEN_CACHE_DIR": str(folder / "cache"),
        }
        return cls(folder=folder, variables=variables)

    def with_(self, **variables: str) -> Workshop:
        """The same with more environment variables."""
        return replace(self, variables=self.variables | variables)

    def git(self, *arguments: str, at: Path | None = None, stdin: str | None = None) -> str:
        """What git prints; raises CalledProcessError."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=at or self.folder,
            env=self.variables,
            check=True,
            capture_output=True,
            text=True,
            input=stdin,
        )
        return done.stdout.strip()

    def bare(self, name: str = "remote.git", *, empty: bool = False) -> Path:
        """A bare repository with one commit, or none."""
        path = self.folder / name
        self.git("init", "-q", "--bare", str(path))
        if not empty:
            seed = self.folder / f"seed-{name}"
            self.git("clone", "-q", str(path), str(seed))
            (seed / "README.md").write_text("Deployments.\n")
            self.commit_all(seed, "Begin")
        return path

    def checkout(self, remote: Path, name: str = "checkout") -> Path:
        """A clone of the user's."""
        self.git("clone", "-q", str(remote), str(self.folder / name))
        return self.folder / name

    def commit_all(self, checkout: Path, text: str, branch: str = "main") -> None:
        """Commit and push all that is in a checkout."""
        self.git("add", "-A", at=checkout)
        self.git("commit", "-q", "-m", text, at=checkout)
        self.git("push", "-q", "origin", f"HEAD:{branch}", at=checkout)

    def target(self, repo: object, progress: Progress | None = None, **given: Any) -> Git:
        """The target, with options as typed."""
        config = Config(git=GitSettings(repo=str(repo)))
        return Git.of(given, config, environment(self.variables), progress or Silent())

    def deliver(
        self, repo: object, wanted: Deployment, progress: Progress | None = None, **given: Any
    ) -> Delivery:
        """Deliver one deployment as `servegen deploy --target git` does."""
        target = self.target(repo, progress, **given)
        try:
            target.check(wanted)
            return target.deliver(wanted, progress=progress or Silent())
        finally:
            target.close()

    def hook(self, name: str, text: str) -> Workshop:
        """The same with a hook of the user's own; git runs it at every commit."""
        folder = self.folder / "hooks"
        script(folder / name, text)
        with (self.folder / "gitconfig").open("a") as file:
            file.write(f"[core]\nhooksPath = {folder}\n")
        return self

    def whole(self, remote: Path) -> None:
        """Nothing is left of the work, and the repository is sound."""
        assert list((self.folder / "cache/git").iterdir()) == []
        self.git("fsck", "--strict", at=remote)

    def log(self, remote: Path, branch: str = "main") -> list[str]:
        """Subjects of the commits of a branch, newest first."""
        return self.git("log", "--format=%s", branch, at=remote).splitlines()

    def file(self, remote: Path, path: str, branch: str = "main") -> str:
        """A file as the remote repository has it."""
        return self.git("show", f"{branch}:{path}", at=remote)


def script(path: Path, text: str) -> None:
    """A program of the shell."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@dataclass
class Web:
    """How the HTTP server answers."""

    root: Path
    users: dict[str, str] = field(default_factory=dict)
    """User → password; none: everybody may do everything."""
    readers: set[str] = field(default_factory=set)
    """Users that may not push."""
    down: int = 0
    """Requests that are answered with 503 first."""
    message: str = ""
    """Body of an answer that refuses."""
    url: str = ""


@contextlib.contextmanager
def served(root: Path, env: dict[str, str]) -> Iterator[Web]:
    """The repositories below `root` over HTTP, by git's own server."""
    web = Web(root=root)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _refuse(self, status: int) -> None:
            body = web.message.encode()
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _serve(self) -> None:
            body = self._body()
            if web.down:
                web.down -= 1
                self._refuse(503)
                return
            user = ""
            if web.users:
                given = self.headers.get("Authorization", "").removeprefix("Basic ")
                user, _, password = base64.b64decode(given).decode().partition(":")
                if web.users.get(user) != password:
                    self._refuse(401)
                    return
            if user in web.readers and "git-receive-pack" in self.path:
                self._refuse(403)
                return
            parts = urllib.parse.urlsplit(self.path)
            cgi = env | {
                "GIT_PROJECT_ROOT": str(web.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": urllib.parse.unquote(parts.path),
                "QUERY_STRING": parts.query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "CONTENT_LENGTH": str(len(body)),
                "REMOTE_USER": user or "anybody",
            }
            done = subprocess.run(
                ["git", "http-backend"], input=body, env=cgi, capture_output=True, check=False
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            lines = [line.partition(": ") for line in head.decode().split("\r\n") if line]
            headers = {name: value for name, _, value in lines}
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
