"""Device access: the runtime specification's list as cgroup v1 writes or as an eBPF program for v2."""

from collections.abc import Iterable, Sequence

from onggi.errors import InvalidParameter
from onggi.oci.spec import Device, LinuxDeviceCgroup

DEFAULT_RULES = (
    LinuxDeviceCgroup(allow=True, type="c", access="m"),
    LinuxDeviceCgroup(allow=True, type="b", access="m"),
    *(LinuxDeviceCgroup(allow=True, type="c", major=1, minor=minor) for minor in (3, 5, 7, 8, 9)),
    LinuxDeviceCgroup(allow=True, type="c", major=5, minor=0),
    LinuxDeviceCgroup(allow=True, type="c", major=5, minor=2),
    LinuxDeviceCgroup(allow=True, type="c", major=136),
)
"""What every container may open: null, zero, full, random, urandom, tty, ptmx, its terminals; mknod of anything."""

DEFAULT_DEVICES = (
    Device(type="c", path="/dev/null", major=1, minor=3, file_mode=0o666, uid=0, gid=0),
    Device(type="c", path="/dev/random", major=1, minor=8, file_mode=0o666, uid=0, gid=0),
    Device(type="c", path="/dev/full", major=1, minor=7, file_mode=0o666, uid=0, gid=0),
    Device(type="c", path="/dev/tty", major=5, minor=0, file_mode=0o666, uid=0, gid=0),
    Device(type="c", path="/dev/zero", major=1, minor=5, file_mode=0o666, uid=0, gid=0),
    Device(type="c", path="/dev/urandom", major=1, minor=9, file_mode=0o666, uid=0, gid=0),
)
"""runtime-spec: config-linux.md, Default Devices."""

_ACCESS = {"m": 1, "r": 2, "w": 4}
_ALL = 7
_TYPES = {"b": 1, "c": 2}

_LOAD_WORD, _MOVE32, _AND32, _SHIFT32, _MOVE64 = 0x61, 0xBC, 0x54, 0x74, 0xB7
_JUMP_NOT, _JUMP_NOT_REGISTER, _EXIT = 0x55, 0x5D, 0x95


def checked(rules: Iterable[LinuxDeviceCgroup]) -> list[LinuxDeviceCgroup]:
    """The rules, after a look at each. Raises InvalidParameter."""
    found = []
    for rule in rules:
        if rule.type not in {"a", "b", "c", ""}:
            raise InvalidParameter(f"invalid device type {rule.type!r}: a, b or c")
        if not rule.access or set(rule.access) - set(_ACCESS):
            raise InvalidParameter(f"invalid device access {rule.access!r}: letters of rwm")
        found.append(rule)
    return found


def version_1(rules: Sequence[LinuxDeviceCgroup]) -> list[tuple[str, str, str]]:
    """As writes to devices.allow and devices.deny (kernel: admin-guide/cgroup-v1/devices.rst)."""
    writes = []
    for rule in checked(rules):
        file = "devices.allow" if rule.allow else "devices.deny"
        if rule.type in {"a", ""}:
            writes.append(("devices", file, "a"))
        else:
            writes.append(("devices", file, f"{rule.type} {_any(rule.major)}:{_any(rule.minor)} {rule.access}"))
    return writes


def version_2(rules: Sequence[LinuxDeviceCgroup]) -> bytes:
    """As an eBPF program: the last rule that matches decides; without one, no access."""
    default = 0
    kept: list[LinuxDeviceCgroup] = []
    for rule in checked(rules):
        if rule.type in {"a", ""}:
            default, kept = int(rule.allow), []
        else:
            kept.append(rule)
    # r2: type, r3: access asked for, r4: major, r5: minor (struct bpf_cgroup_dev_ctx)
    program = [
        _instruction(_LOAD_WORD, 2, 1, 0, 0),
        _instruction(_MOVE32, 3, 2, 0, 0),
        _instruction(_AND32, 2, 0, 0, 0xFFFF),
        _instruction(_SHIFT32, 3, 0, 0, 16),
        _instruction(_LOAD_WORD, 4, 1, 4, 0),
        _instruction(_LOAD_WORD, 5, 1, 8, 0),
    ]
    for rule in reversed(kept):
        program += _block(rule)
    program += [_instruction(_MOVE64, 0, 0, 0, default), _instruction(_EXIT, 0, 0, 0, 0)]
    return b"".join(program)


def _block(rule: LinuxDeviceCgroup) -> list[bytes]:
    access = 0
    for letter in rule.access:
        access |= _ACCESS[letter]
    tests: list[tuple[int, int, int, int]] = [(_JUMP_NOT, 2, 0, _TYPES[rule.type])]
    prepare: list[bytes] = []
    if access != _ALL:
        prepare = [_instruction(_MOVE32, 1, 3, 0, 0), _instruction(_AND32, 1, 0, 0, access)]
        tests.append((_JUMP_NOT_REGISTER, 1, 3, 0))
    if rule.major is not None and rule.major >= 0:
        tests.append((_JUMP_NOT, 4, 0, rule.major))
    if rule.minor is not None and rule.minor >= 0:
        tests.append((_JUMP_NOT, 5, 0, rule.minor))
    block = list(prepare)
    for position, (operation, left, right, value) in enumerate(tests):
        remaining = len(tests) - position - 1 + 2  # the tests after this one, then the verdict's two instructions
        block.append(_instruction(operation, left, right, remaining, value))
    return [*block, _instruction(_MOVE64, 0, 0, 0, int(rule.allow)), _instruction(_EXIT, 0, 0, 0, 0)]


def _instruction(operation: int, destination: int, source: int, offset: int, value: int) -> bytes:
    return (
        bytes((operation, destination | source << 4))
        + offset.to_bytes(2, "little", signed=True)
        + (value & 0xFFFFFFFF).to_bytes(4, "little")
    )


def _any(number: int | None) -> str:
    return "*" if number is None or number < 0 else str(number)
