"""The container's log, held against what Docker 28.5.2 wrote for the same bytes."""

import gzip
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.engine.log_files import json_format, local_format
from onggi.engine.log_files.files import LogFiles
from onggi.runtime.logs import rotation
from onggi.runtime.logs.container_log import PIECE, ContainerLog
from tests.logs import open_log

TIME = re.compile(r'"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"}$')


def records(path: Path) -> list[dict[str, str]]:
    return json_lines(path)


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_record_is_written_as_docker_writes_it(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", None, 1)
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


@pytest.mark.parametrize("zeros", [1, 31, 32, 33, 64, 1000])
def test_runs_of_zeros(tmp_path: Path, zeros: int) -> None:
    text = "a\\" + "\0" * zeros + "\\u0000\n" + "\0" * zeros + "\x01\n"
    path = tmp_path / "log"
    log = open_log(path, None, 1)
    log.write("stdout", text.encode())
    log.close()
    assert path.read_bytes().count(rb"\u0000") == 2 * zeros + 1  # the program's own \u0000 became \\u0000
    assert [record["log"] for record in json_lines(path)] == text.splitlines(keepends=True)


def test_only_its_group_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        open_log(tmp_path / "log", None, 1).close()
    finally:
        os.umask(before)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o640


def test_an_unfinished_line_waits_for_its_end(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", None, 1)
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
    log = open_log(tmp_path / "log", None, 1)
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
    log = open_log(tmp_path / "log", None, 1)
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
    log = open_log(path, size, 600)
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
    log = open_log(path, 1000, 3)
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
    log = open_log(tmp_path / "log", 1000, 1)
    for _ in range(500):
        log.write("stdout", b"0123456789\n")
    log.close()
    assert [file.name for file in tmp_path.iterdir()] == ["log"]
    assert 0 < (tmp_path / "log").stat().st_size < 1100


def test_a_log_goes_on_after_a_restart(tmp_path: Path) -> None:
    for text in (b"first\n", b"second\n"):
        log = open_log(tmp_path / "log", 1000, 2)
        log.write("stdout", text)
        log.close()
    assert [record["log"] for record in records(tmp_path / "log")] == ["first\n", "second\n"]


def test_a_full_disk_loses_records_but_never_half_of_one() -> None:
    log = open_log(Path("/dev/full"), None, 1)
    log.write("stdout", b"nobody will read this\n")
    log.close()
    assert log.lost > len(b"nobody will read this\n")


def test_a_link_in_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        open_log(tmp_path / "log", None, 1)


def test_attributes_stand_in_each_record(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", None, 1, attributes='{"tag":"web"}')
    log.write("stdout", b"one\ntwo\n")
    log.close()
    for record in json_lines(tmp_path / "log"):
        assert list(record) == ["log", "stream", "attrs", "time"]
        assert record["attrs"] == {"tag": "web"}


def test_the_local_format_is_that_of_docker(tmp_path: Path) -> None:
    """The bytes that Docker 28.5.2 wrote for these lines, but for the nine bytes of each time."""
    log = open_log(tmp_path / "log", None, 1, format="local")
    log.write("stdout", b"hello\n")
    log.write("stderr", b"\n")
    log.close()
    written = (tmp_path / "log").read_bytes()
    assert written[:13] == b"\0\0\0\x19\n\x06stdout\x10"
    assert written[22:33] == b"\x1a\x05hello\0\0\0\x19"
    assert written[33:46] == b"\0\0\0\x12\n\x06stderr\x10"
    assert written[55:] == b"\0\0\0\x12"


def test_pieces_of_a_long_line_in_the_local_format(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", None, 1, format="local")
    log.write("stdout", b"x" * (2 * PIECE + 10) + b"\nshort\nunfinished")
    log.close()
    data = (tmp_path / "log").read_bytes()
    assert local_format.whole(data) == len(data)
    shown = [entry.log for entry in local_format.entries(data)]
    assert shown == ["x" * PIECE, "x" * PIECE, "x" * 10 + "\n", "short\n", "unfinished"]


def _ended(log: ContainerLog) -> None:
    """Wait for the child that compresses, as the shim does when SIGCHLD tells it."""
    pid, status = os.waitpid(-1, 0)
    log.child_ended(pid, status)


def test_what_is_put_aside_is_compressed(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", 2000, 3, compress=True)
    wrote = 0
    while not [*tmp_path.glob("log.1*")]:
        log.write("stdout", b"line %d\n" % wrote)
        wrote += 1
    _ended(log)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log", "log.1.gz"]
    with gzip.open(tmp_path / "log.1.gz") as file:
        older = [json.loads(line)["log"] for line in file]
    assert older == [f"line {n}\n" for n in range(wrote - 1)]
    log.close()


def test_a_compressor_that_is_not_done_leaves_nothing(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", 2000, 3, compress=True)
    while not (tmp_path / "log.1").exists():
        log.write("stdout", b"0123456789\n")
    log.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log", "log.1"]


def test_what_is_read_stays_until_it_has_been_read(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", 1000, 2)
    log.write("stdout", b"the first line\n")
    reader = LogFiles(tmp_path / "log", json_format)
    (reading,) = reader.open()
    for n in range(100):
        log.write("stdout", b"%d\n" % n)
    assert len(list(tmp_path.iterdir())) > 3, "more than two files: the reader stands at the oldest"
    got: list[str] = []
    while True:
        while data := reading.read():
            got += [entry.log for entry in json_format.entries(data)]
        newer = reader.successor(reading)
        if newer is None:
            break
        reading.close()
        reading = newer
    assert got == ["the first line\n", *(f"{n}\n" for n in range(100))]
    reading.close()
    for _ in range(30):
        log.write("stdout", b"more\n")
    log.close()
    assert {file.name for file in tmp_path.iterdir()} == {"log", "log.1"}, "nobody reads: back to two"


def test_a_slow_reader_holds_only_so_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "HELD_BYTES", 5000)
    log = open_log(tmp_path / "log", 1000, 2)
    log.write("stdout", b"the first line\n")
    (reading,) = LogFiles(tmp_path / "log", json_format).open()
    for _ in range(200):
        log.write("stdout", b"0123456789\n")
    log.close()
    assert len(list(tmp_path.iterdir())) <= 2 + 5
    assert reading.deleted
    reading.close()


def test_clearing(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", 1000, 3)
    for _ in range(100):
        log.write("stdout", b"0123456789\n")
    log.clear()
    log.write("stdout", b"after\n")
    log.close()
    assert [file.name for file in tmp_path.iterdir()] == ["log"]
    assert [record["log"] for record in records(tmp_path / "log")] == ["after\n"]
