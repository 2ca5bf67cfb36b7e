"""Go's Sprintf, for what templates print."""

from onggi.template.lexer import quote
from onggi.template.values import Row, number, text, type_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WIDEST = 1_000_000
"""Go refuses wider fields too."""


class _Verb:
    """One %… of a format."""

    __slots__ = ("flags", "letter", "precision", "width")

    def __init__(self, flags: str, width: "int | None", precision: "int | None", letter: str) -> None:
        self.flags = flags
        self.width = width
        self.precision = precision
        self.letter = letter

    def pad(self, body: str, *, numeric: bool = False) -> str:
        missing = (self.width or 0) - len(body)
        if missing <= 0:
            return body
        if "-" in self.flags:
            return body + " " * missing
        if "0" in self.flags and numeric:
            sign = body[:1] if body[:1] in ("-", "+") else ""
            return sign + "0" * missing + body[len(sign) :]
        return " " * missing + body


def _integer(verb: _Verb, value: int) -> str:
    sign = "-" if value < 0 else "+" if "+" in verb.flags else " " if " " in verb.flags else ""
    base = {"d": "d", "v": "d", "b": "b", "o": "o", "x": "x", "X": "X"}[verb.letter]
    digits = format(abs(value), base)
    if "#" in verb.flags:
        digits = {"b": "0b", "o": "0", "x": "0x", "X": "0X"}.get(verb.letter, "") + digits
    if verb.precision is not None:
        digits = digits.rjust(verb.precision, "0")
    return verb.pad(sign + digits, numeric=verb.precision is None)


def _float(verb: _Verb, value: float) -> str:
    if (verb.letter == "v" and verb.precision is None) or (verb.letter in "gGv" and verb.precision is None):
        body = number(value)
    else:
        letter = "g" if verb.letter == "v" else verb.letter
        body = format(value, f".{6 if verb.precision is None else verb.precision}{letter}")
    if "+" in verb.flags and not body.startswith("-"):
        body = "+" + body
    return verb.pad(body, numeric=True)


def _string(verb: _Verb, value: str) -> str:
    if verb.precision is not None:
        value = value[: verb.precision]
    if verb.letter == "q":
        value = f"`{value}`" if "#" in verb.flags and "`" not in value else quote(value)
    elif verb.letter in "xX":
        data = value.encode("utf-8", "surrogatepass")
        digits = data.hex(" ") if " " in verb.flags else data.hex()
        value = digits.upper() if verb.letter == "X" else digits
    return verb.pad(value)


def _one(verb: _Verb, value: "Any") -> str:
    letter = verb.letter
    if letter == "T":
        return verb.pad(type_of(value))
    if isinstance(value, bool):
        if letter in "tv":
            return verb.pad("true" if value else "false")
    elif isinstance(value, int):
        if letter in "dvboxX":
            return _integer(verb, value)
        if letter in "cqU" and 0 <= value <= 0x10FFFF:
            shown = {"c": chr(value), "q": f"'{chr(value)}'", "U": f"U+{value:04X}"}[letter]
            return verb.pad(shown)
    elif isinstance(value, float):
        if letter in "vgGeEfF":
            return _float(verb, value)
    elif isinstance(value, str):
        if letter in "vsqxX":
            return _string(verb, value)
    elif letter == "v" or (value is None and letter == "v"):
        return verb.pad(text(value))
    elif isinstance(value, (list, tuple)) and letter in "sqdxX":
        return "[" + " ".join(_one(verb, item) for item in value) + "]"
    elif isinstance(value, dict) and letter in "sqd":
        return "map[" + " ".join(f"{_one(verb, key)}:{_one(verb, value[key])}" for key in sorted(value)) + "]"
    elif isinstance(value, Row) and letter == "s":
        return verb.pad(text(value))
    if value is None:
        return f"%!{letter}(<nil>)"
    return f"%!{letter}({type_of(value)}={text(value)})"


def _digits(form: str, at: int) -> "tuple[int | None, int]":
    end = at
    while form[end : end + 1].isascii() and form[end : end + 1].isdigit():
        end += 1
    return (int(form[at : min(end, at + 9)]) if end > at else None), end


def sprintf(form: str, *values: "Any") -> str:
    """Go's fmt.Sprintf, with its notes on wrong formats ("%!d(string=x)")."""
    result = []
    at = used = 0
    while True:
        mark = form.find("%", at)
        if mark < 0:
            result.append(form[at:])
            break
        result.append(form[at:mark])
        at = mark + 1
        flags = ""
        while form[at : at + 1] and form[at] in "+-# 0":
            flags += form[at]
            at += 1
        width: int | None
        if form[at : at + 1] == "*":
            at += 1
            given = values[used] if used < len(values) else None
            used += 1
            width = given if isinstance(given, int) and not isinstance(given, bool) else None
            if width is None or abs(width) > _WIDEST:
                result.append("%!(BADWIDTH)")
                width = None
            elif width < 0:
                flags, width = flags + "-", -width
        else:
            width, at = _digits(form, at)
        precision: int | None = None
        if form[at : at + 1] == ".":
            precision, at = _digits(form, at + 1)
            precision = precision or 0
        letter = form[at : at + 1]
        at += 1
        if not letter:
            result.append("%!(NOVERB)")
            break
        if (width or 0) > _WIDEST or (precision or 0) > _WIDEST:
            result.append("%!(BADWIDTH)" if (width or 0) > _WIDEST else "%!(BADPREC)")
            width = precision = None
        if letter == "%":
            result.append("%")
        elif used >= len(values):
            result.append(f"%!{letter}(MISSING)")
        else:
            result.append(_one(_Verb(flags, width, precision, letter), values[used]))
            used += 1
    if used < len(values):
        extra = ", ".join(f"{type_of(value)}={text(value)}" for value in values[used:])
        result.append(f"%!(EXTRA {extra})")
    return "".join(result)
