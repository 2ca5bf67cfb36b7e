"""The Docker Engine API over a unix socket, by the standard library alone: what a stranger's client would send."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

VERSION = "v1.51"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float = 60) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The sentence of an error; "" for anything else."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return ""
        return str(found.get("message", "")) if isinstance(found, dict) and self.status >= 400 else ""


class Api:
    """One engine's API. Each request has a connection of its own."""

    def __init__(self, socket_path: Path) -> None:
        self.socket_path = socket_path

    def __call__(self, method: str, path: str, body: Any = None, timeout_s: float = 60, /, **query: Any) -> Reply:
        connection = UnixConnection(self.socket_path, timeout_s)
        target = f"/{VERSION}{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, target, data, {"Content-Type": "application/json"} if data is not None else {})
            answer = connection.getresponse()
            return Reply(answer.status, {key.lower(): text for key, text in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    @contextmanager
    def stream(self, path: str, timeout_s: float = 60) -> Iterator[http.client.HTTPResponse]:
        """An answer that goes on: what is read from it comes as the engine tells it."""
        connection = UnixConnection(self.socket_path, timeout_s)
        try:
            connection.request("GET", f"/{VERSION}{path}")
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            yield answer
        finally:
            connection.close()

    def ok(self, method: str, path: str, body: Any = None, /, **query: Any) -> Reply:
        reply = self(method, path, body, 60, **query)
        assert reply.status < 400, f"{method} {path}: {reply.status} {reply.body.decode(errors='replace')}"
        return reply
