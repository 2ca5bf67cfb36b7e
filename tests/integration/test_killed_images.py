"""kill -9 of the engine while images come, go and leave: whole or absent afterwards, and nothing else is left.

Six moments, a hundred by `ONGGI_TESTS_WHOLE=1`. A moment is a time after the work was begun, drawn anew each time and printed.
"""

import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.conditions import until
from tests.engine import Engine
from tests.image_census import damage, orphans
from tests.images import busybox_layer, docker_archive
from tests.peers import docker_command
from tests.registry import Registry, layer_of, push_image

MOMENTS = 100 if os.environ.get("ONGGI_TESTS_WHOLE") == "1" else 6
PATIENCE_S = 90


def _layer(name: str, files: int = 60) -> bytes:
    return layer_of({f"{name}/{number}": os.urandom(30_000) for number in range(files)})


class Bustle:
    """Pulls, pushes, loads and removals side by side, of images that share layers."""

    def __init__(self, engine: Engine, registry: Registry, directory: Path) -> None:
        self.engine = engine
        self.host = registry.host
        shared = [busybox_layer(), *(_layer(f"shared{n}") for n in range(3))]
        for name in ("one", "two"):
            push_image(self.host, f"killed/{name}", "1", [*shared, _layer(name), _layer(f"{name}-top", 5)])
        push_image(self.host, "killed/kept", "1", [*shared[:2], _layer("kept")])
        self.archive = directory / "archive.tar"
        docker_archive(self.archive, ["killed-load:1", "killed-load:2"], [*shared, _layer("loaded")], Cmd=["sh"])
        self.kept = ["busybox:latest", f"{self.host}/killed/kept:1"]
        self.passing = [f"{self.host}/killed/one:1", f"{self.host}/killed/two:1", "killed-load:1", "killed-load:2"]
        engine.docker("pull", "-q", self.kept[1], check=True)
        for image in self.kept:
            engine.docker("create", image, "sh", check=True)  # so that a prune spares them
        self.trees: dict[str, str] = {}

    def begin(self, chance: random.Random) -> list["subprocess.Popen[bytes]"]:
        sent = f"{self.host}/killed/kept:{chance.randrange(1 << 30)}"
        self.engine.docker("tag", self.kept[1], sent, check=True)
        works = [
            ["pull", self.passing[0]], ["pull", self.passing[1]], ["load", "-i", str(self.archive)], ["push", sent],
            ["rmi", "-f", chance.choice(self.passing)], ["image", "prune", "-a", "-f"], ["rmi", sent],
        ]  # fmt: skip
        chosen = chance.sample(works, chance.randint(3, len(works)))
        print(*(" ".join(words) for words in chosen), sep="; ")
        return [
            subprocess.Popen([docker_command(), "-H", f"unix://{self.engine.socket}", *words],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for words in chosen
        ]  # fmt: skip

    def assert_sound(self) -> None:
        """What is visible is whole, and what is kept is visible."""
        assert damage(self.engine.data_root, self.trees) == []
        for name in self.kept:
            self.engine.docker("image", "inspect", name, check=True)

    def assert_clean(self) -> None:
        """After a collection nothing is there but what images and containers need."""
        self.engine.docker("image", "prune", "-f", check=True)
        until(lambda: not orphans(self.engine.data_root), f"no orphans: {orphans(self.engine.data_root)}")


@pytest.fixture
def bustle(own_engine: Engine, registry: Registry, tmp_path: Path) -> Bustle:
    return Bustle(own_engine, registry, tmp_path)


@pytest.mark.timeout(3600)
def test_killed_at_any_moment_images_are_whole_or_absent(bustle: Bustle) -> None:
    engine, seed = bustle.engine, time.time_ns()
    chance = random.Random(seed)
    begun = time.monotonic()
    for client in bustle.begin(chance):
        client.wait(PATIENCE_S)
    longest_s = time.monotonic() - begun
    bustle.assert_sound()
    bustle.assert_clean()
    print(f"seed {seed}; undisturbed it takes {longest_s:.2f} s")
    for number in range(MOMENTS):
        clients = bustle.begin(chance)
        moment_s = chance.uniform(0, longest_s)
        print(f"{number}: killed after {moment_s:.3f} s")
        time.sleep(moment_s)  # a moment like any other: none is waited for
        engine.kill()
        for client in clients:
            client.wait(PATIENCE_S)
        engine.start()
        bustle.assert_sound()
        bustle.assert_clean()
    for name in bustle.passing[:2]:
        engine.docker("pull", "-q", name, check=True)
        assert engine.docker("run", "--rm", name, "ls", "/shared2/59", check=True).stdout == "/shared2/59\n"
    engine.docker("load", "-q", "-i", str(bustle.archive), check=True)
    bustle.assert_sound()
    engine.docker("rm", "-f", *engine.docker("ps", "-aq", check=True).stdout.split(), check=True)
    engine.docker("image", "prune", "-a", "-f", check=True)
    bustle.assert_clean()
    assert list((engine.data_root / "content" / "blobs").rglob("*")) == [engine.data_root / "content/blobs/sha256"]
