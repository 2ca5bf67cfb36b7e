"""Images without an engine: load, save, import and commit."""

import asyncio
import gzip
import lzma
import os
import stat
import tarfile
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import zstandard

from onggi.errors import Conflict, InvalidParameter, NotFound, OnggiError
from onggi.images.load import load
from onggi.images.making import commit_container, import_image
from onggi.images.save import save
from onggi.images.worker_process import Integrity
from onggi.oci.image import ImageConfig, ImageContainerConfig
from onggi.oci.reference import Reference
from tests.image_store import Store, shown, stream, tree, tree_of, with_store
from tests.images import BASE, TOP, archive, digest, directory, file, image_config, layer, oci_layout, special, symlink


def test_load_says_what_docker_says_and_stacks_the_layers(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        said = await store.load(archive(tmp_path, BASE, TOP, names=("img:1", "quay.io/x/img:2")))
        assert said == [{"stream": "Loaded image: img:1\n"}, {"stream": "Loaded image: quay.io/x/img:2\n"}]
        image = store.images.get("img:1")
        assert image.id == store.images.get("quay.io/x/img:2").id == digest(image_config([BASE, TOP]))
        assert image.size_bytes == sum(store.images.layer_sizes(image))
        found = await tree_of(store, image)
        assert {path for path in found if not path.startswith("var")} == {
            ".", "etc", "etc/a", "root", "root/x", "gone", "gone/new", "tmp", "link", "hard", "null", "pipe"
        }  # fmt: skip
        assert found["etc"][0] == "drwxr-xr-x"
        assert found["etc/a"][4] == b"upper a"
        assert found["hard"][:2] == ("-rwsr-xr-x", 5)
        assert found["tmp"][0] == "drwxrwxrwt"
        assert found["null"][4] == os.makedev(1, 3)
        assert set(found) & {"var/data/old", "var/data/new"} == {"var/data/new"}

    with_store(tmp_path / "data", work)


def test_a_name_that_moves_leaves_its_image_without_one(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.load(archive(tmp_path, BASE))
        first = store.images.get("img:1").id
        assert await store.load(archive(tmp_path, BASE, TOP)) == [
            {"stream": f"The image img:1 already exists, renaming the old one with ID {first} to empty string\n"},
            {"stream": "Loaded image: img:1\n"},
        ]
        assert store.images.get(first).names == ()

    with_store(tmp_path / "data", work)


@pytest.mark.parametrize("kind", ["gzip", "zstd", "xz", "layout", "nameless"])
def test_all_forms_of_archives_are_loaded(kind: str, tmp_path: Path) -> None:
    path = archive(tmp_path, BASE, TOP, names=() if kind == "nameless" else ("img:1",))
    if kind == "layout":
        oci_layout(path, ["docker.io/library/img:1"], [BASE, TOP])
    data = path.read_bytes()
    compress = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress, "xz": lzma.compress}.get(
        kind, bytes
    )

    async def work(store: Store) -> None:
        said = await store.load(compress(data))
        image_id = digest(image_config([BASE, TOP]))
        assert said == [{"stream": f"Loaded image ID: {image_id}\n" if kind == "nameless" else "Loaded image: img:1\n"}]
        assert (await tree_of(store, store.images.get(image_id)))["etc/a"][4] == b"upper a"

    with_store(tmp_path / "data", work)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, zstandard.ZstdCompressor().compress])
def test_compressed_layers_of_an_archive_are_loaded(compress: Any, tmp_path: Path) -> None:
    """As podman and buildah may write them."""
    path = tmp_path / "compressed.tar"
    manifest = b'[{"Config":"c.json","RepoTags":["img:1"],"Layers":["l"]}]'
    path.write_bytes(
        layer([file("c.json", image_config([BASE])), file("l", compress(BASE)), file("manifest.json", manifest)])
    )

    async def work(store: Store) -> None:
        assert await store.load(path) == [{"stream": "Loaded image: img:1\n"}]
        assert await store.load(path) == [{"stream": "Loaded image: img:1\n"}]
        saved = await read_saved(store, ["img:1"])
        assert saved[f"blobs/sha256/{digest(BASE)[7:]}"] == BASE

    with_store(tmp_path / "data", work)


def _hostile(
    members: Mapping[str, bytes] = MappingProxyType({}),
    *,
    config: str = "c.json",
    layers: str = '"l"',
    tags: str = '"img:1"',
) -> bytes:
    manifest = f'[{{"Config":"{config}","RepoTags":[{tags}],"Layers":[{layers}]}}]'.encode()
    found = {"c.json": image_config([BASE]), "l": BASE, "manifest.json": manifest, **members}
    return layer([file(name, data) for name, data in found.items()])


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"junk", "failed to read the archive: unexpected end of the archive"),
        (b"", "the archive holds neither manifest.json nor index.json: it is no archive of images"),
        (layer([file("x")]), "the archive holds neither manifest.json nor index.json: it is no archive of images"),
        (_hostile(config="../c.json"), "the archive's file ../c.json can't be read: Invalid cross-device link"),
        (_hostile(config="/etc/passwd"), "the archive's file /etc/passwd can't be read: Invalid cross-device link"),
        (_hostile(layers='"nope"'), "the archive has no file nope"),
        (_hostile(layers='"l","l"'), "invalid manifest, layers length mismatch: expected 2, got 1"),
        (_hostile(tags='"Img:1"'), "invalid reference format: repository name (library/Img) must be lowercase"),
        (_hostile(tags='"img"'), "invalid tag 'img'"),
        (_hostile({"manifest.json": b"{"}), "invalid manifest.json in the archive: Expected `array`, got `object`"),
        (_hostile({"c.json": b"[]"}), "invalid image configuration: Expected `object`, got `array`"),
        (_hostile({"l": TOP}), f'invalid diffID for layer 0: expected "{digest(BASE)}", got "{digest(TOP)}"'),
        (_hostile({"l": gzip.compress(TOP)}), f'invalid diffID for layer 0: expected "{digest(BASE)}", got "{digest(TOP)}"'),
        (layer([*((symlink("l", "/etc/passwd"),)), file("c.json", image_config([BASE])),
                file("manifest.json", b'[{"Config":"c.json","Layers":["l"]}]')]),
         "the archive's file l can't be read: Invalid cross-device link"),
        (layer([directory("l"), file("c.json", image_config([BASE])),
                file("manifest.json", b'[{"Config":"c.json","Layers":["l"]}]')]),
         "the archive's file l is no regular file"),
        (layer([special("l", tarfile.FIFOTYPE)]),
         "failed to read the archive: a device or FIFO is not expected in this archive: 'l'"),
        (layer([file("../x")]), "failed to read the archive: the path leads out of the layer: '../x'"),
        (gzip.compress(_hostile())[:-9], "failed to read the archive: the compressed stream ends too early"),
    ],
)  # fmt: skip
def test_bad_archives_are_refused_and_leave_nothing(data: bytes, sentence: str, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        with pytest.raises(OnggiError) as refused:
            await store.load(data)
        assert str(refused.value) == sentence
        assert store.images.all() == []

    with_store(tmp_path / "data", work)

    async def after(store: Store) -> None:
        assert await store.settled() == set()
        await store.load(_hostile())  # the right one works afterwards
        assert (await tree_of(store, store.images.get("img:1")))["etc/a"][4] == b"lower a"

    with_store(tmp_path / "data", after)


def test_a_client_that_hangs_up_leaves_nothing(tmp_path: Path) -> None:
    data = archive(tmp_path, BASE).read_bytes()

    async def hangs_up(at: int) -> AsyncIterator[bytes]:
        yield data[:at]
        raise ConnectionResetError("the client is gone")

    async def work(store: Store) -> None:
        # Even where the archive would be whole already.
        for at in (1000, len(data)):
            with pytest.raises(ConnectionResetError):
                await load(store.images, hangs_up(at), lambda message: None)
            with pytest.raises(ConnectionResetError):
                await import_image(store.images, hangs_up(at), None, "", [])
        assert store.images.all() == []
        assert await store.settled() == set()

    with_store(tmp_path / "data", work)


async def read_saved(store: Store, names: list[str]) -> dict[str, bytes]:
    data = bytearray()
    async with await save(store.images, names) as saved:
        async for piece in saved.pieces():
            data += piece
    with tempfile.TemporaryFile() as out:
        out.write(data)
        out.seek(0)
        with tarfile.open(fileobj=out) as tar:
            members = {info.name: tar.extractfile(info).read() for info in tar if info.isreg()}  # type: ignore[union-attr]
    members["archive"] = bytes(data)
    return members


def test_what_is_saved_can_be_loaded(tmp_path: Path) -> None:
    path = archive(tmp_path, BASE, TOP, names=("img:1", "img:2", "other:1"), Env=["A=b"])

    async def first(store: Store) -> tuple[dict[str, bytes], dict[str, Any]]:
        await store.load(path)
        return await read_saved(store, ["img"]), await tree_of(store, store.images.get("img:1"))

    saved, before = with_store(tmp_path / "one", first)
    for name, data in saved.items():
        if name.startswith("blobs/"):
            assert digest(data) == f"sha256:{name.rpartition('/')[2]}"
    assert b'"RepoTags":["img:1","img:2"]' in saved["manifest.json"]
    assert b'"io.containerd.image.name":"docker.io/library/img:2"' in saved["index.json"]

    async def second(store: Store) -> dict[str, Any]:
        assert await store.load(saved["archive"]) == [{"stream": f"Loaded image: img:{tag}\n"} for tag in (1, 2)]
        return await tree_of(store, store.images.get("img:1"))

    assert with_store(tmp_path / "two", second) == before


@pytest.mark.parametrize("more_bytes", [-1 << 20, 0, 16 << 20])
def test_save_breaks_off_at_a_blob_that_holds_another_layer(more_bytes: int, tmp_path: Path) -> None:
    """Of any length: one that is longer than it should be must not keep its worker, nor the client, waiting."""
    content = os.urandom(2 << 20)
    path = tmp_path / "compressed.tar"
    plain = layer([file("data", content)])
    manifest = b'[{"Config":"c.json","RepoTags":["img:1"],"Layers":["l"]}]'
    blob = gzip.compress(plain)
    path.write_bytes(layer([file("manifest.json", manifest), file("c.json", image_config([plain])), file("l", blob)]))
    other = layer([file("data", b"\0" * (len(content) + more_bytes))])

    async def work(store: Store) -> None:
        await store.load(path)
        assert (await read_saved(store, ["img:1"]))[f"blobs/sha256/{digest(plain)[7:]}"] == plain
        stored = store.root / "content/blobs/sha256" / digest(blob)[7:]
        stored.write_bytes(gzip.compress(other))
        with pytest.raises(Integrity, match="does not hold the layer"):
            async with asyncio.timeout(60):
                await read_saved(store, ["img:1"])

    with_store(tmp_path / "data", work)


def test_save_refuses_what_is_not_there(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        for names, sentence in {
            ("nope:1",): "reference does not exist", ("nope",): "No such image: nope",
            (): "no images to save: give one name or more",
        }.items():  # fmt: skip
            with pytest.raises((NotFound, InvalidParameter)) as refused:
                await save(store.images, names)
            assert str(refused.value) == sentence

    with_store(tmp_path / "data", work)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress])
def test_import_makes_an_image_of_one_layer(compress: Any, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        edits = ["ENV A=b", 'CMD ["x"]', "EXPOSE 80", 'LABEL a="b c"']
        name = Reference.parse("imp:1")
        image = await import_image(store.images, stream(compress(BASE), 5), name, "why", edits)
        assert image.repo_tags == ["imp:1"]
        assert image.config.container == ImageContainerConfig(
            env=["A=b"], cmd=["x"], exposed_ports={"80/tcp": {}}, labels={"a": "b c"}
        )
        assert (image.config.comment, image.config.diff_ids) == ("why", [digest(BASE)])
        assert (await tree_of(store, image))["etc/b"][4] == b"lower b"
        saved = await read_saved(store, ["imp:1"])
        assert saved[f"blobs/sha256/{digest(BASE)[7:]}"] == BASE

    with_store(tmp_path / "data", work)


def test_import_refuses_bad_edits_and_bad_tars(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        with pytest.raises(InvalidParameter, match=r"^RUN is not a valid change command$"):
            await import_image(store.images, stream(BASE), None, "", ["RUN x"])
        with pytest.raises(Integrity, match="unexpected end of the archive"):
            await import_image(store.images, stream(BASE[:1000]), None, "", [])
        assert await store.settled() == set()

    with_store(tmp_path / "data", work)


def test_commit_holds_exactly_what_the_container_saw(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.load(archive(tmp_path, BASE))
        base = store.images.get("img:1")
        root = await store.images.snapshots.prepare("ab" * 32, base)
        with shown(root) as top:
            (top / "etc/new").write_text("new")
            (top / "etc/new").chmod(0o4711)
            os.setxattr(top / "etc/new", "user.a", b"\0b")
            os.link(top / "etc/new", top / "etc/new2")
            (top / "etc/b").unlink()
            (top / "root/x").write_text("changed")
            (top / "var/data/old").unlink()
            (top / "var/data").rmdir()
            (top / "var/data").mkdir()
            (top / "var/data/fresh").write_text("")
            (top / "tmp/l").symlink_to("/nowhere")
            os.mkfifo(top / "tmp/f")
            os.mknod(top / "tmp/d", stat.S_IFBLK | 0o640, os.makedev(7, 200))
            os.chown(top / "tmp", 12, 13)
            os.utime(top / "tmp", ns=(5, 5))
            seen = tree(top)
        changes = [
            (change.kind.name[0], change.path.decode()) for change in await store.images.snapshots.changes("ab" * 32)
        ]
        assert changes == [
            ("M", "/etc"), ("D", "/etc/b"), ("A", "/etc/new"), ("A", "/etc/new2"), ("M", "/root"), ("M", "/root/x"),
            ("M", "/tmp"), ("A", "/tmp/d"), ("A", "/tmp/f"), ("A", "/tmp/l"), ("M", "/var"), ("M", "/var/data"),
            ("A", "/var/data/fresh"), ("D", "/var/data/old"),
        ]  # fmt: skip
        config = ImageConfig(architecture="amd64", os="linux")
        image = await commit_container(store.images, "ab" * 32, config, base, Reference.parse("com:1"))
        assert image.parent == base.id
        assert await tree_of(store, image) == seen
        with pytest.raises(
            Conflict,
            match=rf"conflict: unable to delete {base.id.short} \(cannot be forced\) - image has dependent child images",
        ):
            await store.images.remove(str(base.id), force=True)

    with_store(tmp_path / "data", work)
