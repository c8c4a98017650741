"""What registry, repository and cluster say of one release, and where they differ; asks nobody.

A leg that nobody could ask is `Unknown` and never counts as equal to another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from servegen.values.gitops import DEFAULT_ENVIRONMENT, Record

_SPANS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SHOWN = 12
"""Digits of a digest that people get to see."""


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """A leg that was not checked."""

    why: str


@dataclass(frozen=True, kw_only=True)
class Named:
    """What the model URI stands for in the registry at the moment."""

    uri: str
    name: str
    """What moves: `champion`, `Production` or `latest`; the version of a URI that names one."""
    version: str | None
    """None where it stands for nothing, because of `why`."""
    since: float | None = None
    """Seconds since 1970; None where the registry does not keep it."""
    why: str | None = None
    digest: str | None = None
    """Of the released version's files as they are now; None where they were not read."""
    unread: str | None = None
    """Why they were not, where that was asked for."""


@dataclass(frozen=True, kw_only=True)
class Committed:
    """What the repository says."""

    record: Record | None
    """None where nothing is released."""
    since: float | None = None
    """When that was committed, in seconds since 1970."""
    overriding: tuple[str, ...] = ()
    """Files of the user that set the image themselves, and so win over the release."""
    built: str | None = None
    """The image that the cluster would get, with digest; None where nothing could build it."""
    measured: str | None = None
    """Image with which the release's profile was committed first; None where nobody knows."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """What runs."""

    image: str | None
    """Of the Deployment, with digest; None where there is no Deployment."""
    version: str | None = None
    pin: str | None = None
    profile: str | None = None
    pods: tuple[str, ...] = ()
    """The image of each pod that is not ending, as its specification names it."""
    differences: tuple[str, ...] = ()
    """Fields that differ from what the repository wants, server-owned ones left out."""
    unchecked: str | None = None
    """Why fields were not compared; None where they were."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One sentence about one pair of legs."""

    pair: str
    """Such as `registry-git`."""
    kind: str
    """`drift`, `warning`, or `not checked`."""
    message: str
    behind: str | None = None
    """`git` or `cluster`, where it is clear which one has to catch up."""
    since: float | None = None
    """Since when it is behind, in seconds since 1970, where that is known."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One model in one environment."""

    model: str
    environment: str
    registry: str
    """Version with `v` before it, or `not checked`, or `-` for none; so are the next two."""
    git: str
    cluster: str
    findings: tuple[Finding, ...]

    @property
    def state(self) -> str:
        """`drift`, `in sync`, `in part` where some legs were not checked, or `not checked`."""
        kinds = {one.kind for one in self.findings}
        if "drift" in kinds:
            return "drift"
        if sum(leg != UNCHECKED for leg in (self.registry, self.git, self.cluster)) < 2:
            return UNCHECKED
        return "in part" if UNCHECKED in kinds else "in sync"


UNCHECKED = "not checked"
_NONE = "-"


def compare(
    model: str,
    environment: str | None,
    registry: Named | Unknown,
    git: Committed | Unknown,
    cluster: Live | Unknown,
    *,
    now: float,
) -> Comparison:
    """The legs side by side; `now` is in seconds since 1970, for what people read as `since 2 h`."""
    found: list[Finding] = []
    legs = {"registry": registry, "git": git, "cluster": cluster}
    found += [
        Finding(pair=name, kind=UNCHECKED, message=f"{name} not checked: {leg.why}")
        for name, leg in legs.items()
        if isinstance(leg, Unknown)
    ]
    if isinstance(git, Committed):
        if isinstance(registry, Named):
            found += _registry_git(registry, git, now)
        found += _within_git(git)
        if isinstance(cluster, Live):
            found += _git_cluster(git, cluster, now)
    elif isinstance(registry, Named) and isinstance(cluster, Live):
        found += _registry_cluster(registry, cluster, now)
    if isinstance(cluster, Live):
        found += _within_cluster(cluster)
    return Comparison(
        model=model,
        environment=environment or DEFAULT_ENVIRONMENT,
        registry=_named(registry),
        git=_committed(git),
        cluster=_live(cluster),
        findings=tuple(found),
    )


def overriding(overlay: object, image: str) -> bool:
    """Whether a kustomization has an entry in `images` for the repository `image`, which runs last."""
    images = overlay.get("images") if isinstance(overlay, dict) else None
    return any(
        isinstance(one, dict) and one.get("name") == image and one.keys() & {"digest", "newTag", "newName"}
        for one in (images if isinstance(images, list) else ())
    )


def span(seconds: float) -> str:
    """`2 h` for 7300: the largest unit that fits."""
    size, unit = next((one for one in _SPANS if seconds >= one[0]), _SPANS[-1])
    return f"{max(0, int(seconds // size))} {unit}"


def digits(image: str) -> str:
    """The digest of an image as people read it; the image itself where it has none."""
    _, _, digest = image.partition("@")
    return f"{digest[: len('sha256:') + _SHOWN]}…" if digest else image


def _registry_git(registry: Named, git: Committed, now: float) -> Iterator[Finding]:
    pair, record = "registry-git", git.record
    if registry.version is None:
        yield Finding(
            pair=pair, kind="drift", message=f"{registry.uri} stands for no version: {registry.why}"
        )
    elif record is None:
        yield Finding(
            pair=pair,
            kind="drift",
            message=f"{_stands(registry, now)}; git has no release",
            behind="git",
            since=registry.since,
        )
    elif record.version != registry.version:
        held = record.held and f"models:/{record.model_name}/{registry.version}" in record.holds
        why = ", and holds back what was rolled back" if held else ""
        yield Finding(
            pair=pair,
            kind="drift",
            message=f"{_stands(registry, now)}; git has v{record.version}{why}",
            behind=None if held else "git",
            since=registry.since,
        )
    if record and registry.digest and record.model_digest and registry.digest != record.model_digest:
        yield Finding(
            pair="registry-artifact",
            kind="drift",
            message=f"{record.pin} was overwritten in place: its files are not those that were packaged",
        )
    if registry.unread is not None:
        message = f"files of the version not checked: {registry.unread}"
        yield Finding(pair="registry-artifact", kind=UNCHECKED, message=message)


def _within_git(git: Committed) -> Iterator[Finding]:
    record = git.record
    if record is None:
        return
    for path in git.overriding:
        yield Finding(
            pair="git",
            kind="warning",
            message=f"{path} sets the image itself under `images`, which wins over the release",
        )
    if git.built is not None and git.built != record.image.pinned:
        yield Finding(
            pair="git",
            kind="drift",
            message=f"what is built runs {digits(git.built)}, the release is {digits(record.image.pinned)}",
        )
    if git.measured is not None and git.measured != record.image.digest:
        yield Finding(
            pair="profile",
            kind="warning",
            message=f"profile {_cut(record.profile)} was measured on another image, "
            f"{digits('@' + git.measured)}",
        )


def _git_cluster(git: Committed, cluster: Live, now: float) -> Iterator[Finding]:
    pair, record = "git-cluster", git.record
    if record is None:
        if cluster.image is not None:
            yield Finding(
                pair=pair,
                kind="drift",
                message=f"git has no release; the cluster runs v{cluster.version}",
                behind="git",
            )
        return
    ago = _since(git.since, now)
    if cluster.image is None:
        yield Finding(
            pair=pair,
            kind="drift",
            message=f"git has v{record.version}{ago}; the cluster runs nothing",
            behind="cluster",
            since=git.since,
        )
        return
    wanted = git.built or record.image.pinned
    if cluster.image != wanted:
        versions = f"git has v{record.version}{ago}, {digits(wanted)}; the cluster "
        versions += f"v{cluster.version}, {digits(cluster.image)}"
        yield Finding(
            pair=pair,
            kind="drift",
            message=f"{versions}: not synced, or edited",
            behind="cluster",
            since=git.since,
        )
    # Of another image nearly all else differs, too.
    else:
        for text in cluster.differences:
            yield Finding(pair=pair, kind="drift", message=text)
    if cluster.unchecked is not None:
        yield Finding(pair=pair, kind=UNCHECKED, message=f"fields not checked: {cluster.unchecked}")


def _registry_cluster(registry: Named, cluster: Live, now: float) -> Iterator[Finding]:
    pair = "registry-cluster"
    if registry.version is None:
        message = f"{registry.uri} stands for no version: {registry.why}"
        yield Finding(pair=pair, kind="drift", message=message)
    elif cluster.version != registry.version:
        runs = "nothing" if cluster.image is None else f"v{cluster.version}"
        yield Finding(
            pair=pair,
            kind="drift",
            message=f"{_stands(registry, now)}; the cluster runs {runs}",
            behind="cluster",
            since=registry.since,
        )


def _within_cluster(cluster: Live) -> Iterator[Finding]:
    if cluster.image is None:
        return
    others = Counter(image for image in cluster.pods if image != cluster.image)
    for image, count in sorted(others.items()):
        message = f"{count} of {len(cluster.pods)} pods still on {digits(image)}"
        yield Finding(pair="cluster-pods", kind="drift", message=message, behind="cluster")


def _stands(registry: Named, now: float) -> str:
    if registry.name == registry.version:
        return f"{registry.uri} is asked for"
    return f"{registry.name} is v{registry.version}{_since(registry.since, now)}"


def _since(moment: float | None, now: float) -> str:
    return "" if moment is None else f" (since {span(now - moment)})"


def _cut(text: str | None) -> str:
    return (text or "").removeprefix("sha256:")[:_SHOWN]


def _named(leg: Named | Unknown) -> str:
    if isinstance(leg, Unknown):
        return UNCHECKED
    return _NONE if leg.version is None else f"v{leg.version}"


def _committed(leg: Committed | Unknown) -> str:
    if isinstance(leg, Unknown):
        return UNCHECKED
    return _NONE if leg.record is None else f"v{leg.record.version}"


def _live(leg: Live | Unknown) -> str:
    if isinstance(leg, Unknown):
        return UNCHECKED
    return _NONE if leg.image is None else f"v{leg.version}"


def drifted(found: Iterable[Comparison]) -> bool:
    """Whether any of them differs."""
    return any(one.state == "drift" for one in found)
