"""Strict validation against the schemas of a Kubernetes version: unknown fields and wrong types.

The schemas are those that the package kubernetes-validate brings, derived from the API server's own OpenAPI
document; of custom resources, those in `crds`. What an API server checks beyond them, such as the form of a
name, its dry run tells.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from servegen.kube import Object
from servegen.values.deployment import KubeVersion

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator

_CRDS = Path(__file__).parent / "crds"
_LONGEST = 300


def problems(one: Object, version: KubeVersion) -> tuple[str, ...]:
    """What Kubernetes `version` would refuse in `one`, as `path: reason`; none for a kind nobody knows."""
    validator = _validator(str(one.get("apiVersion")), str(one.get("kind")), str(version))
    if validator is None:
        return ()
    found = sorted(validator.iter_errors(one), key=lambda error: [str(part) for part in error.instance_path])
    return tuple(f"{_path(error.instance_path)}: {_cut(error.message)}" for error in found)


def knows(one: Object, version: KubeVersion) -> bool:
    """Whether there is a schema for the kind of `one`."""
    return _validator(str(one.get("apiVersion")), str(one.get("kind")), str(version)) is not None


# Making a validator takes some hundred times longer than using it; it depends on nothing but its arguments.
@functools.cache
def _validator(api_version: str, kind: str, version: str) -> Draft202012Validator | None:
    import jsonschema_rs

    custom = _CRDS / f"{kind}.json"
    if custom.is_file():
        schema = orjson.loads(custom.read_bytes()).get(api_version)
        return None if schema is None else jsonschema_rs.Draft202012Validator(schema)
    group, slash, name = api_version.partition("/")
    # `rbac.authorization.k8s.io/v1` is called rbac-v1 there, and `v1` just that.
    short = f"{group.partition('.')[0]}-{name}" if slash else group
    file = _folder(version) / f"{kind.lower()}-{short}.json"
    if not file.is_file():
        return None
    return jsonschema_rs.Draft202012Validator(orjson.loads(file.read_bytes()), registry=_definitions(version))


@functools.cache
def _definitions(version: str) -> Any:
    import jsonschema_rs

    shared = orjson.loads((_folder(version) / "_definitions.json").read_bytes())
    return jsonschema_rs.Registry([(shared["$id"], shared)])


def _folder(version: str) -> Path:
    # Its own modules are not imported: they take longer than everything here.
    spec = importlib.util.find_spec("kubernetes_validate")
    assert spec is not None  # noqa: S101 (a dependency of ours)
    assert spec.origin is not None  # noqa: S101 (a package of files)
    return Path(spec.origin).parent / "kubernetes-json-schema" / f"v{version}.0-local-strict"


def _path(parts: Sequence[str | int]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.lstrip(".") or "the object"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
