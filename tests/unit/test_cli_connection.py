"""HTTP on a bare socket: bodies in all forms, refusals, upgrades, engines that misbehave."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onggi.cli import address
from onggi.cli.config import Config
from onggi.cli.connection import Client, filters, quote
from onggi.cli.failure import CannotConnect, Failure, ResponseError

Answer = Callable[[socket.socket, bytes], None]


class Peer:
    """A socket that answers each connection by a function, in a thread; remembers what it was sent."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.path = path
        self.heads: list[bytes] = []
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                while head := self._head(connection):
                    self.heads.append(head)
                    try:
                        self._answer(connection, head)
                    except OSError:
                        break

    @staticmethod
    def _head(connection: socket.socket) -> bytes:
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            try:
                more = connection.recv(1)
            except OSError:
                return b""
            if not more:
                return b""
            data += more
        for line in data.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                size = int(line.partition(b":")[2])
                while size:
                    size -= len(connection.recv(size))
        return data

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Callable[[Answer], tuple[Peer, Client]]]:
    made: list[Peer] = []

    def make(answer: Answer) -> tuple[Peer, Client]:
        one = Peer(tmp_path / f"{len(made)}.sock", answer)
        made.append(one)
        return one, Client(address.Address(f"unix://{one.path}"))

    yield make
    for one in made:
        one.close()


Make = Callable[[Answer], tuple[Peer, Client]]


def _always(text: bytes) -> Answer:
    return lambda connection, head: connection.sendall(text)


def test_a_connection_is_used_again(peer: Make) -> None:
    one, client = peer(_always(b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"a":1}'))
    assert [client.get("/a"), client.get("/b", {"all": True, "x": "a b/é"})] == [{"a": 1}, {"a": 1}]
    assert one.heads[1].startswith(b"GET /b?all=1&x=a%20b%2F%C3%A9 HTTP/1.1\r\nHost: localhost\r\n")


def test_chunks_and_lines(peer: Make) -> None:
    text = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\n{"a":\r\n'
    text += b'a\r\n1}\n{"b":2}\r\n2\r\n\n\n\r\n0\r\nT: v\r\n\r\n'
    _, client = peer(_always(text))
    answer = client.call("GET", "/")
    assert list(answer.objects()) == [{"a": 1}, {"b": 2}]
    assert answer.headers["t"] == "v"
    assert list(client.call("GET", "/").objects()) == [{"a": 1}, {"b": 2}]


def test_one_byte_at_a_time(peer: Make) -> None:
    def answer(connection: socket.socket, head: bytes) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\n":
            connection.sendall(bytes([byte]))

    assert peer(answer)[1].get("/") == [1]


def test_a_body_that_ends_with_the_connection(peer: Make) -> None:
    def answer(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n[1]")
        connection.shutdown(socket.SHUT_RDWR)

    assert peer(answer)[1].get("/") == [1]


def test_refusals(peer: Make) -> None:
    _, client = peer(_always(b'HTTP/1.1 404 Not Found\r\nContent-Length: 24\r\n\r\n{"message":"No such x"}\n'))
    with pytest.raises(ResponseError, match=r"^Error response from daemon: No such x$") as failed:
        client.get("/")
    assert failed.value.code == 404
    _, client = peer(_always(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"))
    with pytest.raises(ResponseError, match="the daemon answered with HTTP status 500 and no words"):
        client.get("/")


def test_head_has_no_body_even_when_it_names_a_length(peer: Make) -> None:
    _, client = peer(_always(b"HTTP/1.1 404 Not Found\r\nContent-Length: 99\r\n\r\n"))
    with pytest.raises(ResponseError):
        client.call("HEAD", "/")
    with pytest.raises(ResponseError):
        client.call("HEAD", "/")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "closed the connection in the middle"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "no chunk size"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "closed the connection in the middle"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{x}", "not JSON"),
        (b"", "closed the connection"),
    ],
)
def test_engines_that_misbehave_are_a_sentence(peer: Make, text: bytes, sentence: str) -> None:
    def answer(connection: socket.socket, head: bytes) -> None:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_RDWR)

    with pytest.raises(Failure, match=sentence):
        peer(answer)[1].get("/")


def test_an_upload_that_is_refused_early_says_why(peer: Make) -> None:
    def answer(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b'HTTP/1.1 413 Too Large\r\nContent-Length: 22\r\n\r\n{"message":"too large"}')
        connection.shutdown(socket.SHUT_RDWR)

    _, client = peer(answer)
    with pytest.raises(Failure, match=r"too large|closed the connection"):
        client.call("POST", "/", stream=(bytes(1 << 16) for _ in range(1000)))


def test_an_upgrade_keeps_what_was_read_ahead(peer: Make) -> None:
    one, client = peer(_always(b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\nearly"))
    connection = client.upgrade("/x", {"stdin": True})
    client.upgraded(connection)
    assert connection.receive() == b"early"
    assert b"Upgrade: tcp\r\n" in one.heads[0]


def test_headers_and_versions(peer: Make) -> None:
    one, plain = peer(_always(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
    client = Client(plain.address, version="1.44", headers={"X-Mine": "1"})
    client.get("/a")
    assert one.heads[0].startswith(b"GET /v1.44/a HTTP/1.1\r\n")
    assert b"X-Mine: 1\r\n" in one.heads[0]
    with pytest.raises(Failure, match="line break"):
        Client(plain.address, headers={"X": "a\r\nEvil: b"}).get("/")


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(
        CannotConnect, match=r"^Cannot connect to the Onggi daemon at unix:///.*none\. Is the onggi daemon running\?$"
    ):
        Client(address.Address(f"unix://{tmp_path}/none")).get("/")
    with pytest.raises(CannotConnect):
        Client(address.Address("tcp://127.0.0.1:1")).get("/")


def test_quoting() -> None:
    assert quote("a/b:c@d", "/:@") == "a/b:c@d"
    assert quote("a b\udcff") == "a%20b%FF"
    assert filters(["a=1", "a=2", "b=x=y"]) == '{"a":{"1":true,"2":true},"b":{"x=y":true}}'
    assert filters([]) == ""


# --- addresses ---


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    for name in ("ONGGI_HOST", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_TLS", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    return Config(str(tmp_path))


def test_the_order_of_addresses(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    assert address.find(config, {}).text == "unix:///run/onggi/onggi.sock"
    assert address.find(config, {}).default
    monkeypatch.setenv("DOCKER_HOST", "unix:///d")
    assert address.find(config, {}).text == "unix:///d"
    monkeypatch.setenv("ONGGI_HOST", "unix:///o")
    assert address.find(config, {}).text == "unix:///o"
    assert address.find(config, {"host": "unix:///h"}).text == "unix:///h"
    with pytest.raises(Failure, match="cannot specify both --host and --context"):
        address.find(config, {"host": "unix:///h", "context": "c"})


def test_forms_of_an_address() -> None:
    def parts(text: str) -> tuple[str, str, int, str, str]:
        found = address.parse(text)
        return found.scheme, found.host, found.port, found.path, found.user

    assert parts("1.2.3.4:5") == ("tcp", "1.2.3.4", 5, "", "")
    assert parts("tcp://[::1]:99/base/") == ("tcp", "::1", 99, "/base", "")
    assert parts("tcp://host") == ("tcp", "host", 2375, "", "")
    assert parts("https://host") == ("https", "host", 2376, "", "")
    assert parts("ssh://me@host:22/run/x.sock") == ("ssh", "host", 22, "/run/x.sock", "me")


@pytest.mark.parametrize(
    "text",
    ["ssh://-oProxyCommand=touch%20x", "ssh://-oProxyCommand=x@host", "ssh://a b", "ssh://a\nb", "ssh://u:p@h", "ssh://h;x",
     "ftp://x", "npipe:////./pipe/x", "tcp://h:x", "tcp://h:70000", "fd://"],
)  # fmt: skip
def test_addresses_that_are_refused(text: str) -> None:
    """Hosts that would be options of ssh among them."""
    with pytest.raises(Failure):
        address.parse(text)


def test_tls_by_environment(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    found = address.find(config, {"host": "tcp://h"})
    assert found.tls is not None
    assert (found.tls.verify, found.tls.ca, found.port) == (True, f"{config.folder}/ca.pem", 2376)
    with pytest.raises(Failure, match=r"ca\.pem: no such file"):
        Client(address.find(config, {"host": "tcp://127.0.0.1:1"})).get("/")
