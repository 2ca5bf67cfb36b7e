"""What one registry runs by: `options.read` makes it from the command line."""

from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

DEFAULT_ROOT = Path("/var/lib/onggi-registry")
DEFAULT_PORT = 5000


@dataclass(frozen=True, slots=True)
class Tls:
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Oidc:
    """The OpenID Connect provider that people may sign in at, and what we are called there."""

    issuer: str
    """As its tokens write it, character by character."""
    client_id: str
    client_secret: str = field(default="", repr=False)
    """"" for a public client, which proves itself by PKCE alone."""
    scope: str = "openid profile email"
    name_claim: str = "preferred_username"
    """What a new user is called after."""
    groups_claim: str = "groups"
    required_groups: tuple[str, ...] = ()
    """Who is in none of them may not sign in; () lets everybody in."""
    admin_group: str = ""
    """Who is in it administers the registry, and who is not does not; "" leaves that to the registry."""
    create_users: bool = True
    """False: only those may sign in whom an administrator has linked to an account."""
    ca_file: Path | None = None
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Where the provider's other hosts may be, beside public addresses."""


@dataclass(frozen=True, slots=True)
class Settings:
    root: Path = DEFAULT_ROOT
    """All data: `registry.db`, `blobs/`; of one of several nodes, its locks."""
    database: str = field(default="", repr=False)
    """Where PostgreSQL is, with its password; "" for `registry.db`."""
    blobs: Path | None = None
    """Where blobs are when nodes share them; None for `blobs/` in the root."""
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    url: str = ""
    """How clients reach it, `https://registry.example.com`, without a slash at its end; "" where it listens."""
    tls: Tls | None = None
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Whose X-Forwarded-* are believed."""
    upload_age: timedelta = timedelta(days=1)
    """An upload that nobody has gone on with for this long is given up."""
    keep_deleted: timedelta = timedelta(days=7)
    """How long a deleted manifest can be brought back."""
    unreferenced_age: timedelta = timedelta(hours=24)
    """How long a blob that no manifest names stays: the time a push may take."""
    token_lifetime: timedelta = timedelta(minutes=5)
    collect_every: timedelta = timedelta(hours=1)
    webhook_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Where webhooks may go beside public addresses."""
    remote_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Where other registries (upstreams, replication) may be beside public addresses."""
    mirror: str = ""
    """The project in which names are looked up that are of no project here: for docker's `registry-mirrors`."""
    oidc: Oidc | None = None
    names: tuple[str, ...] = field(default=())
    """Host names beside addresses, localhost and the machine's own by which clients without `url` may call."""

    @property
    def service(self) -> str:
        """What tokens are for: the name in `WWW-Authenticate`."""
        return self.url.partition("://")[2] if self.url else "onggi-registry"
