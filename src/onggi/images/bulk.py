"""Unix sockets for many megabytes: buffers that let both sides work for a while without waking each other."""

import socket

_BYTES = 4 << 20
_SO_SNDBUFFORCE = 32


def bulk_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, the caller's."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        try:
            end.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BYTES)
        except PermissionError:  # without CAP_NET_ADMIN: as much as the system allows everybody
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BYTES)
    return ours, theirs
