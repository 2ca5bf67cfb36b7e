"""What is measured: each row prepares a side, measures it once at a time, and cleans it up."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.peers import docker_command
from tests.registry import Registry

from bench.big_image import push

IMAGE = "busybox:latest"


@dataclass(frozen=True, slots=True)
class Side:
    """One engine and the command line that belongs to it."""

    name: str
    socket: Path
    command: list[str]
    pid: int | None
    """The daemon; None for Docker, whose processes are found by name."""

    def _run(self, command: list[str], words: tuple[str, ...]) -> "subprocess.CompletedProcess[bytes]":
        address = f"unix://{self.socket}"
        environment = os.environ | {"DOCKER_HOST": address, "ONGGI_HOST": address}
        done = subprocess.run(
            [*command, *words], env=environment, capture_output=True, check=False, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise SystemExit(f"{self.name} {' '.join(words)}: {done.stderr.decode()}")
        return done

    def own(self, *words: str) -> "subprocess.CompletedProcess[bytes]":
        """With the engine's own command line."""
        return self._run(self.command, words)

    def stock(self, *words: str) -> "subprocess.CompletedProcess[bytes]":
        """With the stock docker command line."""
        return self._run([docker_command()], words)

    def timed(self, *words: str, stock: bool = False) -> float:
        """Milliseconds that a command takes, from its start to its end."""
        begun = time.perf_counter()
        (self.stock if stock else self.own)(*words)
        return (time.perf_counter() - begun) * 1000


def _nothing(side: Side) -> None:
    """No preparation, no clean-up."""


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    measure: Callable[[Side], float]
    goal: float
    """Onggi's value by Docker's, at most."""
    unit: str = "ms"
    rounds: int = 15
    warm_up: int = 2
    prepare: Callable[[Side], None] = _nothing
    clean: Callable[[Side], None] = _nothing


def _remove_all(side: Side) -> None:
    left = side.stock("ps", "-aq").stdout.decode().split()
    if left:
        side.stock("rm", "-fv", *left)


def _sleeper(side: Side) -> None:
    side.stock("run", "-d", "--name", "bench-sleeper", IMAGE, "sleep", "1000000")


def _pss_mib(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024


def _descendants(roots: set[int]) -> list[int]:
    """The processes below `roots` (and they), whatever they were reparented to since."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = set(roots)
    while True:
        more = {pid for pid, parent in parents.items() if parent in found and pid not in found}
        if not more:
            return sorted(found)
        found |= more


def _own_pids(side: Side) -> list[int]:
    """The engine's processes, without the containers' own."""
    if side.pid is not None:
        marks = (f"--exec-root\0{side.socket.parent}", str(side.socket.parent))
        roots = {side.pid}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_text()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if any(mark in words for mark in marks):
                    roots.add(int(entry.name))
        everything = _descendants(roots)
    else:
        names = subprocess.run(["pgrep", "-x", "dockerd|containerd|containerd-shim|docker-proxy"],
                               capture_output=True, text=True, check=False).stdout.split()  # fmt: skip
        shims = subprocess.run(["pgrep", "-f", "^/usr/bin/containerd-shim-runc-v2"],
                               capture_output=True, text=True, check=False).stdout.split()  # fmt: skip
        everything = [int(pid) for pid in {*names, *shims}]
    return [pid for pid in everything if not _is_containers(pid)]


def _is_containers(pid: int) -> bool:
    """Whether this is a container's own program: what the benchmark runs in them is `sleep`."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep\0")
    except (FileNotFoundError, ProcessLookupError):
        return True


IDLE = 20
_before: dict[str, float] = {}


def _prepare_idle(side: Side) -> None:
    _before[side.name] = _pss_mib(_own_pids(side))
    for _ in range(IDLE):
        side.stock("run", "-d", "--network", "none", IMAGE, "sleep", "1000000")


def _measure_idle(side: Side) -> float:
    return (_pss_mib(_own_pids(side)) - _before[side.name]) / IDLE


AT_ONCE = 50


def _measure_at_once(side: Side) -> float:
    """From the first request until all run: created and started by as many threads as containers."""

    def create_and_start(_: int) -> None:
        import docker  # the SDK keeps the command line's own cost out of the measurement

        with_client = docker.DockerClient(base_url=f"unix://{side.socket}", timeout=120)
        try:
            container = with_client.api.create_container(IMAGE, ["sleep", "1000000"])
            with_client.api.start(container["Id"])
        finally:
            with_client.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda _: None, range(AT_ONCE)))  # the threads themselves
        begun = time.perf_counter()
        list(pool.map(create_and_start, range(AT_ONCE)))
        taken = (time.perf_counter() - begun) * 1000
    running = len(side.stock("ps", "-q").stdout.split())
    if running < AT_ONCE:
        raise SystemExit(f"{side.name}: only {running} of {AT_ONCE} run")
    _remove_all(side)
    return taken


MANY = 300


def _prepare_many(side: Side) -> None:
    import docker

    client = docker.DockerClient(base_url=f"unix://{side.socket}", timeout=120)
    for number in range(MANY):
        client.api.create_container(IMAGE, ["true"], name=f"bench-{number}")
    client.close()


LINES = 300_000


def _measure_logs(side: Side) -> float:
    """Write the lines and read them back."""
    begun = time.perf_counter()
    side.stock("run", "--name", "bench-lines", "-d", IMAGE, "seq", str(LINES))
    side.stock("wait", "bench-lines")
    seen = side.stock("logs", "bench-lines").stdout.count(b"\n")
    taken = (time.perf_counter() - begun) * 1000
    if seen != LINES:
        raise SystemExit(f"{side.name}: {seen} of {LINES} lines")
    side.stock("rm", "bench-lines")
    return taken


BIG = Path("/var/cache/onggi-bench")
_registry: list[Registry] = []


def _prepare_pull(side: Side) -> None:
    if not _registry:
        _registry.append(Registry(Path(tempfile.mkdtemp(prefix="onggi-bench-registry-"))).start())
        push(BIG, _registry[0].host, "bench/big")
    _forget_big(side)


def stop_registry() -> None:
    """End the registry that the transfer rows started, and remove what it stored."""
    while _registry:
        running = _registry.pop()
        running.stop()
        shutil.rmtree(running.directory)


def _big() -> str:
    return f"{_registry[0].host}/bench/big:1"


def _forget_big(side: Side) -> None:
    """The image and whatever of its layers: the next pull begins with nothing."""
    subprocess.run(
        [docker_command(), "-H", f"unix://{side.socket}", "rmi", "-f", _big()], capture_output=True, check=False
    )


def _measure_pull(side: Side) -> float:
    _forget_big(side)
    side.stock("info")  # Onggi deletes behind the answer: let it begin
    os.sync()
    return side.timed("pull", "-q", _big())


def _measure_push(side: Side) -> float:
    """To a registry that has none of it."""
    with tempfile.TemporaryDirectory(prefix="onggi-bench-registry-") as directory, Registry(Path(directory)) as empty:
        target = f"{empty.host}/bench/big:1"
        side.stock("tag", _big(), target)
        taken = side.timed("push", "-q", target)
        side.stock("rmi", target)
    return taken


def _prepare_push(side: Side) -> None:
    _prepare_pull(side)
    side.stock("pull", "-q", _big())


ROWS: dict[str, Row] = {
    "run-bridge": Row("run --rm busybox true (bridge)", lambda side: side.timed("run", "--rm", IMAGE, "true"), 1 / 10),
    "run-none": Row(
        "run --rm --network none", lambda side: side.timed("run", "--rm", "--network", "none", IMAGE, "true"), 1 / 10
    ),
    "run-stock": Row(
        "docker run, stock command", lambda side: side.timed("run", "--rm", IMAGE, "true", stock=True), 1 / 5
    ),
    "exec": Row(
        "exec c true",
        lambda side: side.timed("exec", "bench-sleeper", "true"),
        1 / 4,
        prepare=_sleeper,
        clean=_remove_all,
    ),
    "at-once": Row(
        f"{AT_ONCE} created and started at once", _measure_at_once, 1 / 10, rounds=3, warm_up=1, clean=_remove_all
    ),
    "version": Row("version", lambda side: side.timed("version"), 1),
    "ps": Row(f"ps -a with {MANY}", lambda side: side.timed("ps", "-a"), 1, prepare=_prepare_many, clean=_remove_all),
    "logs": Row(f"{LINES} log lines, write and read", _measure_logs, 2 / 3, rounds=3, warm_up=0, clean=_remove_all),
    "idle": Row(
        "idle container, our processes",
        _measure_idle,
        1 / 4,
        unit="MB",
        rounds=3,
        warm_up=0,
        prepare=_prepare_idle,
        clean=_remove_all,
    ),
    "pull": Row(
        "pull of 10 layers, 760 MB", _measure_pull, 1 / 2, rounds=3, warm_up=0, prepare=_prepare_pull, clean=_forget_big
    ),
    "push": Row(
        "push of the same", _measure_push, 1 / 2, rounds=3, warm_up=0, prepare=_prepare_push, clean=_forget_big
    ),
    "engine": Row(
        "the engine, no container", lambda side: _pss_mib(_own_pids(side)), 1 / 2, unit="MB", rounds=3, warm_up=0
    ),
}
