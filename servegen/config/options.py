"""Every key of servegen.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from servegen.values.deployment import Settings
from servegen.values.gitops import GitSettings
from servegen.values.serving import ServingSettings


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """One entry of `environments`: what is different there."""

    model: str | None = field(default=None, metadata={"help": "Instead of `model`."})
    image: str | None = field(default=None, metadata={"help": "Instead of `image`."})
    tracking_uri: str | None = field(default=None, metadata={"help": "Instead of `tracking_uri`."})
    registry_uri: str | None = field(default=None, metadata={"help": "Instead of `registry_uri`."})
    runtime: str | None = field(default=None, metadata={"help": "Instead of `runtime`."})
    serving: ServingSettings = field(
        default_factory=ServingSettings, metadata={"help": "Keys of `serving` that differ."}
    )
    deploy: Settings = field(default_factory=Settings, metadata={"help": "Keys of `deploy` that differ."})
    git: GitSettings = field(default_factory=GitSettings, metadata={"help": "Keys of `git` that differ."})


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
    runtime: str | None = field(
        default=None,
        metadata={
            "help": "What serves in the image: bentoml or uvicorn; default bentoml, accelerated uvicorn."
        },
    )
    accelerate: str = field(
        default="off",
        metadata={"help": "onnx: serve the model as ONNX where it provably answers alike; off does not."},
    )
    compression: str = field(
        default="zstd", metadata={"help": "Of layers: zstd, or gzip for consumers that know no zstd."}
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
    git: GitSettings = field(
        default_factory=GitSettings, metadata={"help": "The repository that `--target git` commits to."}
    )
    environments: Mapping[str, Overrides] = field(
        default_factory=dict,
        metadata={"help": "What differs in an environment, by its name; chosen with --env NAME."},
    )
