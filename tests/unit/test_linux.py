"""The kernel's interface where it can be tried without privileges."""

import os
from pathlib import Path

import pytest

from onggi.linux import capability, cgroup, message, path
from onggi.linux.fd import Fd

DOCKERS = 0xA80425FB
HYBRID = """\
24 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 24 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 30 0:32 / /sys/fs/cgroup/memory rw,relatime shared:5 - cgroup cgroup rw,memory
33 30 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
34 30 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
35 30 0:32 / /elsewhere/memory rw,relatime - cgroup cgroup rw,memory
"""


def test_hierarchies_of_a_hybrid() -> None:
    found = cgroup.parse(HYBRID)
    assert found.version == 1
    assert found.v1 == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory",
    }
    assert found.named == {"systemd": "/sys/fs/cgroup/systemd"}
    assert found.unified == "/sys/fs/cgroup/unified"
    assert found.roots() == ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/systemd"]


def test_hierarchies_of_version_2() -> None:
    found = cgroup.parse("30 24 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n")
    assert (found.version, found.unified) == (2, "/sys/fs/cgroup")


@pytest.mark.parametrize("name", ["", "/", "onggi/x", "/onggi/../x", "/../x", "/onggi//x", "/x/", "/x\0y", "/./x"])
def test_a_group_cannot_climb(name: str) -> None:
    with pytest.raises(ValueError, match="not a cgroup path"):
        cgroup.Cgroup(name, cgroup.parse(HYBRID))


def test_capabilities_by_name() -> None:
    names = (
        "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID CAP_SETUID CAP_SETFCAP "
        "CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE"
    )
    assert capability.mask(names.split()) == DOCKERS
    assert capability.NUMBERS["CAP_CHECKPOINT_RESTORE"] == 40
    with pytest.raises(KeyError):
        capability.mask(["CAP_NOPE"])


def test_messages_carry_bytes_and_descriptors() -> None:
    ours, theirs = message.pair()
    with ours, theirs:
        for payload in (b"", b"x" * 10, b"y" * 5_000_000):
            with open(os.devnull, "rb") as null:
                message.send(ours, payload, [null.fileno(), ours])
            received = message.receive(theirs)
            assert received is not None
            assert received.payload == payload
            assert len(received.descriptors) == 2
            assert not os.get_inheritable(received.descriptors[0].fileno())
            received.close()
        ours.close()
        assert message.receive(theirs) is None


def test_an_unsealed_file_is_no_message() -> None:
    ours, theirs = message.pair()
    with ours, theirs, Fd(os.memfd_create("x", os.MFD_ALLOW_SEALING)) as file:
        os.write(file.fileno(), b"payload")
        message._send(ours, b"@", [file.fileno()])
        with pytest.raises(ValueError, match="not sealed"):
            message.receive(theirs)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    top = tmp_path / "root"
    top.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("host")
    return top


def test_nothing_leads_out_of_a_root(root: Path) -> None:
    (root / "absolute").symlink_to(root.parent / "outside")
    (root / "climbing").symlink_to("../outside")
    with Fd(os.open(root, os.O_PATH)) as top:
        for name in ("absolute/file", "climbing/file", "../outside/file"):
            with pytest.raises(FileNotFoundError):
                path.openat2(top, name, os.O_RDONLY)
    with Fd(os.open("/", os.O_PATH)) as top, pytest.raises(OSError, match="Too many levels"):
        path.openat2(top, "proc/self/exe", os.O_RDONLY)


@pytest.mark.parametrize(
    ("links", "wanted", "made"),
    [
        ({}, "a/b/c", "a/b/c"),
        ({"a": "/x/y"}, "a/b", "x/y/b"),
        ({"a": "../../x"}, "a/b", "x/b"),
        ({"a": "b", "b": "c"}, "a/d", "c/d"),
        ({}, "../../up", "up"),
    ],
)
def test_missing_directories_are_made_inside(root: Path, links: dict[str, str], wanted: str, made: str) -> None:
    for name, target in links.items():
        (root / name).symlink_to(target)
    with Fd(os.open(root, os.O_PATH)) as top, path.make_directory(top, wanted) as directory:
        assert os.path.samestat(os.fstat(directory.fileno()), (root / made).stat())
    assert sorted(entry.name for entry in root.parent.iterdir()) == ["outside", "root"]


def test_a_dangling_link_is_made_good_inside(root: Path) -> None:
    (root / "etc").mkdir()
    (root / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    (root / "etc/hosts").symlink_to(root.parent / "outside/new")
    with Fd(os.open(root, os.O_PATH)) as top:
        path.make_file(top, "etc/resolv.conf").close()
        path.make_file(top, "etc/hosts").close()
        path.make_file(top, "etc/hosts").close()
    assert (root / "run/systemd/resolve/stub-resolv.conf").is_file()
    assert os.listdir(root.parent / "outside") == ["file"]


def test_links_in_a_circle_end(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with Fd(os.open(root, os.O_PATH)) as top, pytest.raises(OSError, match="Too many levels"):
        path.make_directory(top, "a/x")


def test_a_file_is_no_directory(root: Path) -> None:
    (root / "a").write_text("")
    with Fd(os.open(root, os.O_PATH)) as top, pytest.raises(NotADirectoryError):
        path.make_directory(top, "a/x")


def test_a_descriptor_has_one_owner(tmp_path: Path) -> None:
    fd = Fd(os.open(tmp_path, os.O_PATH))
    number = fd.take()
    os.close(number)
    fd.close()
    with pytest.raises(ValueError, match="handed on"):
        fd.fileno()
