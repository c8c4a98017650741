"""Flux: a source, and a Kustomization or HelmRelease that applies what is in it."""

from __future__ import annotations

from servegen.errors import ConfigError
from servegen.gitops.source import CHART, Source, folder, label
from servegen.kube import Object, metadata
from servegen.renderers import helm
from servegen.values.deployment import Deployment
from servegen.values.gitops import DEFAULT_ENVIRONMENT, FluxSettings, GitSettings

SOURCE_API = "source.toolkit.fluxcd.io/v1"
KUSTOMIZE_API = "kustomize.toolkit.fluxcd.io/v1"
HELM_API = "helm.toolkit.fluxcd.io/v2"
VALUES = f"{metadata.PREFIX}values"
"""Annotation of a HelmRelease: the file in the repository whose content it repeats."""
_BRANCH = "main"
_CHART_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_NAMESPACE = "default"
"""Where a release goes that names no namespace, as with helm."""
_SPARE_SECONDS = 60
"""How much longer than the rollout itself Flux waits for it."""


def build(deployment: Deployment, git: GitSettings, source: Source) -> dict[str, tuple[Object, ...]]:
    """Path in the repository → the objects in that file; ConfigError for settings that cannot be."""
    flux, values = git.flux, None
    if source.chart:
        source, values = source.chart, source.telling(deployment.environment)
    where = flux.folder
    if where is None:
        where = f"clusters/{deployment.environment or DEFAULT_ENVIRONMENT}"
    where = folder("git.flux.folder", where)
    # A chart in a registry is of one model, a repository of many.
    name = deployment.instance if source.oci and source.layout == "helm" else source.name
    reference = {
        "kind": "OCIRepository" if source.oci else "GitRepository",
        "name": label("git.flux.source", flux.source or name),
    }
    applied = _release if source.layout == "helm" else _kustomization
    one = applied(deployment, flux, source, reference)
    if values:
        one["metadata"]["annotations"] = {VALUES: values}
    files: dict[str, tuple[Object, ...]] = {}
    if flux.source is None:
        files[f"source-{name}.yaml"] = (_source(flux, source, reference),)
    own = f"{deployment.instance}.yaml"
    # A model may be called as the source's file is.
    files[own] = (*files.get(own, ()), one)
    return {"/".join(part for part in (where, path) if part): made for path, made in files.items()}


def _source(flux: FluxSettings, source: Source, reference: Object) -> Object:
    secret = {"secretRef": {"name": label("git.flux.secret", flux.secret)}} if flux.secret else {}
    if source.oci:
        # A chart is one layer among others of its artifact.
        layer = {"layerSelector": {"mediaType": _CHART_LAYER, "operation": "copy"}}
        spec: Object = {
            "interval": "1m",
            "url": source.url,
            "ref": _artifact(source),
            **(layer if source.layout == "helm" else {}),
        }
        how = {"provider": "cosign"}
    else:
        spec = {"interval": "1m", "url": source.ssh_url, "ref": {"branch": source.revision or _BRANCH}}
        how = {"mode": "HEAD"}
    verify = {}
    if flux.verify_secret:
        keys = {"secretRef": {"name": label("git.flux.verify_secret", flux.verify_secret)}}
        verify = {"verify": how | keys}
    return {
        "apiVersion": SOURCE_API,
        "kind": reference["kind"],
        "metadata": _metadata(str(reference["name"]), flux),
        "spec": spec | secret | verify,
    }


def _artifact(source: Source) -> Object:
    revision = source.revision
    if revision is None and source.layout == "helm":
        msg = f"the chart {source.url} has no version"
        raise ConfigError(msg, hint="--branch VERSION, or git.branch in servegen.yaml")
    if revision and revision.startswith("sha256:"):
        return {"digest": revision}
    if revision and source.layout == "helm":
        # As helm writes a version in a tag.
        revision = revision.replace("+", "_")
    return {"tag": revision or "latest"}


def _kustomization(deployment: Deployment, flux: FluxSettings, source: Source, reference: Object) -> Object:
    namespace = {"targetNamespace": deployment.namespace} if deployment.namespace else {}
    applied = source.applied(deployment.environment)
    return {
        "apiVersion": KUSTOMIZE_API,
        "kind": "Kustomization",
        "metadata": _metadata(deployment.instance, flux),
        "spec": {
            "interval": "10m",
            "retryInterval": "1m",
            "timeout": _timeout(deployment),
            "sourceRef": reference,
            "path": "./" if applied == "." else f"./{applied}",
            "prune": True,
            "wait": True,
            # Without one the objects go where they say themselves: an overlay may be edited.
            **namespace,
        },
    }


def _release(deployment: Deployment, flux: FluxSettings, source: Source, reference: Object) -> Object:
    if source.oci:
        chart: Object = {"chartRef": reference, "values": helm.values(deployment)}
    else:
        environment = deployment.environment
        own = f"values-{environment}.yaml" if environment else "values.yaml"
        paths = [f"{source.path}/{path}".lstrip("/") for path in (f"{CHART}/values.yaml", own)]
        chart = {
            "chart": {
                "spec": {
                    "chart": f"./{source.applied(environment)}",
                    "sourceRef": reference,
                    "valuesFiles": paths,
                    # The chart's version stays when the values change, and these are what is released.
                    "reconcileStrategy": "Revision",
                }
            }
        }
    return {
        "apiVersion": HELM_API,
        "kind": "HelmRelease",
        "metadata": _metadata(deployment.instance, flux),
        "spec": {
            "interval": "10m",
            "timeout": _timeout(deployment),
            "releaseName": deployment.instance,
            "targetNamespace": deployment.namespace or _NAMESPACE,
            **chart,
            "install": {"createNamespace": True, "remediation": {"retries": 2}},
            "upgrade": {"remediation": {"retries": 2, "strategy": "rollback"}},
            "driftDetection": {"mode": "enabled", **_ignored(deployment)},
        },
    }


def _ignored(deployment: Deployment) -> Object:
    """The number of replicas, where it is the autoscaler's."""
    if deployment.autoscaling is None:
        return {}
    return {"ignore": [{"paths": ["/spec/replicas"], "target": {"kind": "Deployment"}}]}


def _timeout(deployment: Deployment) -> str:
    return f"{deployment.timing.progress_deadline + _SPARE_SECONDS}s"


def _metadata(name: str, flux: FluxSettings) -> Object:
    return {
        "name": name,
        "namespace": label("git.flux.namespace", flux.namespace),
        # Nothing of the release: this file stays as it is when the model changes.
        "labels": {"app.kubernetes.io/managed-by": metadata.MANAGER},
    }
