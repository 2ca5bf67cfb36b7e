"""What this machine's kernel offers, probed once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Host:
    """Facts that a plan depends on. `probe()` asks the kernel; tests write their own."""

    machine: str
    """uname -m."""
    kernel: tuple[int, int]
    cgroup_version: int
    """1 (also hybrid) or 2."""


def probe() -> Host:
    """Ask the kernel. Cheap (about a millisecond); one result serves the whole process."""
    raise NotImplementedError
