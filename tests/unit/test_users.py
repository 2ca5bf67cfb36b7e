"""Users by Docker's grammar, in files that nobody can trust."""

import os
from pathlib import Path

import pytest

from onggi.linux.fd import Fd
from onggi.runtime import users

PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001:Alice:/home/alice:/bin/sh\n1234:x:0:0::/trap:/bin/sh\n"
    "broken\nempty:x:12:13\n"
)
GROUP = "root:x:0:\nwheel:x:10:root,alice\nalice:x:1001:\naudio:x:63:alice\n77:x:0:\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


def resolve(root: Path, user: str, *extra: str) -> tuple[int, int, list[int], str]:
    with Fd(os.open(root, os.O_PATH)) as top:
        account = users.resolve(top, user, list(extra))
    return account.uid, account.gid, account.groups, account.home


@pytest.mark.parametrize(
    ("user", "found"),
    [
        ("", (0, 0, [0], "/root")),
        ("0", (0, 0, [0, 10], "/root")),
        ("root", (0, 0, [0, 10], "/root")),
        ("alice", (1000, 1001, [1001, 10, 63], "/home/alice")),
        ("1000", (1000, 1001, [1001, 10, 63], "/home/alice")),
        ("alice:audio", (1000, 63, [63], "/home/alice")),
        ("1000:63", (1000, 63, [63], "/home/alice")),
        (":63", (0, 63, [63], "/root")),
        ("1234", (1234, 0, [0], "/")),
        ("1:", (1, 0, [0], "/")),
        ("5:77", (5, 77, [77], "/")),
        ("12", (12, 13, [13], "/")),
        ("2147483647", (2147483647, 0, [0], "/")),
    ],
)
def test_who_it_is(root: Path, user: str, found: tuple[int, int, list[int], str]) -> None:
    assert resolve(root, user) == found


def test_further_groups(root: Path) -> None:
    assert resolve(root, "alice", "audio", "5") == (1000, 1001, [1001, 10, 63, 5], "/home/alice")


@pytest.mark.parametrize("user", ["4294967295", "4294967296", "2147483648", "9" * 100, "1:2147483648", "-1"])
def test_numbers_out_of_range(root: Path, user: str) -> None:
    with pytest.raises(users.InvalidUser, match="uids and gids must be in range 0-2147483647"):
        resolve(root, user)


@pytest.mark.parametrize("user", [" 0", "0 ", "0x0", "1_0", "+1", "１", "nobody", "root\n", "०"])
def test_what_is_no_number_is_a_name(root: Path, user: str) -> None:
    with pytest.raises(users.InvalidUser, match="no matching entries in passwd file"):
        resolve(root, user)


def test_unknown_groups(root: Path) -> None:
    with pytest.raises(users.InvalidUser, match="unable to find group nope: no matching entries in group file"):
        resolve(root, "root:nope")
    with pytest.raises(users.InvalidUser, match="unable to find group nope: no matching entries in group file"):
        resolve(root, "root", "nope")


def test_without_files_numbers_work(tmp_path: Path) -> None:
    assert resolve(tmp_path, "5") == (5, 0, [0], "/")
    assert resolve(tmp_path, "0") == (0, 0, [0], "/")
    with pytest.raises(users.InvalidUser, match="unable to find user root"):
        resolve(tmp_path, "root")


def test_a_link_out_of_the_root_stays_inside(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("host") / "passwd"
    outside.write_text("mallory:x:0:0::/:\n")
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to(outside)
    with pytest.raises(users.InvalidUser, match="unable to find user mallory"):
        resolve(root, "mallory")


def test_a_fifo_does_not_hold_us_up(root: Path) -> None:
    (root / "etc/passwd").unlink()
    os.mkfifo(root / "etc/passwd")
    with pytest.raises(users.InvalidUser, match="not a regular file"):
        resolve(root, "root")


def test_a_huge_file_is_refused(root: Path) -> None:
    with open(root / "etc/passwd", "r+b") as file:
        file.truncate(8 << 30)
    with pytest.raises(users.InvalidUser, match="larger than"):
        resolve(root, "root")


def test_a_huge_line_is_refused(root: Path) -> None:
    (root / "etc/group").write_text("big:x:5:" + ",".join(f"u{n}" for n in range(60_000)) + "\n")
    with pytest.raises(users.InvalidUser, match="too large"):
        resolve(root, "alice")
