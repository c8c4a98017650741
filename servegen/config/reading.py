"""servegen.yaml → frozen options; every error names line and key."""

from __future__ import annotations

import contextlib
import json
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from servegen.config.nodes import check_tag, entry, merged, pairs, wrong
from servegen.config.options import Config
from servegen.config.raw import raw
from servegen.errors import ConfigError
from servegen.values.deployment import ENVIRONMENT

FILE = "servegen.yaml"
_EMPTY = yaml.MappingNode("tag:yaml.org,2002:map", [])
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def find(directory: Path) -> Path | None:
    """servegen.yaml in `directory`, if there is one; ConfigError for one that is no file."""
    path = directory / FILE
    if not os.path.lexists(path):
        return None
    if not path.is_file():
        msg = f"{path} is no file, or a link that leads nowhere"
        raise ConfigError(msg, hint=f"remove it, or name another file: --file {FILE}")
    return path


def read(path: Path, environment: str | None = None) -> Config:
    """The options in `path`, as they are in `environment`; ConfigError names line and key of a mistake."""
    node = _compose(path)
    # As written first, so that a mistake is named where it stands and does not wait for its environment.
    config = _config(node, path.name)
    _check_environments(node, config, path.name)
    if environment is None:
        return config
    if config.environments and environment not in config.environments:
        msg = f"{path.name} has no environment {environment!r}"
        raise ConfigError(msg, hint=f"those it has: {', '.join(config.environments)}")
    # Its name keeps the objects apart that share a namespace; what the file says of itself counts more.
    node = merged(node, _compose_text(f"deploy: {{environment: {json.dumps(environment)}}}"))
    if environment in config.environments:
        node = merged(node, entry(entry(node, "environments"), environment))
    return _config(node, path.name)


def _check_environments(node: yaml.Node, config: Config, file: str) -> None:
    for name, there in config.environments.items():
        # What an environment calls itself is appended to names instead of it.
        if ENVIRONMENT.fullmatch(there.deploy.environment or name):
            continue
        key = next(key for key, _ in entry(node, "environments").value if key.value == name)
        msg = f"{file}:{key.start_mark.line + 1}: environment {name!r} cannot be part of a name"
        raise ConfigError(
            msg, hint="call it by at most 20 of a-z, 0-9 and -, or give it a deploy.environment"
        )


def _compose(path: Path) -> yaml.Node:
    try:
        return _compose_text(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        msg = f"{path} cannot be read: {exc}"
        raise ConfigError(
            msg, hint=f"name another folder, or write {FILE} with: servegen init MODEL"
        ) from exc
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f"{path.name}:{mark.line + 1}" if mark else path.name
        msg = f"{where}: {getattr(exc, 'problem', None) or 'no YAML'}"
        raise ConfigError(msg, hint="check indentation and quotes on that line and the one before") from exc
    except RecursionError as exc:
        msg = f"{path.name} is nested too deeply"
        raise ConfigError(msg, hint="no key of ours needs more than four levels") from exc


def _compose_text(text: str) -> yaml.Node:
    found = yaml.compose(text, Loader=yaml.SafeLoader)
    return _EMPTY if found is None else found


def _config(node: yaml.Node, file: str) -> Config:
    try:
        value = _value(node, Config, file, "")
    except RecursionError as exc:
        msg = f"{file} is nested too deeply, or holds an alias that refers to what it is in"
        raise ConfigError(msg, hint="write the part out") from exc
    assert isinstance(value, Config)  # noqa: S101 (what _value promises for a dataclass)
    return value


def _value(node: yaml.Node, kind: Any, file: str, key: str) -> Any:
    check_tag(node, file, key)
    # Both mean a part of a Kubernetes object; what a patch says may be null, which takes a field away.
    if kind is object or kind == object | None:
        return raw(node, file, key, nulls=kind is not object)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if node.tag == "tag:yaml.org,2002:null":
            return None
        return _value(node, next(a for a in arguments if a is not types.NoneType), file, key)
    if is_dataclass(kind):
        return _dataclass(node, kind, file, key)
    if origin is tuple:
        if not isinstance(node, yaml.SequenceNode):
            raise wrong(node, file, key, "a list")
        return tuple(_value(item, arguments[0], file, f"{key}[{i}]") for i, item in enumerate(node.value))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(node, yaml.MappingNode):
            raise wrong(node, file, key, "a mapping")
        return {
            name: _value(item, arguments[1], file, f"{key}.{name}") for name, item in pairs(node, file, key)
        }
    return _scalar(node, kind, file, key)


def _dataclass(node: yaml.Node, kind: Any, file: str, key: str) -> Any:
    if not isinstance(node, yaml.MappingNode):
        raise wrong(node, file, key, "a mapping")
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}
    values = {}
    for name, item in pairs(node, file, key):
        full = f"{key}.{name}".lstrip(".")
        if name not in known:
            msg = f"{file}:{item.start_mark.line + 1}: unknown key {full!r}"
            raise ConfigError(msg, hint=_nearest(name, known))
        values[name] = _value(item, hints[name], file, full)
    needed = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if absent := [n for n in needed if n not in values]:
        msg = f"{file}:{node.start_mark.line + 1}: {key or 'the file'} lacks {', '.join(absent)}"
        raise ConfigError(msg, hint="add it, or remove the entry")
    return kind(**values)


def _scalar(node: yaml.Node, kind: Any, file: str, key: str) -> Any:
    tag = node.tag.rpartition(":")[2]
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    if not isinstance(node, yaml.ScalarNode):
        raise wrong(node, file, key, words[kind])
    text = str(node.value)
    # Text is taken as written: the version 3.10 and the label yes must not turn into something else.
    if kind is str and tag != "null":
        return text
    if kind is bool and tag == "bool" and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    # YAML 1.1 has numbers that Python does not write so, such as 0777 and 1:30.
    with contextlib.suppress(ValueError):
        if kind is int and tag == "int":
            return int(text.replace("_", ""), 0)
        if kind is float and tag in ("int", "float"):
            return float(text.replace("_", ""))
    raise wrong(node, file, key, words[kind])


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
