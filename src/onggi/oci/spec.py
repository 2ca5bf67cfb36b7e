"""The OCI runtime specification's config.json as types (runtime-spec: config.md, config-linux.md).

`decode` validates once, at the edge; unknown members are ignored, as the specification demands. `encode` leaves out
what has its default value.
"""

from typing import Any

import msgspec

from onggi.errors import InvalidParameter

VERSION = "1.2.0"
"""Version of the runtime specification that Onggi writes and implements."""


class _Struct(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    pass


class User(_Struct, frozen=True):
    """Who the process runs as: numbers. `username` is a text in Docker's form, resolved inside the root by init."""

    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()
    username: str = ""
    """`name`, `uid`, `name:group`, `uid:gid` …; when given it wins over the numbers (extension of Onggi's engine;
    the specification uses it on Windows only)."""
    additional_groups: tuple[str, ...] = ()
    """Names or numbers of further groups (`--group-add`), resolved inside the root (extension of Onggi's engine)."""


class ConsoleSize(_Struct, frozen=True):
    height: int
    width: int


class Capabilities(_Struct, frozen=True):
    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Rlimit(_Struct, frozen=True):
    type: str
    """`RLIMIT_NOFILE` and so on."""
    soft: int = 0
    hard: int = 0


class Scheduler(_Struct, frozen=True):
    policy: str
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0


class IOPriority(_Struct, frozen=True):
    class_: str = msgspec.field(name="class")
    priority: int = 0


class CPUAffinity(_Struct, frozen=True):
    initial: str = ""
    final: str = ""


class Process(_Struct, frozen=True):
    cwd: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    user: User = User()
    terminal: bool = False
    console_size: ConsoleSize | None = None
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None
    apparmor_profile: str = ""
    selinux_label: str = ""
    scheduler: Scheduler | None = None
    io_priority: IOPriority | None = None
    exec_cpu_affinity: CPUAffinity | None = msgspec.field(name="execCPUAffinity", default=None)
    reaper: bool = False
    """The first process stays the runtime's own: it runs this one and reaps orphans (extension of Onggi's engine)."""


class Root(_Struct, frozen=True):
    path: str
    readonly: bool = False


class IDMapping(_Struct, frozen=True):
    container_id: int = msgspec.field(name="containerID")
    host_id: int = msgspec.field(name="hostID")
    size: int


class Mount(_Struct, frozen=True):
    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()


class Hook(_Struct, frozen=True):
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None
    """Seconds."""


class Hooks(_Struct, frozen=True):
    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


class Namespace(_Struct, frozen=True):
    type: str
    """`pid network mount ipc uts user cgroup time`."""
    path: str = ""


class Device(_Struct, frozen=True):
    type: str
    path: str
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class LinuxDeviceCgroup(_Struct, frozen=True):
    allow: bool
    type: str = "a"
    """`a` all, `c` character, `b` block."""
    major: int | None = None
    """None or -1: any."""
    minor: int | None = None
    access: str = "rwm"


class LinuxMemory(_Struct, frozen=True):
    """Bytes; -1 is unlimited."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    """Memory and swap together, as in cgroup v1."""
    kernel: int | None = None
    kernel_tcp: int | None = msgspec.field(name="kernelTCP", default=None)
    swappiness: int | None = None
    disable_oom_killer: bool | None = msgspec.field(name="disableOOMKiller", default=None)
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class LinuxCPU(_Struct, frozen=True):
    shares: int | None = None
    quota: int | None = None
    """Microseconds per period."""
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


class LinuxPids(_Struct, frozen=True):
    limit: int | None = None
    """0 and below: unlimited."""


class WeightDevice(_Struct, frozen=True):
    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


class ThrottleDevice(_Struct, frozen=True):
    major: int
    minor: int
    rate: int


class LinuxBlockIO(_Struct, frozen=True):
    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = msgspec.field(name="throttleReadIOPSDevice", default=())
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = msgspec.field(name="throttleWriteIOPSDevice", default=())


class HugepageLimit(_Struct, frozen=True):
    page_size: str
    limit: int


class InterfacePriority(_Struct, frozen=True):
    name: str
    priority: int


class LinuxNetwork(_Struct, frozen=True):
    class_id: int | None = msgspec.field(name="classID", default=None)
    priorities: tuple[InterfacePriority, ...] = ()


class Rdma(_Struct, frozen=True):
    hca_handles: int | None = None
    hca_objects: int | None = None


class LinuxResources(_Struct, frozen=True):
    devices: tuple[LinuxDeviceCgroup, ...] = ()
    memory: LinuxMemory | None = None
    cpu: LinuxCPU | None = None
    pids: LinuxPids | None = None
    block_io: LinuxBlockIO | None = msgspec.field(name="blockIO", default=None)
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: LinuxNetwork | None = None
    rdma: dict[str, Rdma] = {}
    unified: dict[str, str] = {}


class SeccompArg(_Struct, frozen=True):
    index: int
    value: int
    op: str
    value_two: int = 0


class SeccompRule(_Struct, frozen=True):
    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[SeccompArg, ...] = ()


class Seccomp(_Struct, frozen=True):
    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[SeccompRule, ...] = ()


class TimeOffset(_Struct, frozen=True):
    secs: int = 0
    nanosecs: int = 0


class Personality(_Struct, frozen=True):
    domain: str
    flags: tuple[str, ...] = ()


class Linux(_Struct, frozen=True):
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    sysctl: dict[str, str] = {}
    resources: LinuxResources | None = None
    cgroups_path: str = ""
    namespaces: tuple[Namespace, ...] = ()
    devices: tuple[Device, ...] = ()
    seccomp: Seccomp | None = None
    rootfs_propagation: str = ""
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    intel_rdt: dict[str, Any] | None = None
    personality: Personality | None = None
    time_offsets: dict[str, TimeOffset] = {}


class Spec(_Struct, frozen=True):
    oci_version: str
    process: Process | None = None
    root: Root | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks | None = None
    annotations: dict[str, str] = {}
    linux: Linux | None = None


_decoder = msgspec.json.Decoder(Spec)
_process_decoder = msgspec.json.Decoder(Process)
_resources_decoder = msgspec.json.Decoder(LinuxResources)
_encoder = msgspec.json.Encoder()


def decode(text: bytes) -> Spec:
    """Parse and validate a config.json. Raises InvalidParameter with the member's path."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidParameter(f"invalid config.json: {error}") from error


def decode_process(text: bytes) -> Process:
    """Parse the process object that `exec --process` takes. Raises InvalidParameter."""
    try:
        return _process_decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidParameter(f"invalid process: {error}") from error


def decode_resources(text: bytes) -> LinuxResources:
    """Parse the resources object that `update --resources` takes. Raises InvalidParameter."""
    try:
        return _resources_decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidParameter(f"invalid resources: {error}") from error


def encode(value: Spec | Process | LinuxResources) -> bytes:
    """JSON text of a spec or a part of it, defaults left out."""
    return _encoder.encode(value)
