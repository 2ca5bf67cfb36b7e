"""Networks of containers, through the engine and the stock docker command line."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from onggi.linux.fd import Fd
from tests.engine import Engine
from tests.namespaces import SHORT_S, answering, ask, ask_from, outside
from tests.peers import Docker


@contextmanager
def running(engine: Engine, name: str, *options: str) -> Iterator[Fd]:
    """A container that sleeps; its network namespace."""
    command = ("run", "-d", "--name", name, "--stop-signal", "KILL", *options, "busybox", "sleep", "1000")
    engine.docker(*command, check=True)
    try:
        pid = engine.docker("inspect", "-f", "{{.State.Pid}}", name, check=True).stdout.strip()
        with Fd(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)) as namespace:
            yield namespace
    finally:
        engine.docker("rm", "-f", name)


@pytest.fixture
def network(engine: Engine, name: str) -> Iterator[str]:
    """A user-defined network."""
    engine.docker("network", "create", name, check=True)
    yield name
    engine.docker("network", "rm", name, check=True)


def inspected(engine: Engine, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(engine.docker("inspect", name, check=True).stdout)[0]
    return found


def host_port(engine: Engine, name: str, port: str, number: int = 0) -> int:
    return int(inspected(engine, name)["NetworkSettings"]["Ports"][port][number]["HostPort"])


def test_published_ports(engine: Engine, name: str) -> None:
    options = ("-p", "80", "-p", "127.0.0.1::80", "-p", "53/udp", "--expose", "99")
    with running(engine, name, *options) as inside, running(engine, f"{name}-b") as beside:
        settings = inspected(engine, name)["NetworkSettings"]
        anywhere, loopback = host_port(engine, name, "80/tcp"), host_port(engine, name, "80/tcp", 1)
        datagrams = host_port(engine, name, "53/udp")
        assert settings["Ports"]["99/tcp"] is None
        shown = engine.docker("port", name, check=True).stdout.splitlines()
        assert sorted(shown) == [
            f"53/udp -> 0.0.0.0:{datagrams}",
            *sorted([f"80/tcp -> 0.0.0.0:{anywhere}", f"80/tcp -> 127.0.0.1:{loopback}"]),
        ]
        address, gateway = settings["IPAddress"], settings["Gateway"]
        with (
            answering(inside, 80, b"hello"),
            answering(inside, 53, b"datagram", udp=True),
            outside() as (neighbour, host),
        ):
            assert ask("127.0.0.1", anywhere) == b"hello"
            assert ask("127.0.0.1", loopback) == b"hello"
            assert ask("127.0.0.1", datagrams, udp=True) == b"datagram"
            assert ask_from(beside, address, 80) == b"hello"
            assert ask_from(beside, gateway, anywhere) == b"hello"
            assert ask_from(inside, gateway, anywhere) == b"hello"
            assert ask_from(neighbour, host, anywhere) == b"hello"
            assert ask_from(neighbour, host, datagrams, udp=True) == b"datagram"
            assert ask_from(neighbour, host, loopback, timeout_s=SHORT_S) == b""
            assert ask_from(neighbour, address, 80, timeout_s=SHORT_S) == b""
    assert ask("127.0.0.1", anywhere, timeout_s=SHORT_S) == b""


def test_a_port_that_is_taken(engine: Engine, name: str) -> None:
    with running(engine, name, "-p", "80"):
        port = host_port(engine, name, "80/tcp")
        refused = engine.docker("run", "--rm", "-p", f"{port}:80", "busybox", "true")
        assert refused.returncode == 125
        assert (
            "failed to set up container networking: driver failed programming external connectivity" in refused.stderr
        )
        assert f"Bind for 0.0.0.0:{port} failed: port is already allocated" in refused.stderr


def test_containers_of_a_network_find_each_other_by_name(engine: Engine, name: str, network: str) -> None:
    with running(engine, f"{name}-db", "--network", network, "--network-alias", "db"):
        for asked in (f"{name}-db", "db"):
            found = engine.docker("run", "--rm", "--network", network, "busybox", "nslookup", asked)
            address = inspected(engine, f"{name}-db")["NetworkSettings"]["Networks"][network]["IPAddress"]
            assert f"Address: {address}" in found.stdout, found
        refused = engine.docker("network", "rm", network)
        assert (refused.returncode, f"network {network} has active endpoints" in refused.stderr) == (1, True)


def test_connect_and_disconnect_while_it_runs(engine: Engine, name: str, network: str) -> None:
    with running(engine, name, "-p", "80") as inside, running(engine, f"{name}-b", "--network", network) as beside:
        port = host_port(engine, name, "80/tcp")
        engine.docker("network", "connect", "--alias", "late", network, name, check=True)
        address = inspected(engine, name)["NetworkSettings"]["Networks"][network]["IPAddress"]
        hosts = engine.docker("exec", name, "cat", "/etc/hosts", "/etc/resolv.conf", check=True).stdout
        assert f"{address}\t" in hosts
        assert "nameserver 127.0.0.11\n" in hosts
        found = engine.docker("exec", f"{name}-b", "nslookup", "late", check=True).stdout
        assert f"Address: {address}" in found
        with answering(inside, 80, b"hello"):
            assert ask_from(beside, address, 80) == b"hello"
            engine.docker("network", "disconnect", "bridge", name, check=True)
            assert ask("127.0.0.1", port) == b"hello"
            assert list(inspected(engine, name)["NetworkSettings"]["Networks"]) == [network]
            engine.docker("network", "disconnect", network, name, check=True)
            assert ask_from(beside, address, 80, timeout_s=SHORT_S) == b""
        refused = engine.docker("network", "disconnect", network, name)
        container = inspected(engine, name)["Id"]
        assert refused.stderr.strip() == (
            f"Error response from daemon: container {container} is not connected to network {network}"
        )


def test_connect_before_the_start(engine: Engine, name: str, network: str) -> None:
    engine.docker("create", "--name", name, "busybox", "sleep", "1000", check=True)
    try:
        engine.docker("network", "connect", network, name, check=True)
        engine.docker("start", name, check=True)
        networks = inspected(engine, name)["NetworkSettings"]["Networks"]
        assert sorted(networks) == sorted(["bridge", network])
        assert all(found["IPAddress"] for found in networks.values())
    finally:
        engine.docker("rm", "-f", name, check=True)


def test_inspect_has_the_members_of_docker(engine: Engine, peer: Docker, name: str, network: str) -> None:
    peer("network", "create", network, check=True)
    try:
        for each in (network, "bridge", "host", "none"):
            ours = json.loads(engine.docker("network", "inspect", each, check=True).stdout)[0]
            theirs = json.loads(peer("network", "inspect", each, check=True).stdout)[0]
            assert list(ours) == list(theirs)
            assert list(ours["IPAM"]) == list(theirs["IPAM"])
            assert sorted(ours["Options"]) == sorted(theirs["Options"])
            for member in ("Scope", "Driver", "EnableIPv4", "EnableIPv6", "Internal", "Attachable", "Labels"):
                assert ours[member] == theirs[member], member
    finally:
        peer("network", "rm", network, check=True)


def test_refusals_are_those_of_docker(engine: Engine, peer: Docker, network: str) -> None:
    peer("network", "create", network, check=True)
    try:
        for words in (
            ("network", "create", network),
            ("network", "create", "bridge"),
            ("network", "create", "host"),
            ("network", "rm", "bridge"),
            ("network", "rm", "no-such-network"),
            ("network", "inspect", "no-such-network"),
            ("network", "connect", network, "no-such-container"),
            ("network", "ls", "--filter", "foo=bar"),
            ("network", "create", "--subnet", "10.9.0.1/24", "never"),
            ("network", "create", "--gateway", "10.9.0.1", "never"),
            ("run", "--rm", "--network", network, "--ip", "10.9.0.9", "busybox", "true"),
            ("run", "--rm", "--network", "no-such-network", "busybox", "true"),
        ):
            ours, theirs = engine.docker(*words), peer(*words)
            assert (ours.returncode, ours.stderr) == (theirs.returncode, theirs.stderr), words
    finally:
        peer("network", "rm", network, check=True)
    # The rest of this one tells whether --bip chose the subnet.
    refused = engine.docker("run", "--rm", "--ip", "10.9.0.9", "busybox", "true")
    assert "\n* user specified IP address is supported on user defined networks only\n" in refused.stderr


def test_modes(engine: Engine, name: str) -> None:
    none = engine.docker("run", "--rm", "--network", "none", "busybox", "ip", "-o", "link", check=True).stdout
    assert [line.split(":")[1].strip() for line in none.splitlines()] == ["lo"]
    host = engine.docker("run", "--rm", "--network", "host", "busybox", "ip", "-o", "link", check=True).stdout
    assert engine.bridge in host
    with running(engine, name):
        address = inspected(engine, name)["NetworkSettings"]["IPAddress"]
        shared = engine.docker(
            "run", "--rm", "--network", f"container:{name}", "busybox", "ip", "addr", check=True
        ).stdout
        assert f"inet {address}/" in shared


def test_networks_and_ports_outlive_a_killed_engine(own_engine: Engine, name: str) -> None:
    own_engine.docker("network", "create", name, check=True)
    with running(own_engine, f"{name}-a", "--network", name, "-p", "80") as inside:
        port = host_port(own_engine, f"{name}-a", "80/tcp")
        before = inspected(own_engine, f"{name}-a")["NetworkSettings"]
        with answering(inside, 80, b"hello"):
            own_engine.kill()
            assert ask("127.0.0.1", port) == b"hello"
            own_engine.start()
            assert ask("127.0.0.1", port) == b"hello"
        assert inspected(own_engine, f"{name}-a")["NetworkSettings"] == before
        found = own_engine.docker("run", "--rm", "--network", name, "busybox", "nslookup", f"{name}-a")
        assert before["Networks"][name]["IPAddress"] in found.stdout
        refused = own_engine.docker("run", "--rm", "-p", f"{port}:80", "busybox", "true")
        assert "port is already allocated" in refused.stderr
    own_engine.docker("network", "rm", name, check=True)
    taken = own_engine.docker("run", "--rm", "-p", f"{port}:80", "busybox", "true")
    assert taken.returncode == 0, taken.stderr
