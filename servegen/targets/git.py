"""Commits deployments to a repository, from which another program applies them."""

from __future__ import annotations

import contextlib
import datetime
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from servegen.config import Config, Environment
from servegen.errors import ConfigError, ModelError, NotDeployedError, PushError
from servegen.git import credentials
from servegen.git.commits import Style, check_identity
from servegen.git.failures import TransportError
from servegen.git.retrying import pause
from servegen.git.worktree import Access, Place, Tree, opened
from servegen.gitops import files, layouts, message
from servegen.gitops.promotion import Gate
from servegen.gitops.releasing import Release, check_beside, draft, record_of, recorded, release
from servegen.gitops.reverting import Plan, Reverted, drafted, revert
from servegen.gitops.source import check_chart
from servegen.gitops.wishes import MODES, Wishes, where
from servegen.kube import versions
from servegen.progress import Progress, Silent
from servegen.reviewing import Review, propose, stores
from servegen.targets import Target
from servegen.values.delivery import Delivery, Released
from servegen.values.deployment import Deployment, KubeVersion
from servegen.values.gitops import DEFAULT_ENVIRONMENT, REVIEWED, Commit, GitSettings, Record


@dataclass(kw_only=True)
class _Trees:
    """Open trees, one for each branch of a repository; one delivery at a time works in one."""

    access: Access
    progress: Progress
    _open: dict[Place, Tree] = field(default_factory=dict)
    _locks: dict[Place, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @contextlib.contextmanager
    def use(self, place: Place, max_attempts: int) -> Iterator[Tree]:
        with self._lock:
            lock = self._locks.setdefault(place, threading.Lock())
        with lock:
            tree = self._open.get(place)
            if tree is None:
                tree = self._open[place] = self._opened(place, max_attempts)
            yield tree

    def close(self) -> None:
        self._stack.close()

    def _opened(self, place: Place, max_attempts: int) -> Tree:
        attempt = 1
        while True:
            try:
                return self._stack.enter_context(opened(place, self.access, self.progress))
            except TransportError as exc:
                self.progress.step(f"attempt {attempt} of {max_attempts}: {exc}")
                if attempt == max_attempts:
                    msg = f"after {max_attempts} attempts: {exc}"
                    raise PushError(msg, hint="check the network and the URL; run the command again") from exc
            attempt += 1
            pause(attempt)


class Git:
    """One repository, and the way of the model whose settings these are."""

    layered = True

    def __init__(
        self, *, given: Mapping[str, Any], config: Config, environment: Environment, trees: _Trees
    ) -> None:
        self._given, self._config, self._environment, self._trees = given, config, environment, trees
        self._settings = _settings(config.git, given)

    @classmethod
    def of(
        cls, given: Mapping[str, Any], config: Config, environment: Environment, progress: Progress
    ) -> Git:
        """The repository of --repo, else of `git` in `config`."""
        access = Access(
            env=environment.variables,
            scratch=environment.cache / "git",
            token=environment.git_token,
            username=environment.git_username,
        )
        trees = _Trees(access=access, progress=progress)
        return cls(given=given, config=config, environment=environment, trees=trees)

    def within(self, config: Config) -> Git:
        """The same, as `git` in `config` says it; a repository that both have is cloned once."""
        return Git(given=self._given, config=config, environment=self._environment, trees=self._trees)

    def version(self) -> KubeVersion:
        """The default: a repository is of no version."""
        return versions.wanted(None)

    def check(self, deployment: Deployment) -> None:
        """Refuse settings that cannot be, and a repository or branch that is not there."""
        wishes, place = self._wishes(deployment.name, deployment.environment), self._place()
        with self._trees.use(place, self._settings.max_attempts) as tree:
            check_identity(tree)
            if self._settings.gitops:
                check_beside(deployment, tree, wishes, Silent())

    def released(self, deployment: Deployment) -> Released:
        """What the branch says."""
        wishes = self._wishes(deployment.name, deployment.environment)
        with self._trees.use(self._place(), self._settings.max_attempts) as tree:
            tree.fetch()
            found = recorded(deployment.environment, tree, wishes)
        return Released(pin=found.pin, holds=found.holds) if found else Released()

    def diff(self, deployment: Deployment) -> str:
        """What `deliver` would change in files."""
        wishes = self._wishes(deployment.name, deployment.environment)
        with self._trees.use(self._place(), self._settings.max_attempts) as tree:
            tree.fetch()
            found = draft(deployment, tree, wishes, self._meaning, self._trees.progress)
        return files.diff(found.changes)

    def deliver(
        self,
        deployment: Deployment,
        *,
        progress: Progress,
        notes: tuple[str, ...] = (),
        verb: str = "deploy",
        gates: Sequence[Gate] = (),
    ) -> Delivery:
        """Commit and push; raises GitError or a subclass.

        `notes` and `verb` are for the message, `gates` for who reviews it.
        """
        wishes = replace(self._wishes(deployment.name, deployment.environment), notes=notes, verb=verb)
        with self._trees.use(self._place(), self._settings.max_attempts) as tree:
            progress.step(f"committing {wishes.path} to {tree.branch} of {tree.git.remote}")
            made = release(deployment, tree, wishes, self._meaning, progress)
            target = tree.branch
        # What waits for a review is not deployed.
        landed = made.commit.branch == target
        if not landed:
            title = message.title(deployment.name, made.after, verb)
            made = self._proposed(
                Review(title=title, release=made, target_branch=target, gates=gates), progress
            )
        if landed and any(one.action != "unchanged" for one in made.changes):
            self._tag(record_of(deployment), made.commit, progress)
        return Delivery(
            changes=files.reported(made.changes),
            namespace=deployment.namespace,
            name=deployment.instance,
            commit=made.commit,
        )

    def record(self, name: str | None, environment: str | None) -> tuple[Record, str]:
        """What is released of the model `name`, and the head at which that was read.

        Raises NotDeployedError where nothing is.
        """
        wishes = self._wishes(name, environment)
        with self._trees.use(self._place(), self._settings.max_attempts) as tree:
            tree.fetch()
            found, head, remote = recorded(environment, tree, wishes), tree.head or "", tree.git.remote
        if found is None:
            msg = f"nothing is released in {where(wishes.path, environment)} of {remote}"
            named = f" --env {environment}" if environment else ""
            raise NotDeployedError(msg, hint=f"servegen deploy --target git{named}, or another --path")
        return found, head

    def revert(
        self, name: str | None, environment: str | None, to: str | None, *, progress: Progress
    ) -> tuple[Delivery, Reverted]:
        """Bring back the release before the last one, or that of the commit `to`; holds the one that is."""
        wishes = self._wishes(name, environment)
        settings = self._config.deploy
        with self._trees.use(self._place(), self._settings.max_attempts) as tree:
            plan = Plan(environment=environment, to=to, version=versions.wanted(settings.kube_version))
            done, reverted = revert(plan, tree, wishes, progress)
            target = tree.branch
        if done.commit.branch != target:
            title = message.reversal(reverted.name, reverted.after, reverted.before)
            note = f"Takes {reverted.before.pin or reverted.before.version} back, and holds it from then on."
            done = replace(done, notes=(*done.notes, note))
            done = self._proposed(Review(title=title, release=done, target_branch=target), progress)
        elif any(one.action != "unchanged" for one in done.changes):
            self._tag(reverted.after, done.commit, progress)
        delivery = Delivery(
            changes=files.reported(done.changes),
            namespace=settings.namespace,
            name=reverted.name,
            commit=done.commit,
        )
        return delivery, reverted

    def would_revert(
        self, name: str | None, environment: str | None, to: str | None, *, progress: Progress
    ) -> str:
        """What `revert` would change in files."""
        wishes = self._wishes(name, environment)
        with self._trees.use(self._place(), self._settings.max_attempts) as tree:
            tree.fetch()
            plan = Plan(environment=environment, to=to, version=versions.wanted(None))
            found = drafted(plan, tree, wishes, progress)[0]
        return files.diff(found.changes)

    def close(self) -> None:
        """Remove the clones."""
        self._trees.close()

    def _place(self) -> Place:
        if not self._settings.repo:
            msg = "no repository is named to commit to"
            raise ConfigError(msg, hint="--repo URL, or `git: {repo: URL}` in servegen.yaml")
        create = bool(self._given.get("create_branch"))
        return Place(repo=self._settings.repo, branch=self._settings.branch, create=create)

    def _wishes(self, name: str | None, environment: str | None) -> Wishes:
        settings, given = self._settings, self._given
        if settings.repo:
            credentials.check(settings.repo)
        mode = settings.mode or ("pr" if environment in REVIEWED else "commit")
        if mode not in MODES:
            msg = f"git.mode cannot be {mode!r}"
            raise ConfigError(msg, hint=f"--mode: one of {', '.join(MODES)}")
        if settings.max_attempts < 1:
            msg = f"git.max_attempts cannot be {settings.max_attempts}"
            raise ConfigError(msg, hint="--max-attempts 5")
        if not settings.gitops and (given.get("project") or given.get("application_set")):
            msg = "--project and --application-set say what --gitops argo writes, and it is not given"
            raise ConfigError(msg, hint="add --gitops argo, or `git: {gitops: argo}` in servegen.yaml")
        if settings.layout:
            layouts.layout(settings.layout)
        if settings.chart:
            check_chart(settings.chart)
        if settings.path is None and name is None:
            msg = "the model's folder in the repository is not known"
            raise ConfigError(msg, hint="--path apps/NAME, or name the model")
        return Wishes(
            path=(settings.path or f"apps/{name}").rstrip("/"),
            mode=mode,
            layout=settings.layout,
            style=Style(sign=settings.sign, signoff=settings.signoff),
            max_attempts=settings.max_attempts,
            adopt=bool(given.get("adopt")),
            force_older=bool(given.get("force_older")),
            release_hold=bool(given.get("release_hold")),
            settings=settings,
        )

    def _proposed(self, review: Review, progress: Progress) -> Release:
        """The release, with the request for its branch."""
        url = propose(review, self._config, self._environment, self._settings, progress)
        return replace(review.release, commit=replace(review.release.commit, url=url))

    def _tag(self, record: Record, commit: Commit, progress: Progress) -> None:
        """Tell on the model version where it was deployed; only in a registry that is named."""
        from servegen.sources import tagging

        tracking, registry = stores(self._config, self._environment)
        version = tagging.registered(record.pin)
        if version is None or not (tracking or registry) or not self._settings.tags:
            return
        deployed = tagging.Deployed(
            version=version,
            image=record.image.pinned,
            environment=record.environment or DEFAULT_ENVIRONMENT,
            time=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            commit=commit.id,
        )
        tagging.write(deployed, tracking, registry, progress)

    def _meaning(self, uri: str) -> str | None:
        """What the URI stands for now, with a version; None where it cannot move or nobody can tell."""
        from servegen.sources.database import resolve_in_database
        from servegen.sources.registry import resolve_with_mlflow
        from servegen.sources.uri import RegistryURI, parse

        tracking, registry = stores(self._config, self._environment)
        try:
            parsed = parse(uri)
            if not isinstance(parsed, RegistryURI) or parsed.version or not (tracking or registry):
                return None
            found = resolve_in_database(parsed, registry or tracking)
            return (found or resolve_with_mlflow(parsed, tracking, registry, uri)).resolved
        except ModelError as exc:
            self._trees.progress.warn(f"nobody knows whether {uri} has moved on meanwhile: {exc}")
            return None


def _settings(settings: GitSettings, given: Mapping[str, Any]) -> GitSettings:
    """`git` of servegen.yaml with what options say instead."""
    known = (one.name for one in fields(GitSettings))
    argo = replace(
        settings.argo,
        project=given.get("project") or settings.argo.project,
        application_set=given.get("application_set") or settings.argo.application_set,
    )
    named = {name: given[name] for name in known if given.get(name) is not None}
    return replace(settings, **named, argo=argo)


TARGET: type[Target] = Git
