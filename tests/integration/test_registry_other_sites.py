"""What hostile pages, and hostile pushes, make of a browser that is signed in: nothing.

The attacker's site is of two kinds: another site altogether (localhost, for a registry at 127.0.0.1), and a neighbour of
the same site (127.0.0.1, another port), to whom a browser's SameSite rules give cookies.
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Error, Page, expect

from onggi.registry.features import install
from onggi.registry.page.sessions import form_token
from onggi.registry.route import Route
from onggi.registry.service import Service
from onggi.registry.settings import Settings
from tests.browser import DESKTOP, browser
from tests.onggi_registry import CONFIG, LAYER, MANIFEST, PASSWORD, OnggiRegistry, digest_of

pytestmark = pytest.mark.timeout(180)
EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\"'{{7*7}}</textarea>"
"""Runs where it is put into a page as it is; in an attribute, in a text field and in a template, too."""


class Attacker(ThreadingHTTPServer):
    """Serves one page, whatever is asked for."""

    def __init__(self) -> None:
        self.page = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = outer.page.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Not to the test's output."""

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def attacker() -> Iterator[Attacker]:
    with Attacker() as running:
        yield running
        running.shutdown()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    with OnggiRegistry(tmp_path_factory.mktemp("hostile"), "--webhook-network", "127.0.0.0/8") as running:
        admin = running.admin
        admin.ok("POST", "/api/v1/projects", {"name": "team", "public": True})
        admin.ok("PATCH", "/api/v1/projects/team", {"description": EVIL})
        running.user("mallory", email="mallory@example.com")
        admin.ok("PUT", "/api/v1/projects/team/members/mallory", {"role": "maintainer"})
        push_hostile(running)
        yield running


def push_hostile(registry: OnggiRegistry) -> None:
    """All that a member can write anywhere."""
    mallory = registry.as_("mallory")
    config = json.dumps({
        "architecture": EVIL, "os": "linux", "author": EVIL, "created": EVIL,
        "config": {"Cmd": [EVIL], "Entrypoint": [EVIL], "Env": [f"A={EVIL}"], "Labels": {EVIL: EVIL}, "User": EVIL,
                   "WorkingDir": EVIL, "StopSignal": EVIL, "Volumes": {EVIL: {}}, "ExposedPorts": {EVIL: {}}},
        "history": [{"created_by": EVIL, "comment": EVIL}],
    }).encode()  # fmt: skip
    layer = b"<html>" + EVIL.encode()
    image = mallory.manifest("team/app", "v1", {
        "schemaVersion": 2, "mediaType": MANIFEST, "annotations": {EVIL: EVIL},
        "config": {"mediaType": CONFIG, "digest": mallory.blob("team/app", config), "size": len(config)},
        "layers": [{"mediaType": LAYER, "digest": mallory.blob("team/app", layer), "size": len(layer)}],
    })  # fmt: skip
    empty = mallory.blob("team/app", b"{}")
    mallory.manifest("team/app", "", {
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "text/html", "annotations": {"a": EVIL},
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2}, "layers": [],
        "subject": {"mediaType": MANIFEST, "digest": image, "size": 1},
    })  # fmt: skip
    mallory.ok("PATCH", "/api/v1/repositories/team/app/-", {"description": EVIL})
    mallory.ok(
        "POST", "/api/v1/projects/team/webhooks", {"url": f"http://127.0.0.1:9/{quote(EVIL)}", "repositories": "*"}
    )
    mallory.ok("POST", "/api/v1/projects/team/ignores", {"problem": "CVE-2026-1", "reason": EVIL})
    mallory.ok("PATCH", "/api/v1/projects/team", {"immutable": [{"tags": "never-[<script>]*"}]})
    mallory.ok("POST", "/api/v1/user/cli-secrets", {"name": EVIL[:100], "days": 5})
    registry.as_(EVIL[:90], "wrong")("GET", "/v2/")  # into the audit log, by who has no account


def sign_in(page: Page, registry: OnggiRegistry, name: str = "admin") -> None:
    page.goto(f"http://{registry.host}/sign-in")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


@pytest.fixture
def page(chromium: Browser, registry: OnggiRegistry) -> Iterator[Page]:
    """The administrator's."""
    with chromium.new_context(locale="en-US", viewport=DESKTOP) as context:
        context.set_default_timeout(15_000)
        page = context.new_page()
        sign_in(page, registry)
        yield page


def pages() -> list[Route]:
    routes = install(Service(Settings(root=Path("/nonexistent"))))
    return [route for route in routes if route.method == "GET" and route.authenticate is not None
            and not route.path.startswith(("/assets", "/oidc")) and "download" not in route.path]  # fmt: skip


@pytest.mark.parametrize("who", ["admin", "mallory"])
def test_what_others_wrote_is_text_on_every_page(chromium: Browser, registry: OnggiRegistry, who: str) -> None:
    hook = registry.admin.ok("GET", "/api/v1/projects/team/webhooks").json()[0]["id"]
    digest = registry.admin.ok("HEAD", "/v2/team/app/manifests/v1").headers["docker-content-digest"]
    values = {"{project}": "team", "{name*}": "team/app", "{tag}": "v1", "{hook}": str(hook)}
    shown = 0
    with chromium.new_context(locale="en-US", viewport=DESKTOP) as context:
        page, said = context.new_page(), []
        page.on("dialog", lambda dialog: dialog.dismiss())
        page.on("console", lambda message: said.append(message.text))
        page.set_content(EVIL)
        assert page.title() == "owned", "it does run where it can"
        sign_in(page, registry, who)
        for route in pages():
            path = route.path
            for name, value in values.items():
                path = path.replace(name, value)
            for reference in ("v1", digest) if "{reference}" in path else ("",):
                answer = page.goto(f"http://{registry.host}{path.replace('{reference}', reference)}?q={quote(EVIL)}")
                assert answer is not None
                assert answer.status in (200, 403 if who == "mallory" else 200), path
                assert "owned" not in page.title(), path
                assert page.locator("script:not([src]), img:not([src^='/assets/'])").count() == 0, path
                shown += page.get_by_text("document.title='owned'").count()
        assert not [text for text in said if "Content Security Policy" in text], "the second line was never needed"
    assert shown > 20


@pytest.mark.parametrize("kind", ["blob", "manifest"])
def test_what_was_pushed_runs_in_no_browser(page: Page, registry: OnggiRegistry, kind: str) -> None:
    """HTML as a layer, or as a manifest's annotation: opened by its address it is saved, or shown as text."""
    layer = digest_of(b"<html>" + EVIL.encode())
    path = f"/v2/team/app/blobs/{layer}" if kind == "blob" else "/v2/team/app/manifests/v1"
    answer = registry.admin.ok("GET", path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "html" not in answer.headers["content-type"]
    opened = page.context.new_page()
    opened.set_extra_http_headers({"Authorization": registry.admin.authorization})
    if kind == "blob":
        with opened.expect_download() as download, contextlib.suppress(Error):  # there is no page to go to
            opened.goto(f"http://{registry.host}{path}")
        assert download.value.url.endswith(path)
    else:
        opened.goto(f"http://{registry.host}{path}")
        expect(opened.get_by_text("document.title='owned'")).to_be_visible()
    assert "owned" not in opened.title()


FORMS = {
    "form": "<form id=f method=post action='{target}'>{fields}</form><script>f.submit()</script>",
    "form in a frame": "<iframe name=i></iframe><form id=f method=post target=i action='{target}'>{fields}</form>"
    "<script>f.submit()</script>",
    "plain text": "<form id=f method=post enctype=text/plain action='{target}'>{fields}</form><script>f.submit()</script>",
    "fetch": "<script>fetch('{target}', {{method: 'POST', credentials: 'include', mode: 'no-cors',"
    " body: new URLSearchParams({{name: 'owned', form_token: '{token}'}})}})</script>",
    "beacon": "<script>navigator.sendBeacon('{target}', new URLSearchParams({{name: 'owned', form_token: '{token}'}}))"
    "</script>",
    "without a referrer": "<meta name=referrer content=no-referrer>"
    "<form id=f method=post action='{target}'>{fields}</form><script>f.submit()</script>",
}


@pytest.mark.parametrize("site", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("how", FORMS)
@pytest.mark.parametrize("stolen", [False, True], ids=["", "with the session's token"])
def test_another_site_sends_no_form(
    page: Page, registry: OnggiRegistry, attacker: Attacker, site: str, how: str, stolen: bool
) -> None:
    """Even if it knew the token of the session: where a form comes from is looked at besides."""
    session = next(each["value"] for each in page.context.cookies() if each["name"] == "onggi-session")
    token = form_token(session) if stolen else ""
    target = f"http://{registry.host}/new-project"
    fields = f"<input name=name value=owned><input name=form_token value='{token}'>"
    attacker.page = FORMS[how].format(target=target, fields=fields, token=token)
    with page.expect_event("response", lambda answer: answer.url == target) as sent:
        page.goto(f"http://{site}:{attacker.server_port}/")
    assert sent.value.status in (400, 401, 403)
    assert registry.admin("GET", "/api/v1/projects/owned").status == 404
    page.goto(f"http://{registry.host}/account")  # and the session is still there
    expect(page.get_by_role("heading", name="admin", level=1)).to_be_visible()


@pytest.mark.parametrize("site", ["localhost", "127.0.0.1"])
def test_another_site_signs_nobody_in(page: Page, registry: OnggiRegistry, attacker: Attacker, site: str) -> None:
    """Else somebody would push and type into the attacker's account, taking it for their own."""
    page.context.clear_cookies()
    attacker.page = (
        f"<form id=f method=post action='http://{registry.host}/sign-in'><input name=name value=mallory>"
        f"<input name=password value='{PASSWORD}'></form><script>f.submit()</script>"
    )
    with page.expect_event("response", lambda answer: answer.url.endswith("/sign-in")) as sent:
        page.goto(f"http://{site}:{attacker.server_port}/")
    assert sent.value.status == 403
    assert page.context.cookies() == []


def test_another_site_sees_nothing(page: Page, registry: OnggiRegistry, attacker: Attacker) -> None:
    """Not in a frame, not by a script, not through the window it has opened."""
    address = f"http://{registry.host}/account"
    attacker.page = f"<iframe src='{address}'></iframe>"
    with page.expect_event("console", lambda message: "frame-ancestors" in message.text):
        page.goto(f"http://127.0.0.1:{attacker.server_port}/")
    for path in ("/account", "/", "/v2/"):
        read = page.evaluate(
            "address => fetch(address, {credentials: 'include'}).then(answer => answer.text(), () => 'refused')",
            f"http://{registry.host}{path}",
        )
        assert read == "refused", path
    with page.expect_popup() as opened:
        page.evaluate("address => { window.other = window.open(address) }", address)
    expect(opened.value.get_by_role("heading", name="admin", level=1)).to_be_visible()
    assert page.evaluate("window.other.closed") is True  # another browsing context group: no handle is left


def test_nothing_is_left_in_the_browser_after_signing_out(page: Page, registry: OnggiRegistry) -> None:
    page.goto(f"http://{registry.host}/projects/team/members")
    expect(page.get_by_role("cell", name="mallory", exact=True)).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_have_text("You are signed out.")
    page.go_back()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_text("mallory")).to_have_count(0)
