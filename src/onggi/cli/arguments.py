"""Options and words of one command, read by the rules of spf13/pflag, which Docker uses.

Kinds: bool, string, list (may be given many times), strings (comma-separated, many times), int, uint16, uint64, bytes,
decimal, duration, map, filter, and a few with a grammar of their own. "list:env" is a list whose items are checked by
`values.check_env`. What costs more than a comparison is in `values`, which is loaded when such an option is given.
"""

from onggi.cli.failure import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from onggi.cli.command import Command, Option

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_LISTS = frozenset(("list", "strings", "map", "filter", "stringToString", "mount", "network", "ulimit", "gpu-request"))


class Arguments:
    """What was given to `command`: `words`, and options by name. `help` is "--help" or "-h"."""

    __slots__ = ("command", "help", "values", "words")

    def __init__(self, command: "Command") -> None:
        self.command = command
        self.words: list[str] = []
        self.values: dict[str, Any] = {}
        self.help = ""

    def given(self, name: str) -> bool:
        return name in self.values

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self.values.get(name, default)
        return value is True

    def text(self, name: str, default: str = "") -> str:
        return str(self.values.get(name, default))

    def number(self, name: str, default: int = 0) -> int:
        return int(self.values.get(name, default))

    def texts(self, name: str) -> "list[str]":
        """The values of an option that may be given many times, in order."""
        return list(self.values.get(name, ()))

    def objects(self, name: str) -> "list[Any]":
        """As `texts`, for options whose values are parsed into objects (mounts, networks, ulimits)."""
        return list(self.values.get(name, ()))


def spelling(option: "Option") -> str:
    """The option as messages name it: "-m, --memory"."""
    return f"-{option[1]}, --{option[0]}" if option[1] else f"--{option[0]}"


def quoted(text: str) -> str:
    """Go's %q, as far as a command line needs it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'


def _store(found: Arguments, option: "Option", text: str) -> None:
    name, kind = option[0], option[2]
    value: Any = text
    try:
        if kind == "bool":
            value = text in _TRUE
            if not value and text not in _FALSE:
                raise ValueError(f"strconv.ParseBool: parsing {quoted(text)}: invalid syntax")
        elif kind not in ("string", "list"):
            from onggi.cli import values

            value = values.convert(kind, text)
    except ValueError as error:
        raise UsageError(f'invalid argument {quoted(text)} for "{spelling(option)}" flag: {error}') from None
    kind = kind.partition(":")[0]
    if kind in ("strings", "stringToString"):
        found.values.setdefault(name, []).extend(value)
    elif kind in _LISTS:
        found.values.setdefault(name, []).append(value)
    else:
        found.values[name] = value


def _long(found: Arguments, options: "dict[str, Option]", word: str, rest: "list[str]") -> None:
    name, equals, text = word[2:].partition("=")
    if not name or name[0] == "-":
        raise UsageError(f"bad flag syntax: {word}")
    if name == "help":
        found.help = "--help"
        return
    option = options.get(name)
    if option is None:
        raise UsageError(f"unknown flag: --{name}")
    if not equals:
        if option[2] == "bool":
            text = "true"
        elif rest:
            text = rest.pop(0)
        else:
            raise UsageError(f"flag needs an argument: --{name}")
    _store(found, option, text)


def _short(found: Arguments, shorts: "dict[str, Option]", word: str, rest: "list[str]") -> None:
    letters = word[1:]
    while letters:
        option = shorts.get(letters[0])
        if option is None:
            if letters[0] == "h":
                found.help = "-h"
                return
            raise UsageError(f"unknown shorthand flag: {letters[0]!r} in -{letters}")
        if len(letters) > 2 and letters[1] == "=":
            text, letters = letters[2:], ""
        elif option[2] == "bool":
            text, letters = "true", letters[1:]
        elif len(letters) > 1:
            text, letters = letters[1:], ""
        elif rest:
            text, letters = rest.pop(0), ""
        else:
            raise UsageError(f"flag needs an argument: {letters[0]!r} in -{letters}")
        _store(found, option, text)


def parse(command: "Command", words: "Sequence[str]") -> Arguments:
    """Read the words after the command's name. Raises UsageError in Docker's words."""
    found = Arguments(command)
    options = {option[0]: option for option in command.options}
    shorts = {option[1]: option for option in command.options if option[1]}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            found.words += rest
            break
        if len(word) < 2 or word[0] != "-":
            found.words.append(word)
            if not command.interspersed:
                found.words += rest
                break
        elif word[1] == "-":
            _long(found, options, word, rest)
        else:
            _short(found, shorts, word, rest)
        if found.help:
            break
    return found


def check_count(command: "Command", count: int) -> "str | None":
    """Docker's sentence when a command gets the wrong number of words, without the command's name; None when right."""
    least, most = command.arguments
    if count >= least and (most is None or count <= most):
        return None
    if most == 0:
        return "accepts no arguments"
    if least == most:
        return f"requires {least} argument{'s' if least != 1 else ''}"
    if most is None:
        return f"requires at least {least} argument{'s' if least != 1 else ''}"
    if least == 0:
        return f"requires at most {most} argument{'s' if most != 1 else ''}"
    return f"requires at least {least} and at most {most} arguments"
