"""One container as the engine knows it: what it was asked to be, and what it is now."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from onggi.engine.container_config import ContainerConfig, EndpointSettings, HostConfig
from onggi.engine.lifecycle import State
from onggi.volumes.mount_point import MountPoint

if TYPE_CHECKING:
    from onggi.engine.health import Health
    from onggi.engine.restart import Comeback
    from onggi.runtime.runtime import Attachment

T = TypeVar("T")


class Occasion(Generic[T]):
    """Something that happens again and again, and that many may wait for."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[T]] = set()

    async def next(self) -> T:
        """Wait for the next time."""
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            return await waiter
        finally:
            self._waiters.discard(waiter)

    def happened(self, what: T) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(what)


@dataclass(frozen=True, slots=True)
class WaitResult:
    """What `wait` answers."""

    exit_code: int
    error: str = ""


@dataclass(slots=True, eq=False, kw_only=True)
class Container:
    """Changed only within `transition` of engine.transition, that is under `lock`; the database mirrors it."""

    id: str
    name: str
    """Without the "/" that Docker's answers put before it."""
    created_at: datetime
    image_id: str
    image_name: str
    """As the user wrote it."""
    config: ContainerConfig
    """What the user gave over what the image says."""
    host_config: HostConfig
    endpoints: dict[str, EndpointSettings]
    """What was asked of each network, by its name."""
    mounts: tuple[MountPoint, ...] = ()
    directory: Path
    """Its own files: log, hosts, resolv.conf, hostname."""

    state: State = State.CREATED
    pid: int = 0
    pid_start: int = 0
    """Start time of `pid` in clock ticks after boot: a pid alone may be another process by now."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    restart_count: int = 0
    stopped_by_user: bool = False
    """Its restart policy is at rest: somebody stopped it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    stopped: Occasion[WaitResult] = field(default_factory=Occasion)
    """It has ended and will not come back by itself."""
    removed: Occasion[WaitResult] = field(default_factory=Occasion)
    waiting: "list[Attachment]" = field(default_factory=list)
    """Clients that attached before the start."""
    exec_ids: list[str] = field(default_factory=list)
    health: "Health | None" = None
    comeback: "Comeback | None" = None
    """Set while RESTARTING."""

    @property
    def log_path(self) -> Path:
        return self.directory / f"{self.id}-json.log"

    @property
    def logs_to_file(self) -> bool:
        return self.host_config.log_config.type != "none"
