"""rtnetlink: links, addresses and routes, in as few bytes and system calls as it takes (rtnetlink(7), veth(4)).

A `Route` speaks to the network namespace that the calling thread is in when the `Route` is made, whatever the thread
does later. One request costs some 50 µs here; pyroute2 needs about ten times that, and 150 ms to import.
"""

import os
from _socket import AF_INET, AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, inet_aton, inet_ntoa, socket
from struct import Struct, pack, unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
REQUEST, ACK, DUMP, EXCL, CREATE, APPEND = 0x1, 0x4, 0x300, 0x200, 0x400, 0x800
NESTED = 0x8000
NLMSG_ERROR, NLMSG_DONE = 2, 3

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_LINKINFO, IFLA_AF_SPEC, IFLA_NET_NS_FD, IFLA_IFALIAS = 18, 26, 28, 20
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 4, 33
IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE, AF_INET6 = 8, 1, 10
VETH_INFO_PEER = 1
IFF_UP, IFF_LOWER_UP = 0x1, 0x10000
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST = 1, 2, 4
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_TABLE = 1, 4, 5, 6, 15
RT_TABLE_MAIN, RTPROT_BOOT, RTN_UNICAST, RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 254, 3, 1, 0, 253

_HEADER = Struct("=IHHII")
_ATTRIBUTE = Struct("=HH")
_LINK = Struct("=BxHiII")
IFNAMSIZ = 16


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded. Raises ValueError above what its 16-bit length can say."""
    length = 4 + len(value)
    if length > 0xFFFF:
        raise ValueError(f"netlink attribute {kind} of {len(value)} bytes is too long")
    return _ATTRIBUTE.pack(length, kind) + value + b"\0" * (-length % 4)


def attributes(data: bytes) -> "Iterator[tuple[int, bytes]]":
    """The attributes in `data`, without their nested and byte-order flags."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > len(data):
            raise ValueError("malformed netlink attribute")
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def name_attribute(name: str) -> bytes:
    """IFLA_IFNAME. Raises ValueError for what the kernel would cut, expand ("%d") or refuse."""
    encoded = name.encode("ascii")
    if not 0 < len(encoded) < IFNAMSIZ or any(byte in b"/%: \t\n\0" for byte in encoded) or name in {".", ".."}:
        raise ValueError(f"not a link name: {name!r}")
    return attribute(IFLA_IFNAME, encoded + b"\0")


def mac_bytes(text: str) -> bytes:
    """Six bytes from "02:42:0a:00:00:02". Raises ValueError."""
    parts = text.replace("-", ":").split(":")
    if len(parts) != 6 or any(len(part) != 2 for part in parts):
        raise ValueError(f"not a MAC address: {text!r}")
    return bytes(int(part, 16) for part in parts)


class Link:
    """A link as the kernel shows it."""

    __slots__ = ("flags", "index", "kind", "mac", "master", "name")

    def __init__(self, index: int, *, name: str, kind: str, master: int, flags: int, mac: str) -> None:
        self.index, self.name, self.kind, self.master, self.flags, self.mac = index, name, kind, master, flags, mac


class Netlink:
    """One netlink socket: requests go out, answers are matched by sequence number. Not for two threads at once."""

    __slots__ = ("_sequence", "_socket")

    def __init__(self, family: int = NETLINK_ROUTE) -> None:
        self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, family)
        self._socket.bind((0, 0))
        self._sequence = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def message(self, kind: int, flags: int, body: bytes) -> bytes:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        return _HEADER.pack(16 + len(body), kind, flags, self._sequence, 0) + body

    def _answers(self) -> "Iterator[tuple[int, int, bytes]]":
        """Kind, sequence and body of what one datagram holds."""
        data = self._socket.recv(1 << 18)
        offset = 0
        while offset + 16 <= len(data):
            length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
            yield kind, sequence, data[offset + 16 : offset + length]
            offset += (length + 3) & ~3

    def request(self, kind: int, body: bytes, flags: int = 0, subject: str | None = None) -> None:
        """One change, acknowledged. Raises OSError with `subject` as its file name."""
        self._socket.send(self.message(kind, REQUEST | ACK | flags, body))
        wanted = self._sequence
        while True:
            for answer, sequence, data in self._answers():
                if sequence == wanted and answer == NLMSG_ERROR:
                    (code,) = unpack_from("=i", data)
                    if code:
                        raise OSError(-code, os.strerror(-code), subject)
                    return

    def dump(self, kind: int, body: bytes) -> "list[tuple[int, bytes]]":
        """All objects of one sort: kind and body of each message."""
        self._socket.send(self.message(kind, REQUEST | DUMP, body))
        wanted = self._sequence
        found: list[tuple[int, bytes]] = []
        while True:
            for answer, sequence, data in self._answers():
                if sequence != wanted:
                    continue
                if answer == NLMSG_DONE:
                    return found
                if answer == NLMSG_ERROR:
                    (code,) = unpack_from("=i", data)
                    raise OSError(-code, os.strerror(-code))
                found.append((answer, data))


class Route(Netlink):
    """Links, addresses and routes of one network namespace. Every call raises OSError with the link as file name."""

    __slots__ = ()

    def index(self, name: str) -> int:
        """The index of a link. Raises OSError ENODEV."""
        body = _LINK.pack(0, 0, 0, 0, 0) + name_attribute(name)
        self._socket.send(self.message(RTM_GETLINK, REQUEST, body))
        wanted = self._sequence
        while True:
            for answer, sequence, data in self._answers():
                if sequence != wanted:
                    continue
                if answer == NLMSG_ERROR:
                    (code,) = unpack_from("=i", data)
                    raise OSError(-code, os.strerror(-code), name)
                return int(unpack_from("=i", data, 4)[0])

    def add_bridge(self, name: str, *, mtu: int) -> None:
        """A bridge, down. Raises FileExistsError when the name is taken."""
        info = attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"bridge"))
        body = _LINK.pack(0, 0, 0, 0, 0) + name_attribute(name) + attribute(IFLA_MTU, pack("=I", mtu)) + info
        self.request(RTM_NEWLINK, body, CREATE | EXCL, name)

    def add_veth(
        self, name: str, peer: str, namespace: int, *, master: int, mtu: int, mac: bytes, isolated: bool = False
    ) -> None:
        """A pair: `name` here, up and a port of the bridge `master`; `peer` in `namespace` (a descriptor), down.

        The near end gets no IPv6 address: it is a port and nobody to talk to. An isolated port reaches the bridge
        itself but no other isolated port.
        """
        far = (
            _LINK.pack(0, 0, 0, 0, 0)
            + name_attribute(peer)
            + attribute(IFLA_ADDRESS, mac)
            + attribute(IFLA_MTU, pack("=I", mtu))
            + attribute(IFLA_NET_NS_FD, pack("=I", namespace))
        )
        no_address = attribute(AF_INET6, attribute(IFLA_INET6_ADDR_GEN_MODE, bytes([IN6_ADDR_GEN_MODE_NONE])))
        body = (
            _LINK.pack(0, 0, 0, 0, 0)
            + name_attribute(name)
            + attribute(IFLA_MTU, pack("=I", mtu))
            + attribute(IFLA_MASTER, pack("=I", master))
            + attribute(
                IFLA_LINKINFO,
                attribute(IFLA_INFO_KIND, b"veth") + attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, far)),
            )
        )
        self.request(RTM_NEWLINK, body, CREATE | EXCL, name)
        # A second request: a link that is being made has no IPv6 part yet, and the kernel refuses to set one.
        # Hairpin: with br_netfilter, what a container sends to its own published port leaves by the port it came from.
        port = attribute(IFLA_BRPORT_MODE, b"\1")
        if isolated:
            port += attribute(IFLA_BRPORT_ISOLATED, b"\1")
        body = (
            _LINK.pack(0, 0, 0, IFF_UP, IFF_UP)
            + name_attribute(name)
            + attribute(IFLA_AF_SPEC, no_address)
            + attribute(
                IFLA_LINKINFO,
                attribute(IFLA_INFO_SLAVE_KIND, b"bridge") + attribute(IFLA_INFO_SLAVE_DATA, port),
            )
        )
        self.request(RTM_NEWLINK, body, 0, name)

    def up(self, index: int, *, mac: bytes | None = None) -> None:
        extra = b"" if mac is None else attribute(IFLA_ADDRESS, mac)
        self.request(RTM_NEWLINK, _LINK.pack(0, 0, index, IFF_UP, IFF_UP) + extra)

    def set_mac(self, index: int, mac: bytes) -> None:
        self.request(RTM_NEWLINK, _LINK.pack(0, 0, index, 0, 0) + attribute(IFLA_ADDRESS, mac))

    def delete(self, name: str) -> None:
        """Remove a link, and with one end of a pair the other. Raises OSError ENODEV when it is gone already."""
        self.request(RTM_DELLINK, _LINK.pack(0, 0, 0, 0, 0) + name_attribute(name), 0, name)

    def add_address(self, index: int, address: str, prefix_length: int) -> None:
        raw = inet_aton(address)
        host_bits = (1 << (32 - prefix_length)) - 1
        broadcast = (int.from_bytes(raw, "big") | host_bits).to_bytes(4, "big")
        body = pack("=BBBBi", AF_INET, prefix_length, 0, 0, index) + attribute(IFA_LOCAL, raw)
        body += attribute(IFA_ADDRESS, raw)
        if prefix_length < 31:
            body += attribute(IFA_BROADCAST, broadcast)
        self.request(RTM_NEWADDR, body, CREATE | EXCL, address)

    def delete_address(self, index: int, address: str, prefix_length: int) -> None:
        raw = inet_aton(address)
        body = pack("=BBBBi", AF_INET, prefix_length, 0, 0, index) + attribute(IFA_LOCAL, raw)
        self.request(RTM_DELADDR, body, 0, address)

    def add_default_route(self, gateway: str) -> None:
        body = pack("=BBBBBBBBI", AF_INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0)
        self.request(RTM_NEWROUTE, body + attribute(RTA_GATEWAY, inet_aton(gateway)), CREATE | EXCL, gateway)

    def delete_default_route(self) -> None:
        body = pack("=BBBBBBBBI", AF_INET, 0, 0, 0, RT_TABLE_MAIN, 0, RT_SCOPE_UNIVERSE, 0, 0)
        self.request(RTM_DELROUTE, body, 0, "default route")

    def links(self) -> "list[Link]":
        found = []
        for _, data in self.dump(RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0)):
            _, _, index, flags, _ = _LINK.unpack_from(data)
            name, kind, master, mac = "", "", 0, ""
            for sort, value in attributes(data[16:]):
                if sort == IFLA_IFNAME:
                    name = value.rstrip(b"\0").decode("ascii", "replace")
                elif sort == IFLA_MASTER:
                    (master,) = unpack_from("=I", value)
                elif sort == IFLA_ADDRESS:
                    mac = ":".join(f"{byte:02x}" for byte in value)
                elif sort == IFLA_LINKINFO:
                    for inner, text in attributes(value):
                        if inner == IFLA_INFO_KIND:
                            kind = text.rstrip(b"\0").decode("ascii", "replace")
            found.append(Link(index, name=name, kind=kind, master=master, flags=flags, mac=mac))
        return found

    def addresses(self) -> "list[tuple[int, str, int]]":
        """IPv4 addresses: link index, address, prefix length."""
        found = []
        for _, data in self.dump(RTM_GETADDR, pack("=BBBBi", AF_INET, 0, 0, 0, 0)):
            family, prefix_length, _, _, index = unpack_from("=BBBBi", data)
            if family != AF_INET:
                continue
            for sort, value in attributes(data[8:]):
                if sort == IFA_LOCAL:
                    found.append((index, inet_ntoa(value), prefix_length))
        return found

    def routes(self) -> "list[tuple[str, int, int]]":
        """IPv4 routes of all tables but broadcasts and local ones: destination, prefix length, link index."""
        found = []
        for _, data in self.dump(RTM_GETROUTE, pack("=BBBBBBBBI", AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)):
            family, prefix_length, _, _, _, _, _, kind, _ = unpack_from("=BBBBBBBBI", data)
            if family != AF_INET or kind != RTN_UNICAST:
                continue
            destination, out = "0.0.0.0", 0
            for sort, value in attributes(data[12:]):
                if sort == RTA_DST:
                    destination = inet_ntoa(value)
                elif sort == RTA_OIF:
                    (out,) = unpack_from("=I", value)
            found.append((destination, prefix_length, out))
        return found
