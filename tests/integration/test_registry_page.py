"""The page in a real browser: the journeys of somebody who has just started a registry."""

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import oidc_provider_mock
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser import DESKTOP, PHONE, accessible, browser, picture
from tests.images import busybox_archive
from tests.oidc_provider import registry_at
from tests.onggi_registry import PASSWORD, OnggiRegistry
from tests.peers import Docker, peer_socket
from tests.scanned import debian_layer, import_advisories, tracker

pytestmark = pytest.mark.timeout(180)
NEW_PASSWORD = "another fine password"


class Hook(ThreadingHTTPServer):
    """Takes every delivery."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Not to the test's output."""

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@dataclass
class Seen:
    """A registry with a project, two versions of an image and findings; and a browser before it."""

    registry: OnggiRegistry
    context: BrowserContext
    page: Page

    def go(self, path: str) -> Page:
        answer = self.page.goto(f"http://{self.registry.host}{path}")
        assert answer is not None
        assert answer.status < 500, path
        return self.page

    def sign_in(self, name: str = "admin", password: str = PASSWORD) -> None:
        page = self.go("/sign-in")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Password").fill(password)
        page.get_by_role("main").get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    with OnggiRegistry(tmp_path_factory.mktemp("page"), "--webhook-network", "127.0.0.0/8") as running:
        import_advisories(running, tracker(CVE_2026_1="3.0.11-1~deb12u2", CVE_2026_2=""))
        running.admin.ok("POST", "/api/v1/projects", {"name": "team"})
        running.user("carol", email="carol@example.com")
        running.admin.ok("PUT", "/api/v1/projects/team/members/carol", {"role": "developer"})
        config = {
            "created": "2026-11-02T10:00:00Z",
            "config": {
                "Cmd": ["/app"],
                "Env": ["LANG=C.UTF-8"],
                "Labels": {"org.opencontainers.image.title": "<b>App</b>"},
            },
            "history": [{"created_by": "COPY app /app # <script>alert(1)</script>"}],
        }
        for tag in ("1.0", "1.1"):
            running.admin.image("team/app", tag, debian_layer(app=tag.encode()), config)
        running.admin.ok("PATCH", "/api/v1/repositories/team/app/-", {"description": "What we <i>sell</i>."})
        yield running


@pytest.fixture
def seen(chromium: Browser, registry: OnggiRegistry) -> Iterator[Seen]:
    with chromium.new_context(locale="en-US", viewport=DESKTOP) as context:
        context.set_default_timeout(15_000)
        page = context.new_page()
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        outside: list[str] = []
        page.on("request", lambda asked: outside.append(asked.url) if registry.host not in asked.url else None)
        yield Seen(registry, context, page)
        assert not outside, "the page loads nothing from elsewhere"
        # What is refused on purpose is in the console, too: "Failed to load resource: … 403".
        assert not [error for error in errors if "Failed to load resource" not in error], errors


def test_the_first_sign_in(chromium: Browser, tmp_path: Path) -> None:
    """With the one-time password: choose another, and only then go on."""
    registry = OnggiRegistry(tmp_path)
    registry.start()
    try:
        with chromium.new_context(locale="en-US", viewport=DESKTOP) as context:
            page = context.new_page()
            page.goto(f"http://{registry.host}/")
            expect(page.get_by_role("heading", name="Projects")).to_be_visible()  # `library` is for everybody
            page.get_by_role("link", name="Sign in").click()
            expect(page.get_by_text("Nobody has signed in here yet")).to_be_visible()
            picture(page, "sign-in")
            accessible(page)
            page.get_by_label("Name").fill("admin")
            page.get_by_label("Password").fill("wrong")
            page.get_by_role("main").get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("alert")).to_have_text("Incorrect username or password.")
            expect(page.get_by_label("Name")).to_have_value("admin")
            page.get_by_label("Password").fill(registry.one_time_password)
            page.get_by_role("main").get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("status")).to_contain_text("choose your own")
            page.goto(f"http://{registry.host}/")  # leads back here
            expect(page.get_by_role("status")).to_contain_text("choose your own")
            page.get_by_label("Current password").fill(registry.one_time_password)
            page.get_by_label("New password", exact=True).fill(NEW_PASSWORD)
            page.get_by_label("New password once more").fill(NEW_PASSWORD)
            page.get_by_role("button", name="Change the password").click()
            expect(page.get_by_role("status")).to_contain_text("has been changed")
            page.get_by_role("link", name="Projects").first.click()
            expect(page.get_by_role("link", name="library")).to_be_visible()
            assert registry.as_("admin", NEW_PASSWORD)("GET", "/api/v1/user").status == 200
    finally:
        registry.stop()


def test_make_a_project_push_and_look(seen: Seen) -> None:
    seen.sign_in()
    page = seen.page
    page.get_by_role("link", name="New project").click()
    accessible(page)
    page.get_by_label("Name").fill("Not A Name")
    page.get_by_role("button", name="Make the project").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Name")).to_have_value("Not A Name")
    page.get_by_label("Name").fill("shop")
    page.get_by_role("button", name="Make the project").click()
    expect(page.get_by_role("heading", name="shop", level=1)).to_be_visible()
    expect(page.get_by_text("No images yet")).to_be_visible()
    accessible(page)
    seen.registry.admin.image("shop/web", "v1", debian_layer())
    seen.go("/")
    expect(page.get_by_role("region", name="Pushed last").get_by_role("link").first).to_have_text("shop/web")
    seen.go("/projects/shop")
    page.get_by_role("link", name="web", exact=True).click()
    expect(page.get_by_role("cell", name="linux/amd64")).to_be_visible()
    expect(page.get_by_text(f"docker pull {seen.registry.host}/shop/web:v1")).to_be_visible()


def test_docker_pushes_as_a_robot_that_the_page_made(seen: Seen, tmp_path: Path) -> None:
    """By the command and the secret that it shows; what was pushed is there then, and a renewed robot is out."""
    docker, name = Docker(peer_socket()), f"{seen.registry.host}/team/by-docker:v1"
    seen.sign_in()
    page = seen.go("/projects/team/robots")
    page.get_by_label("Name").fill("ci")
    page.get_by_role("button", name="Make the robot").click()
    expect(page.get_by_text(f"docker login {seen.registry.host} -u team+ci")).to_be_visible()
    secret = page.locator(".secret code").inner_text()
    accessible(page)
    archive, config = tmp_path / "image.tar", ("--config", str(tmp_path / "config"))
    busybox_archive(archive, name=name)
    try:
        docker("load", "-i", str(archive), check=True)
        docker(*config, "login", "-u", "team+ci", "--password-stdin", seen.registry.host, input=secret, check=True)
        docker(*config, "push", name, check=True)
        seen.go("/repositories/team/by-docker")
        expect(page.get_by_role("cell", name="linux/amd64")).to_be_visible()
        seen.go("/projects/team/robots")
        page.locator("summary", has_text="New secret").click()
        page.get_by_role("button", name="New secret: team+ci").click()
        expect(page.locator(".secret code")).to_be_visible()
        assert page.locator(".secret code").inner_text() != secret
        assert docker(
            *config, "login", "-u", "team+ci", "--password-stdin", seen.registry.host, input=secret
        ).returncode
    finally:
        docker("rmi", "-f", name)


def test_look_at_an_image_and_find_a_finding(seen: Seen) -> None:
    seen.sign_in()
    page = seen.go("/repositories/team/app")
    expect(page.get_by_text("What we <i>sell</i>.").first).to_be_visible()
    for _ in range(60):  # until the scanner has been there
        if page.get_by_role("cell", name="2 high").count() == 2:
            break
        page.wait_for_timeout(250)
        page.reload()
    picture(page, "repository")
    accessible(page)
    page.get_by_role("link", name="1.1", exact=True).click()
    expect(page.get_by_text("COPY app /app # <script>alert(1)</script>")).to_be_visible()
    expect(page.get_by_text("<b>App</b>")).to_be_visible()
    picture(page, "image")
    accessible(page)
    page.get_by_role("link", name="2 high").click()
    expect(page.get_by_role("link", name="CVE-2026-1")).to_be_visible()
    page.get_by_label("only what a new version mends").check()
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("link", name="CVE-2026-2")).to_have_count(0)
    expect(page.get_by_role("cell", name="3.0.11-1~deb12u2", exact=True)).to_be_visible()
    picture(page, "findings")
    accessible(page)
    page.get_by_text("Set aside").first.click()
    page.get_by_label("Why does it not matter here?").fill("we do not use it")
    page.get_by_role("button", name="Set aside").click()
    expect(page.get_by_role("status")).to_contain_text("set aside")
    expect(page.get_by_role("cell", name="we do not use it")).to_be_visible()
    page.get_by_role("link", name="Packages").click()
    page.get_by_label("Package", exact=True).fill("zlib")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("cell", name="zlib1g")).to_be_visible()
    expect(page.get_by_role("cell", name="libssl3")).to_have_count(0)
    with page.expect_download() as download:
        page.get_by_role("link", name="SPDX").click()
    assert download.value.suggested_filename == "team-app-1-1.spdx.json"
    accessible(page)


def test_add_a_member_who_then_sees_the_project(seen: Seen, chromium: Browser) -> None:
    seen.registry.user("dora")
    with chromium.new_context(locale="en-US", viewport=DESKTOP) as context:
        dora = Seen(seen.registry, context, context.new_page())
        dora.sign_in("dora")
        dora.go("/projects/team")
        expect(dora.page.get_by_role("heading", name="This is not yours to see or do")).to_be_visible()
        accessible(dora.page)
        seen.sign_in()
        page = seen.go("/projects/team/members")
        page.get_by_label("User").fill("nobody")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_role("alert")).to_have_text("No user 'nobody'.")
        page.get_by_label("User").fill("dora")
        page.locator("#role").select_option("guest")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_role("cell", name="dora", exact=True)).to_be_visible()
        picture(page, "members")
        accessible(page)
        dora.go("/projects/team")
        expect(dora.page.get_by_role("link", name="app", exact=True)).to_be_visible()
        expect(dora.page.get_by_role("link", name="Members")).to_have_count(0)  # guests don't see them
        page.get_by_role("button", name="Remove dora").click()
        expect(page.get_by_role("cell", name="dora", exact=True)).to_have_count(0)


def test_roll_a_tag_back(seen: Seen) -> None:
    admin = seen.registry.admin
    first = admin.image("team/rolled", "latest", debian_layer(app=b"1"))
    second = admin.image("team/rolled", "latest", debian_layer(app=b"2"))
    seen.sign_in()
    page = seen.go("/repositories/team/rolled")
    page.get_by_role("link", name="history latest").click()
    expect(page.get_by_role("row")).to_have_count(3)
    picture(page, "history")
    accessible(page)
    page.get_by_role("button", name=f"Roll back to {first[:19]}").click()
    expect(page.get_by_role("status")).to_have_text("The tag has been rolled back.")
    assert admin.ok("GET", "/v2/team/rolled/manifests/latest").headers["docker-content-digest"] == first != second
    page.get_by_text("The image stays").click()
    page.get_by_role("button", name="Delete latest").click()
    expect(page.get_by_text("No tags yet")).to_be_visible()


def test_a_webhooks_deliveries(seen: Seen) -> None:
    seen.sign_in()
    page = seen.go("/projects/team/webhooks")
    with Hook() as receiver:
        page.get_by_label("Address").fill(f"http://127.0.0.1:{receiver.server_port}/hook")
        page.get_by_label("push").check()
        page.get_by_role("button", name="Make the webhook").click()
        expect(page.get_by_text("It is shown this once.")).to_be_visible()
        accessible(page)
        page.get_by_role("link", name="http://127.0.0.1").click()
        expect(page.get_by_text("Nothing has been sent yet")).to_be_visible()
        accessible(page)
        page.get_by_role("button", name="Send a test").click()
        expect(page.get_by_role("status")).to_contain_text("A test is being sent")
        for _ in range(60):
            page.reload()
            if page.get_by_text("taken").count():
                break
            page.wait_for_timeout(250)
        expect(page.get_by_text('"kind": "test"')).to_have_count(1)
        seen.registry.admin.image("team/hooked", "v1", debian_layer())
        for _ in range(60):
            page.reload()
            if page.get_by_text("taken").count() == 2:
                break
            page.wait_for_timeout(250)
        page.get_by_text("Body").first.click()
        expect(page.get_by_text('"repository": "team/hooked"').first).to_be_visible()
        picture(page, "deliveries")
        accessible(page)
        page.get_by_role("button", name=re.compile("Send .* again")).first.click()
        expect(page.get_by_role("status")).to_have_text("It is being sent once more.")
        page.get_by_role("link", name="Webhooks").click()
        delete = page.get_by_role("button", name="Delete: http://127.0.0.1")
        expect(delete).to_have_count(0)  # it is asked once more
        page.locator("summary", has_text="Delete").click()
        accessible(page)
        delete.click()
        expect(page.get_by_text("No webhooks yet")).to_be_visible()
        receiver.shutdown()


def test_every_page_on_a_phone_in_both_languages(chromium: Browser, registry: OnggiRegistry) -> None:
    """Axe clean in light and dark, nothing to scroll sideways for, no text left in English."""
    paths = [
        "/", "/account", "/search?q=app", "/new-project", "/users", "/registry", "/registry/activity",
        *(f"/projects/team{tab}" for tab in ("", "/members", "/robots", "/webhooks", "/rules", "/policy", "/replication",
                                             "/activity", "/settings")),
        "/repositories/team/app", "/repositories/team/app/-/tags/1.0",
        *(f"/repositories/team/app/-/manifests/1.0{tab}" for tab in ("", "/findings", "/packages")),
        "/nothing",
    ]  # fmt: skip
    registry.admin.ok(
        "PATCH",
        "/api/v1/projects/team",
        {"immutable": [{"tags": "v*"}], "retention": [{"tags": "build-*", "keep_last": 10}]},
    )
    with chromium.new_context(locale="ko-KR", viewport=PHONE) as context:
        page = context.new_page()
        page.goto(f"http://{registry.host}/sign-in")
        assert page.locator("html").get_attribute("lang") == "ko"
        page.get_by_label("이름").fill("admin")
        page.get_by_label("비밀번호").fill(PASSWORD)
        page.get_by_role("main").get_by_role("button", name="로그인").click()
        for path in paths:
            page.goto(f"http://{registry.host}{path}")
            accessible(page)
            name = path.partition("?")[0].strip("/").replace("/-/", "/").replace("/", "-") or "home"
            if path in (
                "/",
                "/repositories/team/app",
                "/repositories/team/app/-/manifests/1.0/findings",
                "/projects/team/members",
            ):
                picture(page, f"phone-{name}")
        page.get_by_role("button", name="English").click()
        expect(page.locator("html")).to_have_attribute("lang", "en")


def test_the_keyboard_is_enough(seen: Seen) -> None:
    """Skip link, `/` for the search, order of the form."""
    page = seen.go("/sign-in")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_label("Name").focus()
    page.keyboard.type("admin")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("team")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="team/app")).to_be_visible()


def test_signing_out_ends_the_session_for_good(seen: Seen) -> None:
    seen.sign_in("carol")
    cookies = seen.context.cookies()
    assert all(cookie["httpOnly"] and cookie["sameSite"] == "Lax" for cookie in cookies)
    seen.page.get_by_role("button", name="Sign out").click()
    expect(seen.page.get_by_role("status")).to_have_text("You are signed out.")
    token = next(cookie["value"] for cookie in cookies if cookie["name"] == "onggi-session")
    seen.context.add_cookies([{"name": "onggi-session", "value": token, "url": f"http://{seen.registry.host}"}])
    seen.go("/account")
    expect(seen.page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_signing_in_elsewhere(chromium: Browser, tmp_path: Path) -> None:
    """At a provider of others, to where one wanted to go; without a password here, and with a secret for docker."""
    lee = oidc_provider_mock.User(sub="7", claims={"preferred_username": "lee", "email": "lee@example.com"})
    with oidc_provider_mock.run_server_in_thread(require_nonce=True, user_claims=[lee]) as server:
        with (
            registry_at(tmp_path, f"http://localhost:{server.server_port}", "registry", "secret") as registry,
            chromium.new_context(locale="en-US", viewport=DESKTOP) as context,
        ):
            context.route(re.compile("^https:"), lambda asked: asked.abort())  # the provider's stylesheet is elsewhere
            page = context.new_page()
            page.goto(f"http://{registry.host}/account")
            accessible(page)
            page.get_by_role("link", name="Sign in at your organisation").click()
            page.get_by_placeholder("sub").fill("7")
            page.get_by_role("button", name="Authorize", exact=True).click()
            expect(page.get_by_role("heading", name="lee", level=1)).to_be_visible()
            expect(page).to_have_url(f"http://{registry.host}/account")
            expect(page.get_by_text("You have none here")).to_be_visible()
            accessible(page)
            picture(page, "account")
            page.get_by_label("What is it for?").fill("laptop")
            page.get_by_role("button", name="Make a secret").click()
            secret = page.locator(".secret code").inner_text()
            assert registry.as_("lee", secret).ok("GET", "/api/v1/user").json()["name"] == "lee"
            page.goto(f"http://{registry.host}/oidc/callback?state=of-somebody-else&code=x")
            expect(page.get_by_role("heading", name="Something went wrong")).to_be_visible()
            expect(page.get_by_text("This is not the answer to a log-in")).to_be_visible()
            page.goto(f"http://{registry.host}/")
            page.get_by_role("button", name="Sign out").click()
            Seen(registry, context, page).sign_in()
            page.goto(f"http://{registry.host}/users")
            page.locator("summary", has_text="lee").click()
            page.get_by_role("link", name="Signs in as lee").click()
            expect(page.get_by_role("cell", name="7", exact=True)).to_be_visible()
            page.get_by_label("Subject").fill("8")
            page.get_by_role("button", name="Link", exact=True).click()
            expect(page.get_by_role("cell", name="8", exact=True)).to_be_visible()
            page.locator("summary", has_text="Delete 8").click()
            accessible(page)
            page.get_by_role("button", name="Delete: 8").click()
            expect(page.get_by_role("cell", name="8", exact=True)).to_have_count(0)
            page.get_by_role("button", name="Sign out").click()
            registry.admin.ok("PATCH", "/api/v1/users/lee", {"disabled": True})
            page.get_by_role("link", name="Sign in at your organisation").click()
            page.get_by_placeholder("sub").fill("7")
            page.get_by_role("button", name="Authorize", exact=True).click()
            expect(page.get_by_text("The account lee is disabled")).to_be_visible()
            expect(page.get_by_role("button", name="Sign out")).to_have_count(0)
