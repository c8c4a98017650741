"""A release on a branch of its own → its request for review, with what a reviewer has to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from servegen.config import Config, Environment
from servegen.errors import ModelError
from servegen.forges.http import Network
from servegen.forges.proposing import proposed
from servegen.gitops import body, files
from servegen.gitops.promotion import Gate
from servegen.gitops.releasing import Release
from servegen.job import Job
from servegen.kube import metadata
from servegen.progress import Progress
from servegen.values.gitops import ChangeRequest, GitSettings, Record


@dataclass(frozen=True, kw_only=True)
class Review:
    """What waits for it."""

    title: str
    release: Release
    target_branch: str
    gates: Sequence[Gate] = ()
    """Conditions that were looked at before."""


def propose(
    review: Review, config: Config, environment: Environment, git: GitSettings, progress: Progress
) -> str | None:
    """Open or update the request for the branch that was pushed; the URL to go on at.

    Raises ForgeError where the forge refuses.
    """
    made, record = review.release, review.release.after
    before, after = _sides(made, config, environment, progress)
    other = made.before.model_name if made.before else record.model_name
    swap = (f"Takes the place of the model {other}.",) if other != record.model_name else ()
    change = body.Change(
        model_name=record.model_name,
        environment=record.environment,
        before=before,
        after=after,
        diff=files.diff(made.changes),
        gates=tuple(review.gates),
        notes=(*made.notes, *swap),
    )
    request = ChangeRequest(
        title=review.title,
        body=body.body(change),
        source_branch=made.commit.branch,
        target_branch=review.target_branch,
        labels=tuple(one for one in (metadata.MANAGER, record.environment) if one),
    )
    return proposed(
        made.commit.repository,
        request,
        git=git,
        tokens=environment.forge_tokens,
        network=Network(proxies=environment.proxies),
        told=made.commit.url,
        progress=progress,
    )


def stores(config: Config, environment: Environment) -> tuple[str | None, str | None]:
    """Tracking server and registry of MLflow, where they are named."""
    return (
        config.tracking_uri or environment.tracking_uri,
        config.registry_uri or environment.registry_uri,
    )


def _sides(
    made: Release, config: Config, environment: Environment, progress: Progress
) -> tuple[body.Release | None, body.Release]:
    """Both releases with what their runs and images tell."""
    from servegen.contents import Contents, contents

    if not environment.forge_tokens:
        # Then no request is opened, and registries are not asked for nothing.
        return (body.release(made.before) if made.before else None), body.release(made.after)
    records = [one for one in (made.before, made.after) if one]
    # The same image twice is no comparison.
    refs = list(dict.fromkeys(replace(one.image, tag=None) for one in records))
    job = Job(config=config, environment=environment, lock_file=None)
    known = dict(zip(refs, contents(refs, job, progress), strict=True))
    told = [known[replace(one.image, tag=None)] for one in records]
    if not all(one.requirements for one in told):
        # Against nothing, all of them would be new.
        told = [Contents(image_bytes=one.image_bytes) for one in told]
    sides = [
        body.release(
            record,
            image_bytes=one.image_bytes,
            requirements=one.requirements,
            metrics=_metrics(record, config, environment, progress),
        )
        for record, one in zip(records, told, strict=True)
    ]
    return (sides[0] if made.before else None), sides[-1]


def _metrics(
    record: Record, config: Config, environment: Environment, progress: Progress
) -> dict[str, float]:
    """Of the version's run, where the registry tells them."""
    from servegen.sources import runs

    tracking, registry = stores(config, environment)
    if not record.version.isdecimal() or not (tracking or registry):
        return {}
    try:
        (facts,) = runs.version_facts(record.model_name, [record.version], tracking, registry)
    except ModelError as exc:
        progress.warn(f"the metrics of {record.pin or record.version} are not shown: {exc}")
        return {}
    return dict(facts.metrics)
