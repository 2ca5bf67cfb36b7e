"""HTTP/1.1 to the engine on a bare socket: requests, chunked streams, upgrades. `http.client` would cost 27 ms.

Client ── one per command; keeps one idle connection
  └ Connection ── one socket and what was read ahead of need
      └ Response ── status, headers, body as bytes, JSON, lines or pieces
"""

import _socket
import sys

from onggi.cli.failure import CannotConnect, Failure, ResponseError
from onggi.jsontext import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any, Protocol, TypeAlias

    from onggi.cli.address import Address

    class Socket(Protocol):
        def fileno(self) -> int: ...
        def recv(self, size: int, /) -> bytes: ...
        def sendall(self, data: bytes, /) -> None: ...
        def shutdown(self, how: int, /) -> None: ...
        def close(self) -> None: ...

    Query: TypeAlias = "Mapping[str, str | int | bool | list[str]]"

_NOT_SAFE = {byte: f"%{byte:02X}" for byte in range(256)}
for _byte in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~":
    _NOT_SAFE[_byte] = chr(_byte)
PIECE = 65536
_HEAD_LIMIT = 1 << 20


def _nothing() -> None:
    """What there is to do while the engine works."""


def quote(text: str, keep: str = "") -> str:
    """Percent-encode for a path or a query. `keep` lists ASCII characters that stay (a "/" in a name)."""
    if text.isalnum() and text.isascii():
        return text
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if chr(byte) in keep else _NOT_SAFE[byte] for byte in data)


def _query(values: "Query") -> str:
    pairs = []
    for name, value in values.items():
        for item in value if isinstance(value, list) else (value,):
            text = ("1" if item else "0") if isinstance(item, bool) else str(item)
            pairs.append(f"{name}={quote(text)}")
    return "&".join(pairs)


def filters(given: "Iterable[str]") -> str:
    """`name=value` texts as the engine takes them; "" for none."""
    found: dict[str, dict[str, bool]] = {}
    for text in given:
        name, _, value = text.partition("=")
        found.setdefault(name, {})[value] = True
    return dumps(found) if found else ""


class Connection:
    """One socket, and what has been read from it and not yet been used."""

    __slots__ = ("ahead", "bodiless", "socket")

    def __init__(self, socket: "Socket") -> None:
        self.socket = socket
        self.ahead = b""
        self.bodiless = False
        """The last request was a HEAD: its answer has no body, whatever its headers say."""

    def fileno(self) -> int:
        return self.socket.fileno()

    def receive(self) -> bytes:
        """Some bytes; b"" at the end. Waits for them."""
        if self.ahead:
            data, self.ahead = self.ahead, b""
            return data
        return self.socket.recv(PIECE)

    def line(self) -> bytes:
        """Up to and without CR LF. Raises Failure when the engine hangs up or sends no end."""
        while (end := self.ahead.find(b"\r\n")) < 0:
            data = self.socket.recv(PIECE)
            if not data:
                raise Failure("the daemon closed the connection in the middle of its answer")
            self.ahead += data
            if len(self.ahead) > _HEAD_LIMIT:
                raise Failure("the daemon's answer has a line that is too long")
        line, self.ahead = self.ahead[:end], self.ahead[end + 2 :]
        return line

    def exactly(self, size: int) -> "Iterator[bytes]":
        while size > 0:
            data = self.receive()
            if not data:
                raise Failure("the daemon closed the connection in the middle of its answer")
            if len(data) > size:
                data, self.ahead = data[:size], data[size:]
            size -= len(data)
            yield data

    def close_writing(self) -> None:
        """Tell the other side that nothing more will come. Reading goes on."""
        try:
            self.socket.shutdown(_socket.SHUT_WR)
        except OSError:
            pass  # the other side has hung up already: reading will tell

    def close(self) -> None:
        self.socket.close()


class Response:
    """An answer whose head has been read. Its body is read once, by one of the methods."""

    __slots__ = ("_client", "connection", "headers", "status")

    def __init__(self, client: "Client", connection: Connection) -> None:
        self._client = client
        self.connection = connection
        self.status = 0
        while self.status < 101:  # 100 Continue may come before the answer
            start = connection.line()
            parts = start.split(b" ", 2)
            if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
                raise Failure(f"what answers there does not speak HTTP: {start[:60]!r}")
            self.status = int(parts[1])
            self.headers: dict[str, str] = {}
            while line := connection.line():
                name, _, value = line.partition(b":")
                self.headers[name.decode("latin-1").lower()] = value.strip().decode("utf-8", "replace")

    def pieces(self) -> "Iterator[bytes]":
        """The body as it arrives."""
        connection = self.connection
        if connection.bodiless:
            pass
        elif "chunked" in self.headers.get("transfer-encoding", "").lower():
            while True:
                line = connection.line().split(b";")[0].strip()
                try:
                    size = int(line, 16)
                except ValueError:
                    raise Failure(f"the daemon's answer is not HTTP: {line[:60]!r} is no chunk size") from None
                if not size:
                    break
                yield from connection.exactly(size)
                connection.line()
            while line := connection.line():
                name, _, value = line.partition(b":")
                self.headers[name.decode("latin-1").lower()] = value.strip().decode("utf-8", "replace")
        elif "content-length" in self.headers:
            yield from connection.exactly(int(self.headers["content-length"]))
        elif self.status not in (204, 304):
            while data := connection.receive():
                yield data
            connection.close()
            return
        if self.headers.get("connection", "").lower() == "close":
            connection.close()
        else:
            self._client.keep(connection)

    def read(self) -> bytes:
        return b"".join(self.pieces())

    def json(self) -> "Any":
        body = self.read()
        try:
            return loads(body)
        except ValueError as error:
            raise _not_json(error) from None

    def lines(self) -> "Iterator[bytes]":
        """The body's lines as they arrive, without their ends."""
        rest = b""
        for data in self.pieces():
            *whole, rest = (rest + data).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def objects(self) -> "Iterator[Any]":
        """A stream of JSON values, one a line, as they arrive."""
        for line in self.lines():
            if line.strip():
                try:
                    yield loads(line)
                except ValueError as error:
                    raise _not_json(error) from None

    def close(self) -> None:
        """Give up the rest of the body."""
        self.connection.close()


class Client:
    """Speaks to one engine. `prefix` is "/v1.51" where a version is demanded, else "": the engine's newest."""

    __slots__ = ("_idle", "address", "debug", "headers", "onggi", "prefix")

    def __init__(self, address: "Address", *, version: str = "", headers: "Mapping[str, str] | None" = None) -> None:
        self.address = address
        self.prefix = f"/v{version.removeprefix('v')}" if version else ""
        self.headers = dict(headers or {})
        self.debug = False
        """Tell on stderr what is asked and answered (-D)."""
        self.onggi = False
        """It is an engine of ours that has answered, not a dockerd."""
        self._idle: Connection | None = None

    def connect(self) -> Connection:
        """A fresh connection. Raises CannotConnect."""
        address = self.address
        try:
            if address.scheme == "unix":
                socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
                socket.connect(address.path)
                return Connection(socket)
            from onggi.cli import dial

            return Connection(dial.connect(address))
        except PermissionError:
            raise Failure(
                f"permission denied while trying to connect to the onggi daemon socket at {address.text}: "
                "run as root or as a member of the socket's group"
            ) from None
        except (FileNotFoundError, ConnectionRefusedError):
            if address.default and sys.platform == "linux":
                from onggi.cli import autostart

                if autostart.start_engine():
                    address.default = False
                    return self.connect()
            raise CannotConnect(address.text) from None
        except OSError as error:
            raise CannotConnect(address.text, error.strerror or str(error)) from None

    def keep(self, connection: Connection) -> None:
        """Take back a connection whose answer has been read to its end."""
        if self._idle is None:
            self._idle = connection
        else:
            connection.close()

    def _send(
        self,
        method: str,
        path: str,
        query: "Query | None" = None,
        body: "Any" = None,
        *,
        stream: "Iterable[bytes] | None" = None,
        headers: "Mapping[str, str] | None" = None,
    ) -> Connection:
        address = self.address
        target = f"{address.path if address.scheme in ('tcp', 'http', 'https') else ''}{self.prefix}{path}"
        if query:
            target += "?" + _query(query)
        host = "localhost" if address.scheme in ("unix", "ssh") else address.host
        head = [f"{method} {target} HTTP/1.1", f"Host: {host}", "User-Agent: onggi"]
        fields = {**self.headers, **(headers or {})}
        data = b""
        if body is not None:
            data = dumps(body).encode()
            fields["Content-Type"] = "application/json"
            fields["Content-Length"] = str(len(data))
        elif stream is not None:
            fields["Transfer-Encoding"] = "chunked"
        elif method not in ("GET", "HEAD"):
            fields["Content-Length"] = "0"
        for name, value in fields.items():
            if "\n" in value or "\r" in value:
                raise Failure(f"the HTTP header {name} must not hold a line break")
            head.append(f"{name}: {value}")
        if self.debug:
            sys.stderr.write(f"DEBUG: {address.text}: {method} {target}\n")
        connection, self._idle = self._idle or self.connect(), None
        connection.bodiless = method == "HEAD"
        text = ("\r\n".join(head) + "\r\n\r\n").encode("utf-8", "surrogateescape") + data
        try:
            connection.socket.sendall(text)
            if stream is not None:
                for piece in stream:
                    if piece:
                        connection.socket.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
                connection.socket.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # an engine that refuses a body answers before it hangs up: the answer says why
        return connection

    def begin(
        self,
        method: str,
        path: str,
        query: "Query | None" = None,
        body: "Any" = None,
        *,
        stream: "Iterable[bytes] | None" = None,
        headers: "Mapping[str, str] | None" = None,
    ) -> Connection:
        """Send a request and do not wait: `finish` reads the answer."""
        return self._send(method, path, query, body, stream=stream, headers=headers)

    def finish(self, connection: Connection) -> Response:
        """The answer to a request that `begin` sent. Raises ResponseError for a refusal."""
        try:
            response = Response(self, connection)
        except ConnectionResetError:
            raise Failure("the daemon closed the connection before it answered") from None
        if self.debug:
            sys.stderr.write(f"DEBUG: {self.address.text}: answered with status {response.status}\n")
        self.onggi = response.headers.get("server", "").startswith("Onggi/")
        if response.status >= 400:
            raise ResponseError(response.status, _message(response))
        return response

    def call(
        self,
        method: str,
        path: str,
        query: "Query | None" = None,
        body: "Any" = None,
        *,
        stream: "Iterable[bytes] | None" = None,
        headers: "Mapping[str, str] | None" = None,
    ) -> Response:
        """One request and its answer's head. Raises ResponseError for a refusal, CannotConnect, Failure."""
        return self.finish(self._send(method, path, query, body, stream=stream, headers=headers))

    def get(self, path: str, query: "Query | None" = None) -> "Any":
        return self.call("GET", path, query).json()

    def post(
        self, path: str, query: "Query | None" = None, body: "Any" = None, *, meanwhile: "Callable[[], None]" = _nothing
    ) -> "Any":
        """The JSON answer, None for an empty one. `meanwhile` is called when the request is under way."""
        connection = self.begin("POST", path, query, body)
        meanwhile()
        text = self.finish(connection).read()
        return loads(text) if text.strip() else None

    def delete(self, path: str, query: "Query | None" = None) -> "Any":
        response = self.call("DELETE", path, query)
        text = response.read()
        return loads(text) if text.strip() else None

    def upgrade(
        self, path: str, query: "Query | None" = None, body: "Any" = None, *, headers: "Mapping[str, str] | None" = None
    ) -> Connection:
        """Send a request that turns its connection into a raw stream: `upgraded` reads the answer's head."""
        fields = {**(headers or {}), "Connection": "Upgrade", "Upgrade": "tcp"}
        return self._send("POST", path, query, body, headers=fields)

    def upgraded(self, connection: Connection) -> Response:
        """The head of the answer to `upgrade`; from here on `connection` carries the stream."""
        response = self.finish(connection)
        if response.status not in (101, 200):
            raise Failure(f"unable to upgrade to tcp, received {response.status}")
        return response


def _not_json(error: ValueError) -> Failure:
    return Failure(f"the daemon's answer is not JSON: {str(error).removeprefix('not JSON: ')}")


def _message(response: Response) -> str:
    body = response.read()
    try:
        found = loads(body)
        return str(found["message"])
    except (ValueError, KeyError, TypeError):
        text = body.decode("utf-8", "replace").strip()
        return text or f"the daemon answered with HTTP status {response.status} and no words"
