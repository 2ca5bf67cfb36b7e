"""`port`: where a container's ports are published."""

import sys

from onggi.cli.arguments import quoted
from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation


def _address(binding: "dict[str, str]") -> str:
    host = binding["HostIp"]
    return f"[{host}]:{binding['HostPort']}" if ":" in host else f"{host}:{binding['HostPort']}"


def _number(text: str) -> "tuple[int, ...]":
    return tuple(int(part) for part in text.replace("/", " ").split() if part.isdigit())


def _lines(ports: "dict[str, list[dict[str, str]] | None]") -> "Iterable[str]":
    for port in sorted(ports, key=lambda text: (_number(text), text)):
        for binding in ports[port] or ():
            yield f"{port} -> {_address(binding)}"


def port(invocation: "Invocation", found: "Arguments") -> int:
    container = found.words[0]
    details = invocation.client.get(f"/containers/{container}/json")
    ports = details["NetworkSettings"].get("Ports") or {}
    if len(found.words) == 1:
        sys.stdout.writelines(f"{line}\n" for line in _lines(ports))
        return 0
    wanted = found.words[1]
    number, _, protocol = wanted.partition("/")
    protocol = protocol or "tcp"
    if not (number.isascii() and number.isdigit() and int(number) < 65536):
        raise Failure(f"Error: invalid port ({number}): strconv.ParseUint: parsing {quoted(number)}: invalid syntax")
    bindings = ports.get(f"{number}/{protocol}")
    if not bindings:
        raise Failure(f"Error: No public port '{wanted}' published for {container}")
    sys.stdout.writelines(f"{_address(binding)}\n" for binding in bindings)
    return 0
