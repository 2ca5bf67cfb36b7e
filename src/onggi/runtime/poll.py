"""The shim's event loop: descriptors, each with the function to call when it is ready. Sleeps in poll(2) otherwise."""

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

IN, OUT = select.POLLIN, select.POLLOUT
GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Poll:
    """What is watched. A callback gets descriptor and events; it may watch and unwatch anything."""

    __slots__ = ("_callbacks", "_poll")

    def __init__(self) -> None:
        self._poll = select.poll()
        self._callbacks: "dict[int, Callable[[int, int], None]]" = {}

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def watch(self, descriptor: int, events: int, callback: "Callable[[int, int], None]") -> None:
        """Watch a descriptor, or change what it is watched for. With no events only its end is told."""
        self._callbacks[descriptor] = callback
        self._poll.register(descriptor, events)

    def unwatch(self, descriptor: int) -> None:
        """Before the descriptor is closed."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def turn(self, timeout_ms: "int | None" = None) -> None:
        """Wait, then call back for all that is ready."""
        for descriptor, events in self._poll.poll(timeout_ms):
            callback = self._callbacks.get(descriptor)
            if callback is not None:  # an earlier callback of this turn may have unwatched it
                callback(descriptor, events)
