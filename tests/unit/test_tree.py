"""linux.tree: removing, copying and measuring trees that may be hostile."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from onggi.linux import tree
from onggi.linux.fd import Fd

EXT4_SUPER_MAGIC = 0xEF53


def directory(path: Path) -> Fd:
    return Fd(os.open(path, os.O_RDONLY | os.O_DIRECTORY))


def test_remove_takes_links_but_not_what_they_name(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    victim = tmp_path / "victim"
    (victim / "a/b").mkdir(parents=True)
    (victim / "a/link").symlink_to(outside)
    (victim / "a/b/file").write_text("x")
    os.mkfifo(victim / "pipe")
    with directory(tmp_path) as parent:
        tree.remove(parent, "victim")
        tree.remove(parent, "victim")
    assert not victim.exists()
    assert (outside / "kept").read_text() == "kept"


def test_remove_of_a_link_in_place_of_the_tree_removes_the_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/kept").write_text("kept")
    (tmp_path / "victim").symlink_to("outside")
    with directory(tmp_path) as parent:
        tree.remove(parent, "victim")
    assert not (tmp_path / "victim").is_symlink()
    assert (tmp_path / "outside/kept").exists()


def test_a_tree_deeper_than_any_path_is_removed(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with directory(tmp_path) as parent:
        tree.remove(parent, "deep")
    assert list(tmp_path.iterdir()) == []


def test_copy_keeps_modes_times_links_and_pipes(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "d/e").mkdir(parents=True)
    (source / "d/file").write_bytes(b"hello" * 1000)
    (source / "d/file").chmod(0o640)
    os.link(source / "d/file", source / "d/e/again")
    (source / "d/link").symlink_to("/etc/passwd")
    os.mkfifo(source / "pipe", 0o622)
    os.setxattr(source / "d/file", "user.note", b"seen")
    os.utime(source / "d/file", ns=(1_000, 2_000_000_000))
    (source / "d").chmod(0o1777)
    os.utime(source / "d", ns=(5, 6_000_000_000))
    source.chmod(0o750)
    target.mkdir()
    with directory(source) as old, directory(target) as new:
        tree.copy(old, new)
    assert stat.S_IMODE(target.stat().st_mode) == 0o750
    assert stat.S_IMODE((target / "d").stat().st_mode) == 0o1777
    assert (target / "d").stat().st_mtime_ns == 6_000_000_000
    copied = target / "d/file"
    assert copied.read_bytes() == b"hello" * 1000
    assert stat.S_IMODE(copied.stat().st_mode) == 0o640
    assert copied.stat().st_mtime_ns == 2_000_000_000
    assert copied.stat().st_ino == (target / "d/e/again").stat().st_ino
    assert os.readlink(target / "d/link") == "/etc/passwd"
    assert stat.S_ISFIFO((target / "pipe").stat().st_mode)
    assert os.getxattr(copied, "user.note") == b"seen"


def test_size_counts_a_file_with_two_names_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x" * 100_000)
    with directory(tmp_path) as here:
        alone = tree.size(here)
        os.link(tmp_path / "one", tmp_path / "two")
        assert tree.size(here) == alone
    assert alone >= 100_000


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a mount")
def test_remove_stops_at_a_mount(tmp_path: Path) -> None:
    from onggi.linux import mount

    (tmp_path / "victim/in").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/kept").write_text("kept")
    with directory(tmp_path / "outside") as outside, directory(tmp_path / "victim/in") as onto:
        with mount.open_tree(outside) as copied:
            mount.move_mount(copied, onto)
    try:
        with directory(tmp_path) as parent, pytest.raises(OSError, match=r"Invalid cross-device link|busy"):
            tree.remove(parent, "victim")
        assert (tmp_path / "outside/kept").exists()
    finally:
        mount.unmount(str(tmp_path / "victim/in"))


def test_trees_are_held_apart_where_the_file_system_knows_how(tmp_path: Path) -> None:
    from onggi.linux import mount

    holder = tmp_path / "holder"
    holder.mkdir()
    tree.mark_top_directory(holder)
    tree.mark_top_directory(holder)
    (holder / "tree").mkdir()
    with directory(holder) as opened:
        knows = mount.filesystem_type(opened) == EXT4_SUPER_MAGIC
    listed = subprocess.run(
        ["lsattr", "-d", holder, holder / "tree"], capture_output=True, text=True, check=False
    ).stdout
    flagged = ["T" in line.split()[0] for line in listed.splitlines()]
    assert flagged == ([True, False] if knows else [False] * len(flagged)), listed
