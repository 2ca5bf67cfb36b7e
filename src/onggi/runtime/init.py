"""Container init: execute the plan, then execve. Called by the shim, which stays the parent.

spawn (shim)                              child
  CreateCgroup …
  Clone ─────────────────────────────────►  seal_imports()
  serves the channel:                       JoinCgroup … PivotRoot … Execute
    "map" "hooks" "state"   answers            asks, waits
    "console"       keeps the pty's master    sends it
    "ready"         returns                   waits for `start` (OCI create)
    "born"          its child is the one      ends: a plan with Fork
    "failed"        raises StartFailure       ends
    end of file     returns                   execve has closed the child's end
"""

import os
import sys

from onggi import jsontext
from onggi.linux import message, process
from onggi.linux.fd import Fd
from onggi.runtime import mount_steps, namespace_steps, process_steps, reaper
from onggi.runtime.namespace_steps import Clone, CreateCgroup, Fork
from onggi.runtime.steps import Setup, StartFailure, Step, failure_of, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, NoReturn

__all__ = ["Child", "Hooks", "StartFailure", "spawn"]

KINDS: "dict[str, type[Step]]" = {
    kind.__name__: kind
    for module in (namespace_steps, mount_steps, process_steps, reaper)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Step) and kind is not Step
}
"""Every step, by the name that a plan gives it."""


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
        if kind is not None:
            self.destroy()

    def destroy(self) -> None:
        """Kill and reap it, and close what belongs to it."""
        try:
            process.send_signal(self.pidfd, 9)
        except ProcessLookupError:
            pass
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass  # reaped already
        self.pidfd.close()
        if self.console is not None:
            self.console.close()


class Hooks:
    """What the child asks of its parent about hooks. This one knows of none."""

    def run(self, kind: str, pid: int) -> None:
        """Run the hooks of one kind in the parent's own namespaces. Raises ValueError to refuse the start."""
        raise ValueError(f"nobody here runs {kind} hooks")

    def state(self, kind: str, pid: int) -> str:
        """The container's state, as JSON, for hooks that the child itself executes."""
        raise ValueError(f"nobody here runs {kind} hooks")


def spawn(plan: "list[Any]", files: "dict[str, int]", *, hooks: "Hooks | None" = None, sibling: bool = False) -> Child:
    """Start a container's init as a child of the calling, single-threaded process.

    `plan` is `Plan.data()` as decoded from JSON. `files` names descriptors of the caller that the plan refers to:
    `stdin`, `stdout`, `stderr` (all three, unless the plan has a console), `network` (a network namespace to join),
    `start` (a listening socket, for plans that wait for it). They stay the caller's. A `sibling` is a child of the
    caller's parent. Returns once the program has been executed, or once everything is ready for a plan that waits;
    raises StartFailure, with nothing left behind.
    """
    steps = load(plan, KINDS)
    middle = next(position for position, step in enumerate(steps) if isinstance(step, Clone))
    setup = Setup(dict(files))
    ours, theirs = message.pair()
    try:
        for step in steps[:middle]:
            _execute(step, setup)
        clone = steps[middle]
        assert isinstance(clone, Clone)
        try:
            pid, pidfd = process.clone(clone.flags(), cgroup=setup.cgroup, sibling=sibling)
        except OSError as error:
            raise failure_of(clone, error) from error
        if pid == 0:
            setup.channel = theirs
            _become(steps[middle + 1 :], setup)
        assert pidfd is not None
        theirs.close()
        child = Child(pid, pidfd, 0, None)
        parent = os.getppid() if sibling else os.getpid()
        with child:
            _return(setup)
            child.start_time = process.start_time(pid)
            _serve(ours, child, hooks or Hooks(), parent)
            if child.pid == pid and any(isinstance(step, Fork) for step in steps):
                raise StartFailure("Fork", 0, "the process was killed before its program ran", 128)
        if child.pid != pid and not sibling:
            os.waitpid(pid, 0)
        return child
    except BaseException:
        theirs.close()
        _return(setup)
        for step in steps[:middle]:
            if isinstance(step, CreateCgroup):
                step.undo()
        raise
    finally:
        ours.close()
        if setup.cgroup is not None:
            setup.cgroup.close()


def _execute(step: Step, setup: Setup) -> None:
    try:
        step.execute(setup)
    except (OSError, ValueError) as error:
        raise failure_of(step, error) from error


def _return(setup: Setup) -> None:
    """Let the caller's next children be born where it lives itself."""
    while setup.namespaces:
        with setup.namespaces.pop() as namespace:
            process.setns(namespace)


def _serve(channel: Fd, child: Child, hooks: Hooks, parent: int) -> None:
    """Answer the child until its program runs, it waits for `start`, or it has failed."""
    while True:
        received = message.receive(channel)
        if received is None:
            return
        words = jsontext.loads(received.payload)
        if words[0] == "console" and len(received.descriptors) == 1:
            child.console = received.descriptors[0]
        elif words[0] == "failed":
            raise StartFailure.load(words[1])
        elif words[0] == "ready":
            return
        elif words[0] == "born" and len(received.descriptors) == 1:
            _succeed(child, received.descriptors[0], parent)
        elif words[0] == "map":
            _map_users(child.pid, words[1], words[2])
            message.send(channel, b'["go"]')
        elif words[0] in {"hooks", "state"}:
            message.send(channel, _hooks_answer(words[0], words[1], child.pid, hooks))
        else:
            received.close()
            raise StartFailure("Clone", 0, f"the child speaks of {words[0]!r}", 128)


def _succeed(child: Child, pidfd: Fd, parent: int) -> None:
    """Its own child takes the child's place, which ends. Only a child of `parent` can: who traces it may send as well."""
    pid = _pid_of(pidfd)
    if pid <= 0 or pid in {child.pid, os.getpid()} or _parent_of(pid) != parent:
        pidfd.close()
        raise StartFailure("Fork", 0, "the child names a process that is not its own", 128)
    child.pidfd.close()
    child.pid, child.pidfd = pid, pidfd
    child.start_time = process.start_time(pid)


def _pid_of(pidfd: Fd) -> int:
    """-1 when it has ended; 0 when it is not seen from here."""
    with open(f"/proc/self/fdinfo/{pidfd.fileno()}", encoding="ascii") as text:
        found = [line.split()[1] for line in text if line.startswith("Pid:")]
    return int(found[0]) if found else 0


def _parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as file:
        text = file.read()
    return int(text[text.rindex(b")") + 2 :].split()[1])


def _hooks_answer(question: str, kind: str, pid: int, hooks: Hooks) -> bytes:
    try:
        if question == "state":
            return jsontext.dumps(["go", hooks.state(kind, pid)]).encode()
        hooks.run(kind, pid)
    except (OSError, ValueError) as error:
        return jsontext.dumps(["refused", str(error)]).encode()
    return b'["go"]'


def _map_users(pid: int, users: "list[list[int]]", groups: "list[list[int]]") -> None:
    for file, rows in (("uid_map", users), ("gid_map", groups)):
        text = "".join(f"{inside} {outside} {size}\n" for inside, outside, size in rows)
        with Fd(os.open(f"/proc/{pid}/{file}", os.O_WRONLY | os.O_CLOEXEC)) as target:
            os.write(target.fileno(), text.encode())


def seal_imports() -> None:
    """From here on an import finds only what is loaded: a module file of a foreign root never runs.

    Tried on CPython 3.11: after a chroot, a first `import colorsys` runs the container's file of that name, as root.
    """
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    sys.path.clear()


def _become(steps: "list[Step]", setup: Setup) -> "NoReturn":
    """The child's whole life in our code. Ends in execve or in _exit; nothing is ever printed but by `Execute`."""
    code = 1
    step = steps[0]
    try:
        seal_imports()
        for step in steps:
            step.execute(setup)
    except BaseException as error:
        failure = failure_of(step, error)
        code = failure.exit_status
        setup.tell("failed", failure.data())
    finally:
        os._exit(code)
