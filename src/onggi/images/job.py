"""How a worker's job ends: in one reply, and with the process. Part of the worker's half."""

import errno
import gc
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import NoReturn


def write_all(descriptor: int, data: "bytes | bytearray | memoryview") -> None:
    """Write every byte; a pipe, a socket or a memory file may take them in pieces."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def carry_out(
    control: "socket", work: "Callable[[], bytes]", refusal: "Callable[[BaseException], bytes]", limit_bytes: int
) -> "NoReturn":
    """Do the work, send what it gives or why it failed, and end the process.

    `refusal` words what the bytes are to blame for, b"" for anything else: that becomes "!machine" and the errno.
    Nothing is ever printed: a traceback would open paths in a foreign root.
    """
    reply = b"!machine %d" % errno.EIO
    try:
        gc.freeze()
        os.umask(0)
        reply = work()
    except BaseException as error:
        reply = refusal(error) or b"!machine %d" % _number(error)
    finally:
        try:
            control.send(reply[:limit_bytes])
        finally:
            os._exit(0)


def _number(error: BaseException) -> int:
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    return (error.errno if isinstance(error, OSError) else None) or errno.EIO
