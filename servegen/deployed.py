"""Deployments that exist: which one a command means, an earlier release of it, and its end."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from servegen.errors import ConfigError, NotDeployedError
from servegen.job import Job
from servegen.kube import Object, apply, names, prune, revisions, traffic
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.kube.release import Release
from servegen.pipeline import resolve_model
from servegen.planning.deployment import instance_name
from servegen.progress import Progress
from servegen.sources.uri import RegistryURI, parse
from servegen.targets.k8s import Kubernetes
from servegen.values.delivery import Change, Delivery


def instance(named: str | None, job: Job, progress: Progress) -> str:
    """The deployment that a command is about: `named`, else the one that `deploy` makes of servegen.yaml.

    The name that all its objects have. Stores are asked only where the model's name is not in its URI.
    """
    if named is not None:
        return checked(named)
    config = job.config
    if config.deploy.name is not None:
        return instance_name(config.deploy.name, config.deploy)
    if config.model is None:
        msg = "no deployment is named"
        raise ConfigError(msg, hint="name it, or give servegen.yaml in this folder a model or a deploy.name")
    uri = parse(config.model)
    name = uri.name if isinstance(uri, RegistryURI) else resolve_model(job, progress).pin.name
    return instance_name(name, config.deploy)


def checked(name: str) -> str:
    """`name` if a deployment can be called so; it becomes part of paths and queries."""
    if not names.is_subdomain(name):
        msg = f"{name!r} cannot be the name of a deployment"
        raise ConfigError(msg, hint="servegen status lists those there are")
    return name


def releases(name: str, options: ClusterOptions) -> tuple[Release, ...]:
    """What of `name` can be rolled back to, oldest first; raises NotDeployedError when nothing can."""
    place = Kubernetes(options=options)
    found = place.releases(name).releases
    if not found:
        raise prune.absent(place.cluster, name)
    return found


def rollback(name: str, number: int | None, options: ClusterOptions, progress: Progress) -> Delivery:
    """Apply release `number` of `name`, or the newest one that is not what runs, and wait for its pods.

    Where no releases are recorded, as after `kubectl apply`, the pods alone go back by one revision.
    """
    place = Kubernetes(options=options)
    found = place.releases(name).releases
    if not found:
        if number is not None or (earlier := revisions.previous(place.cluster, name)) is None:
            raise prune.absent(place.cluster, name)
        progress.warn("no releases are recorded: the pods go back by one revision, all else stays as it is")
        return place.deliver_objects([earlier], progress=progress, whole=False)
    chosen = _numbered(name, number, found) if number is not None else _other(name, place, found)
    progress.step(f"going back to release {chosen.number}, model version {chosen.version}")
    return place.deliver_objects(chosen.objects, progress=progress)


def _numbered(name: str, number: int, found: Sequence[Release]) -> Release:
    for one in found:
        if one.number == number:
            return one
    msg = f"{name} has no release {number}"
    raise NotDeployedError(msg, hint=f"--to one of {', '.join(str(one.number) for one in found)}")


def _other(name: str, place: Kubernetes, found: Sequence[Release]) -> Release:
    for one in reversed(found):
        if place.diff_objects(one.objects):
            return one
    msg = f"{name} runs release {found[-1].number}, and there is no other one"
    raise NotDeployedError(msg, hint="deploy the image that is wanted: servegen deploy IMAGE")


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What a deletion would delete."""

    cluster: Cluster
    objects: tuple[Object, ...]
    """Live, in the order of deletion."""

    @classmethod
    def of(cls, name: str, options: ClusterOptions) -> Removal:
        """All that servegen applied of `name` and of what runs beside it; NotDeployedError without `name`."""
        cluster = Cluster.connect(options)
        apply.require_namespace(cluster)
        found = prune.everything(cluster, name)
        # Nobody would lead requests to it any more.
        for track in traffic.TRACKS:
            with contextlib.suppress(NotDeployedError):
                found += prune.everything(cluster, traffic.beside(name, track))
        return cls(cluster=cluster, objects=found)

    @property
    def namespace(self) -> str:
        """Where the objects are."""
        return self.cluster.namespace

    @property
    def context(self) -> str:
        """The kubeconfig's name for the cluster."""
        return self.cluster.context

    @property
    def names(self) -> tuple[str, ...]:
        """Kind and name of each object."""
        return tuple(apply.key(one) for one in self.objects)

    def carry_out(self, progress: Progress) -> tuple[Change, ...]:
        """Delete them."""
        changes = prune.delete(self.cluster, self.objects)
        for change in changes:
            progress.step(f"{change.kind} {change.name} {change.action}")
        return changes
