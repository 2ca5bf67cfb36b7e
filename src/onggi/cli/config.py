"""The client's configuration file, ~/.docker/config.json, shared with the docker CLI."""

from onggi.cli import system
from onggi.cli.failure import Failure
from onggi.jsontext import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def default_folder() -> str:
    return system.environment("DOCKER_CONFIG") or f"{system.home()}/.docker"


class Config:
    """What the file holds. A missing file is an empty one; a broken one is a failure, not "no configuration"."""

    __slots__ = ("folder", "values")

    def __init__(self, folder: str = "") -> None:
        self.folder = folder or default_folder()
        self.values: dict[str, Any] = {}
        try:
            descriptor = system.open_file(self.path, system.O_RDONLY | system.O_BINARY)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise Failure(f"loading config file: {self.path}: {error.strerror}") from None
        try:
            with open(descriptor, "rb") as file:
                found = loads(file.read() or b"{}")
        except (OSError, ValueError) as error:
            raise Failure(f"loading config file: parsing config file ({self.path}): {error}") from None
        if not isinstance(found, dict):
            raise Failure(f"loading config file: parsing config file ({self.path}): it must hold one JSON object")
        self.values = found

    @property
    def path(self) -> str:
        return f"{self.folder}/config.json"

    def text(self, key: str) -> str:
        value = self.values.get(key)
        return value if isinstance(value, str) else ""

    def table(self, key: str) -> "dict[str, Any]":
        value = self.values.get(key)
        return value if isinstance(value, dict) else {}

    def save(self) -> None:
        """Write the file: 0600, atomically, through a symbolic link if the path is one."""
        import os

        from onggi.cli.files import write_private
        from onggi.template.json import indented
        from onggi.template.values import Struct

        write_private(os.path.realpath(self.path), indented(Struct(self.values), "\t", html=True).encode())
