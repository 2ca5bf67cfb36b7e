"""The table of drivers, the check of their options, and how a container's choice becomes the runtime's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onggi.engine.container_config import LogConfig
from onggi.engine.log_drivers import files, fluentd, gelf, journald, syslog
from onggi.engine.log_drivers.subject import Subject
from onggi.engine.log_drivers.values import truth
from onggi.engine.sizes import size_bytes
from onggi.errors import InvalidParameter, OnggiError, Unsupported
from onggi.runtime.failure import log_failure
from onggi.runtime.request import Log

if TYPE_CHECKING:
    from onggi.engine.container import Container


@dataclass(frozen=True, slots=True)
class Remote:
    """A driver whose lines leave the machine's files."""

    options: frozenset[str]
    check: Callable[[Mapping[str, str]], None]
    """Raises InvalidParameter."""
    compile: Callable[[Mapping[str, str], Subject], dict[str, Any]]
    """To what `runtime.logs` of the same name reads. Raises InvalidParameter."""


REMOTE = {
    name: Remote(frozenset(module.OPTIONS), module.check, module.compile)
    for name, module in (("fluentd", fluentd), ("gelf", gelf), ("journald", journald), ("syslog", syslog))
}
NAMES = tuple(sorted((*REMOTE, "json-file", "local")))
"""Drivers that keep lines, as `info` lists them; there is also `none`."""
_CLOUDS = ("awslogs", "etwlogs", "gcplogs", "splunk")
_COMMON = frozenset({"mode", "max-buffer-size", "cache-disabled"}) | files.CACHE_FILE_OPTIONS
"""Options of every driver; the rest is each one's own."""
_BLOCKING = ("", "blocking")
_NON_BLOCKING = "non-blocking"
_BUFFER_BYTES = 1_000_000


def merge(given: LogConfig, driver: str, options: Mapping[str, str]) -> LogConfig:
    """A container's choice, completed by the engine's driver and options (moby: daemon/logs.go)."""
    chosen = given.config or {}
    if given.type and given.type != driver:
        # Another driver's options mean nothing to this one, but for those of the copy.
        options = {name: value for name, value in options.items() if name.startswith("cache-")}
    return LogConfig(given.type or driver, {**options, **chosen})


def check(driver: str, options: Mapping[str, str]) -> None:
    """Raises InvalidParameter for a driver or an option that there is not; Unsupported for what only Docker has."""
    if driver in ("", "none"):  # not chosen yet, or nothing to choose
        return
    if driver in _CLOUDS:
        raise Unsupported(f"the logging driver {driver} is not supported by Onggi: use one of {', '.join(NAMES)}")
    if driver not in NAMES:
        raise InvalidParameter(f'error looking up logging plugin {driver}: plugin "{driver}" not found')
    mode = options.get("mode", "")
    if mode not in (*_BLOCKING, _NON_BLOCKING):
        raise InvalidParameter(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" in options:
        if mode != _NON_BLOCKING:
            raise InvalidParameter("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
        try:
            size_bytes(options["max-buffer-size"])
        except InvalidParameter as error:
            raise InvalidParameter(f"error parsing option max-buffer-size: {error}") from error
    if disabled := options.get("cache-disabled"):
        try:
            truth(disabled)
        except InvalidParameter as error:
            raise InvalidParameter(f"invalid value for option cache-disabled: {disabled}") from error
    own = {name: value for name, value in options.items() if name not in _COMMON}
    if driver in REMOTE:
        REMOTE[driver].check(own)
    known = {"json-file": files.JSON_FILE_OPTIONS, "local": files.FILE_OPTIONS}.get(driver)
    for name in own:
        if name not in (known if known is not None else REMOTE[driver].options):
            sentence = {"local": "unknown log opt '%s' for log driver local",
                        "gelf": 'unknown log opt "%s" for gelf log driver'}  # fmt: skip
            raise InvalidParameter(sentence.get(driver, f"unknown log opt '%s' for {driver} log driver") % name)


def readable(log: LogConfig) -> bool:
    """Whether `logs` has something to read."""
    if log.type == "none":
        return False
    return log.type not in REMOTE or not truth((log.config or {}).get("cache-disabled") or "false")


def file_path(directory: Path, id: str, driver: str) -> Path:
    """Where a container's lines lie, or the copy of them. Docker's own names: tools look for them."""
    if driver == "json-file":
        return directory / f"{id}-json.log"
    return directory / ("local-logs/container.log" if driver == "local" else "container-cached.log")


def compile(container: "Container") -> Log | None:
    """What the runtime is told at a start. Raises OnggiError as Docker words it."""
    driver, options = container.host_config.log_config.type, container.host_config.log_config.config or {}
    if driver == "none":
        return None
    subject = Subject(container, options)
    path = file_path(container.directory, container.id, driver)
    try:
        if driver == "json-file":
            return Log(files.json_file(path, options, subject))
        if driver == "local":
            path.parent.mkdir(mode=0o710, exist_ok=True)
            return Log(files.local(path, options))
        return Log(files.cache(path, options), REMOTE[driver].compile(options, subject), _buffer_bytes(driver, options))
    except (OnggiError, OSError) as error:
        raise log_failure(str(error)) from error


def _buffer_bytes(driver: str, options: Mapping[str, str]) -> int | None:
    if options.get("mode") == _NON_BLOCKING:
        return size_bytes(options["max-buffer-size"]) if "max-buffer-size" in options else _BUFFER_BYTES
    return fluentd.buffer_bytes(options) if driver == "fluentd" else None
