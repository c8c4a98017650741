import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from servegen.errors import ConfigError, VerifyError
from servegen.verify.ask import ask

EXAMPLE = {"inputs": [[5.1, 3.5]]}


def described(**content):
    post = {"requestBody": {"content": {"application/json": content}}}
    return {"paths": {"/invocations": {"post": post}}}


@contextmanager
def server(*, document, status=200, answer=b'{"predictions": [1]}'):
    """A server with that description and answer; it keeps what it was sent in `bodies`."""
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self):
            self.reply(200 if document else 404, json.dumps(document or {}).encode())

        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(status, answer)

        def reply(self, code, content):
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()

        def log_message(self, *args): ...

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    thread = threading.Thread(target=made.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_port}", bodies
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


def test_the_example_that_the_server_describes_is_sent():
    with server(document=described(example=EXAMPLE)) as (url, bodies):
        asked = ask(url, None, requests=3)
    assert [json.loads(body) for body in bodies] == [EXAMPLE] * 3
    assert (asked.status, asked.answer, len(asked.milliseconds)) == (200, {"predictions": [1]}, 3)
    assert asked.median in asked.milliseconds


def test_a_body_of_the_users_own_needs_no_example():
    with server(document=None) as (url, bodies):
        assert ask(url, b'{"inputs": 1}').answer == {"predictions": [1]}
    assert bodies == [b'{"inputs": 1}']


@pytest.mark.parametrize("document", [None, described(), {"paths": []}])
def test_without_an_example_the_user_is_told_to_bring_one(document):
    with server(document=document) as (url, _), pytest.raises(VerifyError, match="no example") as caught:
        ask(url, None)
    assert "--data FILE" in caught.value.hint


def test_another_status_is_a_failure_with_the_servers_words():
    refused = pytest.raises(VerifyError, match="answers 400: no column petal")
    with server(document=None, status=400, answer=b"no column petal") as (url, _), refused:
        ask(url, b"{}")


def test_an_answer_that_is_no_json_is_a_failure():
    refused = pytest.raises(VerifyError, match="answers no JSON: <html>")
    with server(document=None, answer=b"<html>") as (url, _), refused:
        ask(url, b"{}")


def test_nobody_there_and_no_url_are_told_apart():
    with pytest.raises(VerifyError, match=r"gives no answer: .*refused"):
        ask("http://127.0.0.1:9", b"{}")
    with pytest.raises(ConfigError, match="iris is no URL"):
        ask("iris", b"{}")
