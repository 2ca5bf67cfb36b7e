"""Sockets to engines elsewhere: TCP, TLS and ssh. Loaded only for such addresses."""

import _socket
import os
import sys

from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import TypeVar

    from onggi.cli.address import Address
    from onggi.cli.connection import Socket

    T = TypeVar("T")


def connect(address: "Address") -> "Socket":
    """Raises OSError, Failure."""
    if address.scheme == "ssh":
        return _ssh(address)
    if address.tls is not None or address.scheme == "https":
        return _tls(address)
    return _tcp(address)


def _tcp(address: "Address") -> "Socket":
    failed: OSError = OSError(f"no address found for {address.host}")
    try:
        found = _socket.getaddrinfo(address.host, address.port, 0, _socket.SOCK_STREAM)
    except _socket.gaierror as error:
        raise OSError(f"lookup {address.host}: {error.strerror}") from None
    for family, kind, protocol, _, target in found:
        socket = _socket.socket(family, kind, protocol)
        try:
            socket.connect(target)
            socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        except OSError as error:
            socket.close()
            failed = error
        else:
            return socket
    raise failed


def _tls(address: "Address") -> "Socket":
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls = address.tls
    try:
        if tls is None:
            context.load_default_certs()
        else:
            if tls.verify:
                context.load_verify_locations(cafile=tls.ca)
            else:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if os.path.exists(tls.certificate) or os.path.exists(tls.key):
                context.load_cert_chain(tls.certificate, tls.key)
    except FileNotFoundError as error:
        raise Failure(f"unable to resolve docker endpoint: open {error.filename or (tls and tls.ca)}: "
                      "no such file or directory") from None  # fmt: skip
    except ssl.SSLError as error:
        raise Failure(f"unable to resolve docker endpoint: bad TLS material: {error.reason or error}") from None
    return _TlsSocket(_tcp(address), context, address)


class _TlsSocket:
    """TLS over a socket that can be closed for writing while it is still read: the end of a container's input.

    `SSLSocket.shutdown` would end both directions.
    """

    def __init__(self, plain: "Socket", context: "ssl.SSLContext", address: "Address") -> None:
        import ssl

        self._plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=address.host)
        self._more: tuple[type[Exception], ...] = (ssl.SSLWantReadError,)
        self._over: tuple[type[Exception], ...] = (ssl.SSLZeroReturnError, ssl.SSLEOFError)
        where = f"{address.host}:{address.port}"
        try:
            self._carry(self._tls.do_handshake)
        except ssl.SSLError as error:
            self.close()
            reason = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.reason
            raise Failure(f"error during connect: tls to {where} failed: {reason or error}") from None

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._plain.sendall(data)

    def _carry(self, act: "Callable[[], T]") -> "T":
        """Do it, moving records to and from the socket while it asks for more."""
        while True:
            try:
                result = act()
            except self._more:
                self._flush()
                data = self._plain.recv(65536)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                self._flush()
                return result

    def fileno(self) -> int:
        return self._plain.fileno()

    def pending(self) -> bool:
        """Whether something has been read from the socket that `recv` has not yet given."""
        return self._tls.pending() > 0 or self._incoming.pending > 0

    def recv(self, size: int) -> bytes:
        try:
            return self._carry(lambda: self._tls.read(size))
        except self._over:
            return b""

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._carry(lambda part=view[:65536]: self._tls.write(part)) :]  # type: ignore[misc]

    def shutdown(self, how: int) -> None:
        """Say that nothing more will be written. Reading goes on."""
        try:
            self._tls.unwrap()
        except (*self._more, *self._over):
            pass  # the other side's word is not waited for
        self._flush()

    def close(self) -> None:
        self._plain.close()


def _ssh(address: "Address") -> "Socket":
    """`ssh host -- docker system dial-stdio`, its standard streams being our socket. No shell on this side."""
    if sys.platform == "win32":
        raise Failure("ssh:// addresses are not supported on Windows: use tcp:// with TLS")
    arguments = ["ssh", "-o", "ConnectTimeout=30", "-T"]
    if address.user:
        arguments += ["-l", address.user]
    if address.port:
        arguments += ["-p", str(address.port)]
    remote = ["docker", "system", "dial-stdio"]
    if address.path:
        _refuse_shell(address.path)
        remote = ["docker", "--host", f"unix://{address.path}", "system", "dial-stdio"]
    arguments += ["--", address.host, *remote]
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        os.posix_spawnp(
            "ssh",
            arguments,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0), (os.POSIX_SPAWN_DUP2, theirs.fileno(), 1)],
            setsid=True,
        )
    except FileNotFoundError:
        raise Failure("ssh:// needs the program ssh, and it is not in PATH: install OpenSSH's client") from None
    finally:
        theirs.close()
    return ours


def _refuse_shell(path: str) -> None:
    """The path is read by a shell at the other end."""
    if not all(c.isascii() and (c.isalnum() or c in "/._-@+") for c in path):
        raise Failure(f"invalid SSH URL: the socket's path {path!r} may hold letters, digits and /._-@+ only")
