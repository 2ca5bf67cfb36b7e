"""dockerd's options and /etc/docker/daemon.json's keys, under the same names, as one table.

An option given both on the command line and in the file is refused, as dockerd does; a key nobody knows is refused too.
"""

import argparse
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import AddressValueError, IPv4Interface, IPv4Network, NetmaskValueError
from pathlib import Path
from typing import Any

from onggi.distribution.proxy import Proxies
from onggi.engine.log_drivers import drivers
from onggi.engine.runtimes import OWN, RUNC
from onggi.engine.settings import AddedRuntime, AddressPool, Settings
from onggi.errors import InvalidParameter, OnggiError

DEFAULT_CONFIG_FILE = Path("/etc/onggi/daemon.json")
DEFAULT_HOST = "unix:///run/onggi/onggi.sock"


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates of a TCP socket. `verify`: clients must show one signed by `ca`."""

    ca: Path
    certificate: Path
    key: Path
    verify: bool


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything the daemon is told: the engine's settings and its own."""

    settings: Settings
    hosts: tuple[str, ...]
    group: str
    pidfile: Path
    tls: Tls | None
    log_level: str
    ready_fd: int | None
    validate: bool


@dataclass(frozen=True, slots=True)
class Option:
    """A row: `--flag`, the key in the file, what it takes, and what it says in --help."""

    flag: str
    key: str
    help: str
    short: str = ""
    many: bool = False
    switch: bool = False


OPTIONS = (
    Option("host", "hosts", "Daemon socket(s) to connect to", short="H", many=True),
    Option("data-root", "data-root", "Root directory of persistent state"),
    Option("exec-root", "exec-root", "Root directory for execution state files"),
    Option("pidfile", "pidfile", "Path to use for daemon PID file", short="p"),
    Option("group", "group", "Group for the unix socket", short="G"),
    Option("debug", "debug", "Enable debug mode", short="D", switch=True),
    Option("log-level", "log-level", "Set the logging level (debug, info, warn, error, fatal)", short="l"),
    Option("bip", "bip", "IPv4 address for the default bridge"),
    Option("bridge-name", "bridge-name", "Name of the default bridge's link"),
    Option("fixed-cidr", "fixed-cidr", "IPv4 subnet for the default bridge network"),
    Option("default-address-pool", "default-address-pools", "Default address pools for networks", many=True),
    Option("mtu", "mtu", "Set the MTU of the default bridge network"),
    Option("ip-forward", "ip-forward", "Enable IP forwarding in system configuration", switch=True),
    Option("icc", "icc", "Enable inter-container communication for the default bridge network", switch=True),
    Option("dns", "dns", "DNS server to use", many=True),
    Option("dns-search", "dns-search", "DNS search domains to use", many=True),
    Option("dns-opt", "dns-opts", "DNS options to use", many=True),
    Option("insecure-registry", "insecure-registries", "Enable insecure registry communication", many=True),
    Option("registry-mirror", "registry-mirrors", "Preferred registry mirror", many=True),
    Option("http-proxy", "http-proxy", "HTTP proxy URL to use for outgoing traffic"),
    Option("https-proxy", "https-proxy", "HTTPS proxy URL to use for outgoing traffic"),
    Option("no-proxy", "no-proxy", "Comma-separated list of hosts or IP addresses for which the proxy is skipped"),
    Option("max-decompression-ratio", "max-decompression-ratio", "Refuse layers that unpack to more times their size"),
    Option("image-max-age", "image-max-age", "Remove images that no container has had for so long"),
    Option("image-max-size", "image-max-size", "Remove unused images while images take more of the disk"),
    Option("image-min-free", "image-min-free", "Remove unused images while less of the disk is free"),
    Option(
        "auto-update-interval", "auto-update-interval", "Look so often whether images of containers that ask have moved"
    ),
    Option(
        "auto-update-listen", "auto-update-listen", "Address on which registries' webhooks are taken for auto-updates"
    ),
    Option("auto-update-secret-file", "auto-update-secret-file", "File with the webhooks' secrets, one a line"),
    Option(
        "auto-update-auth-file", "auto-update-auth-file", "File like docker's config.json, for pulls of auto-updates"
    ),
    Option("max-concurrent-downloads", "max-concurrent-downloads", "Set the max concurrent downloads"),
    Option("max-concurrent-uploads", "max-concurrent-uploads", "Set the max concurrent uploads"),
    Option(
        "push-compression", "push-compression", "Compression of pushed layers that no registry has given (gzip, zstd)"
    ),
    Option("log-driver", "log-driver", "Default driver for container logs"),
    Option("log-opt", "log-opts", "Default log driver options for containers", many=True),
    Option("default-ulimit", "default-ulimits", "Default ulimits for containers", many=True),
    Option("default-shm-size", "default-shm-size", "Default shm size for containers"),
    Option("cgroup-parent", "cgroup-parent", "Set parent cgroup for all containers"),
    Option("add-runtime", "runtimes", "Register an additional OCI compatible runtime", many=True),
    Option("default-runtime", "default-runtime", "Default OCI runtime for containers (default onggi)"),
    Option("userns-remap", "userns-remap", 'User namespaces are not offered yet: any value but "" is refused'),
    Option("init-path", "init-path", "Path to the docker-init binary, for --init under another runtime"),
    Option("cdi-spec-dir", "cdi-spec-dirs", "CDI specification directories to use", many=True),
    Option("shutdown-timeout", "shutdown-timeout", "Set the default shutdown timeout in seconds"),
    Option("live-restore", "live-restore", "Keep containers running when the engine stops (the default)", switch=True),
    Option("label", "labels", "Set key=value labels to the daemon", many=True),
    Option("api-name", "api-names", "Host name that the API may be called by over TCP", many=True),
    Option("tls", "tls", "Use TLS; implied by --tlsverify", switch=True),
    Option("tlsverify", "tlsverify", "Use TLS and verify the remote", switch=True),
    Option("tlscacert", "tlscacert", "Trust certs signed only by this CA"),
    Option("tlscert", "tlscert", "Path to TLS certificate file"),
    Option("tlskey", "tlskey", "Path to TLS key file"),
)
BY_KEY = {option.key: option for option in OPTIONS}
_PROXY_KEYS = frozenset({"http-proxy", "https-proxy", "no-proxy"})
LEVELS = ("debug", "info", "warn", "error", "fatal")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SPAN = re.compile(r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?", re.ASCII)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> "Any":
        raise InvalidParameter(f"{message}\nSee 'onggi daemon --help'.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="onggi daemon", description="A container engine that speaks the Docker Engine API.",
                     allow_abbrev=False)  # fmt: skip
    for row in OPTIONS:
        names = ([f"-{row.short}"] if row.short else []) + [f"--{row.flag}"]
        if row.switch:
            parser.add_argument(*names, dest=row.key, help=row.help, default=None, nargs="?", const="true")
        else:
            parser.add_argument(*names, dest=row.key, help=row.help, default=None,
                                action="append" if row.many else "store")  # fmt: skip
    parser.add_argument(
        "--config-file", default=None, help=f"Daemon configuration file (default {DEFAULT_CONFIG_FILE})"
    )
    parser.add_argument("--validate", action="store_true", help="Validate the configuration and exit")
    parser.add_argument("--ready-fd", type=int, default=None, help=argparse.SUPPRESS)
    return parser


def _from_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        if required:
            raise InvalidParameter(
                f"unable to configure the daemon with file {path}: there is no such file; "
                "write it or leave --config-file away"
            ) from None
        return {}
    try:
        found = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise InvalidParameter(f"unable to configure the daemon with file {path}: {error}") from error
    if not isinstance(found, dict):
        raise InvalidParameter(f"unable to configure the daemon with file {path}: it must hold one JSON object")
    found |= _proxies(path, found)
    unknown = sorted(set(found) - set(BY_KEY))
    if unknown:
        raise InvalidParameter(
            f"unable to configure the daemon with file {path}: the following directives don't match "
            f"any configuration option: {', '.join(unknown)}"
        )
    return found


def _proxies(path: Path, found: dict[str, Any]) -> dict[str, str]:
    """The settings of the object `proxies`, which is taken out of `found`: three options stand in it, as for dockerd."""
    if flat := sorted(set(found) & _PROXY_KEYS):
        raise InvalidParameter(
            f'unable to configure the daemon with file {path}: {flat[0]} belongs into the object "proxies"'
        )
    given = found.pop("proxies", {})
    if not isinstance(given, dict) or not all(isinstance(text, str) for text in given.values()):
        raise InvalidParameter(f"unable to configure the daemon with file {path}: proxies must be an object of strings")
    if unknown := sorted(set(given) - _PROXY_KEYS):
        raise InvalidParameter(
            f"unable to configure the daemon with file {path}: the following directives don't match "
            f"any configuration option: {', '.join(f'proxies.{key}' for key in unknown)}"
        )
    return given


def _truth(key: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "1", "t", "T", "TRUE", "True"):
        return True
    if value in ("false", "0", "f", "F", "FALSE", "False"):
        return False
    raise InvalidParameter(f'invalid boolean value "{value}" for {key}: use true or false')


def _number(key: str, value: object, *, least: int = 0) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise InvalidParameter(f'invalid value "{value}" for {key}: a number of at least {least} is expected')
    return int(text)


def _size(key: str, value: object) -> int:
    """As docker/go-units: a number, then b, k, m or g, alone or as kb, kib."""
    text = str(value).lower()
    digits = text.rstrip("bikmgt")
    unit = _UNITS.get(text[len(digits) :].removesuffix("ib").removesuffix("b"))
    if unit is None or not (digits.isascii() and digits.isdigit()):
        raise InvalidParameter(f'invalid size "{value}" for {key}: use a number with b, k, m or g, as in 64m')
    return int(digits) * unit


def _span(key: str, value: object) -> float:
    """Seconds, of days, hours, minutes and seconds: 30d, 12h30m. 0 is none."""
    text = str(value)
    match = _SPAN.fullmatch("0s" if text == "0" else text)
    if match is None or not text:
        raise InvalidParameter(f'invalid span "{value}" for {key}: use days, hours, minutes, seconds, as in 30d or 12h')
    days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def _compression(key: str, value: object) -> str:
    if value not in ("gzip", "zstd"):
        raise InvalidParameter(f'invalid value "{value}" for {key}: gzip or zstd is expected')
    return str(value)


def _texts(key: str, value: object) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise InvalidParameter(f"invalid value for {key}: a list of strings is expected")


def _path(key: str, value: object) -> Path:
    path = Path(str(value))
    if not path.is_absolute():
        raise InvalidParameter(f'invalid path "{value}" for {key}: it must be absolute')
    return path


def _pools(key: str, value: object) -> tuple[AddressPool, ...]:
    """From `base=10.0.0.0/16,size=24` on the command line or objects in the file."""
    pools = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            fields = dict(part.split("=", 1) for part in item.split(",") if "=" in part)
        elif isinstance(item, dict):
            fields = {str(name): str(text) for name, text in item.items()}
        else:
            fields = {}
        if set(fields) != {"base", "size"}:
            raise InvalidParameter(f"invalid value for {key}: base=NETWORK,size=BITS is expected")
        try:
            base = IPv4Network(fields["base"])
        except (AddressValueError, NetmaskValueError, ValueError) as error:
            raise InvalidParameter(f"invalid base in {key}: {error}") from error
        size = _number(key, fields["size"])
        if not base.prefixlen <= size <= 30:
            raise InvalidParameter(f"invalid size in {key}: {size} is not between {base.prefixlen} and 30")
        pools.append(AddressPool(base, size))
    return tuple(pools)


def _pairs(key: str, value: object) -> dict[str, str]:
    if isinstance(value, dict):
        return {str(name): str(text) for name, text in value.items()}
    pairs: dict[str, str] = {}
    for item in _texts(key, value):
        name, equals, text = item.partition("=")
        if not equals:
            raise InvalidParameter(f'invalid value "{item}" for {key}: NAME=VALUE is expected')
        pairs[name] = text
    return pairs


def _runtimes(key: str, value: object) -> dict[str, AddedRuntime]:
    """From `name=path` on the command line or objects in the file."""
    if isinstance(value, list):
        pairs: dict[str, object] = {name: {"path": path} for name, path in _pairs(key, value).items()}
    elif isinstance(value, dict):
        pairs = value
    else:
        raise InvalidParameter(f"invalid value for {key}: an object of runtimes is expected")
    found = {}
    for name, given in pairs.items():
        if name in (OWN, *RUNC):
            raise InvalidParameter(f"runtime name '{name}' is reserved")
        if not isinstance(given, dict) or not isinstance(given.get("path"), str) or not given["path"]:
            raise InvalidParameter(
                f"invalid runtime '{name}' in {key}: give the path of a program with runc's commands"
            )
        unknown = set(given) - {"path", "runtimeArgs"}
        if unknown:
            raise InvalidParameter(f"invalid runtime '{name}' in {key}: {', '.join(sorted(unknown))} is not supported "
                                   "by Onggi: give path and runtimeArgs of a program with runc's commands")  # fmt: skip
        found[name] = AddedRuntime(given["path"], _texts(f"runtimeArgs of {name}", given.get("runtimeArgs") or []))
    return found


def _interface(key: str, value: object) -> IPv4Interface:
    try:
        found = IPv4Interface(str(value))
    except ValueError as error:
        raise InvalidParameter(f'invalid value "{value}" for {key}: {error}') from error
    if found.network.prefixlen > 30 or found.ip == found.network.network_address:
        raise InvalidParameter(f'invalid value "{value}" for {key}: ADDRESS/BITS is expected, as in 172.17.0.1/16')
    return found


def _network(key: str, value: object) -> IPv4Network:
    try:
        return IPv4Network(str(value))
    except ValueError as error:
        raise InvalidParameter(f'invalid value "{value}" for {key}: {error}') from error


SETTINGS: dict[str, tuple[str, Callable[[str, object], object]]] = {
    "data-root": ("data_root", _path),
    "exec-root": ("exec_root", _path),
    "debug": ("debug", _truth),
    "bip": ("bip", _interface),
    "bridge-name": ("bridge_name", lambda _, value: str(value)),
    "fixed-cidr": ("fixed_cidr", _network),
    "default-address-pools": ("default_address_pools", _pools),
    "mtu": ("mtu", lambda key, value: _number(key, value, least=68)),
    "ip-forward": ("ip_forward", _truth),
    "icc": ("icc", _truth),
    "dns": ("dns", _texts),
    "dns-search": ("dns_search", _texts),
    "dns-opts": ("dns_options", _texts),
    "registry-mirrors": ("registry_mirrors", _texts),
    "http-proxy": ("http_proxy", lambda _, value: str(value)),
    "https-proxy": ("https_proxy", lambda _, value: str(value)),
    "no-proxy": ("no_proxy", lambda _, value: str(value)),
    "max-decompression-ratio": ("max_decompression_ratio", _number),
    "image-max-age": ("image_max_age_s", _span),
    "image-max-size": ("image_max_bytes", _size),
    "image-min-free": ("image_min_free_bytes", _size),
    "auto-update-interval": ("auto_update_interval_s", _span),
    "auto-update-listen": ("auto_update_listen", lambda _, value: str(value)),
    "auto-update-secret-file": ("auto_update_secret_file", lambda key, value: str(_path(key, value))),
    "auto-update-auth-file": ("auto_update_auth_file", lambda key, value: str(_path(key, value))),
    "max-concurrent-downloads": ("max_concurrent_downloads", lambda key, value: _number(key, value, least=1)),
    "max-concurrent-uploads": ("max_concurrent_uploads", lambda key, value: _number(key, value, least=1)),
    "push-compression": ("push_compression", _compression),
    "log-driver": ("log_driver", lambda _, value: str(value)),
    "log-opts": ("log_opts", _pairs),
    "default-ulimits": ("default_ulimits", _texts),
    "default-shm-size": ("default_shm_size_bytes", _size),
    "cgroup-parent": ("cgroup_parent", lambda _, value: str(value)),
    "runtimes": ("runtimes", _runtimes),
    "default-runtime": ("default_runtime", lambda _, value: str(value)),
    "init-path": ("init_path", lambda _, value: str(value)),
    "cdi-spec-dirs": ("cdi_spec_dirs", lambda key, value: tuple(str(_path(key, path)) for path in _texts(key, value))),
    "shutdown-timeout": ("shutdown_timeout_s", _number),
    "live-restore": ("live_restore", _truth),
    "labels": ("labels", _texts),
    "api-names": ("api_names", _texts),
}
"""Key → the field of Settings it fills, and how its value is read."""


def _tls(given: dict[str, Any]) -> Tls | None:
    verify = _truth("tlsverify", given.get("tlsverify", False))
    if not (verify or _truth("tls", given.get("tls", False))):
        return None
    home = Path.home() / ".docker"
    return Tls(
        ca=_path("tlscacert", given.get("tlscacert", home / "ca.pem")),
        certificate=_path("tlscert", given.get("tlscert", home / "cert.pem")),
        key=_path("tlskey", given.get("tlskey", home / "key.pem")),
        verify=verify,
    )


def read(arguments: Sequence[str]) -> Configuration:
    """Merge command line, configuration file and defaults. Raises InvalidParameter with what is wrong and where."""
    parsed = vars(_parser().parse_args(arguments))
    path = parsed.pop("config_file")
    validate, ready_fd = parsed.pop("validate"), parsed.pop("ready_fd")
    flags = {key: value for key, value in parsed.items() if value is not None}
    in_file = _from_file(Path(path) if path else DEFAULT_CONFIG_FILE, required=path is not None)
    both = sorted(set(flags) & set(in_file))
    if both:
        raise InvalidParameter(
            "unable to configure the daemon: the following directives are specified both as a flag and in the "
            f"configuration file: {', '.join(both)}"
        )
    given: dict[str, Any] = in_file | flags
    if given.get("userns-remap"):
        raise InvalidParameter(
            "userns-remap is not supported by Onggi: containers run with the host's user IDs; leave the option away"
        )
    settings = Settings()
    changes: dict[str, Any] = {}
    for key, (field, convert) in SETTINGS.items():
        if key in given:
            changes[field] = convert(key, given[key])
    for key in _PROXY_KEYS - set(given):  # what is configured comes before the environment
        name = key.replace("-", "_")
        changes[name] = os.environ.get(name.upper(), "") or os.environ.get(name, "")
    Proxies(*(changes[name] for name in ("http_proxy", "https_proxy", "no_proxy")))  # refuse now what can't be used
    if "insecure-registries" in given:
        changes["insecure_registries"] = (
            *settings.insecure_registries,
            *_texts("insecure-registries", given["insecure-registries"]),
        )
    hosts = _texts("hosts", given.get("hosts", [DEFAULT_HOST]))
    settings = replace(settings, **changes, listening=hosts)
    if settings.default_runtime not in (OWN, *RUNC, *settings.runtimes):
        raise InvalidParameter(f"specified default runtime '{settings.default_runtime}' does not exist")
    if bool(settings.auto_update_listen) != bool(settings.auto_update_secret_file):
        raise InvalidParameter(
            "auto-update-listen and auto-update-secret-file belong together: unsigned webhooks are not taken"
        )
    try:
        drivers.check(settings.log_driver, settings.log_opts)
    except OnggiError as error:
        raise InvalidParameter(f"failed to set log opts: {error}") from error
    level = str(given.get("log-level", "debug" if settings.debug else "info"))
    if level not in LEVELS:
        raise InvalidParameter(f'invalid logging level "{level}": use one of {", ".join(LEVELS)}')
    return Configuration(
        settings=settings,
        hosts=hosts,
        group=str(given.get("group", "")),
        pidfile=_path("pidfile", given.get("pidfile", settings.exec_root / "onggi.pid")),
        tls=_tls(given),
        log_level=level,
        ready_fd=ready_fd,
        validate=validate,
    )
