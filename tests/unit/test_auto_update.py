"""Auto-update without an engine: labels, windows, what a new container is made of, whose webhooks are taken."""

import asyncio
import hmac
import json
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from onggi.distribution.credentials import read_auth_file
from onggi.engine.auto_update import renewal, wishes
from onggi.engine.auto_update.webhook import MOST_BYTES, OLDEST_S, Webhook, read_secrets
from onggi.engine.auto_update.wishes import Order, Window, Wishes
from onggi.engine.container_config import ContainerConfig, HealthConfig, HostConfig, Mount
from onggi.engine.image_defaults import merge
from onggi.errors import InvalidParameter
from onggi.oci.image import Healthcheck, ImageContainerConfig
from onggi.volumes.mount_point import MountPoint

SECRET = "a secret of two"


def test_labels() -> None:
    assert wishes.read({}) is None
    assert wishes.read({"io.onggi.auto-update": "false"}) is None
    assert wishes.read({"io.containers.autoupdate": "local"}) is None
    assert wishes.read({"io.onggi.auto-update": "true"}) == Wishes()
    assert wishes.read({"io.containers.autoupdate": "registry"}) == Wishes()
    asked = wishes.read({
        "io.onggi.auto-update": "true", "io.onggi.auto-update.window": "22:30-04:00",
        "io.onggi.auto-update.order": "stop-first", "io.onggi.auto-update.settle": "20",
    })  # fmt: skip
    assert asked is not None
    assert (asked.order, asked.settle_s) == (Order.STOP_FIRST, 20)
    assert asked.window is not None


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("", "yes"), (".window", "24:00-01:00"), (".window", "02:00-02:00"), (".window", "2-4"), (".order", "both"),
        (".settle", "-1"), (".settle", "99999"), (".settle", "1.5"),
    ],
)  # fmt: skip
def test_what_is_mistyped_is_refused(label: str, text: str) -> None:
    name = f"io.onggi.auto-update{label}"
    with pytest.raises(InvalidParameter, match=f"invalid label {name}="):
        wishes.read({"io.onggi.auto-update": "true"} | {name: text})


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [("02:00-04:30", ["02:00", "04:29"], ["01:59", "04:30", "15:00"]),
     ("22:00-04:00", ["22:00", "23:59", "00:00", "03:59"], ["04:00", "21:59", "12:00"])],
)  # fmt: skip
def test_windows_also_over_midnight(window: str, inside: list[str], outside: list[str]) -> None:
    asked = wishes.read({"io.onggi.auto-update": "true", "io.onggi.auto-update.window": window})
    assert asked is not None
    found = asked.window
    assert isinstance(found, Window)
    moment = "2026-12-01T{}"
    assert all(found.holds(datetime.fromisoformat(moment.format(text))) for text in inside)
    assert not any(found.holds(datetime.fromisoformat(moment.format(text))) for text in outside)


OLD = ImageContainerConfig(
    user="app", env=["PATH=/bin", "VERSION=1"], entrypoint=["/entry"], cmd=["serve"], working_dir="/app",
    labels={"version": "1", "maker": "us"}, exposed_ports={"80/tcp": {}}, volumes={"/data": {}}, stop_signal="SIGTERM",
    healthcheck=Healthcheck(test=["CMD", "check"], interval=5, retries=2),
)  # fmt: skip
NEW = ImageContainerConfig(
    user="web", env=["PATH=/usr/bin", "VERSION=2"], entrypoint=["/start"], cmd=["go"], working_dir="/srv",
    labels={"version": "2", "maker": "us"}, exposed_ports={"81/tcp": {}}, stop_signal="SIGQUIT",
    healthcheck=Healthcheck(test=["CMD", "probe"], interval=9),
)  # fmt: skip


@pytest.mark.parametrize(
    "given",
    [
        ContainerConfig(image="site:1"),
        ContainerConfig(image="site:1", env=["OWN=1"], labels={"own": "x"}),
        ContainerConfig(image="site:1", env=["PATH=/mine"], user="0", working_dir="/", cmd=["other"]),
        ContainerConfig(image="site:1", entrypoint=["/mine"], cmd=["a"]),
        ContainerConfig(image="site:1", exposed_ports={"90/tcp": {}}, volumes={"/own": {}}, stop_signal="SIGINT"),
        ContainerConfig(image="site:1", healthcheck=HealthConfig(interval=7, retries=4)),
        ContainerConfig(image="site:1", healthcheck=HealthConfig(test=["NONE"])),
    ],
)
def test_the_new_container_is_as_if_it_had_been_run_anew(given: ContainerConfig) -> None:
    """What the user gave, over the new image: whatever the old image had said is forgotten."""
    was = merge(given, OLD)
    again, anew = merge(renewal.configuration(was, OLD, "0123456789ab"), NEW), merge(given, NEW)
    assert sorted(again.env or ()) == sorted(anew.env or ())
    for name in ContainerConfig.__struct_fields__:
        if name != "env":
            assert getattr(again, name) == getattr(anew, name), name


def test_anonymous_volumes_go_over_by_their_names() -> None:
    host = HostConfig(mounts=[Mount(type="volume", target="/told"), Mount(type="bind", source="/etc", target="/etc")])
    points = tuple(
        MountPoint(type="volume", destination=place, name=name, anonymous=name != "named")
        for place, name in (("/told", "aa"), ("/declared", "bb"), ("/named", "named"))
    )
    found = renewal.with_volumes(host, points).mounts
    assert [(mount.type, mount.source, mount.target) for mount in found or ()] == [
        ("volume", "aa", "/told"), ("bind", "/etc", "/etc"), ("volume", "bb", "/declared"),
    ]  # fmt: skip


# Webhooks


def signed(
    body: bytes, *, secret: str = SECRET, stamp: int | str | None = None, delivery: str = "d1"
) -> dict[str, str]:
    stamp = str(int(time.time())) if stamp is None else str(stamp)
    mark = hmac.new(secret.encode(), f"{stamp}.".encode() + body, "sha256").hexdigest()
    return {"Onggi-Timestamp": stamp, "Onggi-Signature": f"sha256={mark}", "Onggi-Delivery": delivery}


PUSH = json.dumps({"kind": "push", "repository": "team/site", "tag": "v1", "digest": "sha256:…"}).encode()
Send = Callable[[bytes, dict[str, str]], Awaitable[int]]


def visited(body: Callable[[Send], Awaitable[None]]) -> list[tuple[str, str]]:
    """What was heard while `body` sent requests."""
    heard: list[tuple[str, str]] = []

    async def main() -> None:
        runner = web.AppRunner(Webhook([SECRET, "another secret"], lambda *told: heard.append(told)).app())
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession() as session:

            async def send(data: bytes, headers: dict[str, str]) -> int:
                async with session.post(f"http://{host}:{port}/", data=data, headers=headers) as answer:
                    return answer.status

            await body(send)
        await runner.cleanup()

    asyncio.run(main())
    return heard


def test_a_signed_push_is_heard_once() -> None:
    async def body(send: Send) -> None:
        assert await send(PUSH, signed(PUSH)) == 202
        assert await send(PUSH, signed(PUSH)) == 202  # the same delivery, again
        assert await send(PUSH, signed(PUSH, secret="another secret", delivery="d2")) == 202

    assert visited(body) == [("team/site", "v1")] * 2


def test_what_is_not_signed_is_old_or_is_no_event_is_not_heard() -> None:
    async def body(send: Send) -> None:
        now = int(time.time())
        for headers in (
            {}, signed(PUSH, secret="wrong secret"), signed(b"other"), {**signed(PUSH), "Onggi-Timestamp": str(now + 1)},
            {**signed(PUSH), "Onggi-Signature": "sha256=é"}, signed(PUSH, stamp=now - OLDEST_S - 5),
            signed(PUSH, stamp=now + OLDEST_S + 5), signed(PUSH, stamp="x"), signed(PUSH, stamp="9" * 40),
        ):  # fmt: skip
            assert await send(PUSH, headers) == 401, headers
        for data in (b"", b"[]", b'{"kind": 1}', b"{" * 100_000):
            assert await send(data, signed(data)) == 400
        large = b'{"kind": "push", "x": "' + b"x" * MOST_BYTES + b'"}'
        assert await send(large, signed(large)) == 413
        other = json.dumps({"kind": "scan", "repository": "team/site", "tag": "v1"}).encode()
        assert await send(other, signed(other, delivery="d3")) == 202

    assert visited(body) == []


def test_secret_files_are_nobodys_business(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text("sixteen letters!\n\nand another secret\n")
    file.chmod(0o600)
    assert read_secrets(file) == ["sixteen letters!", "and another secret"]
    for content, mode in (("sixteen letters!", 0o640), ("", 0o600), ("short", 0o600)):
        file.write_text(content)
        file.chmod(mode)
        with pytest.raises(InvalidParameter):
            read_secrets(file)
    with pytest.raises(InvalidParameter):
        read_secrets(tmp_path / "none")


def test_credentials_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps({"auths": {
        "https://index.docker.io/v1/": {"auth": "YTpi"}, "registry.example:5000": {"auth": "Yzpk"}, "helped.example": {},
    }, "credsStore": "x"}))  # fmt: skip
    found = read_auth_file(file)
    assert {host: (proof.username, proof.password) for host, proof in found.items()} == {
        "docker.io": ("a", "b"), "registry.example:5000": ("c", "d"),
    }  # fmt: skip
    file.write_text("[]")
    with pytest.raises(InvalidParameter):
        read_auth_file(file)
    file.chmod(0o644)
    with pytest.raises(InvalidParameter, match="chmod 600"):
        read_auth_file(file)
