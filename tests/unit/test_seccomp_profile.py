"""Docker's default seccomp profile for a set of capabilities."""

import pytest

from onggi.engine import capabilities, seccomp
from onggi.errors import InvalidParameter
from onggi.oci.spec import Seccomp


def allowed(profile: Seccomp, name: str) -> bool:
    return any(name in rule.names and rule.action == "SCMP_ACT_ALLOW" and not rule.args for rule in profile.syscalls)


def test_default() -> None:
    profile = seccomp.default(frozenset(capabilities.DEFAULT))
    assert (profile.default_action, profile.default_errno_ret) == ("SCMP_ACT_ERRNO", 1)
    for name in ("read", "execve", "chroot", "ptrace"):
        assert allowed(profile, name), name
    for name in ("mount", "bpf", "keyctl", "unshare", "setns", "io_uring_setup", "userfaultfd", "kexec_load", "reboot"):
        assert not any(name in rule.names for rule in profile.syscalls), name
    assert not allowed(profile, "clone")
    (clone3,) = [rule for rule in profile.syscalls if "clone3" in rule.names]
    assert (clone3.action, clone3.errno_ret) == ("SCMP_ACT_ERRNO", 38)


def test_neither_vsock_nor_the_kernels_crypto() -> None:
    profile = seccomp.default(frozenset(capabilities.DEFAULT))
    (socket,) = [rule for rule in profile.syscalls if "socket" in rule.names]
    assert {(arg.op, arg.value) for arg in socket.args} == {("SCMP_CMP_NE", 40), ("SCMP_CMP_NE", 38)}


def test_capabilities_open_system_calls() -> None:
    held = frozenset({*capabilities.DEFAULT, "CAP_SYS_ADMIN", "CAP_SYS_BOOT"})
    profile = seccomp.default(held)
    for name in ("mount", "clone", "clone3", "unshare", "reboot"):
        assert allowed(profile, name), name


def test_a_users_profile() -> None:
    text = """{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": null, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"name": "rmdir", "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["CAP_SYS_ADMIN"]}}]}"""
    plain, admin = seccomp.from_json(text, frozenset()), seccomp.from_json(text, frozenset({"CAP_SYS_ADMIN"}))
    assert [rule.names for rule in plain.syscalls] == [("mkdir",)]
    assert [rule.names for rule in admin.syscalls] == [("rmdir",)]


def test_choice() -> None:
    assert seccomp.choose("unconfined", privileged=False, granted=()) is None
    assert seccomp.choose("", privileged=True, granted=()) is None
    assert seccomp.choose("", privileged=False, granted=()) == seccomp.default(frozenset())
    with pytest.raises(InvalidParameter, match=r"^Decoding seccomp profile failed: "):
        seccomp.choose("/no/such/file", privileged=False, granted=())
