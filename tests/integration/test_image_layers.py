"""Layers and their stacks: what they hold, and what is left of them after a death, a full disk or a power cut."""

import asyncio
import gzip
import os
import select
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from onggi.errors import NotFound, System
from onggi.images.lease import Lease
from onggi.images.unpack import WrongContent
from onggi.linux.fd import Fd
from onggi.linux.tree import sync_file_system
from onggi.oci.digest import Digest
from tests.image_store import Store, shown, tree_of, with_store
from tests.images import BASE, TOP, archive, digest, directory, file, image_config, layer


def test_an_implied_directory_keeps_the_attributes_below_in_either_order(tmp_path: Path) -> None:
    """The layer is one for all images, and no image's directory opens another's."""
    closed = layer([directory("root", 0o700, uid=3), directory("root/in", 0o711), file("root/in/f", b"a")])
    wide = layer([directory("root", 0o777), directory("root/in", 0o1777)])
    shared = layer([file("root/in/own", b"own"), file("root/in/fresh/deep/x"), file("new/dir/x")])
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
    assert {found[f"root/in/fresh{path}"][0] for found in first.values() for path in ("", "/deep")} == {"drwxr-xr-x"}
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


def test_a_layer_that_is_here_already_is_held_from_the_moment_it_is_recorded(tmp_path: Path) -> None:
    """Whoever made it first lets go of it between the second's end and the second's next step."""
    blob = tmp_path / "blob"
    blob.write_bytes(BASE)

    async def work(store: Store) -> None:
        async def make(lease: Lease) -> Digest:
            with Fd(os.open(blob, os.O_RDONLY)) as source:
                async with store.images.unpack(None, source) as unpacking:
                    return await unpacking.finish(len(BASE), lease)

        async with store.images.lease() as second:
            async with store.images.lease() as first:
                diff_id = await make(first)
                assert await make(second) == diff_id
            assert store.images.has_layer(diff_id)
        assert not store.images.has_layer(diff_id)
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
