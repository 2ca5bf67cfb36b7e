"""What search and the page show of an image: platform and labels, read from its configuration when it is pushed.

name        value
platform    linux/arm64/v8
created     the configuration's moment
label:KEY   text
"""

import msgspec

from onggi.oci.image import ImageConfig, InvalidImageConfig, parse_image_config
from onggi.registry.database import Connection

MOST_LABELS = 100
MOST_CHARACTERS = 500


def of_config(content: bytes) -> dict[str, str]:
    """Name → value; nothing for what is no image's configuration."""
    try:
        config = parse_image_config(content)
    except InvalidImageConfig:
        return {}
    return _of(config)


def _of(config: ImageConfig) -> dict[str, str]:
    found: dict[str, str] = {}
    if config.os and config.architecture:
        parts = (config.os, config.architecture, config.variant)
        found["platform"] = "/".join(part for part in parts if part)[:MOST_CHARACTERS]
    if config.created:
        found["created"] = config.created[:MOST_CHARACTERS]
    labels = sorted((config.container.labels or {}).items())[:MOST_LABELS]
    found |= {f"label:{key[:MOST_CHARACTERS]}": text[:MOST_CHARACTERS] for key, text in labels}
    return found


def put(connection: Connection, repository_id: int, digest: str, details: dict[str, str]) -> None:
    for name, value in details.items():
        connection.execute(
            "INSERT INTO image_details (repository_id, digest, name, value) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (repository_id, digest, name) DO UPDATE SET value = excluded.value",
            (repository_id, digest, name, value),
        )


class _Annotated(msgspec.Struct):
    annotations: dict[str, str] | None = None


_annotated = msgspec.json.Decoder(_Annotated)


def annotations(content: bytes) -> dict[str, str]:
    """The annotations of a stored manifest."""
    return _annotated.decode(content).annotations or {}


def of(connection: Connection, repository_id: int, digest: str) -> dict[str, str]:
    """What is known of one manifest."""
    rows = connection.execute(
        "SELECT name, value FROM image_details WHERE repository_id = ? AND digest = ? ORDER BY name",
        (repository_id, digest),
    ).fetchall()
    return {row["name"]: row["value"] for row in rows}
