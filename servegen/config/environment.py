"""The environment of the process → a frozen value; the only reader of os.environ."""

from __future__ import annotations

import configparser
import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from servegen.values.attestation import LOCAL, BuildRun


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the process was started with, as far as servegen looks at it."""

    variables: Mapping[str, str]
    """Everything, for the programs that servegen starts."""
    cache: Path
    tracking_uri: str | None
    """MLFLOW_TRACKING_URI, else the one that MLflow would take in this folder."""
    registry_uri: str | None
    debian_mirrors: tuple[str, ...]
    kubeconfig: str | None
    credential_files: tuple[Path, ...]
    """Registry logins, in the order they are looked at."""
    certificate_folders: tuple[Path, ...]
    """Where docker and podman look for certificates of registries; any may be absent."""
    proxies: Mapping[str, str]
    """`http`, `https` and `no` → value."""
    sign_password: str | None
    """Of the key that signs; in no other variable, so that no program we start gets it."""
    forge_tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Forge → the token that opens pull requests there."""
    webhook_secret: str | None
    """With which MLflow signs its deliveries; in no other variable either."""
    build_run: BuildRun
    git_token: str | None
    """For the repository that is pushed to; as the password, in no other variable."""
    git_username: str


def environment(variables: Mapping[str, str] | None = None) -> Environment:
    """The environment of this process, or `variables` instead."""
    env = dict(os.environ if variables is None else variables)
    passwords = [env.pop(name, None) for name in ("SERVEGEN_SIGN_PASSWORD", "COSIGN_PASSWORD")]
    git_token = env.pop("SERVEGEN_GIT_TOKEN", None)
    tokens = _forge_tokens(env, env.pop("SERVEGEN_FORGE_TOKEN", None))
    secret = env.pop("SERVEGEN_WEBHOOK_SECRET", None)
    home = Path(env.get("HOME") or Path.home())
    cache = env.get("SERVEGEN_CACHE_DIR") or str(
        Path(env.get("XDG_CACHE_HOME") or home / ".cache") / "servegen"
    )
    return Environment(
        variables=env | _pip_indexes(env, home),
        cache=Path(cache),
        tracking_uri=env.get("MLFLOW_TRACKING_URI") or _store_here(),
        registry_uri=env.get("MLFLOW_REGISTRY_URI") or None,
        debian_mirrors=tuple(env.get("SERVEGEN_DEBIAN_MIRROR", "").split()),
        kubeconfig=env.get("KUBECONFIG") or None,
        credential_files=_credential_files(env, home),
        certificate_folders=_certificate_folders(env, home),
        proxies={
            kind: value
            for kind in ("http", "https", "no")
            if (value := env.get(f"{kind.upper()}_PROXY") or env.get(f"{kind}_proxy"))
        },
        # An empty password is one, too: cosign's keys may have it.
        sign_password=next((password for password in passwords if password is not None), None),
        forge_tokens=tokens,
        webhook_secret=secret or None,
        build_run=_build_run(env),
        git_token=git_token or None,
        git_username=env.get("SERVEGEN_GIT_USERNAME") or "x-access-token",
    )


def calm_mlflow() -> None:
    """Set MLflow's defaults for a command that someone waits for; what the user set stays."""
    defaults = {
        # Seven retries with doubling pauses, MLflow's default, take four minutes to say "no such server".
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def _store_here() -> str | None:
    # MLflow's own default; naming it lets an unchanged file be recognised without importing MLflow.
    return "sqlite:///mlflow.db" if Path("mlflow.db").is_file() else None


def _pip_indexes(env: Mapping[str, str], home: Path) -> dict[str, str]:
    # uv does not read pip's settings; a machine that has an index of its own usually says so to pip only.
    if any(name in env for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")):
        return {}
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    own = env.get("XDG_CONFIG_HOME") or home / ".config"
    files: list[Path | str] = [
        "/etc/pip.conf",
        home / ".pip/pip.conf",
        Path(own) / "pip/pip.conf",
        Path(sys.prefix) / "pip.conf",
    ]
    if env.get("PIP_CONFIG_FILE"):
        files.append(env["PIP_CONFIG_FILE"])
    with contextlib.suppress(configparser.Error):
        settings.read(files)
    found = {
        "UV_DEFAULT_INDEX": env.get("PIP_INDEX_URL") or settings.get("global", "index-url", fallback=""),
        "UV_INDEX": env.get("PIP_EXTRA_INDEX_URL") or settings.get("global", "extra-index-url", fallback=""),
    }
    return {name: value for name, value in found.items() if value}


def _forge_tokens(env: Mapping[str, str], ours: str | None) -> dict[str, str]:
    """The token for each forge; ours is for all, the others are those that the forges' own tools read."""
    variables = {
        "github": ("GITHUB_TOKEN", "GH_TOKEN"),
        "gitlab": ("GITLAB_TOKEN",),
        "gitea": ("GITEA_TOKEN",),
    }
    found = {
        forge: ours or next((env[name] for name in names if env.get(name)), "")
        for forge, names in variables.items()
    }
    return {forge: token.strip() for forge, token in found.items() if token.strip()}


def _build_run(env: Mapping[str, str]) -> BuildRun:
    """What CI services tell of themselves; SERVEGEN_BUILDER_ID is for those not known here."""
    builder = invocation = ""
    if env.get("GITHUB_ACTIONS") == "true":
        server, run = env.get("GITHUB_SERVER_URL", ""), env.get("GITHUB_RUN_ID", "")
        builder = f"{server}/{env.get('GITHUB_WORKFLOW_REF', '')}"
        invocation = f"{server}/{env.get('GITHUB_REPOSITORY', '')}/actions/runs/{run}"
    elif env.get("GITLAB_CI") == "true":
        builder = f"{env.get('CI_PROJECT_URL', '')}/-/runners/{env.get('CI_RUNNER_ID', '')}"
        invocation = env.get("CI_JOB_URL", "")
    elif env.get("JENKINS_URL"):
        builder, invocation = env["JENKINS_URL"], env.get("BUILD_URL", "")
    return BuildRun(builder=env.get("SERVEGEN_BUILDER_ID") or builder or LOCAL, invocation=invocation or None)


def _credential_files(env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    docker = Path(env.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    runtime = env.get("XDG_RUNTIME_DIR")
    candidates = [
        Path(env["REGISTRY_AUTH_FILE"]) if env.get("REGISTRY_AUTH_FILE") else None,
        docker,
        Path(runtime) / "containers/auth.json" if runtime else None,
        Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "containers/auth.json",
    ]
    return tuple(path for path in candidates if path)


def _certificate_folders(env: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    docker, own = Path(env.get("DOCKER_CONFIG") or home / ".docker"), home / ".config"
    parents = (Path("/etc/docker"), docker, own / "docker", Path("/etc/containers"), own / "containers")
    return tuple(parent / "certs.d" for parent in parents)
