"""One engine: opens the services and owns the tasks. No use case lives here.

async with Engine(settings) as engine:
    await engine.containers.start("web")
"""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from onggi.engine.containers import Containers
from onggi.engine.events import Events
from onggi.engine.settings import Settings
from onggi.network.networks import Networks
from onggi.state.database import Database

if TYPE_CHECKING:
    from onggi.engine.execs import Execs
    from onggi.images.images import Images
    from onggi.images.snapshot import Snapshots
    from onggi.images.transfer import Transfer
    from onggi.runtime.runtime import Runtime
    from onggi.volumes.volumes import Volumes

log = logging.getLogger("onggi.engine")
T = TypeVar("T")


class Engine:
    """Settings and services. Entered it serves; left it stops taking work, and the containers go on."""

    database: Database
    events: Events
    images: "Images"
    snapshots: "Snapshots"
    transfer: "Transfer"
    networks: Networks
    volumes: "Volumes"
    runtime: "Runtime"
    containers: Containers
    execs: "Execs"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stack = AsyncExitStack()
        self._group: asyncio.TaskGroup

    async def __aenter__(self) -> Self:
        for directory in (self.settings.data_root, self.settings.exec_root):
            directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        (self.settings.data_root / "containers").mkdir(mode=0o710, exist_ok=True)
        enter = self._stack.enter_async_context
        self.database = await enter(Database(self.settings.data_root / "state.db"))
        self.events = await enter(Events(self.database))
        self.networks = await enter(Networks(self.settings, self.database, self.events.publish))
        self.containers = Containers(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def run(self, work: Coroutine[Any, Any, T], *, name: str) -> T:
        """Carry `work` to its end in the engine's task group, even if the caller is cancelled."""
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def carry() -> None:
            try:
                result = await work
            except Exception as error:  # not BaseException: the group's own cancellation passes
                if outcome.cancelled():
                    log.warning("%s failed after its caller left: %s", name, error)
                else:
                    outcome.set_exception(error)
            else:
                if not outcome.cancelled():
                    outcome.set_result(result)

        self._group.create_task(carry(), name=name)
        return await outcome
