"""A network as it is asked for, stored and shown (Docker's Network resource)."""

import re
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address, IPv4Network

import msgspec

from onggi.errors import Forbidden, InvalidParameter, Unsupported

PREDEFINED = frozenset({"bridge", "host", "none", "default"})

_BRIDGE = "com.docker.network.bridge."
MTU_OPTION = "com.docker.network.driver.mtu"
ICC_OPTION = _BRIDGE + "enable_icc"
MASQUERADE_OPTION = _BRIDGE + "enable_ip_masquerade"
HOST_BINDING_OPTION = _BRIDGE + "host_binding_ipv4"
NAME_OPTION = _BRIDGE + "name"
DEFAULT_BRIDGE_OPTION = _BRIDGE + "default_bridge"
_KNOWN_OPTIONS = frozenset(
    {MTU_OPTION, ICC_OPTION, MASQUERADE_OPTION, HOST_BINDING_OPTION, NAME_OPTION, DEFAULT_BRIDGE_OPTION}
)


class Subnet(
    msgspec.Struct,
    frozen=True,
    rename={
        "subnet": "Subnet",
        "ip_range": "IPRange",
        "gateway": "Gateway",
        "auxiliary_addresses": "AuxiliaryAddresses",
    },
    omit_defaults=True,
):
    """One element of IPAM.Config."""

    subnet: str = ""
    ip_range: str = ""
    gateway: str = ""
    auxiliary_addresses: dict[str, str] | None = None


class Ipam(msgspec.Struct, frozen=True, rename="pascal"):
    driver: str = "default"
    options: dict[str, str] | None = None
    config: list[Subnet] | None = None


class ConfigReference(msgspec.Struct, frozen=True, rename="pascal"):
    network: str = ""


class CreateNetwork(
    msgspec.Struct,
    frozen=True,
    rename=lambda name: (
        {"enable_ipv4": "EnableIPv4", "enable_ipv6": "EnableIPv6", "ipam": "IPAM"}.get(name)
        or "".join(word.capitalize() for word in name.split("_"))
    ),
):
    """The body of POST /networks/create."""

    name: str = ""
    check_duplicate: bool = True
    driver: str = ""
    scope: str = ""
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: ConfigReference | None = None
    ipam: Ipam | None = None
    enable_ipv4: bool | None = None
    enable_ipv6: bool | None = None
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class Network(msgspec.Struct, frozen=True):
    """A network of this engine."""

    id: str
    name: str
    driver: str
    """bridge, host or null."""
    created_at: str
    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    reserved: dict[str, str] = {}
    """Auxiliary addresses by name."""
    ipam_options: dict[str, str] | None = None
    link: str = ""
    """Name of the bridge."""
    internal: bool = False
    attachable: bool = False
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    subnet_asked: bool = False
    """Its user chose the subnet, so containers may choose addresses of it."""

    @property
    def is_default_bridge(self) -> bool:
        return self.name == "bridge"

    @property
    def resolves_names(self) -> bool:
        """Containers on it find each other by name."""
        return self.driver == "bridge" and not self.is_default_bridge

    def flag(self, option: str, *, default: bool) -> bool:
        text = self.options.get(option)
        return default if text is None else parse_flag(option, text)

    @property
    def mtu(self) -> int:
        return int(self.options.get(MTU_OPTION) or 1500)

    @property
    def host_binding(self) -> str:
        """Where ports are published that name no address of the host."""
        return self.options.get(HOST_BINDING_OPTION) or "0.0.0.0"

    def summary(self, containers: Mapping[str, object] | None) -> dict[str, object]:
        """As `network ls` and `network inspect` show it."""
        config: list[dict[str, object]] | None = None
        if self.subnet:
            row: dict[str, object] = {"Subnet": self.subnet}
            if self.ip_range:
                row["IPRange"] = self.ip_range
            if self.gateway:
                row["Gateway"] = self.gateway
            if self.reserved:
                row["AuxiliaryAddresses"] = self.reserved
            config = [row]
        return {
            "Name": self.name,
            "Id": self.id,
            "Created": self.created_at,
            "Scope": "local",
            "Driver": self.driver,
            "EnableIPv4": True,
            "EnableIPv6": False,
            "IPAM": {"Driver": "default", "Options": self.ipam_options, "Config": config},
            "Internal": self.internal,
            "Attachable": self.attachable,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Containers": dict(containers or {}),
            "Options": self.options,
            "Labels": self.labels,
        }


def parse_flag(option: str, text: str) -> bool:
    """As Go's strconv.ParseBool. Raises InvalidParameter."""
    if text in {"1", "t", "T", "true", "TRUE", "True"}:
        return True
    if text in {"0", "f", "F", "false", "FALSE", "False"}:
        return False
    raise InvalidParameter(f'failed to parse {option} value: "{text}" (strconv.ParseBool: invalid syntax)')


def check_request(request: CreateNetwork) -> None:
    """Refuse what cannot be made. Raises InvalidParameter or Unsupported; says nothing about what exists already."""
    name = request.name
    if not name.strip():
        raise InvalidParameter("invalid name: name is empty")
    if not name.isprintable() or len(name) > 255:
        raise InvalidParameter(f"invalid name: {name[:255]!a}")
    driver = request.driver or "bridge"
    if driver in {"host", "null"}:
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if driver != "bridge":
        raise Unsupported(f'could not find plugin {driver} in v1 plugin registry: only the driver "bridge" is offered')
    if request.enable_ipv6:
        raise Unsupported("IPv6 networks are not supported")
    if request.enable_ipv4 is False:
        raise Unsupported("networks without IPv4 are not supported")
    if request.config_only or (request.config_from is not None and request.config_from.network):
        raise Unsupported("configuration-only networks are not supported")
    if request.ingress or request.scope == "swarm":
        raise Unsupported("swarm networks are not supported")
    ipam = request.ipam or Ipam()
    if ipam.driver not in {"", "default"}:
        raise Unsupported(f'IPAM driver "{ipam.driver}" is not supported')
    if ipam.config is not None and len(ipam.config) > 1:
        raise Unsupported("more than one subnet for a network is not supported")
    for option, value in (request.options or {}).items():
        if option.startswith("com.docker.network.") and option not in _KNOWN_OPTIONS:
            raise Unsupported(f'network option "{option}" is not supported')
        if option == MTU_OPTION and not (value.isdigit() and 68 <= int(value) <= 65535):
            raise InvalidParameter(f'failed to parse {option} value: "{value}"')
        if option in {ICC_OPTION, MASQUERADE_OPTION}:
            parse_flag(option, value)
        if option == HOST_BINDING_OPTION:
            parse_address(value, "host binding address")
        if option == DEFAULT_BRIDGE_OPTION:
            raise InvalidParameter("the default bridge is made by the engine")
        if option == NAME_OPTION and not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,14}", value):
            raise InvalidParameter(f'invalid bridge name: "{value}"')


def parse_address(text: str, what: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError:
        raise InvalidParameter(f"invalid {what}: {text}") from None


def parse_subnet(row: Subnet) -> tuple[IPv4Network, IPv4Address, IPv4Network | None, dict[str, IPv4Address]]:
    """Subnet, gateway, range, auxiliary addresses. Raises InvalidParameter."""
    try:
        subnet = IPv4Network(row.subnet)
    except ValueError as error:
        try:
            loose = IPv4Network(row.subnet, strict=False)
        except ValueError:
            raise InvalidParameter(f"invalid subnet {row.subnet}: invalid CIDR block notation") from error
        raise InvalidParameter(f"invalid network config:\ninvalid subnet {row.subnet}: it should be {loose}") from None
    if subnet.prefixlen > 30 or subnet.prefixlen < 8:
        raise InvalidParameter(f"invalid subnet {row.subnet}: between /8 and /30 is possible")
    part = None
    if row.ip_range:
        try:
            part = IPv4Network(row.ip_range, strict=False)
        except ValueError:
            raise InvalidParameter(f"invalid ip-range {row.ip_range}: invalid CIDR block notation") from None
        if not part.subnet_of(subnet):
            raise InvalidParameter(f"invalid ip-range {row.ip_range}: not within subnet {subnet}")
    gateway = parse_address(row.gateway, "gateway") if row.gateway else (part or subnet)[1]
    if gateway not in subnet:
        raise InvalidParameter(f"no matching subnet for gateway {gateway}")
    reserved = {
        name: parse_address(text, f"auxiliary address {name}") for name, text in (row.auxiliary_addresses or {}).items()
    }
    for address in reserved.values():
        if address not in subnet:
            raise InvalidParameter(f"no matching subnet for aux-address {address}")
    return subnet, gateway, part, reserved
