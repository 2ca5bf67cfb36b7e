"""`docker commit`: an image of a container's image and what the container changed."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from onggi.engine.container import Container
from onggi.engine.container_config import ContainerConfig, HealthConfig
from onggi.engine.lifecycle import State
from onggi.errors import Conflict
from onggi.images.image import Image
from onggi.images.instructions import apply
from onggi.images.making import commit_container
from onggi.oci.image import Healthcheck, History, ImageConfig, ImageContainerConfig
from onggi.oci.platform import host_platform
from onggi.oci.reference import Reference

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


async def commit(
    engine: "Engine", name: str, reference: Reference | None, *, author: str = "", comment: str = "",
    edits: Sequence[str] = (), pause: bool = True, config: ContainerConfig | None = None,
) -> Image:  # fmt: skip
    """`edits` are Dockerfile instructions, applied to the container's own configuration, or to `config`.

    With `pause` a running container stands still meanwhile. Raises NotFound, Conflict, InvalidParameter.
    """
    container = engine.containers.get(name)
    if container.state in (State.REMOVING, State.DEAD):
        raise Conflict(f"You cannot commit container {container.id} which is {_WORDS[container.state]}")
    defaults = apply(_defaults(config or container.config), edits)
    parent = engine.images.by_id(container.image_id) if container.image_id else None
    created = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    step = History(created=created, created_by=" ".join(container.config.command or ()), author=author, comment=comment)
    platform = parent.config.platform if parent else host_platform()
    image_config = ImageConfig(
        architecture=platform.architecture, os=platform.os, variant=platform.variant, os_version=platform.os_version,
        created=created, author=author, comment=comment, config=defaults,
        history=[*((parent.config.history or ()) if parent else ()), step],
    )  # fmt: skip
    async with _standing_still(engine, container, pause=pause):
        image = await commit_container(engine.images, container.id, image_config, parent, reference)
        if reference is not None:
            engine.images.tell("tag", image, reference.with_default_tag().familiar)
        attributes = {"comment": comment, "imageID": image.id, "imageRef": reference.familiar if reference else ""}
        engine.events.publish("container", "commit", container.id, container.attributes() | attributes)
    return image


_WORDS = {State.REMOVING: "being removed", State.DEAD: "Dead"}


@asynccontextmanager
async def _standing_still(engine: "Engine", container: Container, *, pause: bool) -> AsyncIterator[None]:
    if not pause or container.state is not State.RUNNING:
        yield
        return
    await engine.containers.pause(container.id)
    try:
        yield
    finally:
        await engine.containers.unpause(container.id)


def _defaults(config: ContainerConfig) -> ImageContainerConfig:
    return ImageContainerConfig(
        user=config.user,
        exposed_ports={port: {} for port in config.exposed_ports} if config.exposed_ports else None,
        env=config.env,
        entrypoint=config.entry,
        cmd=config.command,
        volumes={path: {} for path in config.volumes} if config.volumes else None,
        working_dir=config.working_dir,
        labels=config.labels,
        stop_signal=config.stop_signal or None,
        stop_timeout=config.stop_timeout,
        healthcheck=_health(config.healthcheck),
        shell=config.shell,
        on_build=config.on_build,
    )


def _health(check: HealthConfig | None) -> Healthcheck | None:
    if check is None:
        return None
    return Healthcheck(
        check.test, check.interval, check.timeout, check.start_period, check.start_interval, check.retries
    )
