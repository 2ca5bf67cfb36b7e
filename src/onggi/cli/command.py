"""The shape of a row of the command table. Parser, help, completion and the reference pages are made of these."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Option: TypeAlias = tuple[str, str, str, str]
    """Name, one-letter name or "", kind (see arguments.py), help or "" for an option that is not shown."""


class Command:
    """One command: what it is called, takes and runs.

    `path` is the canonical name ("container ls"); `usage` what follows it in the usage line; `arguments` the least and
    greatest number of words it takes (None: any); `run` names the function that carries it out, "module:function".
    `own` are options that Docker does not have: `options` holds them after Docker's, `--help` shows them apart.
    `interspersed` is False where the first word that is no option ends the options (run, create, exec, top).
    """

    __slots__ = (
        "aliases",
        "arguments",
        "description",
        "interspersed",
        "options",
        "own",
        "path",
        "run",
        "summary",
        "usage",
    )

    def __init__(
        self,
        path: str,
        usage: "str | tuple[str, ...]",
        summary: str,
        *,
        run: str,
        arguments: "tuple[int, int | None]" = (0, None),
        options: "tuple[Option, ...]" = (),
        own: "tuple[Option, ...]" = (),
        aliases: "tuple[str, ...]" = (),
        description: str = "",
        interspersed: bool = True,
    ) -> None:
        self.path = path
        self.usage = usage
        self.summary = summary
        self.run = run
        self.arguments = arguments
        self.options = options + own
        self.own = own
        self.aliases = aliases
        self.description = description or summary
        self.interspersed = interspersed
