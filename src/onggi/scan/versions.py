"""Which of two versions is later, by the rules of each packaging system.

    compare(PackageKind.DEB, "1.0~rc1-1", "1.0-1")     -1

Negative, zero, positive as in C. Versions come from images and advisories: anything is compared, nothing raises.
"""

import re
from collections.abc import Callable
from functools import lru_cache

from packaging.version import InvalidVersion, Version

from onggi.scan.inventory import PackageKind

_PIECE = re.compile(r"\d+|[a-zA-Z]+|~|\^", re.ASCII)
_NUMBER = re.compile(r"\d+", re.ASCII)
MOST_CHARACTERS = 300
"""Longer versions are compared by their start: a hostile one costs no time."""


def _sign(left: int, right: int) -> int:
    return (left > right) - (left < right)


# Debian: deb-version(7), dpkg lib/dpkg/version.c


def _weight(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isascii() and character.isalpha() else ord(character) + 256


def _compare_part(left: str, right: str) -> int:
    """Of `upstream` or `revision`: stretches of other characters and numbers by turns."""
    at = to = 0
    while at < len(left) or to < len(right):
        while (at < len(left) and not left[at].isdigit()) or (to < len(right) and not right[to].isdigit()):
            one = _weight(left[at]) if at < len(left) and not left[at].isdigit() else 0
            other = _weight(right[to]) if to < len(right) and not right[to].isdigit() else 0
            if one != other:
                return _sign(one, other)
            at += 1
            to += 1
        first, second = _NUMBER.match(left, at), _NUMBER.match(right, to)
        order = _sign(int(first[0]) if first else 0, int(second[0]) if second else 0)
        if order:
            return order
        at = first.end() if first else at
        to = second.end() if second else to
    return 0


def _split_debian(version: str) -> tuple[int, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, ""
    return int(epoch) if epoch.isascii() and epoch.isdigit() else 0, upstream, revision


def compare_debian(left: str, right: str) -> int:
    one, other = _split_debian(left), _split_debian(right)
    return _sign(one[0], other[0]) or _compare_part(one[1], other[1]) or _compare_part(one[2], other[2])


# RPM: rpmvercmp, rpmio/rpmvercmp.c; epoch:version-release


def _compare_segments(left: str, right: str) -> int:
    if left == right:
        return 0
    ours, theirs = _PIECE.findall(left), _PIECE.findall(right)
    for one, other in zip(ours, theirs, strict=False):
        if "~" in (one, other) and one != other:
            return -1 if one == "~" else 1
        if "^" in (one, other) and one != other:
            return -1 if one == "^" else 1
        if one == other:
            continue
        if one[0].isdigit() != other[0].isdigit():
            return 1 if one[0].isdigit() else -1
        order = _sign(int(one), int(other)) if one[0].isdigit() else (one > other) - (one < other)
        if order:
            return order
    if len(ours) == len(theirs):
        return 0
    longer, sign = (ours, 1) if len(ours) > len(theirs) else (theirs, -1)
    following = longer[min(len(ours), len(theirs))]
    return -sign if following == "~" else sign


def _split_rpm(version: str) -> tuple[int, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, release = rest.partition("-")
    return int(epoch) if epoch.isascii() and epoch.isdigit() else 0, upstream, release


def compare_rpm(left: str, right: str) -> int:
    one, other = _split_rpm(left), _split_rpm(right)
    order = _sign(one[0], other[0]) or _compare_segments(one[1], other[1])
    # An advisory may leave the release out: then any release is the same.
    return order or (_compare_segments(one[2], other[2]) if one[2] and other[2] else 0)


# Alpine: apk-tools, src/version.c

_APK = re.compile(
    r"(?P<numbers>\d+(?:\.\d+)*)(?P<letter>[a-z])?(?P<suffixes>(?:_[a-z]+\d*)*)(?:~[0-9a-f]+)?(?:-r(?P<revision>\d+))?",
    re.ASCII,
)
_APK_SUFFIX = re.compile(r"_([a-z]+)(\d*)", re.ASCII)
_APK_BEFORE = ("alpha", "beta", "pre", "rc")
_APK_AFTER = ("cvs", "svn", "git", "hg", "p")


def _apk_suffix(name: str) -> int:
    """Negative before the version itself, positive after it."""
    if name in _APK_BEFORE:
        return _APK_BEFORE.index(name) - len(_APK_BEFORE)
    return _APK_AFTER.index(name) + 1 if name in _APK_AFTER else len(_APK_AFTER) + 1


def _compare_apk_numbers(left: str, right: str) -> int:
    ours, theirs = left.split("."), right.split(".")
    for index, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        fraction = index and "0" in (one[0], other[0])  # 1.01 < 1.1
        order = (one > other) - (one < other) if fraction else _sign(int(one), int(other))
        if order:
            return order
    return _sign(len(ours), len(theirs))


def compare_apk(left: str, right: str) -> int:
    one, other = _APK.fullmatch(left), _APK.fullmatch(right)
    if one is None or other is None:
        return compare_debian(left, right)
    order = _compare_apk_numbers(one["numbers"], other["numbers"])
    if order:
        return order
    ours, theirs = one["letter"] or "", other["letter"] or ""
    if ours != theirs:
        return 1 if ours > theirs else -1
    suffixes = [[(_apk_suffix(name), int(number or 0)) for name, number in _APK_SUFFIX.findall(match["suffixes"])]
                for match in (one, other)]  # fmt: skip
    length = max(map(len, suffixes))
    padded = [[*each, *[(0, 0)] * (length - len(each))] for each in suffixes]
    if padded[0] != padded[1]:
        return 1 if padded[0] > padded[1] else -1
    return _sign(int(one["revision"] or 0), int(other["revision"] or 0))


# semver.org 2.0.0, as npm and Go modules use it

_SEMANTIC = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.+-]*)?", re.ASCII)


def _compare_identifiers(left: str, right: str) -> int:
    if left == right:
        return 0
    if not left or not right:
        return 1 if not left else -1  # a pre-release comes before its release
    ours, theirs = left.split("."), right.split(".")
    for one, other in zip(ours, theirs, strict=False):
        if one == other:
            continue
        if one.isdigit() and other.isdigit():
            return _sign(int(one), int(other))
        if one.isdigit() != other.isdigit():
            return -1 if one.isdigit() else 1
        return 1 if one > other else -1
    return _sign(len(ours), len(theirs))


def compare_semantic(left: str, right: str) -> int:
    one, other = _SEMANTIC.fullmatch(left), _SEMANTIC.fullmatch(right)
    if one is None or other is None:
        return compare_debian(left, right)
    for number in (1, 2, 3):
        order = _sign(int(one[number] or 0), int(other[number] or 0))
        if order:
            return order
    return _compare_identifiers(one[4] or "", other[4] or "")


# Python: PEP 440


@lru_cache(4096)
def _python_version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def compare_python(left: str, right: str) -> int:
    one, other = _python_version(left), _python_version(right)
    if one is None or other is None:
        return compare_debian(left, right)
    return (one > other) - (one < other)


_COMPARE: dict[PackageKind, Callable[[str, str], int]] = {
    PackageKind.DEB: compare_debian,
    PackageKind.APK: compare_apk,
    PackageKind.RPM: compare_rpm,
    PackageKind.PYPI: compare_python,
    PackageKind.NPM: compare_semantic,
    PackageKind.GO: compare_semantic,
}


def compare(kind: PackageKind, left: str, right: str) -> int:
    """-1, 0 or 1: `left` is earlier than, as late as, or later than `right`."""
    return _COMPARE[kind](left[:MOST_CHARACTERS].strip(), right[:MOST_CHARACTERS].strip())
