"""An earlier release again: its files as they were committed, and a hold on the one that is taken back."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from servegen.errors import EditedError, GitError, NotDeployedError
from servegen.git import commits, history
from servegen.git.worktree import REVIEW, Tree, check_obstacles, inside
from servegen.gitops import beside, files, message
from servegen.gitops.building import objects_of, refuse_invalid
from servegen.gitops.layouts import Layout, programs, seals
from servegen.gitops.live import deployment_of, server_image
from servegen.gitops.releasing import Draft, Release, Work, land
from servegen.gitops.wishes import Wishes, layout_of, where
from servegen.progress import Progress
from servegen.values.bundle import Bundle
from servegen.values.deployment import KubeVersion
from servegen.values.gitops import DEFAULT_ENVIRONMENT, Record

_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which release is wanted again."""

    environment: str | None
    to: str | None
    """A commit that had it; None: the newest one with another image than that of now."""
    version: KubeVersion
    """Of Kubernetes, for which the files are checked."""


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """A release that was committed once."""

    commit: str
    record: Record
    name: str | None
    """What its objects were called after, where it tells."""
    files: Mapping[str, str]
    """All that it owned, relative to the model's folder."""


@dataclass(frozen=True, kw_only=True)
class Reverted:
    """From where to where a rollback went."""

    name: str
    before: Record
    after: Record
    commit: str
    """That the files are from."""
    of: str | None
    """That made the release which is taken back, where the history still has it."""


def revert(plan: Plan, tree: Tree, wishes: Wishes, progress: Progress) -> tuple[Release, Reverted]:
    """Commit the earlier release and push it; NotDeployedError where there is none."""
    made: list[Reverted] = []

    def write() -> tuple[str | None, Draft]:
        draft, reverted = drafted(plan, tree, wishes, progress)
        made.append(reverted)
        return _write(draft, reverted, plan, tree, wishes, progress)

    # Named by where it is and not by what it brings back, which is known only once the tree was looked into.
    work = Work(where=where(wishes.path, plan.environment), branch=_branch(plan, wishes), write=write)
    done = land(work, tree, wishes, progress)
    return done, made[-1]


def drafted(plan: Plan, tree: Tree, wishes: Wishes, progress: Progress) -> tuple[Draft, Reverted]:
    """The rollback on top of the tree's head; raises for whatever must not be overwritten."""
    folder, environment = inside(tree.folder, wishes.path), plan.environment
    chosen = layout_of(folder, wishes)
    before, owned = chosen.read(folder, environment), chosen.owned(folder, environment)
    if before is None:
        msg = f"nothing is released in {where(wishes.path, environment)}"
        raise NotDeployedError(msg, hint="name the environment: --env NAME")
    of, earlier = _search(plan, tree, wishes, chosen, before, owned)
    now = chosen.named(folder, environment)
    if chosen.shares and None not in (now, earlier.name) and now != earlier.name:
        commit = earlier.commit[:_SHOWN]
        msg = f"commit {commit} has {earlier.name}, and what environments share is of {now} now"
        raise NotDeployedError(msg, hint=f"deploy {earlier.name} again: --adopt, or a --path of its own")
    _warn_of_base(earlier, tree, wishes, owned, progress)
    pins = (*before.holds, *((before.pin,) if before.pin else ()))
    held = "\n".join(dict.fromkeys(pin for pin in pins if pin != earlier.record.pin)) or None
    texts = dict(earlier.files)
    if held != earlier.record.held:
        texts |= chosen.hold(texts, environment, held)
    gone = {path: seals.OWNED for path in owned if path not in texts}
    released = Bundle.of(texts, obsolete=gone)
    # The files say the chart that they were released with.
    settings = replace(wishes.settings, path=wishes.path, chart=None)
    added = beside.repeating(released, environment, settings, Bundle.of({}), tree, progress)
    bundles = {wishes.path: released, "": added}
    changes = files.below(bundles, tree.folder)
    if not wishes.adopt:
        files.refuse_edited(changes)
    check_obstacles(tree, tuple(one.path for one in changes if one.after is not None))
    after = replace(earlier.record, held=held)
    name = folder.name if folder != tree.folder else before.model_name
    draft = Draft(layout=chosen, before=before, after=after, bundles=bundles, changes=changes)
    return draft, Reverted(name=name, before=before, after=after, commit=earlier.commit, of=of)


def _branch(plan: Plan, wishes: Wishes) -> str:
    """Where a rollback waits for its review; a path may have letters that no branch has."""
    name = re.sub("[^A-Za-z0-9_-]+", "-", wishes.path).strip("-") or "root"
    if name != wishes.path.replace("/", "-"):
        name += f"-{hashlib.sha256(wishes.path.encode()).hexdigest()[:8]}"
    return f"{REVIEW}{name}-{plan.environment or DEFAULT_ENVIRONMENT}-rollback"


def _search(
    plan: Plan, tree: Tree, wishes: Wishes, chosen: Layout, before: Record, owned: tuple[str, ...]
) -> tuple[str | None, Earlier]:
    """The commit that made the release of now, and the one to go back to."""
    paths = [f"{wishes.path}/{path}" for path in owned]
    found = _releases(plan.environment, tree, paths)
    if plan.to is not None:
        wanted = history.find(tree, plan.to)
        earlier = _at(wanted, plan, tree, wishes, chosen)
        if earlier is None:
            msg = f"commit {wanted[:_SHOWN]} has no release in {where(wishes.path, plan.environment)}"
            raise NotDeployedError(msg, hint="git log shows the commits with Servegen-Image trailers")
        if earlier.record.image.pinned == before.image.pinned:
            msg = f"commit {wanted[:_SHOWN]} has the image that is released now, {before.image.pinned}"
            raise NotDeployedError(msg, hint="name an earlier commit, or leave --to out")
        return _maker(found, before), earlier
    of = None
    for one in found:
        image = one.trailers.get(message.IMAGE)
        if image == before.image.pinned:
            of = of or one.id
            continue
        earlier = _at(one.id, plan, tree, wishes, chosen)
        # What was rolled back already is no place to go back to.
        if earlier and earlier.record.image.pinned != before.image.pinned and not _held(earlier, before):
            return of, earlier
    hint = "deploy the version that is wanted: servegen deploy --target git"
    if history.shallow(tree):
        hint = "the checkout is shallow: git fetch --unshallow, or --repo URL"
    msg = f"{where(wishes.path, plan.environment)} has no earlier release than {before.pin or before.version}"
    raise NotDeployedError(msg, hint=hint)


def _held(earlier: Earlier, before: Record) -> bool:
    return earlier.record.pin is not None and earlier.record.pin in before.holds


def _releases(environment: str | None, tree: Tree, paths: list[str]) -> Iterator[history.Entry]:
    """Commits that changed the release, newest first, without those that say they were about another one."""
    for one in history.deepening(tree, paths):
        trailers = one.trailers
        if message.IMAGE not in trailers or trailers.get(message.ENVIRONMENT) == environment:
            yield one


def _maker(found: Iterator[history.Entry], before: Record) -> str | None:
    ours = (one.id for one in found if one.trailers.get(message.IMAGE) == before.image.pinned)
    return next(ours, None)


def _at(commit: str, plan: Plan, tree: Tree, wishes: Wishes, chosen: Layout) -> Earlier | None:
    """The release that the tree had at `commit`; None where it had none."""
    try:
        folder = history.bring_back(tree, commit, wishes.path)
        record = chosen.read(folder, plan.environment)
        owned, name = chosen.owned(folder, plan.environment), chosen.named(folder, plan.environment)
        texts = {path: files.text_of(folder, path) for path in owned}
    except EditedError:
        return None
    finally:
        tree.reset()
    return None if record is None else Earlier(commit=commit, record=record, name=name, files=texts)


def _warn_of_base(
    earlier: Earlier, tree: Tree, wishes: Wishes, owned: tuple[str, ...], progress: Progress
) -> None:
    """Tell of other files of the model's folder that changed since: they stay as they are now."""
    names = ("diff", "--no-renames", "--name-only", "-z", earlier.commit, str(tree.head), "--", wishes.path)
    changed = [path for path in tree.git.output(*names).split("\0") if path]
    top = posixpath.normpath(wishes.path)
    ours = {posixpath.normpath(f"{top}/{path}") for path in (*owned, *earlier.files)}
    shared = posixpath.normpath(f"{top}/base") + "/"
    base = [path for path in changed if path not in ours and path.startswith(shared)]
    if base:
        progress.warn(
            f"what all environments share changed since {earlier.commit[:_SHOWN]} and stays as it is now: "
            f"{', '.join(base)}"
        )


def _write(
    draft: Draft, reverted: Reverted, plan: Plan, tree: Tree, wishes: Wishes, progress: Progress
) -> tuple[str | None, Draft]:
    folder = tree.folder / wishes.path
    files.write(draft.changes, tree.folder)
    _validate(draft, plan, folder, tree, progress)
    paths = draft.paths
    unchanged = replace(draft, changes=tuple(replace(one, after=one.before) for one in draft.changes))
    if not paths or not commits.stage(tree, paths):
        return None, unchanged
    note = f"The files are those of {reverted.commit[:_SHOWN]}."
    text = message.reverted(reverted.name, reverted.after, reverted.before, reverted.of, (note,))
    commit_id = commits.commit(tree, paths, text, wishes.style)
    if commit_id is None:
        return None, unchanged
    files.check_committed(files.below(draft.bundles, tree.folder))
    return commit_id, draft


def _validate(draft: Draft, plan: Plan, folder: Path, tree: Tree, progress: Progress) -> None:
    try:
        built = objects_of(draft.layout, folder, plan.environment, tree, progress)
    except programs.AbsentProgramError as exc:
        progress.warn(f"nobody checked what was brought back: {exc}")
        return
    refuse_invalid(built, plan.version)
    deployment = deployment_of(built)
    if deployment and server_image(deployment) != draft.after.image.pinned:
        msg = f"what would be built runs {server_image(deployment)}, not {draft.after.image.pinned}"
        raise GitError(msg, hint="an `images` entry of the overlay wins over the release: take it out")
