"""Running a registry: kill -9, TLS, a proxy before it, metrics, back-up, fsck, one at a time."""

import os
import random
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.conditions import until
from tests.onggi_registry import LAYER, MANIFEST, PASSWORD, Client, OnggiRegistry, digest_of, on_sqlite
from tests.registry import Certificate

ROUNDS = 30 if os.environ.get("ONGGI_TESTS_WHOLE") == "1" else 4


def _hold(things: Collection[object], count: int) -> bool:
    return len(things) >= count


def test_kill_9_during_pushes(tmp_path: Path) -> None:
    """What was acknowledged is there afterwards, whole; what was not is there or not, never half; and fsck agrees."""
    acknowledged: dict[tuple[str, str], bytes] = {}
    lock = threading.Lock()

    def push(ask: Client, number: int, stop: threading.Event) -> None:
        made = random.Random(number)
        while not stop.is_set():
            content = made.randbytes(made.randrange(1, 400_000))
            tag = f"t{made.randrange(10)}-{number}"
            try:
                digest = ask.image(f"library/app{number % 2}", tag, content)
            except (OSError, AssertionError):
                continue  # refused or cut off: not acknowledged
            with lock:
                acknowledged[f"library/app{number % 2}", digest] = content

    with OnggiRegistry(tmp_path) as registry:
        for _ in range(ROUNDS):
            stop, before = threading.Event(), len(acknowledged)
            with ThreadPoolExecutor(4) as pool:
                pushers = [pool.submit(push, registry.admin, number, stop) for number in range(4)]
                until(partial(_hold, acknowledged, before + 8), "eight pushes are acknowledged")
                registry.kill()
                stop.set()
                for pusher in pushers:
                    pusher.result()
            registry.start()
            for (repository, digest), content in acknowledged.items():
                assert registry.admin("GET", f"/v2/{repository}/manifests/{digest}").status == 200
                assert registry.admin("GET", f"/v2/{repository}/blobs/{digest_of(content)}").body == content
            checked = registry.command("fsck")
            assert checked.stdout == "all is well\n", checked.stdout + checked.stderr


def test_a_broken_upload_goes_on(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    with OnggiRegistry(tmp_path) as registry:
        ask = registry.admin
        path = ask.ok("POST", "/v2/library/app/blobs/uploads/", b"").headers["location"]
        with socket.create_connection(("127.0.0.1", int(registry.host.rpartition(":")[2]))) as plain:
            head = f"PATCH {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {ask.authorization}\r\n"
            head += f"Content-Length: {len(data)}\r\n\r\n"
            plain.sendall(head.encode() + data[:2_000_000])
            until(lambda: int(ask.ok("GET", path).headers["range"].partition("-")[2]) > 1_000_000, "a part has arrived")
        until(lambda: ask("PATCH", path, b"", {"Content-Range": "5-4"}).status != 409, "the broken request has ended")
        registry.kill()  # and what has arrived is still there
        registry.start()
        have = int(ask.ok("GET", path).headers["range"].partition("-")[2]) + 1
        assert 1_000_000 < have <= 2_000_000
        rest = {"Content-Range": f"{have}-{len(data) - 1}", "Content-Type": "application/octet-stream"}
        assert ask("PATCH", path, data[have:], rest).status == 202
        digest = digest_of(data)
        assert ask("PUT", f"{path}?digest={digest}", b"").status == 201
        assert ask("GET", f"/v2/library/app/blobs/{digest}").body == data
        assert "Traceback" not in registry.log.read_text()


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Sixteen clients at once, 32 MiB each, up and down: nothing like half a gigabyte is held."""
    piece = bytes(range(256)) * 4096  # 1 MiB
    with OnggiRegistry(tmp_path) as registry:

        def carry(number: int) -> int:
            ask = registry.admin
            data = number.to_bytes(4, "big") + piece * 32
            digest = ask.blob("library/app", data)
            return len(ask.ok("GET", f"/v2/library/app/blobs/{digest}").body)

        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(carry, range(16))) == {len(piece) * 32 + 4}
        status = Path(f"/proc/{registry.pid}/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        assert peak < 250 * 1024 * 1024, f"{peak / 2**20:.0f} MiB"


def test_tls_and_a_renewed_certificate(tmp_path: Path) -> None:
    first, second = Certificate(tmp_path / "first"), Certificate(tmp_path / "second")
    used, key = tmp_path / "used.pem", tmp_path / "used.key"
    shutil.copy(first.path, used)
    shutil.copy(first.key, key)
    trusting = ssl.create_default_context(cafile=str(first.path))
    with OnggiRegistry(tmp_path, "--tls-cert", str(used), "--tls-key", str(key), context=trusting) as registry:
        digest = registry.admin.blob("library/app", b"x" * 1_000_000)
        assert registry.admin("GET", f"/v2/library/app/blobs/{digest}").body == b"x" * 1_000_000
        assert 'realm="https://127.0.0.1:' in registry.anonymous("GET", "/v2/").headers["www-authenticate"]
        shutil.copy(second.path, used)
        os.kill(registry.pid, 1)  # SIGHUP; the key does not fit yet
        until(lambda: "the old certificate stays in use" in registry.log.read_text(), "the refusal is in the log")
        assert registry.anonymous("GET", "/v2/").status == 401
        shutil.copy(second.key, key)
        os.kill(registry.pid, 1)
        until(lambda: "was read again" in registry.log.read_text(), "the certificate was read again")
        with pytest.raises(ssl.SSLError):
            registry.anonymous("GET", "/v2/")
        registry.context = ssl.create_default_context(cafile=str(second.path))
        assert registry.anonymous("GET", "/v2/").status == 401


def test_behind_a_proxy(tmp_path: Path) -> None:
    says = {"X-Forwarded-For": "10.1.1.1, 203.0.113.9", "X-Forwarded-Proto": "https", "Host": "localhost:99"}
    with OnggiRegistry(tmp_path, "--trusted-proxy", "127.0.0.0/8") as registry:
        answer = registry.anonymous("GET", "/v2/", None, says)
        assert 'realm="https://localhost:99/token"' in answer.headers["www-authenticate"]
        registry.as_("admin", "wrong")("GET", "/v2/", None, says)
        assert registry.admin.ok("GET", "/api/v1/audit?n=1").json()[0]["address"] == "203.0.113.9"
    with OnggiRegistry(tmp_path / "other", "--url", "https://registry.example") as registry:
        answer = registry.anonymous("GET", "/v2/", None, says)
        assert 'realm="https://registry.example/token",service="registry.example"' in answer.headers["www-authenticate"]
        registry.as_("admin", "wrong")("GET", "/v2/", None, says)
        assert registry.admin.ok("GET", "/api/v1/audit?n=1").json()[0]["address"] == "127.0.0.1"


def test_passwords_do_not_cross_the_network_in_the_clear(tmp_path: Path) -> None:
    registry = OnggiRegistry(tmp_path)
    done = registry.command("serve", "--listen", "0.0.0.0:0")
    assert done.returncode == 1
    assert done.stderr == (
        "onggi registry: passwords would cross the network in the clear on 0.0.0.0: give --tls-cert and --tls-key, or "
        "--trusted-proxy where a proxy speaks TLS, or --insecure if you mean it\n"
    )


def test_health_and_metrics(tmp_path: Path) -> None:
    with OnggiRegistry(tmp_path) as registry:
        assert registry.anonymous("GET", "/healthz").body == b"ok\n"
        assert registry.anonymous("GET", "/readyz").body == b"ready\n"
        digest = registry.admin.blob("library/app", b"x" * 1000)
        registry.admin.ok("GET", f"/v2/library/app/blobs/{digest}")
        registry.as_("admin", "wrong")("GET", "/v2/")
        lines = registry.anonymous.ok("GET", "/metrics").body.decode().splitlines()
        assert "onggi_registry_received_bytes_total 1000" in lines
        assert "onggi_registry_sent_bytes_total 1000" in lines
        assert "onggi_registry_refused_sign_ins_total 1" in lines
        assert 'onggi_registry_requests_total{method="GET",kind="/v2/{name*}/blobs/{digest}",status="200"} 1' in lines


def test_pulls_are_counted(tmp_path: Path) -> None:
    with OnggiRegistry(tmp_path) as registry:
        digest = registry.admin.image("library/app", "v1", b"one")
        for reference in ("v1", digest, "v1"):
            registry.anonymous.ok("GET", f"/v2/library/app/manifests/{reference}")
        registry.anonymous.ok("HEAD", "/v2/library/app/manifests/v1")  # asks, does not pull
        registry.stop()
        registry.start()
        assert registry.admin.ok("GET", "/api/v1/repositories/library/app/-").json()["pulls"] == 3
        listed = registry.admin.ok("GET", "/api/v1/repositories/library/app/-/manifests").json()
        assert [bool(one["pulled_at"]) for one in listed] == [True]


@on_sqlite
def test_backup_and_restore(tmp_path: Path) -> None:
    kept = tmp_path / "backup"
    with OnggiRegistry(tmp_path) as registry:
        digest = registry.admin.image("library/app", "v1", b"one")
        assert (
            registry.command("backup", str(kept)).stdout
            == f"{kept}: 2 objects copied, 0 deleted that are no longer named\n"
        )
        registry.admin.image("library/app", "v2", b"two")
        assert (
            registry.command("backup", str(kept)).stdout
            == f"{kept}: 1 objects copied, 0 deleted that are no longer named\n"
        )
        assert kept.stat().st_mode & 0o077 == 0
        refused = registry.command("restore", str(kept))
        assert (refused.returncode, "is not empty" in refused.stderr) == (1, True)
    again = OnggiRegistry(tmp_path / "again")
    again.root.mkdir(parents=True)
    again.root.chmod(0o755)
    done = again.command("restore", str(kept))
    assert done.stdout == f"{again.root}: 3 objects restored and verified\n", done.stderr
    assert again.root.stat().st_mode & 0o077 == 0
    again.start()
    try:
        ask = again.as_("admin", PASSWORD)
        assert ask("GET", "/v2/library/app/manifests/v1").headers["docker-content-digest"] == digest
        assert ask("GET", f"/v2/library/app/blobs/{digest_of(b'two')}").body == b"two"
        assert again.command("fsck").stdout == "all is well\n"
    finally:
        again.stop()

    victim = next(
        path for path in (kept / "blobs/objects").rglob("*") if path.is_file() and path.read_bytes() == b"one"
    )
    victim.chmod(0o600)
    victim.write_bytes(b"won")
    third = OnggiRegistry(tmp_path / "third")
    done = third.command("restore", str(kept))
    assert done.returncode == 1
    assert "the backup is damaged" in done.stderr
    assert not (third.root / "registry.db").exists()


def test_fsck_finds_what_is_wrong(tmp_path: Path) -> None:
    with OnggiRegistry(tmp_path) as registry:
        registry.admin.image("library/app", "v1", b"good")
        registry.admin.blob("library/app", b"rots")
        registry.admin.blob("library/app", b"lost")
    files = {path.read_bytes(): path for path in (registry.root / "blobs/objects").rglob("*") if path.is_file()}
    files[b"rots"].chmod(0o600)
    files[b"rots"].write_bytes(b"rotz")
    files[b"lost"].unlink()
    stray = registry.root / "blobs/uploads" / ("ab" * 16)
    stray.write_bytes(b"x")
    done = registry.command("fsck", "--repair")
    lines = sorted(done.stdout.splitlines())
    assert done.returncode == 1
    assert lines == sorted([
        f"blob {digest_of(b'rots')} (in library/app): the bytes of the object {files[b'rots'].name} have another digest",
        f"blob {digest_of(b'lost')} (in library/app): the object {files[b'lost'].name} is missing",
        f"object {stray.name}: nobody names it; deleted", "3 findings",
    ])  # fmt: skip
    assert not stray.exists()


@on_sqlite
def test_one_at_a_time_and_no_lost_database(tmp_path: Path) -> None:
    with OnggiRegistry(tmp_path) as registry:
        second = registry.command("serve", "--listen", "127.0.0.1:0")
        assert f"another registry (pid {registry.pid}) works in {registry.root}" in second.stderr
        registry.admin.image("library/app", "v1", b"one")
    for path in registry.root.glob("registry.db*"):
        path.rename(tmp_path / path.name)
    done = registry.command("serve", "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert "is missing or empty, but" in done.stderr
    assert any((registry.root / "blobs/objects").rglob("*"))


def test_slow_heads_and_many_of_them(tmp_path: Path) -> None:
    """Clients that say nothing, or never end, hold nobody up."""
    with OnggiRegistry(tmp_path) as registry:
        port = int(registry.host.rpartition(":")[2])
        held = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
        for number, one in enumerate(held):
            one.sendall(b"GET /v2/ HTTP/1.1\r\nX: " + b"y" * (number % 50))
        begun = time.monotonic()
        assert registry.anonymous("GET", "/healthz").status == 200
        assert time.monotonic() - begun < 5
        for one in held:
            one.close()


@pytest.mark.parametrize("head", [
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    b"POST /v2/library/app/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
])  # fmt: skip
def test_malformed_requests(tmp_path: Path, head: bytes) -> None:
    with OnggiRegistry(tmp_path) as registry:
        with socket.create_connection(("127.0.0.1", int(registry.host.rpartition(":")[2]))) as plain:
            plain.settimeout(30)
            plain.sendall(head)
            assert plain.recv(100).partition(b" ")[2].startswith(b"400 ")
        assert registry.anonymous("GET", "/healthz").status == 200


def test_hostile_content_is_not_run_by_browsers(tmp_path: Path) -> None:
    page = b"<script>alert(1)</script>"
    with OnggiRegistry(tmp_path) as registry:
        digest = registry.admin.blob("library/app", page)
        layer = {"mediaType": "text/html", "digest": digest, "size": len(page)}
        registry.admin.manifest("library/app", "v1", {
            "schemaVersion": 2, "mediaType": MANIFEST, "config": layer, "layers": [layer | {"mediaType": LAYER}],
        })  # fmt: skip
        for path in (f"/v2/library/app/blobs/{digest}", "/v2/library/app/manifests/v1"):
            headers = registry.anonymous("GET", path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"
            assert "html" not in headers["content-type"]
            assert "set-cookie" not in headers


@pytest.mark.parametrize("path", [
    "/v2/library/../../etc/passwd/blobs/x", "/v2/..%2f..%2fetc/manifests/passwd", "/v2/library/app/blobs/..%2f..%2fregistry.db",
    "/v2/library/app/blobs/uploads/..%2f..%2fregistry.db", "/v2/library/app/manifests/%00", "/../registry.db", "//etc/passwd",
    "/v2/library/app/blobs/sha256:" + "%2e" * 64,
])  # fmt: skip
def test_paths_that_lead_nowhere(tmp_path_factory: pytest.TempPathFactory, shared: OnggiRegistry, path: str) -> None:
    answer = shared.admin("GET", path)
    assert answer.status in (400, 404)
    assert b"root:" not in answer.body
    assert b"SQLite format" not in answer.body


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> "object":
    with OnggiRegistry(tmp_path_factory.mktemp("shared")) as registry:
        yield registry
