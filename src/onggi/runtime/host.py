"""What this machine's kernel offers, probed once."""

import os
from dataclasses import dataclass

from onggi.linux import capability, cgroup


@dataclass(frozen=True, slots=True)
class Host:
    """Facts that a plan depends on. `probe()` asks the kernel; tests write their own."""

    machine: str
    """uname -m."""
    kernel: tuple[int, int]
    cgroup_version: int
    """1 (also hybrid) or 2."""
    last_capability: int
    """The highest capability that the kernel knows."""
    capabilities: int = -1
    """The capabilities that we have ourselves, and so can give, as bits."""
    lsm: str = ""
    """Security modules, comma-separated (/sys/kernel/security/lsm)."""
    controllers: frozenset[str] = frozenset()
    """Control-group controllers that limits can be set with."""
    swap_limit: bool = True
    """Memory and swap together can be limited."""

    @property
    def overlay_one_by_one(self) -> bool:
        """Overlay takes its lower directories one by one, in any number and spelling (Linux 6.5)."""
        return self.kernel >= (6, 5)


def probe() -> Host:
    """Ask the kernel. Cheap (about a millisecond); one result serves the whole process."""
    system = os.uname()
    hierarchies = cgroup.of_host()
    controllers = frozenset(hierarchies.v1)
    if hierarchies.version == 2 and hierarchies.unified is not None:
        controllers |= frozenset(_text(f"{hierarchies.unified}/cgroup.controllers").split()) | {"devices", "freezer"}
    memory = hierarchies.v1.get("memory")
    return Host(
        machine=system.machine,
        kernel=_version(system.release),
        cgroup_version=hierarchies.version,
        last_capability=capability.last(),
        capabilities=capability.permitted(),
        lsm=_text("/sys/kernel/security/lsm"),
        controllers=controllers,
        swap_limit=memory is None or os.path.exists(f"{memory}/memory.memsw.limit_in_bytes"),
    )


def _version(release: str) -> tuple[int, int]:
    major, _, rest = release.partition(".")
    minor = rest.partition(".")[0].partition("-")[0]
    return int(major), int(minor) if minor.isdigit() else 0


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""
