"""`onggi doctor`: what this machine offers to an engine and what lacks, a line each, with the way out.

✓ there · ! there with a limit that will be felt · ✗ missing: the engine, or what the line names, will not work.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from onggi.engine.settings import Settings
from onggi.errors import OnggiError

GOOD, LIMITED, MISSING = "✓", "!", "✗"
LIBRARIES = ("aiohttp", "msgspec", "zstandard", "isal")
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts", "time")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "blkio", "devices", "freezer")
LEAST_KERNEL = (5, 12)
"""mount_setattr(2) came with 5.12; openat2(2) and clone into a cgroup before it."""
LOW_SPACE_BYTES = 2 << 30
CAPABILITIES = {21: "SYS_ADMIN", 12: "NET_ADMIN", 7: "SETUID", 6: "SETGID", 0: "CHOWN", 1: "DAC_OVERRIDE", 27: "MKNOD",
                18: "SYS_CHROOT", 8: "SETPCAP", 5: "KILL"}  # fmt: skip
CAP_SYS_RESOURCE = 24


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer."""

    mark: str
    subject: str
    text: str


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    yield Finding(GOOD if sys.version_info >= (3, 11) else MISSING, "python", f"{version} ({sys.executable})")
    for name in LIBRARIES:
        try:
            import_module(name)
        except ImportError as error:
            yield Finding(
                MISSING, "python", f"{name} can't be imported ({error}): install Onggi by pip, with what it needs"
            )


def _root() -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield Finding(GOOD, "rights", "root")
    else:
        yield Finding(MISSING, "rights", "not root: the engine needs it; a client alone does not (-H, DOCKER_HOST)")


def _capabilities() -> Iterator[Finding]:
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    have = int(status["CapEff"], 16)
    lacking = [name for number, name in CAPABILITIES.items() if not have >> number & 1]
    if lacking:
        yield Finding(MISSING, "capabilities", f"lacking: {', '.join(lacking)}; give them to whatever this runs in")
    else:
        yield Finding(GOOD, "capabilities", "all that an engine needs")
    if not have >> CAP_SYS_RESOURCE & 1:
        yield Finding(
            LIMITED, "capabilities", "no SYS_RESOURCE: limits stay below the hard ones, oom_score_adj can't be lowered"
        )
    if "Seccomp" in status:
        yield Finding(GOOD, "seccomp", "system call filters")
    else:
        yield Finding(MISSING, "seccomp", "this kernel has no filters: build it with CONFIG_SECCOMP_FILTER, "
                      "or run with --security-opt seccomp=unconfined")  # fmt: skip


def _kernel() -> Iterator[Finding]:
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers >= LEAST_KERNEL:
        yield Finding(GOOD, "kernel", release)
    else:
        yield Finding(MISSING, "kernel", f"{release}: {'.'.join(map(str, LEAST_KERNEL))} or newer is needed")
    missing = [name for name in NAMESPACES if not Path("/proc/self/ns", name).exists()]
    if missing:
        needed = [name for name in missing if name not in ("user", "time")]
        yield Finding(MISSING if needed else LIMITED, "namespaces", f"lacking: {', '.join(missing)}")
    else:
        yield Finding(GOOD, "namespaces", ", ".join(NAMESPACES))
    known = {line.split("\t")[1] for line in Path("/proc/filesystems").read_text().splitlines()}
    if "overlay" not in known and subprocess.run(["modprobe", "overlay"], capture_output=True, check=False).returncode:
        yield Finding(MISSING, "overlayfs", "not in this kernel: load the module overlay")
    else:
        yield Finding(GOOD, "overlayfs", "copy-on-write for containers")


def _cgroups() -> Iterator[Finding]:
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        have = set((root / "cgroup.controllers").read_text().split())
        wanted = {"cpu", "cpuset", "memory", "pids", "io"}
        text = "v2"
    else:
        have = {name for entry in root.iterdir() if entry.is_dir() for name in entry.name.split(",")}
        wanted = set(CONTROLLERS)
        text = "v1"
    if not have:
        yield Finding(MISSING, "cgroups", "none mounted at /sys/fs/cgroup: mount cgroup2 there")
    elif wanted - have:
        yield Finding(
            LIMITED, "cgroups", f"{text}, without {', '.join(sorted(wanted - have))}: those limits are refused"
        )
    else:
        yield Finding(GOOD, "cgroups", f"{text}: {', '.join(sorted(wanted))}")
    if not os.access(root, os.W_OK):
        yield Finding(MISSING, "cgroups", "/sys/fs/cgroup is read-only: no container can be limited or started")


def _network() -> Iterator[Finding]:
    nft = shutil.which("nft")
    if nft is None:
        yield Finding(MISSING, "nftables", "no program nft: install the package nftables")
    else:
        done = subprocess.run([nft, "list", "tables"], capture_output=True, text=True, check=False)
        if done.returncode:
            yield Finding(MISSING, "nftables", f"the kernel refuses: {done.stderr.strip()}")
        else:
            yield Finding(GOOD, "nftables", "own table for addresses and ports")
            yield from _other_firewalls(done.stdout)
    forward = Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()
    yield Finding(
        GOOD, "forwarding", "on" if forward == "1" else "off; the engine turns it on (--ip-forward=false: not)"
    )


def _other_firewalls(tables: str) -> Iterator[Finding]:
    if "table ip filter" in tables:
        done = subprocess.run(["nft", "list", "table", "ip", "filter"], capture_output=True, text=True, check=False)
        if "chain DOCKER-USER" in done.stdout:
            yield Finding(GOOD, "firewall", "Docker's: our bridge passes by a rule of ours in its chain DOCKER-USER")
        elif "hook forward" in done.stdout and "policy drop" in done.stdout:
            yield Finding(
                GOOD, "firewall", "table ip filter drops what is forwarded (ufw?): our bridges pass by rules of ours"
            )
    if "firewalld" in tables:
        if shutil.which("firewall-cmd") is None:
            yield Finding(
                LIMITED, "firewall", "firewalld, but no program firewall-cmd: put our bridges into its zone trusted"
            )
        else:
            yield Finding(GOOD, "firewall", "firewalld: the engine puts its bridges into the zone trusted")


def _disk(data_root: Path) -> Iterator[Finding]:
    there = data_root
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", str(there)], capture_output=True, text=True, check=False
    ).stdout.strip()
    if kind in ("overlayfs", "nfs", "tmpfs"):
        yield Finding(LIMITED, "data root", f"{data_root} lies on {kind}: use --data-root on a disk's own filesystem")
    else:
        yield Finding(GOOD, "data root", f"{data_root} on {kind}")
    mark = GOOD if free >= LOW_SPACE_BYTES else LIMITED
    yield Finding(mark, "space", f"{free / (1 << 30):.1f} GiB free for images and containers")


def findings(data_root: Path) -> Iterator[Finding]:
    """Look at everything, in the order a start would need it. What can't be looked at is a finding itself."""
    checks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("python", _python), ("rights", _root), ("kernel", _kernel), ("capabilities", _capabilities),
        ("cgroups", _cgroups), ("network", _network), ("data root", lambda: _disk(data_root)),
    )  # fmt: skip
    for subject, check in checks:
        try:
            yield from check()
        except (OSError, OnggiError, ValueError) as error:
            yield Finding(MISSING, subject, f"can't be looked at: {error}")


def lacking() -> list[Finding]:
    """What no engine can do without, of kernel and control groups, where it is missing. Cheap: asked at each start."""
    return [finding for check in (_kernel, _cgroups) for finding in check() if finding.mark == MISSING]


def main(arguments: Sequence[str]) -> int:
    """Print the findings. Returns 1 when something is missing, else 0."""
    parser = argparse.ArgumentParser(prog="onggi doctor", description="What this machine offers to an engine.")
    parser.add_argument(
        "--data-root", type=Path, default=Settings().data_root, help="where the engine's data would lie"
    )
    chosen = parser.parse_args(arguments)
    if sys.platform != "linux":
        print(
            f"{MISSING} system        {sys.platform}: an engine needs Linux; this client reaches one elsewhere (-H, DOCKER_HOST)"
        )
        return 1
    worst = 0
    for finding in findings(chosen.data_root):
        print(f"{finding.mark} {finding.subject:<13} {finding.text}")
        worst |= finding.mark == MISSING
    return int(worst)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
