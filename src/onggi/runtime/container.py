"""The life of a container under the OCI command line: create, start, state, kill, delete, exec (runtime.md)."""

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from onggi import jsontext
from onggi.errors import Conflict, InvalidParameter, NotFound, System, Unsupported
from onggi.linux import counters, message, process
from onggi.linux.cgroup import Cgroup
from onggi.linux.fd import Fd
from onggi.oci import spec as oci
from onggi.oci.root import DirectoryRoot
from onggi.runtime import bundle as bundles
from onggi.runtime import hooks, init, join, resources
from onggi.runtime.bundle import State, StateDirectory
from onggi.runtime.host import probe
from onggi.runtime.init import Child, StartFailure
from onggi.runtime.plan import plan, plan_exec

STOPPED, CREATED, RUNNING, PAUSED = "stopped", "created", "running", "paused"
Console = Callable[[Fd], None]
"""Takes the pty's master, and the duty to close it."""
_GROUPS = "/onggi-runtime"
"""Above the control groups of containers whose config.json names none."""
_EXEC_PREFIX = "exec failed: "
_FAILED = "unable to start container process: error during container init: "


class CannotStart(System):
    """The program was not reached, or not found; the sentence is runc's."""

    def __init__(self, failure: StartFailure, prefix: str) -> None:
        super().__init__(prefix + failure.text)


class Container:
    """One container, by its ID below a runtime's root."""

    def __init__(self, root: Path, id: str) -> None:
        self.directory = StateDirectory(root, id)
        self.id = id

    def create(self, bundle: Path, *, console: Console | None = None, pid_file: Path | None = None) -> int:
        """Make everything but start the program; the pid. Raises Conflict, InvalidParameter, CannotStart."""
        text = bundles.read_config(bundle / "config.json")
        spec = self._prepared(oci.decode(text), bundle)
        if spec.process is None or spec.linux is None:
            raise InvalidParameter("process must be specified")
        if spec.process.terminal and console is None:
            raise InvalidParameter("cannot allocate tty if runc will detach without setting console socket")
        if console is not None and not spec.process.terminal:
            raise InvalidParameter("cannot use console socket if runc will not detach or allocate tty")
        host = probe()
        compiled = plan(spec, host, self._root(spec, bundle), wait=True)
        self.directory.create()
        try:
            child = self._spawn(compiled.data(), spec, bundle)
            with child:
                if child.console is not None and console is not None:
                    console(child.console)
                child.console = None
                state = State(
                    id=self.id,
                    pid=child.pid,
                    start_time=child.start_time,
                    boot_id=bundles.boot_id(),
                    bundle=str(bundle.resolve()),
                    created=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
                    cgroup=spec.linux.cgroups_path,
                )
                self.directory.write(state, msgspec.json.encode(spec))
                if pid_file is not None:
                    _write_pid(pid_file, child.pid)
            child.pidfd.close()
        except BaseException:
            self.directory.remove()
            _tidy()
            raise
        return child.pid

    def start(self) -> None:
        """Let the program run. Raises Conflict unless the container is created and not started."""
        state = self.directory.read()
        status = self.status(state)
        if status != CREATED:
            raise Conflict(
                "cannot start a container that has stopped"
                if status == STOPPED
                else "cannot start an already running container"
            )
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            try:
                with Fd(os.open(self.directory.path, os.O_PATH | os.O_DIRECTORY)) as here:
                    # A socket's path is limited to 108 bytes; the root may be long.
                    connection.connect(f"/proc/self/fd/{here.fileno()}/start.sock")
            except (FileNotFoundError, ConnectionRefusedError) as error:
                raise Conflict("cannot start a container that has stopped") from error
            self._await_program(connection.fileno(), state)
        self.directory.started()
        spec = self.directory.config()
        if spec.hooks is not None and spec.hooks.poststart:
            hooks.run(
                "poststart",
                spec.hooks.poststart,
                self._hook_state(spec, RUNNING, state.pid, state.bundle),
                state.bundle,
            )

    def status(self, state: State | None = None) -> str:
        """One of the specification's words, or `paused`."""
        state = state or self.directory.read()
        if not _alive(state):
            return STOPPED
        if self.directory.socket.exists():
            return CREATED
        if state.cgroup and _frozen(Cgroup(state.cgroup)):
            return PAUSED
        return RUNNING

    def describe(self) -> dict[str, object]:
        """The state object of runtime.md, with runc's further members."""
        state = self.directory.read()
        status = self.status(state)
        spec = self.directory.config()
        rootfs = str((Path(state.bundle) / spec.root.path).resolve()) if spec.root is not None else ""
        return {
            "ociVersion": oci.VERSION,
            "id": state.id,
            "pid": 0 if status == STOPPED else state.pid,
            "status": status,
            "bundle": state.bundle,
            "rootfs": rootfs,
            "created": state.created,
            "annotations": spec.annotations,
            "owner": state.owner,
        }

    def kill(self, number: int, *, everything: bool = False) -> None:
        """Send a signal. Raises Conflict when the container has stopped."""
        state = self.directory.read()
        if everything and state.cgroup:
            for pid in Cgroup(state.cgroup).pids():
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            return
        if not _alive(state):
            raise Conflict("container not running")
        try:
            with Fd(os.pidfd_open(state.pid)) as pidfd:
                if _alive(state):
                    process.send_signal(pidfd, number)
        except ProcessLookupError as error:
            raise Conflict("container not running") from error
        if number == 9 and state.cgroup and _frozen(Cgroup(state.cgroup)):
            Cgroup(state.cgroup).thaw()

    def delete(self, *, force: bool = False) -> None:
        """Remove what `create` made. Raises Conflict while it runs, unless `force`."""
        try:
            state = self.directory.read()
        except NotFound:
            if not force:
                raise
            if self.directory.path.exists():
                self.directory.remove()  # a `create` was killed half-way
            return
        status = self.status(state)
        if status in {RUNNING, PAUSED} and not force:
            raise Conflict(f"cannot delete container {self.id} that is not stopped: {status}")
        if status != STOPPED:
            self._end(state)
        if state.cgroup:
            group = Cgroup(state.cgroup)
            group.kill()
            group.delete()
            _tidy()
        spec = self.directory.config()
        self.directory.remove()
        if spec.hooks is not None and spec.hooks.poststop:
            hooks.run("poststop", spec.hooks.poststop, self._hook_state(spec, STOPPED, 0, state.bundle), state.bundle)

    def exec(self, wanted: oci.Process, *, console: Console | None = None, pid_file: Path | None = None) -> Child:
        """Run one more process in it; the caller's child. Raises Conflict unless it runs, CannotStart."""
        state = self.directory.read()
        status = self.status(state)
        if status not in {RUNNING, CREATED}:
            raise Conflict(f"cannot exec in a {status} container")
        if wanted.terminal and console is None:
            raise InvalidParameter("cannot allocate tty if runc will detach without setting console socket")
        compiled = plan_exec(wanted, self.directory.config(), probe())
        with Fd(os.pidfd_open(state.pid)) as pidfd:
            if not _alive(state):
                raise Conflict("cannot exec in a stopped container")
            files = {"pidfd": pidfd.fileno(), "stdin": 0, "stdout": 1, "stderr": 2}
            try:
                child = join.spawn(_as_sent(compiled.data()), files)
            except StartFailure as failure:
                raise CannotStart(failure, _EXEC_PREFIX + "unable to start container process: ") from failure
        with child:
            if child.console is not None and console is not None:
                console(child.console)
                child.console = None
            if pid_file is not None:
                _write_pid(pid_file, child.pid)
        return child

    def pause(self) -> None:
        if self.status() not in {RUNNING, CREATED}:
            raise Conflict("container not running")
        self._group().freeze()

    def resume(self) -> None:
        if self.status() != PAUSED:
            raise Conflict("container not paused")
        self._group().thaw()

    def pids(self) -> list[int]:
        return self._group().pids()

    def update(self, limits: oci.LinuxResources) -> None:
        self._group().apply(resources.writes(limits, probe()))

    def counters(self) -> counters.Counters:
        return counters.read(self._group())

    def _await_program(self, connection: int, state: State) -> None:
        """Answer init until its program runs (the connection ends). Raises CannotStart."""
        while (received := message.receive(connection)) is not None:
            words = jsontext.loads(received.payload)
            if words[0] == "failed":
                self.directory.started()
                raise CannotStart(StartFailure.load(words[1]), _FAILED)
            answer = _Hooks(self.id, self.directory.config(), state.bundle).state(words[1], state.pid)
            message.send(connection, jsontext.dumps(["go", answer]).encode())

    # --- parts ----------------------------------------------------------------------------------------------------

    def _group(self) -> Cgroup:
        state = self.directory.read()
        if not state.cgroup:
            raise Unsupported(f"container {self.id} has no control group")
        return Cgroup(state.cgroup)

    def _prepared(self, spec: oci.Spec, bundle: Path) -> oci.Spec:
        """The spec with what the command line decides: the control group's path, absolute paths of sources."""
        linux = spec.linux or oci.Linux()
        path = linux.cgroups_path or f"{_GROUPS}/{self.id}"
        if ":" in path and "/" not in path:
            raise Unsupported(f"cgroupsPath {path!r} is for systemd; a path is needed, as without --systemd-cgroup")
        path = "/" + path.strip("/")
        try:
            Cgroup(path)
        except ValueError as error:
            raise InvalidParameter(f"invalid cgroupsPath {linux.cgroups_path!r}") from error
        mounts = tuple(
            msgspec.structs.replace(mount, source=str(bundle.resolve() / mount.source))
            if mount.source and not mount.source.startswith("/") and _is_bind(mount)
            else mount
            for mount in spec.mounts
        )
        return msgspec.structs.replace(
            spec, mounts=mounts, linux=msgspec.structs.replace(linux, cgroups_path=path), process=spec.process
        )

    @staticmethod
    def _root(spec: oci.Spec, bundle: Path) -> DirectoryRoot:
        if spec.root is None:
            raise InvalidParameter("root must be specified")
        return DirectoryRoot(str((bundle / spec.root.path).resolve()))

    def _spawn(self, steps: list[object], spec: oci.Spec, bundle: Path) -> Child:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
            Fd(os.open(self.directory.path, os.O_PATH | os.O_DIRECTORY)) as here,
        ):
            listener.bind(f"/proc/self/fd/{here.fileno()}/start.sock")
            listener.listen(1)
            files = {"start": listener.fileno(), "stdin": 0, "stdout": 1, "stderr": 2}
            try:
                return init.spawn(_as_sent(steps), files, hooks=_Hooks(self.id, spec, str(bundle.resolve())))
            except StartFailure as failure:
                raise CannotStart(failure, _FAILED) from failure

    def _hook_state(self, spec: oci.Spec, status: str, pid: int, bundle: str) -> bytes:
        return hooks.state_text(self.id, status, pid, bundle, spec.annotations)

    def _end(self, state: State) -> None:
        """Kill it and wait until its first process is gone."""
        if state.cgroup:
            Cgroup(state.cgroup).kill()
        try:
            with Fd(os.pidfd_open(state.pid)) as pidfd:
                if _alive(state):
                    process.send_signal(pidfd, 9)
        except ProcessLookupError:
            return
        if state.cgroup:
            Cgroup(state.cgroup).wait_empty()


class _Hooks(init.Hooks):
    """The hooks of a container that is being created."""

    def __init__(self, id: str, spec: oci.Spec, bundle: str) -> None:
        self._id = id
        self._spec = spec
        self._bundle = bundle

    def run(self, kind: str, pid: int) -> None:
        found = self._spec.hooks or oci.Hooks()
        state = self.state(kind, pid).encode()
        try:
            hooks.run("prestart", found.prestart, state, self._bundle)
            hooks.run(kind, found.create_runtime, state, self._bundle)
        except System as error:
            raise ValueError(str(error)) from error

    def state(self, kind: str, pid: int) -> str:
        status = CREATED if kind == "startContainer" else "creating"
        return hooks.state_text(self._id, status, pid, self._bundle, self._spec.annotations).decode()


def _tidy() -> None:
    """No group of ours stays when the last container has gone."""
    Cgroup(_GROUPS).delete_unused()


def _alive(state: State) -> bool:
    """The recorded process is there, and is not another one that got its pid since."""
    if state.boot_id != bundles.boot_id():
        return False
    try:
        if process.start_time(state.pid) != state.start_time:
            return False
        text = Path(f"/proc/{state.pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text[text.rindex(")") + 2] not in {"Z", "X"}


def _frozen(group: Cgroup) -> bool:
    try:
        return group.frozen
    except FileNotFoundError:
        return False


def _is_bind(mount: oci.Mount) -> bool:
    return mount.type == "bind" or "bind" in mount.options or "rbind" in mount.options


def _as_sent(steps: list[object]) -> list[object]:
    """As the steps would be after a journey as JSON: lists for tuples, nothing shared."""
    found = jsontext.loads(jsontext.dumps(steps))
    assert isinstance(found, list)
    return found


def send_console(path: Path, master: Fd) -> None:
    """Hand the pty's master to whoever listens at `path` (as runc: one descriptor, a name as data)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        socket.send_fds(connection, [b"/dev/ptmx"], [master.fileno()])
    master.close()


def _write_pid(path: Path, pid: int) -> None:
    """Atomically: who waits for the file never reads half of it."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(str(pid), encoding="ascii")
    unfinished.replace(path)
