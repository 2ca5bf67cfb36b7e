"""The inventory of an image: start `scan.worker` on its layers, believe nothing but the form of its answer."""

import asyncio
import errno
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from onggi.errors import InvalidParameter, System
from onggi.images.confined_process import ConfinedProcess
from onggi.linux.fd import Fd
from onggi.scan import inventory
from onggi.scan.inventory import Inventory
from onggi.scan.worker import MESSAGE_LIMIT_BYTES, REPORT_LIMIT_BYTES

TIME_LIMIT_S = 600.0
_REPLY = re.compile(rb"!(?:image (?P<sentence>[ -~]{1,500})|machine (?P<errno>\d{1,4}))")


class Unreadable(InvalidParameter):
    """The image's layers are no archives, or hold more than is read."""


async def read_inventory(layers: Sequence[int], empty: Path) -> Inventory:
    """`layers`, lowest first: descriptors of files at their start, borrowed. Compressed or not.

    `empty` is an empty directory of the caller's: all that the worker has for a root. Nothing is written to it.

    Raises Unreadable when the image is to blame, System when the machine is.
    """
    with ExitStack() as stack:
        answer = stack.enter_context(Fd(os.memfd_create("inventory")))
        root = stack.enter_context(Fd(os.open(empty, os.O_RDONLY | os.O_DIRECTORY)))
        files = [stack.enter_context(Fd(os.dup(layer))) for layer in layers]
        async with ConfinedProcess("onggi.scan.worker", (), [root, answer, *files]) as worker:
            try:
                async with asyncio.timeout(TIME_LIMIT_S):
                    reply = await worker.receive(MESSAGE_LIMIT_BYTES)
            except TimeoutError as error:
                raise Unreadable(f"the image's layers could not be read within {TIME_LIMIT_S:.0f} seconds") from error
        if reply == b"=":
            return await asyncio.to_thread(_decode, answer.fileno())
    match = _REPLY.fullmatch(reply)
    if match is not None and match["sentence"]:
        raise Unreadable(f"the image can't be read: {match['sentence'].decode('ascii')}")
    number = int(match["errno"]) if match is not None else errno.EIO
    raise System(f"the scan's worker ended: {os.strerror(number)}")


def _decode(report: int) -> Inventory:
    size = os.fstat(report).st_size
    if size > REPORT_LIMIT_BYTES:
        raise Unreadable("the image has more packages than are read")
    try:
        return inventory.decode(os.pread(report, size, 0))
    except msgspec.ValidationError as error:
        raise System(f"the scan's worker gave a malformed report: {error}") from error
