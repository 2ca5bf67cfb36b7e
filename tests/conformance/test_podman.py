"""`onggi-runtime` as Podman's runtime: a container's life as conmon drives it. Where Podman is installed."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images import busybox_archive

ROOT = Path(__file__).parent.parent.parent
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")
"""Podman asks for more by default than the root of some machines may give."""


class Podman:
    def __init__(self, graph: Path, state: Path) -> None:
        self._command = ["podman", "--root", str(graph), "--runroot", str(state),
                         "--cgroup-manager", "cgroupfs", "--events-backend", "file",
                         "--runtime", str(ROOT / "scripts/onggi-runtime")]  # fmt: skip

    def __call__(self, *words: str, status: int = 0) -> str:
        done = subprocess.run([*self._command, *words], capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == status, done.stderr
        return done.stdout

    def run(self, *words: str, status: int = 0) -> str:
        return self("run", *LIMITS, "--network", "none", *words, status=status)


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Podman]:
    if shutil.which("podman") is None:
        pytest.skip("Podman is not installed")
    state = Path(tempfile.mkdtemp(prefix="onggi-"))  # Podman takes no more than 50 characters
    made = Podman(tmp_path / "graph", state)
    busybox_archive(tmp_path / "busybox.tar", name="localhost/busybox:latest")
    made("load", "-q", "-i", str(tmp_path / "busybox.tar"))
    yield made
    made("rm", "-f", "-a", "-t", "0")
    subprocess.run(["umount", "-l", tmp_path / "graph/overlay"], check=False, capture_output=True)
    subprocess.run(["umount", "-l", state / "overlay"], check=False, capture_output=True)
    shutil.rmtree(state)


def test_a_life_under_podman(podman: Podman, name: str) -> None:
    assert podman.run("--rm", "localhost/busybox", "echo", "hi") == "hi\n"
    podman.run("--rm", "localhost/busybox", "sh", "-c", "exit 7", status=7)
    podman.run("--rm", "localhost/busybox", "nope", status=127)
    podman.run("-d", "--name", name, "--memory", "32m", "--read-only", "localhost/busybox", "sleep", "1000")
    assert podman("exec", name, "echo", "inside") == "inside\n"
    podman("pause", name)
    assert json.loads(podman("inspect", name))[0]["State"]["Status"] == "paused"
    podman("unpause", name)
    podman("kill", name)
    assert podman("wait", name) == "137\n"
    podman("rm", name)
