"""Pushes that break off go on; what is compressed here has the same bytes each time."""

import asyncio
import http.client
import json
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from onggi.distribution.credentials import Credentials
from onggi.distribution.http import Deadlines
from onggi.images.load import load
from onggi.oci.reference import Reference
from tests.images import docker_archive
from tests.loopback import Loopback, pass_on
from tests.onggi_registry import PASSWORD, OnggiRegistry
from tests.registry import MANIFEST, Registry, layer_of
from tests.transfer import Host

T = TypeVar("T")
ADMIN = Credentials("admin", PASSWORD)
BIG = layer_of({"big": os.urandom(6_000_000)})


def run(work: Callable[[], Awaitable[T]]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(90):
            return await work()

    return asyncio.run(bounded())


class Cutter(Loopback):
    """A line to a registry that is cut when so many bytes have gone up, once for each number in `cuts`."""

    def __init__(self, host: str, cuts: list[int]) -> None:
        super().__init__()
        self._there, _, port = host.rpartition(":")
        self._port = int(port)
        self._cuts = cuts
        self.begun = 0
        """Uploads that were begun."""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection(self._there, self._port)
        back = asyncio.create_task(pass_on(there, writer))
        passed = 0
        try:
            while piece := await reader.read(1 << 16):
                onward.write(piece)
                await onward.drain()
                passed += len(piece)
                self.begun += piece.startswith(b"POST ")
                if self._cuts and passed >= self._cuts[0]:
                    self._cuts.pop(0)
                    break
        finally:
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)
            onward.close()


async def put_in(host: Host, archive: Path, name: str) -> None:
    """Load the image of an archive under `name`."""

    async def stream() -> Any:
        yield archive.read_bytes()

    await load(host.images, stream(), lambda _: None, quiet=True)
    await host.images.tag("app:1", Reference.parse(name))


def manifest_at(host: str, repository: str, tag: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request("GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": MANIFEST})
    found: dict[str, Any] = json.load(connection.getresponse())
    connection.close()
    return found


@pytest.mark.parametrize("cuts", [[4_000_000], [3_000_000, 1_500_000]])
def test_a_push_that_is_cut_goes_on_where_the_registry_has_it(tmp_path: Path, cuts: list[int]) -> None:
    """With our own registry. Debian's (distribution 2.8) refuses to go on; see below."""
    archive = tmp_path / "app.tar"
    docker_archive(archive, ["app:1"], [BIG])

    async def script(registry: OnggiRegistry) -> int:
        patient = Deadlines(retry_s=2)  # until the registry has written what came before the cut
        async with Cutter(registry.host, list(cuts)) as line, Host(tmp_path / "host", deadlines=patient) as host:
            name = f"{line.host}/library/app:1"
            await put_in(host, archive, name)
            await host.push(name, credentials=ADMIN)
            return line.begun

    with OnggiRegistry(tmp_path / "registry") as registry:
        # The layer's and the configuration's: none was begun anew.
        assert run(lambda: script(registry)) == 2

        async def back() -> None:
            async with Host(tmp_path / "other") as host:
                await host.pull(f"{registry.host}/library/app:1")
                found = await host.transfer.search(f"{registry.host}/ap", 5, {}, ADMIN)
                assert [result.name for result in found] == ["app"]  # library/ is not shown, as at Docker Hub

        run(back)


def test_what_a_registry_warns_of_is_told(tmp_path: Path) -> None:
    archive = tmp_path / "app.tar"
    docker_archive(archive, ["app:1"], [layer_of({"small": b"x" * 10_000})])

    def told(lines: list[dict[str, Any]]) -> list[str]:
        return [line["status"] for line in lines if line.get("status", "").startswith("WARNING")]

    async def script(registry: OnggiRegistry) -> None:
        name = f"{registry.host}/small/app:1"
        async with Host(tmp_path / "host") as host:
            await put_in(host, archive, name)
            (sentence,) = told(await host.push(name, credentials=ADMIN))
            assert re.fullmatch(r"WARNING: the project small holds \d+ of the \d+ bytes of its quota", sentence)

    with OnggiRegistry(tmp_path / "registry") as registry:
        admin = registry.admin
        admin.ok("POST", "/api/v1/projects", {"name": "small"})
        admin.blob("small/filling", os.urandom(190_000))
        admin.ok("PATCH", "/api/v1/projects/small", {"quota_bytes": 200_000})
        run(lambda: script(registry))


def test_a_push_that_is_cut_begins_anew_where_the_registry_has_lost_it(registry: Registry, tmp_path: Path) -> None:
    archive, repository = tmp_path / "app.tar", f"cut/{tmp_path.name}"
    docker_archive(archive, ["app:1"], [BIG])

    async def script() -> None:
        async with Cutter(registry.host, [4_000_000]) as line, Host(tmp_path / "host") as host:
            name = f"{line.host}/{repository}:1"
            await put_in(host, archive, name)
            await host.push(name)
            await host.images.remove(name)
        async with Host(tmp_path / "other") as host:
            await host.pull(f"{registry.host}/{repository}:1")

    run(script)


@pytest.mark.parametrize(("kind", "suffix"), [("gzip", "gzip"), ("zstd", "zstd")])
def test_the_same_layers_have_the_same_bytes_each_time(
    registry: Registry, tmp_path: Path, kind: str, suffix: str
) -> None:
    archive = tmp_path / "app.tar"
    layers = [layer_of({f"file-{number}": os.urandom(1000) * 500}) for number in range(4)]
    docker_archive(archive, ["app:1"], layers)

    async def script(number: int) -> None:
        async with Host(tmp_path / str(number), push_compression=kind) as host:
            name = f"{registry.host}/same/{tmp_path.name}-{number}:1"
            await put_in(host, archive, name)
            await host.push(name)
            await host.images.remove("app:1")

    for number in range(2):
        run(lambda number=number: script(number))  # type: ignore[misc]
    first, second = (manifest_at(registry.host, f"same/{tmp_path.name}-{number}", "1") for number in range(2))
    assert first == second
    assert {layer["mediaType"].rpartition("+")[2] for layer in first["layers"]} == {suffix}
    assert all(layer["size"] < len(tar) for layer, tar in zip(first["layers"], layers, strict=True))

    async def back() -> None:
        async with Host(tmp_path / "back") as host:
            image, _ = await host.pull(f"{registry.host}/same/{tmp_path.name}-0:1")
            assert [len(layers), *image.config.diff_ids] == [len(image.manifest.layers), *image.config.diff_ids]

    run(back)
