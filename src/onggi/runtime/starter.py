"""The starter: an idle process beside each idle shim, which starts the shim's program and then ends.

    launcher ── shim ─┬─ starter      reads the plan, makes the control group, clones; then ends
                      └─ program      a child of the shim all the same (CLONE_PARENT)

Reading a plan and carrying it out writes all over Python's heap. In a process of its own that memory goes with the end
of the start, and is not kept by the shim for as long as the container runs; and the shim opens log and socket meanwhile.

Between shim and starter, over SEQPACKET:

    shim                                          starter
      [names of files, …] newline plan ─────────►
        [files]                        ◄────────  ["started", pid, start_time] [pidfd, the terminal if there is one]
                                                  or ["failed", step, errno, sentence, exit_status]
"""

import ctypes
import errno
import os

from onggi import jsontext
from onggi.linux import message, process
from onggi.linux.cgroup import Cgroup
from onggi.linux.fd import Fd
from onggi.runtime import init
from onggi.runtime.steps import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_PLAN_BYTES = 12 * 1024
"""About what the plan of a container has."""
_NAME = ctypes.create_string_buffer(b"onggi-starter")


class Starter:
    """The shim's side."""

    __slots__ = ("_channel",)

    def __init__(self, channel: Fd) -> None:
        self._channel = channel

    def ask(self, plan: bytes, files: "dict[str, int]") -> None:
        """Let it begin. `files` are named as `init.spawn` wants them, and stay the caller's."""
        payload = jsontext.dumps(list(files)).encode("ascii") + b"\n" + plan
        message.send(self._channel, payload, list(files.values()))

    def answer(self) -> init.Child:
        """Wait until the program runs. Raises StartFailure; OSError ECHILD when the starter was killed."""
        with self._channel:
            answer = message.receive(self._channel)
        if answer is None:
            raise OSError(errno.ECHILD, "the starter was killed")
        kind, *values = jsontext.loads(answer.payload)
        if kind == "failed":
            raise init.StartFailure.load(values)
        pidfd, *console = answer.descriptors
        return init.Child(values[0], pidfd, values[1], console[0] if console else None)


def fork() -> Starter:
    """An idle starter. It ends when the caller does."""
    ours, theirs = message.pair()
    if os.fork() == 0:
        _serve(theirs)
    theirs.close()
    return Starter(ours)


def _serve(channel: Fd) -> "NoReturn":
    status = 1
    try:
        number = channel.fileno()
        process.close_from(3, number - 1)
        process.close_from(number + 1)
        process.prctl(process.PR_SET_NAME, ctypes.addressof(_NAME))
        _rehearse()
        asked = message.receive(channel)
        if asked is not None:
            _start(channel, asked)
        status = 0
    finally:
        os._exit(status)


def _rehearse() -> None:
    """Read a plan while there is time. What that writes on is copied from the launcher's memory now, page by page,
    instead of in the middle of a start (0.3 ms). It goes with the starter, and stays with nobody."""
    plan: "list[Any]" = [[name, *([0] * len(kind.FIELDS))] for name, kind in init.KINDS.items()]
    plan.append("0" * _PLAN_BYTES)
    load(jsontext.loads(jsontext.dumps(plan))[:-1], init.KINDS)
    Cgroup("/rehearsal").directories()


def _start(channel: Fd, asked: message.Message) -> None:
    names, _, plan = asked.payload.partition(b"\n")
    descriptors: "list[Fd]" = []
    files = dict(zip(jsontext.loads(names), (file.fileno() for file in asked.descriptors), strict=True))
    try:
        child = _spawn(jsontext.loads(plan), files)
    except init.StartFailure as failure:
        answer = ["failed", *failure.data()]
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        answer = ["failed", "start", error.errno or 0, f"{error.strerror}{where}", 125]
    else:
        answer = ["started", child.pid, child.start_time]
        descriptors = [child.pidfd] if child.console is None else [child.pidfd, child.console]
    message.send(channel, jsontext.dumps(answer).encode("ascii"), descriptors)


def _spawn(plan: "list[Any] | dict[str, Any]", files: "dict[str, int]") -> init.Child:
    """A list is a plan of steps for our own init; an object is an order that another OCI runtime carries out."""
    if isinstance(plan, list):
        return init.spawn(plan, files, sibling=True)
    from onggi.runtime import delegate

    return delegate.spawn(plan, files)
