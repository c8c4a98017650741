"""What a repository needs beside a release so that Argo CD or Flux applies it: found there, or written."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import replace

import yaml as pyyaml

from servegen.errors import ConfigError
from servegen.git.worktree import Tree
from servegen.gitops import controllers, covering
from servegen.gitops.covering import Found, Wanted
from servegen.gitops.flux import VALUES
from servegen.gitops.layouts import Layout, name_of, seals
from servegen.gitops.layouts.helm import values_file
from servegen.gitops.source import check_chart, source
from servegen.kube import Object, yaml
from servegen.progress import Progress
from servegen.values.bundle import Bundle
from servegen.values.deployment import Deployment
from servegen.values.gitops import GitSettings


def introduced(
    deployment: Deployment, layout: Layout, git: GitSettings, tree: Tree, progress: Progress
) -> Bundle:
    """The objects that `git.gitops` asks for, by their path from the root; none where something applies it.

    `git` has the path of the model's folder. Raises ConfigError for settings that cannot be.
    """
    if git.gitops is None:
        return Bundle.of({})
    settings = replace(git, repo=tree.git.remote, branch=tree.branch)
    made = controllers.bundle(git.gitops, deployment, settings, name_of(layout))
    place = source(deployment, settings, name_of(layout))
    texts = dict((*made.files, *made.starters))
    found = covering.objects(tree)
    wanted = Wanted(
        url=place.url,
        path=place.telling(deployment.environment),
        root=tree.folder,
        elsewhere=tree.elsewhere,
    )
    there = covering.covering([one for one in found if one.path not in texts], wanted)
    if there:
        progress.step(f"{wanted.path} is applied by {there} already")
        return Bundle.of({})
    ours = [one for one in found if one.path in texts]
    others = [one.path for one in ours if seals.intact(one.text) and _is_of_another(one, wanted)]
    if made.files and others and not covering.covering(ours, wanted):
        # Such as that of another model whose name and environment give the same together.
        names = ", ".join(others)
        msg = f"{names} would be written for {wanted.path}, and applies something else"
        raise ConfigError(msg, hint=f"another git.{git.gitops}.folder or deploy.name, or delete it first")
    theirs = sorted(path for path, _ in made.starters if (tree.folder / path).exists())
    ours += [covering.parsed(path, text) for path, text in made.starters if path not in theirs]
    if theirs and not covering.covering(ours, wanted):
        # Such as an ApplicationSet for another layout.
        progress.warn(f"{wanted.path} is not applied by {' and '.join(theirs)}, there already and left as is")
    return replace(made, files=tuple(seals.sealed(dict(made.files)).items()))


def _is_of_another(file: Found, wanted: Wanted) -> bool:
    """Whether it applies something else that is there; what has moved since is written anew."""
    places = covering.places(file)
    there = any((wanted.root / place).exists() for place in places)
    return covering.applying(file) and wanted.path not in places and there


def repeating(
    released: Bundle, environment: str | None, git: GitSettings, added: Bundle, tree: Tree, progress: Progress
) -> Bundle:
    """`added` and all HelmReleases that repeat the values of the release, with these values.

    A chart in a registry gets them in no other way from Flux. `git` has the path of the model's folder.
    """
    name = values_file(environment)
    if name not in released.paths:
        return added
    place = posixpath.normpath(f"{git.path}/{name}")
    values = pyyaml.safe_load(released.text(name))
    found = covering.objects(tree)
    texts = {one.path: one.text for one in _repeaters(found, place, progress)}
    texts |= dict(added.files)
    made = replace(added, files=tuple((path, _with(text, place, values)) for path, text in texts.items()))
    if git.chart:
        written = (covering.parsed(path, text) for path, text in (*made.files, *made.starters))
        there = {one.path: one for one in (*found, *written)}
        wanted = Wanted(url=tree.git.remote, path=place, root=tree.folder, elsewhere=tree.elsewhere)
        _warn_of_chart(tuple(there.values()), wanted, git.chart, progress)
    return made


def _warn_of_chart(found: Sequence[Found], wanted: Wanted, chart: str, progress: Progress) -> None:
    """Tell of another version of the chart, as in what was moved away from where it was written."""
    path = covering.covering(found, wanted)
    url, version = check_chart(chart)
    versions = covering.chart_versions(path, found, url) if path else frozenset()
    if versions and version.replace("+", "_") not in versions:
        progress.warn(
            f"{path} takes version {', '.join(sorted(versions))} of the chart, not {version}: "
            "bring it up to date; --gitops writes it anew where it was at first"
        )


def _repeaters(found: Iterable[Found], place: str, progress: Progress) -> Iterable[Found]:
    for file in found:
        if not any(_repeats(one, place) for one in file.objects):
            continue
        if seals.seal(file.text) is None:
            progress.warn(f"{file.path} repeats {place} and is yours: bring its values up to date")
        else:
            yield file


def _repeats(one: Object, place: str) -> bool:
    about = one.get("metadata")
    notes = about.get("annotations") if isinstance(about, dict) else None
    return one.get("kind") == "HelmRelease" and isinstance(notes, dict) and notes.get(VALUES) == place


def _with(text: str, place: str, values: Object) -> str:
    """The owned file `text`, in which HelmReleases that repeat `place` have these values."""
    documents = [one for one in pyyaml.safe_load_all(text) if isinstance(one, dict)]
    if not any(_repeats(one, place) for one in documents):
        return text
    for one in documents:
        if _repeats(one, place):
            one["spec"]["values"] = values
    path = "values"
    return seals.sealed({path: f"{seals.OWNED}\n{yaml.dump_all(documents)}"})[path]
