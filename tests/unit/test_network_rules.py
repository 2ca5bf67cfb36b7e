"""network.nftables, linux.netlink, linux.nftables: texts and bytes, without a kernel."""

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from onggi.errors import Forbidden, InvalidParameter, OnggiError, System, Unsupported
from onggi.linux.netlink import attribute, attributes, mac_bytes, name_attribute
from onggi.network import nftables
from onggi.network.endpoint import PublishedPort
from onggi.network.network import CreateNetwork, Ipam, Subnet, check_request, parse_subnet
from onggi.network.nftables import BridgeRules, Forward, ruleset, table_name
from onggi.network.segment import bridge_link, is_port_link, link_prefix, new_port_link

BRIDGE = BridgeRules(link="onggi0", subnet=IPv4Network("10.201.0.0/24"))


def test_a_published_port_is_one_element() -> None:
    anywhere = Forward(PublishedPort("tcp", 80, "0.0.0.0", 8080), "10.201.0.2")
    here = Forward(PublishedPort("udp", 53, "127.0.0.1", 5353), "10.201.0.2")
    text = ruleset("onggi", [BRIDGE], [anywhere, here])
    assert "elements = { tcp . 8080 : 10.201.0.2 . 80 }" in text
    assert "elements = { 127.0.0.1 . udp . 5353 : 10.201.0.2 . 53 }" in text
    assert (anywhere.element.set, anywhere.element.key, anywhere.element.data) == (
        "published",
        b"\x06\0\0\0\x1f\x90\0\0",
        b"\x0a\xc9\0\2\0\x50\0\0",
    )
    assert (here.element.set, here.element.key) == ("published_on", b"\x7f\0\0\1\x11\0\0\0\x14\xe9\0\0")


def test_the_table_is_replaced_in_one_transaction_and_translates_for_the_host_alone() -> None:
    lines = ruleset("onggi", [BRIDGE], []).splitlines()
    assert lines[:3] == ["table inet onggi", "delete table inet onggi", "table inet onggi {"]
    translating = [line for line in lines if "dnat ip to" in line]
    assert len(translating) == 2
    assert [line.strip() for line in lines if "jump published_here" in line] == [
        "fib daddr type local jump published_here"
    ] * 2
    assert '    iifname != "lo" ip daddr 127.0.0.0/8 drop' in lines


def test_an_internal_network_is_neither_left_nor_entered() -> None:
    text = ruleset("onggi", [BridgeRules(link="br", subnet=IPv4Network("10.9.0.0/24"), internal=True)], [])
    assert 'iifname "br" oifname != "br" drop' in text
    assert 'iifname != "br" drop' in text
    assert 'oifname != "br" ip saddr 10.9.0.0/24 masquerade' not in text


def test_a_host_that_was_no_router_becomes_none_for_others() -> None:
    rule = "iifname != @bridges oifname != @bridges drop"
    assert rule in ruleset("onggi", [BRIDGE], [], closes_host=True)
    assert rule not in ruleset("onggi", [BRIDGE], [])


def test_each_engine_has_a_table_and_links_of_its_own() -> None:
    assert table_name("onggi0") == "onggi"
    assert table_name("second-0") == "onggi_second_0"
    assert link_prefix("onggi0") != link_prefix("onggi1")
    name = new_port_link("onggi0")
    assert is_port_link("onggi0", name)
    assert not is_port_link("onggi1", name)
    assert not is_port_link("onggi0", bridge_link("onggi0", "f" * 64))
    assert len(name) <= 15
    assert len(bridge_link("onggi0", "f" * 64)) <= 15


@pytest.mark.parametrize("name", ["", "x" * 16, "a/b", "eth%d", "a b", ".", "..", "a:b"])
def test_names_that_the_kernel_would_change_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a link name"):
        name_attribute(name)


def test_attributes_are_padded_bounded_and_read_back() -> None:
    assert attribute(3, b"ab") == b"\6\0\3\0ab\0\0"
    assert list(attributes(attribute(3, b"ab") + attribute(0x8004, b""))) == [(3, b"ab"), (4, b"")]
    with pytest.raises(ValueError, match="too long"):
        attribute(3, b"x" * 65536)
    with pytest.raises(ValueError, match="malformed"):
        list(attributes(b"\xff\xff\3\0"))
    assert mac_bytes("02:42:0a:00:00:01") == b"\x02\x42\x0a\0\0\1"
    for bad in ("", "02:42", "02:42:0a:00:00:0g", "0242:0a:00:00:01:1"):
        with pytest.raises(ValueError, match=r"not a MAC address|invalid literal"):
            mac_bytes(bad)


@pytest.mark.parametrize(
    ("asked", "kind", "sentence"),
    [
        (CreateNetwork(name=""), InvalidParameter, "invalid name: name is empty"),
        (CreateNetwork(name="a", driver="host"), Forbidden, 'only one instance of "host" network is allowed'),
        (CreateNetwork(name="a", enable_ipv6=True), Unsupported, "IPv6 networks are not supported"),
        (
            CreateNetwork(name="a", options={"com.docker.network.bridge.foo": "1"}),
            Unsupported,
            'network option "com.docker.network.bridge.foo" is not supported',
        ),
        (
            CreateNetwork(name="a", ipam=Ipam(driver="dhcp")),
            Unsupported,
            'IPAM driver "dhcp" is not supported',
        ),
    ],
)
def test_networks_that_cannot_be_made(asked: CreateNetwork, kind: type[OnggiError], sentence: str) -> None:
    with pytest.raises(kind) as refused:
        check_request(asked)
    assert str(refused.value) == sentence


def test_subnets_are_read_as_docker_does() -> None:
    subnet, gateway, part, reserved = parse_subnet(Subnet("10.9.0.0/16", "10.9.5.0/24", "", {"router": "10.9.0.9"}))
    assert (str(subnet), str(gateway), str(part)) == ("10.9.0.0/16", "10.9.5.1", "10.9.5.0/24")
    assert {name: str(address) for name, address in reserved.items()} == {"router": "10.9.0.9"}
    with pytest.raises(InvalidParameter, match=r"invalid subnet 10\.9\.0\.1/24: it should be 10\.9\.0\.0/24"):
        parse_subnet(Subnet("10.9.0.1/24"))
    with pytest.raises(InvalidParameter, match="no matching subnet for gateway"):
        parse_subnet(Subnet("10.9.0.0/24", "", "10.9.1.1"))


def test_nft_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "nft"
    slow.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 1000\n")
    slow.chmod(0o755)
    monkeypatch.setattr(nftables, "_nft", lambda: str(slow))
    monkeypatch.setattr(nftables, "PATIENCE_S", 1.0)
    with pytest.raises(System, match="nft did not take the rules within 1 s"):
        nftables.apply("")
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
