"""Webhooks of a running registry: signed, tried again, replayed, and never sent where they must not go."""

import hmac
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from onggi.registry.webhooks.targets import allowed, check_url
from tests.conditions import until
from tests.onggi_registry import Client, OnggiRegistry


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent; answers what `answers` says next, then 200."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(({key.lower(): text for key, text in self.headers.items()}, body))
                status = receiver.answers.pop(0) if receiver.answers else 200
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", f"{receiver.url}/elsewhere")
                self.send_header("Content-Length", "6")
                self.end_headers()
                self.wfile.write(b"secret")

            def log_message(self, *_: object) -> None:
                """Quiet."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"

    def of(self, project: str) -> list[Any]:
        return [body for body in (json.loads(data) for _, data in self.got) if body["project"] == project]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    with OnggiRegistry(tmp_path_factory.mktemp("webhooks"), "--webhook-network", "127.0.0.0/8") as running:
        yield running


@pytest.fixture
def ask(registry: OnggiRegistry) -> Client:
    return registry.admin


@pytest.fixture
def project(registry: OnggiRegistry, request: pytest.FixtureRequest) -> str:
    return registry.make_project(request.node.name)


def _deliveries(ask: Client, project: str, hook: int) -> list[Any]:
    found: list[Any] = ask.ok("GET", f"/api/v1/projects/{project}/webhooks/{hook}/deliveries").json()
    return found


def test_a_push_is_told_signed(ask: Client, project: str, receiver: Receiver) -> None:
    made = ask.ok(
        "POST", f"/api/v1/projects/{project}/webhooks", {"url": receiver.url, "events": ["push"], "repositories": "a*"}
    )
    hook = made.json()
    assert made.headers["cache-control"] == "no-store"
    digest = ask.image(f"{project}/app", "v1", b"one")
    ask.image(f"{project}/other", "v1", b"two")
    until(lambda: receiver.got, "the push is told")
    headers, body = receiver.got[0]
    told = json.loads(body)
    assert (told["kind"], told["repository"], told["tag"], told["digest"], told["actor"]) == (
        "push", f"{project}/app", "v1", digest, "admin"
    )  # fmt: skip
    signed = hmac.new(hook["secret"].encode(), f"{headers['onggi-timestamp']}.".encode() + body, "sha256").hexdigest()
    assert headers["onggi-signature"] == f"sha256={signed}"
    assert headers["onggi-event"] == "push"
    until(lambda: _deliveries(ask, project, hook["id"])[0]["state"] == "taken", "the delivery is noted")
    (delivery,) = _deliveries(ask, project, hook["id"])
    assert (delivery["status"], delivery["attempts"], delivery["body"]) == (200, 1, told)
    assert headers["onggi-delivery"] == delivery["name"]
    listed = ask.ok("GET", f"/api/v1/projects/{project}/webhooks").body
    assert hook["secret"].encode() not in listed
    assert hook["secret"] not in json.dumps(_deliveries(ask, project, hook["id"]))


def test_what_is_not_taken_comes_again_and_what_was_taken_on_request(
    registry: OnggiRegistry, ask: Client, project: str, receiver: Receiver
) -> None:
    receiver.answers = [500, 302]
    path = f"/api/v1/projects/{project}/webhooks"
    hook = ask.ok("POST", path, {"url": receiver.url, "events": ["push"]}).json()["id"]
    ask.image(f"{project}/app", "v1", b"one")
    until(lambda: _deliveries(ask, project, hook)[0]["attempts"] == 1, "it has been tried")
    registry.kill()  # what is to be told is not lost with the registry
    registry.start()
    until(lambda: _deliveries(ask, project, hook)[0]["state"] == "taken", "it is taken in the end")
    (delivery,) = _deliveries(ask, project, hook)
    assert delivery["attempts"] == 3
    assert [headers["onggi-delivery"] for headers, _ in receiver.got] == [delivery["name"]] * 3
    again = ask.ok("POST", f"{path}/{hook}/deliveries/{delivery['name']}/replay").json()["name"]
    until(lambda: len(receiver.got) == 4, "it is told once more")
    assert receiver.got[3][0]["onggi-delivery"] == again != delivery["name"]
    assert receiver.got[3][1] == receiver.got[0][1]
    assert ask("POST", f"{path}/{hook}/deliveries/none/replay").status == 404


def test_a_hook_is_tried_out(ask: Client, project: str, receiver: Receiver) -> None:
    """Signed as any other, whatever events it wants; tried again as any other; not when it is switched off."""
    path = f"/api/v1/projects/{project}/webhooks"
    made = ask.ok("POST", path, {"url": receiver.url, "events": ["quota"]}).json()
    receiver.answers = [500]
    name = ask.ok("POST", f"{path}/{made['id']}/test").json()["name"]
    until(lambda: len(receiver.got) == 2, "it is told, and told again")
    headers, body = receiver.got[1]
    assert (headers["onggi-event"], headers["onggi-delivery"]) == ("test", name)
    signed = hmac.new(made["secret"].encode(), headers["onggi-timestamp"].encode() + b"." + body, "sha256").hexdigest()
    assert headers["onggi-signature"] == f"sha256={signed}"
    said = json.loads(body)
    assert (said["kind"], said["project"], said["actor"], said["digest"]) == ("test", project, "admin", "")
    until(lambda: _deliveries(ask, project, made["id"])[0]["state"] == "taken", "it is taken")
    ask.ok("PATCH", f"{path}/{made['id']}", {"enabled": False})
    refused = ask("POST", f"{path}/{made['id']}/test")
    assert (refused.status, "switch it on first" in refused.body.decode()) == (409, True)


def test_hooks_are_switched_off_and_deleted(ask: Client, project: str, receiver: Receiver) -> None:
    path = f"/api/v1/projects/{project}/webhooks"
    off, on = (
        ask.ok("POST", path, {"url": receiver.url + f"?{name}", "events": ["push"]}).json()["id"] for name in "ab"
    )
    ask.ok("PATCH", f"{path}/{off}", {"enabled": False})
    ask.image(f"{project}/app", "v1", b"one")
    until(lambda: receiver.of(project), "the other one is told")
    assert _deliveries(ask, project, off) == []
    ask.ok("DELETE", f"{path}/{on}")
    assert ask("GET", f"{path}/{on}/deliveries").status == 404
    assert [hook["id"] for hook in ask.ok("GET", path).json()] == [off]
    for number in ("0", "-1", "x", "9" * 30):
        assert ask("DELETE", f"{path}/{number}").status in (400, 404), number


def test_what_waits_for_a_hook_that_is_switched_off_is_given_up(ask: Client, project: str, receiver: Receiver) -> None:
    receiver.answers = [500]
    path = f"/api/v1/projects/{project}/webhooks"
    hook = ask.ok("POST", path, {"url": receiver.url, "events": ["push"]}).json()["id"]
    ask.image(f"{project}/app", "v1", b"one")
    until(lambda: _deliveries(ask, project, hook)[0]["attempts"] == 1, "it has been tried")
    ask.ok("PATCH", f"{path}/{hook}", {"enabled": False})
    until(lambda: _deliveries(ask, project, hook)[0]["state"] == "given up", "nobody tries any more")
    assert _deliveries(ask, project, hook)[0]["error"] == "the webhook is switched off"
    assert len(receiver.got) == 1


def test_scans_are_told_too(ask: Client, project: str, receiver: Receiver) -> None:
    ask.ok("POST", f"/api/v1/projects/{project}/webhooks", {"url": receiver.url})
    ask.image(f"{project}/app", "v1", b"no archive" * 100)
    until(lambda: {told["kind"] for told in receiver.of(project)} == {"push", "scan"}, "push and scan are told")
    scan = next(told for told in receiver.of(project) if told["kind"] == "scan")
    assert scan["details"]["state"] == "failed"


def test_only_maintainers_make_hooks(registry: OnggiRegistry, ask: Client, project: str) -> None:
    developer = registry.user("developer")
    ask.ok("PUT", f"/api/v1/projects/{project}/members/developer", {"role": "developer"})
    path = f"/api/v1/projects/{project}/webhooks"
    assert developer("GET", path).status == 200
    assert developer("POST", path, {"url": "https://example.com/"}).status == 403
    assert registry.anonymous("GET", path).status in (401, 404)


def test_a_registry_sends_nothing_into_its_own_network(tmp_path: Path, receiver: Receiver) -> None:
    port = receiver.server_address[1]
    targets = [f"http://127.0.0.1:{port}/", f"http://localhost:{port}/", f"http://[::ffff:127.0.0.1]:{port}/",
               f"http://2130706433:{port}/", f"http://0:{port}/", "http://169.254.169.254/latest/meta-data/",
               f"http://\uff11\uff12\uff17.0.0.1:{port}/", f"http://127\u30020\u30020\u30021:{port}/",
               f"http://[64:ff9b::7f00:1]:{port}/",
               f"http://{socket.gethostname()}:{port}/"]  # fmt: skip
    with OnggiRegistry(tmp_path) as registry:
        ask = registry.admin
        ask.ok("POST", "/api/v1/projects", {"name": "team"})
        made = [
            ask.ok("POST", "/api/v1/projects/team/webhooks", {"url": url, "events": ["push"]}).json() for url in targets
        ]
        ask.image("team/app", "v1", b"one")
        for hook in made:
            until(lambda hook=hook: _deliveries(ask, "team", hook["id"])[0]["attempts"], f"{hook['url']} is tried")  # type: ignore[misc]
            delivery = _deliveries(ask, "team", hook["id"])[0]
            assert "which is not on the public network" in delivery["error"], (hook["url"], delivery["error"])
    assert receiver.got == []


@pytest.mark.parametrize(
    "url", ["", "ftp://example.com/", "https://", "https://user:pw@example.com/", "https://example.com:0/", "http://a b/",
            "https://example.com/" + "x" * 3000, "https://example.com:99999/", "javascript:alert(1)", "https://exa\nmple.com/"],
)  # fmt: skip
def test_urls_that_are_none(ask: Client, url: str) -> None:
    answer = ask("POST", "/api/v1/projects/library/webhooks", {"url": url})
    assert answer.status == 400, answer.body


def test_addresses() -> None:
    for address in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1",
                    "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::10.0.0.1",
                    "ff02::1", "nonsense"):  # fmt: skip
        assert not allowed(address, ()), address
    for address in ("8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8"):
        assert allowed(address, ()), address
    assert check_url("https://example.com:8443/hook?x=1") == "https://example.com:8443/hook?x=1"
