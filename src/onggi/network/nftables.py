"""The engine's own table `inet onggi` (nftables, nft(8)): address translation, published ports, isolation.

    raw          drops what comes from another link for 127.0.0.0/8: no neighbour reaches a port published there
    prerouting   host address and port → container, for destinations that are the host itself, and for nobody else
    output       the same for the host's own processes
    postrouting  masquerade what leaves a network, and what comes back to it by a published port
    forward      to a container: answers, published ports, its own network; nothing else
    input        from an internal network: answers, nothing else

A published port is one element of a map, added and removed by netlink with the container (linux.nftables). The whole
table is text, put in place in one transaction: there is no moment without it. What firewalls of others need is in
`network.neighbours`.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from onggi.errors import System
from onggi.linux import nftables
from onggi.linux.nftables import Element, key
from onggi.network.endpoint import PublishedPort

ANY_ADDRESS = "0.0.0.0"
PATIENCE_S = 60.0
_ASKED = 3
PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"
_PROTOCOLS = {"tcp": nftables.TCP, "udp": nftables.UDP, "sctp": nftables.SCTP}


@dataclass(frozen=True, slots=True)
class BridgeRules:
    """What the table needs to know of one bridge network."""

    link: str
    subnet: IPv4Network
    internal: bool = False
    masquerade: bool = True
    icc: bool = True
    """Its containers may talk to each other."""


@dataclass(frozen=True, slots=True)
class Forward:
    """One element: a port of the host, and the container's address that answers for it."""

    port: PublishedPort
    address: str

    @property
    def element(self) -> Element:
        protocol = bytes([_PROTOCOLS[self.port.protocol]])
        data = key(nftables.address(self.address), nftables.port(self.port.container_port))
        if self.port.host_ip == ANY_ADDRESS:
            return Element("published", key(protocol, nftables.port(self.port.host_port)), data)
        host = nftables.address(self.port.host_ip)
        return Element("published_on", key(host, protocol, nftables.port(self.port.host_port)), data)

    @property
    def text(self) -> str:
        where = f"{self.port.protocol} . {self.port.host_port} : {self.address} . {self.port.container_port}"
        return where if self.port.host_ip == ANY_ADDRESS else f"{self.port.host_ip} . {where}"


def mark(bridge: str) -> str:
    """The comment of the engine's rules in chains of others; "doctor" finds them by it."""
    return f"onggi {bridge}"


def table_name(bridge: str) -> str:
    """`onggi` for the usual bridge onggi0; one of its own for an engine with another."""
    if bridge == "onggi0":
        return "onggi"
    return "onggi_" + re.sub(r"[^A-Za-z0-9]", "_", bridge)


def ruleset(
    table: str, bridges: Sequence[BridgeRules], forwards: Iterable[Forward], *, closes_host: bool = False
) -> str:
    """The whole table as one transaction: made if missing, replaced if there.

    `closes_host`: what neither comes from nor goes to a container is not forwarded.
    """
    everywhere: list[str] = []
    on_address: list[str] = []
    for forward in forwards:
        (everywhere if forward.port.host_ip == ANY_ADDRESS else on_address).append(forward.text)
    lines = [
        f"table inet {table}",
        f"delete table inet {table}",
        f"table inet {table} {{",
        "  map published {",
        "    type inet_proto . inet_service : ipv4_addr . inet_service",
        *_elements(everywhere),
        "  }",
        "  map published_on {",
        "    type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service",
        *_elements(on_address),
        "  }",
        "  set bridges {",
        "    type ifname",
        *_elements([f'"{bridge.link}"' for bridge in bridges]),
        "  }",
        "  chain raw {",
        "    type filter hook prerouting priority raw; policy accept;",
        '    iifname != "lo" ip daddr 127.0.0.0/8 drop',
        "  }",
        "  chain published_here {",
        "    dnat ip to ip daddr . meta l4proto . th dport map @published_on",
        "    meta nfproto ipv4 dnat ip to meta l4proto . th dport map @published",
        "  }",
        "  chain prerouting {",
        "    type nat hook prerouting priority dstnat; policy accept;",
        "    fib daddr type local jump published_here",
        "  }",
        "  chain output {",
        "    type nat hook output priority -100; policy accept;",
        "    fib daddr type local jump published_here",
        "  }",
        "  chain postrouting {",
        "    type nat hook postrouting priority srcnat; policy accept;",
    ]
    for bridge in bridges:
        lines.append(
            f'    oifname "{bridge.link}" ip saddr {{ 127.0.0.0/8, {bridge.subnet} }} ct status dnat masquerade'
        )
        if bridge.masquerade and not bridge.internal:
            lines.append(f'    oifname != "{bridge.link}" ip saddr {bridge.subnet} masquerade')
    lines.append("  }")
    for number, bridge in enumerate(bridges):
        lines += [f"  chain to_{number} {{", "    ct state established,related accept"]
        # A port of another network is reached by the host's address, as from anywhere else.
        if bridge.internal:
            lines += [f'    iifname != "{bridge.link}" drop']
        lines += ["    ct status dnat accept"]
        if bridge.icc:
            lines += [f'    iifname "{bridge.link}" accept']
        lines += ["    drop", "  }"]
    lines += [
        "  chain forward {",
        "    type filter hook forward priority filter; policy accept;",
    ]
    lines += [f'    iifname "{bridge.link}" oifname != "{bridge.link}" drop' for bridge in bridges if bridge.internal]
    lines += [f'    oifname "{bridge.link}" goto to_{number}' for number, bridge in enumerate(bridges)]
    if closes_host:
        lines.append("    iifname != @bridges oifname != @bridges drop")
    lines += ["  }", "  chain input {", "    type filter hook input priority filter; policy accept;"]
    lines += [
        f'    iifname "{bridge.link}" ct state != {{ established, related }} drop'
        for bridge in bridges
        if bridge.internal
    ]
    lines += ["  }", "}", ""]
    return "\n".join(lines)


def _elements(texts: Sequence[str]) -> list[str]:
    return [f"    elements = {{ {', '.join(texts)} }}"] if texts else []


def _nft() -> str:
    found = shutil.which("nft", path=PROGRAMS)
    if found is None:
        raise System("nft is missing: install the package nftables")
    return found


def apply(text: str) -> int:
    """Hand a rule set to nft(8); the process that did it. Blocks for some milliseconds.

    Raises System with its words, or when it does not end: it is killed then, and nothing has changed.
    """
    with subprocess.Popen(
        [_nft(), "-f", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            _, complaint = process.communicate(text, timeout=PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise System(f"nft did not take the rules within {PATIENCE_S:.0f} s") from error
    if process.returncode != 0:
        raise System(f"nft refused the rules: {complaint.strip()}")
    return process.pid


def remove_table(table: str) -> None:
    """Take the table away; nothing happens when it is not there."""
    apply(f"table inet {table}\ndelete table inet {table}\n")


def ask(*words: str) -> str | None:
    """What nft(8) answers to a question; None when what was asked for is not there. Raises System with its words.

    Asked again when it fails otherwise: who takes a failure for "not there" leaves rules behind.
    """
    for _ in range(_ASKED):
        done = subprocess.run(
            [_nft(), *words], text=True, capture_output=True, check=False, timeout=PATIENCE_S, env={"LC_ALL": "C"}
        )
        if done.returncode == 0:
            return done.stdout
        if "No such file or directory" in done.stderr:
            return None
    raise System(f"nft did not answer to {' '.join(words)}: {done.stderr.strip()}")
