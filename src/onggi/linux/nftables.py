"""nftables over netlink: single elements of a map, in one transaction, without starting `nft` (3 ms).

Whole rule sets are text for nft(8); what changes with every start is elements, and those are few bytes.
Source: linux/netfilter/nf_tables.h.
"""

import os
from _socket import SOL_SOCKET, inet_aton
from struct import pack, unpack_from

from onggi.linux.netlink import ACK, CREATE, NESTED, NETLINK_NETFILTER, REQUEST, Netlink, attribute, attributes

NFNL_SUBSYS_NFTABLES = 10
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 16, 17
NFT_MSG_NEWTABLE, NFT_MSG_DELTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE = 0, 2, 3, 5, 8
NFT_MSG_DELSET, NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM, NFT_MSG_NEWGEN = 11, 12, 14, 15
NFTA_TABLE_NAME, NFTA_CHAIN_NAME, NFTA_RULE_USERDATA, NFTA_GEN_PROC_PID = 1, 3, 7, 2
NFPROTO_INET, NFPROTO_IPV4 = 1, 2
NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS = 1, 2, 3
NFTA_LIST_ELEM = 1
NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_DATA = 1, 2
NFTA_DATA_VALUE = 1
NLMSG_ERROR = 2
NFNLGRP_NFTABLES = 7
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1

SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
ENOBUFS = 105
TCP, UDP, SCTP = 6, 17, 132

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def key(*parts: bytes) -> bytes:
    """A concatenation as the kernel keeps it: each part in registers of four bytes."""
    return b"".join(part + b"\0" * (-len(part) % 4) for part in parts)


def port(number: int) -> bytes:
    return number.to_bytes(2, "big")


def address(text: str) -> bytes:
    return inet_aton(text)


class Element:
    """One element of a map of one table: set name, key, value (see `key`)."""

    __slots__ = ("data", "key", "set")

    def __init__(self, set: str, key: bytes, data: bytes) -> None:
        self.set, self.key, self.data = set, key, data


class Transaction:
    """Changes that take effect together or not at all."""

    __slots__ = ("changes",)

    def __init__(self) -> None:
        self.changes: list[tuple[int, int, int, bytes]] = []

    def add(self, kind: int, family: int, body: bytes, *, flags: int = 0) -> None:
        """One NFT_MSG_… with its attributes."""
        self.changes.append((kind, family, flags, body))


class Nftables(Netlink):
    """Changes the rule set of the network namespace it was made in. Not for two threads at once."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(NETLINK_NETFILTER)
        self._socket.setsockopt(SOL_SOCKET, SO_SNDBUFFORCE, 1 << 23)

    def commit(self, transaction: Transaction, subject: str) -> None:
        """Raises OSError with `subject` as its file name; nothing has changed then."""
        if not transaction.changes:
            return
        frame = pack(">BBH", 0, 0, NFNL_SUBSYS_NFTABLES)
        batch = [self.message(NFNL_MSG_BATCH_BEGIN, REQUEST, frame)]
        first = last = self._sequence
        for number, (kind, family, flags, body) in enumerate(transaction.changes, 1):
            # Errors are always told, and before the acknowledgement of the last: one acknowledgement is enough, and
            # thousands of them (a range of ports) would overflow the socket's buffer.
            flags |= REQUEST | (ACK if number == len(transaction.changes) else 0)
            batch.append(self.message(NFNL_SUBSYS_NFTABLES << 8 | kind, flags, pack("=BBH", family, 0, 0) + body))
            last = self._sequence
        batch.append(self.message(NFNL_MSG_BATCH_END, REQUEST, frame))
        self._socket.send(b"".join(batch))
        failure = 0
        done = False
        while not done:
            for answer, sequence, data in self._answers():
                if answer == NLMSG_ERROR and first <= sequence <= self._sequence:
                    (code,) = unpack_from("=i", data)
                    failure = failure or -code
                    done = done or sequence in {first, last}
        if failure:
            raise OSError(failure, os.strerror(failure), subject)


class Elements(Nftables):
    """Adds and removes elements of maps in a table of the family inet."""

    __slots__ = ()

    def _run(self, table: str, *changes: "tuple[int, int, Sequence[Element]]") -> None:
        """All changes (kind of message, flags, elements) or none, in one transaction."""
        transaction = Transaction()
        for kind, flags, elements in changes:
            for element in elements:
                value = attribute(NFTA_SET_ELEM_KEY | NESTED, attribute(NFTA_DATA_VALUE, element.key))
                value += attribute(NFTA_SET_ELEM_DATA | NESTED, attribute(NFTA_DATA_VALUE, element.data))
                body = (
                    attribute(NFTA_SET_ELEM_LIST_TABLE, table.encode() + b"\0")
                    + attribute(NFTA_SET_ELEM_LIST_SET, element.set.encode() + b"\0")
                    + attribute(NFTA_SET_ELEM_LIST_ELEMENTS | NESTED, attribute(NFTA_LIST_ELEM | NESTED, value))
                )
                transaction.add(kind, NFPROTO_INET, body, flags=flags)
        self.commit(transaction, table)

    def add(self, table: str, elements: "Sequence[Element]") -> None:
        """All or none. Raises OSError: ENOENT when the table or set is not there."""
        self._run(table, (NFT_MSG_NEWSETELEM, CREATE, elements))

    def remove(self, table: str, elements: "Sequence[Element]") -> None:
        """All or none. Raises OSError: ENOENT when the table, the set or one of the elements is not there."""
        self._run(table, (NFT_MSG_DELSETELEM, 0, elements))

    def exchange(self, table: str, removed: "Sequence[Element]", added: "Sequence[Element]") -> None:
        """Remove some and add others, of the same keys too, in one step: no packet sees neither. Raises as `remove`."""
        self._run(table, (NFT_MSG_DELSETELEM, 0, removed), (NFT_MSG_NEWSETELEM, CREATE, added))


class Change:
    """What others did to the rule set since it was last looked at."""

    __slots__ = ("filters", "firewalld", "ours_lost")

    def __init__(self, *, ours_lost: bool = False, filters: bool = False, firewalld: bool = False) -> None:
        self.ours_lost = ours_lost
        """Something of our table was removed."""
        self.filters = filters
        """A chain in which we have rules is new, or has lost them."""
        self.firewalld = firewalld
        """firewalld has made its table."""

    def add(self, other: "Change") -> None:
        self.ours_lost |= other.ours_lost
        self.filters |= other.filters
        self.firewalld |= other.firewalld


class Watch(Netlink):
    """Changes of the rule set, as they happen. Non-blocking: for an event loop."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        super().__init__(NETLINK_NETFILTER)
        self._pending = Change()
        """Of a transaction whose last message has not come yet."""
        self._socket.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        self._socket.setblocking(False)

    def read(self, table: str, mark: bytes, own: "Collection[int]") -> Change:
        """What others did: removed something of `inet table`, made a door for us or removed our rules in it.

        `mark` is the comment of those rules.

        `own` are the processes whose changes are ours: each transaction ends in a message that names its process (or
        thread). Elements of maps are not looked at.
        """
        found = Change()
        while True:
            try:
                for kind, _, data in self._answers():
                    if kind == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN:
                        names = dict(attributes(data[4:]))
                        if int.from_bytes(names.get(NFTA_GEN_PROC_PID, b""), "big") not in own:
                            found.add(self._pending)
                        self._pending = Change()
                    elif kind >> 8 == NFNL_SUBSYS_NFTABLES:
                        _note(self._pending, kind & 0xFF, data, table, mark)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != ENOBUFS:
                    raise
                found.ours_lost = True  # messages were dropped: what they said is not known


def _note(change: Change, message: int, data: bytes, table: str, mark: bytes) -> None:
    names = {sort: value.rstrip(b"\0") for sort, value in attributes(data[4:])}
    if data[0] == NFPROTO_INET and names.get(NFTA_TABLE_NAME) == table.encode():
        change.ours_lost |= message in {NFT_MSG_DELTABLE, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE, NFT_MSG_DELSET}
    elif data[0] == NFPROTO_INET and names.get(NFTA_TABLE_NAME) == b"firewalld":
        change.firewalld |= message == NFT_MSG_NEWTABLE
    elif data[0] == NFPROTO_IPV4 and names.get(NFTA_TABLE_NAME) == b"filter":
        change.filters |= message == NFT_MSG_NEWCHAIN and names.get(NFTA_CHAIN_NAME) in {b"DOCKER-USER", b"FORWARD"}
        change.filters |= message == NFT_MSG_DELRULE and mark in names.get(NFTA_RULE_USERDATA, b"")
