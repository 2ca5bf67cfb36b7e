"""Platform: operating system, architecture and variant, and which image of an index suits one. (image-index.md)

Names are normalised as containerd's `platforms` package does: x86_64 is amd64, aarch64 and arm64/v8 are arm64, armhf is
arm/v7, armel arm/v6.
"""

import os
import re

import msgspec

from onggi.errors import InvalidParameter

_WORD = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_SYSTEMS = frozenset(
    [
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "illumos",
        "ios",
        "js",
        "linux",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "windows",
    ]
)
_ARCHITECTURES = frozenset(
    [
        "386",
        "amd64",
        "arm",
        "arm64",
        "loong64",
        "mips",
        "mips64",
        "mips64le",
        "mipsle",
        "ppc64",
        "ppc64le",
        "riscv64",
        "s390x",
        "wasm",
    ]
)
_ALIASES = {
    "i386": ("386", ""), "i686": ("386", ""), "x86_64": ("amd64", ""), "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""), "armhf": ("arm", "v7"), "armel": ("arm", "v6"), "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"), "loongarch64": ("loong64", ""),
}  # fmt: skip
_BASELINE = {"arm": "v7", "arm64": "v8", "amd64": "v1"}


class InvalidPlatform(InvalidParameter):
    """Text that names no platform."""


class Platform(msgspec.Struct, frozen=True, rename={"os_version": "os.version", "os_features": "os.features"},
               omit_defaults=True):  # fmt: skip
    """One platform, normalised when it comes from `parse` or `normalised`; as written in a document otherwise."""

    architecture: str = ""
    os: str = ""
    os_version: str = ""
    os_features: list[str] | None = None
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def normalised(self) -> "Platform":
        architecture, variant = self.architecture.lower(), self.variant.lower()
        architecture, implied = _ALIASES.get(architecture, (architecture, ""))
        variant = variant or implied
        if variant and variant.isdigit():
            variant = "v" + variant
        if (architecture, variant) in {("arm64", "v8"), ("amd64", "v1")}:
            variant = ""
        if architecture == "arm" and not variant:
            variant = "v7"
        system = {"macos": "darwin"}.get(self.os.lower(), self.os.lower())
        return Platform(architecture, system, self.os_version, self.os_features, variant)


def parse_platform(text: str) -> Platform:
    """Read `os`, `architecture`, `os/architecture` or `os/architecture/variant`, as `--platform` takes them.

    Raises InvalidPlatform with containerd's sentences.
    """
    parts = text.split("/")
    if len(parts) > 3:
        raise InvalidPlatform(f'"{text}": cannot parse platform specifier: invalid argument')
    for part in parts:
        if not _WORD.fullmatch(part):
            raise InvalidPlatform(
                f'"{part}" is an invalid component of "{text}": platform specifier component must match '
                '"^[A-Za-z0-9_.-]+$": invalid argument'
            )
    host = host_platform()
    if len(parts) == 1:
        word = Platform(architecture=parts[0], os=parts[0]).normalised()
        if word.os in _SYSTEMS:
            return Platform(architecture=host.architecture, os=word.os, variant=host.variant)
        if word.architecture in _ARCHITECTURES:
            return Platform(architecture=word.architecture, os=host.os, variant=word.variant)
        raise InvalidPlatform(f'"{text}": unknown operating system or architecture: invalid argument')
    return Platform(os=parts[0], architecture=parts[1], variant=parts[2] if len(parts) == 3 else "").normalised()


def host_platform() -> Platform:
    """What this machine runs, by its kernel's word."""
    machine = os.uname()
    return Platform(architecture=machine.machine, os=machine.sysname.lower()).normalised()


def _level(platform: Platform) -> int:
    variant = platform.variant or _BASELINE.get(platform.architecture, "")
    digits = variant.lstrip("v").split(".", 1)[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 4 else 0


def suitability(candidate: Platform, wanted: Platform) -> int | None:
    """How well an image for `candidate` suits `wanted`: the greater the better, None when it does not run there.

    A machine runs what is made for lower variants of its architecture: arm/v7 runs v6; the best is the highest.
    """
    candidate, wanted = candidate.normalised(), wanted.normalised()
    if candidate.os != wanted.os:
        return None
    if candidate.architecture != wanted.architecture:
        # A 64-bit ARM machine also runs 32-bit images, when nothing better is there (as containerd decides).
        if (wanted.architecture, candidate.architecture) == ("arm64", "arm"):
            return _level(candidate) - 100 if _level(candidate) <= 8 else None
        return None
    if wanted.architecture in _BASELINE:
        level = _level(candidate)
        return level if level <= _level(wanted) else None
    return 0 if candidate.variant == wanted.variant or not wanted.variant else None
