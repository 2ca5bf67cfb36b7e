"""Pull and push: images between this host and registries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from onggi.content.store import Store
from onggi.images.credentials import Credentials
from onggi.images.image import Image
from onggi.images.images import Images
from onggi.oci.descriptor import Descriptor
from onggi.oci.platform import Platform
from onggi.oci.reference import Reference

Progress = Callable[[dict[str, Any]], None]
"""Takes one line of Docker's progress stream. It must not block."""


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """What the daemon was told about registries."""

    insecure: Sequence[str] = ("127.0.0.0/8", "::1/128")
    """Host, host:port or network that may be spoken to in plain HTTP or with an unknown certificate."""
    mirrors: Sequence[str] = ()
    """Base URLs that are asked before docker.io."""
    certificates: Sequence[Path] = (Path("/etc/onggi/certs.d"), Path("/etc/docker/certs.d"))
    """Directories that hold HOST[:PORT]/{*.crt, *.cert, *.key}."""
    most_downloads: int = 4
    most_uploads: int = 5


class Transfer:
    """Enter it to use it. One for an engine: pulls that run at the same time share their layers."""

    def __init__(self, images: Images, blobs: Store, options: RegistryOptions) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    async def pull(
        self,
        reference: Reference,
        progress: Progress,
        *,
        platform: Platform | None = None,
        credentials: Credentials | None = None,
    ) -> Image:
        """Bring an image here. Cancelled it ends at once; layers that are complete stay for the next try."""
        raise NotImplementedError

    async def pull_all(
        self,
        reference: Reference,
        progress: Progress,
        *,
        platform: Platform | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        """Every tag of a repository."""
        raise NotImplementedError

    async def push(
        self,
        reference: Reference,
        progress: Progress,
        *,
        credentials: Credentials | None = None,
        all_tags: bool = False,
    ) -> None:
        raise NotImplementedError

    async def log_in(self, server: str, credentials: Credentials) -> str:
        """Try credentials; gives an identity token when the registry hands one out, "" otherwise."""
        raise NotImplementedError

    async def inspect(
        self, reference: Reference, credentials: Credentials | None = None
    ) -> tuple[Descriptor, Sequence[Platform]]:
        """What a registry has under a name."""
        raise NotImplementedError
