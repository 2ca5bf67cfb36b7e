"""Registries that lie, stall and point elsewhere: each gets its sentence, and the store is as before."""

import asyncio
import gzip
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web

from onggi.distribution.credentials import Credentials
from onggi.distribution.http import Deadlines
from onggi.errors import OnggiError
from onggi.oci.reference import Reference
from tests.hostile_registry import HostileRegistry, Reply
from tests.registry import CONFIG, INDEX, LAYER, MANIFEST, basic, digest_of, layer_of
from tests.transfer import IMPATIENT, Host

T = TypeVar("T")
ALICE = Credentials("alice", "secret")
LAYERS = [layer_of({"a": b"x" * 1000}), layer_of({"b": os.urandom(3_000_000)})]


def attack(
    tmp_path: Path, script: Callable[[HostileRegistry, Host], Awaitable[T]], *, deadlines: Deadlines = IMPATIENT
) -> T:
    """Run `script` against a hostile registry and a host of its own."""

    async def run() -> T:
        async with HostileRegistry() as registry, Host(tmp_path / "host", deadlines=deadlines) as host:
            async with asyncio.timeout(60):
                return await script(registry, host)

    return asyncio.run(run())


async def refusal(host: Host, name: str, **options: Any) -> str:
    """What the pull says; nothing of it stays but what is whole and verified."""
    with pytest.raises(OnggiError) as caught:
        await host.pull(name, **options)
    assert not host.images.all()
    return str(caught.value)


def serve(
    body: bytes, *, status: int = 200, length: int | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """These bytes, with `length` as their announced length; then the connection ends."""

    async def reply(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(body) if length is None else length
        await response.prepare(request)
        await response.write(body)
        assert request.transport is not None
        request.transport.close()
        return response

    return reply


def redirect(location: str, status: int = 307) -> Reply:
    async def reply(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": location})

    return reply


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65536)


async def dripping(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = 10_000_000
    await response.prepare(request)
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.05)


# Bytes that are not what they were named


def test_wrong_bytes_of_a_layer(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        image = registry.add_image("x/y", "1", LAYERS)
        path = f"/v2/x/y/blobs/{image.layers[1]}"
        honest = registry.documents[path]
        registry.documents[path] = os.urandom(len(honest[0])), "application/octet-stream"
        said = await refusal(host, f"{registry.host}/x/y:1")
        assert said == f"filesystem layer verification failed for digest {image.layers[1]}"
        assert f"blobs/sha256/{image.layers[1].removeprefix('sha256:')}" not in host.files()
        assert not [name for name in host.files() if name.startswith("ingest/")]
        registry.documents[path] = honest
        await host.pull(f"{registry.host}/x/y:1")

    attack(tmp_path, script)


def test_wrong_bytes_of_a_manifest_and_a_configuration(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        image = registry.add_image("x/y", "1", LAYERS)
        manifest, config = f"/v2/x/y/manifests/{image.digest}", f"/v2/x/y/blobs/{image.image_id}"
        honest = registry.documents[manifest]
        registry.documents[manifest] = honest[0] + b" ", MANIFEST
        said = await refusal(host, f"{registry.host}/x/y@{image.digest}")
        assert said == f"manifest verification failed for digest {image.digest}"
        registry.documents[manifest] = honest
        registry.documents[config] = b'{"architecture":"amd64"}', CONFIG
        said = await refusal(host, f"{registry.host}/x/y:1")
        assert said == f"image config verification failed for digest {image.image_id}"
        assert not [name for name in host.files() if name.startswith("blobs/")]

    attack(tmp_path, script)


@pytest.mark.parametrize("claimed", [1_000_000, 10**9, 2**62])
def test_a_layer_of_another_length_than_announced(tmp_path: Path, claimed: int) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        image = registry.add_image("x/y", "1", LAYERS[1:])
        layer = {**image.manifest["layers"][0], "size": claimed}
        registry.add_manifest("x/y", "lie", {**image.manifest, "layers": [layer]})
        said = await refusal(host, f"{registry.host}/x/y:lie")
        length = len(registry.documents[f"/v2/x/y/blobs/{image.layers[0]}"][0])
        if claimed < length:
            assert said.startswith(f"filesystem layer verification failed for digest {image.layers[0]}")
        else:
            assert said == f"{image.layers[0]}: the registry sent {length} of {claimed} bytes: unexpected EOF"

    attack(tmp_path, script)


def test_truncated_layer_is_resumed_and_then_given_up(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        image = registry.add_image("x/y", "1", LAYERS[1:])
        path = f"/v2/x/y/blobs/{image.layers[0]}"
        content = registry.documents[path][0]
        registry.replies["GET", path] = serve(content[:1000], length=len(content))
        said = await refusal(host, f"{registry.host}/x/y:1")
        assert said == f'Get "http://{registry.host}{path}": unexpected EOF'
        ranges = [headers.get("Range") for _, asked, headers in registry.requests if asked == path]
        assert ranges == [None, *["bytes=1000-"] * 4]
        # What has come stays for the next try, but is no blob.
        assert [name.split("/")[0] for name in host.files()].count("ingest") == 1

    attack(tmp_path, script)


def test_registry_that_dies_now_and_then(tmp_path: Path) -> None:
    """Each connection brings a part; the pull asks for the rest, and only if nothing has changed."""

    async def script(registry: HostileRegistry, host: Host) -> None:
        image = registry.add_image("x/y", "1", LAYERS[1:])
        path = f"/v2/x/y/blobs/{image.layers[0]}"
        content = registry.documents[path][0]

        async def part(request: web.Request) -> web.StreamResponse:
            start = int(request.headers.get("Range", "bytes=0-")[6:-1])
            body = content[start : start + 1_200_000]
            headers = {"ETag": '"v1"', "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            reply = serve(body, status=206 if start else 200, length=len(content) - start, headers=headers)
            return await reply(request)

        registry.replies["GET", path] = part
        await host.pull(f"{registry.host}/x/y:1")
        asked = [headers for _, requested, headers in registry.requests if requested == path]
        assert [headers.get("Range") for headers in asked] == [None, "bytes=1200000-", "bytes=2400000-"]
        assert [headers.get("If-Range") for headers in asked] == [None, '"v1"', '"v1"']

    attack(tmp_path, script)


def test_blob_that_changes_between_connections_is_fetched_anew(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        image = registry.add_image("x/y", "1", LAYERS[1:])
        path = f"/v2/x/y/blobs/{image.layers[0]}"
        content = registry.documents[path][0]
        tries = 0

        async def first_garbage(request: web.Request) -> web.StreamResponse:
            nonlocal tries
            tries += 1
            if tries == 1:
                return await serve(b"garbage" * 1000, length=len(content))(request)
            return web.Response(body=content)  # no ranges: all of it, from the start

        registry.replies["GET", path] = first_garbage
        await host.pull(f"{registry.host}/x/y:1")
        assert tries == 3

    attack(tmp_path, script)


def test_another_range_than_asked_for(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        image = registry.add_image("x/y", "1", LAYERS[1:])
        path = f"/v2/x/y/blobs/{image.layers[0]}"
        content = registry.documents[path][0]

        async def reply(request: web.Request) -> web.StreamResponse:
            if "Range" not in request.headers:
                return await serve(content[:5000], length=len(content))(request)
            return web.Response(status=206, body=content, headers={"Content-Range": f"bytes 0-9/{len(content)}"})

        registry.replies["GET", path] = reply
        said = await refusal(host, f"{registry.host}/x/y:1")
        assert said == f"the registry sent another range of {image.layers[0]} than asked for"

    attack(tmp_path, script)


def test_diff_ids_that_do_not_match(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        wrong = {"rootfs": {"type": "layers", "diff_ids": [digest_of(b"other"), digest_of(LAYERS[1])]}}
        registry.add_image("x/y", "diff", LAYERS, config=wrong)
        registry.add_image("x/y", "few", LAYERS, config={"rootfs": {"type": "layers", "diff_ids": []}})
        assert await refusal(host, f"{registry.host}/x/y:diff") == (
            f"the layer's content is {digest_of(LAYERS[0])}, not {digest_of(b'other')} as its image says"
        )
        words = "layers from manifest don't match image configuration"
        assert await refusal(host, f"{registry.host}/x/y:few") == words

    attack(tmp_path, script)


@pytest.mark.parametrize(
    ("document", "media_type", "words"),
    [
        ({"schemaVersion": 2, "layers": [], "manifests": []}, MANIFEST,
         "ambiguous manifest: it has both layers and manifests"),
        ({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}, MANIFEST,
         f"the manifest calls itself {INDEX} but was announced as {MANIFEST}"),
        ({"schemaVersion": 1, "fsLayers": [], "history": []}, "application/vnd.docker.distribution.manifest.v1+prettyjws",
         "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Push the image "
         "again with a current version of Docker or another tool, to use the OCI format"),
        ({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
          "config": {"mediaType": "application/vnd.x\x1b[2J", "digest": digest_of(b""), "size": 0}}, MANIFEST,
         "unsupported media type application/vnd.x\\x1b[2J"),
        ({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": MANIFEST, "digest": digest_of(b""), "size": 1,
          "platform": {"os": "linux", "architecture": "s390x"}}]}, INDEX,
         "no matching manifest for linux/amd64 in the manifest list entries"),
        ({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": CONFIG, "digest": "md5:" + "0" * 32, "size": 1},
          "layers": []}, MANIFEST, "unsupported digest algorithm: md5"),
        ({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": CONFIG, "digest": digest_of(b""), "size": -1},
          "layers": []}, MANIFEST, "invalid manifest: Expected `int` >= 0 - at `$.config.size`"),
        (b"[" * 100_000, MANIFEST, "invalid manifest: "),
        (b"\xff\xfe", MANIFEST, "invalid manifest: "),
    ],
)  # fmt: skip
def test_documents_that_are_no_manifest(tmp_path: Path, document: Any, media_type: str, words: str) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        registry.add_manifest("x/y", "1", document, media_type)
        said = await refusal(host, f"{registry.host}/x/y:1")
        assert said.startswith(words)
        assert host.files() == []

    attack(tmp_path, script)


def test_index_within_index(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        platform = {"os": "linux", "architecture": "amd64"}
        document: dict[str, Any] = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
        for depth in range(5):
            digest = registry.add_manifest("x/y", str(depth), document, INDEX)
            size = len(json.dumps(document))
            entry = {"mediaType": INDEX, "digest": digest, "size": size, "platform": platform}
            document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
        assert await refusal(host, f"{registry.host}/x/y:4") == "the index holds an index within an index"

    attack(tmp_path, script)


def test_layers_from_elsewhere_are_refused(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        image = registry.add_image("x/y", "1", LAYERS)
        layer = {**image.manifest["layers"][0], "urls": [f"http://{registry.host}/elsewhere"]}
        layer["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        registry.add_manifest("x/y", "1", {**image.manifest, "layers": [layer, image.manifest["layers"][1]]})
        said = await refusal(host, f"{registry.host}/x/y:1")
        assert said == f"refused: layer {image.layers[0]} is to be fetched from another place than the registry"
        assert "/elsewhere" not in registry.paths()

    attack(tmp_path, script)


# Never coming to an end


def test_endless_manifest(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        registry.replies["GET", "/v2/x/y/manifests/1"] = endless
        assert await refusal(host, f"{registry.host}/x/y:1") == "the manifest is larger than 4194304 bytes"

    attack(tmp_path, script)


def test_endless_layer(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        image = registry.add_image("x/y", "1", LAYERS[:1])
        registry.replies["GET", f"/v2/x/y/blobs/{image.layers[0]}"] = endless
        said = await refusal(host, f"{registry.host}/x/y:1")
        assert said.startswith(f"filesystem layer verification failed for digest {image.layers[0]}: ")
        assert not [name for name in host.files() if name.startswith("ingest/")]

    attack(tmp_path, script)


def test_dripping_manifest_and_layer(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        image = registry.add_image("x/y", "1", LAYERS[1:])
        manifest, layer = "/v2/x/y/manifests/1", f"/v2/x/y/blobs/{image.layers[0]}"
        registry.replies["GET", manifest] = dripping
        begun = time.monotonic()
        said = await refusal(host, f"{registry.host}/x/y:1")
        assert said == f'Get "http://{registry.host}{manifest}": no whole answer within 5 seconds'
        del registry.replies["GET", manifest]
        registry.replies["GET", layer] = dripping
        said = await refusal(host, f"{registry.host}/x/y:1")
        assert said.startswith(f"{image.layers[0]} trickles: ")
        assert said.endswith(" bytes in 2 seconds")
        assert time.monotonic() - begun < 55

    impatient = Deadlines(document_s=5, trickle_s=2, trickle_bytes=1000, retry_s=0.01, most_tries=2)
    attack(tmp_path, script, deadlines=impatient)


def test_silence(tmp_path: Path) -> None:
    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    async def script(registry: HostileRegistry, host: Host) -> None:
        image = registry.add_image("x/y", "1", LAYERS[:1])
        path = f"/v2/x/y/blobs/{image.layers[0]}"
        registry.replies["GET", path] = silent
        said = await refusal(host, f"{registry.host}/x/y:1")
        assert said == f'Get "http://{registry.host}{path}": net/http: timeout awaiting response'

    attack(tmp_path, script, deadlines=Deadlines(idle_s=4, retry_s=0.01, most_tries=2))


def test_endless_tags(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        count = 0

        async def page(request: web.Request) -> web.StreamResponse:
            nonlocal count
            count += 1
            link = f'</v2/x/y/tags/list?last={count}>; rel="next"'
            return web.json_response({"tags": [f"t{count}"]}, headers={"Link": link})

        registry.replies["GET", "/v2/x/y/tags/list"] = page
        with pytest.raises(OnggiError, match=r"^the registry's list of tags has more than 1000 pages$"):
            await host.transfer.pull_all(Reference.parse(f"{registry.host}/x/y"), lambda _: None)

    attack(tmp_path, script)


# Pointing elsewhere


def test_redirects_end(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        path = "/v2/x/y/manifests/1"
        registry.replies["GET", path] = redirect(path)
        assert await refusal(host, f"{registry.host}/x/y:1") == (
            f'Get "http://{registry.host}{path}": stopped after 10 redirects'
        )
        assert registry.paths().count(path) == 11

    attack(tmp_path, script)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("file:///etc/passwd", "refused: 127.0.0.1 redirects to 'file:///etc/passwd'"),
        ("http://alice:secret@127.0.0.1:1/", "refused: 127.0.0.1 redirects to 'http://alice:secret@127.0.0.1:1/'"),
        ("http://169.254.169.254/x", "refused: the registry refers to 169.254.169.254, a special address that is not its own"),
        ("http://[fd00:ec2::254]/", "refused: the registry refers to fd00:ec2::254, a special address that is not its own"),
        ("http://10.1.2.3/", "refused: the registry refers to 10.1.2.3, a private address that is not its own"),
        ("http://[::ffff:10.1.2.3]/", "refused: the registry refers to ::ffff:10.1.2.3, a private address that is not its own"),
        ("http://0.0.0.0:80/", "refused: the registry refers to 0.0.0.0, a special address that is not its own"),
        ("", "refused: 127.0.0.1 redirects to ''"),
    ],
)  # fmt: skip
def test_redirects_to_places_that_are_none_of_its_business(tmp_path: Path, location: str, words: str) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        registry.replies["GET", "/v2/x/y/manifests/1"] = redirect(location)
        assert await refusal(host, f"{registry.host}/x/y:1") == words

    attack(tmp_path, script)


def test_credentials_stay_with_their_origin(tmp_path: Path) -> None:
    """A blob that lies elsewhere is fetched there, without the proof."""

    async def script(registry: HostileRegistry, host: Host) -> None:
        async with HostileRegistry() as other:
            image = registry.add_image("x/y", "1", LAYERS)

            async def challenge(request: web.Request) -> web.StreamResponse:
                if request.headers.get("Authorization") == basic("alice", "secret"):
                    return web.json_response({})
                return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"', "Set-Cookie": "a=b"})

            registry.replies["GET", "/v2/"] = challenge
            for digest in image.layers:
                path = f"/v2/x/y/blobs/{digest}"
                other.documents[f"/cdn{path}"] = registry.documents[path]
                registry.replies["GET", path] = redirect(f"http://{other.host}/cdn{path}?signature=a%2Fb%3D%3D")
            await host.pull(f"{registry.host}/x/y:1", credentials=ALICE)
            assert len(other.requests) == 2
            for _, path, headers in other.requests:
                assert path.endswith("?signature=a%2Fb%3D%3D")
                assert not {"Authorization", "Cookie"} & set(headers)
            assert all(
                headers.get("Authorization") == basic("alice", "secret")
                for _, path, headers in registry.requests
                if path != "/v2/"
            )
            assert not any("Cookie" in headers for _, _, headers in registry.requests)

    attack(tmp_path, script)


@pytest.mark.parametrize(
    ("realm", "words"),
    [
        ("file:///etc/passwd", "refused: the registry names 'file:///etc/passwd' as its token server"),
        ("http://u:p@127.0.0.1:1/t", "refused: the registry names 'http://u:p@127.0.0.1:1/t' as its token server"),
        ("http://169.254.169.254/t", "refused: the registry refers to 169.254.169.254, a special address that is not its own"),
        ("http://192.168.1.1/t", "refused: the registry refers to 192.168.1.1, a private address that is not its own"),
        ("", "refused: the registry names '' as its token server"),
    ],
)  # fmt: skip
def test_token_servers_that_must_not_be_asked(tmp_path: Path, realm: str, words: str) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        async def challenge(_: web.Request) -> web.StreamResponse:
            return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'})

        registry.replies["GET", "/v2/"] = challenge
        assert await refusal(host, f"{registry.host}/x/y:1", credentials=ALICE) == words

    attack(tmp_path, script)


def test_token_server_elsewhere_gets_the_password_and_no_other(tmp_path: Path) -> None:
    """Tokens go to the registry only; the password to the token server only."""

    async def script(registry: HostileRegistry, host: Host) -> None:
        async with HostileRegistry() as tokens:
            registry.add_image("x/y", "1", LAYERS)

            async def token(_: web.Request) -> web.StreamResponse:
                return web.json_response({"token": "opaque"})

            async def challenge(_: web.Request) -> web.StreamResponse:
                realm = f'Bearer realm="http://{tokens.host}/token",service="x"'
                return web.Response(status=401, headers={"WWW-Authenticate": realm})

            tokens.replies["GET", "/token"] = token
            registry.replies["GET", "/v2/"] = challenge
            await host.pull(f"{registry.host}/x/y:1", credentials=ALICE)
            assert tokens.paths() == ["/token?service=x&scope=repository:x/y:pull&account=alice"]
            assert tokens.requests[0][2]["Authorization"] == basic("alice", "secret")
            proofs = {headers.get("Authorization") for _, path, headers in registry.requests if path != "/v2/"}
            assert proofs == {"Bearer opaque"}

    attack(tmp_path, script)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"{}", "authorization server did not include a token in the response"),
        (b"no JSON", "the token server's answer is not a token"),
        (b'{"token": "a\\r\\nX-Evil: 1"}', "the token has characters that no token may have"),
        (b"x" * 1_000_000, "the token server's answer is larger than 524288 bytes"),
    ],
)
def test_token_servers_that_give_no_token(tmp_path: Path, reply: bytes, words: str) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        async def token(_: web.Request) -> web.StreamResponse:
            return web.Response(body=reply)

        async def challenge(_: web.Request) -> web.StreamResponse:
            realm = f'Bearer realm="http://{registry.host}/token",service="x"'
            return web.Response(status=401, headers={"WWW-Authenticate": realm})

        registry.replies["GET", "/token"] = token
        registry.replies["GET", "/v2/"] = challenge
        assert await refusal(host, f"{registry.host}/x/y:1") == words

    attack(tmp_path, script)


def test_upload_that_shall_go_on_elsewhere(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        async with HostileRegistry() as other:
            registry.add_image("x/y", "1", LAYERS)
            image, _ = await host.pull(f"{registry.host}/x/y:1")

            async def begin(_: web.Request) -> web.StreamResponse:
                return web.Response(status=202, headers={"Location": f"http://{other.host}/take"})

            registry.replies["POST", "/v2/a/b/blobs/uploads/"] = begin
            await host.images.tag(str(image.id), Reference.parse(f"{registry.host}/a/b:1"))
            with pytest.raises(
                OnggiError, match=r"^refused: the registry continues an upload at 'http://127"
            ) as caught:
                await host.push(f"{registry.host}/a/b:1", credentials=ALICE)
            assert str(caught.value).endswith("/take'")
            assert other.requests == []

    attack(tmp_path, script)


# Refusals (the registry's words are shown, but do nothing to a terminal)


def test_words_of_a_registry_are_escaped(tmp_path: Path) -> None:
    async def evil(_: web.Request) -> web.StreamResponse:
        errors = [{"code": "DENIED", "message": "\x1b]0;owned\x07no\nway"}]
        return web.json_response({"errors": errors}, status=403)

    async def script(registry: HostileRegistry, host: Host) -> None:
        registry.replies["GET", "/v2/x/y/manifests/1"] = evil
        assert await refusal(host, f"{registry.host}/x/y:1") == (
            f"pull access denied for {registry.host}/x/y, repository does not exist or may require 'docker login': "
            "denied: \\x1b]0;owned\\x07no\\nway"
        )

    attack(tmp_path, script)


def test_too_many_requests_are_waited_for(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        image = registry.add_image("x/y", "1", LAYERS)
        path = f"/v2/x/y/blobs/{image.layers[0]}"
        content = registry.documents[path][0]
        tries = 0

        async def reply(_: web.Request) -> web.StreamResponse:
            nonlocal tries
            tries += 1
            if tries < 3:
                return web.Response(status=429, headers={"Retry-After": "3600"})
            return web.Response(body=content)

        registry.replies["GET", path] = reply
        await host.pull(f"{registry.host}/x/y:1")
        assert tries == 3

    attack(tmp_path, script)


def test_header_of_a_megabyte(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        async def reply(_: web.Request) -> web.StreamResponse:
            return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{"x" * 1_000_000}"'})

        registry.replies["GET", "/v2/"] = reply
        said = await refusal(host, f"{registry.host}/x/y:1")
        assert said.startswith(f'Get "http://{registry.host}/v2/": malformed HTTP response: ')

    attack(tmp_path, script)


def test_compressed_answers_are_not_inflated(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        bomb = gzip.compress(b"\0" * 50_000_000, 9)
        registry.replies["GET", "/v2/x/y/manifests/1"] = serve(bomb, headers={"Content-Encoding": "gzip"})
        assert (await refusal(host, f"{registry.host}/x/y:1")).startswith("invalid manifest: ")

    attack(tmp_path, script)


def test_registry_that_is_not_told_to_be_insecure_is_never_spoken_to_in_plain(tmp_path: Path) -> None:
    async def run() -> None:
        async with HostileRegistry() as registry, Host(tmp_path / "host", insecure=()) as host:
            registry.add_image("x/y", "1", LAYERS)
            said = await refusal(host, f"{registry.host}/x/y:1")
            assert said.startswith(f'Get "https://{registry.host}/v2/": tls: ')
            assert registry.requests == []

    asyncio.run(run())


def test_layer_types_are_known_ones(tmp_path: Path) -> None:
    async def script(registry: HostileRegistry, host: Host) -> None:
        image = registry.add_image("x/y", "1", LAYERS)
        layers = [{**layer, "mediaType": LAYER + "+brotli"} for layer in image.manifest["layers"]]
        registry.add_manifest("x/y", "1", {**image.manifest, "layers": layers})
        assert await refusal(host, f"{registry.host}/x/y:1") == f"unsupported media type {LAYER}+brotli"

    attack(tmp_path, script)
