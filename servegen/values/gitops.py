"""What a repository says is released, how to write there, and requests for review."""

from __future__ import annotations

from dataclasses import dataclass, field

from servegen.values.image import ImageRef
from servegen.values.option import option as _option

DEFAULT_ENVIRONMENT = "default"
"""Name of the environment in layouts where none is named."""
REVIEWED = ("prod", "production")
"""Environments that are changed by a pull request where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a repository says is released in one environment; what an image lacks is None."""

    model_name: str
    version: str
    """Registry version, or `sha-` and 12 digits of the content digest."""
    image: ImageRef
    """With digest."""
    environment: str | None = None
    uri: str | None = None
    """Model URI as it was typed, often an alias."""
    pin: str | None = None
    """The same with the version that it stood for."""
    run_id: str | None = None
    model_digest: str | None = None
    profile: str | None = None
    """Hash of the measured profile; None where numbers were not measured."""
    replicas: str | None = None
    """Fewest and most replicas, such as `2-10`, or the one number."""
    held: str | None = None
    """The pin that may not be deployed, since it was rolled back; several, each on a line of its own."""

    @property
    def holds(self) -> tuple[str, ...]:
        """All pins that may not be deployed."""
        return tuple((self.held or "").splitlines())


@dataclass(frozen=True, kw_only=True)
class ArgoSettings:
    """`git.argo`: the Application or ApplicationSet of Argo CD."""

    project: str | None = _option("AppProject of the applications; never `default`.", default=None)
    namespace: str = _option("Namespace of Argo CD.", default="argocd")
    server: str = _option("Cluster to deploy to.", default="https://kubernetes.default.svc")
    folder: str = _option("Folder in the repository for these objects.", default="argocd")
    application_set: bool = _option("One ApplicationSet for all models and environments.", default=False)
    finalizer: bool = _option("Delete what was deployed when the Application is deleted.", default=False)


@dataclass(frozen=True, kw_only=True)
class FluxSettings:
    """`git.flux`: the source, and the Kustomization or HelmRelease of Flux."""

    namespace: str = _option("Namespace of Flux.", default="flux-system")
    folder: str | None = _option(
        "Folder in the repository for these objects; default `clusters/ENVIRONMENT`.", default=None
    )
    source: str | None = _option(
        "A GitRepository or OCIRepository that is there already; default: one is written.", default=None
    )
    secret: str | None = _option("Secret with the source's login.", default=None)
    verify_secret: str | None = _option(
        "Secret with public keys; what they did not sign is not applied.", default=None
    )


@dataclass(frozen=True, kw_only=True)
class GitSettings:
    """`git` in servegen.yaml: where deployments are committed, and how."""

    repo: str | None = _option("URL of the repository, or the folder of a checkout.", default=None)
    branch: str | None = _option("Branch; default: the one that the repository names.", default=None)
    path: str | None = _option("Folder of the model in it; default `apps/NAME`.", default=None)
    mode: str | None = _option(
        "`commit`, `pr`, or `auto`, which commits and where the branch is protected makes a pull request; "
        "default `commit`, and `pr` in the environments prod and production.",
        default=None,
    )
    layout: str | None = _option(
        "`kustomize`, `helm`, `values` or `manifests`; default: as the folder is, else kustomize.",
        default=None,
    )
    chart: str | None = _option(
        "Of the layout `values`: the chart in a registry, as `oci://REGISTRY/FOLDER/CHART:VERSION`.",
        default=None,
    )
    gitops: str | None = _option("Objects to write for it: `argo` or `flux`; default none.", default=None)
    forge: str | None = _option("`github`, `gitlab` or `gitea`; default: by the host's name.", default=None)
    forge_url: str | None = _option("URL of its API, where it is not the usual one.", default=None)
    sign: bool | None = _option("Sign commits; default: as Git's configuration says.", default=None)
    signoff: bool = _option("Add a `Signed-off-by` line.", default=False)
    max_attempts: int = _option("How often a push is tried.", default=5)
    argo: ArgoSettings = field(
        default_factory=ArgoSettings, metadata={"help": "How Argo CD deploys what is there."}
    )
    flux: FluxSettings = field(
        default_factory=FluxSettings, metadata={"help": "How Flux deploys what is there."}
    )
    tags: bool = _option("Tell on the model version in MLflow where it was deployed, by tags.", default=True)


@dataclass(frozen=True, kw_only=True)
class Commit:
    """What a delivery to a repository came to."""

    id: str
    """Of the commit that holds the release; of the branch's head where nothing changed."""
    branch: str
    repository: str
    """URL, without login."""
    url: str | None = None
    """Of the request for review, or the page that opens one."""
    attempts: int = 1
    """Pushes that were tried."""


@dataclass(frozen=True, kw_only=True)
class ChangeRequest:
    """A request to review what one branch has over another one."""

    title: str
    body: str
    """Markdown."""
    source_branch: str
    target_branch: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OpenedRequest:
    """A request that a forge has."""

    url: str
    number: int
    created: bool
    """False where an open one was updated."""
