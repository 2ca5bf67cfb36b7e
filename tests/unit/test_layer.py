"""A layer's tar becomes a directory: what overlayfs needs, what hostile archives try, what the last entry decides.

As root all of it counts; without, owners are the user's own.
"""

import os
import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.images.layer import Extraction, LayerFailure
from onggi.images.tar_reader import MalformedArchive, TarReader
from onggi.linux import tree
from onggi.linux.fd import Fd
from tests.archives import pax, raw
from tests.images import Entry, directory, file, hardlink, layer, special, symlink

MTIME_NS = 1735689600 * 10**9


class Extracted:
    """What came of a tar, in a directory beside which a canary lies."""

    def __init__(self, base: Path, data: bytes) -> None:
        self.root = base / "layer"
        self.root.mkdir()
        self.canary = base / "canary"
        self.canary.write_text("untouched")
        self.canary.chmod(0o640)
        before = os.umask(0)
        try:
            pieces = iter([data[at : at + 3000] for at in range(0, len(data), 3000)])
            descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self.extraction = Extraction(descriptor)
                self.extraction.run(TarReader(lambda: next(pieces, b"")))
            finally:
                os.close(descriptor)
        finally:
            os.umask(before)
            found = self.canary.stat()
            assert (self.canary.read_text(), stat.S_IMODE(found.st_mode), found.st_nlink) == ("untouched", 0o640, 1)
            assert sorted(os.listdir(base)) == ["canary", "layer"]

    def tree(self) -> dict[str, str]:
        """Path → what is there: "d", "f:content", "l:target", "w" for a whiteout."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name, status = str(path.relative_to(self.root)), path.lstat()
            if stat.S_ISDIR(status.st_mode):
                found[name] = "d"
            elif stat.S_ISLNK(status.st_mode):
                found[name] = f"l:{os.readlink(path)}"
            elif stat.S_ISCHR(status.st_mode):
                found[name] = "w" if status.st_rdev == 0 else "c"
            elif stat.S_ISFIFO(status.st_mode):
                found[name] = "p"
            else:
                found[name] = f"f:{path.read_text('latin-1')}"
        return found


def extract(tmp_path: Path, *entries: Entry) -> Extracted:
    return Extracted(tmp_path, layer(entries))


def refused(tmp_path: Path, data: bytes) -> str:
    with pytest.raises((LayerFailure, MalformedArchive)) as found:
        Extracted(tmp_path, data)
    return str(found.value)


def test_files_have_their_content_mode_and_time(tmp_path: Path) -> None:
    made = extract(
        tmp_path, directory("d", 0o2755), file("d/f", b"hello", 0o6711), file("empty", b"", 0o000), symlink("l", "d/f"),
        hardlink("h", "d/f"), special("p", tarfile.FIFOTYPE, mode=0o620),
    )  # fmt: skip
    found = made.root / "d/f"
    assert found.read_bytes() == b"hello"
    assert stat.S_IMODE(found.stat().st_mode) == 0o6711
    assert stat.S_IMODE((made.root / "d").stat().st_mode) == 0o2755
    assert stat.S_IMODE((made.root / "empty").stat().st_mode) == 0
    assert stat.S_IMODE((made.root / "p").stat().st_mode) == 0o620
    assert (made.root / "h").stat().st_ino == found.stat().st_ino
    assert {(made.root / name).lstat().st_mtime_ns for name in ("d", "d/f", "empty", "l", "p")} == {MTIME_NS}
    assert made.extraction.size_bytes == len("hello") + len("d/f")
    assert made.extraction.implied == [b""]


def test_extended_attributes_are_kept_but_for_those_that_mean_something_here(tmp_path: Path) -> None:
    records = {b"user.a": b"\0\xff", b"user.overlay.opaque": b"y", b"trusted.overlay.redirect": b"/x",
               b"security.selinux": b"s", b"trusted.x": b"x"}  # fmt: skip
    headers = {b"SCHILY.xattr." + name: value for name, value in records.items()}
    made = Extracted(tmp_path, pax(b"f", headers) + raw(b"f") + pax(b"d/", headers) + raw(b"d/", kind=b"5", mode=0o755))
    for name in ("f", "d"):
        kept = {
            attribute: os.getxattr(made.root / name, attribute)
            for attribute in os.listxattr(made.root / name)
            if attribute.startswith(("user.", "trusted."))
        }  # fmt: skip
        assert kept == {"user.a": b"\0\xff"}


def test_a_time_before_1970_becomes_the_epoch_and_fractions_are_kept(tmp_path: Path) -> None:
    made = Extracted(
        tmp_path, pax(b"old", {b"mtime": b"-5.5"}) + raw(b"old") + pax(b"new", {b"mtime": b"5.123456789"}) + raw(b"new")
    )
    assert (made.root / "old").stat().st_mtime_ns == 0
    assert (made.root / "new").stat().st_mtime_ns == 5_123_456_789


def test_implied_directories_are_plain_and_reported(tmp_path: Path) -> None:
    made = extract(tmp_path, file("a/b/c"), directory("a/b/d", 0o700))
    assert made.extraction.implied == [b"", b"a", b"a/b"]
    assert stat.S_IMODE((made.root / "a/b").stat().st_mode) == 0o755
    assert (made.root / "a/b").stat().st_mtime_ns == MTIME_NS


def test_a_directory_described_after_its_entries_gets_its_own_mode(tmp_path: Path) -> None:
    made = extract(tmp_path, file("a/f"), directory("a", 0o500), directory(".", 0o711))
    assert stat.S_IMODE((made.root / "a").stat().st_mode) == 0o500
    assert stat.S_IMODE(made.root.stat().st_mode) == 0o711
    assert made.extraction.implied == []


# Names


@pytest.mark.parametrize("name", ["a/b", "/a/b", "./a/b", "a//b", "a/./b", "x/../a/b", "///a/b", "a/x/../b"])
def test_names_are_cleaned_as_go_does(name: str, tmp_path: Path) -> None:
    assert extract(tmp_path, file(name, b"x")).tree() == {"a": "d", "a/b": "f:x"}


@pytest.mark.parametrize("name", ["../canary", "a/../../canary", "..", "/../canary", "./../canary"])
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    assert refused(tmp_path, layer([file(name, b"x")])) == "the path leads out of the layer"


@pytest.mark.parametrize("entry", [symlink(".", "/"), file("./"), file("/", b""), symlink("a/..", "b")])
def test_the_root_is_a_directory(entry: Entry, tmp_path: Path) -> None:
    if entry[0].name in ("./", "/"):
        # Python's tarfile would make a directory of the name.
        data = pax(b"x", {b"path": entry[0].name.encode()}) + raw(b"x", kind=b"2", target=b"/")
        assert refused(tmp_path, data) == "the root of the layer is not a directory"
    else:
        assert refused(tmp_path, layer([entry])) == "the root of the layer is not a directory"


def test_names_too_long_are_refused(tmp_path: Path) -> None:
    for name, sentence in {"n" * 256: "File name too long", "d/" * 32000 + "f": "the path is too long"}.items():
        base = tmp_path / name[:1]
        base.mkdir()
        assert refused(base, layer([file(name)])) == sentence
    with Fd(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)) as here:
        tree.remove(here, "d")  # deeper than pytest's own clean-up can go


# Links


def test_entries_go_through_links_of_the_layer_but_never_out(tmp_path: Path) -> None:
    outside = str(tmp_path / "canary")
    made = extract(
        tmp_path, directory("real"), symlink("rel", "real"), symlink("abs", "/real"), symlink("up", "../../../real"),
        symlink("chain", "rel"), symlink("out", str(tmp_path)), file("rel/1", b"1"), file("abs/2", b"2"),
        file("up/3", b"3"), file("chain/4", b"4"), file("out/canary", b"inside"),
    )  # fmt: skip
    tree = made.tree()
    assert {name: tree[name] for name in ("real/1", "real/2", "real/3", "real/4")} == {
        "real/1": "f:1", "real/2": "f:2", "real/3": "f:3", "real/4": "f:4"
    }  # fmt: skip
    assert tree[outside[1:]] == "f:inside"


def test_a_link_that_turns_in_circles_is_refused(tmp_path: Path) -> None:
    entries = [symlink("a", "b"), symlink("b", "a"), file("a/x")]
    assert refused(tmp_path, layer(entries)) == "too many levels of symbolic links"


def test_a_link_swapped_by_a_later_entry_leads_where_it_says_then(tmp_path: Path) -> None:
    made = extract(
        tmp_path, directory("one"), directory("two"), symlink("l", "one"), file("l/a"), symlink("l", "two"), file("l/b"),
        directory("l"), file("l/c"),
    )  # fmt: skip
    assert made.tree() == {"one": "d", "two": "d", "one/a": "f:", "two/b": "f:", "l": "d", "l/c": "f:"}


def test_the_last_entry_of_a_name_wins(tmp_path: Path) -> None:
    made = extract(
        tmp_path, directory("a"), file("a/b/c"), file("a", b"now"), symlink("f", "a"), file("f", b"file"),
        file("d"), directory("d", 0o700), directory("e"), file("e/x"), directory("e", 0o711),
    )  # fmt: skip
    assert made.tree() == {"a": "f:now", "f": "f:file", "d": "d", "e": "d", "e/x": "f:"}
    assert made.extraction.implied == [b""]


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    assert refused(tmp_path, layer([file("a"), file("a/b")])) == "a file of the layer is used as a directory"


@pytest.mark.parametrize("target", ["../canary", "/../canary", "missing", "d", "", ".", "d/missing"])
def test_hard_links_stay_in_the_layer(target: str, tmp_path: Path) -> None:
    assert refused(tmp_path, layer([directory("d"), hardlink("h", target)]))


def test_hard_links_are_not_followed_and_change_nothing(tmp_path: Path) -> None:
    made = extract(
        tmp_path, symlink("l", str(tmp_path / "canary")), hardlink("h", "l", mode=0o777), file("f", b"x", 0o600),
        hardlink("g", "/f", mode=0o4777), hardlink("f", "f"),
    )  # fmt: skip
    assert (made.root / "h").is_symlink()
    assert (made.root / "f").stat().st_nlink == 2
    assert stat.S_IMODE((made.root / "f").stat().st_mode) == 0o600


# Whiteouts


def test_whiteouts_hide_what_is_below_and_spare_what_is_here(tmp_path: Path) -> None:
    made = extract(
        tmp_path, file(".wh.gone"), file("d/.wh.gone"), file("mine", b"x"), file(".wh.mine"), file(".wh.back"),
        file("back", b"again"), file(".wh.dir"), directory("dir"), directory("own"), file(".wh.own"),
        file("opaque/.wh..wh..opq"), file("opaque/f"), file(".wh..wh.aufs"),
    )  # fmt: skip
    assert made.tree() == {
        "gone": "w", "d": "d", "d/gone": "w", "mine": "f:x", "back": "f:again", "dir": "d", "own": "d", "opaque": "d",
        "opaque/f": "f:",
    }  # fmt: skip
    assert sorted(made.extraction.opaque) == [b"dir", b"opaque", b"own"]


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh.", ".wh.a/b"])
def test_whiteouts_of_nothing_are_refused(name: str, tmp_path: Path) -> None:
    assert refused(tmp_path, layer([file(name)]))


def test_a_whiteout_below_a_link_stays_inside(tmp_path: Path) -> None:
    made = extract(tmp_path, symlink("l", str(tmp_path)), file("l/.wh.canary"))
    assert made.tree()[str(tmp_path / "canary")[1:]] == "w"


def test_an_opaque_root_is_reported(tmp_path: Path) -> None:
    assert extract(tmp_path, file(".wh..wh..opq")).extraction.opaque == [b""]


def test_a_whiteout_device_is_a_whiteout(tmp_path: Path) -> None:
    made = extract(tmp_path, special("gone", tarfile.CHRTYPE), file("here"), special("here", tarfile.CHRTYPE))
    assert made.tree() == {"gone": "w", "here": "f:"}


# Anything at all

_part = st.sampled_from(["a", "b", "c", "..", ".", "", ".wh.a", ".wh.b", ".wh..wh..opq", "long" * 20])
_path = st.lists(_part, min_size=1, max_size=4).map("/".join)


@st.composite
def _entry(draw: st.DrawFn) -> Entry:
    name, kind = draw(_path), draw(st.integers(0, 4))
    if kind == 0:
        return file(name, draw(st.binary(max_size=20)))
    if kind == 1:
        return directory(name, draw(st.sampled_from([0o755, 0o700])))
    if kind == 2:
        return special(name, tarfile.FIFOTYPE)
    target = draw(st.sampled_from(["/", "..", "../..", "a", "/a/b", "../canary", "b/c"]))
    return symlink(name, target) if kind == 3 else hardlink(name, target)


@settings(max_examples=300, deadline=None)
@given(st.lists(_entry(), max_size=12))
def test_no_archive_reaches_out(tmp_path_factory: pytest.TempPathFactory, entries: list[Entry]) -> None:
    base = tmp_path_factory.mktemp("any")
    try:
        made = Extracted(base, layer(entries))
    except LayerFailure:
        return  # the canary was checked all the same
    on_disk = {name.encode() for name, what in made.tree().items() if what == "d"}
    assert on_disk == set(made.extraction._directories) - {b""}


def test_many_replacements_do_not_take_for_ever(tmp_path: Path) -> None:
    entries: list[Entry] = []
    for number in range(3000):
        entries += [directory(f"d{number}"), directory("x"), file("x/y"), file("x")]
    made = extract(tmp_path, *entries)
    assert made.tree()["x"] == "f:"
