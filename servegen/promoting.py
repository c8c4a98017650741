"""A release goes from one environment to another: the same image, with the numbers of the other one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from servegen.attest.keys import public_key
from servegen.attest.signing import is_signed
from servegen.errors import (
    ClusterUnreachableError,
    ConfigError,
    ForbiddenError,
    ImageNotFoundError,
    RegistryAuthError,
    RegistryError,
    ServegenError,
)
from servegen.gitops.promotion import (
    HEALTHY,
    PRESENT,
    Gate,
    check,
    paragraph,
    profiled,
    recorded_image,
)
from servegen.images import find_image, image_reference, verify_image
from servegen.job import Job, registry
from servegen.kube import status
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.oci.copying import copy_image
from servegen.oci.registry import Registry
from servegen.oci.store import Store
from servegen.planning.deployment import instance_name, object_name, plan
from servegen.progress import Progress
from servegen.sources.uri import RegistryURI, parse
from servegen.targets.git import Git
from servegen.values.delivery import Delivery
from servegen.values.deployment import Deployment
from servegen.values.gitops import Record
from servegen.values.image import Image, ImageRef


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What is to go where, and on which conditions."""

    source: Job
    """As servegen.yaml is in the environment to take from."""
    target: Job
    """The same in the environment to bring to."""
    require: frozenset[str] = frozenset()
    key: Path | None = None
    """Public key that has to have signed the image, where `signed` is required."""
    copy: bool = False
    """Bring the image into the target's repository."""
    cluster: ClusterOptions | None = None
    """That of the source; None asks none."""


@dataclass(frozen=True, kw_only=True)
class Promoted:
    """What came of it."""

    delivery: Delivery
    image: str
    pin: str | None
    gates: tuple[Gate, ...]


def promote(
    name: str | None, wanted: Promotion, place: Git, progress: Progress, *, dry_run: bool = False
) -> Promoted | str:
    """Commit the release of the source for the target; with `dry_run` what that would change, as a diff.

    Raises PromotionError where a condition is not met, NotDeployedError where there is no release.
    """
    record, commit = _record(name, wanted, place)
    source, ref = record.image, _reference(wanted.target, record)
    gates = [_healthy(record, wanted), *_required(record, wanted, progress)]
    # What costs minutes is not begun where something else is in the way.
    check(gates, wanted.require)
    with registry(wanted.target, progress) as remote:
        if wanted.copy and not dry_run and ref.name != source.name:
            _copy(source, ref, remote, wanted, progress)
        gates.append(_present(ref, source, remote, wanted, dry_run=dry_run))
    check(gates, wanted.require)
    for gate in gates:
        if gate.met is None:
            progress.warn(f"{gate.name} was not checked: {gate.why}")
    deployment = _planned(record, ref, gates, wanted, progress)
    if dry_run:
        return place.diff(deployment)
    environment = wanted.source.config.deploy.environment or "default"
    delivery = place.deliver(
        deployment,
        progress=progress,
        notes=(paragraph(environment, commit, gates),),
        verb="promote",
        gates=gates,
    )
    return Promoted(delivery=delivery, image=ref.pinned, pin=record.pin, gates=tuple(gates))


def _record(name: str | None, wanted: Promotion, place: Git) -> tuple[Record, str]:
    """What is released in the source, and at which commit that was read."""
    config = wanted.source.config
    folder = folder_name(name, wanted.source)
    record, commit = place.within(config).record(folder, config.deploy.environment)
    if name is not None and name not in (record.model_name, object_name(record.model_name, config.deploy)):
        msg = f"what is released there is {record.model_name}, not {name}"
        raise ConfigError(msg, hint="run it in the folder of that model's servegen.yaml, or name --path")
    return record, commit


def folder_name(name: str | None, job: Job) -> str | None:
    """What the model's folder is called where nothing else is said; None where only a path tells.

    Raises ConfigError where neither is known.
    """
    config = job.config
    named = config.deploy.name or name or _model_name(config.model)
    # Also where only a path tells: an environment becomes part of paths.
    made = object_name(named or "model", config.deploy)
    return made if named else None


def _reference(job: Job, record: Record) -> ImageRef:
    """The image under the name that the target's settings give it."""
    if job.config.image is None:
        return record.image
    named = image_reference(job.config.image)
    return replace(named, tag=record.image.tag or named.tag, digest=record.image.digest)


def _healthy(record: Record, wanted: Promotion) -> Gate:
    """Whether the source's pods run this image, all of them."""
    if wanted.cluster is None:
        return Gate(name=HEALTHY, met=None, why="no cluster was asked")
    settings = wanted.source.config.deploy
    instance = instance_name(record.model_name, settings)
    try:
        cluster = Cluster.connect(wanted.cluster)
        found = status.read(cluster, instance)
    except (ClusterUnreachableError, ForbiddenError) as exc:
        return Gate(name=HEALTHY, met=None, why=str(exc))
    except ServegenError as exc:
        return Gate(name=HEALTHY, met=False, why=str(exc))
    where = f"{instance} in namespace {cluster.namespace}"
    if not found:
        # An overlay may have another namespace than servegen.yaml, and then this is none's fault.
        named = settings.namespace is not None
        return Gate(name=HEALTHY, met=False if named else None, why=f"there is no {where}")
    one = found[0]
    if not one.image.endswith(f"@{record.image.digest}"):
        return Gate(
            name=HEALTHY, met=False, why=f"{where} runs version {one.version}, not {record.version} of git"
        )
    if not one.healthy:
        why = one.rollout if one.rollout != "complete" else one.scaling.why if one.scaling else "it is not"
        return Gate(name=HEALTHY, met=False, why=f"{where}: {why}")
    return Gate(name=HEALTHY, met=True, why=f"{where}: {one.ready} of {one.replicas} pods ready")


def _required(record: Record, wanted: Promotion, progress: Progress) -> list[Gate]:
    gates = []
    if "profiled" in wanted.require:
        gates.append(profiled(record))
    if "signed" in wanted.require:
        gates.append(_signed(record, wanted, progress))
    if "verified" in wanted.require and all(gate.met is not False for gate in gates):
        gates.append(_verified(record, wanted, progress))
    return gates


def _signed(record: Record, wanted: Promotion, progress: Progress) -> Gate:
    if wanted.key is None:
        msg = "--require signed needs the key that has to have signed it"
        raise ConfigError(msg, hint="--key cosign.pub")
    key, digest = public_key(wanted.key), str(record.image.digest)
    try:
        with registry(wanted.source, progress) as remote:
            met = is_signed(remote.repository(record.image), digest, key)
    except RegistryError as exc:
        return Gate(name="signed", met=None, why=str(exc))
    return Gate(name="signed", met=met, why=f"by {wanted.key.name}" if met else f"not by {wanted.key.name}")


def _verified(record: Record, wanted: Promotion, progress: Progress) -> Gate:
    job = replace(wanted.source, push=True)
    try:
        found = verify_image(record.image.pinned, job, progress)
    except RegistryError as exc:
        return Gate(name="verified", met=None, why=str(exc))
    except ServegenError as exc:
        return Gate(name="verified", met=False, why=str(exc))
    if not found.replayed:
        return Gate(name="verified", met=False, why="it has no input example, so its answers are unchecked")
    return Gate(name="verified", met=True, why=f"answers as the model does, run with {found.means}")


def _copy(source: ImageRef, ref: ImageRef, remote: Registry, wanted: Promotion, progress: Progress) -> None:
    if ref.tag and remote.manifest_digest(replace(ref, digest=None)) not in (None, ref.digest):
        progress.warn(f"{ref.name}:{ref.tag} is another image and stays so: the copy has no tag there")
        ref = replace(ref, tag=None)
    copy_image(source, ref, remote, Store(wanted.target.store), progress)


def _present(ref: ImageRef, source: ImageRef, remote: Registry, wanted: Promotion, *, dry_run: bool) -> Gate:
    """Whether the nodes of the target can pull it."""
    if not ref.registry:
        return Gate(name=PRESENT, met=None, why=f"{ref.name} names none")
    try:
        found = remote.manifest_digest(replace(ref, tag=None))
        if found is None and dry_run and wanted.copy:
            found = remote.manifest_digest(replace(source, tag=None))
    except RegistryAuthError:
        raise
    except RegistryError as exc:
        return Gate(name=PRESENT, met=None, why=str(exc))
    if found is None:
        return Gate(name=PRESENT, met=False, why=f"{ref.pinned} is not there")
    return Gate(name=PRESENT, met=True, why=ref.name)


def _planned(
    record: Record, ref: ImageRef, gates: Collection[Gate], wanted: Promotion, progress: Progress
) -> Deployment:
    job = wanted.target
    image = _image(record, ref, gates, job, progress)
    deployment = plan(image, job.config.deploy, job.shared)
    if deployment.model.pin != record.pin or deployment.model.name != record.model_name:
        msg = f"{ref.pinned} is {deployment.model.pin}, but git says {record.pin}"
        raise ConfigError(msg, hint="the record was edited: deploy to the source environment again")
    return replace(deployment, profile=record.profile or "none")


def _image(record: Record, ref: ImageRef, gates: Collection[Gate], job: Job, progress: Progress) -> Image:
    if not any(gate.name == PRESENT and gate.met for gate in gates):
        progress.warn("no registry was asked about the image: what git says of it is taken over")
        return recorded_image(record, ref)
    asked = replace(job, push=True)
    try:
        found = find_image(ref.pinned, asked, progress)
    except ImageNotFoundError:
        # A copy that is yet to be made.
        found = find_image(record.image.pinned, asked, progress)
    return replace(found, ref=ref, asked=record.uri)


def _model_name(model: str | None) -> str | None:
    uri = parse(model) if model else None
    return uri.name if isinstance(uri, RegistryURI) else None
