"""`--mount type=image`: what is in an image, to be read in a container of another one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import Engine, census, inspected

LOOK = "head -1 /img/etc/passwd; cat /img/word; touch /img/etc/passwd || echo refused"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, busybox_tar: Path) -> Iterator[Engine]:
    with Engine(tmp_path_factory.mktemp("views"), number=4) as running:
        running.docker("load", "-i", str(busybox_tar), check=True)
        yield running
    assert census(running) == []


@pytest.fixture
def book(engine: Engine, name: str) -> Iterator[str]:
    """An image of two layers, of which the upper one changes and deletes what the lower one has."""
    change = "echo pot >/word; rm -rf /var; mkdir -p /deep/er; echo x >/deep/er/f"
    engine.docker("run", "--name", name, "busybox", "sh", "-c", change, check=True)
    engine.docker("commit", name, f"{name}:book", check=True)
    engine.docker("rm", name, check=True)
    yield f"{name}:book"
    engine.docker("rmi", "-f", f"{name}:book")


@pytest.mark.parametrize("runtime", ["onggi", "runc"])
def test_an_image_is_there_to_be_read(engine: Engine, book: str, runtime: str) -> None:
    done = engine.docker("run", "--rm", "--runtime", runtime, "--mount", f"type=image,source={book},target=/img", "busybox",
                         "sh", "-c", f"{LOOK}; ls -d /img/var", check=False)  # fmt: skip
    assert done.stdout.splitlines() == ["root:x:0:0:root:/root:/bin/sh", "pot", "refused"]
    assert "Read-only file system" in done.stderr
    assert "/img/var: No such file or directory" in done.stderr


def test_a_part_of_it(engine: Engine, book: str, name: str) -> None:
    option = f"type=image,source={book},target=/img,image-subpath=deep/er"
    engine.docker("create", "--name", name, "--mount", option, "busybox", "ls", "/img", check=True)
    try:
        assert engine.docker("start", "-a", name, check=True).stdout == "f\n"
        document = inspected(engine, name)
        assert document["HostConfig"]["Mounts"] == [
            {"Type": "image", "Source": book, "Target": "/img", "ImageOptions": {"Subpath": "deep/er"}}
        ]
        (point,) = document["Mounts"]
        assert (point["Type"], point["Name"], point["RW"]) == ("image", book, False)
    finally:
        engine.docker("rm", "-f", name)
    one_file = f"type=image,source={book},target=/file,image-subpath=deep/er/f"
    assert engine.docker("run", "--rm", "--mount", one_file, "busybox", "cat", "/file", check=True).stdout == "x\n"


def test_its_layers_stay_while_a_container_has_it(engine: Engine, book: str, name: str) -> None:
    engine.docker("create", "--name", name, "--mount", f"type=image,source={book},target=/img", "busybox", "cat",
                  "/img/word", check=True)  # fmt: skip
    try:
        engine.docker("rmi", "-f", book, check=True)
        engine.kill()
        engine.start()
        assert engine.docker("start", "-a", name, check=True).stdout == "pot\n"
    finally:
        engine.docker("rm", "-f", name)


def test_a_killed_engine_leaves_no_mount(engine: Engine, book: str, name: str) -> None:
    engine.docker("run", "-d", "--name", name, "--mount", f"type=image,source={book},target=/img", "busybox", "sleep",
                  "1000", check=True)  # fmt: skip
    engine.kill()
    engine.start()
    try:
        assert engine.docker("exec", name, "cat", "/img/word", check=True).stdout == "pot\n", "it has it still"
    finally:
        engine.docker("rm", "-f", name)
    mounts = Path("/proc/self/mountinfo").read_text()
    assert not [line for line in mounts.splitlines() if f"{engine.data_root}/volumes" in line]


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("type=image,target=/img", 'invalid mount config for type "image": field Source must not be empty'),
        (
            "type=image,source=busybox,target=/img,image-subpath=../x",
            'invalid mount config for type "image": subpath must be a relative path within the volume',
        ),
        ("type=image,source=busybox,target=/img,image-subpath=nope", "cannot access path nope of the image"),
        ("type=cluster,source=busybox,target=/img", 'invalid mount config for type "cluster": mount type unknown'),
        ("type=image,source=no-such,target=/img", "No such image: no-such"),
    ],
)
def test_refusals(engine: Engine, option: str, sentence: str) -> None:
    done = engine.onggi("run", "--rm", "--pull", "never", "--mount", option, "busybox", "true")
    assert sentence in done.stderr
