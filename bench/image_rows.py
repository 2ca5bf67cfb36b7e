"""What is measured of images: pull, push, load, save and lists of them. See `rows` for what a row is."""

import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

from tests.images import many_images_archive
from tests.peers import docker_command
from tests.registry import Registry

from bench.big_image import push
from bench.sides import Row, Side, own_pids, pss_mib

BIG = Path("/var/cache/onggi-bench")
MANY_IMAGES = 500
_registry: list[Registry] = []
_saved: list[Path] = []


def _prepare_pull(side: Side) -> None:
    if not _registry:
        _registry.append(Registry(Path(tempfile.mkdtemp(prefix="onggi-bench-registry-"))).start())
        push(BIG, _registry[0].host, "bench/big")
        push(BIG, _registry[0].host, "bench/changed", changed=True)
    _forget_earlier(side)


def stop_registry() -> None:
    """End the registry that the transfer rows started, and remove what was stored."""
    while _registry:
        running = _registry.pop()
        running.stop()
        shutil.rmtree(running.directory)
    while _saved:
        _saved.pop().unlink()


def _big(repository: str = "bench/big") -> str:
    return f"{_registry[0].host}/{repository}:1"


def _forget(side: Side, name: str) -> None:
    """The image and whatever of its layers: the next pull begins with nothing."""
    command = [docker_command(), "-H", f"unix://{side.socket}", "rmi", "-f", name]
    subprocess.run(command, capture_output=True, check=False)
    side.stock("info")  # Onggi deletes behind the answer: let it begin
    os.sync()


def _forget_big(side: Side) -> None:
    _forget(side, _big())


def _forget_earlier(side: Side) -> None:
    """What a run that was cut off left behind: a pull that finds its layers here measures nothing."""
    for name in side.stock("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.decode().split():
        if "/bench/" in name:
            _forget(side, name)


def _measure_pull(side: Side) -> float:
    _forget_big(side)
    return side.timed("pull", "-q", _big())


def _prepare_shared(side: Side) -> None:
    _prepare_pull(side)
    side.stock("pull", "-q", _big())


def _measure_shared(side: Side) -> float:
    """Nine of ten layers are here."""
    _forget(side, _big("bench/changed"))
    return side.timed("pull", "-q", _big("bench/changed"))


def _clean_shared(side: Side) -> None:
    _forget(side, _big("bench/changed"))
    _forget_big(side)


def _measure_push(side: Side) -> float:
    """To a registry that has none of it."""
    with tempfile.TemporaryDirectory(prefix="onggi-bench-registry-") as directory, Registry(Path(directory)) as empty:
        target = f"{empty.host}/bench/big:1"
        side.stock("tag", _big(), target)
        taken = side.timed("push", "-q", target)
        side.stock("rmi", target)
    return taken


def _measure_save(side: Side) -> float:
    return side.timed_to_nowhere("save", _big())


def _prepare_load(side: Side) -> None:
    """Both load the same archive: the one that docker writes."""
    if not _saved:
        _prepare_shared(side)
        handle, name = tempfile.mkstemp(prefix="onggi-bench-", suffix=".tar")
        os.close(handle)
        _saved.append(Path(name))
        side.stock("save", "-o", name, _big())


def _measure_load(side: Side) -> float:
    _forget_big(side)
    return side.timed("load", "-q", "-i", str(_saved[0]))


def _measure_memory(side: Side) -> float:
    """The most that the engine's processes take while they pull."""
    _forget_big(side)
    peak, done = 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, pss_mib(own_pids(side)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        side.stock("pull", "-q", _big())
    finally:
        done.set()
        watcher.join()
    return peak


def _prepare_many(side: Side) -> None:
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        many_images_archive(Path(archive.name), MANY_IMAGES, name="bench-many")
        side.stock("load", "-q", "-i", archive.name)


def _clean_many(side: Side) -> None:
    names = side.stock("images", "--format", "{{.Repository}}:{{.Tag}}", "bench-many").stdout.decode().split()
    side.stock("rmi", *names)


ROWS: dict[str, Row] = {
    "pull": Row(
        "pull of 10 layers, 760 MB", _measure_pull, 1 / 2, rounds=3, warm_up=0, prepare=_prepare_pull, clean=_forget_big
    ),
    "pull-shared": Row(
        "pull of another, 9 of 10 layers here", _measure_shared, 1 / 2, rounds=3, warm_up=0, prepare=_prepare_shared,
        clean=_clean_shared,
    ),
    "push": Row(
        "push of the same", _measure_push, 1 / 2, rounds=3, warm_up=0, prepare=_prepare_shared, clean=_forget_big
    ),
    "save": Row(
        "save of the same", _measure_save, 1 / 2, rounds=3, warm_up=0, prepare=_prepare_shared, clean=_forget_big
    ),
    "load": Row(
        "load of what docker saved", _measure_load, 1 / 2, rounds=3, warm_up=0, prepare=_prepare_load, clean=_forget_big
    ),
    "pull-memory": Row(
        "the engine's peak in a pull", _measure_memory, 1, unit="MB", limit=200, rounds=3, warm_up=0,
        prepare=_prepare_pull, clean=_forget_big,
    ),
    "images": Row(
        f"images with {MANY_IMAGES}", lambda side: side.timed("images"), 1, rounds=7, prepare=_prepare_many,
        clean=_clean_many,
    ),
}  # fmt: skip
