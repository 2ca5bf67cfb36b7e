"""What Docker knows and Onggi does not offer: each is refused in a sentence, none is taken and forgotten."""

from onggi.engine.container_config import ContainerConfig, HostConfig
from onggi.errors import InvalidParameter, Unsupported


def _refuse(what: str, hint: str) -> Unsupported:
    return Unsupported(f"{what} is not supported by Onggi: {hint}")


def check_config(config: ContainerConfig) -> None:
    """Raises Unsupported."""
    if config.args_escaped:
        raise _refuse("ArgsEscaped", "it exists for Windows only")


def check_host_config(host: HostConfig) -> None:
    """Raises Unsupported, or InvalidParameter where Docker refuses too."""
    if host.isolation not in ("", "default"):
        raise InvalidParameter(f"invalid isolation ({host.isolation}): linux only supports 'default'")
    if host.device_requests:
        request = host.device_requests[0]
        groups = " ".join("[" + " ".join(group) + "]" for group in request.capabilities or ())
        raise Unsupported(f'could not select device driver "{request.driver}" with capabilities: [{groups}]')
    if host.userns_mode not in ("", "host"):
        raise InvalidParameter("invalid user namespace mode: " + host.userns_mode)
    if host.storage_opt:
        raise _refuse("--storage-opt", "the container's layer takes what the data root's file system has")
    if host.container_id_file:
        raise _refuse("ContainerIDFile", "the file is written by the client; leave the member empty")
    if host.cgroup:
        raise _refuse("Cgroup", "use CgroupParent or CgroupnsMode")
    if host.cpu_realtime_period or host.cpu_realtime_runtime:
        raise _refuse("--cpu-rt-period and --cpu-rt-runtime", "the kernel's real-time group scheduling is not used")
    if host.cpu_count or host.cpu_percent or host.io_maximum_iops or host.io_maximum_bandwidth:
        raise _refuse("CpuCount, CpuPercent, IOMaximumIOps and IOMaximumBandwidth", "they exist for Windows only")
    if host.kernel_memory_tcp:
        raise _refuse("KernelMemoryTCP", "the kernel has given up this limit")
