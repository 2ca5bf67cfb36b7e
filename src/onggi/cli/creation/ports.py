"""-p and --expose → ExposedPorts and PortBindings. After docker/go-connections: nat."""

from onggi.cli.arguments import quoted
from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments

_PROTOCOLS = ("tcp", "udp", "sctp")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"strconv.ParseUint: parsing {quoted(text)}: invalid syntax")
    if len(text) > 8 or int(text) > 65535:
        raise ValueError(f"strconv.ParseUint: parsing {quoted(text)}: value out of range")
    return int(text)


def _range(text: str) -> "tuple[int, int]":
    """First and last of "80" or "80-90". Raises ValueError."""
    if not text:
        raise ValueError("empty string specified for ports")
    first, dash, last = text.partition("-")
    start = _number(first)
    end = _number(last) if dash else start
    if end < start:
        raise ValueError(f"invalid range specified for port: {text}")
    return start, end


def _protocol(text: str) -> "tuple[str, str]":
    """Port and protocol of "80/udp"; TCP without one."""
    port, _, protocol = text.partition("/")
    return (port, protocol or "tcp") if port else ("", "")


def _plain(text: str) -> str:
    """`published=80,target=81,protocol=udp` in the short form."""
    if "=" not in text:
        return text
    given = {"protocol": "tcp"}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise Failure(f"invalid publish opts format (should be name=value but got '{part}')")
        given[name] = value
    return f"{given.get('published', '')}:{given.get('target', '')}/{given['protocol']}"


def _address(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    elif text.startswith("[") or ":" in text:
        raise Failure(f"Invalid ip address {text}: address {text}:: too many colons in address")
    if text:
        from onggi.cli.values import ip_address

        try:
            ip_address(text)
        except ValueError:
            raise Failure(f"Invalid ip address: {text}") from None
    return text


def mappings(text: str) -> "list[tuple[str, dict[str, str]]]":
    """What one -p publishes: port with protocol, and where on the host. Raises Failure in Docker's words."""
    *before, container = text.split(":")
    host = before[-1] if before else ""
    address = _address(":".join(before[:-1]))
    container, protocol = _protocol(container)
    if not container:
        raise Failure(f"No port specified: {text}<empty>")
    try:
        start, end = _range(container)
    except ValueError:
        raise Failure(f"Invalid containerPort: {container}") from None
    first = last = 0
    if host:
        try:
            first, last = _range(host)
        except ValueError:
            raise Failure(f"Invalid hostPort: {host}") from None
        if end - start != last - first and end != start:
            raise Failure(f"Invalid ranges specified for container and host Ports: {container} and {host}")
    if protocol.lower() not in _PROTOCOLS:
        raise Failure(f"Invalid proto: {protocol}")
    found = []
    for offset in range(end - start + 1):
        shown = str(first + offset) if host else ""
        if host and start == end and first != last:
            shown = f"{first}-{last}"
        found.append((f"{start + offset}/{protocol.lower()}", {"HostIp": address, "HostPort": shown}))
    return found


def _exposed(text: str) -> "list[str]":
    if ":" in text:
        raise Failure(f"invalid port format for --expose: {text}")
    port, protocol = _protocol(text)
    try:
        start, end = _range(port)
    except ValueError as error:
        raise Failure(f"invalid range format for --expose: {text}, error: {error}") from None
    return [f"{number}/{protocol}" for number in range(start, end + 1)]


def apply(found: "Arguments", config: "dict[str, Any]", host: "dict[str, Any]") -> None:
    """Fill in ExposedPorts and PortBindings."""
    exposed: dict[str, dict[str, str]] = {}
    publish(found.texts("publish"), exposed, host)
    for text in found.texts("expose"):
        for port in _exposed(text):
            exposed[port] = {}
    if exposed:
        config["ExposedPorts"] = exposed


def publish(texts: "list[str]", exposed: "dict[str, dict[str, str]]", host: "dict[str, Any]") -> None:
    """Fill in PortBindings, and note the ports in `exposed`."""
    bindings: dict[str, list[dict[str, str]]] = {}
    for text in [_plain(text) for text in texts]:
        for port, binding in mappings(text):
            exposed[port] = {}
            bindings.setdefault(port, []).append(binding)
    host["PortBindings"] = bindings
