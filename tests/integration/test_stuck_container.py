"""One container that is stuck, by a stopped shim or a frozen group, holds up nobody else: each way a test."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conditions import DEADLINE_S, until
from tests.engine import Engine, inspected, state
from tests.http import Api
from tests.integration.test_survival_engine import parent_of


def groups(engine: Engine, container_id: str) -> list[Path]:
    """The freezer of a container: cgroup v1's, or the one of v2."""
    places = Path("/sys/fs/cgroup")
    return [*places.glob(f"freezer/{engine.bridge}/{container_id}/freezer.state"),
            *places.glob(f"{engine.bridge}/{container_id}/cgroup.freeze")]  # fmt: skip


@contextmanager
def stopped_shim(engine: Engine, name: str) -> Iterator[int]:
    shim = parent_of(state(engine, name)["Pid"])
    os.kill(shim, signal.SIGSTOP)
    try:
        yield shim
    finally:
        os.kill(shim, signal.SIGCONT)


@contextmanager
def frozen(engine: Engine, name: str) -> Iterator[None]:
    """Frozen behind the engine's back: its processes answer nothing, not even SIGKILL on cgroup v1."""
    (freezer,) = groups(engine, inspected(engine, name)["Id"])
    freezer.write_text("FROZEN" if freezer.name == "freezer.state" else "1")
    try:
        yield
    finally:
        freezer.write_text("THAWED" if freezer.name == "freezer.state" else "0")


def all_others_go_on(engine: Engine, stuck: str) -> None:
    """What concerns all, or another, is answered; each with a deadline far below the time that the stuck one takes."""
    quick = {"check": True, "timeout": 20}
    assert stuck in engine.docker("ps", **quick).stdout  # type: ignore[arg-type]
    with Api(engine.socket).stream("/events") as events:
        assert engine.docker("run", "--rm", "--name", "other", "busybox", "echo", "well", **quick).stdout == "well\n"  # type: ignore[arg-type]
        while json.loads(events.readline())["Actor"]["Attributes"].get("name") != "other":
            pass  # health checks of the others
    names = engine.docker("stats", "--no-stream", "--format", "{{.Name}}", **quick).stdout.split()  # type: ignore[arg-type]
    assert {stuck, "bystander"} <= set(names)
    assert engine.docker("exec", "bystander", "echo", "well", **quick).stdout == "well\n"  # type: ignore[arg-type]
    engine.docker("restart", "-t", "0", "bystander", **quick)  # type: ignore[arg-type]
    engine.docker("inspect", stuck, **quick)  # type: ignore[arg-type]


@contextmanager
def in_vain(engine: Engine, *words: str) -> Iterator[None]:
    """A client that asks the stuck one for something, meanwhile; in the end it is answered."""
    asking = threading.Thread(target=engine.docker, args=words)
    asking.start()
    try:
        yield
    finally:
        asking.join(DEADLINE_S)
        assert not asking.is_alive()


@pytest.fixture
def two(own_engine: Engine) -> Engine:
    for name in ("stuck", "bystander"):
        own_engine.docker("run", "-d", "--name", name, "--network", "none", "--stop-signal", "KILL", "--health-cmd", "true",
                          "--health-interval", "200ms", "busybox", "sleep", "100000", check=True)  # fmt: skip
    return own_engine


def test_a_stopped_shim_holds_up_nobody_else(two: Engine) -> None:
    with ExitStack() as clients:
        with stopped_shim(two, "stuck"):
            for words in (("exec", "stuck", "sleep", "1"), ("stop", "stuck"), ("rm", "-f", "stuck")):
                clients.enter_context(in_vain(two, *words))
            all_others_go_on(two, "stuck")  # its program is killed by `stop`, and nobody is told
    until(lambda: "stuck" not in two.docker("ps", "-a").stdout, "in the end it is removed")


def test_a_frozen_container_holds_up_nobody_else(two: Engine) -> None:
    with ExitStack() as clients:
        with frozen(two, "stuck"):
            clients.enter_context(in_vain(two, "exec", "stuck", "true"))
            clients.enter_context(in_vain(two, "top", "stuck"))
            all_others_go_on(two, "stuck")
    assert two.docker("exec", "stuck", "echo", "well", check=True).stdout == "well\n"


def test_an_engine_starts_beside_a_stopped_shim(two: Engine) -> None:
    with stopped_shim(two, "stuck"):
        two.kill()
        two.start()
        all_others_go_on(two, "stuck")
        assert state(two, "stuck")["Status"] == "running"
    assert two.docker("exec", "stuck", "echo", "well", check=True).stdout == "well\n"
    two.docker("stop", "stuck", check=True)
    assert state(two, "stuck")["ExitCode"] == 137
