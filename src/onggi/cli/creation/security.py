"""--security-opt. After docker/cli: container/opts.go."""

from onggi.cli.arguments import quoted
from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments


def _profile(path: str) -> str:
    """A seccomp profile's text without its spaces: the engine never reads our files."""
    from onggi.jsontext import dumps, loads

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise Failure(f"opening seccomp profile ({path}) failed: open {path}: {reason}") from None
    try:
        return dumps(loads(data))
    except ValueError as error:
        raise Failure(f"compacting json for seccomp profile ({path}) failed: {error}") from None


def apply(found: "Arguments", host: "dict[str, Any]") -> None:
    """Fill in SecurityOpt, and empty the masked paths for systempaths=unconfined."""
    result = []
    unmasked = False
    for text in found.texts("security-opt"):
        name, mark, value = text.partition("=")
        if not mark and name != "no-new-privileges":
            name, mark, value = text.partition(":")
        if (not mark or not value) and name != "no-new-privileges":
            raise Failure(f"Invalid --security-opt: {quoted(text)}")
        if text == "systempaths=unconfined":
            unmasked = True
        elif name == "seccomp" and value not in ("builtin", "unconfined"):
            result.append(f"seccomp={_profile(value)}")
        else:
            result.append(text)
    host["SecurityOpt"] = result
    if unmasked:
        host["MaskedPaths"] = []
        host["ReadonlyPaths"] = []
