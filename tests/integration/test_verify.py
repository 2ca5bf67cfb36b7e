"""`image verify`: damage on the disk is found, told, and mended from the registry."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import Engine
from tests.images import busybox_layer
from tests.registry import PushedImage, Registry, digest_of, layer_of, push_image

SECRET = layer_of({"etc/": None, "etc/shadow": b"root:*:0\n", "etc/motd": b"welcome\n"})


class Installed:
    """An image of this test alone, pulled into the engine; and where its parts lie on the disk."""

    def __init__(self, engine: Engine, registry: Registry, repository: str) -> None:
        self.layers = [busybox_layer(), SECRET, layer_of({repository: os.urandom(300_000)})]
        self.pushed: PushedImage = push_image(registry.host, repository, "1", self.layers)
        self.name = f"{registry.host}/{repository}:1"
        self._engine = engine
        engine.docker("pull", "-q", self.name, check=True)

    def blob(self, number: int) -> Path:
        return self._engine.data_root / "content/blobs/sha256" / self.pushed.layers[number].removeprefix("sha256:")

    def directory(self, number: int) -> Path:
        with sqlite3.connect(f"file:{self._engine.data_root}/state.db?mode=ro", uri=True) as database:
            row = database.execute("SELECT directory FROM layers WHERE key = ?", (digest_of(self.layers[number]),))
            return self._engine.data_root / str(row.fetchone()[0])


@pytest.fixture
def image(engine: Engine, registry: Registry, tmp_path: Path) -> Iterator[Installed]:
    installed = Installed(engine, registry, f"verify/{tmp_path.name.replace('_', '-').lower()}")
    yield installed
    engine.docker("rmi", "-f", installed.name, check=True)


def verify(engine: Engine, image: Installed, *options: str) -> tuple[int, str]:
    done = engine.onggi("image", "verify", *options, image.name)
    assert done.stderr == ""
    return done.returncode, "".join(
        line for line in done.stdout.splitlines(keepends=True) if line.startswith((image.name, "  "))
    )


def rewrite(path: Path, change: bytes) -> None:
    """As a disk that forgets: the name, the size and the time stay."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(status.st_size // 2)
        file.write(change)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_what_is_sound_is_told_to_be(engine: Engine, image: Installed) -> None:
    assert verify(engine, image) == (0, f"{image.name}: ok\n")


def test_a_damaged_blob_is_found_and_fetched_again(engine: Engine, image: Installed) -> None:
    blob = image.blob(2)
    sound = blob.read_bytes()
    rewrite(blob, b"damage")
    damaged = digest_of(blob.read_bytes())
    words = f"  blob {image.pushed.layers[2]}: its bytes have the digest {damaged}\n"
    assert verify(engine, image) == (1, f"{image.name}: damaged\n{words}")
    assert verify(engine, image, "--repair") == (0, f"{image.name}: repaired\n{words}")
    assert blob.read_bytes() == sound
    blob.unlink()
    words = f"  blob {image.pushed.layers[2]}: it is missing\n"
    assert verify(engine, image, "--repair") == (0, f"{image.name}: repaired\n{words}")
    assert verify(engine, image) == (0, f"{image.name}: ok\n")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: rewrite(root / "etc/shadow", b"x"), "etc/shadow: its content differs"),
        (lambda root: (root / "etc/shadow").chmod(0o666), "etc/shadow: its mode differs"),
        (lambda root: os.chown(root / "etc/motd", 7, 0), "etc/motd: its owner differs"),
        (lambda root: (root / "etc/motd").unlink(), "etc: its time differs"),
        (lambda root: os.setxattr(root / "etc/motd", "user.more", b"1"), "etc/motd: its extended attributes differ"),
        (lambda root: os.utime(root / "etc/motd"), "etc/motd: its time differs"),
    ],
)  # fmt: skip
def test_a_damaged_layer_is_found_and_unpacked_again(
    engine: Engine, image: Installed, damage: object, words: str
) -> None:
    assert callable(damage)
    damage(image.directory(1))
    told = f"  layer {digest_of(SECRET)}: {words}\n"
    assert verify(engine, image) == (1, f"{image.name}: damaged\n{told}")
    assert verify(engine, image, "--repair") == (0, f"{image.name}: repaired\n{told}")
    assert verify(engine, image) == (0, f"{image.name}: ok\n")
    said = engine.docker("run", "--rm", image.name, "cat", "/etc/shadow", "/etc/motd", check=True)
    assert said.stdout == "root:*:0\nwelcome\n"


def test_a_layer_that_is_gone_comes_back(engine: Engine, image: Installed) -> None:
    directory = image.directory(1)
    shutil.rmtree(directory)
    words = f"  layer {digest_of(SECRET)}: it can't be read: no such file or directory\n"
    assert verify(engine, image, "--repair") == (0, f"{image.name}: repaired\n{words}")
    assert (directory / "etc/shadow").read_bytes() == b"root:*:0\n"


def test_a_layer_beneath_a_running_container_stays(engine: Engine, image: Installed, name: str) -> None:
    engine.docker("run", "-d", "--name", name, image.name, "sleep", "1000", check=True)
    identity = engine.docker("inspect", "-f", "{{.Id}}", name, check=True).stdout[:12]
    try:
        (image.directory(1) / "etc/shadow").chmod(0o666)
        status, told = verify(engine, image, "--repair")
    finally:
        engine.docker("rm", "-f", name, check=True)
    assert (status, told.splitlines()[-1]) == (1, f"    not repaired: container {identity} runs on it: stop it first")
    assert verify(engine, image, "--repair")[0] == 0


def test_what_no_registry_has_is_told(engine: Engine, image: Installed, name: str) -> None:
    made = f"{name.lower()}:1"
    engine.docker("create", "--name", name, image.name, check=True)
    engine.docker("commit", name, made, check=True)
    engine.docker("rm", name, check=True)
    top = engine.docker("inspect", "-f", "{{index .RootFS.Layers 3}}", made, check=True).stdout.strip()
    try:
        rewrite(engine.data_root / "content/blobs/sha256" / top.removeprefix("sha256:"), b"damage")
        done = engine.onggi("image", "verify", "--repair", made)
    finally:
        engine.docker("rmi", made, check=True)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == (
        "    not repaired: no registry is known to have it: load, build or pull the image again"
    )


def test_an_image_that_is_not_there(engine: Engine) -> None:
    done = engine.onggi("image", "verify", "nobody:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error response from daemon: No such image: nobody:1\n"
