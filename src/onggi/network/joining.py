"""What joining networks comes to: which way out, which names, what is refused."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from msgspec import structs

from onggi.errors import InvalidParameter
from onggi.linux.netlink import mac_bytes
from onggi.network.endpoint import Attachment, Endpoint, EndpointRequest, PublishedPort
from onggi.network.network import Network, parse_address
from onggi.network.nftables import Forward
from onggi.network.publish import PortWish, wishes
from onggi.network.resolver_client import NameEntry
from onggi.network.sandbox import Plug
from onggi.network.segment import Segment

SYSCTLS = "com.docker.network.endpoint.sysctls"
"""The driver option of an endpoint that sets parameters of its interface: `net.ipv4.conf.IFNAME.log_martians=1,…`."""
_SYSCTL = re.compile(r"net\.(?:ipv4|ipv6|mpls)\.[a-z0-9_]+\.(?:IFNAME|ifname)\.[a-z0-9_]+=[\w.:-]+", re.ASCII)
_IFNAME = re.compile("ifname", re.IGNORECASE)  # docker writes it small
Wanted = tuple[Network, Attachment]


@dataclass(slots=True)
class Connected:
    """What one container has."""

    name: str
    endpoints: tuple[Endpoint, ...]
    exposed: tuple[str, ...] = ()

    @property
    def published(self) -> tuple[PublishedPort, ...]:
        return tuple(port for endpoint in self.endpoints for port in endpoint.ports)

    @property
    def forwards(self) -> list[Forward]:
        return [Forward(port, endpoint.address) for endpoint in self.endpoints for port in endpoint.ports]


def gateway_of(wanted: Sequence[Wanted]) -> Network | None:
    """The network that gets the default route and the published ports: highest priority, then first by name."""
    leading = [row for row in wanted if not row[0].internal]
    if not leading:
        return None
    return min(leading, key=lambda row: (-row[1].gateway_priority, row[0].name))[0]


def ports_wanted(request: EndpointRequest, network: Network) -> list[PortWish]:
    """The ports of the host that a container asks for, where `network` leads out."""
    return list(
        wishes(
            request.ports,
            request.exposed,
            publish_all=request.publish_all,
            default_address=network.host_binding,
        )
    )


def refusal_to_join(network: Network) -> str:
    if network.driver == "host":
        return "cannot connect container to host network - container must be created in host network mode"
    return "container cannot be connected to multiple networks with one of the networks in private (none) mode"


def check_attachment(network: Network, attachment: Attachment) -> None:
    """Raises InvalidParameter with Docker's sentences for what the network does not offer."""
    problems = _address_problems(network, attachment.ipv4_address)
    if network.is_default_bridge and attachment.aliases:
        problems.append("network-scoped aliases are only supported for user-defined networks")
    if attachment.mac_address:
        try:
            mac_bytes(attachment.mac_address)
        except ValueError:
            problems.append(f"invalid MAC address: {attachment.mac_address}")
    for option, value in attachment.driver_options.items():
        if option == SYSCTLS and network.driver == "bridge":
            problems += [
                f"unrecognised network interface sysctl '{setting}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', "
                "'X' must be 'ipv4', 'ipv6' or 'mpls'"
                for setting in value.split(",")
                if not _SYSCTL.fullmatch(setting)
            ]
        else:
            problems.append(f'endpoint option "{option}" is not supported')
    if problems:
        listed = problems[0] if len(problems) == 1 else "\n".join(f"* {problem}" for problem in problems)
        raise InvalidParameter(f"invalid config for network {network.name}: invalid endpoint settings:\n{listed}")


def _address_problems(network: Network, text: str) -> list[str]:
    if not text:
        return []
    problems = []
    if network.is_default_bridge or network.driver != "bridge":
        problems.append("user specified IP address is supported on user defined networks only")
    if network.driver != "bridge" or not (network.is_default_bridge or network.subnet_asked):
        problems.append(
            "user specified IP address is supported only when connecting to networks with user configured subnets"
        )
        return problems
    try:
        inside = parse_address(text, "IPv4 address") in IPv4Network(network.subnet)
    except InvalidParameter as error:
        problems.append(str(error))
        inside = False
    if not inside:
        problems.append(f"no configured subnet or ip-range contain the IP address {text}")
    return problems


def interface_sysctls(endpoints: Sequence[Endpoint]) -> dict[str, str]:
    """Kernel parameters that were asked for the interfaces of a container, by their names inside."""
    return {
        _IFNAME.sub(endpoint.interface, name): value
        for endpoint in endpoints
        for setting in endpoint.driver_options.get(SYSCTLS, "").split(",")
        if setting
        for name, _, value in (setting.partition("="),)
    }


def describe(container_id: str, name: str, segment: Segment, attachment: Attachment, plug: Plug) -> Endpoint:
    """The endpoint that a plug makes."""
    network = segment.network
    names: tuple[str, ...] = ()
    if network.resolves_names:
        names = tuple(dict.fromkeys((name, *attachment.aliases, container_id[:12])))
    return Endpoint(
        container_name=name,
        network_id=network.id,
        network_name=network.name,
        endpoint_id=os.urandom(32).hex(),
        interface=plug.interface,
        link=plug.link,
        address=str(plug.address),
        prefix_length=plug.prefix_length,
        gateway="" if network.internal else str(segment.gateway),
        mac_address=plug.mac,
        leads=bool(plug.gateway),
        aliases=tuple(attachment.aliases),
        links=tuple(attachment.links),
        dns_names=names,
        gateway_priority=attachment.gateway_priority,
        asked_address=attachment.ipv4_address,
        asked_mac=attachment.mac_address,
        driver_options=dict(attachment.driver_options),
    )


def unplugged(name: str, network: Network) -> Endpoint:
    """The endpoint of a container in mode "host" or "none": noted, and nothing more."""
    return Endpoint(
        container_name=name,
        network_id=network.id,
        network_name=network.name,
        endpoint_id=os.urandom(32).hex(),
        interface="",
        link="",
        address="",
        prefix_length=0,
        gateway="",
        mac_address="",
    )


def name_entries(connected: Connected, segments: Mapping[str, Segment]) -> list[NameEntry]:
    """The names that a container has on its networks."""
    return [
        NameEntry(
            network_id=endpoint.network_id,
            network_name=endpoint.network_name,
            subnet=segments[endpoint.network_id].subnet,
            names=endpoint.dns_names,
            address=endpoint.address,
        )
        for endpoint in connected.endpoints
        if endpoint.dns_names
    ]


def resolving_networks(connected: Connected) -> list[str]:
    return [endpoint.network_id for endpoint in connected.endpoints if endpoint.dns_names]


def upstream(connected: Connected) -> tuple[str, ...]:
    """The servers that the container's embedded resolver asks."""
    return next((endpoint.nameservers for endpoint in connected.endpoints if endpoint.nameservers), ())


def with_upstream(connected: Connected, servers: Sequence[str]) -> Connected:
    endpoints = tuple(
        structs.replace(endpoint, nameservers=tuple(servers)) if endpoint.dns_names else endpoint
        for endpoint in connected.endpoints
    )
    return Connected(connected.name, endpoints, connected.exposed)


def linked_names(connected: Connected, on_network: Callable[[str], Mapping[str, Endpoint]]) -> dict[str, str]:
    """Aliases of --link on user-defined networks, as far as the other container runs."""
    found = {}
    for endpoint in connected.endpoints:
        others = on_network(endpoint.network_id)
        for link in endpoint.links:
            name, _, alias = link.partition(":")
            for other_id, other in others.items():
                if name and (other.container_name == name or other_id.startswith(name)):
                    found[alias or name] = other.address
    return found
