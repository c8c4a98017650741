"""Reads manifests as Kubernetes does, which turns them into JSON first."""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any

import yaml

_TEXTS = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value")
"""What is nothing special there."""
_UNKNOWN = tuple(f"tag:yaml.org,2002:{name}" for name in ("binary", "omap", "pairs", "set", "timestamp"))
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """What has no form in JSON is refused, and so is a key that stands twice; a date is a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own attribute)
        first: [(tag, pattern) for tag, pattern in found if tag not in _TEXTS]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012 (PyYAML's own attribute)
        tag: made for tag, made in yaml.SafeLoader.yaml_constructors.items() if tag not in _UNKNOWN
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 (PyYAML's signature)
        """A mapping with texts as keys."""
        seen = set()
        for key, _ in node.value:
            text = self._key(key)
            # A merge gives defaults, which the mapping's own keys replace.
            if text in seen and key.tag != _MERGE:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {text} stands twice", key.start_mark
                )
            seen.add(text)
        self.flatten_mapping(node)
        return {self._key(key): self.construct_object(value, deep=deep) for key, value in node.value}

    def _key(self, node: yaml.Node) -> str:
        if node.tag == _MERGE:
            return "<<"
        if not isinstance(node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key is no text", node.start_mark)
        made = self.construct_object(node)
        return made if isinstance(made, str) else str(node.value)


def documents(text: str) -> list[Any]:
    """The documents of a YAML or JSON text that are not empty.

    Raises yaml.YAMLError for what is neither, and ValueError for an alias that refers to what it is in.
    """
    found = [one for one in yaml.load_all(text, _Loader) if one is not None]
    # Kubernetes would make JSON of it, too.
    json.dumps(found)
    return found
