"""Refusals at create, in Docker's sentences (each was given by Docker 28.5.2 for the same request)."""

import pytest

from onggi.engine.container_config import (
    ContainerConfig,
    HealthConfig,
    HostConfig,
    LogConfig,
    PortBinding,
    RestartPolicy,
)
from onggi.engine.unsupported import check_host_config as check_support
from onggi.engine.validation import check_config, check_host_config
from onggi.errors import InvalidParameter, OnggiError, System, Unsupported

MIB = 1024 * 1024

CONFIGS = [
    (ContainerConfig(working_dir="rel"), "the working directory 'rel' is invalid, it needs to be an absolute path"),
    (ContainerConfig(stop_signal="FOO"), "invalid signal: FOO"),
    (ContainerConfig(env=["=x"]), "invalid environment variable: =x"),
    (ContainerConfig(env=[""]), "invalid environment variable: "),
    (
        ContainerConfig(healthcheck=HealthConfig(test=["CMD", "x"], interval=5)),
        "Interval in Healthcheck cannot be less than 1ms",
    ),
    (
        ContainerConfig(healthcheck=HealthConfig(test=["CMD", "x"], retries=-5)),
        "Retries in Healthcheck cannot be negative",
    ),
]
HOSTS = [
    (HostConfig(memory=1000), "Minimum memory limit allowed is 6MB"),
    (HostConfig(memory=-5), "Minimum memory limit allowed is 6MB"),
    (
        HostConfig(memory=10 * MIB, memory_swap=5 * MIB),
        "Minimum memoryswap limit should be larger than memory limit, see usage",
    ),
    (
        HostConfig(memory_swap=50 * MIB),
        "You should always set the Memory limit when using Memoryswap limit, see usage",
    ),
    (
        HostConfig(memory=10 * MIB, memory_reservation=50 * MIB),
        "Minimum memory limit can not be less than memory reservation limit, see usage",
    ),
    (HostConfig(memory_swappiness=101), "Invalid value: 101, valid memory swappiness range is 0-100"),
    (
        HostConfig(nano_cpus=10**9, cpu_quota=5000),
        "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
    ),
    (
        HostConfig(cpu_period=10),
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
    ),
    (HostConfig(cpu_quota=10), "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
    (HostConfig(cpu_shares=-1), "invalid CPU shares (-1): value must be a positive integer"),
    (HostConfig(cpuset_cpus="a"), "Invalid value a for cpuset cpus: invalid format: a"),
    (
        HostConfig(restart_policy=RestartPolicy("foo")),
        "invalid restart policy: unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
    ),
    (
        HostConfig(restart_policy=RestartPolicy("always", 3)),
        "invalid restart policy: maximum retry count can only be used with 'on-failure'",
    ),
    (
        HostConfig(restart_policy=RestartPolicy("always"), auto_remove=True),
        "can't create 'AutoRemove' container with restart policy",
    ),
    (HostConfig(oom_score_adj=2000), "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
    (HostConfig(shm_size=-1), "SHM size can not be less than 0"),
    (HostConfig(ipc_mode="foo"), "invalid IPC mode: foo"),
    (HostConfig(pid_mode="foo"), "invalid PID mode: foo"),
    (HostConfig(uts_mode="foo"), "invalid UTS mode: foo"),
    (HostConfig(cgroupns_mode="foo"), "invalid cgroup namespace mode: foo"),
    (HostConfig(network_mode="container:"), "invalid network mode: invalid container format container:<name|id>"),
    (HostConfig(cap_add=["FOO"]), 'invalid CapAdd: unknown capability: "CAP_FOO"'),
    (HostConfig(port_bindings={"80/tcp": [PortBinding(host_port="x")]}), 'invalid port specification: "x"'),
    (HostConfig(port_bindings={"x/tcp": []}), 'invalid port specification: "x"'),
    (HostConfig(annotations={"": "x"}), "invalid Annotations: the empty string is not permitted as an annotation key"),
    (HostConfig(isolation="hyperv"), "invalid isolation (hyperv): linux only supports 'default'"),
    (
        HostConfig(log_config=LogConfig("json-file", {"foo": "x"})),
        "unknown log opt 'foo' for json-file log driver",
    ),
]


@pytest.mark.parametrize(("config", "sentence"), CONFIGS)
def test_config(config: ContainerConfig, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        check_config(config)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(("host", "sentence"), HOSTS)
def test_host_config(host: HostConfig, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        if not host.log_config.type:
            host = _logging(host)
        check_support(host)
        check_host_config(ContainerConfig(), host)
    assert str(caught.value) == sentence


def _logging(host: HostConfig) -> HostConfig:
    from msgspec.structs import replace

    return replace(host, log_config=LogConfig("json-file", {}))


@pytest.mark.parametrize("option", ["foo", "foo=bar", "no-new-privileges=x"])
def test_security_options(option: str) -> None:
    number = 2 if "=" in option else 1
    with pytest.raises(System) as caught:
        check_host_config(ContainerConfig(), HostConfig(security_opt=[option]))
    assert str(caught.value) == f'invalid --security-opt {number}: "{option}"'


@pytest.mark.parametrize(
    "host",
    [
        HostConfig(cgroup="x"),
        HostConfig(kernel_memory_tcp=5),
        HostConfig(cpu_count=1),
    ],
)
def test_what_is_not_there_is_refused(host: HostConfig) -> None:
    with pytest.raises(Unsupported) as caught:
        check_support(_logging(host) if not host.log_config.type else host)
    assert "is not supported by Onggi: " in str(caught.value)


def test_warnings() -> None:
    host = HostConfig(network_mode="host", port_bindings={"80/tcp": [PortBinding(host_port="80")]})
    assert check_host_config(ContainerConfig(), host) == ["Published ports are discarded when using host network mode"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("kernel.x/../y", "1"), ("net.ipv4.ip_forward\n", "1"), ("net.ipv4.ip_forward", "1\n+"), ("x", "1")],
)
def test_sysctls_that_are_none(name: str, value: str) -> None:
    with pytest.raises(OnggiError):
        check_host_config(ContainerConfig(), HostConfig(sysctls={name: value}))
