"""What an image asks of its containers, where that is nonsense or an attack: refused in words, and the engine goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine import Engine
from tests.images import busybox_layer, docker_archive

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "NUL in the environment": ({"Env": ["A=\0b"]}, "invalid environment variable: it holds a NUL byte"),
    "variable without a name": ({"Env": ["=x"]}, "invalid environment variable: =x"),
    "variable larger than the kernel takes": ({"Env": ["A=" + "x" * 200_000]}, "exec /bin/true: argument list too long"),
    "NUL in the command": ({"Cmd": ["echo", "a\0b"]}, "invalid command: it holds a NUL byte"),
    "command without a name": ({"Cmd": [""]}, 'exec: "": executable file not found in $PATH'),
    "signal that is none": ({"StopSignal": "SIGFOO"}, "invalid signal: SIGFOO"),
    "signal out of range": ({"StopSignal": "9" * 14}, f"invalid signal: {'9' * 14}"),
    "health check of no kind": ({"Healthcheck": {"Test": ["FOO"]}}, 'unknown type "FOO" in Healthcheck'),
    "health check without a pause": (
        {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 1}}, "Interval in Healthcheck cannot be less than 1ms"),
    "volume above the root": ({"Volumes": {"../..": {}}}, "invalid mount path: '../..' mount path must be absolute"),
    "volume instead of the root": ({"Volumes": {"/": {}}}, "invalid specification: destination can't be '/'"),
    "volume of no name": ({"Volumes": {"": {}}}, "field Target must not be empty"),
    "volume with NUL": ({"Volumes": {"/x\0y": {}}}, "the target holds a NUL"),
    "volume with a path of 6 kB": ({"Volumes": {"/v" * 3000: {}}}, "File name too long"),
    "volume over /proc": ({"Volumes": {"/proc": {}}}, '"/proc" cannot be mounted because it is not of type proc'),
    "volume within /proc": (
        {"Volumes": {"/proc/self/attr": {}}}, '"/proc/self/attr" cannot be mounted because it is inside /proc'),
    "user of no kind": ({"User": "a:b:c"}, "unable to find user a: no matching entries in passwd file"),
    "user out of range": ({"User": "99999999999"}, "uids and gids must be in range 0-2147483647"),
    "working directory that is relative": (
        {"WorkingDir": "../.."}, "the working directory '../..' is invalid, it needs to be an absolute path"),
    "working directory with NUL": ({"WorkingDir": "/a\0b"}, "invalid working directory: it holds a NUL byte"),
    "port out of range": ({"ExposedPorts": {"99999/tcp": {}}}, 'invalid port specification: "99999"'),
    "port that is a word": ({"ExposedPorts": {"foo": {}}}, 'invalid port specification: "foo"'),
}  # fmt: skip


@pytest.fixture
def odd_image(engine: Engine, tmp_path: Path) -> Any:
    name = "odd-settings:1"

    def make(**config: Any) -> str:
        docker_archive(tmp_path / "odd.tar", [name], [busybox_layer()], **{"Cmd": ["/bin/true"], **config})
        engine.docker("load", "-q", "-i", str(tmp_path / "odd.tar"), check=True)
        return name

    yield make
    engine.docker("rmi", "-f", name)


@pytest.mark.parametrize("row", REFUSED)
def test_settings_that_are_refused(engine: Engine, odd_image: Callable[..., str], row: str) -> None:
    config, sentence = REFUSED[row]
    name = odd_image(**config)
    volumes = engine.docker("volume", "ls", "-q", check=True).stdout
    done = engine.docker("run", "--rm", name)
    assert done.returncode in (125, 126, 127)
    assert done.stderr.startswith("docker: Error response from daemon: ")
    assert sentence in done.stderr
    # It can be looked at all the same, nothing of the container is left, and others go on.
    engine.docker("image", "inspect", name, check=True)
    engine.docker("history", name, check=True)
    assert engine.docker("volume", "ls", "-q", check=True).stdout == volumes
    assert engine.docker("run", "--rm", "busybox", "echo", "on", check=True).stdout == "on\n"


def test_settings_are_words_and_no_orders(engine: Engine, odd_image: Callable[..., str]) -> None:
    """Labels that look like the engine's settings, and settings at the edge of what makes sense."""
    name = odd_image(
        Labels={"com.docker.runtime": "x", "io.containers.autoupdate": "registry", "privileged": "true", "log-driver": "none"},
        Env=["ONLY_A_NAME", "A=b\nc"], StopTimeout=2**63 - 1, OnBuild=["RUN x"] * 1000, Shell=[],
        Healthcheck={"Test": ["CMD-SHELL", "true"], "Interval": 2**63 - 1, "Timeout": 2**63 - 1},
    )  # fmt: skip
    done = engine.docker("run", "--rm", name, "sh", "-c", 'echo "$A"; grep CapEff /proc/self/status', check=True)
    assert done.stdout == "b\nc\nCapEff:\t00000000a80425fb\n"
