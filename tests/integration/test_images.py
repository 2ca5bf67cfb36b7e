"""Images without an engine: load, save, import, commit, names and removal, layers and their stacks."""

import asyncio
import gzip
import json
import lzma
import os
import select
import sqlite3
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import zstandard

from onggi.errors import Conflict, InvalidParameter, NotFound, OnggiError, System
from onggi.images.image import NoSuchImage
from onggi.images.load import load
from onggi.images.making import commit_container, import_image
from onggi.images.removal import ContainerUse, Removed
from onggi.images.save import save
from onggi.images.unpack import WrongContent
from onggi.images.worker_process import Integrity, _read_result
from onggi.linux.fd import Fd
from onggi.linux.tree import sync_file_system
from onggi.oci.digest import Digest
from onggi.oci.image import ImageConfig, ImageContainerConfig
from onggi.oci.reference import Reference
from tests.archives import raw
from tests.image_store import Store, opened, shown, stream, tree, tree_of, with_store
from tests.images import (
    digest,
    directory,
    docker_archive,
    file,
    hardlink,
    image_config,
    layer,
    oci_layout,
    special,
    symlink,
)

BASE = layer(
    [
        directory("etc", 0o751, uid=7, gid=8), file("etc/a", b"lower a"), file("etc/b", b"lower b", 0o4755, uid=5),
        directory("root", 0o700), file("root/x", b"x"), directory("gone"), file("gone/f"), directory("tmp", 0o1777),
        symlink("link", "etc/a"), hardlink("hard", "etc/b"), special("null", tarfile.CHRTYPE, (1, 3), 0o666),
        special("pipe", tarfile.FIFOTYPE), directory("var"), directory("var/data"), file("var/data/old"),
    ]
)  # fmt: skip
TOP = layer(
    [
        directory("etc", 0o755), file("etc/a", b"upper a"), file("etc/.wh.b"), file(".wh.gone"), directory("gone"),
        file("gone/new", b"n"), directory("var"), directory("var/data"), file("var/data/.wh..wh..opq"),
        file("var/data/new"),
    ]
)  # fmt: skip


def archive(tmp_path: Path, *layers: bytes, names: tuple[str, ...] = ("img:1",), **config: Any) -> Path:
    path = tmp_path / f"archive-{len(os.listdir(tmp_path))}.tar"
    docker_archive(path, names, layers, **config)
    return path


# In and out


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


def test_a_container_of_an_image_that_has_just_gone_is_refused(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.load(archive(tmp_path, BASE))
        image = store.images.get("img:1")
        await store.images.remove("img:1")
        with pytest.raises(NoSuchImage):
            await store.images.snapshots.prepare("aa" * 32, image)
        assert os.listdir(store.root / "snapshots") == []

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


# Names and removal


def test_images_are_found_by_name_and_by_the_start_of_their_id(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.load(archive(tmp_path, BASE, names=("img:latest",)))
        image = store.images.get("img")
        for name in ("img:latest", "docker.io/library/img", image.id, image.id.hex, image.id.short, f"sha256:{image.id.hex[:5]}",
                     f"img@{image.id}"):  # fmt: skip
            assert store.images.get(name).id == image.id
        for name, sentence in {"other": "other:latest", "img:2": "img:2", "sha256:" + "0" * 64: "sha256:" + "0" * 64,
                               "0123": "0123:latest"}.items():  # fmt: skip
            with pytest.raises(NoSuchImage) as refused:
                store.images.get(name)
            assert str(refused.value) == f"No such image: {sentence}"

    with_store(tmp_path / "data", work)


def test_removal_by_name_and_id_answers_as_docker(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.load(archive(tmp_path, BASE, names=("one:1", "two:1")))
        await store.load(archive(tmp_path, BASE, TOP, names=("top:1",)))
        one, top = store.images.get("one:1"), store.images.get("top:1")
        assert (await store.images.remove("one:1")).records == [Removed(untagged="one:1")]
        await store.images.tag("two:1", Reference.parse("again:1"))
        with pytest.raises(Conflict) as refused:
            await store.images.remove(one.id.short)
        assert str(refused.value) == (
            f"conflict: unable to delete {one.id.short} (must be forced) - image is referenced in multiple repositories"
        )
        removal = await store.images.remove(one.id.short, force=True)
        # Its layer stays: another image has it.
        assert removal.records == [Removed(untagged="again:1"), Removed(untagged="two:1"), Removed(deleted=one.id)]
        assert len(await store.settled()) == 2
        records = (await store.images.remove("top:1")).records
        assert records[:2] == [Removed(untagged="top:1"), Removed(deleted=top.id)]
        assert len(records) == 4
        assert await store.settled() == set()
        assert store.blobs() == set()

    with_store(tmp_path / "data", work)


@pytest.mark.parametrize(
    ("running", "force", "by_name", "sentence"),
    [
        (True, False, True, 'conflict: unable to remove repository reference "img:1" (must force) - container cccccccccccc is '
                            "using its referenced image {id}"),
        (True, True, False, "conflict: unable to delete {id} (cannot be forced) - image is being used by running container "
                            "cccccccccccc"),
        (False, False, False, "conflict: unable to delete {id} (must be forced) - image is being used by stopped container "
                              "cccccccccccc"),
        (False, True, False, ""),
        (True, True, True, ""),
    ],
)  # fmt: skip
def test_an_image_with_containers_is_kept(
    running: bool, force: bool, by_name: bool, sentence: str, tmp_path: Path
) -> None:
    async def work(store: Store) -> None:
        await store.load(archive(tmp_path, BASE))
        image = store.images.get("img:1")
        store.uses[image.id] = [ContainerUse("c" * 64, running)]
        root = await store.images.snapshots.prepare("c" * 64, image)
        work = store.images.remove("img:1" if by_name else image.id, force=force)
        if sentence:
            with pytest.raises(Conflict) as refused:
                await work
            assert str(refused.value) == sentence.format(id=image.id.short)
        else:
            records = (await work).records
            # A running container's image only loses its name.
            assert records[0] == Removed(untagged="img:1")
            assert (store.images.by_id(image.id) is not None) == running
        await store.settled()
        with shown(root) as top:
            assert (top / "etc/a").read_text() == "lower a"
        await store.images.snapshots.remove("c" * 64)

    with_store(tmp_path / "data", work)


# Layers


def test_an_implied_directory_keeps_the_attributes_below_in_either_order(tmp_path: Path) -> None:
    """The layer is one for all images, and no image's directory opens another's."""
    closed = layer([directory("root", 0o700, uid=3), directory("root/in", 0o711), file("root/in/f", b"a")])
    wide = layer([directory("root", 0o777), directory("root/in", 0o1777)])
    shared = layer([file("root/in/own", b"own"), file("new/dir/x")])
    stacks = {"closed:1": (closed, shared), "wide:1": (wide, shared), "alone:1": (shared,)}

    async def work(store: Store) -> dict[str, Any]:
        found = {}
        for name in order:
            await store.load(archive(tmp_path, *stacks[name], names=(name,)))
        for name in stacks:
            found[name] = await tree_of(store, store.images.get(name))
        return found

    results = []
    for order in (["closed:1", "wide:1", "alone:1"], ["alone:1", "wide:1", "closed:1"]):
        results.append(with_store(tmp_path / order[0], work))
    first, second = results
    assert first == second
    modes = {name: (found["root"][:2], found["root/in"][0], found["new/dir"][0]) for name, found in first.items()}
    assert modes == {
        "closed:1": (("drwx------", 3), "drwx--x--x", "drwxr-xr-x"),
        "wide:1": (("drwxrwxrwx", 0), "drwxrwxrwt", "drwxr-xr-x"),
        "alone:1": (("drwxr-xr-x", 0), "drwxr-xr-x", "drwxr-xr-x"),
    }
    assert first["closed:1"]["root/in/f"][4] == b"a"
    assert "root/in/f" not in first["wide:1"]


def test_the_root_directory_has_the_attributes_of_the_topmost_layer_that_describes_it(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        layers = [layer([directory(".", 0o750, uid=9), file("a")]), layer([file("b")])]
        await store.load(archive(tmp_path, *layers))
        assert (await tree_of(store, store.images.get("img:1")))["."][:2] == ("drwxr-x---", 9)

    with_store(tmp_path / "data", work)


def test_a_layer_unpacked_twice_at_once_is_kept_once(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(gzip.compress(BASE))

    async def work(store: Store) -> None:
        async def one() -> None:
            with Fd(os.open(blob, os.O_RDONLY)) as source:
                async with store.images.unpack(Digest(digest(BASE)), source) as unpacking:
                    unpacking.available(100)
                    await unpacking.finish(blob.stat().st_size)

        async with store.images.lease() as lease:
            assert not await lease.hold_layer(Digest(digest(BASE)))
            await asyncio.gather(one(), one(), one())
            assert await lease.hold_layer(Digest(digest(BASE)))
            assert len(await store.settled()) == 1
        # Nothing needs it once the lease has ended.
        assert await store.settled() == set()

    with_store(tmp_path / "data", work)


def test_a_layer_that_is_another_is_refused(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(BASE)

    async def work(store: Store) -> None:
        with Fd(os.open(blob, os.O_RDONLY)) as source:
            with pytest.raises(WrongContent):
                async with store.images.unpack(Digest(digest(TOP)), source) as unpacking:
                    await unpacking.finish(len(BASE))
        assert not store.images.has_layer(Digest(digest(TOP)))
        assert not store.images.has_layer(Digest(digest(BASE)))
        assert await store.settled() == set()

    with_store(tmp_path / "data", work)


def test_others_see_nothing_of_images(tmp_path: Path) -> None:
    """Set-user-ID programs in layers are out of reach."""

    async def work(store: Store) -> None:
        await store.load(archive(tmp_path, BASE))
        await store.images.snapshots.prepare("ab" * 32, store.images.get("img:1"))

    tmp_path.chmod(0o755)
    with_store(tmp_path / "data", work)
    for name in ("layers", "snapshots", "content"):
        assert stat.S_IMODE((tmp_path / "data" / name).stat().st_mode) == 0o700


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "small", str(small)], check=True)
    try:

        async def work(store: Store) -> None:
            before = await store.settled()
            with pytest.raises(System, match="no space left on device"):
                await store.load(archive(tmp_path, layer([file("big", bytes(12 << 20))])))
            assert await store.settled() == before
            await store.load(archive(tmp_path, BASE))
            await store.images.remove("img:1")
            assert await store.settled() == before

        with_store(small / "data", work)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_deep_and_many_files_can_be_removed(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        deep = file("d/" * 1200 + "f")
        await store.load(archive(tmp_path, layer([deep, *(file(f"many/{number}") for number in range(5_000))])))
        await store.images.remove("img:1")
        assert await store.settled() == set()

    with_store(tmp_path / "data", work)


def test_removal_spares_what_is_mounted_below(tmp_path: Path) -> None:
    """The container's directory is left when something else is mounted in it, and goes later."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "canary").write_text("x")

    async def work(store: Store) -> None:
        await store.load(archive(tmp_path, BASE))
        root = await store.images.snapshots.prepare("ab" * 32, store.images.get("img:1"))
        inside = Path(root.upper) / "mnt"
        inside.mkdir()
        await asyncio.to_thread(subprocess.run, ["mount", "--bind", str(victim), str(inside)], check=True)
        try:
            await store.images.snapshots.remove("ab" * 32)
            await store.settled()
            assert (victim / "canary").read_text() == "x"
        finally:
            await asyncio.to_thread(subprocess.run, ["umount", str(inside)], check=True)

    async def after(store: Store) -> None:
        await store.settled()
        assert os.listdir(store.root / "snapshots") in ([], ["empty"])

    with_store(tmp_path / "data", work)
    with_store(tmp_path / "data", after)


_KILLED = """
import asyncio, os, sys
from pathlib import Path
from onggi.linux.fd import Fd
from tests.image_store import opened

async def main():
    async with opened(Path(sys.argv[1])) as store:
        with Fd(os.open(sys.argv[2], os.O_RDONLY)) as source:
            async with store.images.unpack(None, source) as unpacking:
                unpacking.available(os.path.getsize(sys.argv[2]) // 2)
                print("half", flush=True)
                await asyncio.sleep(1000)

asyncio.run(main())
"""


def test_kill_in_the_middle_of_an_extraction_leaves_nothing(tmp_path: Path) -> None:
    """The worker ends with its engine, and the next engine deletes what it made."""
    blob = tmp_path / "blob"
    blob.write_bytes(layer([file(f"f{number}", bytes(1000)) for number in range(3000)]))
    data = tmp_path / "data"
    victim = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(data), str(blob)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert victim.stdout is not None
    assert victim.stdout.readline() == b"half\n"
    [worker] = children(victim.pid)
    victim.kill()
    victim.wait()
    victim.stdout.close()
    assert os.listdir(data / "layers")

    async def work(store: Store) -> None:
        assert await store.settled() == set()

    with_store(data, work)
    wait_for_end(worker)


def test_a_snapshot_without_a_container_goes_at_the_start(tmp_path: Path) -> None:
    kept, lost = "aa" * 32, "bb" * 32

    async def work(store: Store) -> None:
        await store.load(archive(tmp_path, BASE))
        for number in (kept, lost):
            root = await store.images.snapshots.prepare(number, store.images.get("img:1"))
            (Path(root.upper) / "written").write_bytes(bytes(5000))

    async def after(store: Store) -> None:
        await store.images.snapshots.reconcile([kept])
        await store.settled()
        assert os.listdir(tmp_path / "data/snapshots") == [kept]
        assert await store.images.snapshots.written_bytes(kept) == 5000
        with pytest.raises(NotFound):
            store.images.snapshots.root(lost)
        # A container outlives its image, and the layers go with the container.
        await store.images.remove("img:1", force=True)
        assert len(await store.settled()) == 1
        with shown(store.images.snapshots.root(kept)) as top:
            assert (top / "etc/a").read_text() == "lower a"
        await store.images.snapshots.remove(kept)
        assert await store.settled() == set()

    with_store(tmp_path / "data", work)
    with_store(tmp_path / "data", after)


def test_blobs_of_interrupted_pulls_are_kept_for_a_day(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.load(archive(tmp_path, BASE))
        async with store.images.lease() as lease:
            for content in (b"old", b"new"):
                await store.images.keep_document(lease, content)

    with_store(tmp_path / "data", work)
    before = {digest(BASE), digest(image_config([BASE])), digest(b"old"), digest(b"new")}
    blobs = tmp_path / "data/content/blobs/sha256"
    assert {f"sha256:{name}" for name in os.listdir(blobs)} == before
    for content in (b"old", BASE):
        os.utime(blobs / digest(content)[7:], (1, 1))

    async def after(store: Store) -> None:
        assert store.blobs() == before - {digest(b"old")}

    with_store(tmp_path / "data", after)


def test_a_power_cut_finds_an_image_on_the_disk_or_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files reach the disk before its row; and the row's end does before the files go."""
    seen: list[object] = []

    def watched(directory: Path) -> None:
        with_rows = sqlite3.connect(directory / "state.db")
        known = with_rows.execute("SELECT count(*) FROM images").fetchone()[0]
        layers = with_rows.execute("SELECT count(*) FROM layers").fetchone()[0]
        with_rows.close()
        seen.append(("layers and blobs", known, layers, len(list((directory / "content/blobs/sha256").iterdir()))))
        sync_file_system(directory)

    async def work(store: Store) -> None:
        await store.load(archive(tmp_path, BASE, TOP))
        await store.load(archive(tmp_path, BASE, TOP, names=("again:1",)))  # known: nothing to be waited for
        blobs, directories = store.blobs(), await store.settled()
        write_down = store.database.sync

        async def sync() -> None:
            seen.append(("end", len(store.images.all()), store.blobs() == blobs, store.layers() == directories))
            await write_down()

        monkeypatch.setattr(store.database, "sync", sync)
        await store.images.remove("again:1")  # but a name: nothing is deleted
        await store.images.remove("img:1")
        assert (store.blobs(), await store.settled()) == (set(), set())

    monkeypatch.setattr("onggi.images.images.sync_file_system", watched)
    with_store(tmp_path / "data", work)
    assert seen == [("layers and blobs", 0, 2, 3), ("end", 0, True, True)]


def test_an_engine_without_its_database_deletes_nothing(tmp_path: Path) -> None:
    """Only what is recorded is ours to delete."""

    async def work(store: Store) -> None:
        await store.load(archive(tmp_path, BASE))
        await store.images.snapshots.prepare("aa" * 32, store.images.get("img:1"))

    async def after(store: Store) -> None:
        await store.images.snapshots.reconcile([])
        await store.settled()

    with_store(tmp_path / "data", work)
    kept = sorted(os.listdir(tmp_path / "data/layers")), os.listdir(tmp_path / "data/snapshots")
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        (tmp_path / "data" / name).unlink(missing_ok=True)
    blobs = tmp_path / "data/content/blobs/sha256"
    before = set(os.listdir(blobs))
    for name in before:
        os.utime(blobs / name, (1, 1))
    with pytest.raises(System, match="is missing or empty"):
        with_store(tmp_path / "data", after)
    assert set(os.listdir(blobs)) == before
    assert (sorted(os.listdir(tmp_path / "data/layers")), os.listdir(tmp_path / "data/snapshots")) == kept


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] or [
        int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in (task / "children").read_text().split()
    ]


def wait_for_end(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with Fd(descriptor) as process, open(f"/proc/{pid}/stat", "rb") as found:
        if b" Z " in found.read():
            return
        assert select.select([process], [], [], 30)[0]


_TAKEN_OVER = """
import _socket, errno, json, os, sys
from onggi.images.confine import WRITER, confine
directory, out = int(sys.argv[1]), int(sys.argv[2])
secret = os.open("/etc/passwd", os.O_RDONLY)
confine(directory, [out], WRITER, os.getppid())
found = {}
def probe(name, work):
    try:
        found[name] = str(work())
    except BaseException as error:
        found[name] = type(error).__name__ if not isinstance(error, OSError) else errno.errorcode[error.errno]
probe("root", lambda: os.listdir("/"))
probe("up", lambda: os.listdir("/../.."))
probe("secret", lambda: os.read(secret, 1))
probe("fork", os.fork)
probe("exec", lambda: os.execv("/x", ["x"]))
probe("socket", lambda: _socket.socket())
probe("unix", lambda: _socket.socket(_socket.AF_UNIX))
probe("kill", lambda: os.kill(os.getppid(), 0))
probe("chroot", lambda: os.chroot("."))
probe("setuid", lambda: os.setuid(1))
probe("import", lambda: __import__("colorsys"))
here = os.open("/", os.O_RDONLY)
probe("write", lambda: os.mkdir("made", dir_fd=here))
probe("device", lambda: os.mknod("dev", 0o60600, os.makedev(8, 0), dir_fd=here))
probe("mknod_read", lambda: os.open("/none", os.O_RDONLY))
os.write(out, json.dumps(found).encode())
os._exit(0)
"""


def test_a_worker_that_is_taken_over_reaches_nothing(tmp_path: Path) -> None:
    """Attacker's code where the decoder would be."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "colorsys.py").write_text("raise SystemExit('poison')")
    read, write = os.pipe()
    with Fd(read) as result, Fd(write) as out, Fd(os.open(inside, os.O_RDONLY | os.O_DIRECTORY)) as root:
        run = subprocess.run(
            [sys.executable, "-c", _TAKEN_OVER, str(root.fileno()), str(out.fileno())],
            pass_fds=[root.fileno(), out.fileno()], capture_output=True, text=True, check=False, timeout=60,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        out.close()
        assert run.stderr == ""
        found = json.loads(os.read(result.fileno(), 65536))
    assert found == {
        "root": "['colorsys.py']", "up": "['colorsys.py']", "secret": "EBADF", "fork": "EPERM", "exec": "EPERM",
        "socket": "EPERM", "unix": "EPERM", "kill": "EPERM", "chroot": "EPERM", "setuid": "EPERM",
        "import": "ModuleNotFoundError", "write": "None", "device": "None", "mknod_read": "ENOENT",
    }  # fmt: skip


def test_a_worker_that_lies_is_not_believed(tmp_path: Path) -> None:
    good = "0" * 64
    assert _read_result(f"={good} 1 2".encode(), "work") == (f"sha256:{good}", 1, 2)
    lies = [
        b"", b"=", f"={good} 1".encode(), f"={good} -1 2".encode(), f"={good} 1 2 3".encode(), b"=../../x 1 2",
        f"={good} {'9' * 30} 2".encode(), b"\x80\x04pickle.", b"!machine 99999\0", b"!unknown x\0", b"?",
    ]  # fmt: skip
    for message in lies:
        with pytest.raises((System, InvalidParameter)):
            _read_result(message, "work")
    with pytest.raises(Integrity) as refused:
        _read_result(b"!archive bad\x1b[31m\0name\x1b\xff\n", "work")
    assert str(refused.value) == "failed to work: bad?[31m: 'name\\x1b\\\\xff\\n'"


def test_hostile_tar_blocks_are_refused_in_the_worker(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened(tmp_path / "data") as store:
            for data in (raw(b"a", size=b"\xff" * 12), raw(b"../x"), raw(b"d", kind=b"3", device=(4096, 0))):
                blob = tmp_path / "blob"
                blob.write_bytes(data)
                with Fd(os.open(blob, os.O_RDONLY)) as source:
                    with pytest.raises(Integrity):
                        async with store.images.unpack(None, source) as unpacking:
                            await unpacking.finish(len(data))
            assert await store.settled() == set()

    asyncio.run(work())
