"""What a repository needs beside a release so that Argo CD or Flux applies it: found there, or written."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import replace

import yaml as pyyaml

from servegen.git.worktree import Tree
from servegen.gitops import controllers, covering
from servegen.gitops.covering import Found, Wanted
from servegen.gitops.flux import VALUES
from servegen.gitops.layouts import Layout, name_of, seals
from servegen.gitops.layouts.helm import values_file
from servegen.gitops.source import source
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
    own = {path for path, _ in (*made.files, *made.starters)}
    found = covering.objects(tree)
    ours = [one for one in found if one.path in own]
    wanted = Wanted(url=place.url, path=place.telling(deployment.environment), root=tree.folder)
    there = covering.covering([one for one in found if one.path not in own], wanted)
    if there:
        progress.step(f"{wanted.path} is applied by {there} already")
        return Bundle.of({})
    if made.starters and len(ours) == len(own) and not covering.covering(ours, wanted):
        # Such as an ApplicationSet for another layout.
        names = ", ".join(sorted(own))
        progress.warn(f"{names} is there, stays as it is, and does not apply {wanted.path}")
    return replace(made, files=tuple(seals.sealed(dict(made.files)).items()))


def repeating(
    released: Bundle, environment: str | None, folder: str, added: Bundle, tree: Tree, progress: Progress
) -> Bundle:
    """`added` and all HelmReleases that repeat the values of the release in `folder`, with these values.

    A chart in a registry gets them in no other way from Flux.
    """
    name = values_file(environment)
    if name not in released.paths:
        return added
    place = posixpath.normpath(f"{folder}/{name}")
    values = pyyaml.safe_load(released.text(name))
    texts = {one.path: one.text for one in _repeaters(covering.objects(tree), place, progress)}
    texts |= dict(added.files)
    return replace(added, files=tuple((path, _with(text, place, values)) for path, text in texts.items()))


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
    documents = [one for one in pyyaml.safe_load_all(text) if one is not None]
    if not any(_repeats(one, place) for one in documents):
        return text
    for one in documents:
        if _repeats(one, place):
            one["spec"]["values"] = values
    path = "values"
    return seals.sealed({path: f"{seals.OWNED}\n{yaml.dump_all(documents)}"})[path]
