"""The reference page of all commands, made of the same rows as the parser and --help.

`python -m onggi.cli.reference > docs/reference/commands.md`; a test holds the page to the rows.
"""

from onggi.cli.arguments import spelling
from onggi.cli.help import OWN
from onggi.cli.main import GLOBAL
from onggi.cli.other import NOT_THERE
from onggi.cli.table import FAMILIES, summaries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from onggi.cli.command import Command, Option

_HEAD = """# Commands

Every command and option of `onggi`. They are Docker's: the same names, the same meaning, the same exit status. This page
is made of the table that the parser reads (`python -m onggi.cli.reference`).

Where the engine is: `-H`, else `ONGGI_HOST`, else `DOCKER_HOST`, else the context (`--context`, `DOCKER_CONTEXT`,
`onggi context use`), else `/run/onggi/onggi.sock`. If nobody listens there and you are root, the engine is started; set
`ONGGI_AUTOSTART=0` to forbid that. Addresses are `unix://PATH`, `tcp://HOST:PORT` and `ssh://USER@HOST`.
"""
_ENDINGS = """
## Exit status

| status | when |
|---|---|
| 0 | it went well, or you detached |
| the container's own | `run`, `start --attach`, `attach`, `exec` |
| 1 | the engine refused, or a command was used with too few or too many words |
| 125 | an option does not exist or makes no sense, or `run` could not run the container |
| 126, 127 | `run`: the program cannot be executed, or is not there |
| 128 + n | the command was ended by signal n |
"""


def _cell(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|").replace("\n", "<br>")


def _options(rows: "tuple[Option, ...]") -> "Iterator[str]":
    shown = [option for option in rows if option[3]]
    if not shown:
        return
    yield "| option | takes | |\n|---|---|---|\n"
    for option in shown:
        kind = option[2].partition(":")[0]
        yield f"| `{spelling(option)}` | {'' if kind == 'bool' else kind} | {_cell(option[3])} |\n"
    yield "\n"


def _command(row: "Command") -> "Iterator[str]":
    yield f"### onggi {row.path}\n\n"
    usages = (row.usage,) if isinstance(row.usage, str) else row.usage
    lines = "\n".join(f"onggi {row.path} {usage}".rstrip() for usage in usages)
    yield f"```\n{lines}\n```\n\n{row.description}\n\n"
    others = [alias for alias in row.aliases if alias != row.path]
    if others:
        yield "Also: " + ", ".join(f"`onggi {alias}`" for alias in others) + "\n\n"
    yield from _options(row.options[: len(row.options) - len(row.own)])
    if row.own:
        yield f"{OWN}:\n\n"
        yield from _options(row.own)


def page() -> str:
    """The whole page as Markdown."""
    parts = [_HEAD, "\n## Global options\n\n"]
    folder = "~/.docker"
    for name, short, kind, text in GLOBAL.options:
        text = text.replace("{folder}", folder).replace("{folder/", folder + "/").replace(".pem}", ".pem")
        parts += [line for line in _options(((name, short, kind, text),)) if line.startswith("| `")]
    parts.insert(2, "| option | takes | |\n|---|---|---|\n")
    parts.append(_ENDINGS)
    groups = [(f"{name}: {text[0].lower()}{text[1:]}", name) for name, text in sorted(summaries.GROUPS.items())]
    for title, group in [*groups, ("Others", "")]:
        parts.append(f"\n## {title}\n\n")
        paths = [path for path in sorted(FAMILIES) if (path.partition(" ")[0] == group if group else " " not in path)]
        for path in paths:
            parts += _command(summaries.row(path))
    parts.append("## Not there\n\nThese words of Docker's are answered with a sentence:\n\n")
    parts += [f"- `{name}`: {text.format(name=f'onggi {name}')}\n" for name, text in sorted(NOT_THERE.items())]
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")
