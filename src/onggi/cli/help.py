"""--help in Docker's layout: spf13/cobra's template, spf13/pflag's columns and line breaks."""

import os

from onggi.cli.failure import PROGRAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from onggi.cli.command import Command, Option

OWN = "Options that Docker does not have"
_SLOP = 5
"""How far a last word may run over the line, so that it need not stand alone on the next."""


def width() -> int:
    """Columns of the terminal on standard input, as Docker looks it up; 80 without one."""
    try:
        return os.get_terminal_size(0).columns or 80
    except OSError:
        return 80


def _cut(limit: int, text: str) -> "tuple[str, str]":
    if limit + _SLOP > len(text):
        return text, ""
    space = max(text.rfind(c, 0, limit) for c in " \t\n")
    if space <= 0:
        return text, ""
    line_end = text.rfind("\n", 0, limit)
    if 0 < line_end < space:
        return text[:line_end], text[line_end + 1 :]
    return text[:space], text[space + 1 :]


def _wrap(indent: int, columns: int, text: str) -> str:
    room = columns - indent
    lead = ""
    if room < 24:
        indent = 16
        room = columns - indent
        lead = "\n" + " " * indent
    if room < 24:
        return text.replace("\n", lead)
    room -= _SLOP
    margin = "\n" + " " * indent
    line, text = _cut(room, text)
    result = lead + line.replace("\n", margin)
    while text:
        line, text = _cut(room, text)
        result += margin + line.replace("\n", margin)
    return result


_SHOWN_KINDS = {"bool": "", "strings": "strings"}


def options(rows: "Iterable[Option]", columns: int) -> str:
    """The lines below "Options:"."""
    lines = []
    for name, short, kind, text in rows:
        if not text:
            continue
        kind = kind.partition(":")[0]
        left = f"  -{short}, --{name}" if short else f"      --{name}"
        shown = _SHOWN_KINDS.get(kind, kind)
        lines.append((f"{left} {shown}" if shown else left, text))
    widest = max((len(left) for left, _ in lines), default=0) + 1
    return "".join(f"{left} {' ' * (widest - len(left))} {_wrap(widest + 2, columns, text)}\n" for left, text in lines)


def command(row: "Command", name: str) -> str:
    """The help of one command, called `name`."""
    usages = (row.usage,) if isinstance(row.usage, str) else row.usage
    text = "Usage:  " + "\n\t".join(f"{PROGRAM} {name} {usage}".rstrip() for usage in usages)
    text += f"\n\n{row.description}\n"
    if row.aliases:
        text += "\nAliases:\n  " + ", ".join(f"{PROGRAM} {alias}" for alias in row.aliases) + "\n"
    shown = options(row.options[: len(row.options) - len(row.own)], width() - 1)
    if shown:
        text += f"\nOptions:\n{shown}"
    if row.own:
        text += f"\n{OWN}:\n{options(row.own, width() - 1)}"
    return text


def commands(rows: "Iterable[tuple[str, str]]") -> str:
    """Names and summaries below "Commands:"."""
    lines = list(rows)
    widest = max(11, *(len(name) for name, _ in lines))
    return "".join(f"  {name.ljust(widest)} {summary}\n" for name, summary in lines)


def group(name: str) -> str:
    """The help of a word that needs a second one."""
    from onggi.cli.table import summaries

    rows = [(path.partition(" ")[2], text) for path, text in summaries.commands_of(name)]
    return (
        f"Usage:  {PROGRAM} {name} COMMAND\n\n{summaries.GROUPS[name]}\n\nCommands:\n{commands(rows)}\n"
        f"Run '{PROGRAM} {name} COMMAND --help' for more information on a command.\n"
    )


def root(folder: str) -> str:
    """The help of the program itself."""
    from onggi.cli.main import GLOBAL
    from onggi.cli.table import summaries

    text = f"Usage:  {PROGRAM} [OPTIONS] COMMAND\n\n{GLOBAL.summary}\n"
    for title, rows in summaries.root():
        text += f"\n{title}:\n{commands(rows)}"
    shown = []
    for name, short, kind, words in GLOBAL.options:
        words = words.replace("{folder}", f'"{folder}"')
        if "{folder/" in words:
            before, _, after = words.partition("{folder/")
            words = before + '"' + os.path.join(folder, after.partition("}")[0]) + '"' + after.partition("}")[2]
        shown.append((name, short, kind, words))
    text += f"\nGlobal Options:\n{options(shown, width() - 1)}\n"
    return text + f"Run '{PROGRAM} COMMAND --help' for more information on a command.\n"
