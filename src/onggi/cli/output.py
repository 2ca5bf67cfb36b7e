"""Tables and --format: columns as Go's text/tabwriter lays them out, templates only when one is asked for."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from onggi.template.evaluator import Template
    from onggi.template.values import RowType

_MINIMUM, _PADDING = 10, 3
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def safe(text: str, keep: str = "") -> str:
    """The text with control, bidi and other invisible characters escaped: what others wrote must not steer a terminal.

    Characters of `keep` stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _ESCAPES.get(c) or _code(c) for c in text)


def _code(c: str) -> str:
    number = ord(c)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def align(lines: "Sequence[Sequence[str]]", *, minimum: int = _MINIMUM, padding: int = _PADDING) -> str:
    """Lines of cells as text/tabwriter writes them: a column is as wide as its widest cell in adjacent lines that have
    it; the last cell of a line belongs to no column and is not padded."""
    widths: list[list[int]] = [[0] * max(len(line) - 1, 0) for line in lines]
    columns = max((len(row) for row in widths), default=0)
    for column in range(columns):
        start = 0
        while start < len(lines):
            if len(widths[start]) <= column:
                start += 1
                continue
            end = start
            while end < len(lines) and len(widths[end]) > column:
                end += 1
            width = max(minimum, *(len(lines[at][column]) + padding for at in range(start, end)))
            if all(not lines[at][column] for at in range(start, end)) and not minimum:
                width = 0
            for at in range(start, end):
                widths[at][column] = width
            start = end
    out = []
    for line, row in zip(lines, widths, strict=True):
        out.append(
            "".join(cell.ljust(width) for cell, width in zip(line, row, strict=False)) + (line[-1] if line else "")
        )
        out.append("\n")
    return "".join(out)


class Listing:
    """How a list of things is printed: row type, headers by field, the default columns."""

    __slots__ = ("columns", "headers", "kind")

    def __init__(self, kind: "RowType", headers: "Mapping[str, str]", columns: "Sequence[str]") -> None:
        self.kind = kind
        self.headers = headers
        self.columns = columns


def _unescaped(text: str) -> str:
    return text.replace("\\t", "\t").replace("\\n", "\n")


def parse_template(text: str, *, name: str = "", functions: "Mapping[str, Any] | None" = None) -> "Template":
    """Raises Failure with Docker's sentence."""
    from onggi.cli.failure import Failure
    from onggi.template.evaluator import Template
    from onggi.template.failure import TemplateError
    from onggi.template.functions import FUNCTIONS

    try:
        return Template(text, name=name, functions=functions or FUNCTIONS)
    except TemplateError as error:
        raise Failure(f"failed to parse template: {error}") from None


def execute(template: "Template", value: "Any") -> str:
    """Raises Failure with Docker's sentence."""
    from onggi.cli.failure import Failure
    from onggi.template.failure import TemplateError

    try:
        return template.execute(value)
    except TemplateError as error:
        raise Failure(f"failed to execute template: {error}") from None


def shown(text: str) -> str:
    """What a template made, fit for where it goes: on a terminal nothing of others' may steer it."""
    return safe(text, "\n\t") if sys.stdout.isatty() else text


def _last_segment(name: str) -> str:
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")


def _always(text: str) -> "Callable[[Any], str]":
    return lambda data: text


def _header(listing: Listing, text: str) -> str:
    """The header line of a "table …" template: the template over the fields' headers."""
    from onggi.template.functions import FUNCTIONS, Function
    from onggi.template.values import Row, RowType

    same = Function(lambda value: value, "any")
    functions = {**FUNCTIONS, **dict.fromkeys(("json", "title", "lower", "upper"), same)}
    functions["truncate"] = Function(lambda value, count: value, "any", "any")
    fields: dict[str, Callable[[Any], Any]] = {
        name: _always(listing.headers.get(name, "")) for name in listing.kind.fields
    }
    methods: dict[str, Callable[[Any, str], Any]] = {
        name: (lambda data, argument: _last_segment(argument)) for name in listing.kind.methods
    }
    kind = RowType(listing.kind.name, fields, methods)
    return execute(parse_template(text, functions=functions), Row(kind, None))


def render(listing: Listing, data: "Iterable[Any]", form: str = "") -> str:
    """All lines. `form` is --format: "" or "table" for the default columns, "table TEMPLATE", "json", "TEMPLATE"."""
    if form in ("", "table"):
        getters = [listing.kind.fields[name] for name in listing.columns]
        lines = [[listing.headers[name] for name in listing.columns]]
        lines += [[safe(str(getter(item))) for getter in getters] for item in data]
        return align(lines)
    from onggi.template.values import Row

    rows = [Row(listing.kind, item) for item in data]
    if form == "json":
        from onggi.template.json import dumps

        return "".join(dumps(row, html=True) + "\n" for row in rows)
    table = form.startswith("table") and form[5:6] in (" ", "\t", "")
    text = _unescaped(form[5:].strip() if table else form)
    template = parse_template(text)
    bodies = [execute(template, row) for row in rows]
    if not table:
        return shown("".join(body + "\n" for body in bodies))
    bodies.insert(0, _header(listing, text))
    lines = [[safe(cell) for cell in line.split("\t")] for body in bodies for line in body.split("\n")]
    return align(lines)
