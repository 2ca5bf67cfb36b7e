"""network.ipam: no address and no subnet is ever handed out twice."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from onggi.errors import Conflict, InvalidParameter, System
from onggi.network.ipam import SMALL_BLOCKS, AddressPool, Block, free_subnet, subnets

SUBNET = IPv4Network("10.9.0.0/28")


class Addresses(RuleBasedStateMachine):
    """Any order of taking and giving back, beside a plain set."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = AddressPool(SUBNET, SUBNET[1])
        self.held: set[IPv4Address] = set()

    @precondition(lambda self: len(self.held) < self.pool.capacity)
    @rule()
    def take(self) -> None:
        address = self.pool.take()
        assert address not in self.held
        assert address in SUBNET
        assert address not in {SUBNET[0], SUBNET[1], SUBNET[-1]}
        self.held.add(address)

    @precondition(lambda self: len(self.held) == self.pool.capacity)
    @rule()
    def take_from_the_empty(self) -> None:
        with pytest.raises(System, match="no available IPv4 addresses on this network's address pools"):
            self.pool.take()

    @rule(last=st.integers(0, 15))
    def take_this(self, last: int) -> None:
        address = SUBNET[last]
        if address in self.held or last in {0, 1, 15}:
            with pytest.raises(Conflict, match="Address already in use"):
                self.pool.take_this(address)
        else:
            self.pool.take_this(address)
            self.held.add(address)

    @rule(last=st.integers(0, 15))
    def give_back(self, last: int) -> None:
        self.pool.give_back(SUBNET[last])
        self.held.discard(SUBNET[last])

    @invariant()
    def counts_what_is_held(self) -> None:
        assert len(self.pool) == len(self.held)


TestAddresses = Addresses.TestCase


def test_an_address_rests_after_use() -> None:
    pool = AddressPool(SUBNET, SUBNET[1])
    first = pool.take()
    pool.give_back(first)
    assert pool.take() != first


def test_a_range_limits_what_is_handed_out() -> None:
    pool = AddressPool(IPv4Network("10.9.0.0/24"), IPv4Address("10.9.0.1"), IPv4Network("10.9.0.128/30"))
    assert {str(pool.take()) for _ in range(4)} == {f"10.9.0.{last}" for last in range(128, 132)}
    with pytest.raises(System):
        pool.take()


def test_a_gateway_outside_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="no matching subnet for gateway"):
        AddressPool(SUBNET, IPv4Address("10.9.1.1"))


networks = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False), st.integers(0, 2**32 - 1), st.integers(8, 32)
)


@given(st.lists(networks, max_size=8))
def test_a_free_subnet_overlaps_nothing(taken: list[IPv4Network]) -> None:
    try:
        found = free_subnet(SMALL_BLOCKS, taken)
    except System:
        return
    assert found.prefixlen == 24
    assert not any(found.overlaps(other) for other in taken)


@settings(deadline=None)
@given(st.integers(0, 100_000))
def test_every_start_sees_every_subnet(start: int) -> None:
    blocks = [Block(IPv4Network("10.9.0.0/24"), 26), Block(IPv4Network("10.10.0.0/30"), 24)]
    found = list(subnets(blocks, start))
    assert sorted(found) == sorted([*IPv4Network("10.9.0.0/24").subnets(new_prefix=26), IPv4Network("10.10.0.0/30")])


def test_subnets_run_out() -> None:
    blocks = [Block(IPv4Network("10.9.0.0/24"), 26)]
    taken: list[IPv4Network] = []
    for _ in range(4):
        taken.append(free_subnet(blocks, taken))
    with pytest.raises(System, match="all predefined address pools have been fully subnetted"):
        free_subnet(blocks, taken)
