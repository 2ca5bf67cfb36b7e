"""exec, attach, logs, events, stats and top by the stock docker command line, on pipes and on a terminal."""

import json
import os
import pty
import select
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import Engine
from tests.peers import docker_command

DEADLINE_S = 60.0


@pytest.fixture
def running(engine: Engine, name: str) -> Iterator[str]:
    engine.docker("run", "-d", "--name", name, "--network", "none", "--stop-signal", "KILL", "busybox", "sleep", "1000",
                  check=True)  # fmt: skip
    yield name
    engine.docker("rm", "-fv", name)


class Terminal:
    """The docker command line on a terminal of 33 rows and 99 columns."""

    def __init__(self, engine: Engine, *words: str) -> None:
        environment = {**os.environ, "DOCKER_HOST": f"unix://{engine.socket}", "TERM": "dumb"}
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            termios.tcsetwinsize(0, (33, 99))
            os.execve(docker_command(), [docker_command(), *words], environment)
        self.seen = b""

    def _read(self, seconds: float) -> bool:
        """False at the end."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: nobody has the other side open any more
            return False
        self.seen += data
        return bool(data)

    def expect(self, text: bytes) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.seen:
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen!r}"
            if not self._read(0.2):
                raise AssertionError(f"ended without {text!r}: {self.seen!r}")

    def type(self, text: bytes) -> None:
        self.seen = b""
        os.write(self.fd, text)

    def end(self) -> int:
        """Wait for its end; its exit status."""
        deadline = time.monotonic() + DEADLINE_S
        while self._read(0.2):
            assert time.monotonic() < deadline, f"it does not end: {self.seen!r}"
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class Following:
    """A docker command that runs on, its output gathered."""

    def __init__(self, engine: Engine, *words: str) -> None:
        environment = {**os.environ, "DOCKER_HOST": f"unix://{engine.socket}"}
        self.process = subprocess.Popen(
            [docker_command(), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment, text=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()

    def expect(self, text: str) -> None:
        with self._news:
            found = self._news.wait_for(lambda: any(text in line for line in self.lines), DEADLINE_S)
        assert found, f"no {text!r} in {self.lines[-20:]}"

    def end(self) -> int:
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return code

    def __enter__(self) -> "Following":
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.wait()


def test_run_on_a_terminal(engine: Engine, name: str) -> None:
    terminal = Terminal(engine, "run", "-it", "--rm", "--name", name, "busybox", "sh")
    terminal.expect(b"# ")
    terminal.type(b"stty size; tty\n")
    terminal.expect(b"33 99\r\n/dev/pts/0\r\n")
    termios.tcsetwinsize(terminal.fd, (44, 55))
    os.kill(terminal.pid, signal.SIGWINCH)
    deadline = time.monotonic() + DEADLINE_S
    while b"44 55" not in terminal.seen:
        assert time.monotonic() < deadline
        terminal.type(b"stty size\n")
        terminal.expect(b"\r\n")
        terminal._read(0.1)
    terminal.type(b"exit 4\n")
    assert terminal.end() == 4


def test_detach_and_attach_again(engine: Engine, name: str) -> None:
    try:
        terminal = Terminal(engine, "run", "-it", "--name", name, "busybox", "sh")
        terminal.expect(b"# ")
        terminal.type(b"\x10\x11")
        assert terminal.end() == 0
        assert engine.docker("inspect", "-f", "{{.State.Status}}", name).stdout == "running\n"
        again = Terminal(engine, "attach", "--detach-keys", "ctrl-x,y", name)
        again.type(b"echo a$((1 + 1))b\n")
        again.expect(b"a2b")
        again.type(b"\x18y")
        assert again.end() == 1  # as against dockerd
        assert b"read escape sequence" in again.seen
        last = Terminal(engine, "attach", name)
        last.type(b"exit 6\n")
        assert last.end() == 6
    finally:
        engine.docker("rm", "-f", name)


def test_exec_on_a_terminal(engine: Engine, running: str) -> None:
    terminal = Terminal(engine, "exec", "-it", running, "sh")
    terminal.expect(b"# ")
    terminal.type(b"stty size; exit 5\n")
    terminal.expect(b"33 99")
    assert terminal.end() == 5


def test_exec(engine: Engine, running: str, tmp_path: Path) -> None:
    done = engine.docker("exec", running, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    missing = engine.docker("exec", running, "no-such-program")
    assert (missing.returncode, missing.stdout) == (
        127,
        "OCI runtime exec failed: exec failed: unable to start container process: "
        'exec: "no-such-program": executable file not found in $PATH\n',
    )
    denied = engine.docker("exec", running, "/etc/passwd")
    assert denied.returncode == 126
    data = os.urandom(5_000_000)
    piped = engine.docker("exec", "-i", running, "cat", input=data, text=False)
    assert piped.stdout == data  # type: ignore[comparison-overlap]
    assert engine.docker("exec", "-d", running, "sh", "-c", "echo detached > /tmp/d", check=True).stdout == ""
    as_user = engine.docker("exec", "-u", "1000:1001", "-w", "/tmp", "-e", "A=b c", running, "sh", "-c",
                            'id -u; id -g; pwd; echo "$A"')  # fmt: skip
    assert as_user.stdout == "1000\n1001\n/tmp\nb c\n"


def test_exec_in_a_container_that_does_not_run(engine: Engine, running: str) -> None:
    engine.docker("pause", running, check=True)
    paused = engine.docker("exec", running, "true")
    assert (paused.returncode, paused.stderr) == (
        1, f"Error response from daemon: Container {running} is paused, unpause the container before exec\n",
    )  # fmt: skip
    engine.docker("unpause", running, check=True)
    engine.docker("kill", running, check=True)
    engine.docker("wait", running, check=True)
    identifier = engine.docker("inspect", "-f", "{{.Id}}", running).stdout.strip()
    ended = engine.docker("exec", running, "true")
    assert (ended.returncode, ended.stderr) == (
        1, f"Error response from daemon: container {identifier} is not running\n",
    )  # fmt: skip


def test_stdin_of_run(engine: Engine) -> None:
    data = os.urandom(5_000_000)
    done = engine.docker("run", "-i", "--rm", "--network", "none", "busybox", "cat", input=data, text=False)
    assert (done.returncode, done.stderr) == (0, b"")  # type: ignore[comparison-overlap]
    assert done.stdout == data  # type: ignore[comparison-overlap]


def test_following_logs_over_rotations(engine: Engine, name: str) -> None:
    script = (
        "mkfifo /tmp/go; echo first; read go < /tmp/go; i=0; while [ $i -lt 600 ]; do i=$((i+1)); echo line $i; done"
    )
    engine.docker("run", "-d", "--name", name, "--network", "none", "--log-opt", "max-size=20k", "--log-opt", "max-file=4",
                  "busybox", "sh", "-c", script, check=True)  # fmt: skip
    try:
        with Following(engine, "logs", "-f", name) as logs:
            logs.expect("first")
            engine.docker("exec", name, "sh", "-c", "echo > /tmp/go", check=True)
            assert logs.end() == 0
        assert logs.lines == ["first", *(f"line {number}" for number in range(1, 601))]
        tail = engine.docker("logs", "--tail", "3", name, check=True).stdout
        assert tail == "line 598\nline 599\nline 600\n"
    finally:
        engine.docker("rm", "-f", name)


def test_logs_of_a_driver_that_keeps_none(engine: Engine, name: str) -> None:
    try:
        engine.docker(
            "run", "--name", name, "--network", "none", "--log-driver", "none", "busybox", "echo", "x", check=True
        )
        refused = engine.docker("logs", name)
        assert (refused.returncode, refused.stderr) == (
            1, "Error response from daemon: configured logging driver does not support reading\n",
        )  # fmt: skip
    finally:
        engine.docker("rm", "-f", name)


def test_events_as_they_come(engine: Engine, name: str) -> None:
    with Following(engine, "events", "--filter", f"container={name}", "--format", "{{json .}}") as events:
        deadline = time.monotonic() + DEADLINE_S
        while not events.lines:  # until it follows, which nothing tells
            assert time.monotonic() < deadline
            engine.docker("run", "--rm", "--name", name, "--network", "none", "busybox", "true", check=True)
            time.sleep(0.1)
        events.expect('"Action":"destroy"')
        engine.docker("run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "1000", check=True)
        engine.docker("exec", name, "sh", "-c", "exit 3")
        engine.docker("rm", "-f", name, check=True)
        events.expect('"exitCode":"3"')
        events.expect('"exitCode":"137"')
    found = [json.loads(line) for line in events.lines]
    assert {event["Actor"]["Attributes"]["name"] for event in found} == {name}
    actions = [event["Action"] for event in found]
    start = actions.index("exec_create: sh -c exit 3")
    assert actions[start : start + 3] == ["exec_create: sh -c exit 3", "exec_start: sh -c exit 3", "exec_die"]


def test_stats_and_top(engine: Engine, running: str) -> None:
    stats = engine.docker("stats", "--no-stream", "--format", "{{json .}}", running, check=True).stdout
    shown = json.loads(stats)
    assert shown["Name"] == running
    assert shown["PIDs"] == "1"
    assert shown["MemUsage"].split(" / ")[0] not in ("0B", "--")
    top = engine.docker("top", running, "-o", "pid,args", check=True).stdout.splitlines()
    assert top[0].split() == ["PID", "COMMAND"]
    assert [line.split(None, 1)[1] for line in top[1:]] == ["sleep 1000"]
    assert engine.docker("top", running, "-o", "args").stderr == (
        "Error response from daemon: Couldn't find PID field in ps output\n"
    )
    renamed = engine.docker("top", running, "-eo", "ppid=PID,args")
    assert renamed.returncode == 1


def test_a_client_that_hangs_up_disturbs_nothing(engine: Engine, running: str) -> None:
    for words in (("logs", "-f", running), ("events",), ("stats", running), ("exec", running, "sleep", "1000")):
        with Following(engine, *words) as client:
            time.sleep(0.2)
            client.process.kill()
    assert engine.docker("exec", running, "true").returncode == 0


def test_a_slow_reader_of_logs_does_not_hold_up_others(engine: Engine, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--network", "none", "busybox", "sh", "-c",
                  "yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | head -200000; exec sleep 1000", check=True)  # fmt: skip
    try:
        url = f"http://localhost/v1.51/containers/{name}/logs?stdout=1&follow=1"
        command = ["curl", "-sN", "--unix-socket", str(engine.socket), url]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as stuck:  # its pipe is never read
            for _ in range(5):
                begun = time.monotonic()
                assert engine.docker("version").returncode == 0
                assert time.monotonic() - begun < 30
            whole = engine.docker("logs", "--tail", "10", name, check=True)
            assert whole.stdout
            stuck.kill()
    finally:
        engine.docker("rm", "-f", name)
