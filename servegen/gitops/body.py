"""Two releases → the text of a pull request, as Markdown that no name or value in it can break out of."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from servegen.gitops.promotion import Gate
from servegen.values.gitops import Record

LONGEST = 60_000
"""Bytes: forges take 64 Ki."""
_RESERVED = 2_000
"""Of them, for what is around the rendered diff."""
_LONGEST_LINE = 500
_LONGEST_VALUE = 200
_MOST_NOTES = 10
_MOST_METRICS = 40
_MOST_REQUIREMENTS = 80
_PLAIN = re.compile(r"[\w .,:;/=+@%#()\[\]{}<>~^&$!?'\"*-]*", re.ASCII)
"""What a code span shows as it is; a pipe would end a table's cell, a backslash may escape one."""
_WORD = re.compile(r"[\w.,;:/()'\"-]+")
"""No mention, reference, link or markup, which entities would not prevent outside code."""
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""Also what turns the direction of writing: a reviewer must see what is there."""
_KEPT = "\n\t"


@dataclass(frozen=True, kw_only=True)
class Release:
    """One side of the comparison."""

    version: str
    image: str
    """Reference with digest."""
    pin: str | None = None
    run_id: str | None = None
    image_bytes: int | None = None
    """Compressed, as a node pulls it."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()


def release(
    record: Record,
    *,
    image_bytes: int | None = None,
    metrics: Mapping[str, float] | None = None,
    requirements: Iterable[str] = (),
) -> Release:
    """The side that a repository's record tells, with what others know of it."""
    return Release(
        version=record.version,
        image=str(record.image),
        pin=record.pin,
        run_id=record.run_id,
        image_bytes=image_bytes,
        metrics=metrics or {},
        requirements=tuple(requirements),
    )


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a reviewer has to know."""

    model_name: str
    environment: str | None
    before: Release | None
    """None where nothing was released there."""
    after: Release
    diff: str = ""
    """Of the rendered files, unified."""
    gates: tuple[Gate, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences of servegen's own, such as that the alias has moved on."""


def body(change: Change) -> str:
    """The Markdown, at most `LONGEST` bytes; what does not fit of the rendered diff is counted."""
    parts = [
        _heading(change),
        *(f"> {_sentence(note)}" for note in change.notes[:_MOST_NOTES]),
        _facts(change.before, change.after),
        _gates(change.gates),
        _metrics(change.before, change.after),
        _requirements(change.before, change.after),
    ]
    text, room = "", LONGEST - _RESERVED
    for part in parts:
        # Names that are all signs take eight times their length; no forge takes a text that is too long.
        if part and len(part.encode()) < room:
            text += f"{part}\n\n"
            room -= len(part.encode()) + 2
    if change.diff.strip():
        text += _folded("Rendered files", change.diff.strip("\n").split("\n"), room)
    return text.strip() + "\n"


def code(text: str) -> str:
    """`text` as code in one line of Markdown or in a cell of a table, whatever is in it; never empty."""
    shown = _visible(text, kept="")
    if len(shown) > _LONGEST_VALUE:
        shown = shown[: _LONGEST_VALUE - 1] + "…"
    if _PLAIN.fullmatch(shown) and shown.strip() == shown and shown:
        return f"`{shown}`"
    if not shown.strip():
        return "—"
    # Entities mean text only: no backtick, pipe or bracket among them is one for Markdown.
    return f"<code>{''.join(_entity(letter) for letter in shown)}</code>"


def _entity(letter: str) -> str:
    return letter if letter.isalnum() or letter == " " else f"&#{ord(letter)};"


def _heading(change: Change) -> str:
    where = f" in {code(change.environment)}" if change.environment else ""
    name = code(change.model_name)
    if change.before is None:
        return f"Releases {name}{where} for the first time: version {code(change.after.version)}."
    if change.before.version == change.after.version:
        return f"Changes how {name} is deployed{where}; the version stays {code(change.after.version)}."
    return f"Releases {name}{where}: version {code(change.before.version)} → {code(change.after.version)}."


def _facts(before: Release | None, after: Release) -> str:
    rows = [
        ("Model", before and before.pin, after.pin),
        ("Run", before and before.run_id, after.run_id),
        ("Image", before and before.image, after.image),
    ]
    shown = [
        (name, code(old) if old else "—", code(new) if new else "—") for name, old, new in rows if old or new
    ]
    if after.image_bytes is not None:
        old_bytes = before.image_bytes if before else None
        change = f" ({_signed_size(after.image_bytes - old_bytes)})" if old_bytes is not None else ""
        old_size = _size(old_bytes) if old_bytes is not None else "—"
        shown.append(("Image size", old_size, _size(after.image_bytes) + change))
    return _table(("", "before", "now"), shown)


def _metrics(before: Release | None, after: Release) -> str:
    old = before.metrics if before else {}
    names = sorted({*old, *after.metrics})
    rows = [
        (
            code(name),
            _number(old.get(name)),
            _number(after.metrics.get(name)),
            _step(old.get(name), after.metrics.get(name)),
        )
        for name in names[:_MOST_METRICS]
    ]
    if not rows:
        return ""
    more = (
        f"\n\n{len(names) - _MOST_METRICS} further metrics are not shown."
        if len(names) > _MOST_METRICS
        else ""
    )
    return _table(("metric", "before", "now", "change"), rows) + more


def _gates(gates: Sequence[Gate]) -> str:
    words = {True: "passed", False: "**failed**", None: "not made"}
    rows = [(code(gate.name), words[gate.met], code(gate.why) if gate.why else "") for gate in gates]
    return _table(("check", "result", ""), rows) if rows else ""


def _requirements(before: Release | None, after: Release) -> str:
    if before is None or not before.requirements or before.requirements == after.requirements:
        return ""
    old, new = set(before.requirements), set(after.requirements)
    # By name, so that both versions of a package are beside each other.
    lines = sorted(
        [(one.lower(), 0, f"-{one}") for one in old - new]
        + [(one.lower(), 1, f"+{one}") for one in new - old]
    )
    shown = [" ".join(line.split()) for _, _, line in lines]
    if not shown:
        return ""
    return _folded(
        f"Requirements: {len(shown)} lines differ", shown[:_MOST_REQUIREMENTS], 12_000, left=len(shown)
    )


def _folded(title: str, lines: Sequence[str], room: int, *, left: int | None = None) -> str:
    """A folded block of a diff that takes at most `room` bytes."""
    kept: list[str] = []
    used = 0
    for line in lines:
        clean = _line(line)
        used += len(clean.encode()) + 1
        if used > room:
            break
        kept.append(clean)
    hidden = (len(lines) if left is None else left) - len(kept)
    longest = max((len(found) for line in kept for found in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    note = f"\n\n{hidden} further lines are not shown." if hidden else ""
    block = "\n".join([f"{fence}diff", *kept, fence])
    return f"<details><summary>{html.escape(title)}</summary>\n\n{block}{note}\n\n</details>"


def _line(text: str) -> str:
    """A line of a diff as it may stand in a fenced block."""
    clean = _visible(text, kept="\t")
    if len(clean) > _LONGEST_LINE:
        clean = clean[: _LONGEST_LINE - 1] + "…"
    # GitLab carries out lines that begin with a slash; no line of a diff does.
    return f" {clean}" if clean.startswith(("/", "`", "~")) else clean


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    made = [_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)]
    return "\n".join(made)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.6g}"


def _step(old: float | None, new: float | None) -> str:
    if old is None or new is None or not (math.isfinite(old) and math.isfinite(new)):
        return ""
    if old == new:
        return "="
    return f"{new - old:+.3g}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _signed_size(count: int) -> str:
    return f"{count / 1e6:+.1f} MB"


def _sentence(text: str) -> str:
    """A sentence of servegen's own; words in it that could be more than a word are shown as code."""
    words = _visible(text, kept="").split()
    return " ".join(
        word if _WORD.fullmatch(word) and "//" not in word and "www." not in word else code(word)
        for word in words
    )


def _visible(text: str, *, kept: str) -> str:
    return "".join(_letters(text, kept))


def _letters(text: str, kept: str) -> Iterator[str]:
    for letter in text:
        if letter in kept or not _INVISIBLE.match(letter):
            yield letter
        else:
            yield " " if letter in _KEPT else f"\\u{ord(letter):04x}"
