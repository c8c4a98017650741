"""Kustomize: a base that all environments share, a release of each, and an overlay that is the user's.

base/                            the objects without what belongs to one release or one environment
components/release-ENVIRONMENT/  what makes of the base the objects of one environment; rewritten every time
overlays/ENVIRONMENT/            what is built and applied; written once, then the user's
"""

from __future__ import annotations

import copy
from dataclasses import replace

from servegen.errors import RenderError
from servegen.kube import Object, jsonpatch, metadata, objects, order, yaml
from servegen.renderers import Renderer, manifests
from servegen.values.bundle import Bundle
from servegen.values.deployment import Deployment

_FILE = "kustomization.yaml"
_OWNED = "# Owned by servegen; rewritten on every deploy.\n"
_BASE = "# Not to be applied alone: digest, version and names of an environment are in ../components.\n"
_OVERLAY = "# Written once by servegen, and yours from now on: patches for this environment belong here.\n"
_VERSION = "app.kubernetes.io/version"
_DEFAULT = "default"
"""Name of the environment where none is named."""


class Kustomize:
    """Folders for `kubectl apply --server-side -k DIR/overlays/ENVIRONMENT`."""

    layered = True

    def render(self, deployment: Deployment) -> Bundle:
        """Base, component and overlay of the deployment's environment; those of others stay as they are."""
        shared = _shared(deployment)
        environment = deployment.environment or _DEFAULT
        component = f"components/release-{environment}"
        files = _below("base", _base_files(shared)) | _below(component, _component_files(deployment, shared))
        # All that an earlier render may have written and this one does not.
        possible = [
            f"{folder}/{manifests.path(kind)}" for folder in ("base", component) for kind in order.KINDS
        ]
        return Bundle.of(
            files,
            obsolete={path: _OWNED.strip() for path in possible if path not in files},
            starters={f"overlays/{environment}/{_FILE}": _overlay(deployment, environment)},
        )

    def stream(self, deployment: Deployment) -> str:  # noqa: ARG002 (the protocol's signature)
        """Never: kustomize reads folders."""
        msg = "kustomize reads folders, which cannot be written to standard output"
        raise RenderError(msg, hint="name a folder: servegen render … --format kustomize -o DIR")


def _shared(deployment: Deployment) -> dict[str, Object]:
    """The objects of the base by kind: those without environment, and nothing of the release in them."""
    # Whether an image speaks gRPC is the image's: the next one of another environment may not.
    shared = replace(deployment.shared or deployment, namespace=None, grpc_port=None)
    made = {}
    for one in objects.build(shared):
        neutral = copy.deepcopy(one)
        for about in _metadata(neutral):
            about["labels"].pop(_VERSION, None)
        if one["kind"] == "Deployment":
            for key in metadata.facts(shared):
                neutral["metadata"]["annotations"].pop(key, None)
            server = neutral["spec"]["template"]["spec"]["containers"][0]
            server["image"] = shared.image.name
        made[one["kind"]] = neutral
    return made


def _base_files(shared: dict[str, Object]) -> dict[str, str]:
    made = {manifests.path(kind): _OWNED + yaml.dump(one) for kind, one in shared.items()}
    return made | {
        _FILE: _BASE
        + _OWNED
        + yaml.dump(
            {
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "resources": list(made),
            }
        )
    }


def _component_files(deployment: Deployment, shared: dict[str, Object]) -> dict[str, str]:
    """The component: labels, image, and a file of changes for each object that has some."""
    # The overlay says the namespace.
    wanted = {one["kind"]: _without_namespace(one) for one in objects.build(deployment)}
    _to_be_pinned(wanted["Deployment"], deployment)
    labels = _labels(deployment, shared["Deployment"])
    files, patches, resources = {}, [], []
    for kind, one in wanted.items():
        path = manifests.path(kind)
        if kind not in shared:
            files[path] = yaml.dump(one)
            resources.append(path)
        elif changes := jsonpatch.changes(_labelled(shared[kind], labels), one):
            files[path] = yaml.dump_list(changes)
            patches.append({"path": path, "target": _target(shared[kind])})
    for kind, one in shared.items():
        if kind not in wanted:
            path = manifests.path(kind)
            named = {"apiVersion": one["apiVersion"], "kind": kind, "metadata": {"name": _name(one)}}
            files[path] = yaml.dump({"$patch": "delete"} | named)
            patches.append({"path": path, "target": _target(one)})
    component = {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "metadata": {"annotations": _record(deployment)},
        **({"resources": resources} if resources else {}),
        "labels": [{"pairs": labels, "includeSelectors": False, "includeTemplates": True}],
        "images": [{"name": deployment.image.name, "digest": deployment.image.digest}],
        "patches": patches,
    }
    return {path: _OWNED + text for path, text in {_FILE: yaml.dump(component), **files}.items()}


def _record(deployment: Deployment) -> dict[str, str]:
    """What is released, for whoever reads the repository; kustomize itself does nothing with it."""
    scaling = deployment.autoscaling
    replicas = f"{scaling.min_replicas}-{scaling.max_replicas}" if scaling else str(deployment.replicas)
    ours = {
        "model-name": deployment.model.name,
        "model-version": deployment.model.version,
        "replicas": replicas,
    }
    return dict(
        sorted(
            (
                {metadata.PREFIX + key: value for key, value in ours.items()} | metadata.facts(deployment)
            ).items()
        )
    )


def _without_namespace(one: Object) -> Object:
    kept = {key: value for key, value in one["metadata"].items() if key != "namespace"}
    return one | {"metadata": kept}


def _labels(deployment: Deployment, base: Object) -> dict[str, str]:
    """Labels of this release, and of this environment where the base has others."""
    known = base["metadata"]["labels"]
    return {key: value for key, value in metadata.labels(deployment).items() if known.get(key) != value}


def _labelled(one: Object, labels: dict[str, str]) -> Object:
    """An object of the base as the component's labels leave it, and without the base's image."""
    made = copy.deepcopy(one)
    for about in _metadata(made):
        about["labels"] |= labels
    if one["kind"] == "Deployment":
        # Then the component always says the repository: `images` finds nothing in a base with another one.
        made["spec"]["template"]["spec"]["containers"][0]["image"] = None
    return made


def _to_be_pinned(one: Object, deployment: Deployment) -> None:
    """Take the digest from the server's image: `images` of the component adds it."""
    server = one["spec"]["template"]["spec"]["containers"][0]
    if server["image"] == deployment.image.pinned:
        server["image"] = deployment.image.name


def _metadata(one: Object) -> list[Object]:
    """The metadata of an object, and of the pods that it makes."""
    template = one.get("spec", {}).get("template", {}).get("metadata")
    return [one["metadata"], *([template] if template else [])]


def _target(one: Object) -> Object:
    # Not by the name in the patch: then an object that the base has no longer would be an error.
    return {"kind": one["kind"], "name": _name(one)}


def _name(one: Object) -> str:
    return str(one["metadata"]["name"])


def _overlay(deployment: Deployment, environment: str) -> str:
    place = {"namespace": deployment.namespace} if deployment.namespace else {}
    return _OVERLAY + yaml.dump(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            **place,
            "resources": ["../../base"],
            "components": [f"../../components/release-{environment}"],
        }
    )


def _below(folder: str, files: dict[str, str]) -> dict[str, str]:
    return {f"{folder}/{path}": text for path, text in files.items()}


RENDERER: type[Renderer] = Kustomize
