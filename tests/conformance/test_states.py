"""Every command in every state, asked of real Docker and of Onggi in one run: status, sentence, resulting state, events.

All pairs by `ONGGI_TESTS_WHOLE=1`, every third one otherwise.
"""

import itertools
import json
import os
import re
import time
import uuid
from typing import Any

import pytest

from tests.conditions import until
from tests.engine import Engine
from tests.http import Api, Reply
from tests.peers import Docker

WHOLE = os.environ.get("ONGGI_TESTS_WHOLE") == "1"
SAMPLE = 3

STATES = ("created", "running", "paused", "exited", "killed", "failed", "restarting", "auto-remove")
"""How a container got where it is; `failed`: its program could not be started."""

Command = tuple[str, str, dict[str, Any], Any]

COMMANDS: dict[str, Command] = {
    "start": ("POST", "/containers/{id}/start", {}, None),
    "stop": ("POST", "/containers/{id}/stop", {"t": 1}, None),
    "stop-signal": ("POST", "/containers/{id}/stop", {"t": 1, "signal": "SIGUSR1"}, None),
    "stop-bad-signal": ("POST", "/containers/{id}/stop", {"signal": "SIGFLY"}, None),
    "restart": ("POST", "/containers/{id}/restart", {"t": 1}, None),
    "kill": ("POST", "/containers/{id}/kill", {}, None),
    "kill-term": ("POST", "/containers/{id}/kill", {"signal": "SIGTERM"}, None),
    "kill-0": ("POST", "/containers/{id}/kill", {"signal": "0"}, None),
    "kill-winch": ("POST", "/containers/{id}/kill", {"signal": "WINCH"}, None),
    "kill-bad": ("POST", "/containers/{id}/kill", {"signal": "SIGFLY"}, None),
    "pause": ("POST", "/containers/{id}/pause", {}, None),
    "unpause": ("POST", "/containers/{id}/unpause", {}, None),
    "rename": ("POST", "/containers/{id}/rename", {"name": "{name}-new"}, None),
    "rename-same": ("POST", "/containers/{id}/rename", {"name": "{name}"}, None),
    "rename-bad": ("POST", "/containers/{id}/rename", {"name": "-x"}, None),
    "update": ("POST", "/containers/{id}/update", {}, {"Memory": 64 << 20, "MemorySwap": 128 << 20}),
    "update-policy": (
        "POST",
        "/containers/{id}/update",
        {},
        {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 1}},
    ),
    "update-bad": ("POST", "/containers/{id}/update", {}, {"Memory": 1000}),
    "rm": ("DELETE", "/containers/{id}", {}, None),
    "rm-force": ("DELETE", "/containers/{id}", {"force": 1, "v": 1}, None),
    "rm-link": ("DELETE", "/containers/{id}", {"link": 1}, None),
    "inspect": ("GET", "/containers/{id}/json", {}, None),
    "top": ("GET", "/containers/{id}/top", {}, None),
    "top-bad": ("GET", "/containers/{id}/top", {"ps_args": "-o user"}, None),
    "logs": ("GET", "/containers/{id}/logs", {"stdout": 1}, None),
    "logs-nothing": ("GET", "/containers/{id}/logs", {}, None),
    "changes": ("GET", "/containers/{id}/changes", {}, None),
    "stats": ("GET", "/containers/{id}/stats", {"stream": 0, "one-shot": 1}, None),
    "resize": ("POST", "/containers/{id}/resize", {"h": 10, "w": 20}, None),
    "resize-bad": ("POST", "/containers/{id}/resize", {"h": "x", "w": 20}, None),
    "exec": ("POST", "/containers/{id}/exec", {}, {"Cmd": ["true"]}),
    "exec-nothing": ("POST", "/containers/{id}/exec", {}, {"Cmd": []}),
    "archive-head": ("HEAD", "/containers/{id}/archive", {"path": "/etc/passwd"}, None),
    "archive-missing": ("GET", "/containers/{id}/archive", {"path": "/no/such"}, None),
    "wait-removed-bad": ("POST", "/containers/{id}/wait", {"condition": "happy"}, None),
    "attach-no-hijack": ("POST", "/containers/{id}/attach", {"logs": 1, "stdout": 1}, None),
}

SLEEP = ["sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 1000 & wait; done"]
HEX = re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b")
LOOK_S = 30


class Subject:
    """One container of one engine, brought into a state."""

    def __init__(self, api: Api, state: str, name: str) -> None:
        self.api, self.name, self.state = api, name, state
        host: dict[str, Any] = {"NetworkMode": "none"}
        command = SLEEP
        if state == "restarting":
            # It fails at once, again and again; the pauses between are long after some rounds.
            command, host["RestartPolicy"] = ["sh", "-c", "exit 3"], {"Name": "always"}
        if state == "exited":
            command = ["sh", "-c", "echo out; exit 5"]
        if state == "failed":
            command = ["/no/such/program"]
        if state == "auto-remove":
            host["AutoRemove"] = True
        self.id = api.ok(
            "POST", "/containers/create", {"Image": "busybox", "Cmd": command, "HostConfig": host}, name=name
        ).json()["Id"]
        if state in ("running", "paused", "killed", "auto-remove"):
            api.ok("POST", f"/containers/{self.id}/start")
            self._until(lambda: b"ready" in api("GET", f"/containers/{self.id}/logs", stdout=1).body)
        if state == "paused":
            api.ok("POST", f"/containers/{self.id}/pause")
        if state == "killed":
            api.ok("POST", f"/containers/{self.id}/kill")
            api.ok("POST", f"/containers/{self.id}/wait")
        if state == "exited":
            api.ok("POST", f"/containers/{self.id}/start")
            api.ok("POST", f"/containers/{self.id}/wait")
        if state == "failed":
            assert api("POST", f"/containers/{self.id}/start").status == 400
        if state == "restarting":
            api.ok("POST", f"/containers/{self.id}/start")
            # Pauses double from 0.1 s: after five rounds there are more than three seconds to ask in.
            self._until(lambda: self._restarts() >= 5 and self._status() == "restarting")

    def _restarts(self) -> int:
        return int(self.api.ok("GET", f"/containers/{self.id}/json").json()["RestartCount"])

    def _status(self) -> str:
        return str(self.api.ok("GET", f"/containers/{self.id}/json").json()["State"]["Status"])

    def _until(self, holds: Any) -> None:
        deadline = time.monotonic() + LOOK_S
        while not holds():
            assert time.monotonic() < deadline, f"{self.state} was not reached: {self.outcome()}"
            time.sleep(0.02)  # a state of a foreign engine: nothing tells us

    def outcome(self) -> dict[str, Any]:
        """What `inspect` says afterwards, without times and numbers that differ by nature."""
        reply = self.api("GET", f"/containers/{self.id}/json")
        if reply.status == 404:
            return {"gone": True}
        found = reply.json()
        state = {
            key: found["State"][key]
            for key in ("Status", "Running", "Paused", "Restarting", "OOMKilled", "Dead", "ExitCode")
        }
        state["pid"] = found["State"]["Pid"] > 0
        state["started"] = not found["State"]["StartedAt"].startswith("0001")
        state["finished"] = not found["State"]["FinishedAt"].startswith("0001")
        if self.state == "restarting":
            for changing in ("Status", "Running", "Restarting", "pid", "ExitCode"):
                state.pop(changing)  # the next round may have begun
        return state

    def events(self, since: float, until: float) -> list[str]:
        reply = self.api("GET", "/events", since=f"{since:.9f}", until=f"{until:.9f}",
                         filters=json.dumps({"container": [self.id], "type": ["container"]}))  # fmt: skip
        return [json.loads(line)["Action"] for line in reply.body.splitlines()]

    def remove(self) -> None:
        self.api("DELETE", f"/containers/{self.id}", force=1, v=1)


def normal(reply: Reply, subject: Subject) -> tuple[int, str]:
    text = HEX.sub("<id>", reply.message).replace(subject.name, "<name>")
    return reply.status, text


def ask(api: Api, state: str, command: str) -> tuple[tuple[int, str], dict[str, Any], list[str]]:
    subject = Subject(api, state, f"state-{uuid.uuid4().hex[:10]}z")
    method, path, query, body = COMMANDS[command]
    try:
        since = time.time()
        given = {key: text.format(name=subject.name) if isinstance(text, str) else text for key, text in query.items()}
        reply = api(method, path.format(id=subject.id), body, **given)
        outcome = subject.outcome()
        if state == "exited" and command in ("start", "restart"):  # it ends again by itself, sooner or later
            api("POST", f"/containers/{subject.id}/wait")
            outcome = subject.outcome()
        ends = command in ("kill", "kill-term") or (command.startswith("stop") and state == "auto-remove")
        if ends and reply.status == 204 and state in ("running", "paused", "auto-remove"):
            # The end comes after the answer.
            api(
                "POST",
                f"/containers/{subject.id}/wait",
                condition="removed" if state == "auto-remove" else "not-running",
            )
            outcome = subject.outcome()
        if state == "paused" and command.startswith("kill") and reply.status == 204 and not ends:
            # A signal lets it go on; in Docker that is told by its runtime after the answer.
            until(lambda: not subject.outcome()["Paused"], "it goes on")
            outcome = subject.outcome()
        events = subject.events(since, time.time())
        # A container's end is told beside the command that brings it about, in Docker in either order; that of the
        # preparation may be told late; a restarting one goes on meanwhile.
        passing = {"restarting": ("die", "start", "kill"), "exited": ("die",), "killed": ("die",)}.get(state, ())
        answer = normal(reply, subject)
        if command == "attach-no-hijack" and reply.status == 409:
            answer = (409, "")  # Docker has taken over the connection before it refuses
        return answer, outcome, sorted(event for event in events if event not in passing)
    finally:
        subject.remove()


DIFFERENT = {
    ("restarting", "resize"): "Docker answers with containerd's own 404, which names a namespace that is not ours"
}

PAIRS = [
    pair
    for number, pair in enumerate(itertools.product(STATES, COMMANDS))
    if pair not in DIFFERENT and (WHOLE or number % SAMPLE == 0)
]


@pytest.mark.parametrize(("state", "command"), PAIRS, ids=str)
def test_the_same_answer(engine: Engine, peer: Docker, state: str, command: str) -> None:
    theirs = ask(Api(peer.socket), state, command)
    ours = ask(Api(engine.socket), state, command)
    assert ours == theirs
