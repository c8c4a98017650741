"""Strategic-merge patches, as the API server and `kubectl patch` apply them to the kinds we write.

One thing differs: new items of a list come last, so that the server stays the first container.
"""

from __future__ import annotations

from collections.abc import Mapping

from servegen.kube import Object

_POD_KEYS = {
    "containers": "name",
    "env": "name",
    "ephemeralContainers": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ports": "containerPort",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
_KEYS = {"Deployment": _POD_KEYS, "Service": {"ports": "port"}, "ServiceAccount": {"secrets": "name"}}
"""Kind → list → key by which its items are told apart (`patchMergeKey`); other lists are replaced."""
_MAPPING_DIRECTIVES = ("$patch", "$retainKeys")


def patched(one: Object, patch: Mapping[str, object | None]) -> Object:
    """`one` with `patch` merged into it; raises ValueError for a patch that cannot be merged."""
    return _mapping(one, patch, _KEYS.get(one["kind"], {}), "")


def _mapping(base: object, patch: Mapping[str, object | None], keys: Mapping[str, str], path: str) -> Object:
    directive = patch.get("$patch", "merge")
    if directive not in ("merge", "replace"):
        msg = f"$patch is {directive!r} in {path or 'the object'}, which takes merge and replace"
        raise ValueError(msg)
    made: Object = dict(base) if isinstance(base, Mapping) and directive == "merge" else {}
    for key, value in patch.items():
        place = f"{path}.{key}".lstrip(".")
        if key in _MAPPING_DIRECTIVES:
            continue
        if key.startswith("$"):
            msg = f"{place}: there is no directive {key} here"
            raise ValueError(msg)
        if value is None:
            made.pop(key, None)
        elif isinstance(value, Mapping) and value.get("$patch") == "delete":
            made[key] = {}
        elif isinstance(value, Mapping):
            made[key] = _mapping(made.get(key), value, keys, place)
        elif isinstance(value, list):
            made[key] = _list(made.get(key), value, keys, key, place)
        else:
            made[key] = value
    retained = patch.get("$retainKeys")
    return made if not isinstance(retained, list) else {k: v for k, v in made.items() if k in retained}


def _list(base: object, patch: list[object], keys: Mapping[str, str], name: str, path: str) -> list[object]:
    items = [item for item in patch if item != {"$patch": "replace"}]
    merge_key = keys.get(name)
    if merge_key is None:
        return [_mapping(None, item, keys, path) if isinstance(item, Mapping) else item for item in items]
    made: list[object] = list(base) if isinstance(base, list) and len(items) == len(patch) else []
    for item in items:
        if not isinstance(item, Mapping) or merge_key not in item:
            msg = f"an item of {path} has no {merge_key}, by which they are told apart"
            raise ValueError(msg)
        same = [
            i
            for i, old in enumerate(made)
            if isinstance(old, Mapping) and old.get(merge_key) == item[merge_key]
        ]
        place = f"{path}[{item[merge_key]}]"
        if item.get("$patch") == "delete":
            made = [old for i, old in enumerate(made) if i not in same]
        elif same:
            made[same[0]] = _mapping(made[same[0]], item, keys, place)
        else:
            made.append(_mapping(None, item, keys, place))
    return made
