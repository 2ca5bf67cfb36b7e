"""Where something is mounted in a container: as asked for, and as resolved."""

import msgspec


class TmpfsOptions(msgspec.Struct, frozen=True, rename="pascal"):
    size_bytes: int = 0
    mode: int = 0
    options: list[list[str]] | None = None


class BindOptions(msgspec.Struct, frozen=True, rename="pascal"):
    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class DriverConfig(msgspec.Struct, frozen=True, rename="pascal"):
    name: str = ""
    options: dict[str, str] | None = None


class VolumeOptions(msgspec.Struct, frozen=True, rename="pascal"):
    no_copy: bool = False
    labels: dict[str, str] | None = None
    driver_config: DriverConfig | None = None
    subpath: str = ""


class ImageOptions(msgspec.Struct, frozen=True, rename="pascal"):
    subpath: str = ""


class MountRequest(msgspec.Struct, frozen=True, rename="pascal"):
    """One element of HostConfig.Mounts, as the API takes it."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class MountPoint(msgspec.Struct, frozen=True, rename={"rw": "RW"}, kw_only=True):
    """One resolved mount of a container; stored with it (the `mounts` column is a JSON list of these).

    `shown` ones make up the Mounts of `inspect`; a tmpfs of HostConfig.Tmpfs is not among them.
    """

    type: str
    """bind, volume, image or tmpfs."""
    destination: str
    source: str = ""
    """Directory or file on the host; "" for tmpfs."""
    name: str = ""
    """Of the volume or the image."""
    driver: str = ""
    mode: str = ""
    rw: bool = True
    propagation: str = ""
    anonymous: bool = False
    """Removed with its container on `rm -v` and `--rm`."""
    copy_up: bool = False
    """Filled from the image's directory when it is still empty."""
    subpath: str = ""
    """Of the volume or the image: what is below it is mounted instead of all."""
    create_source: bool = False
    """A bind's missing source becomes an empty directory at the start."""
    recursive: bool = True
    read_only_recursive: bool = True
    read_only_forced: bool = False
    """Recursive read-only or no start at all."""
    tmpfs_options: tuple[str, ...] = ()
    """Of tmpfs: `size=65536`, `mode=1777`, `noexec`, …"""
    spec: MountRequest | None = None
    """Set when asked for by HostConfig.Mounts."""

    @property
    def shown(self) -> bool:
        return self.type != "tmpfs" or self.spec is not None

    def summary(self) -> dict[str, object]:
        """As `inspect` shows it in Mounts."""
        shown: dict[str, object] = {"Type": self.type}
        if self.name:
            shown["Name"] = self.name
        shown["Source"] = self.source
        shown["Destination"] = self.destination
        if self.driver:
            shown["Driver"] = self.driver
        shown["Mode"] = self.mode
        shown["RW"] = self.rw
        shown["Propagation"] = self.propagation
        return shown
