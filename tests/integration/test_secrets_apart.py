"""The secrets of one container are nowhere but with the engine and with itself: not in the launcher, not in the process
that watches over another, not in another container; nor in logs, events and command lines."""

import json
import os
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conditions import until
from tests.engine import Engine
from tests.http import Api
from tests.racing import WHOLE

CONTAINERS = 50 if WHOLE else 16


def regions(pid: int) -> Iterator[bytes]:
    """All readable memory of a process."""
    with (
        open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as table,
        open(f"/proc/{pid}/mem", "rb", 0) as memory,
    ):
        for line in table:
            where, rights, *_ = line.split(maxsplit=5)
            if "r" not in rights or line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            begins, ends = (int(word, 16) for word in where.split("-"))
            memory.seek(begins)
            content = memory.read(ends - begins)
            if content:
                yield content


def holding(pid: int, tokens: dict[str, bytes]) -> set[str]:
    """Whose tokens a process has in its memory or its environment."""
    found = set()
    for content in (*regions(pid), Path(f"/proc/{pid}/environ").read_bytes()):
        found |= {name for name, token in tokens.items() if token in content}
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_nobody_has_the_secrets_of_others(own_engine: Engine) -> None:
    api = Api(own_engine.socket)
    tokens = {f"secret-{number}": secrets.token_hex(24).encode() for number in range(CONTAINERS)}

    def start(name: str) -> None:
        body = {
            "Image": "busybox",
            "Cmd": ["sleep", "1000000"],
            "Env": [f"TOKEN={tokens[name].decode()}"],
            "StopSignal": "KILL",
        }
        Api(own_engine.socket).ok("POST", "/containers/create", body, name=name)
        Api(own_engine.socket).ok("POST", f"/containers/{name}/start")

    with ThreadPoolExecutor(CONTAINERS) as pool:
        list(pool.map(start, tokens))
    own_engine.docker("exec", "-e", f"ALSO={tokens['secret-0'].decode()}", "secret-1", "true", check=True)
    inits = {name: int(api.ok("GET", f"/containers/{name}/json").json()["State"]["Pid"]) for name in tokens}
    shims = {name: parent(pid) for name, pid in inits.items()}
    assert len({*inits.values(), *shims.values()}) == 2 * CONTAINERS

    for name, pid in inits.items():
        assert holding(pid, tokens) == {name}, "the scan finds what is there, and nothing else is"
    for name, pid in shims.items():
        assert holding(pid, tokens) <= {name}, Path(f"/proc/{pid}/cmdline").read_bytes()

    others = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and int(entry.name) not in {own_engine.pid, *inits.values(), *shims.values()}
        and _is_of(own_engine, int(entry.name))
    ]
    assert parent(next(iter(shims.values()))) in [own_engine.pid, *others], "the launcher is among those"
    assert len(others) >= 2
    assert {pid: found for pid in others if (found := holding(pid, tokens))} == {}

    log = own_engine.log.read_bytes()
    events = api("GET", "/events", since="0", until=f"{time.time():.9f}").body
    lines = [entry.read_bytes() for entry in Path("/proc").glob("[0-9]*/cmdline") if entry.parent.exists()]
    assert len(events.splitlines()) >= 2 * CONTAINERS
    for name, token in tokens.items():
        assert token not in log + events, name
        assert not any(token in line for line in lines), name


def _is_of(engine: Engine, pid: int) -> bool:
    try:
        while pid > 1:
            if pid == engine.pid:
                return True
            pid = parent(pid)
    except FileNotFoundError:
        pass  # it ended meanwhile
    return False


def test_a_pid_that_went_to_a_stranger_is_not_taken_for_the_container(own_engine: Engine) -> None:
    """Engine, shim and container are killed, and the number of the container's process is given to another process."""
    last = Path("/proc/sys/kernel/ns_last_pid")
    if not last.exists():
        pytest.skip("this kernel can't be told which number comes next (CONFIG_CHECKPOINT_RESTORE)")
    own_engine.docker("run", "-d", "--name", "was", "--network", "none", "busybox", "sleep", "1000000", check=True)
    number = int(json.loads(own_engine.docker("inspect", "was", check=True).stdout)[0]["State"]["Pid"])
    shim = parent(number)
    own_engine.kill()
    os.kill(shim, 9)
    os.kill(number, 9)
    stranger = 0
    try:
        until(lambda: not Path(f"/proc/{number}").exists(), "the container has ended")
        for _ in range(200):
            last.write_text(str(number - 1))
            child = os.fork()
            if child == 0:
                os.execv("/bin/sleep", ["sleep", "1000000"])
            if child == number:
                stranger = child
                break
            os.kill(child, 9)
            os.waitpid(child, 0)
        assert stranger == number, "the number could not be had: another process was faster each time"
        own_engine.start()
        found = json.loads(own_engine.docker("inspect", "was", check=True).stdout)[0]["State"]
        assert (found["Status"], found["Pid"]) == ("exited", 0)
        for words in (["exec", "was", "true"], ["kill", "was"], ["top", "was"], ["pause", "was"]):
            assert own_engine.docker(*words).returncode != 0
        refused = own_engine.docker("run", "--rm", "--pid", "container:was", "busybox", "true")
        assert refused.returncode == 125
        assert "not running" in refused.stderr
        own_engine.docker("start", "was", check=True)
        own_engine.docker("rm", "-f", "was", check=True)
        assert os.waitpid(stranger, os.WNOHANG) == (0, 0), "the stranger was let alone"
    finally:
        if stranger:
            os.kill(stranger, 9)
            os.waitpid(stranger, 0)
