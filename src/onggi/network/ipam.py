"""Addresses: subnets for networks, and one address for each container on a network."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from onggi.errors import Conflict, InvalidParameter, System


@dataclass(frozen=True, slots=True)
class Block:
    """Subnets of /`size` are cut out of `base`."""

    base: IPv4Network
    size: int


SMALL_BLOCKS = (
    # Beside what Docker takes (172.17-31/16, 192.168/20) as long as there is room: two engines on a host stay apart.
    Block(IPv4Network("10.201.0.0/16"), 24),
    Block(IPv4Network("172.31.0.0/16"), 24),
    Block(IPv4Network("192.168.0.0/16"), 24),
    Block(IPv4Network("10.0.0.0/8"), 24),
)
"""Where subnets come from unless --default-address-pool names other blocks."""


class AddressPool:
    """The addresses of one subnet; each is handed out once until it is given back.

    They are handed out in turn, so that one which was just given back rests for as long as possible: neighbours may
    still know it under another MAC address.
    """

    def __init__(self, subnet: IPv4Network, gateway: IPv4Address, part: IPv4Network | None = None) -> None:
        """`part` limits what is handed out without being asked for (--ip-range, --fixed-cidr)."""
        if gateway not in subnet:
            raise InvalidParameter(f"no matching subnet for gateway {gateway}")
        if part is not None and not part.subnet_of(subnet):
            raise InvalidParameter(f"no matching subnet for range {part}")
        self.subnet = subnet
        self.gateway = gateway
        area = part or subnet
        self._first, self._last = int(area.network_address), int(area.broadcast_address)
        self._used = {int(gateway)}
        if subnet.prefixlen < 31:
            self._used |= {int(subnet.network_address), int(subnet.broadcast_address)}
        self._reserved = frozenset(self._used)
        self._next = self._first

    def __len__(self) -> int:
        """How many addresses are handed out."""
        return len(self._used) - len(self._reserved)

    @property
    def capacity(self) -> int:
        reserved = sum(self._first <= address <= self._last for address in self._reserved)
        return self._last - self._first + 1 - reserved

    def take(self) -> IPv4Address:
        """The next free address. Raises System when there is none."""
        span = self._last - self._first + 1
        for step in range(span):
            candidate = self._first + (self._next - self._first + step) % span
            if candidate not in self._used:
                self._used.add(candidate)
                self._next = candidate + 1
                return IPv4Address(candidate)
        raise System(f"no available IPv4 addresses on this network's address pools: {self.subnet}")

    def take_this(self, address: IPv4Address) -> None:
        """An address that was asked for. Raises Conflict when it is handed out, InvalidParameter when outside."""
        if address not in self.subnet:
            raise InvalidParameter(f"no configured subnet contains IP address {address}")
        if int(address) in self._used:
            raise Conflict("Address already in use")
        self._used.add(int(address))

    def give_back(self, address: IPv4Address) -> None:
        """Idempotent; what was never to be handed out stays so."""
        if int(address) not in self._reserved:
            self._used.discard(int(address))


def subnets(blocks: Sequence[Block], start: int = 0) -> Iterator[IPv4Network]:
    """All subnets of the blocks, block by block; within each, from number `start` on and around."""
    for block in blocks:
        length = max(block.size, block.base.prefixlen)
        count = 1 << (length - block.base.prefixlen)
        first, step = int(block.base.network_address), 1 << (32 - length)
        for number in range(count):
            yield IPv4Network((first + (start + number) % count * step, length))


def free_subnet(blocks: Sequence[Block], taken: Iterable[IPv4Network], start: int = 0) -> IPv4Network:
    """The first subnet that overlaps none of `taken`: other networks, and routes and addresses of the host.

    Two engines on a host that look at the same moment would find the same one; each has another `start`.
    Raises System when the blocks are used up.
    """
    occupied = sorted((int(net.network_address), int(net.broadcast_address)) for net in taken)
    for candidate in subnets(blocks, start):
        first, last = int(candidate.network_address), int(candidate.broadcast_address)
        if not any(low <= last and first <= high for low, high in occupied):
            return candidate
    raise System("all predefined address pools have been fully subnetted")
