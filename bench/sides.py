"""The two engines that are measured, and what a row of the measurement is."""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.peers import docker_command


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

    def timed_to_nowhere(self, *words: str) -> float:
        """As `timed`, of a command that prints much: nobody keeps it."""
        environment = os.environ | {"DOCKER_HOST": f"unix://{self.socket}", "ONGGI_HOST": f"unix://{self.socket}"}
        begun = time.perf_counter()
        subprocess.run([*self.command, *words], env=environment, stdout=subprocess.DEVNULL, check=True)
        return (time.perf_counter() - begun) * 1000

    def timed(self, *words: str, stock: bool = False) -> float:
        """Milliseconds that a command takes, from its start to its end."""
        begun = time.perf_counter()
        (self.stock if stock else self.own)(*words)
        return (time.perf_counter() - begun) * 1000


LABEL = "onggi-bench"
"""On every container of ours: the other engine may hold more than these."""


def remove_all(side: Side) -> None:
    left = side.stock("ps", "-aq", "--filter", f"label={LABEL}").stdout.decode().split()
    if left:
        side.stock("rm", "-fv", *left)


def nothing(side: Side) -> None:
    """No preparation, no clean-up."""


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    measure: Callable[[Side], float]
    goal: float
    """Onggi's value by Docker's, at most."""
    limit: float | None = None
    """Onggi's value itself, at most."""
    unit: str = "ms"
    rounds: int = 15
    warm_up: int = 2
    prepare: Callable[[Side], None] = nothing
    clean: Callable[[Side], None] = nothing


def pss_mib(pids: list[int]) -> float:
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


def engine_pids(side: Side) -> list[int]:
    """The daemon's own: it, or dockerd and containerd."""
    if side.pid is not None:
        return [side.pid]
    found = subprocess.run(["pgrep", "-x", "dockerd|containerd"], capture_output=True, text=True, check=True).stdout
    return [int(pid) for pid in found.split()]


def own_pids(side: Side) -> list[int]:
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
