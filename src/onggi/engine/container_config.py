"""What a container was asked to be: Docker's `Config`, `HostConfig` and `NetworkingConfig`, member for member.

The API decodes a create request straight into these and `inspect` writes them back in Docker's order. `None` and an
empty list differ, as `null` and `[]` do in Docker's answers. Unknown members are ignored, as Docker ignores them;
known ones that Onggi does not offer are refused by `engine.unsupported`.
Source: Docker Engine API 1.51 (ContainerConfig, HostConfig, EndpointSettings), moby api/types/container.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

_NAMES = {
    "container_id_file": "ContainerIDFile",
    "uts_mode": "UTSMode",
    "blkio_device_read_iops": "BlkioDeviceReadIOps",
    "blkio_device_write_iops": "BlkioDeviceWriteIOps",
    "io_maximum_iops": "IOMaximumIOps",
    "io_maximum_bandwidth": "IOMaximumBandwidth",
    "kernel_memory_tcp": "KernelMemoryTCP",
    "device_ids": "DeviceIDs",
    "ipam_config": "IPAMConfig",
    "network_id": "NetworkID",
    "endpoint_id": "EndpointID",
    "ip_address": "IPAddress",
    "ip_prefix_len": "IPPrefixLen",
    "ipv6_gateway": "IPv6Gateway",
    "global_ipv6_address": "GlobalIPv6Address",
    "global_ipv6_prefix_len": "GlobalIPv6PrefixLen",
    "dns_names": "DNSNames",
    "ipv4_address": "IPv4Address",
    "ipv6_address": "IPv6Address",
    "link_local_ips": "LinkLocalIPs",
}


def docker_name(field: str) -> str:
    """The member name of Docker's JSON for a field: CamelCase, but for the initials that Docker writes large."""
    return _NAMES.get(field) or "".join(word.capitalize() for word in field.split("_"))


class DockerObject(msgspec.Struct, frozen=True, rename=docker_name):
    """A JSON object of Docker's. `OMITTED` names the members that Docker leaves out while they are empty."""

    OMITTED: ClassVar[frozenset[str]] = frozenset()

    def document(self) -> dict[str, Any]:
        """This object as Docker's answers show it."""
        document: dict[str, Any] = _document(self)
        return document


def _document(value: Any) -> Any:
    if isinstance(value, DockerObject):
        omitted = value.OMITTED
        return {
            info: _document(member)
            for info, member in zip(value.__struct_encode_fields__, msgspec.structs.astuple(value), strict=True)
            if member or info not in omitted
        }
    if isinstance(value, Mapping):
        return {key: _document(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_document(member) for member in value]
    return value


class HealthConfig(DockerObject, frozen=True):
    """A health check; durations in nanoseconds, 0 inherits the default."""

    OMITTED = frozenset({"Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"})

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ContainerConfig(DockerObject, frozen=True):
    """What does not depend on the host."""

    OMITTED = frozenset(
        {"ExposedPorts", "ArgsEscaped", "Healthcheck", "NetworkDisabled", "MacAddress", "StopSignal", "StopTimeout"}
        | {"Shell"}
    )

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, Any] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | str | None = None
    healthcheck: HealthConfig | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, Any] | None = None
    working_dir: str = ""
    entrypoint: list[str] | str | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: list[str] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: list[str] | None = None

    @property
    def command(self) -> list[str] | None:
        """`cmd` as a list: Docker takes a bare string for a list of one."""
        return [self.cmd] if isinstance(self.cmd, str) else self.cmd

    @property
    def entry(self) -> list[str] | None:
        """`entrypoint` as a list."""
        return [self.entrypoint] if isinstance(self.entrypoint, str) else self.entrypoint

    def argv(self) -> list[str]:
        """The program to run and its arguments."""
        return [*(self.entry or ()), *(self.command or ())]


class LogConfig(DockerObject, frozen=True):
    type: str = ""
    config: dict[str, str] | None = None


class PortBinding(DockerObject, frozen=True):
    """One published port: the host's address ("" is every one) and port ("" is a free one; or a range "80-90")."""

    host_ip: str = ""
    host_port: str = ""


class RestartPolicy(DockerObject, frozen=True):
    name: str = ""
    maximum_retry_count: int = 0


class WeightDevice(DockerObject, frozen=True):
    path: str = ""
    weight: int = 0


class ThrottleDevice(DockerObject, frozen=True):
    path: str = ""
    rate: int = 0


class DeviceMapping(DockerObject, frozen=True):
    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class DeviceRequest(DockerObject, frozen=True):
    driver: str = ""
    count: int = 0
    device_ids: list[str] | None = None
    capabilities: list[list[str]] | None = None
    options: dict[str, str] | None = None


class Ulimit(DockerObject, frozen=True):
    """A resource limit; -1 is unlimited."""

    name: str = ""
    hard: int = 0
    soft: int = 0


class BindOptions(DockerObject, frozen=True):
    OMITTED = frozenset(
        {"Propagation", "NonRecursive", "CreateMountpoint", "ReadOnlyNonRecursive", "ReadOnlyForceRecursive"}
    )

    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class VolumeDriverConfig(DockerObject, frozen=True):
    OMITTED = frozenset({"Name", "Options"})

    name: str = ""
    options: dict[str, str] | None = None


class VolumeOptions(DockerObject, frozen=True):
    OMITTED = frozenset({"NoCopy", "Labels", "Subpath", "DriverConfig"})

    no_copy: bool = False
    labels: dict[str, str] | None = None
    subpath: str = ""
    driver_config: VolumeDriverConfig | None = None


class ImageOptions(DockerObject, frozen=True):
    OMITTED = frozenset({"Subpath"})

    subpath: str = ""


class TmpfsOptions(DockerObject, frozen=True):
    OMITTED = frozenset({"SizeBytes", "Mode", "Options"})

    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] | None = None


class Mount(DockerObject, frozen=True):
    """One `--mount`."""

    OMITTED = frozenset(
        {"Type", "Source", "Target", "ReadOnly", "Consistency", "BindOptions", "VolumeOptions", "ImageOptions"}
        | {"TmpfsOptions"}
    )

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class Resources(DockerObject, frozen=True):
    """Limits: sizes in bytes, CPU periods in microseconds, `nano_cpus` in 1e-9 CPUs; what `update` can change."""

    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = None
    blkio_device_write_iops: list[ThrottleDevice] | None = None
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    kernel_memory: int = 0
    kernel_memory_tcp: int = 0
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = 0
    io_maximum_bandwidth: int = 0


class HostConfig(DockerObject, frozen=True):
    """What depends on the host. The members of `Resources` are repeated in Docker's order, as Docker shows them."""

    OMITTED = frozenset(
        {"Annotations", "KernelMemory", "KernelMemoryTCP", "Mounts", "StorageOpt", "Tmpfs", "Sysctls", "Runtime"}
        | {"Init"}
    )

    binds: list[str] | None = None
    container_id_file: str = ""
    log_config: LogConfig = LogConfig()
    network_mode: str = ""
    port_bindings: dict[str, list[PortBinding] | None] | None = None
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: list[str] | None = None
    console_size: tuple[int, int] = (0, 0)
    annotations: dict[str, str] | None = None
    cap_add: list[str] | str | None = None
    cap_drop: list[str] | str | None = None
    cgroupns_mode: str = ""
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: list[str] | None = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: list[str] | None = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str = ""
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] | None = None
    runtime: str = ""
    isolation: str = ""
    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = None
    blkio_device_write_iops: list[ThrottleDevice] | None = None
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: list[DeviceMapping] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    kernel_memory: int = 0
    kernel_memory_tcp: int = 0
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = 0
    io_maximum_bandwidth: int = 0
    mounts: list[Mount] | None = None
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    init: bool | None = None


class EndpointIPAMConfig(DockerObject, frozen=True):
    OMITTED = frozenset({"IPv4Address", "IPv6Address", "LinkLocalIPs"})

    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_ips: list[str] | None = None


class EndpointSettings(DockerObject, frozen=True):
    """One container on one network: what was asked (first half), and what it got."""

    ipam_config: EndpointIPAMConfig | None = None
    links: list[str] | None = None
    aliases: list[str] | None = None
    mac_address: str = ""
    driver_opts: dict[str, str] | None = None
    gw_priority: int = 0
    network_id: str = ""
    endpoint_id: str = ""
    gateway: str = ""
    ip_address: str = ""
    ip_prefix_len: int = 0
    ipv6_gateway: str = ""
    global_ipv6_address: str = ""
    global_ipv6_prefix_len: int = 0
    dns_names: list[str] | None = None


class NetworkingConfig(DockerObject, frozen=True):
    endpoints_config: dict[str, EndpointSettings | None] | None = None
