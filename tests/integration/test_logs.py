"""Logs of containers: whole and in order over rotation, by every driver, whoever reads slowly and whatever dies."""

import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conditions import until
from tests.engine import Engine
from tests.images import busybox_archive
from tests.peers import Docker

LINES = 1_000_000 if os.environ.get("ONGGI_TESTS_WHOLE") else 100_000
WAIT_THEN = "mkfifo /tmp/go; read go < /tmp/go; "


def go(engine: Engine, name: str) -> None:
    """Let a container that began with WAIT_THEN go on."""
    engine.docker("exec", name, "sh", "-c", "echo > /tmp/go", check=True)


class Follower:
    """`logs --follow` by hand: reads when it is told to."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(str(engine.socket))
        path = f"/v1.51/containers/{name}/logs?stdout=1&follow=1"
        self.socket.sendall(f"GET {path} HTTP/1.0\r\nHost: d\r\nConnection: close\r\n\r\n".encode())
        self.data = self.socket.recv(16)
        assert self.data.startswith(b"HTTP/1.")

    def read_all(self) -> None:
        pieces = [self.data]
        while piece := self.socket.recv(1 << 20):
            pieces.append(piece)
        self.socket.close()
        self.data = b"".join(pieces)

    def lines(self) -> list[bytes]:
        """What came in the frames."""
        data = self.data.partition(b"\r\n\r\n")[2]
        found, position = [], 0
        while position < len(data):
            size = int.from_bytes(data[position + 4 : position + 8], "big")
            found.append(data[position + 8 : position + 8 + size])
            position += 8 + size
        return b"".join(found).splitlines()


@pytest.mark.parametrize(
    "words",
    [
        ["--log-opt", "max-size=1m", "--log-opt", "max-file=3"],
        ["--log-opt", "max-size=1m", "--log-opt", "max-file=3", "--log-opt", "compress=true"],
        ["--log-driver", "local", "--log-opt", "max-size=1m"],
    ],
    ids=["json-file", "compressed", "local"],
)
def test_two_followers_one_of_them_slow_get_every_line_in_order(engine: Engine, name: str, words: list[str]) -> None:
    """The slow one reads nothing until all is written: over many rotations, of which only three or five files stay."""
    engine.docker("run", "-d", "--name", name, "--network", "none", *words, "busybox", "sh", "-c",
                  f"{WAIT_THEN} exec seq 1 {LINES}", check=True)  # fmt: skip
    try:
        fast, slow = Follower(engine, name), Follower(engine, name)
        reader = threading.Thread(target=fast.read_all)
        reader.start()
        go(engine, name)
        reader.join(300)
        expected = [b"%d" % number for number in range(1, LINES + 1)]
        assert fast.lines() == expected
        assert engine.docker("wait", name, check=True).stdout == "0\n"
        slow.read_all()
        assert slow.lines() == expected
        tail = engine.docker("logs", "--tail", "3", name, check=True).stdout.splitlines()
        assert tail == [str(LINES - 2), str(LINES - 1), str(LINES)]
    finally:
        engine.docker("rm", "-f", name)


class Datagrams:
    """A syslog server on UDP: the texts of what came."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(60)
        self.port = self._socket.getsockname()[1]

    def next(self) -> bytes:
        return self._socket.recv(65536).partition(b": ")[2].rstrip(b"\n")

    def close(self) -> None:
        self._socket.close()


@contextmanager
def syslog() -> Iterator[Datagrams]:
    server = Datagrams()
    try:
        yield server
    finally:
        server.close()


def test_a_remote_driver_and_the_copy_that_logs_reads(engine: Engine, name: str) -> None:
    with syslog() as server:
        try:
            engine.docker("run", "--name", name, "--network", "none", "--log-driver", "syslog",
                          "--log-opt", f"syslog-address=udp://127.0.0.1:{server.port}", "--log-opt", "tag={{.Name}}",
                          "busybox", "sh", "-c", "echo one; echo two", check=True)  # fmt: skip
            assert [server.next(), server.next()] == [b"one", b"two"]
            assert engine.docker("logs", name, check=True).stdout == "one\ntwo\n"
            assert engine.docker("logs", "--tail", "1", "-t", name, check=True).stdout.endswith("Z two\n")
        finally:
            engine.docker("rm", "-f", name)


def test_without_the_copy_there_is_nothing_to_read(engine: Engine, name: str) -> None:
    with syslog() as server:
        try:
            engine.docker("run", "--name", name, "--network", "none", "--log-driver", "syslog",
                          "--log-opt", f"syslog-address=udp://127.0.0.1:{server.port}",
                          "--log-opt", "cache-disabled=true", "busybox", "echo", "one", check=True)  # fmt: skip
            assert server.next() == b"one"
            refused = engine.docker("logs", name)
            assert refused.stderr == (
                "Error response from daemon: configured logging driver does not support reading\n"
            )
        finally:
            engine.docker("rm", "-f", name)


def test_a_remote_log_goes_on_without_the_engine(own_engine: Engine, name: str) -> None:
    """kill -9 of the daemon: each line arrives, none twice; and the copy is whole."""
    with syslog() as server:
        own_engine.docker("run", "-d", "--name", name, "--network", "none", "--log-driver", "syslog",
                          "--log-opt", f"syslog-address=udp://127.0.0.1:{server.port}",
                          "busybox", "sh", "-c", "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; usleep 5000; done",
                          check=True)  # fmt: skip
        seen = [server.next() for _ in range(20)]
        own_engine.kill()
        seen += [server.next() for _ in range(40)]
        own_engine.start()
        seen += [server.next() for _ in range(240)]
        assert seen == [b"%d" % n for n in range(1, 301)]
        assert own_engine.docker("wait", name, check=True).stdout == "0\n"
        assert own_engine.docker("logs", name, check=True).stdout.split() == [str(n) for n in range(1, 301)]


def test_a_server_that_takes_nothing_holds_up_the_program_and_nobody_else(engine: Engine, name: str) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        engine.docker("run", "-d", "--name", name, "--network", "none", "--log-driver", "syslog",
                      "--log-opt", f"syslog-address=tcp://127.0.0.1:{server.getsockname()[1]}",
                      "busybox", "sh", "-c", "while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done",
                      check=True)  # fmt: skip
        try:
            copy = engine.data_root / "containers" / engine.docker("inspect", "-f", "{{.Id}}", name).stdout.strip()
            sizes: list[int] = []

            def stands() -> bool:
                sizes.append((copy / "container-cached.log").stat().st_size)
                return len(sizes) > 20 and sizes[-1] == sizes[-20] > 0

            until(stands, "the program waits")
            assert engine.docker("exec", name, "echo", "alive", check=True).stdout == "alive\n"
            assert engine.docker("logs", "--tail", "1", name, check=True).stdout.startswith("aaaa")
            assert engine.docker("stop", "-t", "0", name).returncode == 0, "its end does not wait for the server"
        finally:
            engine.docker("rm", "-f", name)


@pytest.mark.parametrize("words", [[], ["--log-driver", "local"]], ids=["json-file", "local"])
def test_clearing_a_log(engine: Engine, name: str, words: list[str]) -> None:
    engine.docker("run", "-d", "--name", name, "--network", "none", *words, "busybox", "sh", "-c",
                  f"echo before; {WAIT_THEN} echo after", check=True)  # fmt: skip
    try:
        until(lambda: engine.docker("logs", name).stdout == "before\n")
        follower = Follower(engine, name)
        assert (engine.onggi("logs", "--clear", name).returncode, engine.docker("logs", name).stdout) == (0, "")
        go(engine, name)
        engine.docker("wait", name, check=True)
        assert engine.docker("logs", name).stdout == "after\n"
        follower.read_all()
        assert follower.lines() == [b"before", b"after"]
        assert (engine.onggi("logs", "--clear", name).returncode, engine.docker("logs", name).stdout) == (0, "")
        both = engine.onggi("logs", "--clear", "--tail", "3", name)
        assert (both.returncode, both.stderr) == (1, "--clear shows nothing: --tail makes no sense with it\n")
    finally:
        engine.docker("rm", "-f", name)


def test_only_onggi_clears_logs(engine: Engine, peer: Docker, name: str) -> None:
    refused = engine.onggi("-H", f"unix://{peer.socket}", "logs", "--clear", name)
    assert (refused.returncode, refused.stderr) == (1, "this engine can't clear a log: it is not Onggi\n")


def test_the_engines_own_choice(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "busybox.tar"
    busybox_archive(archive)
    options = ("--log-driver", "local", "--log-opt", "max-size=1m", "--log-opt", "max-file=3")
    with Engine(tmp_path, number=3, options=options) as engine:
        engine.docker("load", "-i", str(archive), check=True)
        assert engine.docker("info", "-f", "{{.LoggingDriver}}", check=True).stdout == "local\n"
        for words, config in (
            ([], {"Type": "local", "Config": {"max-size": "1m", "max-file": "3"}}),
            (["--log-driver", "local", "--log-opt", "max-file=4"],
             {"Type": "local", "Config": {"max-size": "1m", "max-file": "4"}}),
            (["--log-driver", "json-file"], {"Type": "json-file", "Config": {}}),
        ):  # fmt: skip
            engine.docker("run", "--name", name, "--network", "none", *words, "busybox", "echo", "hello", check=True)
            shown = json.loads(engine.docker("inspect", "-f", "{{json .HostConfig.LogConfig}}", name).stdout)
            assert shown == config
            assert engine.docker("logs", name, check=True).stdout == "hello\n"
            engine.docker("rm", "-f", name)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--log-driver", "smoke"), 'error looking up logging plugin smoke: plugin "smoke" not found'),
        (("--log-opt", "colour=red"), "unknown log opt 'colour' for json-file log driver"),
    ],
)
def test_an_engine_is_not_started_with_a_choice_that_can_not_be(
    tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(AssertionError, match=re.escape(sentence)):
        Engine(tmp_path, number=4, options=options).start()


def test_docker_and_onggi_read_each_others_local_files(engine: Engine, peer: Docker, name: str) -> None:
    script = "echo hello; head -c 40000 /dev/zero | tr '\\0' x; echo; echo; printf 'no end'"
    files: dict[str, Path] = {}
    try:
        for side, docker in (("ours", engine.docker), ("theirs", peer)):
            docker("run", "--name", name, "--network", "none", "--log-driver", "local", "busybox", "sh", "-c", script,
                   check=True)  # fmt: skip
            id = docker("inspect", "-f", "{{.Id}}", name, check=True).stdout.strip()
            root = engine.data_root
            if side == "theirs":
                place = docker("info", "-f", "{{.DockerRootDir}}", check=True).stdout.strip()
                root = Path(f"/proc/{_daemon_of(peer)}/root{place}")
            files[side] = root / "containers" / id / "local-logs/container.log"
        texts = {side: path.read_bytes() for side, path in files.items()}
        shown = [docker("logs", name, check=True).stdout for docker in (engine.docker, peer)]
        assert shown[0] == shown[1] == "hello\n" + "x" * 40000 + "\n\nno end"
        files["ours"].write_bytes(texts["theirs"])
        files["theirs"].write_bytes(texts["ours"])
        assert [docker("logs", name, check=True).stdout for docker in (engine.docker, peer)] == shown
    finally:
        for docker in (engine.docker, peer):
            docker("rm", "-f", name)


def _daemon_of(peer: Docker) -> int:
    """The dockerd that serves the peer's socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(peer.socket))
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[:4], "little")
