"""What the stock docker command line says and sends: recorded into tests/reference/, and checked against it anew.

`python -m tests.docker_recording` writes the files again; the integration tests fail when they are no longer true.
"""

import json
import os
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parent / "reference"
HELP = REFERENCE / "docker-help.json"
CREATE = REFERENCE / "docker-create.json"


class _Handler(BaseHTTPRequestHandler):
    """Answers everything with success and remembers what was asked."""

    protocol_version = "HTTP/1.1"
    server: "Recorder"

    def address_string(self) -> str:
        return "client"

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""

    def _body(self) -> str:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size + 2)[:-2]
        self.rfile.readline()
        return data.decode(errors="replace")

    def _answer(self) -> None:
        body = self._body()
        ping = self.path.endswith("/_ping")
        if not ping:
            self.server.requests.append((self.command, self.path, body))
        created = "/containers/create" in self.path
        answer = json.dumps({"Id": "c" * 64, "Warnings": []} if created else {}).encode()
        answer = next((body for path, body in self.server.answers.items() if path in self.path), answer)
        self.send_response(201 if created else 200)
        for name, value in (("Api-Version", "1.51"), ("Ostype", "linux"), ("Content-Type", "application/json")):
            self.send_header(name, value)
        self.send_header("Content-Length", "0" if ping else str(len(answer)))
        self.end_headers()
        if self.command != "HEAD" and not ping:
            self.wfile.write(answer)

    do_GET = do_POST = do_HEAD = do_DELETE = do_PUT = _answer


class Recorder(socketserver.ThreadingUnixStreamServer):
    """An engine that only listens. `requests`: method, path with query, body."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Handler)
        self.requests: list[tuple[str, str, str]] = []
        self.answers: dict[str, bytes] = {}
        """A part of a path → the body to answer with, instead of an empty object."""


@contextmanager
def recorder() -> Iterator[Recorder]:
    with tempfile.TemporaryDirectory() as directory, Recorder(Path(directory) / "s") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def environment(socket: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("DOCKER_", "ONGGI_"))}
    return kept | {"DOCKER_HOST": f"unix://{socket}", "ONGGI_AUTOSTART": "0", "HOME": "/nonexistent", "VARIABLE": "value",
                   "BUILDKIT_PROGRESS": "plain"}  # fmt: skip


def run(command: list[str], socket: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, env=environment(socket), timeout=60, check=False,
                          cwd="/", stdin=subprocess.DEVNULL)  # fmt: skip


def canonical(method: str, path: str, body: str) -> dict[str, Any]:
    """A request, with everything in order whose order means nothing."""
    name, _, query = path.partition("?")
    found: dict[str, Any] = json.loads(body) if body.startswith("{") else {}
    host = found.get("HostConfig") or {}
    if host.get("Binds"):
        host["Binds"].sort()
    if found.get("Env"):
        found["Env"].sort()
    return {"method": method, "path": name.removeprefix("/v1.51"), "query": sorted(filter(None, query.split("&"))),
            "body": found}  # fmt: skip


def created(command: str, line: str) -> dict[str, Any]:
    """What `COMMAND create LINE` sends, or how it fails."""
    words = json.loads(line)
    with recorder() as server:
        done = run([command, "create", *words], str(server.server_address))
        if server.requests:
            return canonical(*server.requests[0])
    return {"status": done.returncode, "message": done.stderr.strip().split("\n")[0]}


def help_text(command: str, path: str) -> str:
    """--help at 80 columns."""
    return run([command, *path.split(), "--help"], "/nonexistent").stdout


def _change(base: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """What differs from the request when nothing is said."""
    inner = ("HostConfig", "NetworkingConfig")
    return {
        key: _change(base[key], value) if key in inner else value
        for key, value in body.items()
        if key not in base or base[key] != value
    }


def record(command: str) -> None:
    """Write both files again, for the same commands and lines."""
    bare = created(command, '["x"]')["body"]
    lines = []
    for words in [line["words"] for line in json.loads(CREATE.read_text())["lines"]]:
        got = created(command, json.dumps(words))
        if "message" in got:
            lines.append({"words": words, **got, "message": got["message"].replace("docker: ", "onggi: ", 1)})
        else:
            query = {"query": got["query"]} if got["query"] else {}
            lines.append({"words": words, **query, "body": _change(bare, got["body"])})
    rows = ",\n".join(json.dumps(line) for line in lines)
    CREATE.write_text(f'{{"bare": {json.dumps(bare)},\n"lines": [\n{rows}\n]}}\n')
    texts = {path: help_text(command, path) for path in json.loads(HELP.read_text())}
    rows = ",\n".join(f"{json.dumps(path)}: {json.dumps(text)}" for path, text in texts.items())
    HELP.write_text(f"{{\n{rows}\n}}\n")


if __name__ == "__main__":
    from tests.peers import docker_command

    record(docker_command())
