"""The one YAML dumper: what it writes reads back alike in Python and in the Go programs of Kubernetes.

Go readers take more plain scalars for numbers and booleans than PyYAML does (`8e1`, `0o17`, `N`), so almost
every string is quoted, and the few characters that some reader changes are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from servegen.errors import RenderError

_PLAIN = re.compile(r"[A-Za-z_/]([A-Za-z0-9_./:@-]*[A-Za-z0-9_/])?")
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_LONGEST = 4 << 20
"""Letters; a cluster's store takes 1.5 MiB, and escapes are longer than what they stand for."""
_MOST_NODES = 100_000
_REFUSED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def dump(document: Mapping[str, Any]) -> str:
    """`document` as one YAML document, `---` first, keys in the order given."""
    return f"---\n{fragment(document)}"


def dump_all(documents: Iterable[Mapping[str, Any]]) -> str:
    """One YAML stream of all `documents`."""
    return "".join(dump(document) for document in documents)


def dump_list(items: Sequence[Mapping[str, Any]]) -> str:
    """One YAML document that is a list."""
    return f"---\n{fragment(items)}"


def fragment(document: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """`document` without a document start, for files that put text between keys."""
    _check(document, "")
    # Not the C dumper: it is not in every installation, and the bytes must not depend on that.
    return yaml.dump(
        document,
        Dumper=_Dumper,
        width=2**31,
        allow_unicode=True,
        sort_keys=False,
        default_flow_style=False,
    )


def load_all(text: str) -> list[Any]:
    """The documents of what was written here, whoever formatted it since; ValueError for anything else.

    There are no aliases in it: a few of them can stand for more than any memory holds.
    """
    if len(text) > _LONGEST:
        msg = "it is longer than any object of Kubernetes"
        raise ValueError(msg)
    try:
        return list(yaml.load_all(text, _Loader))
    except (yaml.YAMLError, RecursionError) as exc:
        raise ValueError(str(exc)) from exc


def is_huge(document: Any) -> bool:
    """Whether what was read stands for more nodes than any object has, by aliases or in a circle."""
    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        if not isinstance(node, (dict, list)):
            return 1
        if id(node) not in sizes:
            # Whoever comes here again before it is known has gone in a circle.
            sizes[id(node)] = _MOST_NODES + 1
            sizes[id(node)] = 1 + sum(map(size, node.values() if isinstance(node, dict) else node))
        return sizes[id(node)]

    return size(document) > _MOST_NODES


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "an alias", None)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (PyYAML's signature)
        return True


def _represent_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        style = None
    elif "\n" in text and _fits_block(text):
        style = "|"
    else:
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _fits_block(text: str) -> bool:
    # Leading white space needs an indentation indicator and trailing blanks get lost in editors.
    return not text[0].isspace() and not re.search(r"[ \t](\n|$)|\t", text)


_Dumper.add_representer(str, _represent_str)


def _check(node: Any, path: str) -> None:
    if isinstance(node, Mapping):
        for key, value in node.items():
            _check_text(key, f"a key of {path or 'the document'}")
            _check(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, str):
        _check_text(node, path)
    elif isinstance(node, Sequence):
        for index, item in enumerate(node):
            _check(item, f"{path}[{index}]")
    elif not isinstance(node, (bool, int)):
        msg = f"{path} is {node!r}, which has no exact form in YAML"
        raise RenderError(msg, hint="write a number with a fraction as a string")


def _check_text(text: Any, path: str) -> None:
    if not isinstance(text, str):
        msg = f"{path} is {text!r}, not a text"
        raise RenderError(msg, hint="quote it in servegen.yaml")
    if match := _REFUSED.search(text):
        msg = f"{path} contains the character U+{ord(match[0]):04X}, which YAML readers change"
        raise RenderError(msg, hint="remove the control character where the text comes from")
