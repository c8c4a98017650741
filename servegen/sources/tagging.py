"""Tags on a model version that tell where it was deployed, for people who look at the registry."""

from __future__ import annotations

from dataclasses import dataclass

from servegen.errors import ModelError
from servegen.progress import Progress
from servegen.sources.registry import asking
from servegen.sources.uri import RegistryURI, parse

PREFIX = "servegen."
ENVIRONMENTS = f"{PREFIX}environments."
"""Followed by the environment: one tag each, as writing one whole loses nothing that others write."""


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A deployment that was made of a registered version."""

    version: RegistryURI
    """With the number of the version."""
    image: str
    """Reference with digest."""
    environment: str
    time: str
    """RFC 3339, UTC."""
    commit: str | None = None


def registered(pin: str | None) -> RegistryURI | None:
    """The registered version that `pin` names; None where it is another thing, such as a folder."""
    found = parse(pin) if pin else None
    return found if isinstance(found, RegistryURI) and found.version else None


def tags(deployed: Deployed) -> dict[str, str]:
    """The tags that say so.

    Those of an environment stay on the versions before: whichever has the latest time is deployed there.
    """
    commit = f" commit {deployed.commit}" if deployed.commit else ""
    found = {
        f"{PREFIX}image": deployed.image,
        f"{ENVIRONMENTS}{deployed.environment}": f"{deployed.time} {deployed.image}{commit}",
    }
    return found | ({f"{PREFIX}commit": deployed.commit} if deployed.commit else {})


def write(deployed: Deployed, tracking_uri: str | None, registry_uri: str | None, progress: Progress) -> bool:
    """Set the tags; where that fails a warning says why, as the deployment itself is done."""
    name, version = deployed.version.name, deployed.version.version
    what = f"models:/{name}/{version}"
    try:
        with asking(what, tracking_uri) as mlflow:
            client = mlflow.MlflowClient(tracking_uri=tracking_uri, registry_uri=registry_uri or tracking_uri)
            for key, value in tags(deployed).items():
                client.set_model_version_tag(name, version, key, value)
    except ModelError as exc:
        progress.warn(f"{what} got no tags about its deployment: {exc}; --no-tags leaves them out")
        return False
    return True
