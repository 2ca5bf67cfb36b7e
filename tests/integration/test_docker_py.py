"""docker-py against the engine; every reply with a length is held against Docker's description of its API."""

import asyncio
import io
import json
import os
import re
import tarfile
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import aiohttp
import docker
import pytest
import requests
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import LogConfig, Mount, Ulimit

from tests.api_schema import check
from tests.conditions import until
from tests.engine import Engine

VERSION = re.compile(r"/v1\.[0-9]+(/.*)")
IMAGE = "busybox"


def _check_reply(response: requests.Response, *_arguments: Any, **_options: Any) -> None:
    request = response.request
    path = unquote(str(request.url).split("?")[0].split("localhost", 1)[1])
    match = VERSION.fullmatch(path)
    if "Content-Length" not in response.headers or response.headers.get("Upgrade"):
        return  # a stream
    is_json = response.headers.get("Content-Type", "").startswith("application/json")
    check(str(request.method), match[1] if match else path, response.status_code, response.json() if is_json else None)


@pytest.fixture
def client(engine: Engine) -> Iterator[docker.DockerClient]:
    made = docker.DockerClient(base_url=f"unix://{engine.socket}", version="auto", timeout=100)
    made.api.hooks["response"].append(_check_reply)
    yield made
    made.close()


def until_ready(container: Container, starts: int) -> None:
    """Wait until the program has set its trap, in this start of so many."""
    deadline = time.monotonic() + 60
    while container.logs().count(b"ready") < starts:
        assert time.monotonic() < deadline, "the program did not start"
        time.sleep(0.02)


@pytest.fixture
def running(client: docker.DockerClient, name: str) -> Iterator[Container]:
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    container = client.containers.run(IMAGE, ["sh", "-c", script], name=name, detach=True)
    until_ready(container, 1)
    yield container
    try:
        container.remove(force=True, v=True)
    except NotFound:
        return


def test_ping_version_info(client: docker.DockerClient) -> None:
    assert client.ping() is True
    assert client.version()["ApiVersion"] == "1.51"
    assert client.version()["MinAPIVersion"] == "1.24"
    info = client.info()
    assert info["OSType"] == "linux"
    assert info["NCPU"] == os.cpu_count()
    assert set(client.df()) == {"LayersSize", "Images", "Containers", "Volumes", "BuildCache"}


def test_every_supported_version_is_spoken(engine: Engine) -> None:
    for minor in range(24, 52):
        with docker.APIClient(base_url=f"unix://{engine.socket}", version=f"1.{minor}", timeout=100) as old:
            old.hooks["response"].append(_check_reply)
            assert old.ping()
            assert isinstance(old.containers(all=True), list)
            assert old.images()
            assert old.version()["ApiVersion"] == "1.51"
    with docker.APIClient(base_url=f"unix://{engine.socket}", version="1.52") as new, pytest.raises(APIError) as caught:
        new.ping()
    assert caught.value.explanation == "client version 1.52 is too new. Maximum supported API version is 1.51"


def test_run(client: docker.DockerClient) -> None:
    assert client.containers.run(IMAGE, "echo hello", remove=True) == b"hello\n"
    assert client.containers.run(IMAGE, ["sh", "-c", "echo out; echo err >&2"], remove=True, stderr=True) in (
        b"out\nerr\n", b"err\nout\n",
    )  # fmt: skip
    with pytest.raises(ContainerError) as caught:
        client.containers.run(IMAGE, ["sh", "-c", "echo why >&2; exit 5"], remove=True)
    assert (caught.value.exit_status, caught.value.stderr) == (5, b"why\n")
    with pytest.raises(ImageNotFound):
        client.containers.create("no-such-image-here", "true")


def test_states(client: docker.DockerClient, running: Container) -> None:
    assert running.id in [found.id for found in client.containers.list()]
    running.pause()
    running.reload()
    assert running.status == "paused"
    running.unpause()
    running.restart(timeout=10)
    until_ready(running, 2)
    running.reload()
    assert running.status == "running"
    running.rename(f"{running.name}-renamed")
    running.reload()
    assert running.name.endswith("-renamed")
    assert running.update(cpu_shares=512)["Warnings"] in (None, [])
    running.kill("TERM")
    assert running.wait(timeout=100)["StatusCode"] == 9
    with pytest.raises(APIError) as caught:
        running.kill()
    assert caught.value.status_code == 409
    running.start()
    until_ready(running, 3)
    running.stop(timeout=10)
    running.reload()
    assert running.attrs["State"]["ExitCode"] == 9


def test_exec(running: Container) -> None:
    assert running.exec_run("echo hi") == (0, b"hi\n")
    code, output = running.exec_run(["sh", "-c", "echo o; echo e >&2; exit 3"], demux=True)
    assert (code, output) == (3, (b"o\n", b"e\n"))
    code, output = running.exec_run(["sh", "-c", "id -u; pwd; echo $A"], user="1000", workdir="/tmp",
                                    environment={"A": "b"})  # fmt: skip
    assert (code, output) == (0, b"1000\n/tmp\nb\n")
    code, output = running.exec_run("no-such-program")
    assert code == 127
    assert b'exec: "no-such-program": executable file not found in $PATH' in output
    assert running.exec_run("tty", tty=True) == (0, b"/dev/pts/0\r\n")
    _, stream = running.exec_run(["sh", "-c", "seq 1 20000"], stream=True)
    assert b"".join(stream) == b"".join(b"%d\n" % number for number in range(1, 20001))


def test_an_exec_belongs_to_one_run_of_the_container(client: docker.DockerClient, running: Container) -> None:
    """Made before a restart, it is not started after it."""
    made = client.api.exec_create(running.id, "true")
    running.restart(timeout=10)
    with pytest.raises(NotFound) as caught:
        client.api.exec_start(made)
    assert caught.value.explanation == f"No such exec instance: {made['Id']}"


def test_exec_socket(client: docker.DockerClient, running: Container) -> None:
    made = client.api.exec_create(running.id, "cat", stdin=True)
    assert client.api.exec_inspect(made)["Running"] is False
    opened = client.api.exec_start(made, socket=True)
    opened._sock.sendall(b"over the socket\n")
    assert opened.read(8 + 16) == b"\1\0\0\0\0\0\0\x10over the socket\n"
    opened._sock.close()
    opened.close()
    with pytest.raises(APIError) as caught:
        client.api.exec_start(made)
    assert caught.value.status_code == 409


def test_attach(client: docker.DockerClient, name: str) -> None:
    container = client.containers.create(IMAGE, "cat", name=name, stdin_open=True)
    try:
        opened = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
        container.start()
        opened._sock.sendall(b"to cat\n")
        assert opened.read(8 + 7) == b"\1\0\0\0\0\0\0\7to cat\n"
        container.kill()
        assert opened.read() == b""
        opened.close()
        assert container.attach(logs=True, stream=False) == b"to cat\n"
    finally:
        container.remove(force=True)


async def _websocket(engine: Engine, name: str) -> bytes:
    connector = aiohttp.UnixConnector(str(engine.socket))
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.timeout(60):
        url = f"http://localhost/v1.51/containers/{name}/attach/ws?stream=1&stdin=1&stdout=1"
        async with session.ws_connect(url) as websocket:
            await websocket.send_bytes(b"binary ")
            await websocket.send_str("and text\n")
            received = b""
            while not received.endswith(b"\n"):
                received += await websocket.receive_bytes()
            return received


def test_attach_by_websocket(engine: Engine, client: docker.DockerClient, name: str) -> None:
    container = client.containers.run(IMAGE, "cat", name=name, stdin_open=True, detach=True)
    try:
        assert asyncio.run(_websocket(engine, name)) == b"binary and text\n"
        container.reload()
        assert container.status == "running"
    finally:
        container.remove(force=True)


def test_what_is_not_offered_is_refused_in_a_sentence(client: docker.DockerClient) -> None:
    with pytest.raises(APIError) as caught:
        client.nodes.list()
    assert caught.value.status_code == 503
    assert caught.value.explanation.startswith("This node is not a swarm manager.")
    assert client.plugins.list() == []
    client.api.hooks["response"].clear()  # no status for a refusal is described here
    with pytest.raises(APIError) as refused:
        client.swarm.init()
    assert refused.value.status_code == 501


def test_logs(client: docker.DockerClient, name: str) -> None:
    script = "for i in 1 2 3; do echo out $i; done; echo err >&2; read line; echo last"
    container = client.containers.create(IMAGE, ["sh", "-c", script], name=name, stdin_open=True)
    try:
        container.start()
        follower = container.logs(stream=True, follow=True, stderr=False)
        lines: list[bytes] = []
        seen_three = threading.Event()

        def read() -> None:
            for piece in follower:
                lines.append(piece)
                if b"out 3" in b"".join(lines):
                    seen_three.set()

        reader = threading.Thread(target=read)
        reader.start()
        assert seen_three.wait(100)
        opened = container.attach_socket(params={"stdin": 1, "stream": 1})
        opened._sock.sendall(b"\n")
        opened.close()
        reader.join(100)
        assert not reader.is_alive()
        assert b"".join(lines) == b"out 1\nout 2\nout 3\nlast\n"
        assert container.logs(stdout=False) == b"err\n"
        assert container.logs(tail=1, stderr=False) == b"last\n"
        stamped = container.logs(stderr=False, timestamps=True).splitlines()
        assert all(re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z \w+( \d)?", line) for line in stamped)
        assert container.logs(since=int(time.time()) + 100) == b""
        assert container.logs(until=int(time.time()) + 100, stderr=False) == b"out 1\nout 2\nout 3\nlast\n"
    finally:
        container.remove(force=True)


def _tar(**files: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for file_name, content in files.items():
            member = tarfile.TarInfo(file_name)
            member.size, member.mode = len(content), 0o640
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def test_archives(running: Container) -> None:
    assert running.put_archive("/tmp", _tar(a=b"content of a"))
    assert running.exec_run("cat /tmp/a") == (0, b"content of a")
    pieces, stat = running.get_archive("/tmp/a")
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
        member = archive.extractfile("a")
        assert member is not None
        assert member.read() == b"content of a"
    assert (stat["name"], stat["size"], stat["mode"], stat["linkTarget"]) == ("a", 12, 0o640, "")
    assert {"Path": "/tmp/a", "Kind": 1} in running.diff()
    with pytest.raises(NotFound) as caught:
        running.get_archive("/no/such")
    assert caught.value.explanation == f"Could not find the file /no/such in container {running.id}"
    with tarfile.open(fileobj=io.BytesIO(b"".join(running.export()))) as archive:
        assert "tmp/a" in archive.getnames()


def test_top_and_stats(running: Container) -> None:
    top = running.top()
    assert top["Titles"] == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert any("while :" in row[-1] for row in top["Processes"])
    once = running.stats(stream=False)
    assert once["memory_stats"]["usage"] > 0
    assert once["cpu_stats"]["cpu_usage"]["total_usage"] >= once["precpu_stats"]["cpu_usage"]["total_usage"] > 0
    assert once["networks"]["eth0"]["rx_bytes"] >= 0
    stream = running.stats(stream=True, decode=True)
    assert next(stream)["id"] == running.id
    assert next(stream)["preread"] != "0001-01-01T00:00:00Z"
    stream.close()


def test_what_a_container_says_of_itself(client: docker.DockerClient, name: str) -> None:
    check = {"test": ["CMD", "true"], "interval": 100_000_000}
    container = client.containers.run(IMAGE, "sleep 1000", name=name, detach=True, tty=True, labels={"of": name},
                                      ports={"80/tcp": ("127.0.0.1", None)}, healthcheck=check)  # fmt: skip
    try:

        def healthy() -> bool:
            container.reload()
            return bool(container.health == "healthy")

        until(healthy, "its check succeeds")
        assert container.id is not None
        assert (container.name, container.short_id) == (name, container.id[:12])
        assert container.labels == {"of": name}
        assert f"{IMAGE}:latest" in container.image.tags
        assert container.ports["80/tcp"][0]["HostIp"] == "127.0.0.1"
        container.resize(30, 100)
        assert container.exec_run("stty size", tty=True).exit_code == 0
        for filters in ({"name": name}, {"label": f"of={name}"}, {"id": container.id}, {"status": "running"},
                        {"ancestor": IMAGE}, {"health": "healthy"}, {"network": "bridge"}):  # fmt: skip
            assert [found.id for found in client.containers.list(filters=filters)] == [container.id]
        assert client.containers.list(filters={"exited": 1}, all=True) == []
        assert client.containers.list(sparse=True, limit=1)[0].attrs["Names"] == [f"/{name}"]
        assert client.containers.get(container.short_id) == container
        assert client.containers.prune()["ContainersDeleted"] in (None, [])
        container.stop(timeout=0)
        assert container.wait(condition="not-running")["StatusCode"] == 137
    finally:
        container.remove(force=True, v=True)


def test_events(client: docker.DockerClient, name: str) -> None:
    begun = int(time.time()) - 1
    client.containers.run(IMAGE, "true", name=name, remove=True)
    events = client.events(since=begun, until=int(time.time()) + 1, decode=True, filters={"container": name})
    actions = [event["Action"] for event in events]
    assert [action for action in actions if action in ("create", "start", "die", "destroy")] == [
        "create", "start", "die", "destroy",
    ]  # fmt: skip


def test_events_since_1970(client: docker.DockerClient, name: str) -> None:
    client.containers.run(IMAGE, "true", name=name, remove=True)
    seen = client.events(since=0, until=int(time.time()) + 1, decode=True, filters={"container": name})
    assert "destroy" in [event["Action"] for event in seen]


def test_configuration_comes_back(client: docker.DockerClient, name: str) -> None:
    container = client.containers.create(
        IMAGE, ["sleep", "1"], name=name, environment=["A=b"], labels={"l": "v"}, hostname="h", user="1:1",
        working_dir="/tmp", mem_limit="64m", cpu_shares=100, pids_limit=50,
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 3},
        ulimits=[Ulimit(name="nofile", soft=100, hard=200)], cap_add=["NET_ADMIN"], cap_drop=["MKNOD"],
        tmpfs={"/scratch": "size=1m"}, log_config=LogConfig(type="json-file", config={"max-size": "1m"}),
        ports={"80/tcp": ("127.0.0.1", None)}, extra_hosts={"other": "10.0.0.9"}, read_only=True, init=False,
    )  # fmt: skip
    try:
        config, host = container.attrs["Config"], container.attrs["HostConfig"]
        assert "A=b" in config["Env"]
        assert (config["Hostname"], config["User"], config["WorkingDir"]) == ("h", "1:1", "/tmp")
        assert config["Labels"] == {"l": "v"}
        assert (host["Memory"], host["CpuShares"], host["PidsLimit"]) == (64 << 20, 100, 50)
        assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
        assert host["Ulimits"] == [{"Name": "nofile", "Hard": 200, "Soft": 100}]
        assert (host["CapAdd"], host["CapDrop"]) == (["CAP_NET_ADMIN"], ["CAP_MKNOD"])
        assert host["Tmpfs"] == {"/scratch": "size=1m"}
        assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m"}}
        assert host["ReadonlyRootfs"] is True
        assert host["ExtraHosts"] == ["other:10.0.0.9"]
    finally:
        container.remove()


def test_images(client: docker.DockerClient, name: str) -> None:
    image = client.images.get(IMAGE)
    assert f"{IMAGE}:latest" in image.tags
    repository = name.lower()
    assert image.tag(repository, "1")
    assert client.images.get(f"{repository}:1").id == image.id
    assert image.history()
    archive = b"".join(image.save(named=True))
    client.images.remove(f"{repository}:1")
    with pytest.raises(ImageNotFound):
        client.images.get(f"{repository}:1")
    assert [loaded.id for loaded in client.images.load(archive)] == [image.id]
    assert client.images.prune(filters={"dangling": True})["SpaceReclaimed"] >= 0


def test_commit(client: docker.DockerClient, name: str) -> None:
    container = client.containers.create(IMAGE, ["sh", "-c", "echo kept > /kept"], name=name)
    try:
        container.start()
        assert container.wait(timeout=100)["StatusCode"] == 0
        image = container.commit(repository=name.lower(), tag="2", changes=['CMD ["cat", "/kept"]'])
        try:
            assert client.containers.run(image.id, remove=True) == b"kept\n"
        finally:
            client.images.remove(image.id, force=True)
    finally:
        container.remove(force=True)


def test_networks(client: docker.DockerClient, name: str, running: Container) -> None:
    network = client.networks.create(name.lower(), labels={"l": "v"})
    try:
        assert network.name in [found.name for found in client.networks.list()]
        network.connect(running, aliases=["other-name"])
        running.reload()
        assert network.name in running.attrs["NetworkSettings"]["Networks"]
        reached = client.containers.run(IMAGE, "ping -c 1 -W 10 other-name", network=network.name, remove=True)
        assert b"1 packets received" in reached
        network.disconnect(running)
    finally:
        network.remove()
    with pytest.raises(NotFound):
        client.networks.get(network.id)


def test_volumes(client: docker.DockerClient, name: str) -> None:
    volume = client.volumes.create(name, labels={"l": "v"})
    try:
        mount = Mount("/data", volume.name)
        client.containers.run(IMAGE, ["sh", "-c", "echo kept > /data/file"], mounts=[mount], remove=True)
        bind = {volume.name: {"bind": "/data", "mode": "ro"}}
        assert client.containers.run(IMAGE, "cat /data/file", volumes=bind, remove=True) == b"kept\n"
        assert volume.name in [found.name for found in client.volumes.list(filters={"label": "l=v"})]
    finally:
        volume.remove()
    with pytest.raises(NotFound):
        client.volumes.get(name)


def test_prune(client: docker.DockerClient, name: str) -> None:
    container = client.containers.create(IMAGE, "true", name=name, labels={"prune-me": name})
    pruned = client.containers.prune(filters={"label": f"prune-me={name}"})
    assert pruned["ContainersDeleted"] == [container.id]
    assert client.volumes.prune(filters={"label": f"prune-me={name}"})["SpaceReclaimed"] == 0
    assert client.networks.prune(filters={"label": f"prune-me={name}"})["NetworksDeleted"] in (None, [])


def test_errors_are_docker_s(client: docker.DockerClient) -> None:
    with pytest.raises(NotFound) as caught:
        client.containers.get("no-such-container")
    assert caught.value.explanation == "No such container: no-such-container"
    client.api.hooks["response"].clear()  # no such page is described
    with pytest.raises(APIError) as refused:
        client.api._result(client.api._get(client.api._url("/no/such/page")))
    assert json.loads(refused.value.response.content) == {"message": "page not found"}
