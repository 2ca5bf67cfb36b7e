"""The sockets the API is served on: `unix://`, `tcp://` (with TLS) and `fd://` (handed over by systemd)."""

import grp
import os
import socket
import ssl
import stat
from collections.abc import Sequence
from pathlib import Path

from onggi.daemon.options import Tls
from onggi.errors import InvalidParameter, System

SD_LISTEN_FDS_START = 3  # sd_listen_fds(3)
BACKLOG = 1024


def _group_id(name: str) -> int:
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise InvalidParameter(
            f'no group "{name}" on this machine for the socket; create it or name another'
        ) from error


def _unix(path: Path, group: str) -> socket.socket:
    """Bind `path`, 0660. A socket nobody listens on is replaced, another's is not; other files are left alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        pass
    else:
        if not stat.S_ISSOCK(mode):
            raise InvalidParameter(
                f"can't listen on {path}: a file that is not a socket is there; remove it or name another"
            )
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(os.fspath(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)  # its engine is gone
            except OSError as error:
                raise System(f"can't listen on {path}: {error.strerror}") from error
            else:
                raise InvalidParameter(
                    f"can't listen on {path}: another engine listens there; use -H with another path"
                )
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o117)  # from the first moment on nobody but owner and group may connect
    try:
        listener.bind(os.fspath(path))
    except OSError as error:
        listener.close()
        raise System(f"can't listen on {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    if group:
        os.chown(path, 0, _group_id(group))
    listener.listen(BACKLOG)
    return listener


def tcp(address: str) -> socket.socket:
    """Listen on HOST:PORT. Raises InvalidParameter, System."""
    host, colon, port = address.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()):
        raise InvalidParameter(f'invalid address "tcp://{address}": HOST:PORT is expected')
    host = host.strip("[]") or "0.0.0.0"
    try:
        return socket.create_server(
            (host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
        )
    except OSError as error:
        raise System(f"can't listen on tcp://{address}: {error.strerror or error}") from error


def _handed_over() -> list[socket.socket]:
    """The sockets systemd opened for us (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise InvalidParameter(
            "fd:// was given, but no socket was handed over; start by the socket unit or use unix://"
        )
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=SD_LISTEN_FDS_START + number) for number in range(count)]


def tls_context(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer; with `verify` a client without a certificate of our CA is turned away."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.verify:
            context.load_verify_locations(tls.ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise InvalidParameter(f"can't use the certificates {tls.certificate}, {tls.key}, {tls.ca}: {error}") from error
    return context


def listeners(hosts: Sequence[str], group: str) -> list[socket.socket]:
    """Open every host. If one can't be opened, none stays open. Raises InvalidParameter or System."""
    opened: list[socket.socket] = []
    try:
        for host in hosts:
            scheme, _, address = host.partition("://")
            if scheme == "unix" and address:
                opened.append(_unix(Path(address), group))
            elif scheme == "tcp":
                opened.append(tcp(address))
            elif scheme == "fd":
                opened.extend(_handed_over())
            else:
                raise InvalidParameter(f'invalid host "{host}": use unix:///PATH, tcp://HOST:PORT or fd://')
    except BaseException:
        close(opened, names(opened))
        raise
    return opened


def names(opened: Sequence[socket.socket]) -> list[Path]:
    """The paths of those that have one. Ask while they are open: whoever serves them closes them."""
    found = [listener.getsockname() for listener in opened if listener.family == socket.AF_UNIX]
    return [Path(name) for name in found if isinstance(name, str) and name.startswith("/")]


def close(opened: Sequence[socket.socket], paths: Sequence[Path] = ()) -> None:
    """Close listeners and take their names away. Twice is fine."""
    for listener in opened:
        listener.close()
    for path in paths:
        path.unlink(missing_ok=True)
