"""`diff`: what a container changed, without the mount points that were made for it."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from onggi.images.changes import Change, Kind

if TYPE_CHECKING:
    from onggi.engine.container import Container

_MADE_FOR_IT = frozenset(
    {b"/.dockerenv", b"/dev", b"/dev/console", b"/dev/pts", b"/dev/shm", b"/dev/mqueue", b"/proc", b"/sys",
     b"/sys/fs", b"/sys/fs/cgroup", b"/etc", b"/etc/hosts", b"/etc/hostname", b"/etc/resolv.conf", b"/etc/mtab"}
)  # fmt: skip
"""What Docker puts into a layer of its own below the container's."""


def mount_points(container: "Container") -> frozenset[bytes]:
    """Every path that may have been made in the container to mount something on, with the directories above it."""
    found = set(_MADE_FOR_IT)
    tmpfs = container.host_config.tmpfs or {}
    for destination in [*(point.destination for point in container.mounts), *tmpfs]:
        path = destination.encode("utf-8", "surrogateescape").rstrip(b"/")
        while path:
            found.add(path)
            path = path.rpartition(b"/")[0]
    return frozenset(found)


def without_mount_points(changes: Sequence[Change], points: Collection[bytes]) -> Sequence[Change]:
    """Leave out what was added as a mount point, and directories that changed only by that."""
    ours = [change.path for change in changes if change.kind is Kind.ADDED and change.path in points]
    added = frozenset(ours)
    # Directories above a mount point: modified by our making it. Those above a real change are the user's doing.
    touched = {above for path in ours for above in _above(path)}
    changed = {
        above
        for change in changes
        if change.path not in added and not (change.kind is Kind.MODIFIED and change.path in touched)
        for above in (change.path, *_above(change.path))
    }
    return [
        change for change in changes if (change.path in changed) or not (change.path in added or change.path in touched)
    ]


def _above(path: bytes) -> list[bytes]:
    found = []
    while path := path.rpartition(b"/")[0]:
        found.append(path)
    return found
