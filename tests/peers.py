"""Real Docker beside us: where its programs are, and a dockerd to compare with (scripts/peers.sh)."""

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

PEERS = Path(os.environ.get("ONGGI_PEERS", "/var/cache/onggi-peers"))


@cache
def docker_command() -> str:
    """The stock docker command line: the newest at hand. Skips, saying why, where there is none."""
    for candidate in (str(PEERS / "usr/bin/docker"), shutil.which("docker")):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    pytest.skip("the stock docker command line is not installed: run scripts/setup.sh peers")


@cache
def peer_socket() -> Path:
    """The socket of a real dockerd. Skips, saying why, where none is named: ./test starts one and names it."""
    named = os.environ.get("ONGGI_PEER_SOCKET", "")
    if not named or not Path(named).is_socket():
        pytest.skip("no real dockerd to compare with: start one by `scripts/peers.sh start`, "
                    "and name its socket in ONGGI_PEER_SOCKET")  # fmt: skip
    return Path(named)


CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
"""A docker command line, the stock one or ours, against one engine."""


class Docker:
    """The stock docker command line against a real dockerd."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    def __call__(self, *words: str, check: bool = False, **options: object) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {"DOCKER_HOST": f"unix://{self.socket}"}
        given: dict[str, object] = {"stdin": subprocess.DEVNULL} if "input" not in options else {}
        given |= {"capture_output": True, "text": True, "timeout": 100, "env": environment} | options
        done: subprocess.CompletedProcess[str] = subprocess.run([docker_command(), *words], check=False, **given)  # type: ignore[call-overload]
        if check and done.returncode:
            raise AssertionError(f"docker {' '.join(words)}\n{done.stdout}{done.stderr}")
        return done


def peer_run(*words: str) -> str:
    """Run a program in the peers' root (buildah, umoci, skopeo); its /tmp is PEERS/tmp here. Returns its output."""
    script = Path(__file__).parent.parent / "scripts/peers.sh"
    done = subprocess.run([script, "run", *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                          timeout=100, env=os.environ | {"ONGGI_PEERS": str(PEERS)})  # fmt: skip
    if done.returncode:
        raise AssertionError(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout
