"""Steps about mounts: the root, what is mounted in it, and what is hidden (runtime-spec: config.md, Mounts).

All are executed in the container's new mount namespace before the old root is left, with descriptors only: a target is
opened beneath the container's root, a mount is complete before it becomes visible there.
"""

import os
import stat

from onggi.linux import mount, process, terminal
from onggi.linux.cgroup import Cgroup
from onggi.linux.fd import Fd
from onggi.linux.path import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    make_directory,
    make_file,
    openat2,
)
from onggi.runtime.steps import Setup, StartFailure, Step

_NULL = os.makedev(1, 3)
_OURS_ALONE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
"""Within one mount of ours: neither a link nor what somebody has mounted over it."""
_PROPAGATION = {
    "private": mount.MS_PRIVATE,
    "slave": mount.MS_SLAVE,
    "shared": mount.MS_SHARED,
    "unbindable": mount.MS_UNBINDABLE,
}
_DEVICE_KINDS = {"c": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO, "u": stat.S_IFCHR}


class OpenSource(Step):
    """Copy the mount at a host path, still detached. Before `Privatise`, so that it can keep its peers if wanted."""

    FIELDS = ("number", "path", "recursive")
    number: int
    path: str
    recursive: bool

    def subject(self) -> str:
        return f'error mounting "{self.path}"'

    def execute(self, setup: Setup) -> None:
        if not self.path.startswith("/"):  # a passed descriptor
            setup.sources[self.number] = mount.open_tree(setup.files[self.path], recursive=self.recursive)
            return
        words = self.path.split("/")
        if words[1] == "proc" and words[3:4] == ["root"] and words[2].isdecimal():
            setup.sources[self.number] = self._of_another(int(words[2]), "/" + "/".join(words[4:]))
            return
        setup.sources[self.number] = mount.open_tree(mount.AT_FDCWD, self.path, recursive=self.recursive)

    def _of_another(self, pid: int, path: str) -> Fd:
        """A mount of another process's mount namespace (`/proc/PID/root/…`): the kernel copies mounts of one's own only,
        so go there for it and come back. `path` is resolved in that process's root."""
        with (
            Fd(os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)) as own,
            Fd(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)) as other,
        ):
            process.setns(other, process.CLONE_NEWNS)
            try:
                source = mount.open_tree(mount.AT_FDCWD, path, recursive=self.recursive)
            finally:
                process.setns(own, process.CLONE_NEWNS)
        mount.set_attributes(source, propagation=mount.MS_PRIVATE, recursive=True)
        return source


class Privatise(Step):
    """Cut the new mount namespace off the host's: nothing mounted from here on is seen there, or the reverse."""

    def execute(self, setup: Setup) -> None:
        mount.set_attributes(mount.AT_FDCWD, path="/", propagation=mount.MS_PRIVATE, recursive=True)


class MountOverlay(Step):
    """Make the container's overlay, still detached. First of all mounts, so that the mount table begins with it."""

    FIELDS = ("lower", "upper", "work", "one_by_one")
    lower: "list[str]"
    upper: str
    work: str
    one_by_one: bool

    def subject(self) -> str:
        return "error mounting the container's root"

    def execute(self, setup: Setup) -> None:
        setup.root = mount.overlay(self.lower, self.upper, self.work, one_by_one=self.one_by_one)


class BindRoot(Step):
    """Copy the mount of a directory, with what is mounted below it, as the root; still detached."""

    FIELDS = ("path",)
    path: str

    def subject(self) -> str:
        return "error mounting the container's root"

    def execute(self, setup: Setup) -> None:
        with Fd(os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)) as directory:
            setup.root = mount.open_tree(directory, recursive=True)
        mount.set_attributes(setup.root, propagation=mount.MS_PRIVATE, recursive=True)


class AttachRoot(Step):
    """Put the root over the host's, where `PivotRoot` takes it from."""

    def execute(self, setup: Setup) -> None:
        mount.move_mount(setup.root_fd(), mount.AT_FDCWD, path="/")


class PropagateRoot(Step):
    """Give the root the propagation that the spec asks for."""

    FIELDS = ("propagation", "recursive")
    propagation: str
    recursive: bool

    def execute(self, setup: Setup) -> None:
        kind = _PROPAGATION[self.propagation]
        mount.set_attributes(setup.root_fd(), propagation=kind, recursive=self.recursive)


class Mount(Step):
    """Mount a file system (proc, sysfs, tmpfs, devpts, mqueue …) at a directory of the container."""

    FIELDS = ("kind", "source", "target", "attributes", "options", "propagation", "copy_up")
    kind: str
    source: str
    target: str
    attributes: int
    options: "list[list[str | None]]"
    propagation: "list[str]"
    copy_up: bool

    def describe(self) -> str:
        options = ",".join(str(key) if value is None else f"{key}={value}" for key, value in self.options)
        return f"Mount {self.kind} on {self.target} attributes={self.attributes:#x} {options}".rstrip()

    def subject(self) -> str:
        return f'error mounting "{self.source or self.kind}" to rootfs at "{self.target}"'

    def execute(self, setup: Setup) -> None:
        options = [(key, value) for key, value in self.options if key is not None]
        with mount.new(self.kind, options, source=self.source or self.kind, attributes=self.attributes) as new:
            with self._target(setup, new) as target:
                mount.move_mount(new, target)
            for propagation in self.propagation:
                mount.set_attributes(new, propagation=_PROPAGATION[propagation])
            if self.target == "/proc" and self.kind == "proc" and setup.proc is None:
                setup.proc = Fd(new.take())
            elif self.target == "/dev":
                setup.dev = Fd(new.take())

    def _target(self, setup: Setup, new: Fd) -> Fd:
        """The directory to mount on; a tmpfs takes over what it shall have of a directory that is there already."""
        if self.kind in {"proc", "sysfs"} or self.target == "/dev":
            return _plain_directory(setup, self.target)
        if self.kind != "tmpfs" or (not self.copy_up and any(key == "mode" for key, _ in self.options)):
            return make_directory(setup.root_fd(), self.target)
        try:
            target = openat2(setup.root_fd(), self.target, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            return make_directory(setup.root_fd(), self.target)
        if self.copy_up:
            _copy_up(target, new)
        else:
            os.chmod(".", stat.S_IMODE(os.fstat(target.fileno()).st_mode), dir_fd=new.fileno())
        return target


class Bind(Step):
    """Attach a copy made by `OpenSource` at a file or directory of the container."""

    FIELDS = ("number", "source", "target", "set", "clear", "set_all", "clear_all", "propagation")
    number: int
    source: str
    target: str
    set: int
    """Attributes of the mount itself."""
    clear: int
    set_all: int
    """Attributes of the mount and of all below it."""
    clear_all: int
    propagation: "list[str]"
    """In order; a leading `r` means with all below."""

    def describe(self) -> str:
        words = f"Bind {self.source} on {self.target}"
        for field in ("set", "clear", "set_all", "clear_all"):
            if getattr(self, field):
                words += f" {field}={getattr(self, field):#x}"
        return f"{words} {','.join(self.propagation)}".rstrip()

    def subject(self) -> str:
        return f'error mounting "{self.source}" to rootfs at "{self.target}"'

    def execute(self, setup: Setup) -> None:
        source = setup.sources.pop(self.number)
        with source:
            for word in self.propagation:
                recursive = word.startswith("r")
                mount.set_attributes(source, propagation=_PROPAGATION[word.removeprefix("r")], recursive=recursive)
            if self.set_all or self.clear_all:
                mount.set_attributes(source, set=self.set_all, clear=self.clear_all, recursive=True)
            if self.set or self.clear:
                mount.set_attributes(source, set=self.set, clear=self.clear)
            directory = stat.S_ISDIR(os.fstat(source.fileno()).st_mode)
            make = make_directory if directory else make_file
            with make(setup.root_fd(), self.target) as target:
                _refuse_proc(target, self.target)
                mount.move_mount(source, target)


class MountCgroups(Step):
    """Show the container its own groups below /sys/fs/cgroup: v1 as one directory for each hierarchy, v2 as one."""

    FIELDS = ("path", "target", "attributes")
    path: str
    target: str
    attributes: int

    def subject(self) -> str:
        return f'error mounting "cgroup" to rootfs at "{self.target}"'

    def execute(self, setup: Setup) -> None:
        group = Cgroup(self.path)
        read_only = self.attributes & mount.MOUNT_ATTR_RDONLY
        if group.hierarchies.version == 2:
            with mount.open_tree(mount.AT_FDCWD, str(group.unified)) as tree:
                self._attach(setup, tree, self.target)
            return
        top = [("mode", "755")]
        common = self.attributes & ~mount.MOUNT_ATTR_RDONLY
        with mount.new("tmpfs", top, source="cgroup", attributes=common) as tmpfs:
            with make_directory(setup.root_fd(), self.target) as target:
                mount.move_mount(tmpfs, target)
            for root in group.hierarchies.roots():
                name = root.rpartition("/")[2]
                os.mkdir(name, 0o755, dir_fd=tmpfs.fileno())
                with mount.open_tree(mount.AT_FDCWD, root + group.path) as tree:
                    mount.set_attributes(tree, set=self.attributes)
                    with openat2(tmpfs, name, os.O_PATH | os.O_NOFOLLOW, resolve=RESOLVE_BENEATH) as target:
                        mount.move_mount(tree, target)
            for controller, root in group.hierarchies.v1.items():
                name = root.rpartition("/")[2]
                if name != controller:
                    os.symlink(name, controller, dir_fd=tmpfs.fileno())
            if read_only:
                mount.set_attributes(tmpfs, set=mount.MOUNT_ATTR_RDONLY)

    def _attach(self, setup: Setup, tree: Fd, path: str) -> None:
        mount.set_attributes(tree, set=self.attributes)
        with make_directory(setup.root_fd(), path) as target:
            mount.move_mount(tree, target)


class MakeDevices(Step):
    """Make device nodes: those in the new /dev below its descriptor, others beneath the root."""

    FIELDS = ("devices", "bind")
    devices: "list[list[object]]"
    """Path, type, major, minor, mode, uid, gid."""
    bind: bool
    """Bind the host's nodes: mknod is not for user namespaces."""

    def describe(self) -> str:
        return "MakeDevices " + " ".join(f"{row[0]}({row[1]} {row[2]}:{row[3]})" for row in self.devices)

    def subject(self) -> str:
        return "error creating device nodes"

    def execute(self, setup: Setup) -> None:
        for row in self.devices:
            path, kind, major, minor, mode, uid, gid = row
            parent, name = _place(setup, str(path))
            with parent:
                if self.bind:
                    self._bind(parent, name, str(path))
                    continue
                device = os.makedev(_integer(major), _integer(minor))
                owner = (_integer(uid), _integer(gid))
                self._make(parent, name, (_DEVICE_KINDS[str(kind)], device), _integer(mode), owner)

    @staticmethod
    def _make(parent: Fd, name: str, node: "tuple[int, int]", mode: int, owner: "tuple[int, int]") -> None:
        kind, device = node
        umask = os.umask(0)
        try:
            os.mknod(name, kind | mode, device, dir_fd=parent.fileno())
        except FileExistsError:
            facts = os.stat(name, dir_fd=parent.fileno(), follow_symlinks=False)
            if stat.S_IFMT(facts.st_mode) == kind and facts.st_rdev == device:
                return
            raise
        finally:
            os.umask(umask)
        if any(owner):
            os.chown(name, *owner, dir_fd=parent.fileno(), follow_symlinks=False)

    @staticmethod
    def _bind(parent: Fd, name: str, path: str) -> None:
        with mount.open_tree(mount.AT_FDCWD, path) as source, make_file(parent, name) as target:
            mount.move_mount(source, target)


class LinkDevices(Step):
    """/dev/fd, stdin, stdout, stderr, ptmx and core, below the descriptor of the new /dev."""

    FIELDS = ("links",)
    links: "list[list[str]]"
    """Name, target."""

    def describe(self) -> str:
        return "LinkDevices " + " ".join(f"{name}->{target}" for name, target in self.links)

    def execute(self, setup: Setup) -> None:
        if setup.dev is None:
            return
        for name, target in self.links:
            try:
                os.symlink(target, name, dir_fd=setup.dev.fileno())
            except FileExistsError:
                continue  # the spec's own mounts or devices go first


class OpenConsole(Step):
    """A pty of the container's own devpts; its slave becomes /dev/console, its master goes to the parent."""

    FIELDS = ("rows", "columns", "console")
    rows: int
    columns: int
    console: bool

    def execute(self, setup: Setup) -> None:
        parent, _ = _place(setup, "/dev/pts")
        with parent, openat2(parent, "pts", os.O_PATH, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS) as devpts:
            pty = terminal.open_terminal(devpts)
        with pty.master:
            if self.rows or self.columns:
                terminal.set_size(pty.master, self.rows, self.columns)
            setup.terminal = pty.slave
            if self.console:
                with make_file(parent_of_console(setup), "console", mode=0o600) as target:
                    with mount.open_tree(pty.slave) as source:
                        mount.move_mount(source, target)
            setup.tell("console", descriptors=(pty.master,))


class Mask(Step):
    """Hide paths: files behind a null device, directories behind one empty, read-only tmpfs."""

    FIELDS = ("paths",)
    paths: "list[str]"

    def subject(self) -> str:
        return "can't mask paths"

    def execute(self, setup: Setup) -> None:
        null = _null(setup)
        empty: Fd | None = None
        for path in self.paths:
            try:
                target = _existing(setup, path)
            except (FileNotFoundError, NotADirectoryError):
                continue  # nothing there to hide
            with target:
                if not stat.S_ISDIR(os.fstat(target.fileno()).st_mode):
                    with mount.open_tree(null) as source:
                        mount.move_mount(source, target)
                elif empty is None:
                    empty = mount.new(
                        "tmpfs",
                        [("size", "4k"), ("nr_inodes", "1"), ("ro", None)],
                        source="tmpfs",
                        attributes=mount.MOUNT_ATTR_RDONLY,
                    )
                    mount.move_mount(empty, target)
                else:
                    with mount.open_tree(empty) as copy:
                        mount.move_mount(copy, target)
        if empty is not None:
            empty.close()


class ReadOnly(Step):
    """Make paths read-only by binding each onto itself; what does not exist is passed over."""

    FIELDS = ("paths",)
    paths: "list[str]"

    def subject(self) -> str:
        return "can't make paths read-only"

    def execute(self, setup: Setup) -> None:
        for path in self.paths:
            try:
                target = _existing(setup, path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            with target, mount.open_tree(target, recursive=True) as copy:
                mount.set_attributes(copy, set=mount.MOUNT_ATTR_RDONLY, recursive=True)
                mount.move_mount(copy, target)


class WriteSysctls(Step):
    """Kernel parameters of the container's namespaces, through our own procfs."""

    FIELDS = ("values",)
    values: "dict[str, str]"

    def execute(self, setup: Setup) -> None:
        if setup.proc is None:
            raise StartFailure(self.name, 0, "sysctls need a /proc", 128)
        for key, value in self.values.items():
            path = "sys/" + key
            try:
                with openat2(setup.proc, path, os.O_WRONLY, resolve=_OURS_ALONE) as file:
                    if mount.filesystem_type(file) != mount.PROC_SUPER_MAGIC:
                        raise OSError(19, "not a procfs", path)
                    os.write(file.fileno(), value.encode())
            except OSError as error:
                words = f"open sysctl {key.replace('/', '.')} file: {error.strerror}"
                raise StartFailure(self.name, error.errno or 0, words, 128) from error


class PivotRoot(Step):
    """Make the container's root the root, and let go of the host's."""

    def execute(self, setup: Setup) -> None:
        mount.pivot_root(setup.root_fd())


class ReadOnlyRoot(Step):
    """Make the root's own mount read-only; what is mounted in it keeps its state."""

    def execute(self, setup: Setup) -> None:
        mount.set_attributes(setup.root_fd(), set=mount.MOUNT_ATTR_RDONLY)


class ReadOnlyMount(Step):
    """Make a mount of ours read-only at last, after what had to be made in it."""

    FIELDS = ("target",)
    target: str

    def execute(self, setup: Setup) -> None:
        if self.target == "/dev" and setup.dev is not None:
            mount.set_attributes(setup.dev, set=mount.MOUNT_ATTR_RDONLY)
            return
        with openat2(setup.root_fd(), self.target, os.O_PATH | os.O_DIRECTORY) as directory:
            mount.set_attributes(directory, set=mount.MOUNT_ATTR_RDONLY)


def parent_of_console(setup: Setup) -> Fd:
    """The directory that /dev/console is made in; stays `setup`'s own."""
    if setup.dev is None:
        setup.dev = openat2(setup.root_fd(), "dev", os.O_PATH | os.O_DIRECTORY)
    return setup.dev


def _place(setup: Setup, path: str) -> "tuple[Fd, str]":
    """The parent directory of a path, made where missing, and the last name. The caller owns the descriptor."""
    directory, _, name = path.rstrip("/").rpartition("/")
    if setup.dev is not None and (directory == "/dev" or directory.startswith("/dev/")):
        return make_directory(setup.dev, directory[len("/dev") :] or "."), name
    return make_directory(setup.root_fd(), directory or "/"), name


def _existing(setup: Setup, path: str) -> Fd:
    """What a path of the container names. In /proc by the procfs that we mounted, should its mount point be moved away
    meanwhile by somebody who has the same root."""
    if setup.proc is not None and path.startswith("/proc/"):
        return openat2(setup.proc, path[len("/proc/") :], os.O_PATH, resolve=RESOLVE_BENEATH)
    return openat2(setup.root_fd(), path, os.O_PATH)


def _plain_directory(setup: Setup, path: str) -> Fd:
    """A mount point for /proc, /sys or /dev: a real directory, never a link (CVE-2019-19921)."""
    root = setup.root_fd()
    try:
        return openat2(root, path, os.O_PATH | os.O_DIRECTORY, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
    except FileNotFoundError:
        return make_directory(root, path, mode=0o755)
    except (NotADirectoryError, OSError) as error:
        words = f"filesystem {path!r} must be mounted on ordinary directory"
        raise StartFailure("Mount", error.errno or 0, words, 128) from error


def _refuse_proc(target: Fd, path: str) -> None:
    """No bind within a procfs, but on the files that lxcfs offers."""
    if mount.filesystem_type(target) != mount.PROC_SUPER_MAGIC:
        return
    if path in _LXCFS:
        return
    raise StartFailure("Bind", 1, f'"{path}" cannot be mounted because it is inside /proc', 128)


_LXCFS = frozenset(
    f"/proc/{name}" for name in ("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo")
) | {"/proc/net/dev", "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled"}


def _null(setup: Setup) -> Fd:
    """A null device that we have checked: the one made in our new /dev, else the host's."""
    if setup.null is None:
        if setup.dev is not None:
            null = openat2(setup.dev, "null", os.O_PATH, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        else:
            null = Fd(os.open("/dev/null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC))
        facts = os.fstat(null.fileno())
        if not stat.S_ISCHR(facts.st_mode) or facts.st_rdev != _NULL:
            null.close()
            raise StartFailure("Mask", 0, "/dev/null is not the null device", 128)
        setup.null = null
    return setup.null


def _integer(value: object) -> int:
    assert isinstance(value, int)
    return value


def _copy_up(source: Fd, onto: Fd) -> None:
    """Copy a directory's content into a new, still detached tmpfs, without following links or crossing mounts."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    waiting = [(Fd(os.open(".", flags, dir_fd=source.fileno())), Fd(os.open(".", flags, dir_fd=onto.fileno())))]
    while waiting:
        here, there = waiting.pop()
        with here, there:
            facts = os.fstat(here.fileno())
            os.fchmod(there.fileno(), stat.S_IMODE(facts.st_mode))
            os.fchown(there.fileno(), facts.st_uid, facts.st_gid)
            for name in os.listdir(here.fileno()):
                _copy_entry(here.fileno(), there.fileno(), name, waiting, flags)


def _copy_entry(here: int, there: int, name: str, waiting: "list[tuple[Fd, Fd]]", flags: int) -> None:
    facts = os.stat(name, dir_fd=here, follow_symlinks=False)
    mode = stat.S_IMODE(facts.st_mode)
    if stat.S_ISDIR(facts.st_mode):
        os.mkdir(name, mode, dir_fd=there)
        waiting.append((Fd(os.open(name, flags, dir_fd=here)), Fd(os.open(name, flags, dir_fd=there))))
        return
    if stat.S_ISLNK(facts.st_mode):
        os.symlink(os.readlink(name, dir_fd=here), name, dir_fd=there)
    elif stat.S_ISREG(facts.st_mode):
        with (
            Fd(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)) as original,
            Fd(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=there)) as copy,
        ):
            while os.sendfile(copy.fileno(), original.fileno(), None, 1 << 20):
                pass
            os.fchmod(copy.fileno(), mode)
    else:
        os.mknod(name, facts.st_mode, facts.st_rdev, dir_fd=there)
    os.chown(name, facts.st_uid, facts.st_gid, dir_fd=there, follow_symlinks=False)
