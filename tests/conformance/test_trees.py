"""Images made by Docker, Buildah and umoci, in every format: the tree inside equals the one under Docker, file by file."""

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import Engine
from tests.images import busybox_layer
from tests.peers import PEERS, Docker, peer_run
from tests.registry import Registry

KERNELS = ("proc", "sys", "dev")
"""Mounted by the runtime, not the image's."""
GIVEN = ("etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab")
"""Made for each container."""

Entry = tuple[object, ...]


def tree(root: Path) -> dict[str, Entry]:
    """Each path below `root` on its own filesystem: kind and mode, owner, mtime, content or target, device, xattrs, and the
    first path with the same inode."""
    found: dict[str, Entry] = {}
    inodes: dict[int, str] = {}
    todo = [""]
    while todo:
        relative = todo.pop(0)
        for name in sorted(os.listdir(root / relative)):
            path = os.path.join(relative, name)
            if path in KERNELS or path in GIVEN or path == ".dockerenv":
                continue
            full = root / path
            info = full.lstat()
            content = ""
            if stat.S_ISREG(info.st_mode):
                content = hashlib.sha256(full.read_bytes()).hexdigest()
            elif stat.S_ISLNK(info.st_mode):
                content = os.readlink(full)
            attributes = {
                key: os.getxattr(full, key, follow_symlinks=False) for key in os.listxattr(full, follow_symlinks=False)
            }
            # The runtime's own mount points make their directory younger.
            mtime = 0 if path in ("etc", "run") else info.st_mtime_ns
            found[path] = (stat.filemode(info.st_mode), info.st_uid, info.st_gid, mtime, content, info.st_rdev,
                           tuple(sorted(attributes.items())), inodes.setdefault(info.st_ino, path))  # fmt: skip
            if stat.S_ISDIR(info.st_mode):
                todo.append(path)
    return found


def tree_inside(docker: Docker, image: str) -> dict[str, Entry]:
    """The tree of a fresh container of an image, looked at through its first process."""
    name = f"tree-{uuid.uuid4().hex[:12]}"
    docker("run", "-d", "--name", name, image, "/bin/sleep", "1000", check=True)
    try:
        pid = docker("inspect", "-f", "{{.State.Pid}}", name, check=True).stdout.strip()
        return tree(Path(f"/proc/{pid}/root"))
    finally:
        docker("rm", "-f", name, check=True)


def same_tree(engine: Engine, peer: Docker, image: str) -> None:
    def ours(*words: str, check: bool = False) -> "subprocess.CompletedProcess[str]":
        return engine.docker(*words, check=check)

    peer("pull", "-q", image, check=True)
    engine.docker("pull", "-q", image, check=True)
    try:
        theirs, mine = tree_inside(peer, image), tree_inside(ours, image)  # type: ignore[arg-type]
        different = {path: (theirs.get(path), mine.get(path)) for path in theirs.keys() | mine.keys()
                     if theirs.get(path) != mine.get(path)}  # fmt: skip
        assert different == {}
        assert len(theirs) > 20
    finally:
        peer("rmi", "-f", image)
        engine.docker("rmi", "-f", image)


@pytest.fixture
def build_directory() -> Iterator[Path]:
    """A directory that the peers' programs see as well, as /tmp/NAME."""
    (PEERS / "tmp").mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(dir=PEERS / "tmp"))
    yield directory
    shutil.rmtree(directory)


def odd_tree(root: Path) -> None:
    """Busybox and everything that a layer can hold: modes, owners, links, devices, attributes, holes, old times."""
    root.mkdir(parents=True)
    subprocess.run(["tar", "-xf", "-", "-C", str(root)], input=busybox_layer(), check=True)
    odd = root / "odd"
    odd.mkdir(mode=0o700)
    (odd / "setuid").write_bytes(b"x" * 5000)
    os.chmod(odd / "setuid", 0o4755)
    os.link(odd / "setuid", odd / "hard link")
    (odd / "dangling").symlink_to("/nowhere/at/all")
    (odd / "sticky").mkdir()
    os.chmod(odd / "sticky", 0o1777)
    os.chown(odd / "sticky", 1234, 5678)
    os.mkfifo(odd / "fifo", 0o620)
    os.mknod(odd / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    (odd / "한글 ünïcode").write_text("이름")
    with (odd / "sparse").open("wb") as file:
        file.seek(10 << 20)
        file.write(b"end")
    (odd / "long" / ("d" * 120) / ("e" * 120)).mkdir(parents=True)
    (odd / "long" / ("d" * 120) / ("e" * 120) / ("f" * 120)).write_text("deep")
    (odd / "old").write_text("old")
    os.utime(odd / "old", ns=(0, 86400 * 10**9))
    os.setxattr(odd / "old", "user.note", b"kept")
    os.setxattr(odd / "setuid", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))


def test_a_schema_2_image_pushed_by_docker(engine: Engine, peer: Docker, registry: Registry, tmp_path: Path) -> None:
    odd_tree(tmp_path / "root")
    pack = [
        "tar",
        "--xattrs",
        "--xattrs-include=*",
        "-S",
        "-cf",
        str(tmp_path / "root.tar"),
        "-C",
        str(tmp_path / "root"),
        ".",
    ]
    subprocess.run(pack, check=True)
    image = f"{registry.host}/trees/docker:1"
    (tmp_path / "context").mkdir()
    (tmp_path / "root.tar").rename(tmp_path / "context/root.tar")
    (tmp_path / "context/Dockerfile").write_text("FROM scratch\nADD root.tar /\n")
    classic = os.environ | {"DOCKER_HOST": f"unix://{peer.socket}", "DOCKER_BUILDKIT": "0"}
    peer("build", "-q", "-t", image, str(tmp_path / "context"), env=classic, check=True)
    peer("push", "-q", image, check=True)
    peer("rmi", image, check=True)
    same_tree(engine, peer, image)


def test_layers_built_by_docker_with_whiteouts(
    engine: Engine, peer: Docker, registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox:latest\n"
        "RUN mkdir -p /a/b /c && echo one >/a/b/one && echo two >/a/two && chmod 700 /c && echo three >/c/three\n"
        "RUN rm -r /a && mkdir /a && echo new >/a/new && rm /c/three && rm -rf /home && ln -s /a /link\n"
        "RUN echo over >/a/new && chown 7:8 /c && touch /etc/added && rmdir /srv 2>/dev/null || true\n"
        'ENV GREETING="a b"\nUSER 0:0\n'
    )
    image = f"{registry.host}/trees/built:1"
    built = peer(
        "build",
        "-q",
        "-t",
        image,
        str(tmp_path),
        env=os.environ | {"DOCKER_HOST": f"unix://{peer.socket}", "DOCKER_BUILDKIT": "0"},
    )
    assert built.returncode == 0, built.stderr
    peer("push", "-q", image, check=True)
    same_tree(engine, peer, image)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_an_oci_image_of_buildah(
    engine: Engine, peer: Docker, registry: Registry, build_directory: Path, compression: str
) -> None:
    odd_tree(build_directory / "root")
    inside = f"/tmp/{build_directory.name}"
    buildah = ["buildah", "--root", f"{inside}/storage", "--runroot", f"{inside}/run", "--storage-driver", "vfs"]
    container = peer_run(*buildah, "from", "scratch").strip()
    peer_run(*buildah, "copy", container, f"{inside}/root", "/")
    peer_run(*buildah, "config", "--cmd", "/bin/sh", container)
    peer_run(*buildah, "commit", "--format", "oci", container, "tree:1")
    image = f"{registry.host}/trees/buildah-{compression}:1"
    peer_run(*buildah, "push", "--tls-verify=false", "--compression-format", compression, "tree:1", f"docker://{image}")
    # A multi-platform index, whose one entry is for another machine.
    peer_run(*buildah, "manifest", "create", "list:1")
    peer_run(*buildah, "manifest", "add", "list:1", "tree:1")
    peer_run(*buildah, "config", "--label", "for=another", container)
    peer_run(*buildah, "commit", "--format", "oci", container, "tree:2")
    peer_run(*buildah, "manifest", "add", "--arch", "s390x", "list:1", "tree:2")
    index = f"{registry.host}/trees/index-{compression}:1"
    peer_run(*buildah, "manifest", "push", "--all", "--tls-verify=false", "list:1", f"docker://{index}")
    same_tree(engine, peer, image)
    same_tree(engine, peer, index)


def test_an_oci_layout_of_umoci(engine: Engine, peer: Docker, registry: Registry, build_directory: Path) -> None:
    inside = f"/tmp/{build_directory.name}"
    peer_run("umoci", "init", "--layout", f"{inside}/layout")
    peer_run("umoci", "new", "--image", f"{inside}/layout:1")
    peer_run("umoci", "unpack", "--image", f"{inside}/layout:1", f"{inside}/bundle")
    shutil.rmtree(build_directory / "bundle/rootfs")
    odd_tree(build_directory / "bundle/rootfs")
    peer_run("umoci", "repack", "--image", f"{inside}/layout:1", f"{inside}/bundle")
    shutil.rmtree(build_directory / "bundle/rootfs/odd")
    (build_directory / "bundle/rootfs/second").write_text("layer")
    peer_run("umoci", "repack", "--image", f"{inside}/layout:1", f"{inside}/bundle")
    image = f"{registry.host}/trees/umoci:1"
    peer_run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{inside}/layout:1", f"docker://{image}")
    same_tree(engine, peer, image)
