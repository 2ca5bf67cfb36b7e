"""Whether the host shares what a bind mount is asked to share with it (mount_namespaces(7), proc_pid_mountinfo(5))."""

import os

from onggi.errors import System

_WANTED = {
    "shared": (("shared:",), "a shared mount"),
    "rshared": (("shared:",), "a shared mount"),
    "slave": (("shared:", "master:"), "a shared or slave mount"),
    "rslave": (("shared:", "master:"), "a shared or slave mount"),
}


def check(source: str, propagation: str, mountinfo: str | None = None) -> None:
    """Raises System in Docker's words when the mount that `source` lies on has no peers. Blocks.

    Without this a mount made on either side would not be seen on the other, and nobody would be told.
    """
    if propagation not in _WANTED:
        return
    prefixes, what = _WANTED[propagation]
    if mountinfo is None:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            mountinfo = table.read()
    point, fields = _mount_of(os.path.realpath(source), mountinfo)
    if not any(field.startswith(prefixes) for field in fields):
        raise System(f"path {source} is mounted on {point} but it is not {what}")


def _mount_of(path: str, mountinfo: str) -> tuple[str, list[str]]:
    """The mount point that a path lies on, and its optional fields. Of two mounts at one place the later one counts."""
    found: tuple[str, list[str]] = ("/", [])
    for line in mountinfo.splitlines():
        before, _, _ = line.partition(" - ")
        words = before.split(" ")
        point = os.fsdecode(os.fsencode(words[4]).decode("unicode_escape").encode("latin-1"))
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(found[0]):
            found = (point, words[6:])
    return found
