"""--device and --gpus. After docker/cli: opts/gpus.go and container/opts.go."""

import posixpath

from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments


def _count(text: str) -> int:
    if text == "all":
        return -1
    digits = text.removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f'invalid count ({text}): value must be either "all" or an integer: invalid syntax')
    return int(text)


def gpu_request(text: str) -> "dict[str, Any]":
    """One --gpus. Raises ValueError with Docker's sentence."""
    from onggi.cli.values import comma_separated

    fields = comma_separated(text)
    if not fields:
        raise ValueError("EOF")
    request: dict[str, Any] = {"Driver": "", "Count": 0, "DeviceIDs": None, "Capabilities": None, "Options": {}}
    seen = set()
    capabilities = []
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals:
            name, value = "count", field
        if name in seen:
            raise ValueError(f"gpu request key '{name}' can be specified only once")
        seen.add(name)
        if name == "driver":
            request["Driver"] = value
        elif name == "count":
            request["Count"] = _count(value)
        elif name == "device":
            request["DeviceIDs"] = value.split(",")
        elif name == "capabilities":
            capabilities = value.split(",")
        elif name == "options":
            request["Options"] = dict(option.partition("=")[::2] for option in comma_separated(value))
        else:
            raise ValueError(f"unexpected key '{name}' in '{field}'")
    if "count" not in seen and request["DeviceIDs"] is None:
        request["Count"] = 1
    request["Capabilities"] = [capabilities if "gpu" in capabilities else [*capabilities, "gpu"]]
    return request


def _is_mode(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def _is_cdi(text: str) -> bool:
    """A device by the Container Device Interface's name: vendor.com/class=device."""
    kind, equals, name = text.partition("=")
    vendor, slash, device_class = kind.partition("/")
    return bool(equals and slash and name and vendor and device_class and vendor[0].isalpha())


def device(text: str) -> "dict[str, str]":
    """One --device. Raises Failure in Docker's words."""
    parts = text.split(":")
    if len(parts) > 3 or not parts[0]:
        raise Failure(f"bad format for path: {text}")
    source = target = parts[0]
    mode = "rwm"
    if len(parts) == 2 and _is_mode(parts[1]):
        mode = parts[1]
    elif len(parts) > 1:
        target = parts[1]
    if len(parts) == 3:
        mode = parts[2]
        if not _is_mode(mode):
            raise Failure(f"bad mode specified: {mode}")
    if not posixpath.isabs(target):
        raise Failure(f"{target} is not an absolute path")
    target = posixpath.normpath(target)
    return {
        "PathOnHost": target if len(parts) == 1 else source,
        "PathInContainer": target,
        "CgroupPermissions": mode,
    }


def apply(found: "Arguments", host: "dict[str, Any]") -> None:
    """Fill in Devices and DeviceRequests."""
    asked = found.texts("device")
    host["Devices"] = [device(text) for text in asked if not _is_cdi(text)]
    requests = found.objects("gpus")
    names = [text for text in asked if _is_cdi(text)]
    if names:
        requests.append({"Driver": "cdi", "Count": 0, "DeviceIDs": names, "Capabilities": None, "Options": None})
    host["DeviceRequests"] = requests or None
