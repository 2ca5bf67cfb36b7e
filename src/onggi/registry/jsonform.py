"""JSON as the registry writes it, to clients and to the database: digests and other kinds of text are texts."""

from typing import Any

import msgspec


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


encode = msgspec.json.Encoder(enc_hook=_plain).encode
