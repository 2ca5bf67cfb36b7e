"""`onggi-runtime`: the command line that Docker, containerd and Podman expect of an OCI runtime (as runc's).

Errors go to stderr and, with `--log`, into the log as the last line, where containerd looks for them.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import msgspec

import onggi
from onggi.errors import InvalidParameter, OnggiError, Unsupported
from onggi.linux import capability, process
from onggi.linux.counters import Counters
from onggi.linux.fd import Fd
from onggi.linux.interpreter import is_sealed, sealed_interpreter
from onggi.oci import spec as oci
from onggi.runtime import bundle, foreground, mount_options, seccomp_compiler, spec_template
from onggi.runtime.container import Console, Container, send_console
from onggi.runtime.init import Child

_ENTERING = frozenset({"create", "run", "exec"})
"""Commands whose process, or a fork of it, enters a container: only from the sealed copy."""
_FAILED = 1


def main(arguments: Sequence[str]) -> int:
    """Carry out one command; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.systemd_cgroup:
            raise Unsupported("--systemd-cgroup is not offered: control groups are made in the file system")
        if options.command in _ENTERING and not is_sealed():
            _run_sealed(arguments)
        process.prctl(process.PR_SET_DUMPABLE, 0)  # inherited by what enters a container, until it executes a program
        code = options.run(options)
        assert isinstance(code, int)
        return code
    except OnggiError as error:
        _report(options, str(error))
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        _report(options, f"{options.command}:{where} {error.strerror}")
    return _FAILED


def _run_sealed(arguments: Sequence[str]) -> NoReturn:
    """Execute ourselves again, from a copy of Python that a container cannot write (CVE-2019-5736)."""
    copy = sealed_interpreter()
    os.set_inheritable(copy.fileno(), True)  # Python opens its program again while it starts
    boot = (
        f"import os, sys; os.close({copy.fileno()}); sys.path[:] = {sys.path!r}; "
        "from onggi.runtime.oci_cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [os.path.realpath(sys.executable), "-I", "-S", "-c", boot, *arguments]
    os.execve(f"/proc/self/fd/{copy.fileno()}", command, dict(os.environ))


def _report(options: argparse.Namespace, words: str) -> None:
    if options.log and options.log != "/dev/stderr":
        entry = {"level": "error", "msg": words, "time": datetime.now(UTC).isoformat(timespec="seconds")}
        line = json.dumps(entry) if options.log_format == "json" else " ".join(f"{k}={v!r}" for k, v in entry.items())
        with Path(options.log).open("a", encoding="utf-8") as log:
            log.write(line + "\n")
    print(f"onggi-runtime: {words}", file=sys.stderr)


# --- commands ---------------------------------------------------------------------------------------------------------


def _create(options: argparse.Namespace) -> int:
    _container(options).create(Path(options.bundle), console=_console(options), pid_file=_path(options.pid_file))
    return 0


def _start(options: argparse.Namespace) -> int:
    _container(options).start()
    return 0


def _run(options: argparse.Namespace) -> int:
    container = _container(options)
    masters: list[Fd] = []
    console = _console(options)
    if console is None and not options.detach:
        console = masters.append if _wants_terminal(Path(options.bundle)) else None
    pid = container.create(Path(options.bundle), console=console, pid_file=_path(options.pid_file))
    try:
        with Fd(os.pidfd_open(pid)) as pidfd:
            container.start()
            if options.detach:
                return 0
            child = Child(pid, pidfd, 0, None)
            code = foreground.wait(child, masters[0] if masters else None)
    except BaseException:
        container.delete(force=True)
        raise
    if not options.keep:
        container.delete(force=True)
    return code


def _exec(options: argparse.Namespace) -> int:
    container = _container(options)
    wanted = _process(options, container)
    masters: list[Fd] = []
    console = _console(options)
    if console is None and not options.detach and wanted.terminal:
        console = masters.append
    child = container.exec(wanted, console=console, pid_file=_path(options.pid_file))
    if options.detach:
        child.pidfd.close()
        return 0
    with child.pidfd:
        return foreground.wait(child, masters[0] if masters else None)


def _process(options: argparse.Namespace, container: Container) -> oci.Process:
    """What `exec` shall run: a whole process object, or the container's own with changes."""
    if options.process:
        return oci.decode_process(Path(options.process).read_bytes())
    if not options.arguments:
        raise InvalidParameter("process args cannot be empty")
    spec = container.directory.config()
    base = spec.process or oci.Process(cwd="/")
    user = base.user
    if options.user:
        uid, _, gid = options.user.partition(":")
        if not uid.isdecimal() or (gid and not gid.isdecimal()):
            raise InvalidParameter(f"invalid user {options.user!r}: UID[:GID]")
        user = oci.User(uid=int(uid), gid=int(gid or 0))
    sets = base.capabilities or oci.Capabilities()
    if options.cap:
        unknown = [name for name in options.cap if name not in capability.NUMBERS]
        if unknown:
            raise InvalidParameter(f"invalid capability: {unknown[0]!r}")
        more = tuple(options.cap)
        sets = oci.Capabilities(
            bounding=(*sets.bounding, *more), effective=(*sets.effective, *more), permitted=(*sets.permitted, *more),
            inheritable=sets.inheritable, ambient=sets.ambient,
        )  # fmt: skip
    return msgspec.structs.replace(
        base,
        args=tuple(options.arguments),
        cwd=options.cwd or base.cwd,
        env=(*base.env, *options.env),
        terminal=options.tty,
        user=user,
        capabilities=sets,
        no_new_privileges=base.no_new_privileges or options.no_new_privs,
    )


def _state(options: argparse.Namespace) -> int:
    print(json.dumps(_container(options).describe(), indent=2))
    return 0


def _kill(options: argparse.Namespace) -> int:
    _container(options).kill(_signal(options.signal), everything=options.all)
    return 0


def _delete(options: argparse.Namespace) -> int:
    _container(options).delete(force=options.force)
    return 0


def _pause(options: argparse.Namespace) -> int:
    _container(options).pause()
    return 0


def _resume(options: argparse.Namespace) -> int:
    _container(options).resume()
    return 0


def _list(options: argparse.Namespace) -> int:
    found = [Container(options.root, id).describe() for id in bundle.known(options.root)]
    if options.quiet:
        for state in found:
            print(state["id"])
    elif options.format == "json":
        print(json.dumps(found))
    else:
        print(f"{'ID':<20} {'PID':<8} {'STATUS':<10} {'BUNDLE':<30} {'CREATED':<32} OWNER")
        for state in found:
            row = (state["id"], state["pid"], state["status"], state["bundle"], state["created"], state["owner"])
            print("{:<20} {:<8} {:<10} {:<30} {:<32} {}".format(*row).rstrip())
    return 0


def _ps(options: argparse.Namespace) -> int:
    pids = _container(options).pids()
    if options.format == "json":
        print(json.dumps(pids))
        return 0
    print(f"{'PID':>8} CMD")
    for pid in pids:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        print(f"{pid:>8} {words}")
    return 0


def _update(options: argparse.Namespace) -> int:
    text = sys.stdin.buffer.read() if options.resources == "-" else Path(options.resources).read_bytes()
    _container(options).update(oci.decode_resources(text))
    return 0


def _events(options: argparse.Namespace) -> int:
    if not options.stats:
        raise Unsupported("events without --stats are not offered")
    print(json.dumps({"type": "stats", "id": options.id, "data": _stats(_container(options).counters())}))
    return 0


def _stats(counters: Counters) -> dict[str, Any]:
    """As runc's types/events.go names them."""
    return {
        "cpu": {
            "usage": {
                "total": counters.cpu_total_ns,
                "percpu": counters.cpu_per_cpu_ns,
                "kernel": counters.cpu_kernel_ns,
                "user": counters.cpu_user_ns,
            },
            "throttling": {
                "periods": counters.cpu_periods,
                "throttledPeriods": counters.cpu_throttled_periods,
                "throttledTime": counters.cpu_throttled_ns,
            },
        },
        "memory": {
            "usage": {
                "limit": counters.memory_limit or (1 << 63) - 4096,
                "usage": counters.memory_usage,
                "max": counters.memory_peak,
                "failcnt": counters.memory_failures,
            },
            "raw": counters.memory_stat,
        },
        "pids": {"current": counters.pids, "limit": counters.pids_limit or 0},
        "blkio": {
            name: [{"major": a, "minor": b, "op": op, "value": value} for a, b, op, value in rows]
            for name, rows in (
                ("ioServiceBytesRecursive", counters.block_bytes),
                ("ioServicedRecursive", counters.block_operations),
            )
        },
    }


def _features(options: argparse.Namespace) -> int:
    print(
        json.dumps(
            {
                "ociVersionMin": "1.0.0",
                "ociVersionMax": oci.VERSION,
                "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
                "mountOptions": sorted(mount_options.known()),
                "linux": {
                    "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
                    "capabilities": list(capability.NAMES),
                    "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": True},
                    "seccomp": {
                        "enabled": True,
                        "actions": seccomp_compiler.ACTIONS,
                        "operators": seccomp_compiler.OPERATORS,
                        "archs": seccomp_compiler.ARCHITECTURES,
                    },
                    "apparmor": {"enabled": True},
                    "selinux": {"enabled": False},
                    "intelRdt": {"enabled": False},
                    "mountExtensions": {"idmap": {"enabled": False}},
                },
            },
            indent=2,
        )
    )
    return 0


def _spec(options: argparse.Namespace) -> int:
    path = Path(options.bundle) / "config.json"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(spec_template.SPEC, indent="\t") + "\n")
    except FileExistsError as error:
        raise InvalidParameter("File config.json exists. Remove it first") from error
    return 0


# --- the command line -------------------------------------------------------------------------------------------------


def _container(options: argparse.Namespace) -> Container:
    return Container(options.root, options.id)


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _console(options: argparse.Namespace) -> Console | None:
    return partial(send_console, Path(options.console_socket)) if options.console_socket else None


def _wants_terminal(directory: Path) -> bool:
    wanted = oci.decode(bundle.read_config(directory / "config.json")).process
    return wanted is not None and wanted.terminal


def _signal(text: str) -> int:
    name = text.upper()
    if text.isdecimal():
        number = int(text)
    else:
        found = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
        if not isinstance(found, signal.Signals):
            raise InvalidParameter(f"unknown signal {text!r}")
        number = int(found)
    if not 0 < number <= 64:
        raise InvalidParameter(f"unknown signal {text!r}")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="onggi-runtime", description="Run containers according to the OCI runtime specification.",
        allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    version = f"onggi-runtime version {onggi.__version__}\nspec: {oci.VERSION}"
    parser.add_argument("-v", "--version", action="version", version=version)
    parser.add_argument("--root", type=Path, default=bundle.DEFAULT_ROOT, help="directory of container state")
    parser.add_argument("--log", default="", metavar="FILE", help="append errors to this file")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument("--debug", action="store_true", help="accepted; there is no more to say")
    parser.add_argument("--systemd-cgroup", action="store_true", help="not offered")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, words: str, *, takes_id: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=words, description=words, allow_abbrev=False)
        added.set_defaults(run=run)
        if takes_id:
            added.add_argument("id", metavar="CONTAINER")
        return added

    def starts(added: argparse.ArgumentParser) -> None:
        added.add_argument("--console-socket", default="", metavar="PATH", help="socket that gets the pty's master")
        added.add_argument("--pid-file", default="", metavar="PATH")

    for name, run, words in (
        ("create", _create, "Create a container."),
        ("run", _run, "Create and start a container."),
    ):
        added = command(name, run, words)
        added.add_argument("-b", "--bundle", default=".", metavar="DIRECTORY")
        starts(added)
        if name == "run":
            added.add_argument("-d", "--detach", action="store_true")
            added.add_argument("--keep", action="store_true", help="do not delete the container when it has ended")
    command("start", _start, "Start a created container.")
    command("state", _state, "Show the state of a container.")
    added = command("kill", _kill, "Send a signal to a container.")
    added.add_argument("signal", nargs="?", default="SIGTERM")
    added.add_argument("-a", "--all", action="store_true", help="to every process of it")
    added = command("delete", _delete, "Delete a stopped container.")
    added.add_argument("-f", "--force", action="store_true", help="kill it first")
    added = command("exec", _exec, "Run a process in a running container.")
    added.add_argument("arguments", nargs=argparse.REMAINDER, metavar="COMMAND")
    starts(added)
    added.add_argument("-p", "--process", default="", metavar="FILE", help="process object of the specification")
    added.add_argument("-d", "--detach", action="store_true")
    added.add_argument("-t", "--tty", action="store_true")
    added.add_argument("-u", "--user", default="", metavar="UID[:GID]")
    added.add_argument("-e", "--env", action="append", default=[], metavar="NAME=VALUE")
    added.add_argument("-c", "--cap", action="append", default=[], metavar="CAPABILITY")
    added.add_argument("--cwd", default="")
    added.add_argument("--no-new-privs", action="store_true")
    command("pause", _pause, "Stop every process of a container for a while.")
    command("resume", _resume, "Let a paused container go on.")
    added = command("list", _list, "List containers.", takes_id=False)
    added.add_argument("-f", "--format", choices=("table", "json"), default="table")
    added.add_argument("-q", "--quiet", action="store_true")
    added = command("ps", _ps, "List the processes of a container.")
    added.add_argument("-f", "--format", choices=("table", "json"), default="table")
    added = command("update", _update, "Change the limits of a container.")
    added.add_argument("-r", "--resources", required=True, metavar="FILE", help="resources object, or - for stdin")
    added = command("events", _events, "Show statistics of a container.")
    added.add_argument("--stats", action="store_true")
    command("features", _features, "Show what this runtime offers.", takes_id=False)
    added = command("spec", _spec, "Write a config.json to begin with.", takes_id=False)
    added.add_argument("-b", "--bundle", default=".", metavar="DIRECTORY")
    return parser


def run_and_exit(arguments: Sequence[str]) -> NoReturn:
    """The program `onggi-runtime`."""
    sys.exit(main(arguments))
