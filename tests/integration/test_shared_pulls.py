"""Pulls that share layers, are given up, go on, or come in pieces side by side."""

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from onggi.errors import OnggiError
from onggi.oci.reference import Reference
from tests.hostile_registry import HostileRegistry
from tests.registry import Registry, layer_of, push_image
from tests.transfer import Host, on_host

LAYERS = [layer_of({"a": b"x" * 1000}), layer_of({"b": os.urandom(2_500_000)}), layer_of({"c": b"z"})]


class Gate:
    """Holds the answer for a blob until it is opened; counts who asked."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked = 0
        self.opened = asyncio.Event()
        self.entered = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        response = web.StreamResponse(status=206 if start else 200)
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        response.content_length = len(self.content) - start
        await response.prepare(request)
        half = max(len(self.content) // 2, start)
        await response.write(self.content[start:half])
        self.entered.set()
        await self.opened.wait()
        await response.write(self.content[half:])
        return response


async def gated(registry: HostileRegistry, layers: list[bytes], number: int) -> tuple[str, Gate]:
    """An image of which one layer stops half-way; gives that layer's digest."""
    image = registry.add_image("x/y", "1", layers)
    path = f"/v2/x/y/blobs/{image.layers[number]}"
    gate = Gate(registry.documents[path][0])
    registry.replies["GET", path] = gate
    return image.layers[number], gate


class Watched:
    """A pull as a task, and whether it has come to a layer."""

    def __init__(self, host: Host, name: str, digest: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self.waits = asyncio.Event()
        self._identity = digest[7:19]
        self.task = asyncio.create_task(host.transfer.pull(Reference.parse(name), self._progress))
        self.task.add_done_callback(lambda _: self.waits.set())

    def _progress(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        if line.get("id") == self._identity:
            self.waits.set()


def test_two_pulls_share_a_layer(tmp_path: Path) -> None:
    async def script(host: Host) -> None:
        async with HostileRegistry() as registry:
            digest, gate = await gated(registry, LAYERS, 1)
            pulls = [Watched(host, f"{registry.host}/x/y:1", digest) for _ in range(3)]
            for pull in pulls:
                await pull.waits.wait()
            pulls[0].task.cancel()  # one who leaves does not end it for the others
            gate.opened.set()
            images = [await pull.task for pull in pulls[1:]]
            assert gate.asked == 1
            assert images[0].id == images[1].id
            for pull in pulls[1:]:
                assert pull.lines[-1]["status"] == f"Status: Downloaded newer image for {registry.host}/x/y:1"
                assert {"status": "Pull complete", "progressDetail": {}, "id": digest[7:19]} in pull.lines

    on_host(tmp_path, script)


def test_two_images_pulled_at_once_fetch_what_they_share_once(tmp_path: Path) -> None:
    async def script(host: Host) -> None:
        async with HostileRegistry() as registry:
            shared = [layer_of({f"shared{n}": os.urandom(300_000)}) for n in range(4)]
            images = [registry.add_image("x/y", tag, [*shared, layer_of({tag: b"x"})]) for tag in ("1", "2", "3")]
            names = [f"{registry.host}/x/y:{tag}" for tag in ("1", "2", "3", "1")]
            async with asyncio.TaskGroup() as group:
                for name in names:
                    group.create_task(host.pull(name))
            asked = Counter(path for path in registry.paths() if "/blobs/" in path)
            layers = {f"/v2/x/y/blobs/{digest}" for image in images for digest in image.layers}
            assert {path: asked[path] for path in layers} == dict.fromkeys(layers, 1)
            assert len(layers) == 7
            assert {image.id for image in host.images.all()} == {image.image_id for image in images}

    on_host(tmp_path, script)


def test_sweep_drops_what_pulls_have_left_and_nothing_else(tmp_path: Path) -> None:
    async def script(host: Host) -> None:
        async with HostileRegistry() as registry:
            digest, gate = await gated(registry, LAYERS, 1)
            kept = registry.add_image("x/kept", "1", [layer_of({"kept": b"k"})])
            await host.pull(f"{registry.host}/x/kept:1")
            whole = host.files()
            pull = Watched(host, f"{registry.host}/x/y:1", digest)
            await gate.entered.wait()
            await host.images.sweep()  # of what is being fetched it takes nothing
            pull.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pull.task
            assert set(host.files()) > set(whole)
            await host.images.sweep()
            assert host.files() == whole
            assert host.images.get(kept.image_id).id == kept.image_id
            await host.images.remove(kept.image_id)
            registry.replies.clear()
            del registry.documents[f"/v2/x/y/blobs/{digest}"]
            with pytest.raises(OnggiError):
                await host.pull(f"{registry.host}/x/y:1")
            assert host.files()
            await host.images.sweep()  # no image at all is known now
            assert host.files() == []

    on_host(tmp_path, script)


def test_waiting_pull_tries_by_itself_when_the_first_is_given_up(tmp_path: Path) -> None:
    async def script(host: Host) -> None:
        async with HostileRegistry() as registry:
            _, gate = await gated(registry, LAYERS[1:2], 0)
            first = asyncio.create_task(host.pull(f"{registry.host}/x/y:1"))
            await gate.entered.wait()
            first.cancel()
            second = asyncio.create_task(host.pull(f"{registry.host}/x/y:1"))
            gate.opened.set()
            image, _ = await second
            assert first.cancelled() or first.done()
            assert image.repo_tags == [f"{registry.host}/x/y:1"]

    on_host(tmp_path, script)


def test_a_pull_given_up_keeps_what_is_complete_and_goes_on_within_a_layer(tmp_path: Path) -> None:
    async def script(host: Host) -> None:
        async with HostileRegistry() as registry:
            digest, gate = await gated(registry, LAYERS, 1)
            name = f"{registry.host}/x/y:1"
            complete = asyncio.Event()
            half = asyncio.Event()
            done = 0

            def progress(line: dict[str, object]) -> None:
                nonlocal done
                done += line.get("status") == "Pull complete"
                if done == 2:
                    complete.set()
                if line.get("status") == "Downloading" and line.get("id") == digest[7:19]:
                    half.set()

            task = asyncio.create_task(host.transfer.pull(Reference.parse(name), progress))
            await complete.wait()
            await half.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not host.images.all()
            (part,) = [path for path in host.directory.rglob("ingest/*")]
            kept = part.stat().st_size
            assert 0 < kept <= len(gate.content) // 2
            gate.opened.set()
            registry.requests.clear()
            image, lines = await host.pull(name)
            blobs = [(path, headers.get("Range")) for _, path, headers in registry.requests if "/blobs/" in path]
            assert [layer for layer in blobs if not layer[0].endswith(image.id)] == [
                (f"/v2/x/y/blobs/{digest}", f"bytes={kept}-")
            ]
            assert len([line for line in lines if line["status"] == "Pull complete"]) == 3

    on_host(tmp_path, script)


LARGE = layer_of({"large": os.urandom(70_000_000)})


def test_large_layer_comes_in_ranges_side_by_side(tmp_path: Path) -> None:
    """Three connections are open before any of them is answered; the bytes arrive in order."""

    async def script(host: Host) -> None:
        async with HostileRegistry() as registry:
            image = registry.add_image("x/y", "1", [LARGE], compression="none")
            path = f"/v2/x/y/blobs/{image.layers[0]}"
            ranges: list[str] = []
            three = asyncio.Event()

            async def reply(request: web.Request) -> web.StreamResponse:
                ranges.append(request.headers["Range"])
                start, end = (int(part or len(LARGE) - 1) for part in request.headers["Range"][6:].split("-"))
                if len(ranges) == 3:
                    three.set()
                if start:
                    await three.wait()  # the first is answered at once: it tells whether there are ranges at all
                headers = {"Content-Range": f"bytes {start}-{end}/{len(LARGE)}", "ETag": '"v1"'}
                if len(ranges) == 6:  # one breaks off, and is asked for again
                    headers["Content-Length"] = str(end + 1 - start)
                    response = web.StreamResponse(status=206, headers=headers)
                    await response.prepare(request)
                    await response.write(LARGE[start : start + 1000])
                    assert request.transport is not None
                    request.transport.close()
                    return response
                return web.Response(status=206, body=LARGE[start : end + 1], headers=headers)

            registry.replies["GET", path] = reply
            await host.pull(f"{registry.host}/x/y:1")
            assert ranges[0] == "bytes=0-8388607"
            assert len(set(ranges)) >= 8

    on_host(tmp_path, script)


def test_large_layer_of_a_registry_without_ranges(tmp_path: Path) -> None:
    async def script(host: Host) -> None:
        async with HostileRegistry() as registry:
            image = registry.add_image("x/y", "1", [LARGE], compression="none")
            path = f"/v2/x/y/blobs/{image.layers[0]}"

            async def reply(_: web.Request) -> web.StreamResponse:
                return web.Response(body=LARGE)

            registry.replies["GET", path] = reply
            await host.pull(f"{registry.host}/x/y:1")
            assert registry.paths().count(path) == 1

    on_host(tmp_path, script)


def test_large_layer_of_a_real_registry(registry: Registry, tmp_path: Path) -> None:
    push_image(registry.host, f"t/{tmp_path.name}", "1", [LARGE], compression="none")

    async def script(host: Host) -> None:
        image, _ = await host.pull(f"{registry.host}/t/{tmp_path.name}:1")
        assert host.images.has_layer(image.config.diff_ids[0])

    on_host(tmp_path, script)
