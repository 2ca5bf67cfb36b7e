"""network.publish: what is asked for, and holding ports of the host."""

import os
import resource
import socket

import pytest

from onggi.errors import InvalidParameter, Unsupported
from onggi.network.endpoint import Binding, PublishedPort
from onggi.network.publish import (
    HostPorts,
    PortAllocated,
    PortInUse,
    PortWish,
    TooManyPorts,
    parse_container_port,
    port_map,
    wishes,
)


def test_bindings_become_wishes() -> None:
    asked = {
        "80/tcp": [Binding("", "8080"), Binding("127.0.0.1", "")],
        "53/udp": [Binding("", "5300-5310")],
        "9/tcp": [],
    }
    assert list(wishes(asked, ["80/tcp", "9/tcp"], publish_all=False)) == [
        PortWish("udp", 53, "0.0.0.0", 5300, 5310),
        PortWish("tcp", 80, "0.0.0.0", 8080, 8080),
        PortWish("tcp", 80, "127.0.0.1", 0, 0),
    ]


def test_publish_all_takes_the_exposed_ports() -> None:
    found = list(wishes({"80/tcp": [Binding("", "8080")]}, ["80/tcp", "90/tcp", "91-92/udp"], publish_all=True))
    assert [(wish.container_port, wish.protocol, wish.first) for wish in found] == [
        (80, "tcp", 8080),
        (90, "tcp", 0),
        (91, "udp", 0),
        (92, "udp", 0),
    ]


@pytest.mark.parametrize("text", ["", "x", "0", "80/foo", "70000", "90-80", "-1", "８０", "80-", "1-2-3"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_container_port(text)


@pytest.mark.parametrize("binding", [Binding("localhost", "80"), Binding("", "a"), Binding("", "99999")])
def test_what_is_no_binding_is_refused(binding: Binding) -> None:
    with pytest.raises(InvalidParameter):
        list(wishes({"80/tcp": [binding]}, [], publish_all=False))


def test_an_ipv6_address_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="publishing on the IPv6 address ::1 is not supported"):
        list(wishes({"80/tcp": [Binding("::1", "80")]}, [], publish_all=False))


def test_the_port_map_shows_exposed_ports_without_bindings() -> None:
    published = [PublishedPort("tcp", 80, "0.0.0.0", 8080), PublishedPort("tcp", 80, "127.0.0.1", 8081)]
    assert port_map(published, ["80/tcp", "90/udp"]) == {
        "80/tcp": [Binding("0.0.0.0", "8080"), Binding("127.0.0.1", "8081")],
        "90/udp": None,
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def test_a_port_is_held_once() -> None:
    ports = HostPorts()
    number = free_port()
    try:
        (held,) = ports.allocate([PortWish("tcp", 80, "127.0.0.1", number, number)], "10.0.0.2")
        with pytest.raises(PortAllocated) as refused:
            ports.allocate([PortWish("tcp", 81, "0.0.0.0", number, number)], "10.0.0.3")
        assert str(refused.value) == f"Bind for 0.0.0.0:{number} failed: port is already allocated"
        with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", number))
        # Another address of the host, and the other protocol, are free.
        more = ports.allocate([PortWish("tcp", 80, "127.0.0.2", number, number)], "10.0.0.3")
        ports.release([held, *more])
        assert len(ports) == 0
        with socket.socket() as other:
            other.bind(("127.0.0.1", number))
    finally:
        ports.close()


def test_a_port_of_a_process_is_named_as_in_use() -> None:
    ports = HostPorts()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        number = holder.getsockname()[1]
        with pytest.raises(PortInUse) as refused:
            ports.allocate([PortWish("tcp", 80, "127.0.0.1", number, number)], "10.0.0.2")
    assert (
        str(refused.value) == f"failed to bind host port for 127.0.0.1:{number}:10.0.0.2:80/tcp: address already in use"
    )
    assert len(ports) == 0


def test_one_failure_lets_go_of_all() -> None:
    ports = HostPorts()
    number = free_port()
    wish = PortWish("tcp", 80, "127.0.0.1", number, number)
    with pytest.raises(PortAllocated):
        ports.allocate([wish, wish], "10.0.0.2")
    assert len(ports) == 0


def test_a_range_gives_the_first_free_port() -> None:
    ports = HostPorts()
    try:
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            number = holder.getsockname()[1]
            if number >= 65530:
                pytest.skip("no room above the port the kernel chose")
            (given,) = ports.allocate([PortWish("tcp", 80, "127.0.0.1", number, number + 5)], "10.0.0.2")
            assert number < given.host_port <= number + 5
    finally:
        ports.close()


def test_ports_are_exchanged_for_others() -> None:
    host = HostPorts()
    try:
        any_port = PortWish("tcp", 80, "127.0.0.1", 0, 0)
        (had,) = host.allocate([any_port], "10.0.0.2")
        moved = PortWish("tcp", 81, "127.0.0.1", had.host_port, had.host_port)
        assert host.exchange([had], [any_port], "10.0.0.2") == (had,), "what still meets a wish stays"
        (now,) = host.exchange([had], [moved], "10.0.0.2")
        assert (now.container_port, now.host_port, len(host)) == (81, had.host_port, 1)
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = other.getsockname()[1]
            with pytest.raises(PortInUse):
                host.exchange([now], [PortWish("tcp", 82, "127.0.0.1", taken, taken)], "10.0.0.2")
        assert len(host) == 1, "it has what it had"
        assert host.exchange([now], [], "10.0.0.2") == ()
        assert len(host) == 0
    finally:
        host.close()


def test_more_ports_than_descriptors_are_refused_and_let_go_of() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    ports = HostPorts()
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, before[1]))
    try:
        with pytest.raises(TooManyPorts, match=f"one of the {used + 20} files"):
            ports.allocate([PortWish("tcp", number, "127.0.0.1", 0, 0) for number in range(1, 100)], "10.0.0.2")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(ports) == 0
    assert len(os.listdir("/proc/self/fd")) == used
