"""Pull, push and login through the daemon, by the stock docker command line; killed daemons and clients that hang up."""

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from aiohttp import web

from tests.engine import Engine
from tests.hostile_registry import HostileRegistry
from tests.http import UnixConnection
from tests.images import busybox_layer
from tests.peers import docker_command
from tests.registry import PushedImage, Registry, TokenServer, layer_of, push_busybox, push_image

PATIENCE_S = 90


class HalfRegistry:
    """A registry in a thread of its own, whose last layer stops half-way until `open` is called."""

    def __init__(self) -> None:
        self.registry = HostileRegistry()
        self.half_sent = threading.Event()
        self.client_left = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._opened = asyncio.Event()

    def _call(self, work: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self.registry.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self.open()
        self._call(self.registry.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)

    def open(self) -> None:
        self._loop.call_soon_threadsafe(self._opened.set)

    def add_image(self) -> PushedImage:
        layers = [busybox_layer(), layer_of({"big": os.urandom(8_000_000)})]
        image = self.registry.add_image("half/app", "1", layers)
        path = f"/v2/half/app/blobs/{image.layers[1]}"
        content = self.registry.documents[path][0]

        async def reply(request: web.Request) -> web.StreamResponse:
            start = int(request.headers.get("Range", "bytes=0-")[6:-1])
            response = web.StreamResponse(status=206 if start else 200)
            if start:
                response.headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            response.content_length = len(content) - start
            await response.prepare(request)
            if not self._opened.is_set():
                await response.write(content[start : len(content) // 2])
                self.half_sent.set()
                try:
                    while not self._opened.is_set():
                        await asyncio.sleep(0.05)  # a peer that has gone shows in the transport alone
                        if request.transport is None or request.transport.is_closing():
                            raise ConnectionResetError
                except (ConnectionResetError, asyncio.CancelledError):
                    self.client_left.set()
                    raise
                start = max(start, len(content) // 2)
            await response.write(content[start:])
            return response

        self.registry.replies["GET", path] = reply
        return image

    def ranges(self, image: PushedImage) -> list[str | None]:
        path = f"/v2/half/app/blobs/{image.layers[1]}"
        return [headers.get("Range") for _, asked, headers in self.registry.requests if asked == path]


@pytest.fixture
def half() -> Iterator[HalfRegistry]:
    with HalfRegistry() as registry:
        yield registry


@pytest.fixture
def remove(engine: Engine) -> Iterator[Callable[[str], str]]:
    """Call it with an image's name to have that removed in the end."""
    names: list[str] = []

    def later(name: str) -> str:
        names.append(name)
        return name

    yield later
    for name in names:
        engine.docker("rmi", "-f", name)


def ask(server: Path, method: str, path: str) -> tuple[int, list[Any]]:
    """Status and lines of a reply of the API."""
    connection = UnixConnection(server, timeout_s=PATIENCE_S)
    connection.request(method, path)
    response = connection.getresponse()
    lines = [json.loads(line) for line in response.read().splitlines()]
    connection.close()
    return response.status, lines


def parts(engine: Engine) -> list[int]:
    """The sizes of ingests: what downloads that broke off have left."""
    return [path.stat().st_size for path in (engine.data_root / "content" / "ingest").iterdir()]


def test_pull_run_push(engine: Engine, registry: Registry, remove: Callable[[str], str]) -> None:
    pushed = push_busybox(registry.host, "cli/busybox", "1")
    name, copy = remove(f"{registry.host}/cli/busybox:1"), remove(f"{registry.host}/cli/copy:2")
    layer = pushed.layers[0].removeprefix("sha256:")[:12]
    done = engine.docker("pull", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "1: Pulling from cli/busybox",
        *(
            f"{layer}: {state}"
            for state in ("Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete")
        ),
        f"Digest: {pushed.digest}",
        f"Status: Downloaded newer image for {name}",
        name,
    ]
    done = engine.docker("run", "--rm", name, "echo", "from a registry")
    assert (done.returncode, done.stdout, done.stderr) == (0, "from a registry\n", "")
    engine.docker("tag", name, copy, check=True)
    done = engine.docker("push", copy)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"The push refers to repository [{registry.host}/cli/copy]"
    assert done.stdout.splitlines()[-1].startswith(f"2: digest: {pushed.digest} size: ")
    engine.docker("rmi", name, copy, check=True)
    assert engine.docker("pull", "-q", copy).stdout == f"{copy}\n"
    digests = engine.docker("image", "inspect", "--format", "{{.Id}} {{.RepoDigests}}", copy).stdout
    assert digests == f"{pushed.image_id} [{registry.host}/cli/copy@{pushed.digest}]\n"


def test_memory_stays_flat(engine: Engine, registry: Registry, remove: Callable[[str], str]) -> None:
    """Eight layers of 20 MB: none of them is ever in the daemon's memory, nor are all that are under way."""
    layers = [layer_of({f"f{number}": os.urandom(20_000_000)}) for number in range(8)]
    push_image(registry.host, "cli/flat", "1", layers, compression="none")
    process = Path(f"/proc/{engine.pid}")

    def peak() -> int:
        return int(process.joinpath("status").read_text().split("VmHWM:")[1].split()[0]) * 1024

    process.joinpath("clear_refs").write_text("5")  # the peak begins anew
    before = peak()
    engine.docker("pull", "-q", remove(f"{registry.host}/cli/flat:1"), check=True)
    assert peak() - before < 60_000_000


def test_login_and_private_images(engine: Engine, tmp_path: Path, remove: Callable[[str], str]) -> None:
    with TokenServer(tmp_path / "tokens", {"alice": "secret"}) as tokens:
        with Registry(tmp_path / "registry", tokens=tokens) as registry:
            token = tokens.sign("alice", "onggi-test", ["repository:private/app:pull,push"])
            push_image(registry.host, "private/app", "1", [layer_of({"a": b"b"})], authorization=f"Bearer {token}")
            environment = os.environ | {
                "DOCKER_CONFIG": str(tmp_path / "config"),
                "DOCKER_HOST": f"unix://{engine.socket}",
            }

            def docker(*words: str, answer: str = "") -> "subprocess.CompletedProcess[str]":
                return subprocess.run(
                    [docker_command(), *words], input=answer, capture_output=True, text=True, check=False,
                    env=environment, timeout=PATIENCE_S,
                )  # fmt: skip

            name = remove(f"{registry.host}/private/app:1")
            done = docker("pull", name)
            assert done.returncode == 1
            assert done.stderr == (
                f"Error response from daemon: pull access denied for {registry.host}/private/app, repository does not "
                "exist or may require 'docker login': denied: requested access to the resource is denied\n"
            )
            login = ["login", "-u", "alice", "--password-stdin", registry.host]
            done = docker(*login, answer="wrong")
            assert done.returncode == 1
            words = f'Get "http://{registry.host}/v2/": unauthorized: incorrect username or password'
            assert done.stderr == f"Error response from daemon: {words}\n"
            done = docker(*login, answer="secret")
            assert done.returncode == 0
            assert "Login Succeeded" in done.stdout
            assert docker("pull", "-q", name).stdout == f"{name}\n"
            log = engine.log.read_text()
            assert "secret" not in log
            assert "YWxpY2U6" not in log


def test_search(engine: Engine, registry: Registry) -> None:
    push_image(registry.host, "cli/sought-after", "1", [])
    done = engine.docker("search", "--format", "{{.Name}}", f"{registry.host}/sought-after")
    assert (done.returncode, done.stdout, done.stderr) == (0, "cli/sought-after\n", "")


def test_import_from_a_url(engine: Engine, half: HalfRegistry, remove: Callable[[str], str]) -> None:
    """The root of a file system from the web; what is not there is said before anything else."""
    tar = layer_of({"imported": b"x" * 3_000_000})
    half.registry.add_document("/root.tar", tar, "application/x-tar")
    url, name = f"http://{half.registry.host}/root.tar", remove("imported:1")
    status, lines = ask(engine.socket, "POST", f"/images/create?fromSrc={url}&repo=imported&tag=1")
    assert status == 200
    assert lines[0] == {"status": f"Downloading from {url}"}
    assert lines[-2]["status"] == "Importing"
    assert lines[-2]["progressDetail"] == {"current": len(tar), "total": len(tar)}
    identity = engine.docker("image", "inspect", "--format", "{{.Id}}", name).stdout.strip()
    assert lines[-1] == {"status": identity}
    status, lines = ask(engine.socket, "POST", "/images/create?fromSrc=http://127.0.0.1:1/x&repo=imported")
    assert (status, lines) == (
        500, [{"message": 'Get "http://127.0.0.1:1/x": dial tcp 127.0.0.1:1: connect: connection refused'}],
    )  # fmt: skip
    status, lines = ask(engine.socket, "POST", "/images/create?fromSrc=file:///etc/passwd&repo=imported")
    assert (status, lines) == (400, [{"message": "'file:///etc/passwd' is no URL that can be fetched"}])


def test_client_that_hangs_up_ends_its_pull(engine: Engine, half: HalfRegistry, remove: Callable[[str], str]) -> None:
    image = half.add_image()
    name = remove(f"{half.registry.host}/half/app:1")
    client = subprocess.Popen(
        [docker_command(), "pull", name], env=os.environ | {"DOCKER_HOST": f"unix://{engine.socket}"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert half.half_sent.wait(PATIENCE_S)
    client.send_signal(signal.SIGINT)
    client.wait(PATIENCE_S)
    assert half.client_left.wait(PATIENCE_S)
    assert engine.docker("images", "-q", name).stdout == ""
    half.open()
    engine.docker("pull", name, check=True)
    assert len(half.ranges(image)) == 2
    assert engine.docker("run", "--rm", name, "ls", "/big").stdout == "/big\n"


def test_killed_daemon_goes_on_within_the_layer(own_engine: Engine, half: HalfRegistry) -> None:
    """kill -9 half-way: nothing is visible, and the next pull asks for the rest only."""
    image = half.add_image()
    name = f"{half.registry.host}/half/app:1"
    client = subprocess.Popen(
        [docker_command(), "pull", name], env=os.environ | {"DOCKER_HOST": f"unix://{own_engine.socket}"},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert half.half_sent.wait(PATIENCE_S)
    assert client.stdout is not None
    for line in client.stdout:  # until the whole layer is here, so that there is one to be kept
        if line.startswith(image.layers[0].removeprefix("sha256:")[:12]) and "Pull complete" in line:
            break
    own_engine.kill()
    client.communicate(timeout=PATIENCE_S)
    kept = max(parts(own_engine), default=0)
    own_engine.start()
    assert own_engine.docker("images", "-q", name).stdout == ""
    half.open()
    half.registry.requests.clear()
    own_engine.docker("pull", name, check=True)
    assert half.ranges(image) == [f"bytes={kept}-" if kept else None]
    first = f"/v2/half/app/blobs/{image.layers[0]}"
    assert first not in half.registry.paths()
    assert own_engine.docker("run", "--rm", name, "ls", "/big").stdout == "/big\n"
    assert parts(own_engine) == []


def test_daemon_killed_at_any_moment_leaves_all_or_nothing(own_engine: Engine, registry: Registry) -> None:
    """After each restart the image is whole or absent, and in the end nothing of it is left."""
    layers = [busybox_layer(), *(layer_of({f"f{n}-{k}": os.urandom(20_000) for k in range(50)}) for n in range(5))]
    push_image(registry.host, "cli/killed", "1", layers)
    name = f"{registry.host}/cli/killed:1"
    chance = random.Random(time.time_ns())
    for _ in range(5):
        client = subprocess.Popen(
            [docker_command(), "pull", "-q", name], env=os.environ | {"DOCKER_HOST": f"unix://{own_engine.socket}"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        moment = chance.uniform(0, 0.6)
        print(f"killed after {moment:.3f} s")
        time.sleep(moment)  # a moment like any other: none is waited for
        own_engine.kill()
        client.wait(PATIENCE_S)
        own_engine.start()
        if own_engine.docker("images", "-q", name).stdout:
            done = own_engine.docker("run", "--rm", name, "ls", "/f4-49")
            assert (done.returncode, done.stdout) == (0, "/f4-49\n"), done.stderr
            own_engine.docker("rmi", name, check=True)
    own_engine.docker("pull", "-q", name, check=True)
    own_engine.docker("run", "--rm", name, "ls", "/f4-49", check=True)
    own_engine.docker("rmi", name, check=True)
    assert parts(own_engine) == []


def test_full_disk_is_said_and_leaves_nothing(tmp_path: Path, registry: Registry, busybox_tar: Path) -> None:
    """A data root of 40 MB: the pull fails in words, what is there goes on, and there is room again."""
    repository = f"{registry.host}/cli/large"
    push_image(registry.host, "cli/large", "1", [layer_of({"large": os.urandom(60_000_000)})])
    push_image(registry.host, "cli/unpacked", "1", [layer_of({"zeros": bytes(80_000_000)})])
    directory = tmp_path / "small"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "onggi-test", str(directory)], check=True)
    try:
        with Engine(directory, number=1) as engine:
            engine.docker("load", "-i", str(busybox_tar), check=True)
            before = shutil.disk_usage(directory).free
            for name in (f"{repository}:1", f"{registry.host}/cli/unpacked:1"):
                done = engine.docker("pull", name)
                assert done.returncode == 1
                assert "no space left on device" in done.stderr.lower()
                assert engine.docker("images", "-q", name).stdout == ""
            assert engine.docker("run", "--rm", "busybox", "echo", "on").stdout == "on\n"
            engine.docker("image", "prune", "-f", check=True)
            assert shutil.disk_usage(directory).free > before - 8_000_000 - sum(parts(engine))
    finally:
        subprocess.run(["umount", str(directory)], check=True)
