"""What a template may call: Go's built-in functions and those that Docker adds."""

from onggi.template.json import dumps
from onggi.template.printing import sprintf
from onggi.template.values import Row, StringMap, Struct, text, truth, type_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LIMIT = 16 << 20
"""Characters a template may make at most, in a result or in all: a template may come from far away."""


class FunctionError(Exception):
    """A function that cannot use its arguments. The evaluator adds where."""


class Function:
    """A callable, the types of its arguments ("any", "string", "strings", "int"), and of any number more."""

    __slots__ = ("call", "parameters", "rest")

    def __init__(self, call: "Callable[..., Any]", *parameters: str, rest: str = "") -> None:
        self.call = call
        self.parameters = parameters
        self.rest = rest


def _is_number(value: "Any") -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _length(value: "Any") -> int:
    if value is None:
        raise FunctionError("len of nil pointer")
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, (list, dict)) and not isinstance(value, Struct):
        return len(value)
    raise FunctionError(f"len of type {type_of(value)}")


def _index(value: "Any", *keys: "Any") -> "Any":
    for key in keys:
        if value is None:
            raise FunctionError("index of untyped nil")
        if isinstance(value, (list, str)):
            if key is None:
                raise FunctionError("cannot index slice/array with nil")
            if not _is_number(key):
                raise FunctionError(f"cannot index slice/array with type {type_of(key)}")
            items: Any = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
            if not 0 <= key < len(items):
                raise FunctionError(f"index out of range: {key}")
            value = items[key]
        elif isinstance(value, dict) and not isinstance(value, Struct):
            if key is None:
                raise FunctionError("value is nil; should be of type string")
            if not isinstance(key, str):
                raise FunctionError(f"value has type {type_of(key)}; should be string")
            value = value.get(key, "" if isinstance(value, StringMap) else None)
        else:
            raise FunctionError(f"can't index item of type {type_of(value)}")
    return value


def _slice(value: "Any", *ends: "Any") -> "Any":
    if value is None:
        raise FunctionError("slice of untyped nil")
    if len(ends) > 3:
        raise FunctionError(f"too many slice indexes: {len(ends)}")
    if not isinstance(value, (str, list)):
        raise FunctionError(f"can't slice item of type {type_of(value)}")
    if len(ends) == 3 and isinstance(value, str):
        raise FunctionError("cannot 3-index slice a string")
    for end in ends:
        if not _is_number(end):
            raise FunctionError(f"cannot index slice/array with type {type_of(end)}")
        if not 0 <= end <= len(value):
            raise FunctionError(f"index out of range: {end}")
    start, stop = (list(ends) + [0, len(value)][len(ends) :])[:2] if len(ends) < 2 else ends[:2]
    if start > stop:
        raise FunctionError(f"invalid slice index: {start} > {stop}")
    return value[start:stop]


def _kind(value: "Any") -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str):
        return "string"
    raise FunctionError("invalid type for comparison")


def _equal(first: "Any", *others: "Any") -> bool:
    if not others:
        raise FunctionError("missing argument for comparison")
    for other in others:
        if first is None or other is None:
            if first is other:
                return True
            continue
        if isinstance(first, (list, dict, Row)) or isinstance(other, (list, dict, Row)):
            raise FunctionError(f"non-comparable type {text(first)}: {type_of(first)}")
        if _kind(first) != _kind(other):
            raise FunctionError(f"incompatible types for comparison: {type_of(first)} and {type_of(other)}")
        if first == other:
            return True
    return False


def _less(first: "Any", second: "Any") -> bool:
    one, two = _kind(first), _kind(second)
    if one != two:
        raise FunctionError(f"incompatible types for comparison: {type_of(first)} and {type_of(second)}")
    if one == "bool":
        raise FunctionError("invalid type for comparison")
    return bool(first < second)


def _print(*values: "Any") -> str:
    """Go's Sprint: a space between two operands when neither is a string."""
    result = ""
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            result += " "
        result += text(value)
    return result


def _html(*values: "Any") -> str:
    result = _print(*values).replace("&", "&amp;").replace("'", "&#39;").replace("<", "&lt;").replace(">", "&gt;")
    return result.replace('"', "&#34;").replace("\0", "\ufffd")


_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}


def _js(*values: "Any") -> str:
    return "".join(_JS.get(c) or (c if c >= " " else f"\\u{ord(c):04X}") for c in _print(*values))


def _urlquery(*values: "Any") -> str:
    return "".join(
        chr(b) if chr(b).isascii() and (chr(b).isalnum() or chr(b) in "-_.~") else "+" if b == 32 else f"%{b:02X}"
        for b in _print(*values).encode("utf-8", "surrogatepass")
    )


def _call(function: "Any", *_: "Any") -> "Any":
    if function is None:
        raise FunctionError("call of nil")
    raise FunctionError(f"non-function of type {type_of(function)}")


def _bounded(count: int) -> int:
    if not 0 <= count <= LIMIT:
        raise FunctionError(f"the count {count} is out of range")
    return count


def _pad(value: str, before: int, after: int) -> str:
    return f"{' ' * _bounded(before)}{value}{' ' * _bounded(after)}" if value else value


def _title(value: str) -> str:
    result = ""
    previous = " "
    for c in value:
        letter = previous.isalnum() or (previous in "_'" and previous != " ")
        result += c if letter else c.title()
        previous = c
    return result


BUILTIN = {
    "and": Function(lambda *values: values[-1], "any", rest="any"),  # these two stop at the first that decides:
    "or": Function(lambda *values: values[-1], "any", rest="any"),  # the evaluator sees to that
    "not": Function(lambda value: not truth(value), "any"),
    "call": Function(_call, "any", rest="any"),
    "html": Function(_html, rest="any"),
    "index": Function(_index, "any", rest="any"),
    "js": Function(_js, rest="any"),
    "len": Function(_length, "any"),
    "print": Function(_print, rest="any"),
    "printf": Function(sprintf, "string", rest="any"),
    "println": Function(lambda *values: " ".join(text(value) for value in values) + "\n", rest="any"),
    "slice": Function(_slice, "any", rest="any"),
    "urlquery": Function(_urlquery, rest="any"),
    "eq": Function(_equal, "any", rest="any"),
    "ne": Function(lambda one, two: not _equal(one, two), "any", "any"),
    "lt": Function(_less, "any", "any"),
    "le": Function(lambda one, two: _less(one, two) or _equal(one, two), "any", "any"),
    "gt": Function(lambda one, two: not (_less(one, two) or _equal(one, two)), "any", "any"),
    "ge": Function(lambda one, two: not _less(one, two), "any", "any"),
}
"""Go's own."""

DOCKER = {
    "json": Function(dumps, "any"),
    "split": Function(lambda value, mark: value.split(mark) if mark else list(value), "string", "string"),
    "join": Function(lambda items, mark: mark.join(items), "strings", "string"),
    "title": Function(_title, "string"),
    "lower": Function(str.lower, "string"),
    "upper": Function(str.upper, "string"),
    "pad": Function(_pad, "string", "int", "int"),
    "truncate": Function(lambda value, count: value[: _bounded(count)], "string", "int"),
}
"""Those of docker/cli: templates/templates.go."""

FUNCTIONS = {**BUILTIN, **DOCKER}
