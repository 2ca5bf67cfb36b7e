"""--network and its companions → EndpointsConfig. After docker/cli: opts/network.go."""

from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments

_PREDEFINED = ("default", "bridge", "host", "none")


class Attachment:
    """One --network while it is read."""

    __slots__ = ("addresses", "aliases", "driver_options", "links", "mac", "priority", "target")

    def __init__(self, target: str = "") -> None:
        self.target = target
        self.aliases: list[str] = []
        self.links: list[str] = []
        self.driver_options: dict[str, str] = {}
        self.addresses: dict[str, Any] = {}
        self.mac = ""
        self.priority = 0

    @property
    def user_defined(self) -> bool:
        return self.target not in _PREDEFINED and not self.target.startswith("container:")


def _long(text: str) -> bool:
    """Whether the text has a word on both sides of an "=": then it is the long form."""
    at = text.find("=")
    while at >= 0:
        before, after = text[at - 1 : at], text[at + 1 : at + 2]
        if (before.isalnum() or before == "_") and (after.isalnum() or after == "_"):
            return True
        at = text.find("=", at + 1)
    return False


def parse(text: str) -> Attachment:
    """One --network. Raises ValueError with Docker's sentence."""
    if not _long(text):
        return Attachment(text)
    from onggi.cli.values import comma_separated

    found = Attachment()
    for field in comma_separated(text):
        name, equals, value = (part.strip() for part in field.lower().partition("="))
        if not equals or not name:
            raise ValueError(f"invalid field {field}")
        if name == "name":
            found.target = value
        elif name == "alias":
            found.aliases.append(value)
        elif name == "driver-opt":
            option, given, setting = value.partition("=")
            if not given:
                raise ValueError("invalid key value pair format in driver options")
            found.driver_options[option.strip()] = setting.strip()
        elif name == "ip":
            found.addresses["IPv4Address"] = value
        elif name == "ip6":
            found.addresses["IPv6Address"] = value
        elif name == "mac-address":
            found.mac = value
        elif name == "link-local-ip":
            found.addresses.setdefault("LinkLocalIPs", []).append(value)
        elif name == "gw-priority":
            digits = value.lstrip("+-")
            if not (digits.isascii() and digits.isdigit()):
                raise ValueError(f"invalid gw-priority ({value}): invalid syntax")
            found.priority = int(value)
        else:
            raise ValueError(f"invalid field key {name}")
    if not found.target:
        raise ValueError("network name/id is not specified")
    return found


def check_mac(text: str) -> str:
    """Raises Failure for what is no MAC address."""
    digits = text.strip().replace("-", ":").replace(".", "").replace(":", "")
    marks = [mark for mark in (":", "-", ".") if mark in text]
    if len(digits) not in (12, 16, 40) or len(marks) != 1 or set(digits.lower()) - set("0123456789abcdef"):
        raise Failure(f"{text} is not a valid mac address")
    return text


_CONFLICT = "conflicting options: cannot specify both {} and per-network {}"


def _companions(first: Attachment, found: "Arguments") -> None:
    """--network-alias, --ip and so on are said of the first network."""
    given = found.values
    if given.get("network-alias"):
        if first.aliases:
            raise Failure(_CONFLICT.format("--network-alias", "alias"))
        first.aliases = found.texts("network-alias")
    if given.get("link"):
        if first.links:
            raise Failure(_CONFLICT.format("--link", "links"))
        if first.user_defined:
            first.links = found.texts("link")
    for option, key, what in (
        ("ip", "IPv4Address", "IPv4 address"),
        ("ip6", "IPv6Address", "IPv6 address"),
        ("link-local-ip", "LinkLocalIPs", "link-local IP addresses"),
    ):
        if given.get(option):
            if first.addresses.get(key):
                raise Failure(_CONFLICT.format(f"--{option}", what))
            first.addresses[key] = given[option]
    if given.get("mac-address"):
        if first.mac:
            raise Failure(_CONFLICT.format("--mac-address", "MAC address"))
        first.mac = given["mac-address"]


def settings(attachment: Attachment) -> "dict[str, Any]":
    """The endpoint's JSON. Raises Failure for what only user-defined networks offer."""
    from onggi.cli.creation.request import endpoint

    if not attachment.target.strip():
        raise Failure("no name set for network")
    if not attachment.user_defined:
        if attachment.aliases:
            raise Failure("network-scoped aliases are only supported for user-defined networks")
        if attachment.links:
            raise Failure("links are only supported for user-defined networks")
    result = endpoint()
    result["Aliases"] = attachment.aliases or None
    result["Links"] = attachment.links or None
    result["DriverOpts"] = attachment.driver_options or None
    result["IPAMConfig"] = attachment.addresses or None
    result["GwPriority"] = attachment.priority
    if attachment.mac:
        result["MacAddress"] = check_mac(attachment.mac)
    return result


def endpoints(found: "Arguments") -> "tuple[str, dict[str, Any]]":
    """NetworkMode and EndpointsConfig."""
    from onggi.cli.creation.request import endpoint

    asked: list[Attachment] = found.objects("network")
    attachments = asked or [Attachment("default")]
    _companions(attachments[0], found)
    result: dict[str, Any] = {}
    for attachment in attachments:
        made = settings(attachment)
        if any(attachment.target == other.target for other in attachments if other is not attachment):
            raise Failure(f'network "{attachment.target}" is specified multiple times')
        if attachment.user_defined or not asked or made != endpoint():
            result[attachment.target] = made
    if len({attachment.user_defined for attachment in attachments}) > 1:
        raise Failure("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
    return attachments[0].target, result
