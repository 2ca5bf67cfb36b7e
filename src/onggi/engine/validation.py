"""What can be said against a container's configuration before it is made, in Docker's sentences.

Functions take configuration and raise InvalidParameter, or return warnings. Nothing here knows an engine.
(moby: daemon/container.go `verifyContainerSettings`, daemon/daemon_unix.go `verifyPlatformContainerResources`)
"""

import os
import re
from collections.abc import Sequence

from onggi.engine import apparmor, capabilities, signals
from onggi.engine.container_config import ContainerConfig, HealthConfig, HostConfig, RestartPolicy
from onggi.engine.log_drivers import drivers
from onggi.errors import InvalidParameter, System
from onggi.linux import cgroup

MINIMUM_MEMORY_BYTES = 6 * 1024 * 1024
MINIMUM_SHARES, MAXIMUM_SHARES = 2, 262_144
_MILLISECOND_NS = 1_000_000
_PORT = re.compile(r"[0-9]{1,5}(?:-[0-9]{1,5})?", re.ASCII)
_SYSCTL = re.compile(r"[a-z0-9_-]+(?:[./][a-zA-Z0-9_.:@-]+)+", re.ASCII)


def check_config(config: ContainerConfig) -> None:
    """What does not depend on the host."""
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidParameter(
            f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path"
        )
    if "\0" in config.working_dir:
        raise InvalidParameter("invalid working directory: it holds a NUL byte")
    if config.stop_signal:
        signals.number(config.stop_signal)
    for entry in config.env or ():
        if not entry or entry.startswith("="):
            raise InvalidParameter(f"invalid environment variable: {entry}")
        if "\0" in entry:
            raise InvalidParameter("invalid environment variable: it holds a NUL byte")
    for word in config.argv():
        if "\0" in word:
            raise InvalidParameter("invalid command: it holds a NUL byte")
    for text, what in ((config.hostname, "hostname"), (config.domainname, "domainname")):
        if any(not character.isprintable() or character.isspace() for character in text) or len(text) > 253:
            raise InvalidParameter(f"invalid {what}: {text[:80]!r}")
    for port in config.exposed_ports or ():
        _check_port(port)
    if config.healthcheck:
        _check_health(config.healthcheck)


def _check_health(check: HealthConfig) -> None:
    times = (
        ("Interval", check.interval), ("Timeout", check.timeout), ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    )  # fmt: skip
    for name, value in times:
        if value < 0 or 0 < value < _MILLISECOND_NS:
            raise InvalidParameter(f"{name} in Healthcheck cannot be less than 1ms")
    if check.retries < 0:
        raise InvalidParameter("Retries in Healthcheck cannot be negative")
    if check.test and check.test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise InvalidParameter(f'unknown type "{check.test[0]}" in Healthcheck (expected "NONE", "CMD" or "CMD-SHELL")')


def _check_port(text: str) -> None:
    number, _, protocol = text.partition("/")
    if protocol not in ("", "tcp", "udp", "sctp"):
        raise InvalidParameter(f'invalid port specification: "{text}": unknown protocol')
    _check_port_range(number)


def _check_port_range(text: str) -> None:
    if not _PORT.fullmatch(text) or any(int(part) > 65535 for part in text.split("-")):
        raise InvalidParameter(f'invalid port specification: "{text}"')


def check_restart_policy(policy: RestartPolicy) -> None:
    if policy.name not in ("", "no", "always", "on-failure", "unless-stopped"):
        raise InvalidParameter(
            f"invalid restart policy: unknown policy '{policy.name}'; "
            "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if policy.maximum_retry_count and policy.name != "on-failure":
        raise InvalidParameter("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if policy.maximum_retry_count < 0:
        raise InvalidParameter("invalid restart policy: maximum retry count cannot be negative")


def check_host_config(config: ContainerConfig, host: HostConfig) -> list[str]:
    """All of HostConfig but mounts and networks, which their own packages check. Returns warnings."""
    warnings: list[str] = []
    check_restart_policy(host.restart_policy)
    if host.auto_remove and host.restart_policy.name not in ("", "no"):
        raise InvalidParameter("can't create 'AutoRemove' container with restart policy")
    for port, bindings in (host.port_bindings or {}).items():
        _check_port(port)
        for binding in bindings or ():
            if binding.host_port:
                _check_port_range(binding.host_port)
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidParameter(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if host.shm_size < 0:
        raise InvalidParameter("SHM size can not be less than 0")
    capabilities.normalise(host.cap_add or (), "CapAdd")
    capabilities.normalise(host.cap_drop or (), "CapDrop")
    for key in host.annotations or ():
        if not key:
            raise InvalidParameter("invalid Annotations: the empty string is not permitted as an annotation key")
    _check_modes(config, host)
    drivers.check(host.log_config.type, host.log_config.config or {})
    _check_sysctls(host)
    parse_security(host.security_opt or ())
    if host.network_mode == "host" and host.port_bindings:
        warnings.append("Published ports are discarded when using host network mode")
    if config.mac_address:
        warnings.append(
            "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
        )
    return [*warnings, *check_resources(host)]


def _check_modes(config: ContainerConfig, host: HostConfig) -> None:
    if host.ipc_mode not in ("", "none", "private", "shareable", "host") and not _of_container(host.ipc_mode):
        raise InvalidParameter(f"invalid IPC mode: {host.ipc_mode}")
    if host.pid_mode not in ("", "host") and not _of_container(host.pid_mode):
        raise InvalidParameter(f"invalid PID mode: {host.pid_mode}")
    if host.uts_mode not in ("", "host"):
        raise InvalidParameter(f"invalid UTS mode: {host.uts_mode}")
    if host.cgroupns_mode not in ("", "private", "host"):
        raise InvalidParameter(f"invalid cgroup namespace mode: {host.cgroupns_mode}")
    if host.uts_mode == "host" and config.hostname:
        raise InvalidParameter("conflicting options: hostname and the UTS mode")
    if host.network_mode.startswith("container:"):
        if not _of_container(host.network_mode):
            raise InvalidParameter("invalid network mode: invalid container format container:<name|id>")
        conflicts = (
            (config.hostname, "hostname and the network mode"),
            (host.dns, "dns and the network mode"),
            (host.extra_hosts, "custom host-to-IP mapping and the network mode"),
            (config.mac_address, "mac-address and the network mode"),
            (host.port_bindings or host.publish_all_ports, "port publishing and the container type network mode"),
            (config.exposed_ports, "port exposing and the container type network mode"),
        )
        for given, what in conflicts:
            if given:
                raise InvalidParameter(f"conflicting options: {what}")


def _of_container(mode: str) -> bool:
    return mode.startswith("container:") and len(mode) > len("container:")


def _check_sysctls(host: HostConfig) -> None:
    for name, value in (host.sysctls or {}).items():
        if not _SYSCTL.fullmatch(name) or ".." in name:
            raise InvalidParameter(f"sysctl '{name}' is not allowed: this is no sysctl's name")
        if not value.isprintable():
            raise InvalidParameter(f"invalid value for sysctl '{name}': it must be one printable line")


_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


class SecurityOptions:
    """`--security-opt`, taken apart."""

    __slots__ = ("apparmor", "no_new_privileges", "seccomp", "systempaths_unconfined", "writable_cgroups")

    def __init__(self) -> None:
        self.apparmor = ""
        """"" is the default profile."""
        self.no_new_privileges = False
        self.seccomp = ""
        """"" is the default profile, `unconfined` none, else the profile's JSON."""
        self.systempaths_unconfined = False
        self.writable_cgroups: bool | None = None
        """None: only with --privileged."""


def parse_security(options: Sequence[str]) -> SecurityOptions:
    """Raises InvalidParameter; System with Docker's sentence for an unknown option (Docker answers 500)."""
    found = SecurityOptions()
    for text in options:
        if text == "no-new-privileges":
            found.no_new_privileges = True
            continue
        if text == "disable":
            continue
        # Old clients write `label:disable`.
        name, separator, value = text.partition("=")
        if not separator:
            name, separator, value = text.partition(":")
        if not separator:
            raise System(f'invalid --security-opt 1: "{text}"')
        if name == "no-new-privileges" and value in ("true", "false", "1", "0"):
            found.no_new_privileges = value in ("true", "1")
        elif name == "seccomp":
            found.seccomp = "" if value == "builtin" else value
        elif name == "writable-cgroups":
            if value not in _TRUE | _FALSE:
                raise System(f'invalid --security-opt 2: "{text}"')
            found.writable_cgroups = value in _TRUE
        elif name == "systempaths" and value == "unconfined":
            found.systempaths_unconfined = True
        elif name == "apparmor":
            apparmor.check(value)
            found.apparmor = value
        elif name == "label":
            if value != "disable" and os.path.isdir("/sys/fs/selinux"):
                raise InvalidParameter("SELinux labels are not supported by Onggi: use label=disable")
        else:
            raise System(f'invalid --security-opt 2: "{text}"')
    return found


def check_resources(host: HostConfig) -> list[str]:
    """Limits that contradict each other, or this machine. Returns warnings."""
    warnings: list[str] = []
    _check_memory(host)
    _check_cpu(host)
    if host.oom_kill_disable and not host.memory:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system "
            "running out of resources."
        )
    if host.blkio_weight and not 10 <= host.blkio_weight <= 1000:
        raise InvalidParameter("Range of blkio weight is from 10 to 1000")
    for device in (
        *(host.blkio_device_read_bps or ()), *(host.blkio_device_write_bps or ()),
        *(host.blkio_device_read_iops or ()), *(host.blkio_device_write_iops or ()),
    ):  # fmt: skip
        if not device.path.startswith("/") or device.rate < 0:
            raise InvalidParameter(f"invalid device limit {device.path}:{device.rate}")
    for limit in host.ulimits or ():
        if limit.soft > limit.hard != -1:
            raise InvalidParameter(
                f"ulimit soft limit must be less than or equal to hard limit: {limit.soft} > {limit.hard}"
            )
    return warnings


def _check_memory(host: HostConfig) -> None:
    if host.memory and host.memory < MINIMUM_MEMORY_BYTES:
        raise InvalidParameter("Minimum memory limit allowed is 6MB")
    if host.memory > 0 and 0 < host.memory_swap < host.memory:
        raise InvalidParameter("Minimum memoryswap limit should be larger than memory limit, see usage")
    if host.memory == 0 and host.memory_swap > 0:
        raise InvalidParameter("You should always set the Memory limit when using Memoryswap limit, see usage")
    if host.memory_swappiness is not None and not -1 <= host.memory_swappiness <= 100:
        raise InvalidParameter(f"Invalid value: {host.memory_swappiness}, valid memory swappiness range is 0-100")
    if host.memory_reservation and host.memory_reservation < MINIMUM_MEMORY_BYTES:
        raise InvalidParameter("Minimum memory reservation allowed is 6MB")
    if 0 < host.memory < host.memory_reservation:
        raise InvalidParameter("Minimum memory limit can not be less than memory reservation limit, see usage")


def _check_cpu(host: HostConfig) -> None:
    if host.nano_cpus and host.cpu_period:
        raise InvalidParameter("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if host.nano_cpus and host.cpu_quota:
        raise InvalidParameter("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if host.cpu_realtime_period or host.cpu_realtime_runtime:
        if not has_realtime():
            raise InvalidParameter("kernel does not support CPU real-time scheduler")
        if host.cpu_realtime_period and host.cpu_realtime_runtime > host.cpu_realtime_period:
            raise InvalidParameter("cpu real-time runtime cannot be higher than cpu real-time period")
    processors = os.cpu_count() or 1
    if host.nano_cpus < 0 or host.nano_cpus > processors * 1_000_000_000:
        raise InvalidParameter(
            f"range of CPUs is from 0.01 to {processors}.00, as there are only {processors} CPUs available"
        )
    if host.cpu_shares < 0:
        raise InvalidParameter(f"invalid CPU shares ({host.cpu_shares}): value must be a positive integer")
    if host.cpu_period and not 1000 <= host.cpu_period <= 1_000_000:
        raise InvalidParameter("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < host.cpu_quota < 1000:
        raise InvalidParameter("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    _check_set(host.cpuset_cpus, "cpus", "CPUs", "/sys/devices/system/cpu/online")
    _check_set(host.cpuset_mems, "mems", "memory nodes", "/sys/devices/system/node/online")


def has_realtime() -> bool:
    """Whether control groups of this machine have a share of real-time scheduling (v1, CONFIG_RT_GROUP_SCHED)."""
    cpu = cgroup.of_host().v1.get("cpu")
    return cpu is not None and os.path.exists(f"{cpu}/cpu.rt_runtime_us")


def parse_set(text: str) -> frozenset[int]:
    """`0-2,7` as numbers. Raises ValueError."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not (first.isascii() and first.isdigit() and (not dash or (last.isascii() and last.isdigit()))):
            raise ValueError(f"invalid format: {text}")
        low, high = int(first), int(last) if dash else int(first)
        if low > high or high > 8192:
            raise ValueError(f"invalid format: {text}")
        numbers.update(range(low, high + 1))
    return frozenset(numbers)


def _check_set(text: str, member: str, what: str, available_path: str) -> None:
    if not text:
        return
    try:
        wanted = parse_set(text)
    except ValueError as error:
        raise InvalidParameter(f"Invalid value {text} for cpuset {member}: {error}") from error
    try:
        with open(available_path, encoding="ascii") as file:
            available = file.read().strip()
    except FileNotFoundError:
        available = "0"  # a kernel without NUMA has one node and no file
    if not wanted <= parse_set(available):
        raise InvalidParameter(f"Requested {what} are not available - requested {text}, available: {available}")
