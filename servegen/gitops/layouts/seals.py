"""A line in every file that servegen owns, which tells whether its content is still what was written.

The content is compared as YAML: a hook that formats files changes nothing that counts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

import orjson

from servegen.kube import yaml

SUMS = "SHA256SUMS"
"""Beside files that can hold no seal: what they were when they were written."""
OWNED = "# Owned by servegen; rewritten on every deploy."
_MARK = re.compile(r"^# (servegen\.dev/[\w-]+): (\S.*?)\r?$", re.MULTILINE)
_SEAL = re.compile(r"^# servegen sha256:([0-9a-f]{64})\r?$", re.MULTILINE)


def sealed(files: Mapping[str, str]) -> dict[str, str]:
    """`files`, each with the seal of its content below the line that says whose it is."""
    return {path: _sealed(text) for path, text in files.items()}


def seal(text: str) -> str | None:
    """The seal that a file has; None where somebody took it out."""
    match = _SEAL.search(text)
    return match[1] if match else None


def intact(text: str) -> bool:
    """Whether there is a seal, and the content is what it was made of."""
    found = seal(text)
    return found is not None and found == _digest(text)


def same(text: str, wanted: str) -> bool:
    """Whether a file is whole and says what is wanted of it; formatting and other comments do not count.

    What can hold no seal, such as a template, is the same letter by letter or as YAML.
    """
    if seal(wanted) is None:
        return text.replace("\r\n", "\n") == wanted or alike(text, wanted)
    return seal(text) == seal(wanted) and intact(text) and _marks(text) == _marks(wanted)


def mark(key: str, value: str) -> str:
    """The line with a fact that the content of a file has no place for."""
    return f"# {key}: {value}\n"


def marked(text: str, key: str) -> list[str]:
    """The values of such lines."""
    return [value for name, value in _marks(text) if name == key]


def with_marks(text: str, key: str, values: Iterable[str]) -> str:
    """The owned file `text` with these values of `key`, and no others."""
    bare = re.sub(rf"^# {re.escape(key)}: .*\r?\n", "", text, flags=re.MULTILINE)
    head, owned, rest = bare.partition(f"{OWNED}\n")
    return "".join((head, owned, *(mark(key, value) for value in values), rest))


def sums(files: Mapping[str, str]) -> str:
    """The hashes of files that can hold no seal, in the form of `sha256sum`."""
    return "".join(f"{_hash(text)}  {path}\n" for path, text in sorted(files.items()))


def listed(text: str, path: str, sums_text: str) -> bool:
    """Whether `text` is what such a list says of `path`."""
    return f"{_hash(text)}  {path}" in sums_text.replace("\r", "").splitlines()


def alike(one: str, other: str) -> bool:
    """Whether two files mean the same, whatever their seals say."""
    return _digest(one) == _digest(other) is not None


def _hash(text: str) -> str:
    return hashlib.sha256(text.replace("\r\n", "\n").encode()).hexdigest()


def _sealed(text: str) -> str:
    owned = f"{OWNED}\n"
    head, found, rest = text.partition(owned)
    if not found:
        head, rest = "", text
    return f"{head}{owned}# servegen sha256:{_digest(text)}\n{rest}"


def _marks(text: str) -> list[tuple[str, str]]:
    return _MARK.findall(text)


def _digest(text: str) -> str | None:
    """Of what the YAML means; None where it is none."""
    try:
        documents = yaml.load_all(text)
    except ValueError:
        return None
    content = orjson.dumps(documents, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(content).hexdigest()
