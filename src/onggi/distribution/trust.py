"""Trust: which authorities a registry's certificate is checked against, and which certificate we show it.

Directories `certs.d/HOST:PORT/` hold the registry's own authorities (`*.crt`), beside the system's, and our certificates
for it (`NAME.cert` with `NAME.key`), as for Docker.
"""

import ssl
from collections.abc import Sequence
from pathlib import Path

from onggi.errors import System

Pair = tuple[Path, Path | None]


class Trust:
    """Contexts for TLS, made once for each set of files. Its calls block on the disk."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = directories
        self._contexts: dict[object, ssl.SSLContext] = {}

    def context(
        self, authority: str, authorities: Sequence[Path] = (), pairs: Sequence[Pair] = (), *, verify: bool
    ) -> ssl.SSLContext:
        """For the registry at `authority`, with further files of its own. Raises System for files that can't be used."""
        found, own = self._files(authority)
        authorities, pairs = [*found, *authorities], [*own, *pairs]
        try:
            files = [path for path in (*authorities, *(path for pair in pairs for path in pair)) if path is not None]
            key = (verify, *((path, path.stat().st_mtime_ns) for path in files))
        except OSError as error:
            raise System(f"{error.filename} can't be used: {error.strerror}") from error
        if (known := self._contexts.get(key)) is not None:
            return known
        context = ssl.create_default_context()
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for path in authorities:
            try:
                context.load_verify_locations(path)
            except (OSError, ssl.SSLError) as error:
                raise System(f"{path} can't be used: {error}") from error
        for certificate, secret in pairs:
            try:
                context.load_cert_chain(certificate, secret)
            except (OSError, ssl.SSLError) as error:
                raise System(f"{certificate} can't be used: {error}") from error
        self._contexts[key] = context
        return context

    def _files(self, authority: str) -> tuple[list[Path], list[Pair]]:
        files = [path for directory in self._directories for path in _listing(directory / authority)]
        pairs: list[Pair] = []
        for path in files:
            if path.suffix == ".cert":
                if (secret := path.with_suffix(".key")) not in files:
                    raise System(
                        f"missing key {secret.name} for client certificate {path.name}. "
                        "CA certificates must use the extension .crt"
                    )
                pairs.append((path, secret))
            elif path.suffix == ".key" and path.with_suffix(".cert") not in files:
                raise System(f"missing client certificate {path.stem}.cert for key {path.name}")
        return [path for path in files if path.suffix == ".crt"], pairs


def _listing(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
