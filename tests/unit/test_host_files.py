"""network.host_files: exactly the expected lines, whatever is put in."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.errors import InvalidParameter
from onggi.network.host_files import ResolvConf, extended, hosts, mac_of, parse_extra_host

LOCAL_LINES = 6


def test_hosts_of_a_container() -> None:
    text = hosts(
        extra=["foo:1.2.3.4", "gw:host-gateway", "six=[fd00::1]"],
        host_gateway="10.0.0.1",
        addresses=["10.0.0.2", "10.1.0.2"],
        hostname="web",
        domainname="example.org",
    )
    assert text.splitlines()[LOCAL_LINES:] == [
        "1.2.3.4\tfoo",
        "10.0.0.1\tgw",
        "fd00::1\tsix",
        "10.0.0.2\tweb.example.org web",
        "10.1.0.2\tweb.example.org web",
    ]
    assert text.splitlines()[0] == "127.0.0.1\tlocalhost"


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_hostname_makes_a_line_of_its_own(name: str, domain: str) -> None:
    try:
        text = hosts(addresses=["10.0.0.2"], hostname=name, domainname=domain)
    except InvalidParameter:
        return
    assert len(text.splitlines()) == LOCAL_LINES + 1


@given(st.text(max_size=30))
def test_no_extra_host_makes_two_lines(entry: str) -> None:
    try:
        text = extended("", [entry], "10.0.0.1")
    except InvalidParameter:
        return
    assert len(text.splitlines()) == 1
    assert len(text.split()) == 2


@pytest.mark.parametrize("entry", ["foo", ":1.2.3.4", "foo:bar", "a b:1.2.3.4", "foo:1.2.3.4\n5.6.7.8 x"])
def test_bad_extra_hosts_are_refused(entry: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_extra_host(entry)


def test_loopback_nameservers_do_not_reach_a_container() -> None:
    host = ResolvConf.parse("nameserver 127.0.0.1\nnameserver 10.0.0.53\nsearch a.b c\noptions ndots:2 edns0\n")
    assert host.for_other_namespace() == ResolvConf(("10.0.0.53",), ("a.b", "c"), ("ndots:2", "edns0"))
    assert ResolvConf(("127.0.0.53", "::1")).for_other_namespace().nameservers == ("8.8.8.8", "8.8.4.4")


def test_the_servers_behind_systemd_resolved_are_taken(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.53\n")
    real = tmp_path / "systemd/resolve/resolv.conf"
    real.parent.mkdir(parents=True)
    real.write_text("nameserver 192.0.2.53\n")
    assert ResolvConf.of_host(tmp_path, tmp_path).nameservers == ("192.0.2.53",)
    assert ResolvConf.of_host(tmp_path / "none", tmp_path / "none") == ResolvConf()


def test_overrides_and_the_embedded_resolver() -> None:
    host = ResolvConf(("10.0.0.53",), ("a.b",), ())
    assert host.overridden(["9.9.9.9"], ["."], ["ndots:3"]).text().splitlines()[2:] == [
        "nameserver 9.9.9.9",
        "options ndots:3",
    ]
    assert host.behind_resolver() == ResolvConf(("127.0.0.11",), ("a.b",), ("ndots:0",))


@pytest.mark.parametrize(
    ("servers", "search", "options"),
    [(["x"], [], []), (["1.1.1.1\noptions x"], [], []), ([], ["a b"], []), ([], [], ["a\nnameserver 6.6.6.6"])],
)
def test_injected_lines_are_refused(servers: list[str], search: list[str], options: list[str]) -> None:
    with pytest.raises(InvalidParameter):
        ResolvConf().overridden(servers, search, options)


def test_the_mac_address_follows_from_the_address() -> None:
    assert mac_of(IPv4Address("10.1.2.3")) == "02:42:0a:01:02:03"
