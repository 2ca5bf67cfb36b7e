"""Our command line in this process: its rows, its parser, its output."""

import json
from pathlib import Path
from typing import Any

import pytest

from onggi.cli.arguments import Arguments, parse
from onggi.cli.main import find, main

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "onggi"


def arguments(line: list[str]) -> Arguments:
    """What the parser makes of a command line without global options."""
    found = find(line)
    assert found is not None, line
    return parse(found[0], line[found[2] :])


class Said:
    """What a command line printed, and its exit status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err


def say(capsys: pytest.CaptureFixture[str], *words: str) -> Said:
    """Run our command line in this process."""
    status = main(words)
    printed = capsys.readouterr()
    return Said(status, printed.out, printed.err)


def reference(path: Path) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.load(file)
