"""What users write for a mount: `-v SOURCE:TARGET:MODE`, the elements of HostConfig.Mounts, `--tmpfs`.

Nothing here looks at the host; see `volumes.volumes` for that.
"""

import posixpath
import re
from collections.abc import Iterable, Mapping

from onggi.errors import InvalidParameter
from onggi.volumes.mount_point import BindOptions, ImageOptions, MountPoint, MountRequest, TmpfsOptions, VolumeOptions
from onggi.volumes.volume import check_name

PROPAGATIONS = frozenset({"private", "rprivate", "slave", "rslave", "shared", "rshared"})
_LABELS = frozenset({"z", "Z"})
_READ_ONLY = {"ro": False, "rw": True}
_CONSISTENCIES = frozenset({"default", "consistent", "cached", "delegated"})
_SIZE = re.compile(r"\d+[kKmMgG%]?")
_MODE = re.compile(r"0?[0-7]{1,4}")
_NUMBER = re.compile(r"\d+[kKmMgG]?")
_TMPFS_FLAGS = frozenset(
    {"ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "sync", "async", "dirsync", "atime", "noatime"}
    | {"diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "remount", "bind", "rbind"}
    | {"private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable", "defaults", "nomand"}
)
_TMPFS_REFUSED = frozenset({"remount", "bind", "rbind"}) | PROPAGATIONS | {"unbindable", "runbindable"}


def refuse(kind: str, reason: str) -> InvalidParameter:
    return InvalidParameter(f'invalid mount config for type "{kind}": {reason}')


def clean_target(kind: str, target: str) -> str:
    """A normalised absolute path in the container. Raises InvalidParameter."""
    if "\0" in target:
        raise refuse(kind, "the target holds a NUL")
    if not target:
        raise refuse(kind, "field Target must not be empty")
    if not target.startswith("/"):
        raise refuse(kind, f"invalid mount path: '{target}' mount path must be absolute")
    cleaned = posixpath.normpath("/" + target.lstrip("/"))
    if cleaned == "/":
        raise refuse(kind, "invalid specification: destination can't be '/'")
    return cleaned


def parse_bind(text: str, *, volume_driver: str = "") -> MountPoint:
    """`SOURCE:TARGET[:MODE]`: a host path or a volume's name. Raises InvalidParameter."""
    parts = text.split(":")
    if not 1 < len(parts) <= 3 or "" in parts or "\0" in text:
        raise InvalidParameter(f"invalid volume specification: '{text}'")
    source, target = parts[:2]
    mode = parts[2] if len(parts) == 3 else ""
    words = _mode_words(mode)
    is_path = source.startswith("/")
    kind = "bind" if is_path else "volume"
    try:
        target = clean_target(kind, target)
        if is_path and words & {"nocopy"}:
            raise refuse("bind", "field VolumeOptions must not be specified")
        if not is_path and words & PROPAGATIONS:
            raise refuse("volume", "field BindOptions must not be specified")
    except InvalidParameter as error:
        raise InvalidParameter(f"invalid volume specification: '{text}': {error}") from None
    writable = "ro" not in words
    if is_path:
        propagation = next(iter(words & PROPAGATIONS), "rprivate")
        return MountPoint(
            type="bind",
            source=posixpath.normpath(source),
            destination=target,
            mode=mode,
            rw=writable,
            propagation=propagation,
            create_source=True,
        )
    check_name(source)
    return MountPoint(
        type="volume",
        name=source,
        destination=target,
        driver=volume_driver or "local",
        mode=mode or "z",
        rw=writable,
        copy_up="nocopy" not in words,
    )


def _mode_words(mode: str) -> set[str]:
    """The words of a MODE, at most one of each sort. Raises InvalidParameter."""
    if not mode:
        return set()
    words = mode.split(",")
    sorts = [
        [word for word in words if word in sort]
        for sort in (_READ_ONLY, PROPAGATIONS, _LABELS, {"nocopy"}, _CONSISTENCIES)
    ]
    if sum(len(found) for found in sorts) != len(words) or any(len(found) > 1 for found in sorts):
        raise InvalidParameter(f"invalid mode: {mode}")
    return set(words)


def parse_request(request: MountRequest, *, volume_driver: str = "") -> MountPoint:
    """One element of HostConfig.Mounts. Raises InvalidParameter, Unsupported."""
    kind = request.type
    if kind not in {"bind", "volume", "image", "tmpfs"}:
        raise refuse(kind, "mount type unknown")
    target = clean_target(kind, request.target)
    given = {
        "BindOptions": request.bind_options,
        "VolumeOptions": request.volume_options,
        "ImageOptions": request.image_options,
        "TmpfsOptions": request.tmpfs_options,
    }
    for name, options in given.items():
        if options is not None and not name.lower().startswith(kind):
            raise refuse(kind, f"field {name} must not be specified")
    if request.consistency and request.consistency not in _CONSISTENCIES:
        raise refuse(kind, f"unknown mount consistency: {request.consistency}")
    if "\0" in request.source:
        raise refuse(kind, "the source holds a NUL")
    if kind == "bind":
        return _parse_bind_request(request, request.bind_options or BindOptions(), target)
    if kind == "image":
        return _parse_image_request(request, request.image_options or ImageOptions(), target)
    if kind == "tmpfs":
        if request.source:
            raise refuse(kind, "field Source must not be specified")
        words = tmpfs_request_options(request.tmpfs_options or TmpfsOptions())
        return MountPoint(type="tmpfs", destination=target, rw=not request.read_only, tmpfs_options=words, spec=request)
    return _parse_volume_request(request, request.volume_options or VolumeOptions(), target, volume_driver)


def _parse_bind_request(request: MountRequest, options: BindOptions, target: str) -> MountPoint:
    if not request.source:
        raise refuse("bind", "field Source must not be empty")
    if not request.source.startswith("/"):
        raise refuse("bind", f"invalid mount path: '{request.source}' mount path must be absolute")
    if options.propagation and options.propagation not in PROPAGATIONS:
        raise refuse("bind", f"invalid propagation mode: {options.propagation}")
    if options.read_only_non_recursive and options.read_only_force_recursive:
        raise refuse("bind", "ReadOnlyNonRecursive and ReadOnlyForceRecursive exclude each other")
    if (options.read_only_non_recursive or options.read_only_force_recursive) and not request.read_only:
        raise refuse("bind", 'mount must be set "ReadOnly" to use ReadOnlyNonRecursive or ReadOnlyForceRecursive')
    if options.read_only_force_recursive and options.non_recursive:
        raise refuse("bind", "ReadOnlyForceRecursive and NonRecursive exclude each other")
    return MountPoint(
        type="bind",
        source=posixpath.normpath(request.source),
        destination=target,
        rw=not request.read_only,
        propagation=options.propagation or "rprivate",
        recursive=not options.non_recursive,
        read_only_recursive=not options.read_only_non_recursive,
        read_only_forced=options.read_only_force_recursive,
        create_source=options.create_mountpoint,
        spec=request,
    )


def _parse_volume_request(request: MountRequest, options: VolumeOptions, target: str, volume_driver: str) -> MountPoint:
    if request.source:
        check_name(request.source)
    elif options.subpath:
        raise refuse("volume", "must not set Subpath when using anonymous volumes")
    _check_subpath("volume", options.subpath)
    return MountPoint(
        type="volume",
        name=request.source,
        destination=target,
        driver=(options.driver_config.name if options.driver_config is not None else "") or volume_driver or "local",
        mode="z" if request.source else "",
        rw=not request.read_only,
        copy_up=not options.no_copy and not options.subpath,
        subpath=options.subpath,
        anonymous=not request.source,
        spec=request,
    )


def _parse_image_request(request: MountRequest, options: ImageOptions, target: str) -> MountPoint:
    if not request.source:
        raise refuse("image", "field Source must not be empty")
    _check_subpath("image", options.subpath)
    return MountPoint(
        type="image",
        name=request.source,
        destination=target,
        rw=False,
        propagation="rprivate",
        subpath=options.subpath,
        spec=request,
    )


def _check_subpath(kind: str, subpath: str) -> None:
    if subpath.startswith("/") or ".." in subpath.split("/") or "\0" in subpath:
        raise refuse(kind, "subpath must be a relative path within the volume")


def tmpfs_request_options(options: TmpfsOptions) -> tuple[str, ...]:
    """The options of a tmpfs of HostConfig.Mounts. Raises InvalidParameter."""
    if options.size_bytes < 0 or not 0 <= options.mode <= 0o7777:
        raise refuse("tmpfs", "invalid size or mode")
    words = []
    if options.size_bytes:
        words.append(f"size={options.size_bytes}")
    if options.mode:
        words.append(f"mode={options.mode:o}")
    for row in options.options or []:
        if not 1 <= len(row) <= 2:
            raise refuse("tmpfs", f"invalid option: {row}")
        words.append("=".join(row))
    return tmpfs_options(",".join(words))


def tmpfs_options(text: str) -> tuple[str, ...]:
    """The options of `--tmpfs TARGET:OPTIONS`, each one checked. Raises InvalidParameter."""
    words = tuple(word for word in text.split(",") if word)
    checks = {"size": _SIZE, "mode": _MODE, "uid": _NUMBER, "gid": _NUMBER, "nr_inodes": _NUMBER, "nr_blocks": _NUMBER}
    for word in words:
        key, equals, value = word.partition("=")
        good_value = equals and key in checks and checks[key].fullmatch(value)
        good_flag = not equals and word in _TMPFS_FLAGS - _TMPFS_REFUSED
        if not good_value and not good_flag:
            raise InvalidParameter(f'invalid tmpfs option ["{word}"]')
    return words


def parse_tmpfs(mounts: Mapping[str, str]) -> list[MountPoint]:
    """HostConfig.Tmpfs: target → options."""
    return [
        MountPoint(type="tmpfs", destination=clean_target("tmpfs", target), tmpfs_options=tmpfs_options(options))
        for target, options in mounts.items()
    ]


def refuse_duplicates(points: Iterable[MountPoint]) -> None:
    """Raises InvalidParameter when two things are to be mounted at one place."""
    seen = set()
    for point in points:
        if point.destination in seen:
            raise InvalidParameter(f"Duplicate mount point: {point.destination}")
        seen.add(point.destination)
