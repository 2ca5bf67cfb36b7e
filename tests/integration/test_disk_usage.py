"""What images take of the disk, and how they go by themselves."""

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.conditions import until
from tests.engine import Engine, census
from tests.http import UnixConnection
from tests.images import busybox_layer
from tests.registry import Registry, layer_of, push_image

BASE = layer_of({f"dir-{number % 20}/file-{number}": os.urandom(number) for number in range(600)})
SIZE = 3_000_000


@pytest.fixture
def names(registry: Registry, tmp_path: Path) -> list[str]:
    """Three images: they share a layer of many small files, and have one of their own."""
    found = []
    for number in range(3):
        repository = f"usage/{tmp_path.name}-{number}"
        own = layer_of({f"own-{number}": os.urandom(SIZE)})
        push_image(registry.host, repository, "1", [busybox_layer(), BASE, own])
        found.append(f"{registry.host}/{repository}:1")
    return found


@contextmanager
def running(directory: Path, *options: str) -> Iterator[Engine]:
    with Engine(directory, number=1, options=options) as engine:
        yield engine
    assert census(engine) == []


def on_disk(engine: Engine) -> int:
    places = [str(engine.data_root / "layers"), str(engine.data_root / "content")]
    done = subprocess.run(["du", "-scB1", *places], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1].split()[0])


def usage(engine: Engine) -> dict[str, object]:
    connection = UnixConnection(engine.socket)
    connection.request("GET", "/v1.51/system/df?type=image")
    answer: dict[str, object] = json.load(connection.getresponse())
    connection.close()
    return answer


def present(engine: Engine) -> set[str]:
    return set(engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}", check=True).stdout.split())


def age(engine: Engine, name: str, span: timedelta) -> None:
    """As if the image had last been used so long ago."""
    identity = engine.docker("inspect", "-f", "{{.Id}}", name, check=True).stdout.strip()
    with sqlite3.connect(engine.data_root / "state.db", timeout=30) as database:
        moment = (datetime.now(UTC) - span).isoformat()
        assert database.execute("UPDATE images SET last_used_at = ? WHERE id = ?", (moment, identity)).rowcount == 1


def test_it_is_what_du_says(tmp_path: Path, names: list[str]) -> None:
    def close(told: int, counted: int) -> bool:
        return abs(told - counted) <= counted * 0.01

    with running(tmp_path) as engine:
        for name in names:
            engine.docker("pull", "-q", name, check=True)
            told = usage(engine)["LayersSize"]
            assert isinstance(told, int)
            assert close(told, on_disk(engine)), (told, on_disk(engine))
        found = usage(engine)
        images = found["Images"]
        assert isinstance(images, list)
        assert isinstance(found["LayersSize"], int)
        shared = {image["SharedSize"] for image in images}
        assert len(shared) == 1
        unique = sum(image["Size"] - image["SharedSize"] for image in images)
        assert close(unique + shared.pop(), found["LayersSize"])
        before = on_disk(engine)
        (one,) = [image for image in images if image["RepoTags"] == [names[0]]]
        engine.docker("rmi", names[0], check=True)
        until(lambda: close(before - on_disk(engine), one["Size"] - one["SharedSize"]))
        for line in engine.docker("system", "df", "-v", check=True).stdout.splitlines():
            if names[1].rpartition(":")[0] in line:
                assert "1 " in line  # the stock command line shows them, too


def test_prune_by_the_last_use(tmp_path: Path, names: list[str]) -> None:
    with running(tmp_path) as engine:
        for name in names:
            engine.docker("pull", "-q", name, check=True)
        age(engine, names[0], timedelta(hours=50))
        age(engine, names[1], timedelta(hours=50))
        container = engine.docker("create", names[1], "true", check=True).stdout.strip()
        engine.docker("rm", container, check=True)  # a use
        engine.docker("image", "prune", "-af", "--filter", "last-used=48h", check=True)
        assert present(engine) == {names[1], names[2]}
        engine.onggi("image", "prune", "-af", "--filter", "last-used=0s", check=True)
        assert present(engine) == set()


def bound_at_one_less(engine: Engine, name: str) -> str:
    """So many bytes that the images fit once `name` is gone."""
    found = usage(engine)
    assert isinstance(found["LayersSize"], int)
    assert isinstance(found["Images"], list)
    (one,) = [image for image in found["Images"] if image["RepoTags"] == [name]]
    return str(found["LayersSize"] - (one["Size"] - one["SharedSize"]) // 2)


@pytest.mark.parametrize("option", ["--image-max-age", "--image-min-free", "--image-max-size"])
def test_unused_images_go_by_themselves(tmp_path: Path, names: list[str], option: str) -> None:
    """The first has a container, the second was unused for three days, the third for one."""
    with running(tmp_path) as engine:
        for name in names:
            engine.docker("pull", "-q", name, check=True)
        engine.docker("create", names[0], "true", check=True)
        for name, days in zip(names, (5, 3, 1), strict=True):
            age(engine, name, timedelta(days=days))
        value = {"--image-max-age": "2d", "--image-min-free": "1000000t"}.get(
            option, bound_at_one_less(engine, names[1])
        )
        engine.stop()
        engine.options = (option, value)
        engine.start()
        left = {names[0]} if option == "--image-min-free" else {names[0], names[2]}
        until(lambda: present(engine) == left)
        assert "was removed: " in engine.log.read_text()
        if option == "--image-max-size":
            engine.docker("pull", "-q", names[1], check=True)  # now the third was unused for longest
            until(lambda: present(engine) == {names[0], names[1]})


def test_nothing_goes_by_itself_unless_it_is_told_to(tmp_path: Path, names: list[str]) -> None:
    with running(tmp_path) as engine:
        engine.docker("pull", "-q", names[0], check=True)
        age(engine, names[0], timedelta(days=5000))
        engine.stop()
        engine.start()
        engine.docker("pull", "-q", names[1], check=True)
        assert present(engine) == {names[0], names[1]}


def test_a_bound_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    engine = Engine(tmp_path, number=1, options=("--image-max-age", "soon"))
    with pytest.raises(AssertionError, match='invalid span "soon" for image-max-age'):
        engine.start()
