"""HostConfig's limits as cgroup settings, computed as Docker computes them. (moby: daemon/daemon_unix.go, oci_linux.go)"""

import os
import stat
from collections.abc import Sequence

from onggi.engine.container_config import DeviceMapping, HostConfig, ThrottleDevice
from onggi.errors import InvalidParameter, System
from onggi.oci import spec as oci

_PERIOD_US = 100_000
_ALL_DEVICES = oci.LinuxDeviceCgroup(allow=True, type="a", access="rwm")
DEFAULT_DEVICE_RULES: tuple[oci.LinuxDeviceCgroup, ...] = (
    oci.LinuxDeviceCgroup(allow=False, type="a", access="rwm"),
    *(
        oci.LinuxDeviceCgroup(allow=True, type="c", major=major, minor=minor, access="rwm")
        # null, zero, full, random, urandom, tty, console, ptmx, pts/*
        for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, -1))
    ),
    oci.LinuxDeviceCgroup(allow=True, type="c", major=-1, minor=-1, access="m"),
    oci.LinuxDeviceCgroup(allow=True, type="b", major=-1, minor=-1, access="m"),
)


def _cpu(host: HostConfig) -> oci.LinuxCPU | None:
    period = host.cpu_period or None
    quota = host.cpu_quota or None
    if host.nano_cpus:
        period, quota = _PERIOD_US, host.nano_cpus * _PERIOD_US // 1_000_000_000
    shares = host.cpu_shares or None
    if shares is not None:
        shares = min(max(shares, 2), 262_144)  # what the kernel takes
    given = (
        period,
        quota,
        shares,
        host.cpuset_cpus,
        host.cpuset_mems,
        host.cpu_realtime_period,
        host.cpu_realtime_runtime,
    )
    if not any(given):
        return None
    return oci.LinuxCPU(
        shares=shares,
        quota=quota,
        period=period,
        realtime_runtime=host.cpu_realtime_runtime or None,
        realtime_period=host.cpu_realtime_period or None,
        cpus=host.cpuset_cpus,
        mems=host.cpuset_mems,
    )


def _memory(host: HostConfig) -> oci.LinuxMemory | None:
    swappiness = host.memory_swappiness if (host.memory_swappiness or 0) > 0 or host.memory_swappiness == 0 else None
    given = (host.memory, host.memory_reservation, host.memory_swap, host.oom_kill_disable)
    if not any(given) and swappiness is None:
        return None
    return oci.LinuxMemory(
        limit=host.memory or None,
        reservation=host.memory_reservation or None,
        swap=host.memory_swap or None,
        swappiness=swappiness,
        disable_oom_killer=host.oom_kill_disable or None,
    )


def _block_device(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError as error:
        raise InvalidParameter(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if not stat.S_ISBLK(found.st_mode):
        raise InvalidParameter(f"{path}: not a block device")
    return os.major(found.st_rdev), os.minor(found.st_rdev)


def _throttles(devices: Sequence[ThrottleDevice] | None) -> tuple[oci.ThrottleDevice, ...]:
    return tuple(oci.ThrottleDevice(*_block_device(device.path), device.rate) for device in devices or ())


def _block_io(host: HostConfig) -> oci.LinuxBlockIO | None:
    given = (
        host.blkio_weight, host.blkio_weight_device, host.blkio_device_read_bps, host.blkio_device_write_bps,
        host.blkio_device_read_iops, host.blkio_device_write_iops,
    )  # fmt: skip
    if not any(given):
        return None
    return oci.LinuxBlockIO(
        weight=host.blkio_weight or None,
        weight_device=tuple(
            oci.WeightDevice(*_block_device(device.path), device.weight) for device in host.blkio_weight_device or ()
        ),
        throttle_read_bps_device=_throttles(host.blkio_device_read_bps),
        throttle_write_bps_device=_throttles(host.blkio_device_write_bps),
        throttle_read_iops_device=_throttles(host.blkio_device_read_iops),
        throttle_write_iops_device=_throttles(host.blkio_device_write_iops),
    )


def limits(host: HostConfig) -> oci.LinuxResources:
    """What `update` may change; device rules are added by `device_rules`."""
    pids = host.pids_limit if host.pids_limit and host.pids_limit > 0 else None
    return oci.LinuxResources(
        memory=_memory(host),
        cpu=_cpu(host),
        pids=oci.LinuxPids(limit=pids) if pids else None,
        block_io=_block_io(host),
    )


def _rule(text: str) -> oci.LinuxDeviceCgroup:
    """`c 13:* rwm`. Raises InvalidParameter with Docker's sentence."""
    parts = text.split()
    numbers = parts[1].split(":") if len(parts) == 3 else []
    valid = (
        len(numbers) == 2
        and parts[0] in ("a", "b", "c")
        and all(number == "*" or (number.isascii() and number.isdigit()) for number in numbers)
        and 0 < len(parts[2]) <= 3
        and set(parts[2]) <= set("rwm")
    )
    if not valid:
        raise InvalidParameter(f"invalid device cgroup rule format: '{text}'")
    major, minor = (-1 if number == "*" else int(number) for number in numbers)
    return oci.LinuxDeviceCgroup(allow=True, type=parts[0], major=major, minor=minor, access=parts[2])


def _node(path: str, into: str, permissions: str) -> tuple[oci.Device, oci.LinuxDeviceCgroup]:
    found = os.stat(path)
    kind = "b" if stat.S_ISBLK(found.st_mode) else "c"
    major, minor = os.major(found.st_rdev), os.minor(found.st_rdev)
    device = oci.Device(
        type=kind,
        path=into,
        major=major,
        minor=minor,
        file_mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
    )
    return device, oci.LinuxDeviceCgroup(allow=True, type=kind, major=major, minor=minor, access=permissions)


def _nodes(mapping: DeviceMapping) -> list[tuple[oci.Device, oci.LinuxDeviceCgroup]]:
    """A device, or every one in a directory. Raises System with Docker's sentence."""
    source, into = mapping.path_on_host, mapping.path_in_container or mapping.path_on_host
    permissions = mapping.cgroup_permissions or "rwm"
    if not set(permissions) <= set("rwm"):
        raise InvalidParameter(f"invalid device mode: {permissions}")
    try:
        resolved = os.path.realpath(source, strict=True)
        mode = os.stat(resolved).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            return [_node(resolved, into, permissions)]
        if stat.S_ISDIR(mode):
            return [
                _node(path, into + path.removeprefix(resolved), permissions)
                for path in sorted(_devices_below(resolved))
            ]
    except OSError as error:
        raise System(
            f'error gathering device information while adding custom device "{source}": '
            f"{(error.strerror or str(error)).lower()}"
        ) from error
    raise System(f'error gathering device information while adding custom device "{source}": not a device node')


def _devices_below(directory: str) -> list[str]:
    found = []
    for parent, directories, files in os.walk(directory):
        # What a container gets of its own (moby: opencontainers/runc libcontainer/devices).
        directories[:] = [
            name for name in directories if name not in ("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev")
        ]
        for name in files:
            path = os.path.join(parent, name)
            mode = os.lstat(path).st_mode
            if name != "console" and (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
                found.append(path)
    return found


def devices(host: HostConfig) -> tuple[tuple[oci.Device, ...], tuple[oci.LinuxDeviceCgroup, ...]]:
    """The nodes to make beside the default ones, and which devices may be used."""
    if host.privileged:
        nodes = []
        for path in sorted(_devices_below("/dev")):
            try:
                nodes.append(_node(path, path, "rwm")[0])
            except FileNotFoundError:
                continue  # unplugged between listing and look
        extra = [node for mapping in host.devices or () for node, _ in _nodes(mapping)]
        by_path = {node.path: node for node in (*nodes, *extra)}
        return tuple(by_path.values()), (_ALL_DEVICES,)
    pairs = [pair for mapping in host.devices or () for pair in _nodes(mapping)]
    rules = [rule for _, rule in pairs] + [_rule(text) for text in host.device_cgroup_rules or ()]
    return tuple(node for node, _ in pairs), (*DEFAULT_DEVICE_RULES, *rules)
