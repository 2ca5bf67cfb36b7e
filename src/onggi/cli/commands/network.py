"""`network`: connect, create, disconnect, ls, rm."""

import sys

from onggi.cli.commands.rows import pairs
from onggi.cli.connection import filters, quote
from onggi.cli.failure import Failure, ResponseError
from onggi.cli.output import Listing, render
from onggi.template.values import RowType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation

HEADERS = {"ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6",
           "Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT"}  # fmt: skip


def _created(text: str) -> str:
    """ "2026-12-01 00:56:03.823288486 +0000 UTC", as Go prints a time."""
    date, _, clock = text.partition("T")
    for mark in ("Z", "+", "-"):
        at = clock.find(mark)
        if at > 0:
            offset = "+0000 UTC" if mark == "Z" else f"{clock[at:].replace(':', '')} {clock[at:].replace(':', '')}"
            return f"{date} {clock[:at]} {offset}"
    return text


def _truth(value: object) -> str:
    return "true" if value else "false"


def _row_type(*, whole: bool) -> RowType:
    fields: dict[str, Callable[[Any], Any]] = {
        "ID": (lambda data: data["Id"]) if whole else (lambda data: data["Id"][:12]),
        "Name": lambda data: data["Name"],
        "Driver": lambda data: data["Driver"],
        "Scope": lambda data: data["Scope"],
        "IPv4": lambda data: _truth(data.get("EnableIPv4", True)),
        "IPv6": lambda data: _truth(data.get("EnableIPv6")),
        "Internal": lambda data: _truth(data.get("Internal")),
        "Labels": lambda data: pairs(data.get("Labels")),
        "CreatedAt": lambda data: _created(data["Created"]),
    }
    methods: dict[str, Callable[[Any, str], Any]] = {
        "Label": lambda data, name: (data.get("Labels") or {}).get(name, "")
    }
    return RowType("*network.networkContext", fields, methods)


def ls(invocation: "Invocation", found: "Arguments") -> int:
    form, quiet = found.text("format"), found.flag("quiet")
    if not form and not quiet:
        form = invocation.config.text("networksFormat")
    query = {"filters": filters(found.texts("filter"))} if found.given("filter") else {}
    data = sorted(invocation.client.get("/networks", query), key=lambda network: str(network["Name"]))
    listing = Listing(_row_type(whole=found.flag("no-trunc")), HEADERS, ("ID", "Name", "Driver", "Scope"))
    if quiet and form in ("", "table"):
        form = "{{.ID}}"
    sys.stdout.write(render(listing, data, form))
    return 0


def _within(address: str, subnet: str) -> bool:
    """Whether an address lies in a subnet; False for what is neither."""
    from ipaddress import ip_address, ip_network

    try:
        return ip_address(address.partition("/")[0]) in ip_network(subnet, strict=False)
    except ValueError:
        return False


def _pools(found: "Arguments") -> "list[dict[str, Any]]":
    """--subnet with the --ip-range, --gateway and --aux-address that lie in it. Raises Failure."""
    subnets = found.texts("subnet")
    ranges, gateways = found.texts("ip-range"), found.texts("gateway")
    if len(subnets) < len(ranges) or len(subnets) < len(gateways):
        raise Failure("every ip-range or gateway must have a corresponding subnet")
    pools: dict[str, dict[str, Any]] = {}
    for subnet in subnets:
        for other in pools:
            if _within(subnet, other) or _within(other, subnet):
                raise Failure("multiple overlapping subnet configuration is not supported")
        pools[subnet] = {"Subnet": subnet}
    auxiliary = dict(text.partition("=")[::2] for text in found.texts("aux-address"))
    for key, values, what in (("IPRange", ranges, "ranges"), ("Gateway", gateways, "gateways")):
        for value in values:
            subnet = next((subnet for subnet in subnets if _within(value, subnet)), "")
            if not subnet:
                raise Failure(f"no matching subnet for {what[:-1].replace('ip-', '')} {value}")
            if key in pools[subnet]:
                raise Failure(f"cannot configure multiple {what} ({value}, {pools[subnet][key]}) on the same subnet "
                              f"({subnet})")  # fmt: skip
            pools[subnet][key] = value
    for name, value in auxiliary.items():
        subnet = next((subnet for subnet in subnets if _within(value, subnet)), "")
        if not subnet:
            raise Failure(f"no matching subnet for aux-address {value}")
        pools[subnet].setdefault("AuxiliaryAddresses", {})[name] = value
    return list(pools.values())


def create(invocation: "Invocation", found: "Arguments") -> int:
    from onggi.cli.creation.request import pairs as mapping

    if found.flag("ingress"):
        raise Failure("Onggi has no swarm mode: --ingress is not available")
    body: dict[str, Any] = {
        "Name": found.words[0],
        "Driver": found.text("driver", "bridge"),
        "Scope": found.text("scope"),
        "IPAM": {
            "Driver": found.text("ipam-driver", "default"),
            "Options": mapping(found.texts("ipam-opt")),
            "Config": _pools(found),
        },
        "Internal": found.flag("internal"),
        "Attachable": found.flag("attachable"),
        "Ingress": False,
        "ConfigOnly": found.flag("config-only"),
        "ConfigFrom": {"Network": found.text("config-from")} if found.text("config-from") else None,
        "Options": mapping(found.texts("opt")),
        "Labels": mapping(found.texts("label")),
    }
    for option, key in (("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")):
        if found.given(option):
            body[key] = found.flag(option)
    answer = invocation.client.post("/networks/create", body=body)
    if answer.get("Warning"):
        sys.stderr.write(f"WARNING: {answer['Warning']}\n")
    sys.stdout.write(f"{answer['Id']}\n")
    return 0


def rm(invocation: "Invocation", found: "Arguments") -> int:
    failed = False
    for name in found.words:
        try:
            invocation.client.delete(f"/networks/{quote(name)}")
        except ResponseError as error:
            if error.code == 404 and found.flag("force"):
                continue
            sys.stdout.flush()
            sys.stderr.write(f"{error}\n")
            failed = True
        else:
            sys.stdout.write(f"{name}\n")
    if failed:
        raise Failure("exit status 1")
    return 0


def connect(invocation: "Invocation", found: "Arguments") -> int:
    from onggi.cli.creation.request import endpoint
    from onggi.cli.creation.request import pairs as mapping

    name, container = found.words
    settings = endpoint()
    addresses: dict[str, Any] = {}
    for option, key in (("ip", "IPv4Address"), ("ip6", "IPv6Address")):
        if found.text(option):
            addresses[key] = found.text(option)
    if found.texts("link-local-ip"):
        addresses["LinkLocalIPs"] = found.texts("link-local-ip")
    settings["IPAMConfig"] = addresses
    settings["Links"] = found.texts("link") or None
    settings["Aliases"] = found.texts("alias")
    settings["DriverOpts"] = mapping(found.texts("driver-opt"))
    settings["GwPriority"] = found.number("gw-priority")
    body = {"Container": container, "EndpointConfig": settings}
    invocation.client.post(f"/networks/{quote(name)}/connect", body=body)
    return 0


def disconnect(invocation: "Invocation", found: "Arguments") -> int:
    name, container = found.words
    body = {"Container": container, "Force": found.flag("force")}
    invocation.client.post(f"/networks/{quote(name)}/disconnect", body=body)
    return 0
