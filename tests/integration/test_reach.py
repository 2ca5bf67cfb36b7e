"""What a container must not reach: the engine's keys, the host's mount table; and an engine another's data."""

import sys
from pathlib import Path

import pytest

from tests.engine import Engine

pytestmark = pytest.mark.timeout(400)  # a busy machine
KEYS = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {"x86_64": (248, 250), "aarch64": (217, 219)}
add_key, keyctl = NUMBERS[os.uname().machine]
SESSION = ctypes.c_int(-3)
"""
HOLD = (
    KEYS
    + """
assert libc.syscall(keyctl, 1, None) > 0, "a session keyring of its own"
assert libc.syscall(add_key, b"user", b"onggi-token", b"secret", 6, SESSION) > 0
os.execvp(sys.argv[1], sys.argv[1:])
"""
)
SEARCH = (
    KEYS
    + """
found = libc.syscall(keyctl, 10, SESSION, b"user", b"onggi-token", 0)
print("found" if found > 0 else os.strerror(ctypes.get_errno()))
"""
)


def test_a_key_of_the_engines_session(tmp_path: Path, busybox_tar: Path) -> None:
    """It is searched without a system-call filter: what keeps it away is the container's own keyring."""
    holding = (sys.executable, "-c", HOLD)
    with Engine(tmp_path, number=3, enter=holding) as engine:
        engine.docker("load", "-i", str(busybox_tar), check=True)
        search = ["chroot", "/host", "/usr/bin/python3", "-c", SEARCH]
        inside = engine.docker(
            "run", "--rm", "-v", "/:/host:ro", "--security-opt", "seccomp=unconfined", "busybox", *search
        )
        assert inside.stdout == "Required key not available\n", inside.stderr
        own = engine._run([*holding, "/usr/bin/python3", "-c", SEARCH], check=True)
        assert own.stdout == "found\n", "the search finds what is there"


def test_mounts_made_inside_stay_inside(engine: Engine, busybox: str, name: str, tmp_path: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    script = "mount -t tmpfs inside /volume/here && mount -t tmpfs inside /tmp && grep -c inside /proc/mounts"
    (tmp_path / "here").mkdir()
    volume = ("-v", f"{tmp_path}:/volume")
    engine.docker("run", "-d", "--name", name, *volume, busybox, "sleep", "1000", check=True)
    try:
        powers = ("--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined")
        made = engine.docker(
            "run", "--rm", *powers, *volume, busybox, "sh", "-c", script + "; grep inside /proc/mounts"
        )
        assert made.stdout.startswith("2\n"), made
        other = engine.docker("exec", name, "cat", "/proc/mounts", check=True).stdout
        assert "inside" not in other
        new = set(Path("/proc/self/mountinfo").read_text().splitlines()) - set(before.splitlines())
        assert not [line for line in new if "inside" in line]
    finally:
        engine.docker("rm", "-f", name)


def test_a_second_engine_on_one_data_root(engine: Engine, tmp_path: Path) -> None:
    second = Engine(tmp_path, number=4)
    second.data_root = engine.data_root
    with pytest.raises(
        AssertionError, match=r"another engine \(pid \d+\) works in .*; stop it or give this one a --data-root"
    ):
        second.start()
    assert engine.docker("version").returncode == 0


def test_a_second_engine_on_one_socket(engine: Engine, tmp_path: Path) -> None:
    second = Engine(tmp_path, number=4)
    second.socket = engine.socket
    with pytest.raises(AssertionError, match="did not start"):
        second.start()
    assert engine.docker("version").returncode == 0, "the first still answers on it"
