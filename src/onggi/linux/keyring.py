"""A secret in the kernel's memory for a while, for all processes of this user: the user keyring (keyrings(7)).

Nothing of it is ever on a disk; it is gone at its deadline, at the reboot, or when the user's last process ends.
"""

import ctypes
import errno

from onggi.linux.syscall import check, system_call

_USER_KEYRING = -4
_READ, _SETPERM, _SEARCH, _UNLINK, _SET_TIMEOUT = 11, 5, 10, 9, 15
_OWNER_ALONE = 0x3F0B0000
"""All for who possesses it; view, read and search for the same user: a later login has a session of its own."""
_long, _text = ctypes.c_long, ctypes.c_char_p
_add_key = system_call("add_key", _text, _text, _text, ctypes.c_size_t, ctypes.c_int)
_keyctl = system_call("keyctl", ctypes.c_int, _long, _long, _long, _long)
_keyctl_search = system_call("keyctl", ctypes.c_int, _long, _text, _text, _long)
_keyctl_read = system_call("keyctl", ctypes.c_int, _long, _text, ctypes.c_size_t, _long)
_GONE = frozenset({errno.ENOKEY, errno.EKEYEXPIRED, errno.EKEYREVOKED})


def remember(name: str, secret: bytes, seconds: int) -> None:
    """Raises OSError: ENOSYS or EPERM where keyrings are not allowed, as in many containers."""
    key = check(_add_key(b"user", name.encode(), secret, len(secret), _USER_KEYRING), "add_key")
    check(_keyctl(_SETPERM, key, _OWNER_ALONE, 0, 0), "keyctl")
    check(_keyctl(_SET_TIMEOUT, key, seconds, 0, 0), "keyctl")


def recall(name: str, size: int) -> bytes | None:
    """The secret of `size` bytes; None when there is none (any more). Raises OSError as `remember`."""
    key = _find(name)
    if key is None:
        return None
    buffer = ctypes.create_string_buffer(size)
    if check(_keyctl_read(_READ, key, buffer, size, 0), "keyctl") != size:
        return None
    return buffer.raw


def forget(name: str) -> None:
    """Nothing happens where there is none. Raises OSError as `remember`."""
    key = _find(name)
    if key is not None:
        check(_keyctl(_UNLINK, key, _USER_KEYRING, 0, 0), "keyctl")


def _find(name: str) -> "int | None":
    key = _keyctl_search(_SEARCH, _USER_KEYRING, b"user", name.encode(), 0)
    if key < 0 and ctypes.get_errno() in _GONE:
        return None
    return check(key, "keyctl")
