"""Messages with descriptors over SOCK_SEQPACKET sockets (unix(7), cmsg(3)).

A message is some bytes and up to 253 descriptors (SCM_MAX_FD), received whole or not at all. Bytes that do not fit
into one packet travel in a sealed memfd, which the receiver maps back into bytes: callers see no difference.
"""

import _socket
import fcntl
import os
import sys

from onggi.linux.fd import Fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PACKET_BYTES = 96 * 1024
"""Longer payloads go into a memfd: below half of the default send buffer (net.core.wmem_default, 208 KiB)."""
PAYLOAD_BYTES = 64 * 1024 * 1024
"""The longest payload that `receive` accepts."""
_INLINE, _BY_FILE = b"=", b"@"
_DESCRIPTORS = 253
_INT_BYTES = 4
_SEALS = 1 | 2 | 4 | 8  # F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE
_F_ADD_SEALS, _F_GET_SEALS = 1033, 1034


class Message:
    """What one `receive` returned; the receiver owns the descriptors."""

    __slots__ = ("descriptors", "payload")

    def __init__(self, payload: bytes, descriptors: "list[Fd]") -> None:
        self.payload = payload
        self.descriptors = descriptors

    def close(self) -> None:
        """Close every descriptor that nobody has taken."""
        for descriptor in self.descriptors:
            descriptor.close()


def pair() -> "tuple[Fd, Fd]":
    """Two connected SEQPACKET sockets, close-on-exec, blocking."""
    one, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    return Fd(one.detach()), Fd(other.detach())


def send(through: "Fd | int", payload: bytes, descriptors: "Iterable[Fd | int]" = ()) -> None:
    """Send one message; `descriptors` are duplicated into the receiver and stay the caller's.

    Raises BrokenPipeError or ConnectionResetError when the other side is gone, BlockingIOError when the socket is
    non-blocking and full. Never raises SIGPIPE.
    """
    numbers = [d if isinstance(d, int) else d.fileno() for d in descriptors]
    if len(payload) <= PACKET_BYTES:
        _send(through, _INLINE + payload, numbers)
        return
    with _sealed(payload) as file:
        _send(through, _BY_FILE, [*numbers, file.fileno()])


def receive(through: "Fd | int") -> "Message | None":
    """The next message, or None when the other side has closed.

    Raises ValueError for a message that `send` would not have made (too long, truncated, unsealed file),
    ConnectionResetError, and BlockingIOError on a non-blocking socket without data.
    """
    socket = _socket.socket(fileno=through if isinstance(through, int) else through.fileno())
    try:
        data, ancillary, flags, _ = socket.recvmsg(
            PACKET_BYTES + 1, _socket.CMSG_SPACE(_DESCRIPTORS * _INT_BYTES), _socket.MSG_CMSG_CLOEXEC
        )
    finally:
        socket.detach()
    message = Message(data[1:], [])
    for level, kind, content in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            whole = len(content) - len(content) % _INT_BYTES
            message.descriptors += [Fd(number) for number in memoryview(content[:whole]).cast("i")]
    try:
        return _checked(data, flags, message)
    except BaseException:
        message.close()
        raise


def _checked(data: bytes, flags: int, message: Message) -> "Message | None":
    if not data and not message.descriptors:
        return None
    if flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
        raise ValueError("a message was longer than agreed")
    if data[:1] == _BY_FILE and len(data) == 1 and message.descriptors:
        with message.descriptors.pop() as file:
            message.payload = _content(file)
    elif data[:1] != _INLINE:
        raise ValueError("not a message")
    return message


def _send(through: "Fd | int", data: bytes, numbers: "list[int]") -> None:
    ancillary = []
    if numbers:
        content = b"".join(number.to_bytes(_INT_BYTES, sys.byteorder) for number in numbers)
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, content)]
    socket = _socket.socket(fileno=through if isinstance(through, int) else through.fileno())
    try:
        socket.sendmsg([data], ancillary, _socket.MSG_NOSIGNAL)
    finally:
        socket.detach()


def _sealed(payload: bytes) -> Fd:
    file = Fd(os.memfd_create("message", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
    try:
        view = memoryview(payload)
        while view:
            view = view[os.write(file.fileno(), view) :]
        fcntl.fcntl(file.fileno(), _F_ADD_SEALS, _SEALS)
    except BaseException:
        file.close()
        raise
    return file


def _content(file: Fd) -> bytes:
    if fcntl.fcntl(file.fileno(), _F_GET_SEALS) & _SEALS != _SEALS:
        raise ValueError("the file of a message is not sealed")
    size = os.fstat(file.fileno()).st_size
    if size > PAYLOAD_BYTES:
        raise ValueError("a message is longer than agreed")
    parts = []
    position = 0
    while position < size:
        part = os.pread(file.fileno(), size - position, position)
        if not part:
            raise ValueError("the file of a message is shorter than it says")
        parts.append(part)
        position += len(part)
    return b"".join(parts)
