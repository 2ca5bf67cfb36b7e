"""kill -9 of the engine's processes under real containers, and clients that come and go by the hundred."""

import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conditions import DEADLINE_S, until
from tests.engine import Engine, state
from tests.http import Api
from tests.peers import docker_command

UPGRADED = b"\r\n\r\n"


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def launchers(engine: Engine) -> list[int]:
    pids = subprocess.run(
        ["pgrep", "-f", f"onggi.runtime.launcher.*{engine.exec_root}"], capture_output=True, text=True, check=False
    ).stdout.split()
    return [int(pid) for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == "onggi-launcher"]


def descriptors(pid: int) -> int:
    """How many sockets, pipes and pidfds a process holds. Ready namespaces and database files come as they are needed."""
    found = 0
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            found += os.readlink(f"/proc/{pid}/fd/{number}").startswith(("socket:", "pipe:", "anon_inode:"))
    return found


def attach(engine: Engine, name: str) -> socket.socket:
    """A client of our own on stdin and stdout."""
    end = socket.socket(socket.AF_UNIX)
    end.settimeout(DEADLINE_S)
    end.connect(str(engine.socket))
    end.sendall(
        f"POST /containers/{name}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: test\r\n"
        "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n".encode()
    )
    head = b""
    while UPGRADED not in head:
        part = end.recv(1)
        assert part, f"the answer ends after {head!r}"
        head += part
    assert head.startswith(b"HTTP/1.1 101 ")
    return end


def frame(end: socket.socket) -> bytes:
    head = b""
    while len(head) < 8:
        part = end.recv(8 - len(head))
        assert part, "the stream has ended"
        head += part
    size = int.from_bytes(head[4:], "big")
    data = b""
    while len(data) < size:
        data += end.recv(size - len(data))
    return data


def test_a_killed_shim_is_noticed_within_a_second(own_engine: Engine) -> None:
    own_engine.docker("run", "-d", "--name", "bystander", "busybox", "sleep", "1000", check=True)
    own_engine.docker("run", "-d", "--name", "victim", "busybox", "sh", "-c", "sleep 1000 & sleep 1000", check=True)
    with subprocess.Popen(
        [docker_command(), "-H", f"unix://{own_engine.socket}", "wait", "victim"], stdout=subprocess.PIPE, text=True
    ) as waiting:
        os.kill(parent_of(state(own_engine, "victim")["Pid"]), signal.SIGKILL)
        assert waiting.communicate(timeout=DEADLINE_S)[0] == "137\n"
    assert (state(own_engine, "victim")["Status"], state(own_engine, "bystander")["Status"]) == ("exited", "running")
    own_engine.docker("start", "victim", check=True)
    assert state(own_engine, "victim")["Running"] is True


def test_a_container_whose_shim_was_killed_is_restarted_as_its_policy_says(own_engine: Engine) -> None:
    own_engine.docker("run", "-d", "--name", "again", "--restart", "always", "busybox", "sleep", "1000", check=True)
    before = state(own_engine, "again")["Pid"]
    os.kill(parent_of(before), signal.SIGKILL)
    until(lambda: state(own_engine, "again")["Pid"] not in {0, before}, "it comes back")


def test_a_killed_launcher_is_replaced_and_nobody_notices(own_engine: Engine) -> None:
    own_engine.docker("run", "-d", "--name", "bystander", "busybox", "sleep", "1000", check=True)
    (launcher,) = launchers(own_engine)
    os.kill(launcher, signal.SIGKILL)
    for number in range(4):
        assert own_engine.docker("run", "--rm", "busybox", "echo", str(number), check=True).stdout == f"{number}\n"
    until(lambda: launchers(own_engine) not in ([], [launcher]), "there is another launcher")
    assert own_engine.docker("exec", "bystander", "echo", "well", check=True).stdout == "well\n"


def test_an_attached_client_outlives_the_engine(own_engine: Engine) -> None:
    own_engine.docker("create", "-i", "--name", "echo", "busybox", "cat", check=True)
    own_engine.docker("start", "echo", check=True)
    with attach(own_engine, "echo") as client:
        client.sendall(b"before\n")
        assert frame(client) == b"before\n"
        own_engine.kill()
        client.sendall(b"without an engine\n")
        assert frame(client) == b"without an engine\n"
        own_engine.start()
        client.sendall(b"after\n")
        assert frame(client) == b"after\n"
        with attach(own_engine, "echo") as second:
            second.sendall(
                b"both\n"
            )  # its answer was announced before the shim had it: only what it sends is sure to be heard
            assert frame(client) == frame(second) == b"both\n"
    logged = own_engine.docker("logs", "echo", check=True).stdout
    assert logged == "before\nwithout an engine\nafter\nboth\n"


@pytest.mark.parametrize("delay_ms", [20, 80, 200, 400])
def test_the_engine_is_killed_amid_starts_and_ends(own_engine: Engine, delay_ms: int) -> None:
    """The census of the fixture finds whatever is left."""

    def run(number: int) -> None:
        own_engine.docker("run", "--rm", "-d", "--name", f"run-{number}", "busybox", "sleep", str(number % 3))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(delay_ms / 1000)  # the moment of the kill, not a wait for anything
    own_engine.kill()
    for thread in threads:
        thread.join()
    own_engine.start()
    own_engine.docker("run", "--rm", "busybox", "true", check=True)
    left = own_engine.docker("ps", "-aq", check=True).stdout.split()
    if left:
        own_engine.docker("rm", "-f", *left, check=True)
    until(lambda: not os.listdir(own_engine.exec_root / "containers"), "nothing is left of them")


def test_hundreds_of_clients_leave_nothing(own_engine: Engine) -> None:
    own_engine.docker("run", "-d", "-i", "--name", "busy", "busybox", "cat", check=True)
    shim = parent_of(state(own_engine, "busy")["Pid"])
    api = Api(own_engine.socket)
    attach(own_engine, "busy").close()
    api.ok("GET", "/containers/busy/json")
    base = descriptors(own_engine.pid), descriptors(shim)
    for _ in range(200):
        attach(own_engine, "busy").close()
        api.ok("POST", "/containers/busy/resize", None, h=10, w=20)
    for _ in range(50):
        exec_id = api.ok("POST", "/containers/busy/exec", {"Cmd": ["sleep", "0"], "AttachStdout": True}).json()["Id"]
        api.ok("POST", f"/exec/{exec_id}/start", {"Detach": True})
    until(lambda: descriptors(shim) <= base[1], "the shim's descriptors are back")
    until(lambda: descriptors(own_engine.pid) <= base[0] + 2, "the engine's descriptors are back")
    with attach(own_engine, "busy") as client:
        client.sendall(b"still here\n")
        assert frame(client) == b"still here\n"
