"""Scans in a running registry: push, findings, advisories that change, what is set aside, documents, search."""

import gzip
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conditions import until
from tests.onggi_registry import CONFIG, INDEX, LAYER, MANIFEST, Client, OnggiRegistry, on_sqlite
from tests.scanned import debian_layer, import_advisories, tracker

FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    with OnggiRegistry(tmp_path_factory.mktemp("scanning")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_advisories(registry: OnggiRegistry) -> None:
    """Each test begins without any."""
    for line in registry.command("advisories", "list").stdout.splitlines():
        registry.command("advisories", "remove", line.partition("\t")[0])


@pytest.fixture
def ask(registry: OnggiRegistry) -> Client:
    return registry.admin


@pytest.fixture
def project(registry: OnggiRegistry, request: pytest.FixtureRequest) -> str:
    return registry.make_project(request.node.name)


def _report(ask: Client, repository: str, reference: str, *, findings: set[str] | None = None) -> Any:
    """The report, as soon as there is one (with these findings)."""
    path = f"/api/v1/repositories/{repository}/-/manifests/{reference}/scan"

    shown: Any = None

    def there() -> bool:
        nonlocal shown
        answer = ask("GET", path)
        shown = answer.json()
        return answer.status == 200 and (findings is None or {each["id"] for each in shown["findings"]} == findings)

    until(there, f"the scan of {repository}:{reference} is there")
    return shown


def test_what_is_pushed_is_scanned_and_again_when_advisories_change(
    registry: OnggiRegistry, ask: Client, project: str
) -> None:
    repository = f"{project}/app"
    import_advisories(registry, tracker(CVE_1="3.0.11-1~deb12u2", CVE_2="", CVE_3="3.0.10-1"))
    digest = ask.image(repository, "latest", debian_layer())
    shown = _report(ask, repository, "latest", findings={"CVE-1", "CVE-2"})
    assert shown["digest"] == digest
    assert (shown["state"], shown["packages"], shown["distribution"]["id"]) == ("done", 2, "debian")
    assert shown["counts"]["high"] == 2
    first = next(each for each in shown["findings"] if each["id"] == "CVE-1")
    assert (first["package"], first["version"], first["fixed_version"]) == (
        "libssl3", "3.0.11-1~deb12u1", "3.0.11-1~deb12u2"
    )  # fmt: skip
    import_advisories(registry, tracker(CVE_2="", CVE_4="3.0.12-1"))
    _report(ask, repository, "latest", findings={"CVE-2", "CVE-4"})
    events = [event for event in ask.ok("GET", f"/api/v1/projects/{project}/events").json() if event["kind"] == "scan"]
    assert [json.loads(event["details"])["counts"]["high"] for event in events] == [2, 2]
    removed = registry.command("advisories", "remove", "tracker")
    assert removed.returncode == 0, removed.stderr
    _report(ask, repository, "latest", findings=set())


def test_what_is_set_aside(registry: OnggiRegistry, ask: Client, project: str) -> None:
    repository, path = f"{project}/app", f"/api/v1/projects/{project}/ignores"
    import_advisories(registry, tracker(CVE_1="", CVE_2=""), "aside")
    ask.image(repository, "latest", debian_layer())
    _report(ask, repository, "latest", findings={"CVE-1", "CVE-2"})
    for body in ({"problem": "CVE-1"}, {"problem": "CVE-1", "reason": "no"}, {"problem": "CVE-1", "reason": "because", "x": 1},
                 {"problem": "CVE-1", "reason": "because", "until": "2030-01-01T00:00:00"}):  # fmt: skip
        assert ask("POST", path, body).status == 400, body
    ask.ok("POST", path, {"problem": "CVE-1", "reason": "not reachable", "until": "2999-01-01T00:00:00Z"})
    ask.ok("POST", path, {"problem": "CVE-2", "reason": "long ago", "until": "2001-01-01T00:00:00Z"})
    shown = _report(ask, repository, "latest")
    assert [each["id"] for each in shown["findings"]] == ["CVE-2"]
    assert [(each["finding"]["id"], each["reason"]) for each in shown["ignored"]] == [("CVE-1", "not reachable")]
    (run,) = ask.ok("GET", f"/api/v1/repositories/{repository}/-/manifests/latest/scan?format=sarif").json()["runs"]
    assert {result["ruleId"]: "suppressions" in result for result in run["results"]} == {"CVE-1": True, "CVE-2": False}
    ask.ok("DELETE", f"{path}?problem=CVE-1")
    assert ask("DELETE", f"{path}?problem=CVE-1").status == 404
    assert [each["problem"] for each in ask.ok("GET", path).json()] == ["CVE-2"]
    reader = registry.user(f"reader-{project[:20]}")
    ask.ok("PUT", f"/api/v1/projects/{project}/members/reader-{project[:20]}", {"role": "guest"})
    assert reader("GET", f"/api/v1/repositories/{repository}/-/manifests/latest/scan").status == 200
    assert reader("POST", f"/api/v1/repositories/{repository}/-/manifests/latest/scan").status == 403
    assert reader("POST", path, {"problem": "CVE-1", "reason": "because"}).status == 403


def test_bills_of_materials_and_search(registry: OnggiRegistry, ask: Client, project: str) -> None:
    repository = f"{project}/app"
    digest = ask.image(repository, "v1", debian_layer())
    _report(ask, repository, "v1")
    bill = ask.ok("GET", f"/api/v1/repositories/{repository}/-/manifests/{digest}/bom")
    assert bill.headers["content-type"].startswith("application/vnd.cyclonedx+json")
    assert {component.get("purl", "") for component in bill.json()["components"]} >= {
        "pkg:deb/debian/zlib1g@1:1.2.13.dfsg-1?arch=amd64&distro=debian-12&upstream=zlib"
    }
    spdx = ask.ok("GET", f"/api/v1/repositories/{repository}/-/manifests/v1/bom?format=spdx").json()
    assert spdx["spdxVersion"] == "SPDX-2.3"
    assert ask("GET", f"/api/v1/repositories/{repository}/-/manifests/v1/bom?format=nonsense").status == 400
    for word, found in (("package:zlib1g", True), ("package:zlib1g@1:1.2", True), ("package:zlib1g@9", False)):
        rows = ask.ok("GET", f"/api/v1/search?q={word}").json()
        assert (repository in [row["name"] for row in rows]) is found, word
    assert registry.anonymous.ok("GET", "/api/v1/search?q=package:zlib1g").json() == []
    table = registry.command("report", f"{repository}:v1")
    assert (table.returncode, table.stdout.split()[:3]) == (0, ["SEVERITY", "PROBLEM", "PACKAGE"]), table.stderr
    assert json.loads(registry.command("report", f"{repository}@{digest}", "--format", "spdx").stdout) == spdx


def test_indexes_artifacts_and_what_can_not_be_read(ask: Client, project: str) -> None:
    repository = f"{project}/app"
    good, bad = (
        ask.image(repository, "good", debian_layer()),
        ask.image(repository, "bad", b"this is no archive at all" * 100),
    )
    assert _report(ask, repository, "good")["state"] == "done"
    failed = _report(ask, repository, "bad")
    assert (failed["state"], failed["error"][:24]) == ("failed", "the image can't be read:")
    assert ask("GET", f"/api/v1/repositories/{repository}/-/manifests/bad/bom").status == 400
    sizes = {digest: len(ask.ok("GET", f"/v2/{repository}/manifests/{digest}").body) for digest in (good, bad)}
    ask.manifest(repository, "both", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": MANIFEST, "digest": digest, "size": size, "platform": {"os": "linux", "architecture": "amd64"}}
        for digest, size in sizes.items()]})  # fmt: skip
    shown = ask.ok("GET", f"/api/v1/repositories/{repository}/-/manifests/both/scan").json()
    assert [(each["digest"], each["state"]) for each in shown["manifests"]] == [(good, "done"), (bad, "failed")]
    empty = ask.blob(repository, b"{}")
    ask.manifest(repository, "chart", {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x-chart",
                 "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
                 "layers": [{"mediaType": "application/x-chart", "digest": empty, "size": 2}]})  # fmt: skip
    assert _report(ask, repository, "chart")["state"] == "not an image"


@on_sqlite
def test_a_deleted_repository_takes_its_scans_along(registry: OnggiRegistry, ask: Client, project: str) -> None:
    repository = f"{project}/app"
    digest = ask.image(repository, "latest", debian_layer())
    _report(ask, repository, "latest")
    ask.ok("DELETE", f"/api/v1/repositories/{repository}/-")
    with sqlite3.connect(registry.root / "registry.db") as database:
        for table in ("scans", "scan_packages"):
            count = database.execute(f"SELECT COUNT(*) FROM {table} WHERE digest = ?", (digest,)).fetchone()  # noqa: S608
            left = database.execute(
                f"SELECT COUNT(*) FROM {table} t JOIN repositories r ON r.id = t.repository_id WHERE r.name = ?",  # noqa: S608
                (repository,),
            ).fetchone()
            assert left == (0,), (table, count)
    database.close()


@pytest.mark.parametrize("content", ["{", "[1]", '{"openssl": 1}', "PK\x03\x04"])
def test_advisories_that_are_none_change_nothing(registry: OnggiRegistry, content: str, tmp_path: Path) -> None:
    import_advisories(registry, tracker(CVE_9=""), "kept")
    path = tmp_path / "advisories"
    path.write_text(content)
    done = registry.command("advisories", "import", "--name", "kept", str(path))
    assert done.returncode == 1
    assert done.stderr.startswith(
        ("onggi registry: this is no", "onggi registry: the archive of advisories is damaged")
    )
    assert "kept\tdebian\t1 entries" in registry.command("advisories", "list").stdout
    gone = registry.command("advisories", "import", str(tmp_path / "nothing"))
    assert (gone.returncode, "No such file" in gone.stderr) == (1, True)


def test_a_policy_forbids_what_is_unsafe_and_says_which_rule(
    registry: OnggiRegistry, ask: Client, project: str
) -> None:
    repository, policy = f"{project}/app", f"/api/v1/projects/{project}/policy"
    reader = registry.user(f"pull-{project[:20]}")
    ask.ok("PUT", f"/api/v1/projects/{project}/members/pull-{project[:20]}", {"role": "guest"})
    import_advisories(registry, tracker(CVE_77="", CVE_78="3.0.12-1"), "unsafe")
    ask.image(repository, "latest", debian_layer())
    _report(ask, repository, "latest")
    path = f"/v2/{repository}/manifests/latest"
    reader.ok("GET", path)
    ask.ok("PUT", policy, {"rules": [{"severity": "high", "fixable": True}]})
    refused = reader("GET", path)
    assert (refused.status, refused.code) == (403, "DENIED")
    assert refused.message == (
        f"the policy of the project {project} forbids this pull: libssl3 3.0.11-1~deb12u1 has CVE-78 (high); fixed in 3.0.12-1"
    )
    ask.ok("POST", f"/api/v1/projects/{project}/ignores", {"problem": "CVE-78", "reason": "not reachable"})
    reader.ok("GET", path)
    ask.ok("PUT", policy, {"rules": [{"severity": "critical"}, {"severity": "high", "after_days": 3}]})
    warning = reader.ok("GET", path).headers["warning"]  # known for less than three days
    ends = datetime.now(UTC) + timedelta(days=3)
    assert warning == (
        f'299 - "from {ends:%Y-%m-%d} the policy of the project {project} will forbid this pull: '
        'libssl3 3.0.11-1~deb12u1 has CVE-77 (high)"'
    )
    assert "warning" not in ask.ok("GET", path).headers  # may push, so is let through
    ask.ok("PUT", policy, {"rules": [{"severity": "high"}]})
    assert "has CVE-77 (high)" in reader("GET", path).message
    bad = ask.image(repository, "bad", b"no archive" * 100)
    _report(ask, repository, "bad")
    assert reader("GET", f"/v2/{repository}/manifests/bad").message.startswith(
        f"the policy of the project {project} forbids this pull: {bad} could not be scanned"
    )


def _disguised(ask: Client, repository: str, tag: str, *, config: str = CONFIG, layer: str, content: bytes) -> str:
    """An image that does not call itself, or its layer, what it is; gives the manifest's digest."""
    configuration = json.dumps({"architecture": "amd64", "os": "linux", "tag": tag}).encode()
    return ask.manifest(repository, tag, {
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": config, "digest": ask.blob(repository, configuration), "size": len(configuration)},
        "layers": [{"mediaType": layer, "digest": ask.blob(repository, content), "size": len(content)}],
    })  # fmt: skip


def test_no_image_passes_a_policy_by_another_name(registry: OnggiRegistry, ask: Client, project: str) -> None:
    """Docker runs images whatever they call their configuration and their layers."""
    repository, policy = f"{project}/app", f"/api/v1/projects/{project}/policy"
    reader = registry.user(f"see-{project[:20]}")
    ask.ok("PUT", f"/api/v1/projects/{project}/members/see-{project[:20]}", {"role": "guest"})
    import_advisories(registry, tracker(CVE_79=""), "hidden")
    statement = "application/vnd.in-toto+json"
    _disguised(ask, repository, "octets", config="application/octet-stream", layer=LAYER, content=debian_layer())
    _disguised(ask, repository, "strange", layer="application/x-strange", content=debian_layer())
    _disguised(ask, repository, "statement", layer=statement, content=debian_layer())
    _disguised(ask, repository, "packed", layer=statement, content=gzip.compress(debian_layer()))
    _disguised(ask, repository, "attestation", layer=statement, content=b'{"_type": "https://in-toto.io/Statement/v1"}')
    foreign = _disguised(ask, repository, "foreign", layer=FOREIGN, content=debian_layer())
    assert [finding["id"] for finding in _report(ask, repository, foreign)["findings"]] == ["CVE-79"]
    ask.ok("PUT", policy, {"rules": [{"severity": "high"}]})
    reader.ok("GET", f"/v2/{repository}/manifests/attestation")
    for tag in ("octets", "strange", "statement", "packed", "foreign"):
        refused = reader("GET", f"/v2/{repository}/manifests/{tag}")
        assert (refused.status, refused.code) == (403, "DENIED"), tag
