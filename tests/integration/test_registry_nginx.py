"""The registry behind nginx, configured as the guide says; and its systemd unit, as systemd reads it."""

import http.client
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conditions import until
from tests.onggi_registry import Client, OnggiRegistry, digest_of
from tests.registry import Certificate

ROOT = Path(__file__).parent.parent.parent
GUIDE = ROOT / "docs/guides/registry-nodes.md"
NAME = "registry.invalid"
needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed: scripts/setup.sh dev")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnggiRegistry]:
    with OnggiRegistry(tmp_path_factory.mktemp("behind"), "--trusted-proxy", "127.0.0.1/32", "--name", NAME) as running:
        yield running


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory, registry: OnggiRegistry) -> Iterator[Client]:
    """A client that asks nginx, by TLS and by the name of its certificate."""
    place = tmp_path_factory.mktemp("nginx")
    certificate, port = Certificate(place / "tls"), _free_port()
    found = re.search(r"```\n(upstream registry .*?)```", GUIDE.read_text(), re.DOTALL)
    assert found is not None, "the guide shows nginx's configuration"
    shown = re.sub(
        r"^upstream registry .*$", f"upstream registry {{ server {registry.host}; }}", found[1], flags=re.MULTILINE
    )
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"), ("registry.example.com", NAME),
        ("/etc/nginx/registry.pem", str(certificate.path)), ("/etc/nginx/registry.key", str(certificate.key)),
    ):  # fmt: skip
        assert old in shown
        shown = shown.replace(old, new)
    temporary = "".join(
        f"{kind}_temp_path {place}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = place / "nginx.conf"
    configuration.write_text(
        f"user root;\ndaemon off;\npid {place}/pid;\nerror_log {place}/log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{shown}}}\n"
    )
    process = subprocess.Popen(["nginx", "-c", configuration, "-e", place / "log"], stderr=subprocess.PIPE)
    context = ssl.create_default_context(cafile=str(certificate.path))
    context.check_hostname = False  # the connection goes to 127.0.0.1, which is in the certificate too

    def listens() -> bool:
        assert process.poll() is None, (place / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(listens, "nginx listens")
        yield Client(f"127.0.0.1:{port}", registry.admin.authorization, context)
    finally:
        process.terminate()
        process.communicate(timeout=30)


HOST = {"Host": NAME}


@needs_nginx
def test_links_lead_through_the_proxy(proxied: Client) -> None:
    answer = Client(proxied.host, "", proxied.context)("GET", "/v2/", headers=HOST)
    assert answer.status == 401
    assert f'realm="https://{NAME}/token"' in answer.headers["www-authenticate"]
    answer = proxied.ok("POST", "/v2/library/app/blobs/uploads/", b"", HOST)
    assert answer.headers["location"].startswith("/v2/library/app/blobs/uploads/"), "relative: right behind any proxy"


@needs_nginx
def test_large_blobs_go_through(proxied: Client) -> None:
    content = bytes(range(256)) * 4 * 1024 * 40  # 40 MiB: more than nginx takes by itself
    digest = proxied.blob("library/large", content)
    assert digest_of(proxied.ok("GET", f"/v2/library/large/blobs/{digest}").body) == digest
    part = proxied.ok("GET", f"/v2/library/large/blobs/{digest}", headers={"Range": "bytes=256-511"})
    assert (part.status, part.body) == (206, bytes(range(256)))


@needs_nginx
def test_bodies_are_not_kept_by_the_proxy(proxied: Client, registry: OnggiRegistry) -> None:
    """What a client has sent of a blob is at the registry while the client still sends."""
    location = proxied.ok("POST", "/v2/library/slow/blobs/uploads/", b"", HOST).headers["location"]
    half, size = b"x" * 1_000_000, 2_000_000
    assert proxied.context is not None
    connection = http.client.HTTPSConnection(proxied.host, timeout=60, context=proxied.context)
    connection.putrequest("PATCH", location, skip_host=True)
    for key, text in (("Host", NAME), ("Authorization", proxied.authorization), ("Content-Length", str(size)),
                      ("Content-Type", "application/octet-stream")):  # fmt: skip
        connection.putheader(key, text)
    connection.endheaders(half)

    def arrived() -> bool:
        reached = registry.admin("GET", location).headers.get("range", "0-0")
        return int(reached.partition("-")[2]) >= 500_000

    until(arrived, "the first half arrives")
    connection.send(b"x" * (size - len(half)))
    assert connection.getresponse().status == 202
    connection.close()


@needs_nginx
def test_who_asks_is_the_client(proxied: Client, registry: OnggiRegistry) -> None:
    proxied.ok("GET", "/api/v1/user", headers={**HOST, "X-Forwarded-For": "203.0.113.7"})
    line = next(line for line in reversed(registry.log.read_text().splitlines()) if '"/api/v1/user"' in line)
    assert '"address": "127.0.0.1"' in line, "what a client writes of itself is not believed"
    assert Client(proxied.host, "", proxied.context)("GET", "/metrics").status == 403


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_unit(tmp_path: Path) -> None:
    """systemd understands all of it; the command that it starts takes what it is given."""
    text = (ROOT / "packaging/systemd/onggi-registry.service").read_text()
    unit = tmp_path / "onggi-registry.service"
    unit.write_text(text.replace("/usr/local/bin/onggi", str(ROOT / "scripts/onggi")))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit],
                          capture_output=True, text=True, check=False, timeout=60)  # fmt: skip
    assert (done.returncode, done.stderr.replace("\n", "")) == (0, "")
    done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=16", unit],
                          capture_output=True, text=True, check=False, timeout=60)  # fmt: skip
    assert done.returncode == 0, f"the exposure is above 1.6 of 10\n{done.stdout[-3000:]}{done.stderr}"
