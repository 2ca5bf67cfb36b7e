"""Bills of materials and findings in the forms that other tools read.

    cyclonedx   CycloneDX 1.6 JSON, with the findings as vulnerabilities where they are given
    spdx        SPDX 2.3 JSON
    sarif       SARIF 2.1.0: findings

Pure functions to JSON-able values. The same inventory gives the same document: names are made from digests, and the
moment is the scan's.
"""

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from onggi.scan.advisories import Severity
from onggi.scan.ignoring import Ignore
from onggi.scan.inventory import Inventory, Package, package_url
from onggi.scan.matching import Finding

_SPACE = uuid.UUID("5b0fd0b5-8f3e-5f0a-9d0b-6f6e67676900")
_SARIF_LEVELS = {
    Severity.CRITICAL: "error", Severity.HIGH: "error", Severity.MEDIUM: "warning", Severity.LOW: "note",
    Severity.NEGLIGIBLE: "note", Severity.UNKNOWN: "warning",
}  # fmt: skip
_CYCLONEDX_SEVERITIES = {Severity.NEGLIGIBLE: "info"}


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _reference(package: Package, url: str) -> str:
    """A name for the package within the document: its URL alone may be there twice."""
    return f"{url}#{hashlib.sha256(package.location.encode()).hexdigest()[:8]}"


def cyclonedx(inventory: Inventory, image: str, digest: str, at: datetime, version: str,
              findings: Iterable[Finding] = ()) -> dict[str, Any]:  # fmt: skip
    """`image` is its name for people; `version` is Onggi's. (cyclonedx.org/docs/1.6/json)"""
    image_url = f"pkg:oci/{image.rpartition('/')[2].partition(':')[0]}@{digest.replace(':', '%3A')}"
    components = []
    references: dict[tuple[str, str], list[str]] = {}
    for package in inventory.packages:
        url = package_url(package, inventory.distribution)
        reference = _reference(package, url)
        references.setdefault((package.name, package.version), []).append(reference)
        component: dict[str, Any] = {
            "type": "library", "bom-ref": reference, "name": package.name, "version": package.version, "purl": url,
        }  # fmt: skip
        if package.licence:
            component["licenses"] = [{"license": {"name": package.licence}}]
        if package.location:
            component["properties"] = [{"name": "onggi:location", "value": package.location}]
        components.append(component)
    if inventory.distribution.id:
        system = inventory.distribution
        components.append({"type": "operating-system", "bom-ref": "operating-system", "name": system.id,
                           "version": system.version_id, "description": system.name})  # fmt: skip
    document: dict[str, Any] = {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE, digest)}",
        "metadata": {
            "timestamp": _moment(at),
            "tools": {"components": [{"type": "application", "name": "onggi", "version": version}]},
            "component": {"type": "container", "bom-ref": image_url, "name": image, "version": digest, "purl": image_url},
        },
        "components": components,
    }  # fmt: skip
    vulnerabilities = [_vulnerability(finding, references) for finding in findings]
    if vulnerabilities:
        document["vulnerabilities"] = vulnerabilities
    return document


def _vulnerability(finding: Finding, references: dict[tuple[str, str], list[str]]) -> dict[str, Any]:
    rating: dict[str, Any] = {"severity": _CYCLONEDX_SEVERITIES.get(finding.severity, finding.severity.value)}
    if finding.vector:
        method = {"4": "CVSSv4", "3.1": "CVSSv31", "3.0": "CVSSv3"}
        kind = next((name for start, name in method.items() if finding.vector.startswith(f"CVSS:{start}")), "CVSSv2")
        rating |= {"score": finding.score, "method": kind, "vector": finding.vector}
    found: dict[str, Any] = {
        "id": finding.id, "ratings": [rating],
        "affects": [{"ref": reference} for reference in references.get((finding.package, finding.version), [])],
    }  # fmt: skip
    if finding.summary:
        found["description"] = finding.summary
    if finding.link:
        found["advisories"] = [{"url": finding.link}]
    if finding.fixed_version:
        found["recommendation"] = f"Upgrade {finding.package} to {finding.fixed_version}"
    return found


def spdx(inventory: Inventory, image: str, digest: str, at: datetime, version: str) -> dict[str, Any]:
    """(spdx.github.io/spdx-spec/v2.3)"""
    packages: list[dict[str, Any]] = [
        {
            "SPDXID": "SPDXRef-Image", "name": image, "versionInfo": digest, "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False, "primaryPackagePurpose": "CONTAINER",
            "checksums": [{"algorithm": digest.partition(":")[0].upper(), "checksumValue": digest.partition(":")[2]}],
        }
    ]  # fmt: skip
    relationships = [
        {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-Image"}
    ]
    for package in inventory.packages:
        url = package_url(package, inventory.distribution)
        name = f"SPDXRef-Package-{hashlib.sha256(_reference(package, url).encode()).hexdigest()[:20]}"
        packages.append({
            "SPDXID": name, "name": package.name, "versionInfo": package.version, "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False, "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
            # The databases' words are seldom expressions of SPDX, so they are told as text.
            **({"licenseComments": package.licence} if package.licence else {}),
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": url}],
        })  # fmt: skip
        relationships.append(
            {"spdxElementId": "SPDXRef-Image", "relationshipType": "CONTAINS", "relatedSpdxElement": name}
        )
    return {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": image,
        "documentNamespace": f"urn:uuid:{uuid.uuid5(_SPACE, 'spdx ' + digest)}",
        "creationInfo": {"created": _moment(at), "creators": [f"Tool: onggi-{version}"]},
        "packages": packages, "relationships": relationships,
    }  # fmt: skip


def sarif(findings: Iterable[Finding], ignored: Sequence[tuple[Finding, Ignore]], image: str,
          version: str) -> dict[str, Any]:  # fmt: skip
    """What was set aside is told too, as suppressed. (docs.oasis-open.org/sarif/sarif/v2.1.0)"""
    rules: dict[str, dict[str, Any]] = {}
    results = []
    for finding, rule in [*((finding, None) for finding in findings), *ignored]:
        rules.setdefault(finding.id, {
            "id": finding.id, "shortDescription": {"text": f"{finding.id} in {finding.package}"},
            "fullDescription": {"text": finding.summary or finding.id},
            **({"helpUri": finding.link} if finding.link else {}),
            "properties": {"security-severity": f"{finding.score:.1f}", "tags": ["security", finding.severity.value]},
        })  # fmt: skip
        mend = f"fixed in {finding.fixed_version}" if finding.fixed_version else "no fixed version is known"
        result: dict[str, Any] = {
            "ruleId": finding.id, "level": _SARIF_LEVELS[finding.severity],
            "message": {"text": f"{finding.package} {finding.version} has {finding.id} ({finding.severity}): {mend}"},
            "locations": [{
                "physicalLocation": {"artifactLocation": {"uri": finding.location or image}},
                "logicalLocations": [{"fullyQualifiedName": finding.package_url}],
            }],
            "partialFingerprints": {"finding/v1": f"{finding.id}:{finding.package_url}"},
        }  # fmt: skip
        if rule is not None:
            result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": rule.reason}]
        results.append(result)
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "onggi", "version": version, "informationUri": "https://github.com/onggi/onggi",
                                "rules": list(rules.values())}},
            "results": results,
        }],
    }  # fmt: skip
