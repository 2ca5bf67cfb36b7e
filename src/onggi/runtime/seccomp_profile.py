"""Seccomp profiles: Docker's default, and Docker's JSON format with its conditions, made into runtime-spec rules."""

from collections.abc import Collection, Iterable
from functools import lru_cache
from importlib.resources import files

import msgspec

from onggi.errors import InvalidParameter
from onggi.oci.spec import Seccomp, SeccompArg, SeccompRule
from onggi.runtime.host import Host

_EPERM = 1
_GO_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64", "s390x": "s390x", "ppc64le": "ppc64le"}
_ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "riscv64": ("SCMP_ARCH_RISCV64",),
}


class _Conditions(msgspec.Struct, frozen=True, rename="camel"):
    caps: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    min_kernel: str = ""


class _Argument(msgspec.Struct, frozen=True, rename="camel"):
    index: int
    value: int
    op: str
    value_two: int = 0


class _Rule(msgspec.Struct, frozen=True, rename="camel"):
    action: str
    names: tuple[str, ...] = ()
    name: str = ""
    """Older form of `names`."""
    errno_ret: int | None = None
    args: tuple[_Argument, ...] | None = ()
    includes: _Conditions | None = None
    excludes: _Conditions | None = None


class _ArchitectureMap(msgspec.Struct, frozen=True, rename="camel"):
    architecture: str
    sub_architectures: tuple[str, ...] | None = ()


class _Profile(msgspec.Struct, frozen=True, rename="camel"):
    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] | None = ()
    arch_map: tuple[_ArchitectureMap, ...] | None = ()
    flags: tuple[str, ...] | None = ()
    listener_path: str = ""
    syscalls: tuple[_Rule, ...] | None = ()


def default(capabilities: Iterable[str], host: Host) -> Seccomp:
    """Docker's default profile for a process with these capabilities in its bounding set."""
    return _default(frozenset(capabilities), host)


@lru_cache(maxsize=64)
def _default(capabilities: frozenset[str], host: Host) -> Seccomp:
    rules = tuple(_resolved(rule) for rule in _default_rules() if _applies(rule, capabilities, host))
    return Seccomp(
        default_action="SCMP_ACT_ERRNO",
        default_errno_ret=_EPERM,
        architectures=_ARCHITECTURES.get(host.machine, ()),
        syscalls=rules,
    )


def read(text: str | bytes, capabilities: Iterable[str], host: Host) -> Seccomp:
    """A profile in Docker's JSON format, its conditions decided. Raises InvalidParameter."""
    try:
        profile = msgspec.json.decode(text, type=_Profile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidParameter(f"Decoding seccomp profile failed: {error}") from error
    if profile.architectures and profile.arch_map:
        raise InvalidParameter("both 'architectures' and 'archMap' are specified in the seccomp profile, use either")
    if profile.listener_path:
        raise InvalidParameter("seccomp profiles with a listener are not offered")
    held = frozenset(capabilities)
    architectures = profile.architectures or ()
    for entry in profile.arch_map or ():
        own = _ARCHITECTURES.get(host.machine, ("",))[0]
        if entry.architecture == own:
            architectures = (own, *(entry.sub_architectures or ()))
    return Seccomp(
        default_action=profile.default_action,
        default_errno_ret=profile.default_errno_ret,
        architectures=architectures,
        flags=profile.flags or (),
        syscalls=tuple(_resolved(rule) for rule in profile.syscalls or () if _applies(rule, held, host)),
    )


def _resolved(rule: _Rule) -> SeccompRule:
    if rule.name and rule.names:
        raise InvalidParameter("both 'name' and 'names' are specified in the seccomp profile, use either")
    names = rule.names or ((rule.name,) if rule.name else ())
    arguments = tuple(SeccompArg(item.index, item.value, item.op, item.value_two) for item in rule.args or ())
    return SeccompRule(names, rule.action, rule.errno_ret, arguments)


def _applies(rule: _Rule, capabilities: Collection[str], host: Host) -> bool:
    machine = _GO_MACHINES.get(host.machine, host.machine)
    only, never = rule.includes, rule.excludes
    if never is not None:
        if machine in never.arches or any(name in capabilities for name in never.caps):
            return False
        if never.min_kernel and host.kernel >= _version(never.min_kernel):
            return False
    if only is not None:
        if only.arches and machine not in only.arches:
            return False
        if not all(name in capabilities for name in only.caps):
            return False
        if only.min_kernel and host.kernel < _version(only.min_kernel):
            return False
    return True


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise InvalidParameter(f"invalid kernel version {text!r} in the seccomp profile")
    return int(major), int(minor)


@lru_cache(maxsize=1)
def _default_rules() -> tuple[_Rule, ...]:
    """seccomp_default.tsv: action, errno, conditions on arguments, only if, not if, names."""
    text = files("onggi.runtime").joinpath("seccomp_default.tsv").read_text(encoding="utf-8")
    rules = []
    for line in text.splitlines()[2:]:
        action, errno, arguments, only, never, names = line.split("\t")
        rules.append(
            _Rule(
                action=action,
                names=tuple(names.split()),
                errno_ret=int(errno) if errno else None,
                args=tuple(_argument(word) for word in arguments.split(",") if word),
                includes=_conditions(only),
                excludes=_conditions(never),
            )
        )
    return tuple(rules)


def _argument(text: str) -> _Argument:
    place, op, value = text.split()
    if op == "SCMP_CMP_MASKED_EQ":  # the only use: none of the masked bits is set
        return _Argument(int(place.removeprefix("arg")), int(value), op, 0)
    return _Argument(int(place.removeprefix("arg")), int(value), op)


def _conditions(text: str) -> _Conditions | None:
    if not text:
        return None
    found = dict(word.split("=", 1) for word in text.split())
    return _Conditions(
        tuple(filter(None, found.get("caps", "").split(","))),
        tuple(filter(None, found.get("arches", "").split(","))),
        found.get("minKernel", ""),
    )
