"""The OCI runtimes of one engine by the names that `--runtime` takes: our own, and programs that were added.

`runc` and `io.containerd.runc.v2` are what Docker calls its own. Where a runc is installed they mean it; elsewhere our
own runtime, so that a file that names Docker's default runs here, too.
"""

import os
import shutil
from collections.abc import Mapping
from typing import Any

from onggi.engine.settings import Settings
from onggi.errors import InvalidParameter, Unsupported
from onggi.runtime.runtime import OciProgram

OWN = "onggi"
RUNC = ("runc", "io.containerd.runc.v2")
_INITS = ("docker-init", "tini-static")


def program(name: str, settings: Settings) -> OciProgram | None:
    """Who starts the containers that name this runtime; None: we do. Raises InvalidParameter with Docker's sentence."""
    if name == OWN:
        return None
    given = settings.runtimes.get(name)
    if given is not None:
        return OciProgram(shutil.which(given.path) or given.path, given.arguments)
    if name in RUNC:
        found = shutil.which("runc")
        return OciProgram(os.path.realpath(found)) if found else None
    raise InvalidParameter(f"unknown or invalid runtime name: {name}")


def init(settings: Settings) -> str:
    """The program that `--init` puts first under another runtime. Raises Unsupported where there is none."""
    for name in (settings.init_path, *_INITS):
        found = shutil.which(name) if name else None
        if found:
            return os.path.realpath(found)
    raise Unsupported(
        "--init under another runtime needs an init program: install tini, or name one by the daemon's --init-path"
    )


def described(settings: Settings) -> Mapping[str, Any]:
    """As `info` shows them."""
    found: dict[str, Any] = {OWN: {"path": "onggi-runtime"}}
    for name in RUNC:
        other = program(name, settings)
        found[name] = {"path": other.path if other is not None else "onggi-runtime"}
    for name, given in settings.runtimes.items():
        found[name] = {"path": given.path} | ({"runtimeArgs": list(given.arguments)} if given.arguments else {})
    return found
