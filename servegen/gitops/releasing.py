"""A release becomes a commit: read, render, commit, push; and all of it anew when somebody was faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from servegen.errors import (
    GitError,
    HeldError,
    ProtectedBranchError,
    PushError,
)
from servegen.git import commits
from servegen.git.failures import RaceError, TransportError
from servegen.git.retrying import pause
from servegen.git.worktree import REVIEW, Tree, check_obstacles, inside
from servegen.gitops import beside, files, message, refusing
from servegen.gitops.building import objects_of, refuse_invalid
from servegen.gitops.files import FileChange
from servegen.gitops.layouts import Layout, name_of, programs
from servegen.gitops.layouts.values import Values
from servegen.gitops.live import deployment_of, server_image
from servegen.gitops.refusing import Meaning
from servegen.gitops.wishes import Wishes, layout_of, where
from servegen.kube import Object
from servegen.kube import objects as kube_objects
from servegen.progress import Progress
from servegen.values.bundle import Bundle
from servegen.values.deployment import Deployment
from servegen.values.gitops import DEFAULT_ENVIRONMENT, Commit, Record

_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A release as it would be in the tree as it is."""

    layout: Layout
    before: Record | None
    after: Record
    bundles: Mapping[str, Bundle]
    """Folder → what is written there: that of the model, and beside it the root."""
    changes: tuple[FileChange, ...]
    """By paths from the root."""
    notes: tuple[str, ...] = ()
    """For people who read the commit."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that differ, from the root."""
        return tuple(one.path for one in self.changes if one.action != "unchanged")


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be committed, made anew whenever somebody else was faster."""

    where: str
    """For people: folder and environment."""
    branch: str
    """On which it waits for its review, where it has one."""
    write: Callable[[], tuple[str | None, Draft]]
    """Commit on the tree's head; without an id where nothing is to be changed."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """What became of one deployment in a repository."""

    commit: Commit
    changes: tuple[FileChange, ...]
    """By paths from the root."""
    before: Record | None
    after: Record
    notes: tuple[str, ...] = ()


def record_of(deployment: Deployment, held: str | None = None) -> Record:
    """What a repository will say of the deployment."""
    model, scaling = deployment.model, deployment.autoscaling
    return Record(
        model_name=model.name,
        version=model.version,
        image=deployment.image,
        environment=deployment.environment,
        uri=model.uri,
        pin=model.pin,
        run_id=model.run_id,
        model_digest=model.digest,
        profile=None if deployment.profile == "none" else deployment.profile,
        replicas=f"{scaling.min_replicas}-{scaling.max_replicas}" if scaling else str(deployment.replicas),
        held=held,
    )


def draft(deployment: Deployment, tree: Tree, wishes: Wishes, meaning: Meaning, progress: Progress) -> Draft:
    """The release on top of the tree's head; raises for whatever must not be overwritten."""
    folder = inside(tree.folder, wishes.path)
    chosen, place = layout_of(folder, wishes), deployment.environment
    refusing.check_name(deployment, chosen, folder, wishes)
    before = _readable(chosen, folder, place) if wishes.adopt else chosen.read(folder, place)
    if before and before.model_name != deployment.model.name:
        there = where(wishes.path, place)
        progress.warn(f"{there} had {before.model_name} until now, and gets {deployment.model.name}")
    owned = chosen.owned(folder, place)
    notes = refusing.check_age(deployment, before, owned, tree, wishes, meaning, progress)
    held = None if before is None or wishes.release_hold else before.held
    if before and held and deployment.model.pin in before.holds:
        there = where(wishes.path, deployment.environment)
        msg = f"{deployment.model.pin} was rolled back in {there}, and is held since"
        raise HeldError(msg, hint="deploy another version, or --release-hold")
    bundles = _bundles(deployment, chosen, held, tree, wishes, progress)
    changes = files.below(bundles, tree.folder)
    if not wishes.adopt:
        files.refuse_edited(changes)
    check_obstacles(tree, tuple(one.path for one in changes if one.after is not None))
    return Draft(
        layout=chosen,
        before=before,
        after=record_of(deployment, held),
        bundles=bundles,
        changes=changes,
        notes=notes,
    )


def check_beside(deployment: Deployment, tree: Tree, wishes: Wishes, progress: Progress) -> None:
    """ConfigError for settings of Argo CD or Flux that cannot be."""
    _bundles(deployment, layout_of(inside(tree.folder, wishes.path), wishes), None, tree, wishes, progress)


def _bundles(
    deployment: Deployment, chosen: Layout, held: str | None, tree: Tree, wishes: Wishes, progress: Progress
) -> dict[str, Bundle]:
    """What is written, by the folder that it is in."""
    settings, place = replace(wishes.settings, path=wishes.path), deployment.environment
    if isinstance(chosen, Values):
        chosen = chosen.of_chart(settings.chart, tree.folder / wishes.path, place)
        settings = replace(settings, chart=chosen.chart)
    elif settings.chart:
        progress.warn(f"{wishes.path} is laid out as {name_of(chosen)}, so nothing takes {settings.chart}")
    released = chosen.bundle(deployment, held=held)
    added = beside.introduced(deployment, chosen, settings, tree, progress)
    return {
        wishes.path: released,
        "": beside.repeating(released, place, settings, added, tree, progress),
    }


def recorded(environment: str | None, tree: Tree, wishes: Wishes) -> Record | None:
    """What the tree's head says is released in that environment; None for nothing."""
    folder = inside(tree.folder, wishes.path)
    return layout_of(folder, wishes).read(folder, environment)


def release(
    deployment: Deployment, tree: Tree, wishes: Wishes, meaning: Meaning, progress: Progress
) -> Release:
    """Commit the deployment and push it; raises what `land` raises."""
    validated: set[str] = set()
    work = Work(
        where=where(wishes.path, deployment.environment),
        branch=review_branch(deployment),
        write=lambda: _write(deployment, tree, wishes, meaning, validated, progress),
    )
    return land(work, tree, wishes, progress)


def land(work: Work, tree: Tree, wishes: Wishes, progress: Progress) -> Release:
    """Commit and push, however often others are faster; PushError when that never ends."""
    commits.check_identity(tree)
    _warn_of_checkout(tree, wishes, progress)
    made: list[tuple[str, Draft]] = []
    error: GitError | None = None
    mode = wishes.mode
    for attempt in range(1, wishes.max_attempts + 1):
        try:
            if attempt > 1:
                pause(attempt)
            tree.fetch()
            # A push may have arrived although its answer did not.
            landed = next((one for one in reversed(made) if commits.contains(tree, one[0])), None)
            if landed:
                return _done(landed[0], landed[1], tree, tree.branch, attempt)
            commit_id, drafted = work.write()
            if commit_id is None:
                progress.step(f"{work.where} is unchanged")
                return _done(tree.head or "", drafted, tree, tree.branch, attempt)
            made.append((commit_id, drafted))
            if mode != "pr":
                try:
                    commits.push(tree, commit_id, tree.branch)
                except ProtectedBranchError:
                    if mode != "auto":
                        raise
                    progress.step(f"{tree.branch} is protected: making a branch to review")
                    mode = "pr"
                else:
                    tree.pushed(commit_id)
                    return _done(commit_id, drafted, tree, tree.branch, attempt)
            return _for_review(work.branch, commit_id, drafted, tree, attempt, progress)
        except (RaceError, TransportError) as exc:  # noqa: PERF203 (an attempt is what may fail)
            error = exc
            progress.step(f"attempt {attempt} of {wishes.max_attempts}: {exc}")
    assert error is not None  # noqa: S101 (only errors lead here)
    msg = f"{work.where} could not be pushed in {wishes.max_attempts} attempts: {error}"
    head = f"the head of {tree.branch} is {tree.head[:_SHOWN]}" if tree.head else f"{tree.branch} is empty"
    raise PushError(msg, hint=f"{head}; run the command again, or --max-attempts {2 * wishes.max_attempts}")


def review_branch(deployment: Deployment) -> str:
    """The branch on which a release waits for its review."""
    digest = str(deployment.image.digest).removeprefix("sha256:")[:_SHOWN]
    suffix = "" if deployment.environment else f"-{DEFAULT_ENVIRONMENT}"
    return f"{REVIEW}{deployment.instance}{suffix}-{digest}"


def _write(
    deployment: Deployment,
    tree: Tree,
    wishes: Wishes,
    meaning: Meaning,
    validated: set[str],
    progress: Progress,
) -> tuple[str | None, Draft]:
    """Commit in the tree; without an id where nothing is to be changed."""
    drafted = draft(deployment, tree, wishes, meaning, progress)
    unchanged = replace(drafted, changes=tuple(replace(one, after=one.before) for one in drafted.changes))
    if not drafted.paths:
        return None, unchanged
    files.write(drafted.changes, tree.folder)
    paths = drafted.paths
    if not commits.stage(tree, paths):
        return None, unchanged
    # Most of those who were faster are other models, which change nothing in this folder.
    content = commits.content(tree, wishes.path)
    if content not in validated:
        validate(drafted, deployment, tree, wishes, progress)
        validated.add(content)
    told = (*wishes.notes, *drafted.notes)
    text = message.deployed(deployment.name, drafted.after, drafted.before, told, verb=wishes.verb)
    commit_id = commits.commit(tree, paths, text, wishes.style)
    if commit_id is None:
        return None, unchanged
    files.check_committed(files.below(drafted.bundles, tree.folder))
    return commit_id, drafted


def validate(drafted: Draft, deployment: Deployment, tree: Tree, wishes: Wishes, progress: Progress) -> None:
    """ValidationError where the written files give objects that Kubernetes would refuse.

    Warns of files of others that give the server another image than the one that is released.
    """
    folder = tree.folder / wishes.path
    owned = {f"{wishes.path}/{path}" for path in drafted.layout.owned(folder, deployment.environment)}
    changed = set(drafted.paths) - owned
    texts = dict((*drafted.bundles[""].files, *drafted.bundles[""].starters))
    shared = any(path not in texts for path in changed)
    # What all environments share is built for each of them.
    names = drafted.layout.environments(folder) if shared else (deployment.environment,)
    built: list[Object] = [*kube_objects.build(deployment)]
    built += [one for path in changed & texts.keys() for one in yaml.safe_load_all(texts[path]) if one]
    try:
        for name in names:
            place = None if name == DEFAULT_ENVIRONMENT else name
            one = objects_of(drafted.layout, folder, place, tree, progress)
            built += one
            server = deployment_of(one) if place == deployment.environment else None
            image = server and server_image(server)
            if image and not image.endswith(f"@{deployment.image.digest}"):
                progress.warn(
                    f"{where(wishes.path, place)} will run {image}, not "
                    f"{deployment.image.pinned}: an `images` entry of the overlay wins over the release"
                )
    except programs.AbsentProgramError as exc:
        progress.warn(f"only the objects themselves are checked: {exc}")
    refuse_invalid(built, deployment.kube_version)


def _readable(chosen: Layout, folder: Path, environment: str | None) -> Record | None:
    """The record, where there is one; what --adopt overwrites need not have any."""
    try:
        return chosen.read(folder, environment)
    except GitError:
        return None


def _for_review(
    branch: str, commit_id: str, drafted: Draft, tree: Tree, attempt: int, progress: Progress
) -> Release:
    """Push the commit to a branch of its own; one of ours that is there is updated in place."""
    seen = tree.tip(branch)
    url = None
    if seen is not None:
        foreign = [
            one
            for one in tree.git.output("rev-list", seen, f"^{tree.head}").split()
            if message.IMAGE not in commits.trailers(tree, one)
        ]
        if foreign:
            msg = f"the branch {branch} has commits of others, such as {foreign[0][:_SHOWN]}"
            raise GitError(msg, hint=f"merge it, or delete it: git push origin --delete {branch}")
        if _same_files(tree, seen, commit_id):
            progress.step(f"{branch} has this release already")
            return _done(seen, drafted, tree, branch, attempt)
    url = commits.push(tree, commit_id, branch, seen=seen)
    return _done(commit_id, drafted, tree, branch, attempt, url)


def _same_files(tree: Tree, one: str, other: str) -> bool:
    """Whether two commits have the same files and the same parent."""
    return tree.git.output("rev-parse", f"{one}^{{tree}}", f"{one}^") == tree.git.output(
        "rev-parse", f"{other}^{{tree}}", f"{other}^"
    )


def _done(
    commit_id: str, drafted: Draft, tree: Tree, branch: str, attempt: int, url: str | None = None
) -> Release:
    made = Commit(id=commit_id, branch=branch, repository=tree.git.remote, url=url, attempts=attempt)
    return Release(
        commit=made,
        changes=drafted.changes,
        before=drafted.before,
        after=drafted.after,
        notes=drafted.notes,
    )


def _warn_of_checkout(tree: Tree, wishes: Wishes, progress: Progress) -> None:
    """Tell of changes in the user's own checkout, which are not in the commit."""
    if tree.checkout is None:
        return
    git = tree.git.at(tree.checkout)
    lines = git.output("status", "--porcelain", "--untracked-files=all", "--", wishes.path).splitlines()
    if lines:
        paths = ", ".join(line.strip().partition(" ")[2].strip() for line in lines)
        progress.warn(f"the checkout has changes of its own that are not in the commit: {paths}")
    if tree.head and git.run("rev-parse", "HEAD").stdout.strip() != tree.head:
        progress.warn(f"the checkout is not at {tree.branch} of the remote, which the commit is made on")
