"""Each limit of `run`, and its `update` while the container runs: in the control group as the host has it, and inside."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.linux import cgroup
from tests.engine import Engine, inspected

pytestmark = pytest.mark.skipif(
    cgroup.of_host().version != 1, reason="the files of cgroup v2 are looked at in test_control_groups.py"
)
MIB = 1 << 20


def disk() -> str:
    """A block device of this machine: its limits are set, and it is not touched."""
    return next(f"/dev/{name}" for name in sorted(os.listdir("/sys/block")) if Path(f"/dev/{name}").is_block_device())


def on_disk(rate: int) -> str:
    number = os.stat(disk()).st_rdev
    return f"{os.major(number)}:{os.minor(number)} {rate}"


LAST_CPU = str((os.cpu_count() or 1) - 1)
# option → control group's file and what is in it; then what `update` gives, and what is in it then.
LIMITS: dict[str, tuple[list[str], str, str, list[str], str]] = {
    "memory": (["-m", "64m"], "memory/memory.limit_in_bytes", str(64 * MIB),
               ["-m", "48m", "--memory-swap", "96m"], str(48 * MIB)),
    "memory-reservation": (["--memory-reservation", "32m"], "memory/memory.soft_limit_in_bytes", str(32 * MIB),
                           ["--memory-reservation", "16m"], str(16 * MIB)),
    "memory-swappiness": (["--memory-swappiness", "7"], "memory/memory.swappiness", "7", [], ""),
    "oom-kill-disable": (["-m", "64m", "--oom-kill-disable"], "memory/memory.oom_control", "oom_kill_disable 1", [], ""),
    "cpus": (["--cpus", "0.5"], "cpu/cpu.cfs_quota_us", "50000", ["--cpus", "0.25"], "25000"),
    "cpu-period": (["--cpu-period", "50000"], "cpu/cpu.cfs_period_us", "50000", ["--cpu-period", "80000"], "80000"),
    "cpu-quota": (["--cpu-quota", "20000"], "cpu/cpu.cfs_quota_us", "20000", ["--cpu-quota", "30000"], "30000"),
    "cpu-shares": (["-c", "512"], "cpu/cpu.shares", "512", ["-c", "256"], "256"),
    "cpuset-cpus": (["--cpuset-cpus", "0"], "cpuset/cpuset.cpus", "0", ["--cpuset-cpus", LAST_CPU], LAST_CPU),
    "cpuset-mems": (["--cpuset-mems", "0"], "cpuset/cpuset.mems", "0", ["--cpuset-mems", "0"], "0"),
    "pids-limit": (["--pids-limit", "50"], "pids/pids.max", "50", ["--pids-limit", "70"], "70"),
    "device-read-bps": (["--device-read-bps", f"{disk()}:1mb"], "blkio/blkio.throttle.read_bps_device", on_disk(MIB), [], ""),
    "device-write-bps": (["--device-write-bps", f"{disk()}:2mb"], "blkio/blkio.throttle.write_bps_device", on_disk(2 * MIB),
                         [], ""),
    "device-read-iops": (["--device-read-iops", f"{disk()}:30"], "blkio/blkio.throttle.read_iops_device", on_disk(30), [], ""),
    "device-write-iops": (["--device-write-iops", f"{disk()}:40"], "blkio/blkio.throttle.write_iops_device", on_disk(40),
                          [], ""),
}  # fmt: skip


@pytest.fixture
def remove(engine: Engine, name: str) -> Iterator[None]:
    yield
    engine.docker("rm", "-f", name)


@pytest.mark.usefixtures("remove")
@pytest.mark.parametrize("limit", LIMITS)
def test_in_the_control_group_and_inside(engine: Engine, name: str, limit: str) -> None:
    words, file, expected, changed, expected_then = LIMITS[limit]
    identifier = engine.docker(
        "run", "-d", "--name", name, *words, "busybox", "sleep", "1000", check=True
    ).stdout.strip()
    controller, _, leaf = file.partition("/")
    outside = Path("/sys/fs/cgroup") / controller / engine.bridge / identifier / leaf

    def look(wanted: str) -> None:
        inside = engine.docker("exec", name, "cat", f"/sys/fs/cgroup/{file}", check=True).stdout
        assert wanted in outside.read_text().splitlines()
        assert wanted in inside.splitlines()

    look(expected)
    if changed:
        engine.docker("update", *changed, name, check=True)
        look(expected_then)


@pytest.mark.usefixtures("remove")
def test_where_its_group_is_and_which_it_sees(engine: Engine, name: str) -> None:
    parent = f"{engine.bridge}/inner"
    identifier = engine.docker("run", "-d", "--name", name, "--cgroup-parent", f"/{parent}", "--cgroupns", "host",
                               "busybox", "sleep", "1000", check=True).stdout.strip()  # fmt: skip
    assert Path(f"/sys/fs/cgroup/pids/{parent}/{identifier}").is_dir()
    seen = engine.docker("exec", name, "grep", ":pids:", "/proc/self/cgroup", check=True).stdout
    assert seen.strip().endswith(f":/{parent}/{identifier}")
    assert inspected(engine, name)["HostConfig"]["CgroupnsMode"] == "host"
    engine.docker("rm", "-f", name, check=True)
    cgroup.Cgroup(f"/{parent}").delete_unused()  # a parent that was named is its owner's to remove


@pytest.mark.parametrize(("option", "writable"), [("true", True), ("false", False)])
def test_writable_control_groups(engine: Engine, option: str, writable: bool) -> None:
    write = "mkdir /sys/fs/cgroup/pids/inner && rmdir /sys/fs/cgroup/pids/inner"
    done = engine.docker("run", "--rm", "--security-opt", f"writable-cgroups={option}", "busybox", "sh", "-c", write)
    assert (done.returncode == 0) is writable, done.stderr


def test_a_parameter_of_the_interface(engine: Engine) -> None:
    option = "name=bridge,driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1"
    found = engine.docker("run", "--rm", "--network", option, "busybox", "cat", "/proc/sys/net/ipv4/conf/eth0/log_martians",
                          check=True)  # fmt: skip
    assert found.stdout == "1\n"


@pytest.mark.usefixtures("remove")
def test_namespaces_of_the_host_and_of_others(engine: Engine, name: str) -> None:
    def space(kind: str, *words: str) -> str:
        look = ["readlink", f"/proc/self/ns/{kind}"]
        return engine.docker("run", "--rm", *words, "busybox", *look, check=True).stdout.strip()

    for kind, option in (("uts", "--uts"), ("ipc", "--ipc"), ("pid", "--pid"), ("cgroup", "--cgroupns")):
        own = os.readlink(f"/proc/self/ns/{kind}")
        assert space(kind, option, "host") == own
        assert space(kind) != own
    engine.docker("run", "-d", "--name", name, "--ipc", "shareable", "busybox", "sleep", "1000", check=True)
    pid = inspected(engine, name)["State"]["Pid"]
    for kind, option in (("ipc", "--ipc"), ("pid", "--pid"), ("net", "--network")):
        assert space(kind, option, f"container:{name}") == os.readlink(f"/proc/{pid}/ns/{kind}")


@pytest.fixture
def shared_mount(tmp_path: Path) -> Iterator[Path]:
    """A mount of the host that has peers."""
    top = tmp_path / "shared"
    top.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(top)], check=True)
    subprocess.run(["mount", "--make-shared", str(top)], check=True)
    yield top
    subprocess.run(["umount", "-R", "-l", str(top)], check=True)


@pytest.mark.usefixtures("remove")
@pytest.mark.parametrize("runtime", ["onggi", "runc"])
def test_what_is_mounted_later_is_seen_on_the_other_side(
    engine: Engine, name: str, shared_mount: Path, runtime: str
) -> None:
    engine.docker("run", "-d", "--name", name, "--runtime", runtime, "-v", f"{shared_mount}:/shared:rshared", "--cap-add",
                  "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "busybox", "sleep", "1000", check=True)  # fmt: skip
    (shared_mount / "from-host").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(shared_mount / "from-host")], check=True)
    (shared_mount / "from-host" / "file").write_text("seen\n")
    assert engine.docker("exec", name, "cat", "/shared/from-host/file", check=True).stdout == "seen\n"
    script = (
        "mkdir /shared/from-inside && mount -t tmpfs tmpfs /shared/from-inside && echo seen >/shared/from-inside/file"
    )
    engine.docker("exec", name, "sh", "-c", script, check=True)
    assert (shared_mount / "from-inside" / "file").read_text() == "seen\n"


def test_what_cannot_be_shared_is_refused(engine: Engine, tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], check=True)
    try:
        subprocess.run(["mount", "--make-private", str(tmp_path)], check=True)
        done = engine.docker("run", "--rm", "-v", f"{tmp_path}:/x:rshared", "busybox", "true")
        assert f"path {tmp_path} is mounted on {tmp_path} but it is not a shared mount" in done.stderr
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
