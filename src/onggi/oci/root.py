"""Where a container's file system comes from: a directory, or layers with a writable one above them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OverlayRoot:
    """An overlayfs. Absolute host paths below the engine's data root: never paths from an image."""

    lower: tuple[str, ...]
    """Read-only layers, topmost first."""
    upper: str
    """What the container writes. Holds the attributes of the root directory, too."""
    work: str
    """The kernel's own working directory, on the file system of `upper`."""


@dataclass(frozen=True, slots=True)
class DirectoryRoot:
    """A directory on the host, used as it is."""

    path: str
