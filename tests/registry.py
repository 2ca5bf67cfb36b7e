"""Registries for tests: Debian's `docker-registry` (CNCF distribution) on a loopback port, open or with tokens.

    with Registry(tmp_path) as registry:
        push_image(registry.host, "team/app", "1", [layer_tar])
        docker("pull", f"{registry.host}/team/app:1")

Uploads go over plain HTTP by the standard library alone, so that they test nothing of Onggi's own.
"""

import gzip
import hashlib
import http.client
import json
import re
import subprocess
import threading
import time
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import zstandard

from tests.images import busybox_layer, directory, file, layer

PROGRAM = "/usr/bin/docker-registry"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
INDEX = "application/vnd.oci.image.index.v1+json"
_DEADLINE_S = 60


class Registry:
    """One `docker-registry` process with storage of its own; `host` is `127.0.0.1:PORT` while it runs."""

    def __init__(
        self, directory: Path, *, tokens: "TokenServer | None" = None, certificate: "Certificate | None" = None
    ) -> None:
        self.directory = directory
        self.tokens = tokens
        self.certificate = certificate
        """Given, it is spoken to by TLS alone."""
        self.host = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Start it, on the same port as before if it ran before, and wait until it listens."""
        storage = self.directory / "storage"
        storage.mkdir(parents=True, exist_ok=True)
        settings: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(storage)},
                "delete": {"enabled": True},
                "cache": {"blobdescriptor": "inmemory"},
            },
            "http": {"addr": self.host or "127.0.0.1:0"},
        }
        if self.certificate is not None:
            settings["http"]["tls"] = {
                "certificate": str(self.certificate.path),
                "key": str(self.certificate.key),
                **({"clientcas": [str(self.certificate.path)]} if self.certificate.asked_of_clients else {}),
            }
        if self.tokens is not None:
            settings["auth"] = {"token": self.tokens.settings}
        configuration = self.directory / "registry.yml"
        configuration.write_text(json.dumps(settings))  # JSON is YAML
        log = self.directory / "registry.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [PROGRAM, "serve", str(configuration)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        deadline = time.monotonic() + _DEADLINE_S
        while not (found := re.search(rb'listening on (127\.0\.0\.1:[0-9]+)"?', log.read_bytes())):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"docker-registry did not start: {log.read_text()[-2000:]}")
            time.sleep(0.02)
        self.host = found[1].decode()
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Certificate:
    """A self-signed certificate for 127.0.0.1 and registry.invalid, and its key.

    `asked_of_clients`: they must show the same one.
    """

    def __init__(self, directory: Path, *, asked_of_clients: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path, self.key = directory / "certificate.pem", directory / "key.pem"
        self.asked_of_clients = asked_of_clients
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=onggi-test",
             "-addext", "subjectAltName=IP:127.0.0.1,DNS:registry.invalid", "-keyout", str(self.key), "-out", str(self.path)],
            check=True, capture_output=True,
        )  # fmt: skip


class TokenServer:
    """Hands out distribution's tokens (docs/spec/auth/token.md) signed by a certificate of its own.

    Anybody may pull what begins with `public/`; users of `users` may do all.
    """

    def __init__(self, directory: Path, users: Mapping[str, str]) -> None:
        self.users = dict(users)
        self.requests: list[str] = []
        """Each request as `METHOD path?query`, the account in brackets behind it."""
        directory.mkdir(parents=True, exist_ok=True)
        made = Certificate(directory)
        self._key, certificate = made.key, made.path
        self._chain = ["".join(certificate.read_text().splitlines()[1:-1])]
        server = self
        self.refresh_token = "refresh-" + hashlib.sha256(str(directory).encode()).hexdigest()[:16]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                account = server.account(self.headers.get("Authorization", ""))
                self.answer(account, parse_qs(urlsplit(self.path).query))

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                account: str | None = None
                if form.get("grant_type") == ["password"]:
                    user = form["username"][0]
                    account = user if server.users.get(user) == form["password"][0] else None
                elif form.get("refresh_token") == [server.refresh_token]:
                    account = next(iter(server.users))
                self.answer(account, form)

            def answer(self, account: str | None, query: dict[str, list[str]]) -> None:
                server.requests.append(f"{self.command} {self.path} ({account})")
                if account is None:
                    self.reply(401, {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]})
                    return
                scopes = [part for scope in query.get("scope", []) for part in scope.split(" ") if part]
                token = server.sign(account, query.get("service", [""])[0], scopes)
                self.reply(200, {"token": token, "access_token": token, "expires_in": 300})

            def reply(self, status: int, document: object) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """A client that gave its request up is no error."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.realm = f"http://127.0.0.1:{self._server.server_address[1]}/token"
        self.settings = {
            "realm": self.realm,
            "service": "onggi-test",
            "issuer": "onggi-test-issuer",
            "rootcertbundle": str(certificate),
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def account(self, authorization: str) -> str | None:
        """Who asks: "" for nobody in particular, None for wrong credentials."""
        kind, _, value = authorization.partition(" ")
        if kind != "Basic":
            return ""
        user, _, password = b64decode(value).decode().partition(":")
        return user if self.users.get(user) == password else None

    def sign(self, account: str, service: str, scopes: Sequence[str]) -> str:
        access = []
        for scope in scopes:
            (kind, name), actions = scope.rsplit(":", 1)[0].split(":", 1), scope.rsplit(":", 1)[1]
            allowed = actions.split(",") if account else [a for a in actions.split(",") if a == "pull"]
            if account or name.startswith("public/"):
                access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        claims = {
            "iss": "onggi-test-issuer", "sub": account, "aud": service, "exp": now + 300, "nbf": now - 30, "iat": now,
            "jti": f"{time.monotonic_ns()}", "access": access,
        }  # fmt: skip
        text = f"{_url64({'typ': 'JWT', 'alg': 'RS256', 'x5c': self._chain})}.{_url64(claims)}"
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self._key)],
            input=text.encode(),
            check=True,
            capture_output=True,
        ).stdout
        return f"{text}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _url64(document: object) -> str:
    return urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Uploader:
    """Uploads to one repository. `authorization` is sent with each request when given."""

    def __init__(self, host: str, repository: str, *, authorization: str = "") -> None:
        self.repository = repository
        self._connection = http.client.HTTPConnection(host, timeout=_DEADLINE_S)
        self._headers = {"Authorization": authorization} if authorization else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        self._connection.request(method, path, body, {**self._headers, **(headers or {})})
        response = self._connection.getresponse()
        return response.status, response.headers, response.read()

    def blob(self, data: bytes) -> str:
        """Upload `data` and return its digest."""
        digest = digest_of(data)
        status, headers, body = self.request("POST", f"/v2/{self.repository}/blobs/uploads/", b"")
        assert status == 202, (status, body)
        location = urlsplit(headers["Location"])
        query = f"{location.query}&" if location.query else ""
        status, _, body = self.request(
            "PUT", f"{location.path}?{query}digest={digest}", data, {"Content-Type": "application/octet-stream"}
        )
        assert status == 201, (status, body)
        return digest

    def manifest(self, reference: str, document: object, media_type: str = MANIFEST) -> str:
        """Upload a manifest or index (a JSON-able value, or bytes as they are) and return its digest."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        path = f"/v2/{self.repository}/manifests/{reference}"
        status, _, body = self.request("PUT", path, data, {"Content-Type": media_type})
        assert status == 201, (status, body)
        return digest_of(data)


@dataclass(frozen=True)
class PushedImage:
    """What `push_image` made."""

    digest: str
    """Of the manifest."""
    image_id: str
    layers: list[str]
    """Digests of the compressed layers, lowest first."""
    diff_ids: list[str]
    manifest: dict[str, Any]


def push_image(
    host: str,
    repository: str,
    tag: str,
    layers: Sequence[bytes],
    *,
    config: Mapping[str, Any] | None = None,
    platform: Mapping[str, str] | None = None,
    compression: str = "gzip",
    authorization: str = "",
) -> PushedImage:
    """Upload an image made of uncompressed tars, lowest first. `config` is what containers of it start with."""
    suffix = SUFFIXES[compression]
    blobs = [compressed(layer, compression) for layer in layers]
    diff_ids = [digest_of(layer) for layer in layers]
    configuration = json.dumps(
        {
            **(platform or {"architecture": "amd64", "os": "linux"}),
            "created": "2026-01-02T03:04:05Z",
            "config": dict(config or {"Cmd": ["sh"]}),
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created": "2026-01-02T03:04:05Z", "created_by": f"layer {n}"} for n in range(len(layers))],
        }
    ).encode()
    with Uploader(host, repository, authorization=authorization) as upload:
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": upload.blob(configuration), "size": len(configuration)},
            "layers": [{"mediaType": LAYER + suffix, "digest": upload.blob(blob), "size": len(blob)} for blob in blobs],
        }
        digest = upload.manifest(tag, manifest)
    return PushedImage(digest, digest_of(configuration), [digest_of(blob) for blob in blobs], diff_ids, manifest)


SUFFIXES = {"gzip": "+gzip", "zstd": "+zstd", "none": ""}
"""Compression → what it adds to a layer's media type."""


def compressed(data: bytes, compression: str) -> bytes:
    if compression == "gzip":
        return gzip.compress(data, 1, mtime=0)
    if compression == "zstd":
        return zstandard.ZstdCompressor().compress(data)
    return data


def layer_of(files: Mapping[str, bytes | None], *, mode: int = 0o644) -> bytes:
    """A layer's tar: path → content; None makes a directory."""
    return layer(directory(path) if content is None else file(path, content, mode) for path, content in files.items())


def push_busybox(
    host: str, repository: str = "library/busybox", tag: str = "latest", *, authorization: str = ""
) -> PushedImage:
    """Upload an image of Debian's static busybox."""
    return push_image(
        host, repository, tag, [busybox_layer()], authorization=authorization,
        config={"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
    )  # fmt: skip


def basic(user: str, password: str) -> str:
    """An Authorization header's value."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()
