"""The content store: blobs appear whole and verified; ingests go on where they stopped."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onggi.content.directory import DirectoryStore
from onggi.content.store import BlobUnknown, IngestBusy, Store, UnexpectedContent
from onggi.oci.digest import Digest

DATA = b"some bytes" * 1000
DIGEST = Digest.of(DATA)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return DirectoryStore(tmp_path / "content")


def files(tmp_path: Path) -> list[str]:
    return sorted(str(path.relative_to(tmp_path / "content")) for path in tmp_path.rglob("*") if path.is_file())


def test_a_committed_ingest_is_a_blob(store: Store, tmp_path: Path) -> None:
    with store.ingest("ref", DIGEST, len(DATA)) as ingest:
        assert ingest.write(DATA[:100]) == 100
        with pytest.raises(BlobUnknown, match=rf"^content {DIGEST} not found$"):
            store.open(DIGEST)
        with ingest.open() as reader:
            assert reader.read() == DATA[:100]
            ingest.write(DATA[100:])
            assert ingest.commit() == DIGEST
            assert reader.read() == DATA[100:]
    with store.open(DIGEST) as blob:
        assert blob.read() == DATA
        assert os.fstat(blob.fileno()).st_mode & 0o777 == 0o400
    assert store.info(DIGEST).size_bytes == len(DATA)
    assert [info.digest for info in store.walk()] == [DIGEST]
    assert files(tmp_path) == [f"blobs/sha256/{DIGEST.hex}"]
    store.delete(DIGEST)
    assert files(tmp_path) == []
    with pytest.raises(BlobUnknown):
        store.delete(DIGEST)


def test_an_ingest_goes_on_where_it_was_left(store: Store) -> None:
    with store.ingest("ref", DIGEST) as ingest:
        ingest.write(DATA[:777])
    with store.ingest("ref", DIGEST, len(DATA)) as ingest:
        assert ingest.offset == 777
        ingest.write(DATA[777:])
        ingest.commit()
    assert store.info(DIGEST).size_bytes == len(DATA)


def test_an_ingest_can_start_again(store: Store) -> None:
    with store.ingest("ref", DIGEST) as ingest:
        ingest.write(b"wrong")
        ingest.restart()
        assert ingest.offset == 0
        ingest.write(DATA)
        ingest.commit()


def test_other_bytes_are_never_a_blob(store: Store, tmp_path: Path) -> None:
    other = Digest.of(b"other")
    with store.ingest("ref", other) as ingest:
        ingest.write(DATA)
        with pytest.raises(UnexpectedContent, match=rf"^the bytes of {other} have the digest {DIGEST}$"):
            ingest.commit()
    assert files(tmp_path) == []


def test_size_is_held(store: Store, tmp_path: Path) -> None:
    with store.ingest("ref", DIGEST, 5) as ingest:
        with pytest.raises(UnexpectedContent, match=r"^ref is longer than the 5 bytes that were announced$"):
            ingest.write(DATA)
    with store.ingest("ref", Digest.of(b"abcd"), 5) as ingest:
        ingest.write(b"abcd")
        with pytest.raises(UnexpectedContent, match=r"^ref has 4 bytes, not the 5 that were announced$"):
            ingest.commit()
    assert files(tmp_path) == []


def test_one_writer_at_a_time(store: Store) -> None:
    with store.ingest("ref"):
        with pytest.raises(IngestBusy, match=r"^ref is being written already$"):
            store.ingest("ref").__enter__()
        with store.ingest("another"):
            pass
    with store.ingest("ref"):
        pass


def test_sha512_is_verified_too(store: Store) -> None:
    digest = Digest.of(DATA, "sha512")
    with store.ingest("ref") as ingest:
        ingest.write(DATA)
        assert ingest.commit(digest) == digest
    with store.open(digest) as blob:
        assert blob.read() == DATA


def test_old_ingests_expire_unless_they_are_written(store: Store, tmp_path: Path) -> None:
    with store.ingest("old") as ingest:
        ingest.write(b"x")
    with store.ingest("busy") as ingest:
        ingest.write(b"x")
        for path in (tmp_path / "content/ingest").iterdir():
            os.utime(path, (1, 1))
        with store.ingest("new") as new:
            new.write(b"x")
        assert store.expire(timedelta(days=1)) == 1
        assert len(files(tmp_path)) == 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(pieces=st.lists(st.binary(max_size=300), max_size=8), leave=st.lists(st.booleans(), max_size=8))
def test_any_pieces_and_pauses_give_the_same_blob(store: Store, pieces: list[bytes], leave: list[bool]) -> None:
    digest = Digest.of(b"".join(pieces))
    ingest = store.ingest("ref", digest).__enter__()
    for piece, pause in zip(pieces, [*leave, *[False] * len(pieces)], strict=False):
        ingest.write(piece)
        if pause:
            ingest.__exit__(None, None, None)
            ingest = store.ingest("ref", digest).__enter__()
    ingest.commit()
    with store.open(digest) as blob:
        assert blob.read() == b"".join(pieces)
