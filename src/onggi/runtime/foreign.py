"""Containers that another OCI runtime starts and steers; the daemon's half of `command` and `delegate`."""

from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from onggi.oci import spec as oci
from onggi.oci.root import DirectoryRoot, OverlayRoot
from onggi.runtime.command import RECORD, Command, CommandFailed, discard
from onggi.runtime.failure import RuntimeRefused
from onggi.runtime.host import Host
from onggi.runtime.process import NotRunning
from onggi.runtime.request import OciProgram

BUNDLES = "bundles"
"""Beneath the exec root: a directory for each container of another runtime."""
_VERSION = "1.0.2"
"""Of the runtime specification: what every runtime in use takes (crun 1.8 refuses any other than 1.0). Members that came
later are known to those that have them, and ignored by the others."""
_ENDED = ("not running", "process already finished", "does not exist", "no such process", "not started")


def prepare(bundle: Path, id: str, program: OciProgram, spec: oci.Spec) -> Command:
    """Write the bundle of a container. What an earlier start may have left there must be gone."""
    bundle.mkdir(mode=0o700, parents=True)
    (bundle / "rootfs").mkdir(mode=0o700)
    (bundle / "state").mkdir(mode=0o700)
    (bundle / RECORD).write_bytes(msgspec.json.encode([program.path, program.arguments]))
    config = bundle / "config.json"
    config.touch(mode=0o600)
    config.write_bytes(msgspec.json.encode(_portable(spec)))
    return Command(program.path, list(program.arguments), str(bundle), id)


def sweep(bundles: Path, known: frozenset[str]) -> None:
    """At the daemon's start: remove the bundles of starts that were cut short before anything was noted. Blocks."""
    if bundles.is_dir():
        for bundle in bundles.iterdir():
            if bundle.name not in known:
                discard(str(bundle), bundle.name)


def creation(command: Command, root: OverlayRoot | DirectoryRoot, host: Host, *, terminal: bool) -> dict[str, Any]:
    """The order to start the container, for `delegate.spawn`."""
    if isinstance(root, OverlayRoot):
        found: list[Any] = ["overlay", list(root.lower), root.upper, root.work, host.overlay_one_by_one]
    else:
        found = ["directory", root.path]
    return {"kind": "create", "command": command.data(), "root": found, "terminal": terminal}


def execution(command: Command, exec_id: str, process: oci.Process, spec: oci.Spec, pid: int) -> dict[str, Any]:
    """The order to run one more process in the container whose first one is `pid`."""
    if process.capabilities is None and spec.process is not None:
        process = replace(process, capabilities=spec.process.capabilities)
    document: dict[str, Any] = msgspec.json.decode(oci.encode(process))
    return {
        "kind": "exec",
        "command": command.data(),
        "exec": exec_id,
        "process": document,
        "pid": pid,
        "terminal": process.terminal,
    }


def steer(command: Command, *words: str) -> None:
    """Carry out `kill`, `pause`, `resume` and their like on a container. Blocks.

    Raises NotRunning when the runtime says so, else RuntimeRefused with its sentence.
    """
    try:
        command.run(*words)
    except CommandFailed as failure:
        if any(phrase in str(failure).lower() for phrase in _ENDED):
            raise NotRunning(f"container {command.id} is not running") from failure
        raise RuntimeRefused(str(failure)) from failure
    except OSError as error:
        raise RuntimeRefused(f"{command.program}: {(error.strerror or str(error)).lower()}") from error


def update(command: Command, resources: oci.LinuxResources) -> None:
    """Change limits. Blocks. Raises as `steer`."""
    path = Path(command.bundle) / "resources.json"
    path.write_bytes(oci.encode(resources))
    try:
        steer(command, "update", "--resources", str(path), command.id)
    finally:
        path.unlink(missing_ok=True)


def _portable(spec: oci.Spec) -> dict[str, Any]:
    """As other runtimes read it: without what only our own init understands, and with what it finds out by itself."""
    assert spec.process is not None
    linux = spec.linux or oci.Linux()
    words = {word for entry in spec.mounts for word in entry.options}
    propagation = linux.rootfs_propagation
    if words & {"shared", "rshared"}:
        propagation = "shared"
    elif words & {"slave", "rslave"}:
        propagation = "slave"
    found = replace(
        spec,
        oci_version=_VERSION,
        process=replace(spec.process, reaper=False),
        root=oci.Root(path="rootfs", readonly=spec.root is not None and spec.root.readonly),
        linux=replace(linux, rootfs_propagation=propagation),
    )
    document: dict[str, Any] = msgspec.json.decode(oci.encode(found))
    for rule in document["linux"].get("resources", {}).get("devices", ()):
        rule.setdefault("type", "a")  # a default of the specification's that runc wants written
        rule.setdefault("access", "rwm")
        for member in ("major", "minor"):
            if rule.get(member) == -1:
                del rule[member]  # any: crun takes no other spelling
    return document
