"""A volume as it is asked for, stored and shown (Docker's Volume resource)."""

import re

import msgspec

from onggi.errors import Conflict, InvalidParameter, NotFound

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
ANONYMOUS_LABEL = "com.docker.volume.anonymous"
_OPTIONS = frozenset({"type", "o", "device"})


class NoSuchVolume(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"get {name}: no such volume")


class VolumeInUse(Conflict):
    def __init__(self, name: str, containers: list[str]) -> None:
        super().__init__(f"remove {name}: volume is in use - [{', '.join(containers)}]")


class CreateVolume(msgspec.Struct, frozen=True, rename="pascal"):
    """The body of POST /volumes/create."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    cluster_volume_spec: msgspec.Raw | None = None


class Volume(msgspec.Struct, frozen=True):
    """A volume of this engine."""

    name: str
    created_at: str
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None
    anonymous: bool = False
    """Made for one container that gave it no name."""

    @property
    def has_device(self) -> bool:
        """What is in it lies elsewhere and is mounted while a container uses it."""
        return bool(self.options and (self.options.get("device") or self.options.get("type")))

    def summary(self, mountpoint: str) -> dict[str, object]:
        """As `volume inspect` shows it."""
        return {
            "CreatedAt": self.created_at,
            "Driver": "local",
            "Labels": self.labels,
            "Mountpoint": mountpoint,
            "Name": self.name,
            "Options": self.options,
            "Scope": "local",
        }


def check_name(name: str) -> None:
    """Raises InvalidParameter with Docker's sentences."""
    if len(name) == 1:
        raise InvalidParameter(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.match(name):
        raise InvalidParameter(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    if len(name) > 255:
        raise InvalidParameter(f"create {name[:32]}…: the name of a volume has 255 characters at most")


def check_driver(name: str, driver: str) -> None:
    """Raises NotFound: there is none but "local"."""
    if driver not in {"", "local"}:
        raise NotFound(f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found')


def check_options(name: str, options: dict[str, str]) -> None:
    """The local driver's: type, o, device, as mount(8) takes them. Raises InvalidParameter."""
    for option, value in options.items():
        if option == "size":
            raise InvalidParameter(f"create {name}: quota size requested but no quota support")
        if option not in _OPTIONS:
            raise InvalidParameter(f'create {name}: invalid option: "{option}"')
        if "\0" in value or "\n" in value:
            raise InvalidParameter(f'create {name}: invalid value of option "{option}"')
    if not options:
        return
    kind, device = options.get("type", ""), options.get("device", "")
    flags = {word.strip() for word in options.get("o", "").split(",")}
    if not device:
        raise InvalidParameter(f'create {name}: missing required option: "device"')
    if not kind and not flags & {"bind", "rbind"}:
        raise InvalidParameter(f'create {name}: missing required option: "type"')
