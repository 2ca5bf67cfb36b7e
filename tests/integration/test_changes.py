"""`update` of what Docker fixes for good: environment, labels, ports, mounts of a container that exists."""

import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conditions import until
from tests.engine import Engine, inspected, state
from tests.http import Api

SERVER = "mkdir -p /srv; echo page > /srv/index.html; exec httpd -f -p 80 -h /srv"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def page(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


@pytest.fixture
def server(engine: Engine, name: str) -> Iterator[str]:
    engine.docker("run", "-d", "--name", name, "-e", "KEPT=1", "-e", "GOES=1", "--label", "kept=1", "--label", "goes=1",
                  "--stop-signal", "KILL", "-p", "127.0.0.1::80", "busybox", "sh", "-c", SERVER, check=True)  # fmt: skip
    yield name
    engine.docker("rm", "-fv", name, check=True)


def test_ports_of_a_running_container(engine: Engine, server: str) -> None:
    port, before = free_port(), state(engine, server)["Pid"]
    first = int(inspected(engine, server)["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
    until(lambda: page(first) == "page\n", "it serves")
    assert engine.onggi("update", "--publish-add", f"127.0.0.1:{port}:80", server, check=True).stdout == f"{server}\n"
    assert (page(first), page(port)) == ("page\n", "page\n")
    assert {row["HostPort"] for row in inspected(engine, server)["NetworkSettings"]["Ports"]["80/tcp"]} == {
        str(first),
        str(port),
    }
    assert f"127.0.0.1:{port}->80/tcp" in engine.docker("ps", "--filter", f"name={server}").stdout
    # Taken by it now: another can't have it, neither live nor at its start.
    refused = engine.docker("run", "--rm", "-p", f"127.0.0.1:{port}:80", "busybox", "true")
    assert "port is already allocated" in refused.stderr
    engine.onggi("update", "--publish-rm", "80", server, check=True)
    assert (page(first), page(port)) == ("", "")
    assert not inspected(engine, server)["NetworkSettings"]["Ports"]["80/tcp"]
    # The same port of the host for another port of the container, in one step.
    engine.onggi("update", "--publish-add", f"127.0.0.1:{port}:81", server, check=True)
    engine.onggi("update", "--publish-rm", "81", "--publish-add", f"127.0.0.1:{port}:80", server, check=True)
    assert page(port) == "page\n"
    engine.onggi("update", "--publish-rm", "80", server, check=True)
    assert state(engine, server)["Pid"] == before, "it was not restarted"
    engine.docker("run", "--rm", "-p", f"127.0.0.1:{port}:80", "busybox", "true", check=True)
    engine.docker("restart", server, check=True)
    assert not inspected(engine, server)["NetworkSettings"]["Ports"]["80/tcp"]


def test_a_port_that_is_taken_changes_nothing(engine: Engine, server: str) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        before = inspected(engine, server)
        refused = engine.onggi("update", "--publish-add", f"127.0.0.1:{port}:80", "--label-add", "new=1", server)
        assert refused.returncode == 1
        assert "address already in use" in refused.stderr
        assert inspected(engine, server) == before


def test_environment_and_labels(engine: Engine, server: str) -> None:
    changed = engine.onggi("update", "--env-add", "NEW=two words", "--env-rm", "GOES", "--label-add", "kept=2", "--label-add",
                           "new=1", "--label-rm", "goes", server, check=True)  # fmt: skip
    assert "The environment is changed from the container's next start on." in changed.stdout
    assert inspected(engine, server)["Config"]["Labels"] == {"kept": "2", "new": "1"}
    assert engine.docker("ps", "-q", "--filter", "label=kept=2").stdout
    engine.docker("restart", server, check=True)
    environment = Path(f"/proc/{state(engine, server)['Pid']}/environ").read_text().split("\0")
    assert {"KEPT=1", "NEW=two words"} <= set(environment)
    assert "GOES=1" not in environment
    for words in (("--env-rm", "NEVER"), ("--label-rm", "never"), ("--publish-rm", "81"), ("--mount-rm", "/never")):
        assert engine.onggi("update", *words, server).returncode == 1


def test_mounts(engine: Engine, server: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("of the host\n")
    volume = f"{name}-volume".lower()
    changed = engine.onggi("update", "--volume-add", f"{tmp_path}:/bound:ro", "--mount-add",
                           f"type=volume,source={volume},target=/etc", server, check=True)  # fmt: skip
    assert "Mounts are changed from the container's next start on." in changed.stdout
    assert engine.docker("exec", server, "ls", "/bound").returncode == 1
    engine.docker("stop", server, check=True)
    volumes = engine.docker("volume", "ls", "-q").stdout
    again = engine.onggi(
        "update", "--volume-add", f"{tmp_path}:/bound", "--mount-add", "type=volume,target=/new", server
    )
    assert engine.docker("volume", "ls", "-q").stdout == volumes, "what was made for it is gone again"
    assert "something is mounted on /bound already" in again.stderr
    engine.docker("start", server, check=True)
    assert engine.docker("exec", server, "cat", "/bound/file", check=True).stdout == "of the host\n"
    assert engine.docker("exec", server, "touch", "/bound/x").returncode == 1
    found = {mount["Destination"]: mount["Type"] for mount in inspected(engine, server)["Mounts"]}
    assert found == {"/bound": "bind", "/etc": "volume"}
    assert engine.docker("volume", "rm", volume).returncode == 1, "it is in use"
    engine.docker("stop", server, check=True)
    engine.onggi("update", "--mount-rm", "/etc", "--mount-rm", "/bound", server, check=True)
    assert inspected(engine, server)["Mounts"] == []
    assert inspected(engine, server)["HostConfig"]["Binds"] is None
    engine.docker("volume", "rm", volume, check=True)
    engine.docker("start", server, check=True)
    assert engine.docker("exec", server, "ls", "/bound/file").returncode == 1


def test_a_new_volume_of_a_stopped_container_is_filled_from_the_image(engine: Engine, name: str) -> None:
    engine.docker("create", "--name", name, "busybox", "cat", "/etc/group", check=True)
    try:
        engine.onggi("update", "--volume-add", f"{name.lower()}-etc:/etc", name, check=True)
        assert "root:x:0:" in engine.docker("start", "-a", name, check=True).stdout
        assert [mount["Type"] for mount in inspected(engine, name)["Mounts"]] == ["volume"]
    finally:
        engine.docker("rm", "-fv", name, check=True)
        engine.docker("volume", "rm", f"{name.lower()}-etc", check=True)


def test_changes_survive_the_engine(own_engine: Engine) -> None:
    own_engine.docker("run", "-d", "--name", "changed", "busybox", "sleep", "100000", check=True)
    port = free_port()
    own_engine.onggi("update", "--publish-add", f"127.0.0.1:{port}:80", "--env-add", "A=b", "--memory", "32m", "changed",
                     check=True)  # fmt: skip
    before = inspected(own_engine, "changed")
    own_engine.kill()
    own_engine.start()
    after = inspected(own_engine, "changed")
    assert after["Config"] == before["Config"]
    assert after["HostConfig"] == before["HostConfig"]
    assert after["NetworkSettings"]["Ports"] == before["NetworkSettings"]["Ports"]


def test_stock_clients_see_nothing_of_it(engine: Engine, server: str) -> None:
    reply = Api(engine.socket).ok("POST", f"/containers/{server}/update", {"CpuShares": 100}).json()
    assert list(reply) == ["Warnings"]
    assert "Changes" not in json.dumps(inspected(engine, server))


def test_memory_with_and_without_cache(engine: Engine, server: str) -> None:
    engine.docker("exec", server, "dd", "if=/dev/zero", "of=/file", "bs=1M", "count=8", check=True)
    shown = engine.onggi("stats", "--no-stream", "--cache", server, check=True).stdout.splitlines()
    assert "WITH CACHE / CACHE" in shown[0]
    assert "WITH CACHE" not in engine.onggi("stats", "--no-stream", server, check=True).stdout
    row = json.loads(engine.onggi("stats", "--no-stream", "--cache", "--format", "json", server, check=True).stdout)
    whole, cache = row["MemCache"].split(" / ")
    assert whole.endswith("MiB")
    assert float(cache.removesuffix("MiB")) >= 7


def test_kill_of_an_exec_by_the_command_line(engine: Engine, server: str) -> None:
    engine.docker("exec", "-d", server, "sleep", "100000", check=True)
    (exec_id,) = inspected(engine, server)["ExecIDs"]
    assert engine.onggi("kill", "--exec", "--signal", "TERM", exec_id, check=True).stdout == f"{exec_id}\n"
    until(lambda: inspected(engine, server)["ExecIDs"] is None, "it has ended")
    assert engine.onggi("kill", "--exec", exec_id).returncode == 1
