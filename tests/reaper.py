"""A reaper as Testcontainers wants one, run in a container of our own image: it removes what a crashed client left.

A client connects and sends filters, a line each ("label=KEY=VALUE"), each answered by "ACK". When no client is connected
for RYUK_RECONNECTION_TIMEOUT, everything that the filters match is removed, and the reaper ends.
"""

import http.client
import json
import os
import socket
import sys
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlencode

PORT = 8080
ENGINE = "/var/run/docker.sock"


class Engine(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(ENGINE)

    def ask(self, method: str, path: str, **query: str) -> Any:
        self.request(method, f"{path}?{urlencode(query)}")
        answer = self.getresponse()
        body = answer.read()
        if answer.status >= 400:
            raise SystemExit(f"{method} {path}: {answer.status} {body.decode()}")
        return json.loads(body) if body else None


class Reaper:
    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._filters: set[str] = set()
        self._clients = 0
        self._changed = threading.Condition()

    def serve(self) -> None:
        """Until nobody has been connected for long enough."""
        listener = socket.create_server(("", PORT))
        print("reaper: Started!", flush=True)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: self._filters and not self._clients)
            while not self._changed.wait_for(lambda: self._clients, self._patience_s):
                return
            self._changed.wait_for(lambda: not self._clients)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = listener.accept()
            with self._changed:
                self._clients += 1
                self._changed.notify_all()
            threading.Thread(target=self._listen, args=(client,), daemon=True).start()

    def _listen(self, client: socket.socket) -> None:
        # One that crashes leaves its answer unread: its connection is reset.
        with suppress(ConnectionResetError), client, client.makefile("rb") as lines:
            for line in lines:
                self._filters.add(line.decode().strip())
                client.sendall(b"ACK\n")
        with self._changed:
            self._clients -= 1
            self._changed.notify_all()

    def reap(self) -> None:
        for line in sorted(self._filters):
            chosen = json.dumps(parse_qs(line))
            engine = Engine("localhost")
            for container in engine.ask("GET", "/containers/json", all="1", filters=chosen):
                engine.ask("DELETE", f"/containers/{container['Id']}", force="1", v="1")
            for network in engine.ask("GET", "/networks", filters=chosen):
                engine.ask("DELETE", f"/networks/{network['Id']}")
            for volume in engine.ask("GET", "/volumes", filters=chosen)["Volumes"] or ():
                engine.ask("DELETE", f"/volumes/{volume['Name']}", force="1")


if __name__ == "__main__":
    reaper = Reaper(float(os.environ.get("RYUK_RECONNECTION_TIMEOUT", "10s").removesuffix("s")))
    reaper.serve()
    reaper.reap()
    sys.exit()
