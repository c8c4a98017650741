"""servegen.yaml and the environment → frozen options; the only reader of os.environ."""

from __future__ import annotations

import configparser
import contextlib
import os
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from servegen.errors import ConfigError
from servegen.values.attestation import LOCAL, BuildRun
from servegen.values.deployment import Settings
from servegen.values.serving import ServingSettings

FILE = "servegen.yaml"
_TAGS = ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "value", "merge", "binary")
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True, kw_only=True)
class Config:
    """servegen.yaml: one file a model."""

    model: str | None = field(default=None, metadata={"help": "Model URI, such as models:/iris@champion."})
    image: str | None = field(
        default=None, metadata={"help": "Where the image goes: registry/repository, with or without a tag."}
    )
    tracking_uri: str | None = field(
        default=None, metadata={"help": "MLflow tracking server or store; default MLFLOW_TRACKING_URI."}
    )
    registry_uri: str | None = field(
        default=None, metadata={"help": "MLflow model registry where it is not the tracking server."}
    )
    runtime: str = field(
        default="bentoml", metadata={"help": "What serves in the image: bentoml or uvicorn."}
    )
    builder: str = field(default="embedded", metadata={"help": "What builds the image."})
    base: str = field(
        default="debian", metadata={"help": "Base: debian, or the reference of a registry image."}
    )
    base_python: str | None = field(
        default=None, metadata={"help": "Path of Python in a registry base; found on its PATH by default."}
    )
    apt: tuple[str, ...] = field(
        default=(), metadata={"help": "Debian packages that the built-in base gets beside its own."}
    )
    debian_mirrors: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Mirrors for the built-in base; default: SERVEGEN_DEBIAN_MIRROR, else those of apt."
        },
    )
    debian_keyring: str | None = field(
        default=None, metadata={"help": "File of the keys that those mirrors' releases are signed with."}
    )
    allow_missing_libraries: tuple[str, ...] = field(
        default=(), metadata={"help": "Shared libraries that wheels name and the model does without."}
    )
    platform: str = field(
        default="linux/amd64",
        metadata={"help": "linux/amd64 or linux/arm64, or both with a comma: one image index."},
    )
    python: str | None = field(
        default=None, metadata={"help": "Python version, where the model names none or another is wanted."}
    )
    mlflow: str = field(
        default="auto", metadata={"help": "auto, skinny or full: which MLflow is in the image."}
    )
    requirements: tuple[str, ...] = field(
        default=(), metadata={"help": "Requirements added to the model's own."}
    )
    keep_tests: bool = field(
        default=False,
        metadata={"help": "Keep the tests of numpy, pandas, scikit-learn and scipy in the image."},
    )
    index_url: str | None = field(
        default=None, metadata={"help": "Package index instead of the default one."}
    )
    extra_index_urls: tuple[str, ...] = field(default=(), metadata={"help": "Further package indexes."})
    wheelhouses: tuple[str, ...] = field(
        default=(), metadata={"help": "Folders of wheels and source distributions, used instead of an index."}
    )
    conda_map: Mapping[str, str] = field(
        default_factory=dict,
        metadata={"help": "Packages that conda.yaml wants from conda → the same in the package index."},
    )
    drop_conda: tuple[str, ...] = field(
        default=(), metadata={"help": "Packages of conda that the image does without."}
    )
    uv_lock: bool = field(
        default=True, metadata={"help": "Whether a uv.lock that was logged with the model decides versions."}
    )
    exclude_newer: str | None = field(
        default=None,
        metadata={"help": "Ignore uploads after this moment (RFC 3339); default: the time of the lock."},
    )
    insecure_registries: tuple[str, ...] = field(
        default=(), metadata={"help": "Registries that speak plain HTTP (loopback may always)."}
    )
    registry_ca: str | None = field(
        default=None, metadata={"help": "File of CA certificates for registries."}
    )
    sbom: bool = field(default=True, metadata={"help": "Make a bill of materials (CycloneDX)."})
    provenance: bool = field(
        default=True, metadata={"help": "Make a statement of how the image was made (SLSA)."}
    )
    sign_key: str | None = field(
        default=None, metadata={"help": "File of the private key that signs pushed images (ECDSA P-256)."}
    )
    allow_no_signature: bool = field(
        default=False, metadata={"help": "Package a model whose requests cannot be checked."}
    )
    serving: ServingSettings = field(
        default_factory=ServingSettings, metadata={"help": "How the server treats requests."}
    )
    deploy: Settings = field(default_factory=Settings, metadata={"help": "The Kubernetes objects."})


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the process was started with, as far as servegen looks at it."""

    variables: Mapping[str, str]
    """Everything, for the programs that servegen starts."""
    cache: Path
    tracking_uri: str | None
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
    build_run: BuildRun


def environment(variables: Mapping[str, str] | None = None) -> Environment:
    """The environment of this process, or `variables` instead."""
    env = dict(os.environ if variables is None else variables)
    passwords = [env.pop(name, None) for name in ("SERVEGEN_SIGN_PASSWORD", "COSIGN_PASSWORD")]
    home = Path(env.get("HOME") or Path.home())
    cache = env.get("SERVEGEN_CACHE_DIR") or str(
        Path(env.get("XDG_CACHE_HOME") or home / ".cache") / "servegen"
    )
    return Environment(
        variables=env | _pip_indexes(env, home),
        cache=Path(cache),
        tracking_uri=env.get("MLFLOW_TRACKING_URI") or None,
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
        build_run=_build_run(env),
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


def find(directory: Path) -> Path | None:
    """servegen.yaml in `directory`, if there is one; ConfigError for one that is no file."""
    path = directory / FILE
    if not os.path.lexists(path):
        return None
    if not path.is_file():
        msg = f"{path} is no file, or a link that leads nowhere"
        raise ConfigError(msg, hint=f"remove it, or name another file: --file {FILE}")
    return path


def read(path: Path) -> Config:
    """The options in `path`; ConfigError names line and key of what cannot be used."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as exc:
        msg = f"{path} cannot be read: {exc}"
        raise ConfigError(
            msg, hint=f"name another folder, or write {FILE} with: servegen init MODEL"
        ) from exc
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f"{path.name}:{mark.line + 1}" if mark else path.name
        msg = f"{where}: {getattr(exc, 'problem', None) or 'no YAML'}"
        raise ConfigError(msg, hint="check indentation and quotes on that line and the one before") from exc
    except RecursionError as exc:
        msg = f"{path.name} is nested too deeply"
        raise ConfigError(msg, hint="no key of ours needs more than four levels") from exc
    if node is None:
        return Config()
    value = _value(node, Config, path.name, "")
    assert isinstance(value, Config)  # noqa: S101 (what _value promises for a dataclass)
    return value


def _value(node: yaml.Node, kind: Any, file: str, key: str) -> Any:
    if node.tag.removeprefix("tag:yaml.org,2002:") not in _TAGS:
        msg = f"{file}:{node.start_mark.line + 1}: {key or 'the file'} has the tag {node.tag}"
        raise ConfigError(msg, hint="write the value without the tag")
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if node.tag == "tag:yaml.org,2002:null":
            return None
        return _value(node, next(a for a in arguments if a is not types.NoneType), file, key)
    if is_dataclass(kind):
        return _dataclass(node, kind, file, key)
    if origin is tuple:
        if not isinstance(node, yaml.SequenceNode):
            raise _wrong(node, file, key, "a list")
        return tuple(_value(item, arguments[0], file, f"{key}[{i}]") for i, item in enumerate(node.value))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(node, yaml.MappingNode):
            raise _wrong(node, file, key, "a mapping")
        return {
            name: _value(item, arguments[1], file, f"{key}.{name}") for name, item in _pairs(node, file, key)
        }
    return _scalar(node, kind, file, key)


def _dataclass(node: yaml.Node, kind: Any, file: str, key: str) -> Any:
    if not isinstance(node, yaml.MappingNode):
        raise _wrong(node, file, key, "a mapping")
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}
    values = {}
    for name, item in _pairs(node, file, key):
        full = f"{key}.{name}".lstrip(".")
        if name not in known:
            msg = f"{file}:{item.start_mark.line + 1}: unknown key {full!r}"
            raise ConfigError(msg, hint=_nearest(name, known))
        values[name] = _value(item, hints[name], file, full)
    needed = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if absent := [n for n in needed if n not in values]:
        msg = f"{file}:{node.start_mark.line + 1}: {key or 'the file'} lacks {', '.join(absent)}"
        raise ConfigError(msg, hint="add it, or remove the entry")
    return kind(**values)


def _pairs(node: yaml.MappingNode, file: str, key: str) -> list[tuple[str, yaml.Node]]:
    seen: dict[str, yaml.Node] = {}
    for name, item in node.value:
        text = str(name.value) if isinstance(name, yaml.ScalarNode) else "?"
        if text in seen:
            msg = f"{file}:{name.start_mark.line + 1}: {f'{key}.{text}'.lstrip('.')!r} is given twice"
            raise ConfigError(msg, hint="keep one of them")
        seen[text] = item
    return list(seen.items())


def _scalar(node: yaml.Node, kind: Any, file: str, key: str) -> Any:
    tag = node.tag.rpartition(":")[2]
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    if not isinstance(node, yaml.ScalarNode):
        raise _wrong(node, file, key, words[kind])
    text = str(node.value)
    # Text is taken as written: the version 3.10 and the label yes must not turn into something else.
    if kind is str and tag != "null":
        return text
    if kind is bool and tag == "bool" and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    # YAML 1.1 has numbers that Python does not write so, such as 0777 and 1:30.
    with contextlib.suppress(ValueError):
        if kind is int and tag == "int":
            return int(text.replace("_", ""), 0)
        if kind is float and tag in ("int", "float"):
            return float(text.replace("_", ""))
    raise _wrong(node, file, key, words[kind])


def _wrong(node: yaml.Node, file: str, key: str, wanted: str) -> ConfigError:
    shape = "list" if isinstance(node, yaml.SequenceNode) else "mapping"
    got = f"{node.value!r}" if isinstance(node, yaml.ScalarNode) else f"a {shape}"
    msg = f"{file}:{node.start_mark.line + 1}: {key or 'the file'} must be {wanted}, not {got}"
    return ConfigError(msg, hint="every key with its type: docs/reference/servegen-yaml.md")


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"


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


def starter(model: str, image: str) -> str:
    """A servegen.yaml with what most users change."""
    quoted = [
        yaml.safe_dump(text, default_style='"', width=2**31, allow_unicode=True).strip()
        for text in (model, image)
    ]
    return f"""\
# Every key: docs/reference/servegen-yaml.md
model: {quoted[0]}
image: {quoted[1]}
deploy:
  namespace: models
  resources:
    cpu: 500m
    memory: 1Gi
  autoscaling:
    min_replicas: 2
    max_replicas: 10
    cpu_utilization: 50
"""
