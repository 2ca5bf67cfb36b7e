"""One open descriptor and the duty to close it."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class Fd:
    """One open descriptor and the duty to close it. `take()` hands both to the caller.

    Works as a context manager and wherever Python takes a descriptor (it has `fileno()`).
    """

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = number

    def __repr__(self) -> str:
        return f"Fd({self._number})"

    def __enter__(self) -> "Fd":
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """The number, still owned by this object. Raises ValueError once closed or taken."""
        if self._number < 0:
            raise ValueError("descriptor is closed or was handed on")
        return self._number

    @property
    def closed(self) -> bool:
        return self._number < 0

    def take(self) -> int:
        """The number and the duty to close it; this object owns nothing from now on."""
        number = self.fileno()
        self._number = -1
        return number

    def duplicate(self) -> "Fd":
        """A second descriptor of the same open file, close-on-exec."""
        return Fd(os.dup(self.fileno()))

    def close(self) -> None:
        """Close it, if that has not happened yet."""
        if self._number >= 0:
            number, self._number = self._number, -1
            os.close(number)
