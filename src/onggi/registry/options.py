"""The command line of `onggi registry serve` → Settings."""

import argparse
import ipaddress
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from onggi.errors import InvalidParameter
from onggi.registry import stores
from onggi.registry.names import InvalidProjectName, project_name
from onggi.registry.oidc import options as oidc
from onggi.registry.settings import DEFAULT_PORT, DEFAULT_ROOT, Settings, Tls

_DURATION = re.compile(r"([0-9]{1,6})([smhd])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_URL = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?|https?://\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?", re.ASCII)


def duration(text: str) -> timedelta:
    """`90s`, `10m`, `24h`, `7d`."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!a} is no duration: 90s, 10m, 24h, 7d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!a} is not ADDRESS:PORT")
    return host.strip("[]") or "0.0.0.0", int(port)


def _url(text: str) -> str:
    if not _URL.fullmatch(text.rstrip("/")):
        raise argparse.ArgumentTypeError(f"{text!a} is not http[s]://HOST[:PORT]")
    return text.rstrip("/")


def _project(text: str) -> str:
    try:
        return project_name(text)
    except InvalidProjectName as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT, metavar="DIRECTORY",
                        help=f"where everything is kept (default {DEFAULT_ROOT})")  # fmt: skip


def add_database(parser: argparse.ArgumentParser) -> None:
    """Where metadata are, when several nodes share them."""
    parser.add_argument("--database-file", type=Path, metavar="FILE",
                        help=f"PostgreSQL instead of SQLite: a file, readable by its owner only, with the line "
                             f"postgresql://USER:PASSWORD@HOST/NAME (or {stores.VARIABLE} in the environment)")  # fmt: skip
    parser.add_argument("--blobs", type=Path, metavar="DIRECTORY",
                        help="with PostgreSQL: the directory of blobs that all nodes share (default ROOT/blobs)")  # fmt: skip


def add_ages(parser: argparse.ArgumentParser) -> None:
    """How long what is not needed stays."""
    usual = Settings()
    parser.add_argument(
        "--upload-age",
        type=duration,
        default=usual.upload_age,
        metavar="AGE",
        help="unfinished uploads are given up after this (default 1d)",
    )
    parser.add_argument(
        "--keep-deleted",
        type=duration,
        default=usual.keep_deleted,
        metavar="AGE",
        help="how long a deleted image can be brought back (default 7d)",
    )
    parser.add_argument(
        "--unreferenced-age",
        type=duration,
        default=usual.unreferenced_age,
        metavar="AGE",
        help="how long a blob that no image names stays: what a push may take (default 24h)",
    )


def add_serve(parser: argparse.ArgumentParser) -> None:
    """The options of `serve`."""
    usual = Settings()
    add_root(parser)
    add_database(parser)
    parser.add_argument(
        "--listen",
        type=_listen,
        default=("127.0.0.1", DEFAULT_PORT),
        metavar="ADDRESS:PORT",
        help=f"default 127.0.0.1:{DEFAULT_PORT}; port 0 takes a free one",
    )
    parser.add_argument("--url", type=_url, help="how clients reach it, if not by the address it listens on")
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="HOST",
        help="a host name by which clients may call it (several times)",
    )
    parser.add_argument(
        "--tls-cert", type=Path, metavar="FILE", help="certificate chain (PEM); read again when it changes"
    )
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key (PEM)")
    parser.add_argument(
        "--trusted-proxy",
        type=ipaddress.ip_network,
        action="append",
        default=[],
        metavar="NETWORK",
        help="a proxy whose X-Forwarded-For, -Proto and -Host are believed (several times)",
    )
    parser.add_argument(
        "--insecure", action="store_true", help="listen without TLS where others than this machine may connect"
    )
    add_ages(parser)
    parser.add_argument(
        "--collect-every",
        type=duration,
        default=usual.collect_every,
        metavar="TIME",
        help="how often garbage is collected (default 1h)",
    )
    parser.add_argument(
        "--webhook-network",
        type=ipaddress.ip_network,
        action="append",
        default=[],
        metavar="NETWORK",
        help="a network that webhooks may go to, beside public addresses (several times)",
    )
    parser.add_argument(
        "--remote-network",
        type=ipaddress.ip_network,
        action="append",
        default=[],
        metavar="NETWORK",
        help="a network that upstreams and replication may reach, beside public addresses (several times)",
    )
    parser.add_argument(
        "--mirror",
        type=_project,
        metavar="PROJECT",
        help="look up names that are of no project here in this cache of an upstream, as docker's registry-mirrors need it",
    )
    oidc.add(parser)
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.add_argument("--ready-fd", type=int, metavar="FD", help=argparse.SUPPRESS)  # fmt: skip


def settings_of(given: argparse.Namespace) -> Settings:
    """Raises InvalidParameter for options that contradict each other."""
    if (given.tls_cert is None) != (given.tls_key is None):
        raise InvalidParameter("--tls-cert and --tls-key belong together")
    tls = Tls(given.tls_cert, given.tls_key) if given.tls_cert is not None else None
    host, port = given.listen
    if tls is None and not _loopback(host) and not (given.insecure or given.trusted_proxy):
        raise InvalidParameter(
            f"passwords would cross the network in the clear on {host}: give --tls-cert and --tls-key, or "
            "--trusted-proxy where a proxy speaks TLS, or --insecure if you mean it"
        )
    return Settings(
        root=given.root, database=stores.address(given.database_file, given.blobs), blobs=given.blobs,
        host=host, port=port, url=given.url or "", tls=tls, trusted_proxies=tuple(given.trusted_proxy),
        upload_age=given.upload_age, keep_deleted=given.keep_deleted, unreferenced_age=given.unreferenced_age,
        collect_every=given.collect_every, names=tuple(name.lower() for name in given.name),
        webhook_networks=tuple(given.webhook_network), remote_networks=tuple(given.remote_network), mirror=given.mirror or "",
        oidc=oidc.settings_of(given),
    )  # fmt: skip


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    return parser.parse_args(list(words))
