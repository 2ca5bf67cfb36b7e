"""Which capabilities a container gets: Docker's fourteen, plus --cap-add, minus --cap-drop. (moby: oci/caps)"""

from collections.abc import Sequence

from onggi.errors import InvalidParameter
from onggi.linux.capability import NAMES

ALL: tuple[str, ...] = tuple(NAMES)
"""By number, as capabilities(7) and linux/capability.h have them."""
DEFAULT: tuple[str, ...] = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip
_KNOWN = frozenset(ALL)
_EVERY = "ALL"


def normalise(names: Sequence[str], option: str) -> list[str]:
    """Names in full, in capitals, sorted, once each. Raises InvalidParameter; `option` is CapAdd or CapDrop."""
    found = set()
    for name in names:
        full = name.upper()
        if full != _EVERY:
            full = full if full.startswith("CAP_") else f"CAP_{full}"
            if full not in _KNOWN:
                raise InvalidParameter(f'invalid {option}: unknown capability: "{full}"')
        found.add(full)
    return sorted(found)


def granted(add: Sequence[str], drop: Sequence[str], *, privileged: bool, held: frozenset[str]) -> tuple[str, ...]:
    """The container's set, from normalised names. `held` is what this engine has: "all" can't mean more."""
    wanted: frozenset[str]
    if privileged:
        wanted = held
    elif _EVERY in add:
        wanted = held - set(drop)
    elif _EVERY in drop:
        wanted = frozenset(add)
    else:
        wanted = frozenset(DEFAULT) - set(drop) | set(add)
    return tuple(name for name in ALL if name in wanted)
