"""Steps about control groups and namespaces: where the new process lives."""

import _socket
import os
import select

from onggi.linux import process
from onggi.linux.cgroup import Cgroup
from onggi.linux.device_filter import attach as attach_device_filter
from onggi.linux.fd import Fd
from onggi.runtime.steps import Setup, StartFailure, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FLAG_NAMES = {
    "user": process.CLONE_NEWUSER,
    "mount": process.CLONE_NEWNS,
    "pid": process.CLONE_NEWPID,
    "network": process.CLONE_NEWNET,
    "ipc": process.CLONE_NEWIPC,
    "uts": process.CLONE_NEWUTS,
    "cgroup": process.CLONE_NEWCGROUP,
    "time": process.CLONE_NEWTIME,
}


class CreateCgroup(Step):
    """Make the container's group and set its limits, before anybody is in it."""

    FIELDS = ("path", "writes", "device_filter")
    path: str
    writes: "list[list[str]]"
    """Controller, file, value."""
    device_filter: str
    """eBPF instructions as hexadecimal text for v2; "" for v1, whose device rules are writes."""

    def describe(self) -> str:
        limits = " ".join(f"{file}={value!r}" for _, file, value in self.writes)
        return f"CreateCgroup {self.path} {limits}".rstrip()

    def subject(self) -> str:
        return f"unable to apply cgroup configuration to {self.path}"

    def execute(self, setup: Setup) -> None:
        group = Cgroup(self.path)
        group.create()
        group.apply((controller, file, value) for controller, file, value in self.writes)
        if self.device_filter and group.unified is not None:
            attach_device_filter(group.unified, bytes.fromhex(self.device_filter))

    def undo(self) -> None:
        """After a start that failed: the group goes again."""
        group = Cgroup(self.path)
        group.kill()
        group.delete()


class OpenCgroup(Step):
    """Open the v2 side of the group: the child is born in it."""

    FIELDS = ("path",)
    path: str

    def execute(self, setup: Setup) -> None:
        setup.cgroup = Cgroup(self.path).birthplace()


class JoinCgroup(Step):
    """Move into the group's v1 side, as the child's first act: nothing of the container has run yet."""

    FIELDS = ("path",)
    path: str

    def execute(self, setup: Setup) -> None:
        Cgroup(self.path).join()


class EnterForChildren(Step):
    """Make the next child be born in the pid (or time) namespace of another process, or at a path."""

    FIELDS = ("kind", "path", "file")
    kind: str
    path: str
    file: str
    """Name of a passed descriptor (a namespace or a pidfd), instead of a path."""

    def execute(self, setup: Setup) -> None:
        own = "pid" if self.kind == "pid" else "time"
        setup.namespaces.append(Fd(os.open(f"/proc/self/ns/{own}", os.O_RDONLY | os.O_CLOEXEC)))
        flag = _FLAG_NAMES[self.kind]
        if self.file:
            process.setns(setup.files[self.file], flag)
            return
        with Fd(os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)) as namespace:
            process.setns(namespace, flag)


class Clone(Step):
    """Make the child, in these new namespaces. What follows is executed by it."""

    FIELDS = ("namespaces",)
    namespaces: "list[str]"

    def flags(self) -> int:
        flags = 0
        for name in self.namespaces:
            flags |= _FLAG_NAMES[name]
        return flags

    def execute(self, setup: Setup) -> None:
        raise AssertionError("spawn makes the child itself")


class Fork(Step):
    """Fork into the pid namespace that was entered. The child carries on, confined already; this process ends.

    Where somebody inside may trace others, nothing is seen there before it holds no more than they do themselves
    (CVE-2016-9962: being undumpable does not stop CAP_SYS_PTRACE).
    """

    def execute(self, setup: Setup) -> None:
        pid, pidfd = process.fork_sibling()
        if pidfd is None:
            return
        with pidfd:
            setup.tell("born", pid, descriptors=(pidfd,))
        os._exit(0)


class MapUsers(Step):
    """Wait until the parent has written the user namespace's maps, then be its root."""

    FIELDS = ("users", "groups")
    users: "list[list[int]]"
    """Rows of container ID, host ID, size."""
    groups: "list[list[int]]"

    def execute(self, setup: Setup) -> None:
        setup.ask("map", self.users, self.groups)
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


class Unshare(Step):
    """Leave namespaces for new ones that could not be made by the clone: cgroup, whose root is where one is then."""

    FIELDS = ("namespaces",)
    namespaces: "list[str]"

    def execute(self, setup: Setup) -> None:
        flags = 0
        for name in self.namespaces:
            flags |= _FLAG_NAMES[name]
        process.unshare(flags)


class JoinNamespace(Step):
    """Join one namespace: a passed descriptor, else a path."""

    FIELDS = ("kind", "path", "file")
    kind: str
    path: str
    file: str
    """Name of a passed descriptor (a namespace or a pidfd), instead of a path."""

    def execute(self, setup: Setup) -> None:
        flag = _FLAG_NAMES[self.kind]
        if self.file:
            process.setns(setup.files[self.file], flag)
            return
        with Fd(os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)) as namespace:
            process.setns(namespace, flag)


class JoinProcess(Step):
    """Join namespaces of a running process, all at once, by its pidfd."""

    FIELDS = ("file", "namespaces")
    file: str
    namespaces: "list[str]"

    def execute(self, setup: Setup) -> None:
        flags = 0
        for name in self.namespaces:
            flags |= _FLAG_NAMES[name]
        process.setns(setup.files[self.file], flags)
        # The pidfd shows the host's view of a process: not for what runs in here.
        if "user" in self.namespaces:
            os.setgroups([])
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
        setup.root = Fd(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))


class TimeOffsets(Step):
    """Set the clocks of a new time namespace, before anybody lives in it (time_namespaces(7))."""

    FIELDS = ("offsets",)
    offsets: "dict[str, list[int]]"

    def execute(self, setup: Setup) -> None:
        setup.namespaces.append(Fd(os.open("/proc/self/ns/time", os.O_RDONLY | os.O_CLOEXEC)))
        process.unshare(process.CLONE_NEWTIME)
        lines = [f"{clock} {seconds} {nanoseconds}\n" for clock, (seconds, nanoseconds) in self.offsets.items()]
        with Fd(os.open("/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)) as file:
            os.write(file.fileno(), "".join(lines).encode())


class RunHooks(Step):
    """Let the parent run the hooks of one kind, and wait for them (runtime-spec: config.md, POSIX-platform Hooks)."""

    FIELDS = ("kind",)
    kind: str

    def execute(self, setup: Setup) -> None:
        setup.ask("hooks", self.kind)


class ExecuteHooks(Step):
    """Execute hooks here, in the container's own namespaces: createContainer hooks before the host's root is left (their
    paths are the host's), startContainer hooks as the container's process."""

    FIELDS = ("kind", "hooks")
    kind: str
    hooks: "list[list[Any]]"
    """Path, arguments, environment, timeout in seconds or null."""

    def describe(self) -> str:
        return f"ExecuteHooks {self.kind} {' '.join(str(hook[0]) for hook in self.hooks)}"

    def execute(self, setup: Setup) -> None:
        state = setup.ask("state", self.kind).encode()
        for position, (path, arguments, environment, timeout_s) in enumerate(self.hooks):
            code = _run_hook(path, arguments or [path], environment, timeout_s, state)
            if code != 0:
                end = "no end in time" if code is None else f"exit status {code}"
                raise StartFailure(self.name, 0, f"error running {self.kind} hook #{position}: {end}", 128)


def _run_hook(
    path: str, arguments: "list[str]", environment: "list[str]", timeout_s: "int | None", state: bytes
) -> "int | None":
    """Its exit code, with 128 + n for signal n; None when it was killed for taking too long."""
    pairs = [entry.partition("=") for entry in environment]
    with Fd(os.memfd_create("state", os.MFD_CLOEXEC)) as text:
        os.write(text.fileno(), state)
        os.lseek(text.fileno(), 0, os.SEEK_SET)
        pid, pidfd = process.clone()
        if pid == 0:
            try:
                os.dup2(text.fileno(), 0)
                process.close_from(3)
                os.execve(path, arguments, {key: value for key, _, value in pairs})
            finally:
                os._exit(127)
    assert pidfd is not None
    with pidfd:
        poll = select.poll()
        poll.register(pidfd.fileno(), select.POLLIN)
        ended = bool(poll.poll(None if timeout_s is None else timeout_s * 1000))
        if not ended:
            process.send_signal(pidfd, 9)
        _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if not ended:
        return None
    return code if code >= 0 else 128 - code


class AwaitStart(Step):
    """Everything is ready: wait until `start` connects to the container's start socket."""

    FIELDS = ("file",)
    file: str

    def execute(self, setup: Setup) -> None:
        setup.tell("ready")
        listener = _socket.socket(fileno=setup.files[self.file])
        number, _ = listener._accept()  # type: ignore[attr-defined]
        listener.detach()
        if setup.channel is not None:
            setup.channel.close()
        setup.channel = Fd(number)
        if number < 0:
            raise StartFailure(self.name, 0, "nobody started it", 128)
