"""Resource limits of the runtime specification as writes to control-group files (config-linux.md, Control groups)."""

from onggi.errors import InvalidParameter, Unsupported
from onggi.oci.spec import LinuxBlockIO, LinuxCPU, LinuxMemory, LinuxResources, ThrottleDevice
from onggi.runtime import devices
from onggi.runtime.host import Host

Writes = list[tuple[str, str, str]]
"""Controller, file, value; in the order in which the kernel takes them."""

_LARGEST_SHARES = 262144


def writes(resources: LinuxResources, host: Host) -> Writes:
    """Every limit that `resources` names. Devices are left to the caller: they differ in kind between v1 and v2.

    Raises InvalidParameter for values out of range, Unsupported for a limit that this machine has no controller for.
    """
    found: Writes = []
    version_2 = host.cgroup_version == 2
    if resources.memory is not None:
        found += _memory_2(resources.memory) if version_2 else _memory_1(resources.memory, host)
    if resources.cpu is not None:
        found += _cpu_2(resources.cpu) if version_2 else _cpu_1(resources.cpu)
    if resources.pids is not None and resources.pids.limit is not None:
        limit = resources.pids.limit
        found.append(("pids", "pids.max", "max" if limit <= 0 else str(limit)))
    if resources.block_io is not None:
        found += _block_2(resources.block_io) if version_2 else _block_1(resources.block_io)
    for hugepage in resources.hugepage_limits:
        suffix = "max" if version_2 else "limit_in_bytes"
        found.append(("hugetlb", f"hugetlb.{hugepage.page_size}.{suffix}", str(hugepage.limit)))
    if resources.network is not None:
        if resources.network.class_id:
            found.append(("net_cls", "net_cls.classid", str(resources.network.class_id)))
        for priority in resources.network.priorities:
            found.append(("net_prio", "net_prio.ifpriomap", f"{priority.name} {priority.priority}"))
    for device, rdma in resources.rdma.items():
        handles = "max" if rdma.hca_handles is None else rdma.hca_handles
        objects = "max" if rdma.hca_objects is None else rdma.hca_objects
        found.append(("rdma", "rdma.max", f"{device} hca_handle={handles} hca_object={objects}"))
    found += _unified(resources.unified, host)
    for controller, file, _ in found:
        if controller not in host.controllers:
            raise Unsupported(f"this machine has no cgroup controller {controller!r}, which {file} needs")
    return found


def device_writes(resources: LinuxResources | None, host: Host) -> tuple[Writes, bytes]:
    """(writes for v1, program for v2) of the spec's device rules and what every container may open besides."""
    rules = (*(resources.devices if resources else ()), *devices.DEFAULT_RULES)
    if host.cgroup_version == 2:
        return [], devices.version_2(rules)
    if "devices" not in host.controllers:
        raise Unsupported("this machine has no cgroup controller 'devices': access to devices cannot be limited")
    return devices.version_1(rules), b""


def _memory_1(memory: LinuxMemory, host: Host) -> Writes:
    found: Writes = []
    if memory.limit is not None:
        found.append(("memory", "memory.limit_in_bytes", str(memory.limit)))
    swap = memory.swap
    if swap is None and memory.limit == -1:
        swap = -1
    if swap:
        if host.swap_limit:
            found.append(("memory", "memory.memsw.limit_in_bytes", str(swap)))
        elif swap > 0:
            raise Unsupported("this machine's kernel does not limit swap (swapaccount=0)")
    if memory.reservation is not None:
        found.append(("memory", "memory.soft_limit_in_bytes", str(memory.reservation)))
    if memory.swappiness is not None:
        if not 0 <= memory.swappiness <= 100:
            raise InvalidParameter(f"invalid memory swappiness value: {memory.swappiness} (valid range is 0-100)")
        found.append(("memory", "memory.swappiness", str(memory.swappiness)))
    if memory.disable_oom_killer:
        found.append(("memory", "memory.oom_control", "1"))
    if memory.kernel_tcp is not None:
        found.append(("memory", "memory.kmem.tcp.limit_in_bytes", str(memory.kernel_tcp)))
    return found


def _memory_2(memory: LinuxMemory) -> Writes:
    found: Writes = []
    if memory.swap is not None and memory.swap != 0:
        if memory.swap < 0:
            found.append(("memory", "memory.swap.max", "max"))
        elif memory.limit is None or memory.limit < 0:
            raise InvalidParameter("memory+swap is limited but memory is not")
        elif memory.swap < memory.limit:
            raise InvalidParameter("memory+swap limit should be larger than memory limit")
        else:
            found.append(("memory", "memory.swap.max", str(memory.swap - memory.limit)))
    elif memory.limit == -1:
        found.append(("memory", "memory.swap.max", "max"))
    if memory.limit is not None:
        found.append(("memory", "memory.max", "max" if memory.limit < 0 else str(memory.limit)))
    if memory.reservation is not None:
        found.append(("memory", "memory.low", "max" if memory.reservation < 0 else str(memory.reservation)))
    if memory.disable_oom_killer:
        raise Unsupported("the OOM killer cannot be disabled with cgroup v2")
    return found


def _cpu_1(cpu: LinuxCPU) -> Writes:
    found: Writes = []
    if cpu.shares:
        found.append(("cpu", "cpu.shares", str(cpu.shares)))
    if cpu.period:
        found.append(("cpu", "cpu.cfs_period_us", str(cpu.period)))
    if cpu.quota:
        found.append(("cpu", "cpu.cfs_quota_us", str(cpu.quota)))
    if cpu.burst is not None:
        found.append(("cpu", "cpu.cfs_burst_us", str(cpu.burst)))
    if cpu.realtime_period:
        found.append(("cpu", "cpu.rt_period_us", str(cpu.realtime_period)))
    if cpu.realtime_runtime:
        found.append(("cpu", "cpu.rt_runtime_us", str(cpu.realtime_runtime)))
    if cpu.idle is not None:
        found.append(("cpu", "cpu.idle", str(cpu.idle)))
    return found + _cpuset(cpu)


def _cpu_2(cpu: LinuxCPU) -> Writes:
    found: Writes = []
    if cpu.realtime_period or cpu.realtime_runtime:
        raise Unsupported("realtime limits do not exist with cgroup v2")
    if cpu.idle is not None:
        found.append(("cpu", "cpu.idle", str(cpu.idle)))
    elif cpu.shares:
        shares = min(max(cpu.shares, 2), _LARGEST_SHARES)
        found.append(("cpu", "cpu.weight", str(1 + (shares - 2) * 9999 // (_LARGEST_SHARES - 2))))
    if cpu.quota or cpu.period:
        quota = "max" if not cpu.quota or cpu.quota < 0 else str(cpu.quota)
        found.append(("cpu", "cpu.max", f"{quota} {cpu.period or 100000}"))
    if cpu.burst is not None:
        found.append(("cpu", "cpu.max.burst", str(cpu.burst)))
    return found + _cpuset(cpu)


def _cpuset(cpu: LinuxCPU) -> Writes:
    return [("cpuset", f"cpuset.{key}", value) for key, value in (("cpus", cpu.cpus), ("mems", cpu.mems)) if value]


def _block_1(block: LinuxBlockIO) -> Writes:
    found: Writes = []
    if block.weight:
        found.append(("blkio", "blkio.bfq.weight", str(block.weight)))
    if block.leaf_weight or any(device.leaf_weight for device in block.weight_device):
        raise Unsupported("leaf weights of block devices do not exist since Linux 5.0")
    for device in block.weight_device:
        found.append(("blkio", "blkio.bfq.weight_device", f"{device.major}:{device.minor} {device.weight}"))
    for file, throttles in _throttles(block):
        found += [("blkio", f"blkio.throttle.{file}_device", _throttle(device)) for device in throttles]
    return found


def _block_2(block: LinuxBlockIO) -> Writes:
    found: Writes = []
    if block.weight:
        found.append(("io", "io.bfq.weight", str(block.weight)))
    if block.leaf_weight or any(device.leaf_weight for device in block.weight_device):
        raise Unsupported("leaf weights of block devices do not exist with cgroup v2")
    for device in block.weight_device:
        found.append(("io", "io.bfq.weight", f"{device.major}:{device.minor} {device.weight}"))
    names = {"read_bps": "rbps", "write_bps": "wbps", "read_iops": "riops", "write_iops": "wiops"}
    for file, throttles in _throttles(block):
        for throttle in throttles:
            value = f"{throttle.major}:{throttle.minor} {names[file]}={throttle.rate or 'max'}"
            found.append(("io", "io.max", value))
    return found


def _throttles(block: LinuxBlockIO) -> tuple[tuple[str, tuple[ThrottleDevice, ...]], ...]:
    return (
        ("read_bps", block.throttle_read_bps_device),
        ("write_bps", block.throttle_write_bps_device),
        ("read_iops", block.throttle_read_iops_device),
        ("write_iops", block.throttle_write_iops_device),
    )


def _throttle(device: ThrottleDevice) -> str:
    return f"{device.major}:{device.minor} {device.rate}"


def _unified(values: dict[str, str], host: Host) -> Writes:
    if values and host.cgroup_version != 2:
        raise Unsupported("`unified` resources need cgroup v2, and this machine has v1")
    found: Writes = []
    for file, value in values.items():
        if "/" in file or "." not in file:
            raise InvalidParameter(f"unified resource {file!r} must be a file name without slashes")
        found += [(file.partition(".")[0], file, line) for line in value.splitlines()]
    return found
