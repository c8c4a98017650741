"""A proxy on loopback between a client and an API server, which a test cuts or freezes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import yaml


@dataclass
class Proxy:
    """Passes bytes on, both ways, as long as the server is said to be `up`."""

    host: str
    port: int
    mode: str = "up"
    """`up`; `cut`: connections are closed and new ones refused; `frozen`: nothing is passed on any more."""
    _pairs: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)

    def stop(self, mode: str) -> None:
        """The server is away from now on."""
        self.mode = mode
        if mode == "cut":
            for pair in self._pairs:
                for one in pair:
                    with contextlib.suppress(OSError):
                        one.shutdown(socket.SHUT_RDWR)

    def serve(self, listener: socket.socket) -> None:
        """Until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                if self.mode == "cut":
                    client.close()
                    continue
                server = socket.create_connection((self.host, self.port))
                self._pairs.append((client, server))
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                # What was frozen is lost, as with a machine that is gone.
                if self.mode == "up":
                    target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End all connections."""
        self.stop("cut")
        for pair in self._pairs:
            for one in pair:
                one.close()


@contextlib.contextmanager
def before(kubeconfig: str, folder: Path) -> Iterator[tuple[Proxy, str]]:
    """A proxy before the cluster of `kubeconfig`, and the path of a kubeconfig that leads there."""
    config = yaml.safe_load(Path(kubeconfig).read_text())
    (cluster,) = config["clusters"]
    address = urlsplit(cluster["cluster"]["server"])
    assert address.hostname
    proxy = Proxy(host=address.hostname, port=address.port or 443)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=proxy.serve, args=(listener,), daemon=True).start()
        cluster["cluster"]["server"] = f"https://127.0.0.1:{listener.getsockname()[1]}"
        cluster["cluster"]["tls-server-name"] = address.hostname
        path = folder / "through-the-proxy"
        path.write_text(yaml.safe_dump(config))
        try:
            yield proxy, str(path)
        finally:
            proxy.close()
