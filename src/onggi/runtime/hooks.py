"""Hooks: programs of the caller's that are run around a container's life (runtime-spec: config.md, Hooks)."""

import os
import subprocess
from collections.abc import Sequence

import msgspec

from onggi.errors import System
from onggi.oci.spec import VERSION, Hook


def state_text(id: str, status: str, pid: int, bundle: str, annotations: dict[str, str]) -> bytes:
    """The container's state as a hook gets it on its standard input (runtime.md, State)."""
    state: dict[str, object] = {"ociVersion": VERSION, "id": id, "status": status, "bundle": bundle}
    if pid:
        state["pid"] = pid
    if annotations:
        state["annotations"] = annotations
    return msgspec.json.encode(state)


def run(kind: str, hooks: Sequence[Hook], state: bytes, bundle: str) -> None:
    """Run them in order, each to its end. Raises System with the first that fails, its words included."""
    for position, hook in enumerate(hooks):
        if not os.path.isabs(hook.path):
            raise System(f"error running {kind} hook #{position}: path {hook.path!r} is not absolute")
        environment = dict(entry.partition("=")[::2] for entry in hook.env)
        try:
            done = subprocess.run(
                list(hook.args) or [hook.path],
                executable=hook.path,
                input=state,
                env=environment,
                cwd=bundle,
                timeout=hook.timeout,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise System(f"error running {kind} hook #{position}: no end after {hook.timeout} s") from error
        except OSError as error:
            raise System(f"error running {kind} hook #{position}: {hook.path}: {error.strerror}") from error
        if done.returncode:
            words = done.stderr.decode("utf-8", "replace").strip()
            raise System(f"error running {kind} hook #{position}: exit status {done.returncode}, stderr: {words}")
