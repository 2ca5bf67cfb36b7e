"""Pseudo-terminals by descriptor: no path of a devpts is believed (pty(7), ioctl_tty(2))."""

import fcntl
import os

from onggi.linux.fd import Fd
from onggi.linux.mount import DEVPTS_SUPER_MAGIC, filesystem_type
from onggi.linux.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from onggi.linux.syscall import number_of

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_TIOCSCTTY = 0x540E
_TIOCSWINSZ = 0x5414
_PTMX = os.makedev(5, 2)


class Terminal:
    """Both ends of a new pty; the caller owns them."""

    __slots__ = ("master", "slave")

    def __init__(self, master: Fd, slave: Fd) -> None:
        self.master = master
        self.slave = slave


def open_terminal(devpts: "Fd | int") -> Terminal:
    """A new pty in the devpts whose top directory is `devpts`.

    The slave comes from the master (TIOCGPTPEER), so nobody can put another file in its place. Raises OSError ENODEV
    when `devpts` is no devpts or its `ptmx` no pty multiplexer.
    """
    with openat2(devpts, "ptmx", os.O_RDWR | os.O_NOCTTY, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS) as master:
        facts = os.fstat(master.fileno())
        if facts.st_rdev != _PTMX or filesystem_type(master) != DEVPTS_SUPER_MAGIC:
            raise OSError(19, "not a pty multiplexer", "ptmx")  # ENODEV
        fcntl.ioctl(master.fileno(), _TIOCSPTLCK, (0).to_bytes(4, "little"))
        slave = Fd(fcntl.ioctl(master.fileno(), _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
        return Terminal(Fd(master.take()), slave)


def set_size(terminal: "Fd | int", rows: int, columns: int) -> None:
    """Tell the terminal its size in characters; its foreground process gets SIGWINCH."""
    size = b"".join(min(max(number, 0), 0xFFFF).to_bytes(2, "little") for number in (rows, columns, 0, 0))
    fcntl.ioctl(number_of(terminal), _TIOCSWINSZ, size)


def make_controlling(terminal: "Fd | int") -> None:
    """Make it the controlling terminal of the calling session leader."""
    fcntl.ioctl(number_of(terminal), _TIOCSCTTY, 0)
