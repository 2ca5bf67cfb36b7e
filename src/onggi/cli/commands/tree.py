"""`images --tree`: images with their platforms below them. After docker/cli: cli/command/image/tree.go."""

import sys

from onggi.cli import terminal, units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

_WARNING = "WARNING: This is an experimental feature. The output may change and shouldn't be depended on."
_COLUMNS = (("IMAGE", 0), ("ID", 12), ("DISK USAGE", 10), ("CONTENT SIZE", 12), ("EXTRA", 5))
"""Heads and widths; the first takes what is left."""
_SPACING = 3
_LEAST = 12
"""What the first column needs: before it gets less, the last columns are left out."""
_WIDTH = 80
"""Where there is no terminal."""
_BOLD, _RESET, _PLAIN, _BLUE, _DIM = "\x1b[1m", "\x1b[0m", "\x1b[39m", "\x1b[34m", "\x1b[2m"
_CHIP, _WARN, _CYAN, _INFO = "\x1b[38;5;0m\x1b[48;5;14m", "\x1b[93m", "\x1b[96m", "\x1b[1m\x1b[106m\x1b[30m"


class Line:
    """A name with its numbers: of an image (with its other names above it) or of one of its platforms."""

    __slots__ = ("child", "missing", "names", "numbers", "used")

    def __init__(
        self, names: "Sequence[str]", numbers: "Sequence[str]", *, used: bool, child: bool, missing: bool
    ) -> None:
        self.names = names
        self.numbers = numbers
        self.used = used
        self.child = child
        self.missing = missing


def _numbers(identity: str, size: int, content: int) -> "tuple[str, str, str]":
    return identity.removeprefix("sha256:")[:12], units.decimal(size, 3), units.decimal(content, 3)


def _platform(found: "dict[str, Any]") -> str:
    return "/".join(part for part in (found.get("os"), found.get("architecture"), found.get("variant")) if part)


def blocks(images: "Sequence[dict[str, Any]]") -> "Iterator[list[Line]]":
    """The lines of each image, itself first."""
    for image in images:
        manifests = [each for each in image.get("Manifests") or () if each["Kind"] == "image"]
        content = sum(each["Size"]["Content"] for each in manifests)
        names = sorted(image.get("RepoTags") or ()) or ["<untagged>"]
        used = (image.get("Containers") or 0) > 0
        lines = [Line(names, _numbers(image["Id"], image["Size"], content), used=used, child=False, missing=False)]
        for each in manifests:
            mark = "└─ " if each is manifests[-1] else "├─ "
            numbers = _numbers(each["ID"], each["Size"]["Total"], each["Size"]["Content"])
            lines.append(Line(
                [mark + _platform(each["ImageData"]["Platform"])], numbers, child=True,
                used=bool(each["ImageData"].get("Containers")), missing=not each["Available"],
            ))  # fmt: skip
        yield lines


def _fit(width: int, widest: int) -> "list[int]":
    """The widths of the columns that there is room for."""
    room = width
    fitting = []
    for _, needed in _COLUMNS[1:]:
        if room - needed - _SPACING < _LEAST:
            break
        room -= needed + _SPACING
        fitting.append(needed)
    return [min(room, widest), *fitting]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def show(images: "Sequence[dict[str, Any]]") -> None:
    """Print all. On a terminal with colours and within its width; elsewhere within 80 columns."""
    colours = sys.stdout.isatty()
    width = (terminal.size(sys.stdout.fileno())[1] if colours else 0) or _WIDTH
    found = list(blocks(images))
    # In bytes, as Go counts them.
    widest = max(
        (len(name.encode()) for lines in found for line in lines for name in line.names), default=len(_COLUMNS[0][0])
    )
    widths = _fit(width, widest)
    write = sys.stdout.write
    write(f"{_WARN}{_WARNING}{_RESET}\n" if colours else f"{_WARNING}\n")
    if colours:
        legend = f"{_INFO}i{_RESET}{_RESET} {_CYAN}Info → {_RESET}{_RESET} {_CHIP} U {_RESET} In Use "
        write(" " * (width - len("i Info →  U  In Use  ")) + legend + "\n\n")
    else:
        write("Info ->  U In Use ".rjust(width) + "\n\n")
    heads = [
        f"{_PLAIN}{_BOLD}{head}{_RESET}" + " " * (size - len(head))
        for (head, _), size in zip(_COLUMNS, widths, strict=False)
    ]
    write((" " * _SPACING).join(heads).rstrip() + "\n")
    spaced = any(len(lines) > 1 for lines in found)
    for lines in found:
        for line in lines:
            write(_text(line, widths, width, colours=colours))
        if spaced:
            write("\n")


def _text(line: Line, widths: "Sequence[int]", width: int, *, colours: bool) -> str:
    style = (_PLAIN + _DIM if line.missing else _PLAIN) if colours else ""
    named = style if line.child or not colours else _BLUE + _BOLD
    end = _RESET if colours else ""
    above = "".join(f"{named}{_cut(name, width)}{end}\n" for name in line.names[:-1])
    name = _cut(line.names[-1], widths[0])
    text = f"{named}{name}{end}" + " " * (widths[0] - len(name))
    chip = (f"{_CHIP} U {_RESET}  " if colours else "U    ") if line.used else "     "
    for number, (value, size) in enumerate(zip((*line.numbers, ""), widths[1:], strict=False)):
        text += " " * _SPACING
        if number == len(line.numbers):
            text += chip
        elif number == 0:
            text += f"{style}{value}{end}" + " " * (size - len(value))
        else:
            text += " " * (size - len(value)) + f"{style}{value}{end}"
    return f"{above}{text}\n"
