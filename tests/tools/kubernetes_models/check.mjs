// Reads a JSON list of Kubernetes objects, prints a list of what is wrong with each; null where nothing is.
import { readFileSync } from "node:fs";

const PACKAGES = {
  "argoproj.io": "@kubernetes-models/argo-cd",
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
  "helm.toolkit.fluxcd.io": "@kubernetes-models/flux-cd",
  "keda.sh": "@kubernetes-models/keda",
  "kustomize.toolkit.fluxcd.io": "@kubernetes-models/flux-cd",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
  "source.toolkit.fluxcd.io": "@kubernetes-models/flux-cd",
};

async function problem(object) {
  const group = object.apiVersion.includes("/") ? object.apiVersion.split("/")[0] : "";
  const found = await import(`${PACKAGES[group] ?? "kubernetes-models"}/${object.apiVersion}/${object.kind}`);
  try {
    new found[object.kind](object).validate();
    return null;
  } catch (error) {
    return error.message;
  }
}

const objects = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(await Promise.all(objects.map(problem))));
