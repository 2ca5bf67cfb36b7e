"""JSON text for code that must start fast or stay small: the C scanner and encoder without the `json` package.

`import json` costs 7 ms (it imports `re`); `_json` costs none. Used by the command line and by the launcher's half.
Where CPython offers no `_json`, the standard package does the same.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    from _json import encode_basestring_ascii, make_encoder, make_scanner
    from _json import scanstring as _scanstring  # noqa: F401  (loaded before any foreign root is entered)
except ImportError:  # another Python than CPython
    import json

    loads = json.loads

    def dumps(value: "Any") -> str:
        return json.dumps(value, separators=(",", ":"))
else:

    class _Rules:
        """What the C scanner asks of its context: strict JSON, plain dict, list, str, int, float."""

        strict = True
        object_hook = None
        object_pairs_hook = None
        parse_float = float
        parse_int = int

        @staticmethod
        def parse_constant(name: str) -> float:
            raise ValueError(f"{name} is not JSON")

    _scan = make_scanner(_Rules)  # type: ignore[arg-type]  # the class itself has all that is asked of a context
    _SPACE = " \t\n\r"

    def _refuse(value: object) -> object:
        raise TypeError(f"{type(value).__name__} has no JSON form")

    def loads(text: "str | bytes") -> "Any":  # type: ignore[misc]  # the part of json.loads that is needed
        """Parse one JSON value. Raises ValueError with the position when the text is not JSON."""
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        start = len(text) - len(text.lstrip(_SPACE))
        try:
            value, end = _scan(text, start)
        except StopIteration as stop:
            raise ValueError(f"not JSON: a value is expected at character {stop.value}") from None
        except SystemError:
            # Without `json.decoder` loaded the scanner finds no exception class to raise (CPython 3.11: raise_errmsg).
            raise ValueError("not JSON: the text is malformed or ends too early") from None
        if text[end:].strip(_SPACE):
            raise ValueError(f"not JSON: more text after the value at character {end}")
        return value

    _encode = make_encoder(None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, False)

    def dumps(value: "Any") -> str:
        """Write a value as JSON text without spaces, ASCII only. Raises TypeError for what has no JSON form."""
        return "".join(_encode(value, 0))
