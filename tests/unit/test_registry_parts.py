"""Small parts of the registry: patterns, names, ranges, throttle, rights, metrics, where a request comes from."""

import asyncio
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.registry.conditional import Part, RangeUnsatisfiable, etag_fits, part
from onggi.registry.features import install
from onggi.registry.glob import fits
from onggi.registry.metrics import Counter, Histogram
from onggi.registry.names import InvalidName, repository_name
from onggi.registry.permissions import ANONYMOUS, PERMISSIONS, Action, Role, Scope, Standing, Subject, SubjectKind, may
from onggi.registry.service import Service
from onggi.registry.settings import Oidc, Settings
from onggi.registry.throttle import Throttle, TooManyTries, Turns, neighbourhood


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("*", "", True), ("*", "anything", True), ("v*", "v1", True), ("v*", "1v", False), ("v?", "v1", True),
        ("v?", "v", False), ("a*b*c", "aXbYbZc", True), ("a*b*c", "acb", False), ("x,y*", "yes", True),
        ("x, y*", "yes", True), ("", "", True), ("", "a", False), ("v1.0", "v1x0", False), ("[a]", "a", False),
    ],
)  # fmt: skip
def test_patterns(pattern: str, text: str, expected: bool) -> None:
    assert fits(pattern, text) is expected


def test_patterns_take_linear_time() -> None:
    begun = time.perf_counter()
    assert not fits("*a" * 100 + "b", "a" * 5_000)
    assert time.perf_counter() - begun < 2


@given(st.text())
def test_names_are_safe_or_refused(text: str) -> None:
    try:
        name = repository_name(text)
    except InvalidName:
        return
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-/")
    assert "/" in name
    assert ".." not in name
    assert "//" not in name


@given(st.integers(0, 1000), st.text(alphabet="bytes=0123456789-, ", max_size=20))
def test_ranges_stay_inside(size: int, header: str) -> None:
    for text in (header, f"bytes={header}"):
        try:
            found = part(text, size)
        except RangeUnsatisfiable:
            continue
        if found is not None:
            assert 0 <= found.first < size
            assert 1 <= found.count <= size - found.first


def test_a_thousand_ranges_are_none() -> None:
    assert part("bytes=" + "0-1," * 1000 + "0-1", 100) is None
    assert part("bytes=1-2", 100) == Part(1, 2)


@pytest.mark.parametrize(
    ("header", "expected"),
    [("", False), ('"x"', True), ('W/"x"', True), ('"y", "x"', True), ("*", True), ('"y"', False), ("x", True)],
)
def test_etags(header: str, expected: bool) -> None:
    assert etag_fits(header, '"x"') is expected


def test_throttle() -> None:
    now = [1000.0]
    throttle = Throttle(free=3, first_s=1, most_s=60, now=lambda: now[0])
    for _ in range(3):
        throttle.check("a")
        throttle.failed("a")
    throttle.check("a")
    waits = []
    for _ in range(8):
        throttle.failed("a")
        with pytest.raises(TooManyTries) as refused:
            throttle.check("a")
        wait_s = int(refused.value.headers["Retry-After"])
        waits.append(wait_s)
        now[0] += wait_s
        throttle.check("a")
        throttle.check("b")
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    throttle.succeeded("a")
    throttle.failed("a")
    throttle.check("a")


@pytest.mark.parametrize(
    ("address", "place"),
    [("192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"), ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
     ("2001:db8:1:3::9", "2001:db8:1:3::/64"), ("::ffff:192.0.2.7", "192.0.2.7"), ("fe80::1%eth0", "fe80::/64"), ("", "")],
)  # fmt: skip
def test_what_counts_as_one_place(address: str, place: str) -> None:
    """Else whoever has an IPv6 network has as many tries as there are addresses in it."""
    assert neighbourhood(address) == place


def test_throttle_does_not_grow() -> None:
    throttle = Throttle(free=3, most_keys=100)
    for number in range(10_000):
        throttle.failed(str(number))
    assert len(throttle._failures) == 100


def test_each_role_may_what_the_one_below_may() -> None:
    for lower, higher in zip([*Role], [*Role][1:], strict=False):
        assert PERMISSIONS[lower] < PERMISSIONS[higher]
    assert all(Action.REGISTRY not in actions for actions in PERMISSIONS.values())


def test_a_token_is_good_for_what_it_was_issued_for_only() -> None:
    admin = Subject(SubjectKind.USER, "admin", 1, admin=True, granted=(Scope("a/b", frozenset({Action.PULL})),))
    assert may(admin, Action.PULL, Standing("a"), "a/b")
    assert not may(admin, Action.PUSH, Standing("a"), "a/b")
    assert not may(admin, Action.PULL, Standing("a"), "a/bc")
    assert not may(admin, Action.REGISTRY, Standing(""))
    assert not may(ANONYMOUS, Action.PULL, Standing("a"), "a/b")


@pytest.mark.parametrize(
    ("pattern", "repository", "expected"),
    [("a/*", "a/b", True), ("a/*", "a/b/c", True), ("a/*", "ab/c", False), ("a/*", "a", False), ("a/b", "a/b", True),
     ("a/b", "a/bc", False), ("a/b*", "a/bc", False)],
)  # fmt: skip
def test_scopes(pattern: str, repository: str, expected: bool) -> None:
    assert Scope(pattern, frozenset()).covers(repository) is expected


def test_metrics_in_prometheus_form() -> None:
    counter = Counter("c_total", "Counts.", "way")
    counter.add('a"b\\c\nd')
    counter.add("x", amount=2_000_000.0)
    assert [*counter.lines()] == [
        "# HELP c_total Counts.", "# TYPE c_total counter", 'c_total{way="a\\"b\\\\c\\nd"} 1', 'c_total{way="x"} 2000000',
    ]  # fmt: skip
    histogram = Histogram("h", "Takes.", bounds=(1.0, 2.0))
    for amount in (0.5, 1.5, 1.5, 9.0):
        histogram.observe(amount)
    assert [*histogram.lines()][2:] == [
        'h_bucket{le="1"} 1', 'h_bucket{le="2"} 3', 'h_bucket{le="+Inf"} 4', "h_sum 12.5", "h_count 4",
    ]  # fmt: skip


OPEN = {
    "GET /v2/", "HEAD /v2/", "GET /v2", "GET /healthz", "GET /readyz", "GET /metrics",
    "GET /v2/_catalog", "GET /v1/search", "GET /api/v1/search", "GET /api/v1/projects",  # show what one may see
    "POST /token", "GET /api/v1/user", "PUT /api/v1/user/password",  # about oneself
    "GET /api/v1/user/cli-secrets", "POST /api/v1/user/cli-secrets", "DELETE /api/v1/user/cli-secrets/{id}",
}  # fmt: skip


def test_each_route_names_what_one_must_be_allowed() -> None:
    """But for those that anybody may ask. A page's routes find their subject by a session, and decide there."""
    oidc = Oidc("https://login.example.com", "registry")
    routes = install(Service(Settings(root=Path("/nonexistent"), url="https://registry.example.com", oidc=oidc)))
    unguarded = {
        f"{route.method} {route.path}" for route in routes if route.action is None and route.authenticate is None
    }
    assert unguarded == OPEN


def test_turns_come_one_after_the_other_and_so_many_wait() -> None:
    async def main() -> None:
        turns, order, inside = Turns(most=3), list[int](), asyncio.Event()

        async def enter(number: int) -> None:
            async with turns.of("key"):
                order.append(number)
                await inside.wait()

        tasks = [asyncio.create_task(enter(number)) for number in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyTries):
            await enter(4)
        async with turns.of("another"):
            assert order == [0]
        tasks[1].cancel()  # who leaves while he waits is nobody's turn
        inside.set()
        assert [type(outcome) for outcome in await asyncio.gather(*tasks, return_exceptions=True)] == [
            type(None), asyncio.CancelledError, type(None), type(None),
        ]  # fmt: skip
        assert order == [0, 2, 3]
        assert turns._keys == {}

    asyncio.run(main())
