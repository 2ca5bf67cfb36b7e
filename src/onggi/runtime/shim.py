"""The shim: parent of one container's init, or of one exec'd process. Forked by the launcher, it outlives the daemon.

Between daemon and shim, each message a JSON list over SEQPACKET, descriptors beside it:

    daemon                                        shim
      order (`_Order`) newline plan ────────────►   by the launcher's socket: whichever idle shim takes it
        [connection, *files, *clients]              prepares stdio, log, socket; starts the program
                       ◄────────────────────────  ["started", pid, start_time, stamps] [pidfd]
                                                   or ["failed", step, errno, sentence, exit_status], then it ends
      ["attach", flags…] [client] ──────────────►
      ["resize", rows, columns] ────────────────►
      ["clear"] ────────────────────────────────►
                       ◄────────────────────────  ["cleared", errno or 0]     the log is empty
                       ◄────────────────────────  ["detached"]          a client used its detach keys
                       ◄────────────────────────  ["exited", code, oom_killed, finished_at_ns]
                       ◄────────────────────────  ["settled"]           the cgroup is gone, too
                       ◄────────────────────────  end of the connection: nothing of the container is touched any more

A daemon that was restarted connects to `shim.sock` in the container's or exec's directory and is told ["started", …] or the end;
the newest connection is the one that counts. Without any, the shim goes on all the same: the exit status is in
`status` before it is told. Clients that still have something to get are served after the end.
"""

import _signal
import _socket
import ctypes
import os
import select
import time

from onggi import jsontext
from onggi.linux import message, process
from onggi.linux.cgroup import Cgroup
from onggi.linux.fd import Fd
from onggi.runtime import init, starter
from onggi.runtime.client import Client
from onggi.runtime.logs.container_log import ContainerLog
from onggi.runtime.poll import IN, Poll
from onggi.runtime.stdio import Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.runtime.command import Command

SOCKET = "shim.sock"
STATUS = "status"
_NAME = ctypes.create_string_buffer(b"onggi-shim")
_REHEARSALS = 20
"""More than the 8 runs after which CPython 3.11 begins to specialise a function."""
_HANG_UP, _KILL = 1, 9
_GRACE_S = 10.0
"""Between the signal to a program whose clients have left and SIGKILL."""
_EMPTY_WAIT_MS = 10_000
"""How long killed processes are waited for; one in an uninterruptible call may take any time."""
_SO_PEERCRED_BYTES = 12


class _Order:
    """What the daemon asked for. The members of the JSON object have these names."""

    __slots__ = (
        "cgroup",  # its path, "" for an exec
        "clients",  # [stdin, stdout, stderr, framed, initial, received, detach keys]; their sockets come last
        "directory",  # of the container or exec, for socket and status
        "ends_with_client",  # an exec whose program is ended when its last client has left
        "files",  # names of the descriptors after the connection, for the plan
        "log",  # see onggi.runtime.request.Log.order; or null
        "open_stdin",
        "own_pids",  # the program is pid 1 of its own namespace: with it, all end
        "runtime",  # Command.data() of another OCI runtime, or null
        "size",  # [rows, columns] or null
        "spool",  # directory for what slow clients have not read
        "stdin_once",
        "terminal",
        "trace",
    )

    def __init__(self, values: "dict[str, Any]") -> None:
        for name in self.__slots__:
            setattr(self, name, values[name])

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> "Any": ...


def serve(orders: int, taken: int, launcher: int) -> None:
    """Wait for an order, carry it out, return when nothing is left to do.

    `orders`: the socket shared with the launcher and its other idle shims. `taken`: a pipe on which the launcher is
    told that this one is idle no more. `launcher`: a pipe that ends when the launcher has died.
    """
    os.setsid()
    process.prctl(process.PR_SET_CHILD_SUBREAPER, 1)
    process.prctl(process.PR_SET_NAME, ctypes.addressof(_NAME))
    ready = starter.fork()
    idle = select.poll()
    idle.register(orders, IN)
    idle.register(launcher, IN)
    while True:
        idle.poll()
        try:
            received = message.receive(orders)
        except BlockingIOError:  # another shim was faster, or only the launcher's end has woken us
            if _ended(launcher):
                return
            continue
        if received is None:
            return
        break
    stamps = [time.monotonic_ns()]
    os.write(taken, os.getpid().to_bytes(4, "little"))
    for descriptor in (orders, taken, launcher):
        os.close(descriptor)
    header, _, plan = received.payload.partition(b"\n")
    order = _Order(jsontext.loads(header))
    shim = _Shim(received.descriptors[0], order)
    try:
        shim.start(order, plan, received.descriptors[1:], stamps, ready)
    except init.StartFailure as failure:
        shim.tell(["failed", *failure.data()])
        return
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        shim.tell(["failed", "shim", error.errno or 0, f"{error.strerror}{where}", 125])
        return
    del order, header, plan, received, stamps
    shim.watch()
    shim.end()
    shim.serve_clients()


def _ended(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, IN)
    return bool(poll.poll(0))


def rehearse() -> None:
    """Go through some starts without a program, in the launcher.

    Python writes into its own code and types as it runs (specialised instructions, caches of methods). What is written
    before the forks is shared by all shims: 0.2 MiB less for each, measured with CPython 3.11, and a faster start.
    """
    values: "dict[str, Any]" = dict.fromkeys(_Order.__slots__, False)
    file = {"format": "json", "path": "/dev/null", "max_size_bytes": None, "max_files": 1, "compress": False,
            "attributes": ""}  # fmt: skip
    log = {"file": file, "remote": None, "buffer_bytes": None}
    values.update(log=log, clients=[], files=[], size=None, cgroup="", directory="")
    payload = jsontext.dumps(values).encode("ascii")
    for _ in range(_REHEARSALS):
        daemon, connection = message.pair()
        channel, nobody = message.pair()
        with daemon, nobody:
            message.send(daemon, payload, [connection])
            received = message.receive(connection)
            assert received is not None
            order = _Order(jsontext.loads(received.payload))
            message.send(nobody, jsontext.dumps(["started", os.getpid(), 0]).encode("ascii"), [nobody])
            shim = _Shim(connection, order)
            shim.start(order, b"[]", [], [0], starter.Starter(channel))
            shim.ended(0)
            shim.end()
            for end in (nobody, daemon):
                heard = message.receive(end)
                assert heard is not None
                heard.close()
            received.close()


class _Shim:
    """One container or exec."""

    __slots__ = (
        "_cgroup",
        "_code",
        "_connection",
        "_directory",
        "_kill_at",
        "_listener",
        "_mounts",
        "_own_pids",
        "_pid",
        "_poll",
        "_runtime",
        "_spool",
        "_start_time",
        "_stdio",
        "_terminal",
        "_wake",
    )

    def __init__(self, connection: Fd, order: _Order) -> None:
        os.set_blocking(connection.fileno(), False)
        self._connection = connection
        self._directory: str = order.directory
        self._cgroup: str = order.cgroup
        self._own_pids: bool = order.own_pids
        self._spool: str = order.spool
        self._terminal: bool = order.terminal
        self._poll = Poll()
        self._listener: "_socket.socket | None" = None
        self._code: "int | None" = None
        self._mounts: "Fd | None" = None
        """Keeps the program's mount namespace until its end has been told: who lets go of the last one waits for it to be
        taken apart."""
        self._kill_at: "float | None" = None
        self._runtime: "Command | None" = None
        if order.runtime:
            from onggi.runtime.command import Command

            self._runtime = Command(*order.runtime)

    def start(
        self, order: _Order, plan: bytes, descriptors: "list[Fd]", stamps: "list[int]", ready: starter.Starter
    ) -> None:
        """Let the starter start the program, prepare everything else, tell the daemon. Raises StartFailure, OSError."""
        self._stdio = Stdio(
            self._poll,
            open_stdin=order.open_stdin,
            stdin_once=order.stdin_once,
            detached=self._detached,
            abandoned=self._abandoned if order.ends_with_client else None,
        )
        if order.log and order.log["remote"]:
            self._open_remote_log(order.log)  # its server is asked before the program runs
        named = dict(zip(order.files, descriptors, strict=False))
        files = {name: descriptor.fileno() for name, descriptor in named.items()}
        if not order.terminal:
            files.update(self._stdio.prepare())
        ready.ask(plan, files)
        stamps.append(time.monotonic_ns())
        try:
            if order.log and self._stdio.log is None:
                self._stdio.log = ContainerLog(order.log, self._poll)
            if order.directory:
                self._listen()
            self._wait_for_children()
        except OSError:
            ready.answer().destroy()
            if self._cgroup:
                Cgroup(self._cgroup).delete()
            raise
        child = ready.answer()
        stamps.append(time.monotonic_ns())
        self._pid = child.pid
        self._start_time = child.start_time
        for descriptor in named.values():
            descriptor.close()
        self._stdio.begin(-1 if child.console is None else child.console.take())
        if order.size:
            self._stdio.resize(*order.size)
        for client, flags in zip(descriptors[len(named) :], order.clients, strict=True):
            self._attach(client, flags)
        self.tell(["started", child.pid, child.start_time, stamps if order.trace else []], [child.pidfd])
        child.pidfd.close()
        if self._cgroup:
            try:
                self._mounts = Fd(os.open(f"/proc/{self._pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
            except OSError:
                pass  # it has ended already, or is not for us to see: then its end is heard of a little later
        self._poll.watch(self._connection.fileno(), IN, self._hear)
        if self._listener is not None:
            self._poll.watch(self._listener.fileno(), IN, self._accept)
        self._reap()  # those that ended before anybody listened

    def _open_remote_log(self, order: "dict[str, Any]") -> None:
        from onggi.runtime.logs.channel import RemoteRefused

        try:
            self._stdio.log = ContainerLog(order, self._poll)
        except RemoteRefused as refused:
            raise init.StartFailure("log", 0, refused.strerror or "", 128) from refused

    def watch(self) -> None:
        """Carry the streams and listen to the daemon until the program has ended."""
        while self._code is None:
            if self._kill_at is None:
                self._poll.turn()
            elif (left_s := self._kill_at - time.monotonic()) > 0:
                self._poll.turn(int(left_s * 1000) + 1)
            else:
                self._kill_at = None
                os.killpg(self._pid, _KILL)  # not reaped yet: the number is still its own

    def serve_clients(self) -> None:
        """Until those that read slowly have got everything."""
        while self._poll:
            self._poll.turn()

    # The program's end

    def _wait_for_children(self) -> None:
        """SIGCHLD wakes the loop: as the subreaper we get every orphan, not only the program."""
        ours, theirs = self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
        _signal.signal(_signal.SIGCHLD, _pass)
        self._poll.watch(ours, IN, self._child_ended)

    def _child_ended(self, descriptor: int, events: int) -> None:
        os.read(descriptor, 4096)
        self._reap()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._pid:
                signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
                self.ended(128 + signal if signal else os.WEXITSTATUS(status))
            elif self._stdio.log is not None:
                self._stdio.log.child_ended(pid, status)

    def ended(self, code: int) -> None:
        """The program has ended with this code."""
        self._code = code

    def end(self) -> None:
        """See to it that nothing of the container runs, complete log and status, tell the daemon, clean up."""
        finished_at_ns = time.time_ns()
        if self._cgroup:
            cgroup = Cgroup(self._cgroup)
            if not self._own_pids:
                cgroup.kill()
                cgroup.wait_empty(_EMPTY_WAIT_MS)
                self._reap()
            oom_killed = cgroup.oom_kills() > 0
            self._stdio.finish()
            self._write_status(oom_killed, finished_at_ns)
            self.tell(["exited", self._code, oom_killed, finished_at_ns])
            if self._mounts is not None:
                self._mounts.close()
            if self._runtime is not None:
                self._runtime.clear()
            self._delete(cgroup)
        else:
            # An exec: the daemon knows the end before the client sees it, and asks for the exit status.
            if self._directory:
                self._write_status(False, finished_at_ns)
            self.tell(["exited", self._code, False, finished_at_ns])
            self._stdio.finish()
        if self._listener is not None:
            self._poll.unwatch(self._listener.fileno())
            self._listener.close()
        _signal.set_wakeup_fd(-1)
        self._poll.unwatch(self._wake[0])
        for end in self._wake:
            os.close(end)
        self._hang_up()

    def _delete(self, cgroup: Cgroup) -> None:
        try:
            cgroup.delete()
        except OSError:
            return  # a process in it does not end: the daemon, not having heard "settled", takes over
        self.tell(["settled"])

    def _write_status(self, oom_killed: bool, finished_at_ns: int) -> None:
        """For an engine that is not there now. One that is hears it, though no status can be written: on a full disk."""
        try:
            self._put_status(oom_killed, finished_at_ns)
        except OSError:
            return

    def _put_status(self, oom_killed: bool, finished_at_ns: int) -> None:
        text = jsontext.dumps({"code": self._code, "oom_killed": oom_killed, "finished_at_ns": finished_at_ns})
        path = f"{self._directory}/{STATUS}"
        descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            # Not waited for to be on a disk, where the exec root lies on one: after a power cut nothing of it counts.
            os.write(descriptor, text.encode("ascii"))
        finally:
            os.close(descriptor)
        os.rename(f"{path}.new", path)

    # The daemon

    def _listen(self) -> None:
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        # By descriptor: the path may be longer than the 107 bytes of a socket's address.
        directory = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            listener.bind(f"/proc/self/fd/{directory}/{SOCKET}.new")
            listener.setblocking(False)
            listener.listen(4)
            # Who finds the name and nobody listening knows that the shim is dead.
            os.rename(f"{SOCKET}.new", SOCKET, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            os.close(directory)
        self._listener = listener

    def _accept(self, descriptor: int, events: int) -> None:
        assert self._listener is not None
        try:
            number, _ = self._listener._accept()  # type: ignore[attr-defined]  # typeshed knows only socket.socket
        except OSError:
            return  # it has gone again
        connection = Fd(number)
        socket = _socket.socket(fileno=number)
        credentials = socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _SO_PEERCRED_BYTES)
        socket.detach()
        if int.from_bytes(credentials[4:8], "little") != os.geteuid():
            connection.close()
            return
        os.set_blocking(number, False)
        self._hang_up()
        self._connection = connection
        self._poll.watch(number, IN, self._hear)
        with Fd(os.pidfd_open(self._pid)) as pidfd:
            self.tell(["started", self._pid, self._start_time, []], [pidfd])

    def tell(self, content: "list[Any]", descriptors: "list[Fd] | tuple[()]" = ()) -> None:
        if self._connection.closed:
            return
        try:
            message.send(self._connection, jsontext.dumps(content).encode("ascii"), descriptors)
        except OSError:
            # The daemon is dead, or has not read for hundreds of messages. It finds status and socket when it is back.
            self._hang_up()

    def _hang_up(self) -> None:
        if not self._connection.closed:
            self._poll.unwatch(self._connection.fileno())
            self._connection.close()

    def _hear(self, descriptor: int, events: int) -> None:
        try:
            heard = message.receive(descriptor)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            heard = None
        if heard is None:
            self._hang_up()
            return
        kind, *values = jsontext.loads(heard.payload)
        if kind == "attach":
            self._attach(heard.descriptors.pop(), values)
        elif kind == "resize":
            self._stdio.resize(*values)
        elif kind == "clear":
            self._clear_log()
        heard.close()

    def _clear_log(self) -> None:
        code = 0
        if self._stdio.log is not None:
            try:
                self._stdio.log.clear()
            except OSError as error:
                code = error.errno or 0
        self.tell(["cleared", code])

    def _detached(self) -> None:
        self.tell(["detached"])

    def _abandoned(self) -> None:
        """The last client has left: end the program as the end of a terminal does, and whatever it has in its group."""
        if self._code is None and self._kill_at is None:
            self._kill_at = time.monotonic() + _GRACE_S
            os.killpg(self._pid, _HANG_UP)

    def _attach(self, connection: Fd, flags: "list[Any]") -> None:
        stdin, stdout, stderr, framed, initial, received, detach_keys = flags
        client = Client(
            connection.take(),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            framed=framed,
            detach_keys=detach_keys.encode("latin-1") if self._terminal else b"",
            spool=self._spool,
        )
        self._stdio.attach(client, initial.encode("latin-1"), received.encode("latin-1"))


def _pass(number: int, frame: object) -> None:
    """The wake-up descriptor does the work; without a handler the signal would not write to it."""
