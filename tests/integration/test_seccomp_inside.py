"""The default seccomp filter from inside a container, for each way into the kernel: errno by errno.

The probe is the host's own Python, shown to the container read-only: it makes system calls by number.
"""

import json
import os

import pytest

from tests import host_python
from tests.engine import Engine

EPERM, ENOSYS, EINVAL = 1, 38, 22
ALLOWED = 0
PROBE = r"""
import ctypes, json, mmap, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
# push rbx; mov eax, edi; mov ebx, esi; mov ecx, edx; mov edx, 0; int 0x80; pop rbx; ret
page.write(bytes.fromhex("53 89f8 89f3 89d1 ba00000000 cd80 5b c3"))
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
narrow = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_uint)(address)
found = []
for way, number, *arguments in json.load(sys.stdin):
    if way == "x86":
        result = narrow(number, *(arguments + [0, 0])[:2])
        found.append(-result if result < 0 else 0)
    else:
        number |= 0x40000000 if way == "x32" else 0
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(number), *(ctypes.c_ulong(a) for a in (arguments + [0] * 6)[:6]))
        found.append(ctypes.get_errno() if result < 0 else 0)
print(json.dumps(found))
"""
NEVER = {  # x86_64 number: name
    425: "io_uring_setup", 426: "io_uring_enter", 427: "io_uring_register", 323: "userfaultfd", 321: "bpf", 250: "keyctl",
    248: "add_key", 249: "request_key", 298: "perf_event_open", 272: "unshare", 308: "setns", 165: "mount", 166: "umount2",
    430: "fsopen", 431: "fsconfig", 432: "fsmount", 429: "move_mount", 428: "open_tree", 442: "mount_setattr",
    304: "open_by_handle_at", 246: "kexec_load", 320: "kexec_file_load", 175: "init_module", 313: "finit_module",
    176: "delete_module", 155: "pivot_root", 179: "quotactl", 103: "syslog", 167: "swapon", 168: "swapoff", 163: "acct",
    164: "settimeofday", 169: "reboot", 172: "iopl", 173: "ioperm", 153: "vhangup", 237: "mbind", 312: "kcmp",
}  # fmt: skip
NEVER_X86 = {
    310: "unshare", 346: "setns", 21: "mount", 52: "umount2", 217: "pivot_root", 88: "reboot", 357: "bpf", 288: "keyctl",
    286: "add_key", 336: "perf_event_open", 128: "init_module", 342: "open_by_handle_at", 103: "syslog", 374: "userfaultfd",
}  # fmt: skip
AF_UNIX, AF_ALG, AF_VSOCK, STREAM, SEQPACKET = 1, 38, 40, 1, 5
HIGH = 1 << 32
Call = tuple[str | int, ...]


@pytest.fixture
def probe(engine: Engine, busybox: str, name: str) -> "Probe":
    return Probe(engine, busybox, name)


class Probe:
    """Makes system calls in a fresh container and gives their errnos (0: no error)."""

    def __init__(self, engine: Engine, image: str, name: str) -> None:
        self.engine = engine
        self.image = image
        self.name = name

    def __call__(self, *calls: Call, options: tuple[str, ...] = ()) -> list[int]:
        done = self.engine.docker(
            "run", "--rm", "-i", "--name", self.name, *host_python.volumes(), *options, self.image,
            *host_python.command(PROBE), input=json.dumps(calls),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        answers = json.loads(done.stdout)
        assert isinstance(answers, list)
        return answers


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the probe knows x86_64's numbers")
class TestDefaultProfile:
    def test_what_is_refused_natively(self, probe: Probe) -> None:
        assert dict(zip(NEVER.values(), probe(*(("native", n) for n in NEVER)), strict=True)) == dict.fromkeys(
            NEVER.values(), EPERM
        )

    def test_what_is_refused_by_32_bit_calls(self, probe: Probe) -> None:
        assert dict(zip(NEVER_X86.values(), probe(*(("x86", n) for n in NEVER_X86)), strict=True)) == dict.fromkeys(
            NEVER_X86.values(), EPERM
        )

    def test_what_is_refused_by_x32_calls(self, probe: Probe) -> None:
        assert dict(zip(NEVER.values(), probe(*(("x32", n) for n in NEVER)), strict=True)) == dict.fromkeys(
            NEVER.values(), EPERM
        )

    def test_socket_families_in_every_spelling(self, probe: Probe) -> None:
        calls: list[Call] = []
        for family in (AF_ALG, AF_VSOCK):
            calls += [("native", 41, bits | family, SEQPACKET, 0) for bits in (0, HIGH, 0xDEADBEEF << 32)]
            calls += [("x32", 41, family, SEQPACKET, 0), ("x86", 359, family, SEQPACKET)]
        assert probe(*calls) == [EPERM] * len(calls)
        assert probe(("native", 41, AF_UNIX, STREAM, 0), ("x86", 359, AF_UNIX, STREAM)) == [ALLOWED, ALLOWED]

    def test_what_libc_falls_back_from(self, probe: Probe) -> None:
        assert probe(("native", 435), ("native", 700), ("x86", 435), ("x86", 700)) == [ENOSYS] * 4

    def test_clone_for_namespaces(self, probe: Probe) -> None:
        flags = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
        assert probe(*(("native", 56, bits | flag | 17) for flag in flags for bits in (0, HIGH))) == [EPERM] * 14

    def test_personalities(self, probe: Probe) -> None:
        assert probe(("native", 135, 0), ("native", 135, 0xFFFFFFFF)) == [ALLOWED, ALLOWED]
        assert probe(("native", 135, 0x0040000), ("x86", 136, 0x0040000)) == [EPERM, EPERM]

    def test_an_added_capability_opens_its_calls(self, probe: Probe) -> None:
        # Past the filter the kernel itself answers: EFAULT, EINVAL or ENOENT, not EPERM.
        errnos = probe(("native", 165), ("native", 272, 0), options=("--cap-add", "SYS_ADMIN"))
        assert EPERM not in errnos

    def test_threads_and_ptrace_work(self, probe: Probe) -> None:
        """PTRACE_TRACEME by the probe itself is what debuggers need."""
        assert probe(("native", 101, 0)) == [ALLOWED]
