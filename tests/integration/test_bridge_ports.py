"""Published ports in the kernel, without an engine: who reaches them, and who must not.

"Outside" is a neighbour: a namespace of its own, linked to the host by a veth pair.
"""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.engine.settings import Settings
from onggi.errors import OnggiError
from onggi.network.endpoint import Binding, EndpointRequest, Sandbox
from tests.bridges import identity, opened, own_settings, run
from tests.namespaces import PATIENCE_S, SHORT_S, answering, ask, ask_from, hearing, outside, send_forged

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces")


@pytest.fixture
def settings(tmp_path: Path, worker_id: str) -> Iterator[Settings]:
    with own_settings(tmp_path, worker_id) as chosen:
        yield chosen


def test_published_ports_are_reached_from_everywhere_they_should_and_from_nowhere_else(settings: Settings) -> None:
    async def body() -> None:
        async with opened(settings) as networks:
            asked = {
                "80/tcp": [Binding("", ""), Binding("127.0.0.1", "")],
                "53/udp": [Binding("", "")],
            }
            server = await networks.connect(identity(1), EndpointRequest(name="server", ports=asked))
            other = await networks.connect(identity(2), EndpointRequest(name="other"))
            await asyncio.to_thread(check, server, other)
            await networks.release(identity(1))
            await networks.release(identity(2))

    def check(server: Sandbox, other: Sandbox) -> None:
        assert server.namespace is not None
        assert other.namespace is not None
        (endpoint,) = server.endpoints
        tcp = server.ports["80/tcp"]
        udp = server.ports["53/udp"]
        assert tcp is not None
        assert udp is not None
        everywhere, loopback, datagrams = int(tcp[0].host_port), int(tcp[1].host_port), int(udp[0].host_port)
        with (
            server.namespace as inside,
            other.namespace as beside,
            outside() as (neighbour, host),
            answering(inside, 80, b"hello"),
            answering(inside, 81, b"hidden"),
            answering(inside, 53, b"datagram", udp=True),
        ):
            assert ask("127.0.0.1", everywhere) == b"hello"
            assert ask(host, everywhere) == b"hello"
            assert ask("127.0.0.1", loopback) == b"hello"
            assert ask("127.0.0.1", datagrams, udp=True) == b"datagram"
            assert ask_from(beside, endpoint.address, 80) == b"hello"
            assert ask_from(beside, endpoint.address, 81) == b"hidden"
            # By the host's address, also by the container itself (hairpin).
            assert ask_from(beside, host, everywhere) == b"hello"
            assert ask_from(inside, host, everywhere) == b"hello"
            assert ask_from(beside, endpoint.gateway, everywhere) == b"hello"
            assert ask_from(neighbour, host, everywhere) == b"hello"
            assert ask_from(neighbour, host, datagrams, udp=True) == b"datagram"
            # Not on another address than it was asked for; not by the container's own address; not unpublished.
            assert ask(host, loopback, timeout_s=SHORT_S) == b""
            assert ask_from(neighbour, host, loopback, timeout_s=SHORT_S) == b""
            assert ask_from(neighbour, "127.0.0.1", loopback, timeout_s=SHORT_S) == b""
            assert ask_from(neighbour, endpoint.address, 80, timeout_s=SHORT_S) == b""
            assert ask_from(neighbour, endpoint.address, 81, timeout_s=SHORT_S) == b""

    run(body())


def test_no_forged_frame_reaches_a_port_that_is_published_elsewhere_or_not_at_all(settings: Settings) -> None:
    async def body() -> None:
        async with opened(settings) as networks:
            asked = {
                "1001/udp": [Binding("", "")],
                "1002/udp": [Binding("127.0.0.1", "")],
            }
            server = await networks.connect(identity(1), EndpointRequest(name="server", ports=asked))
            await asyncio.to_thread(check, server)
            await networks.release(identity(1))

    def check(server: Sandbox) -> None:
        assert server.namespace is not None
        everywhere, loopback = server.ports["1001/udp"], server.ports["1002/udp"]
        assert everywhere is not None
        assert loopback is not None
        address = server.endpoints[0].address
        open_port, local_port = int(everywhere[0].host_port), int(loopback[0].host_port)
        with (
            server.namespace as inside,
            outside() as (neighbour, host),
            hearing(inside, 1001) as first,
            hearing(inside, 1002) as second,
            hearing(inside, 1003) as third,
        ):
            send_forged(neighbour, host, host, open_port)
            assert first(PATIENCE_S), "the means of this test work"
            send_forged(neighbour, host, "127.0.0.1", local_port)
            assert not second(SHORT_S)
            send_forged(neighbour, host, "127.0.0.1", open_port)
            send_forged(neighbour, host, address, 1001)
            # Somebody else's port of the same number, on its way through the host.
            send_forged(neighbour, host, "198.51.100.7", open_port)
            assert not first(SHORT_S)
            send_forged(neighbour, host, address, 1002)
            assert not second(SHORT_S)
            send_forged(neighbour, host, address, 1003)
            assert not third(SHORT_S)

    run(body())


def test_a_taken_port_is_refused_and_nothing_is_left_of_the_attempt(settings: Settings) -> None:
    async def body() -> None:
        async with opened(settings) as networks:
            first = await networks.connect(identity(1), EndpointRequest(name="a", ports={"80/tcp": [Binding("", "")]}))
            bindings = first.ports["80/tcp"]
            assert bindings is not None
            port = bindings[0].host_port
            with pytest.raises(OnggiError, match=rf"Bind for 0\.0\.0\.0:{port} failed: port is already allocated"):
                await networks.connect(identity(2), EndpointRequest(name="b", ports={"80/tcp": [Binding("", port)]}))
            assert networks.endpoints(identity(2)) == ()
            with socket.socket() as holder:
                holder.bind(("127.0.0.1", 0))
                holder.listen()
                number = holder.getsockname()[1]
                asked = {"80/tcp": [Binding("127.0.0.1", str(number))]}
                with pytest.raises(
                    OnggiError, match=rf"failed to bind host port for 127\.0\.0\.1:{number}:.*address already in use"
                ):
                    await networks.connect(identity(2), EndpointRequest(name="b", ports=asked))
            assert first.namespace is not None
            first.namespace.close()
            await networks.release(identity(1))

    run(body())
