"""images.whole_index: what of an index can be kept whole, and what is refused."""

import asyncio
import json
from collections.abc import Mapping

import pytest

from onggi.distribution.repository import Document
from onggi.errors import OnggiError
from onggi.images.whole_index import WholeIndex, read_index
from onggi.oci.descriptor import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor
from onggi.oci.digest import Digest


def _described(content: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}


def _manifest(word: str) -> bytes:
    config = _described(f"config of {word}".encode(), OCI_CONFIG)
    layers = [_described(b"shared", OCI_LAYER), _described(word.encode(), OCI_LAYER)]
    return json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
    ).encode()  # fmt: skip


def _index(*entries: dict[str, object]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()


def read(top: bytes, documents: Mapping[Digest, bytes]) -> WholeIndex:
    async def document(entry: Descriptor) -> bytes:
        return documents[entry.digest]

    return asyncio.run(read_index(Document(top, OCI_INDEX, Digest.of(top)), document))


def by_digest(*contents: bytes) -> dict[Digest, bytes]:
    return {Digest.of(content): content for content in contents}


def test_what_is_listed_comes_before_what_lists_it_each_once() -> None:
    one, two = _manifest("one"), _manifest("two")
    inner = _index(_described(one, OCI_MANIFEST))
    top = _index(_described(inner, OCI_INDEX), _described(one, OCI_MANIFEST), _described(two, OCI_MANIFEST))
    found = read(top, by_digest(one, two, inner))
    assert [member.content for member in found.documents] == [one, inner, two]
    assert len(found.blobs) == 5  # two configurations, three layers
    assert found.digests == {Digest.of(top), *by_digest(one, two, inner), *(blob.digest for blob in found.blobs)}


def test_an_index_in_itself_far_down_is_refused() -> None:
    contents = [_index(_described(_manifest("x"), OCI_MANIFEST))]
    for _ in range(4):
        contents.append(_index(_described(contents[-1], OCI_INDEX)))
    with pytest.raises(OnggiError, match="deep"):
        read(contents[-1], by_digest(_manifest("x"), *contents))


def test_more_manifests_than_anybody_has_are_refused() -> None:
    manifests = [_manifest(str(number)) for number in range(600)]
    halves = [_index(*(_described(one, OCI_MANIFEST) for one in part)) for part in (manifests[:400], manifests[200:])]
    more = [_manifest(f"more {number}") for number in range(500)]
    top = _index(*(_described(half, OCI_INDEX) for half in halves), *(_described(one, OCI_MANIFEST) for one in more))
    with pytest.raises(OnggiError, match="more than 1000 manifests"):
        read(top, by_digest(*manifests, *halves, *more))


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({**_described(_manifest("x"), OCI_MANIFEST), "size": 3}, "not 3"),
        (_described(b"odd", "application/vnd.example.odd"), "which is no manifest"),
        (_described(b"{}", OCI_MANIFEST), "unsupported manifest"),
        (_described(_index(), OCI_MANIFEST), "calls itself"),
    ],
)
def test_what_is_not_what_it_is_listed_as_is_refused(entry: dict[str, object], sentence: str) -> None:
    with pytest.raises(OnggiError, match=sentence):
        read(_index(entry), by_digest(_manifest("x"), b"odd", b"{}", _index()))


def test_manifests_of_more_bytes_than_memory_has_are_refused() -> None:
    manifests = [_manifest(str(number)) for number in range(40)]
    with pytest.raises(OnggiError, match="more than 67108864 bytes"):
        read(
            _index(*({**_described(one, OCI_MANIFEST), "size": 4 << 20} for one in manifests)),
            {Digest.of(one): one.ljust(4 << 20) for one in manifests},
        )


def test_layers_that_are_to_be_had_elsewhere_are_left_there() -> None:
    foreign = {
        **_described(b"elsewhere", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
        "urls": ["https://example.com/layer"],
    }
    manifest = json.loads(_manifest("windows"))
    manifest["layers"].insert(0, foreign)
    content = json.dumps(manifest).encode()
    found = read(_index(_described(content, OCI_MANIFEST)), by_digest(content))
    assert Digest.of(b"elsewhere") not in found.digests
    assert len(found.blobs) == 3
