"""`cp` out of a container trusts no name in the archive: nothing outside the target is read, made or changed."""

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.cli.archive import Extraction, Reader, pack
from onggi.cli.failure import Failure

Entry = tuple[str, bytes, str]
"""Name, type, link target or contents."""


def _archive(*entries: Entry, mode: int = 0o755) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, text in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kind, mode
            if kind == tarfile.REGTYPE:
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
            else:
                entry.linkname = text
                archive.addfile(entry)
    return buffer.getvalue()


def _pieces(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), 700):
        yield data[at : at + 700]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The directory to extract into, with a canary beside it."""
    (tmp_path / "canary").write_text("alive")
    (tmp_path / "outside").mkdir()
    into = tmp_path / "into"
    into.mkdir()
    return into


def _extract(target: Path, data: bytes, rename: tuple[str, str] | None = None) -> None:
    Extraction(str(target), rename=rename).run(Reader(_pieces(data)))


@pytest.mark.parametrize(
    "entries",
    [
        [("../canary", tarfile.REGTYPE, "dead")],
        [("a/../../canary", tarfile.REGTYPE, "dead")],
        [("/etc/canary", tarfile.REGTYPE, "dead")],
        [("l", tarfile.SYMTYPE, "../outside"), ("l/x", tarfile.REGTYPE, "dead")],
        [("l", tarfile.SYMTYPE, ".."), ("l/canary", tarfile.REGTYPE, "dead")],
        [("d", tarfile.DIRTYPE, ""), ("d/l", tarfile.SYMTYPE, "../.."), ("d/l/canary", tarfile.REGTYPE, "dead")],
        [("l", tarfile.SYMTYPE, "../outside"), ("l", tarfile.DIRTYPE, ""), ("l/x", tarfile.REGTYPE, "dead")],
        [("h", tarfile.LNKTYPE, "../canary"), ("h", tarfile.REGTYPE, "dead")],
        [("h", tarfile.LNKTYPE, "/etc/passwd")],
        [("l", tarfile.SYMTYPE, ".."), ("h", tarfile.LNKTYPE, "l/canary")],
        [("dev", tarfile.CHRTYPE, "")],
        [("dev", tarfile.BLKTYPE, "")],
    ],
    ids=range(12),
)
def test_hostile_archives_are_refused(target: Path, entries: list[Entry]) -> None:
    with pytest.raises(Failure):
        _extract(target, _archive(*entries))
    assert (target.parent / "canary").read_text() == "alive"
    assert list((target.parent / "outside").iterdir()) == []
    assert sorted(path.name for path in target.parent.iterdir()) == ["canary", "into", "outside"]


def test_a_file_through_a_link_replaces_the_link(target: Path) -> None:
    _extract(target, _archive(("l", tarfile.SYMTYPE, "../canary"), ("l", tarfile.REGTYPE, "new")))
    assert (target / "l").read_text() == "new"
    assert not (target / "l").is_symlink()
    assert (target.parent / "canary").read_text() == "alive"


def test_the_first_name_is_renamed_everywhere(target: Path) -> None:
    data = _archive(("d", tarfile.DIRTYPE, ""), ("d/f", tarfile.REGTYPE, "x"), ("d/h", tarfile.LNKTYPE, "d/f"))
    _extract(target, data, ("d", "new"))
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == ["new", "new/f", "new/h"]
    assert (target / "new/f").stat().st_nlink == 2


def test_set_user_id_is_not_taken_from_a_container(target: Path) -> None:
    _extract(target, _archive(("f", tarfile.REGTYPE, "x"), mode=0o6755))
    assert stat.S_IMODE((target / "f").stat().st_mode) == 0o755


@pytest.mark.parametrize("data", [b"no archive at all" * 100, _archive(("f", tarfile.REGTYPE, "x" * 5000))[:1500]])
def test_damage_is_a_failure(target: Path, data: bytes) -> None:
    with pytest.raises(Failure, match="damaged"):
        _extract(target, data)


def test_packing_and_laying_out_are_the_identity(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "s"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / ("n" * 150)).write_bytes(os.urandom(300_000))
    (source / "f").write_text("hello")
    (source / "f").chmod(0o640)
    (source / "l").symlink_to("f")
    os.utime(source / "f", (1, 1_600_000_000))
    Extraction(str(target)).run(Reader(pack(str(source), "s")))
    made = target / "s"
    assert (made / "sub" / ("n" * 150)).read_bytes() == (source / "sub" / ("n" * 150)).read_bytes()
    assert (made / "l").readlink() == Path("f")
    assert stat.S_IMODE((made / "f").stat().st_mode) == 0o640
    assert int((made / "f").stat().st_mtime) == 1_600_000_000
