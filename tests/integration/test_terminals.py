"""What a container types into a terminal never reaches the terminal of whoever started it (TIOCSTI, CVE-2017-5226).

The attacker is this machine's Python inside the container; the victim is a pseudo-terminal around our commands.
"""

import fcntl
import json
import os
import struct
import subprocess
import termios
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests import host_python
from tests.engine import Engine
from tests.runtime import busybox_root, remove_cgroups, spec

ROOT = Path(__file__).parent.parent.parent
SWITCH = Path("/proc/sys/dev/tty/legacy_tiocsti")
ATTACK = r"""
import fcntl, json, os, termios
found = {}
for name in (0, 1, 2, "/dev/tty", "/dev/console", "/proc/1/fd/0", "/proc/self/fd/1"):
    try:
        file = name if isinstance(name, int) else os.open(name, os.O_RDWR | os.O_NOCTTY)
    except OSError as error:
        found[str(name)] = [0, f"open: {error.errno}"]
        continue
    tried = []
    for request, argument in ((termios.TIOCSTI, b"X"), (0x541C, b"\x03\x00")):
        try:
            fcntl.ioctl(file, request, argument)
            tried.append("done")
        except OSError as error:
            tried.append(error.errno)
    place = os.fstat(file)
    found[str(name)] = [[place.st_dev, place.st_rdev] if os.isatty(file) else 0, *tried]
print("\nfound " + json.dumps(found) + "\n", flush=True)
"""


@pytest.fixture(autouse=True)
def typing_allowed() -> Iterator[None]:
    """The kernel may forbid it to all; then nothing would be tried."""
    if not SWITCH.exists():  # before Linux 6.2 it is always allowed
        yield
        return
    before = SWITCH.read_text()
    SWITCH.write_text("1")
    yield
    SWITCH.write_text(before)


def attacked(
    words: Sequence[str], environment: Mapping[str, str] = os.environ
) -> tuple[int, list[int], dict[str, list[Any]]]:
    """Run a command in a session whose terminal is ours; how many bytes were typed into that terminal, which it is,
    and what the attacker says of each file that it tried."""
    with ExitStack() as stack:
        master, slave = os.openpty()
        for end in (master, slave):
            stack.callback(os.close, end)
        tty.setraw(slave)

        process = subprocess.Popen(
            ["setsid", "--ctty", *words], stdin=slave, stdout=slave, stderr=slave, env=environment
        )
        said = b""
        while b"\nfound " not in said or not said.partition(b"\nfound ")[2].strip(b"\r").count(b"\n"):
            said += os.read(master, 65536)
            assert len(said) < 1 << 20
        assert process.wait(60) == 0, said
        waiting: int = struct.unpack("i", fcntl.ioctl(slave, termios.FIONREAD, bytes(4)))[0]
        found = json.loads(said.partition(b"\nfound ")[2].splitlines()[0])
        place = os.fstat(slave)
        return waiting, [place.st_dev, place.st_rdev], found


def test_the_attack_works_where_nothing_stops_it() -> None:
    waiting, terminal, found = attacked(host_python.command(ATTACK))
    assert waiting >= 1
    assert found["0"][:2] == [terminal, "done"]


def _environment(engine: Engine) -> dict[str, str]:
    return {**os.environ, "ONGGI_HOST": f"unix://{engine.socket}"}


@pytest.mark.parametrize("options", [(), ("-t",)], ids=["attached", "terminal"])
def test_run(engine: Engine, name: str, options: tuple[str, ...]) -> None:
    waiting, terminal, found = attacked(
        [str(ROOT / "scripts/onggi"), "run", "--rm", "--name", name, *options, *host_python.volumes(), "busybox",
         *host_python.command(ATTACK)], _environment(engine),
    )  # fmt: skip
    assert waiting == 0, found
    assert terminal not in [device for device, *_ in found.values()]


@pytest.mark.parametrize("options", [(), ("-t",)], ids=["attached", "terminal"])
def test_exec(engine: Engine, name: str, options: tuple[str, ...]) -> None:
    engine.docker("run", "-d", "--name", name, "--stop-signal", "KILL", *host_python.volumes(), "busybox", "sleep", "1000",
                  check=True)  # fmt: skip
    try:
        waiting, terminal, found = attacked(
            [str(ROOT / "scripts/onggi"), "exec", *options, name, *host_python.command(ATTACK)], _environment(engine)
        )
    finally:
        engine.docker("rm", "-f", name)
    assert waiting == 0, found
    assert terminal not in [device for device, *_ in found.values()]


def test_a_runtime_that_passes_its_own_stdio_on(tmp_path: Path, name: str) -> None:
    """The container has the caller's terminal as its files then; it is not its controlling terminal."""
    root = busybox_root(tmp_path)
    own = spec(root, name, host_python.command(ATTACK))
    binds = [
        {"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]}
        for path in host_python.shown()
    ]
    document = msgspec.to_builtins(own)
    document["mounts"] = [*document["mounts"], *binds]
    (tmp_path / "config.json").write_bytes(msgspec.json.encode(document))
    words = [
        str(ROOT / "scripts/onggi-runtime"),
        "--root",
        str(tmp_path / "state"),
        "run",
        "--bundle",
        str(tmp_path),
        name,
    ]
    try:
        waiting, terminal, found = attacked(words)
    finally:
        assert remove_cgroups() == []
    assert found["0"][0] == terminal, "its files are the caller's, as runc has it"
    assert waiting == 0, found
