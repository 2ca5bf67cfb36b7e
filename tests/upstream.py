"""A registry that stands before another one: it counts what is asked for, and fails as it is told.

with Before(registry.host) as upstream:
    upstream.on("GET", "/blobs/", cut_after=1000)
"""

import http.client
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass
class Fault:
    """What is done to answers of requests that fit."""

    method: str
    part: str
    """Of the path."""
    times: int = 1
    status: int = 0
    """Answered instead of what is behind."""
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    """The connection ends after so many bytes of the body."""
    change: Callable[[bytes], bytes] | None = None
    """The body, made another one of the same length."""
    hold: threading.Event | None = None
    """Half of the body is sent, the other half when this is set; what is no GET is passed on when it is set."""


class Before:
    """Passes requests on to the registry at `host`."""

    def __init__(self, host: str) -> None:
        self.requests: list[str] = []
        """`METHOD path?query`, in the order of their coming."""
        self.authorizations: list[str] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self.halfway = threading.Event()
        """A held body's first half has been sent, or a held request has come."""
        before = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size) if size else None
                with before._lock:
                    before.requests.append(f"{self.command} {self.path}")
                    before.authorizations.append(self.headers.get("Authorization", ""))
                    fault = before._take(self.command, self.path)
                if fault is not None and fault.status:
                    self._reply(fault.status, fault.headers, b"")
                    return
                if fault is not None and fault.hold is not None and self.command != "GET":
                    before.halfway.set()
                    fault.hold.wait(60)
                    fault = None
                behind = http.client.HTTPConnection(host, timeout=30)
                try:
                    sent = {key: text for key, text in self.headers.items() if key.lower() != "connection"}
                    behind.request(self.command, self.path, body, sent)
                    got = behind.getresponse()
                    content = got.read()
                    headers = {key: text for key, text in got.getheaders()
                               if key.lower() not in ("connection", "date", "transfer-encoding")}  # fmt: skip
                finally:
                    behind.close()
                if fault is not None and fault.change is not None:
                    content = fault.change(content)
                self._reply(got.status, headers, content, fault)

            def _reply(self, status: int, headers: dict[str, str], content: bytes, fault: Fault | None = None) -> None:
                self.send_response(status)
                if "Content-Length" not in headers:
                    headers = {**headers, "Content-Length": str(len(content))}
                for key, text in headers.items():
                    self.send_header(key, text)
                self.end_headers()
                if self.command == "HEAD":
                    return
                if fault is not None and fault.cut_after is not None:
                    self.wfile.write(content[: fault.cut_after])
                    self.close_connection = True
                elif fault is not None and fault.hold is not None:
                    self.wfile.write(content[: len(content) // 2])
                    self.wfile.flush()
                    before.halfway.set()
                    fault.hold.wait(60)
                    self.wfile.write(content[len(content) // 2 :])
                else:
                    self.wfile.write(content)

            do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _pass_on

            def log_message(self, *_: object) -> None:
                """Quiet."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that gave its request up is no error."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def on(self, method: str, part: str, **what: object) -> None:
        """The next request(s) of `method` whose path has `part` meet a fault: see `Fault`."""
        with self._lock:
            self._faults.append(Fault(method, part, **what))  # type: ignore[arg-type]

    def _take(self, method: str, path: str) -> Fault | None:
        for fault in self._faults:
            if fault.times and fault.method in (method, "*") and fault.part in path:
                fault.times -= 1
                return fault
        return None

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()
            self.requests.clear()
            self.authorizations.clear()
        self.halfway.clear()

    def count(self, method: str, part: str) -> int:
        with self._lock:
            return sum(request.startswith(f"{method} ") and part in request for request in self.requests)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
