"""What a commit of a release says: for people, and in trailers for programs."""

from __future__ import annotations

from collections.abc import Sequence

from servegen.git.commits import message
from servegen.values.gitops import Record

URI = "Servegen-Model-Uri"
PIN = "Servegen-Pin"
IMAGE = "Servegen-Image"
PROFILE = "Servegen-Profile"
ENVIRONMENT = "Servegen-Environment"
ROLLBACK_OF = "Servegen-Rollback-Of"


def deployed(
    name: str, record: Record, before: Record | None, notes: Sequence[str] = (), *, verb: str = "deploy"
) -> str:
    """The message of a deployment of the model `name`; `before` is what was released until then."""
    return message(
        title(name, record, verb),
        [summary(record, before), *notes],
        facts(record),
    )


def reverted(name: str, record: Record, before: Record, of: str | None, notes: Sequence[str] = ()) -> str:
    """The message of a rollback from `before`, which the commit `of` had released."""
    return message(
        reversal(name, record, before),
        [summary(record, before), *notes],
        facts(record) | {ROLLBACK_OF: of},
    )


def title(name: str, record: Record, verb: str = "deploy") -> str:
    """The subject: whose release, and what it is."""
    digest = str(record.image.digest).removeprefix("sha256:")[:12]
    return f"chore({scope(name, record)}): {verb} {record.pin or record.version} @ sha256:{digest}"


def reversal(name: str, record: Record, before: Record) -> str:
    """The same of a rollback."""
    same = before.model_name == record.model_name
    old, new = before.pin or before.version, record.version if same else record.pin or record.version
    return f"revert({scope(name, record)}): {old} -> {new}"


def scope(name: str, record: Record) -> str:
    """The model and its environment."""
    return f"{name}/{record.environment}" if record.environment else name


def summary(record: Record, before: Record | None) -> str:
    """What changes, in a sentence."""
    if before is None:
        return f"First release here: version {record.version}, image {_short(record)}."
    pairs = (
        ("model", before.model_name, record.model_name),
        ("version", before.version, record.version),
        ("image", _short(before), _short(record)),
        ("replicas", before.replicas, record.replicas),
        ("profile", _cut(before.profile), _cut(record.profile)),
    )
    changed = [f"{what} {old or 'none'} -> {new or 'none'}" for what, old, new in pairs if old != new]
    text = ", ".join(changed) if changed else "the same model and image, with other settings"
    return f"{text[0].upper()}{text[1:]}."


def facts(record: Record) -> dict[str, str | None]:
    """The trailers of a release."""
    return {
        URI: record.uri,
        PIN: record.pin,
        "Servegen-Run-Id": record.run_id,
        IMAGE: record.image.pinned,
        PROFILE: record.profile,
        ENVIRONMENT: record.environment,
    }


def _short(record: Record) -> str:
    return str(record.image.digest).removeprefix("sha256:")[:12]


def _cut(text: str | None) -> str | None:
    return text and text[:12]
