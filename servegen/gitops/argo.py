"""Argo CD: an Application for one model, or an ApplicationSet for all of a repository."""

from __future__ import annotations

from typing import Any

from servegen.errors import ConfigError
from servegen.gitops.layouts.helm import NAMESPACE
from servegen.gitops.source import CHART, Source, folder, label, slug
from servegen.kube import Object, metadata
from servegen.renderers import helm
from servegen.values.deployment import Deployment
from servegen.values.gitops import ArgoSettings, GitSettings

API = "argoproj.io/v1alpha1"
_FINALIZER = "resources-finalizer.argocd.argoproj.io"
_VALUES = "values"
"""What an Application calls the repository that its values are in."""
_NAMESPACE = "default"
"""Where objects go that name none, as with kubectl."""


def build(deployment: Deployment, git: GitSettings, source: Source) -> dict[str, tuple[Object, ...]]:
    """Path in the repository → the objects in that file; ConfigError for settings that cannot be."""
    argo = git.argo
    where = folder("git.argo.folder", argo.folder)
    one = (
        _application_set(deployment, argo, source)
        if argo.application_set
        else _application(deployment, argo, source)
    )
    name = one["metadata"]["name"]
    return {"/".join(part for part in (where, f"{name}.yaml") if part): (one,)}


def _application(deployment: Deployment, argo: ArgoSettings, source: Source) -> Object:
    finalizers = {"finalizers": [_FINALIZER]} if argo.finalizer else {}
    return {
        "apiVersion": API,
        "kind": "Application",
        "metadata": _metadata(deployment.instance, deployment, argo) | finalizers,
        "spec": {
            "project": _project(argo),
            **_sources(deployment, source),
            "destination": _destination(deployment, argo),
            # No difference is ignored: what an autoscaler owns is not in the objects.
            "syncPolicy": _sync_policy(),
        },
    }


def _application_set(deployment: Deployment, argo: ArgoSettings, source: Source) -> Object:
    """One for all models whose folders lie beside this one's; names come from those of the folders."""
    if source.oci:
        msg = "an ApplicationSet finds models by the folders of a Git repository, and this is a registry"
        raise ConfigError(msg, hint="name a Git repository, or leave git.argo.application_set out")
    parents = source.path.split("/")[:-1]
    generator, environment, place = _found(deployment, source, "/".join([*parents, "*"]))
    # Segments count from the root; what stands at the star is the model.
    name = f"{{{{ index .path.segments {len(parents)} }}}}{environment}"
    finalizers = {"finalizers": [_FINALIZER]} if argo.finalizer else {}
    about = {"name": name, "labels": {"app.kubernetes.io/managed-by": metadata.MANAGER}, **finalizers}
    chart = {"helm": place.pop("helm") | {"releaseName": name}} if "helm" in place else {}
    one = {"repoURL": source.url, "targetRevision": source.revision or "HEAD", **place, **chart}
    of_values = _of_values(source, "{{ .path.path }}/{{ .path.filename }}", name)
    return {
        "apiVersion": API,
        "kind": "ApplicationSet",
        "metadata": {
            # Another repository's, or that of another folder, is in the same namespace.
            "name": slug("-".join((source.name, *parents))),
            "namespace": label("git.argo.namespace", argo.namespace),
            "labels": {"app.kubernetes.io/managed-by": metadata.MANAGER},
        },
        "spec": {
            "goTemplate": True,
            "goTemplateOptions": ["missingkey=error"],
            "generators": [
                {"git": {"repoURL": source.url, "revision": source.revision or "HEAD", **generator}}
            ],
            "syncPolicy": {"preserveResourcesOnDeletion": True},
            "template": {
                "metadata": about,
                "spec": {
                    "project": _project(argo),
                    **(of_values or {"source": one}),
                    "destination": {"server": argo.server, "namespace": _namespace_of_each(source)},
                    "syncPolicy": _sync_policy(),
                },
            },
        },
    }


def _found(deployment: Deployment, source: Source, models: str) -> tuple[Object, str, dict[str, Any]]:
    """What the generator looks for, what follows the model in names, and the source's own fields."""
    named = deployment.environment is not None
    folder_name = "-{{ .path.basenameNormalized }}"
    if source.layout == "kustomize":
        generator: Object = {"directories": [{"path": f"{models}/overlays/*"}]}
        return generator, folder_name, {"path": "{{ .path.path }}"}
    if source.layout == "manifests":
        generator = {"directories": [{"path": f"{models}/*" if named else models}]}
        return generator, folder_name if named else "", {"path": "{{ .path.path }}"}
    environment = '-{{ .path.filename | trimPrefix "values-" | trimSuffix ".yaml" }}'
    return (
        {"files": [{"path": f"{models}/values{'-*' if named else ''}.yaml"}]},
        environment if named else "",
        {"path": f"{{{{ .path.path }}}}/{CHART}", "helm": {"valueFiles": ["../{{ .path.filename }}"]}},
    )


def _sources(deployment: Deployment, source: Source) -> Object:
    values = _of_values(source, source.telling(deployment.environment), deployment.instance)
    return values or {"source": _source(deployment, source)}


def _of_values(source: Source, path: str, release: str) -> Object | None:
    """The chart in a registry with the values at `path` of the repository; None for other layouts."""
    if source.chart is None:
        return None
    settings = {"releaseName": release, "valueFiles": [f"${_VALUES}/{path}"]}
    return {
        "sources": [
            _chart(source.chart) | {"helm": settings},
            {"repoURL": source.url, "targetRevision": source.revision or "HEAD", "ref": _VALUES},
        ]
    }


def _chart(source: Source) -> Object:
    # Argo CD takes charts of registries without the scheme, and wants their version.
    repository, _, chart = source.url.removeprefix("oci://").rstrip("/").rpartition("/")
    if not repository or source.revision is None:
        msg = f"the chart {source.url} has no name or no version"
        raise ConfigError(msg, hint="--repo oci://REGISTRY/FOLDER/CHART --branch VERSION")
    return {"repoURL": repository, "chart": chart, "targetRevision": source.revision}


def _source(deployment: Deployment, source: Source) -> Object:
    revision = source.revision
    if source.oci and source.layout == "helm":
        release = {"releaseName": deployment.instance, "valuesObject": helm.values(deployment)}
        return _chart(source) | {"helm": release}
    found: Object = {
        "repoURL": source.url,
        "targetRevision": revision or ("latest" if source.oci else "HEAD"),
        "path": source.applied(deployment.environment),
    }
    if source.layout == "helm":
        environment = deployment.environment
        own = [f"../values-{environment}.yaml"] if environment else ["../values.yaml"]
        found["helm"] = {"releaseName": deployment.instance, "valueFiles": own}
    return found


def _metadata(name: str, deployment: Deployment, argo: ArgoSettings) -> Object:
    return {
        "name": name,
        "namespace": label("git.argo.namespace", argo.namespace),
        # Nothing of the release: this file stays as it is when the model changes.
        "labels": {
            "app.kubernetes.io/managed-by": metadata.MANAGER,
            "app.kubernetes.io/name": deployment.name,
            "app.kubernetes.io/instance": deployment.instance,
        },
    }


def _project(argo: ArgoSettings) -> str:
    if argo.project in (None, "", "default"):
        msg = "Argo CD's project `default` may deploy anything anywhere, so another one must be named"
        raise ConfigError(msg, hint="--project NAME, or git.argo.project in servegen.yaml")
    return label("git.argo.project", str(argo.project))


def _destination(deployment: Deployment, argo: ArgoSettings) -> Object:
    return {"server": argo.server, "namespace": deployment.namespace or _NAMESPACE}


def _namespace_of_each(source: Source) -> str:
    """What an ApplicationSet says for a namespace, which differs from environment to environment."""
    if source.layout in ("kustomize", "manifests"):
        # The objects name their own.
        return _NAMESPACE
    keys = " ".join(f'"{key}"' for key in NAMESPACE)
    # A generator knows what is in the files that it finds.
    return f'{{{{ dig {keys} "{_NAMESPACE}" . }}}}'


def _sync_policy() -> Object:
    return {
        "automated": {"prune": True, "selfHeal": True},
        "retry": {"limit": 5, "backoff": {"duration": "10s", "factor": 2, "maxDuration": "3m"}},
        "syncOptions": [
            "ServerSideApply=true",
            "CreateNamespace=true",
            "RespectIgnoreDifferences=true",
            "ApplyOutOfSyncOnly=true",
        ],
    }
