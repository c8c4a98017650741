"""Deliveries are signed here as MLflow signs them, by MLflow's own code."""

import asyncio
import json
import socket
import time

import httpx
import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature as sign

from servegen.errors import ConfigError
from servegen.watch.counting import Counters
from servegen.watch.listening import address, app, listening
from servegen.watch.webhooks import BODY_LIMIT, WINDOW_SECONDS, Event, Gate, RefusedError
from tests.recorder import Recorder

SECRET = "not a real one é"
NOW = 1_795_000_000
MOVED = {"name": "iris", "alias": "champion", "version": "8"}


def delivery(
    entity="model_version_alias",
    action="created",
    *,
    data=MOVED,
    delivery_id="d1",
    at=NOW,
    secret=SECRET,
    body=None,
):
    body = body or json.dumps({"entity": entity, "action": action, "timestamp": "t", "data": data})
    headers = {
        "content-type": "application/json",
        "x-mlflow-delivery-id": delivery_id,
        "x-mlflow-timestamp": str(at),
        "x-mlflow-signature": sign(secret, delivery_id, str(at), body),
    }
    return headers, body.encode()


@pytest.fixture
def gate() -> Gate:
    return Gate(SECRET, clock=lambda: NOW)


@pytest.mark.parametrize(
    ("entity", "action", "data", "text"),
    [
        ("model_version_alias", "created", MOVED, "alias champion set to 8"),
        ("model_version_alias", "deleted", {"name": "iris", "alias": "champion"}, "alias champion deleted"),
        ("model_version", "created", {"name": "iris", "version": "9"}, "version 9 created"),
    ],
)
def test_what_mlflow_signed_is_believed(gate, entity, action, data, text):
    assert gate.admit(*delivery(entity, action, data=data)) == Event(model="iris", text=text)


@pytest.mark.parametrize(
    ("entity", "action"),
    [("registered_model", "created"), ("model_version_tag", "set"), ("prompt_alias", "created")],
)
def test_events_that_move_no_model_are_let_pass(gate, entity, action):
    # Our own tags would else start the next deployment.
    assert gate.admit(*delivery(entity, action)) is None


def test_a_signature_may_be_one_of_several(gate):
    headers, body = delivery()
    headers["x-mlflow-signature"] = f"v1,{'A' * 43}= {headers['x-mlflow-signature']}"
    assert gate.admit(headers, body) is not None


def refused(gate: Gate, headers, body) -> int:
    with pytest.raises(RefusedError) as caught:
        gate.admit(headers, body)
    assert SECRET not in str(caught.value)
    return caught.value.status


def test_forged_deliveries_are_refused(gate):
    headers, body = delivery()
    assert refused(gate, headers, body.replace(b"8", b"9")) == 401
    assert refused(gate, {**headers, "x-mlflow-delivery-id": "d2"}, body) == 401
    assert refused(gate, {**headers, "x-mlflow-timestamp": str(NOW + 1)}, body) == 401
    assert refused(gate, {**headers, "x-mlflow-signature": "v1,é"}, body) == 401
    assert refused(gate, *delivery(secret="another")) == 401
    for name in ("x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature"):
        assert refused(gate, {**headers, name: ""}, body) == 401
    assert refused(gate, {**headers, "x-mlflow-timestamp": "²"}, body) == 400
    # None of them spoiled the real one.
    assert gate.admit(headers, body) is not None


@pytest.mark.parametrize("age", [-WINDOW_SECONDS - 1, WINDOW_SECONDS + 1])
def test_what_was_signed_long_ago_or_ahead_is_refused(gate, age):
    assert refused(gate, *delivery(at=NOW - age)) == 401
    assert gate.admit(*delivery(at=NOW - age // 2)) is not None


def test_a_delivery_counts_once_and_is_forgotten_when_it_is_too_old_anyway():
    now = [float(NOW)]
    gate = Gate(SECRET, clock=lambda: now[0])
    ahead = delivery(at=NOW + WINDOW_SECONDS)
    assert gate.admit(*ahead) is not None
    for _ in range(2 * WINDOW_SECONDS):
        now[0] += 1
        assert refused(gate, *ahead) == 409
    now[0] += 1
    assert refused(gate, *ahead) == 401


@pytest.mark.parametrize(
    "body", ["{", "[]", "3", '{"entity": 1}', '{"entity": [], "action": {}}', "[" * 9000]
)
def test_a_signed_body_that_is_no_event_is_refused(gate, body):
    assert refused(gate, *delivery(body=body)) == 400


def asked(*requests: httpx.Request, events: list[Event], alive: bool = True) -> list[httpx.Response]:
    served = app(Gate(SECRET), events.append, lambda: alive, Counters(), Recorder())

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=served)
        async with httpx.AsyncClient(transport=transport, base_url="http://watcher") as client:
            return [await client.send(one) for one in requests]

    return asyncio.run(ask())


def post(headers, body) -> httpx.Request:
    return httpx.Request("POST", "http://watcher/webhook", headers=headers, content=body)


def test_the_listener_takes_deliveries_once_and_counts_them():
    events: list[Event] = []
    good = delivery(at=int(time.time()))
    long = delivery(body=json.dumps({"x": "y" * BODY_LIMIT}))
    get = httpx.Request("GET", "http://watcher/metrics")
    found = asked(
        post(*good),
        post(*good),
        post({}, b"{}"),
        post(*long),
        httpx.Request("GET", post(*good).url),
        get,
        events=events,
    )
    assert [one.status_code for one in found] == [202, 409, 401, 413, 405, 200]
    assert [one.headers.get("connection") for one in found[:4]] == [None, "close", "close", "close"]
    assert [one.model for one in events] == ["iris"]
    assert 'servegen_watch_deliveries_total{result="refused"} 3.0' in found[-1].text
    assert 'servegen_watch_deliveries_total{result="accepted"} 1.0' in found[-1].text


@pytest.mark.parametrize(("alive", "status"), [(True, 200), (False, 503)])
def test_health_says_whether_the_loop_goes_round(alive, status):
    (found,) = asked(httpx.Request("GET", "http://watcher/healthz"), events=[], alive=alive)
    assert found.status_code == status


@pytest.mark.parametrize("text", ["8080", ":8080", "host:", "host:0", "host:65536", "host:x", "host:²"])
def test_an_address_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="no address"):
        address(text)


def test_addresses_are_hosts_and_ports():
    assert address("0.0.0.0:8080") == ("0.0.0.0", 8080)
    assert address("[::]:8080") == ("::", 8080)


def test_a_client_that_asks_for_nothing_loses_its_connection(monkeypatch):
    monkeypatch.setattr("servegen.watch.listening._HEAD_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    served = app(Gate(SECRET), list, lambda: True, Counters(), Recorder())
    with listening(served, "127.0.0.1", port), socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(b"POST /webhook HTTP/1.1\r\nHost: x\r\n")
        assert client.recv(1) == b""
