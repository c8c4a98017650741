"""One run's wishes, and what the stages are told because of them."""

from __future__ import annotations

import datetime
import functools
import hashlib
import os
import re
import urllib.parse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from servegen.attest import PROVENANCE, SBOM, Wanted
from servegen.config import Config, Environment, Overrides
from servegen.errors import ConfigError, LockError
from servegen.kube.names import slug
from servegen.lockers import Serving
from servegen.lockers.requirements import RUNTIMES, parsed
from servegen.oci.auth import CredentialFiles
from servegen.oci.compress import Packing
from servegen.oci.http import Network
from servegen.oci.known import KnownLayers
from servegen.oci.registry import Registry, RegistryOptions
from servegen.oci.store import Store
from servegen.planning.serving import variables
from servegen.progress import Progress
from servegen.redact import redacted
from servegen.uv import Indexes
from servegen.values.deployment import Settings
from servegen.values.gitops import GitSettings
from servegen.values.image import ImageRef, Platform
from servegen.values.model import Model, Pin
from servegen.verify import MEANS, VerifyOptions

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

ACCELERATIONS = ("off", "onnx")
_CACHE = "SERVEGEN_CACHE_DIR=FOLDER names one that can be written to"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is wanted of one run, beside what servegen.yaml says."""

    config: Config
    environment: Environment
    lock_file: Path | None
    """servegen.lock beside servegen.yaml; None keeps the lock in the cache."""
    push: bool = False
    verify: bool = True
    verify_with: str | None = None
    verify_timeout_seconds: int = 120
    refresh: bool = False
    """Ask the stores again even where nothing seems to have changed."""
    update_lock: bool = False
    frozen: bool = False
    """Fail rather than resolve requirements."""
    whole: bool = False
    """Have every layer here at the end, also those that the registry has."""
    cache_from: str | None = None
    """Tag whose layers need not be made again; None is the tag being pushed, else the version before."""
    registry_cache: bool = True
    shared: Settings | None = None
    """`deploy` without what the environment overrides; None where no environment is chosen."""

    @property
    def cache(self) -> Path:
        """Folder of everything that can be made again."""
        return self.environment.cache

    @property
    def tracking_uri(self) -> str | None:
        """The MLflow store: as configured, else the one that MLflow would take in this folder."""
        return self.config.tracking_uri or self.environment.tracking_uri

    @property
    def store(self) -> Path:
        """The content store of images."""
        return self.cache / "oci"


def check(job: Job) -> None:
    """ConfigError for a value that no stage could use; asked before any work begins."""
    config = job.config
    serving(config)
    platforms(config)
    compression(config)
    _check_base(config)
    indexes(job)
    # Without a model it names an image that exists, which may be by digest.
    if config.image and config.model:
        _image_name(config.image)
    if job.verify_with and job.verify_with not in MEANS:
        msg = f"there is no means {job.verify_with!r} to run an image"
        raise ConfigError(msg, hint=f"one of: {', '.join(MEANS)}")
    if config.python and not re.fullmatch(r"3\.[0-9]+(\.[0-9]+[a-z0-9]*)?", config.python):
        msg = f"{config.python!r} is no Python version"
        raise ConfigError(msg, hint="--python 3.11")
    if config.exclude_newer and not _is_moment(config.exclude_newer):
        msg = f"exclude_newer cannot be {config.exclude_newer!r}"
        raise ConfigError(msg, hint="--exclude-newer 2026-11-23T00:00:00Z, or a date alone")
    try:
        job.cache.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        msg = f"the cache folder {job.cache} cannot be made: {exc.strerror}"
        raise ConfigError(msg, hint=_CACHE) from exc
    if not os.access(job.cache, os.W_OK | os.X_OK):
        msg = f"the cache folder {job.cache} cannot be written to"
        raise ConfigError(msg, hint=_CACHE)


def _check_base(config: Config) -> None:
    for name in config.apt:
        if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", name):
            msg = f"{name!r} is no name of a Debian package"
            raise ConfigError(msg, hint="--apt NAME, as `apt install` takes it, once for each package")
    if config.apt and config.base != "debian":
        msg = f"--apt {config.apt[0]}: only the built-in base takes Debian packages, not {config.base}"
        raise ConfigError(msg, hint="--base debian, or put the package into your base image")
    for mirror in config.debian_mirrors:
        if not re.match(r"https?://[^/\s]|file:///", mirror):
            msg = f"--debian-mirror {mirror}: this is no URL of a mirror"
            raise ConfigError(msg, hint="the URL above dists/ and pool/, with http, https or file")


def check_push(job: Job) -> None:
    """ConfigError for an image that is to be pushed and has a name without registry."""
    if not job.config.image or not _image_name(job.config.image).registry:
        msg = f"no registry is named to push {job.config.image or 'the image'} to"
        raise ConfigError(msg, hint="--tag REGISTRY/REPOSITORY:TAG, or `image:` in servegen.yaml")


def registry(job: Job, progress: Progress, patience: Network | None = None) -> Registry:
    """The registry client with this job's logins and network, or with that of `patience`."""
    environment, config = job.environment, job.config
    credentials = CredentialFiles(files=environment.credential_files, env=environment.variables)
    reached = replace(
        patience or network(job),
        ca_file=Path(config.registry_ca) if config.registry_ca else None,
        certificate_folders=environment.certificate_folders,
    )
    hosts = frozenset(config.insecure_registries)
    return Registry(RegistryOptions(credentials=credentials, network=reached, insecure_hosts=hosts), progress)


def sign_key(job: Job) -> EllipticCurvePrivateKey | None:
    """The key that signs what is pushed; None where nothing is to be signed."""
    path = job.config.sign_key
    if not path or not job.push:
        return None
    from servegen.attest.keys import private_key

    return private_key(Path(path), job.environment.sign_password)


def wanted_documents(job: Job) -> Wanted:
    """The documents to make about the image, with what they tell of this job."""
    config = job.config
    types = {SBOM: config.sbom, PROVENANCE: config.provenance}
    parameters = {
        "runtime": runtime(config),
        "accelerate": config.accelerate if config.accelerate != "off" else None,
        "builder": config.builder,
        "compression": config.compression,
        "base": config.base,
        "platform": config.platform,
        "python": config.python,
        "mlflow": config.mlflow,
        "requirements": [_without_place(line) for line in config.requirements],
        "keepTests": config.keep_tests,
        "serving": dict(variables(config.serving)),
    }
    return Wanted(
        types=frozenset(name for name, wanted in types.items() if wanted),
        parameters={name: value for name, value in parameters.items() if value},
        run=job.environment.build_run,
    )


def _without_place(requirement: str) -> str:
    """A requirement line without URL or folder: a host or path of this machine is nobody else's business."""
    name, at, _ = requirement.partition("@")
    return name.strip() if at else requirement.rpartition("/")[2]


def reference(config: Config, pin: Pin) -> ImageRef:
    """Name and tag of the image: as configured, the tag by default from the model's version."""
    version = pin.version or "sha-" + pin.digest.removeprefix("sha256:")[:12]
    ref = _image_name(config.image or slug(pin.name))
    return ref if ref.tag else replace(ref, tag=version)


def known_layers(job: Job, pin: Pin, remote: Registry, progress: Progress) -> KnownLayers:
    """The layers that need no making: those of the store and, for a push, those of the repository.

    Only the repository that is pushed to is looked into: who may write there can replace the image anyway.
    """
    store = Store(job.store)
    if not job.push or not job.registry_cache:
        return KnownLayers.none(store, progress)
    ref = reference(job.config, pin)
    tags = [job.cache_from] if job.cache_from else [ref.tag]
    if not job.cache_from and pin.version and pin.version.isdigit() and int(pin.version) > 1:
        tags.append(str(int(pin.version) - 1))
    refs = [_image_name(f"{ref.name}:{tag}") for tag in dict.fromkeys(tags)]
    return KnownLayers(refs, _platform(job.config), remote, store, progress)


def _image_name(text: str) -> ImageRef:
    try:
        ref = ImageRef.parse(text)
    except ValueError as exc:
        raise ConfigError(
            str(exc), hint="REGISTRY/REPOSITORY:TAG, in lower case, such as ghcr.io/me/iris:1"
        ) from exc
    if ref.digest:
        msg = f"{ref} names a digest, which only a build can tell"
        raise ConfigError(msg, hint=f"write {replace(ref, digest=None)}")
    return ref


def lock_file(path: Path, config: Config, environment: str | None) -> Path:
    """The lock beside servegen.yaml at `path`; an environment with another image has one of its own."""
    place = config.environments.get(environment or "")
    # Else every change between the two would lock anew, and `--frozen` could never hold for both.
    own = (
        place is not None and replace(place, image=None, deploy=Settings(), git=GitSettings()) != Overrides()
    )
    return path.with_name(f"servegen.{environment}.lock" if own else "servegen.lock")


def lock_path(job: Job, model: Model) -> Path:
    """Where the lock of this model is kept."""
    if job.lock_file:
        return job.lock_file
    facts = f"{model.pin.name}\0{runtime(job.config)}\0{job.config.platform}\0{job.config.base}"
    return (
        job.cache / "locks" / f"{slug(model.pin.name)}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}.lock"
    )


def serving(config: Config) -> Serving:
    """How the model is to be served; ConfigError for a runtime or MLflow that does not exist."""
    if runtime(config) not in RUNTIMES:
        msg = f"there is no runtime {config.runtime!r}"
        raise ConfigError(msg, hint=f"one of: {', '.join(sorted(RUNTIMES))}")
    if config.accelerate not in ACCELERATIONS:
        msg = f"there is no acceleration {config.accelerate!r}"
        raise ConfigError(msg, hint=f"one of: {', '.join(ACCELERATIONS)}")
    if config.mlflow not in ("auto", "skinny", "full"):
        msg = f"mlflow cannot be {config.mlflow!r}"
        raise ConfigError(msg, hint="one of: auto, skinny, full")
    return Serving(
        runtime=runtime(config),
        mlflow=config.mlflow,
        grpc=config.serving.grpc_port is not None,
        extra=config.requirements,
        conda_map={name.lower(): value for name, value in config.conda_map.items()},
        drop_conda=tuple(name.lower() for name in config.drop_conda),
    )


def runtime(config: Config) -> str:
    """What serves in the image: as configured, else bentoml, and the leanest for a converted model."""
    return config.runtime or ("bentoml" if config.accelerate == "off" else "uvicorn")


def platforms(config: Config) -> tuple[Platform, ...]:
    """What images are built for, sorted by name; ConfigError for a platform that is not supported."""
    try:
        found = {Platform.parse(text.strip()) for text in config.platform.split(",")}
    except ValueError as exc:
        raise ConfigError(str(exc), hint="--platform linux/amd64, linux/arm64, or both with a comma") from exc
    return tuple(sorted(found, key=str))


def compression(config: Config) -> Packing:
    """How layers are compressed; ConfigError for a way that is not offered."""
    if config.compression == "zstd":
        return "zstd"
    if config.compression == "gzip":
        return "gzip"
    msg = f"compression cannot be {config.compression!r}"
    raise ConfigError(msg, hint="one of: zstd, gzip")


def for_platform(job: Job, platform: Platform, model: Model) -> Job:
    """The part of a job that is about one of its platforms; all parts share a lock."""
    return replace(job, config=replace(job.config, platform=str(platform)), lock_file=lock_path(job, model))


def network(job: Job) -> Network:
    """How this machine reaches others."""
    proxies = job.environment.proxies
    return Network(
        proxies=tuple((k, v) for k, v in proxies.items() if k != "no"),
        no_proxy=tuple(filter(None, proxies.get("no", "").split(","))),
    )


def indexes(job: Job, model: Model | None = None) -> Indexes:
    """Where distributions come from; those that the model names come after those of this machine."""
    config = job.config
    for folder in config.wheelhouses:
        if not Path(folder).is_dir():
            msg = f"the wheelhouse {folder} is no folder"
            raise LockError(msg, hint="name a folder that holds .whl files")
    if not all(_is_index(url) for url in (config.index_url or "file:///", *config.extra_index_urls)):
        # Not shown: what is no URL may be a password in the wrong place.
        msg = "a package index that is no URL is named"
        raise ConfigError(
            msg, hint='--index-url https://HOST/PATH; in a password, "/", "@" and blanks are %2F, %40 and %20'
        )
    found = Indexes(
        index_url=config.index_url,
        extra_index_urls=config.extra_index_urls,
        wheelhouses=tuple(Path(folder) for folder in config.wheelhouses),
        built=job.cache.absolute() / "wheels",
        env=job.environment.variables,
    )
    return _with_model(found, job, model) if model else found


def _with_model(found: Indexes, job: Job, model: Model) -> Indexes:
    named = model.indexes
    urls = {
        str(canonicalize_name(requirement.name)): requirement.url
        for line in (*model.requirements, *job.config.requirements)
        if "@" in line and (requirement := parsed(line, model)).url and "://" in requirement.url
    }
    found = replace(found, model=model.path, urls=urls)
    for url in (named.index_url or "", *named.extra_index_urls, *named.find_links):
        _refuse_login(url, model)
    if job.config.wheelhouses:
        return found
    expand = functools.partial(_expanded, job=job, model=model)
    return replace(
        found,
        index_url=found.index_url or (expand(named.index_url) if named.index_url else None),
        model_index_urls=tuple(expand(url) for url in named.extra_index_urls),
        find_links=tuple(
            expand(link) if "://" in link else str((model.path / link).absolute())
            for link in named.find_links
        ),
    )


def _refuse_login(url: str, model: Model) -> None:
    if redacted(url) != url and not re.search(r"//[^/@]*\$\{\w+\}[^/@]*@", url):
        msg = f"the requirements of {model.pin.uri} hold the login of a package index"
        raise LockError(msg, hint="it would be in the image: log the model with the index alone, use .netrc")


def _expanded(url: str, job: Job, model: Model) -> str:
    """The URL of an index that a model names, with the variables in it, as pip does."""
    for name in re.findall(r"\$\{(\w+)\}", url):
        if name not in job.environment.variables:
            msg = f"the requirements of {model.pin.uri} name an index with ${{{name}}}, which is not set"
            raise LockError(msg, hint=f"{name}=VALUE in the environment, or --index-url")
    variables = job.environment.variables
    url = re.sub(r"\$\{(\w+)\}", lambda match: urllib.parse.quote(variables[match[1]], safe=""), url)
    if not _is_index(url):
        msg = f"the requirements of {model.pin.uri} name a package index that is no URL"
        raise LockError(msg, hint="--index-url https://HOST/PATH")
    return url


def _platform(config: Config) -> Platform:
    """The one platform of a job for one."""
    (platform,) = platforms(config)
    return platform


def _is_moment(text: str) -> bool:
    """Whether uv reads the same moment in every time zone and year (RFC 3339, or a date)."""
    shape = r"(\d{4}-\d\d-\d\d)(?:(T\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))?"
    if not (match := re.fullmatch(shape, text, re.ASCII)):
        return False
    try:
        datetime.datetime.fromisoformat(match[1] + (match[2] or ""))
    except ValueError:
        return False
    return True


def _is_index(text: str) -> bool:
    """Whether uv takes it for an index: a URL or an absolute path, maybe with a name before it."""
    url = re.sub(r"^[A-Za-z0-9_.-]+=", "", text)
    try:
        parts = urllib.parse.urlsplit(url)
        # Reading the port shows whether there is one, and not the rest of a password.
        named = parts.hostname is not None and (parts.port or True)
    except ValueError:
        return False
    if any(c.isspace() for c in text):
        return False
    return bool(
        url.startswith("/") or parts.scheme == "file" or (parts.scheme in ("http", "https") and named)
    )


def verify_options(job: Job) -> VerifyOptions:
    """How an image is tried out."""
    return VerifyOptions(
        scratch=job.cache / "run",
        records=job.cache / "verified",
        env=job.environment.variables,
        means=job.verify_with,
        timeout_seconds=job.verify_timeout_seconds,
        again=job.refresh,
    )
