"""A machine that lacks what an engine needs: a sentence with the way out, and nothing is left over."""

import subprocess
import sys
from pathlib import Path

import pytest

DAEMON = (
    f"exec {sys.executable} -m onggi.daemon --data-root {{root}}/data --exec-root {{root}}/run -H unix://{{root}}/s"
)

CASES = {
    "not root": (
        "unshare -U sh -c '{daemon}'",  # uid 0 of the machine has no name in there
        "onggi daemon: the engine needs root: start it with sudo, or reach one elsewhere with -H\n",
    ),
    "no cgroups": (
        "unshare -m sh -c 'mount -t tmpfs none /sys/fs/cgroup && {daemon}'",
        "onggi daemon: the engine can't work here: cgroups: none mounted at /sys/fs/cgroup: mount cgroup2 there "
        "(`onggi doctor` shows all)\n",
    ),
    "no overlayfs": (
        "unshare -m sh -c 'mount --bind {root}/filesystems /proc/filesystems && PATH={root} {daemon}'",
        "onggi daemon: the engine can't work here: overlayfs: not in this kernel: load the module overlay "
        "(`onggi doctor` shows all)\n",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_engine_says_what_lacks(tmp_path: Path, case: str) -> None:
    command, sentence = CASES[case]
    known = Path("/proc/filesystems").read_text().splitlines(keepends=True)
    (tmp_path / "filesystems").write_text("".join(line for line in known if "overlay" not in line))
    modprobe = tmp_path / "modprobe"  # a kernel that has no such module
    modprobe.write_text("#!/bin/sh\nexit 1\n")
    modprobe.chmod(0o755)
    words = command.format(daemon=DAEMON.format(root=tmp_path), root=tmp_path)
    done = subprocess.run(
        ["sh", "-c", words], capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stderr) == (1, sentence)
    assert not (tmp_path / "data").exists()
