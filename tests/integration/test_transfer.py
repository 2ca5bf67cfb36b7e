"""Pulls and pushes with the real registry server: digests, proofs, platforms, mirrors, certificates."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from onggi.distribution.credentials import Credentials
from onggi.errors import OnggiError
from onggi.images.load import load
from onggi.oci.reference import Reference
from tests.hostile_registry import HostileRegistry
from tests.images import busybox_archive
from tests.registry import (
    INDEX,
    MANIFEST,
    Certificate,
    Registry,
    TokenServer,
    Uploader,
    digest_of,
    layer_of,
    push_image,
)
from tests.transfer import Host, on_host

LAYERS = [layer_of({"a": b"x" * 1000}), layer_of({"b": os.urandom(2_500_000)}), layer_of({"c": b"z"})]
ALICE = Credentials("alice", "secret")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that wants tokens; anybody may pull `public/…`."""
    directory = tmp_path_factory.mktemp("guarded")
    with TokenServer(directory / "tokens", {"alice": "secret"}) as tokens:
        with Registry(directory / "registry", tokens=tokens) as registry:
            yield registry


def bearer(registry: Registry, repository: str) -> str:
    assert registry.tokens is not None
    return "Bearer " + registry.tokens.sign("alice", "onggi-test", [f"repository:{repository}:pull,push"])


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_pull_then_push_keeps_every_digest(registry: Registry, tmp_path: Path, compression: str) -> None:
    source, target = f"t/{tmp_path.name}", f"t/{tmp_path.name}-copy"
    pushed = push_image(registry.host, source, "1", LAYERS, compression=compression)

    async def script(host: Host) -> None:
        image, lines = await host.pull(f"{registry.host}/{source}:1")
        assert image.id == pushed.image_id
        assert image.repo_digests == [f"{registry.host}/{source}@{pushed.digest}"]
        assert [line["id"] for line in lines if line["status"] == "Pull complete"].sort() == [
            digest.removeprefix("sha256:")[:12] for digest in pushed.layers
        ].sort()
        await host.images.tag(str(image.id), Reference.parse(f"{registry.host}/{target}:2"))
        lines = await host.push(f"{registry.host}/{target}:2")
        assert lines[0] == {"status": f"The push refers to repository [{registry.host}/{target}]"}
        assert {line["status"] for line in lines[1:-2]} == {"Preparing", f"Mounted from {source}"}
        size = len(image.manifest_bytes)
        assert lines[-2:] == [
            {"status": f"2: digest: {pushed.digest} size: {size}"},
            {"progressDetail": {}, "aux": {"Tag": "2", "Digest": pushed.digest, "Size": size}},
        ]
        lines = await host.push(f"{registry.host}/{target}:2")
        assert {line["status"] for line in lines[1:-2]} == {"Preparing", "Layer already exists"}
        again, lines = await host.pull(f"{registry.host}/{target}:2")
        assert again.id == image.id
        assert lines[1:] == [
            {"status": f"Digest: {pushed.digest}"},
            {"status": f"Status: Image is up to date for {registry.host}/{target}:2"},
        ]

    on_host(tmp_path, script)


def test_push_sends_what_is_nowhere(registry: Registry, guarded: Registry, tmp_path: Path) -> None:
    pushed = push_image(registry.host, f"t/{tmp_path.name}", "1", LAYERS)

    async def script(host: Host) -> None:
        image, _ = await host.pull(f"{registry.host}/t/{tmp_path.name}:1")
        target = f"{guarded.host}/t/{tmp_path.name}:1"
        await host.images.tag(str(image.id), Reference.parse(target))
        lines = await host.push(target, credentials=ALICE)
        short = [digest.removeprefix("sha256:")[:12] for digest in pushed.diff_ids]
        assert [line["id"] for line in lines if line.get("status") == "Preparing"] == short[::-1]
        assert sorted(line["id"] for line in lines if line.get("status") == "Pushed") == sorted(short)
        last = [line for line in lines if line.get("status") == "Pushing" and line["id"] == short[1]][-1]
        assert last["progressDetail"]["current"] == last["progressDetail"]["total"] > 2_000_000

    on_host(tmp_path, script)

    async def fetch(host: Host) -> None:
        image, _ = await host.pull(f"{guarded.host}/t/{tmp_path.name}:1", credentials=ALICE)
        assert image.id == pushed.image_id

    on_host(tmp_path / "other", fetch)


def test_proofs(guarded: Registry, tmp_path: Path) -> None:
    private, public = f"private/{tmp_path.name}", f"public/{tmp_path.name}"
    push_image(guarded.host, private, "1", LAYERS, authorization=bearer(guarded, private))
    push_image(guarded.host, public, "1", LAYERS, authorization=bearer(guarded, public))
    host_name, bad = guarded.host, Credentials("alice", "wrong")

    async def script(host: Host) -> None:
        async def said(work: Awaitable[object]) -> str:
            with pytest.raises(OnggiError) as caught:
                await work
            return str(caught.value)

        assert await said(host.pull(f"{host_name}/{private}:1")) == (
            f"pull access denied for {host_name}/{private}, repository does not exist or may require 'docker login': "
            "denied: requested access to the resource is denied"
        )
        assert await said(host.pull(f"{host_name}/{private}-typo:1", credentials=ALICE)) == (
            f"manifest for {host_name}/{private}-typo:1 not found: manifest unknown: manifest unknown"
        )
        assert await said(host.pull(f"{host_name}/{private}:1", credentials=bad)) == (
            f'Get "http://{host_name}/v2/{private}/manifests/1": unauthorized: incorrect username or password'
        )
        await host.pull(f"{host_name}/{public}:1")
        image, _ = await host.pull(f"{host_name}/{private}:1", credentials=ALICE)
        await host.images.tag(str(image.id), Reference.parse(f"{host_name}/{private}:2"))
        denied = "denied: requested access to the resource is denied"
        assert await said(host.push(f"{host_name}/{private}:2")) == denied
        unauthorized = "unauthorized: incorrect username or password"
        assert await said(host.push(f"{host_name}/{private}:2", credentials=bad)) == unauthorized
        await host.push(f"{host_name}/{private}:2", credentials=ALICE)
        assert await said(host.transfer.log_in(host_name, bad)) == f'Get "http://{host_name}/v2/": {unauthorized}'
        assert await host.transfer.log_in(host_name, ALICE) == ""
        assert await host.transfer.log_in(f"http://{host_name}/v2/", ALICE) == ""
        assert await said(host.transfer.inspect(Reference.parse(f"{host_name}/{private}:1"))) == (
            "errors:\ndenied: requested access to the resource is denied\nunauthorized: authentication required\n"
        )
        assert guarded.tokens is not None
        refresh = Credentials(identity_token=guarded.tokens.refresh_token)
        await host.pull(f"{host_name}/{private}:2", credentials=refresh)
        assert guarded.tokens.requests[-1] == "POST /token (alice)"
        bearer_token = bearer(guarded, private).removeprefix("Bearer ")
        await host.images.tag(str(image.id), Reference.parse(f"{host_name}/{private}:3"))
        await host.push(f"{host_name}/{private}:3", credentials=Credentials(registry_token=bearer_token))
        # A second user does not profit from what the first one proved.
        assert (await said(host.pull(f"{host_name}/{private}:2"))).startswith("pull access denied for ")

    on_host(tmp_path, script)


def test_refusals(registry: Registry, tmp_path: Path) -> None:
    push_image(registry.host, f"t/{tmp_path.name}", "1", LAYERS[:1])
    repository = f"{registry.host}/t/{tmp_path.name}"

    async def script(host: Host) -> None:
        for name, words in {
            f"{repository}:2": f"manifest for {repository}:2 not found: manifest unknown: manifest unknown",
            f"{repository}-no": f"manifest for {repository}-no:latest not found: manifest unknown: manifest unknown",
            f"{repository}@sha256:{'0' * 64}": f"manifest for {repository}@sha256:{'0' * 64} not found: manifest unknown: "
            "manifest unknown",
            "127.0.0.1:1/x": 'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused',
            "onggi.invalid/x": 'Get "https://onggi.invalid/v2/": dial tcp: lookup onggi.invalid: no such host',
        }.items():
            with pytest.raises(OnggiError) as caught:
                await host.pull(name)
            assert str(caught.value) == words
        with pytest.raises(OnggiError) as caught:
            await host.push(f"{repository}-no")
        assert str(caught.value) == f"An image does not exist locally with the tag: {repository}-no"
        assert host.files() == []

    on_host(tmp_path, script)


def test_platforms_of_an_index(registry: Registry, tmp_path: Path) -> None:
    repository = f"t/{tmp_path.name}"
    entries = []
    for architecture in ("arm64", "amd64"):
        platform = {"os": "linux", "architecture": architecture}
        pushed = push_image(
            registry.host, repository, architecture, [layer_of({"arch": architecture.encode()})], platform=platform
        )
        with Uploader(registry.host, repository) as upload:
            size = int(upload.request("HEAD", f"/v2/{repository}/manifests/{architecture}", None,
                                      {"Accept": MANIFEST})[1]["Content-Length"])  # fmt: skip
        entries.append({"mediaType": MANIFEST, "digest": pushed.digest, "size": size, "platform": platform})
    with Uploader(registry.host, repository) as upload:
        digest = upload.manifest("1", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX)

    async def script(host: Host) -> None:
        name = f"{registry.host}/{repository}:1"
        image, lines = await host.pull(name)
        assert str(image.config.platform) == "linux/amd64"
        assert lines[-2] == {"status": f"Digest: {digest}"}
        assert image.repo_digests == [f"{registry.host}/{repository}@{digest}"]
        image, lines = await host.pull(name, platform="linux/arm64")
        assert str(image.config.platform) == "linux/arm64"
        with pytest.raises(OnggiError, match=r"^no matching manifest for linux/s390x in the manifest list entries$"):
            await host.pull(name, platform="linux/s390x")
        descriptor, platforms = await host.transfer.inspect(Reference.parse(name))
        assert (descriptor.digest, [str(platform) for platform in platforms]) == (
            digest,
            ["linux/arm64", "linux/amd64"],
        )
        # A single image is pulled whatever it is for, with a warning when another was asked for.
        _, lines = await host.pull(f"{registry.host}/{repository}:arm64", platform="linux/amd64")
        assert lines[-1]["status"] == (
            f"WARNING: image with reference {registry.host}/{repository}:arm64 was found but its platform (linux/arm64) "
            "does not match the specified platform (linux/amd64)"
        )

    on_host(tmp_path, script)


def test_all_tags(registry: Registry, tmp_path: Path) -> None:
    repository = f"t/{tmp_path.name}"
    for number in range(3):
        push_image(registry.host, repository, str(number), LAYERS[:number])

    async def script(host: Host) -> None:
        lines: list[dict[str, object]] = []
        await host.transfer.pull_all(Reference.parse(f"{registry.host}/{repository}"), lines.append)
        assert sorted(tag for image in host.images.all() for tag in image.repo_tags) == [
            f"{registry.host}/{repository}:{number}" for number in range(3)
        ]
        lines = []
        await host.transfer.push(Reference.parse(f"{registry.host}/{repository}"), lines.append, all_tags=True)
        assert [line["aux"]["Tag"] for line in lines if "aux" in line] == ["0", "1", "2"]  # type: ignore[index]

    on_host(tmp_path, script)


def test_search_by_the_catalogue(registry: Registry, tmp_path: Path) -> None:
    push_image(registry.host, f"t/{tmp_path.name}", "1", [])

    async def script(host: Host) -> None:
        found = await host.transfer.search(f"{registry.host}/{tmp_path.name}", 10, {})
        assert [result.name for result in found] == [f"t/{tmp_path.name}"]
        with pytest.raises(OnggiError, match=r"^limit 101 is outside the range of \[1, 100\]$"):
            await host.transfer.search("x", 101, {})

    on_host(tmp_path, script)


def test_push_in_chunks_when_a_proxy_takes_no_more(tmp_path: Path) -> None:
    async def script(host: Host) -> None:
        async with HostileRegistry() as registry:
            layer = layer_of({"big": os.urandom(20_000_000)})
            pulled = registry.add_image("x/y", "1", [layer], compression="none")
            image, _ = await host.pull(f"{registry.host}/x/y:1")
            received = bytearray()
            uploads = "/v2/a/b/blobs/uploads/"

            async def begin(_: web.Request) -> web.StreamResponse:
                return web.Response(status=202, headers={"Location": f"{uploads}1?state=a"})

            async def patch(request: web.Request) -> web.StreamResponse:
                body = await request.read()
                assert request.headers["Content-Range"] == f"{len(received)}-{len(received) + len(body) - 1}"
                received.extend(body)
                return web.Response(status=202, headers={"Location": f"{uploads}1?state=b"})

            async def put(request: web.Request) -> web.StreamResponse:
                if (request.content_length or 0) > 16 * 1024 * 1024:
                    return web.Response(status=413)
                if request.content_length:
                    await request.read()
                return web.Response(status=201)

            async def manifest(request: web.Request) -> web.StreamResponse:
                assert digest_of(await request.read()) == pulled.digest
                return web.Response(status=201)

            registry.replies["POST", uploads] = begin
            registry.replies["PATCH", f"{uploads}1"] = patch
            registry.replies["PUT", f"{uploads}1"] = put
            registry.replies["PUT", "/v2/a/b/manifests/1"] = manifest
            await host.images.tag(str(image.id), Reference.parse(f"{registry.host}/a/b:1"))
            await host.push(f"{registry.host}/a/b:1")
            assert digest_of(bytes(received)) == pulled.layers[0]

    on_host(tmp_path, script)


def test_mirrors_are_asked_first_and_never_see_credentials(tmp_path: Path) -> None:
    async def run() -> None:
        async with HostileRegistry() as mirror:
            image = mirror.add_image("library/busybox", "latest", LAYERS)
            async with Host(tmp_path / "host", mirrors=[f"http://{mirror.host}"]) as host:
                pulled, lines = await host.pull("busybox", credentials=ALICE)
                assert pulled.id == image.image_id
                assert lines[-1] == {"status": "Status: Downloaded newer image for busybox:latest"}
                assert not any("Authorization" in headers for _, _, headers in mirror.requests)

    asyncio.run(run())


def test_what_a_mirror_lacks_comes_from_the_registry_itself(tmp_path: Path) -> None:
    """A mirror of any registry, by hosts.toml: without the image, with half of it, and with it."""

    async def run() -> None:
        async with HostileRegistry() as mirror, HostileRegistry() as registry:
            image = registry.add_image("x/y", "1", LAYERS)
            directory = tmp_path / "certs.d" / registry.host
            directory.mkdir(parents=True)
            (directory / "hosts.toml").write_text(f'[host."http://{mirror.host}"]\n')
            name = f"{registry.host}/x/y:1"
            for number in range(3):
                registry.requests.clear()
                async with Host(tmp_path / str(number), certificates=[tmp_path / "certs.d"]) as host:
                    pulled, _ = await host.pull(name, credentials=ALICE)
                    assert pulled.id == image.image_id
                    _, lines = await host.pull(name)
                    assert lines[-1]["status"] == f"Status: Image is up to date for {name}"
                blobs = [path for path in registry.paths() if "/blobs/" in path]
                if number == 0:
                    assert len(blobs) == 1 + len(LAYERS)
                    mirror.add_image("x/y", "1", LAYERS)
                    lost = mirror.documents.pop(f"/v2/x/y/blobs/{image.layers[1]}")
                elif number == 1:
                    assert f"/v2/x/y/blobs/{image.layers[1]}" in blobs
                    mirror.documents[f"/v2/x/y/blobs/{image.layers[1]}"] = lost
                else:
                    assert blobs == []
            assert not any("Authorization" in headers for _, _, headers in mirror.requests)

    asyncio.run(run())


def test_loaded_image_travels_compressed_and_keeps_its_digest(registry: Registry, tmp_path: Path) -> None:
    archive = tmp_path / "busybox.tar"
    busybox_archive(archive, name="onggi-test:1")

    async def content() -> AsyncIterator[bytes]:
        yield archive.read_bytes()

    async def script(host: Host) -> None:
        await load(host.images, content(), lambda _: None)
        image = host.images.get("onggi-test:1")
        plain = image.manifest.layers[0].size
        digests = set()
        for number in range(2):
            name = f"{registry.host}/t/{tmp_path.name}:{number}"
            await host.images.tag(str(image.id), Reference.parse(name))
            lines = await host.push(name)
            digests.add(lines[-1]["aux"]["Digest"])
        assert len(digests) == 1
        known = host.images.get(str(image.id))
        assert [name.digest for name in known.digests] == list(digests)
        assert known.manifest.layers[0].media_type.endswith("+gzip")
        assert known.manifest.layers[0].size < plain
        assert known.id == image.id

    on_host(tmp_path, script)

    async def fetch(host: Host) -> None:
        image, _ = await host.pull(f"{registry.host}/t/{tmp_path.name}:0")
        assert host.images.has_layer(image.config.diff_ids[0])

    on_host(tmp_path / "other", fetch)


def test_certificates(tmp_path: Path) -> None:
    """Unknown ones are refused, but of insecure registries; `certs.d` makes them known, and shows ours."""

    async def pull(directory: Path, host_name: str, **options: Any) -> str:
        async with Host(directory, **options) as host:
            try:
                await host.pull(f"{host_name}/x:1")
            except OnggiError as error:
                return str(error)
        return ""

    certificate = Certificate(tmp_path / "certificate")
    with Registry(tmp_path / "registry", certificate=certificate) as registry:
        name = registry.host
        url = f'Get "https://{name}/v2/"'
        unknown = f"{url}: tls: failed to verify certificate: x509: certificate signed by unknown authority"
        words = f"manifest for {name}/x:1 not found: manifest unknown: manifest unknown"
        assert asyncio.run(pull(tmp_path / "1", name, insecure=())) == unknown
        assert asyncio.run(pull(tmp_path / "2", name)) == words
        known = tmp_path / "certs.d" / name
        known.mkdir(parents=True)
        (known / "ca.crt").write_bytes(certificate.path.read_bytes())
        trusting: dict[str, Any] = {"insecure": (), "certificates": [tmp_path / "certs.d"]}
        assert asyncio.run(pull(tmp_path / "3", name, **trusting)) == words
    shown = Certificate(tmp_path / "shown", asked_of_clients=True)
    with Registry(tmp_path / "strict", certificate=shown) as registry:
        name = registry.host
        known = tmp_path / "certs.d" / name
        known.mkdir(parents=True)
        (known / "ca.crt").write_bytes(shown.path.read_bytes())
        refused = asyncio.run(pull(tmp_path / "4", name, **trusting))
        assert refused.startswith(f'Get "https://{name}/v2/": ')
        (known / "client.cert").write_bytes(shown.path.read_bytes())
        (known / "client.key").write_bytes(shown.key.read_bytes())
        assert asyncio.run(pull(tmp_path / "5", name, **trusting)) == (
            f"manifest for {name}/x:1 not found: manifest unknown: manifest unknown"
        )
