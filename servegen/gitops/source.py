"""What Argo CD or Flux reads: a repository, its revision, and a model's folder in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from servegen.errors import ConfigError
from servegen.gitops.layouts import layout
from servegen.gitops.layouts.helm import values_file
from servegen.gitops.layouts.values import CHART as CHART_IN_REGISTRY
from servegen.values.deployment import Deployment
from servegen.values.gitops import GitSettings

LAYOUTS = ("helm", "kustomize", "manifests")
"""Layouts and formats that both controllers can apply."""
VALUES = "values"
"""The layout whose chart is in a registry."""
CHART = "chart"
"""Folder of the chart in the layout `helm`."""
_URL = re.compile(r"(?:https?|ssh|oci)://[^\s{}'\"\\]+")
_SCP = re.compile(r"(?P<login>[\w.-]+@)?(?P<host>[\w.-]+):(?!//)(?P<path>[^\s{}'\"\\]+)")
# Paths become parts of templates and of globs, in which other letters mean something.
_PATH = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]*(?:/[A-Za-z0-9._][A-Za-z0-9._-]*)*")
_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the files of one model are."""

    url: str
    """As typed, without a login."""
    revision: str | None
    """Branch, tag, digest or commit; None where nobody said."""
    path: str
    """The model's folder, without slashes at its ends; empty for the root."""
    layout: str
    chart: Source | None = None
    """Where the chart is, of the layout `values`."""

    @property
    def oci(self) -> bool:
        """Whether the files are an artifact in a registry and not in Git."""
        return self.url.startswith("oci://")

    @property
    def ssh_url(self) -> str:
        """The URL in the only form that Flux takes: `host:path` is written as ssh://."""
        match = None if "://" in self.url else _SCP.fullmatch(self.url)
        if match is None:
            return self.url
        return f"ssh://{match['login'] or ''}{match['host']}/{match['path'].lstrip('/')}"

    @property
    def name(self) -> str:
        """The repository's name as one of a Kubernetes object."""
        last = self.url.rstrip("/").removesuffix(".git").rpartition("/")[2].rpartition(":")[2]
        return slug(last)

    def applied(self, environment: str | None) -> str:
        """What is applied of an environment, from the root."""
        part = layout(self.layout).applied(environment).strip("/")
        return "/".join(one for one in (self.path, part) if one not in ("", ".")) or "."

    def telling(self, environment: str | None) -> str:
        """The folder or file, from the root, that alone says which environment is meant."""
        if self.layout != "helm":
            return self.applied(environment)
        return f"{self.path}/{values_file(environment)}".lstrip("/")


def source(deployment: Deployment, git: GitSettings, layout_name: str) -> Source:
    """The source that the settings name; ConfigError for one that no controller could read."""
    if layout_name not in (*LAYOUTS, VALUES):
        msg = f"Argo CD and Flux do not apply the format {layout_name}"
        raise ConfigError(msg, hint=f"--format, or git.layout: one of {', '.join(LAYOUTS)}")
    path = f"apps/{deployment.name}" if git.path is None else git.path.strip("/").removeprefix("./")
    place = Source(
        url=_checked(git.repo),
        revision=_revision(git.branch),
        path=folder("git.path", "" if path == "." else path),
        layout=layout_name,
    )
    return replace(place, chart=_chart(git.chart, place)) if layout_name == VALUES else place


def slug(text: str) -> str:
    """A name for an object of what need not be one."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-") or "models"


def folder(key: str, path: str) -> str:
    """A path in the repository; ConfigError for one that leads out of it or would mean something else."""
    clean = path.strip("/")
    if clean and (not _PATH.fullmatch(clean) or ".." in clean.split("/") or "." in clean.split("/")):
        msg = f"{key} cannot be {path!r}"
        raise ConfigError(msg, hint="a folder in the repository of letters, digits, '.', '_' and '-'")
    return clean


def label(key: str, text: str) -> str:
    """A name of a Kubernetes object; ConfigError for what is none."""
    if len(text) > 253 or not _LABEL.fullmatch(text):
        msg = f"{key} cannot be {text!r}"
        raise ConfigError(msg, hint="lower-case letters, digits, '-' and '.', as Kubernetes names objects")
    return text


def check_chart(text: str) -> tuple[str, str]:
    """URL and version of a chart in a registry; ConfigError for what is none."""
    match = CHART_IN_REGISTRY.fullmatch(text)
    if match is None:
        msg = f"git.chart cannot be {text!r}"
        raise ConfigError(msg, hint="--chart oci://REGISTRY/FOLDER/CHART:VERSION, without a digest")
    return match[1], match[2]


def _chart(text: str | None, place: Source) -> Source:
    if text is None:
        msg = "the layout values has no chart in the repository, so Argo CD and Flux have to be told of it"
        raise ConfigError(msg, hint="--chart oci://REGISTRY/FOLDER/CHART:VERSION, or git.chart")
    url, version = check_chart(text)
    return replace(place, url=url, revision=version, layout="helm")


def _checked(url: str | None) -> str:
    if not url:
        msg = "Argo CD and Flux need the URL of the repository"
        raise ConfigError(msg, hint="--repo https://HOST/OWNER/NAME, or git.repo in servegen.yaml")
    scp = "://" not in url and _SCP.fullmatch(url)
    if not scp and not _URL.fullmatch(url):
        msg = f"the repository {url!r} cannot be read by Argo CD or Flux"
        raise ConfigError(msg, hint="--repo https://…, ssh://…, git@HOST:OWNER/NAME or oci://…")
    login = "" if scp else url.partition("://")[2].partition("/")[0].rpartition("@")[0]
    # A user without a password is what ssh needs.
    if login and (":" in login or not url.startswith("ssh://")):
        msg = f"the repository {url} has a login in its URL, which would be committed"
        raise ConfigError(
            msg, hint="take it out; git.flux.secret, or a repository Secret of Argo CD, holds it"
        )
    return url


def _revision(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[\w./@:+-]+", text, re.ASCII):
        msg = f"git.branch cannot be {text!r}"
        raise ConfigError(msg, hint="the name of a branch or tag, or a digest")
    return text
