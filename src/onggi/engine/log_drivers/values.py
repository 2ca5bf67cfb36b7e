"""Values of log options, read and refused as Go reads and refuses them."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from onggi.errors import InvalidParameter
from onggi.template.json import dumps

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_HUMAN = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([kmgtp]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATION = re.compile(r"([+-]?)((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|ms|s|m|h))+", re.ASCII)
_SPAN = re.compile(r"([0-9]*\.?[0-9]*)(ns|us|µs|ms|s|m|h)", re.ASCII)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def truth(text: str) -> bool:
    """strconv.ParseBool. Raises InvalidParameter."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise InvalidParameter(f"strconv.ParseBool: parsing {dumps(text)}: invalid syntax")


def number(text: str, *, signed: bool = True) -> int:
    """strconv.Atoi, or ParseUint. Raises InvalidParameter."""
    digits = text[1:] if signed and text[:1] in ("+", "-") else text
    function = "Atoi" if signed else "ParseUint"
    if not (digits.isascii() and digits.isdigit()):
        raise InvalidParameter(f"strconv.{function}: parsing {dumps(text)}: invalid syntax")
    if len(digits) > 18:
        raise InvalidParameter(f"strconv.{function}: parsing {dumps(text)}: value out of range")
    return int(text)


def human_size(text: str) -> int:
    """A size in powers of 1000 (docker/go-units, FromHumanSize): `10m` is ten million bytes. Raises InvalidParameter."""
    match = _HUMAN.fullmatch(text)
    if match is None:
        raise InvalidParameter(f"invalid size: '{text}'")
    return int(float(match[1]) * 1000 ** _POWERS[match[2].lower()])


def duration_s(text: str) -> float:
    """time.ParseDuration. Raises InvalidParameter."""
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise InvalidParameter(f"time: invalid duration {dumps(text)}")
    total = sum(float(span) * _SECONDS[unit] for span, unit in _SPAN.findall(text.lstrip("+-")))
    return -total if match[1] == "-" else total


@dataclass(frozen=True, slots=True)
class Address:
    """URL of a server: scheme, host and port (None: not given), or path."""

    scheme: str
    host: str
    port: int | None
    path: str


def address(text: str) -> Address:
    """Raises InvalidParameter, as Go's url.Parse does for a bad port."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        after = text.rpartition(":")[2]
        if after.isascii() and after.isdigit():
            reason = f"invalid port: strconv.ParseUint: parsing {dumps(after)}: value out of range"
            raise InvalidParameter(reason) from error
        raise InvalidParameter(f"parse {dumps(text)}: invalid port {dumps(':' + after)} after host") from error
    return Address(parts.scheme, parts.hostname or "", port, parts.path)
