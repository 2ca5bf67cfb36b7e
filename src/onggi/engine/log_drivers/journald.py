"""Options of the `journald` driver."""

import re
import secrets
from collections.abc import Mapping
from typing import Any

from onggi.engine.log_drivers.subject import CHOICES, Subject

OPTIONS = CHOICES
SOCKET = "/run/systemd/journal/socket"


def check(options: Mapping[str, str]) -> None:
    """Its options may have any value."""


def compile(options: Mapping[str, str], subject: Subject) -> dict[str, Any]:
    container, tag = subject.container, subject.tag()
    fields = {
        "CONTAINER_ID": container.id[:12],
        "CONTAINER_ID_FULL": container.id,
        "CONTAINER_NAME": container.name,
        "CONTAINER_TAG": tag,
        "IMAGE_NAME": container.image_name,
        "SYSLOG_IDENTIFIER": tag,
        **{name: value for name, value in subject.attributes(_field_name).items() if name},
    }
    return {"driver": "journald", "path": SOCKET, "fields": fields, "epoch": secrets.token_hex(32)}


def _field_name(name: str) -> str:
    """Capitals, digits and underlines, none of these at the beginning: what the journal takes."""
    return re.sub(r"[^A-Z0-9]", "_", re.sub(r"[a-z]", lambda letter: letter[0].upper(), name)).lstrip("_")
