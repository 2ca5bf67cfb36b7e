"""Plans: what a config.json becomes, step by step, without a kernel."""

import json

import msgspec
import pytest

from onggi import jsontext
from onggi.errors import InvalidParameter, Unsupported
from onggi.oci import spec as oci
from onggi.oci.root import DirectoryRoot, OverlayRoot
from onggi.runtime import devices, mount_options, plan, resources, sysctls
from onggi.runtime.host import Host
from onggi.runtime.init import KINDS
from onggi.runtime.steps import load

HOST = Host(
    machine="x86_64", kernel=(6, 18), cgroup_version=1, last_capability=40,
    controllers=frozenset({"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids"}),
)  # fmt: skip
HOST_2 = Host(
    machine="x86_64", kernel=(6, 1), cgroup_version=2, last_capability=40,
    controllers=frozenset({"cpu", "cpuset", "memory", "io", "pids", "devices"}),
)  # fmt: skip
ROOT = OverlayRoot(("/l/2", "/l/1"), "/c/upper", "/c/work")
CAPS = ("CAP_CHOWN", "CAP_KILL")
NAMESPACES = tuple(oci.Namespace(kind) for kind in ("mount", "uts", "pid", "ipc", "network"))


def spec(**changes: object) -> oci.Spec:
    base = oci.Spec(
        oci_version=oci.VERSION,
        hostname="box",
        process=oci.Process(
            cwd="/srv",
            args=("sh", "-c", "true"),
            env=("PATH=/bin", "TOKEN=secret"),
            capabilities=oci.Capabilities(bounding=CAPS, effective=CAPS, permitted=CAPS),
        ),
        mounts=(
            oci.Mount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
            oci.Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755")),
            oci.Mount("/data", "bind", "/srv/data", ("rbind", "rro", "rslave")),
        ),
        linux=oci.Linux(
            namespaces=NAMESPACES,
            cgroups_path="/onggi/x",
            masked_paths=("/proc/kcore",),
            readonly_paths=("/proc/sys",),
            resources=oci.LinuxResources(pids=oci.LinuxPids(64), devices=(oci.LinuxDeviceCgroup(allow=False),)),
        ),
    )
    return msgspec.structs.replace(base, **changes)


def linux(**changes: object) -> oci.Spec:
    base = spec()
    assert base.linux is not None
    return msgspec.structs.replace(base, linux=msgspec.structs.replace(base.linux, **changes))


def process(**changes: object) -> oci.Spec:
    base = spec()
    assert base.process is not None
    return msgspec.structs.replace(base, process=msgspec.structs.replace(base.process, **changes))


def names(compiled: plan.Plan) -> list[str]:
    return [step.name for step in compiled.steps]


def test_a_start_reads_from_top_to_bottom() -> None:
    assert names(plan.plan(spec(), HOST, ROOT)) == [
        "CreateCgroup", "OpenCgroup", "Clone", "DieWithParent", "HideFromTracers", "JoinCgroup", "MountOverlay",
        "OpenSource", "Privatise", "AttachRoot", "Mount", "Mount", "Bind", "MakeDevices", "LinkDevices", "ReadOnly", "Mask",
        "PivotRoot", "SetHostname", "NewKeyring", "NewSession", "ResolveUser", "SetStreams", "ResetSignals",
        "ChangeDirectory", "LimitBounding", "BecomeUser", "ChangeDirectory", "SetCapabilities", "FindProgram",
        "Execute",
    ]  # fmt: skip


def test_what_must_come_before_what() -> None:
    seccomp = oci.Seccomp("SCMP_ACT_ERRNO", 1)
    full = names(plan.plan(linux(seccomp=seccomp), HOST, ROOT, network=True))
    order = full.index
    assert order("JoinCgroup") < order("JoinNamespace"), "in its group before anything else"
    assert order("MountOverlay") < order("OpenSource") < order("Privatise") < order("AttachRoot")
    assert order("Mask") < order("PivotRoot") < order("ResolveUser"), "the container's own passwd"
    assert order("SetStreams") < order("ChangeDirectory"), "no host descriptor while the cwd is set"
    assert order("LimitBounding") < order("BecomeUser") < order("LoadSeccomp") < order("SetCapabilities")
    assert full[-1] == "Execute"


def test_a_plan_crosses_as_json() -> None:
    compiled = plan.plan(spec(), HOST, ROOT)
    text = jsontext.dumps(compiled.data())
    assert list(compiled.steps) == load(json.loads(text), KINDS)
    with pytest.raises(ValueError, match="unknown step"):
        load([["Nonsense"]], KINDS)


def test_a_printed_plan_shows_no_secret() -> None:
    text = plan.plan(spec(), HOST, ROOT).describe()
    assert "TOKEN" in text
    assert "secret" not in text
    assert "Bind /srv/data on /data set_all=0x1 rslave" in text
    assert "CreateCgroup /onggi/x devices.deny='a' devices.allow='c *:* m'" in text
    assert "pids.max='64'" in text


def test_a_passed_network_is_joined_not_made() -> None:
    text = plan.plan(spec(), HOST, ROOT, network=True).describe()
    assert 'Clone namespaces=["mount","uts","pid","ipc"]' in text
    assert 'JoinNamespace kind="network" file="network"' in text


def test_an_exec_is_born_in_the_container() -> None:
    base = spec()
    assert base.process is not None
    compiled = plan.plan_exec(base.process, base, HOST)
    assert names(compiled)[:7] == [
        "OpenCgroup", "EnterForChildren", "Clone", "DieWithParent", "HideFromTracers", "JoinCgroup", "JoinProcess",
    ]  # fmt: skip
    assert 'JoinProcess file="pidfd" namespaces=["mount","network","ipc","uts","cgroup"]' in compiled.describe()


def test_where_somebody_may_trace_an_exec_is_born_last() -> None:
    tracer = process(capabilities=oci.Capabilities(bounding=("CAP_SYS_PTRACE",)))
    assert tracer.process is not None
    compiled = names(plan.plan_exec(tracer.process, tracer, HOST))
    assert compiled[-3:] == ["Fork", "NewSession", "Execute"]
    assert compiled.index("Clone") < compiled.index("EnterForChildren") < compiled.index("JoinProcess")
    assert {"SetCapabilities", "SetStreams", "BecomeUser"} <= set(compiled[compiled.index("JoinProcess") :])
    linux = oci.Linux(namespaces=(oci.Namespace("mount"), oci.Namespace("pid", "/proc/1/ns/pid")))
    shared = spec(linux=linux)
    assert shared.process is not None
    assert "Fork" in names(plan.plan_exec(shared.process, shared, HOST))


def test_a_directory_can_be_the_root() -> None:
    assert "BindRoot" in names(plan.plan(spec(root=oci.Root("rootfs", True)), HOST, DirectoryRoot("/b/rootfs")))
    assert "ReadOnlyRoot" in names(plan.plan(spec(root=oci.Root("rootfs", True)), HOST, DirectoryRoot("/b/rootfs")))


def test_a_number_is_kept_a_name_is_looked_up() -> None:
    assert "ResolveUser uid=5 gid=6 groups=[6,7]" in plan.plan(
        process(user=oci.User(uid=5, gid=6, additional_gids=(7,))), HOST, ROOT
    ).describe()  # fmt: skip
    assert 'ResolveUser user="alice"' in plan.plan(
        process(user=oci.User(username="alice")), HOST, ROOT
    ).describe()  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (process(args=()), "process.args must name a program"),
        (process(cwd="srv"), "Cwd must be an absolute path"),
        (process(capabilities=oci.Capabilities(bounding=("CAP_NOPE",))), "invalid capability: 'CAP_NOPE'"),
        (process(rlimits=(oci.Rlimit("RLIMIT_NOPE", 1, 2),)), "invalid rlimit type"),
        (process(rlimits=(oci.Rlimit("RLIMIT_NOFILE", 3, 2),)), "above the hard limit"),
        (process(apparmor_profile="docker-default"), "this kernel has no AppArmor"),
        (process(selinux_label="x"), "SELinux labels are not offered"),
        (linux(namespaces=NAMESPACES[1:]), "mount namespace of its own"),
        (linux(namespaces=(*NAMESPACES, oci.Namespace("nope"))), "unknown namespace 'nope'"),
        (linux(namespaces=(*NAMESPACES, oci.Namespace("uts"))), "named twice"),
        (linux(namespaces=(*NAMESPACES, oci.Namespace("user"))), "needs uidMappings"),
        (linux(rootfs_propagation="sideways"), "invalid rootfsPropagation"),
        (spec(mounts=(oci.Mount("data", "bind", "/x"),)), "is not absolute"),
        (spec(mounts=(oci.Mount("/proc", "bind", "/x", ("bind",)),)), "not of type proc"),
        (spec(mounts=(oci.Mount("//proc/", "bind", "/x", ("bind",)),)), "not of type proc"),
        (spec(mounts=(oci.Mount("/proc/self/attr", "tmpfs", "x"),)), "inside /proc"),
        (spec(mounts=(oci.Mount("/x", "bind", "/x", ("idmap",)),)), "'idmap' is not offered"),
        (spec(hooks=oci.Hooks(start_container=(oci.Hook("x"),))), "path of startContainer hook 'x' is not absolute"),
    ],
)
def test_what_cannot_be_carried_out_is_refused(changed: oci.Spec, words: str) -> None:
    with pytest.raises((InvalidParameter, Unsupported), match=words):
        plan.plan(changed, HOST, ROOT)


def test_limits_of_version_1() -> None:
    limits = oci.LinuxResources(
        memory=oci.LinuxMemory(limit=1 << 20, swap=1 << 21, reservation=1 << 19),
        cpu=oci.LinuxCPU(shares=512, quota=50000, period=100000, cpus="0-1"),
        pids=oci.LinuxPids(-1),
    )
    assert resources.writes(limits, HOST) == [
        ("memory", "memory.limit_in_bytes", "1048576"), ("memory", "memory.memsw.limit_in_bytes", "2097152"),
        ("memory", "memory.soft_limit_in_bytes", "524288"), ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_period_us", "100000"), ("cpu", "cpu.cfs_quota_us", "50000"), ("cpuset", "cpuset.cpus", "0-1"),
        ("pids", "pids.max", "max"),
    ]  # fmt: skip


def test_limits_of_version_2() -> None:
    limits = oci.LinuxResources(
        memory=oci.LinuxMemory(limit=1 << 20, swap=1 << 21),
        cpu=oci.LinuxCPU(shares=1024, quota=50000),
        block_io=oci.LinuxBlockIO(throttle_read_bps_device=(oci.ThrottleDevice(8, 0, 1000),)),
        unified={"memory.high": "900000"},
    )
    assert resources.writes(limits, HOST_2) == [
        ("memory", "memory.swap.max", "1048576"), ("memory", "memory.max", "1048576"), ("cpu", "cpu.weight", "39"),
        ("cpu", "cpu.max", "50000 100000"), ("io", "io.max", "8:0 rbps=1000"), ("memory", "memory.high", "900000"),
    ]  # fmt: skip
    with pytest.raises(Unsupported, match="OOM killer"):
        resources.writes(oci.LinuxResources(memory=oci.LinuxMemory(disable_oom_killer=True)), HOST_2)
    with pytest.raises(Unsupported, match="no cgroup controller 'hugetlb'"):
        resources.writes(oci.LinuxResources(hugepage_limits=(oci.HugepageLimit("2MB", 1),)), HOST_2)


def opens(program: bytes, kind: int, access: int, major: int, minor: int) -> bool:
    """Interpret the few eBPF instructions that a device filter is made of."""
    registers = [0] * 11
    words = {0: access << 16 | kind, 4: major, 8: minor}
    position = 0
    while True:
        at = 8 * position
        code, both = program[at], program[at + 1]
        offset = int.from_bytes(program[at + 2 : at + 4], "little", signed=True)
        value = int.from_bytes(program[at + 4 : at + 8], "little")
        to, source = both & 15, both >> 4
        position += 1
        if code == 0x61:
            registers[to] = words[offset]
        elif code == 0xBC:
            registers[to] = registers[source]
        elif code == 0x54:
            registers[to] &= value
        elif code == 0x74:
            registers[to] >>= value
        elif code == 0xB7:
            registers[to] = value
        elif code == 0x55:
            position += offset if registers[to] != value else 0
        elif code == 0x5D:
            position += offset if registers[to] != registers[source] else 0
        else:
            assert code == 0x95
            return bool(registers[0])


def test_devices_of_version_2() -> None:
    block, character, mknod, read, write = 1, 2, 1, 2, 4
    rules = (
        oci.LinuxDeviceCgroup(allow=False),
        oci.LinuxDeviceCgroup(allow=True, type="b", major=8, minor=0, access="r"),
        oci.LinuxDeviceCgroup(allow=True, type="c", major=10, minor=229),
        oci.LinuxDeviceCgroup(allow=False, type="c", major=10, minor=229, access="w"),
    )
    program = devices.version_2((*rules, *devices.DEFAULT_RULES))
    assert opens(program, character, read | write, 1, 3), "/dev/null"
    assert opens(program, character, read, 136, 77), "a terminal"
    assert opens(program, character, mknod, 99, 99)
    assert not opens(program, character, read, 1, 1), "/dev/mem"
    assert opens(program, block, read, 8, 0)
    assert not opens(program, block, write, 8, 0)
    assert not opens(program, block, read | write, 8, 0), "all of what is asked for must be allowed"
    assert opens(program, character, read, 10, 229)
    assert not opens(program, character, write, 10, 229)
    assert opens(devices.version_2((oci.LinuxDeviceCgroup(allow=True),)), block, write, 254, 0), "privileged"


@pytest.mark.parametrize(
    "key",
    [
        "net.ipv4/../../kernel.core_pattern", "kernel.core_pattern", "vm.overcommit_memory", "net..x", "", ".", "net",
        "kernel/../kernel/msgmax", "net.ipv4.x\n", "kernel.hostname", "fs.file-max", "/kernel/msgmax",
    ],
)  # fmt: skip
def test_sysctls_of_the_host_are_refused(key: str) -> None:
    with pytest.raises(InvalidParameter):
        sysctls.checked({key: "1"}, {"network", "ipc", "uts"})


def test_sysctls_need_the_namespace_they_are_of() -> None:
    assert sysctls.checked({"net.ipv4.ip_forward": "1"}, {"network"}) == {"net/ipv4/ip_forward": "1"}
    assert sysctls.checked({"net/ipv4/conf/eth0.1/forwarding": "1"}, {"network"}) == {
        "net/ipv4/conf/eth0.1/forwarding": "1"
    }
    with pytest.raises(InvalidParameter, match="shares the host's network namespace"):
        sysctls.checked({"net.ipv4.ip_forward": "1"}, {"ipc"})
    with pytest.raises(InvalidParameter, match="shares the host's ipc namespace"):
        sysctls.checked({"kernel.shmmax": "1"}, {"network"})
    with pytest.raises(InvalidParameter, match="invalid value"):
        sysctls.checked({"kernel.shmmax": "1\nx"}, {"ipc"})


def test_mount_options() -> None:
    options = mount_options.parse(("rbind", "nosuid", "ro", "rw", "noatime", "rro", "rshared"))
    assert (options.bind, options.recursive) == (True, True)
    assert options.set == 0x2 | 0x10
    assert options.clear & 0x1
    assert options.clear & 0x70 == 0x70
    assert options.set_all == 0x1
    assert options.propagation == ["rshared"]
    assert mount_options.parse(("size=64k", "tmpcopyup", "noswap")).data == [("size", "64k"), ("noswap", None)]
    with pytest.raises(Unsupported, match="remount"):
        mount_options.parse(("remount",))
