"""The request that creates a container. After docker/cli: cli/command/container/opts.go."""

from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from onggi.cli.arguments import Arguments

_CONFIG_TEXTS = (("hostname", "Hostname"), ("domainname", "Domainname"), ("user", "User"), ("workdir", "WorkingDir"))
_HOST_VALUES = (
    ("annotation", "Annotations"),
    ("blkio-weight", "BlkioWeight"),
    ("blkio-weight-device", "BlkioWeightDevice"),
    ("cgroup-parent", "CgroupParent"),
    ("cgroupns", "CgroupnsMode"),
    ("cidfile", "ContainerIDFile"),
    ("cpu-period", "CpuPeriod"),
    ("cpu-quota", "CpuQuota"),
    ("cpu-rt-period", "CpuRealtimePeriod"),
    ("cpu-rt-runtime", "CpuRealtimeRuntime"),
    ("cpu-shares", "CpuShares"),
    ("cpus", "NanoCpus"),
    ("cpuset-cpus", "CpusetCpus"),
    ("cpuset-mems", "CpusetMems"),
    ("device-cgroup-rule", "DeviceCgroupRules"),
    ("device-read-bps", "BlkioDeviceReadBps"),
    ("device-read-iops", "BlkioDeviceReadIOps"),
    ("device-write-bps", "BlkioDeviceWriteBps"),
    ("device-write-iops", "BlkioDeviceWriteIOps"),
    ("add-host", "ExtraHosts"),
    ("dns", "Dns"),
    ("dns-option", "DnsOptions"),
    ("dns-search", "DnsSearch"),
    ("group-add", "GroupAdd"),
    ("init", "Init"),
    ("ipc", "IpcMode"),
    ("isolation", "Isolation"),
    ("link", "Links"),
    ("memory", "Memory"),
    ("memory-reservation", "MemoryReservation"),
    ("memory-swap", "MemorySwap"),
    ("memory-swappiness", "MemorySwappiness"),
    ("mount", "Mounts"),
    ("oom-kill-disable", "OomKillDisable"),
    ("oom-score-adj", "OomScoreAdj"),
    ("pid", "PidMode"),
    ("pids-limit", "PidsLimit"),
    ("privileged", "Privileged"),
    ("publish-all", "PublishAllPorts"),
    ("read-only", "ReadonlyRootfs"),
    ("rm", "AutoRemove"),
    ("runtime", "Runtime"),
    ("shm-size", "ShmSize"),
    ("sysctl", "Sysctls"),
    ("userns", "UsernsMode"),
    ("uts", "UTSMode"),
    ("volume-driver", "VolumeDriver"),
    ("volumes-from", "VolumesFrom"),
)
"""Options whose value goes into HostConfig as it is."""
_LABELS = (
    ("depends-on", "io.onggi.depends-on"),
    ("restart-unhealthy", "io.onggi.restart-unhealthy"),
    ("wait-for-mount", "io.onggi.wait-for-mounts"),
)
_MAPS = frozenset(("Annotations", "Sysctls"))
_WINDOWS = ("cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops")
_HEALTH = ("health-cmd", "health-interval", "health-retries", "health-start-interval", "health-start-period",
           "health-timeout")  # fmt: skip


def _host_config() -> "dict[str, Any]":
    """HostConfig of a container that nothing was said about."""
    return {
        "Binds": None, "ContainerIDFile": "", "LogConfig": {"Type": "", "Config": {}}, "NetworkMode": "default",
        "PortBindings": {}, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "AutoRemove": False,
        "VolumeDriver": "", "VolumesFrom": None, "ConsoleSize": [0, 0], "CapAdd": None, "CapDrop": None,
        "CgroupnsMode": "", "Dns": [], "DnsOptions": [], "DnsSearch": [], "ExtraHosts": None, "GroupAdd": None,
        "IpcMode": "", "Cgroup": "", "Links": None, "OomScoreAdj": 0, "PidMode": "", "Privileged": False,
        "PublishAllPorts": False, "ReadonlyRootfs": False, "SecurityOpt": None, "UTSMode": "", "UsernsMode": "",
        "ShmSize": 0, "Isolation": "", "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "",
        "BlkioWeight": 0, "BlkioWeightDevice": [], "BlkioDeviceReadBps": [], "BlkioDeviceWriteBps": [],
        "BlkioDeviceReadIOps": [], "BlkioDeviceWriteIOps": [], "CpuPeriod": 0, "CpuQuota": 0,
        "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "", "Devices": [],
        "DeviceCgroupRules": None, "DeviceRequests": None, "MemoryReservation": 0, "MemorySwap": 0,
        "MemorySwappiness": -1, "OomKillDisable": False, "PidsLimit": 0, "Ulimits": [], "CpuCount": 0,
        "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0, "MaskedPaths": None, "ReadonlyPaths": None,
    }  # fmt: skip


def _config(found: "Arguments") -> "dict[str, Any]":
    """The part that an image has too: command, environment, streams."""
    given = found.values
    attach = found.texts("attach")
    interactive = found.flag("interactive")
    stdin = interactive or "stdin" in attach
    body: dict[str, Any] = {
        "Hostname": "", "Domainname": "", "User": "",
        "AttachStdin": stdin, "AttachStdout": not attach or "stdout" in attach,
        "AttachStderr": not attach or "stderr" in attach, "Tty": found.flag("tty"),
        "OpenStdin": interactive, "StdinOnce": interactive and stdin, "Env": None,
        "Cmd": found.words[1:] or None, "Image": found.words[0], "Volumes": {}, "WorkingDir": "", "Entrypoint": None,
        "OnBuild": None, "Labels": {},
    }  # fmt: skip
    for option, key in _CONFIG_TEXTS:
        if option in given:
            body[key] = given[option]
    if "entrypoint" in given:
        body["Entrypoint"] = [given["entrypoint"]]
    if given.get("stop-signal"):
        body["StopSignal"] = given["stop-signal"]
    if "stop-timeout" in given:
        body["StopTimeout"] = given["stop-timeout"]
    return body


def _health(found: "Arguments") -> "dict[str, Any] | None":
    values = {name: found.values.get(name) for name in _HEALTH}
    some = any(values.values())
    if found.flag("no-healthcheck"):
        if some:
            raise Failure("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not some:
        return None
    for name in ("health-interval", "health-timeout", "health-retries", "health-start-period", "health-start-interval"):
        if (values[name] or 0) < 0:
            raise Failure(f"--{name} cannot be negative")
    check = {
        "Test": ["CMD-SHELL", values["health-cmd"]] if values["health-cmd"] else None,
        "Interval": values["health-interval"],
        "Timeout": values["health-timeout"],
        "StartPeriod": values["health-start-period"],
        "StartInterval": values["health-start-interval"],
        "Retries": values["health-retries"],
    }
    return {name: value for name, value in check.items() if value}


def restart_policy(text: str) -> "dict[str, Any]":
    """From "on-failure:3". Raises Failure."""
    name, colon, count = text.partition(":")
    policy: dict[str, Any] = {"Name": name, "MaximumRetryCount": 0}
    if colon and not name:
        raise Failure("invalid restart policy format: no policy provided before colon")
    if count:
        digits = count.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            raise Failure("invalid restart policy format: maximum retry count must be an integer")
        policy["MaximumRetryCount"] = int(count)
    return policy


def _capabilities(names: "Sequence[str]") -> "list[str]":
    found = set()
    for name in names:
        upper = name.strip().upper()
        found.add(upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}")
    return sorted(found)


def _modes(host: "Mapping[str, Any]") -> None:
    """Refuse what the engine would take for something else. Raises Failure."""
    pid, uts, users, cgroups = host["PidMode"], host["UTSMode"], host["UsernsMode"], host["CgroupnsMode"]
    if not (pid in ("", "host") or (pid.startswith("container:") and len(pid) > len("container:"))):
        raise Failure("--pid: invalid PID mode")
    if uts not in ("", "host"):
        raise Failure("--uts: invalid UTS mode")
    if users not in ("", "host"):
        raise Failure("--userns: invalid USER mode")
    if cgroups not in ("", "private", "host"):
        raise Failure("--cgroupns: invalid CGROUP mode")


def pairs(texts: "Sequence[str]") -> "dict[str, str]":
    """`name=value` texts as a mapping; the last of a name wins, no "=" means an empty value."""
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        found[name] = value
    return found


def _refuse(found: "Arguments") -> None:
    for option in _WINDOWS:
        if found.given(option):
            raise Failure(
                f'"--{option}" is only supported on a Docker daemon running on windows, '
                "but the Docker daemon is running on linux"
            )
    if found.flag("use-api-socket"):
        raise Failure("--use-api-socket is not supported: mount the socket with -v if the container may have root here")
    swappiness = found.number("memory-swappiness", -1)
    if swappiness != -1 and not 0 <= swappiness <= 100:
        raise Failure(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")


def body(found: "Arguments", proxies: "Mapping[str, str] | None" = None) -> "dict[str, Any]":
    """The request's JSON. `proxies` are the variables that config.json adds. Raises Failure in Docker's words."""
    given = found.values
    _refuse(found)
    config = _config(found)
    host = _host_config()
    for option, key in _HOST_VALUES:
        if option in given:
            host[key] = pairs(given[option]) if key in _MAPS else given[option]
    if "mac-address" in given:
        from onggi.cli.creation.networks import check_mac

        check_mac(given["mac-address"])
    if "volume" in given or "tmpfs" in given:
        from onggi.cli.creation import mounts

        mounts.apply(found, config, host)
    if "publish" in given or "expose" in given:
        from onggi.cli.creation import ports

        ports.apply(found, config, host)
    if "device" in given or "gpus" in given:
        from onggi.cli.creation import devices

        devices.apply(found, host)
    if proxies or "env" in given or "env-file" in given or "label" in given or "label-file" in given:
        from onggi.cli.creation import environment

        config["Env"] = environment.variables(found, proxies or {})
        config["Labels"] = environment.labels(found)
    for option, label in _LABELS:
        if option in given:
            value = "true" if given[option] is True else ",".join(found.texts(option))
            config["Labels"] = {**(config.get("Labels") or {}), label: value}
    for option, key in (("cap-add", "CapAdd"), ("cap-drop", "CapDrop")):
        if option in given:
            host[key] = _capabilities(given[option])
    _modes(host)
    if "restart" in given:
        host["RestartPolicy"] = restart_policy(given["restart"])
    if "ulimit" in given:
        limits = {limit["Name"]: limit for limit in given["ulimit"]}
        host["Ulimits"] = [limits[name] for name in sorted(limits)]
    if "log-driver" in given or "log-opt" in given:
        driver = found.text("log-driver")
        if driver == "none" and given.get("log-opt"):
            raise Failure(f"invalid logging opts for driver {driver}")
        host["LogConfig"] = {"Type": driver, "Config": pairs(found.texts("log-opt"))}
    if "security-opt" in given:
        from onggi.cli.creation import security

        security.apply(found, host)
    if "storage-opt" in given:
        if not all("=" in text for text in given["storage-opt"]):
            raise Failure("invalid storage option")
        host["StorageOpt"] = pairs(given["storage-opt"])
    health = _health(found)
    if health is not None:
        config["Healthcheck"] = health
    if found.flag("rm") and host["RestartPolicy"]["Name"] not in ("", "no"):
        raise Failure("conflicting options: cannot specify both --restart and --rm")
    endpoints: dict[str, Any]
    if any(name in given for name in ("network", "network-alias", "ip", "ip6", "link-local-ip", "mac-address")):
        from onggi.cli.creation import networks

        host["NetworkMode"], endpoints = networks.endpoints(found)
    else:
        endpoints = {"default": endpoint()}
    config["HostConfig"] = host
    config["NetworkingConfig"] = {"EndpointsConfig": endpoints}
    return config


def endpoint() -> "dict[str, Any]":
    """A network's settings when nothing is asked of it."""
    return {
        "IPAMConfig": None, "Links": None, "Aliases": None, "MacAddress": "", "DriverOpts": None, "GwPriority": 0,
        "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "",
        "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": None,
    }  # fmt: skip
