"""Control groups, v1 (with or without a hybrid v2) and v2, behind one interface (cgroups(7)).

A group is named by its path below each hierarchy's root, `/onggi/<id>`. Where a v2 hierarchy is mounted beside v1
(hybrid), the group exists there as well: it has no controllers there, but freezes, kills and tells when it is empty.
"""

import errno
import os
import select

from onggi.linux.fd import Fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

V1_CONTROLLERS = frozenset(
    {
        "cpu",
        "cpuacct",
        "cpuset",
        "memory",
        "devices",
        "freezer",
        "blkio",
        "pids",
        "net_cls",
        "net_prio",
        "perf_event",
        "hugetlb",
        "rdma",
        "misc",
    }
)
_EMPTY_WAIT_MS = 2000
_POLL_MS = 5
_CREATE_ATTEMPTS = 3
_THAW_ATTEMPTS = 400


class Hierarchies:
    """Where the hierarchies are mounted. `of_host()` reads it once."""

    __slots__ = ("named", "unified", "v1")

    def __init__(self, v1: "dict[str, str]", named: "dict[str, str]", unified: "str | None") -> None:
        self.v1 = v1
        """Controller → mount point; two controllers may share one."""
        self.named = named
        """Name → mount point of hierarchies without controllers (`systemd`)."""
        self.unified = unified
        """Mount point of v2."""

    @property
    def version(self) -> int:
        return 1 if self.v1 else 2

    def roots(self) -> "list[str]":
        """Every mount point of v1, each once."""
        return list(dict.fromkeys([*self.v1.values(), *self.named.values()]))


_hierarchies: "Hierarchies | None" = None


def of_host() -> Hierarchies:
    """This machine's hierarchies, read from the mount table at the first call."""
    global _hierarchies
    if _hierarchies is None:
        with open("/proc/self/mountinfo", encoding="utf-8") as table:
            _hierarchies = parse(table.read())
    return _hierarchies


def parse(mountinfo: str) -> Hierarchies:
    """Hierarchies in a mount table (proc_pid_mountinfo(5)); the first mount of each counts."""
    v1: dict[str, str] = {}
    named: dict[str, str] = {}
    unified = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        place = before.split()[4]
        kind, _, options = after.partition(" ")
        if kind == "cgroup2" and unified is None:
            unified = place
        elif kind == "cgroup":
            for option in options.rpartition(" ")[2].split(","):
                if option in V1_CONTROLLERS:
                    v1.setdefault(option, place)
                elif option.startswith("name="):
                    named.setdefault(option[5:], place)
    return Hierarchies(v1, named, unified)


class Cgroup:
    """One control group in every hierarchy. Holds no descriptors: it outlives whoever made it."""

    __slots__ = ("hierarchies", "path")

    def __init__(self, path: str, hierarchies: "Hierarchies | None" = None) -> None:
        """Names the group; touches nothing. Raises ValueError unless `path` is absolute, below the root, without
        empty, `.` or `..` components."""
        parts = path.split("/")
        if len(parts) < 2 or parts[0] or any(part in {"", ".", ".."} or "\0" in part for part in parts[1:]):
            raise ValueError(f"not a cgroup path: {path!r}")
        self.path = path
        self.hierarchies = hierarchies or of_host()

    def __repr__(self) -> str:
        return f"Cgroup({self.path!r})"

    def directories(self) -> "list[str]":
        """Its directory in each hierarchy."""
        found = [root + self.path for root in self.hierarchies.roots()]
        if self.hierarchies.unified is not None:
            found.append(self.hierarchies.unified + self.path)
        return found

    def directory(self, controller: str) -> str:
        """Its directory where `controller` is managed. Raises FileNotFoundError when this machine has none."""
        root = self.hierarchies.v1.get(controller) or self.hierarchies.unified
        if root is None:
            raise FileNotFoundError(2, f"this machine has no cgroup controller {controller}", controller)
        return root + self.path

    @property
    def unified(self) -> "str | None":
        """Its directory in the v2 hierarchy."""
        root = self.hierarchies.unified
        return None if root is None else root + self.path

    # --- life -----------------------------------------------------------------------------------------------------

    def create(self) -> None:
        """Make it in every hierarchy, parents included; one that exists already is fine."""
        for _ in range(_CREATE_ATTEMPTS):
            try:
                self._create()
                return
            except FileNotFoundError:
                continue  # whoever left a parent last has just removed it
        self._create()

    def _create(self) -> None:
        cpuset = self.hierarchies.v1.get("cpuset")
        for root in self.hierarchies.roots():
            _make(root, self.path, clone_children=root == cpuset)
        if cpuset is not None:
            _inherit_cpuset(cpuset, self.path)
        if self.hierarchies.unified is not None:
            _make(self.hierarchies.unified, self.path)
            if self.hierarchies.version == 2:
                _delegate(self.hierarchies.unified, self.path)

    def exists(self) -> bool:
        return any(os.path.isdir(directory) for directory in self.directories())

    def is_whole(self) -> bool:
        """It is in every hierarchy: nobody has begun to delete it."""
        return all(os.path.isdir(directory) for directory in self.directories())

    def delete(self) -> None:
        """Remove it and all below; what is gone already is fine.

        Processes that are just ending are waited for (2 s). Raises OSError EBUSY while others are in it.
        """
        for directory in self.directories():
            try:
                _remove(directory)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                self.wait_empty()
                _remove(directory)

    def delete_unused(self) -> None:
        """Remove it where it has neither processes nor groups below; elsewhere it stays."""
        for directory in self.directories():
            try:
                os.rmdir(directory)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EBUSY, errno.ENOTEMPTY):
                    raise

    def wait_empty(self, timeout_ms: int = _EMPTY_WAIT_MS) -> bool:
        """Wait until no process is in it or below; False when some still are after the time."""
        if self.unified is not None and os.path.isdir(self.unified) and _wait_event(self.unified, "populated 0", 50):
            timeout_ms = max(timeout_ms, 50)
        for _ in range(timeout_ms // _POLL_MS):
            if not self.pids():
                return True
            select.select([], [], [], _POLL_MS / 1000)  # v1 tells nobody when a group becomes empty
        return not self.pids()

    # --- processes ------------------------------------------------------------------------------------------------

    def join(self) -> None:
        """Move the calling, single-threaded process into it, in every v1 hierarchy.

        In v2 a process is born into its group (`process.clone(cgroup=…)`). Through `tasks`, and with 0 for the
        caller, the kernel need not wait for an RCU grace period as `cgroup.procs` makes it (7 ms, measured on 6.18).
        """
        for root in self.hierarchies.roots():
            _write(f"{root}{self.path}/tasks", "0")

    def birthplace(self) -> "Fd | None":
        """The v2 directory, for `process.clone`; None without v2. The caller owns it."""
        if self.unified is None:
            return None
        return Fd(os.open(self.unified, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))

    def pids(self) -> "list[int]":
        """Processes in it and below, as the caller's pid namespace numbers them."""
        for controller in ("pids", "memory", "cpu"):
            if controller in self.hierarchies.v1:
                start = self.directory(controller)
                break
        else:
            start = self.unified or self.directories()[0]
        found: list[int] = []
        for directory in _tree(start):
            try:
                found += [int(pid) for pid in _read(f"{directory}/cgroup.procs").split()]
            except (FileNotFoundError, OSError):  # ENODEV: removed while we looked
                continue
        return found

    def freeze(self) -> None:
        """Stop every process in it, and return when all are stopped (10 s at most, then TimeoutError)."""
        if self.unified is not None:
            _write(f"{self.unified}/cgroup.freeze", "1")
            if not _wait_event(self.unified, "frozen 1", 10_000):
                self.thaw()
                raise TimeoutError(f"the processes of {self.path} do not freeze")
            return
        state = f"{self.directory('freezer')}/freezer.state"
        for _ in range(_THAW_ATTEMPTS):
            _write(state, "FROZEN")
            if _read(state).strip() == "FROZEN":
                return
            select.select([], [], [], _POLL_MS / 1000)  # v1 has nothing to wait on
        self.thaw()
        raise TimeoutError(f"the processes of {self.path} do not freeze")

    def thaw(self) -> None:
        """Let its processes go on."""
        if self.unified is not None:
            _write(f"{self.unified}/cgroup.freeze", "0")
        else:
            _write(f"{self.directory('freezer')}/freezer.state", "THAWED")

    @property
    def frozen(self) -> bool:
        if self.unified is not None:
            return _read(f"{self.unified}/cgroup.freeze").strip() == "1"
        return _read(f"{self.directory('freezer')}/freezer.state").strip() != "THAWED"

    def kill(self) -> None:
        """SIGKILL to all in it and below, frozen ones too. Returns at once; a group that is gone is fine."""
        if self.unified is not None:
            try:
                _write(f"{self.unified}/cgroup.kill", "1")
                return
            except OSError as error:
                if error.errno not in {errno.ENOENT, errno.ENODEV}:  # before Linux 5.14, or it is gone or going
                    raise
        for pid in self.pids():
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue
        try:
            self.thaw()
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENODEV}:
                raise

    # --- limits ---------------------------------------------------------------------------------------------------

    def apply(self, writes: "Iterable[tuple[str, str, str]]") -> None:
        """Write limits: (controller, file, value), in order, as `runtime.resources.writes` makes them.

        Of v1's two memory limits the one that must go first depends on the present values: a refused first one is
        tried again after the second. Raises OSError with the file as its filename.
        """
        put_off: tuple[str, str] | None = None
        for path, values in _by_file(
            (f"{self.directory(controller)}/{file}", value) for controller, file, value in writes
        ):
            try:
                _write(path, *values)
            except OSError as error:
                if error.errno != 22 or not path.endswith("/memory.limit_in_bytes"):  # EINVAL: above memory.memsw
                    raise
                put_off = (path, values[-1])
                continue
            if put_off is not None and path.endswith("/memory.memsw.limit_in_bytes"):
                _write(*put_off)
                put_off = None
        if put_off is not None:
            _write(*put_off)

    # --- counters -------------------------------------------------------------------------------------------------

    def oom_kills(self) -> int:
        """How often the kernel has killed in it for want of memory; 0 when the group is gone."""
        file = "memory.oom_control" if "memory" in self.hierarchies.v1 else "memory.events"
        try:
            return _pairs(_read(f"{self.directory('memory')}/{file}")).get("oom_kill", 0)
        except FileNotFoundError:
            return 0

    def read(self, controller: str, file: str) -> str:
        """The text of one file; "" when this kernel or machine does not have it."""
        try:
            return _read(f"{self.directory(controller)}/{file}")
        except (FileNotFoundError, OSError):
            return ""


def _make(root: str, path: str, *, clone_children: bool = False) -> None:
    try:
        os.mkdir(root + path)
    except FileExistsError:
        pass
    except FileNotFoundError:
        parent = path.rpartition("/")[0]
        _make(root, parent, clone_children=clone_children)
        if clone_children:
            # A new group then begins with its parent's processors and memory nodes: four files less at each start.
            _inherit_cpuset(root, parent)
            _write(f"{root}{parent}/cgroup.clone_children", "1")
        _make(root, path)


def _inherit_cpuset(root: str, path: str) -> None:
    """A new v1 cpuset is empty and admits nobody: copy what its nearest filled ancestor has."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        if _read(f"{root}{path}/{file}").strip():
            continue
        parent = path.rpartition("/")[0]
        if parent:
            _inherit_cpuset(root, parent)
        _write(f"{root}{path}/{file}", _read(f"{root}{parent}/{file}").strip())


def _delegate(root: str, path: str) -> None:
    """Enable for the group every controller that its ancestors can hand down."""
    parts = path.split("/")[1:-1]
    for depth in range(len(parts) + 1):
        directory = "/".join([root, *parts[:depth]])
        available = set(_read(f"{directory}/cgroup.controllers").split())
        wanted = available - set(_read(f"{directory}/cgroup.subtree_control").split())
        for controller in sorted(wanted & V1_CONTROLLERS | wanted & {"io"}):
            _write(f"{directory}/cgroup.subtree_control", f"+{controller}")


def _remove(directory: str) -> None:
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in {16, 39}:  # EBUSY (processes or groups below), ENOTEMPTY
            raise
        below = [name for name in _children(directory)]
        if not below:
            raise
        for name in below:
            _remove(f"{directory}/{name}")
        os.rmdir(directory)


def _tree(directory: str) -> "Iterator[str]":
    waiting = [directory]
    while waiting:
        here = waiting.pop()
        yield here
        waiting += [f"{here}/{name}" for name in _children(here)]


def _children(directory: str) -> "list[str]":
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _wait_event(directory: str, line: str, timeout_ms: int) -> bool:
    """Wait until `cgroup.events` holds `line`: the kernel signals each change (POLLPRI)."""
    try:
        file = os.open(f"{directory}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        poll = select.poll()
        poll.register(file, select.POLLPRI)
        while line not in os.pread(file, 4096, 0).decode().splitlines():
            if not poll.poll(timeout_ms):
                return False
        return True
    except OSError as error:
        if error.errno == 19:  # ENODEV: the group was removed, so it is empty
            return True
        raise
    finally:
        os.close(file)


def _pairs(text: str) -> "dict[str, int]":
    return {key: int(value) for key, _, value in (line.partition(" ") for line in text.splitlines()) if value}


def _read(path: str) -> str:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(file, 65536):
            parts.append(part)
    finally:
        os.close(file)
    return b"".join(parts).decode()


def _by_file(writes: "Iterable[tuple[str, str]]") -> "list[tuple[str, list[str]]]":
    """Writes in order, those that follow each other to one file together: it is opened once."""
    found: list[tuple[str, list[str]]] = []
    for path, value in writes:
        if found and found[-1][0] == path:
            found[-1][1].append(value)
        else:
            found.append((path, [value]))
    return found


def _write(path: str, *values: str) -> None:
    """Each value by a write of its own: the kernel takes one at a time."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for value in values:
            os.write(file, value.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(file)
