"""This machine's own Python shown to a container read-only: for probes that the container's programs can't be."""

import os
import sys
from pathlib import Path

PROGRAM = os.path.realpath(sys.executable)


def shown() -> list[str]:
    """The directories that it needs, each under its own path."""
    paths = ("/usr", "/lib", "/lib64", str(Path(PROGRAM).parent), sys.base_prefix)
    return [path for path in dict.fromkeys(paths) if Path(path).is_dir()]


def volumes() -> list[str]:
    """Options of `docker run`."""
    return [word for path in shown() for word in ("-v", f"{path}:{path}:ro")]


def command(script: str) -> list[str]:
    return [PROGRAM, "-I", "-S", "-c", script]
