"""`content.objects.Objects`: one suite for every implementation (see `STORES`)."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from onggi.content.object_directory import ObjectDirectory
from onggi.content.objects import Objects, ObjectUnknown, UploadBusy

KEY, OTHER = "0123456789abcdef" * 2, "f" * 32
STORES: dict[str, Callable[[Path], Objects]] = {"directory": ObjectDirectory}


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    return STORES[request.param](tmp_path / "objects")


def test_an_object_appears_whole_when_it_is_committed(store: Objects) -> None:
    store.begin(KEY)
    with store.upload(KEY) as upload:
        upload.write(b"first ")
    assert store.upload_size(KEY) == 6
    with pytest.raises(ObjectUnknown):
        store.open(KEY)
    with store.upload(KEY) as upload:
        assert upload.offset == 6
        upload.write(b"second")
        assert b"".join(upload.pieces()) == b"first second"
        upload.commit()
    with store.open(KEY) as file:
        assert file.read() == b"first second"
    with pytest.raises(ObjectUnknown):
        store.upload_size(KEY)
    with pytest.raises(ObjectUnknown), store.upload(KEY):
        pass


def test_what_was_not_begun(store: Objects) -> None:
    for ask in (store.upload_size, store.open, lambda key: store.upload(key).__enter__()):
        with pytest.raises(ObjectUnknown):
            ask(KEY)
    assert not store.exists(KEY)
    store.delete(KEY)


def test_a_key_is_begun_once(store: Objects) -> None:
    store.begin(KEY)
    with pytest.raises(FileExistsError):
        store.begin(KEY)


def test_one_writer_at_a_time(store: Objects) -> None:
    store.begin(KEY)
    with store.upload(KEY):
        with pytest.raises(UploadBusy), store.upload(KEY):
            pass
    with store.upload(KEY) as upload:
        assert upload.offset == 0


def test_deleting(store: Objects) -> None:
    for key in (KEY, OTHER):
        store.begin(key)
    with store.upload(KEY) as upload:
        upload.write(b"x")
        upload.commit()
    assert set(store.walk()) == {KEY, OTHER}
    with store.open(KEY) as file:
        for key in (KEY, OTHER):
            store.delete(key)
        assert file.read() == b"x"  # who has it open reads on
    assert [*store.walk()] == []
    with pytest.raises(ObjectUnknown):
        store.open(KEY)


def test_deleted_while_it_is_written(store: Objects) -> None:
    store.begin(KEY)
    with store.upload(KEY) as upload:
        upload.write(b"x")
        store.delete(KEY)
        with pytest.raises(ObjectUnknown):
            upload.commit()
    assert not store.exists(KEY)


@pytest.mark.parametrize(
    "key", ["", "..", "../" + "0" * 29, "0" * 31, "0" * 33, "A" * 32, "0" * 31 + "/", "0" * 31 + "\0"]
)
def test_what_is_no_key(store: Objects, key: str) -> None:
    for ask in (store.begin, store.open, store.upload, store.upload_size, store.delete, store.exists):
        with pytest.raises(ValueError, match="is no key"):
            ask(key)


def test_kill_9_leaves_an_upload_or_an_object(tmp_path: Path) -> None:
    """Killed anywhere between its writes: what is an object is whole, and what is an upload is a beginning."""
    piece, pieces = hashlib.sha256(b"seed").digest() * 1000, 50
    writer = (
        "import hashlib, sys; from pathlib import Path; from onggi.content.object_directory import ObjectDirectory\n"
        "store, piece = ObjectDirectory(Path(sys.argv[1])), hashlib.sha256(b'seed').digest() * 1000\n"
        f"store.begin('{KEY}')\n"
        f"with store.upload('{KEY}') as upload:\n"
        f"    for number in range({pieces}): upload.write(piece); print(number, flush=True)\n"
        "    upload.commit(); print('committed', flush=True)\n"
        "sys.stdin.read()"
    )
    for stop in ("0", "20", str(pieces - 1), "committed"):
        root = tmp_path / f"killed-at-{stop}"
        process = subprocess.Popen(
            [sys.executable, "-c", writer, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        while process.stdout.readline().decode().strip() != stop:
            pass
        process.kill()
        process.communicate()
        store = ObjectDirectory(root)
        try:
            with store.open(KEY) as file:
                assert file.read() == piece * pieces
        except ObjectUnknown:
            assert stop != "committed"
            size = store.upload_size(KEY)
            with store.upload(KEY) as upload:  # nobody holds it any more
                assert b"".join(upload.pieces()) == (piece * pieces)[:size]
        assert [*store.walk()] == [KEY]


def test_only_its_owner_can_look(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = ObjectDirectory(tmp_path / "objects")
        store.begin(KEY)
        with store.upload(KEY) as upload:
            upload.write(b"x")
            upload.commit()
        store.begin(OTHER)
    finally:
        os.umask(before)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "objects").rglob("*"))
