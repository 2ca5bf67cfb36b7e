"""Image configuration: what an image says about itself and how its containers start. (image-spec, config.md)

Docker writes the same document with a few members more. An image's ID is the digest of the document's bytes, so those
are kept as they came; these types read them and are encoded again only for images that we make ourselves.
"""

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from onggi.errors import InvalidParameter
from onggi.oci.descriptor import decode_hook
from onggi.oci.digest import Digest
from onggi.oci.platform import Platform

CONFIG_LIMIT_BYTES = 4 * 1024 * 1024


class InvalidImageConfig(InvalidParameter):
    """A document that is no image configuration."""


class Healthcheck(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """How to see whether a container is well. Times in nanoseconds; 0 inherits."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ImageContainerConfig(
    msgspec.Struct, frozen=True, omit_defaults=True,
    rename="pascal",
):  # fmt: skip
    """The defaults for containers of the image. `null` and an absent member are the same."""

    user: str = ""
    exposed_ports: dict[str, dict[str, str]] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | str | None = None
    cmd: list[str] | str | None = None
    volumes: dict[str, dict[str, str]] | None = None
    working_dir: str = ""
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None
    healthcheck: Healthcheck | None = None
    shell: list[str] | str | None = None
    on_build: list[str] | None = None
    args_escaped: bool = False

    @property
    def entrypoint_words(self) -> list[str] | None:
        """The entrypoint as a list: old images hold a bare string."""
        return _words(self.entrypoint)

    @property
    def cmd_words(self) -> list[str] | None:
        return _words(self.cmd)

    @property
    def shell_words(self) -> list[str] | None:
        return _words(self.shell)


class RootFs(msgspec.Struct, frozen=True):
    """The layers by the digests of their uncompressed tars, lowest first."""

    type: str = "layers"
    diff_ids: list[Digest] | None = None


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step that made the image."""

    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(msgspec.Struct, frozen=True, omit_defaults=True,
                  rename={"os_version": "os.version", "os_features": "os.features"}):  # fmt: skip
    """The document. Read it with `parse_image_config`; unknown members stay in the bytes it came as."""

    architecture: str = ""
    os: str = ""
    os_version: str = ""
    os_features: list[str] | None = None
    variant: str = ""
    created: str | None = None
    author: str = ""
    config: ImageContainerConfig | None = None
    rootfs: RootFs = RootFs()
    history: list[History] | None = None
    docker_version: str = ""
    comment: str = ""

    @property
    def container(self) -> ImageContainerConfig:
        """The containers' defaults; empty when the image gives none."""
        return self.config or ImageContainerConfig()

    @property
    def diff_ids(self) -> Sequence[Digest]:
        return self.rootfs.diff_ids or ()

    @property
    def platform(self) -> Platform:
        return Platform(self.architecture, self.os, self.os_version, self.os_features, self.variant)


_decoder = msgspec.json.Decoder(ImageConfig, dec_hook=decode_hook)


def parse_image_config(data: bytes) -> ImageConfig:
    """Read a configuration whose bytes have been verified. Raises InvalidImageConfig."""
    if len(data) > CONFIG_LIMIT_BYTES:
        raise InvalidImageConfig(f"the image configuration is larger than {CONFIG_LIMIT_BYTES} bytes")
    try:
        config = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidImageConfig(f"invalid image configuration: {error}") from error
    if config.rootfs.type != "layers":
        raise InvalidImageConfig(f"unsupported rootfs type {config.rootfs.type[:40]!r} in the image configuration")
    return config


def chain_id(diff_ids: Iterable[Digest]) -> Digest:
    """The identity of a stack of layers, lowest first. (config.md, "Layer ChainID") Raises ValueError for none."""
    chain: Digest | None = None
    for diff_id in diff_ids:
        chain = (
            diff_id if chain is None else Digest("sha256:" + hashlib.sha256(f"{chain} {diff_id}".encode()).hexdigest())
        )
    if chain is None:
        raise ValueError("no layers, no chain")
    return chain


def _words(value: list[str] | str | None) -> list[str] | None:
    return [value] if isinstance(value, str) else value
