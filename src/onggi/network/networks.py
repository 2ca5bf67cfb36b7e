"""The networks of one engine, and the containers on them."""

import asyncio
import itertools
import logging
import socket
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec import structs

from onggi.errors import Forbidden, InvalidParameter, NotFound, OnggiError, System, Unsupported
from onggi.linux.fd import Fd
from onggi.linux.netlink import Route
from onggi.network import host_files, store
from onggi.network.catalogue import Catalogue, NetworkSettings, Publish
from onggi.network.endpoint import Attachment, Binding, Endpoint, EndpointRequest, PublishedPort, Sandbox
from onggi.network.firewall import Firewall
from onggi.network.host_files import ResolvConf
from onggi.network.joining import (
    SYSCTLS,
    Connected,
    Wanted,
    check_attachment,
    describe,
    gateway_of,
    ports_wanted,
    refusal_to_join,
    resolving_networks,
    unplugged,
    upstream,
    with_upstream,
)
from onggi.network.name_service import NameService
from onggi.network.network import Network, parse_address
from onggi.network.nftables import Forward
from onggi.network.pools import Pools
from onggi.network.publish import HostPorts, PortAllocated, PortInUse, port_map, wishes
from onggi.network.resolver_client import ResolverProcess
from onggi.network.sandbox import NamespaceThread, Plug, Ready
from onggi.network.segment import Segment, is_port_link, uplinks
from onggi.state.database import Database

log = logging.getLogger(__name__)


class Networks:
    """Enter it to make the bridges and the pools of ready namespaces; leave it to let go of them.

    Containers that run keep their network when it is left, or killed; `reconcile` tells which those are.
    """

    def __init__(self, settings: NetworkSettings, database: Database, publish: Publish) -> None:
        self._settings = settings
        self._database = database
        self._publish = publish
        self._thread = NamespaceThread()
        self._pools = Pools(settings.bridge_name, self._thread)
        self.catalogue = Catalogue(
            settings,
            database,
            publish,
            active=self.on_network,
            changed=self._renew_rules,
            leaving=self._pools.drop,
        )
        self._connected: dict[str, Connected] = {}
        self._host_ports = HostPorts()
        self._resolver = ResolverProcess(settings.exec_root / "resolver")
        self._names = NameService(self._resolver, self.catalogue, self._thread, self.on_network)
        self._stack = AsyncExitStack()
        self._firewall: Firewall

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            self._host_ports.close()
            raise
        return self

    async def _open(self) -> None:
        await self.catalogue.load()
        for container_id, endpoints in self._database.read(store.endpoints).items():
            self._readmit(container_id, endpoints)
        await asyncio.to_thread(self.catalogue.raise_bridges)

        forwards = [forward for connected in self._connected.values() for forward in connected.forwards]
        rules = [segment.rules for segment in self.catalogue.segments.values()]
        leads = await asyncio.to_thread(uplinks)
        enter = self._stack.enter_async_context
        self._firewall = await enter(
            Firewall(self._settings.bridge_name, rules, leads, forwards, closes_host=self.catalogue.closes_host)
        )
        for segment in self.catalogue.segments.values():
            segment.open_loopback()
        self._stack.enter_context(self._thread)
        await enter(self._resolver)
        await self._names.find(self._connected)
        await enter(self._pools)
        self._pools.prepare(self.catalogue.default)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with AsyncExitStack() as rest:  # from the last to the first, each though another fails
            if not self._connected:
                rest.push_async_callback(asyncio.to_thread, self.catalogue.lower_bridges)
            rest.callback(self._host_ports.close)
            rest.push_async_callback(self._stack.aclose)
            if not self._connected:
                rest.push_async_callback(self._firewall.take_down)

    @property
    def default_gateway(self) -> str:
        """The host's address on the default bridge: what "host-gateway" stands for."""
        return str(self.catalogue.default.gateway)

    async def _renew_rules(self) -> None:
        rules = [segment.rules for segment in self.catalogue.segments.values()]
        await self._firewall.replace(rules, await asyncio.to_thread(uplinks))

    def _readmit(self, container_id: str, endpoints: Sequence[Endpoint]) -> None:
        """Take up again what a container had before this process; `reconcile` decides whether it still does."""
        kept = []
        for endpoint in endpoints:
            segment = self.catalogue.segments.get(endpoint.network_id)
            if segment is not None and IPv4Address(endpoint.address) in segment.subnet:
                segment.addresses.take_this(IPv4Address(endpoint.address))
            for port in endpoint.ports:
                try:
                    self._host_ports.hold(port, endpoint.address)
                except (PortInUse, PortAllocated) as error:
                    log.warning("container %s: %s", container_id[:12], error)
            kept.append(endpoint)
        self._connected[container_id] = Connected(kept[0].container_name, tuple(kept), kept[0].exposed)

    async def reconcile(self, running: Collection[str]) -> None:
        """After a start of the engine: keep what the running containers have, release all others."""
        for container_id in [known for known in self._connected if known not in running]:
            await self.release(container_id)
        await asyncio.to_thread(self._remove_stray_links)

    def _remove_stray_links(self) -> None:
        """Port links that no container has: their namespaces outlived a killed engine by another's hand."""
        with Route() as route:
            present = [link.name for link in route.links()]
            wanted = {endpoint.link for connected in self._connected.values() for endpoint in connected.endpoints}
            for name in present:
                if is_port_link(self._settings.bridge_name, name) and name not in wanted | self._pools.links:
                    try:
                        route.delete(name)
                    except OSError as error:
                        log.info("link %s: %s", name, error)  # gone with its namespace meanwhile

    async def mend(self, container_id: str, namespace: Fd) -> None:
        """After a start of the engine: serve names to a running container again, should the resolver have ended."""
        connected = self._connected.get(container_id)
        if connected is not None:
            await self._names.mend(container_id, namespace, connected)

    def on_network(self, network_id: str) -> Mapping[str, Endpoint]:
        """Container ID → its endpoint, for containers that run."""
        return {
            container_id: endpoint
            for container_id, connected in self._connected.items()
            for endpoint in connected.endpoints
            if endpoint.network_id == network_id
        }

    def inspect(self, name: str) -> dict[str, object]:
        """As GET /networks/{id} answers."""
        network = self.catalogue.get(name)
        rows = {
            container_id: {
                "Name": endpoint.container_name,
                "EndpointID": endpoint.endpoint_id,
                "MacAddress": endpoint.mac_address,
                "IPv4Address": f"{endpoint.address}/{endpoint.prefix_length}" if endpoint.address else "",
                "IPv6Address": "",
            }
            for container_id, endpoint in self.on_network(network.id).items()
        }
        return network.summary(rows)

    def check(self, request: EndpointRequest) -> None:
        """Refuse at `create` what can never be connected: bad addresses, ports, host entries, DNS options.

        A namespace is made ready meanwhile.

        Raises InvalidParameter or Unsupported. Whether a network exists is asked when the container starts, as Docker
        does.
        """
        list(wishes(request.ports, request.exposed, publish_all=request.publish_all))
        for entry in request.extra_hosts:
            host_files.parse_extra_host(entry)
        ResolvConf().overridden(request.dns, request.dns_search, request.dns_options)
        for attachment in request.attachments:
            try:
                check_attachment(self.catalogue.get(attachment.network), attachment)
            except NotFound:
                continue  # it may come until the start
        if request.mode in {"", "default", "bridge"}:
            self._pools.expect(self.catalogue.default)
        elif request.mode == "none":
            self._pools.expect_bare()

    async def connect(self, container_id: str, request: EndpointRequest) -> Sandbox:
        """Give a container that is about to start its network. Undo it with `release`, also when the start fails.

        Raises NotFound for an unknown network, Conflict for an address or port that is taken.
        """
        if container_id in self._connected:
            await self.release(container_id)
        if request.mode.startswith("container:"):
            return self._shared(request)
        try:
            wanted = self._wanted(request)
            if len(wanted) == 1 and wanted[0][0].driver != "bridge":
                return await self._without_bridge(container_id, request, wanted[0][0])
            return await self._bridged(container_id, request, wanted)
        except OnggiError as error:
            category = next(kind for kind in type(error).__mro__ if kind.__module__ == OnggiError.__module__)
            raise category(f"failed to set up container networking: {error}") from error
        except OSError as error:
            raise System(f"failed to set up container networking: {error}") from error

    def _wanted(self, request: EndpointRequest) -> Sequence[Wanted]:
        """The networks, the one that `mode` names first. Raises NoSuchNetwork, InvalidParameter."""
        mode = self.catalogue.get(request.mode or "default")
        if not request.attachments:
            return [(mode, Attachment(request.mode, mac_address=request.mac_address))]
        wanted = {}
        for attachment in request.attachments:
            network = self.catalogue.get(attachment.network)
            if request.mac_address and network is mode and not attachment.mac_address:
                attachment = replace(attachment, mac_address=request.mac_address)
            check_attachment(network, attachment)
            wanted[network.id] = (network, attachment)
        if len(wanted) > 1 and any(network.driver != "bridge" for network, _ in wanted.values()):
            raise InvalidParameter("conflicting options: cannot attach both user-defined and non-user-defined networks")
        return sorted(wanted.values(), key=lambda row: (row[0] is not mode, row[0].name))

    def _shared(self, request: EndpointRequest) -> Sandbox:
        """Another container's namespace; its hosts and resolv.conf are the other's, too, so that no text is given."""
        assert request.namespace is not None, "mode container: needs the other's namespace"
        return Sandbox(request.namespace.duplicate(), (), request.hostname, "", "", {})

    async def _without_bridge(self, container_id: str, request: EndpointRequest, network: Network) -> Sandbox:
        """Mode "host" or "none"."""
        resolver = ResolvConf.of_host()
        if network.driver == "host":
            namespace = None
            hostname = request.hostname or socket.gethostname()
            own = await asyncio.to_thread(Path("/etc/hosts").read_text, errors="replace")
            hosts = host_files.extended(own, request.extra_hosts, self.default_gateway)
        else:
            ready = await self._pools.take_bare()
            namespace = ready.namespace
            hostname = request.hostname or container_id[:12]
            hosts = host_files.hosts(extra=request.extra_hosts, host_gateway=self.default_gateway)
            resolver = resolver.for_other_namespace()
        endpoint = unplugged(request.name, network)
        try:
            await self._admit(container_id, Connected(request.name, (endpoint,)))
        except BaseException:
            if namespace is not None:
                namespace.close()
            raise
        return Sandbox(namespace, (endpoint,), hostname, hosts, self._override(resolver, request).text(), {})

    def _override(self, resolver: ResolvConf, request: EndpointRequest) -> ResolvConf:
        """With the engine's DNS settings, and the container's above them."""
        settings = self._settings
        return resolver.overridden(
            request.dns or settings.dns,
            request.dns_search or settings.dns_search,
            request.dns_options or settings.dns_options,
        )

    async def _bridged(self, container_id: str, request: EndpointRequest, wanted: Sequence[Wanted]) -> Sandbox:
        resolver = self._override(ResolvConf.of_host().for_other_namespace(), request)
        if len(wanted) == 1 and not wanted[0][1].ipv4_address:
            ready = await self._pools.take(self.catalogue.segments[wanted[0][0].id])
            plugs = [ready.plug] if ready.plug is not None else []
        else:
            ready = await self._pools.take_bare()
            plugs = []
        published: tuple[PublishedPort, ...] = ()
        try:
            if not plugs:
                plugs = await self._plugs(wanted)
                await self._thread.plug_in(ready.namespace, plugs)
            elif wanted[0][1].mac_address:
                plugs = [replace(plugs[0], mac=wanted[0][1].mac_address)]
                await self._thread.set_mac(ready.namespace, plugs[0].interface, plugs[0].mac)
            for network, _ in wanted:
                self.catalogue.get(network.id)  # it may have been removed while this one was made
            connected = self._describe(container_id, request, wanted, plugs)
            published = connected.published
            await self._firewall.publish(connected.forwards)
            if resolving_networks(connected):
                connected = with_upstream(connected, self._upstream(connected, resolver))
                await self._names.serve(container_id, ready, connected)
            await self._admit(container_id, connected)
        except BaseException:
            ready.close()
            await self._names.close(container_id)
            self._host_ports.release(published)
            for plug, (network, _) in zip(plugs, wanted, strict=False):
                if network.id in self.catalogue.segments:
                    self.catalogue.segments[network.id].addresses.give_back(plug.address)
            raise
        hosts, resolv_conf = self._texts(container_id, request, connected, resolver)
        ports = port_map(connected.published, connected.exposed)
        hostname = request.hostname or container_id[:12]
        return Sandbox(ready.namespace, connected.endpoints, hostname, hosts, resolv_conf, ports)

    def texts(self, container_id: str, request: EndpointRequest) -> tuple[str, str]:
        """/etc/hosts and /etc/resolv.conf of a container on bridges, as they should be now that it runs."""
        resolver = self._override(ResolvConf.of_host().for_other_namespace(), request)
        connected = self._connected.get(container_id) or Connected(request.name, ())
        return self._texts(container_id, request, connected, resolver)

    def _texts(
        self, container_id: str, request: EndpointRequest, connected: Connected, resolver: ResolvConf
    ) -> tuple[str, str]:
        hosts = host_files.hosts(
            extra=request.extra_hosts,
            host_gateway=self.default_gateway,
            linked=request.linked_hosts,
            addresses=[endpoint.address for endpoint in connected.endpoints],
            hostname=request.hostname or container_id[:12],
            domainname=request.domainname,
        )
        resolver = resolver.behind_resolver() if resolving_networks(connected) else resolver
        return hosts, resolver.text()

    async def _plugs(self, wanted: Sequence[Wanted], taken: Sequence[str] = ()) -> list[Plug]:
        """Addresses and interface names on each network, all or none. Raises Conflict, System."""
        gateway = gateway_of(wanted)
        plugs: list[Plug] = []
        names = (name for number in itertools.count() if (name := f"eth{number}") not in taken)
        try:
            for (network, attachment), interface in zip(wanted, names, strict=False):
                segment = self.catalogue.segments[network.id]
                address = await self._take_address(segment, attachment)
                plug = segment.plug(
                    self._settings.bridge_name,
                    interface,
                    address,
                    attachment.mac_address,
                    gateway=not taken and network is gateway,
                )
                self._pools.links.add(plug.link)
                plugs.append(plug)
        except BaseException:
            for plug, (network, _) in zip(plugs, wanted, strict=False):
                self.catalogue.segments[network.id].addresses.give_back(plug.address)
            raise
        return plugs

    async def _take_address(self, segment: Segment, attachment: Attachment) -> IPv4Address:
        if not attachment.ipv4_address:
            try:
                return segment.addresses.take()
            except System:
                if not await self._pools.free(segment, None):
                    raise
                return segment.addresses.take()
        address = parse_address(attachment.ipv4_address, "IPv4 address")
        await self._pools.free(segment, address)
        segment.addresses.take_this(address)
        return address

    def _describe(
        self, container_id: str, request: EndpointRequest, wanted: Sequence[Wanted], plugs: Sequence[Plug]
    ) -> Connected:
        """The endpoints, with the host's ports taken for the one that has the default route. Raises PortAllocated, …"""
        gateway = gateway_of(wanted)
        endpoints = []
        for (network, attachment), plug in zip(wanted, plugs, strict=True):
            segment = self.catalogue.segments[network.id]
            endpoint = describe(container_id, request.name, segment, attachment, plug)
            endpoint = structs.replace(endpoint, exposed=tuple(request.exposed))
            if network is gateway and not network.internal:
                try:
                    ports = self._host_ports.allocate(ports_wanted(request, network), endpoint.address)
                except (PortAllocated, PortInUse) as error:
                    raise System(
                        f"driver failed programming external connectivity on endpoint {request.name} "
                        f"({endpoint.endpoint_id}): {error}"
                    ) from error
                endpoint = structs.replace(endpoint, ports=ports)
            endpoints.append(endpoint)
        return Connected(request.name, tuple(endpoints), tuple(request.exposed))

    def _upstream(self, connected: Connected, resolver: ResolvConf) -> Sequence[str]:
        """Whom the embedded resolver asks: nobody for a container that must not reach the world."""
        if not any(self._leads_out(endpoint) for endpoint in connected.endpoints):
            return ()
        return resolver.nameservers

    async def _admit(self, container_id: str, connected: Connected) -> None:
        """Note in memory and on disk what a container has. Raises NoSuchNetwork when one was removed meanwhile."""
        for endpoint in connected.endpoints:
            self.catalogue.get(endpoint.network_id)
        self._connected[container_id] = connected
        try:
            await self._save(container_id)
        except BaseException:
            del self._connected[container_id]
            raise
        for endpoint in connected.endpoints:
            self._tell("connect", container_id, endpoint)

    async def _save(self, container_id: str) -> None:
        connected = self._connected.get(container_id)
        endpoints = connected.endpoints if connected is not None else ()
        await self._database.write_short(lambda connection: store.put_endpoints(connection, container_id, endpoints))

    def _tell(self, action: str, container_id: str, endpoint: Endpoint) -> None:
        network = self.catalogue.get(endpoint.network_id)
        attributes = {"container": container_id, "name": network.name, "type": network.driver}
        self._publish("network", action, network.id, attributes)

    async def release(self, container_id: str) -> None:
        """Take back addresses and published ports of a container that has stopped. Idempotent.

        Its links vanish by themselves, with the namespace.
        """
        connected = self._connected.pop(container_id, None)
        if connected is None:
            return
        try:
            await self._firewall.withdraw(connected.forwards)
            await self._names.close(container_id)
        finally:
            self._give_back(connected.endpoints)
            await self._save(container_id)
            for endpoint in connected.endpoints:
                self._tell("disconnect", container_id, endpoint)

    def _give_back(self, endpoints: Sequence[Endpoint]) -> None:
        for endpoint in endpoints:
            self._host_ports.release(endpoint.ports)
            segment = self.catalogue.segments.get(endpoint.network_id)
            if segment is not None and endpoint.address:
                segment.addresses.give_back(IPv4Address(endpoint.address))

    def endpoints(self, container_id: str) -> Sequence[Endpoint]:
        """What a running container has; empty when it has stopped or shares another's network."""
        connected = self._connected.get(container_id)
        return connected.endpoints if connected is not None else ()

    def ports(self, container_id: str) -> Mapping[str, Sequence[Binding] | None]:
        """NetworkSettings.Ports of a running container."""
        connected = self._connected.get(container_id)
        return port_map(connected.published, connected.exposed) if connected is not None else {}

    async def republish(self, container_id: str, request: EndpointRequest) -> None:
        """Publish what `request` asks for of a running container on a bridge, and no more what it had besides; what
        stays is not interrupted. Raises System when a port is taken, and has changed nothing then."""
        connected = self._connected[container_id]
        gateway = gateway_of(self._wanted(request))
        endpoints = []
        for endpoint in connected.endpoints:
            if gateway is not None and endpoint.network_id == gateway.id:
                try:
                    ports = self._host_ports.exchange(endpoint.ports, ports_wanted(request, gateway), endpoint.address)
                except (PortAllocated, PortInUse) as error:
                    raise System(str(error)) from error
                endpoint = structs.replace(endpoint, ports=ports)
            endpoints.append(structs.replace(endpoint, exposed=tuple(request.exposed)))
        await self._connect_as(container_id, Connected(connected.name, tuple(endpoints), tuple(request.exposed)))

    def connected(self, container_id: str) -> Connected:
        """What a running container has: for `publish_as_before`."""
        return self._connected[container_id]

    async def publish_as_before(self, container_id: str, before: Connected) -> None:
        """Undo a `republish`: the very ports of `before`.

        Raises what `HostPorts.hold` raises for a port that is taken by now; the others are published then.
        """
        lost = self._host_ports.restore(
            {port: endpoint.address for endpoint in before.endpoints for port in endpoint.ports},
            (port for endpoint in self._connected[container_id].endpoints for port in endpoint.ports),
        )
        endpoints = tuple(
            structs.replace(endpoint, ports=tuple(port for port in endpoint.ports if port not in lost))
            for endpoint in before.endpoints
        )
        await self._connect_as(container_id, Connected(before.name, endpoints, before.exposed))
        if lost:
            raise next(iter(lost.values()))

    async def hand_over(self, giver_id: str, taker_id: str) -> None:
        """What comes for the published ports of one running container goes to another from now on: in one step, so that
        nobody is refused. Both are on the network by which the ports are published. Raises OSError; then nothing is
        changed. Connections that are open stay where they are."""
        giver, taker = self._connected[giver_id], self._connected[taker_id]
        ports = {endpoint.network_id: endpoint.ports for endpoint in giver.endpoints if endpoint.ports}
        given = Connected(
            giver.name, tuple(structs.replace(endpoint, ports=()) for endpoint in giver.endpoints), giver.exposed
        )
        taken = Connected(
            taker.name,
            tuple(structs.replace(endpoint, ports=ports.get(endpoint.network_id, ())) for endpoint in taker.endpoints),
            taker.exposed,
        )
        self._connected[giver_id], self._connected[taker_id] = given, taken
        try:
            await self._firewall.exchange(giver.forwards, taken.forwards)
        except BaseException:  # also for who cancels in the middle: the ports are somebody's at any time
            self._connected[giver_id], self._connected[taker_id] = giver, taker
            await self._firewall.publish(giver.forwards)
            raise

        def save(connection: sqlite3.Connection) -> None:
            store.put_endpoints(connection, giver_id, given.endpoints)
            store.put_endpoints(connection, taker_id, taken.endpoints)

        await self._database.write_short(save)

    async def _connect_as(self, container_id: str, changed: Connected) -> None:
        before, after = self._connected[container_id].forwards, changed.forwards
        self._connected[container_id] = changed
        await self._firewall.withdraw([forward for forward in before if forward not in after])
        await self._firewall.publish([forward for forward in after if forward not in before])
        await self._save(container_id)

    async def rename(self, container_id: str, name: str, aliases: Mapping[str, Sequence[str]] | None = None) -> None:
        """The container's new name, for `network inspect` and for name resolution; and its aliases by network, if other."""
        connected = self._connected.get(container_id)
        if connected is None:
            return
        endpoints = []
        for endpoint in connected.endpoints:
            names = tuple(name if known == connected.name else known for known in endpoint.dns_names)
            own = endpoint.aliases
            if aliases is not None:
                own = tuple(aliases.get(endpoint.network_name, ()))
                names = tuple(dict.fromkeys((name, *own, container_id[:12]))) if names else ()
            endpoints.append(structs.replace(endpoint, container_name=name, aliases=own, dns_names=names))
        renamed = self._connected[container_id] = Connected(name, tuple(endpoints), connected.exposed)
        await self._save(container_id)
        await self._names.change(container_id, renamed)

    async def attach(self, container_id: str, namespace: Fd, name: str, attachment: Attachment) -> Endpoint:
        """`network connect` of a running container; `name` is the container's. Raises NoSuchNetwork, Forbidden, …"""
        network = self.catalogue.get(attachment.network)
        connected = self._connected.get(container_id) or Connected(name, ())
        if network.driver != "bridge" or any(endpoint.interface == "" for endpoint in connected.endpoints):
            raise Forbidden(refusal_to_join(network))
        if any(endpoint.network_id == network.id for endpoint in connected.endpoints):
            raise Forbidden(f"endpoint with name {name} already exists in network {network.name}")
        check_attachment(network, attachment)
        if SYSCTLS in attachment.driver_options:
            raise Unsupported(
                "parameters of an interface count from the container's start: stop it, connect it, start it"
            )
        present = await self._thread.interfaces(namespace)
        (plug,) = await self._plugs([(network, attachment)], present)
        segment = self.catalogue.segments[network.id]
        try:
            await self._thread.plug_in(namespace, [plug])
            endpoint = describe(container_id, name, segment, attachment, plug)
            joined = Connected(name, (*connected.endpoints, endpoint), connected.exposed)
            if endpoint.dns_names:
                if not upstream(joined):
                    host = await asyncio.to_thread(ResolvConf.of_host)
                    servers = tuple(self._settings.dns) or host.for_other_namespace().nameservers
                    joined = with_upstream(joined, servers if self._leads_out(endpoint) else ())
                await self._names.serve(container_id, Ready(namespace, None), joined)
            self._connected[container_id] = await self._lead(namespace, joined)
            await self._save(container_id)
        except BaseException:
            segment.addresses.give_back(plug.address)
            raise
        self._tell("connect", container_id, endpoint)
        return endpoint

    async def detach(self, container_id: str, namespace: Fd, network: str) -> None:
        """`network disconnect` of a running container. Raises NoSuchNetwork, Forbidden when it is not connected."""
        found = self.catalogue.get(network)
        connected = self._connected.get(container_id)
        endpoints = connected.endpoints if connected is not None else ()
        gone = next((endpoint for endpoint in endpoints if endpoint.network_id == found.id), None)
        if connected is None or gone is None:
            raise Forbidden(f"container {container_id} is not connected to network {found.name}")
        if found.driver == "host":
            raise Forbidden("container cannot be disconnected from host network or connected to host network")
        await self._firewall.withdraw([Forward(port, gone.address) for port in gone.ports])
        if gone.link:
            await self._thread.unplug(gone.link)
        rest = tuple(endpoint for endpoint in endpoints if endpoint is not gone)
        left = await self._lead(namespace, Connected(connected.name, rest, connected.exposed), gone.ports)
        self._connected[container_id] = left
        await self._names.change(container_id, left)
        self._give_back([gone if not left.published else structs.replace(gone, ports=())])
        await self._save(container_id)
        self._tell("disconnect", container_id, gone)

    async def _lead(self, namespace: Fd, connected: Connected, homeless: Sequence[PublishedPort] = ()) -> Connected:
        """Give the default route and the published ports to the endpoint that should have them now.

        `homeless` are ports of an endpoint that has just gone.
        """
        before = next((endpoint for endpoint in connected.endpoints if endpoint.leads), None)
        leading = [endpoint for endpoint in connected.endpoints if self._leads_out(endpoint)]
        after = min(leading, key=lambda item: (-item.gateway_priority, item.network_name), default=None)
        if after is before:
            return connected
        if before is not None and after is not None and after.gateway_priority == before.gateway_priority:
            return connected  # who leads goes on leading, as long as nobody is preferred
        await self._thread.set_default_route(namespace, after.gateway if after is not None else "")
        ports = tuple(homeless) or connected.published
        await self._firewall.withdraw(connected.forwards)
        endpoints = tuple(
            structs.replace(item, leads=item is after, ports=ports if item is after else ())
            for item in connected.endpoints
        )
        moved = Connected(connected.name, endpoints, connected.exposed)
        await self._firewall.publish(moved.forwards)
        return moved

    def _leads_out(self, endpoint: Endpoint) -> bool:
        return bool(endpoint.link) and not self.catalogue.get(endpoint.network_id).internal
