"""A seccomp profile as a classic BPF program (seccomp(2), bpf(4)).

System calls with one verdict are merged into ranges of numbers, and each architecture gets a balanced tree over them: a
call costs some eight comparisons, and the whole of Docker's profile some 700 instructions.

Arguments that the kernel takes as 32 bits are compared as 32 bits. libseccomp always compares 64, so `socket(1 << 32 |
AF_VSOCK, …)` passes a filter of its making that means to refuse AF_VSOCK, and the kernel then drops the upper half.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files

from onggi.errors import InvalidParameter, Unsupported
from onggi.linux.seccomp import FLAGS, SECCOMP_FILTER_FLAG_SPEC_ALLOW
from onggi.oci.spec import Seccomp, SeccompArg, SeccompRule

_ENOSYS = 38
_X32_BIT = 0x40000000
_ARCHITECTURES = {  # runtime-spec's name: (AUDIT_ARCH_*, column of syscalls.tsv)
    "SCMP_ARCH_X86_64": (0xC000003E, "x86_64"),
    "SCMP_ARCH_X86": (0x40000003, "x86"),
    "SCMP_ARCH_X32": (0xC000003E, "x32"),
    "SCMP_ARCH_AARCH64": (0xC00000B7, "aarch64"),
    "SCMP_ARCH_ARM": (0x40000028, "arm"),
    "SCMP_ARCH_RISCV64": (0xC00000F3, "riscv64"),
}
_NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64", "riscv64": "SCMP_ARCH_RISCV64"}
_WIDE = frozenset({"x86_64", "aarch64", "riscv64", "x32"})
"""Columns whose calls carry 64-bit arguments."""
_KILL_PROCESS, _KILL_THREAD, _TRAP, _ERRNO = 0x80000000, 0x00000000, 0x00030000, 0x00050000
_TRACE, _LOG, _ALLOW = 0x7FF00000, 0x7FFC0000, 0x7FFF0000
_ACTIONS = {
    "SCMP_ACT_KILL": _KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": _KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": _KILL_PROCESS,
    "SCMP_ACT_TRAP": _TRAP,
    "SCMP_ACT_ERRNO": _ERRNO,
    "SCMP_ACT_TRACE": _TRACE,
    "SCMP_ACT_LOG": _LOG,
    "SCMP_ACT_ALLOW": _ALLOW,
}
_OPERATORS = frozenset(f"SCMP_CMP_{word}" for word in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))

ACTIONS, OPERATORS, ARCHITECTURES = sorted(_ACTIONS), sorted(_OPERATORS), sorted(_ARCHITECTURES)
"""The specification's names of what is offered."""

_NARROW_ARGUMENTS: dict[str, tuple[int, ...]] = {
    "socket": (0, 1, 2),
    "socketpair": (0, 1, 2),
    "personality": (0,),
    "clone": (0,),  # declared long; the kernel takes lower_32_bits()
    "ioctl": (0, 1),
    "fcntl": (0, 1),
    "prctl": (0,),
    "setsockopt": (0, 1, 2, 4),
    "getsockopt": (0, 1, 2),
    "kill": (0, 1),
    "tgkill": (0, 1, 2),
    "tkill": (0, 1),
    "open": (1, 2),
    "openat": (0, 2, 3),
    "creat": (1,),
    "chmod": (1,),
    "fchmod": (0, 1),
    "fchmodat": (0, 2),
    "mknod": (1, 2),
    "mknodat": (0, 2, 3),
    "setns": (0, 1),
    "bpf": (0, 2),
    "keyctl": (0,),
    "seccomp": (0, 1),
    "sched_setscheduler": (0, 1),
    "sched_setaffinity": (0, 1),
    "setpriority": (0, 1),
    "getpriority": (0, 1),
    "memfd_create": (1,),
    "memfd_secret": (0,),
    "userfaultfd": (0,),
    "io_uring_setup": (0,),
    "fanotify_init": (0, 1),
    "inotify_init1": (0,),
    "epoll_create1": (0,),
    "eventfd2": (0, 1),
    "dup3": (0, 1, 2),
    "pipe2": (1,),
    "accept4": (0, 3),
    "umount2": (1,),
    "sethostname": (1,),
    "reboot": (0, 1, 2),
    "quotactl": (0, 2),
    "setuid": (0,),
    "setgid": (0,),
    "setreuid": (0, 1),
    "setregid": (0, 1),
    "setresuid": (0, 1, 2),
    "setresgid": (0, 1, 2),
    "syslog": (0, 2),
    "unlinkat": (0, 2),
    "execveat": (0, 4),
    "landlock_restrict_self": (0, 1),
    "pidfd_open": (0, 1),
    "pidfd_getfd": (0, 1, 2),
    "close_range": (0, 1, 2),
}
"""Arguments whose C type is int, unsigned int or narrower (include/linux/syscalls.h)."""

Code = list[tuple[int, int, int, int]]
"""Instructions: code, jump if true, jump if false, k. Every block ends in a return: blocks can be put anywhere."""

_LOAD, _JUMP, _EQUAL, _GREATER, _AT_LEAST, _AND, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x54, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
_FAR = 255
"""How many instructions a conditional jump can pass over."""


@lru_cache(maxsize=64)
def compile(profile: Seccomp, machine: str) -> tuple[bytes, int]:
    """(program, flags) of a profile for this machine. Pure, and remembered.

    Raises InvalidParameter for a profile that contradicts itself, Unsupported for what is not offered.
    """
    if profile.listener_path or any(rule.action == "SCMP_ACT_NOTIFY" for rule in profile.syscalls):
        raise Unsupported("seccomp profiles that notify a listener are not offered")
    default = _verdict(profile.default_action, profile.default_errno_ret)
    names = profile.architectures or (_NATIVE.get(machine, ""),)
    columns: dict[int, dict[str, Code]] = {}
    for name in dict.fromkeys(names):
        if name not in _ARCHITECTURES:
            raise Unsupported(f"seccomp architecture {name!r} is not offered")
        audit, column = _ARCHITECTURES[name]
        columns.setdefault(audit, {})[column] = _architecture(profile, column, default)
    code: Code = [(_LOAD, 0, 0, _ARCHITECTURE)]
    for audit, sections in columns.items():
        body = _sections(sections)
        code += [*_unless(_EQUAL, audit, len(body)), *body]
    code.append((_RETURN, 0, 0, _KILL_PROCESS))  # a call of an architecture that the profile does not know
    return _assemble(code), _flags(profile)


def _sections(sections: Mapping[str, Code]) -> Code:
    """Code for one AUDIT_ARCH. x32 shares x86_64's and differs by a bit of the number."""
    load: Code = [(_LOAD, 0, 0, _NUMBER)]
    if "x86_64" not in sections and "x32" not in sections:
        (only,) = sections.values()
        return load + only
    wide = sections.get("x32", [(_RETURN, 0, 0, _KILL_PROCESS)])
    native = sections.get("x86_64", [(_RETURN, 0, 0, _KILL_PROCESS)])
    strip: Code = [(_AND, 0, 0, 0xFFFFFFFF ^ _X32_BIT)]
    wide = [*strip, *wide]
    # Number -1, which a tracer sets to skip a call, has the bit as well; it is no x32 call.
    return [*load, (_EQUAL, 1, 0, 0xFFFFFFFF), *_unless(_AT_LEAST, _X32_BIT, len(wide), before=1), *wide, *native]


def _unless(test: int, value: int, length: int, *, before: int = 0) -> Code:
    """Run the next `length` instructions if the test holds, else pass over them.

    With `before`, the instruction ahead of this jumps to its first one, and must land on what passes over.
    """
    if before:
        return [(test, 1, 0, value), (_JUMP, 0, 0, length)]
    if length <= _FAR:
        return [(test, 0, length, value)]
    return [(test, 1, 0, value), (_JUMP, 0, 0, length)]


def _architecture(profile: Seccomp, column: str, default: int) -> Code:
    """The tree for one architecture; the number is in the accumulator."""
    numbers = _numbers()[column]
    by_number: dict[int, list[tuple[str, SeccompRule]]] = {}
    for rule in profile.syscalls:
        for name in rule.names:
            if name in numbers:
                by_number.setdefault(numbers[name], []).append((name, rule))
    verdicts: dict[int, Code] = {}
    for number, rules in by_number.items():
        verdicts[number] = _call(rules, default, wide=column in _WIDE)
    otherwise: Code = [(_RETURN, 0, 0, default)]
    newest = max((number for number in by_number if number < 0x1000), default=-1)
    newer = otherwise
    if default & 0x7FFF0000 not in {_ALLOW, _LOG, _TRACE}:
        # What did not exist when the profile was written: programs fall back on ENOSYS, and on nothing else.
        newer = [(_RETURN, 0, 0, _ERRNO | _ENOSYS)]
    ranges: list[tuple[int, Code]] = []
    position = 0
    for number in sorted(verdicts):
        if number > position:
            ranges.append((position, otherwise if position <= newest else newer))
        ranges.append((number, verdicts[number]))
        position = number + 1
    ranges.append((position, newer if position > newest else otherwise))
    merged: list[tuple[int, Code]] = []
    for start, verdict in ranges:
        if not merged or merged[-1][1] != verdict:
            merged.append((start, verdict))
    return _tree(merged)


def _tree(ranges: Sequence[tuple[int, Code]]) -> Code:
    """Binary search: `ranges` are (first number, what to do) in order."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    below, above = _tree(ranges[:middle]), _tree(ranges[middle:])
    start = ranges[middle][0]
    if len(below) <= _FAR:
        return [(_AT_LEAST, len(below), 0, start), *below, *above]
    return [(_AT_LEAST, 0, 1, start), (_JUMP, 0, 0, len(below)), *below, *above]


def _call(rules: Sequence[tuple[str, SeccompRule]], default: int, *, wide: bool) -> Code:
    """What happens to one call: rules with conditions in order, then one without, then the default."""
    code: Code = []
    last = default
    for name, rule in rules:
        verdict = _verdict(rule.action, rule.errno_ret)
        if not rule.args:
            last = verdict
            continue
        indexes = [argument.index for argument in rule.args]
        # As with runc: several conditions on one argument are alternatives, on different ones all must hold.
        groups = [rule.args] if len(set(indexes)) == len(indexes) else [(argument,) for argument in rule.args]
        for group in groups:
            code += _conditional(name, group, verdict, wide=wide)
    return [*code, (_RETURN, 0, 0, last)]


def _conditional(name: str, arguments: Sequence[SeccompArg], verdict: int, *, wide: bool) -> Code:
    """Return `verdict` if all conditions hold, else fall through."""
    code: Code = [(_RETURN, 0, 0, verdict)]
    for argument in reversed(arguments):
        narrow = not wide or argument.index in _NARROW_ARGUMENTS.get(name, ())
        code = _test(argument, len(code), narrow=narrow) + code
    return code


def _test(argument: SeccompArg, rest: int, *, narrow: bool) -> Code:
    """Fall through to the next `rest` instructions if the condition holds, else pass over them."""
    if argument.op not in _OPERATORS:
        raise InvalidParameter(f"invalid operator {argument.op!r} in the seccomp profile")
    if not 0 <= argument.index <= 5:
        raise InvalidParameter(f"invalid argument index {argument.index} in the seccomp profile")
    low_at = 16 + 8 * argument.index  # struct seccomp_data, little-endian halves
    high_at = low_at + 4
    value, mask = argument.value & (1 << 64) - 1, (1 << 64) - 1
    operator = argument.op.removeprefix("SCMP_CMP_")
    if operator == "MASKED_EQ":
        mask, value = value, argument.value_two & (1 << 64) - 1
        operator = "EQ"
    low, high = value & 0xFFFFFFFF, value >> 32
    low_mask, high_mask = mask & 0xFFFFFFFF, mask >> 32
    load_low: Code = [(_LOAD, 0, 0, low_at)]
    if low_mask != 0xFFFFFFFF:
        load_low.append((_AND, 0, 0, low_mask))
    code, on_true = _COMPARE[operator]
    if narrow:
        jumps = (0, rest) if on_true else (rest, 0)
        return [*load_low, (code, *jumps, low)]
    load_high: Code = [(_LOAD, 0, 0, high_at)]
    if high_mask != 0xFFFFFFFF:
        load_high.append((_AND, 0, 0, high_mask))
    tail = [*load_low, (code, *((0, rest) if on_true else (rest, 0)), low)]
    size = len(tail)
    if operator == "EQ":
        return [*load_high, (_EQUAL, 0, size + rest, high), *tail]
    if operator == "NE":
        return [*load_high, (_EQUAL, 0, size, high), *tail]
    # Ordered: the upper halves decide unless they are equal.
    if operator in {"GT", "GE"}:
        return [*load_high, (_GREATER, size + 1, 0, high), (_EQUAL, 0, size + rest, high), *tail]
    return [*load_high, (_GREATER, size + 1 + rest, 0, high), (_EQUAL, 0, size, high), *tail]


_COMPARE = {  # the jump to use, and whether the condition holds when its test does
    "EQ": (_EQUAL, True),
    "NE": (_EQUAL, False),
    "GT": (_GREATER, True),
    "LE": (_GREATER, False),
    "GE": (_AT_LEAST, True),
    "LT": (_AT_LEAST, False),
}


def _verdict(action: str, errno: int | None) -> int:
    if action not in _ACTIONS:
        raise InvalidParameter(f"invalid action {action!r} in the seccomp profile")
    base = _ACTIONS[action]
    if base in {_ERRNO, _TRACE}:
        return base | (1 if errno is None else errno) & 0xFFFF
    return base


def _flags(profile: Seccomp) -> int:
    if not profile.flags:
        # As with runc: without a word on it, programs are not slowed down by speculative-store mitigations.
        return SECCOMP_FILTER_FLAG_SPEC_ALLOW
    flags = 0
    for name in profile.flags:
        if name not in FLAGS:
            raise Unsupported(f"seccomp flag {name!r} is not offered")
        flags |= FLAGS[name]
    return flags


def _assemble(code: Code) -> bytes:
    if len(code) > 4096:
        raise InvalidParameter("the seccomp profile is too large: more than 4096 instructions")
    if any(true > _FAR or false > _FAR for _, true, false, _ in code):
        raise InvalidParameter("the seccomp profile has too many conditions on one system call")
    return b"".join(
        operation.to_bytes(2, "little") + bytes((true, false)) + k.to_bytes(4, "little")
        for operation, true, false, k in code
    )


@lru_cache(maxsize=1)
def _numbers() -> dict[str, dict[str, int]]:
    """Architecture → name → number, from syscalls.tsv."""
    text = files("onggi.runtime").joinpath("syscalls.tsv").read_text(encoding="utf-8")
    _, head, *lines = text.splitlines()
    columns = head.split("\t")[1:]
    found: dict[str, dict[str, int]] = {column: {} for column in columns}
    for line in lines:
        name, *numbers = line.split("\t")
        for column, number in zip(columns, numbers, strict=True):
            if number != "-":
                found[column][name] = int(number)
    return found
