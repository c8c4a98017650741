"""Forges on loopback that answer as their documentation says: status codes, error bodies, pages."""

from __future__ import annotations

import json
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "t0ken-of-the-forge"
REPOSITORY = "flowers/models"


@dataclass(frozen=True, kw_only=True)
class Call:
    method: str
    path: str
    """With escapes as they were sent, without the query."""
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True, kw_only=True)
class Said:
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class Fake:
    """The state of one repository; `routes` are tried in order."""

    api = ""
    number = "number"

    def __init__(self, repository: str = REPOSITORY) -> None:
        self.repository = repository
        self.heads = {"main": "c0", "servegen/iris-prod-1": "c1", "servegen/iris-prod-2": "c2", "same": "c0"}
        self.requests: list[dict[str, Any]] = []
        self.labels: dict[str, int] = {}
        self.calls: list[Call] = []
        self.moods: list[Callable[[Call], Said | None]] = []
        """Asked first, each until it says something once."""
        self.origin = ""
        self.prefix = ""

    def answer(self, call: Call) -> Said:
        self.calls.append(call)
        for mood in list(self.moods):
            if said := mood(call):
                self.moods.remove(mood)
                return said
        if not call.path.startswith(self.prefix + self.api):
            return Said(status=404, body="<html>no such page</html>")
        return self.route(call.method, call.path.removeprefix(self.prefix + self.api), call)

    def route(self, method: str, path: str, call: Call) -> Said:
        raise NotImplementedError

    def open(self, source: str, target: str) -> dict[str, Any] | None:
        return next(
            (
                one
                for one in self.requests
                if one["open"] and (one["source"], one["target"]) == (source, target)
            ),
            None,
        )

    def add(self, source: str, target: str, **more: Any) -> dict[str, Any]:
        made = {"id": len(self.requests) + 1, "source": source, "target": target, "open": True, "labels": []}
        self.requests.append(made | more)
        return self.requests[-1]

    def page(self, call: Call, items: list[Any], size: int) -> Said:
        """One page of a list and, where there is a next one, the header that links to it."""
        number = int(call.query.get("page", 1))
        shown, headers = items[(number - 1) * size : number * size], {}
        if number * size < len(items):
            query = urllib.parse.urlencode(call.query | {"page": str(number + 1)})
            headers["Link"] = f'<https://its-own-name.example.com{call.path}?{query}>; rel="next"'
        return Said(status=200, body=shown, headers=headers)


class FakeGitHub(Fake):
    api = "/api/v3"

    def route(self, method: str, path: str, call: Call) -> Said:
        if path == "/meta":
            return Said(status=200, body={"installed_version": "3.17.0"})
        if call.headers.get("authorization") != f"Bearer {TOKEN}":
            return self._no(401, "Bad credentials")
        base = f"/repos/{self.repository}"
        if not path.startswith(f"{base}/"):
            return self._no(404, "Not Found")
        rest = path.removeprefix(base)
        if (method, rest) == ("GET", "/pulls"):
            owner, _, head = call.query["head"].partition(":")
            assert owner == self.repository.partition("/")[0]
            one = self.open(head, call.query["base"])
            return Said(status=200, body=[self.shown(one)] if one else [])
        if (method, rest) == ("POST", "/pulls"):
            return self._made(call.body)
        if method == "PATCH" and (match := re.fullmatch(r"/pulls/(\d+)", rest)):
            one = self.requests[int(match[1]) - 1]
            one.update(call.body)
            return Said(status=200, body=self.shown(one))
        if method == "POST" and (match := re.fullmatch(r"/issues/(\d+)/labels", rest)):
            one = self.requests[int(match[1]) - 1]
            one["labels"] = sorted({*one["labels"], *call.body["labels"]})
            return Said(status=200, body=[{"name": label} for label in one["labels"]])
        return self._no(404, "Not Found")

    def _made(self, body: Any) -> Said:
        head, base = body["head"], body["base"]
        for name, branch in (("head", head), ("base", base)):
            if branch not in self.heads:
                return self._invalid({"resource": "PullRequest", "field": name, "code": "invalid"})
        if self.heads[head] == self.heads[base]:
            return self._invalid(self._custom(f"No commits between {base} and {head}"))
        if self.open(head, base):
            owner = self.repository.partition("/")[0]
            return self._invalid(self._custom(f"A pull request already exists for {owner}:{head}."))
        return Said(status=201, body=self.shown(self.add(head, base, title=body["title"], body=body["body"])))

    def _custom(self, text: str) -> dict[str, str]:
        return {"resource": "PullRequest", "code": "custom", "message": text}

    def _invalid(self, error: dict[str, str]) -> Said:
        return Said(status=422, body=self._no(422, "Validation Failed").body | {"errors": [error]})

    def _no(self, status: int, text: str) -> Said:
        about = "https://docs.github.com/rest"
        return Said(status=status, body={"message": text, "documentation_url": about, "status": str(status)})

    def shown(self, one: dict[str, Any]) -> dict[str, Any]:
        url = f"{self.origin}{self.prefix}/{self.repository}/pull/{one['id']}"
        return {
            "number": one["id"],
            "html_url": url,
            "head": {"ref": one["source"]},
            "base": {"ref": one["target"]},
        }


class FakeGitLab(Fake):
    api = "/api/v4"
    number = "iid"

    def route(self, method: str, path: str, call: Call) -> Said:
        known = call.headers.get("authorization") == f"Bearer {TOKEN}"
        if not known:
            return Said(status=401, body={"message": "401 Unauthorized"})
        if path == "/version":
            return Said(status=200, body={"version": "18.4.0", "revision": "a1b2c3"})
        base = "/projects/" + urllib.parse.quote(self.repository, safe="")
        if not path.startswith(f"{base}/"):
            return Said(status=404, body={"message": "404 Project Not Found"})
        rest = path.removeprefix(base)
        if (method, rest) == ("GET", "/merge_requests"):
            assert call.query["state"] == "opened"
            one = self.open(call.query["source_branch"], call.query["target_branch"])
            return Said(status=200, body=[self.shown(one)] if one else [])
        if (method, rest) == ("POST", "/merge_requests"):
            return self._made(call.body)
        if method == "PUT" and (match := re.fullmatch(r"/merge_requests/(\d+)", rest)):
            one = self.requests[int(match[1]) - 1]
            one.update(title=call.body["title"], body=call.body["description"])
            one["labels"] = sorted({*one["labels"], *call.body.get("add_labels", "").split(",")} - {""})
            return Said(status=200, body=self.shown(one))
        return Said(status=404, body={"error": "404 Not Found"})

    def _made(self, body: Any) -> Said:
        source, target = body["source_branch"], body["target_branch"]
        if source not in self.heads:
            return Said(status=400, body={"message": {"source_branch": ["does not exist"]}})
        if one := self.open(source, target):
            text = f"Another open merge request already exists for this source branch: !{one['id']}"
            return Said(status=409, body={"message": [text]})
        labels = sorted(set(body.get("labels", "").split(",")) - {""})
        made = self.add(source, target, title=body["title"], body=body["description"], labels=labels)
        return Said(status=201, body=self.shown(made))

    def shown(self, one: dict[str, Any]) -> dict[str, Any]:
        url = f"{self.origin}{self.prefix}/{self.repository}/-/merge_requests/{one['id']}"
        return {"id": 1000 + one["id"], "iid": one["id"], "web_url": url}


class FakeGitea(Fake):
    api = "/api/v1"
    page_size = 2

    def route(self, method: str, path: str, call: Call) -> Said:
        if path == "/version":
            return Said(status=200, body={"version": "1.27.3"})
        if call.headers.get("authorization") != f"token {TOKEN}":
            return self._no(401, "invalid username, password or token")
        base = f"/repos/{self.repository}"
        if not path.startswith(f"{base}/"):
            return self._no(404, "The target couldn't be found.")
        rest = path.removeprefix(base)
        if (method, rest) == ("GET", "/pulls"):
            found = [self.shown(one) for one in self.requests if one["open"]]
            return self.page(call, found, self.page_size)
        if (method, rest) == ("POST", "/pulls"):
            return self._made(call.body)
        if method == "PATCH" and (match := re.fullmatch(r"/pulls/(\d+)", rest)):
            one = self.requests[int(match[1]) - 1]
            one.update(call.body)
            return Said(status=201, body=self.shown(one))
        if (method, rest) == ("GET", "/labels"):
            found = [{"id": number, "name": name} for name, number in self.labels.items()]
            return self.page(call, found, self.page_size)
        if (method, rest) == ("POST", "/labels"):
            self.labels[call.body["name"]] = 100 + len(self.labels)
            return Said(status=201, body={"id": self.labels[call.body["name"]], "name": call.body["name"]})
        if method == "POST" and (match := re.fullmatch(r"/issues/(\d+)/labels", rest)):
            names = {number: name for name, number in self.labels.items()}
            one = self.requests[int(match[1]) - 1]
            one["labels"] = sorted({*one["labels"], *(names[number] for number in call.body["labels"])})
            return Said(status=200, body=[{"name": label} for label in one["labels"]])
        return self._no(404, "The target couldn't be found.")

    def _made(self, body: Any) -> Said:
        head, base = body["head"], body["base"]
        if head == base:
            return self._no(422, "Invalid PullRequest: There are no changes between the head and the base")
        if head not in self.heads or base not in self.heads:
            return self._no(404, "The target couldn't be found.")
        if one := self.open(head, base):
            ids = f"[id: {one['id']}, issue_id: {one['id']}, head_branch: {head}, base_branch: {base}]"
            return self._no(409, f"pull request already exists for these targets {ids}")
        made = self.add(head, base, title=body["title"], body=body["body"])
        return Said(status=201, body=self.shown(made))

    def _no(self, status: int, text: str) -> Said:
        return Said(status=status, body={"message": text, "url": f"{self.origin}/api/swagger"})

    def shown(self, one: dict[str, Any]) -> dict[str, Any]:
        url = f"{self.origin}{self.prefix}/{self.repository}/pulls/{one['id']}"
        return {
            "number": one["id"],
            "html_url": url,
            "head": {"ref": one["source"]},
            "base": {"ref": one["target"]},
        }


@contextmanager
def serving(fake: Fake) -> Iterator[Fake]:
    """The forge on a free port; `origin` is its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            split = urllib.parse.urlsplit(self.path)
            length = int(self.headers.get("Content-Length", 0))
            text = self.rfile.read(length)
            said = fake.answer(
                Call(
                    method=self.command,
                    path=split.path,
                    query=dict(urllib.parse.parse_qsl(split.query)),
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=json.loads(text) if text else None,
                )
            )
            content = said.body.encode() if isinstance(said.body, str) else json.dumps(said.body).encode()
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        fake.origin = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield fake
        finally:
            server.shutdown()
