"""Parts of Kubernetes objects in servegen.yaml: as written, refused where YAML readers disagree."""

from __future__ import annotations

import re

import yaml

from servegen.config.nodes import check_tag, pairs, wrong
from servegen.errors import ConfigError

_TEXT = "tag:yaml.org,2002:str"
_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
# What YAML 1.1 or a Go program takes for a number, a boolean, a time or a merge, though not both of them do.
_DOUBTFUL = re.compile(
    r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)(e[-+]?[0-9]+)?|[-+]?0[box][0-9a-f_]+|[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?"
    r"|[-+]?\.inf|\.nan|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*|y|n|yes|no|on|off|=|<<",
    re.IGNORECASE,
)


def raw(node: yaml.Node, file: str, key: str, *, nulls: bool) -> object:
    """The value of `node` as mappings, lists, text, whole numbers and booleans; None where `nulls` may be.

    ConfigError names line and key of a number with a fraction, and of what is a number or a boolean to some
    readers only and has no quotes.
    """
    check_tag(node, file, key)
    if isinstance(node, yaml.MappingNode):
        return {name: raw(item, file, f"{key}.{name}", nulls=nulls) for name, item in pairs(node, file, key)}
    if isinstance(node, yaml.SequenceNode):
        return [raw(item, file, f"{key}[{i}]", nulls=nulls) for i, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)  # noqa: S101 (the third and last kind of node)
    return _scalar(node, file, key, nulls=nulls)


def _scalar(node: yaml.ScalarNode, file: str, key: str, *, nulls: bool) -> object:
    text = str(node.value)
    implicit = (node.style is None, node.style is not None)
    plain = yaml.resolver.Resolver().resolve(yaml.ScalarNode, text, implicit)  # type: ignore[no-untyped-call]
    if node.tag not in (plain, _TEXT):
        msg = f"{file}:{node.start_mark.line + 1}: {key} has the tag {node.tag}"
        raise ConfigError(msg, hint="write the value without the tag")
    if node.style is not None or node.tag != plain:
        return text
    if node.tag.endswith(":null"):
        if nulls:
            return None
        raise wrong(node, file, key, "a value (`{}` for an empty mapping)")
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _WHOLE.fullmatch(text):
        return int(text)
    if _DOUBTFUL.fullmatch(text):
        msg = f"{file}:{node.start_mark.line + 1}: {key} is {text}, which not every YAML reader takes alike"
        raise ConfigError(msg, hint=_meant(text))
    return text


def _meant(text: str) -> str:
    if re.fullmatch("0o?[0-7]+", text):
        return f"write {int(text.lstrip('0o') or '0', 8)}, the same number without octal digits, or quote it"
    if text.lower() in ("y", "yes", "on", "n", "no", "off"):
        return f'write true or false, or quote it where text is meant: "{text}"'
    return f'quote it where text is meant: "{text}"'
