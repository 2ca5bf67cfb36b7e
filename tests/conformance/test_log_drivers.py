"""Logging drivers beside real Docker: the same sentence for every bad option, when a container is made and started."""

import json
import re
import socket

import msgspec
import pytest

from tests.engine import Engine
from tests.peers import CommandLine, Docker

UDP = "syslog-address=udp://127.0.0.1:9"
GELF = "gelf-address=udp://127.0.0.1:9"
GELF_TCP = "gelf-address=tcp://127.0.0.1:1"

AT_CREATE: dict[str, list[list[str]]] = {
    "json-file": [
        ["x=y"], ["mode=x"], ["mode="], ["max-buffer-size=1m"], ["mode=non-blocking", "max-buffer-size=x"],
        ["mode=non-blocking", "max-buffer-size=0"], ["cache-disabled=x"], ["cache-disabled=true"], ["cache-foo=1"],
        ["max-size=x"], ["compress=x"], ["tag={{"], ["labels-regex=("],
    ],
    "local": [["x=y"], ["labels=a"], ["tag=x"], ["max-size=x"], ["mode=non-blocking"]],
    "journald": [["x=y"], ["labels=a", "env=b", "tag={{"]],
    "syslog": [
        [], ["x=y"], ["syslog-address=x"], ["syslog-address=udp://127.0.0.1"], ["syslog-address=foo://h:1"],
        ["syslog-address=unix:///nosuch"], ["syslog-facility=foo"], ["syslog-facility=24"], ["syslog-facility=local7"],
        ["syslog-facility=local8"], ["syslog-facility=23"], ["syslog-format=foo"], ["syslog-format=rfc5424micro"],
        ["syslog-tls-skip-verify=x"], ["cache-max-size=x"], ["cache-disabled=true", "cache-max-file=x"],
    ],
    "gelf": [
        [], ["x=y"], [GELF, "x=y"], ["gelf-address=x"], ["gelf-address=http://h:1"], ["gelf-address=udp://h"],
        [GELF, "gelf-compression-type=x"], [GELF, "gelf-compression-level=x"], [GELF, "gelf-compression-level=10"],
        [GELF, "gelf-tcp-max-reconnect=1"], [GELF, "gelf-tcp-reconnect-delay=x"],
        [GELF_TCP, "gelf-compression-type=gzip"], [GELF_TCP, "gelf-tcp-max-reconnect=x"],
        [GELF_TCP, "gelf-tcp-reconnect-delay=-1"], ["gelf-address=udp://127.0.0.1:1/path"],
    ],
    "fluentd": [
        [], ["x=y"], ["fluentd-address=x"], ["fluentd-address=x:y"], ["fluentd-address=http://h:1"],
        ["fluentd-address=unix://"], ["fluentd-address=tcp://127.0.0.1:99999"], ["fluentd-address=tcp://h:1/path"],
        ["fluentd-async=x"], ["fluentd-async-connect=true"], ["fluentd-async-reconnect-interval=x"],
        ["fluentd-async-reconnect-interval=1ms"], ["fluentd-async-reconnect-interval=11s"],
        ["fluentd-async-reconnect-interval=500ms"], ["fluentd-buffer-limit=x"], ["fluentd-max-retries=x"],
        ["fluentd-max-retries=-1"], ["fluentd-request-ack=x"], ["fluentd-retry-wait=x"],
        ["fluentd-sub-second-precision=x"], ["fluentd-write-timeout=x"], ["fluentd-write-timeout=-1s"],
        ["fluentd-write-timeout=1.5h30m"],
    ],
    "nosuch": [[], ["x=y"]],
}  # fmt: skip
AT_START: dict[str, list[list[str]]] = {
    "json-file": [
        ["max-size=x"], ["max-size=-1"], ["max-size=0"], ["max-file=0"], ["max-file=x"], ["compress=x"],
        ["compress=true"], ["compress=true", "max-size=1m"], ["compress=true", "max-size=1m", "max-file=3"],
        ["tag={{"], ["tag={{.Nope}}"],
    ],
    "local": [
        ["max-size=x"], ["max-size=-1"], ["max-size=0"], ["max-file=0"], ["max-file=x"], ["compress=x"],
        ["compress=true", "max-file=1"], ["compress=false", "max-file=1"],
    ],
    "journald": [[]],
    "syslog": [
        ["syslog-address=tcp://127.0.0.1:1"], ["syslog-address=tcp+tls://127.0.0.1:1", "syslog-tls-ca-cert=/nosuch"],
        [UDP, "tag={{"], [UDP], ["syslog-address=unix:///nosuch"],
    ],
    "gelf": [[GELF_TCP], [GELF]],
    "fluentd": [
        [], ["fluentd-address=127.0.0.1:1"], ["fluentd-address=tcp://127.0.0.1"], ["fluentd-address=unix:///nosuch"],
        ["fluentd-address=tls://127.0.0.1:1"], ["fluentd-async=true"],
    ],
}  # fmt: skip


def _words(driver: str, options: list[str]) -> list[str]:
    return ["--log-driver", driver, *(word for option in options for word in ("--log-opt", option))]


@pytest.mark.parametrize("driver", AT_CREATE)
def test_options_when_a_container_is_made(engine: Engine, peer: Docker, name: str, driver: str) -> None:
    for options in AT_CREATE[driver]:
        said = []
        for docker in (engine.docker, peer):
            done = docker("create", "--name", name, *_words(driver, options), "busybox", "true")
            docker("rm", "-f", name)
            said.append((done.returncode, done.stderr))
        assert said[0] == said[1], options


@pytest.mark.parametrize("driver", AT_START)
def test_options_when_a_container_starts(engine: Engine, peer: Docker, name: str, driver: str) -> None:
    for options in AT_START[driver]:
        said = []
        for docker in (engine.docker, peer):
            try:
                done = docker("run", "--name", name, "--network", "none", *_words(driver, options), "busybox", "true")
                state = docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}", name)
                said.append((done.returncode, done.stderr, state.stdout))
            finally:
                docker("rm", "-f", name)
        assert said[0] == said[1], options


def test_what_inspect_and_info_say_of_drivers(engine: Engine, peer: Docker, name: str) -> None:
    """The chosen options; the path of a log that other programs may read."""
    for words in (["--log-opt", "max-size=1m"], ["--log-driver", "local"], _words("syslog", [UDP, "tag=a"])):
        seen = []
        for docker in (engine.docker, peer):
            try:
                docker("run", "--name", name, "--network", "none", *words, "busybox", "true", check=True)
                log = docker("inspect", "-f", "{{json .HostConfig.LogConfig}} {{.LogPath}}", name).stdout.strip()
                config, _, path = log.rpartition(" ")
                seen.append((config, path.rpartition("-")[2]))
            finally:
                docker("rm", "-f", name)
        assert seen[0] == seen[1], words
    ours, theirs = (
        set(docker("info", "-f", '{{join .Plugins.Log " "}}').stdout.split()) for docker in (engine.docker, peer)
    )
    assert theirs - ours == {"awslogs", "splunk"}, "clouds' own drivers are refused in a sentence"
    assert ours <= theirs


def test_the_tag_and_chosen_attributes(engine: Engine, peer: Docker, name: str) -> None:
    tag = (
        "{{.Name}}|{{.ImageName}}|{{.ImageID}}|{{len .FullID}}|{{len .ID}}|{{.DaemonName}}|{{.Command}}|"
        '{{index .ContainerLabels "one"}}'
    )
    words = _words("json-file", [f"tag={tag}", "labels=one,none", "env=A", "env-regex=^B", "labels-regex=^t.o$"])
    words += [
        "--label",
        "one=1 <&>",
        "--label",
        "two=é",
        "--label",
        "three=3",
        "-e",
        "A=a b",
        "-e",
        "B1=b",
        "-e",
        "C=c",
    ]
    said = []
    for docker in (engine.docker, peer):
        try:
            docker("run", "--name", name, "--network", "none", *words, "busybox", "echo", "hello", check=True)
            said.append(docker("logs", "--details", name, check=True).stdout)
        finally:
            docker("rm", "-f", name)
    ours, theirs = (text.replace(identity(engine.docker), "IMAGE").replace(identity(peer), "IMAGE") for text in said)
    assert ours == theirs


def identity(docker: CommandLine) -> str:
    """The image's ID as a tag shows it, escaped as `--details` does."""
    return docker("image", "inspect", "-f", "{{.Id}}", "busybox", check=True).stdout[:12].replace(":", "%3A")


SAYS = "echo hello; echo; head -c 20000 /dev/zero | tr '\\0' x; echo; printf 'é no end'"
SERVED = {
    "syslog": ["syslog-address=udp://127.0.0.1:%d"],
    "rfc3164": ["syslog-address=udp://127.0.0.1:%d", "syslog-format=rfc3164"],
    "rfc5424": ["syslog-address=udp://127.0.0.1:%d", "syslog-format=rfc5424"],
    "rfc5424micro": ["syslog-address=udp://127.0.0.1:%d", "syslog-format=rfc5424micro", "syslog-facility=local3"],
    "gelf": ["gelf-address=udp://127.0.0.1:%d", "gelf-compression-type=none", "labels=l", "env=A"],
    "fluentd": ["fluentd-address=127.0.0.1:%d", "fluentd-sub-second-precision=true", "labels=l"],
}


def _normal(text: str) -> str:
    """Without what differs from one container, process and moment to the next."""
    for pattern, word in (
        (r"\b[0-9a-f]{64}\b", "ID"), (r"\b[0-9a-f]{12}\b", "SHORT"), (r"\[\d+\]:", "[PID]:"), (r"SHORT \d+ ", "SHORT PID "),
        (r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d", "TIME"), (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", "MICRO"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "NANO"), (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "SECOND"),
        (r'"_created": "[^"]*"', '"_created": C'),
        (r'"timestamp": \d+(\.\d+)?', '"timestamp": T'),
    ):  # fmt: skip
        text = re.sub(pattern, word, text)
    return text


def _datagrams(server: socket.socket, count: int) -> list[str]:
    whole: list[bytes] = []
    chunks: dict[bytes, dict[int, bytes]] = {}
    while len(whole) < count:
        data = server.recv(65536)
        if data[:2] != b"\x1e\x0f":
            whole.append(data)
            continue
        parts = chunks.setdefault(data[2:10], {})
        parts[data[10]] = data[12:]
        if len(parts) == data[11]:
            whole.append(b"".join(parts[n] for n in range(len(parts))))
    texts = [data.decode() for data in whole]
    return [json.dumps(json.loads(text), sort_keys=True) if text.startswith("{") else text for text in texts]


def _forwarded(server: socket.socket, count: int) -> list[str]:
    client, _ = server.accept()
    with client:
        client.settimeout(60)
        found: list[str] = []
        data = b""
        while len(found) < count:
            data += client.recv(65536)
            size = 1
            while size <= len(data):
                try:
                    tag, _, record, options = msgspec.msgpack.decode(data[:size], ext_hook=lambda code, value: code)
                except msgspec.DecodeError:
                    size += 1
                    continue
                found.append(json.dumps([tag, record, options], sort_keys=True))
                data, size = data[size:], 1
        return found


@pytest.mark.parametrize("kind", SERVED)
def test_what_arrives_at_a_server(engine: Engine, peer: Docker, name: str, kind: str) -> None:
    stream = kind == "fluentd"
    driver = kind if kind in ("gelf", "fluentd") else "syslog"
    arrived = []
    for docker in (engine.docker, peer):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.settimeout(60)
            if stream:
                server.listen()
            options = [option % server.getsockname()[1] if "%d" in option else option for option in SERVED[kind]]
            try:
                docker("run", "-d", "--name", name, "--network", "none", *_words(driver, options), "--label", "l=1 <&>",
                       "-e", "A=b", "busybox", "sh", "-c", SAYS, check=True)  # fmt: skip
                found = _forwarded(server, 5) if stream else _datagrams(server, 4)
            finally:
                docker("rm", "-f", name)
            arrived.append([_normal(text.replace(full_identity(docker), "IMAGE")) for text in found])
    assert arrived[0] == arrived[1]


def full_identity(docker: CommandLine) -> str:
    return docker("image", "inspect", "-f", "{{.Id}}", "busybox", check=True).stdout.strip()
