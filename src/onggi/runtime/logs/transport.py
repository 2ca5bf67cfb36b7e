"""Connections to the servers of logging drivers. Their errors are worded as Go's `net` words them: users know those."""

import _socket
import errno
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from typing import Any

CONNECT_S = 10.0
SEND_S = 30.0
"""A server that takes nothing for so long is as good as gone."""


class Transport:
    """One connection, made when it is first needed. `order` says where to: `network` is tcp, tcp+tls, udp, unix or
    unixgram; with `host` and `port`, or with `path`; and `tls`."""

    def __init__(self, order: "dict[str, Any]", *, send_s: "float | None" = SEND_S) -> None:
        self._network: str = order["network"]
        self._order = order
        self._send_s = send_s
        self._socket: "_socket.socket | ssl.SSLSocket | None" = None

    @property
    def datagrams(self) -> bool:
        return self._network in ("udp", "unixgram")

    def connect(self) -> None:
        """Raises OSError, the sentence in `strerror`."""
        self.close()
        if self._network in ("unix", "unixgram"):
            kind = _socket.SOCK_STREAM if self._network == "unix" else _socket.SOCK_DGRAM
            path: str = self._order["path"]
            self._connect(_socket.AF_UNIX, kind, path, path)
            return
        host, port = self._order["host"], self._order["port"]
        kind, network = (_socket.SOCK_DGRAM, "udp") if self._network == "udp" else (_socket.SOCK_STREAM, "tcp")
        try:
            found = _socket.getaddrinfo(host, port, _socket.AF_UNSPEC, kind)
        except _socket.gaierror as error:
            reason = "no such host" if error.errno == _socket.EAI_NONAME else error.strerror
            raise OSError(errno.EHOSTUNREACH, f"dial {network}: lookup {host}: {reason}") from error
        for number, (family, _, _, _, address) in enumerate(found):
            name = f"[{address[0]}]:{port}" if ":" in str(address[0]) else f"{address[0]}:{port}"
            try:
                self._connect(family, kind, address, name)
                break
            except OSError:
                if number == len(found) - 1:
                    raise
        if self._network == "tcp+tls":
            self._wrap(host)

    def _connect(self, family: int, kind: int, address: "Any", name: str) -> None:
        network = {"tcp+tls": "tcp"}.get(self._network, self._network)
        socket = _socket.socket(family, kind | _socket.SOCK_CLOEXEC)
        try:
            socket.settimeout(CONNECT_S)
            socket.connect(address)
            socket.settimeout(self._send_s)
        except OSError as error:
            socket.close()
            reason = "i/o timeout" if isinstance(error, TimeoutError) and not error.errno else _lower(error)
            raise OSError(error.errno or errno.ETIMEDOUT, f"dial {network} {name}: connect: {reason}") from error
        self._socket = socket

    def _wrap(self, host: str) -> None:
        import socket as sockets
        import ssl

        assert self._socket is not None
        tls = self._order["tls"]
        try:
            context = ssl.create_default_context(cafile=tls["ca"] or None)
            if tls["skip_verify"]:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if tls["cert"]:
                context.load_cert_chain(tls["cert"], tls["key"])
            plain = sockets.socket(fileno=self._socket.detach())
            plain.settimeout(CONNECT_S)
            self._socket = context.wrap_socket(plain, server_hostname=host)
            self._socket.settimeout(self._send_s)
        except ssl.SSLCertVerificationError as error:
            self._socket = None
            raise OSError(errno.EPROTO, f"tls: failed to verify certificate: {error.verify_message}") from error
        except ssl.SSLError as error:
            self._socket = None
            raise OSError(errno.EPROTO, f"tls: {error.reason or error}") from error

    def send(self, packets: "list[bytes]") -> None:
        """Send each packet whole: a datagram, or so many bytes of a stream. Raises OSError, the connection closed."""
        try:
            if self._socket is None or self._hung_up():
                self.connect()
            assert self._socket is not None
            if self.datagrams:
                for packet in packets:
                    self._socket.send(packet)
            else:
                self._socket.sendall(b"".join(packets))
        except OSError:
            self.close()
            raise

    def receive(self) -> bytes:
        """What the server answers; b"" at its end. Raises OSError."""
        assert self._socket is not None
        return self._socket.recv(4096)

    def _hung_up(self) -> bool:
        """A server that has closed takes one more write without a word: look before."""
        assert self._socket is not None
        if self.datagrams:
            return False
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN | select.POLLRDHUP)
        return any(events & (select.POLLRDHUP | select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _lower(error: OSError) -> str:
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]
