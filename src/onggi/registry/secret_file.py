"""Secrets that the registry's owner keeps in files: read only where nobody else can."""

import os
from pathlib import Path

from onggi.errors import InvalidParameter

LIMIT_BYTES = 16 * 1024


def read(file: Path, *, content: str) -> str:
    """What is in `file`, without blanks around it. Raises OSError, and InvalidParameter where others may read it too.

    `content` says what ought to be in it, for the refusal of an empty one.
    """
    with file.open("rb") as opened:
        if os.fstat(opened.fileno()).st_mode & 0o077:
            raise InvalidParameter(f"{file} holds a secret and others may read it: chmod 600 {file}")
        data = opened.read(LIMIT_BYTES + 1)
    try:
        found = data.decode().strip()
    except UnicodeDecodeError as error:
        raise InvalidParameter(f"{file} is no text: write {content} into it") from error
    if not found or len(data) > LIMIT_BYTES:
        raise InvalidParameter(f"{file} is {'too long' if found else 'empty'}: write {content} into it")
    return found
