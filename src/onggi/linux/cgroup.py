"""Control groups, v1 (with a hybrid v2) and v2, behind one interface (cgroups(7))."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Counters:
    """What a group has used, read at one moment. Times in nanoseconds, sizes in bytes; None where not counted."""

    __slots__ = (
        "block_bytes",
        "block_operations",
        "cpu_kernel_ns",
        "cpu_per_cpu_ns",
        "cpu_periods",
        "cpu_throttled_ns",
        "cpu_throttled_periods",
        "cpu_total_ns",
        "cpu_user_ns",
        "memory_failures",
        "memory_limit",
        "memory_peak",
        "memory_stat",
        "memory_usage",
        "pids",
        "pids_limit",
    )
    cpu_total_ns: int
    cpu_user_ns: int
    cpu_kernel_ns: int
    cpu_per_cpu_ns: "list[int]"
    cpu_periods: int
    cpu_throttled_periods: int
    cpu_throttled_ns: int
    memory_usage: int
    memory_peak: int
    memory_limit: "int | None"
    memory_failures: int
    memory_stat: "dict[str, int]"
    pids: int
    pids_limit: "int | None"
    block_bytes: "list[tuple[int, int, str, int]]"
    """(major, minor, operation such as `Read`, bytes)."""
    block_operations: "list[tuple[int, int, str, int]]"


class Cgroup:
    """One control group in every hierarchy, named by its path below the hierarchies' roots (`/onggi/<id>`)."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        """Names the group; touches nothing. Raises ValueError unless `path` is absolute and free of `..`."""
        self.path = path

    def create(self) -> None:
        """Make it in every hierarchy; one that exists and is empty is fine."""
        raise NotImplementedError

    def apply(self, writes: "Iterable[tuple[str, str, str]]") -> None:
        """Write limits: (controller, file, value), as `runtime.resources.writes` makes them."""
        raise NotImplementedError

    def join(self, pid: int = 0) -> None:
        """Move a process (0: the caller) into it, everywhere."""
        raise NotImplementedError

    def freeze(self) -> None:
        """Stop every process in it, and return when all are stopped."""
        raise NotImplementedError

    def thaw(self) -> None:
        raise NotImplementedError

    @property
    def frozen(self) -> bool:
        raise NotImplementedError

    def kill(self) -> None:
        """SIGKILL to all in it and below; thaws it. Returns at once."""
        raise NotImplementedError

    def pids(self) -> "list[int]":
        """Processes in it and below, as this pid namespace numbers them."""
        raise NotImplementedError

    def counters(self) -> Counters:
        raise NotImplementedError

    def oom_kills(self) -> int:
        """How often the kernel has killed in it for want of memory."""
        raise NotImplementedError

    def delete(self) -> None:
        """Remove it and what is below; what is gone already is fine. Raises OSError EBUSY while processes are in it."""
        raise NotImplementedError
