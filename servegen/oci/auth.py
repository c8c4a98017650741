"""Registry logins from the files that docker and podman write; a secret is never printed."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from servegen.errors import RegistryAuthError
from servegen.oci.descriptor import JSON
from servegen.process import run
from servegen.progress import Progress

DOCKER_HUB = "docker.io"
_DOCKER_HUB_NAMES = ("https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io")
_TOKEN_USER = "<token>"  # noqa: S105 - the user name by which helpers mark an identity token


@dataclass(frozen=True, kw_only=True)
class Credential:
    """A login; neither field shows in a repr."""

    username: str = field(repr=False)
    secret: str = field(repr=False)
    """Password, or an identity token when `username` is empty."""

    @property
    def identity_token(self) -> str | None:
        """The token to exchange for access tokens, None when this is user name and password."""
        return None if self.username else self.secret

    @property
    def basic(self) -> str:
        """Value of an `Authorization` header for basic auth."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.secret}".encode()).decode()


@dataclass(frozen=True, kw_only=True)
class CredentialFiles:
    """Where logins are looked for: one given, then each file in order."""

    files: tuple[Path, ...] = ()
    """Docker's config.json or podman's auth.json; those that do not exist are passed over."""
    given: Credential | None = None
    """Used for every registry, before any file."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Environment of credential helpers."""

    def find(self, host: str, repository: str, progress: Progress) -> Credential | None:
        """The login for a repository of `host`, None when there is none; may start a credential helper."""
        if self.given:
            return self.given
        names = _DOCKER_HUB_NAMES if host in _DOCKER_HUB_NAMES else (host,)
        for file in self.files:
            config = _read(file)
            found = self._in_file(config, file, names, repository, progress)
            if found:
                return found
        return None

    def _in_file(
        self, config: JSON, file: Path, names: tuple[str, ...], repository: str, progress: Progress
    ) -> Credential | None:
        helpers = _mapping(config.get("credHelpers"))
        for name in names:
            if helpers.get(name):
                return self._ask_helper(str(helpers[name]), name, progress)
        found = _in_auths(_mapping(config.get("auths")), file, names, repository)
        if found:
            return found
        store = config.get("credsStore")
        if store:
            answers = (self._ask_helper(str(store), name, progress) for name in names)
            return next((answer for answer in answers if answer), None)
        return None

    def _ask_helper(self, helper: str, host: str, progress: Progress) -> Credential | None:
        program = f"docker-credential-{helper}"
        if "/" in helper:
            msg = f"{helper!r} is not the name of a credential helper"
            raise RegistryAuthError(msg, hint="correct credHelpers or credsStore in the docker config file")
        try:
            done = run([program, "get"], progress=progress, env=self.env, stdin=host)
        except (FileNotFoundError, PermissionError) as exc:
            msg = f"the credential helper {program} for {host} cannot be started"
            raise RegistryAuthError(msg, hint=f"install it, or docker login {host} without a helper") from exc
        if done.status:
            # The protocol has no code for "none stored", only this text.
            if "not found" in (done.stdout + done.stderr).lower():
                return None
            msg = f"the credential helper {program} failed for {host} (exit {done.status})"
            raise RegistryAuthError(msg, hint=f"run: echo {host} | {program} get")
        try:
            answer = cast("Mapping[str, str]", json.loads(done.stdout))
            username, secret = answer["Username"], answer["Secret"]
        except (ValueError, KeyError, TypeError):
            # `from None`: the chained exception would carry the helper's output.
            msg = f"the credential helper {program} did not answer with Username and Secret"
            raise RegistryAuthError(msg, hint=f"docker login {host}") from None
        return Credential(username="" if username == _TOKEN_USER else username, secret=secret)


def _read(file: Path) -> JSON:
    try:
        value = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as exc:
        msg = f"{file} cannot be read: {exc.strerror}"
        raise RegistryAuthError(msg, hint="check its permissions, or set REGISTRY_AUTH_FILE") from exc
    except ValueError:
        value = None
    if not isinstance(value, dict):
        msg = f"{file} is not JSON as docker login writes it"
        raise RegistryAuthError(msg, hint="correct it, or log in again") from None
    return value


def _in_auths(auths: JSON, file: Path, names: tuple[str, ...], repository: str) -> Credential | None:
    """The entry with the longest path that `host/repository` starts with, as podman reads it."""
    known = {_normal(key): value for key, value in auths.items()}
    for name in names:
        parts = [_normal(name), *repository.split("/")]
        for length in range(len(parts), 0, -1):
            entry = _mapping(known.get("/".join(parts[:length])))
            found = _credential(entry, file)
            if found:
                return found
    return None


def _normal(key: str) -> str:
    """A key of `auths` without scheme and without the `/v1/` that old docker added."""
    bare = key.partition("://")[2] or key
    bare = bare.rstrip("/")
    for ending in ("/v1", "/v2"):
        bare = bare.removesuffix(ending)
    return bare


def _credential(entry: JSON, file: Path) -> Credential | None:
    if entry.get("identitytoken"):
        return Credential(username="", secret=str(entry["identitytoken"]))
    if entry.get("auth"):
        try:
            username, colon, secret = (
                base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
            )
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if not colon:
            msg = f"{file} has an auth entry that is not base64 of user:password"
            raise RegistryAuthError(msg, hint="log in again") from None
        return Credential(username=username, secret=secret.rstrip("\0"))
    if entry.get("username") and entry.get("password"):
        return Credential(username=str(entry["username"]), secret=str(entry["password"]))
    return None


def _mapping(value: object) -> JSON:
    return cast("JSON", value) if isinstance(value, dict) else {}
