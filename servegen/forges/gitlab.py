"""GitLab: merge requests."""

from __future__ import annotations

import urllib.parse
from typing import Any

from servegen.forges import Forge
from servegen.forges.address import Address
from servegen.forges.http import Client, Network
from servegen.forges.problems import Place, title
from servegen.progress import Progress
from servegen.values.gitops import ChangeRequest, OpenedRequest

_RIGHTS = "the scope `api` and the role Developer or above"
_VARIABLES = "SERVEGEN_FORGE_TOKEN or GITLAB_TOKEN"
_HEADERS = {"User-Agent": "servegen"}

_FIELDS = ("iid", "web_url")
"""What is read of a request."""


class GitLab:
    """Merge requests of one project."""

    def __init__(
        self,
        *,
        address: Address,
        token: str | None,
        network: Network,
        progress: Progress,  # noqa: ARG002 (the protocol's; labels come with the request)
    ) -> None:
        self._address = address
        # With its groups it is one name in a path.
        self._path = "/projects/" + urllib.parse.quote(address.path, safe="")
        headers = _HEADERS | ({"Authorization": f"Bearer {token}"} if token else {})
        self._client = Client(f"{address.root}/api/v4", headers, address, network)
        self._place = Place(
            host=self._client.host, repository=address.path, rights=_RIGHTS, variables=_VARIABLES
        )
        self.has_token = token is not None

    @staticmethod
    def is_at(host: str) -> bool:
        """By the name that nearly every server has."""
        return "gitlab" in host

    @staticmethod
    def answers(address: Address, network: Network) -> bool:
        """By its version, which it tells nobody without a token, but says so as no other does."""
        answer = Client(f"{address.root}/api/v4", _HEADERS, address, network).probe("/version")
        if answer is None:
            return False
        body = answer.body if isinstance(answer.body, dict) else {}
        known = {"version", "revision"} <= body.keys()
        return (answer.status == 200 and known) or (
            answer.status == 401 and body == {"message": "401 Unauthorized"}
        )

    def propose(self, request: ChangeRequest) -> OpenedRequest:
        """Open or update the merge request; labels that are not there are made by GitLab."""
        if not self.has_token:
            page = self.compare_url(request.source_branch, request.target_branch)
            raise self._place.without_token(page)
        found = self._open(request)
        text = {"title": title(request.title), "description": request.body}
        # A comma would divide one.
        labels = ",".join(label.replace(",", " ") for label in request.labels)
        if found is None:
            made = self._client.call(
                "POST",
                f"{self._path}/merge_requests",
                json=text
                | {
                    "source_branch": request.source_branch,
                    "target_branch": request.target_branch,
                    "remove_source_branch": True,
                }
                | ({"labels": labels} if labels else {}),
            )
            # Another run was quicker, or the answer to our first try got lost.
            found = self._open(request) if made.status == 409 else None
            if found is None:
                return _opened(self._place.one(made, *_FIELDS), created=True)
        changed = self._client.call(
            "PUT",
            f"{self._path}/merge_requests/{found['iid']}",
            json=text | ({"add_labels": labels} if labels else {}),
        )
        return _opened(self._place.one(changed, *_FIELDS), created=False)

    def compare_url(self, source: str, target: str) -> str:
        """The page for a new merge request."""
        query = urllib.parse.urlencode(
            {"merge_request[source_branch]": source, "merge_request[target_branch]": target}
        )
        return f"{self._address.web}/-/merge_requests/new?{query}"

    def _open(self, request: ChangeRequest) -> Any:
        query = {
            "state": "opened",
            "source_branch": request.source_branch,
            "target_branch": request.target_branch,
        }
        found = self._place.many(self._client.call("GET", f"{self._path}/merge_requests", query=query), "iid")
        return found[0] if found else None


def _opened(made: Any, *, created: bool) -> OpenedRequest:
    return OpenedRequest(url=made["web_url"], number=made["iid"], created=created)


FORGE: type[Forge] = GitLab
