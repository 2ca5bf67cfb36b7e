"""The walk-through names modules and functions that exist."""

import re
from importlib import import_module
from pathlib import Path

from onggi.daemon.options import OPTIONS

ROOT = Path(__file__).parents[2]
NAMES = re.findall(r"`(onggi(?:\.\w+)+)(?::(\w+))?`", (ROOT / "docs/internals/one-run.md").read_text())


def test_every_name_of_the_walk_exists() -> None:
    assert len(NAMES) > 20
    missing = [f"{module}:{name}" for module, name in NAMES if not hasattr(import_module(module), name or "__name__")]
    assert missing == []


def test_every_test_that_documents_name_exists() -> None:
    missing = []
    for document in ROOT.glob("docs/**/*.md"):
        for target in re.findall(r"`(tests/[\w/]+\.py)`", document.read_text()):
            if not (ROOT / target).exists():
                missing.append(f"{document.relative_to(ROOT)}: {target}")
    assert missing == []


def test_decisions_have_numbers_of_their_own() -> None:
    files = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))
    assert [file.read_text().split(".", 1)[0] for file in files] == [
        f"# {number}" for number in range(1, len(files) + 1)
    ]


def test_every_option_of_the_daemon_is_documented() -> None:
    page = (ROOT / "docs/reference/daemon.md").read_text()
    assert [option.flag for option in OPTIONS if not re.search(rf"--{option.flag}[`, ]", page)] == []


def test_every_file_that_documents_link_to_exists() -> None:
    missing = []
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
            if "://" not in target and not (document.parent / target).exists():
                missing.append(f"{document.relative_to(ROOT)}: {target}")
    assert missing == []
