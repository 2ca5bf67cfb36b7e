"""The container's log, held against what Docker 28.5.2's json-file driver wrote for the same bytes."""

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.runtime.log_file import PIECE, LogWriter

TIME = re.compile(r'"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"}$')


def records(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_record_is_written_as_docker_writes_it(tmp_path: Path) -> None:
    log = LogWriter(str(tmp_path / "log"), None, 1)
    log.write("stdout", b'a\tb<>&\x01\xff\xe2\x80\xa8 \xc3\xa9 "\\\n')
    log.write("stderr", b"err\n")
    log.write("stdout", b"no newline\b\f\r\x1b[0m\x7f")
    log.close()

    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert [TIME.sub("", line) for line in lines] == [
        r'{"log":"a\u0009b\u003c\u003e\u0026\u0001\ufffd\u2028 é \"\\\n","stream":"stdout",',
        r'{"log":"err\n","stream":"stderr",',
        '{"log":"no newline\\u0008\\u000c\\r\\u001b[0m\x7f","stream":"stdout",',
    ]
    assert all(TIME.search(line) for line in lines)


def test_only_its_group_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        LogWriter(str(tmp_path / "log"), None, 1).close()
    finally:
        os.umask(before)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o640


def test_an_unfinished_line_waits_for_its_end(tmp_path: Path) -> None:
    log = LogWriter(str(tmp_path / "log"), None, 1)
    log.write("stdout", b"one\ntw")
    assert [record["log"] for record in records(tmp_path / "log")] == ["one\n"]
    log.write("stderr", b"between\n")
    log.write("stdout", b"o\nthree")
    log.close()
    assert [(r["stream"], r["log"]) for r in records(tmp_path / "log")] == [
        ("stdout", "one\n"),
        ("stderr", "between\n"),
        ("stdout", "two\n"),
        ("stdout", "three"),
    ]


def test_a_long_line_comes_in_pieces(tmp_path: Path) -> None:
    log = LogWriter(str(tmp_path / "log"), None, 1)
    log.write("stdout", b"x" * (2 * PIECE + 10) + b"\nshort\n")
    log.close()
    assert [record["log"] for record in records(tmp_path / "log")] == [
        "x" * PIECE,
        "x" * PIECE,
        "x" * 10 + "\n",
        "short\n",
    ]


@pytest.mark.parametrize("character", ["é", "한", "😀"])
@pytest.mark.parametrize("before", range(4))
def test_a_piece_is_cut_between_characters(tmp_path: Path, character: str, before: int) -> None:
    text = "x" * before + character * PIECE
    log = LogWriter(str(tmp_path / "log"), None, 1)
    log.write("stdout", text.encode())
    log.close()
    pieces = [record["log"] for record in records(tmp_path / "log")]
    assert "".join(pieces) == text
    assert all(len(piece.encode()) <= PIECE for piece in pieces)


@settings(deadline=None)
@given(
    writes=st.lists(
        st.tuples(st.sampled_from(["stdout", "stderr"]), st.text(max_size=40), st.sampled_from([1, 50])), max_size=8
    ),
    size=st.sampled_from([None, 3000]),
)
def test_nothing_is_lost_or_changed(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[str, str, int]], size: int | None
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    log = LogWriter(str(path), size, 600)
    wrote = {"stdout": "", "stderr": ""}
    for stream, text, times in writes:
        log.write(stream, text.encode() * times)
        wrote[stream] += text * times
    log.close()
    older = sorted(path.parent.glob("log.*"), key=lambda file: -int(file.suffix[1:]))
    read = {"stdout": "", "stderr": ""}
    for file in [*older, path]:
        for record in records(file):
            read[record["stream"]] += record["log"]
    assert read == wrote


def test_rotation_keeps_the_newest_files(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogWriter(str(path), 1000, 3)
    for number in range(100):
        log.write("stdout", b"%04d\n" * 10 % tuple(range(number * 10, number * 10 + 10)))
    log.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    record_bytes = len(path.read_bytes().splitlines(keepends=True)[0])
    for name in ("log.1", "log.2"):
        # As in Docker: put aside by the first record that finds it full.
        assert 1000 <= (tmp_path / name).stat().st_size < 1000 + record_bytes
    numbers = [int(r["log"]) for name in ("log.2", "log.1", "log") for r in records(tmp_path / name)]
    assert numbers == list(range(numbers[0], 1000))


def test_a_single_file_is_emptied(tmp_path: Path) -> None:
    log = LogWriter(str(tmp_path / "log"), 1000, 1)
    for _ in range(500):
        log.write("stdout", b"0123456789\n")
    log.close()
    assert [file.name for file in tmp_path.iterdir()] == ["log"]
    assert 0 < (tmp_path / "log").stat().st_size < 1100


def test_a_log_goes_on_after_a_restart(tmp_path: Path) -> None:
    for text in (b"first\n", b"second\n"):
        log = LogWriter(str(tmp_path / "log"), 1000, 2)
        log.write("stdout", text)
        log.close()
    assert [record["log"] for record in records(tmp_path / "log")] == ["first\n", "second\n"]


def test_a_full_disk_loses_records_but_never_half_of_one() -> None:
    log = LogWriter("/dev/full", None, 1)
    log.write("stdout", b"nobody will read this\n")
    log.close()
    assert log.lost > len(b"nobody will read this\n")


def test_a_link_in_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        LogWriter(str(tmp_path / "log"), None, 1)
