"""Container init: execute the plan, then execve. Called by the shim, which stays the parent."""

from onggi.linux.fd import Fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any


class StartFailure(Exception):
    """The process did not reach its execve. Crosses process boundaries as `data()`; `load` is the way back."""

    def __init__(self, step: str, code: int, text: str, exit_status: int) -> None:
        super().__init__(text)
        self.step = step
        """Name of the step that failed."""
        self.code = code
        """errno, or 0."""
        self.text = text
        """One sentence, ready to show: `exec: "nope": executable file not found in $PATH`."""
        self.exit_status = exit_status
        """What a command that wanted this process ends with: 127 not found, 126 cannot be run, else 125."""

    def data(self) -> "list[Any]":
        return [self.step, self.code, self.text, self.exit_status]

    @classmethod
    def load(cls, data: "list[Any]") -> "StartFailure":
        step, code, text, exit_status = data
        return cls(str(step), int(code), str(text), int(exit_status))


class Child:
    """A process that has reached its execve, our own child. Left by an exception it is killed and reaped."""

    __slots__ = ("console", "pid", "pidfd", "start_time")

    def __init__(self, pid: int, pidfd: Fd, start_time: int, console: "Fd | None") -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.start_time = start_time
        """Clock ticks since boot (proc_pid_stat(5), field 22): with the pid it names one process for ever."""
        self.console = console
        """The pty's master, when the process has a terminal."""

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        raise NotImplementedError


def spawn(plan: "list[Any]", files: "dict[str, int]") -> Child:
    """Start a container's init as a child of the calling process.

    `plan` is `Plan.data()` as decoded from JSON. `files` names descriptors of the caller that the plan refers to:
    `stdin`, `stdout`, `stderr` (all three, unless the plan has a console), `network` (a network namespace to join).
    They stay the caller's. Returns once the program has been executed; raises StartFailure, with nothing left behind.
    """
    raise NotImplementedError
