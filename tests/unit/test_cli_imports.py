"""The commands that people wait for start fast: what they load is held here."""

import subprocess
import sys

import pytest

from tests.cli import ROOT

FORBIDDEN = {"re", "json", "socket", "argparse", "enum", "typing", "dataclasses", "collections", "functools", "signal",
             "ssl", "http", "urllib", "asyncio", "subprocess", "threading", "datetime", "msgspec", "site", "inspect",
             "contextlib", "logging", "random", "string", "locale", "ctypes", "tarfile", "onggi.oci", "onggi.errors"}  # fmt: skip
COMMON = {"onggi", "onggi.cli", "onggi.cli.main", "onggi.cli.command", "onggi.cli.failure", "onggi.cli.table",
          "onggi.cli.arguments", "onggi.cli.config", "onggi.jsontext", "onggi.cli.address", "onggi.cli.connection",
          "onggi.cli.commands", "onggi.cli.system"}  # fmt: skip
ALLOWED = {
    "version": {"onggi.cli.table.system", "onggi.cli.table.formats", "onggi.cli.commands.version", "onggi.cli.output"},
    "run x": {"onggi.cli.table.run", "onggi.cli.commands.run", "onggi.cli.commands.create", "onggi.cli.creation",
              "onggi.cli.creation.request"},
    "exec x y": {"onggi.cli.table.execution", "onggi.cli.commands.exec"},
    "ps": {"onggi.cli.table.container", "onggi.cli.table.formats", "onggi.cli.commands.ps", "onggi.cli.commands.rows",
           "onggi.cli.times", "onggi.cli.units", "onggi.durations", "onggi.cli.output", "onggi.template",
           "onggi.template.values"},
}  # fmt: skip
_PROGRAM = """
import sys
sys.path.insert(0, {source!r})
from onggi.cli.main import main
main(["-H", "unix:///nonexistent"] + {words!r})
print("\\n".join(sorted(sys.modules)))
"""


def _loaded(words: list[str]) -> set[str]:
    program = _PROGRAM.format(source=str(ROOT / "src"), words=words)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines())


@pytest.mark.parametrize("line", sorted(ALLOWED))
def test_what_a_command_loads(line: str) -> None:
    loaded = _loaded(line.split())
    assert loaded & FORBIDDEN == set()
    if line in ("run x", "exec x y"):
        assert "os" not in loaded, "it costs these 0.7 ms: see onggi.cli.system"
    assert {name for name in loaded if name.startswith("onggi")} - COMMON <= ALLOWED[line]


def test_an_attached_run_loads_no_more_than_its_streams() -> None:
    """What `run` loads once the container is there."""
    program = """
import sys
sys.path.insert(0, {source!r})
import onggi.cli.attached, onggi.cli.streams, onggi.cli.window, onggi.cli.signals, onggi.cli.terminal, select
print("\\n".join(sorted(sys.modules)))
""".format(source=str(ROOT / "src"))
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()) & (FORBIDDEN | {"os"}) == set()


def test_every_command_can_be_loaded_without_unix() -> None:
    """On Windows `termios`, `fcntl`, `pwd`, `resource` are missing: nothing may import them when it is loaded."""
    program = """
import sys
sys.path.insert(0, {source!r})
for name in ("termios", "fcntl", "pwd", "grp", "resource", "tty", "pty"):
    sys.modules[name] = None
import pkgutil, importlib, onggi.cli
for module in pkgutil.walk_packages(onggi.cli.__path__, "onggi.cli."):
    importlib.import_module(module.name)
""".format(source=str(ROOT / "src"))
    subprocess.run([sys.executable, "-I", "-c", program], check=True)
