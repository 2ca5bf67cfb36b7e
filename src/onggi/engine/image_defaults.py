"""What an image says of its containers, under what the user said. (moby: daemon/commit.go, `merge`)"""

from typing import Any

from msgspec.structs import replace

from onggi.engine.container_config import ContainerConfig, HealthConfig
from onggi.errors import InvalidParameter
from onggi.oci.image import Healthcheck, ImageContainerConfig


def _environment(user: list[str] | None, image: list[str] | None) -> list[str] | None:
    if not user:
        return image
    known = {entry.partition("=")[0] for entry in user}
    return [*user, *(entry for entry in image or () if entry.partition("=")[0] not in known)]


def _health(user: HealthConfig | None, image: Healthcheck | None) -> HealthConfig | None:
    if image is None:
        return user
    given = user or HealthConfig()
    return HealthConfig(
        test=given.test or image.test,
        interval=given.interval or image.interval,
        timeout=given.timeout or image.timeout,
        start_period=given.start_period or image.start_period,
        start_interval=given.start_interval or image.start_interval,
        retries=given.retries or image.retries,
    )


def _union(user: dict[str, Any] | None, image: dict[str, Any] | None) -> dict[str, Any] | None:
    if not user:
        return image or None
    return {**(image or {}), **user}


def merge(user: ContainerConfig, image: ImageContainerConfig) -> ContainerConfig:
    """The configuration a container gets. Raises InvalidParameter when nothing says what to run."""
    entrypoint, cmd = user.entry, user.command
    if not entrypoint:
        cmd = cmd or image.cmd_words
        # An empty entrypoint is a wish, an absent one is none.
        entrypoint = image.entrypoint_words if entrypoint is None else entrypoint
    elif entrypoint == [""]:
        entrypoint = None
    if not user.command and user.entry and user.entry != [""]:
        cmd = user.command  # the image's command belongs to the image's entrypoint
    if not entrypoint and not cmd:
        raise InvalidParameter("no command specified")
    return replace(
        user,
        user=user.user or image.user,
        exposed_ports=_union(user.exposed_ports, image.exposed_ports),
        env=_environment(user.env, image.env),
        cmd=cmd,
        entrypoint=entrypoint,
        healthcheck=_health(user.healthcheck, image.healthcheck),
        volumes=_union(user.volumes, image.volumes),
        working_dir=user.working_dir or image.working_dir,
        labels={**(image.labels or {}), **(user.labels or {})},
        stop_signal=user.stop_signal or image.stop_signal or "",
        stop_timeout=user.stop_timeout if user.stop_timeout is not None else image.stop_timeout,
    )
