"""A vault's key in the desktop's secret service (GNOME Keyring, KWallet, KeePassXC), which locks and unlocks it.

Source: the Secret Service API, https://specifications.freedesktop.org/secret-service/
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from onggi.credential_helper.vault import KEY_BYTES, KeyUnavailable
from onggi.errors import Unsupported

if TYPE_CHECKING:
    from secretstorage import Collection

_REFERENCE_BYTES = 16
_LABEL = "Onggi: key of registry credentials"
_PROMPT_S = 120
"""For the person who is asked to unlock the collection."""


def keep(key: bytes) -> bytes:
    """Store `key` in the default collection. Returns what finds it again. Raises Unsupported, KeyUnavailable."""
    reference = os.urandom(_REFERENCE_BYTES)
    with _collection() as collection:
        collection.create_item(_LABEL, _attributes(reference), key, content_type="application/octet-stream")
    return reference


def recall(reference: bytes) -> bytes:
    """Raises Unsupported, and KeyUnavailable when it is not there or stays locked."""
    with _collection() as collection:
        for item in collection.search_items(_attributes(reference)):
            key = item.get_secret()
            if len(key) == KEY_BYTES:
                return key
    raise KeyUnavailable("the desktop's secret service has no key of these credentials")


def forget(reference: bytes) -> None:
    """Nothing happens where there is none. Raises Unsupported, KeyUnavailable."""
    with _collection() as collection:
        for item in list(collection.search_items(_attributes(reference))):
            item.delete()


def _attributes(reference: bytes) -> dict[str, str]:
    return {"application": "onggi", "vault": reference.hex()}


@contextmanager
def _collection() -> "Iterator[Collection]":
    """The default one, unlocked: the desktop asks for it."""
    try:
        import secretstorage
        from jeepney.wrappers import DBusErrorResponse
    except ImportError as error:
        raise Unsupported(f"the secret service needs secretstorage ({error}): pip install 'onggi[desktop]'") from error
    try:
        connection = secretstorage.dbus_init()
        try:
            collection = secretstorage.get_default_collection(connection)
            if collection.is_locked() and collection.unlock(timeout=_PROMPT_S):
                raise KeyUnavailable("the desktop's secret service stays locked: its prompt was dismissed")
            yield collection
        finally:
            connection.close()
    except (secretstorage.SecretStorageException, DBusErrorResponse, OSError) as error:
        raise KeyUnavailable(f"no desktop's secret service gives the key of the credentials: {error}") from error
