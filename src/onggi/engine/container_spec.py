"""Config + HostConfig → config.json. No I/O but for looking at devices that were asked for. (moby: daemon/oci_linux.go)"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from onggi.engine import apparmor, capabilities, resources
from onggi.engine.container import Container
from onggi.engine.settings import Settings
from onggi.engine.validation import parse_security
from onggi.errors import InvalidParameter
from onggi.oci import spec as oci
from onggi.runtime import seccomp_profile
from onggi.runtime.host import Host
from onggi.volumes.mount_point import MountPoint

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INIT = "/sbin/docker-init"
"""Where `--init` puts that program, as Docker does."""
_FILES = (("/etc/resolv.conf", "resolv.conf"), ("/etc/hostname", "hostname"), ("/etc/hosts", "hosts"))

MASKED_PATHS = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_ALWAYS_WRITABLE = frozenset({"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"})


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a spec needs to know beside the container itself."""

    mounts: Sequence[MountPoint]
    """With the sources to bind."""
    hostname: str
    network_namespace: bool
    """False: it stays in the host's."""
    files: Path
    """The directory of hosts, resolv.conf and hostname; another container's when its network is shared."""
    capabilities_held: frozenset[str]
    """By this engine itself."""
    host: Host
    init: str = ""
    """The program that `--init` puts first under another runtime; ours needs none."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Of the interfaces it has."""
    linked: Sequence[str] = ()
    """Variables that tell of linked containers."""
    ipc_of: int = 0
    """Pid of the container whose IPC namespace is joined."""
    pid_of: int = 0
    """Pid of the container whose PID namespace is joined."""


def environment(container: Container, linked: Sequence[str] = ()) -> tuple[str, ...]:
    """Docker's own variables, those of links, then the container's, each name once at its first place."""
    config = container.config
    found = {"PATH": f"PATH={PATH}", "HOSTNAME": f"HOSTNAME={config.hostname}"}
    if config.tty:
        found["TERM"] = "TERM=xterm"
    for entry in (*linked, *(config.env or ())):
        name, equals, _ = entry.partition("=")
        if equals:
            found[name] = entry
        else:
            found.pop(name, None)  # a bare name takes the variable away
    return tuple(found.values())


def process(
    container: Container,
    args: Sequence[str],
    *,
    held: frozenset[str],
    env: Sequence[str] | None = None,
    user: str | None = None,
    working_dir: str | None = None,
    terminal: bool | None = None,
    privileged: bool = False,
) -> oci.Process:
    """The process object of the container, or of an exec in it when the optional ones are given."""
    config, host = container.config, container.host_config
    granted = capabilities.granted(
        capabilities.normalise(host.cap_add or (), "CapAdd"),
        capabilities.normalise(host.cap_drop or (), "CapDrop"),
        privileged=host.privileged or privileged,
        held=held,
    )
    security = parse_security(host.security_opt or ())
    return oci.Process(
        cwd=working_dir or config.working_dir or "/",
        args=tuple(args),
        env=tuple(env) if env is not None else environment(container),
        user=oci.User(
            username=(config.user if user is None else user) or "0", additional_groups=tuple(host.group_add or ())
        ),
        terminal=config.tty if terminal is None else terminal,
        # Inheritable and ambient stay empty: a non-root user gains nothing by them (CVE-2022-24769).
        capabilities=oci.Capabilities(bounding=granted, effective=granted, permitted=granted),
        rlimits=tuple(_rlimits(container)),
        no_new_privileges=security.no_new_privileges,
        apparmor_profile=apparmor.profile(security.apparmor, privileged=host.privileged),
        oom_score_adj=host.oom_score_adj,
    )


def _rlimits(container: Container) -> list[oci.Rlimit]:
    unlimited = 2**64 - 1
    return [
        oci.Rlimit(
            type=f"RLIMIT_{limit.name.upper()}",
            soft=unlimited if limit.soft == -1 else limit.soft,
            hard=unlimited if limit.hard == -1 else limit.hard,
        )
        for limit in container.host_config.ulimits or ()
    ]


def _namespaces(container: Container, around: Surroundings) -> tuple[oci.Namespace, ...]:
    host = container.host_config
    found = [oci.Namespace(type="mount")]
    if around.network_namespace:
        found.append(oci.Namespace(type="network"))
    if host.uts_mode != "host":
        found.append(oci.Namespace(type="uts"))
    if around.ipc_of:
        found.append(oci.Namespace(type="ipc", path=f"/proc/{around.ipc_of}/ns/ipc"))
    elif host.ipc_mode != "host":
        found.append(oci.Namespace(type="ipc"))
    if around.pid_of:
        found.append(oci.Namespace(type="pid", path=f"/proc/{around.pid_of}/ns/pid"))
    elif host.pid_mode != "host":
        found.append(oci.Namespace(type="pid"))
    if host.cgroupns_mode == "private":
        found.append(oci.Namespace(type="cgroup"))
    return tuple(found)


def _default_mounts(container: Container, around: Surroundings) -> list[oci.Mount]:
    host = container.host_config
    sealed = "rw" if host.privileged else "ro"
    writable = parse_security(host.security_opt or ()).writable_cgroups
    cgroups = sealed if writable is None else "rw" if writable else "ro"
    found = [
        oci.Mount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
        oci.Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        oci.Mount(
            "/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
        ),
        oci.Mount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", sealed)),
        oci.Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", cgroups)),
        oci.Mount("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ]
    if host.ipc_mode == "host":
        found.append(oci.Mount("/dev/shm", "bind", "/dev/shm", ("rbind", "rprivate")))
        return found
    if around.ipc_of:
        shm = f"/proc/{around.ipc_of}/root/dev/shm"
        found.append(oci.Mount("/dev/shm", "bind", shm, ("rbind", "rprivate")))
    elif host.ipc_mode != "none":
        size = f"size={host.shm_size}"
        found.append(oci.Mount("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", size)))
    return found


def _mount(point: MountPoint) -> oci.Mount:
    if point.type == "tmpfs":
        return oci.Mount(point.destination, "tmpfs", "tmpfs", point.tmpfs_options)
    options = ["rbind" if point.recursive else "bind", point.propagation or "rprivate"]
    if not point.rw:
        options.append("rro" if point.recursive and point.read_only_recursive else "ro")
    return oci.Mount(point.destination, "bind", point.source, tuple(options))


def _mounts(container: Container, around: Surroundings) -> tuple[oci.Mount, ...]:
    asked = {point.destination: _mount(point) for point in around.mounts}
    found = [
        mount
        for mount in _default_mounts(container, around)
        if mount.destination not in asked and not (mount.destination.startswith("/dev/") and "/dev" in asked)
    ]
    files = [
        oci.Mount(destination, "bind", str(around.files / name), ("rbind", "rprivate"))
        for destination, name in _FILES
        if destination not in asked
    ]
    if around.init:
        files.append(oci.Mount(INIT, "bind", around.init, ("bind", "ro", "rprivate")))
    if container.host_config.readonly_rootfs:
        found, files = ([_sealed(mount) for mount in mounts] for mounts in (found, files))
    # A mount below another one must come after it: /etc/hosts on a tmpfs at /etc.
    rest = sorted((*files, *asked.values()), key=lambda mount: mount.destination.rstrip("/").count("/"))
    return (*found, *rest)


def _sealed(mount: oci.Mount) -> oci.Mount:
    """With --read-only, what is not the user's own is read-only as well."""
    if mount.destination in _ALWAYS_WRITABLE or "ro" in mount.options:
        return mount
    return oci.Mount(mount.destination, mount.type, mount.source, (*mount.options, "ro"))


def _args(container: Container) -> list[str]:
    argv = container.config.argv()
    if not argv:
        raise InvalidParameter("no command specified")
    return argv


def cgroup_path(container: Container, settings: Settings) -> str:
    """Below each hierarchy's root. Raises InvalidParameter for a parent that climbs."""
    parent = container.host_config.cgroup_parent or settings.cgroup_parent
    parts = [part for part in parent.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in parent or "\n" in parent:
        raise InvalidParameter(f"invalid cgroup parent {parent!r}: it must not lead out of the cgroup hierarchy")
    return "/" + "/".join([*parts, container.id])


def compile_spec(container: Container, around: Surroundings, settings: Settings) -> oci.Spec:
    """The config.json of one start. Raises InvalidParameter or System for a device or option that can't be had."""
    config, host = container.config, container.host_config
    security = parse_security(host.security_opt or ())
    nodes, device_rules = resources.devices(host)
    limits = resources.limits(host)
    args = [INIT, "--", *_args(container)] if around.init else _args(container)
    reaper = bool(host.init) and not around.init
    env = environment(container, around.linked)
    first = replace(process(container, args, held=around.capabilities_held, env=env), reaper=reaper)
    granted = first.capabilities.bounding if first.capabilities else ()
    return oci.Spec(
        oci_version=oci.VERSION,
        process=first,
        root=oci.Root(path="rootfs", readonly=host.readonly_rootfs),
        hostname="" if host.uts_mode == "host" else around.hostname,
        domainname="" if host.uts_mode == "host" else config.domainname,
        mounts=_mounts(container, around),
        annotations=host.annotations or {},
        linux=oci.Linux(
            sysctl={**(host.sysctls or {}), **around.sysctls},
            resources=oci.LinuxResources(
                devices=device_rules, memory=limits.memory, cpu=limits.cpu, pids=limits.pids, block_io=limits.block_io
            ),
            cgroups_path=cgroup_path(container, settings),
            namespaces=_namespaces(container, around),
            devices=nodes,
            seccomp=_seccomp(security.seccomp, host.privileged, granted, around.host),
            masked_paths=() if host.privileged else tuple(host.masked_paths or ()),
            readonly_paths=() if host.privileged else tuple(host.readonly_paths or ()),
        ),
    )


def _seccomp(option: str, privileged: bool, granted: Sequence[str], host: Host) -> oci.Seccomp | None:
    """What `--security-opt seccomp=OPTION` means; None: no filter. Raises InvalidParameter."""
    if option == "unconfined" or (privileged and not option):
        return None
    return seccomp_profile.read(option, granted, host) if option else seccomp_profile.default(granted, host)
