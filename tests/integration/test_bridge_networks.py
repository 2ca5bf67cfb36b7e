"""Bridge networks in the kernel, without an engine: real bridges, namespaces, rules and packets.

"Outside" is a neighbour: a namespace of its own, linked to the host by a veth pair.
"""

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from onggi.engine.settings import Settings
from onggi.errors import Conflict, Forbidden, InvalidParameter, NotFound, OnggiError
from onggi.linux.netlink import Route
from onggi.network import dns
from onggi.network.endpoint import Attachment, Binding, EndpointRequest, Sandbox
from onggi.network.network import CreateNetwork, Ipam, Subnet
from onggi.network.networks import Networks
from onggi.network.nftables import table_name
from tests.bridges import Events, identity, links, nft, opened, own_settings, run, tables, until
from tests.namespaces import SHORT_S, answering, ask, ask_from, connects_to, outside, resolve, within

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces")


@pytest.fixture
def settings(tmp_path: Path, worker_id: str) -> Iterator[Settings]:
    with own_settings(tmp_path, worker_id) as chosen:
        yield chosen


def test_a_container_gets_an_address_a_route_and_its_files(settings: Settings) -> None:
    async def body() -> None:
        events = Events()
        async with opened(settings, events) as networks:
            sandbox = await networks.connect(
                identity(1), EndpointRequest(name="web", hostname="web", extra_hosts=["db:10.9.8.7"])
            )
            (endpoint,) = sandbox.endpoints
            assert sandbox.namespace is not None
            with sandbox.namespace as namespace:

                def look() -> tuple[list[tuple[int, str, int]], list[tuple[str, int, int]], str]:
                    with Route() as route:
                        index = route.index("eth0")
                        mac = next(link.mac for link in route.links() if link.index == index)
                        return route.addresses(), route.routes(), mac

                addresses, routes, mac = within(namespace, look)
                assert endpoint.address in {address for _, address, _ in addresses}
                assert ("0.0.0.0", 0) in {(destination, length) for destination, length, _ in routes}
                assert mac == endpoint.mac_address
                low = within(namespace, lambda: Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
                assert low.strip() == "0"
                no_ipv6 = within(namespace, lambda: Path("/proc/sys/net/ipv6/conf/eth0/disable_ipv6").read_text())
                assert no_ipv6.strip() == "1"
            assert f"{endpoint.address}\tweb\n" in sandbox.hosts
            assert "10.9.8.7\tdb\n" in sandbox.hosts
            assert "nameserver" in sandbox.resolv_conf
            assert networks.inspect("bridge")["Containers"] == {
                identity(1): {
                    "Name": "web",
                    "EndpointID": endpoint.endpoint_id,
                    "MacAddress": endpoint.mac_address,
                    "IPv4Address": f"{endpoint.address}/{endpoint.prefix_length}",
                    "IPv6Address": "",
                }
            }
            await networks.release(identity(1))
            await networks.release(identity(1))
            assert networks.inspect("bridge")["Containers"] == {}
            assert events == [("connect", "bridge", identity(1)), ("disconnect", "bridge", identity(1))]

    run(body())


def test_attach_and_detach_a_running_container(settings: Settings) -> None:
    async def body() -> None:
        async with opened(settings) as networks:
            wish = CreateNetwork(name="fixed", ipam=Ipam(config=[Subnet(subnet=free_subnet_text(networks))]))
            network = await networks.catalogue.create(wish)
            await networks.catalogue.create(CreateNetwork(name="inner", internal=True))
            asked = EndpointRequest(name="a", ports={"80/tcp": [Binding("", "")]})
            sandbox = await networks.connect(identity(1), asked)
            published = sandbox.ports["80/tcp"]
            assert sandbox.namespace is not None
            assert published is not None
            assert networks.texts(identity(1), asked) == (sandbox.hosts, sandbox.resolv_conf)
            wanted_address = network.gateway.rsplit(".", 1)[0] + ".77"
            with sandbox.namespace as namespace:
                attachment = Attachment("fixed", aliases=("x",), ipv4_address=wanted_address)
                endpoint = await networks.attach(identity(1), namespace, "a", attachment)
                assert (endpoint.interface, endpoint.address) == ("eth1", wanted_address)
                assert await asyncio.to_thread(resolve, namespace, "x") == (0, [wanted_address])
                hosts, resolv_conf = networks.texts(identity(1), asked)
                assert hosts.count(identity(1)[:12]) == 2
                assert "nameserver 127.0.0.11\n" in resolv_conf
                with pytest.raises(Forbidden, match="endpoint with name a already exists in network fixed"):
                    await networks.attach(identity(1), namespace, "a", attachment)
                with pytest.raises(Forbidden, match="cannot connect container to host network"):
                    await networks.attach(identity(1), namespace, "a", Attachment("host"))
                with pytest.raises(InvalidParameter, match="user configured subnets"):
                    await networks.attach(identity(1), namespace, "a", Attachment("inner", ipv4_address="10.1.1.1"))
                await networks.detach(identity(1), namespace, "bridge")

                def way_out() -> list[str]:
                    with Route() as route:
                        names = {link.index: link.name for link in route.links()}
                        return [names[out] for _, length, out in route.routes() if length == 0]

                assert await asyncio.to_thread(within, namespace, way_out) == ["eth1"]
                # The published port goes the new way.
                assert networks.ports(identity(1))["80/tcp"] == published
                with answering(namespace, 80, b"hello"):
                    assert await asyncio.to_thread(ask, "127.0.0.1", int(published[0].host_port)) == b"hello"
                with pytest.raises(Forbidden, match="is not connected to network bridge"):
                    await networks.detach(identity(1), namespace, "bridge")
                await networks.attach(identity(1), namespace, "a", Attachment("inner"))
                await networks.release(identity(1))
            for name in ("fixed", "inner"):
                await networks.catalogue.remove(name)

    run(body())


def free_subnet_text(networks: Networks) -> str:
    """A /24 that the engine itself would not take next."""
    taken = networks.catalogue.default.subnet
    return str(type(taken)((int(taken.network_address) + (77 << 8), 24)))


def test_an_internal_network_leads_nowhere(settings: Settings) -> None:
    async def body() -> None:
        async with opened(settings) as networks:
            await networks.catalogue.create(CreateNetwork(name="inner", internal=True))
            a = await networks.connect(identity(1), EndpointRequest(name="a", mode="inner"))
            b = await networks.connect(
                identity(2), EndpointRequest(name="b", mode="inner", ports={"80/tcp": [Binding("", "")]})
            )
            await asyncio.to_thread(check, a, b)
            for number in (1, 2):
                await networks.release(identity(number))
            await networks.catalogue.remove("inner")

    def check(a: Sandbox, b: Sandbox) -> None:
        assert a.namespace is not None
        assert b.namespace is not None
        with a.namespace as inside, b.namespace as beside, outside() as (neighbour, host):
            with answering(beside, 80, b"b"), answering(neighbour, 80, b"world"):
                assert ask_from(inside, b.endpoints[0].address, 80) == b"b"
                other = host.rsplit(".", 1)[0] + "." + str(int(host.rsplit(".", 1)[1]) + 1)
                assert ask_from(inside, other, 80, timeout_s=SHORT_S) == b""
                with socket.socket() as server:
                    server.bind(("0.0.0.0", 0))
                    server.listen()
                    here = server.getsockname()[1]
                    assert ask_from(neighbour, host, here, timeout_s=SHORT_S) == b""  # connected, and nothing is said
                    connects = [
                        within(inside, partial(connects_to, address, here))
                        for address in (host, b.endpoints[0].address.rsplit(".", 1)[0] + ".1")
                    ]
                    assert connects == [False, False]
                assert b.ports == {}
            assert resolve(inside, "b") == (dns.NOERROR, [b.endpoints[0].address])
            assert resolve(inside, "example.org") == (dns.SERVFAIL, [])

    run(body())


def test_icc_off_keeps_the_containers_of_the_default_bridge_apart(settings: Settings) -> None:
    async def body() -> None:
        async with opened(replace(settings, icc=False)) as networks:
            a = await networks.connect(identity(1), EndpointRequest(name="a"))
            b = await networks.connect(identity(2), EndpointRequest(name="b"))
            await asyncio.to_thread(check, a, b)
            for number in (1, 2):
                await networks.release(identity(number))

    def check(a: Sandbox, b: Sandbox) -> None:
        assert a.namespace is not None
        assert b.namespace is not None
        with a.namespace as inside, b.namespace as beside, answering(beside, 80, b"b"):
            assert ask_from(inside, b.endpoints[0].address, 80, timeout_s=SHORT_S) == b""
            assert ask(b.endpoints[0].address, 80) == b"b"

    run(body())


def test_flushed_rules_come_back_at_once(settings: Settings) -> None:
    async def body() -> None:
        async with opened(settings) as networks:
            server = await networks.connect(identity(1), EndpointRequest(name="a", ports={"80/tcp": [Binding("", "")]}))
            bindings = server.ports["80/tcp"]
            assert bindings is not None
            assert server.namespace is not None
            table = table_name(settings.bridge_name)
            with server.namespace as inside, answering(inside, 80, b"hello"):
                await asyncio.to_thread(nft, "delete", "table", "inet", table)
                await until(lambda: table in tables())
                assert await asyncio.to_thread(ask, "127.0.0.1", int(bindings[0].host_port)) == b"hello"
                await asyncio.to_thread(nft, "flush", "table", "inet", table)
                await until(lambda: "masquerade" in listed(table))
                assert await asyncio.to_thread(ask, "127.0.0.1", int(bindings[0].host_port)) == b"hello"
            await networks.release(identity(1))
            # What was released meanwhile does not come back with them.
            await asyncio.to_thread(nft, "delete", "table", "inet", table)
            await until(lambda: table in tables())
            assert bindings[0].host_port not in listed(table)

    run(body())


def listed(table: str) -> str:
    return subprocess.run(["nft", "list", "table", "inet", table], capture_output=True, text=True, check=False).stdout


def test_fifty_at_once_have_fifty_addresses(settings: Settings) -> None:
    async def body() -> None:
        async with opened(settings) as networks:
            sandboxes = await asyncio.gather(
                *(networks.connect(identity(number), EndpointRequest(name=f"n{number}")) for number in range(50))
            )
            addresses = {sandbox.endpoints[0].address for sandbox in sandboxes}
            assert len(addresses) == 50
            inodes = {os.fstat(sandbox.namespace.fileno()).st_ino for sandbox in sandboxes if sandbox.namespace}
            assert len(inodes) == 50
            for number, sandbox in enumerate(sandboxes):
                assert sandbox.namespace is not None
                sandbox.namespace.close()
                await networks.release(identity(number))

    run(body())


def test_what_a_killed_engine_left_is_cleared_and_what_runs_is_kept(settings: Settings) -> None:
    async def body() -> None:
        async with opened(settings) as networks:
            kept = await networks.connect(identity(1), EndpointRequest(name="a", ports={"80/tcp": [Binding("", "")]}))
            gone = await networks.connect(identity(2), EndpointRequest(name="b", ports={"80/tcp": [Binding("", "")]}))
            pooled = await networks._pools.take(networks.catalogue.default)
            assert pooled.plug is not None
        # Left with containers on it, the engine is as good as killed: everything stays.
        assert settings.bridge_name in links()
        assert table_name(settings.bridge_name) in tables()
        assert kept.namespace is not None
        assert gone.namespace is not None
        async with opened(settings) as networks:
            await networks.reconcile([identity(1)])
            assert pooled.plug.link not in links()
            assert gone.endpoints[0].link not in links()
            assert kept.endpoints[0].link in links()
            assert networks.endpoints(identity(2)) == ()
            bindings = networks.ports(identity(1))["80/tcp"]
            assert bindings is not None
            with kept.namespace as inside, answering(inside, 80, b"hello"):
                assert await asyncio.to_thread(ask, "127.0.0.1", int(bindings[0].host_port)) == b"hello"
            freed = gone.ports["80/tcp"]
            assert freed is not None
            again = await networks.connect(
                identity(3), EndpointRequest(name="c", ports={"80/tcp": [Binding("", freed[0].host_port)]})
            )
            assert again.endpoints[0].address != kept.endpoints[0].address
            assert again.namespace is not None
            again.namespace.close()
            await networks.release(identity(3))
            await networks.release(identity(1))
        gone.namespace.close()
        pooled.namespace.close()

    run(body())


def test_networks_made_at_once_have_subnets_of_their_own(settings: Settings) -> None:
    async def body() -> None:
        async with opened(settings) as networks:
            made = await asyncio.gather(
                *(networks.catalogue.create(CreateNetwork(name=f"n{number}")) for number in range(8))
            )
            assert len({network.subnet for network in made}) == 8
            outcomes = await asyncio.gather(
                *(networks.catalogue.create(CreateNetwork(name="same")) for _ in range(4)), return_exceptions=True
            )
            assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict"] * 3 + ["Network"]
            await asyncio.gather(*(networks.catalogue.remove(network.id) for network in made))
            await networks.catalogue.remove("same")

    run(body())


def test_every_address_of_a_small_network_can_be_had(settings: Settings) -> None:
    async def body() -> None:
        async with opened(settings) as networks:
            taken = networks.catalogue.default.subnet
            subnet = type(taken)((int(taken.network_address) + (78 << 8), 27))
            config = Ipam(config=[Subnet(subnet=str(subnet))])
            await networks.catalogue.create(CreateNetwork(name="small", ipam=config))
            await networks.catalogue.create(CreateNetwork(name="other"))
            namespaces = []
            found = set()
            for number in range(29):
                # Plain ones come from the pool; those with wishes or two networks do not.
                attachments = [Attachment("small", ipv4_address=str(subnet[5]) if number == 1 else "")]
                if number % 2 and number > 1:
                    attachments.append(Attachment("other"))
                request = EndpointRequest(name=f"n{number}", mode="small", attachments=attachments)
                sandbox = await networks.connect(identity(number), request)
                assert sandbox.namespace is not None
                namespaces.append(sandbox.namespace)
                found |= {item.address for item in sandbox.endpoints if item.network_name == "small"}
            assert found == {str(subnet[last]) for last in range(2, 31)}
            with pytest.raises(OnggiError, match="no available IPv4 addresses"):
                await networks.connect(identity(99), EndpointRequest(name="n", mode="small"))
            for number, namespace in enumerate(namespaces):
                namespace.close()
                await networks.release(identity(number))
            await networks.catalogue.prune(lambda network: True)

    run(body())


def test_refusals_of_networks(settings: Settings) -> None:
    async def body() -> None:
        async with opened(settings) as networks:
            create = networks.catalogue.create
            await create(CreateNetwork(name="one"))
            with pytest.raises(Conflict, match=r"^network with name one already exists$"):
                await create(CreateNetwork(name="one"))
            with pytest.raises(Forbidden, match=r"^operation is not permitted on predefined bridge network$"):
                await create(CreateNetwork(name="bridge"))
            with pytest.raises(InvalidParameter, match=r"^invalid name: name is empty$"):
                await create(CreateNetwork(name=" "))
            overlap = Ipam(config=[Subnet(subnet=str(networks.catalogue.default.subnet))])
            with pytest.raises(Forbidden, match="Pool overlaps with other one on this address space"):
                await create(CreateNetwork(name="two", ipam=overlap))
            with pytest.raises(Forbidden, match=r"^bridge is a pre-defined network and cannot be removed$"):
                await networks.catalogue.remove("bridge")
            with pytest.raises(NotFound, match=r"^failed to set up container networking: network nope not found$"):
                await networks.connect(identity(1), EndpointRequest(name="a", mode="nope"))
            with pytest.raises(
                InvalidParameter, match=r"user specified IP address is supported on user defined networks"
            ):
                networks.check(EndpointRequest(name="a", attachments=[Attachment("bridge", ipv4_address="10.0.0.9")]))
            assert networks.catalogue.get(networks.catalogue.get("one").id[:10]).name == "one"
            await networks.catalogue.prune(lambda network: True)
            assert [network.name for network in networks.catalogue.list()] == ["bridge", "host", "none"]

    run(body())


def test_modes_host_and_none(settings: Settings) -> None:
    async def body() -> None:
        async with opened(settings) as networks:
            host = await networks.connect(identity(1), EndpointRequest(name="a", mode="host"))
            assert host.namespace is None
            assert host.hostname == socket.gethostname()
            none = await networks.connect(identity(2), EndpointRequest(name="b", mode="none"))
            assert none.namespace is not None
            with none.namespace as inside:

                def names() -> list[str]:
                    with Route() as route:
                        return [link.name for link in route.links() if link.flags & 1]

                assert await asyncio.to_thread(within, inside, names) == ["lo"]
                shared = await networks.connect(
                    identity(3), EndpointRequest(name="c", mode=f"container:{identity(2)}", namespace=inside)
                )
                assert shared.namespace is not None
                with shared.namespace as same:
                    assert os.fstat(same.fileno()).st_ino == os.fstat(inside.fileno()).st_ino
            for number in (1, 2, 3):
                await networks.release(identity(number))

    run(body())


def test_the_subnet_is_kept_and_bip_moves_it(settings: Settings) -> None:
    async def body() -> None:
        async with opened(settings) as networks:
            first = networks.catalogue.default.subnet
        async with opened(settings) as networks:
            assert networks.catalogue.default.subnet == first
            moved = type(first)((int(first.network_address) + (99 << 8), 26))
        async with opened(replace(settings, bip=IPv4Interface((moved[1], 26)))) as networks:
            sandbox = await networks.connect(identity(1), EndpointRequest(name="a"))
            assert sandbox.endpoints[0].address == str(moved[2])
            assert sandbox.namespace is not None
            sandbox.namespace.close()
            await networks.release(identity(1))

    run(body())
