"""exec, attach, logs, top, stats, cp, system endpoints asked of real Docker and of Onggi: the same answers."""

import io
import json
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engine import Engine
from tests.http import Api, Reply
from tests.peers import Docker

DEADLINE_S = 60.0
_KERNELS_OWN = "/memory_stats/stats/"
"""Docker passes on a choice of what the kernel counts, Onggi all of it."""
_REFUSED_AS_A_MISTAKE = frozenset({
    ("GET", "/containers/{}/top?ps_args=-eo+ppid=PID,args"), ("GET", "/containers/{}/logs?stdout=1&since=x"),
    ("POST", "/containers/{}/exec zz"), ("GET", "/events?since=x"),
})  # fmt: skip
"""Docker answers 500 to what is the client's mistake; Onggi 400, with the same sentence."""


@dataclass
class Pair:
    """The same container in both engines."""

    ours: Api
    theirs: Api
    our_id: str
    their_id: str
    name: str

    def ask(self, method: str, path: str, body: Any = None) -> tuple[Reply, Reply]:
        path = path.replace("{}", self.name)
        return self.ours(method, path, body), self.theirs(method, path, body)


@pytest.fixture
def pair(engine: Engine, peer: Docker, name: str) -> Iterator[Pair]:
    ids = [
        docker("run", "-d", "--name", name, "--stop-signal", "KILL", "--pids-limit", "50", "busybox", "sleep", "1000",
               check=True).stdout.strip()
        for docker in (engine.docker, peer)
    ]  # fmt: skip
    yield Pair(Api(engine.socket), Api(peer.socket), ids[0], ids[1], name)
    for docker in (engine.docker, peer):
        docker("rm", "-fv", name)


def keys(value: Any, path: str = "") -> set[str]:
    """Every member's path."""
    found: set[str] = set()
    if isinstance(value, dict):
        for key, member in value.items():
            if not f"{path}/{key}".startswith(_KERNELS_OWN):
                found |= {f"{path}/{key}", *keys(member, f"{path}/{key}")}
    return found


RUNNING: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/containers/{}/top", None),
    ("GET", "/containers/{}/top?ps_args=aux", None),
    ("GET", "/containers/{}/top?ps_args=--bogus", None),
    ("GET", "/containers/{}/top?ps_args=-o+args", None),
    ("GET", "/containers/{}/top?ps_args=-eo+ppid=PID,args", None),
    ("GET", "/containers/{}/stats?stream=0", None),
    ("GET", "/containers/{}/logs", None),
    ("GET", "/containers/{}/logs?stdout=1", None),
    ("GET", "/containers/{}/logs?stdout=1&tail=x", None),
    ("GET", "/containers/{}/logs?stdout=1&since=x", None),
    ("POST", "/containers/{}/exec", {"Cmd": []}),
    ("POST", "/containers/{}/exec", {}),
    ("POST", "/containers/{}/exec", {"Cmd": ["x"], "DetachKeys": "zz"}),
    ("POST", "/containers/{}/resize?h=1", None),
    ("POST", "/containers/{}/resize?h=-1&w=2", None),
    ("POST", "/containers/{}/resize?h=x&w=2", None),
    ("POST", "/containers/{}/resize?h=1&w=2", None),
    ("GET", "/containers/{}/archive", None),
    ("GET", "/containers/{}/archive?path=/no/such", None),
    ("HEAD", "/containers/{}/archive?path=/no/such", None),
    ("HEAD", "/containers/{}/archive?path=/bin/busybox", None),
    ("GET", "/containers/{}/changes", None),
)
ANYWHERE: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/_ping", None),
    ("GET", "/no/such/page", None),
    ("GET", "/containers/no-such/logs?stdout=1", None),
    ("GET", "/containers/no-such/top", None),
    ("GET", "/containers/no-such/stats?stream=0", None),
    ("POST", "/containers/no-such/exec", {"Cmd": ["x"]}),
    ("GET", "/containers/no-such/archive?path=/", None),
    ("GET", "/containers/no-such/export", None),
    ("GET", "/containers/no-such/changes", None),
    ("POST", "/exec/no-such/start", {}),
    ("GET", "/exec/no-such/json", None),
    ("POST", "/exec/no-such/resize?h=1&w=1", None),
    ("GET", "/events?since=10&until=5", None),
    ("GET", "/events?until=5", None),
    ("GET", "/events?since=x", None),
    ("GET", "/system/df", None),
    ("GET", "/system/df?type=x", None),
    ("GET", "/services", None),
    ("GET", "/swarm", None),
    ("GET", "/plugins", None),
    ("POST", "/build/prune", None),
)


def compare(pair: Pair, method: str, path: str, body: Any) -> None:
    ours, theirs = pair.ask(method, path, body)
    marked = (method, path if not (body and "DetachKeys" in body) else f"{path} {body['DetachKeys']}")
    assert ours.status == (400 if marked in _REFUSED_AS_A_MISTAKE else theirs.status), ours.body[:300]
    if theirs.status >= 400:
        assert ours.message == theirs.message.replace(pair.their_id, pair.our_id)
    elif theirs.headers.get("content-type") == "application/json" and theirs.body:
        our_document, their_document = ours.json(), theirs.json()
        assert type(our_document) is type(their_document)
        assert keys(our_document) == keys(their_document)


@pytest.mark.parametrize(("method", "path", "body"), RUNNING)
def test_of_a_running_container(pair: Pair, method: str, path: str, body: Any) -> None:
    compare(pair, method, path, body)


@pytest.mark.parametrize(("method", "path", "body"), ANYWHERE)
def test_without_a_container(engine: Engine, peer: Docker, method: str, path: str, body: Any) -> None:
    compare(Pair(Api(engine.socket), Api(peer.socket), "", "", ""), method, path, body)


def test_in_every_state(pair: Pair) -> None:
    asked: tuple[tuple[str, str, Any], ...] = (
        ("POST", "/containers/{}/exec", {"Cmd": ["x"]}), ("GET", "/containers/{}/top", None),
        ("GET", "/containers/{}/stats?stream=0", None), ("POST", "/containers/{}/resize?h=1&w=2", None),
        ("HEAD", "/containers/{}/archive?path=/etc", None), ("GET", "/containers/{}/logs?stdout=1&follow=0", None),
    )  # fmt: skip
    pair.ask("POST", "/containers/{}/pause")
    for method, path, body in asked:
        if not path.endswith("stats?stream=0"):  # Docker's sampling ends in the moment of the pause, or later
            compare(pair, method, path, body)
    pair.ask("POST", "/containers/{}/unpause")
    pair.ask("POST", "/containers/{}/kill")
    pair.ask("POST", "/containers/{}/wait")
    for method, path, body in asked:
        compare(pair, method, path, body)


def test_an_exec_from_its_making_to_its_end(pair: Pair) -> None:
    config = {"Cmd": ["sh", "-c", "exit 3"], "User": "1", "Env": ["A=b"], "WorkingDir": "/tmp", "Privileged": True,
              "Tty": True, "DetachKeys": "ctrl-a"}  # fmt: skip
    shown = []
    for api, container_id in ((pair.ours, pair.our_id), (pair.theirs, pair.their_id)):
        made = api.ok("POST", f"/containers/{pair.name}/exec", config).json()["Id"]
        before = api.ok("GET", f"/exec/{made}/json").json()
        assert api.ok("POST", f"/exec/{made}/start", {"Detach": True}).status == 200
        deadline = time.monotonic() + DEADLINE_S
        while (after := api.ok("GET", f"/exec/{made}/json").json())["ExitCode"] is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        again = api("POST", f"/exec/{made}/start", {"Detach": True})
        shown.append([
            {key: value for key, value in document.items() if key not in ("ID", "Pid")} | {"ContainerID": ""}
            for document in (before, after)
        ] + [again.status, again.message.replace(made, "")])  # fmt: skip
        assert before["ContainerID"] == container_id
    assert shown[0] == shown[1]


UPGRADE = "Connection: Upgrade\r\nUpgrade: tcp\r\n"


def raw(socket_path: Path, path: str, body: str, headers: str, until: bytes) -> bytes:
    """What comes on the wire after a POST, up to the connection's end or `until`."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        client.connect(str(socket_path))
        client.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"{headers}\r\n{body}".encode()
        )
        received = b""
        while data := client.recv(65536):
            received += data
            if until and until in received:
                break
        return received


@pytest.mark.parametrize("version", ["1.24", "1.41", "1.42", "1.51"])
@pytest.mark.parametrize("upgrade", [UPGRADE, ""])
@pytest.mark.parametrize("tty", [False, True])
def test_the_wire_of_an_exec(pair: Pair, version: str, upgrade: str, tty: bool) -> None:
    wires = []
    for api in (pair.ours, pair.theirs):
        config = {"Cmd": ["echo", "hello"], "AttachStdout": True, "AttachStderr": True, "Tty": tty}
        made = api.ok("POST", f"/containers/{pair.name}/exec", config).json()["Id"]
        body = json.dumps({"Detach": False, "Tty": tty})
        wire = raw(api.socket_path, f"/v{version}/exec/{made}/start", body, upgrade, b"")
        head, _, stream = wire.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Server:")]
        wires.append((lines, stream))
    assert wires[0] == wires[1]


@pytest.mark.parametrize("version", ["1.24", "1.41", "1.42", "1.51"])
@pytest.mark.parametrize("upgrade", [UPGRADE, ""])
def test_the_wire_of_an_attach(pair: Pair, version: str, upgrade: str) -> None:
    wires = []
    for api in (pair.ours, pair.theirs):
        path = f"/v{version}/containers/{pair.name}/attach"
        wires.append(raw(api.socket_path, path, "", upgrade, b""))
    assert wires[0] == wires[1]


def listing(api: Api, name: str, path: str) -> list[tuple[str, str, int, int, str]]:
    reply = api.ok("GET", f"/containers/{name}/archive", None, path=path)
    with tarfile.open(fileobj=io.BytesIO(reply.body)) as archive:
        return [
            (member.name, str(member.type), member.mode, member.uid, member.linkname)
            for member in sorted(archive.getmembers(), key=lambda member: member.name)
        ]


@pytest.mark.parametrize(
    "path", ["/t", "/t/", "/t/.", "/t/dir", "/t/link", "/t/link/", "/t/link/.", "/t/broken", "t/file", "/t/../t/dir/f"]
)
def test_archives(pair: Pair, engine: Engine, peer: Docker, path: str) -> None:
    script = (
        "mkdir -p /t/dir; echo x > /t/file; echo y > /t/dir/f; ln -s dir /t/link; ln -s /nope/x /t/broken; "
        "ln /t/file /t/hard; chown 5:6 /t/file; chmod 4711 /t/file; mkfifo /t/fifo"
    )
    for docker in (engine.docker, peer):
        docker("exec", pair.name, "sh", "-c", script, check=True)
    assert listing(pair.ours, pair.name, path) == listing(pair.theirs, pair.name, path)
    ours, theirs = pair.ask("HEAD", f"/containers/{{}}/archive?path={path}")
    assert ours.status == theirs.status == 200


def test_logs(engine: Engine, peer: Docker, name: str) -> None:
    # What goes to stderr comes last and late: two streams have no order between them.
    script = "for i in 1 2 3 4 5 6; do echo line $i; done; printf unfinished; sleep 0.5; echo err >&2"
    try:
        for docker in (engine.docker, peer):
            docker("run", "--name", name, "--network", "none", "busybox", "sh", "-c", script, check=True)
        for words in ([], ["--tail", "1"], ["--tail", "7"], ["--tail", "0"], ["--tail", "all"], ["--since", "1h"],
                      ["--until", "1h"], ["--since", "2020-01-01"], ["-f"], ["--details"]):  # fmt: skip
            ours, theirs = (docker("logs", *words, name) for docker in (engine.docker, peer))
            assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr), (
                words
            )
    finally:
        for docker in (engine.docker, peer):
            docker("rm", "-f", name)


def test_info_has_every_member(engine: Engine, peer: Docker) -> None:
    ours, theirs = Api(engine.socket).ok("GET", "/info").json(), Api(peer.socket).ok("GET", "/info").json()
    absent = set(theirs) - set(ours)
    assert absent <= {"Containerd", "ClusterAdvertise", "BridgeNfIptables", "BridgeNfIp6tables"}
    for member in ("NCPU", "MemTotal", "KernelVersion", "Architecture", "OSType", "CgroupVersion", "Name", "MemoryLimit",
                   "SwapLimit", "PidsLimit", "CPUSet", "OomKillDisable", "IPv4Forwarding"):  # fmt: skip
        assert ours[member] == theirs[member], member


def test_curl_alone_can_talk_to_it(engine: Engine) -> None:
    command = ["curl", "-sS", "--max-time", "60", "--unix-socket", str(engine.socket), "http://localhost/_ping"]
    assert subprocess.run(command, check=True, capture_output=True, timeout=90).stdout == b"OK"
