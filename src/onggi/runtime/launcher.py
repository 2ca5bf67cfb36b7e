"""The launcher, a zygote: keeps idle shims ready, so that a start waits neither for Python nor for a fork.

It never reads an order. An idle shim takes it from the socket that all of them share, so that no container's
environment ever lies in the memory of which later shims are copies.

    daemon ──orders──► (socket) ◄── idle shim, idle shim      each a fork of the launcher
                                     │ "taken": its pid
                          launcher ◄─┘ forks the next

One thread, always; forks and never executes. It ends when the daemon's end of the socket is closed; its shims go on.
Run as a program by `onggi.runtime.launch`, isolated, from a sealed copy of the interpreter.
"""

import _signal
import ctypes
import gc
import os
import select
import sys

from onggi.linux import cgroup, process, title
from onggi.runtime import shim

IDLE_SHIMS = 2
_RETRY_MS = 100
_QUIET_MS = 20
"""A shim that was taken is replaced once its start is over, which has the processors first; at once if it was the last."""
_NAME = ctypes.create_string_buffer(b"onggi-launcher")


def main(orders: int) -> None:
    """Serve until the daemon closes its end. `orders` is ours; all descriptors but it and 0, 1, 2 are closed."""
    process.close_from(3, orders - 1)
    process.close_from(orders + 1)
    process.prctl(process.PR_SET_DUMPABLE, 0)  # inherited by every shim and init, until they execute a program
    process.prctl(process.PR_SET_NAME, ctypes.addressof(_NAME))
    title.find()
    os.set_blocking(orders, False)
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT):
        # A stop of the daemon, or a key pressed in its terminal, is not meant for containers.
        _signal.signal(number, _signal.SIG_IGN)
    shim.rehearse()
    taken, tell_taken = os.pipe2(os.O_CLOEXEC)
    alive, stay_alive = os.pipe2(os.O_CLOEXEC)
    woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    _signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    _signal.signal(_signal.SIGCHLD, _pass)
    cgroup.of_host()  # read once, instead of by each start
    # Full of small objects all over the heap, which `init.seal_imports` would copy page by page to destroy them: 0.5 ms.
    sys.path_importer_cache.clear()
    gc.collect()
    gc.freeze()

    poll = select.poll()
    poll.register(orders, 0)  # POLLHUP alone: the orders are not ours to read
    poll.register(taken, select.POLLIN)
    poll.register(woken, select.POLLIN)
    idle: "set[int]" = set()
    quiet = True
    while True:
        timeout = None
        while len(idle) < (IDLE_SHIMS if quiet else 1):
            try:
                pid = os.fork()
            except OSError as error:
                # No memory or no pids left now: orders wait in the socket until there are.
                print(f"onggi-launcher: fork: {error.strerror}", file=sys.stderr, flush=True)
                timeout = _RETRY_MS
                break
            if pid == 0:
                for descriptor in (taken, stay_alive, woken, wake):
                    os.close(descriptor)
                _run_shim(orders, tell_taken, alive)
            idle.add(pid)
        if len(idle) < IDLE_SHIMS and timeout is None:
            timeout = _QUIET_MS
        events = poll.poll(timeout)
        quiet = not events
        for descriptor, _ in events:
            if descriptor == taken:
                pids = os.read(taken, 4096)
                for at in range(0, len(pids), 4):
                    idle.discard(int.from_bytes(pids[at : at + 4], "little"))
            elif descriptor == woken:
                os.read(woken, 4096)
                _reap(idle)
            else:
                return


def _run_shim(orders: int, tell_taken: int, alive: int) -> None:
    """Never returns: whatever happens in it, a shim ends here and not in the launcher's code."""
    status = 1
    try:
        _signal.set_wakeup_fd(-1)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        shim.serve(orders, tell_taken, alive)
        status = 0
    except BaseException as error:
        # The shim has never left the host's root, so that a traceback may be printed.
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(status)


def _reap(idle: "set[int]") -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        idle.discard(pid)


def _pass(number: int, frame: object) -> None:
    """Without a handler the signal would not write to the wake-up descriptor."""
