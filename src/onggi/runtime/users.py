"""Users and groups by Docker's grammar, looked up in the files of the container's root: no NSS (passwd(5), group(5)).

`user[:group]`, each a name or a number. Digits are always a number, whatever names the files hold.
"""

import os
import stat

from onggi.linux.path import openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from onggi.linux.fd import Fd

HIGHEST_ID = (1 << 31) - 1
_FILE_BYTES = 8 * 1024 * 1024
_LINE_BYTES = 256 * 1024
_DIGITS = frozenset("0123456789")


class InvalidUser(Exception):
    """One sentence about a user or group that cannot be had."""


class Account:
    """Who a process runs as."""

    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int, gid: int, groups: "list[int]", home: str) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        """Every group, the primary one first."""
        self.home = home


def resolve(root: "Fd | int", user: str, extra_groups: "list[str]") -> Account:
    """The account that `user` names in `root`, with the groups that it is a member of and `extra_groups`.

    Raises InvalidUser with Docker's sentence.
    """
    name, _, group = user.partition(":")
    wanted = number(name)
    passwd = _Lines(root, "etc/passwd")
    entry = _passwd_entry(passwd, name, 0 if not name else wanted)
    if entry is None:
        if name and wanted is None:
            raise InvalidUser(f"unable to find user {name}: no matching entries in passwd file")
        uid, gid, home, member = wanted or 0, 0, "/", ""
    else:
        uid, gid, home, member = entry
    groups: list[int] = []
    if group:
        found = _group_id(_Lines(root, "etc/group"), group)
        if found is None:
            raise InvalidUser(f"unable to find group {group}: no matching entries in group file")
        gid = found
    elif name and member:
        groups = _memberships(_Lines(root, "etc/group"), member)
    for extra in extra_groups:
        found = _group_id(_Lines(root, "etc/group"), extra)
        if found is None:
            raise InvalidUser(f"unable to find group {extra}: no matching entries in group file")
        groups.append(found)
    return Account(uid, gid, list(dict.fromkeys([gid, *groups])), home)


def home_of(root: "Fd | int", uid: int) -> str:
    """Home directory of the first passwd entry with this uid, else `/`. Raises InvalidUser."""
    entry = _passwd_entry(_Lines(root, "etc/passwd"), "", uid)
    return entry[2] if entry and entry[2] else "/"


def number(text: str) -> "int | None":
    """The ID that ASCII digits spell, None for any other text. Raises InvalidUser above 2147483647."""
    negative = text.startswith("-")
    if not _DIGITS.issuperset(text[negative:]) or len(text) == negative:
        return None
    value = int(text) if len(text) <= 10 else HIGHEST_ID + 1
    if negative or value > HIGHEST_ID:
        raise InvalidUser("uids and gids must be in range 0-2147483647")
    return value


def _passwd_entry(lines: "_Lines", name: str, uid: "int | None") -> "tuple[int, int, str, str] | None":
    """(uid, gid, home, name) of the first entry with this uid, or without one with this name."""
    for line in lines:
        fields = line.split(":")
        if len(fields) < 4:
            continue
        if uid is None:
            if fields[0] != name:
                continue
        elif not _same(fields[2], uid):
            continue
        found, group = number(fields[2]), number(fields[3])
        if found is None:
            raise InvalidUser(f"the entry of user {fields[0]!r} in the passwd file has no numeric uid")
        return found, group or 0, fields[5] if len(fields) > 5 else "/", fields[0]
    return None


def _group_id(lines: "_Lines", group: str) -> "int | None":
    wanted = number(group)
    if wanted is not None:
        return wanted
    for line in lines:
        fields = line.split(":")
        if len(fields) >= 3 and fields[0] == group:
            return number(fields[2])
    return None


def _memberships(lines: "_Lines", member: str) -> "list[int]":
    found = []
    for line in lines:
        fields = line.split(":")
        if len(fields) >= 4 and member in fields[3].split(","):
            gid = number(fields[2])
            if gid is not None:
                found.append(gid)
    return found


def _same(text: str, uid: int) -> bool:
    return bool(text) and _DIGITS.issuperset(text) and text.lstrip("0") == str(uid).lstrip("0")


class _Lines:
    """The lines of a small text file in the root; none when there is no file. Read when iterated."""

    def __init__(self, root: "Fd | int", path: str) -> None:
        self.root = root
        self.path = path

    def __iter__(self) -> "Iterator[str]":
        return iter(self._read())

    def _read(self) -> "list[str]":
        try:
            file = openat2(self.root, self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InvalidUser(f"/{self.path} cannot be read: {error.strerror}") from error
        with file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise InvalidUser(f"/{self.path} is not a regular file")
            if facts.st_size > _FILE_BYTES:
                raise InvalidUser(f"/{self.path} is larger than {_FILE_BYTES} bytes")
            content = b""
            while len(content) <= _FILE_BYTES and (part := os.read(file.fileno(), 1 << 20)):
                content += part
        lines = content.split(b"\n")
        if len(content) > _FILE_BYTES or max(map(len, lines)) > _LINE_BYTES:
            raise InvalidUser(f"/{self.path} is too large")
        return [line.strip().decode("utf-8", "surrogateescape") for line in lines]
