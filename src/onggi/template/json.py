"""JSON as Go writes it: maps sorted by key, structures in order, other alphabets as they are."""

from onggi.template.values import NullList, Row, StringMap, Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    from _json import encode_basestring, make_encoder
except ImportError:  # another Python than CPython
    import json as _standard

    def _text(value: "Any") -> str:
        return _standard.dumps(value, ensure_ascii=False, separators=(",", ":"))
else:

    def _refuse(value: object) -> object:
        raise TypeError(f"json: unsupported type: {type(value).__name__}")

    _encode = make_encoder(None, _refuse, encode_basestring, None, ":", ",", False, False, False)

    def _text(value: "Any") -> str:
        return "".join(_encode(value, 0))


def _ordered(value: "Any") -> "Any":
    """The same value with the members in Go's order and absent lists and maps as null."""
    if isinstance(value, (Struct, Row)):
        members = value.members() if isinstance(value, Row) else value
        return {str(key): _ordered(item) for key, item in members.items()}
    if isinstance(value, dict):
        if isinstance(value, StringMap) and value.null:
            return None
        return {str(key): _ordered(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return None if isinstance(value, NullList) else [_ordered(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    return value


def dumps(value: "Any", *, html: bool = False) -> str:
    """One line of JSON. `html`: also escape <, > and &, as Go's json.Marshal does."""
    result = _text(_ordered(value)).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    if html:
        result = result.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return result


def indented(value: "Any", indent: str = "    ", *, html: bool = False) -> str:
    """Lines of JSON, as Go's MarshalIndent writes them: empty objects and lists stay on one line."""
    result = _indented(_ordered(value), "\n", indent).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    if html:
        result = result.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return result


def _indented(value: "Any", margin: str, indent: str) -> str:
    inner = margin + indent
    if isinstance(value, dict) and value:
        lines = (f"{_text(key)}: {_indented(item, inner, indent)}" for key, item in value.items())
        return "{" + inner + ("," + inner).join(lines) + margin + "}"
    if isinstance(value, list) and value:
        return "[" + inner + ("," + inner).join(_indented(item, inner, indent) for item in value) + margin + "]"
    return _text(value)
