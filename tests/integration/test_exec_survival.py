"""Execs over the engine's death, with their clients and without; those that end with their client, and those that are killed."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.conditions import DEADLINE_S, until
from tests.engine import Engine, state
from tests.http import Api
from tests.integration.test_survival_engine import UPGRADED, frame, parent_of

WAITS = "trap 'exit 9' TERM; echo ready; while ! test -f /stop; do sleep 0.05; done; exit 5"


def attached_exec(engine: Engine, container: str, command: list[str], **more: object) -> tuple[str, socket.socket]:
    """An exec with a client on its stdin and stdout."""
    api = Api(engine.socket)
    body = {"Cmd": command, "AttachStdin": True, "AttachStdout": True} | more
    exec_id = api.ok("POST", f"/containers/{container}/exec", body).json()["Id"]
    end = socket.socket(socket.AF_UNIX)
    end.settimeout(DEADLINE_S)
    end.connect(str(engine.socket))
    end.sendall(f"POST /exec/{exec_id}/start HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
                "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}".encode())  # fmt: skip
    head = b""
    while UPGRADED not in head:
        part = end.recv(1)
        assert part, head
        head += part
    return exec_id, end


def detached_exec(engine: Engine, container: str, command: list[str]) -> str:
    api = Api(engine.socket)
    exec_id = str(api.ok("POST", f"/containers/{container}/exec", {"Cmd": command}).json()["Id"])
    api.ok("POST", f"/exec/{exec_id}/start", {"Detach": True})
    return exec_id


def exec_state(engine: Engine, exec_id: str) -> dict[str, object]:
    found: dict[str, object] = Api(engine.socket).ok("GET", f"/exec/{exec_id}/json").json()
    return found


def ends_of_execs(engine: Engine, container: str) -> dict[str, str]:
    """Exit codes that `exec_die` told, by exec."""
    filters = json.dumps({"event": ["exec_die"], "container": [container]})
    told = Api(engine.socket).ok("GET", "/events", since=1, until=f"{time.time():.9f}", filters=filters).body
    found = [json.loads(line)["Actor"]["Attributes"] for line in told.splitlines()]
    return {attributes["execID"]: attributes["exitCode"] for attributes in found}


@pytest.fixture
def host(own_engine: Engine) -> Engine:
    """An engine with a container `host` to run things in."""
    own_engine.docker("run", "-d", "--name", "host", "--network", "none", "busybox", "sleep", "100000", check=True)
    return own_engine


def test_an_exec_with_its_client_outlives_the_engine(host: Engine) -> None:
    exec_id, client = attached_exec(host, "host", ["cat"])
    with client:
        client.sendall(b"before\n")
        assert frame(client) == b"before\n"
        until(lambda: exec_state(host, exec_id)["Running"], "the engine knows that it runs")
        before = exec_state(host, exec_id)
        host.kill()
        client.sendall(b"without an engine\n")
        assert frame(client) == b"without an engine\n"
        host.start()
        after = exec_state(host, exec_id)
        assert after == before
        assert after["Running"] is True
        assert json.loads(host.docker("inspect", "host").stdout)[0]["ExecIDs"] == [exec_id]
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        ended = exec_state(host, exec_id)
        assert (ended["Running"], ended["ExitCode"]) == (False, 0)
    until(lambda: ends_of_execs(host, "host").get(exec_id) == "0", "its end is told")
    until(lambda: not os.listdir(host.exec_root / "execs"), "nothing is left of it")


def test_an_exec_that_ends_while_there_is_no_engine(host: Engine) -> None:
    exec_id = detached_exec(host, "host", ["sh", "-c", WAITS])
    pid = int(str(exec_state(host, exec_id)["Pid"]))
    shim = parent_of(pid)
    host.kill()
    Path(f"/proc/{pid}/root/stop").touch()
    until(lambda: not Path(f"/proc/{shim}").exists(), "it has ended")
    host.start()
    ended = exec_state(host, exec_id)
    assert (ended["Running"], ended["ExitCode"]) == (False, 5)
    assert ends_of_execs(host, "host") == {exec_id: "5"}
    assert os.listdir(host.exec_root / "execs") == []


def test_a_terminal_is_resized_and_an_exec_killed_after_a_restart(host: Engine) -> None:
    api = Api(host.socket)
    exec_id, client = attached_exec(
        host, "host", ["sh", "-c", "trap 'stty size' WINCH; while :; do sleep 0.05; done"], Tty=True
    )
    with client:
        until(lambda: exec_state(host, exec_id)["Running"], "the engine knows that it runs")
        host.stop()
        host.start()
        seen = b""

        def resized() -> bool:
            nonlocal seen
            api.ok("POST", f"/exec/{exec_id}/resize", h=33, w=77)
            client.settimeout(0.2)
            try:
                seen += client.recv(4096)
            except TimeoutError:
                return False
            finally:
                client.settimeout(DEADLINE_S)
                api.ok("POST", f"/exec/{exec_id}/resize", h=34, w=77)
            return b"33 77" in seen

        until(resized, "the size arrives")
        assert api("POST", f"/exec/{exec_id}/kill", None, 60, signal="SIGFLY").status == 400
        assert api.ok("POST", f"/exec/{exec_id}/kill", signal="SIGKILL").status == 204
        until(lambda: exec_state(host, exec_id)["ExitCode"] == 137, "it has ended")
    assert api("POST", f"/exec/{exec_id}/kill").status == 409
    assert api("POST", "/exec/nosuch/kill").status == 404


def test_an_exec_whose_container_ended_meanwhile_is_forgotten(host: Engine) -> None:
    exec_id = detached_exec(host, "host", ["sleep", "100000"])
    pid = state(host, "host")["Pid"]
    shim = parent_of(pid)
    host.kill()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{shim}").exists(), "the container has ended")
    host.start()
    assert Api(host.socket)("GET", f"/exec/{exec_id}/json").status == 404
    assert os.listdir(host.exec_root / "execs") == []


def test_a_probe_that_runs_over_a_restart_is_ended(own_engine: Engine) -> None:
    own_engine.docker("run", "-d", "--name", "host", "--network", "none", "--health-cmd", "sleep 100000", "--health-interval",
                      "100ms", "--health-timeout", "1h", "busybox", "sleep", "100000", check=True)  # fmt: skip
    probes = own_engine.exec_root / "execs"
    until(lambda: any((entry / "shim.sock").exists() for entry in probes.iterdir()), "a probe runs")
    (probe,) = os.listdir(probes)
    own_engine.kill()
    own_engine.start()
    until(lambda: probe not in os.listdir(probes), "the old probe is ended")
    until(lambda: len(os.listdir(probes)) == 1, "and another runs")
    top = own_engine.docker("top", "host", check=True).stdout
    assert top.count("sleep 100000") <= 3, "the program, the new probe's shell and its sleep"


def test_an_exec_ends_with_its_client_if_asked(host: Engine) -> None:
    exec_id, client = attached_exec(host, "host", ["sh", "-c", "sleep 100000 & sleep 100000"], EndsWithClient=True)
    other_id, other = attached_exec(host, "host", ["sleep", "100000"])
    for end in (client, other):
        end.close()
    until(lambda: exec_state(host, exec_id)["ExitCode"] == 128 + signal.SIGHUP, "it is hung up")
    until(lambda: exec_state(host, other_id)["Running"], "the other one goes on")
    assert exec_state(host, other_id)["ExitCode"] is None
    assert host.docker("top", "host", check=True).stdout.count("sleep") == 2, "its children are ended with it"


def test_one_that_ignores_the_hangup_is_killed(host: Engine) -> None:
    exec_id, client = attached_exec(host, "host", ["sh", "-c", "trap '' HUP; echo ready; while :; do sleep 1; done"],
                                    EndsWithClient=True)  # fmt: skip
    assert frame(client) == b"ready\n"
    host.kill()  # the shim does it, engine or none
    client.close()
    host.start()
    assert exec_state(host, exec_id)["Running"] is True
    until(lambda: exec_state(host, exec_id)["ExitCode"] == 137, "it is killed after its grace")


def test_who_detaches_leaves_it_running(host: Engine) -> None:
    exec_id, client = attached_exec(host, "host", ["cat"], Tty=True, EndsWithClient=True)
    with client:
        client.sendall(b"\x10\x11")  # ctrl-p ctrl-q
        while client.recv(4096):
            pass
    assert exec_state(host, exec_id)["Running"] is True
