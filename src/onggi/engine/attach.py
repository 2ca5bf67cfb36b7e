"""Attaching: the keys that detach from a terminal, and the clients that wait for a container's start."""

import select
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from onggi.errors import InvalidParameter

if TYPE_CHECKING:
    from onggi.runtime.runtime import Attachment

DEFAULT_DETACH_KEYS = b"\x10\x11"
"""ctrl-p, ctrl-q"""

_CONTROL = {f"ctrl-{chr(code + 0x60)}": code for code in range(1, 27)} | {
    "ctrl-@": 0, "ctrl-[": 27, "ctrl-\\": 28, "ctrl-]": 29, "ctrl-^": 30, "ctrl-_": 31,
}  # fmt: skip


def detach_keys(text: str, kind: str = "detach") -> bytes:
    """`ctrl-p,ctrl-q` as the bytes a terminal sends. Empty text: the default. (moby: term.ToBytes)

    A refusal calls them `kind` keys: Docker says "escape" of an exec's.
    """
    if not text:
        return DEFAULT_DETACH_KEYS
    keys = bytearray()
    for key in text.split(","):
        if len(key) == 1 and key.isascii():
            keys.append(ord(key))
        elif key.lower() in _CONTROL:
            keys.append(_CONTROL[key.lower()])
        else:
            raise InvalidParameter(f"Invalid {kind} keys ({text[:100]}) provided")
    return bytes(keys)


def still_there(waiting: "Sequence[Attachment]") -> "list[Attachment]":
    """Those of the clients that have not hung up. The connections of the others are closed.

    One that has left its input behind still counts: the container shall read it.
    """
    poll = select.poll()
    open_ones = [attachment for attachment in waiting if not attachment.connection.closed]
    for attachment in open_ones:
        poll.register(attachment.connection.fileno(), 0)  # a hang-up is always told
    hung_up = {number for number, _ in poll.poll(0)}
    left = []
    for attachment in open_ones:
        if attachment.connection.fileno() in hung_up and not _has_input(attachment):
            attachment.connection.close()
        else:
            left.append(attachment)
    return left


def _has_input(attachment: "Attachment") -> bool:
    if not attachment.stdin:
        return False
    if attachment.received:
        return True
    with socket.socket(fileno=attachment.connection.duplicate().take()) as connection:
        try:
            return bool(connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:  # nothing there, or the connection is broken
            return False
