"""Real Docker beside us: where its programs are, and a dockerd to compare with (scripts/peers.sh)."""

import os
import shutil
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
