"""Detach keys: the sequence that ends an attachment to a terminal and leaves the container running."""

from onggi.errors import InvalidParameter

DEFAULT_DETACH_KEYS = b"\x10\x11"
"""ctrl-p, ctrl-q"""

_CONTROL = {f"ctrl-{chr(code + 0x60)}": code for code in range(1, 27)} | {
    "ctrl-@": 0, "ctrl-[": 27, "ctrl-\\": 28, "ctrl-]": 29, "ctrl-^": 30, "ctrl-_": 31,
}  # fmt: skip


def detach_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q` as the bytes a terminal sends. Empty text: the default. (moby: term.ToBytes)"""
    if not text:
        return DEFAULT_DETACH_KEYS
    keys = bytearray()
    for key in text.split(","):
        if len(key) == 1 and key.isascii():
            keys.append(ord(key))
        elif key.lower() in _CONTROL:
            keys.append(_CONTROL[key.lower()])
        else:
            raise InvalidParameter(f"Invalid detach keys ({text[:100]}) provided")
    return bytes(keys)
