"""The containers of an engine: finding them, and what can be asked of them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from onggi.engine.container import Container, WaitResult
from onggi.engine.container_config import ContainerConfig, HostConfig, NetworkingConfig, RestartPolicy
from onggi.engine.filters import Filters
from onggi.errors import Unsupported

if TYPE_CHECKING:
    from onggi.engine.engine import Engine
    from onggi.oci.platform import Platform
    from onggi.runtime.runtime import Attachment

WaitCondition = Literal["not-running", "next-exit", "removed"]


class Containers:
    """Names below are a container's name, its ID or the beginning of one; NotFound "No such container: x" else."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def get(self, name: str) -> Container:
        """Find a container by name, ID or an ID's unambiguous beginning."""
        raise Unsupported("containers are being written")

    def all(self) -> Sequence[Container]:
        """Every container, newest first."""
        raise Unsupported("containers are being written")

    async def create(
        self,
        name: str,
        config: ContainerConfig,
        host_config: HostConfig,
        networking: NetworkingConfig,
        platform: "Platform | None" = None,
    ) -> tuple[Container, Sequence[str]]:
        """Make a container of an image. Returns it and the warnings. An empty name is replaced by a generated one."""
        raise Unsupported("containers are being written")

    async def start(self, name: str) -> None: ...

    async def attach(self, name: str, attachment: "Attachment") -> None:
        """Hand a client's connection to a container: now if it runs, at its next start if it does not."""

    async def stop(self, name: str, *, signal: str = "", grace_s: int | None = None) -> None: ...

    async def restart(self, name: str, *, signal: str = "", grace_s: int | None = None) -> None: ...

    async def kill(self, name: str, *, signal: str = "") -> None: ...

    async def pause(self, name: str) -> None: ...

    async def unpause(self, name: str) -> None: ...

    async def resize(self, name: str, rows: int, columns: int) -> None: ...

    async def rename(self, name: str, new_name: str) -> None: ...

    async def remove(self, name: str, *, force: bool = False, volumes: bool = False, link: bool = False) -> None: ...

    async def update(self, name: str, resources: HostConfig, restart_policy: RestartPolicy | None) -> Sequence[str]:
        """Change limits and restart policy. Returns warnings."""
        raise Unsupported("containers are being written")

    async def wait(self, name: str, condition: WaitCondition = "not-running") -> WaitResult:
        raise Unsupported("containers are being written")

    def list(
        self, *, all: bool = False, limit: int = 0, filters: Filters, size: bool = False
    ) -> Sequence[Mapping[str, Any]]:
        """Summaries as GET /containers/json answers them."""
        raise Unsupported("containers are being written")

    def inspect(self, name: str, *, size: bool = False) -> Mapping[str, Any]:
        """As GET /containers/{name}/json answers it."""
        raise Unsupported("containers are being written")

    async def prune(self, filters: Filters) -> Mapping[str, Any]:
        raise Unsupported("containers are being written")
