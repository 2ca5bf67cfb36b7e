"""kill -9 of the engine in the middle of everything: what it leaves is taken up or taken away by the next one."""

import random
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.engine import Engine

ROUNDS = 6
DEADLINE_S = 60.0


def left_on_disk(engine: Engine) -> list[str]:
    """Directories of containers that no container owns."""
    owned = set(engine.docker("ps", "-aq", "--no-trunc", check=True).stdout.split())
    places = (engine.data_root / "containers", engine.data_root / "snapshots", engine.exec_root / "containers")
    return [
        str(entry)
        for place in places
        if place.is_dir()
        for entry in place.iterdir()
        if len(entry.name) == 64 and entry.name not in owned
    ]


def cgroups(engine: Engine) -> list[Path]:
    return [*Path("/sys/fs/cgroup").glob(f"*/{engine.bridge}/*/"), *Path("/sys/fs/cgroup").glob(f"{engine.bridge}/*/")]


class Bustle:
    """Clients that make, run, stop and remove containers, whether the engine answers or not."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._over = threading.Event()
        self._clients = [threading.Thread(target=self._work, args=(number,)) for number in range(3)]

    def _work(self, number: int) -> None:
        turn = 0
        while not self._over.is_set():
            turn += 1
            name = f"bustle-{number}-{turn}"
            try:
                self._engine.docker("run", "--rm", "busybox", "true", timeout=20)
                self._engine.docker("run", "-d", "--name", name, "-v", "/data", "--network", "none", "busybox", "sleep",
                                    "1000", timeout=20)  # fmt: skip
                self._engine.docker("rm", "-fv", name, timeout=20)
            except subprocess.TimeoutExpired:
                continue  # the engine was killed while it held the connection

    def __enter__(self) -> "Bustle":
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for client in self._clients:
            client.join()


@pytest.mark.timeout(300)
def test_the_engine_may_die_at_any_moment(own_engine: Engine) -> None:
    chance = random.Random(20261201)
    for _ in range(ROUNDS):
        with Bustle(own_engine):
            time.sleep(chance.uniform(0.2, 1.5))  # the moment is what is varied here
            own_engine.kill()
        own_engine.start()
        for name in own_engine.docker("ps", "-a", "--format", "{{.Names}}", check=True).stdout.split():
            # Whatever state it was caught in, it answers and can be told to go.
            own_engine.docker("inspect", name, check=True)
            own_engine.docker("rm", "-fv", name)
    deadline = time.monotonic() + DEADLINE_S
    while left_on_disk(own_engine) or cgroups(own_engine) or own_engine.docker("volume", "ls", "-q").stdout:
        assert time.monotonic() < deadline, (
            left_on_disk(own_engine), cgroups(own_engine), own_engine.docker("volume", "ls", "-q").stdout,
            own_engine.docker("ps", "-a").stdout, own_engine.log_tail(),
        )  # fmt: skip
        time.sleep(0.1)
    assert own_engine.docker("run", "--rm", "busybox", "echo", "well", check=True).stdout == "well\n"
