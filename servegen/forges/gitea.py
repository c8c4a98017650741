"""Gitea and Forgejo: pull requests."""

from __future__ import annotations

import urllib.parse
from typing import Any

from servegen.forges import Forge
from servegen.forges.address import Address, branch
from servegen.forges.http import Answer, Client, Network
from servegen.forges.problems import Place, title
from servegen.progress import Progress
from servegen.values.gitops import ChangeRequest, OpenedRequest

_RIGHTS = "write access to repositories and issues (`write:repository`, `write:issue`)"
_VARIABLES = "SERVEGEN_FORGE_TOKEN or GITEA_TOKEN"
_HEADERS = {"User-Agent": "servegen"}
_HOSTS = ("gitea", "forgejo", "codeberg.org")
_PAGE = 50
_COLOR = "#ededed"

_FIELDS = ("number", "html_url")
"""What is read of a request."""


class Gitea:
    """Pull requests of one repository."""

    def __init__(self, *, address: Address, token: str | None, network: Network, progress: Progress) -> None:
        self._address = address.of_two()
        self._progress = progress
        self._path = "/repos/" + urllib.parse.quote(self._address.path)
        headers = _HEADERS | ({"Authorization": f"token {token}"} if token else {})
        self._client = Client(f"{self._address.root}/api/v1", headers, self._address, network)
        self._place = Place(
            host=self._client.host, repository=self._address.path, rights=_RIGHTS, variables=_VARIABLES
        )
        self.has_token = token is not None

    @staticmethod
    def is_at(host: str) -> bool:
        """By the software's name, or that of the large public server."""
        return any(name in host for name in _HOSTS)

    @staticmethod
    def answers(address: Address, network: Network) -> bool:
        """By its version; a server that wants everybody signed in says so."""
        answer = Client(f"{address.root}/api/v1", _HEADERS, address, network).probe("/version")
        if answer is None:
            return False
        body = answer.body if isinstance(answer.body, dict) else {}
        known = body.keys() == {"version"}
        closed = answer.status in (401, 403) and "signed in user" in answer.words
        return (answer.status == 200 and known) or closed

    def propose(self, request: ChangeRequest) -> OpenedRequest:
        """Open or update the pull request; labels that are not there are made."""
        if not self.has_token:
            page = self.compare_url(request.source_branch, request.target_branch)
            raise self._place.without_token(page)
        text = {"title": title(request.title), "body": request.body}
        made = self._client.call(
            "POST",
            f"{self._path}/pulls",
            json=text | {"head": request.source_branch, "base": request.target_branch},
        )
        # It cannot be asked for the request between two branches in a way that all versions know.
        found = self._open(request) if made.status == 409 else None
        if found is None:
            return self._labelled(self._place.one(made, *_FIELDS), request, created=True)
        changed = self._client.call("PATCH", f"{self._path}/pulls/{found['number']}", json=text)
        return self._labelled(self._place.one(changed, *_FIELDS), request, created=False)

    def compare_url(self, source: str, target: str) -> str:
        """The page that compares both branches."""
        return f"{self._address.web}/compare/{branch(target)}...{branch(source)}"

    def _open(self, request: ChangeRequest) -> Any:
        wanted = (request.source_branch, request.target_branch)
        for page in self._client.pages(f"{self._path}/pulls", query={"state": "open", "limit": _PAGE}):
            for one in self._place.many(page, "number", "head", "base"):
                if (one["head"]["ref"], one["base"]["ref"]) == wanted:
                    return one
        return None

    def _labelled(self, made: Any, request: ChangeRequest, *, created: bool) -> OpenedRequest:
        if request.labels:
            path = f"{self._path}/issues/{made['number']}/labels"
            answer = self._numbers(request.labels)
            if isinstance(answer, list):
                answer = self._client.call("POST", path, json={"labels": answer})
            if answer.status >= 300:
                self._progress.warn(f"{made['html_url']} got no labels: {answer.words or answer.status}")
        return OpenedRequest(url=made["html_url"], number=made["number"], created=created)

    def _numbers(self, labels: tuple[str, ...]) -> list[int] | Answer:
        """The ids of labels, those that lack made first; or the answer that refuses."""
        known: dict[str, int] = {}
        for page in self._client.pages(f"{self._path}/labels", query={"limit": _PAGE}):
            if page.status >= 300:
                return page
            known |= {one["name"]: one["id"] for one in page.body}
        for label in labels:
            if label not in known:
                made = self._client.call(
                    "POST", f"{self._path}/labels", json={"name": label, "color": _COLOR}
                )
                if made.status >= 300:
                    return made
                known[label] = made.body["id"]
        return [known[label] for label in labels]


FORGE: type[Forge] = Gitea
