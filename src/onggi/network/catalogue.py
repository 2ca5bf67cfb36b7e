"""Which networks there are: the three that always are, and those that users make."""

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Protocol

from onggi.errors import Conflict, Forbidden, InvalidParameter, NotFound
from onggi.linux.netlink import Route
from onggi.network import store
from onggi.network.endpoint import Endpoint
from onggi.network.ipam import SMALL_BLOCKS, Block, free_subnet
from onggi.network.network import (
    DEFAULT_BRIDGE_OPTION,
    HOST_BINDING_OPTION,
    ICC_OPTION,
    MASQUERADE_OPTION,
    MTU_OPTION,
    NAME_OPTION,
    PREDEFINED,
    CreateNetwork,
    Network,
    check_request,
    parse_subnet,
)
from onggi.network.segment import Segment, bridge_link, first_subnet, occupied, write_sysctl
from onggi.state.database import Database

Publish = Callable[[str, str, str, Mapping[str, str]], None]
"""Type ("network"), action ("connect"), actor ID, attributes: `Events.publish`."""


class Pool(Protocol):
    @property
    def base(self) -> IPv4Network: ...
    @property
    def size(self) -> int: ...


class NetworkSettings(Protocol):
    """What is read of the engine's settings."""

    @property
    def exec_root(self) -> Path: ...
    @property
    def bridge_name(self) -> str: ...
    @property
    def bip(self) -> IPv4Interface | None: ...
    @property
    def fixed_cidr(self) -> IPv4Network | None: ...
    @property
    def default_address_pools(self) -> Sequence[Pool]: ...
    @property
    def mtu(self) -> int: ...
    @property
    def ip_forward(self) -> bool: ...
    @property
    def icc(self) -> bool: ...
    @property
    def dns(self) -> Sequence[str]: ...
    @property
    def dns_search(self) -> Sequence[str]: ...
    @property
    def dns_options(self) -> Sequence[str]: ...


class NoSuchNetwork(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"network {name} not found")


class Catalogue:
    """The networks by ID, and the segment of each that has a bridge."""

    def __init__(
        self,
        settings: NetworkSettings,
        database: Database,
        publish: Publish,
        *,
        active: Callable[[str], Mapping[str, Endpoint]],
        changed: Callable[[], Awaitable[None]],
        leaving: Callable[[Segment], Awaitable[None]],
    ) -> None:
        """`active` tells the endpoints on a network by container.

        `changed` is awaited when a bridge came or went, `leaving` before one goes.
        """
        self._settings = settings
        self._database = database
        self._publish = publish
        self._active = active
        self._changed = changed
        self._leaving = leaving
        self._networks: dict[str, Network] = {}
        self.segments: dict[str, Segment] = {}
        """By network ID."""

    @property
    def _forwarding_mark(self) -> Path:
        return self._settings.exec_root / "turned-forwarding-on"

    @property
    def closes_host(self) -> bool:
        """The host was no router before this engine since boot: it must not become one for others."""
        return self._forwarding_mark.exists()

    async def load(self) -> None:
        """Read what is stored, and settle the predefined networks as the settings want them now."""
        for network in self._database.read(store.networks):
            self._networks[network.id] = network
        await self._settle_predefined()
        for network in self._networks.values():
            if network.driver == "bridge":
                self.segments[network.id] = Segment(network)

    @property
    def default(self) -> Segment:
        """The default bridge."""
        return next(segment for segment in self.segments.values() if segment.network.is_default_bridge)

    async def _settle_predefined(self) -> None:
        """The networks bridge, host and none, as the settings want them now."""
        known = {network.name: network for network in self._networks.values()}
        settings = self._settings
        before = known.get("bridge")
        if settings.bip is not None:
            subnet, gateway = settings.bip.network, settings.bip.ip
        elif before is not None:
            subnet, gateway = IPv4Network(before.subnet), IPv4Address(before.gateway)
        else:
            subnet = await asyncio.to_thread(self._choose_subnet)
            gateway = subnet[1]
        bridge = Network(
            id=before.id if before else _new_id(),
            name="bridge",
            driver="bridge",
            created_at=_now(),
            subnet=str(subnet),
            gateway=str(gateway),
            ip_range=str(settings.fixed_cidr) if settings.fixed_cidr else "",
            link=settings.bridge_name,
            subnet_asked=settings.bip is not None,
            options={
                DEFAULT_BRIDGE_OPTION: "true",
                ICC_OPTION: "true" if settings.icc else "false",
                MASQUERADE_OPTION: "true",
                HOST_BINDING_OPTION: "0.0.0.0",
                NAME_OPTION: settings.bridge_name,
                MTU_OPTION: str(settings.mtu),
            },
        )
        wanted = [bridge]
        for name, driver in (("host", "host"), ("none", "null")):
            wanted.append(known.get(name) or Network(id=_new_id(), name=name, driver=driver, created_at=_now()))
        new = [network for network in wanted if network.name not in known]

        def save(connection: sqlite3.Connection) -> None:
            for network in new:
                store.add_network(connection, network)
            store.update_network(connection, bridge)

        await self._database.write(save)
        for network in wanted:
            self._networks[network.id] = network

    async def _reserve_subnet(self) -> IPv4Network:
        """A free subnet that no network has which was made while the host's routes were read. Note it at once."""
        while True:
            subnet = await asyncio.to_thread(self._choose_subnet)
            if not any(
                other.subnet and IPv4Network(other.subnet).overlaps(subnet) for other in self._networks.values()
            ):
                return subnet

    def _choose_subnet(self) -> IPv4Network:
        """A free subnet. Blocks: reads the host's routes."""
        known = list(self._networks.values())  # a copy: this runs in a thread
        ours = [network.link for network in known if network.link]
        with Route() as route:
            taken = occupied(route, ours)
        taken += [IPv4Network(network.subnet) for network in known if network.subnet]
        blocks = [Block(pool.base, pool.size) for pool in self._settings.default_address_pools]
        return free_subnet(blocks or SMALL_BLOCKS, taken, first_subnet(self._settings.bridge_name))

    def raise_bridges(self) -> None:
        with Route() as route:
            for segment in self.segments.values():
                segment.raise_bridge(route)
        if self._settings.ip_forward and write_sysctl("net/ipv4/ip_forward", "1"):
            self._forwarding_mark.touch()

    def lower_bridges(self) -> None:
        with Route() as route:
            present = {link.name for link in route.links()}
            for segment in self.segments.values():
                if segment.network.link in present:
                    route.delete(segment.network.link)

    def list(self) -> Sequence[Network]:
        return sorted(self._networks.values(), key=lambda network: (network.created_at, network.name))

    def get(self, name: str) -> Network:
        """By ID, name or unique beginning of an ID. Raises NoSuchNetwork, InvalidParameter when ambiguous."""
        name = "bridge" if name == "default" else name
        found = self._networks.get(name)
        if found is not None:
            return found
        named = [network for network in self._networks.values() if network.name == name]
        begun = named or [network for network in self._networks.values() if name and network.id.startswith(name)]
        if not begun:
            raise NoSuchNetwork(name)
        if len(begun) > 1:
            raise InvalidParameter(f"network {name} is ambiguous ({len(begun)} matches found on ID prefix)")
        return begun[0]

    async def create(self, request: CreateNetwork) -> Network:
        """Make a bridge network. Raises InvalidParameter, Unsupported, Forbidden, Conflict."""
        check_request(request)
        if request.name in PREDEFINED:
            raise Forbidden(f"operation is not permitted on predefined {request.name} network")
        self._refuse_name(request.name)
        config = request.ipam.config[0] if request.ipam is not None and request.ipam.config else None
        part: IPv4Network | None = None
        reserved: dict[str, IPv4Address] = {}
        if config is not None and config.subnet:
            subnet, gateway, part, reserved = parse_subnet(config)
            for other in self._networks.values():
                if other.subnet and IPv4Network(other.subnet).overlaps(subnet):
                    raise Forbidden("invalid pool request: Pool overlaps with other one on this address space")
        elif config is not None and (config.gateway or config.ip_range):
            raise InvalidParameter(
                "invalid network config:\nevery ip-range or gateway must have a corresponding subnet"
            )
        else:
            subnet = await self._reserve_subnet()
            gateway = subnet[1]
        self._refuse_name(request.name)  # another request may have been quicker
        network_id = _new_id()
        options = dict(request.options or {})
        network = Network(
            id=network_id,
            name=request.name,
            driver="bridge",
            created_at=_now(),
            subnet=str(subnet),
            gateway=str(gateway),
            ip_range=str(part) if part else "",
            reserved={name: str(address) for name, address in reserved.items()},
            ipam_options=dict((request.ipam.options if request.ipam else None) or {}),
            link=options.get(NAME_OPTION) or bridge_link(self._settings.bridge_name, network_id),
            internal=request.internal,
            attachable=request.attachable,
            options=options,
            labels=dict(request.labels or {}),
            subnet_asked=config is not None and bool(config.subnet),
        )
        if any(other.link == network.link for other in self._networks.values()):
            raise Forbidden(f"cannot create network: bridge name {network.link} already in use")
        segment = Segment(network)
        # Noted before anything waits: two requests at once must not both get the name or the subnet.
        self._networks[network_id] = network
        try:
            await self._database.write(lambda connection: store.add_network(connection, network))
            await asyncio.to_thread(_raise, segment)
            self.segments[network_id] = segment
            await self._changed()
            segment.open_loopback()
        except BaseException:
            del self._networks[network_id]
            self.segments.pop(network_id, None)
            await self._database.write(lambda connection: store.remove_network(connection, network_id))
            await asyncio.to_thread(_lower, segment)
            raise
        self._publish("network", "create", network_id, {"name": network.name, "type": network.driver})
        return network

    def _refuse_name(self, name: str) -> None:
        if any(network.name == name for network in self._networks.values()):
            raise Conflict(f"network with name {name} already exists")

    async def remove(self, name: str) -> None:
        """Raises NoSuchNetwork, Forbidden when predefined or in use."""
        network = self.get(name)
        if network.name in PREDEFINED:
            raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
        active = self._active(network.id)
        if active:
            listed = ", ".join(f'name:"{row.container_name}" id:"{row.endpoint_id[:12]}"' for row in active.values())
            raise Forbidden(f"error while removing network: network {network.name} has active endpoints ({listed})")
        segment = self.segments.pop(network.id)
        del self._networks[network.id]
        await self._leaving(segment)
        await self._database.write(lambda connection: store.remove_network(connection, network.id))
        await self._changed()
        await asyncio.to_thread(_lower, segment)
        self._publish("network", "destroy", network.id, {"name": network.name, "type": network.driver})

    async def prune(self, wanted: Callable[[Network], bool]) -> Sequence[str]:
        """Remove the networks without running containers that `wanted` accepts; their names."""
        idle = [
            network
            for network in self.list()
            if network.name not in PREDEFINED and not self._active(network.id) and wanted(network)
        ]
        for network in idle:
            await self.remove(network.id)
        return [network.name for network in idle]


def _new_id() -> str:
    return os.urandom(32).hex()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def _raise(segment: Segment) -> None:
    with Route() as route:
        segment.raise_bridge(route)


def _lower(segment: Segment) -> None:
    with Route() as route:
        if any(link.name == segment.network.link for link in route.links()):
            route.delete(segment.network.link)
