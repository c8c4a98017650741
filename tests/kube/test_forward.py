import socket
import threading
from contextlib import contextmanager

import pytest

from servegen.errors import ConfigError, DeployError
from servegen.kube import forward
from servegen.kube.client import Cluster
from servegen.kube.options import ClusterOptions
from servegen.progress import Silent
from servegen.targets.k8s import Kubernetes
from servegen.values.deployment import AutoscalingSettings
from tests.kube import fake_api
from tests.kube.deployments import deployment
from tests.recorder import Recorder


@contextmanager
def echo():
    """A server that answers each chunk with itself in capitals."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection):
        with connection:
            while data := connection.recv(1 << 16):
                connection.sendall(data.upper())

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_many_connections_are_carried_both_ways_at_a_time():
    with echo() as there, forward.listening(lambda: socket.create_connection(there), 0, Silent()) as port:
        connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(10)]
        for number, one in enumerate(connections):
            one.sendall(f"hello {number}".encode())
        assert [one.recv(100) for one in connections] == [f"HELLO {n}".encode() for n in range(10)]
        for one in connections:
            one.shutdown(socket.SHUT_WR)
            assert one.recv(1) == b""
            one.close()


def test_a_connection_without_a_pod_is_closed_and_the_next_one_tries_anew():
    seen, absent = Recorder(), [DeployError("no pod is ready", hint="wait")]

    def dial():
        if absent:
            raise absent.pop()
        return socket.create_connection(there)

    with echo() as there, forward.listening(dial, 0, seen) as port:
        with socket.create_connection(("127.0.0.1", port)) as first:
            assert first.recv(1) == b""
        with socket.create_connection(("127.0.0.1", port)) as second:
            second.sendall(b"x")
            assert second.recv(1) == b"X"
    assert seen.warnings == ["no pod is ready; wait"]


def test_a_port_in_use_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 cannot be used")
        with refused, forward.listening(socket.socket, port, Silent()):
            pass


@pytest.fixture
def api(tmp_path):
    with fake_api.running(tmp_path) as server:
        yield server


@pytest.fixture
def cluster(api):
    options = ClusterOptions(kubeconfig=str(api.kubeconfig), timeout_seconds=5)
    wanted = deployment(autoscaling=AutoscalingSettings(enabled=False), replicas=2, kube_version="1.35")
    Kubernetes(options=options).deliver(wanted, progress=Silent())
    return Cluster.connect(options)


def test_the_same_pod_is_kept_until_it_leaves(api, cluster):
    seen = Recorder()
    pods = forward.Pods(cluster, "iris", seen)
    pods.require()
    pods.require()
    api.objects["/api/v1/namespaces/ml/pods/iris-abc-0"]["metadata"]["deletionTimestamp"] = "now"
    pods.require()
    assert seen.steps == ["forwarding to pod iris-abc-0", "forwarding to pod iris-abc-1"]


def test_without_a_ready_pod_the_way_to_the_reason_is_told(api, cluster):
    for number in range(2):
        api.objects[f"/api/v1/namespaces/ml/pods/iris-abc-{number}"]["status"] = {"phase": "Pending"}
    with pytest.raises(DeployError, match="none of the 2 pods of iris is ready") as caught:
        forward.Pods(cluster, "iris", Silent()).require()
    assert caught.value.hint == "servegen status iris says why"


def test_a_server_that_opens_no_stream_is_told_after_all_pods_were_tried(cluster):
    with pytest.raises(DeployError, match=r"no pod of iris takes a connection: .*"):
        forward.Pods(cluster, "iris", Silent()).dial()
