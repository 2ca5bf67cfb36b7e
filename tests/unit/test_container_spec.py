"""Config + HostConfig → config.json: what Docker 28.5.2 gives runc for the same container."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from onggi.engine import capabilities
from onggi.engine.container import Container
from onggi.engine.container_config import ContainerConfig, HostConfig, Ulimit
from onggi.engine.container_spec import Surroundings, cgroup_path, compile_spec
from onggi.engine.creation import complete
from onggi.engine.settings import Settings
from onggi.errors import InvalidParameter
from onggi.oci import spec as oci
from onggi.runtime.host import Host
from onggi.volumes.mount_point import MountPoint

ID = "ab" * 32
SETTINGS = Settings()
HOST = Host(machine="x86_64", kernel=(6, 1), cgroup_version=2, last_capability=40)


def container(config: ContainerConfig | None = None, host: HostConfig | None = None) -> Container:
    config = config or ContainerConfig()
    return Container(
        id=ID, name="web", created_at=datetime.now(UTC), image_id="", image_name="busybox", endpoints={},
        config=ContainerConfig(**{"hostname": "pot", "cmd": ["true"], **given(config)}),
        host_config=complete(host or HostConfig(), SETTINGS, 2), directory=Path("/data/containers") / ID,
    )  # fmt: skip


def given(config: ContainerConfig) -> dict[str, Any]:
    plain = ContainerConfig()
    return {name: getattr(config, name) for name in config.__struct_fields__
            if getattr(config, name) != getattr(plain, name)}  # fmt: skip


def around(**more: Any) -> Surroundings:
    known: dict[str, Any] = {
        "mounts": (), "hostname": "pot", "network_namespace": True, "files": Path("/data/containers") / ID,
        "capabilities_held": frozenset(capabilities.ALL),
        "host": HOST,
    }  # fmt: skip
    return Surroundings(**(known | more))


def compiled(
    config: ContainerConfig | None = None, host: HostConfig | None = None, **more: Any
) -> tuple[oci.Spec, oci.Process, oci.Linux]:
    spec = compile_spec(container(config, host), around(**more), SETTINGS)
    assert spec.process is not None
    assert spec.linux is not None
    return spec, spec.process, spec.linux


def mounts(spec: oci.Spec) -> dict[str, oci.Mount]:
    return {mount.destination: mount for mount in spec.mounts}


def kinds(linux: oci.Linux) -> set[str]:
    return {namespace.type for namespace in linux.namespaces}


def test_plain() -> None:
    spec, process, linux = compiled()
    assert process.args == ("true",)
    assert process.cwd == "/"
    assert process.env == ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=pot")
    assert kinds(linux) == {"mount", "network", "uts", "ipc", "pid", "cgroup"}
    assert linux.cgroups_path == f"/onggi/{ID}"
    assert linux.seccomp is not None
    assert "/proc/kcore" in linux.masked_paths
    assert "/proc/sys" in linux.readonly_paths
    assert process.capabilities is not None
    assert set(process.capabilities.effective) == set(capabilities.DEFAULT)
    assert process.capabilities.inheritable == process.capabilities.ambient == ()
    assert list(mounts(spec)) == [
        "/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm", "/etc/resolv.conf",
        "/etc/hostname", "/etc/hosts",
    ]  # fmt: skip
    assert "ro" in mounts(spec)["/sys"].options
    assert "ro" in mounts(spec)["/sys/fs/cgroup"].options
    assert "size=67108864" in mounts(spec)["/dev/shm"].options


def test_environment_wins_in_its_place_and_a_bare_name_takes_away() -> None:
    _, process, _ = compiled(ContainerConfig(env=["A=1", "PATH=/bin", "HOSTNAME", "A=2"], tty=True))
    assert process.env == ("PATH=/bin", "TERM=xterm", "A=2")


def test_privileged() -> None:
    spec, process, linux = compiled(host=HostConfig(privileged=True))
    assert linux.seccomp is None
    assert linux.masked_paths == linux.readonly_paths == ()
    assert process.capabilities is not None
    assert process.capabilities.bounding == capabilities.ALL
    assert "rw" in mounts(spec)["/sys"].options
    assert linux.resources is not None
    assert linux.resources.devices == (oci.LinuxDeviceCgroup(allow=True, type="a", access="rwm"),)


def test_host_namespaces() -> None:
    spec, _, linux = compiled(
        host=HostConfig(pid_mode="host", ipc_mode="host", uts_mode="host", network_mode="host", cgroupns_mode="host"),
        network_namespace=False,
    )
    assert kinds(linux) == {"mount"}
    assert spec.hostname == ""
    assert mounts(spec)["/dev/shm"].source == "/dev/shm"


def test_joined_namespaces() -> None:
    _, _, linux = compiled(pid_of=17, ipc_of=18)
    paths = {namespace.type: namespace.path for namespace in linux.namespaces}
    assert (paths["pid"], paths["ipc"]) == ("/proc/17/ns/pid", "/proc/18/ns/ipc")


def test_read_only_root_leaves_the_kernels_mounts_alone() -> None:
    spec, _, _ = compiled(host=HostConfig(readonly_rootfs=True))
    assert spec.root is not None
    assert spec.root.readonly
    assert "ro" in mounts(spec)["/etc/hosts"].options
    assert "ro" not in mounts(spec)["/dev/shm"].options


def test_mounts_of_the_user_replace_ours_and_come_in_depth_order() -> None:
    points = (
        MountPoint(type="bind", source="/b", destination="/data/deep", rw=False),
        MountPoint(type="bind", source="/a", destination="/data"),
        MountPoint(type="tmpfs", destination="/dev/shm", tmpfs_options=("size=1",)),
    )
    spec, _, _ = compiled(mounts=points)
    found = [mount for mount in spec.mounts if mount.destination in ("/data", "/data/deep", "/dev/shm")]
    assert [mount.destination for mount in found] == ["/data", "/data/deep", "/dev/shm"]
    assert found[0].options == ("rbind", "rprivate")
    assert found[1].options == ("rbind", "rprivate", "rro")
    assert found[2].options == ("size=1",)


def test_init_stays_before_the_program() -> None:
    assert compiled(host=HostConfig(init=True))[1].reaper
    assert not compiled(host=HostConfig(init=False))[1].reaper


def test_limits_of_the_process() -> None:
    _, process, _ = compiled(
        ContainerConfig(user="app:staff", working_dir="/srv"),
        HostConfig(ulimits=[Ulimit("nofile", soft=5, hard=-1)], group_add=["video"], oom_score_adj=7,
                   security_opt=["no-new-privileges"]),
    )  # fmt: skip
    assert process.rlimits == (oci.Rlimit("RLIMIT_NOFILE", soft=5, hard=2**64 - 1),)
    assert process.user == oci.User(username="app:staff", additional_groups=("video",))
    assert (process.cwd, process.oom_score_adj, process.no_new_privileges) == ("/srv", 7, True)


@pytest.mark.parametrize("parent", ["../..", "/a/../../b", "a\n", "x\0"])
def test_a_cgroup_parent_that_climbs(parent: str) -> None:
    with pytest.raises(InvalidParameter):
        cgroup_path(container(host=HostConfig(cgroup_parent=parent)), SETTINGS)


@pytest.mark.parametrize(("parent", "path"), [("", "/onggi/"), ("team", "/team/"), ("/a//b/.", "/a/b/")])
def test_cgroup_path(parent: str, path: str) -> None:
    assert cgroup_path(container(host=HostConfig(cgroup_parent=parent)), SETTINGS) == path + ID


def test_seccomp_options() -> None:
    profile = '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}'
    chosen = {
        option: compiled(host=HostConfig(security_opt=[f"seccomp={option}"]))[2].seccomp
        for option in ("unconfined", "builtin", profile)
    }
    assert chosen["unconfined"] is None
    assert chosen["builtin"] == compiled()[2].seccomp
    own = chosen[profile]
    assert own is not None
    assert [rule.names for rule in own.syscalls] == [("mkdir",)]
    with pytest.raises(InvalidParameter, match=r"^Decoding seccomp profile failed: "):
        compiled(host=HostConfig(security_opt=["seccomp=/no/such/file"]))
