"""The gate: asked before a manifest is given out. It says which rule forbids the pull, and why."""

from collections.abc import Iterator
from datetime import timedelta

from onggi.errors import Forbidden, NotFound
from onggi.oci.descriptor import IMAGE_CONFIGS, INDEXES
from onggi.oci.digest import Digest
from onggi.oci.manifest import Index, Manifest, parse_manifest
from onggi.registry import accounts, blobs, clock, manifests, projects, repositories
from onggi.registry.database import Connection
from onggi.registry.manifests import Stored
from onggi.registry.names import project_of
from onggi.registry.permissions import Action, Subject, holds
from onggi.registry.refusals import ManifestUnknown
from onggi.registry.scanning import scans
from onggi.registry.scanning.scans import NotScanned, ScanState
from onggi.registry.service import Service
from onggi.registry.trust import policies
from onggi.registry.trust.policies import Policy, Rule
from onggi.scan.matching import Finding
from onggi.signing.cosign import MOST_BYTES, SIMPLE_SIGNING
from onggi.signing.gathering import MOST_MANIFEST_BYTES, MOST_SIGNATURES, SIGNATURES, Signature, gather

MOST_INDEXES = 20
RUNNABLE_CONFIGS = IMAGE_CONFIGS | {"application/octet-stream", "application/json", "text/html"}
"""Docker runs what calls its configuration so, too. (moby: distribution/registry.go, ImageTypes)"""
STATEMENTS = frozenset({
    SIMPLE_SIGNING, "application/vnd.dsse.envelope.v1+json", "application/vnd.in-toto+json",
    "application/vnd.cyclonedx+json", "application/vnd.cyclonedx+xml", "application/vnd.syft+json",
    "application/spdx+json", "text/spdx", "text/spdx+json", "text/spdx+xml",
})  # fmt: skip
"""What cosign and BuildKit attach to images as the layer of a manifest with an image's configuration."""


class PolicyForbids(Forbidden):
    """The rule, and what it is about this image."""

    code = "DENIED"

    def __init__(self, repository: str, reason: str) -> None:
        super().__init__(f"the policy of the project {project_of(repository)} forbids this pull: {reason}")


class StoredDocuments:
    """A repository's documents, read in one transaction; blobs from the object store. Blocks: for a thread."""

    def __init__(self, service: Service, connection: Connection, repository: str) -> None:
        self._service = service
        self._connection = connection
        self._repository = repository

    def referrers(self, image: Digest) -> Iterator[tuple[Digest, str, bytes]]:
        rows = manifests.signatures(
            self._connection, self._repository, image, SIGNATURES, MOST_MANIFEST_BYTES, MOST_SIGNATURES
        )
        return ((Digest(row["digest"]), row["artifact_type"], row["content"]) for row in rows)

    def tagged(self, tag: str) -> tuple[Digest, bytes] | None:
        try:
            stored = manifests.find(self._connection, self._repository, tag)
        except ManifestUnknown:
            return None
        return Digest(stored.digest), stored.content

    def blob(self, digest: Digest) -> bytes:
        try:
            blob = blobs.find(self._connection, self._repository, digest)
            if blob.size_bytes > MOST_BYTES:
                return b""
            with self._service.objects.open(blob.key) as file:
                content = file.read(MOST_BYTES)
        except NotFound:
            return b""
        return content if digest.verifies(content) else b""

    def beginning(self, digest: Digest) -> bytes:
        """The first bytes of a blob, as many as a tar's header has; b"" when it is not there."""
        try:
            with self._service.objects.open(blobs.find(self._connection, self._repository, digest).key) as file:
                return file.read(512)
        except NotFound:
            return b""


def is_image(stored: Stored, documents: StoredDocuments) -> bool:
    """True for what a client would run: an image or an index; a signature or a chart is neither.

    An attestation of cosign's calls its configuration an image's: it is none if its layers are statements, to look at
    too, for clients unpack a layer whatever it is called.
    """
    if stored.media_type in INDEXES:
        return True
    parsed = parse_manifest(stored.content, stored.media_type)
    if not isinstance(parsed, Manifest) or parsed.config.media_type not in RUNNABLE_CONFIGS:
        return False
    return not parsed.layers or not all(
        layer.media_type in STATEMENTS and _is_text(documents.beginning(layer.digest)) for layer in parsed.layers
    )


def _is_text(beginning: bytes) -> bool:
    """JSON, XML or SPDX, and neither compressed nor a tar, whose first header is never without zeros."""
    return beginning.lstrip().startswith((b"{", b"[", b"<", b"SPDXVersion")) and b"\0" not in beginning


def signatures(
    service: Service, connection: Connection, repository: str, digest: Digest, policy: Policy
) -> list[Signature]:
    """All signatures of one manifest, held against the policy's keys."""
    documents = StoredDocuments(service, connection, repository)
    return gather(digest, documents, [key.trusted() for key in policy.keys], clock.now())


def _above(connection: Connection, repository: str, digest: str) -> list[Digest]:
    """The indexes of the repository that name a manifest: who signs an index signs what is in it."""
    rows = connection.execute(
        "SELECT DISTINCT r.manifest FROM manifest_references r JOIN manifests m ON m.repository_id = r.repository_id"
        " AND m.digest = r.manifest JOIN repositories p ON p.id = r.repository_id"
        " WHERE p.name = ? AND r.digest = ? AND r.kind = 'manifest' AND m.deleted_at = '' LIMIT ?",
        (repository, digest, MOST_INDEXES),
    ).fetchall()
    return [Digest(row["manifest"]) for row in rows]


def _may_push(connection: Connection, subject: Subject, repository: str) -> bool:
    account = accounts.current(connection, subject)
    return holds(account, Action.PUSH, projects.standing(connection, project_of(repository), account), repository)


class Gate:
    """One service's. `check` is among its pull gates."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def check(self, subject: Subject, repository: str, stored: Stored) -> str:
        """Raises PolicyForbids. Whoever may push there is let through: signing begins with reading what is signed.

        Gives the warning for what passes today and will not when its findings are older; "" for nothing.
        """
        policy = await self._service.read(lambda connection: policies.of_project(connection, project_of(repository)))
        rules = policy.of(repository.partition("/")[2])
        if not rules:
            return ""

        def look(connection: Connection) -> tuple[str, str]:
            if not is_image(stored, StoredDocuments(self._service, connection, repository)):
                return "", ""
            if _may_push(connection, subject, repository):
                return "", ""
            reason = self._reason(connection, repository, stored, policy, rules)
            return reason, "" if reason else self._coming(connection, repository, stored, rules)

        reason, coming = await self._service.database.scan(look)
        if reason:
            raise PolicyForbids(repository, reason)
        return coming

    def _reason(
        self, connection: Connection, repository: str, stored: Stored, policy: Policy, rules: list[Rule]
    ) -> str:
        """Why not; "" when every rule is met."""
        asked = [rule for rule in rules if rule.signed_by]
        if asked:
            made: set[str] = set()
            for digest in [Digest(stored.digest), *_above(connection, repository, stored.digest)]:
                for signature in signatures(self._service, connection, repository, digest, policy):
                    made.update(signature.trusted)
            for rule in asked:
                if not made & set(rule.signed_by):
                    return f"{stored.digest} is not signed by {' or '.join(rule.signed_by)}"
        for rule in rules:
            if rule.severity is not None and (reason := self._unsafe(connection, repository, stored, rule)):
                return reason
        return ""

    def _unsafe(self, connection: Connection, repository: str, stored: Stored, rule: Rule) -> str:
        if isinstance(parse_manifest(stored.content, stored.media_type), Index):
            return ""  # each of its images is asked about when it is pulled
        try:
            scan, found = _open_findings(connection, repository, stored.digest)
        except NotScanned:
            return f"{stored.digest} has not been scanned yet: try again in a moment"
        if scan.state is not ScanState.DONE:
            return f"{stored.digest} could not be scanned: {scan.error}"
        known_before = clock.now() - timedelta(days=rule.after_days)
        bad = [finding for finding in found if _counts(finding, rule) and scan.known_since(finding) <= known_before]
        if not bad:
            return ""
        others = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        return _shown(bad[0], others)

    def _coming(self, connection: Connection, repository: str, stored: Stored, rules: list[Rule]) -> str:
        """Of the findings that a rule gives time to mend the one whose time ends first."""
        timed = [rule for rule in rules if rule.severity is not None and rule.after_days]
        if not timed or isinstance(parse_manifest(stored.content, stored.media_type), Index):
            return ""
        scan, found = _open_findings(connection, repository, stored.digest)
        ends = [
            (scan.known_since(finding) + timedelta(days=rule.after_days), finding)
            for rule in timed for finding in found if _counts(finding, rule)
        ]  # fmt: skip
        if not ends:
            return ""
        at, first = min(ends, key=lambda end: end[0])
        return f"from {at:%Y-%m-%d} the policy of the project {project_of(repository)} will forbid this pull: {_shown(first)}"


def _open_findings(connection: Connection, repository: str, digest: str) -> tuple[scans.Scan, list[Finding]]:
    """A scan and its findings, without those that the project lives with. Raises NotScanned."""
    scan = scans.find(connection, repositories.find(connection, repository)["id"], digest)
    project = projects.find(connection, project_of(repository))
    return scan, scans.sorted_findings(connection, project["id"], scan).open


def _shown(finding: Finding, others: str = "") -> str:
    mend = f"; fixed in {finding.fixed_version}" if finding.fixed_version else ""
    return f"{finding.package} {finding.version} has {finding.id} ({finding.severity}){others}{mend}"


def _counts(finding: Finding, rule: Rule) -> bool:
    assert rule.severity is not None
    return finding.severity.rank <= rule.severity.rank and (bool(finding.fixed_version) or not rule.fixable)
