"""The walk-through names modules and functions that exist."""

import re
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMES = re.findall(r"`(onggi(?:\.\w+)+)(?::(\w+))?`", (ROOT / "docs/internals/one-run.md").read_text())


def test_every_name_of_the_walk_exists() -> None:
    assert len(NAMES) > 20
    missing = [f"{module}:{name}" for module, name in NAMES if name and not hasattr(import_module(module), name)]
    assert missing == []


def test_every_file_that_documents_link_to_exists() -> None:
    missing = []
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
            if "://" not in target and not (document.parent / target).exists():
                missing.append(f"{document.relative_to(ROOT)}: {target}")
    assert missing == []
