"""What strangers wrote, shown on every page: it stays text. (Security case: script in descriptions, labels, findings …)

Every field that a page shows and that somebody without rights to the page can write holds PAYLOAD.
"""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

from tests.conditions import until
from tests.integration.test_registry_matrix import PAGE_ROWS
from tests.integration.test_registry_sessions import Visitor
from tests.onggi_registry import OnggiRegistry
from tests.scanned import debian_layer, import_advisories

PAYLOAD = "'\"><script>bad()</script><img src=x onerror=bad()>{{'z'*9}}</textarea></title>\u202e"
NO_SPACE = PAYLOAD.replace(" ", "/").replace("\u202e", "")
EVALUATED = "z" * 9
STATUS = f"""Package: x{NO_SPACE}
Status: install ok installed
Architecture: amd64
Source: openssl
Version: 1.0

Package: libssl3
Status: install ok installed
Architecture: amd64
Source: openssl
Version: 3.0.11-1~deb12u1
"""
FINDING = {
    "id": "CVE-2026-1", "summary": PAYLOAD, "details": PAYLOAD, "aliases": [PAYLOAD],
    "references": [{"type": "WEB", "url": "javascript:bad()"}, {"type": "ADVISORY", "url": f"https://x/{PAYLOAD}"}],
    "affected": [{"package": {"ecosystem": "Debian:12", "name": "openssl"},
                  "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.0.12"}]}]}],
}  # fmt: skip


class Document(HTMLParser):
    """What a browser would make elements of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: text or "" for name, text in attrs}
        if tag in ("img", "iframe", "object", "embed", "base", "meta") and given.get("src") == "x":
            self.wrong.append(f"<{tag}> that somebody wrote")
        if tag == "script" and not re.fullmatch(
            r"/assets/page\.js\?v=[0-9a-f]+|/assets/page\.js", given.get("src", "")
        ):
            self.wrong.append(f"<script {given}>")
        for name, text in given.items():
            if name.startswith("on") or name == "style":
                self.wrong.append(f"<{tag} {name}={text!r}>")
            if name in ("href", "src", "action", "formaction") and re.match(
                r"\s*(javascript|data|vbscript):", text, re.I
            ):
                self.wrong.append(f"<{tag} {name}={text!r}>")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    with OnggiRegistry(tmp_path_factory.mktemp("hostile")) as running:
        admin = running.admin
        import_advisories(running, FINDING, "osv")
        admin.ok("POST", "/api/v1/projects", {"name": "closed"})
        admin.ok("PATCH", "/api/v1/projects/closed", {"description": PAYLOAD})
        admin.image("closed/app", "v1", debian_layer(STATUS.encode()), {
            "author": PAYLOAD, "created": PAYLOAD, "architecture": PAYLOAD,
            "history": [{"created_by": PAYLOAD, "comment": PAYLOAD}],
            "config": {"Labels": {PAYLOAD: PAYLOAD}, "Env": [f"{PAYLOAD}={PAYLOAD}"], "Cmd": [PAYLOAD], "User": PAYLOAD,
                       "Entrypoint": [PAYLOAD], "WorkingDir": PAYLOAD, "ExposedPorts": {PAYLOAD: {}}},
        })  # fmt: skip
        digest = admin.ok("HEAD", "/v2/closed/app/manifests/v1").headers["docker-content-digest"]
        empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": admin.blob("closed/app", b"{}"), "size": 2}
        admin.manifest("closed/app", "", {
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": PAYLOAD,
            "config": empty, "layers": [empty], "annotations": {PAYLOAD: PAYLOAD},
            "subject": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1},
        })  # fmt: skip
        admin.ok("PATCH", "/api/v1/repositories/closed/app/-", {"description": PAYLOAD})
        path = "/api/v1/repositories/closed/app/-/manifests/v1/scan"
        until(lambda: admin("GET", path).status == 200, "the scan is there")
        assert {each["id"] for each in admin.ok("GET", path).json()["findings"]} == {"CVE-2026-1"}
        admin.ok("POST", "/api/v1/projects/closed/ignores", {"problem": PAYLOAD, "reason": PAYLOAD, "package": PAYLOAD})
        hook = admin.ok("POST", "/api/v1/projects/closed/webhooks", {"url": f"https://127.0.0.1/{NO_SPACE}"}).json()
        admin.ok("DELETE", "/v2/closed/app/manifests/v1")
        admin.ok("POST", "/api/v1/repositories/closed/app/-/tags/v1/rollback", {"digest": digest})
        admin.ok("POST", "/api/v1/users", {"name": "kim", "password": "a fine password", "email": PAYLOAD})
        admin.ok("POST", "/api/v1/user/cli-secrets", {"name": NO_SPACE})
        running.as_(NO_SPACE.replace(":", ""), "wrong")("GET", "/v2/")  # a refused sign-in is in the log of activity
        deliveries = f"/api/v1/projects/closed/webhooks/{hook['id']}/deliveries"
        until(lambda: any(each["error"] for each in admin.ok("GET", deliveries).json()), "a delivery has failed")
        yield running


def _pages() -> list[str]:
    paths = [row.path for row in PAGE_ROWS if row.method == "GET"]
    return [path for path in paths if "/assets/" not in path and "/download/" not in path]


@pytest.mark.parametrize("path", [*_pages(), "/nowhere"])
def test_what_strangers_wrote_stays_text(registry: OnggiRegistry, path: str) -> None:
    visitor = Visitor(registry.host)
    assert visitor.sign_in("admin") == 303
    filled = re.sub(r"\{([^}]*)\}", lambda found: {
        "name*": "closed/app", "project": "closed", "tag": "v1", "reference": "v1", "hook": "1",
        "user": "kim"}[found[1]], path)  # fmt: skip
    agent = json.dumps(PAYLOAD).encode("ascii").decode()
    for query in (
        "",
        "?q=%27%22%3E%3Cscript%3Ebad()%3C%2Fscript%3E&told=%3Cscript%3E&next=javascript:bad()&kind=%3Cb%3E",
    ):
        status, headers, text = visitor("GET", filled + query, User_Agent=agent)
        assert status in (200, 303, 404), text
        assert Document(text).wrong == []
        assert EVALUATED not in text
        if status != 303:
            assert "script-src 'self'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
        else:
            assert re.match("/(?!/)", headers["location"])


def test_the_payload_is_on_the_pages(registry: OnggiRegistry) -> None:
    """Else the test above shows nothing."""
    visitor = Visitor(registry.host)
    visitor.sign_in("admin")
    image = "/repositories/closed/app/-/manifests/v1"
    paths = [
        "/projects/closed", "/repositories/closed/app", image, f"{image}/findings", f"{image}/packages", "/account",
        "/projects/closed/webhooks", "/projects/closed/webhooks/1", "/projects/closed/rules", "/users",
        "/registry/activity",
    ]  # fmt: skip
    shown = {path: "&lt;script&gt;bad()" in visitor("GET", path)[2] for path in paths}
    assert [path for path, there in shown.items() if not there] == []
