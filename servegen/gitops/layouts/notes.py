"""Annotations `servegen.dev/…` → the record of a release."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from servegen.errors import EditedError
from servegen.kube import metadata, yaml
from servegen.values.gitops import Record
from servegen.values.image import ImageRef

HOLD = f"{metadata.PREFIX}hold"


def load(text: str, where: str) -> dict[str, object]:
    """The one mapping that the YAML `text` is; raises EditedError, naming `where`, for anything else."""
    try:
        found = yaml.load_all(text)
    except ValueError:
        found = []
    if len(found) != 1 or not isinstance(found[0], dict):
        unreadable(where, "is no YAML mapping without aliases, as servegen writes it")
    return found[0]


def name_in(path: Path, key: str = "name") -> str | None:
    """The name in an object's file, or under `key` in one of a chart; None where there is none."""
    try:
        content = load(path.read_text("utf-8", "replace"), path.name)
    except (OSError, EditedError):
        return None
    about = content.get("metadata")
    labels = about.get("labels") if isinstance(about, dict) else None
    found = labels.get("app.kubernetes.io/name") if isinstance(labels, dict) else content.get(key)
    return found if isinstance(found, str) else None


def record(
    notes: Mapping[str, object],
    image: str,
    where: str,
    environment: str | None,
    *,
    replicas: str | None = None,
) -> Record:
    """The record that annotations and the image with its digest make; raises EditedError where one lacks."""
    known = {
        key.removeprefix(metadata.PREFIX): str(value)
        for key, value in notes.items()
        if key.startswith(metadata.PREFIX) and value
    }
    try:
        ref = ImageRef.parse(image)
    except ValueError:
        unreadable(where, f"names no image but {image!r}")
    if not ref.digest:
        unreadable(where, f"names the image {ref} without a digest")
    for key in ("model-name", "model-version"):
        if key not in known:
            unreadable(where, f"lacks the annotation {metadata.PREFIX}{key}")
    profile = known.get("profile")
    return Record(
        model_name=known["model-name"],
        version=known["model-version"],
        image=ref
        if ref.tag
        else ImageRef(
            registry=ref.registry, repository=ref.repository, tag=known.get("image-tag"), digest=ref.digest
        ),
        environment=environment,
        uri=known.get("model-uri"),
        pin=known.get("pin"),
        run_id=known.get("run-id"),
        model_digest=known.get("model-digest"),
        profile=None if profile == "none" else profile,
        replicas=replicas or known.get("replicas"),
        held=known.get("hold"),
    )


def span(fewest: object, most: object) -> str:
    """How a record writes a number of replicas that follows the load."""
    return f"{fewest}-{most}"


def hold(content: dict[str, object], held: str | None, where: str) -> None:
    """Say in the annotations of `content` which pins are refused, or that none is."""
    about = content.get("metadata")
    annotations = about.get("annotations") if isinstance(about, dict) else None
    if not isinstance(about, dict) or not isinstance(annotations, dict):
        unreadable(where, "lacks the annotations of a release")
    wanted = {name: value for name, value in annotations.items() if name != HOLD}
    about["annotations"] = dict(sorted((wanted | ({HOLD: held} if held else {})).items()))


def unreadable(where: str, why: str) -> NoReturn:
    """Raise the EditedError for the file `where`, which servegen wrote and somebody changed."""
    msg = f"{where} {why}"
    raise EditedError(msg, hint="bring back what servegen wrote, or --adopt to write it anew")
