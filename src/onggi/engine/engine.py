"""One engine: opens the services and owns the tasks. No use case lives here.

async with Engine(settings) as engine:
    await engine.containers.start("web")
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from onggi.content.directory import DirectoryStore
from onggi.distribution.endpoint import RegistryOptions
from onggi.distribution.proxy import Proxies
from onggi.engine import apparmor, reconcile
from onggi.engine.auto_update.updates import AutoUpdate
from onggi.engine.containers import Containers
from onggi.engine.copying import Copying
from onggi.engine.events import Events
from onggi.engine.execs import Execs
from onggi.engine.image_cleanup import ImageCleanup
from onggi.engine.lifecycle import is_running
from onggi.engine.logs import Logs
from onggi.engine.settings import Settings
from onggi.engine.stats import Stats
from onggi.engine.system_info import SystemInfo
from onggi.engine.watch import DirectoryWatch
from onggi.images.images import ContainerUse, Images
from onggi.images.snapshot import Snapshots
from onggi.images.transfer import Transfer
from onggi.linux import capability
from onggi.linux.cgroup import Cgroup
from onggi.network.networks import Networks
from onggi.runtime import host
from onggi.runtime.runtime import Runtime
from onggi.state.database import Database
from onggi.state.journal import Journal
from onggi.volumes.volumes import Volumes

log = logging.getLogger("onggi.engine")
T = TypeVar("T")
STOP_PATIENCE_S = 10.0


class Engine:
    """Settings and services. Entered it serves; left it finishes what it has begun, and the containers go on."""

    database: Database
    journal: Journal
    events: Events
    images: Images
    snapshots: Snapshots
    transfer: Transfer
    networks: Networks
    volumes: Volumes
    runtime: Runtime
    containers: Containers
    execs: Execs
    logs: Logs
    copying: Copying
    stats: Stats
    system_info: SystemInfo

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.host = host.probe()
        bits = capability.permitted()
        self.capabilities_held = frozenset(name for number, name in enumerate(capability.NAMES) if bits >> number & 1)
        self._stack = AsyncExitStack()
        self._work: set[asyncio.Task[Any]] = set()
        """Transitions: awaited when the engine is left."""
        self.image_cleanup = ImageCleanup(self)
        self.auto_update = AutoUpdate(self)
        self._watchers: set[asyncio.Task[Any]] = set()
        """What waits for containers: cancelled when the engine is left."""

    async def __aenter__(self) -> Self:
        settings, enter = self.settings, self._stack.enter_async_context
        for directory in (settings.data_root, settings.exec_root):
            directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        (settings.data_root / "containers").mkdir(mode=0o710, exist_ok=True)
        try:
            owned = [
                settings.data_root / name for name in ("containers", "content/blobs/sha256", "layers", "snapshots")
            ]
            self.database = await enter(Database(settings.data_root / "state.db", owned=owned))
            self.journal = Journal(self.database)
            self.events = await enter(Events(self.database))
            publish = self._publish
            self.containers = Containers(self)
            blobs = DirectoryStore(settings.data_root / "content")
            self.images = await enter(Images(
                    settings.data_root, self.database, blobs, publish, self._containers_of,
                    most_times=settings.max_decompression_ratio,
                ))  # fmt: skip
            self.snapshots = self.images.snapshots
            options = RegistryOptions(
                insecure=settings.insecure_registries,
                mirrors=settings.registry_mirrors,
                most_downloads=settings.max_concurrent_downloads,
                most_uploads=settings.max_concurrent_uploads,
                push_compression=settings.push_compression,
                proxies=Proxies(settings.http_proxy, settings.https_proxy, settings.no_proxy),
            )
            self.transfer = await enter(Transfer(self.images, blobs, publish, options))
            self.volumes = await enter(Volumes(settings.data_root / "volumes", self.database, publish))
            self.networks = await enter(Networks(settings, self.database, publish))
            self.runtime = await enter(
                Runtime(settings.exec_root, spool_root=settings.data_root, detached=self._detached)
            )
            self.execs = Execs(self)
            self.logs = Logs(self.runtime, await enter(DirectoryWatch()))
            self.stats = Stats(self.runtime)
            self.copying = Copying(self)
            self.system_info = SystemInfo(self)
            self._stack.push_async_callback(self._stop_work)
            if apparmor.in_kernel():
                await asyncio.to_thread(apparmor.default_profile)
            await reconcile.reconcile(self)
            if settings.auto_update_interval_s or settings.auto_update_listen:
                self.spawn(self.auto_update.keep_looking(), name="auto-update")
            if self.image_cleanup.wanted:
                self.spawn(self.image_cleanup.run(), name="clean up images")
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not self.settings.live_restore:
                await reconcile.stop_all(self)
        finally:
            await self._stack.aclose()
            Cgroup(self.settings.cgroup_parent).delete_unused()

    async def _stop_work(self) -> None:
        """Let transitions come to their end, within reason; waiting for containers stops at once."""
        for task in self._watchers:
            task.cancel()
        if self._watchers:
            await asyncio.wait(self._watchers)
        if self._work:
            _, late = await asyncio.wait(self._work, timeout=STOP_PATIENCE_S)
            for task in late:
                log.warning("%s is cut short by the engine's stop", task.get_name())
                task.cancel()
            if late:
                await asyncio.wait(late)

    def _containers_of(self, image_id: str) -> Sequence[ContainerUse]:
        return [
            ContainerUse(container.id, is_running(container.state))
            for container in self.containers.all()
            if container.image_id == str(image_id)
        ]

    def _publish(self, kind: str, action: str, actor: str, attributes: Mapping[str, str], /) -> None:
        self.events.publish(kind, action, actor, attributes)
        self.image_cleanup.heard(kind, action)

    def _detached(self, container_id: str, exec_id: str) -> None:
        container = self.containers.get(container_id)
        more = {"execID": exec_id} if exec_id else {}
        self.events.publish(
            "container", "exec_detach" if exec_id else "detach", container.id, container.attributes(**more)
        )

    async def run(self, work: Coroutine[Any, Any, T], *, name: str) -> T:
        """Carry a transition to its end, even if the caller is cancelled, and give the caller its outcome."""
        task = asyncio.create_task(work, name=name)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                task.add_done_callback(_report)
            raise

    def run_behind(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Carry what nobody needs to wait for to its end. The engine is not left before."""
        task = asyncio.create_task(work, name=name)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        task.add_done_callback(_report)

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Let a watcher work beside. It ends by itself, by its own canceller, or with the engine."""
        task = asyncio.create_task(work, name=name)
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)
        task.add_done_callback(_report)
        return task


def _report(task: "asyncio.Task[Any]") -> None:
    """Nobody awaits the task: what it raised is told to the log."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s failed: %s", task.get_name(), error, exc_info=error)
