"""The start of a container or exec that another OCI runtime carries out. Runs in the starter, in place of `init.spawn`.

    shim ── starter ── runc create ── runc init      the shim is the subreaper: when `runc create` has ended,
                   └── runc start                    the container's first process is the shim's own child

The root is mounted in a mount namespace of the starter's, which ends with it: from then on only the container holds the
mount, and nothing is left in the host's table, whoever is killed. Stdio, log and exit status stay with the shim.
"""

import _socket
import os

from onggi import jsontext
from onggi.linux import mount, process, tree
from onggi.linux.fd import Fd
from onggi.runtime import users
from onggi.runtime.command import Command, CommandFailed
from onggi.runtime.init import Child
from onggi.runtime.mount_steps import OpenSource
from onggi.runtime.steps import Setup, StartFailure, lower

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

STEP = "Delegate"
"""The step that a failure names: `failure.DELEGATE`."""
_CONSOLE = "console.sock"
_NOT_FOUND = ("executable file not found", "no such file or directory", "not a directory")
_CANNOT_RUN = ("permission denied", "is a directory")


def spawn(order: "dict[str, Any]", files: "dict[str, int]") -> Child:
    """Carry out an order of `runtime.foreign`. `files`: as for `init.spawn`.

    Raises StartFailure. Nothing runs then; the bundle is the daemon's to remove: here the root is still mounted in it.
    """
    command = Command(*order["command"])
    os.chdir(command.bundle)
    try:
        if order["kind"] == "exec":
            return _execute(command, order, files)
        return _create(command, order, files)
    except CommandFailed as failure:
        raise _failure(str(failure)) from failure
    except users.InvalidUser as error:
        raise StartFailure("ResolveUser", 22, str(error), 128) from error
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        raise StartFailure(STEP, error.errno or 0, f"{command.program}:{where} {lower(error)}", 128) from error


def _create(command: Command, order: "dict[str, Any]", files: "dict[str, int]") -> Child:
    with open("config.json", encoding="utf-8") as file:
        config = jsontext.loads(file.read())
    process.unshare(process.CLONE_NEWNS)
    _keep_mounts_to_ourselves()
    with _root(order["root"]) as root:
        mount.move_mount(root, mount.AT_FDCWD, path="rootfs")
        _resolve_user(root, config["process"])
    for number, entry in enumerate(config.get("mounts", ())):
        if _is_of_another(entry.get("source", "")):
            entry["source"] = _brought_over(entry["source"], number)
    if "network" in files:
        for namespace in config["linux"]["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = f"/proc/{os.getpid()}/fd/{files['network']}"
    _write("config.json", config)

    def create(*options: str, streams: "tuple[int, int, int] | None") -> None:
        command.run("create", "--bundle", command.bundle, "--pid-file", f"{command.bundle}/pid", *options, command.id,
                    streams=streams)  # fmt: skip

    child = _begin(create, ".", files, terminal=order["terminal"])
    with child:
        command.run("start", command.id)
    return child


def _execute(command: Command, order: "dict[str, Any]", files: "dict[str, int]") -> Child:
    name = f"exec-{order['exec']}"
    os.mkdir(name, 0o700)
    try:
        with Fd(os.open(f"/proc/{order['pid']}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
            _resolve_user(root, order["process"])
        _write(f"{name}/process.json", order["process"])

        def execute(*options: str, streams: "tuple[int, int, int] | None") -> None:
            directory = f"{command.bundle}/{name}"
            command.run("exec", "--detach", "--process", f"{directory}/process.json", "--pid-file", f"{directory}/pid",
                        *options, command.id, streams=streams)  # fmt: skip

        return _begin(execute, name, files, terminal=order["terminal"])
    finally:
        with Fd(os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as bundle:
            tree.remove(bundle, name)


def _begin(start: "Callable[..., None]", directory: str, files: "dict[str, int]", *, terminal: bool) -> Child:
    """Let the runtime make the process; what it has become. The pid file and the console's socket are in `directory`."""
    console = None
    if terminal:
        # By a short, relative name: a socket's address holds 107 bytes. The runtime is in the same directory.
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            listener.bind(f"{directory}/{_CONSOLE}")
            listener.listen(1)
            listener.setblocking(False)
            start("--console-socket", f"{directory}/{_CONSOLE}", streams=None)
            console = _sent_console(listener)
        finally:
            listener.close()
    else:
        start(streams=(files["stdin"], files["stdout"], files["stderr"]))
    with open(f"{directory}/pid", encoding="ascii") as file:
        pid = int(file.read())
    return Child(pid, Fd(os.pidfd_open(pid)), process.start_time(pid), console)


def _sent_console(listener: _socket.socket) -> Fd:
    """The terminal's master, which the runtime has sent before it ended."""
    try:
        number, _ = listener._accept()  # type: ignore[attr-defined]  # typeshed knows only socket.socket
        connection = _socket.socket(fileno=number)
        try:
            _, ancillary, _, _ = connection.recvmsg(4096, _socket.CMSG_LEN(4), _socket.MSG_CMSG_CLOEXEC)
        finally:
            connection.close()
    except BlockingIOError:
        ancillary = []
    if not ancillary:
        raise CommandFailed("the runtime has sent no terminal")
    return Fd(int.from_bytes(ancillary[0][2][:4], "little"))


def _root(root: "list[Any]") -> Fd:
    kind, *values = root
    if kind == "overlay":
        lower_directories, upper, work, one_by_one = values
        return mount.overlay(lower_directories, upper, work, one_by_one=one_by_one)
    with Fd(os.open(values[0], os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)) as directory:
        return mount.open_tree(directory, recursive=True)


def _keep_mounts_to_ourselves() -> None:
    """Make the mount that the bundle lies on private in this namespace: what is mounted there is not seen outside.

    That one only: others keep their peers, so that a volume can share its mounts with the host.
    """
    with Fd(os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as here:
        with open(f"/proc/self/fdinfo/{here.fileno()}", encoding="ascii") as file:
            number = next(line.split()[1] for line in file if line.startswith("mnt_id:"))
    with open("/proc/self/mountinfo", "rb") as table:
        for line in table:
            fields = line.split()
            if fields[0] == number.encode("ascii"):
                place = os.fsdecode(fields[4].decode("unicode_escape").encode("latin-1"))
                mount.set_attributes(mount.AT_FDCWD, path=place, propagation=mount.MS_PRIVATE)
                return


def _is_of_another(source: str) -> bool:
    words = source.split("/")
    return words[1:2] == ["proc"] and words[3:4] == ["root"] and words[2].isdecimal()


def _brought_over(source: str, number: int) -> str:
    """A mount of another container's, copied into our namespace: a runtime cannot bind it from there."""
    setup = Setup({})
    with Fd(os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as bundle:
        OpenSource(number, source, True).execute(setup)
        os.fchdir(bundle.fileno())  # who joins a mount namespace finds itself in its root
    place = f"mount-{number}"
    os.mkdir(place, 0o700)
    with setup.sources[number] as found:
        mount.move_mount(found, mount.AT_FDCWD, path=place)
    return f"{os.getcwd()}/{place}"


def _resolve_user(root: Fd, document: "dict[str, Any]") -> None:
    """Put numbers in the place of Docker's user text; the names are looked up beneath the container's root only."""
    user = document.setdefault("user", {})
    name, groups = user.pop("username", ""), user.pop("additionalGroups", [])
    if not name and not groups:
        return
    account = users.resolve(root, name, groups)
    user.update(uid=account.uid, gid=account.gid, additionalGids=account.groups)


def _write(path: str, document: "dict[str, Any]") -> None:
    """Whole or not at all."""
    descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(jsontext.dumps(document))
    os.rename(f"{path}.new", path)


def _failure(text: str) -> StartFailure:
    """What a runtime said, with the exit status that Docker reads out of the words (moby: daemon/errors.go)."""
    words = text.lower()
    if any(phrase in words for phrase in _CANNOT_RUN):
        return StartFailure(STEP, 13, text, 126)
    if any(phrase in words for phrase in _NOT_FOUND):
        return StartFailure(STEP, 2, text, 127)
    return StartFailure(STEP, 5, text, 128)
