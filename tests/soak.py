"""A container beside its model: what is asked of it, what must follow by Docker's rules, and whether it did.

Each method that changes something is a command as clients give it; it waits until what follows has come about, notes it
in the model, and `check` compares the model with what the engine says.
"""

import io
import json
import os
import signal
import socket
import tarfile
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tests.conditions import DEADLINE_S, until
from tests.http import Api, UnixConnection

LABEL = "soak"
LONG_GRACE_S = 60
"""Longer than any container of ours takes to obey."""
MOST_RETURNS = 4
"""A container's pauses double each time it comes back at once: after some rounds the soak would only wait."""
_TRAP = "trap 'exit 7' TERM; echo ready; while :; do sleep 1000 & wait; done"


@dataclass(frozen=True)
class Kind:
    """A program whose end is known beforehand."""

    command: list[str]
    code_of_term: int | None
    """Exit code after SIGTERM; None: it does not obey."""
    code: int | None = None
    """Exit code when it ends by itself, at once."""
    policies: tuple[str, ...] = ("no",)
    stdin: bool = False


KINDS = {
    "obeys": Kind(["sh", "-c", _TRAP], 7, policies=("no", "unless-stopped")),
    "ignores": Kind(["sleep", "100000"], None, policies=("no", "always", "on-failure:2", "rm")),
    "fails": Kind(["sh", "-c", "exit 3"], None, code=3, policies=("no", "on-failure:2", "rm")),
    "echoes": Kind(["cat"], None, policies=("no", "always"), stdin=True),
}


class EventLog:
    """Follows the events of one engine, over its restarts, and keeps them by container."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path
        self._last_ns = 0
        self._connection: UnixConnection | None = None
        self._thread: threading.Thread | None = None
        self.seen: dict[str, list[str]] = defaultdict(list)

    def follow(self) -> None:
        connection = UnixConnection(self._socket_path, 3600)
        filters = json.dumps({"type": ["container"], "label": [LABEL]})
        since = f"&since={(self._last_ns + 1) / 1e9:.9f}" if self._last_ns else ""
        connection.request("GET", f"/v1.51/events?filters={filters.replace(' ', '')}{since}".replace('"', "%22"))
        self._connection = connection
        self._thread = threading.Thread(target=self._read, args=(connection,), daemon=True)
        self._thread.start()

    def _read(self, connection: UnixConnection) -> None:
        try:
            answer = connection.getresponse()
            while line := answer.readline():
                event = json.loads(line)
                if event["timeNano"] > self._last_ns:
                    self._last_ns = event["timeNano"]
                    self.seen[event["Actor"]["ID"]].append(event["Action"].partition(":")[0])
        except (OSError, HTTPException):
            return  # the engine was killed: `follow` is called again

    def join(self) -> None:
        """The engine has been killed: wait for the end of what it told."""
        assert self._thread is not None
        self._thread.join(DEADLINE_S)
        assert self._connection is not None
        self._connection.close()

    def leave(self) -> None:
        """Follow no more."""
        assert self._connection is not None
        if self._connection.sock is not None:
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self.join()


@dataclass(eq=False)
class Subject:
    """One container and what we believe of it."""

    api: Api
    log: EventLog
    name: str
    kind: Kind
    policy: str
    network: str
    id: str = ""
    state: str = "created"
    """created, running, paused, exited; "gone" once it is removed."""
    code: int = 0
    restarts: int = 0
    returns: int = 0
    """How often its policy brought it back since somebody started it: its pauses double so often."""
    runs: int = 0
    stopped_by_user: bool = False
    memory: int = 0
    networks: set[str] = field(default_factory=set)
    files: dict[str, bytes] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    started_at: str = ""
    client: socket.socket | None = None
    """Attached to `cat`; stays attached over the engine's death."""
    sent: int = 0

    # What it is

    @property
    def _path(self) -> str:
        return f"/containers/{self.id}"

    def inspect(self) -> Any:
        return self.api.ok("GET", f"{self._path}/json").json()

    def check(self) -> None:
        """Compare all that the model knows with what the engine says."""
        if self.state == "gone":
            assert self.api("GET", f"{self._path}/json").status == 404
        else:
            found = self.inspect()
            state = found["State"]
            told = (found["Name"], state["Status"], state["Running"], state["Paused"], found["RestartCount"])
            running = self.state in ("running", "paused")
            assert told == (f"/{self.name}", self.state, running, self.state == "paused", self.restarts)
            assert state["ExitCode"] == self.code
            assert (state["Pid"] > 0) is running
            assert found["HostConfig"]["Memory"] == self.memory
            assert set(found["NetworkSettings"]["Networks"]) == self.networks
            assert state["StartedAt"] == self.started_at or self.runs
            if self.state == "exited":
                assert state["FinishedAt"] >= state["StartedAt"] > "0001-01-02"
            if self.state == "created":
                assert state["StartedAt"] == state["FinishedAt"] == "0001-01-01T00:00:00Z"
        until(lambda: len(self.log.seen[self.id]) >= len(self.events), f"events of {self.name}: {self.events}")
        assert self.log.seen[self.id] == self.events, (self.name, self.kind, self.policy)

    def commands(self) -> "list[Callable[[], None]]":
        """What may be asked of it now."""
        if self.state == "gone":
            return []
        found = [self.rename, self.remove_by_force, self.copy, self.logs, self.update, self.misuse, self.commit]
        if self.network != "none":
            found.append(self.change_networks)
        if self.state in ("created", "exited"):
            found += [self.start, self.start, self.start, self.remove, self.restart]
        if self.state in ("running", "paused"):
            found += [self.stop, self.kill, self.restart, self.top]
        if self.state == "running":
            found += [self.pause, self.execute, self.execute, self.stats]
            if self.returns < MOST_RETURNS:
                found.append(self.die)
            if self.kind.code_of_term is not None:
                found.append(self.terminate)
            if self.kind.stdin:
                found += [self.echo, self.echo]
        if self.state == "paused":
            found.append(self.unpause)
        return found

    # Its states

    def create(self) -> None:
        host: dict[str, Any] = {"NetworkMode": self.network}
        if self.policy == "rm":
            host["AutoRemove"] = True
        else:
            policy, _, tries = self.policy.partition(":")
            host["RestartPolicy"] = {"Name": policy, "MaximumRetryCount": int(tries or 0)}
        body = {"Image": "busybox", "Cmd": self.kind.command, "OpenStdin": self.kind.stdin, "HostConfig": host,
                "Labels": {LABEL: self.name}}  # fmt: skip
        self.id = self.api.ok("POST", "/containers/create", body, name=self.name).json()["Id"]
        self.events.append("create")
        self.networks = {self.network}
        self.started_at = "0001-01-01T00:00:00Z"

    def start(self) -> None:
        self.api.ok("POST", f"{self._path}/start")
        self.restarts = 0
        self._has_started()

    def _has_started(self) -> None:
        """Its program runs, for the first time in this run; or has ended already, if that is what it does."""
        self.state, self.code, self.stopped_by_user, self.returns = "running", 0, False, 0
        self.events.append("start")
        self.runs += 1
        if self.kind.code is None:
            self._has_come_up()
            return
        tries = int(self.policy.partition(":")[2] or 0) - self.restarts
        self.events += ["die", "start"] * max(tries, 0) + ["die"]
        self.restarts += max(tries, 0)
        self.runs += max(tries, 0)
        self._has_ended(self.kind.code)

    def _has_come_up(self) -> None:
        if self.kind.code_of_term is not None:
            until(
                lambda: self._logged().count("ready\n") == self.runs, f"{self.name} is ready for the {self.runs}th time"
            )
        started_at = self.inspect()["State"]["StartedAt"]
        assert started_at > self.started_at
        self.started_at = started_at

    def _has_ended(self, code: int) -> None:
        """It has ended, or will in a moment, and does not come back."""
        self._leave()
        self.state, self.code = "exited", code
        if self.policy == "rm":
            self.events.append("destroy")
            self._await_removal()
        else:
            until(lambda: self.inspect()["State"]["Status"] == "exited", f"{self.name} has ended")

    def _await_removal(self) -> None:
        until(lambda: self.api("GET", f"{self._path}/json").status == 404, f"{self.name} is removed")
        self.state = "gone"

    def stop(self) -> None:
        obeys = self.kind.code_of_term is not None
        waiting = self._wait_beside()
        self.api.ok("POST", f"{self._path}/stop", t=LONG_GRACE_S if obeys else 0)
        self._stopping()
        if self.policy == "rm":
            self._has_ended(137)
            self.events.append("stop")
        else:
            self.events.append("stop")
            self._has_ended(self.kind.code_of_term if self.kind.code_of_term is not None else 137)
        assert waiting() == self.code

    def _stopping(self) -> None:
        self.events.append("kill")
        if self.state == "paused":
            self.events.append("unpause")
        if self.kind.code_of_term is None:
            self.events.append("kill")
        self.events.append("die")
        self.stopped_by_user = True

    def _wait_beside(self) -> Callable[[], int]:
        """Begin to wait for its end; call what is returned to get the exit code."""
        connection = UnixConnection(self.api.socket_path)
        connection.request("POST", f"/v1.51{self._path}/wait?condition=next-exit")
        answer = connection.getresponse()  # the head comes as soon as the engine listens for the end

        def code() -> int:
            with answer:
                found = json.loads(answer.read())
            connection.close()
            return int(found["StatusCode"])

        return code

    def kill(self) -> None:
        self.api.ok("POST", f"{self._path}/kill")
        self.events += ["kill", "die"]
        self.stopped_by_user = True
        self._has_ended(137)

    def terminate(self) -> None:
        """SIGTERM by `kill`, which does not wait for what follows."""
        assert self.kind.code_of_term is not None
        self.api.ok("POST", f"{self._path}/kill", signal="TERM")
        self.events += ["kill", "die"]
        self.stopped_by_user = True
        self._has_ended(self.kind.code_of_term)

    def die(self) -> None:
        """Its program is killed by somebody else: now its policy counts."""
        os.kill(self.inspect()["State"]["Pid"], signal.SIGKILL)
        self._has_died()

    def _has_died(self) -> None:
        self.events.append("die")
        tries = int(self.policy.partition(":")[2] or 1 << 30)
        if self.policy in ("no", "rm") or self.restarts >= tries:
            self._has_ended(137)
            return
        self._leave()
        self.restarts += 1
        self.returns += 1
        self.runs += 1
        self.events.append("start")
        until(self._runs_again, f"{self.name} comes back")
        self._has_come_up()

    def _runs_again(self) -> bool:
        found = self.inspect()
        return bool(found["State"]["Status"] == "running" and found["RestartCount"] == self.restarts)

    def pause(self) -> None:
        self.api.ok("POST", f"{self._path}/pause")
        self.state = "paused"
        self.events.append("pause")

    def unpause(self) -> None:
        self.api.ok("POST", f"{self._path}/unpause")
        self.state = "running"
        self.events.append("unpause")

    def restart(self) -> None:
        obeys = self.kind.code_of_term is not None
        ran = self.state in ("running", "paused")
        self.api.ok("POST", f"{self._path}/restart", t=LONG_GRACE_S if obeys else 0)
        self._leave()
        if ran:
            self._stopping()
            self.events.append("stop")
        self.restarts = 0
        if self.kind.code is None:
            self._has_started()
            self.events.append("restart")
        else:
            self._restarted_and_ended()

    def _restarted_and_ended(self) -> None:
        """Whether its quick end comes before or after the event `restart` is chance."""
        before = len(self.events)
        self._has_started()
        until(lambda: "restart" in self.log.seen[self.id][before:], "the event `restart`")
        self.events.insert(self.log.seen[self.id].index("restart", before), "restart")

    def remove(self) -> None:
        self.api.ok("DELETE", self._path, v=1)
        self.is_removed()

    def is_removed(self) -> None:
        """By us, or by `prune`."""
        self._leave()
        self.events.append("destroy")
        self._await_removal()

    def remove_by_force(self) -> None:
        self.api.ok("DELETE", self._path, force=1, v=1)
        if self.state in ("running", "paused"):
            self.events += ["kill", "die"]
        self.is_removed()

    def misuse(self) -> None:
        """What its state does not allow is refused and changes nothing."""
        wrong = {
            "created": [("pause", 409), ("unpause", 500), ("kill", 409), ("stop", 304)],
            "exited": [("pause", 409), ("unpause", 500), ("kill", 409), ("stop", 304)],
            "running": [("start", 304), ("unpause", 500)],
            "paused": [("start", 409), ("pause", 409)],
        }[self.state]
        for verb, status in wrong:
            assert self.api("POST", f"{self._path}/{verb}").status == status, (verb, self.state)
        if self.state in ("running", "paused"):
            assert self.api("DELETE", self._path).status == 409
        taken = {"Image": "busybox", "Labels": {LABEL: ""}}
        assert self.api("POST", "/containers/create", taken, 60, name=self.name).status == 409
        assert self.api("POST", f"{self._path}/rename", None, 60, name=self.name).status == 400

    # What is asked of it besides

    def rename(self) -> None:
        name = f"{self.name.partition('.')[0]}.{int(self.name.partition('.')[2] or 0) + 1}"
        self.api.ok("POST", f"{self._path}/rename", name=name)
        assert self.api("GET", f"/containers/{self.name}/json").status == 404
        self.name = name
        self.events.append("rename")

    def update(self) -> None:
        self.memory = (32 << 20) if self.memory != 32 << 20 else 64 << 20
        body = {"Memory": self.memory, "MemorySwap": -1}
        self.api.ok("POST", f"{self._path}/update", body)
        self.events.append("update")

    def execute(self) -> None:
        """One with output and an exit code, as clients run it: attached."""
        code = self.runs % 200
        body = {"Cmd": ["sh", "-c", f"echo {self.name}; exit {code}"], "AttachStdout": True}
        exec_id = self.api.ok("POST", f"{self._path}/exec", body).json()["Id"]
        output = self.api.ok("POST", f"/exec/{exec_id}/start", {}).body
        assert output[8:] == f"{self.name}\n".encode()
        found = self.api.ok("GET", f"/exec/{exec_id}/json").json()
        assert (found["Running"], found["ExitCode"]) == (False, code)
        self.events += ["exec_create", "exec_start", "exec_die"]

    def top(self) -> None:
        processes = self.api.ok("GET", f"{self._path}/top").json()["Processes"]
        assert processes
        self.events.append("top")

    def stats(self) -> None:
        found = self.api.ok("GET", f"{self._path}/stats", stream=0, **{"one-shot": 1}).json()
        assert found["pids_stats"]["current"] >= 1
        assert found["memory_stats"]["usage"] > 0

    def _logged(self) -> str:
        body, lines = self.api.ok("GET", f"{self._path}/logs", stdout=1).body, b""
        while body:
            size = int.from_bytes(body[4:8], "big")
            lines, body = lines + body[8 : 8 + size], body[8 + size :]
        return lines.decode()

    def logs(self) -> None:
        """All that its runs have written, in order."""
        if self.kind.stdin:
            expected = "".join(f"line {number}\n" for number in range(self.sent))
        else:
            expected = "ready\n" * self.runs if self.kind.code_of_term is not None else ""
        assert self._logged() == expected

    def copy(self) -> None:
        """Put a file into it, get all that were put back."""
        name, data = f"file-{len(self.files) % 3}", os.urandom(100)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        connection = UnixConnection(self.api.socket_path)
        connection.request("PUT", f"/v1.51{self._path}/archive?path=/root", packed.getvalue())
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        connection.close()
        self.files[name] = data
        self.events.append("extract-to-dir")
        for name, data in self.files.items():
            body = self.api.ok("GET", f"{self._path}/archive", path=f"/root/{name}").body
            with tarfile.open(fileobj=io.BytesIO(body)) as tar:
                found = tar.extractfile(name)
                assert found is not None
                assert found.read() == data
            self.events.append("archive-path")

    def commit(self) -> None:
        """An image of it; removed at once."""
        image = self.api.ok("POST", "/commit", {}, container=self.id).json()["Id"]
        self.events += ["pause", "commit", "unpause"] if self.state == "running" else ["commit"]
        self.api.ok("DELETE", f"/images/{image}", force=1)

    def change_networks(self) -> None:
        """Leave the second network, or join it."""
        joined = "soak-second" in self.networks
        verb, body = ("disconnect" if joined else "connect"), {"Container": self.id}
        self.api.ok("POST", f"/networks/soak-second/{verb}", body)
        self.networks ^= {"soak-second"}

    def echo(self) -> None:
        """A line in, the same line out: by a client that stays."""
        if self.client is None:
            self.client = socket.socket(socket.AF_UNIX)
            self.client.settimeout(DEADLINE_S)
            self.client.connect(str(self.api.socket_path))
            self.client.sendall(f"POST {self._path}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: test\r\n"
                                "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n".encode())  # fmt: skip
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += self._received(1)
            assert b" 101 " in head
            self.events.append("attach")
        line = f"line {self.sent}\n".encode()
        self.sent += 1
        self.client.sendall(line)
        assert self._received(8 + len(line))[8:] == line

    def _received(self, size: int) -> bytes:
        assert self.client is not None
        found = b""
        while len(found) < size:
            part = self.client.recv(size - len(found))
            assert part, f"the stream of {self.name} has ended"
            found += part
        return found

    def _leave(self) -> None:
        if self.client is not None:
            self.client.close()
            self.client = None

    # The engine's death

    @property
    def pid(self) -> int:
        """Of its program, while it runs."""
        return int(self.inspect()["State"]["Pid"]) if self.state in ("running", "paused") else 0

    def after_engine_death(self, pid: int, *, died: bool) -> None:
        """The engine was killed and runs again. `pid`: of its program before; `died`: that ended meanwhile."""
        if self.state in ("running", "paused"):
            if died:
                self._has_died()
            else:
                assert self.pid == pid, "it was not touched"
        elif self.state == "exited" and self.policy == "always":
            self.restarts = 0
            until(lambda: self.inspect()["State"]["Running"], f"{self.name} is started with the engine")
            self._has_started()
