"""The steps of a start: what a step is, what steps share, and how a plan crosses to the process that executes it.

A plan is a list of steps in order. Those before `Clone` are executed by the shim; `Clone` makes the child; the rest is
executed by the child, whose last step is `Execute`. Each step describes itself, so a plan can be printed and compared.
"""

from onggi import jsontext
from onggi.linux import message
from onggi.linux.fd import Fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class StartFailure(Exception):
    """The process did not reach its execve. Crosses process boundaries as `data()`; `load` is the way back."""

    def __init__(self, step: str, code: int, text: str, exit_status: int) -> None:
        super().__init__(text)
        self.step = step
        """Name of the step that failed."""
        self.code = code
        """errno, or 0."""
        self.text = text
        """One sentence, ready to show: `exec: "nope": executable file not found in $PATH`."""
        self.exit_status = exit_status
        """What a command that wanted this process ends with: 127 not found, 126 cannot be run, else 128."""

    def data(self) -> "list[Any]":
        return [self.step, self.code, self.text, self.exit_status]

    @classmethod
    def load(cls, data: "list[Any]") -> "StartFailure":
        step, code, text, exit_status = data
        return cls(str(step), int(code), str(text), int(exit_status))


class Setup:
    """What the steps of one start share. Every descriptor here is close-on-exec and belongs to this process."""

    __slots__ = (
        "cgroup",
        "channel",
        "dev",
        "entered",
        "environment",
        "files",
        "home",
        "identity",
        "namespaces",
        "null",
        "proc",
        "program",
        "root",
        "sources",
        "terminal",
    )

    def __init__(self, files: "dict[str, int]") -> None:
        self.files = files
        """Descriptors of the caller, by the names that steps use."""
        self.channel: Fd | None = None
        """To the parent, in the child."""
        self.namespaces: list[Fd] = []
        """Those of the caller, where a step has entered others: what the shim has to return to after the clone."""
        self.cgroup: Fd | None = None
        """The v2 group the child is born into."""
        self.root: Fd | None = None
        """Top of the container's root."""
        self.proc: Fd | None = None
        """A procfs of our own, opened before anything of the container's was mounted (rule 2)."""
        self.dev: Fd | None = None
        """Top of the new /dev."""
        self.null: Fd | None = None
        """A null device, checked."""
        self.sources: dict[int, Fd] = {}
        """Detached copies of what is bind-mounted, by number."""
        self.terminal: Fd | None = None
        """The slave of the container's pty."""
        self.identity: tuple[int, int, list[int]] | None = None
        """uid, gid, all groups, once resolved."""
        self.home = "/"
        """Home directory of the user in the container's passwd."""
        self.entered = False
        """The working directory has been entered."""
        self.program = ""
        """Path of the program, found in the container."""
        self.environment: dict[bytes, bytes] = {}

    def forget(self) -> None:
        """Every descriptor but the channel has been closed by number: nothing here may close one again."""
        own = (self.root, self.proc, self.dev, self.null, self.terminal, self.cgroup)
        for owned in (*own, *self.sources.values(), *self.namespaces):
            if owned is not None and not owned.closed:
                owned.take()
        self.root = self.proc = self.dev = self.null = self.terminal = self.cgroup = None
        self.sources = {}
        self.namespaces = []

    def root_fd(self) -> Fd:
        if self.root is None:
            raise StartFailure("Setup", 0, "the plan has no root before this step", 128)
        return self.root

    def tell(self, *words: "Any", descriptors: "tuple[Fd, ...]" = ()) -> None:
        """Send a message to the parent."""
        if self.channel is not None:
            message.send(self.channel, jsontext.dumps(list(words)).encode(), descriptors)

    def ask(self, *words: "Any") -> str:
        """Send a message and wait for the parent's consent, and what it says with it.

        Raises StartFailure with its refusal.
        """
        if self.channel is None:
            raise StartFailure(str(words[0]), 0, "there is no parent to ask", 128)
        self.tell(*words)
        answer = message.receive(self.channel)
        if answer is None:
            raise StartFailure(str(words[0]), 0, "the parent is gone", 128)
        answer.close()
        verdict = jsontext.loads(answer.payload)
        if verdict[0] != "go":
            raise StartFailure(str(words[0]), 0, str(verdict[1]), 128)
        return str(verdict[1]) if len(verdict) > 1 else ""


class Step:
    """One step. `FIELDS` names its parameters in the order of its constructor; every value has a JSON form."""

    FIELDS: "tuple[str, ...]" = ()

    def __init__(self, *values: "Any") -> None:
        for field, value in zip(self.FIELDS, values, strict=True):
            setattr(self, field, value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and self.data() == other.data()

    __hash__ = None  # type: ignore[assignment]

    @property
    def name(self) -> str:
        return type(self).__name__

    def data(self) -> "list[Any]":
        return [self.name, *(getattr(self, field) for field in self.FIELDS)]

    def describe(self) -> str:
        """One line for people: the step and those parameters that say something."""
        words = [f"{field}={jsontext.dumps(getattr(self, field))}" for field in self.FIELDS if getattr(self, field)]
        return " ".join([self.name, *words])

    def execute(self, setup: Setup) -> None:
        """Do it. Raises OSError (the caller adds `subject()`), or StartFailure with a sentence of its own."""
        raise NotImplementedError

    def subject(self) -> str:
        """What the step was about, for the sentence that reports its failure."""
        return self.describe()


def load(plan: "list[Any]", kinds: "dict[str, type[Step]]") -> "list[Step]":
    """Steps from their data. Raises ValueError for what is no plan of this version."""
    steps = []
    for data in plan:
        kind = kinds.get(data[0])
        if kind is None:
            raise ValueError(f"unknown step {data[0]!r}")
        steps.append(kind(*data[1:]))
    return steps


def failure_of(step: Step, error: BaseException) -> StartFailure:
    """What is told about a step that raised."""
    if isinstance(error, StartFailure):
        return error
    if isinstance(error, OSError):
        where = f" {error.filename}" if isinstance(error.filename, str) and error.filename else ""
        return StartFailure(step.name, error.errno or 0, f"{step.subject()}:{where} {lower(error)}", 128)
    return StartFailure(step.name, 0, f"{step.subject()}: {type(error).__name__}: {error}", 128)


def lower(error: OSError) -> str:
    """errno in Go's words, which scripts match on: without a capital."""
    words = error.strerror or "error"
    return words[:1].lower() + words[1:]
