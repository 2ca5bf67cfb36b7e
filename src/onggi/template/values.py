"""The values a template sees: what they are called, whether they count as true, how they print (Go's fmt, %v)."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class Struct(dict):  # type: ignore[type-arg]
    """An object with a fixed set of members, in order: an unknown one is an error, and it prints as {value value}.

    `absent` holds members that are left out when they are empty, with the value they then have.
    """

    __slots__ = ("absent", "type_name")

    def __init__(
        self, members: "Mapping[str, Any]", type_name: str = "struct", *, absent: "Mapping[str, Any] | None" = None
    ) -> None:
        super().__init__(members)
        self.type_name = type_name
        self.absent = absent or {}


class StringMap(dict):  # type: ignore[type-arg]
    """A map of strings: `index` of a key that is not there gives "". Prints as map[]; JSON null where `null`."""

    __slots__ = ("null",)

    def __init__(self, members: "Mapping[str, Any]", *, null: bool = False) -> None:
        super().__init__(members)
        self.null = null


class NullList(list):  # type: ignore[type-arg]
    """An absent list: prints as [], is null in JSON."""

    __slots__ = ()


class NoValue:
    """What a map gives for a key that it does not have. Prints as <no value>; a field of it is again no value."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return "<no value>"


NO_VALUE = NoValue()


class RowType:
    """What a line of a table can tell: fields by name, functions of the line's data; `methods` take a text too."""

    __slots__ = ("fields", "methods", "name")

    def __init__(
        self,
        name: str,
        fields: "Mapping[str, Callable[[Any], Any]]",
        methods: "Mapping[str, Callable[[Any, str], Any]] | None" = None,
    ) -> None:
        self.name = name
        self.fields = fields
        self.methods = methods or {}


class Row:
    """A line of a table: data, and fields computed from it when asked for."""

    __slots__ = ("data", "kind")

    def __init__(self, kind: RowType, data: "Any") -> None:
        self.kind = kind
        self.data = data

    @property
    def type_name(self) -> str:
        return self.kind.name

    def field(self, name: str) -> "Any":
        return self.kind.fields[name](self.data)

    def members(self) -> "dict[str, Any]":
        """All fields by name, sorted, as Docker's {{json .}} gives them."""
        return {name: self.field(name) for name in sorted(self.kind.fields)}


def type_of(value: "Any") -> str:
    """Go's name for a value's type, as errors have it."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        return "string"
    if isinstance(value, (Row, Struct)):
        return value.type_name
    if isinstance(value, StringMap):
        return "map[string]string"
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]string" if value and all(isinstance(item, str) for item in value) else "[]interface {}"
    return type(value).__name__


def truth(value: "Any") -> bool:
    """Go's template truth: not false, zero, nil or empty. Structures are always true."""
    return isinstance(value, (Struct, Row)) or bool(value)


def number(value: float) -> str:
    """A float as %v prints it: shortest digits, an exponent below 1e-4 and from 1e21 on."""
    if str(value) == "nan":
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    digits, _, exponent = f"{value!r}".partition("e")
    if (not exponent and 1e-4 <= abs(value) < 1e21) or value == 0:
        return digits.removesuffix(".0")
    if (exponent and abs(value) >= 1e21) or abs(value) < 1e-4:
        if not exponent:
            digits, _, exponent = f"{value:e}".partition("e")
            digits = digits.rstrip("0").rstrip(".")
        return (
            f"{digits.removesuffix('.0')}e{exponent[0] if exponent[0] in '+-' else '+'}{exponent.lstrip('+-').zfill(2)}"
        )
    return f"{value:.0f}"


def text(value: "Any") -> str:
    """%v."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Struct):
        return "{" + " ".join(text(item) for item in value.values()) + "}"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{text(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(text(item) for item in value) + "]"
    if isinstance(value, Row):
        return "{" + " ".join(text(item) for item in value.members().values()) + "}"
    return str(value)
