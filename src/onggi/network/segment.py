"""A bridge network in action: its bridge, its addresses, and the plugs that connect containers to it (bridge(8))."""

import hashlib
import os
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

from onggi.errors import Conflict
from onggi.linux.fd import Fd
from onggi.linux.netlink import IFF_UP, Route
from onggi.network.host_files import mac_of
from onggi.network.ipam import AddressPool
from onggi.network.network import ICC_OPTION, MASQUERADE_OPTION, Network
from onggi.network.nftables import BridgeRules
from onggi.network.sandbox import Plug


def link_prefix(bridge: str) -> str:
    """What names of this engine's links begin with: six characters that follow from its default bridge's name."""
    return "og" + hashlib.sha256(bridge.encode()).hexdigest()[:4]


def first_subnet(bridge: str) -> int:
    """Where an engine begins to look for a free subnet: 0 for the usual one."""
    return 0 if bridge == "onggi0" else int(link_prefix(bridge)[2:], 16)


def bridge_link(bridge: str, network_id: str) -> str:
    return f"{link_prefix(bridge)}b{network_id[:8]}"


def new_port_link(bridge: str) -> str:
    return f"{link_prefix(bridge)}v{os.urandom(4).hex()}"


def is_port_link(bridge: str, name: str) -> bool:
    prefix = link_prefix(bridge) + "v"
    return name.startswith(prefix) and len(name) == len(prefix) + 8


class Segment:
    """One bridge network's link and addresses."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.subnet = IPv4Network(network.subnet)
        self.gateway = IPv4Address(network.gateway)
        part = IPv4Network(network.ip_range) if network.ip_range else None
        self.addresses = AddressPool(self.subnet, self.gateway, part)
        for text in network.reserved.values():
            self.addresses.take_this(IPv4Address(text))
        self.index = 0
        """Of the bridge, once it is up."""

    @property
    def icc(self) -> bool:
        return self.network.flag(ICC_OPTION, default=True)

    @property
    def rules(self) -> BridgeRules:
        return BridgeRules(
            link=self.network.link,
            subnet=self.subnet,
            internal=self.network.internal,
            masquerade=self.network.flag(MASQUERADE_OPTION, default=True),
            icc=self.icc,
        )

    def plug(self, bridge: str, interface: str, address: IPv4Address, mac: str, *, gateway: bool) -> Plug:
        """A connection to this network, not yet made."""
        return Plug(
            bridge=self.index,
            link=new_port_link(bridge),
            interface=interface,
            address=address,
            prefix_length=self.subnet.prefixlen,
            mac=mac or mac_of(address),
            mtu=self.network.mtu,
            gateway=str(self.gateway) if gateway and not self.network.internal else "",
            isolated=not self.icc,
        )

    def raise_bridge(self, route: Route) -> None:
        """Make the bridge, or take the one that is there, and give it its address. Blocks some milliseconds.

        Raises OSError; Conflict when another kind of link has the name.
        """
        name = self.network.link
        found = next((link for link in route.links() if link.name == name), None)
        if found is None:
            route.add_bridge(name, mtu=self.network.mtu)
        elif found.kind != "bridge":
            raise Conflict(f"the link {name} exists and is no bridge: choose another with --bridge-name")
        self.index = route.index(name)
        # Before it is up: an address of its own making would let containers speak IPv6 to the host.
        write_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", "1", missing_ok=True)
        # What claims an address that does not belong on this bridge is dropped (RFC 3704).
        write_sysctl(f"net/ipv4/conf/{name}/rp_filter", "1")
        wanted = (str(self.gateway), self.subnet.prefixlen)
        addresses = [(address, length) for index, address, length in route.addresses() if index == self.index]
        for address, length in addresses:
            if (address, length) != wanted:
                route.delete_address(self.index, address, length)
        if wanted not in addresses:
            route.add_address(self.index, *wanted)
        if found is None or not found.flags & IFF_UP:
            route.up(self.index)

    def open_loopback(self) -> None:
        """Let answers to the host's 127.0.0.1 come back over the bridge. Only once the table drops all others."""
        write_sysctl(f"net/ipv4/conf/{self.network.link}/route_localnet", "1")


def write_sysctl(key: str, value: str, *, missing_ok: bool = False) -> bool:
    """Write /proc/sys/`key` unless it has the value already (it may be read-only and right); whether it was written."""
    try:
        with Fd(os.open(f"/proc/sys/{key}", os.O_RDONLY | os.O_CLOEXEC)) as file:
            if os.read(file.fileno(), 64).decode().strip() == value:
                return False
        with Fd(os.open(f"/proc/sys/{key}", os.O_WRONLY | os.O_CLOEXEC)) as file:
            os.write(file.fileno(), value.encode())
    except FileNotFoundError:
        if not missing_ok:
            raise
        return False
    return True


def occupied(route: Route, ours: Sequence[str]) -> list[IPv4Network]:
    """Subnets that the host has routes to or addresses in, but for those of `ours` (links)."""
    names = {link.index: link.name for link in route.links()}
    found = [
        IPv4Network((address, length), strict=False)
        for index, address, length in route.addresses()
        if names.get(index) not in ours
    ]
    for destination, length, out in route.routes():
        if length > 0 and names.get(out) not in ours:
            found.append(IPv4Network((destination, length), strict=False))
    return found


def uplinks() -> list[str]:
    """Links that the host's default routes lead over. Blocks: reads them."""
    with Route() as route:
        names = {link.index: link.name for link in route.links()}
        return sorted({names[out] for _, length, out in route.routes() if length == 0 and out in names})
