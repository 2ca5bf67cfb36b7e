"""Programs that others wrote on Docker's API: the stock Compose. (Testcontainers have a module of their own.)"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.engine import Engine
from tests.peers import PEERS, docker_command

COMPOSE_PLACES = (
    PEERS / "usr/libexec/docker/cli-plugins/docker-compose",
    Path("/usr/libexec/docker/cli-plugins/docker-compose"),
    Path("/usr/lib/docker/cli-plugins/docker-compose"),
)
COMPOSE_FILE = """
services:
  web:
    image: busybox
    command: sh -c "echo from web > /data/page; exec httpd -f -p 80 -h /data"
    stop_signal: KILL
    volumes: ["data:/data"]
    ports: ["127.0.0.1::80"]
    healthcheck: {test: ["CMD", "test", "-e", "/data/page"], interval: 1s}
  client:
    image: busybox
    depends_on: {web: {condition: service_healthy}}
    command: wget -q -O - http://web/page
volumes: {data: {}}
"""


def environment(engine: Engine) -> dict[str, str]:
    return {**os.environ, "DOCKER_HOST": f"unix://{engine.socket}", "TESTCONTAINERS_RYUK_DISABLED": "true"}


def test_compose(engine: Engine, tmp_path: Path, name: str) -> None:
    program = next((place for place in COMPOSE_PLACES if os.access(place, os.X_OK)), None)
    if program is None:
        docker_command()
        pytest.skip("the stock Compose is not installed: run scripts/setup.sh peers")
    (tmp_path / "compose.yaml").write_text(COMPOSE_FILE)

    def compose(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [program, "-p", name.lower(), "-f", str(tmp_path / "compose.yaml"), *words],
            capture_output=True, text=True, timeout=100, env=environment(engine), stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    try:
        up = compose("up", "-d")
        assert up.returncode == 0, up.stderr
        assert compose("wait", "client").stdout.strip() in ("0", ""), "the client ended well"
        assert "from web" in compose("logs", "client").stdout
        assert compose("exec", "-T", "web", "cat", "/data/page").stdout == "from web\n"
        assert "web" in compose("ps").stdout
    finally:
        down = compose("down", "-v", "-t", "0")
    assert down.returncode == 0, down.stderr
    assert engine.docker("volume", "ls", "-q", "--filter", f"name={name.lower()}").stdout == ""
