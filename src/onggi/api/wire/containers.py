"""Bodies of requests and answers about containers that are not the engine's own documents."""

from typing import Any

import msgspec

from onggi.engine.changing import Changes
from onggi.engine.container_config import HostConfig, NetworkingConfig, Resources, RestartPolicy, docker_name


class CreateRequest(msgspec.Struct, frozen=True, rename=docker_name):
    """What stands beside the members of ContainerConfig in the body of POST /containers/create."""

    host_config: HostConfig = HostConfig()
    networking_config: NetworkingConfig = NetworkingConfig()


class CreateAnswer(msgspec.Struct, frozen=True, rename="pascal"):
    id: str
    warnings: list[str]


class UpdateRequest(Resources, frozen=True, rename=docker_name):
    restart_policy: RestartPolicy | None = None
    changes: Changes | None = None
    """Ours: what Docker lets nobody change."""


class UpdateAnswer(msgspec.Struct, frozen=True, rename="pascal"):
    warnings: list[str]


class WaitError(msgspec.Struct, frozen=True, rename="pascal"):
    message: str


class WaitAnswer(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    status_code: int = msgspec.field(name="StatusCode")
    error: WaitError | None = None


Document = dict[str, Any]
