"""Options that several commands share, and the job they make together with servegen.yaml."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from servegen.cli.console import Console, Events

if TYPE_CHECKING:
    from servegen.config import Config
    from servegen.job import Job
    from servegen.kube.options import ClusterOptions
    from servegen.values.deployment import Settings

F = TypeVar("F", bound=Callable[..., Any])


def _remember(context: click.Context, option: click.Parameter, value: bool) -> bool:  # noqa: FBT001 (click's)
    # For `main`, which has to know whether to show a traceback, and how errors are told.
    if value and context.obj is not None:
        context.obj[option.name] = True
    return value


VERBOSE: list[Any] = [
    click.option(
        "-v",
        "--verbose",
        is_flag=True,
        callback=_remember,
        help="Show the programs that are run, and tracebacks.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Show warnings and errors only."),
]
EVENTS: list[Any] = [
    click.option(
        "--json",
        "events",
        is_flag=True,
        callback=_remember,
        help="Progress and errors as JSON, one event a line, on standard error.",
    ),
]
FILE: list[Any] = [
    click.option(
        "-f", "--file", "config_file", type=click.Path(path_type=Path), help="Instead of ./servegen.yaml."
    ),
    click.option("--env", "environment_name", metavar="NAME", help="Environment of servegen.yaml to use."),
]
STORES: list[Any] = [
    *FILE,
    click.option("--tracking-uri", help="MLflow tracking server or store; default MLFLOW_TRACKING_URI."),
    click.option("--registry-uri", help="MLflow model registry, where it is another server."),
    click.option(
        "--refresh", is_flag=True, help="Ask the stores again even if nothing seems to have changed."
    ),
]
BASE: list[Any] = [
    click.option("--base", help="debian (default), or the reference of a registry image with Python."),
    click.option("--base-python", help="Path of Python in a registry base."),
    click.option("--apt", multiple=True, metavar="NAME", help="Debian package that the built-in base gets."),
    click.option("--debian-mirror", "debian_mirrors", multiple=True, help="Mirror for the built-in base."),
    click.option("--debian-keyring", help="File of the keys of those mirrors."),
    click.option(
        "--allow-missing-library",
        "allow_missing_libraries",
        multiple=True,
        metavar="SONAME",
        help="Shared library that the model does without.",
    ),
]
IMAGE: list[Any] = [
    click.option("--tag", "image", help="Name of the image: REGISTRY/REPOSITORY[:TAG]."),
    click.option("--runtime", help="What serves in the image: bentoml (default) or uvicorn."),
    click.option(
        "--accelerate", help="onnx: convert the model where it provably answers alike; off (default)."
    ),
    click.option("--builder", help="embedded (default, needs nothing), docker, podman, buildah or nerdctl."),
    *BASE,
    click.option("--platform", help="linux/amd64 (default), linux/arm64, or both with a comma."),
    click.option("--python", help="Python version, where the model names none or another is wanted."),
    click.option("--mlflow", help="auto (default), skinny or full: which MLflow goes into the image."),
    click.option("--add-requirement", "requirements", multiple=True, help="Add to the model's requirements."),
    click.option("--compression", help="Of layers: zstd (default), or gzip for consumers that know no zstd."),
    click.option(
        "--keep-tests", is_flag=True, default=None, help="Keep the tests of numpy, pandas and the like."
    ),
    click.option("--index-url", help="Package index instead of the default one."),
    click.option("--extra-index-url", "extra_index_urls", multiple=True, help="A further package index."),
    click.option(
        "--wheelhouse",
        "wheelhouses",
        multiple=True,
        help="Folder of distributions, used instead of an index.",
    ),
    click.option(
        "--conda-map",
        "conda_map",
        multiple=True,
        metavar="NAME=PIP",
        help="Take PIP from the package index for what conda.yaml wants from conda.",
    ),
    click.option(
        "--drop-conda", multiple=True, metavar="NAME", help="Do without a package that conda.yaml wants."
    ),
    click.option(
        "--no-uv-lock",
        "uv_lock",
        flag_value=False,
        default=None,
        help="Take requirements.txt even where a uv.lock was logged.",
    ),
    click.option("--exclude-newer", help="Ignore package uploads after this moment (RFC 3339)."),
    click.option("--update-lock", is_flag=True, help="Resolve again even if servegen.lock still fits."),
    click.option("--frozen", is_flag=True, help="Fail if servegen.lock does not fit."),
    click.option(
        "--allow-no-signature", is_flag=True, default=None, help="Package a model without signature."
    ),
]
REGISTRY: list[Any] = [
    click.option(
        "--insecure-registry", "insecure_registries", multiple=True, help="Registry that speaks HTTP."
    ),
    click.option("--registry-ca", help="File of CA certificates for registries."),
]
ATTEST: list[Any] = [
    click.option("--no-sbom", "sbom", flag_value=False, default=None, help="Make no bill of materials."),
    click.option(
        "--no-provenance", "provenance", flag_value=False, default=None, help="Do not state how it was made."
    ),
    click.option("--sign-key", metavar="FILE", help="Private key (PEM) that signs what is pushed."),
]
CACHE: list[Any] = [
    click.option(
        "--cache-from",
        metavar="TAG",
        help="Tag whose layers are taken over; default: the one pushed, else the version before.",
    ),
    click.option("--no-registry-cache", is_flag=True, help="Take no layer over from the registry."),
]
NAMESPACE: list[Any] = [
    click.option("-n", "--namespace", help="Namespace of the objects."),
]
CONTEXT: list[Any] = [
    click.option("--context", help="Context of the kubeconfig; default: the current one."),
]
TIMEOUT: list[Any] = [
    click.option(
        "--timeout", "timeout_seconds", type=click.IntRange(min=1), help="Seconds to wait for the pods."
    ),
]
CLUSTER: list[Any] = [*FILE, *NAMESPACE, *CONTEXT]
"""For commands about what is deployed; `cluster_options` reads them. TIMEOUT is for those that wait."""
DEPLOY: list[Any] = [
    *NAMESPACE,
    click.option("--name", help="Name of the objects; default: made from the model's name."),
    click.option("--kube-version", help="Kubernetes version to write for, such as 1.35."),
    click.option("--network-policy", is_flag=True, help="Write a NetworkPolicy."),
    click.option("--monitoring", metavar="WAY", help="annotations, podmonitor, servicemonitor or none."),
    click.option("--gateway", metavar="[NAMESPACE/]NAME", help="Gateway that gets an HTTPRoute."),
    click.option("--host", "hostnames", multiple=True, metavar="NAME", help="Host name of that route."),
]
"""They override keys below `deploy`."""
VERIFY: list[Any] = [
    click.option("--no-verify", is_flag=True, help="Do not run the image before it is published."),
    click.option(
        "--verify-with", help="How to run it: namespace, chroot, docker or podman; default: the first."
    ),
    click.option(
        "--verify-timeout",
        type=click.IntRange(min=1),
        default=120,
        show_default=True,
        help="Seconds until it is ready.",
    ),
]
REPOSITORY: list[Any] = [
    click.option("--repo", metavar="URL|FOLDER", help="Repository of --target git, or a checkout of it."),
    click.option("--branch", help="Branch to commit to; default: the one that the repository names."),
    click.option("--path", metavar="FOLDER", help="The model's folder there; default apps/NAME."),
    click.option("--layout", help="kustomize, helm, values or manifests; default: as it is, else kustomize."),
    click.option("--mode", help="commit, pr or auto; default commit, pr for prod and production."),
    click.option("--sign/--no-sign", default=None, help="Sign commits; default: as Git is configured."),
    click.option("--signoff", is_flag=True, default=None, help="Add a Signed-off-by line."),
    click.option("--max-attempts", type=click.IntRange(min=1), help="How often a push is tried; default 5."),
]
"""They override keys of `git`."""
GIT: list[Any] = [
    *REPOSITORY,
    click.option("--gitops", help="Objects to write beside, where nothing applies it yet: argo or flux."),
    click.option("--project", help="With --gitops argo: the AppProject."),
    click.option(
        "--application-set", is_flag=True, default=None, help="With --gitops argo: one object for all models."
    ),
    click.option("--chart", metavar="oci://…:VERSION", help="Of --layout values: the chart in a registry."),
    click.option("--create-branch", is_flag=True, help="Make the branch where it is missing."),
    click.option("--force-older", is_flag=True, help="Deploy although a newer version is there."),
    click.option(
        "--no-tags",
        "tags",
        flag_value=False,
        default=None,
        help="Set no tags on the version in MLflow.",
    ),
    click.option("--release-hold", is_flag=True, help="Deploy a version that was rolled back."),
]
PORT: list[Any] = [
    click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True),
]


def options(*groups: list[Any]) -> Callable[[F], F]:
    """Add groups of options to a command, in this order."""

    def add(function: F) -> F:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return add


def refuse_foreign(target_name: str, given: dict[str, Any]) -> None:
    """UsageError for options of the one target that are given for the other, and would do nothing."""
    foreign = {
        "git": ("force_conflicts", "rollback_on_failure"),
        "k8s": ("repo", "branch", "path", "mode", "layout", "create_branch", "force_older", "release_hold"),
    }
    wrong = [name for name in foreign.get(target_name, ()) if given.get(name)]
    if wrong:
        other = "k8s" if target_name == "git" else "git"
        msg = f"--{wrong[0].replace('_', '-')} is for --target {other}, and this is --target {target_name}"
        raise click.UsageError(msg)


def console(given: dict[str, Any]) -> Console | Events:
    """The console that the options ask for; they are taken out of `given`."""
    kind = Events if given.pop("events", False) else Console
    return kind(verbose=given.pop("verbose", False), quiet=given.pop("quiet", False))


def job(model: str | None, given: dict[str, Any], *, push: bool = False) -> Job:
    """What the options say over servegen.yaml; an option that was not given changes nothing."""
    # Here, so that --help does not wait for them.
    from servegen.config import Config, find, read
    from servegen.values.deployment import Settings

    named = given.pop("config_file", None)
    path = named or find(Path.cwd())
    place = given.get("environment_name")
    config = read(path, place) if path else Config(deploy=Settings(environment=place))
    made = _job(config, path, model, given, push=push)
    if path is None or place is None:
        return made
    return replace(made, shared=_deployed(read(path).deploy, given))


def job_of(path: Path, given: dict[str, Any], *, push: bool = False) -> Job:
    """As `job`, for one file of many: relative paths in it start at its folder, as if typed there."""
    from servegen.config import anchored, read

    place = given.get("environment_name")
    made = _job(anchored(read(path, place), path.parent), path, None, given, push=push)
    if place is None:
        return made
    return replace(made, shared=_deployed(read(path).deploy, given))


def _job(config: Config, path: Path | None, model: str | None, given: dict[str, Any], *, push: bool) -> Job:
    from servegen.config import Config, calm_mlflow, environment
    from servegen.job import Job, check, lock_file

    calm_mlflow()
    known = {f.name for f in fields(Config)}
    changes: dict[str, Any] = {n: v for n, v in given.items() if n in known and v not in (None, ())}
    if "requirements" in changes:
        changes["requirements"] = (*config.requirements, *changes["requirements"])
    if "conda_map" in changes:
        changes["conda_map"] = {**config.conda_map, **_pairs(changes["conda_map"])}
    changes["deploy"] = _deployed(config.deploy, given)
    if model is not None:
        changes["model"] = model
    made = Job(
        config=replace(config, **changes),
        environment=environment(),
        lock_file=lock_file(path, config, given.get("environment_name")) if path else None,
        push=push,
        verify=not given.get("no_verify", False),
        verify_with=given.get("verify_with"),
        verify_timeout_seconds=given.get("verify_timeout", 120),
        refresh=given.get("refresh", False),
        update_lock=given.get("update_lock", False),
        frozen=given.get("frozen", False),
        whole=bool(given.get("output") or given.get("load")),
        cache_from=given.get("cache_from"),
        registry_cache=not given.get("no_registry_cache", False),
    )
    check(made)
    return made


def cluster_options(work: Job, given: dict[str, Any]) -> ClusterOptions:
    """How to reach the cluster that CONTEXT, NAMESPACE and TIMEOUT, or `deploy` in servegen.yaml, name."""
    from servegen.targets.k8s import options

    return options(given, work.config, work.environment)


def _deployed(settings: Settings, given: dict[str, Any]) -> Settings:
    """`settings` with what options change of them."""
    named = {n: given[n] for n in ("namespace", "name", "kube_version") if given.get(n)}
    if given.get("suppressions"):
        from servegen.kube import exceptions

        settings = exceptions.suppressing(settings)
    return replace(settings, **named, **_exposed(settings, given))


def _exposed(settings: Settings, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of NetworkPolicy, monitor and route that options change."""
    changed: dict[str, Any] = {}
    if given.get("network_policy"):
        changed["network_policy"] = replace(settings.network_policy, enabled=True)
    if given.get("monitoring"):
        changed["monitoring"] = replace(settings.monitoring, discovery=given["monitoring"])
    route = settings.route
    if given.get("gateway"):
        namespace, _, name = given["gateway"].rpartition("/")
        route = replace(route, gateway=name, gateway_namespace=namespace or None)
    if given.get("hostnames"):
        route = replace(route, hostnames=given["hostnames"])
    if route != settings.route:
        changed["route"] = route
    return changed


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    from servegen.errors import ConfigError

    pairs = {}
    for text in texts:
        name, _, value = (part.strip() for part in text.partition("="))
        if not name or not value:
            msg = f"--conda-map cannot be {text!r}"
            raise ConfigError(msg, hint="--conda-map pytorch=torch")
        pairs[name] = value
    return pairs


def check_port(host: str, port: int) -> None:
    """ConfigError when nothing can listen there now; asked before a model is fetched or unpacked."""
    import socket

    from servegen.errors import ConfigError

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: connections of an earlier one that are still closing are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as exc:
        msg = f"port {port} of {host} cannot be used: {exc.strerror}"
        raise ConfigError(msg, hint="--port NUMBER of one that is free") from exc


def is_fleet(text: str | None) -> bool:
    """Whether an argument is a folder of servegen.yaml files; ConfigError for one without them or a model."""
    folder = None
    # A text that is too long for a path names no folder.
    with contextlib.suppress(OSError):
        folder = Path(text) if text and Path(text).is_dir() else None
    if folder is None or (folder / "MLmodel").exists():
        return False
    from servegen.errors import ConfigError
    from servegen.fleet import files

    if not files(folder):
        msg = f"folder {text} holds neither a model (MLmodel) nor a servegen.yaml, and none is below it"
        raise ConfigError(
            msg, hint="name the folder that MLflow wrote; servegen init MODEL writes a servegen.yaml"
        )
    return True


def is_model(text: str) -> bool:
    """Whether an argument that may be a model or an image is a model."""
    if text.startswith((".", "/", "~")):
        return True
    # A text that is too long for a path names no folder.
    with contextlib.suppress(OSError):
        if Path(text).is_dir():
            return True
    # A scheme is followed by a slash; what follows the colon of a host or a repository is a port or a tag.
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", text))
