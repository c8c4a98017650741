"""GitHub and GitHub Enterprise: pull requests."""

from __future__ import annotations

import urllib.parse
from typing import Any

from servegen.forges import Forge
from servegen.forges.address import Address, branch
from servegen.forges.http import Client, Network
from servegen.forges.problems import Place, title
from servegen.progress import Progress
from servegen.values.gitops import ChangeRequest, OpenedRequest

_RIGHTS = "write access to pull requests and issues (classic tokens: the scope `repo`)"
_VARIABLES = "SERVEGEN_FORGE_TOKEN, GITHUB_TOKEN or GH_TOKEN"
_HEADERS = {
    "Accept": "application/vnd.github+json",
    "X-GitHub-Api-Version": "2022-11-28",
    "User-Agent": "servegen",
}

_FIELDS = ("number", "html_url")
"""What is read of a request."""


class GitHub:
    """Pull requests of one repository."""

    def __init__(self, *, address: Address, token: str | None, network: Network, progress: Progress) -> None:
        self._address = address.of_two()
        self._progress = progress
        self._path = "/repos/" + urllib.parse.quote(self._address.path)
        headers = _HEADERS | ({"Authorization": f"Bearer {token}"} if token else {})
        self._client = Client(_api(self._address), headers, self._address, network)
        self._place = Place(
            host=self._client.host, repository=self._address.path, rights=_RIGHTS, variables=_VARIABLES
        )
        self.has_token = token is not None

    @staticmethod
    def is_at(host: str) -> bool:
        """Also GitHub's clouds for one company, `NAME.ghe.com`."""
        return "github" in host or host.endswith(".ghe.com")

    @staticmethod
    def answers(address: Address, network: Network) -> bool:
        """By the page about a server; a private one refuses it with a header of its own."""
        answer = Client(_api(address), _HEADERS, address, network).probe("/meta")
        if answer is None:
            return False
        told = isinstance(answer.body, dict) and "installed_version" in answer.body
        return (answer.status == 200 and told) or "x-github-request-id" in answer.headers

    def propose(self, request: ChangeRequest) -> OpenedRequest:
        """Open or update the pull request; labels that are not there are made by GitHub."""
        if not self.has_token:
            page = self.compare_url(request.source_branch, request.target_branch)
            raise self._place.without_token(page)
        found = self._open(request)
        text = {"title": title(request.title), "body": request.body}
        if found is None:
            made = self._client.call(
                "POST",
                f"{self._path}/pulls",
                json=text | {"head": request.source_branch, "base": request.target_branch},
            )
            # Another run was quicker, or the answer to our first try got lost.
            found = self._open(request) if made.status == 422 and "already exists" in made.words else None
            if found is None:
                return self._labelled(self._place.one(made, *_FIELDS), request, created=True)
        changed = self._client.call("PATCH", f"{self._path}/pulls/{found['number']}", json=text)
        return self._labelled(self._place.one(changed, *_FIELDS), request, created=False)

    def compare_url(self, source: str, target: str) -> str:
        """The page that compares both branches."""
        return f"{self._address.web}/compare/{branch(target)}...{branch(source)}?expand=1"

    def _open(self, request: ChangeRequest) -> Any:
        owner = self._address.path.partition("/")[0]
        query = {
            "state": "open",
            "head": f"{owner}:{request.source_branch}",
            "base": request.target_branch,
        }
        found = self._place.many(
            self._client.call("GET", f"{self._path}/pulls", query=query), "number", "head"
        )
        # A server that does not know `head` gives everything.
        return next((one for one in found if one["head"]["ref"] == request.source_branch), None)

    def _labelled(self, made: Any, request: ChangeRequest, *, created: bool) -> OpenedRequest:
        if request.labels:
            path = f"{self._path}/issues/{made['number']}/labels"
            answer = self._client.call("POST", path, json={"labels": list(request.labels)})
            if answer.status >= 300:
                self._progress.warn(f"{made['html_url']} got no labels: {answer.words or answer.status}")
        return OpenedRequest(url=made["html_url"], number=made["number"], created=created)


def _api(address: Address) -> str:
    if address.host == "github.com" or address.host.endswith(".ghe.com"):
        return f"https://api.{address.host}"
    return f"{address.root}/api/v3"


FORGE: type[Forge] = GitHub
