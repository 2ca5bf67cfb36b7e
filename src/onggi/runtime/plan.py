"""Compile config.json into ordered steps. Pure: no I/O (runtime-spec: config.md, config-linux.md).

`plan` reads from top to bottom as the start happens; each group of steps is a function of its own below it.
"""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onggi.errors import InvalidParameter, Unsupported
from onggi.linux import capability
from onggi.linux.mount import MOUNT_ATTR_RDONLY
from onggi.oci.root import DirectoryRoot, OverlayRoot
from onggi.oci.spec import Capabilities, Hook, Hooks, Linux, Process, Spec
from onggi.oci.spec import Mount as MountSpec
from onggi.runtime import devices, mount_options, reaper, resources, seccomp_compiler, sysctls
from onggi.runtime import mount_steps as mounts
from onggi.runtime import namespace_steps as namespaces
from onggi.runtime import process_steps as processes
from onggi.runtime.host import Host
from onggi.runtime.steps import Step

_NAMESPACES = ("user", "mount", "pid", "network", "ipc", "uts", "cgroup", "time")
_RLIMITS = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}
_PERSONALITIES = {"LINUX": 0, "LINUX32": 8}
_DEV_LINKS = (
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)
_DEFAULT_UMASK = 0o022
_HOOK_KINDS = ("prestart", "create_runtime")


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of one start, in order."""

    steps: Sequence[Step]

    def data(self) -> list[Any]:
        """As JSON-able lists, for `init.spawn` or `join.spawn` in another process."""
        return [step.data() for step in self.steps]

    def describe(self) -> str:
        """One line per step, for people and tests."""
        return "\n".join(step.describe() for step in self.steps)


def plan(
    spec: Spec, host: Host, root: OverlayRoot | DirectoryRoot, *, network: bool = False, wait: bool = False
) -> Plan:
    """The plan that starts a container's init.

    `network`: the caller of `init.spawn` passes a network namespace as file `network`; it takes the place of the
    spec's. `wait`: the program waits for a connection to the passed socket `start`. `spec.linux.cgroups_path` is
    absolute below each hierarchy: `/onggi/<id>`. Standard streams are passed as files unless
    `spec.process.terminal`. Raises InvalidParameter or Unsupported for what cannot be carried out.
    """
    linux = spec.linux or Linux()
    process = spec.process
    if process is None or not process.args:
        raise InvalidParameter("process.args must name a program")
    spaces = _namespaces(linux)
    group = linux.cgroups_path
    hooks = spec.hooks or Hooks()
    return Plan(
        (
            *_control_group(linux, host),
            *_born(linux, spaces, network=network),
            processes.DieWithParent(),
            processes.HideFromTracers(),
            *([namespaces.JoinCgroup(group)] if group else []),
            *_user_namespace(linux, spaces),
            *_joined(spaces, network=network),
            *([namespaces.RunHooks("createRuntime")] if _has_hooks(spec) else []),
            *_mounts(spec, linux, root, host),
            *_devices(spec, linux, spaces),
            *([mounts.OpenConsole(*_console_size(process), True)] if process.terminal else []),
            *_sysctls(linux, spaces, network=network),
            *([mounts.ReadOnly(list(linux.readonly_paths))] if linux.readonly_paths else []),
            *([mounts.Mask(list(linux.masked_paths))] if linux.masked_paths else []),
            *_hooks("createContainer", hooks.create_container),
            mounts.PivotRoot(),
            *_root_attributes(spec, linux),
            *([processes.SetHostname(spec.hostname, spec.domainname)] if spec.hostname or spec.domainname else []),
            *_process(process, host, linux, make_directory=True, only_root=bool(process.user.username)),
            *([namespaces.AwaitStart("start")] if wait else []),
            *_hooks("startContainer", hooks.start_container),
            *([reaper.StayAsInit(list(process.args))] if process.reaper else []),
            processes.Execute(list(process.args)),
        )
    )


def plan_exec(process: Process, spec: Spec, host: Host) -> Plan:
    """The plan that runs `process` in the running container of `spec`; for `join.spawn`.

    What `process` does not say of capabilities is as for the container's own process. Where somebody in the
    container's pid namespace may trace others, the process is born there last, when it is confined.
    """
    linux = spec.linux or Linux()
    if not process.args:
        raise InvalidParameter("process.args must name a program")
    spaces = _namespaces(linux)
    group = linux.cgroups_path
    joined = [kind for kind in _NAMESPACES if kind not in {"pid", "time"} and (kind != "user" or kind in spaces)]
    container = spec.process.capabilities if spec.process is not None else None
    entered = [
        namespaces.EnterForChildren("pid", "", "pidfd"),
        *([namespaces.EnterForChildren("time", "", "pidfd")] if "time" in spaces else []),
    ]
    born_last = _traced(spaces, container)
    return Plan(
        (
            *([namespaces.OpenCgroup(group)] if group else []),
            *(() if born_last else entered),
            namespaces.Clone([]),
            processes.DieWithParent(),
            processes.HideFromTracers(),
            *([namespaces.JoinCgroup(group)] if group else []),
            *(entered if born_last else ()),
            namespaces.JoinProcess("pidfd", joined),
            *([mounts.OpenConsole(*_console_size(process), False)] if process.terminal else []),
            *_process(
                process,
                host,
                linux,
                make_directory=False,
                only_root=bool(process.user.username),
                capabilities=process.capabilities or container,
                born_last=born_last,
            ),
            processes.Execute(list(process.args)),
        )
    )


def _traced(spaces: Mapping[str, str], container: Capabilities | None) -> bool:
    """Whether a process in the pid namespace may have CAP_SYS_PTRACE over ours: it is also another's, or was given it."""
    shared = spaces.get("pid", "the host's") != ""
    return shared or (container is not None and "CAP_SYS_PTRACE" in container.bounding)


def _namespaces(linux: Linux) -> dict[str, str]:
    """Kind → path ("" for a new one), checked."""
    found: dict[str, str] = {}
    for namespace in linux.namespaces:
        if namespace.type not in _NAMESPACES:
            raise InvalidParameter(f"unknown namespace {namespace.type!r}")
        if namespace.type in found:
            raise InvalidParameter(f"namespace {namespace.type!r} is named twice")
        if namespace.path and not namespace.path.startswith("/"):
            raise InvalidParameter(f"namespace path {namespace.path!r} is not absolute")
        found[namespace.type] = namespace.path
    if found.get("mount", "missing"):
        raise Unsupported("a container needs a new mount namespace of its own")
    if linux.intel_rdt:
        raise Unsupported("intelRdt is not offered")
    if linux.mount_label:
        raise Unsupported("SELinux labels (mountLabel) are not offered")
    return found


def _control_group(linux: Linux, host: Host) -> list[Step]:
    if not linux.cgroups_path:
        if linux.resources is not None and resources.writes(linux.resources, host):
            raise InvalidParameter("resources are limited, but cgroupsPath is empty")
        return []
    limits = resources.writes(linux.resources, host) if linux.resources else []
    device_writes, device_filter = resources.device_writes(linux.resources, host)
    writes = [list(write) for write in (*device_writes, *limits)]
    return [
        namespaces.CreateCgroup(linux.cgroups_path, writes, device_filter.hex()),
        namespaces.OpenCgroup(linux.cgroups_path),
    ]


def _born(linux: Linux, spaces: Mapping[str, str], *, network: bool) -> list[Step]:
    steps: list[Step] = [
        namespaces.EnterForChildren(kind, spaces[kind], "") for kind in ("pid", "time") if spaces.get(kind)
    ]
    if linux.time_offsets:
        if spaces.get("time", "missing"):
            raise InvalidParameter("timeOffsets need a new time namespace")
        offsets = {clock: [offset.secs, offset.nanosecs] for clock, offset in linux.time_offsets.items()}
        steps.append(namespaces.TimeOffsets(offsets))
    elif spaces.get("time") == "":
        steps.append(namespaces.TimeOffsets({}))
    new = [kind for kind, path in spaces.items() if not path and kind not in {"cgroup", "time"}]
    if network and "network" in new:
        new.remove("network")
    return [*steps, namespaces.Clone(new)]


def _user_namespace(linux: Linux, spaces: Mapping[str, str]) -> list[Step]:
    if "user" not in spaces:
        if linux.uid_mappings or linux.gid_mappings:
            raise InvalidParameter("uidMappings and gidMappings need a user namespace")
        return []
    if spaces["user"]:
        return [namespaces.JoinNamespace("user", spaces["user"], "")]
    if not linux.uid_mappings or not linux.gid_mappings:
        raise InvalidParameter("a user namespace needs uidMappings and gidMappings")
    users = [[row.container_id, row.host_id, row.size] for row in linux.uid_mappings]
    groups = [[row.container_id, row.host_id, row.size] for row in linux.gid_mappings]
    return [namespaces.MapUsers(users, groups)]


def _joined(spaces: Mapping[str, str], *, network: bool) -> list[Step]:
    steps: list[Step] = [namespaces.JoinNamespace("network", "", "network")] if network else []
    for kind, path in spaces.items():
        if path and kind not in {"user", "pid", "time"} and not (network and kind == "network"):
            steps.append(namespaces.JoinNamespace(kind, path, ""))
    if spaces.get("cgroup") == "":
        steps.append(namespaces.Unshare(["cgroup"]))
    return steps


def _has_hooks(spec: Spec) -> bool:
    """There are hooks that the parent runs, before the new root is made."""
    return spec.hooks is not None and any(getattr(spec.hooks, kind) for kind in _HOOK_KINDS)


def _hooks(kind: str, found: Sequence[Hook]) -> list[Step]:
    if not found:
        return []
    for hook in found:
        if not hook.path.startswith("/"):
            raise InvalidParameter(f"path of {kind} hook {hook.path!r} is not absolute")
    rows = [[hook.path, list(hook.args), list(hook.env), hook.timeout] for hook in found]
    return [namespaces.ExecuteHooks(kind, rows)]


def _mounts(spec: Spec, linux: Linux, root: OverlayRoot | DirectoryRoot, host: Host) -> list[Step]:
    sources: list[Step] = []
    attached: list[Step] = []
    for number, entry in enumerate(spec.mounts):
        if not entry.destination.startswith("/"):
            raise InvalidParameter(f"mount destination {entry.destination!r} is not absolute")
        if entry.uid_mappings or entry.gid_mappings:
            raise Unsupported(f"id-mapped mounts are not offered ({entry.destination})")
        options = mount_options.parse(entry.options)
        if options.bind or entry.type == "bind":
            sources.append(mounts.OpenSource(number, entry.source, options.recursive))
            attached.append(_bind(number, entry, options))
        elif entry.type in {"cgroup", "cgroup2"}:
            if not linux.cgroups_path:
                raise InvalidParameter("a cgroup mount needs a cgroupsPath")
            attached.append(mounts.MountCgroups(linux.cgroups_path, entry.destination, options.set))
        else:
            attached.append(_file_system(entry, options))
    if isinstance(root, OverlayRoot):
        top: Step = mounts.MountOverlay(list(root.lower), root.upper, root.work, host.overlay_one_by_one)
    else:
        top = mounts.BindRoot(root.path)
    return [top, *sources, mounts.Privatise(), mounts.AttachRoot(), *attached]


def _bind(number: int, entry: MountSpec, options: mount_options.Options) -> Step:
    if options.data:
        raise InvalidParameter(f"mount option {options.data[0][0]!r} makes no sense for a bind mount")
    if posixpath.normpath("/" + entry.destination.lstrip("/")) == "/proc":
        # What is written to /proc later would go into the bind (CVE-2019-16884).
        raise InvalidParameter(f'"{entry.destination}" cannot be mounted because it is not of type proc')
    return mounts.Bind(
        number,
        entry.source,
        entry.destination,
        options.set,
        options.clear,
        options.set_all,
        options.clear_all,
        options.propagation or ["rprivate"],
    )


def _file_system(entry: MountSpec, options: mount_options.Options) -> Step:
    if options.copy_up and entry.type != "tmpfs":
        raise InvalidParameter("tmpcopyup is for tmpfs only")
    within_proc = entry.destination == "/proc" or entry.destination.startswith("/proc/")
    if within_proc and (entry.type, entry.destination) != ("proc", "/proc"):
        raise InvalidParameter(f'"{entry.destination}" cannot be mounted because it is inside /proc')
    attributes = options.set | options.set_all
    if entry.destination == "/dev":
        attributes &= ~MOUNT_ATTR_RDONLY  # `ReadOnlyMount` makes it so, when the devices are there
    return mounts.Mount(
        entry.type,
        entry.source,
        entry.destination,
        attributes,
        [[key, value] for key, value in options.data],
        [word.removeprefix("r") for word in options.propagation],
        options.copy_up,
    )


def _devices(spec: Spec, linux: Linux, spaces: Mapping[str, str]) -> list[Step]:
    """Nodes and links of /dev, unless the spec binds the host's over it."""
    for entry in spec.mounts:
        if entry.destination.rstrip("/") == "/dev":
            options = mount_options.parse(entry.options)
            if options.bind or entry.type == "bind":
                return []
            read_only = bool(options.set & MOUNT_ATTR_RDONLY)
            break
    else:
        read_only = False
    nodes = {device.path: device for device in (*devices.DEFAULT_DEVICES, *linux.devices)}
    rows = []
    for device in nodes.values():
        if not device.path.startswith("/") or device.type not in {"c", "b", "p", "u"}:
            raise InvalidParameter(f"invalid device {device.path!r} of type {device.type!r}")
        mode = 0o666 if device.file_mode is None else device.file_mode & 0o7777
        rows.append([device.path, device.type, device.major, device.minor, mode, device.uid or 0, device.gid or 0])
    steps: list[Step] = [
        mounts.MakeDevices(rows, "user" in spaces),
        mounts.LinkDevices([list(link) for link in _DEV_LINKS]),
    ]
    return [*steps, mounts.ReadOnlyMount("/dev")] if read_only else steps


def _sysctls(linux: Linux, spaces: Mapping[str, str], *, network: bool) -> list[Step]:
    if not linux.sysctl:
        return []
    own = set(spaces) | ({"network"} if network else set())
    return [mounts.WriteSysctls(sysctls.checked(linux.sysctl, own))]


def _root_attributes(spec: Spec, linux: Linux) -> list[Step]:
    steps: list[Step] = []
    if linux.rootfs_propagation:
        if linux.rootfs_propagation not in mount_options.PROPAGATIONS:
            raise InvalidParameter(f"invalid rootfsPropagation {linux.rootfs_propagation!r}")
        word = linux.rootfs_propagation
        recursive = word[:1] == "r"
        steps.append(mounts.PropagateRoot(word.removeprefix("r"), recursive))
    if spec.root is not None and spec.root.readonly:
        steps.append(mounts.ReadOnlyRoot())
    return steps


def _console_size(process: Process) -> tuple[int, int]:
    size = process.console_size
    return (0, 0) if size is None else (size.height, size.width)


def _process(
    process: Process,
    host: Host,
    linux: Linux,
    *,
    make_directory: bool,
    only_root: bool,
    capabilities: Capabilities | None = None,
    born_last: bool = False,
) -> list[Step]:
    """From the new root to the threshold of execve."""
    user = process.user
    sets = capabilities or process.capabilities or Capabilities()
    directory = process.cwd
    if not directory.startswith("/"):
        raise InvalidParameter(f"Cwd must be an absolute path, not {directory!r}")
    if process.selinux_label:
        raise Unsupported("SELinux labels are not offered")
    if process.scheduler is not None or process.io_priority is not None or process.exec_cpu_affinity is not None:
        raise Unsupported("scheduler, ioPriority and execCPUAffinity are not offered")
    session = (processes.NewSession(process.terminal),)
    return [
        *([processes.SetLimits(_rlimits(process))] if process.rlimits else []),
        *([processes.SetOomScore(process.oom_score_adj)] if process.oom_score_adj is not None else []),
        *_personality(linux),
        *_apparmor(process, host),
        processes.NewKeyring(),
        *(() if born_last else session),
        processes.ResolveUser(
            user.username,
            user.uid,
            user.gid,
            [user.gid, *user.additional_gids] if not user.username else list(user.additional_gids),
            list(user.additional_groups),
        ),
        processes.SetStreams(0),
        processes.ResetSignals(),
        processes.ChangeDirectory(directory, make_directory, False),
        *([processes.NoNewPrivileges()] if process.no_new_privileges else []),
        processes.LimitBounding(_capabilities(sets.bounding, host), host.last_capability),
        processes.BecomeUser(_DEFAULT_UMASK if user.umask is None else user.umask),
        processes.ChangeDirectory(directory, False, True),
        *_seccomp(linux, host),
        processes.SetCapabilities(
            _capabilities(sets.effective, host),
            _capabilities(sets.permitted, host),
            _capabilities(sets.inheritable, host),
            _capabilities(sets.ambient, host),
            only_root,
        ),
        processes.FindProgram(process.args[0], list(process.env)),
        *((namespaces.Fork(), *session) if born_last else ()),
    ]


def _rlimits(process: Process) -> list[list[int]]:
    rows = []
    for limit in process.rlimits:
        number = _RLIMITS.get(limit.type)
        if number is None:
            raise InvalidParameter(f"invalid rlimit type {limit.type!r}")
        if limit.soft > limit.hard:
            raise InvalidParameter(f"{limit.type}: the soft limit {limit.soft} is above the hard limit {limit.hard}")
        rows.append([number, limit.soft, limit.hard])
    return rows


def _personality(linux: Linux) -> list[Step]:
    if linux.personality is None:
        return []
    if linux.personality.flags or linux.personality.domain not in _PERSONALITIES:
        raise InvalidParameter(f"invalid personality {linux.personality.domain!r}")
    return [processes.SetPersonality(_PERSONALITIES[linux.personality.domain])]


def _apparmor(process: Process, host: Host) -> list[Step]:
    profile = process.apparmor_profile
    if not profile or (profile == "unconfined" and "apparmor" not in host.lsm.split(",")):
        return []
    if "apparmor" not in host.lsm.split(","):
        raise Unsupported(f"AppArmor profile {profile!r} is asked for, but this kernel has no AppArmor")
    if "\n" in profile or "\0" in profile:
        raise InvalidParameter(f"invalid AppArmor profile {profile!r}")
    return [processes.SetAppArmorProfile(profile)]


def _capabilities(names: Sequence[str], host: Host) -> int:
    try:
        bits = capability.mask(names)
    except KeyError as error:
        raise InvalidParameter(f"invalid capability: {error.args[0]!r}") from error
    return bits & host.capabilities


def _seccomp(linux: Linux, host: Host) -> list[Step]:
    if linux.seccomp is None:
        return []
    program, flags = seccomp_compiler.compile(linux.seccomp, host.machine)
    return [processes.LoadSeccomp(program.hex(), flags)]
