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
    if host.userns_mode not in ("", "host"):
        raise InvalidParameter("invalid user namespace mode: " + host.userns_mode)
    for name in host.storage_opt or ():
        if name.lower() != "size":
            raise InvalidParameter(f"Unknown option {name}")
        raise Unsupported("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")
    if host.cgroup:
        raise _refuse("Cgroup", "use CgroupParent or CgroupnsMode")
    if host.cpu_count or host.cpu_percent or host.io_maximum_iops or host.io_maximum_bandwidth:
        raise _refuse("CpuCount, CpuPercent, IOMaximumIOps and IOMaximumBandwidth", "they exist for Windows only")
    if host.kernel_memory_tcp:
        raise _refuse("KernelMemoryTCP", "the kernel has given up this limit")
