"""One container on one network: what is asked for, and what it got."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from onggi.linux.fd import Fd


class Binding(msgspec.Struct, frozen=True, rename="pascal"):
    """One host side of a published port, Docker's PortBinding."""

    host_ip: str = ""
    """The host's address that is bound; "" means all of them."""
    host_port: str = ""
    """One port ("8080"), a range to choose from ("8000-8010"), or "" for any free one."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a container wants of one network (Docker's EndpointSettings, the asked half)."""

    network: str
    """Name, ID or ID prefix."""
    aliases: Sequence[str] = ()
    links: Sequence[str] = ()
    """`NAME_OR_ID:ALIAS` of other containers on the network."""
    ipv4_address: str = ""
    mac_address: str = ""
    driver_options: Mapping[str, str] = field(default_factory=dict)
    gateway_priority: int = 0


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    """All that a container wants of the network, from its configuration.

    `mode` is Docker's NetworkMode: "default", "bridge", "host", "none", "container:ID" or a network's name. With
    "container:ID" the other's namespace comes as `namespace`; for "host" there is none.
    """

    name: str
    """The container's name without "/": a DNS name on user-defined networks."""
    mode: str = "default"
    attachments: Sequence[Attachment] = ()
    """One for each entry of EndpointsConfig; empty: the network that `mode` names, without wishes."""
    hostname: str = ""
    domainname: str = ""
    ports: Mapping[str, Sequence[Binding] | None] = field(default_factory=dict)
    """HostConfig.PortBindings: "80/tcp" → bindings."""
    exposed: Sequence[str] = ()
    """Config.ExposedPorts: "80/tcp"."""
    publish_all: bool = False
    extra_hosts: Sequence[str] = ()
    """`NAME:ADDRESS`; the address "host-gateway" stands for the host."""
    linked_hosts: Sequence[tuple[str, str]] = ()
    """Address and names of the containers that it is linked to on the default bridge."""
    dns: Sequence[str] = ()
    dns_search: Sequence[str] = ()
    dns_options: Sequence[str] = ()
    mac_address: str = ""
    """Config.MacAddress, for the network that `mode` names."""
    namespace: Fd | None = None


class Endpoint(msgspec.Struct, frozen=True):
    """What a container got on one network; stored, and shown by `inspect` (the given half of EndpointSettings)."""

    container_name: str
    network_id: str
    network_name: str
    endpoint_id: str
    interface: str
    """The link inside: eth0."""
    link: str
    """The link outside, a port of the bridge; "" where there is none."""
    address: str
    prefix_length: int
    gateway: str
    mac_address: str
    leads: bool = False
    """The container's default route goes this way."""
    exposed: tuple[str, ...] = ()
    """The container's exposed ports: "80/tcp"."""
    aliases: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    nameservers: tuple[str, ...] = ()
    """Whom the embedded resolver asks for names that are not its own."""
    ports: tuple["PublishedPort", ...] = ()
    gateway_priority: int = 0
    asked_address: str = ""
    asked_mac: str = ""
    driver_options: dict[str, str] = {}


class PublishedPort(msgspec.Struct, frozen=True, order=True):
    """A port of a container that the host answers for."""

    protocol: str
    container_port: int
    host_ip: str
    host_port: int

    @property
    def container(self) -> str:
        """As the keys of Docker's PortMap: `80/tcp`."""
        return f"{self.container_port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A container's network, ready to be joined."""

    namespace: Fd | None
    """The caller's, to close once the container runs: its processes keep it. None: the host's own namespace."""
    endpoints: tuple[Endpoint, ...]
    hostname: str
    """What /etc/hostname says and sethostname(2) gets: the asked one, the host's with mode "host"."""
    hosts: str
    """/etc/hosts."""
    resolv_conf: str
    """/etc/resolv.conf."""
    ports: Mapping[str, Sequence[Binding] | None]
    """NetworkSettings.Ports: every exposed or published port with its bindings, None when only exposed."""
