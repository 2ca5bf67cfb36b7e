"""`inspect`: everything about a container, in Docker's form. (moby: daemon/inspect.go)"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from onggi.engine import apparmor, links
from onggi.engine.container import Container
from onggi.engine.container_config import ContainerConfig, EndpointSettings
from onggi.engine.lifecycle import State, is_running
from onggi.engine.validation import parse_security
from onggi.errors import NotFound
from onggi.network.endpoint import Endpoint

if TYPE_CHECKING:
    from onggi.engine.engine import Engine

NEVER = "0001-01-01T00:00:00Z"
DRIVER = "overlay2"


def time_text(moment: datetime | None) -> str:
    """RFC 3339 in UTC, without zeros at the end, as Go prints it."""
    if moment is None:
        return NEVER
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")
    return f"{text}Z"


def state_document(container: Container) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Status": str(container.state),
        "Running": is_running(container.state),
        "Paused": container.state is State.PAUSED,
        "Restarting": container.state is State.RESTARTING,
        "OOMKilled": container.oom_killed,
        "Dead": container.state is State.DEAD,
        "Pid": container.pid,
        "ExitCode": container.exit_code,
        "Error": container.error,
        "StartedAt": time_text(container.started_at),
        "FinishedAt": time_text(container.finished_at),
    }
    if container.health is not None:
        shown["Health"] = {
            "Status": str(container.health.status),
            "FailingStreak": container.health.failing_streak,
            "Log": [
                {
                    "Start": time_text(result.start),
                    "End": time_text(result.end),
                    "ExitCode": result.exit_code,
                    "Output": result.output,
                }
                for result in container.health.log
            ],
        }
    return shown


def _endpoint_document(asked: EndpointSettings, got: Endpoint | None) -> dict[str, Any]:
    shown = asked.document()
    if got is not None:
        shown |= {
            "MacAddress": got.mac_address,
            "NetworkID": got.network_id,
            "EndpointID": got.endpoint_id,
            "Gateway": got.gateway,
            "IPAddress": got.address,
            "IPPrefixLen": got.prefix_length,
            "DNSNames": list(got.dns_names) or None,
        }
    return shown


def network_documents(engine: "Engine", container: Container) -> dict[str, dict[str, Any]]:
    """NetworkSettings.Networks: what was asked, and while it runs what it got."""
    got = {endpoint.network_name: endpoint for endpoint in engine.networks.endpoints(container.id)}
    by_id = {endpoint.network_id: endpoint for endpoint in got.values()}
    shown: dict[str, dict[str, Any]] = {}
    for name, asked in container.endpoints.items():
        endpoint = got.get(name) or by_id.get(name)
        shown[endpoint.network_name if endpoint else name] = _endpoint_document(asked, endpoint)
    for name, endpoint in got.items():
        if name not in shown:
            shown[name] = _endpoint_document(EndpointSettings(), endpoint)
    return shown


def _network_settings(engine: "Engine", container: Container) -> dict[str, Any]:
    networks = network_documents(engine, container)
    running = is_running(container.state)
    ports = engine.networks.ports(container.id) if running else {}
    first = networks.get("bridge", {})
    return {
        "Bridge": "",
        "SandboxID": container.id if running else "",
        "SandboxKey": f"/proc/{container.pid}/ns/net" if running and container.pid else "",
        "Ports": {
            port: [{"HostIp": binding.host_ip, "HostPort": binding.host_port} for binding in bindings or ()] or None
            for port, bindings in ports.items()
        },
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        # The members of old speak of the default bridge alone.
        "EndpointID": first.get("EndpointID", ""),
        "Gateway": first.get("Gateway", ""),
        "GlobalIPv6Address": first.get("GlobalIPv6Address", ""),
        "GlobalIPv6PrefixLen": first.get("GlobalIPv6PrefixLen", 0),
        "IPAddress": first.get("IPAddress", ""),
        "IPPrefixLen": first.get("IPPrefixLen", 0),
        "IPv6Gateway": first.get("IPv6Gateway", ""),
        "MacAddress": first.get("MacAddress", "") if running else "",
        "Networks": networks,
    }


def _graph_driver(engine: "Engine", container: Container) -> dict[str, Any]:
    try:
        root = engine.snapshots.root(container.id)
    except NotFound:
        return {"Name": DRIVER, "Data": None}
    data = {
        "ID": container.id,
        "LowerDir": ":".join(root.lower),
        # The overlay is mounted in the container's own mount namespace only: the host has no path to it.
        "MergedDir": f"/proc/{container.pid}/root" if container.pid else "",
        "UpperDir": root.upper,
        "WorkDir": root.work,
    }
    return {"Data": data, "Name": DRIVER}


def _config(container: Container) -> ContainerConfig:
    """With the MAC address of old, which is asked for the network that the mode names today."""
    asked = container.endpoints.get(container.host_config.network_mode)
    if asked is None or container.config.mac_address or not asked.mac_address:
        return container.config
    return replace(container.config, mac_address=asked.mac_address)


def inspect(engine: "Engine", container: Container) -> Mapping[str, Any]:
    """The answer of GET /containers/{name}/json, in Docker's order."""
    path, *arguments = container.config.argv() or [""]
    has_run = container.started_at is not None
    files = container.directory

    def file(name: str) -> str:
        return str(files / name) if has_run else ""

    return {
        "Id": container.id,
        "Created": time_text(container.created_at),
        "Path": path,
        "Args": arguments,
        "State": state_document(container),
        "Image": container.image_id,
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "LogPath": str(container.log_path) if has_run and container.host_config.log_config.type == "json-file" else "",
        "Name": f"/{container.name}",
        "RestartCount": container.restart_count,
        "Driver": DRIVER,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": apparmor.profile(
            parse_security(container.host_config.security_opt or ()).apparmor,
            privileged=container.host_config.privileged,
        ),
        "ExecIDs": list(container.exec_ids) or None,
        "HostConfig": container.host_config.document() | {"Links": links.shown(engine, container)},
        "GraphDriver": _graph_driver(engine, container),
        "Mounts": [point.summary() for point in container.mounts if point.type != "tmpfs" or point.spec],
        "Config": _config(container).document(),
        "NetworkSettings": _network_settings(engine, container),
    }
