"""TLS and ssh addresses: verified, half-closed, refused."""

import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.cli.address import Address, Tls
from onggi.cli.connection import Client
from onggi.cli.failure import Failure


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server's certificate for 127.0.0.1 and a client's, both signed by it."""
    folder = tmp_path_factory.mktemp("tls")
    _openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca-key.pem", "-out", "ca.pem",
             "-subj", "/CN=authority", "-days", "2", "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
    for name, extension in (("server", "subjectAltName=IP:127.0.0.1"), ("client", "extendedKeyUsage=clientAuth")):
        (folder / f"{name}.ext").write_text(extension)
        _openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}-key.pem", "-out", f"{name}.csr",
                 "-subj", f"/CN={name}")  # fmt: skip
        _openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial",
                 "-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext")  # fmt: skip
    return folder


@pytest.fixture
def port(certificates: Path) -> Iterator[int]:
    """A server that wants a client's certificate. It answers a GET; an upgrade it echoes, after the input's end."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificates / "server.pem", certificates / "server-key.pem")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(plain, server_side=True) as connection:
                    head = b""
                    while b"\r\n\r\n" not in head:
                        head += connection.recv(4096)
                    if not head.startswith(b"POST"):
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]")
                        connection.recv(1)
                        continue
                    connection.sendall(b"HTTP/1.1 101 UPGRADED\r\n\r\n")
                    data = b""
                    while more := connection.recv(65536):
                        data += more
                    connection.sendall(b"got %d " % len(data) * 20_000)
            except (OSError, ssl.SSLError):
                continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


def _client(certificates: Path, port: int, *, host: str = "127.0.0.1", ca: str = "ca.pem", certificate: str = "client",
            verify: bool = True) -> Client:  # fmt: skip
    tls = Tls(str(certificates / ca), str(certificates / f"{certificate}.pem"), str(certificates / f"{certificate}-key.pem"),
              verify=verify)  # fmt: skip
    return Client(Address(f"tcp://{host}:{port}", tls=tls))


def test_both_sides_are_verified(certificates: Path, port: int) -> None:
    assert _client(certificates, port).get("/") == [1]
    assert _client(certificates, port, host="localhost", verify=False).get("/") == [1]


def test_what_does_not_verify_is_refused(certificates: Path, port: int) -> None:
    with pytest.raises(Failure, match="tls to localhost"):
        _client(certificates, port, host="localhost").get("/")
    with pytest.raises(Failure, match="tls to 127"):
        _client(certificates, port, ca="client.pem").get("/")
    with pytest.raises((Failure, OSError)):
        _client(certificates, port, certificate="none").get("/")
    with pytest.raises(Failure, match=r"unable to resolve docker endpoint: open .*none: no such file"):
        _client(certificates, port, ca="none").get("/")


def test_the_end_of_input_leaves_the_answer_to_come(certificates: Path, port: int) -> None:
    client = _client(certificates, port)
    connection = client.upgrade("/attach")
    client.upgraded(connection)
    connection.socket.sendall(bytes(300_000))
    connection.close_writing()
    data = b""
    while more := connection.receive():
        data += more
    assert data == b"got 300000 " * 20_000


def test_ssh_runs_without_a_shell_and_the_host_cannot_be_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program named ssh in PATH: it sees each word by itself, and speaks HTTP on its standard streams."""
    program = tmp_path / "ssh"
    program.write_text(
        f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {tmp_path}/words\n"
        "read -r line\nprintf 'HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\n[7]'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert Client(Address("ssh://me@far.example:2222/run/x.sock")).get("/") == [7]
    words = (tmp_path / "words").read_text().splitlines()
    assert words[words.index("-l") :] == [
        "-l", "me", "-p", "2222", "--", "far.example", "docker", "--host", "unix:///run/x.sock", "system", "dial-stdio"
    ]  # fmt: skip
    with pytest.raises(Failure, match="the socket's path"):
        Client(Address("ssh://far.example/run/x;touch y")).get("/")
