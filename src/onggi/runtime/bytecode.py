"""The launcher's modules as bytecode on the disk, before it reads them.

Compiling leaves a heap full of holes, and all shims are copies of the launcher's: one that compiled its modules by
itself, as the first after an installation or a change of the source, costs each container 0.15 MiB more.
"""

import importlib.util
import logging
import os
import py_compile
from pathlib import Path

log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parents[1]
_DIRECTORIES = ("runtime", "linux")
_FLAGS, _TIME = slice(4, 8), slice(8, 12)


def compile_stale(package: Path = _PACKAGE) -> None:
    """Write what is missing or older than its source. Where the disk is read-only, all stays as it is."""
    for directory in _DIRECTORIES:
        for source in (package / directory).rglob("*.py"):
            cached = Path(importlib.util.cache_from_source(source, optimization=""))
            try:
                if not _fresh(source, cached) and os.access(source.parent, os.W_OK):
                    py_compile.compile(str(source), str(cached), doraise=True, optimize=0)
            except (OSError, py_compile.PyCompileError) as error:
                log.warning("%s stays uncompiled: %s", source, error)


def _fresh(source: Path, cached: Path) -> bool:
    """As the import decides it (PEP 552)."""
    try:
        with cached.open("rb") as file:
            header = file.read(16)
    except FileNotFoundError:
        return False
    if not header.startswith(importlib.util.MAGIC_NUMBER):
        return False
    by_hash = bool(int.from_bytes(header[_FLAGS], "little"))
    return by_hash or int.from_bytes(header[_TIME], "little") == int(source.stat().st_mtime) & 0xFFFFFFFF
