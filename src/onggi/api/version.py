"""Versions of Docker's Engine API: which we speak, and which a client asks for in its path."""

from onggi import errors

ApiVersion = tuple[int, ...]

OLDEST: ApiVersion = (1, 24)
NEWEST: ApiVersion = (1, 51)


def text(version: ApiVersion) -> str:
    return ".".join(map(str, version))


class ClientTooNew(errors.InvalidParameter):
    def __init__(self, asked: str) -> None:
        super().__init__(f"client version {asked} is too new. Maximum supported API version is {text(NEWEST)}")


class ClientTooOld(errors.InvalidParameter):
    def __init__(self, asked: str) -> None:
        super().__init__(
            f"client version {asked} is too old. Minimum supported API version is {text(OLDEST)}, "
            "please upgrade your client to a newer version"
        )


_KNOWN: dict[str, ApiVersion] = {f"1.{minor}": (1, minor) for minor in range(OLDEST[1], NEWEST[1] + 1)}


def negotiate(asked: str) -> ApiVersion:
    """The version behind the `1.43` of a path `/v1.43/…`. Raises ClientTooNew or ClientTooOld.

    `asked` holds digits and dots only. As in Docker, a missing part counts as 0.
    """
    known = _KNOWN.get(asked)
    if known is not None:
        return known
    parts = asked.split(".")
    # Longer numbers than this are no versions, and int() is quadratic in them.
    version = tuple(int(part[:9] or "0") for part in parts[:8])
    if version > NEWEST:
        raise ClientTooNew(asked)
    if version < OLDEST:
        raise ClientTooOld(asked)
    return version
