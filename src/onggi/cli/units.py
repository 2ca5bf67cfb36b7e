"""Sizes as people read them, in Docker's wording (docker/go-units)."""

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def _scaled(size: float, base: float, names: "tuple[str, ...]", digits: int) -> str:
    step = 0
    while size >= base and step < len(names) - 1:
        size /= base
        step += 1
    return f"{size:.{digits}g}{names[step]}"


def decimal(size: float, digits: int = 4) -> str:
    """ "1.234MB": powers of 1000."""
    return _scaled(size, 1000.0, _DECIMAL, digits)


def binary(size: float) -> str:
    """ "1.234MiB": powers of 1024."""
    return _scaled(size, 1024.0, _BINARY, 4)
