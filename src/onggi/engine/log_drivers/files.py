"""`json-file` and `local`: what their options mean. Also the copy that `logs` reads where lines go elsewhere."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from onggi.engine.log_drivers.subject import CHOICES, Subject
from onggi.engine.log_drivers.values import human_size, number, truth
from onggi.errors import InvalidParameter
from onggi.runtime.request import LogFile
from onggi.template.json import dumps

T = TypeVar("T")

FILE_OPTIONS = frozenset({"max-size", "max-file", "compress"})
CACHE_FILE_OPTIONS = frozenset(f"cache-{name}" for name in FILE_OPTIONS)
JSON_FILE_OPTIONS = FILE_OPTIONS | CHOICES
BOUND_BYTES = 256 * 1000 * 1000
BOUND_FILES = 4
"""A json-file log without `max-size`, endless in Docker, keeps so many files of this size: no container fills the disk."""
_LOCAL_BYTES = 20 * 1024 * 1024
_LOCAL_FILES = 5


def json_file(path: Path, options: Mapping[str, str], subject: Subject) -> LogFile:
    """Raises InvalidParameter."""
    size = None
    if "max-size" in options:
        size = human_size(options["max-size"])
        if size <= 0:
            raise InvalidParameter("max-size must be a positive number")
    files = number(options["max-file"]) if "max-file" in options else 1
    if files < 1:
        raise InvalidParameter("max-file cannot be less than 1")
    compress = truth(options["compress"]) if "compress" in options else False
    if compress and (files == 1 or size is None):
        raise InvalidParameter("compress cannot be true when max-file is less than 2 or max-size is not set")
    attributes = subject.attributes()
    if tag := subject.tag(""):
        attributes["tag"] = tag
    return LogFile(
        path,
        max_size_bytes=size or BOUND_BYTES,
        max_files=files if size else max(files, BOUND_FILES),
        compress=compress,
        attributes=dumps(attributes, html=True) if attributes else "",
    )


def local(path: Path, options: Mapping[str, str]) -> LogFile:
    """Raises InvalidParameter."""
    size, files, compress = _LOCAL_BYTES, _LOCAL_FILES, True
    if "max-size" in options:
        size = _value("invalid value for max-size: " + options["max-size"], human_size, options["max-size"])
    if "max-file" in options:
        files = _value("invalid value for max-file: " + options["max-file"], number, options["max-file"])
    if "compress" in options:
        compress = _value("error reading compress log option", truth, options["compress"])
    if files < 0:
        raise InvalidParameter("max file count cannot be less than 0")
    if compress and files <= 1:
        raise InvalidParameter("compression cannot be enabled when max file count is 1")
    return LogFile(
        path, max_size_bytes=size or None, max_files=max(files, 1), compress=compress and size > 0, format="local"
    )


def cache(path: Path, options: Mapping[str, str]) -> LogFile | None:
    """The copy beside a remote driver; None where `cache-disabled` forbids it."""
    if truth(options.get("cache-disabled") or "false"):
        return None
    return local(
        path, {name.removeprefix("cache-"): value for name, value in options.items() if name in CACHE_FILE_OPTIONS}
    )


def _value(what: str, read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except InvalidParameter as error:
        raise InvalidParameter(f"{what}: {error}") from error
