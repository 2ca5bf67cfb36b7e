"""`load`, `save`, `import`: images from and to archives."""

import os
import sys

from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

    from onggi.cli.arguments import Arguments
    from onggi.cli.connection import Response
    from onggi.cli.main import Invocation

_PIECE = 1 << 18


def pieces(file: "BinaryIO") -> "Iterator[bytes]":
    while data := file.read(_PIECE):
        yield data


def platform(text: str) -> str:
    """--platform as JSON, as the engine takes it in a query."""
    from onggi.cli.creation.platform import normal
    from onggi.jsontext import dumps

    return dumps(dict(zip(("os", "architecture", "variant"), normal(text).split("/"), strict=False)))


def platforms(found: "Arguments") -> "list[str]":
    texts = found.values.get("platform", [])
    names = [texts] if isinstance(texts, str) else list(texts)
    return [platform(name) for name in names if name]


def open_file(path: str) -> "BinaryIO":
    """Raises Failure in Docker's words."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise Failure(f"open {path}: {(error.strerror or '').lower()}") from None


def load(invocation: "Invocation", found: "Arguments") -> int:
    from onggi.cli import progress

    path = found.text("input")
    query: dict[str, Any] = {"quiet": found.flag("quiet") or not sys.stdout.isatty()}
    if found.given("platform"):
        query["platform"] = platforms(found)
    if not path and sys.stdin.isatty():
        raise Failure("requested load from stdin, but stdin is empty")
    with open_file(path) if path else open(0, "rb", closefd=False) as file:
        answer = invocation.client.call(
            "POST", "/images/load", query, stream=pieces(file), headers={"Content-Type": "application/x-tar"}
        )
        progress.show(answer.objects())
    return 0


def check_output(path: str, what: str) -> None:
    """A file that can be written, before anything is asked of the engine. Raises Failure in Docker's words."""
    folder = os.path.dirname(path)
    if folder and not os.path.isdir(folder):
        raise Failure(f"failed to {what}: invalid output path: stat {folder}: no such file or directory")
    if os.path.isdir(path):
        raise Failure(f"failed to {what}: cannot write to a directory")
    if os.path.exists(path) and not os.path.isfile(path):
        raise Failure(f"failed to {what}: got a device or other irregular file: {path}")


def write_answer(answer: "Response", path: str, what: str) -> None:
    """The body into a file, whole or not at all; onto standard output where there is no path."""
    if not path:
        for piece in answer.pieces():
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    except OSError as error:
        raise Failure(f"failed to {what}: open {path}: {(error.strerror or '').lower()}") from None
    try:
        with open(descriptor, "wb") as file:
            for piece in answer.pieces():
                file.write(piece)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def save(invocation: "Invocation", found: "Arguments") -> int:
    path = found.text("output")
    if path:
        check_output(path, "save image")
    elif sys.stdout.isatty():
        raise Failure("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    query: dict[str, Any] = {"names": found.words}
    if found.given("platform"):
        query["platform"] = platforms(found)
    write_answer(invocation.client.call("GET", "/images/get", query), path, "save image")
    return 0


def import_image(invocation: "Invocation", found: "Arguments") -> int:
    from onggi.cli import progress

    source = found.words[0]
    query: dict[str, Any] = {"fromSrc": source}
    if len(found.words) > 1:
        query["repo"] = found.words[1]
    if found.text("message"):
        query["message"] = found.text("message")
    if found.texts("change"):
        query["changes"] = found.texts("change")
    if found.text("platform"):
        query["platform"] = found.text("platform").lower()
    client = invocation.client
    if source.startswith(("http://", "https://")):
        progress.show(client.call("POST", "/images/create", query).objects())
        return 0
    query["fromSrc"] = "-"
    with open(0, "rb", closefd=False) if source == "-" else open_file(source) as file:
        answer = client.call(
            "POST", "/images/create", query, stream=pieces(file), headers={"Content-Type": "application/x-tar"}
        )
        progress.show(answer.objects())
    return 0
