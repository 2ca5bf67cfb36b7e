"""A balancer of TCP connections for tests: each goes to the next node that takes it."""

import contextlib
import itertools
import socket
import threading
from types import TracebackType
from typing import Self


class Balancer:
    """Enter to listen at `host` (ADDRESS:PORT). `nodes` are of the same form."""

    def __init__(self, *nodes: str) -> None:
        self._nodes = [(node.rpartition(":")[0], int(node.rpartition(":")[2])) for node in nodes]
        self._turn = itertools.count()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.host = "{}:{}".format(*self._listener.getsockname())

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the end
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        first = next(self._turn)
        with client:
            for number in range(len(self._nodes)):
                try:
                    node = socket.create_connection(self._nodes[(first + number) % len(self._nodes)], timeout=5)
                except OSError:
                    continue  # it is down: the next
                node.settimeout(None)
                with node:
                    back = threading.Thread(target=_copy, args=(node, client), daemon=True)
                    back.start()
                    _copy(client, node)
                    back.join()
                return

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Until `source` ends; then `target` is told so. A connection that breaks ends the other."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
