"""Nodes of a YAML document: entries, laying one over another, errors that name the line."""

from __future__ import annotations

import yaml

from servegen.errors import ConfigError

_TAGS = ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "value", "merge", "binary")


def check_tag(node: yaml.Node, file: str, key: str) -> None:
    """ConfigError for a node with a tag of a program's own."""
    if node.tag.removeprefix("tag:yaml.org,2002:") not in _TAGS:
        msg = f"{file}:{node.start_mark.line + 1}: {key or 'the file'} has the tag {node.tag}"
        raise ConfigError(msg, hint="write the value without the tag")


def pairs(node: yaml.MappingNode, file: str, key: str) -> list[tuple[str, yaml.Node]]:
    """The entries of a mapping; ConfigError for a key that is given twice."""
    seen: dict[str, yaml.Node] = {}
    for name, item in node.value:
        text = str(name.value) if isinstance(name, yaml.ScalarNode) else "?"
        if text in seen:
            msg = f"{file}:{name.start_mark.line + 1}: {f'{key}.{text}'.lstrip('.')!r} is given twice"
            raise ConfigError(msg, hint="keep one of them")
        seen[text] = item
    return list(seen.items())


def entry(node: yaml.Node, name: str) -> yaml.Node:
    """The value of the key `name` of a mapping that has it."""
    found: yaml.Node = next(value for key, value in node.value if key.value == name)
    return found


def merged(base: yaml.Node, over: yaml.Node) -> yaml.Node:
    """`over` laid over `base`: mappings key by key and at every depth, all else replaced."""
    if not isinstance(base, yaml.MappingNode) or not isinstance(over, yaml.MappingNode):
        return over
    changed = {key.value: value for key, value in over.value}
    known = {key.value for key, _ in base.value}
    entries = [
        (key, merged(value, changed[key.value]) if key.value in changed else value)
        for key, value in base.value
    ]
    entries += [(key, value) for key, value in over.value if key.value not in known]
    return yaml.MappingNode(base.tag, entries, base.start_mark, base.end_mark)


def wrong(node: yaml.Node, file: str, key: str, wanted: str) -> ConfigError:
    """The error for a value of another type than `wanted`."""
    shape = "list" if isinstance(node, yaml.SequenceNode) else "mapping"
    got = f"{node.value!r}" if isinstance(node, yaml.ScalarNode) else f"a {shape}"
    msg = f"{file}:{node.start_mark.line + 1}: {key or 'the file'} must be {wanted}, not {got}"
    return ConfigError(msg, hint="every key with its type: docs/reference/servegen-yaml.md")
