"""`cp`: files between a container and this machine. After docker/cli: cli/command/container/cp.go."""

import os
import posixpath
import sys

from onggi.cli import units
from onggi.cli.connection import PIECE
from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.connection import Client, Response
    from onggi.cli.main import Invocation

_DIRECTORY, _LINK = 1 << 31, 1 << 27
"""Go's os.FileMode bits in X-Docker-Container-Path-Stat."""


def split(text: str) -> "tuple[str, str]":
    """Container and path; an empty container for a local path. A path that begins with "/" or "." is local."""
    container, colon, path = text.partition(":")
    if not colon or text.startswith(("/", ".")) or (os.name == "nt" and len(container) == 1):
        return "", text
    return container, path


def cp(invocation: "Invocation", found: "Arguments") -> int:
    source, target = found.words
    if not source:
        raise Failure("source can not be empty")
    if not target:
        raise Failure("destination can not be empty")
    from_container, source_path = split(source)
    to_container, target_path = split(target)
    if from_container and to_container:
        raise Failure("copying between containers is not supported")
    quiet = found.flag("quiet", default=not sys.stdout.isatty())
    if from_container:
        return _out(invocation.client, found, from_container, source_path, target_path, quiet=quiet)
    if to_container:
        return _into(invocation.client, found, source_path, to_container, target_path, quiet=quiet)
    raise Failure("must specify at least one container source")


def _stat(answer: "Response") -> "dict[str, Any]":
    """What the engine says of a path, in a header. The answer has no body, or one that is read afterwards."""
    from binascii import a2b_base64

    from onggi.jsontext import loads

    try:
        found: dict[str, Any] = loads(a2b_base64(answer.headers["x-docker-container-path-stat"]))
    except (KeyError, ValueError) as error:
        raise Failure(f"unable to retrieve container path stat from daemon: {error}") from None
    return found


def _asserts_directory(path: str) -> bool:
    return path.endswith("/") or path in (".", "..") or path.endswith(("/.", "/.."))


def _out(client: "Client", found: "Arguments", container: str, source: str, target: str, *, quiet: bool) -> int:
    from onggi.cli.archive import Extraction, Reader

    if target != "-":
        folder = os.path.dirname(os.path.abspath(target.rstrip("/") or "/"))
        if not os.path.isdir(folder):
            raise Failure(f'invalid output path: directory "{folder}" does not exist')
        if os.path.exists(target) and not os.path.isdir(target) and not os.path.isfile(target):
            raise Failure(f'invalid output path: "{target}" must be a directory or a regular file')
    asked = source
    if found.flag("follow-link"):
        details = _stat(client.call("HEAD", f"/containers/{container}/archive", {"path": source}))
        if details["mode"] & _LINK:
            source = posixpath.join(posixpath.dirname(source), details["linkTarget"])
    answer = client.call("GET", f"/containers/{container}/archive", {"path": source})
    if target == "-":
        for piece in answer.pieces():
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return 0
    details = _stat(answer)
    folder, rename = _place(details, asked, source, target)
    reader = Reader(answer.pieces())
    Extraction(folder, rename=rename, owners=found.flag("archive")).run(reader)
    if not quiet:
        sys.stderr.write(f"Successfully copied {units.decimal(reader.count, 3)} to {os.path.abspath(target)}\n")
    return 0


def _place(details: "dict[str, Any]", asked: str, source: str, target: str) -> "tuple[str, tuple[str, str] | None]":
    """Where to extract, and what to call the archive's first name there. Raises Failure."""
    is_directory = bool(details["mode"] & _DIRECTORY)
    first = posixpath.basename(posixpath.normpath(source)) or "/"
    name = posixpath.basename(posixpath.normpath(asked)) or "/"
    contents = asked.endswith("/.") or asked == "."
    if os.path.isdir(target):
        return target, None if contents or first == name else (first, name)
    folder, base = os.path.split(os.path.abspath(target.rstrip("/")))
    if os.path.lexists(target):
        if is_directory:
            raise Failure("cannot copy directory")
        if _asserts_directory(target):
            raise Failure("not a directory")
        return os.path.dirname(os.path.realpath(target)), (first, os.path.basename(os.path.realpath(target)))
    if not is_directory and _asserts_directory(target):
        raise Failure("no such directory")
    if contents:
        os.mkdir(target.rstrip("/"))
        return target, None
    return folder, (first, base)


class _Counted:
    """A stream of bytes that knows how many went by."""

    def __init__(self, pieces: "Iterator[bytes]") -> None:
        self._pieces = pieces
        self.count = 0

    def __iter__(self) -> "Iterator[bytes]":
        for piece in self._pieces:
            self.count += len(piece)
            yield piece


def _container_stat(client: "Client", container: str, path: str) -> "dict[str, Any] | None":
    from onggi.cli.failure import ResponseError

    try:
        return _stat(client.call("HEAD", f"/containers/{container}/archive", {"path": path}))
    except ResponseError as error:
        if error.code == 404:
            return None
        raise


def _into(client: "Client", found: "Arguments", source: str, container: str, target: str, *, quiet: bool) -> int:
    from onggi.cli.archive import pack

    client.get(f"/containers/{container}/json")
    details = _container_stat(client, container, target)
    for _ in range(40):
        if not details or not details["mode"] & _LINK:
            break
        target = posixpath.join(posixpath.dirname(target), details["linkTarget"])
        details = _container_stat(client, container, target)
    exists = details is not None
    target_is_directory = bool(details and details["mode"] & _DIRECTORY)
    pieces: Iterator[bytes]
    if source == "-":
        if not target_is_directory:
            raise Failure(f'destination "{container}:{target}" must be a directory')
        folder, pieces = target, _stdin()
    else:
        folder, name, path = _archive_of(found, source, target, exists=exists, is_directory=target_is_directory)
        pieces = pack(path, name)
    query: dict[str, Any] = {"path": folder, "noOverwriteDirNonDir": "true"}
    if found.flag("archive"):
        query["copyUIDGID"] = "true"
    counted = _Counted(pieces)
    headers = {"Content-Type": "application/x-tar"}
    client.call("PUT", f"/containers/{container}/archive", query, stream=counted, headers=headers).read()
    if not quiet:
        sys.stderr.write(f"Successfully copied {units.decimal(counted.count, 3)} to {container}:{target}\n")
    return 0


def _stdin() -> "Iterator[bytes]":
    while data := os.read(0, PIECE):
        yield data


def _archive_of(
    found: "Arguments", source: str, target: str, *, exists: bool, is_directory: bool
) -> "tuple[str, str, str]":
    """The directory in the container, the name in the archive, and the local path. Raises Failure."""
    path = os.path.realpath(source) if found.flag("follow-link") else source
    if not os.path.lexists(path) and os.path.lexists(path.rstrip("/")):
        raise Failure("not a directory")
    if not os.path.lexists(path):
        missing = os.path.abspath(source)
        while not os.path.lexists(os.path.dirname(missing)):
            missing = os.path.dirname(missing)
        raise Failure(f"lstat {missing}: no such file or directory")
    local_directory = os.path.isdir(path) and (not os.path.islink(path) or _asserts_directory(source))
    if not local_directory and _asserts_directory(source):
        raise Failure("not a directory")
    base = os.path.basename(os.path.normpath(source))
    contents = source.endswith("/.") or source == "."
    if local_directory:
        path = os.path.realpath(path)
    if is_directory:
        return target, "." if contents and local_directory else base, path
    folder, name = posixpath.split(posixpath.normpath(target))
    if exists:
        if local_directory:
            raise Failure("cannot copy directory")
        return folder or "/", name, path
    if not local_directory and _asserts_directory(target):
        raise Failure("no such directory")
    return folder or "/", name, path
