"""Remotes: other registries, by a name, and who we are to them. Owns `remotes`.

Only administrators of the registry make them: whoever may use one acts with its account. The secret is in the database
(a file that only the registry's user can read), is sent to the remote and its token server, and is shown by nothing.
"""

import ipaddress
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

from onggi.distribution.credentials import Credentials
from onggi.distribution.endpoint import DOCKER_HUB_KEYS, DOCKER_HUB_URL
from onggi.distribution.http import check_web
from onggi.errors import Conflict, InvalidParameter, NotFound
from onggi.registry.clock import stamp
from onggi.registry.database import Connection
from onggi.registry.names import project_name

_MOST_CHARACTERS = 4000


class RemoteUnknown(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"there is no remote {name[:100]!a}: make it first (`onggi registry remote add`)")


class RemoteExists(Conflict):
    def __init__(self, name: str) -> None:
        super().__init__(f"the remote {name!a} exists already")


class RemoteInUse(Conflict):
    def __init__(self, name: str, user: str) -> None:
        super().__init__(f"the remote {name!a} is used by {user}: end that first")


@dataclass(frozen=True, slots=True)
class Remote:
    id: int
    name: str
    url: str
    username: str
    secret: str = field(repr=False)

    @property
    def is_docker_hub(self) -> bool:
        return URL(self.url) == DOCKER_HUB_URL

    @property
    def namespace(self) -> str:
        """How image names call it: `docker.io`, `ghcr.io`, `registry.example.com:5000`."""
        return "docker.io" if self.is_docker_hub else str(URL(self.url).authority)

    @property
    def credentials(self) -> Credentials | None:
        return Credentials(self.username, self.secret) if self.username else None


def check_url(text: str, *, secret: bool) -> str:
    """The base URL that `text` (a URL, or a host) stands for. Raises InvalidParameter."""
    if text in DOCKER_HUB_KEYS or text.removeprefix("https://").rstrip("/") in DOCKER_HUB_KEYS:
        return str(DOCKER_HUB_URL)
    try:
        url = URL((text if "://" in text else f"https://{text}").rstrip("/"))
        check_web(url)
        if url.raw_path not in ("", "/") or url.raw_query_string or url.raw_fragment or len(text) > 500:
            raise ValueError("it has more than scheme, host and port")
    except ValueError as error:
        raise InvalidParameter("a remote is https://HOST[:PORT], http://HOST[:PORT] or docker.io") from error
    if secret and url.scheme == "http" and not _loopback(url.host or ""):
        raise InvalidParameter(f"the password would cross the network in the clear: use https://{url.authority}")
    return str(url.origin())


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_account(username: str, secret: str) -> None:
    if bool(username) != bool(secret):
        raise InvalidParameter("a user name and a password belong together")
    if ":" in username or len(username) > 200 or len(secret) > _MOST_CHARACTERS or "\n" in username + secret:
        raise InvalidParameter("the user name or the password is too long, or has characters that it can't have")


def _remote(row: Any) -> Remote:
    return Remote(row["id"], row["name"], row["url"], row["username"], row["secret"])


def create(connection: Connection, name: str, url: str, username: str, secret: str, by: str) -> Remote:
    """Raises InvalidParameter, RemoteExists."""
    _check_account(username, secret)
    row = connection.execute(
        "INSERT INTO remotes (name, url, username, secret, created_by, created_at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO NOTHING RETURNING *",
        (project_name(name), check_url(url, secret=bool(secret)), username, secret, by, stamp()),
    ).fetchone()
    if row is None:
        raise RemoteExists(name)
    return _remote(row)


def set_account(connection: Connection, remote: Remote, username: str, secret: str) -> None:
    """Another account, or none. Raises InvalidParameter."""
    _check_account(username, secret)
    check_url(remote.url, secret=bool(secret))
    connection.execute("UPDATE remotes SET username = ?, secret = ? WHERE id = ?", (username, secret, remote.id))


def find(connection: Connection, name: str) -> Remote:
    """Raises RemoteUnknown."""
    row = connection.execute("SELECT * FROM remotes WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise RemoteUnknown(name)
    return _remote(row)


def by_id(connection: Connection, remote_id: int) -> Remote:
    """One that a row names: it is there as long as that row."""
    return _remote(connection.execute("SELECT * FROM remotes WHERE id = ?", (remote_id,)).fetchone())


def listing(connection: Connection) -> list[Any]:
    """All rows without their secrets, by name."""
    return connection.execute(
        "SELECT id, name, url, username, created_by, created_at FROM remotes ORDER BY name"
    ).fetchall()


def delete(connection: Connection, name: str) -> None:
    """Raises RemoteUnknown, and RemoteInUse while a cache or a rule needs it."""
    remote = find(connection, name)
    row = connection.execute(
        "SELECT p.name, 'the cache' AS what FROM upstreams u JOIN projects p ON p.id = u.project_id WHERE u.remote_id = ?"
        " UNION ALL SELECT p.name, 'a replication rule of' AS what FROM replication_rules r"
        " JOIN projects p ON p.id = r.project_id WHERE r.remote_id = ? LIMIT 1",
        (remote.id, remote.id),
    ).fetchone()
    if row is not None:
        raise RemoteInUse(name, f"{row['what']} {row['name']}")
    connection.execute("DELETE FROM remotes WHERE id = ?", (remote.id,))
