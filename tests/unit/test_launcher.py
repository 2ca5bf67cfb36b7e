"""The launcher: what it loads, and what it is made of."""

import os
import subprocess
import sys
from pathlib import Path

import onggi
from onggi.linux.interpreter import sealed_interpreter

ROOT = str(Path(onggi.__path__[0]).parent)
LOADED = """
import sys; sys.path.insert(0, sys.argv[1])
import onggi.runtime.launcher
print(*sorted(name for name in sys.modules if not name.startswith("onggi")))
"""
# Each further module is memory in the launcher and in every shim, and time before the first start.
ALLOWED = {
    "__main__", "_abc", "_codecs", "_collections", "_collections_abc", "_ctypes", "_frozen_importlib",
    "_frozen_importlib_external", "_imp", "_io", "_json", "_signal", "_socket", "_stat", "_struct", "_thread",
    "_warnings", "_weakref", "_weakrefset", "abc", "builtins", "codecs", "ctypes", "ctypes._endian", "encodings",
    "encodings.aliases", "encodings.ascii", "encodings.latin_1", "encodings.utf_8", "errno", "fcntl", "gc",
    "genericpath", "io", "marshal", "os", "os.path", "posix", "posixpath", "select", "stat", "struct", "sys", "time",
    "types", "winreg", "zipimport",
}  # fmt: skip


def test_the_launcher_loads_little() -> None:
    command = [os.path.realpath(sys.executable), "-I", "-S", "-c", LOADED, ROOT]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) - ALLOWED == set()


def test_its_program_is_a_copy_that_nobody_can_write() -> None:
    with sealed_interpreter() as copy:
        seals = subprocess.run(
            [os.path.realpath(sys.executable), "-c", "import fcntl; print(fcntl.fcntl(int(__import__('sys').argv[1]), 1034))",
             str(copy.fileno())],
            pass_fds=[copy.fileno()], capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert int(seals) & 15 == 15, "seal, shrink, grow, write"
        program = Path(os.path.realpath(sys.executable)).read_bytes()
        assert os.pread(copy.fileno(), len(program) + 1, 0) == program
