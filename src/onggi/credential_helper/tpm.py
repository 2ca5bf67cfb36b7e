"""A vault's key sealed by this machine's TPM: what lies beside the vault opens nothing on another machine.

`tpm2-tools` speak to the TPM, by way of whatever `TPM2TOOLS_TCTI` names, else of /dev/tpmrm0. The key is the data of a
sealed object below a primary key of the owner's hierarchy, which every TPM derives anew from its own seed. On the way to
and from the chip it is encrypted (a session salted with that primary key), so that who listens on the bus learns nothing.
Source: TPM 2.0 Library, Part 1, 19 (sessions) and 27 (objects); tpm2_create(1), tpm2_unseal(1).
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onggi.credential_helper.vault import KEY_BYTES, KeyUnavailable
from onggi.errors import Unsupported

_PRIMARY, _SESSION = "primary.ctx", "session.ctx"
_TIMEOUT_S = 60
"""For one command: a TPM takes up to some seconds for a key."""


def keep(key: bytes) -> bytes:
    """Seal `key`. Returns the sealed object, which is no secret. Raises Unsupported, KeyUnavailable."""
    with _session() as folder:
        _run(folder, "create", "-Q", "-C", _PRIMARY, "-P", f"session:{_SESSION}", "-i", "-", "-u", "public", "-r", "private",
             given=key)  # fmt: skip
        return (folder / "public").read_bytes() + (folder / "private").read_bytes()


def recall(sealed: bytes) -> bytes:
    """The key again. Raises Unsupported, and KeyUnavailable where another TPM sealed it."""
    end = 2 + int.from_bytes(sealed[:2], "big")  # TPM2B_PUBLIC: its size, then so many bytes; TPM2B_PRIVATE follows
    with _session() as folder:
        (folder / "public").write_bytes(sealed[:end])
        (folder / "private").write_bytes(sealed[end:])
        _run(folder, "load", "-Q", "-C", _PRIMARY, "-P", f"session:{_SESSION}", "-u", "public", "-r", "private",
             "-c", "sealed.ctx")  # fmt: skip
        key = _run(folder, "unseal", "-c", "sealed.ctx", "-p", f"session:{_SESSION}")
    if len(key) != KEY_BYTES:
        raise KeyUnavailable("the TPM's object holds no key of credentials")
    return key


def forget(sealed: bytes) -> None:
    """The TPM keeps nothing: the sealed object was all there is."""


@contextmanager
def _session() -> Iterator[Path]:
    """A folder with the contexts of the primary key and of an encrypting session."""
    with tempfile.TemporaryDirectory(prefix="onggi-tpm-") as name:  # 0700
        folder = Path(name)
        _run(folder, "createprimary", "-Q", "-C", "o", "-G", "ecc256", "-c", _PRIMARY)
        _run(folder, "startauthsession", "--hmac-session", "-c", _PRIMARY, "-S", _SESSION)
        try:
            _run(folder, "sessionconfig", "--enable-encrypt", "--enable-decrypt", _SESSION)
            yield folder
        finally:
            _run(folder, "flushcontext", _SESSION)


def _run(folder: Path, command: str, *words: str, given: bytes = b"") -> bytes:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        done = subprocess.run([f"tpm2_{command}", *words], input=given, capture_output=True, cwd=folder, check=False,
                              env=environment, umask=0o077, timeout=_TIMEOUT_S)  # fmt: skip
    except FileNotFoundError as error:
        raise Unsupported("keys in a TPM need the programs of tpm2-tools: install that package") from error
    except subprocess.TimeoutExpired as error:
        raise KeyUnavailable(f"the TPM did not answer tpm2_{command} within {_TIMEOUT_S} s") from error
    if done.returncode != 0:
        raise KeyUnavailable(f"the TPM does not give the key of the credentials: {_reason(command, done.stderr)}")
    return done.stdout


_PASSED_ON = ("PATH", "TPM2TOOLS_TCTI", "DBUS_SESSION_BUS_ADDRESS")


def _reason(command: str, said: bytes) -> str:
    """The first error that the programs name; the last only says which program failed."""
    for line in said.decode(errors="replace").splitlines():
        if line.startswith("ERROR: "):
            return f"tpm2_{command}: " + "".join(sign for sign in line[len("ERROR: ") :] if sign.isprintable())
    return f"tpm2_{command} failed"
