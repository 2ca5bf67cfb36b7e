"""`onggi cp` does what `docker cp` does, in every case of existing, missing, linked and contents-of."""

import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import SCRIPT
from tests.peers import Docker, docker_command, peer_socket

NAME = f"copy-{os.getpid()}"
INTO = [
    "plain {c}:/w/new", "plain {c}:/w/ex", "plain {c}:/w/ex/", "plain {c}:/w/file", "plain {c}:/w/nodir/",
    "plain {c}:/w/no/such", "plain/ {c}:/w/q", "s {c}:/w/newd", "s {c}:/w/ex", "s/. {c}:/w/ex", "s/. {c}:/w/newd2",
    "s {c}:/w/newd3/", "s {c}:/w/file", "s/ {c}:/w/ex2", "link {c}:/w/alink", "-L link {c}:/w/afollow",
    "dlink {c}:/w/dlink", "-L dlink {c}:/w/dfollow", "dlink/ {c}:/w/dslash", "plain {c}:/w/lex", "plain {c}:/w/lfile",
    "plain {c}:w/rel", "-a s {c}:/w/arch", "nosuch/x {c}:/w/x",
]  # fmt: skip
OUT = [
    "{c}:/o/d/a out/new", "{c}:/o/d/a out", "{c}:/o/d/a out/file", "{c}:/o/d/a out/nodir/", "{c}:/o/d/a out/no/such",
    "{c}:/o/d out/newd", "{c}:/o/d out", "{c}:/o/d/. out/newd2", "{c}:/o/d/. out", "{c}:/o/d out/file",
    "{c}:/o/d out/nd3/", "{c}:/o/la out/la", "-L {c}:/o/la out/fla", "{c}:/o/ld out/ld", "-L {c}:/o/ld out/fld",
    "{c}:/o/ld/ out/ld2", "-a {c}:/o/d out/ad", "{c}:/etc/hostname out", "{c}:o/d/a out/rela", "{c}:/nosuch out",
    "{c}:/o/d/a/ out/zz", "{c}:/o/d/a/. out/zz",
]  # fmt: skip
PREPARE = """
mkdir -p /w/ex /o/d/sub; cd /w; echo old >file; ln -s ex lex; ln -s file lfile
cd /o; echo a >d/a; echo b >d/sub/b; ln -s a d/l; ln d/a d/hl; ln -s d ld; ln -s d/a la; chmod 600 d/a; exec sleep 1000
"""


def _prepare(folder: Path) -> None:
    (folder / "s/sub").mkdir(parents=True)
    (folder / "s/f").write_text("hello\n")
    (folder / "s/sub/g").write_text("two\n")
    (folder / "s/l").symlink_to("f")
    os.link(folder / "s/f", folder / "s/h")
    (folder / "s/f").chmod(0o640)
    (folder / "plain").write_text("x")
    (folder / "link").symlink_to("plain")
    (folder / "dlink").symlink_to("s")
    (folder / "out").mkdir()
    (folder / "out/file").write_text("old")


def _tree(archive: Path, top: str) -> list[tuple[object, ...]]:
    with tarfile.open(archive) as opened:
        return sorted(
            (entry.name, entry.type, oct(entry.mode), entry.linkname, entry.size, entry.uid)
            for entry in opened
            if entry.name.startswith(top)
        )


class Side:
    """One client, its container and its directory."""

    def __init__(self, command: str, docker: Docker, folder: Path, container: str) -> None:
        self.command, self.docker, self.folder, self.container = command, docker, folder, container
        folder.mkdir()
        _prepare(folder)

    def run(self, line: str) -> tuple[int, str]:
        words = line.replace("{c}", self.container).split()
        environment = os.environ | {"DOCKER_HOST": f"unix://{self.docker.socket}", "ONGGI_AUTOSTART": "0"}
        done = subprocess.run([self.command, "cp", *words], cwd=self.folder, env=environment, capture_output=True,
                              text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)  # fmt: skip
        said = [text for text in done.stderr.splitlines() if not text.startswith("time=")]
        return done.returncode, "\n".join(said).replace(self.container, "C").replace(str(self.folder), "F").replace(
            "//", "/"
        )

    def inside(self) -> list[tuple[object, ...]]:
        path = self.folder.parent / f"{self.container}.tar"
        self.docker("export", "-o", str(path), self.container, check=True)
        return _tree(path, "w")

    def outside(self) -> list[tuple[object, ...]]:
        path = self.folder.parent / f"{self.container}-out.tar"
        with tarfile.open(path, "w") as archive:
            archive.add(self.folder / "out", "out")
        return _tree(path, "out")


@pytest.fixture
def sides(tmp_path: Path, busybox_tar: Path) -> Iterator[tuple[Side, Side]]:
    docker = Docker(peer_socket())
    docker("load", "-i", str(busybox_tar), check=True)
    names = [f"{NAME}-docker", f"{NAME}-onggi"]
    for name in names:
        docker("run", "-d", "--network", "none", "--name", name, "busybox:latest", "sh", "-c", PREPARE, check=True)
    yield (Side(docker_command(), docker, tmp_path / "docker", names[0]),
           Side(str(SCRIPT), docker, tmp_path / "onggi", names[1]))  # fmt: skip
    docker("rm", "-f", *names, check=True)


def test_copies_are_dockers(sides: tuple[Side, Side]) -> None:
    theirs, ours = sides
    differences = [
        (line, theirs_said, ours_said)
        for line in [*INTO, *OUT]
        if (theirs_said := theirs.run(line)) != (ours_said := ours.run(line))
    ]
    assert differences == []
    assert ours.inside() == theirs.inside()
    assert ours.outside() == theirs.outside()


def test_streams(sides: tuple[Side, Side]) -> None:
    _, ours = sides
    environment = os.environ | {"DOCKER_HOST": f"unix://{ours.docker.socket}", "ONGGI_AUTOSTART": "0"}
    out = subprocess.run([str(SCRIPT), "cp", f"{ours.container}:/o/d", "-"], env=environment, capture_output=True, timeout=60,
                         check=True)  # fmt: skip
    subprocess.run([str(SCRIPT), "cp", "-", f"{ours.container}:/w/ex"], env=environment, input=out.stdout, timeout=60,
                   check=True)  # fmt: skip
    names = {entry[0] for entry in ours.inside()}
    assert {"w/ex/d", "w/ex/d/a", "w/ex/d/sub/b"} <= {str(name).rstrip("/") for name in names}
    refused = subprocess.run([str(SCRIPT), "cp", "-", f"{ours.container}:/w/file"], env=environment, input=out.stdout,
                             capture_output=True, timeout=60, check=False)  # fmt: skip
    assert refused.stderr.decode() == f'destination "{ours.container}:/w/file" must be a directory\n'
