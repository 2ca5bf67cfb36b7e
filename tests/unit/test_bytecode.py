"""The launcher's modules are compiled before it starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from onggi.runtime.bytecode import compile_stale

_OLD_S = 1_700_000_000


@pytest.fixture
def module(tmp_path: Path) -> Path:
    for directory in ("runtime/logs", "linux"):
        (tmp_path / directory).mkdir(parents=True)
    source = tmp_path / "runtime" / "logs" / "sample.py"
    source.write_text("VALUE = 1\n")
    os.utime(source, (_OLD_S, _OLD_S))
    return source


def _compiled(source: Path) -> Path:
    (found,) = (source.parent / "__pycache__").iterdir()
    return found


def _compilations(source: Path) -> str:
    """What an isolated Python like the launcher's finds to do when it imports the module."""
    command = [
        sys.executable,
        "-I",
        "-S",
        "-v",
        "-c",
        f"import sys; sys.path[:0] = [{str(source.parent)!r}]; import sample",
    ]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert "sample" in told
    return "\n".join(line for line in told.splitlines() if line.startswith("# created "))


def test_an_import_finds_nothing_to_compile(module: Path, tmp_path: Path) -> None:
    assert "# created " in _compilations(module)
    _compiled(module).unlink()
    compile_stale(tmp_path)
    assert _compilations(module) == ""


def test_what_is_fresh_is_left_alone_and_what_has_changed_is_not(module: Path, tmp_path: Path) -> None:
    compile_stale(tmp_path)
    first = _compiled(module).stat()
    compile_stale(tmp_path)
    assert _compiled(module).stat().st_ino == first.st_ino  # each write is a new file
    module.write_text("VALUE = 2\n")
    compile_stale(tmp_path)
    assert _compiled(module).stat().st_ino != first.st_ino
    assert _compilations(module) == ""


def test_what_another_python_wrote_is_replaced(module: Path, tmp_path: Path) -> None:
    compile_stale(tmp_path)
    _compiled(module).write_bytes(b"\0" * 16)
    compile_stale(tmp_path)
    assert _compilations(module) == ""


def test_a_module_that_does_not_compile_holds_up_nothing(
    module: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "linux" / "broken.py").write_text("def\n")
    compile_stale(tmp_path)
    assert _compilations(module) == ""
    assert "broken.py stays uncompiled" in caplog.text
