"""Pieces of text that lists of containers, images, networks and volumes share."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def short_id(text: str) -> str:
    """12 digits, without the algorithm."""
    return text.rpartition(":")[2][:12]


def ellipsis(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def pairs(values: "Mapping[str, str] | None") -> str:
    """`a=b,c=d`, sorted."""
    return ",".join(f"{name}={value}" for name, value in sorted((values or {}).items()))
