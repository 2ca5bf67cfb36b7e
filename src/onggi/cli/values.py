"""The values of options: numbers, sizes, durations, and lists whose items have a grammar. After docker/cli's opts.

Every function takes the text as typed and returns the value, or raises ValueError with Docker's sentence.
"""

import os

from onggi.cli.arguments import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LONGEST = {"int": 63, "uint16": 16, "uint64": 64, "int64": 63}
_BASES = {"x": 16, "o": 8, "b": 2}


def integer(text: str, kind: str = "int") -> int:
    """strconv.ParseInt or ParseUint with base 0: decimal, 0x, 0o, 0b, a leading 0 for octal."""
    function = "ParseUint" if kind.startswith("u") else "ParseInt"
    digits = text
    sign = 1
    if function == "ParseInt" and digits[:1] in ("+", "-"):
        sign = -1 if digits[0] == "-" else 1
        digits = digits[1:]
    base = 10
    if digits[:1] == "0" and len(digits) > 1:
        base = _BASES.get(digits[1].lower(), 8)
        digits = digits[1 if base == 8 and digits[1] not in "oO" else 2 :]
    allowed = "0123456789abcdef"[:base]
    plain = "" if "__" in digits or digits.endswith("_") or (digits[:1] == "_" and base == 10) else digits
    plain = plain.replace("_", "").lower()
    if not plain or any(c not in allowed for c in plain):
        raise ValueError(f"strconv.{function}: parsing {quoted(text)}: invalid syntax")
    limit = 1 << _LONGEST[kind]
    value = int(plain, base) if len(plain) < 100 else limit + 1
    if value > limit - (1 if sign > 0 else 0):
        raise ValueError(f"strconv.{function}: parsing {quoted(text)}: value out of range")
    return sign * value


_QUOTE_MISSING = 'parse error on line 1, column {}: extraneous or missing " in quoted-field'
_QUOTE_BARE = 'parse error on line 1, column {}: bare " in non-quoted-field'
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


def size(text: str) -> int:
    """Bytes from "64m", "1.5GiB", "1024" (go-units: RAMInBytes)."""
    mark = max(text.rfind(c) for c in "0123456789. ")
    if mark < 0:
        raise ValueError(f"invalid size: '{text}'")
    digits, suffix = text[: mark + (text[mark] != " ")], text[mark + 1 :].lower()
    value = _float(digits)
    if value < 0:
        raise ValueError(f"invalid size: '{text}'")
    unit = suffix[:1] if suffix[1:] in ("", "b", "ib") else "?"
    if suffix == "b":
        unit = ""
    if unit not in _UNITS:
        raise ValueError(f"invalid suffix: '{suffix}'")
    return int(value * _UNITS[unit])


def _float(text: str) -> float:
    """strconv.ParseFloat, without names and hexadecimals."""
    if text and set(text) <= set("0123456789.eE+-") and len(text) < 100:
        try:
            return float(text)
        except ValueError:
            pass
    raise ValueError(f"strconv.ParseFloat: parsing {quoted(text)}: invalid syntax")


def memory_swap(text: str) -> int:
    """A size, or -1 for no limit."""
    return -1 if text == "-1" else size(text)


def nano_cpus(text: str) -> int:
    """Billionths of a CPU from "1.5" or "3/2"."""
    numerator, slash, denominator = text.partition("/")
    numerator, exponent, power = numerator.lower().partition("e")
    if exponent and not (not slash and power.lstrip("+-").isdigit() and len(power) < 4):
        raise ValueError(f"failed to parse {text} as a rational number")
    whole, dot, fraction = numerator.partition(".")
    sign = -1 if whole[:1] == "-" else 1
    whole = whole.lstrip("+-") if len(whole) - len(whole.lstrip("+-")) < 2 else "x"
    below = denominator if slash else "1"
    good = (whole or fraction) and all(part.isascii() and part.isdigit() for part in (whole or "0", below))
    if not good or (dot and fraction and not (fraction.isascii() and fraction.isdigit())) or int(below) == 0:
        raise ValueError(f"failed to parse {text} as a rational number")
    scaled = int((whole or "0") + fraction) * 10**9
    divisor = int(below) * 10 ** len(fraction)
    shift = int(power or 0)
    scaled, divisor = scaled * 10 ** max(shift, 0), divisor * 10 ** max(-shift, 0)
    if scaled % divisor:
        raise ValueError("value is too precise")
    return int(sign * (scaled // divisor))


_NANOSECONDS = {
    "ns": 1,
    "us": 1000,
    "µs": 1000,
    "μs": 1000,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def duration(text: str) -> int:
    """Nanoseconds from "1h30m", "-1.5s", "0" (Go's time.ParseDuration)."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    sign = -1 if text[:1] == "-" else 1
    if rest == "0":
        return 0
    if not rest:
        raise ValueError(f"time: invalid duration {quoted(text)}")
    total = 0
    while rest:
        digits = rest.lstrip("0123456789.")
        amount = rest[: len(rest) - len(digits)]
        whole, _, fraction = amount.partition(".")
        if not (whole or fraction) or "." in fraction or len(amount) > 30:
            raise ValueError(f"time: invalid duration {quoted(text)}")
        rest = digits.lstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZµμ")
        unit = digits[: len(digits) - len(rest)]
        if not unit:
            raise ValueError(f"time: missing unit in duration {quoted(text)}")
        if unit not in _NANOSECONDS:
            raise ValueError(f"time: unknown unit {quoted(unit)} in duration {quoted(text)}")
        scale = _NANOSECONDS[unit]
        total += int(whole or 0) * scale + (int(fraction) * scale // 10 ** len(fraction) if fraction else 0)
    if total >= 1 << 63:
        raise ValueError(f"time: invalid duration {quoted(text)}")
    return sign * total


def comma_separated(text: str) -> "list[str]":
    """One record of CSV with double quotes (RFC 4180), as Go's encoding/csv reads it."""
    if not text:
        return []
    fields: list[str] = []
    at = 0
    while True:
        if text[at : at + 1] == '"':
            value = ""
            at += 1
            while True:
                end = text.find('"', at)
                if end < 0:
                    raise ValueError(_QUOTE_MISSING.format(len(text) + 1))
                value += text[at:end]
                at = end + 1
                if text[at : at + 1] != '"':
                    break
                value += '"'
                at += 1
            if text[at : at + 1] not in ("", ","):
                raise ValueError(_QUOTE_MISSING.format(at + 1))
        else:
            end = text.find(",", at)
            end = len(text) if end < 0 else end
            value = text[at:end]
            if '"' in value:
                raise ValueError(_QUOTE_BARE.format(at + value.index(chr(34)) + 1))
            at = end
        fields.append(value)
        if at >= len(text):
            return fields
        at += 1


def filter_of(text: str) -> str:
    if "=" not in text and text:
        raise ValueError("bad format of filter (expected name=value)")
    name, _, value = text.partition("=")
    return f"{name.strip().lower()}={value.strip()}"


def ip_address(text: str) -> str:
    """The address in its canonical form."""
    import _socket

    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            return _socket.inet_ntop(family, _socket.inet_pton(family, text.strip()))
        except OSError:
            continue
    raise ValueError(f"IP address is not correctly formatted: {text}")


def _stream(text: str) -> str:
    if text.lower() not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return text.lower()


def _environment(text: str) -> str:
    name, equals, _ = text.partition("=")
    if not name:
        raise ValueError(f"invalid environment variable: {text}")
    if not equals and name in os.environ:
        return f"{name}={os.environ[name]}"
    return text


def _label(text: str) -> str:
    name = text.partition("=")[0].lstrip()
    if not name:
        raise ValueError(f"invalid label '{text}': empty name")
    if any(c.isspace() for c in name):
        raise ValueError(f"label '{name}' contains whitespaces")
    return text


def _link(text: str) -> str:
    if not text:
        raise ValueError("empty string specified for links")
    if text.count(":") > 1:
        raise ValueError(f"bad format for links: {text}")
    return text


def _host(text: str) -> str:
    mark = "=" if "=" in text else ":"
    name, found, address = text.partition(mark)
    if not found or not name:
        raise ValueError(f"bad format for add-host: {quoted(text)}")
    if address != "host-gateway":
        if address.startswith("[") and address.endswith("]"):
            address = address[1:-1]
        try:
            address = ip_address(address)
        except ValueError:
            raise ValueError(f"invalid IP address in add-host: {quoted(address)}") from None
    return f"{name}:{address}"


def _domain(text: str) -> str:
    text = text.strip()
    if text == ".":
        return text
    labels = text.removesuffix(".").split(".")
    fits = all(
        0 < len(label) < 64
        and label.isascii()
        and label.replace("-", "").replace("_", "").isalnum()
        and label[0] != "-"
        and label[-1] != "-"
        for label in labels
    )
    if not fits or len(text) > 254 or not any(c.isalpha() for c in text):
        raise ValueError(f"{text} is not a valid domain")
    return text


_SYSCTLS = ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
            "kernel.shmmni", "kernel.shm_rmid_forced")  # fmt: skip


def _sysctl(text: str) -> str:
    name, equals, _ = text.partition("=")
    if not equals or not (name in _SYSCTLS or name.startswith(("net.", "fs.mqueue."))):
        raise ValueError(f"sysctl '{text}' is not allowed")
    return text


def _weight_device(text: str) -> "dict[str, Any]":
    path, colon, number = text.partition(":")
    if not colon or not path:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    if not (number.isascii() and number.isdigit() and (int(number) == 0 or 10 <= int(number) <= 1000)):
        raise ValueError(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": int(number)}


def _rate(text: str, measure: "Callable[[str], int]", hint: str) -> "dict[str, Any]":
    path, colon, number = text.partition(":")
    if not colon or not path:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    try:
        rate = measure(number)
    except ValueError:
        rate = -1
    if rate < 0:
        raise ValueError(f"invalid rate for device: {text}. The correct format is {hint}")
    return {"Path": path, "Rate": rate}


def _bytes_rate(text: str) -> "dict[str, Any]":
    hint = (
        "<device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
    )
    return _rate(text, size, hint)


def _operations_rate(text: str) -> "dict[str, Any]":
    return _rate(
        text, lambda number: integer(number, "uint64"), "<device-path>:<number>. Number must be a positive integer"
    )


def _device_rule(text: str) -> str:
    parts = text.split(" ")
    numbers = parts[1].split(":") if len(parts) == 3 else []
    fits = (
        len(parts) == 3
        and parts[0] in ("a", "b", "c")
        and len(numbers) == 2
        and all(number == "*" or (number.isascii() and number.isdigit()) for number in numbers)
        and 1 <= len(parts[2]) <= 3
        and set(parts[2]) <= set("rwm")
    )
    if not fits:
        raise ValueError(f"invalid device cgroup format '{text}'")
    return text


_ULIMITS = frozenset(("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss",
                      "rtprio", "rttime", "sigpending", "stack"))  # fmt: skip


def _ulimit(text: str) -> "dict[str, Any]":
    name, equals, limits = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in _ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    parts = limits.split(":")
    if len(parts) > 2:
        raise ValueError(f"too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`")
    numbers = []
    for part in parts:
        if not part.removeprefix("-").isdigit() or not part.isascii():
            raise ValueError(f"strconv.ParseInt: parsing {quoted(part)}: invalid syntax")
        numbers.append(int(part))
    soft, hard = numbers[0], numbers[-1]
    if hard != -1 and (soft == -1 or soft > hard):
        if soft == -1:
            raise ValueError(
                f"ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {hard}"
            )
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return {"Name": name, "Hard": hard, "Soft": soft}


def _mount(text: str) -> "Any":
    from onggi.cli.creation.mounts import parse

    return parse(text)


def _network(text: str) -> "Any":
    from onggi.cli.creation.networks import parse

    return parse(text)


def _gpus(text: str) -> "Any":
    from onggi.cli.creation.devices import gpu_request

    return gpu_request(text)


_KINDS: "dict[str, Callable[[str], Any]]" = {
    "int": integer,
    "uint16": lambda text: integer(text, "uint16"),
    "uint": lambda text: integer(text, "uint64"),
    "uint64": lambda text: integer(text, "uint64"),
    "bytes": size,
    "bytes:swap": memory_swap,
    "decimal": nano_cpus,
    "duration": duration,
    "strings": comma_separated,
    "map": str,
    "stringToString": comma_separated,
    "filter": filter_of,
    "ip": lambda text: ip_address(text) if text else "",
    "mount": _mount,
    "network": _network,
    "gpu-request": _gpus,
    "ulimit": _ulimit,
    "map:sysctl": _sysctl,
    "list:stream": _stream,
    "list:env": _environment,
    "list:label": _label,
    "list:link": _link,
    "list:host": _host,
    "list:ip": ip_address,
    "list:domain": _domain,
    "list:weight": _weight_device,
    "list:bps": _bytes_rate,
    "list:iops": _operations_rate,
    "list:rule": _device_rule,
}


def convert(kind: str, text: str) -> "Any":
    """The value of an option of this kind. Raises ValueError with Docker's sentence."""
    return _KINDS[kind](text)
