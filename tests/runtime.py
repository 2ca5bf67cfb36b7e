"""A runtime without an engine: containers of this machine's busybox on a plain directory."""

import os
import shutil
import socket
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from onggi.linux.cgroup import Cgroup
from onggi.linux.fd import Fd
from onggi.oci.root import DirectoryRoot
from onggi.oci.spec import Spec
from onggi.runtime.runtime import Attachment, Start

CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETUID", "CAP_SETGID"]
PATH = "PATH=/bin"
PARENT = os.environ.setdefault("ONGGI_TEST_CGROUP", f"onggi-test-{os.getpid()}")
"""The cgroup above the test's containers; the same in the processes that the test starts."""


def busybox_root(directory: Path) -> Path:
    """A root file system with a static busybox under all its names."""
    root = directory / "root"
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    for name in ("sh", "true", "sleep", "cat", "head", "echo", "stty", "kill", "yes", "dd", "wc", "ls", "tty", "seq"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\n")
    return root


def spec(root: Path, id: str, args: Sequence[str], *, terminal: bool = False, **more: Any) -> Spec:
    """As small as a container can be and still be one. `more`: members of the spec that replace ours."""
    capabilities = {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")}
    text = {
        "ociVersion": "1.2.0",
        "process": {
            "args": list(args),
            "capabilities": capabilities,
            "cwd": "/",
            "env": [PATH, "TERM=xterm"],
            "terminal": terminal,
            "user": {"uid": 0, "gid": 0},
        },
        "root": {"path": str(root)},
        "hostname": "test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            },
        ],
        "linux": {
            "cgroupsPath": f"/{PARENT}/{id}",
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network", "cgroup")],
        },
    }
    return msgspec.convert(text | more, Spec)


def start(root: Path, *args: str, terminal: bool = False, **more: Any) -> Start:
    """An order to start a container with an ID of its own."""
    id = uuid.uuid4().hex
    return Start(
        id=id,
        spec=spec(root, id, args, terminal=terminal),
        root=DirectoryRoot(str(root)),
        terminal=terminal,
        **more,
    )


def client(*, terminal: bool = False, **flags: Any) -> tuple[Attachment, socket.socket]:
    """A client to attach, and the end that it holds."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(60)
    chosen = {"stdin": True, "stdout": True, "stderr": True, "framed": not terminal} | flags
    return Attachment(Fd(ours.detach()), **chosen), theirs


def remove_cgroups() -> list[str]:
    """Remove the cgroup above the test's containers. What was left in it is killed, removed, and returned."""
    parent = Cgroup(f"/{PARENT}")
    left = sorted({entry.name for directory in parent.directories() for entry in Path(directory).glob("*/")})
    parent.kill()
    parent.delete()
    return left
