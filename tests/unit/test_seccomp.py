"""The compiled filter, executed instruction by instruction: what a call with these arguments gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onggi.errors import InvalidParameter, Unsupported
from onggi.oci.spec import Seccomp, SeccompArg, SeccompRule
from onggi.runtime import seccomp_compiler, seccomp_profile
from onggi.runtime.host import Host

HOST = Host(machine="x86_64", kernel=(6, 18), cgroup_version=1, last_capability=40)
X86_64, X86, X32 = 0xC000003E, 0x40000003, 0x40000000
ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
DOCKERS = (  # noqa: SIM905
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID CAP_SETUID CAP_SETFCAP "
    "CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE"
).split()  # fmt: skip
WORD = 0xFFFFFFFF


def verdict(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Interpret classic BPF over a struct seccomp_data."""
    data = number.to_bytes(4, "little") + architecture.to_bytes(4, "little") + bytes(8)
    data += b"".join((value & (1 << 64) - 1).to_bytes(8, "little") for value in (*arguments, *[0] * 6)[:6])
    accumulator, position, steps = 0, 0, 0
    while True:
        at = 8 * position
        code, true, false = int.from_bytes(program[at : at + 2], "little"), program[at + 2], program[at + 3]
        k = int.from_bytes(program[at + 4 : at + 8], "little")
        position, steps = position + 1, steps + 1
        assert steps < 4096
        if code == 0x20:
            accumulator = int.from_bytes(data[k : k + 4], "little")
        elif code == 0x54:
            accumulator &= k
        elif code == 0x05:
            position += k
        elif code == 0x15:
            position += true if accumulator == k else false
        elif code == 0x25:
            position += true if accumulator > k else false
        elif code == 0x35:
            position += true if accumulator >= k else false
        else:
            assert code == 0x06
            return k


def default(*more: str) -> bytes:
    program, _ = seccomp_compiler.compile(seccomp_profile.default([*DOCKERS, *more], HOST), "x86_64")
    return program


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("io_uring_setup", 425), ("io_uring_enter", 426), ("io_uring_register", 427), ("userfaultfd", 323),
        ("bpf", 321), ("keyctl", 250), ("add_key", 248), ("request_key", 249), ("perf_event_open", 298),
        ("unshare", 272), ("setns", 308), ("mount", 165), ("umount2", 166), ("fsopen", 430), ("fsconfig", 431),
        ("fsmount", 432), ("move_mount", 429), ("open_tree", 428), ("mount_setattr", 442),
        ("open_by_handle_at", 304), ("kexec_load", 246), ("kexec_file_load", 320), ("init_module", 175),
        ("finit_module", 313), ("delete_module", 176), ("pivot_root", 155), ("quotactl", 179), ("syslog", 103),
        ("settimeofday", 164), ("reboot", 169), ("swapon", 167), ("acct", 163), ("iopl", 172), ("nfsservctl", 180),
    ],
)  # fmt: skip
def test_the_default_profile_refuses(name: str, number: int) -> None:
    assert verdict(default(), X86_64, number) == EPERM, name
    assert verdict(default(), X86_64, X32 | number) == EPERM, name


def test_what_libc_must_fall_back_from_is_not_there() -> None:
    assert verdict(default(), X86_64, 435) == ENOSYS, "clone3"
    assert verdict(default(), X86, 435) == ENOSYS, "clone3"
    assert verdict(default(), X86_64, 600) == ENOSYS, "newer than the profile"


def test_ordinary_calls_are_allowed_by_every_architecture() -> None:
    program = default()
    for number in (0, 1, 2, 3, 9, 41, 56, 57, 59, 60, 101, 231, 257, 302, 439, 449):
        assert verdict(program, X86_64, number) == ALLOW
    for number in (1, 3, 4, 5, 11, 26, 91, 102, 252, 359):
        assert verdict(program, X86, number) == ALLOW
    for number in (1, 257, 521, 520):
        assert verdict(program, X86_64, X32 | number) == ALLOW
    assert verdict(program, 0xC00000B7, 1) == KILL, "an architecture that the profile does not name"
    assert verdict(program, X86_64, WORD) == ENOSYS, "a tracer's -1 is no x32 call"


@pytest.mark.parametrize("family", [38, 40])
@pytest.mark.parametrize("above", [0, 1 << 32, 0xDEADBEEF << 32])
def test_families_that_reach_the_host_are_refused_in_every_spelling(family: int, above: int) -> None:
    program = default()
    assert verdict(program, X86_64, 41, above | family, 1, 0) == EPERM
    assert verdict(program, X86_64, X32 | 41, above | family, 1, 0) == EPERM
    assert verdict(program, X86, 359, family, 1, 0) == EPERM


@pytest.mark.parametrize("family", [1, 2, 10, 16, 17, 37, 39, 41, 45])
def test_other_families_are_allowed(family: int) -> None:
    assert verdict(default(), X86_64, 41, family, 1, 0) == ALLOW


def test_clone_makes_threads_and_processes_but_no_namespaces() -> None:
    program = default()
    assert verdict(program, X86_64, 56, 0x003D0F00) == ALLOW, "a thread"
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(program, X86_64, 56, flag | 17) == EPERM
        assert verdict(program, X86_64, 56, 1 << 40 | flag) == EPERM
    assert verdict(default("CAP_SYS_ADMIN"), X86_64, 56, 0x10000000) == ALLOW
    assert verdict(default("CAP_SYS_ADMIN"), X86_64, 435) == ALLOW


@pytest.mark.parametrize("persona", [0, 8, 0x20000, 0x20008, 0xFFFFFFFF])
def test_personalities_of_the_profile(persona: int) -> None:
    assert verdict(default(), X86_64, 135, persona) == ALLOW
    assert verdict(default(), X86_64, 135, persona | 1 << 33) == ALLOW, "the kernel drops the upper half"


def test_other_personalities_are_refused() -> None:
    assert verdict(default(), X86_64, 135, 0x40000) == EPERM, "ADDR_NO_RANDOMIZE"


def test_the_program_is_small() -> None:
    assert len(default()) // 8 < 800, "loading costs as much as it is long"


def test_capabilities_open_what_needs_them() -> None:
    assert verdict(default("CAP_SYS_ADMIN"), X86_64, 165) == ALLOW
    assert verdict(default("CAP_SYS_TIME"), X86_64, 164) == ALLOW
    assert verdict(default("CAP_SYSLOG"), X86_64, 103) == ALLOW


OPERATORS = {
    "SCMP_CMP_NE": lambda a, b, c: a != b,
    "SCMP_CMP_LT": lambda a, b, c: a < b,
    "SCMP_CMP_LE": lambda a, b, c: a <= b,
    "SCMP_CMP_EQ": lambda a, b, c: a == b,
    "SCMP_CMP_GE": lambda a, b, c: a >= b,
    "SCMP_CMP_GT": lambda a, b, c: a > b,
    "SCMP_CMP_MASKED_EQ": lambda a, b, c: a & b == c,
}
NUMBERS = st.one_of(st.integers(0, (1 << 64) - 1), st.sampled_from([0, 1, WORD, 1 << 32, (1 << 32) + 1, (1 << 64) - 1]))


@given(st.sampled_from(sorted(OPERATORS)), NUMBERS, NUMBERS, NUMBERS)
def test_wide_arguments_are_compared_in_all_their_bits(operator: str, seen: int, value: int, second: int) -> None:
    rule = SeccompRule(("write",), "SCMP_ACT_ALLOW", None, (SeccompArg(2, value, operator, second),))
    profile = Seccomp("SCMP_ACT_ERRNO", 1, ("SCMP_ARCH_X86_64",), (), "", "", (rule,))
    program, _ = seccomp_compiler.compile(profile, "x86_64")
    holds = OPERATORS[operator](seen, value, second)
    assert verdict(program, X86_64, 1, 0, 0, seen) == (ALLOW if holds else EPERM)


@given(st.sampled_from(sorted(OPERATORS)), NUMBERS, st.integers(0, WORD), st.integers(0, WORD))
def test_narrow_arguments_are_compared_as_the_kernel_takes_them(
    operator: str, seen: int, value: int, second: int
) -> None:
    rule = SeccompRule(("socket",), "SCMP_ACT_ALLOW", None, (SeccompArg(0, value, operator, second),))
    profile = Seccomp("SCMP_ACT_ERRNO", 1, ("SCMP_ARCH_X86_64",), (), "", "", (rule,))
    program, _ = seccomp_compiler.compile(profile, "x86_64")
    holds = OPERATORS[operator](seen & WORD, value, second)
    assert verdict(program, X86_64, 41, seen) == (ALLOW if holds else EPERM)


def test_conditions_on_several_arguments_must_all_hold() -> None:
    arguments = (SeccompArg(0, 2, "SCMP_CMP_EQ"), SeccompArg(1, 3, "SCMP_CMP_EQ"))
    rule = SeccompRule(("socket",), "SCMP_ACT_ERRNO", 13, arguments)
    program, flags = seccomp_compiler.compile(
        Seccomp("SCMP_ACT_ALLOW", None, (), ("SCMP_FILTER_FLAG_LOG",)[:0], "", "", (rule,)), "x86_64"
    )
    assert flags == 4
    assert verdict(program, X86_64, 41, 2, 3) == 0x0005000D
    assert verdict(program, X86_64, 41, 2, 2) == ALLOW
    assert verdict(program, X86_64, 600) == ALLOW, "a profile that allows by default allows what is new"


def test_a_profile_in_dockers_format() -> None:
    text = """{"defaultAction": "SCMP_ACT_ALLOW", "archMap": [{"architecture": "SCMP_ARCH_X86_64",
        "subArchitectures": ["SCMP_ARCH_X86"]}], "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_ADMIN"]}}]}"""
    program, _ = seccomp_compiler.compile(seccomp_profile.read(text, DOCKERS, HOST), "x86_64")
    assert verdict(program, X86_64, 83) == EPERM
    assert verdict(program, X86, 39) == EPERM
    assert verdict(program, X86_64, 90) == EPERM
    program, _ = seccomp_compiler.compile(seccomp_profile.read(text, ["CAP_SYS_ADMIN"], HOST), "x86_64")
    assert verdict(program, X86_64, 90) == ALLOW


@pytest.mark.parametrize("text", ["", "[]", '{"defaultAction": 3}', "{", '{"defaultAction":"SCMP_ACT_X"}'])
def test_what_is_no_profile_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        seccomp_compiler.compile(seccomp_profile.read(text, [], HOST), "x86_64")


def test_notifications_are_refused_in_words() -> None:
    with pytest.raises(Unsupported, match="listener"):
        seccomp_compiler.compile(
            Seccomp("SCMP_ACT_ALLOW", syscalls=(SeccompRule(("mkdir",), "SCMP_ACT_NOTIFY"),)), "x86_64"
        )
