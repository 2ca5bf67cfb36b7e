"""Advisories in their three forms, findings, what is set aside, and the documents that tell them."""

import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from onggi.scan import alpine_secdb, debian_tracker, osv
from onggi.scan.advisories import Advisory, Range, Rating, Severity, ecosystem_of
from onggi.scan.documents import cyclonedx, sarif, spdx
from onggi.scan.ignoring import Ignore, sort
from onggi.scan.inventory import Distribution, Inventory, Package, PackageKind
from onggi.scan.matching import Finding, affects, fixed_version, match, rate, severity_of
from onggi.scan.osv import InvalidAdvisories

DEBIAN = Distribution(id="debian", version_id="12", codename="bookworm", name="Debian 12")
OPENSSL = Package(kind=PackageKind.DEB, name="libssl3", version="3.0.11-1~deb12u1+b1", architecture="amd64",
                  source="openssl", source_version="3.0.11-1~deb12u1", licence="Apache-2.0")  # fmt: skip
REQUESTS = Package(kind=PackageKind.PYPI, name="requests", version="2.28.0", location="opt/METADATA")
TRACKER = {
    "openssl": {
        "CVE-1": {"description": "first", "releases": {
            "bookworm": {"status": "resolved", "fixed_version": "3.0.11-1~deb12u2", "urgency": "not yet assigned"},
            "trixie": {"status": "resolved", "fixed_version": "3.1-1", "urgency": "high"}}},
        "CVE-2": {"releases": {"bookworm": {"status": "open", "urgency": "unimportant"}}},
        "CVE-3": {"releases": {"bookworm": {"status": "undetermined", "urgency": "low"}}},
        "CVE-4": {"releases": {"bookworm": {"status": "resolved", "fixed_version": "0", "urgency": "low"}}},
        "CVE-5": {"releases": {"bookworm": {"status": "resolved", "fixed_version": "3.0.11-1~deb12u1", "urgency": "low"}}},
    }
}  # fmt: skip
GHSA = {
    "id": "GHSA-j8r2", "aliases": ["CVE-2023-32681"], "summary": "leaks",
    "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:C/C:H/I:N/A:N"}],
    "references": [{"type": "WEB", "url": "javascript:alert(1)"}, {"type": "WEB", "url": "https://example.com/a"}],
    "affected": [{"package": {"ecosystem": "PyPI", "name": "requests"},
                  "ranges": [{"type": "GIT", "events": [{"introduced": "0"}]},
                             {"type": "ECOSYSTEM", "events": [{"introduced": "2.3.0"}, {"fixed": "2.31.0"}]}],
                  "versions": ["2.28.0"]}],
}  # fmt: skip


def _file(document: Any) -> io.BytesIO:
    return io.BytesIO(json.dumps(document).encode())


def _lookup(advisories: list[Advisory]) -> Any:
    return lambda ecosystem, name: [each for each in advisories if (each.ecosystem, each.package) == (ecosystem, name)]


def test_debians_tracker() -> None:
    found = match(Inventory(DEBIAN, [OPENSSL]), _lookup([*debian_tracker.read(_file(TRACKER))]), lambda _: None)
    assert [(each.id, each.package, each.fixed_version, each.severity) for each in found] == [
        ("CVE-2", "libssl3", "", Severity.NEGLIGIBLE),
        ("CVE-1", "libssl3", "3.0.11-1~deb12u2", Severity.UNKNOWN),
    ]


def test_alpines_database() -> None:
    database = {"distroversion": "v3.19", "packages": [{"pkg": {"name": "openssl", "secfixes": {
        "3.1.4-r9": None,
        "3.1.4-r2": ["CVE-2023-6129 XSA-1"], "0": ["CVE-2000-0001"], "3.1.4-r1": ["CVE-2023-5678"]}}}]}  # fmt: skip
    package = Package(kind=PackageKind.APK, name="libcrypto3", version="3.1.4-r1", source="openssl")
    inventory = Inventory(Distribution(id="alpine", version_id="3.19.1"), [package])
    found = match(inventory, _lookup([*alpine_secdb.read(_file(database))]), lambda _: None)
    assert [(each.id, each.aliases, each.fixed_version) for each in found] == [("CVE-2023-6129", ["XSA-1"], "3.1.4-r2")]


def test_osv() -> None:
    records = [*osv.read(_file(GHSA))]
    assert records[0] == Rating("CVE-2023-32681", [GHSA["severity"][0]["score"]], "leaks")  # type: ignore[index]
    advisory = records[1]
    assert isinstance(advisory, Advisory)
    assert advisory.ranges == [Range("2.3.0", "2.31.0")]
    (found,) = match(Inventory(DEBIAN, [REQUESTS]), _lookup([advisory]), lambda _: None)
    assert (found.id, found.aliases, found.score, found.severity) == (
        "CVE-2023-32681",
        ["GHSA-j8r2"],
        6.1,
        Severity.MEDIUM,
    )
    assert found.link == "https://example.com/a"
    assert [*osv.read(_file({**GHSA, "withdrawn": "2024-01-01T00:00:00Z"}))] == []


def test_osv_comes_as_list_lines_or_zip() -> None:
    one = json.dumps(GHSA).encode()
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("GHSA-1.json", one)
        archive.writestr("README", b"no")
    for form in (b"[" + one + b"," + one + b"]", one + b"\n" + one + b"\n"):
        assert len([*osv.read(io.BytesIO(form))]) == 4
    assert len([*osv.read(io.BytesIO(zipped.getvalue()))]) == 2


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"nonsense", b"\xff\xfe", b"PK\x03\x04damaged", b'{"id": 1}'])
def test_what_is_no_advisory_is_refused_in_a_sentence(content: bytes) -> None:
    for read in (osv.read, debian_tracker.read, alpine_secdb.read):
        if (read, content) == (debian_tracker.read, b"{}"):
            continue
        with pytest.raises(InvalidAdvisories):
            list(read(io.BytesIO(content)))


@pytest.mark.parametrize(
    ("version", "affected", "fix"),
    [("1.0", False, "1.5"), ("1.1", True, "1.5"), ("1.4.9", True, "1.5"), ("1.5", False, "2.2"), ("2.1", True, "2.2"),
     ("3.0", True, ""), ("3.1", True, ""), ("3.2", False, ""), ("9.9", True, "")],
)  # fmt: skip
def test_ranges(version: str, affected: bool, fix: str) -> None:
    advisory = Advisory(id="CVE", ecosystem="PyPI", package="p", versions=["9.9"], ranges=[
        Range("1.1", "1.5"), Range("2.0", "2.2"), Range("3.0", last_affected="3.1")])  # fmt: skip
    assert affects(advisory, PackageKind.PYPI, version) is affected
    assert fixed_version(advisory, PackageKind.PYPI, version) == fix


def test_two_sources_of_one_problem_are_one_finding() -> None:
    one = Advisory(
        id="CVE-1", ecosystem="Debian:12", package="openssl", ranges=[Range("0", "3.0.13-1")], aliases=["DSA-1"]
    )
    other = Advisory(id="CVE-1", ecosystem="Debian:12", package="openssl", ranges=[Range("0", "3.0.12-1")],
                     vectors=["CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"], summary="bad")  # fmt: skip
    (found,) = match(Inventory(DEBIAN, [OPENSSL]), _lookup([one, other]), lambda _: None)
    assert (found.fixed_version, found.score, found.severity) == ("3.0.12-1", 9.8, Severity.CRITICAL)
    assert (found.aliases, found.summary) == (["DSA-1"], "bad")


def test_a_rating_from_elsewhere_counts_where_the_advisory_says_nothing() -> None:
    advisory = Advisory(id="CVE-1", ecosystem="Debian:12", package="openssl", ranges=[Range()])
    ratings = {"CVE-1": Rating("CVE-1", ["nonsense", "AV:N/AC:L/Au:N/C:C/I:C/A:C"], "told elsewhere")}
    (found,) = match(Inventory(DEBIAN, [OPENSSL]), _lookup([advisory]), ratings.get)
    assert (found.score, found.severity, found.summary) == (10.0, Severity.CRITICAL, "told elsewhere")


def test_scores() -> None:
    assert rate(["CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N",
                 "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"])[0] == 9.3  # fmt: skip
    assert rate(["CVSS:3.1/AV:X"]) == (0.0, "")
    assert [severity_of(score) for score in (9.0, 7.0, 4.0, 0.1, 0.0)] == [
        Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.UNKNOWN
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "distribution", "ecosystem"),
    [(PackageKind.DEB, DEBIAN, "Debian:12"), (PackageKind.DEB, Distribution(id="debian", codename="sid"), "Debian:sid"),
     (PackageKind.DEB, Distribution(id="ubuntu", version_id="22.04"), "Ubuntu:22.04"),
     (PackageKind.APK, Distribution(id="alpine", version_id="3.19.1"), "Alpine:v3.19"),
     (PackageKind.RPM, Distribution(id="rocky", version_id="9.3"), "Rocky Linux:9"),
     (PackageKind.DEB, Distribution(id="unheard-of", version_id="1"), ""), (PackageKind.NPM, DEBIAN, "npm")],
)  # fmt: skip
def test_ecosystems(kind: PackageKind, distribution: Distribution, ecosystem: str) -> None:
    assert ecosystem_of(Package(kind=kind, name="n", version="1"), distribution) == ecosystem


def _findings() -> list[Finding]:
    known = [each for each in osv.read(_file(GHSA)) if isinstance(each, Advisory)]
    return match(
        Inventory(DEBIAN, [OPENSSL, REQUESTS]), _lookup([*debian_tracker.read(_file(TRACKER)), *known]), lambda _: None
    )


def test_what_is_set_aside_says_why_and_until_when() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    rules = [Ignore(id="GHSA-j8r2", reason="not reachable"), Ignore(id="CVE-1", reason="later", until=now + timedelta(days=1)),
             Ignore(id="CVE-2", reason="other package", package="curl")]  # fmt: skip
    sorted_ = sort(_findings(), rules, now)
    assert [each.id for each in sorted_.open] == ["CVE-2"]
    assert [(each.id, rule.reason) for each, rule in sorted_.ignored] == [
        ("CVE-2023-32681", "not reachable"), ("CVE-1", "later")
    ]  # fmt: skip
    assert "CVE-1" in [each.id for each in sort(_findings(), rules, now + timedelta(days=1)).open]


DIGEST = "sha256:" + "a" * 64
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_cyclonedx_is_valid() -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    inventory = Inventory(DEBIAN, [OPENSSL, REQUESTS])
    document = cyclonedx(inventory, "team/app", DIGEST, AT, "1.0", _findings())
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None
    refs = {component["bom-ref"] for component in document["components"]}
    assert {affected["ref"] for each in document["vulnerabilities"] for affected in each["affects"]} < refs
    assert document == cyclonedx(inventory, "team/app", DIGEST, AT, "1.0", _findings())


def test_spdx_is_valid() -> None:
    from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    parser = JsonLikeDictParser()  # type: ignore[no-untyped-call]
    document = parser.parse(spdx(Inventory(DEBIAN, [OPENSSL, REQUESTS]), "team/app", DIGEST, AT, "1.0"))
    assert validate_full_spdx_document(document) == []
    assert len(document.packages) == 3


def test_sarif_tells_what_was_set_aside_as_suppressed() -> None:
    sorted_ = sort(_findings(), [Ignore(id="CVE-2", reason="no such file")], AT)
    document = sarif(sorted_.open, sorted_.ignored, "team/app", "1.0")
    (run,) = document["runs"]
    assert {result["ruleId"]: result.get("suppressions", [{}])[0].get("justification") for result in run["results"]} == {
        "CVE-2023-32681": None, "CVE-1": None, "CVE-2": "no such file"
    }  # fmt: skip
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == {result["ruleId"] for result in run["results"]}
