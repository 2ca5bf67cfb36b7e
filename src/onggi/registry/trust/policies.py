"""A project's policy: who must have signed, what must not be wrong. Owns `policies`.

    {"keys": [{"name": "release", "pem": "-----BEGIN PUBLIC KEY-----…"}],
     "rules": [{"repositories": "app-*", "signed_by": ["release"]},
               {"severity": "critical", "after_days": 7, "fixable": true}]}

Every rule that fits a repository must be met. Signatures, bills of materials and other artifacts are not held against it:
without them nobody could verify anything.
"""

from typing import Annotated, Any

import msgspec

from onggi.errors import InvalidParameter
from onggi.registry import clock
from onggi.registry.database import Connection
from onggi.registry.glob import fits
from onggi.scan.advisories import Severity
from onggi.signing.gathering import Trusted
from onggi.signing.keys import PublicKey, TrustStore

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=60, pattern=r"^[a-z0-9][a-z0-9._-]*$")]


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A public key for cosign's signatures, or certificates for Notation's: told by the PEM."""

    name: Name
    pem: Annotated[str, msgspec.Meta(max_length=64_000)]

    def trusted(self) -> Trusted:
        """Raises signing.keys.InvalidKey."""
        if "CERTIFICATE" in self.pem:
            return Trusted(self.name, certificates=TrustStore.load(self.pem.encode()))
        return Trusted(self.name, key=PublicKey.load(self.pem.encode()))


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    repositories: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] = "*"
    """Without the project's name."""
    signed_by: Annotated[list[Name], msgspec.Meta(max_length=20)] = []
    """One of these keys must have signed the image, or the index that it is in."""
    severity: Severity | None = None
    """No finding so bad, or worse, that is not set aside; and the image must have been scanned."""
    after_days: Annotated[int, msgspec.Meta(ge=0, le=3650)] = 0
    """A finding counts when it has been known for so long: time to mend it."""
    fixable: bool = False
    """Only findings that have a fixed version count."""


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    keys: Annotated[list[Key], msgspec.Meta(max_length=50)] = []
    rules: Annotated[list[Rule], msgspec.Meta(max_length=50)] = []

    def check(self) -> None:
        """Raises InvalidParameter for a policy that says nothing, or speaks of what is not there."""
        names = [key.name for key in self.keys]
        if len(set(names)) != len(names):
            raise InvalidParameter("two keys of the policy have the same name")
        for key in self.keys:
            key.trusted()
        for rule in self.rules:
            if not rule.signed_by and rule.severity is None:
                raise InvalidParameter("a rule says what is asked for: signed_by, severity, or both")
            unknown = set(rule.signed_by) - set(names)
            if unknown:
                raise InvalidParameter(
                    f"a rule asks for the key {sorted(unknown)[0]!a}, which the policy does not have"
                )

    def of(self, name: str) -> list[Rule]:
        """The rules for a repository, named without its project."""
        return [rule for rule in self.rules if fits(rule.repositories, name)]


decoder = msgspec.json.Decoder(Policy)
NONE = Policy()


def of_project(connection: Connection, project: str) -> Policy:
    row = connection.execute(
        "SELECT o.content FROM policies o JOIN projects p ON p.id = o.project_id WHERE p.name = ?", (project,)
    ).fetchone()
    return decoder.decode(row["content"].encode()) if row is not None else NONE


def put(connection: Connection, project: Any, policy: Policy, by: str) -> None:
    connection.execute(
        "INSERT INTO policies (project_id, content, changed_by, changed_at) VALUES (?, ?, ?, ?) ON CONFLICT (project_id)"
        " DO UPDATE SET content = excluded.content, changed_by = excluded.changed_by, changed_at = excluded.changed_at",
        (project["id"], msgspec.json.encode(policy).decode(), by, clock.stamp()),
    )
