"""One container as the engine knows it: what it was asked to be, and what it is now."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from onggi.engine.container_config import ContainerConfig, EndpointSettings, HostConfig
from onggi.engine.lifecycle import State
from onggi.engine.log_drivers import drivers
from onggi.volumes.mount_point import MountPoint

if TYPE_CHECKING:
    from onggi.engine.health import Health
    from onggi.runtime.runtime import Attachment

T = TypeVar("T")


class Occasion(Generic[T]):
    """Something that happens again and again, and that many may wait for."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[T]] = set()

    def next(self) -> "asyncio.Future[T]":
        """The next time, to be awaited. From this call on it is not missed."""
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        waiter.add_done_callback(self._waiters.discard)
        return waiter

    def happened(self, what: T) -> None:
        for waiter in tuple(self._waiters):
            if not waiter.done():
                waiter.set_result(what)


@dataclass(frozen=True, slots=True)
class WaitResult:
    """What `wait` answers."""

    exit_code: int
    error: str = ""
    """Why a removal that was waited for failed; not why a start did."""


@dataclass(slots=True, eq=False, kw_only=True)
class Container:
    """Its state changes only under `lock`; the database mirrors it."""

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
    """Somebody stopped it: `unless-stopped` does not start it with the engine."""
    stays_down: bool = False
    """Somebody ended this run: no policy brings it back, until it is started again."""
    comes_back: bool = False
    """We end this run, and start it again whatever its policy says."""
    kept: bool = False
    """It is being restarted: `--rm` does not apply to this end."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    stopped: Occasion[WaitResult] = field(default_factory=Occasion)
    """It has ended and will not come back by itself."""
    removed: Occasion[WaitResult] = field(default_factory=Occasion)
    attached: Occasion[None] = field(default_factory=Occasion)
    """A client has attached."""
    waiting: "list[Attachment]" = field(default_factory=list)
    """Clients that attached before the start."""
    exec_ids: list[str] = field(default_factory=list)
    health: "Health | None" = None
    monitor: "asyncio.Task[None] | None" = None
    """Runs its health checks while it runs."""
    comeback: "asyncio.Task[None] | None" = None
    """Set while RESTARTING: starts it again when its pause is over."""
    backoff_s: float = 0.0
    """The last pause before such a start."""

    @property
    def log_path(self) -> Path:
        return drivers.file_path(self.directory, self.id, self.host_config.log_config.type)

    @property
    def logs_to_file(self) -> bool:
        """Whether `logs` has something to read."""
        return drivers.readable(self.host_config.log_config)

    def attributes(self, **more: str) -> dict[str, str]:
        """What its events say of it: labels, image, name."""
        return {**(self.config.labels or {}), **more, "image": self.image_name, "name": self.name}

    def result(self) -> WaitResult:
        return WaitResult(self.exit_code)
