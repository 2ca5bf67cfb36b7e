"""What `version` and `info` say of the engine and its machine."""

import asyncio
import os
import platform
import socket
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onggi
from onggi.engine import apparmor, runtimes
from onggi.engine.lifecycle import State
from onggi.engine.log_drivers import drivers
from onggi.linux import cgroup
from onggi.oci.spec import VERSION as SPEC_VERSION
from onggi.runtime import cdi

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

# Go's names of machines, which Docker and OCI use.
GO_ARCHITECTURES = {
    "x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "ppc64le": "ppc64le", "s390x": "s390x",
    "riscv64": "riscv64", "loongarch64": "loong64",
}  # fmt: skip
NETWORK_PLUGINS = ("bridge", "host", "null")
INDEX = "https://index.docker.io/v1/"


def architecture() -> str:
    machine = os.uname().machine
    return GO_ARCHITECTURES.get(machine, machine)


def version(api_version: str, oldest_api_version: str) -> Mapping[str, Any]:
    """As GET /version answers it."""
    kernel = os.uname().release
    details = {
        "ApiVersion": api_version,
        "Arch": architecture(),
        "BuildTime": "",
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": "",
        "KernelVersion": kernel,
        "MinAPIVersion": oldest_api_version,
        "Os": "linux",
    }
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return {
        "Platform": {"Name": "Onggi"},
        "Components": [
            {"Name": "Engine", "Version": onggi.__version__, "Details": details},
            {"Name": "onggi-runtime", "Version": onggi.__version__, "Details": {"RuntimeSpec": SPEC_VERSION}},
            {"Name": "Python", "Version": python, "Details": {}},
        ],
        "Version": onggi.__version__,
        "ApiVersion": api_version,
        "MinAPIVersion": oldest_api_version,
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": architecture(),
        "KernelVersion": kernel,
        "BuildTime": "",
    }


class SystemInfo:
    """The facts of one engine. What cannot change while it runs is read once."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._fixed: dict[str, Any] | None = None

    async def info(self) -> Mapping[str, Any]:
        """As GET /info answers it."""
        engine = self._engine
        states = Counter(container.state for container in engine.containers.all())
        loop = asyncio.get_running_loop()
        if self._fixed is None:
            self._fixed = await loop.run_in_executor(None, self._read_fixed)
        discovered = await loop.run_in_executor(None, self._discovered)
        running, paused = states[State.RUNNING] + states[State.RESTARTING], states[State.PAUSED]
        return (
            self._fixed
            | discovered
            | {
                "Containers": states.total(),
                "ContainersRunning": running,
                "ContainersPaused": paused,
                "ContainersStopped": states.total() - running - paused,
                "Images": len(engine.images.all()),
                "IPv4Forwarding": _read("/proc/sys/net/ipv4/ip_forward") == "1",
                "NFd": len(os.listdir("/proc/self/fd")),
                "NGoroutines": len(asyncio.all_tasks()),
                "NEventsListener": engine.events.followers,
                "SystemTime": datetime.fromtimestamp(time.time(), UTC).isoformat().replace("+00:00", "Z"),
            }
        )

    def _discovered(self) -> dict[str, Any]:
        """Devices that vendors have described; no member where there are none, as Docker shows it."""
        names = cdi.read(self._engine.settings.cdi_spec_dirs).names()
        return {"DiscoveredDevices": [{"Source": "cdi", "ID": name} for name in names]} if names else {}

    def _read_fixed(self) -> dict[str, Any]:
        settings = self._engine.settings
        release = os_release()
        uname = os.uname()
        return {
            "ID": engine_id(settings.data_root),
            "Driver": "overlay2",
            "DriverStatus": [["Backing Filesystem", filesystem_of(settings.data_root)]],
            "Plugins": {
                "Volume": ["local"],
                "Network": list(NETWORK_PLUGINS),
                "Authorization": None,
                "Log": list(drivers.NAMES),
            },
            **_limits(),
            "Debug": settings.debug,
            "LoggingDriver": settings.log_driver,
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": str(cgroup.of_host().version),
            "KernelVersion": uname.release,
            "OperatingSystem": release.get("PRETTY_NAME", "Linux"),
            "OSVersion": release.get("VERSION_ID", ""),
            "OSType": "linux",
            "Architecture": uname.machine,
            "IndexServerAddress": INDEX,
            "RegistryConfig": _registries(settings.insecure_registries, settings.registry_mirrors),
            "NCPU": os.sysconf("SC_NPROCESSORS_ONLN"),
            "MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "GenericResources": None,
            "DockerRootDir": str(settings.data_root),
            "HttpProxy": _without_password(settings.http_proxy),
            "HttpsProxy": _without_password(settings.https_proxy),
            "NoProxy": settings.no_proxy,
            "Name": socket.gethostname(),
            "Labels": list(settings.labels),
            "ExperimentalBuild": False,
            "ServerVersion": onggi.__version__,
            "Runtimes": runtimes.described(settings),
            "DefaultRuntime": settings.default_runtime,
            "Swarm": {
                "NodeID": "",
                "NodeAddr": "",
                "LocalNodeState": "inactive",
                "ControlAvailable": False,
                "Error": "",
                "RemoteManagers": None,
            },
            "LiveRestoreEnabled": settings.live_restore,
            "Isolation": "",
            "InitBinary": "",
            "ContainerdCommit": {"ID": ""},
            "RuncCommit": {"ID": ""},
            "InitCommit": {"ID": ""},
            "SecurityOptions": [
                *(["name=apparmor"] if apparmor.default_profile() else []),
                "name=seccomp,profile=builtin",
                "name=cgroupns",
            ],
            "FirewallBackend": {"Driver": "nftables"},
            "CDISpecDirs": list(settings.cdi_spec_dirs),
            "Warnings": _warnings(),
        }


def engine_id(data_root: Path) -> str:
    """A UUID that stays with the data root."""
    path = data_root / "engine-id"
    try:
        return str(uuid.UUID(path.read_text().strip()))
    except (FileNotFoundError, ValueError):
        made = str(uuid.uuid4())
        draft = path.with_suffix(".new")
        draft.write_text(f"{made}\n")
        draft.replace(path)
        return made


def os_release() -> Mapping[str, str]:
    """The fields of os-release(5)."""
    for place in ("/etc/os-release", "/usr/lib/os-release"):
        text = _read(place)
        if text:
            pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
            return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}
    return {}


def filesystem_of(path: Path) -> str:
    """The kernel's name of the file system that `path` lies on, by the longest mount point above it."""
    place, found = path.resolve(), ("", "unknown")
    for line in _read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        mount_point = before.split()[4].encode().decode("unicode_escape")
        if place.is_relative_to(mount_point) and len(mount_point) >= len(found[0]):
            found = (mount_point, after.split()[0])
    return found[1]


def _limits() -> Mapping[str, bool]:
    """Which limits this machine's control groups offer."""
    hierarchies = cgroup.of_host()
    if hierarchies.version == 1:
        memory, cpu = hierarchies.v1.get("memory"), hierarchies.v1.get("cpu")
        return {
            "MemoryLimit": memory is not None,
            "SwapLimit": _exists(memory, "memory.memsw.limit_in_bytes"),
            "CpuCfsPeriod": _exists(cpu, "cpu.cfs_period_us"),
            "CpuCfsQuota": _exists(cpu, "cpu.cfs_quota_us"),
            "CPUShares": _exists(cpu, "cpu.shares"),
            "CPUSet": "cpuset" in hierarchies.v1,
            "KernelMemoryTCP": _exists(memory, "memory.kmem.tcp.limit_in_bytes"),
            "PidsLimit": "pids" in hierarchies.v1,
            "OomKillDisable": _exists(memory, "memory.oom_control"),
        }
    offered = _read(f"{hierarchies.unified}/cgroup.controllers").split()
    cpu_offered = "cpu" in offered
    return {
        "MemoryLimit": "memory" in offered,
        "SwapLimit": "memory" in offered and os.path.exists("/proc/swaps"),
        "CpuCfsPeriod": cpu_offered,
        "CpuCfsQuota": cpu_offered,
        "CPUShares": cpu_offered,
        "CPUSet": "cpuset" in offered,
        "PidsLimit": "pids" in offered,
        "OomKillDisable": False,
    }


_WARNINGS = {
    "MemoryLimit": "WARNING: No memory limit support",
    "SwapLimit": "WARNING: No swap limit support",
    "CpuCfsPeriod": "WARNING: No cpu cfs period support",
    "CpuCfsQuota": "WARNING: No cpu cfs quota support",
    "CPUShares": "WARNING: No cpu shares support",
    "CPUSet": "WARNING: No cpuset support",
    "PidsLimit": "WARNING: No pids limit support",
}


def _warnings() -> Sequence[str]:
    limits = _limits()
    return [sentence for name, sentence in _WARNINGS.items() if not limits[name]]


def _registries(insecure: Sequence[str], mirrors: Sequence[str]) -> Mapping[str, Any]:
    networks = [entry for entry in insecure if "/" in entry]
    hosts = [entry for entry in insecure if "/" not in entry]
    configurations = {name: {"Name": name, "Mirrors": [], "Secure": False, "Official": False} for name in hosts} | {
        "docker.io": {"Name": "docker.io", "Mirrors": list(mirrors), "Secure": True, "Official": True}
    }
    return {"IndexConfigs": configurations, "InsecureRegistryCIDRs": networks, "Mirrors": list(mirrors)}


def _without_password(url: str) -> str:
    """A proxy's URL may hold credentials; `info` is shown to many."""
    scheme, separator, rest = url.partition("://")
    credentials, at, host = rest.rpartition("@")
    return f"{scheme}{separator}xxxxx:xxxxx@{host}" if at and credentials else url


def _exists(directory: str | None, name: str) -> bool:
    """On v1 a file's absence from the root group may only mean that the root has no such limit: look at a child too."""
    if directory is None:
        return False
    if os.path.exists(os.path.join(directory, name)):
        return True
    with os.scandir(directory) as entries:
        return any(entry.is_dir() and os.path.exists(os.path.join(entry.path, name)) for entry in entries)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""
