"""Steps about the process itself: what it may, who it is, what it has open, and what it runs (runtime-spec: Process)."""

import _signal
import fcntl
import os
import stat

from onggi.jsontext import dumps
from onggi.linux import capability, mount, process, seccomp, terminal
from onggi.linux.fd import Fd
from onggi.linux.path import RESOLVE_BENEATH, RESOLVE_NO_XDEV, make_directory, openat2
from onggi.runtime import users
from onggi.runtime.steps import Setup, StartFailure, Step, lower

_SIGNALS = frozenset(range(1, 65)) - {9, 19, 32, 33}
"""All but SIGKILL and SIGSTOP, and the two that the C library keeps for itself."""
_EXEC_FAILED = 255
"""What a container ends with whose program the kernel refused (as with runc)."""


class DieWithParent(Step):
    """Until the program runs, die when the shim does. `ResetSignals` takes this back: it must not outlive execve."""

    def execute(self, setup: Setup) -> None:
        process.prctl(process.PR_SET_PDEATHSIG, 9)


class HideFromTracers(Step):
    """Not dumpable until execve: who has no CAP_SYS_PTRACE over us opens nothing of ours in /proc (CVE-2016-9962)."""

    def execute(self, setup: Setup) -> None:
        process.prctl(process.PR_SET_DUMPABLE, 0)


class SetHostname(Step):
    FIELDS = ("hostname", "domainname")
    hostname: str
    domainname: str

    def execute(self, setup: Setup) -> None:
        if self.hostname:
            process.set_hostname(self.hostname)
        if self.domainname:
            process.set_domainname(self.domainname)


class SetLimits(Step):
    """Resource limits: number, soft, hard."""

    FIELDS = ("limits",)
    limits: "list[list[int]]"

    def execute(self, setup: Setup) -> None:
        for number, soft, hard in self.limits:
            try:
                process.set_limit(number, soft, hard)
            except OSError as error:
                words = f"error setting rlimit type {number}: {lower(error)}"
                raise StartFailure(self.name, error.errno or 0, words, 128) from error


class SetOomScore(Step):
    """How soon the kernel kills this process when memory ends."""

    FIELDS = ("score",)
    score: int

    def execute(self, setup: Setup) -> None:
        with _own_proc(setup, "self/oom_score_adj") as file:
            try:
                os.write(file.fileno(), str(self.score).encode())
            except PermissionError:
                # Lowering it needs CAP_SYS_RESOURCE, which this machine's root may lack: it stays as it is.
                return


class SetAppArmorProfile(Step):
    """The profile that the coming execve changes to; an unknown one ends the start."""

    FIELDS = ("profile",)
    profile: str

    def subject(self) -> str:
        return f"unable to apply apparmor profile {quote(self.profile)}"

    def execute(self, setup: Setup) -> None:
        with _own_proc(setup, "self/attr/apparmor/exec") as file:
            os.write(file.fileno(), f"exec {self.profile}".encode())


class NewSession(Step):
    """A session of its own: no way back to the caller's terminal; the container's pty is its controlling terminal."""

    FIELDS = ("terminal",)
    terminal: bool

    def execute(self, setup: Setup) -> None:
        os.setsid()
        if self.terminal:
            terminal.make_controlling(0 if setup.terminal is None else setup.terminal)  # 0: after `SetStreams`


class NewKeyring(Step):
    """An empty session keyring: the engine's is out of reach."""

    def execute(self, setup: Setup) -> None:
        try:
            process.join_session_keyring()
        except OSError as error:
            if error.errno != 38:  # ENOSYS: a kernel without keyrings has none to leak
                raise


class SetPersonality(Step):
    FIELDS = ("persona",)
    persona: int

    def execute(self, setup: Setup) -> None:
        process.set_personality(self.persona)


class ResolveUser(Step):
    """Find out who to be, in the container's own files. After `PivotRoot`: the root is the container's."""

    FIELDS = ("user", "uid", "gid", "groups", "extra_groups")
    user: str
    """In Docker's grammar; "" takes the numbers."""
    uid: int
    gid: int
    groups: "list[int]"
    extra_groups: "list[str]"

    def execute(self, setup: Setup) -> None:
        with Fd(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
            try:
                if self.user or self.extra_groups:
                    account = users.resolve(root, self.user, self.extra_groups)
                    groups = list(dict.fromkeys([*account.groups, *self.groups]))
                    setup.identity = (account.uid, account.gid, groups)
                    setup.home = account.home or "/"
                else:
                    setup.identity = (self.uid, self.gid, list(dict.fromkeys(self.groups)))
                    setup.home = users.home_of(root, self.uid)
            except users.InvalidUser as error:
                raise StartFailure(self.name, 22, str(error), 128) from error


class SetStreams(Step):
    """Standard streams: passed files or the terminal, owned by the user; every other descriptor is closed.

    From here on nothing points at the host any more (CVE-2024-21626).
    """

    FIELDS = ("keep",)
    keep: int
    """How many descriptors after the three are handed on to the program (LISTEN_FDS)."""

    def execute(self, setup: Setup) -> None:
        if setup.terminal is not None:
            streams = [setup.terminal.fileno()] * 3
        else:
            streams = [setup.files[name] for name in ("stdin", "stdout", "stderr")]
        kept = [setup.files[f"keep{position}"] for position in range(self.keep)]
        # First out of the way, so that no target number is overwritten before it has been copied.
        ours = [setup.channel.fileno()] if setup.channel is not None else []
        if "start" in setup.files:
            ours.append(setup.files["start"])
        wanted = [*streams, *kept, *ours]
        copies = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, len(wanted)) for number in wanted]
        for target, number in enumerate(copies):
            os.dup2(number, target, inheritable=target < len(wanted) - len(ours))
        process.close_from(len(wanted))
        if setup.channel is not None:
            setup.channel = Fd(len(streams) + len(kept))
        setup.files = {"start": len(wanted) - 1} if "start" in setup.files else {}
        setup.forget()
        self._own(setup)

    @staticmethod
    def _own(setup: Setup) -> None:
        """Let the user open /dev/stdout and its like: the streams become its own, as with runc."""
        uid = setup.identity[0] if setup.identity else 0
        for number in (0, 1, 2):
            facts = os.fstat(number)
            if facts.st_uid == uid or (stat.S_ISCHR(facts.st_mode) and facts.st_rdev == os.makedev(1, 3)):
                continue
            try:
                os.fchown(number, uid, facts.st_gid)
            except OSError as error:
                if error.errno not in {1, 22, 30}:  # EPERM, EINVAL, EROFS: not ours to give; it can still be used
                    raise


class ResetSignals(Step):
    """Every signal as the kernel's default, none blocked, and no parent-death signal."""

    def execute(self, setup: Setup) -> None:
        process.prctl(process.PR_SET_PDEATHSIG, 0)
        for number in _SIGNALS:
            if _signal.getsignal(number) is not _signal.SIG_DFL:
                _signal.signal(number, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


class NoNewPrivileges(Step):
    """No execve gains anything from here on."""

    def execute(self, setup: Setup) -> None:
        process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)


class LoadSeccomp(Step):
    """Put the filter on: late, so that as little as possible of our own must be allowed by it."""

    FIELDS = ("program", "flags")
    program: str
    """Hexadecimal text."""
    flags: int

    def describe(self) -> str:
        return f"LoadSeccomp instructions={len(self.program) // 2 // seccomp.INSTRUCTION_BYTES} flags={self.flags}"

    def subject(self) -> str:
        return "unable to load the seccomp filter"

    def execute(self, setup: Setup) -> None:
        seccomp.load(bytes.fromhex(self.program), self.flags)


class LimitBounding(Step):
    """Drop from the bounding set what the container may never have. Needs CAP_SETPCAP, so before the user changes."""

    FIELDS = ("allowed", "highest")
    allowed: int
    highest: int

    def describe(self) -> str:
        return f"LimitBounding allowed={self.allowed:#x}"

    def execute(self, setup: Setup) -> None:
        capability.limit_bounding(self.allowed, self.highest)


class BecomeUser(Step):
    """Change groups and user, keeping the permitted capabilities for `SetCapabilities`."""

    FIELDS = ("umask",)
    umask: int

    def describe(self) -> str:
        return f"BecomeUser umask={self.umask:04o}"

    def execute(self, setup: Setup) -> None:
        if setup.identity is None:
            raise StartFailure(self.name, 0, "nobody has been resolved", 128)
        uid, gid, groups = setup.identity
        process.prctl(process.PR_SET_KEEPCAPS, 1)
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        process.prctl(process.PR_SET_KEEPCAPS, 0)
        if uid != 0:
            # What was permitted is so still, but no longer in effect; the seccomp filter needs CAP_SYS_ADMIN.
            held = capability.permitted()
            capability.set_capabilities(held, held, 0)
        os.umask(self.umask)


class SetCapabilities(Step):
    """The sets, as bits."""

    FIELDS = ("effective", "permitted", "inheritable", "ambient", "only_root")
    effective: int
    permitted: int
    inheritable: int
    ambient: int
    only_root: bool
    """A user other than root gets nothing permitted or effective, as execve would decide anyway."""

    def describe(self) -> str:
        return f"SetCapabilities effective={self.effective:#x} permitted={self.permitted:#x} ambient={self.ambient:#x}"

    def execute(self, setup: Setup) -> None:
        if self.only_root and setup.identity is not None and setup.identity[0] != 0:
            capability.set_capabilities(0, 0, 0)
            return
        capability.set_capabilities(self.effective, self.permitted, self.inheritable)
        if self.ambient:
            capability.set_ambient(self.ambient)


class ChangeDirectory(Step):
    """Enter the working directory and see that it lies in the root (CVE-2024-21626).

    Tried with root's rights, before the user changes, and again after, if root was not allowed to (NFS).
    """

    FIELDS = ("path", "make", "again")
    path: str
    make: bool
    """Make it when missing; it belongs to root then, as with Docker."""
    again: bool

    def execute(self, setup: Setup) -> None:
        if self.again and setup.entered:
            return
        try:
            self._enter()
        except OSError as error:
            if not self.again and error.errno == 13:  # EACCES
                return
            words = f"chdir to cwd ({quote(self.path)}) set in config.json failed: {lower(error)}"
            raise StartFailure(self.name, error.errno or 0, words, 126) from error
        setup.entered = True
        try:
            inside = os.getcwd().startswith("/")
        except FileNotFoundError:
            inside = False
        if not inside:
            words = "current working directory is outside of container mount namespace root -- possible breakout"
            raise StartFailure(self.name, 0, words, 128)

    def _enter(self) -> None:
        try:
            os.chdir(self.path)
        except FileNotFoundError:
            if not self.make:
                raise
            with Fd(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
                with make_directory(root, self.path) as directory:
                    os.fchdir(directory.fileno())


class FindProgram(Step):
    """Look the program up in the container, as its user, with its environment's PATH."""

    FIELDS = ("program", "environment")
    program: str
    environment: "list[str]"

    def describe(self) -> str:
        # Values of variables may be secrets: only their names are shown.
        names = ",".join(entry.partition("=")[0] for entry in self.environment)
        return f"FindProgram {quote(self.program)} environment={names}"

    def execute(self, setup: Setup) -> None:
        environment: dict[bytes, bytes] = {}
        for entry in self.environment:
            key, separator, value = entry.partition("=")
            if not key or not separator or "\0" in entry:
                raise StartFailure(self.name, 22, f"invalid environment variable {quote(entry)}", 128)
            environment[os.fsencode(key)] = os.fsencode(value)
        environment.setdefault(b"HOME", os.fsencode(setup.home))
        setup.environment = environment
        setup.program = find_program(self.program, os.fsdecode(environment.get(b"PATH", b"")))


class Execute(Step):
    """Become the program. One that the kernel refuses ends as it does with runc: a line on stderr, and 255."""

    FIELDS = ("arguments",)
    arguments: "list[str]"

    def execute(self, setup: Setup) -> None:
        arguments = [os.fsencode(argument) for argument in self.arguments]
        try:
            os.execve(setup.program, arguments, setup.environment)
        except OSError as error:
            if error.errno == 7:  # E2BIG
                raise StartFailure(self.name, 7, f"exec {setup.program}: {lower(error)}", 126) from error
            os.write(2, f"exec {setup.program}: {lower(error)}\n".encode("utf-8", "surrogateescape"))
            os._exit(_EXEC_FAILED)


def _own_proc(setup: Setup, path: str) -> Fd:
    """A file of a procfs that nobody else has mounted anything on, for writing."""
    if setup.proc is None:
        setup.proc = mount.new("proc")
    file = openat2(setup.proc, path, os.O_WRONLY, resolve=RESOLVE_BENEATH | RESOLVE_NO_XDEV)
    if mount.filesystem_type(file) != mount.PROC_SUPER_MAGIC:
        file.close()
        raise OSError(19, "not a procfs", path)
    return file


def find_program(name: str, search_path: str) -> str:
    """The path of a program, as the caller may execute it. Raises StartFailure with 126 or 127 and Docker's words."""
    if not name:
        raise StartFailure("FindProgram", 2, 'exec: "": executable file not found in $PATH', 127)
    if "/" in name:
        error = _why_not(name)
        if error is None:
            return name
        words = f"exec: {quote(name)}: {_program_words(name, error)}"
        raise StartFailure("FindProgram", error.errno or 0, words, 126 if error.errno in {13, 21} else 127)
    for directory in search_path.split(":"):
        candidate = f"{directory or '.'}/{name}"
        if _why_not(candidate) is None:
            return candidate
    raise StartFailure("FindProgram", 2, f"exec: {quote(name)}: executable file not found in $PATH", 127)


def _why_not(path: str) -> "OSError | None":
    """What hinders the caller from executing a file; None when nothing seems to."""
    try:
        facts = os.stat(path)
    except OSError as error:
        return error
    if stat.S_ISDIR(facts.st_mode):
        return IsADirectoryError(21, os.strerror(21), path)
    if not os.access(path, os.X_OK, effective_ids=True) or not facts.st_mode & 0o111:
        return PermissionError(13, os.strerror(13), path)
    return None


def _program_words(name: str, error: OSError) -> str:
    if error.errno == 21:  # EISDIR
        return "is a directory: permission denied"
    if error.errno == 13 and isinstance(error, PermissionError) and error.filename == name:
        return "permission denied"
    return f"stat {name}: {lower(error)}"


def quote(text: str) -> str:
    """In double quotes, ASCII only: what is not printable never reaches a terminal."""
    return dumps(text)
