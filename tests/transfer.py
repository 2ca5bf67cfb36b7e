"""A host for pulls and pushes in tests: content store, database, images and transfers without an engine around them.

Needs root, as layers are extracted by confined workers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from onggi.content.directory import DirectoryStore
from onggi.distribution.credentials import Credentials
from onggi.distribution.endpoint import RegistryOptions
from onggi.distribution.http import Deadlines
from onggi.distribution.proxy import Proxies
from onggi.images.image import Image
from onggi.images.images import Images
from onggi.images.transfer import Transfer
from onggi.oci.platform import parse_platform
from onggi.oci.reference import Reference
from onggi.state.database import Database

T = TypeVar("T")
IMPATIENT = Deadlines(retry_s=0.01, patience_s=0.1)
"""No pauses between tries, but as long for each as a loaded machine may take."""


class Host:
    """Enter it to pull and push."""

    def __init__(
        self, directory: Path, *, deadlines: Deadlines = IMPATIENT, mirrors: Sequence[str] = (),
        insecure: Sequence[str] = ("127.0.0.0/8",), certificates: Sequence[Path] = (),
        proxies: Proxies | None = None, push_compression: str = "gzip",
    ) -> None:  # fmt: skip
        self.directory = directory
        self.blobs = DirectoryStore(directory / "content")
        self.database = Database(directory / "state.db")
        self.events: list[tuple[str, str, str]] = []
        self.images = Images(directory, self.database, self.blobs, self._publish, lambda _: ())
        options = RegistryOptions(
            insecure=insecure,
            mirrors=mirrors,
            certificates=certificates,
            proxies=proxies or Proxies(),
            push_compression=push_compression,
        )
        self.transfer = Transfer(self.images, self.blobs, self._publish, options, deadlines=deadlines)
        self._stack = AsyncExitStack()

    def _publish(self, kind: str, action: str, actor: str, attributes: Mapping[str, str], /) -> None:
        self.events.append((kind, action, actor))

    async def __aenter__(self) -> Self:
        for service in (self.database, self.images, self.transfer):
            await self._stack.enter_async_context(service)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def pull(
        self, name: str, *, platform: str = "", credentials: Credentials | None = None
    ) -> tuple[Image, list[dict[str, Any]]]:
        """The image and the progress lines."""
        lines: list[dict[str, Any]] = []
        image = await self.transfer.pull(
            Reference.parse(name), lines.append, platform=parse_platform(platform) if platform else None,
            credentials=credentials,
        )  # fmt: skip
        return image, lines

    async def push(
        self, name: str, *, credentials: Credentials | None = None, all_tags: bool = False
    ) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = []
        await self.transfer.push(Reference.parse(name), lines.append, credentials=credentials, all_tags=all_tags)
        return lines

    def files(self) -> list[str]:
        """What is in the content store: `blobs/…` and `ingest/…`."""
        content = self.directory / "content"
        return sorted(str(path.relative_to(content)) for path in content.rglob("*") if path.is_file())


def on_host(
    directory: Path,
    script: Callable[[Host], Awaitable[T]],
    *,
    deadlines: Deadlines = IMPATIENT,
    mirrors: tuple[str, ...] = (),
) -> T:
    async def run() -> T:
        async with Host(directory / "host", deadlines=deadlines, mirrors=mirrors) as host:
            async with asyncio.timeout(90):
                return await script(host)

    return asyncio.run(run())
