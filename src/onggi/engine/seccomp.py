"""Which system calls a container may make: Docker's default profile, or one that the user gives as JSON.

Both are lists of rules with conditions on capabilities, architecture and kernel; what is left of them for one
container is the runtime specification's `linux.seccomp`. (moby: profiles/seccomp)
"""

import os
import platform
from collections.abc import Sequence
from functools import cache
from importlib import resources

import msgspec

from onggi.errors import InvalidParameter
from onggi.oci import spec as oci

_DEFAULT = "seccomp-default.tsv"
_AF_ALG = 38
_EPERM = 1
_ARCHITECTURES = {
    "x86_64": ("amd64", ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")),
    "aarch64": ("arm64", ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM")),
    "s390x": ("s390x", ("SCMP_ARCH_S390X", "SCMP_ARCH_S390")),
    "ppc64le": ("ppc64le", ("SCMP_ARCH_PPC64LE",)),
    "riscv64": ("riscv64", ("SCMP_ARCH_RISCV64",)),
}


class _Conditions(msgspec.Struct, frozen=True):
    """When a rule counts: all that is given must hold for `includes`, nothing of it for `excludes`."""

    caps: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    min_kernel: str = msgspec.field(default="", name="minKernel")

    def hold(self, held: frozenset[str], arch: str) -> bool:
        return (
            held.issuperset(self.caps)
            and (not self.arches or arch in self.arches)
            and (not self.min_kernel or _kernel() >= _version(self.min_kernel))
        )

    def bar(self, held: frozenset[str], arch: str) -> bool:
        return bool(
            held.intersection(self.caps)
            or arch in self.arches
            or (self.min_kernel and _kernel() >= _version(self.min_kernel))
        )


class _Rule(msgspec.Struct, frozen=True, rename="camel"):
    action: str
    names: tuple[str, ...] = ()
    name: str = ""
    errno_ret: int | None = None
    args: tuple[oci.SeccompArg, ...] | None = None
    includes: _Conditions = _Conditions()
    excludes: _Conditions = _Conditions()


class _Profile(msgspec.Struct, frozen=True, rename="camel"):
    """Docker's JSON form."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] | None = None
    flags: tuple[str, ...] | None = None
    syscalls: tuple[_Rule, ...] = ()


_decoder = msgspec.json.Decoder(_Profile)


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    try:
        return int(major), int(minor or 0)
    except ValueError as error:
        raise InvalidParameter(f"invalid seccomp profile: kernel version {text!r}") from error


@cache
def _kernel() -> tuple[int, int]:
    major, minor, *_ = os.uname().release.split(".")
    return int(major), int("".join(digit for digit in minor if digit.isdigit()) or 0)


def _args(text: str) -> tuple[oci.SeccompArg, ...]:
    """`arg0 SCMP_CMP_NE 40`; with MASKED_EQ the number is the mask, and what it leaves must be 0."""
    found = []
    for condition in filter(None, text.split(",")):
        index, operator, value = condition.split()
        found.append(oci.SeccompArg(index=int(index.removeprefix("arg")), value=int(value), op=operator))
    return tuple(found)


def _conditions(text: str) -> _Conditions:
    words = dict(word.split("=", 1) for word in text.split())
    return _Conditions(
        caps=tuple(filter(None, words.get("caps", "").split(","))),
        arches=tuple(filter(None, words.get("arches", "").split(","))),
        min_kernel=words.get("minKernel", ""),
    )


@cache
def _default_profile() -> _Profile:
    rules = []
    for line in resources.files("onggi.engine").joinpath(_DEFAULT).read_text(encoding="ascii").splitlines():
        if line.startswith("#") or line.startswith("action\t"):
            continue
        action, errno, args, includes, excludes, names = line.split("\t")
        arguments = _args(args)
        if names == "socket":
            # Docker keeps AF_VSOCK away; AF_ALG, the kernel's crypto, has been a way to root since (CVE-2026-31431).
            arguments = (*arguments, oci.SeccompArg(index=0, value=_AF_ALG, op="SCMP_CMP_NE"))
        rules.append(
            _Rule(
                action=action,
                names=tuple(names.split()),
                errno_ret=int(errno) if errno else None,
                args=arguments,
                includes=_conditions(includes),
                excludes=_conditions(excludes),
            )
        )
    return _Profile("SCMP_ACT_ERRNO", _EPERM, syscalls=tuple(rules))


def _resolve(profile: _Profile, held: frozenset[str]) -> oci.Seccomp:
    arch, architectures = _ARCHITECTURES.get(platform.machine(), ("", ()))
    return oci.Seccomp(
        default_action=profile.default_action,
        default_errno_ret=profile.default_errno_ret,
        architectures=profile.architectures or architectures,
        flags=profile.flags or (),
        syscalls=tuple(
            oci.SeccompRule(
                names=rule.names or ((rule.name,) if rule.name else ()),
                action=rule.action,
                errno_ret=rule.errno_ret,
                args=rule.args or (),
            )
            for rule in profile.syscalls
            if rule.includes.hold(held, arch) and not rule.excludes.bar(held, arch)
        ),
    )


@cache
def default(held: frozenset[str]) -> oci.Seccomp:
    """Docker's profile for a container with these capabilities."""
    return _resolve(_default_profile(), held)


def from_json(text: str, held: frozenset[str]) -> oci.Seccomp:
    """A user's profile. Raises InvalidParameter."""
    try:
        return _resolve(_decoder.decode(text), held)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidParameter(f"Decoding seccomp profile failed: {error}") from error


def choose(option: str, *, privileged: bool, granted: Sequence[str]) -> oci.Seccomp | None:
    """What `--security-opt seccomp=OPTION` means; None: no filter. Raises InvalidParameter."""
    if option == "unconfined" or (privileged and not option):
        return None
    held = frozenset(granted)
    return from_json(option, held) if option else default(held)
