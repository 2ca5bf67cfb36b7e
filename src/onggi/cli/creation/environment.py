"""-e, --env-file, -l, --label-file. After docker/cli: pkg/kvfile."""

import os

from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from onggi.cli.arguments import Arguments

_SPACE = " \t"


def read(path: str, lookup: "Mapping[str, str] | None") -> "list[str]":
    """Lines `NAME=value`; a line without "=" takes its value from `lookup`, or an empty one where that is None."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except IsADirectoryError:
        raise Failure(f"invalid env file ({path}): read {path}: is a directory") from None
    except OSError as error:
        raise Failure(f"open {path}: {(error.strerror or '').lower()}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise Failure(f"invalid env file ({path}): invalid utf8 bytes at line {number}") from None
    found = []
    for line in text.split("\n"):
        line = line.removesuffix("\r").lstrip(_SPACE)
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        name = name.lstrip(_SPACE)
        if any(c in name for c in _SPACE):
            raise Failure(f"invalid env file ({path}): variable '{name}' contains whitespaces")
        if not name:
            raise Failure(f"invalid env file ({path}): no variable name on line '{line}'")
        if equals:
            found.append(f"{name}={value}")
        elif lookup is not None and name in lookup:
            found.append(f"{name}={lookup[name]}")
    return found


def variables(found: "Arguments", proxies: "Mapping[str, str]") -> "list[str] | None":
    """Files first, then -e (of the same name the last), then the proxies that config.json adds."""
    result = [line for path in found.texts("env-file") for line in read(path, os.environ)]
    given = {text.partition("=")[0]: text for text in found.texts("env")}
    for name, value in proxies.items():
        given.setdefault(name, f"{name}={value}")
    return [*result, *given.values()] or None


def labels(found: "Arguments") -> "dict[str, str]":
    result = {}
    for text in [line for path in found.texts("label-file") for line in read(path, None)] + found.texts("label"):
        name, _, value = text.partition("=")
        result[name] = value
    return result
