"""`onggi` and the stock `docker` say the same, command by command, against the same real dockerd; and send the same."""

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import docker_recording
from tests.cli import SCRIPT, reference
from tests.engine import Engine
from tests.peers import docker_command, peer_socket

NAME = f"parity-{os.getpid()}"
DEADLINE_S = 60

COMMANDS = """
run -d --network none --name {n} -v /vol -e A=b -l x=y {image} sleep 1000
inspect -f '{{.State.Running}} {{.Config.Cmd}} {{.Config.Labels}} {{json .Config.Volumes}} {{.HostConfig.PortBindings}}' {n}
inspect -f '{{range .Mounts}}{{.Destination}} {{end}}{{json .State.Running}}' {n}
inspect -f '{{.Foo}}' {n}
inspect -f '{{.Config.Labels.nope}}' {n}
inspect -f '{{index .Config.Labels "x"}}|{{index .Config.Labels "q"}}' {n}
inspect -f '{{.HostConfig.PidsLimit}} {{.Config.Entrypoint}} {{.State.Health}} {{.HostConfig.LogConfig}}' {n}
inspect -f '{{.NetworkSettings.Networks.nope.IPAddress}}' {n}
inspect -f '{{.Foo' {n}
inspect {n}
inspect {n} nosuch -f '{{.Name}}'
inspect --type container nosuch
inspect --type foo x
inspect --type image {n}
container inspect -s {n} -f '{{.SizeRw}}'
image inspect {image}
image inspect nosuch
ps -a --filter name={n}
ps -a --filter name={n} --no-trunc
ps -a --filter name={n} -s
ps -a --filter name={n} --format '{{.Names}} {{.Label "x"}} {{.Ports}} {{.Networks}} {{.LocalVolumes}} {{.State}}'
ps -a --filter name={n} --format 'table {{.Names}}\\t{{.Label "x"}}\\t{{.RunningFor}}'
ps -a --filter name={n} --format json
ps --filter foo=bar
ps --format '{{.Foo}}'
ps --format '{{.ID'
exec {n} sh -c 'echo a; exit 5'
exec {n} nosuch
exec -w /tmp -e FOO=bar -u 1 {n} sh -c 'pwd; echo $FOO; id -u'
exec nosuch true
exec -it {n} true
port {n} 81
logs --tail x {n}
logs nosuch
logs --since foo {n}
diff {n}
rename {n} {n}
pause {n}
ps -a --filter name={n} --format '{{.Status}}'
unpause {n}
unpause {n}
update --memory 64m --memory-swap 128m {n}
update {n}
kill -s FOO {n}
restart -t 0 {n}
stop -t 0 {n}
stop -t 0 {n} nosuch
start {n}
start nosuch {n} nosuch2
attach nosuch
rm {n}
rm -f -v {n}
rm -f nosuch-{n}
rm nosuch nosuch2
run --rm --name {n} {image} echo hi
run --rm --network none {image} sh -c 'echo o; exit 7'
run --rm --network none {image} sh -c 'echo e >&2'
run --rm --network none {image} nosuch
run --rm --network none {image} /etc
run --rm --network none -t {image} echo hi
run --rm -it {image} true
run --rm --pull never nosuch-{n} true
run --rm --pull foo {image} true
run --rm Busy/X true
run --rm -d -a stdin {image} true
run --rm --restart always {image} true
run --rm --network nosuch {image} true
run --rm --memory 1 {image} true
run --rm --network none --user nosuch {image} true
run --rm --network none -e X=1 -e Y {image} printenv X
run --rm --network none --entrypoint echo {image} a b
create --network none --name {n} {image} false
create --network none --name {n} {image} false
start -a {n}
start -a -i {n} {n}
attach {n}
rm {n}
images {image}
images --no-trunc {image}
images {image} --format json
images -f foo=bar
history {image}
history nosuch
tag {image} {n}:x
rmi {n}:x
rmi nosuch
rmi -f nosuch
pull -a nosuch:x
pull Busy
save -o /tmp {image}
save -o /nonexistent/a {image}
load -i /nonexistent
network create {n}
network create {n}
network create --subnet 10.99.0.0/24 --gateway 10.99.1.1 {n}3
network inspect {n} -f '{{.Name}} {{.Driver}} {{.Options}} {{.Labels}} {{.Internal}} {{.Containers}}'
network ls --filter name={n}
network ls --format json --filter name=host
network inspect nosuch
network connect {n} nosuch
network rm {n}
network rm nosuch
volume create {n}
volume create --label a=b -o type=tmpfs -o device=tmpfs {n}x
volume ls --filter name={n}
volume ls --filter name={n} --format json
volume inspect {n}
volume inspect {n}x -f '{{.Name}} {{.Options}} {{.Labels}}'
volume rm {n} {n}x
volume rm nosuch
volume create bad/name
container prune -f --filter label={n}
container prune --filter label={n}
network prune -f --filter label={n}
volume prune -f --filter label={n}
image prune -f --filter label={n}
system prune --volumes -f --filter until=1h
info -f '{{.OSType}} {{.NCPU}} {{.Driver}}'
info -f '{{.Foo}}'
version -f '{{.Server.Version}} {{.Server.Os}}'
version -f '{{.Foo}}'
events --since foo
stats --no-stream nosuch
top nosuch
port nosuch
cp a b
cp a:/a b:/b
commit nosuch
export nosuch
logout h.example.com
login 127.0.0.1:1
context show
context inspect nosuch
context rm nosuch
ps --foo
ps x
rm
port a b c
foo
container foo
"""

_CHANGING = (
    (r"\b[0-9a-f]{64}\b", "ID64"),
    (r"\b[0-9a-f]{12}\b", "ID12"),
    (r"\d+ (seconds?|minutes?|hours?)|Less than a second|About a minute|About an hour", "TIME"),
    (r"\d\d:\d\d:\d\d(\.\d+)?", "TIME"),
    (r'"Pid": \d+|/proc/\d+', "PID"),
    (r'"CreatedAt":"[^"]*"', "CREATED"),
    (r"\d+\.\d+\.\d+\.\d+", "ADDRESS"),
    (r'"(Mounts|Containers)":"[^"]*"', "OTHERS"),
    (r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", "MAC"),
    (r" {2,}", "  "),
    (r"[Dd]ocker", "onggi"),
)  # fmt: skip


def _plain(text: str, name: str) -> str:
    text = text.replace(name, "NAME")
    for pattern, word in _CHANGING:
        text = re.sub(pattern, word, text)
    return text


@pytest.fixture(scope="module")
def image(busybox_tar: Path) -> Iterator[str]:
    """busybox, in the real dockerd, under a name of this process."""
    name = f"{NAME}-image:latest"
    environment = os.environ | {"DOCKER_HOST": f"unix://{peer_socket()}"}

    def docker(*words: str) -> None:
        subprocess.run([docker_command(), *words], env=environment, check=True, capture_output=True)

    docker("load", "-i", str(busybox_tar))
    docker("tag", "busybox:latest", name)
    yield name
    left = subprocess.run([docker_command(), "ps", "-aq", "--filter", f"ancestor={name}"], env=environment, check=True,
                          capture_output=True, text=True).stdout.split()  # fmt: skip
    if left:
        docker("rm", "-f", *left)
    docker("rmi", "-f", name)


def _environment(socket: Path | None = None) -> dict[str, str]:
    return os.environ | {"DOCKER_HOST": f"unix://{socket or peer_socket()}", "ONGGI_AUTOSTART": "0",
                         "DOCKER_CONFIG": "/nonexistent"}  # fmt: skip


def _differences(socket: Path, image: str) -> list[str]:
    """What the two clients say differently of one engine. In order: the commands make, use and remove one container,
    network and volume each."""

    def said(command: str, line: str, name: str) -> tuple[int, str, str]:
        words = [word.replace("{n}", name).replace("{image}", image) for word in shlex.split(line)]
        done = subprocess.run([command, *words], capture_output=True, text=True, env=_environment(socket),
                              timeout=DEADLINE_S, check=False, stdin=subprocess.DEVNULL)  # fmt: skip
        return done.returncode, _plain(done.stdout, name), _plain(done.stderr, name)

    found = []
    for line in COMMANDS.strip().splitlines():
        theirs, ours = said(docker_command(), line, f"{NAME}-d"), said(str(SCRIPT), line, f"{NAME}-o")
        if theirs != ours:
            found.append(f"{line}\n  docker: {theirs}\n  onggi:  {ours}")
    return found


def test_both_say_the_same_of_dockerd(image: str) -> None:
    differences = _differences(peer_socket(), image)
    assert not differences, "\n".join(differences)


def test_both_say_the_same_of_our_engine(engine: Engine, busybox: str) -> None:
    differences = _differences(engine.socket, busybox)
    assert not differences, "\n".join(differences)


@pytest.mark.parametrize("path", sorted(reference(docker_recording.HELP)))
def test_the_recorded_help_is_dockers(path: str) -> None:
    assert docker_recording.help_text(docker_command(), path) == reference(docker_recording.HELP)[path]


def test_the_recorded_requests_are_dockers() -> None:
    """A tenth of them: the whole is recorded anew by `python -m tests.docker_recording`."""
    import json

    recorded = reference(docker_recording.CREATE)
    assert docker_recording.created(docker_command(), '["x"]')["body"] == recorded["bare"]
    for line in recorded["lines"][::10]:
        theirs = docker_recording.created(docker_command(), json.dumps(line["words"]))
        ours = docker_recording.created(str(SCRIPT), json.dumps(line["words"]))
        if "message" in theirs:
            theirs["message"] = theirs["message"].replace("docker: ", "onggi: ", 1)
        assert ours == theirs, line["words"]


# --- terminals and signals ---


class Typist:
    """A command line on a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.master, slave = pty.openpty()
        os.set_blocking(self.master, False)
        self.process = subprocess.Popen([str(SCRIPT), *words], stdin=slave, stdout=slave, stderr=slave,
                                        env=_environment(), start_new_session=True)  # fmt: skip
        os.close(slave)
        self.seen = b""

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def expect(self, text: bytes) -> None:
        end = time.monotonic() + DEADLINE_S
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} did not come: {self.seen!r}"
            self.seen += os.read(self.master, 65536)
        self.seen = self.seen.partition(text)[2]

    def close(self) -> None:
        os.close(self.master)
        self.process.wait(DEADLINE_S)


def test_a_shell_on_a_terminal_detach_and_attach(image: str) -> None:
    name = f"{NAME}-tty"
    shell = Typist("run", "--rm", "-it", "--network", "none", "--name", name, image, "sh")
    shell.expect(b"# ")
    shell.type(b"echo $((40 + 2))\n")
    shell.expect(b"42\r\n")
    shell.type(b"echo beg''un; sleep 1000\n")
    shell.expect(b"begun\r\n")
    shell.type(b"\x03")
    shell.expect(b"# ")
    shell.type(b"\x10\x11")
    assert shell.process.wait(DEADLINE_S) == 0
    shell.close()
    again = Typist("attach", name)
    again.type(b"exit 9\n")
    assert again.process.wait(DEADLINE_S) == 9
    again.close()


def test_a_signal_goes_to_the_container(image: str) -> None:
    script = "trap 'echo got; exit 8' TERM; echo ready; while :; do sleep 0.1; done"
    command = [str(SCRIPT), "run", "--rm", "--network", "none", image, "sh", "-c", script]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=_environment())  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=DEADLINE_S)[0] == b"got\n"
    assert process.returncode == 8


def test_input_goes_in_and_its_end_too(image: str) -> None:
    command = [str(SCRIPT), "run", "-i", "--rm", "--network", "none", image, "wc", "-c"]
    done = subprocess.run(command, input=bytes(300_000), env=_environment(), capture_output=True, timeout=DEADLINE_S,
                          check=True)  # fmt: skip
    assert done.stdout.strip() == b"300000"


def test_much_output_arrives_whole(image: str) -> None:
    command = [str(SCRIPT), "run", "--rm", "--network", "none", image, "seq", "200000"]
    done = subprocess.run(command, env=_environment(), capture_output=True,
                          timeout=DEADLINE_S, check=True)  # fmt: skip
    assert done.stdout == b"".join(b"%d\n" % number for number in range(1, 200001))


def test_interrupting_a_stream_ends_it() -> None:
    process = subprocess.Popen([str(SCRIPT), "events"], stdout=subprocess.PIPE, env=_environment())
    name = f"{NAME}-event"
    subprocess.run([str(SCRIPT), "volume", "create", name], env=_environment(), check=True, capture_output=True)
    subprocess.run([str(SCRIPT), "volume", "rm", name], env=_environment(), check=True, capture_output=True)
    assert process.stdout is not None
    while name.encode() not in process.stdout.readline():
        subprocess.run([str(SCRIPT), "volume", "create", name], env=_environment(), check=True, capture_output=True)
        subprocess.run([str(SCRIPT), "volume", "rm", name], env=_environment(), check=True, capture_output=True)
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_S) == 130
    process.stdout.close()


MESSAGES = """
{"status":"Pulling from library/x","id":"1"}
{"status":"Pulling fs layer","progressDetail":{},"id":"aaaaaaaaaaaa"}
{"status":"Pulling fs layer","progressDetail":{},"id":"bbbbbbbbbbbb"}
{"status":"Waiting","progressDetail":{},"id":"bbbbbbbbbbbb"}
{"status":"Downloading","progressDetail":{"current":532,"total":50176},"progress":"[>  ]","id":"aaaaaaaaaaaa"}
{"status":"Downloading","progressDetail":{"current":25088,"total":50176},"id":"aaaaaaaaaaaa"}
{"status":"Downloading","progressDetail":{"current":60000,"total":50176},"id":"aaaaaaaaaaaa"}
{"status":"Downloading","progressDetail":{"current":12345},"id":"bbbbbbbbbbbb"}
{"status":"Extracting","progressDetail":{"current":3,"units":"s"},"id":"bbbbbbbbbbbb"}
{"status":"Verifying Checksum","progressDetail":{},"id":"aaaaaaaaaaaa"}
{"status":"Pull complete","progressDetail":{},"id":"aaaaaaaaaaaa"}
{"status":"Already exists","progressDetail":{},"id":"cccccccccccc"}
{"status":"Digest: sha256:1234"}
{"status":"Status: Downloaded newer image for x:1"}
"""


def _on_a_terminal(command: str, columns: int, *words: str) -> bytes:
    import fcntl
    import struct
    import termios

    with docker_recording.recorder() as server:
        server.answers["/images/create"] = MESSAGES.strip().replace("\n", "\r\n").encode()
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        process = subprocess.Popen([command, *words], stdin=slave, stdout=slave, stderr=slave,
                                   env=docker_recording.environment(str(server.server_address)))  # fmt: skip
        os.close(slave)
        seen = b""
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:  # the terminal's last user has gone
                break
            seen += data
        os.close(master)
        assert process.wait(DEADLINE_S) == 0
        return seen


@pytest.mark.parametrize("columns", [200, 100, 40])
@pytest.mark.parametrize("words", [["pull", "x:1"], ["create", "--pull", "always", "x:1"]], ids=["pull", "create"])
def test_progress_bars_are_dockers_to_the_byte(columns: int, words: list[str]) -> None:
    ours = _on_a_terminal(str(SCRIPT), columns, *words)
    assert ours == _on_a_terminal(docker_command(), columns, *words)
