"""The Container Device Interface: what a vendor's files say a container needs to use a device.

    /etc/cdi, /var/run/cdi: *.json, *.yaml    kind `vendor.com/class`, its devices, and the edits that each one asks for

A device is named `vendor.com/class=name`. Of two files that define one, that in the later directory counts; in the same
directory they cancel each other out. Source: CDI SPEC.md 1.0.0 (cncf-tags/container-device-interface), its Go library's
pkg/cdi (registry, edits).
"""

import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from onggi.errors import InvalidParameter, System
from onggi.oci import spec as oci

_KIND = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*", re.ASCII)
_HOOKS = {
    "prestart": "prestart",
    "createRuntime": "create_runtime",
    "createContainer": "create_container",
    "startContainer": "start_container",
    "poststart": "poststart",
    "poststop": "poststop",
}
_FILE_BYTES = 16 << 20


class _Document(msgspec.Struct, frozen=True, rename="camel"):
    pass


class DeviceNode(_Document, frozen=True):
    path: str
    host_path: str = ""
    type: str = ""
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    permissions: str = ""
    uid: int | None = None
    gid: int | None = None


class CdiMount(_Document, frozen=True):
    host_path: str
    container_path: str
    type: str = ""
    options: tuple[str, ...] = ()


class CdiHook(_Document, frozen=True):
    hook_name: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class Edits(_Document, frozen=True):
    """What is done to a container's configuration."""

    env: tuple[str, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    mounts: tuple[CdiMount, ...] = ()
    hooks: tuple[CdiHook, ...] = ()
    additional_gids: tuple[int, ...] = msgspec.field(name="additionalGids", default=())
    intel_rdt: dict[str, object] | None = None
    net_devices: tuple[dict[str, str], ...] = ()


class CdiDevice(_Document, frozen=True):
    name: str
    container_edits: Edits = Edits()
    annotations: dict[str, str] = {}


class CdiSpec(_Document, frozen=True):
    """One file."""

    cdi_version: str
    kind: str
    devices: tuple[CdiDevice, ...]
    container_edits: Edits = Edits()
    annotations: dict[str, str] = {}


class Registry:
    """What the files in some directories define, at one moment."""

    def __init__(self) -> None:
        self._devices: dict[str, tuple[CdiSpec, CdiDevice]] = {}
        self.errors: list[str] = []
        """Files that cannot be read, and devices that are defined twice: one sentence each."""

    def names(self) -> Sequence[str]:
        return sorted(self._devices)

    def edits(self, names: Iterable[str]) -> Sequence[Edits]:
        """All edits for some devices in order, a file's own before those of its first device.

        Raises System with Docker's sentence for names that are not defined.
        """
        wanted = list(dict.fromkeys(names))
        missing = [name for name in wanted if name not in self._devices]
        if missing:
            raise System(f"CDI device injection failed: unresolvable CDI devices {', '.join(missing)}")
        found: list[Edits] = []
        seen: list[CdiSpec] = []
        for name in wanted:
            spec, device = self._devices[name]
            if not any(spec is one for one in seen):
                seen.append(spec)
                found.append(spec.container_edits)
            found.append(device.container_edits)
        return found

    def add(self, directory: Path) -> None:
        """Take in one directory; what it defines goes before what was there. Blocks."""
        found: dict[str, tuple[CdiSpec, CdiDevice]] = {}
        twice: set[str] = set()
        for path in sorted((*directory.glob("*.json"), *directory.glob("*.yaml"))):
            try:
                spec = _read(path)
            except (InvalidParameter, OSError) as error:
                self.errors.append(f"{path}: {error}")
                continue
            for device in spec.devices:
                name = f"{spec.kind}={device.name}"
                if name in found:
                    twice.add(name)
                found[name] = (spec, device)
        for name in twice:
            self.errors.append(f"{directory}: {name} is defined twice")
            del found[name]
            self._devices.pop(name, None)
        self._devices |= found


def read(directories: Sequence[str]) -> Registry:
    """What these directories define; one that is not there is empty. Blocks."""
    registry = Registry()
    for directory in directories:
        registry.add(Path(directory))
    return registry


def _read(path: Path) -> CdiSpec:
    with open(path, "rb") as file:
        text = file.read(_FILE_BYTES + 1)
    if len(text) > _FILE_BYTES:
        raise InvalidParameter(f"it is larger than {_FILE_BYTES} bytes")
    try:
        if path.suffix == ".json":
            spec = msgspec.json.decode(text, type=CdiSpec)
        else:
            import yaml  # type: ignore[import-untyped]  # its stubs are not worth a dependency

            try:
                spec = msgspec.convert(yaml.safe_load(text), CdiSpec)
            except yaml.YAMLError as error:
                raise InvalidParameter(f"it is no YAML: {error}") from error
    except msgspec.DecodeError as error:
        raise InvalidParameter(f"it is no CDI specification: {error}") from error
    if not _KIND.fullmatch(spec.kind):
        raise InvalidParameter(f"invalid kind {spec.kind!r}")
    for device in spec.devices:
        if not _NAME.fullmatch(device.name):
            raise InvalidParameter(f"invalid device name {device.name!r}")
    return spec


def apply(spec: oci.Spec, edits: Sequence[Edits]) -> oci.Spec:
    """A container's configuration with the edits of its devices. Looks at device nodes of the host.

    Raises System for a node that is not there, InvalidParameter for edits that make no sense.
    """
    for edit in edits:
        spec = _apply(spec, edit)
    return spec


def _apply(spec: oci.Spec, edit: Edits) -> oci.Spec:
    assert spec.process is not None
    assert spec.linux is not None
    if edit.intel_rdt or edit.net_devices:
        raise InvalidParameter("CDI device injection failed: intelRdt and netDevices are not supported by Onggi")
    process, linux = spec.process, spec.linux
    if edit.env:
        process = replace(process, env=_environment(process.env, edit.env))
    if edit.additional_gids:
        groups = tuple(str(gid) for gid in edit.additional_gids if gid)
        user = replace(process.user, additional_groups=(*process.user.additional_groups, *groups))
        process = replace(process, user=user)
    nodes, rules = zip(*(_node(node) for node in edit.device_nodes), strict=True) if edit.device_nodes else ((), ())
    paths = {node.path for node in nodes}
    limits = linux.resources or oci.LinuxResources()
    linux = replace(
        linux,
        devices=(*(device for device in linux.devices if device.path not in paths), *nodes),
        resources=replace(limits, devices=(*limits.devices, *rules)),
    )
    return replace(
        spec,
        process=process,
        linux=linux,
        mounts=_mounts(spec.mounts, edit.mounts),
        hooks=_hooks(spec.hooks, edit.hooks),
    )


def _environment(given: Sequence[str], added: Sequence[str]) -> tuple[str, ...]:
    found = {entry.partition("=")[0]: entry for entry in given}
    found |= {entry.partition("=")[0]: entry for entry in added}
    return tuple(found.values())


def _node(node: DeviceNode) -> tuple[oci.Device, oci.LinuxDeviceCgroup]:
    """As it is on the host, but for what the file says otherwise."""
    kind, major, minor, mode = node.type, node.major, node.minor, node.file_mode
    if not kind or (major is None and kind != "p"):
        path = node.host_path or node.path
        try:
            found = os.stat(path)
        except OSError as error:
            raise System(
                f"CDI device injection failed: failed to get device information of {path}: {(error.strerror or '').lower()}"
            ) from error
        if not (stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)):
            raise System(f"CDI device injection failed: {path} is no device node")
        kind = "b" if stat.S_ISBLK(found.st_mode) else "c"
        major, minor = os.major(found.st_rdev), os.minor(found.st_rdev)
        mode = stat.S_IMODE(found.st_mode) if mode is None else mode
    device = oci.Device(kind, node.path, major or 0, minor or 0, mode, node.uid, node.gid)
    rule = oci.LinuxDeviceCgroup(True, kind, major, minor, node.permissions or "rwm")
    return device, rule


def _mounts(given: Sequence[oci.Mount], added: Sequence[CdiMount]) -> tuple[oci.Mount, ...]:
    """In place of what is mounted there already; what lies deeper comes later."""
    if not added:
        return tuple(given)
    found = {mount.destination: mount for mount in given}
    for one in added:
        is_bind = one.type in ("", "bind") and not {"bind", "rbind"} & set(one.options)
        options = (*one.options, "bind") if is_bind else one.options
        found[one.container_path] = oci.Mount(one.container_path, one.type or "bind", one.host_path, options)
    return tuple(sorted(found.values(), key=lambda mount: mount.destination.rstrip("/").count("/")))


def _hooks(given: oci.Hooks | None, added: Sequence[CdiHook]) -> oci.Hooks | None:
    for one in added:
        member = _HOOKS.get(one.hook_name)
        if member is None:
            raise InvalidParameter(f"CDI device injection failed: invalid hook name {one.hook_name!r}")
        given = given or oci.Hooks()
        hook = oci.Hook(one.path, one.args, one.env, one.timeout)
        given = replace(given, **{member: (*getattr(given, member), hook)})
    return given


def kinds(names: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """Kind → its device names, from full names."""
    found: dict[str, list[str]] = {}
    for name in names:
        kind, _, device = name.partition("=")
        found.setdefault(kind, []).append(device)
    return found
