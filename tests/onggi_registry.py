"""Our registry as a process on a loopback port, and a client that shows each answer as it is.

with OnggiRegistry(tmp_path) as registry:
    registry.admin("POST", "/api/v1/projects", {"name": "team"})
"""

import hashlib
import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import uuid
from base64 import b64encode
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

PASSWORD = "a fine password"
on_sqlite = pytest.mark.skipif(
    "ONGGI_TESTS_POSTGRES" in os.environ, reason="looks into SQLite's file; this run is on PostgreSQL"
)
READY_S = 60


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    cookies: tuple[str, ...] = ()
    """Each Set-Cookie: there may be several."""

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the first error; "" where there is none."""
        return str(json.loads(self.body)["errors"][0]["code"]) if self.status >= 400 and self.body else ""

    @property
    def message(self) -> str:
        return str(json.loads(self.body)["errors"][0]["message"])


@dataclass(frozen=True)
class Client:
    """Asks with one account's credentials; a connection for each request."""

    host: str
    authorization: str = ""
    context: ssl.SSLContext | None = None
    source: str = ""
    """The loopback address to come from, for what the registry counts by address; "" for the usual one."""

    def __call__(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """`body`: bytes as they are, an iterator of bytes in chunks, anything else as JSON."""
        sent = {"Authorization": self.authorization} if self.authorization else {}
        if body is not None and not isinstance(body, bytes) and not hasattr(body, "__next__"):
            body, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        connection: http.client.HTTPConnection
        if self.context is None:
            source = (self.source, 0) if self.source else None
            connection = http.client.HTTPConnection(self.host, timeout=60, source_address=source)
        else:
            connection = http.client.HTTPSConnection(self.host, timeout=60, context=self.context)
        try:
            connection.request(method, path, body, sent | (headers or {}))
            got = connection.getresponse()
            headers = {key.lower(): text for key, text in got.getheaders()}
            return Answer(got.status, headers, got.read(), tuple(got.headers.get_all("set-cookie", [])))
        finally:
            connection.close()

    def ok(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        answer = self(method, path, body, headers)
        assert answer.status < 400, f"{method} {path}: {answer.status} {answer.body.decode(errors='replace')}"
        return answer

    def blob(self, repository: str, data: bytes) -> str:
        """Push a blob in one request; gives its digest."""
        digest = digest_of(data)
        self.ok("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", data,
                {"Content-Type": "application/octet-stream"})  # fmt: skip
        return digest

    def manifest(self, repository: str, reference: str, document: dict[str, Any]) -> str:
        """Push a manifest; gives its digest."""
        data = json.dumps(document).encode()
        self.ok("PUT", f"/v2/{repository}/manifests/{reference or digest_of(data)}", data,
                {"Content-Type": document["mediaType"]})  # fmt: skip
        return digest_of(data)

    def image(self, repository: str, tag: str, content: bytes, config: dict[str, Any] | None = None) -> str:
        """Push an image with one layer; gives the manifest's digest."""
        configuration = json.dumps({"architecture": "amd64", "os": "linux", **(config or {})}).encode()
        return self.manifest(repository, tag, {
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": self.blob(repository, configuration), "size": len(configuration)},
            "layers": [{"mediaType": LAYER, "digest": self.blob(repository, content), "size": len(content)}],
        })  # fmt: skip

    def token(self, *scopes: str) -> "Client":
        """The same account by a bearer token for `scopes`."""
        query = "&".join(f"scope={scope}" for scope in scopes)
        answer = self.ok("GET", f"/token?service=onggi-registry&{query}")
        return replace(self, authorization=f"Bearer {answer.json()['token']}")


MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


class OnggiRegistry:
    """Enter to start it for the first time: `admin` has chosen PASSWORD, the public project `library` is there."""

    def __init__(self, directory: Path, *options: str, context: ssl.SSLContext | None = None) -> None:
        self.root = directory / "registry"
        self.log = directory / "registry.log"
        self.options = options
        self.shared: tuple[str, ...] = ()
        """Options of the commands too: where PostgreSQL is, when `on_postgres` has been called."""
        if server := os.environ.get("ONGGI_TESTS_POSTGRES"):
            self.on_postgres(server)
        self.host = "127.0.0.1:0"
        self.context = context
        self._process: subprocess.Popen[bytes] | None = None

    def on_postgres(self, directory: str) -> None:
        """Use a new database of the server whose socket is in `directory`, instead of SQLite."""
        if "--database-file" in self.options:
            return
        name = f"r{uuid.uuid4().hex}"
        subprocess.run(["createdb", "-h", directory, "-U", "postgres", name], check=True, timeout=60)
        secret = self.log.with_name("registry.database")
        secret.parent.mkdir(exist_ok=True)
        secret.touch(mode=0o600)
        secret.write_text(f"postgresql://postgres@/{name}?host={directory}\n")
        self.shared = ("--database-file", str(secret))

    @property
    def admin(self) -> Client:
        return self.as_("admin")

    @property
    def anonymous(self) -> Client:
        return Client(self.host, "", self.context)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def as_(self, user: str, password: str = PASSWORD) -> Client:
        return Client(self.host, basic(user, password), self.context)

    def user(self, name: str, **more: Any) -> Client:
        """Make a person; gives their client."""
        self.admin.ok("POST", "/api/v1/users", {"name": name, "password": PASSWORD, **more})
        return self.as_(name)

    def start(self) -> None:
        """Start it, on the same port as before if it ran before, and wait until it says that it is ready."""
        self.log.parent.mkdir(exist_ok=True)
        reading, writing = os.pipe()
        with self.log.open("ab") as log, os.fdopen(reading, "rb") as answer:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "onggi.registry", "serve", "--root", str(self.root), "--listen", self.host,
                 "--ready-fd", str(writing), *self.shared, *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[writing], cwd="/", start_new_session=True,
            )  # fmt: skip
            os.close(writing)
            said = answer.readline().decode().strip()  # ends with the process, ready or not
        found = re.fullmatch(r"ready https?://(.*)", said)
        if found is None:
            self._process.wait()
            raise AssertionError(f"the registry did not start: {said}\n{self.log.read_text()[-3000:]}")
        if self.host.endswith(":0"):
            self.host = found[1]

    def make_project(self, test: str) -> str:
        """A project of one test's own, called after it."""
        name = test.partition("[")[0].removeprefix("test_").replace("_", "-")[:60]
        self.admin.ok("POST", "/api/v1/projects", {"name": name})
        return name

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        assert self._process is not None
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, self.log.read_text()[-3000:]

    def command(self, *words: str, text: str = "") -> "subprocess.CompletedProcess[str]":
        """`onggi registry WORDS --root …`, beside the one that serves."""
        command = [sys.executable, "-m", "onggi.registry", *words, "--root", str(self.root), *self.shared]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60, cwd="/")

    @property
    def one_time_password(self) -> str:
        """What the first start printed."""
        found = re.findall(r"^    ([a-z0-9-]{23})$", self.log.read_text(), re.MULTILINE)
        assert len(found) == 1, found
        return str(found[0])

    def __enter__(self) -> Self:
        self.start()
        owner = self.as_("admin", self.one_time_password)
        owner.ok("PUT", "/api/v1/user/password", {"current": self.one_time_password, "new": PASSWORD})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.stop()
