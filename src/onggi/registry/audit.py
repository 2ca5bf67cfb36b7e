"""Who did what: written in the transaction that does it; refusals and sign-ins in one of their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from onggi.registry.clock import stamp
from onggi.registry.database import Connection
from onggi.registry.jsonform import encode


class Outcome(StrEnum):
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who, from where."""

    name: str
    address: str = ""


SYSTEM = Actor("system")


def record(
    connection: Connection, actor: Actor, action: str, *, project: str = "", subject: str = "",
    outcome: Outcome = Outcome.DONE, details: Mapping[str, object] | None = None,
) -> None:  # fmt: skip
    """Note it. `action` is a verb and a noun ("delete tag"), `subject` what it was done to. Never a secret."""
    connection.execute(
        "INSERT INTO audit (at, actor, address, action, project, subject, outcome, details)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (stamp(), actor.name[:300], actor.address, action, project, subject[:1000], outcome,
         encode(details or {}).decode()),
    )  # fmt: skip
