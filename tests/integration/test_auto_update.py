"""Containers that follow their image's tag: by a registry's webhook, by hand, back when the new image is not well."""

import contextlib
import http.client
import json
import random
import re
import socket
import threading
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conditions import until
from tests.engine import Engine, inspected
from tests.images import busybox_layer
from tests.onggi_registry import PASSWORD, OnggiRegistry
from tests.registry import Registry, layer_of, push_image

PATH = "PATH=/bin:/sbin:/usr/bin:/usr/sbin"
WELL = {
    "Test": ["CMD-SHELL", "wget -qO- http://127.0.0.1/"],
    "Interval": 100_000_000,
    "Timeout": 5_000_000_000,
    "Retries": 2,
}
SICK = {**WELL, "Test": ["CMD-SHELL", "echo no, it is not; false"]}
LABEL = "io.onggi.auto-update=true"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def push_site(host: str, tag: str, text: str, *, authorization: str = "", **config: Any) -> str:
    """A web server whose page says `text`; gives the image's ID."""
    layers = [busybox_layer(), layer_of({"www": None, "www/index.html": text.encode()})]
    settings = {"Cmd": ["httpd", "-f", "-p", "80", "-h", "/www"], "Env": [PATH, f"SITE={text}"], **config}
    return push_image(host, "team/site", tag, layers, config=settings, authorization=authorization).image_id


def page(port: int) -> str:
    """What is served, or ""."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return str(answer.read().decode())
    return ""


@dataclass
class Visitor:
    """Asks for a page again and again; every connection of its own."""

    port: int
    refused: int = 0
    cut: int = 0
    seen: list[str] = field(default_factory=list)
    _ends: threading.Event = field(default_factory=threading.Event)

    def _ask(self) -> None:
        while not self._ends.wait(0.002):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("GET", "/")
                text = connection.getresponse().read().decode()
                if not self.seen or self.seen[-1] != text:
                    self.seen.append(text)
            except ConnectionRefusedError:
                self.refused += 1
            except (OSError, http.client.HTTPException):
                self.cut += 1  # it had been accepted by the old one
            finally:
                connection.close()

    def __enter__(self) -> "Visitor":
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()


def run_site(engine: Engine, image: str, *options: str, name: str = "site") -> int:
    engine.docker(
        "run", "-d", "--init", "--name", name, "-p", "127.0.0.1::80", "--label", LABEL, *options, image, check=True
    )
    return int(inspected(engine, name)["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])


def actions(engine: Engine) -> list[str]:
    """Of auto-updates, so far."""
    said = engine.docker("events", "--since", "10m", "--until", str(time.time()), "--filter", "type=container",
                         "--format", "{{.Action}} {{.Actor.ID}}")  # fmt: skip
    return [line for line in said.stdout.splitlines() if line.startswith("auto-update")]


def containers(engine: Engine) -> list[str]:
    return sorted(engine.docker("ps", "-a", "--format", "{{.Names}} {{.State}}").stdout.splitlines())


@pytest.fixture
def updating(own_engine: Engine) -> Iterator[Engine]:
    yield own_engine
    own_engine.docker("rm", "-fv", *own_engine.docker("ps", "-aq").stdout.split())


def test_a_push_replaces_the_container_and_nobody_is_refused(tmp_path: Path, busybox_tar: Path) -> None:
    """A registry's webhook, private images, health checks; kept: the port, names, options of the user."""
    port, secret, auth = free_port(), tmp_path / "secrets", tmp_path / "auth.json"
    with OnggiRegistry(tmp_path / "there", "--webhook-network", "127.0.0.0/8") as registry:
        admin = registry.admin
        admin.ok("POST", "/api/v1/projects", {"name": "team"})
        hook = {"url": f"http://127.0.0.1:{port}/", "events": ["push"]}
        for file in (secret, auth):
            file.touch(mode=0o600)
        secret.write_text(admin.ok("POST", "/api/v1/projects/team/webhooks", hook).json()["secret"] + "\n")
        auth.write_text(
            json.dumps({"auths": {registry.host: {"auth": b64encode(f"admin:{PASSWORD}".encode()).decode()}}})
        )
        push_site(registry.host, "v1", "one", authorization=admin.authorization, Healthcheck=WELL)
        options = ("--auto-update-listen", f"127.0.0.1:{port}", "--auto-update-secret-file", str(secret),
                   "--auto-update-auth-file", str(auth))  # fmt: skip
        with Engine(tmp_path, number=2, options=options) as engine:
            engine.docker("login", "-u", "admin", "--password-stdin", registry.host, input=PASSWORD, check=True)
            engine.docker("network", "create", "front", check=True)
            published = run_site(engine, f"{registry.host}/team/site:v1", "--network", "front", "--network-alias", "www",
                                 "-e", "OWN=kept", "--restart", "always")  # fmt: skip
            until(lambda: page(published) == "one", "the site is there")
            with Visitor(published) as visitor:
                until(lambda: visitor.seen)
                begun = time.monotonic()
                newer = push_site(registry.host, "v1", "two", authorization=admin.authorization, Healthcheck=WELL)
                until(lambda: visitor.seen[-1] == "two", "the new site is served")
                took = time.monotonic() - begun
                until(lambda: containers(engine) == ["site running"], "the old container has gone")
            print(f"replaced in {took:.2f} s; {visitor.refused} refused, {visitor.cut} cut")
            assert (visitor.seen, visitor.refused) == (["one", "two"], 0)
            found = inspected(engine, "site")
            assert found["Image"] == newer
            assert {"OWN=kept", "SITE=two"} <= set(found["Config"]["Env"])
            assert "SITE=one" not in found["Config"]["Env"]
            assert found["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
            assert found["HostConfig"]["RestartPolicy"]["Name"] == "always"
            assert found["NetworkSettings"]["Networks"]["front"]["Aliases"] == ["www"]
            said = engine.docker("run", "--rm", "--network", "front", f"{registry.host}/team/site:v1", "wget", "-qO-", "http://www/",
                                 "http://site/", check=True)  # fmt: skip
            assert said.stdout == "twotwo"
            until(lambda: actions(engine) == [f"auto-update {found['Id']}"], "an event tells of it")
            engine.docker("restart", "-t", "0", "site", check=True)  # its ports are its own now
            again = inspected(engine, "site")["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]
            until(lambda: page(int(again)) == "two", "it is served after a restart too")
            engine.docker("logout", registry.host)
            engine.docker("rm", "-fv", "site", check=True)


def test_what_is_not_well_is_rolled_back_and_not_tried_again(updating: Engine, registry: Registry) -> None:
    engine, image = updating, f"{registry.host}/team/site:sick"
    push_site(registry.host, "sick", "one", Healthcheck=WELL)
    port = run_site(engine, image)
    until(lambda: page(port) == "one", "the site is there")
    before = inspected(engine, "site")["Id"]
    assert engine.onggi("auto-update").stdout.split()[-1] == "false"
    push_site(registry.host, "sick", "two", Healthcheck=SICK)
    assert engine.onggi("auto-update", "--dry-run").stdout.split()[-1] == "pending"
    with Visitor(port) as visitor:
        until(lambda: visitor.seen)
        done = engine.onggi("auto-update", "--format", "{{.Name}} {{.Updated}}")
    assert (done.returncode, done.stdout) == (1, "site rolled back\n")
    assert "no, it is not" in done.stderr
    assert (visitor.seen, visitor.refused, visitor.cut) == (["one"], 0, 0)
    assert containers(engine) == ["site running"]
    assert inspected(engine, "site")["Id"] == before
    assert actions(engine) == [f"auto-update-rollback {before}"]
    push_site(registry.host, "sick", "three", Healthcheck=WELL)
    assert engine.onggi("auto-update", "--format", "{{.Updated}}").stdout == "true\n"
    assert page(port) == "three"


@pytest.mark.parametrize("how", ["ends", "no such program"])
def test_what_does_not_stay_up_is_rolled_back(updating: Engine, registry: Registry, how: str) -> None:
    tag = "down" + how[:2]
    push_site(registry.host, tag, "one")
    port = run_site(updating, f"{registry.host}/team/site:{tag}", "--restart", "always")
    until(lambda: page(port) == "one", "the site is there")
    push_site(registry.host, tag, "two", Cmd=["false"] if how == "ends" else ["/none"])
    done = updating.onggi("auto-update", "--format", "{{.Updated}}")
    assert (done.returncode, done.stdout) == (1, "rolled back\n")
    assert page(port) == "one"
    assert containers(updating) == ["site running"]


def test_data_goes_over_and_two_never_write_it(updating: Engine, registry: Registry) -> None:
    """Volumes of the user and anonymous ones; stopped first, since both would write."""
    push_site(registry.host, "data", "one", Volumes={"/declared": {}})
    port = run_site(
        updating, f"{registry.host}/team/site:data", "-v", "named:/named", "-v", "/anonymous", "--hostname", "own"
    )
    for place in ("named", "anonymous", "declared"):
        updating.docker("exec", "site", "sh", "-c", f"echo {place} > /{place}/file", check=True)
    volumes = {mount["Destination"]: mount["Name"] for mount in inspected(updating, "site")["Mounts"]}
    push_site(registry.host, "data", "two", Volumes={"/declared": {}})
    assert updating.onggi("auto-update", "--format", "{{.Updated}}").stdout == "true\n"
    found = inspected(updating, "site")
    assert {mount["Destination"]: mount["Name"] for mount in found["Mounts"]} == volumes
    assert found["Config"]["Hostname"] == "own"
    assert updating.docker("exec", "site", "cat", "/named/file", "/anonymous/file", "/declared/file").stdout.split() == [
        "named", "anonymous", "declared",
    ]  # fmt: skip
    port = int(found["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
    until(lambda: page(port) == "two", "the new site is served")
    push_site(registry.host, "data", "three", Cmd=["false"], Volumes={"/declared": {}})
    assert updating.onggi("auto-update", "--format", "{{.Updated}}").stdout == "rolled back\n"
    port = int(inspected(updating, "site")["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])
    until(lambda: page(port) == "two", "the old site is back")
    updating.docker("rm", "-fv", "site", check=True)
    updating.docker("volume", "rm", *set(volumes.values()))


def test_who_does_not_ask_or_can_not_be_is_left_alone(updating: Engine, registry: Registry, busybox: str) -> None:
    push_site(registry.host, "left", "one")
    image = f"{registry.host}/team/site:left"
    updating.docker("run", "-d", "--init", "--name", "silent", image, check=True)
    digest = inspected(updating, "silent")["Image"]
    updating.docker("run", "-d", "--init", "--name", "by-id", "--label", LABEL, digest, check=True)
    updating.docker("run", "-d", "--init", "--rm", "--name", "fleeting", "--label", LABEL, image, check=True)
    updating.docker(
        "run", "-d", "--init", "--name", "podmans", "--label", "io.containers.autoupdate=registry", image, check=True
    )
    updating.docker(
        "run", "-d", "--init", "--name", "beside", "--network", "container:podmans", busybox, "sleep", "60", check=True
    )
    wrong = updating.docker("run", "-d", "--label", "io.onggi.auto-update.window=late", busybox)
    assert (wrong.returncode, "HH:MM-HH:MM" in wrong.stderr) == (125, True)
    push_site(registry.host, "left", "two")
    done = updating.onggi("auto-update", "--format", "{{.Name}} {{.Updated}} {{.Error}}")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.split(" ", 2)[:2] for line in lines] == [
        ["by-id", "failed"],
        ["fleeting", "failed"],
        ["podmans", "failed"],
    ]
    assert re.search(r"name the image by a tag", lines[0])
    assert re.search(r"--rm", lines[1])
    assert re.search(r"beside shares a namespace", lines[2])


def test_a_closed_window_waits_but_not_for_who_asks_by_hand(updating: Engine, registry: Registry) -> None:
    now = time.localtime()
    closed = f"{(now.tm_hour + 2) % 24:02}:00-{(now.tm_hour + 3) % 24:02}:00"
    push_site(registry.host, "window", "one")
    port = run_site(updating, f"{registry.host}/team/site:window", "--label", f"io.onggi.auto-update.window={closed}")
    until(lambda: page(port) == "one", "the site is there")
    push_site(registry.host, "window", "two")
    assert updating.onggi("auto-update", "--format", "{{.Updated}}").stdout == "true\n"
    assert page(port) == "two"


def test_kill_9_of_the_engine_leaves_one_container_that_serves(updating: Engine, registry: Registry) -> None:
    """At any moment of a replacement, of either kind."""
    made = random.Random(41)
    for number in range(6):
        name, first = f"killed{number}", number % 2 == 0
        options = () if first else ("--label", "io.onggi.auto-update.order=stop-first")
        push_site(registry.host, name, "one")
        port = free_port()
        updating.docker("run", "-d", "--init", "--name", name, "-p", f"127.0.0.1:{port}:80", "--label", LABEL, *options,
                        f"{registry.host}/team/site:{name}", check=True)  # fmt: skip
        until(lambda port=port: page(port) == "one", "the site is there")  # type: ignore[misc]
        push_site(registry.host, name, "two")
        asking = threading.Thread(target=updating.onggi, args=("auto-update",))
        asking.start()
        time.sleep(made.uniform(0.05, 1.6))  # any moment
        updating.kill()
        asking.join()
        updating.start()
        until(lambda name=name: containers(updating) == [f"{name} running"], f"one is left: {containers(updating)}")  # type: ignore[misc]
        until(lambda port=port: page(port) in ("one", "two"), "it serves")  # type: ignore[misc]
        assert updating.onggi("auto-update", "--format", "{{.Updated}}").stdout in ("true\n", "false\n")
        until(lambda port=port: page(port) == "two", "it is updated in the end")  # type: ignore[misc]
        updating.docker("rm", "-fv", name, check=True)
