"""What a repository says is released, how to write there, and requests for review."""

from __future__ import annotations

from dataclasses import dataclass

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
    """The pin that may not be deployed, since it was rolled back."""


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
        "`kustomize`, `helm` or `manifests`; default: as the folder is, else kustomize.", default=None
    )
    gitops: str | None = _option("Objects to write for it: `argo` or `flux`; default none.", default=None)
    forge: str | None = _option("`github`, `gitlab` or `gitea`; default: by the host's name.", default=None)
    forge_url: str | None = _option("URL of its API, where it is not the usual one.", default=None)
    sign: bool | None = _option("Sign commits; default: as Git's configuration says.", default=None)
    signoff: bool = _option("Add a `Signed-off-by` line.", default=False)
    max_attempts: int = _option("How often a push is tried.", default=5)
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
