"""`onggi-runtime run` in the foreground: the caller's terminal or streams are the container's until it ends."""

import fcntl
import os
import select
import signal
import termios
import tty
from types import FrameType

from onggi.linux import process, terminal
from onggi.linux.fd import Fd
from onggi.runtime.init import Child

_BYTES = 32 * 1024
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def wait(child: Child, console: Fd | None) -> int:
    """Carry signals (and with a console, characters) to the child until it ends; its exit code, 128 + n by signal."""

    def forward(number: int, frame: FrameType | None) -> None:
        try:
            process.send_signal(child.pidfd, number)
        except ProcessLookupError:
            return

    previous = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        if console is not None:
            _carry(child, console)
        _, status = os.waitpid(child.pid, 0)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _carry(child: Child, console: Fd) -> None:
    """Between our standard streams and the pty, until the pty's other side is closed."""
    interactive = os.isatty(0)
    before = termios.tcgetattr(0) if interactive else None
    if interactive:
        tty.setraw(0)
        _copy_size(console)
    previous = signal.signal(signal.SIGWINCH, lambda number, frame: _copy_size(console))
    poll = select.poll()
    poll.register(console.fileno(), select.POLLIN)
    poll.register(0, select.POLLIN)
    poll.register(child.pidfd.fileno(), select.POLLIN)
    ended = False
    try:
        while True:
            ready = dict(poll.poll(0 if ended else None))
            if console.fileno() in ready:
                try:
                    data = os.read(console.fileno(), _BYTES)
                except OSError as error:
                    if error.errno != 5:  # EIO: nobody has the slave open any more
                        raise
                    return
                if not data:
                    return
                _write(1, data)
            elif ended:
                return  # a process left behind may keep the terminal; the container's own is gone
            if 0 in ready:
                data = os.read(0, _BYTES)
                if data:
                    _write(console.fileno(), data)
                else:
                    poll.unregister(0)
            if child.pidfd.fileno() in ready and not ended:
                ended = True
                poll.unregister(child.pidfd.fileno())
    finally:
        signal.signal(signal.SIGWINCH, previous)
        if before is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _copy_size(console: Fd) -> None:
    if not os.isatty(0):
        return
    size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
    rows, columns = int.from_bytes(size[0:2], "little"), int.from_bytes(size[2:4], "little")
    terminal.set_size(console, rows, columns)
