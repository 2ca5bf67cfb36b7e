"""`--init`: the container's first process stays ours. It starts the program, passes signals on and reaps orphans.

Docker mounts a program of its own (tini) into the container for this. Here init simply does not become the program: it
forks it, and waits. It holds no descriptor but the standard streams, is the container's user, under the container's
seccomp filter, and not dumpable: what it has in memory is out of the container's reach.
"""

import _signal
import ctypes
import os

from onggi.linux import process, title
from onggi.runtime.steps import Setup, Step

SIGCHLD, SIGTTIN, SIGTTOU = 17, 21, 22
_SIGNALS = frozenset(range(1, 65)) - {9, 19, 32, 33}
_NAME = ctypes.create_string_buffer(b"docker-init")


class StayAsInit(Step):
    """From here on the child of this process goes on; this process ends with what that one ends with."""

    FIELDS = ("arguments",)
    arguments: "list[str]"
    """Of the program: shown as Docker's init shows them."""

    def execute(self, setup: Setup) -> None:
        # Blocked, a signal waits for sigwait(3), also one whose default the kernel would not deliver to a first process.
        _signal.pthread_sigmask(_signal.SIG_SETMASK, _SIGNALS)
        program = os.fork()  # not clone3(2): Docker's seccomp profile knows it not, and libc falls back
        if program == 0:
            _lead_terminal()
            _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
            return
        if setup.channel is not None:
            setup.channel.close()  # its end tells the shim that the program runs
        title.show(["/sbin/docker-init", "--", *self.arguments])
        process.prctl(process.PR_SET_NAME, ctypes.addressof(_NAME))
        process.prctl(process.PR_SET_CHILD_SUBREAPER, 1)  # where the pid namespace is another's, orphans come here too
        os._exit(_watch_over(program))


def _lead_terminal() -> None:
    """A process group of its own, in the terminal's foreground: ctrl-c comes once, from the terminal, and not twice."""
    os.setpgid(0, 0)
    try:
        os.tcsetpgrp(0, os.getpid())
    except OSError as error:
        if error.errno not in {6, 25}:  # ENXIO, ENOTTY: stdin is no terminal, or not ours
            raise


def _watch_over(program: int) -> int:
    """Pass signals on to the program and reap whatever ends, until the program does. Returns its exit status."""
    while True:
        number = _signal.sigwait(_SIGNALS)
        if number == SIGCHLD:
            status = _reap(program)
            if status is not None:
                return status
        elif number not in {SIGTTIN, SIGTTOU}:
            try:
                os.kill(program, number)
            except ProcessLookupError:
                continue  # it has just ended: SIGCHLD says so


def _reap(program: int) -> "int | None":
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if pid == 0:
            return None
        if pid == program:
            return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
