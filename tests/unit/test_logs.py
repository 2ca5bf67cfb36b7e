"""Logs against a model: whatever the rotations, tail, since and until give what a plain list of lines would."""

import asyncio
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onggi.engine.container_config import ContainerConfig
from onggi.engine.lifecycle import State
from onggi.engine.log_drivers.subject import Subject
from onggi.engine.log_files import json_format, local_format
from onggi.engine.log_files.entry import nanoseconds
from onggi.engine.log_files.files import LogFiles, last_records, records_since
from onggi.engine.logs import LogQuery, Logs
from onggi.engine.watch import DirectoryWatch
from onggi.errors import InvalidParameter
from tests.logs import Writer

START = datetime(2026, 12, 1, tzinfo=UTC)


def line(number: int, stream: str = "stdout", text: str | None = None) -> bytes:
    """Entry `number`, written `number` milliseconds after START."""
    stamp = (START + timedelta(milliseconds=number)).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".") + "Z"
    log = f"line {number}\n" if text is None else text
    return msgspec.json.encode({"log": log, "stream": stream, "time": stamp}) + b"\n"


def stamp_ns(number: int) -> int:
    return int(START.timestamp()) * 1_000_000_000 + number * 1_000_000


class Ending:
    """A runtime whose container ends when it is told to."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def wait(self, _id: str) -> None:
        await self.ended.wait()


def container(path: Path, state: State = State.EXITED) -> Any:
    driver = "json-file" if path.name.endswith("-json.log") else "local"
    host_config = SimpleNamespace(log_config=SimpleNamespace(type=driver))
    return SimpleNamespace(id="c", log_path=path, logs_to_file=True, state=state, host_config=host_config)


async def read(path: Path, query: LogQuery) -> bytes:
    pieces: list[bytes] = []

    async def write(piece: bytes) -> None:
        pieces.append(piece)

    runtime: Any = Ending()
    async with DirectoryWatch() as watch:
        await Logs(runtime, watch).send(container(path), query, write)
    return b"".join(pieces)


@settings(deadline=None, max_examples=150)
@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    tail=st.none() | st.integers(0, 100),
    since=st.none() | st.integers(0, 80),
    until=st.none() | st.integers(0, 80),
    long=st.booleans(),
    format=st.sampled_from(["json", "local"]),
    compressed=st.integers(0, 3),
)
def test_any_part_of_a_rotated_log(
    counts: list[int], tail: int | None, since: int | None, until: int | None, long: bool, format: str, compressed: int
) -> None:
    filler = "x" * 7000 if long else "x"
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "c-json.log" if format == "json" else "container.log")
        writer = Writer(path, format)
        number = 0
        for index, count in enumerate(counts):
            if index:
                writer.rotate()
            if index == compressed:
                writer.compress()
            for _ in range(count):
                writer.write(b"%d %s\n" % (number, filler.encode()), stamp_ns(number))
                number += 1
        expected = list(range(number))
        if tail is not None:
            expected = expected[max(0, number - tail) :]
        expected = [n for n in expected if (since is None or n >= since) and (until is None or n <= until)]
        query = LogQuery(
            stdout=True, stderr=True, framed=False, tail=tail,
            since_ns=None if since is None else stamp_ns(since), until_ns=None if until is None else stamp_ns(until),
        )  # fmt: skip
        got = asyncio.run(read(path, query)).decode().splitlines()
        writer.file.close()
        assert got == [f"{n} {filler}" for n in expected]


def test_frames_streams_timestamps_and_details(tmp_path: Path) -> None:
    path = tmp_path / "c-json.log"
    path.write_bytes(
        line(500, "stdout", "out\n") + line(1000, "stderr", "err\n") + b'{"log":"\\u00e9","stream":"stdout",'
        b'"time":"2026-12-01T00:00:02.123456789Z","attrs":{"l":"x y","A":"b"}}\n'
    )  # fmt: skip
    assert asyncio.run(read(path, LogQuery(stdout=True, stderr=True))) == (
        b"\1\0\0\0\0\0\0\4out\n\2\0\0\0\0\0\0\4err\n\1\0\0\0\0\0\0\2\xc3\xa9"
    )
    assert asyncio.run(read(path, LogQuery(stdout=False, stderr=True, framed=False))) == b"err\n"
    shown = asyncio.run(read(path, LogQuery(stdout=True, stderr=True, framed=False, timestamps=True, details=True)))
    assert shown.decode() == (
        "2026-12-01T00:00:00.500000000Z  out\n2026-12-01T00:00:01.000000000Z  err\n"
        "2026-12-01T00:00:02.123456789Z A=b,l=x+y é"
    )


def test_a_damaged_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "c-json.log"
    path.write_bytes(line(1) + b"\0" * 5000 + b"\n" + b'{"log":\n' + line(2) + b'{"log":"half')
    assert asyncio.run(read(path, LogQuery(stdout=True, stderr=True, framed=False))) == b"line 1\nline 2\n"
    path.write_bytes(b"\0" * 3_000_000 + b"\n" + line(3))
    assert asyncio.run(read(path, LogQuery(stdout=True, stderr=True, framed=False))) == b"line 3\n"


def test_times() -> None:
    assert nanoseconds("2026-12-01T00:00:00Z") == stamp_ns(0)
    assert nanoseconds("2026-12-01T00:00:00.000000001Z") == stamp_ns(0) + 1
    assert nanoseconds("2026-12-01T00:00:00.5Z") == stamp_ns(500)
    assert nanoseconds("never") == 0
    for text, shown in (
        ("00:00.5Z", "00:00.500000000Z"), ("00:00Z", "00:00.000000000Z"), ("00:00.123456789Z", "00:00.123456789Z"),
    ):  # fmt: skip
        entry = json_format.JsonEntry("", time=f"2026-12-01T00:{text}")
        assert entry.time_text == f"2026-12-01T00:{shown}"
        assert local_format.LocalEntry("", "stdout", entry.time_ns).time_text == entry.time_text


async def _follow(path: Path, format: str, *, compressed: bool) -> None:
    """Write and rotate while a reader follows: it gets each line once, in order, and ends with the container."""
    got: list[bytes] = []
    news = asyncio.Event()

    async def write(piece: bytes) -> None:
        got.append(piece)
        news.set()
        await asyncio.sleep(0)

    async def until_seen(text: bytes) -> None:
        async with asyncio.timeout(60):
            while text not in b"".join(got[-3:]):
                news.clear()
                await news.wait()

    runtime: Any = Ending()
    async with DirectoryWatch() as watch, asyncio.TaskGroup() as group:
        logs = Logs(runtime, watch)
        query = LogQuery(stdout=True, stderr=True, framed=False, follow=True)
        following = group.create_task(logs.send(container(path, State.RUNNING), query, write))
        await asyncio.sleep(0)
        writer = Writer(path, format, files=4)
        number = 0
        for burst in range(40):
            for _ in range(25):
                writer.write(b"line %d\n" % number, stamp_ns(number))
                number += 1
            if burst % 3 == 0:
                writer.rotate()
                if compressed:
                    writer.compress()
            if burst % 3 == 1:
                await until_seen(b"line %d\n" % (number - 1))
        runtime.ended.set()
        await following
        writer.file.close()
    assert b"".join(got).decode().splitlines() == [f"line {n}" for n in range(number)]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("format", ["json", "local"])
def test_following_over_rotations(tmp_path: Path, format: str, compressed: bool) -> None:
    path = tmp_path / ("c-json.log" if format == "json" else "container.log")
    asyncio.run(_follow(path, format, compressed=compressed))


def test_following_ends_at_until(tmp_path: Path) -> None:
    path = tmp_path / "c-json.log"
    path.write_bytes(line(1))

    async def follow() -> None:
        runtime: Any = Ending()
        query = LogQuery(stdout=True, stderr=True, follow=True, until_ns=time.time_ns() + 50_000_000)

        async def write(_piece: bytes) -> None:
            return

        async with DirectoryWatch() as watch, asyncio.timeout(60):
            await Logs(runtime, watch).send(container(path, State.RUNNING), query, write)

    asyncio.run(follow())


@pytest.mark.parametrize("format", ["json", "local"])
@pytest.mark.parametrize("compressed", [False, True])
def test_any_place_of_a_large_file(tmp_path: Path, format: str, compressed: bool) -> None:
    path = tmp_path / "log"
    module = json_format if format == "json" else local_format
    writer = Writer(path, format)
    for n in range(20_000):
        writer.write(b"line %d\n" % n, stamp_ns(n))
    if compressed:
        writer.rotate()
        writer.compress()
    log = LogFiles(path, module)

    def first(data: bytes | None) -> str:
        said: str = module.entries(data or b"")[0].log
        return said

    with log.open()[0] as file:
        assert file.seek_last(3) == 3
        assert [e.log for e in module.entries(file.read() or b"")] == ["line 19997\n", "line 19998\n", "line 19999\n"]
    with log.open()[0] as file:
        assert file.seek_last(50_000) == 20_000
        assert first(file.read()) == "line 0\n"
    *_, newest = last_records(log.open(), 0)
    assert newest.read() == b""
    newest.close()
    for since in (0, 7, 12_345, 19_999):
        file, *others = records_since(log.open(), stamp_ns(since))
        n = int(first(file.read()).split()[1])
        assert n <= since
        if not compressed:
            assert since - n < 2000, "a block, not the file, lies before what is asked for"
        for opened in (file, *others):
            opened.close()
    writer.file.close()


@pytest.mark.parametrize("tail", [b"\0\0\0\x19\n\x06std", b"\0" * 100_000])
def test_a_local_file_with_half_a_record_at_its_end(tmp_path: Path, tail: bytes) -> None:
    """It is just being written, or the power was cut."""
    path = tmp_path / "log"
    writer = Writer(path, "local")
    for n in range(5000):
        writer.write(b"line %d\n" % n, stamp_ns(n))
    writer.file.close()
    with path.open("ab") as file:
        file.write(tail)
    with LogFiles(path, local_format).open()[0] as log:
        assert log.seek_last(2) == 2
        assert [entry.log for entry in local_format.entries(log.read() or b"")] == ["line 4998\n", "line 4999\n"]


def about(tag: str, **labels: str) -> Subject:
    config = ContainerConfig(labels=labels, cmd=["true"])
    shown: Any = SimpleNamespace(id="c" * 64, name="web", image_id="sha256:0", image_name="busybox", config=config,
                                 created_at=START)  # fmt: skip
    return Subject(shown, {"tag": tag})


def test_a_tag_sees_data_only_and_is_bounded() -> None:
    assert about("{{.Name}}/{{.ID}}").tag() == "web/cccccccccccc"
    for source in ("{{.container}}", "{{.__class__}}", "{{.Name.__class__}}", "{{call .tag}}", "{{env}}"):
        with pytest.raises(InvalidParameter, match=r"^template: log-tag:1"):
            about(source).tag()
    assert len(about('{{printf "%999999999d" 1}}').tag()) < 4096
    with pytest.raises(InvalidParameter, match="longer than 4096"):
        about("{{.Name}}" * 2000).tag()


def test_labels_are_chosen_in_linear_time() -> None:
    subject = about("", aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab="x")
    subject.options = {"labels-regex": "(a+)+$"}
    assert subject.attributes() == {}
