"""Start the engine when nobody listens at the default socket. Linux and root only."""

import os
import sys

from onggi.cli.address import DEFAULT_SOCKET
from onggi.cli.failure import Failure

LOG = "/var/log/onggi.log"
_KEPT = ("PATH", "HOME", "LANG", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


def start_engine() -> bool:
    """Start it and wait until it serves. False where we may not; Failure where it failed.

    ONGGI_AUTOSTART=0 forbids it.
    """
    if os.geteuid() != 0 or os.environ.get("ONGGI_AUTOSTART") == "0":
        return False
    import fcntl

    os.makedirs(os.path.dirname(DEFAULT_SOCKET), mode=0o711, exist_ok=True)
    lock = os.open(os.path.dirname(DEFAULT_SOCKET) + "/start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with open(lock, "rb"):
        fcntl.flock(lock, fcntl.LOCK_EX)  # of clients that come at once, one starts it and the others find it
        if _answers():
            return True
        _start()
    return True


def _answers() -> bool:
    import _socket

    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        probe.connect(DEFAULT_SOCKET)
    except OSError:
        return False
    finally:
        probe.close()
    return True


def _start() -> None:
    entry = os.path.join(os.path.dirname(os.path.abspath(__file__)), "entry.py")
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", entry, "onggi.daemon", "--ready-fd", str(writer)],
            {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
            | {name: os.environ[name] for name in _KEPT if name in os.environ},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
    finally:
        os.close(writer)
    with open(reader, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace").strip()
    if said != "ready":
        raise Failure(f"the engine did not start: {said or 'it ended without a word'}; its log is {LOG}")
    sys.stderr.write(f"onggi: the engine was not running and has been started (log: {LOG})\n")
