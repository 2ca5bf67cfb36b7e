"""HostConfig's limits as cgroup settings, and which capabilities and devices follow from it."""

import pytest

from onggi.engine import capabilities, resources, signals
from onggi.engine.container_config import DeviceMapping, HostConfig
from onggi.engine.sizes import size_bytes
from onggi.errors import InvalidParameter, System
from onggi.oci import spec as oci

HELD = frozenset(capabilities.ALL)


def test_cpus_become_quota_and_period() -> None:
    assert resources.limits(HostConfig(nano_cpus=1_500_000_000)).cpu == oci.LinuxCPU(quota=150_000, period=100_000)


def test_shares_stay_in_the_kernels_range() -> None:
    assert resources.limits(HostConfig(cpu_shares=1)).cpu == oci.LinuxCPU(shares=2)


def test_nothing_asked_nothing_set() -> None:
    assert resources.limits(HostConfig(oom_kill_disable=False)) == oci.LinuxResources()


def test_memory_and_pids() -> None:
    found = resources.limits(HostConfig(memory=1 << 25, memory_swap=-1, pids_limit=5, memory_swappiness=0))
    assert found.memory == oci.LinuxMemory(limit=1 << 25, swap=-1, swappiness=0)
    assert found.pids == oci.LinuxPids(limit=5)
    assert resources.limits(HostConfig(pids_limit=-1)).pids is None


@pytest.mark.parametrize(
    ("add", "drop", "wanted"),
    [
        ([], [], set(capabilities.DEFAULT)),
        (["net_admin"], ["CAP_CHOWN"], {*capabilities.DEFAULT, "CAP_NET_ADMIN"} - {"CAP_CHOWN"}),
        (["chown"], ["CHOWN"], set(capabilities.DEFAULT)),
        ([], ["all"], set()),
        (["kill"], ["ALL"], {"CAP_KILL"}),
        (["ALL"], ["sys_admin"], set(capabilities.ALL) - {"CAP_SYS_ADMIN"}),
    ],
)
def test_capabilities(add: list[str], drop: list[str], wanted: set[str]) -> None:
    found = capabilities.granted(
        capabilities.normalise(add, "CapAdd"), capabilities.normalise(drop, "CapDrop"), privileged=False, held=HELD
    )
    assert set(found) == wanted
    assert list(found) == [name for name in capabilities.ALL if name in wanted]


def test_privileged_is_all_that_the_engine_has() -> None:
    held = HELD - {"CAP_SYS_RESOURCE"}
    assert set(capabilities.granted([], [], privileged=True, held=held)) == held


def test_a_device_of_the_host() -> None:
    nodes, rules = resources.devices(HostConfig(devices=[DeviceMapping("/dev/null", "/dev/nothing", "r")]))
    assert [(node.path, node.type, node.major, node.minor) for node in nodes] == [("/dev/nothing", "c", 1, 3)]
    assert rules[: len(resources.DEFAULT_DEVICE_RULES)] == resources.DEFAULT_DEVICE_RULES
    assert rules[-1] == oci.LinuxDeviceCgroup(allow=True, type="c", major=1, minor=3, access="r")


def test_what_is_no_device() -> None:
    with pytest.raises(System) as caught:
        resources.devices(HostConfig(devices=[DeviceMapping("/no/such", "/x", "rwm")]))
    assert str(caught.value) == (
        'error gathering device information while adding custom device "/no/such": no such file or directory'
    )


@pytest.mark.parametrize("text", ["foo", "c 1:3", "c 1:3 rwmx", "x 1:3 r", "c 1 r", "c \u0661:3 r"])
def test_device_rules_that_are_none(text: str) -> None:
    with pytest.raises(InvalidParameter):
        resources.devices(HostConfig(device_cgroup_rules=[text]))


def test_device_rule() -> None:
    _, rules = resources.devices(HostConfig(device_cgroup_rules=["c 13:* rw"]))
    assert rules[-1] == oci.LinuxDeviceCgroup(allow=True, type="c", major=13, minor=-1, access="rw")


@pytest.mark.parametrize(
    ("text", "number"),
    [("TERM", 15), ("SIGTERM", 15), ("sigkill", 9), ("9", 9), ("RTMIN+3", 37), ("SIGRTMAX-14", 50), ("64", 64)],
)
def test_signals(text: str, number: int) -> None:
    assert signals.number(text) == number


@pytest.mark.parametrize("text", ["FOO", "0", "65", "", "-1", "\u0669"])
def test_signals_that_are_none(text: str) -> None:
    with pytest.raises(InvalidParameter):
        signals.number(text)


@pytest.mark.parametrize(
    ("text", "size"), [("10", 10), ("10b", 10), ("1k", 1024), ("1.5m", 1_572_864), ("2GiB", 2 << 30), ("3 kb", 3072)]
)
def test_sizes(text: str, size: int) -> None:
    assert size_bytes(text) == size
