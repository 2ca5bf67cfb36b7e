"""Other firewalls of this machine: what they would drop of ours passes by the door that each of them has.

    Docker      its FORWARD chain drops what is not its own      our rules in its chain DOCKER-USER
    ufw, …      `ip filter FORWARD` has the policy drop          our rules in FORWARD itself, as Docker makes them
    firewalld   rejects what comes from a zone that it guards    our bridges in its zone `trusted`, by firewall-cmd

Without these a packet that our own table accepts is dropped by theirs: each base chain of a hook has its say.
"""

import re
import shutil
import subprocess
from collections.abc import Collection, Sequence

from onggi.errors import System
from onggi.network import nftables
from onggi.network.nftables import PATIENCE_S, PROGRAMS

ZONE = "trusted"
_DOORS = ("DOCKER-USER", "FORWARD")
"""Of the table `ip filter`, the first that is there."""


def tables() -> set[str]:
    """Tables of the rule set, as `inet firewalld`."""
    done = nftables.ask("list", "tables")
    return {line.removeprefix("table ") for line in done.splitlines()} if done is not None else set()


def has_firewalld(present: Collection[str]) -> bool:
    return "inet firewalld" in present


def pass_filters(bridge: str, links: Sequence[str], uplinks: Sequence[str], present: Collection[str]) -> list[int]:
    """Let our networks' traffic through `ip filter`, if that drops; the processes that did, none when nothing was to do.

    What goes to a network of Docker's own is left to Docker's own rules. Only matches that iptables knows are used:
    Docker and ufw would no longer be able to read the table. Raises System.
    """
    found = _door() if "ip filter" in present else None
    if found is None:
        return []
    door, rules = found
    comment = nftables.mark(bridge)
    chain = f"ip filter {door}"
    wanted = [(f'oifname "{link}"', "accept") for link in links]
    for link in links:
        wanted += [(f'iifname "{link}" oifname "{uplink}"', "accept") for uplink in uplinks]
        wanted += [(f'iifname "{link}" oifname "{theirs}"', "return") for theirs in ("docker0", "br-*")]
        wanted += [(f'iifname "{link}"', "accept")]
    if door == "FORWARD":
        wanted = [
            (match, verdict) for match, verdict in wanted if verdict != "return"
        ]  # there are no networks of Docker's
    own = _own_rules(rules, comment)
    # Other engines write into this chain, too. Each that rewrote its rules whenever another did would never end.
    if [text for text, _ in own] == [f"{match} {verdict}" for match, verdict in wanted]:
        return []
    text = "".join(f"delete rule {chain} handle {handle}\n" for _, handle in own)
    text += "".join(
        f'insert rule {chain} {match} counter {verdict} comment "{comment}"\n' for match, verdict in reversed(wanted)
    )
    return [nftables.apply(text)]


def leave_filters(bridge: str) -> None:
    """Take our rules in chains of others back. Idempotent."""
    for door in _DOORS:
        rules = nftables.ask("-a", "list", "chain", "ip", "filter", door)
        handles = [handle for _, handle in _own_rules(rules, nftables.mark(bridge))] if rules is not None else []
        if handles:
            nftables.apply("".join(f"delete rule ip filter {door} handle {handle}\n" for handle in handles))


def trust(links: Sequence[str]) -> None:
    """Put our bridges into firewalld's trusted zone, until it is started anew. Raises System with its words."""
    for link in links:
        _firewall_cmd(f"--zone={ZONE}", f"--change-interface={link}")


def leave_zone(links: Sequence[str]) -> None:
    """Take them out again. Raises System with its words."""
    for link in links:
        _firewall_cmd(f"--zone={ZONE}", f"--remove-interface={link}")


def _door() -> tuple[str, str] | None:
    """The chain where our rules belong and its text with handles; None when nothing of ours is dropped."""
    for door in _DOORS:
        rules = nftables.ask("-a", "list", "chain", "ip", "filter", door)
        if rules is not None and (door != "FORWARD" or re.search(r"hook forward .* policy drop;", rules)):
            return door, rules
    return None


def _own_rules(rules: str, comment: str) -> list[tuple[str, int]]:
    """Text, without counters and comment, and handle of the rules with a comment."""
    pattern = rf'^\s*(.*) counter packets \d+ bytes \d+ (\w+) comment "{re.escape(comment)}" # handle (\d+)$'
    return [(f"{found[1]} {found[2]}", int(found[3])) for found in re.finditer(pattern, rules, re.MULTILINE)]


def _firewall_cmd(*words: str) -> None:
    program = shutil.which("firewall-cmd", path=PROGRAMS)
    if program is None:
        raise System("firewalld guards this machine, but there is no program firewall-cmd: let the engine's bridges "
                     f"into its zone {ZONE} by hand")  # fmt: skip
    done = subprocess.run(
        [program, "--quiet", *words],
        text=True,
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={"PATH": PROGRAMS, "LC_ALL": "C.UTF-8"},
        timeout=PATIENCE_S,
    )
    if done.returncode != 0:
        raise System(f"firewalld refused {' '.join(words)}: {(done.stderr or done.stdout).strip()}")
