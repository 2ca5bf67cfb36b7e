"""Which version is later, against the tools that decide it and the tables of their own test suites."""

import os
import random
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from onggi.scan.inventory import PackageKind
from onggi.scan.versions import compare

ALPHABET = "0123456789" * 3 + "abz" + ".+~-:" * 2


def _random_version(source: random.Random) -> str:
    epoch = source.choice(["", "", "", "0:", "1:", "2:"])
    upstream = str(source.randint(0, 12)) + "".join(
        source.choice([".", "~", "+", "a", "rc", "b", "0", "1", "10", "9", "-", "~~", "deb", "Z"])
        for _ in range(source.randint(0, 6))
    )
    revision = source.choice(["", "", "-1", "-0", "-1~deb12u1", "-1+b1", "-2.1", "-0ubuntu1", "-1~"])
    return epoch + upstream + revision


def _dpkg(pair: tuple[str, str]) -> int | None:
    """None for what dpkg refuses as no version."""
    for word, order in (("lt", -1), ("eq", 0)):
        done = subprocess.run(
            ["dpkg", "--compare-versions", pair[0], word, pair[1]], check=False, stderr=subprocess.DEVNULL
        )
        if done.returncode not in (0, 1):
            return None
        if done.returncode == 0:
            return order
    return 1


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="there is no dpkg to ask on this system")
def test_debian_versions_are_ordered_as_dpkg_orders_them() -> None:
    pairs = 11_000 if os.environ.get("ONGGI_TESTS_WHOLE") else 1_000
    source = random.Random(12)
    wanted = []
    for _ in range(pairs):
        one = _random_version(source)
        if source.random() < 0.05 and ":" not in one:
            wanted.append((one, f"0:0{one}"))
            continue
        other = one + source.choice(["~", "+1", ".0", "-1", "a"]) if source.random() < 0.4 else _random_version(source)
        wanted.append((one, other))
    with ThreadPoolExecutor(4) as pool:
        truth = list(pool.map(_dpkg, wanted))
    wrong = [
        (pair, order, ours)
        for pair, order in zip(wanted, truth, strict=True)
        if order is not None and (ours := compare(PackageKind.DEB, *pair)) != order
    ]
    assert wrong == []
    assert len([order for order in truth if order is not None]) > 0.9 * pairs
    assert set(truth) >= {-1, 0, 1}


RPM = [
    ("1.0", "1.0", 0), ("1.0", "2.0", -1), ("2.0.1", "2.0.1a", -1), ("5.5p1", "5.5p2", -1), ("5.5p10", "5.5p1", 1),
    ("10xyz", "10.1xyz", -1), ("xyz10", "xyz10.1", -1), ("xyz.4", "8", -1), ("8", "xyz.4", 1), ("5.5p2", "5.6p1", -1),
    ("6.0.rc1", "6.0", 1), ("10b2", "10a1", 1), ("1.0aa", "1.0a", 1), ("10.0001", "10.1", 0), ("4.999.9", "5.0", -1),
    ("20101121", "20101122", -1), ("2_0", "2.0", 0), ("a+", "a_", 0), ("1.0~rc1", "1.0", -1), ("1.0~rc1", "1.0~rc2", -1),
    ("1.0~rc1~git123", "1.0~rc1", -1), ("1.0^", "1.0", 1), ("1.0^git1", "1.0", 1), ("1.0^git1", "1.01", -1),
    ("1.0^20160101", "1.0.1", -1), ("1.0~rc1^git1", "1.0~rc1", 1), ("1.0^git1~pre", "1.0^git1", -1),
    ("1:1.0-1", "2.0-1", 1), ("3.0-1.el9", "3.0-2.el9", -1), ("3.0", "3.0-2.el9", 0),
]  # fmt: skip
"""Most from rpm's own tests/rpmvercmp.at."""
APK = [
    ("2.34", "0.1.0_alpha", 1), ("0.1.0_alpha", "0.1.0_alpha", 0), ("0.1.0_alpha", "0.1.3_alpha", -1),
    ("1.0", "1.0-r0", 0), ("1.0-r1", "1.0-r0", 1), ("2.2.39", "1.0.4-r3", 1), ("1.3.0-r0", "1.3_rc1-r0", 1),
    ("1.2_pre2", "1.2_rc1", -1), ("6.0_pre1", "6.0", -1), ("6.1_pre1", "6.0", 1), ("6.0_p1", "6.0", 1), ("1.2a", "1.2b", -1),
    ("5.0.4_p1", "5.0.4_p2", -1), ("1.01", "1.1", -1), ("0.12.0", "0.12.0.1", -1), ("3.1.4-r1", "3.1.4-r10", -1),
    ("1_git20230101", "1_git20230201", -1),
]  # fmt: skip
SEMANTIC = [
    ("1.0.0-alpha", "1.0.0-alpha.1", -1), ("1.0.0-alpha.1", "1.0.0-alpha.beta", -1), ("1.0.0-beta.2", "1.0.0-beta.11", -1),
    ("1.0.0-rc.1", "1.0.0", -1), ("v1.2.3", "1.2.3", 0), ("1.2.3+build", "1.2.3", 0), ("1.10.0", "1.9.9", 1),
    ("v0.0.0-20230101000000-abcdefabcdef", "v0.1.0", -1),
]  # fmt: skip
PYTHON = [
    ("1.0.dev1", "1.0a1", -1),
    ("1.0rc1", "1.0", -1),
    ("1.0", "1.0.post1", -1),
    ("1!0.1", "2.0", 1),
    ("1.0", "1.0.0", 0),
]


@pytest.mark.parametrize(
    ("kind", "table"),
    [(PackageKind.RPM, RPM), (PackageKind.APK, APK), (PackageKind.NPM, SEMANTIC), (PackageKind.GO, SEMANTIC),
     (PackageKind.PYPI, PYTHON)],
)  # fmt: skip
def test_the_order_of_each_system(kind: PackageKind, table: list[tuple[str, str, int]]) -> None:
    for left, right, order in table:
        assert compare(kind, left, right) == order, (left, right)
        assert compare(kind, right, left) == -order, (right, left)


def test_whatever_an_image_claims_is_compared_in_no_time() -> None:
    source = random.Random(5)
    for kind in PackageKind:
        for _ in range(300):
            one, other = ("".join(source.choices(ALPHABET + "é☃\0 ", k=source.randint(0, 40))) for _ in range(2))
            assert compare(kind, one, other) == -compare(kind, other, one), (kind, one, other)
            assert compare(kind, one, one) == 0
        assert compare(kind, "1" * 10**6, "1" * 10**6 + ".1") in (-1, 0, 1)
