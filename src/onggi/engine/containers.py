"""The containers of an engine: finding them, and what can be asked of them."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from onggi.engine import (
    changing,
    creation,
    inspection,
    listing,
    names,
    pruning,
    removal,
    starting,
    stopping,
    updating,
)
from onggi.engine.attach import still_there
from onggi.engine.container import Container, WaitResult
from onggi.engine.container_config import (
    ContainerConfig,
    HostConfig,
    NetworkingConfig,
    Resources,
    RestartPolicy,
)
from onggi.engine.filters import Filters
from onggi.engine.lifecycle import Verb, called, is_running, require
from onggi.errors import Conflict, InvalidParameter, NotFound

if TYPE_CHECKING:
    from onggi.engine.engine import Engine
    from onggi.oci.platform import Platform
    from onggi.runtime.runtime import Attachment

_ATTACH_S = 30.0
WaitCondition = Literal["not-running", "next-exit", "removed"]


class NoSuchContainer(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"No such container: {name}")


class Containers:
    """Names below are a container's name, its ID or the beginning of one.

    Verbs that change a state are carried to their end even if the caller is cancelled (Engine.run).
    """

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._by_id: dict[str, Container] = {}
        self._ids_by_name: dict[str, str] = {}
        """Also the names of containers that are being made."""
        self._linking: dict[str, Container] = {}

    # Finding

    def get(self, name: str) -> Container:
        """Find one by ID, name or an ID's beginning. Raises NoSuchContainer; InvalidParameter when several begin so."""
        found = self._by_id.get(name)
        if found is not None:
            return found
        by_name = self._ids_by_name.get(name.removeprefix("/"))
        if by_name is not None and by_name in self._by_id:
            return self._by_id[by_name]
        matches = [container_id for container_id in self._by_id if container_id.startswith(name)] if name else []
        if len(matches) > 1:
            raise InvalidParameter(f"multiple IDs found with provided prefix: {name}")
        if not matches:
            raise NoSuchContainer(name)
        return self._by_id[matches[0]]

    def all(self) -> Sequence[Container]:
        """Every container, newest first."""
        return sorted(self._by_id.values(), key=lambda container: container.created_at, reverse=True)

    def linking(self) -> Sequence[Container]:
        """Those that were made with links."""
        return tuple(self._linking.values())

    @contextmanager
    def reserve(self, name: str, container_id: str) -> Iterator[str]:
        """Hold a name, made up when "" is given, while its container is being made. Raises NameInUse."""
        if name:
            holder = self._ids_by_name.get(name)
            if holder is not None:
                raise names.NameInUse(name, holder)
        else:
            name = names.generate(self._ids_by_name)
        self._ids_by_name[name] = container_id
        try:
            yield name
        finally:
            if container_id not in self._by_id:
                del self._ids_by_name[name]

    @contextmanager
    def reserve_rename(self, name: str, container: Container) -> Iterator[None]:
        """Hold a container's new name while it is written; then let go of the old one. Raises NameInUse."""
        holder = self._ids_by_name.get(name)
        if holder is not None:
            raise names.NameInUse(name, holder, when="Error when allocating new name: ")
        old = container.name
        self._ids_by_name[name] = container.id
        try:
            yield
        finally:
            del self._ids_by_name[old if container.name == name else name]

    def add(self, container: Container) -> None:
        self._by_id[container.id] = container
        self._ids_by_name[container.name] = container.id
        if container.host_config.links:
            self._linking[container.id] = container

    def drop(self, container: Container) -> None:
        self._linking.pop(container.id, None)
        self._by_id.pop(container.id, None)
        if self._ids_by_name.get(container.name) == container.id:
            del self._ids_by_name[container.name]

    # Making and removing

    async def create(
        self,
        name: str,
        config: ContainerConfig,
        host_config: HostConfig,
        networking: NetworkingConfig,
        *,
        platform: "Platform | None" = None,
    ) -> tuple[Container, Sequence[str]]:
        """Make a container of an image. Returns it and the warnings. An empty name is replaced by a generated one."""
        work = creation.create(self._engine, name, config, host_config, networking, platform=platform)
        return await self._engine.run(work, name="create")

    async def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        work = removal.remove(self._engine, self.get(name), name, force=force, volumes=volumes)
        await self._engine.run(work, name=f"remove {name}")

    async def dispose(self, container: Container, *, volumes: bool) -> None:
        """Take a stopped container whose lock is held out of the world."""
        await removal.dispose(self._engine, container, volumes=volumes)

    async def prune(self, filters: Filters) -> Mapping[str, Any]:
        return await self._engine.run(pruning.prune(self._engine, filters), name="prune containers")

    # Changing its state

    async def start(self, name: str, *, traced: bool = False) -> starting.Phases:
        """Returns what its phases took, if asked."""
        work = starting.start(self._engine, self.get(name), traced=traced)
        return await self._engine.run(work, name=f"start {name}")

    async def stop(self, name: str, *, signal: str = "", grace_s: int | None = None) -> None:
        work = stopping.stop(self._engine, self.get(name), text=signal, grace_s=grace_s)
        await self._engine.run(work, name=f"stop {name}")

    async def restart(self, name: str, *, signal: str = "", grace_s: int | None = None) -> None:
        work = stopping.restart_container(self._engine, self.get(name), name, text=signal, grace_s=grace_s)
        await self._engine.run(work, name=f"restart {name}")

    async def end_unhealthy(self, container: Container, pid: int) -> None:
        """End one run of a container; it comes back."""
        await self._engine.run(stopping.end_unhealthy(self._engine, container, pid), name=f"unhealthy {container.name}")

    async def kill(self, name: str, *, signal: str = "") -> None:
        try:
            await self._engine.run(stopping.kill(self._engine, self.get(name), signal), name=f"kill {name}")
        except (NotFound, Conflict, InvalidParameter) as error:
            category = next(kind for kind in (NotFound, Conflict, InvalidParameter) if isinstance(error, kind))
            raise category(f"cannot kill container: {name}: {error}") from error

    async def pause(self, name: str) -> None:
        await self._engine.run(stopping.pause(self._engine, self.get(name)), name=f"pause {name}")

    async def unpause(self, name: str) -> None:
        await self._engine.run(stopping.unpause(self._engine, self.get(name)), name=f"unpause {name}")

    async def rename(self, name: str, new_name: str) -> None:
        await self._engine.run(updating.rename(self._engine, self.get(name), new_name), name=f"rename {name}")

    async def update(self, name: str, resources: Resources, restart_policy: RestartPolicy | None) -> Sequence[str]:
        """Change limits and restart policy; what is 0, "" or None stays. Returns warnings."""
        work = updating.update(self._engine, self.get(name), resources, restart_policy)
        return await self._engine.run(work, name=f"update {name}")

    async def change(self, name: str, asked: changing.Changes) -> Sequence[str]:
        """Change environment, labels, ports and mounts. Returns warnings."""
        return await self._engine.run(changing.change(self._engine, self.get(name), asked), name=f"change {name}")

    # Its streams and its end

    async def attach(self, name: str, attachment: "Attachment") -> None:
        """Hand a client's connection to a container: now if it runs, at its next start if it does not."""
        container = self.get(name)
        require(called(container, name), Verb.ATTACH)
        async with container.lock:
            require(called(container, name), Verb.ATTACH)
            if is_running(container.state):
                await self._engine.runtime.attach(container.id, attachment)
            else:
                container.waiting = [*still_there(container.waiting), attachment]
        container.attached.happened(None)
        self._engine.events.publish("container", "attach", container.id, container.attributes())

    async def attached(self, name: str, mark: str) -> None:
        """Wait until the client with this mark has attached for the next start; not if it has been started already.

        Raises Conflict when it does not come.
        """
        container = self.get(name)
        try:
            async with asyncio.timeout(_ATTACH_S):
                while not (
                    is_running(container.state) or any(attachment.mark == mark for attachment in container.waiting)
                ):
                    await container.attached.next()
        except TimeoutError:
            raise Conflict(
                f"the client has not attached to container {container.id} within {_ATTACH_S:.0f} s"
            ) from None

    async def resize(self, name: str, rows: int, columns: int) -> None:
        container = self.get(name)
        require(container, Verb.RESIZE)
        await self._engine.runtime.resize(container.id, rows, columns)
        self._engine.events.publish(
            "container", "resize", container.id, container.attributes(height=str(rows), width=str(columns))
        )

    def wait(self, name: str, condition: WaitCondition = "not-running") -> "asyncio.Future[WaitResult]":
        """Its end, or its removal, to be awaited. What happens after this call is not missed."""
        container = self.get(name)
        if condition == "removed":
            return container.removed.next()
        if condition == "not-running" and not is_running(container.state):
            done: asyncio.Future[WaitResult] = asyncio.get_running_loop().create_future()
            done.set_result(container.result())
            return done
        return container.stopped.next()

    # Showing

    def list(self, *, every: bool = False, limit: int = 0, filters: Filters) -> Sequence[Mapping[str, Any]]:
        """Summaries as GET /containers/json answers them."""
        return listing.summaries(self._engine, every=every, limit=limit, filters=filters)

    def inspect(self, name: str) -> Mapping[str, Any]:
        """As GET /containers/{name}/json answers it."""
        return inspection.inspect(self._engine, self.get(name))
