"""Sizes as people write them (docker/go-units, RAMInBytes): `10m`, `1.5g`, `64KiB`."""

import re

from onggi.errors import InvalidParameter

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([kmgtp]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


def size_bytes(text: str) -> int:
    """Raises InvalidParameter with Docker's sentence."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidParameter(f"invalid size: '{text}'")
    return int(float(match[1]) * (1 << _UNITS[match[2].lower()]))
