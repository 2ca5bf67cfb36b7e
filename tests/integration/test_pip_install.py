"""What `pip install` gives: the commands, started without the caller's environment, against a real engine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine import ROOT, Engine


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a fresh environment in which the checkout was installed, without what it depends on: the
    command line needs nothing but Python."""
    directory = tmp_path_factory.mktemp("installed")
    source = directory / "source"
    source.mkdir()
    for name in ("src", "scripts", "pyproject.toml", "README.md"):
        subprocess.run(["cp", "-a", str(ROOT / name), str(source)], check=True)
    subprocess.run([sys.executable, "-m", "venv", str(directory / "venv")], check=True)
    pip = [str(directory / "venv/bin/pip"), "install", "-q", "--disable-pip-version-check", "--no-deps", str(source)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=110)
    assert done.returncode == 0, done.stderr
    return directory / "venv/bin"


def test_the_installed_command_runs_a_container(installed: Path, engine: Engine, busybox: str, tmp_path: Path) -> None:
    (tmp_path / "onggi").mkdir()
    (tmp_path / "onggi" / "__init__.py").write_text(
        "raise SystemExit('a module of the current directory was imported')"
    )
    environment = os.environ | {"ONGGI_HOST": f"unix://{engine.socket}", "PYTHONPATH": str(tmp_path)}
    words = [str(installed / "onggi"), "run", "--rm", busybox, "echo", "hello"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
