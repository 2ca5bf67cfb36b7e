"""What Docker knows and Onggi does not offer: each is refused in a sentence, none is taken and forgotten."""

from onggi.engine.container_config import ContainerConfig, HostConfig
from onggi.errors import InvalidParameter, Unsupported

LOG_DRIVERS = ("json-file", "none")
_JSON_FILE_OPTIONS = (
    "max-size",
    "max-file",
    "labels",
    "labels-regex",
    "env",
    "env-regex",
    "tag",
    "compress",
    "mode",
    "max-buffer-size",
)
_UNSUPPORTED_LOG_OPTIONS = ("labels", "labels-regex", "env", "env-regex", "tag", "compress", "max-buffer-size")


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
    _check_log(host)


def _check_log(host: HostConfig) -> None:
    driver = host.log_config.type
    if driver not in LOG_DRIVERS:
        raise InvalidParameter(f'error looking up logging plugin {driver}: plugin "{driver}" not found')
    for name, value in (host.log_config.config or {}).items():
        if driver == "json-file" and name not in _JSON_FILE_OPTIONS:
            raise InvalidParameter(f"unknown log opt '{name}' for {driver} log driver")
        if name in _UNSUPPORTED_LOG_OPTIONS or (name == "mode" and value != "blocking"):
            raise _refuse(f"the log option {name}", "json-file takes max-size and max-file")
