"""What a signal means while attached: a new window size, or something for the container."""

from onggi.cli import signals, terminal
from onggi.cli.failure import ResponseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.connection import Client


class Forwarder:
    """Called with the number of each signal that arrives. `path` is the container's or the exec's."""

    __slots__ = ("_client", "_last", "_path", "_window")

    def __init__(self, client: "Client", path: str, *, window: bool) -> None:
        self._client = client
        self._path = path
        self._window = window
        self._last = (0, 0)

    def __call__(self, number: int) -> None:
        name = signals.names().get(number, str(number))
        if name == "WINCH":
            if self._window:
                self.resize()
            return
        self._tell("kill", {"signal": name})

    def resize(self) -> None:
        rows, columns = terminal.size(1)
        if rows and columns and (rows, columns) != self._last:
            self._last = (rows, columns)
            self._tell("resize", {"h": rows, "w": columns})

    def _tell(self, verb: str, query: "dict[str, int | str]") -> None:
        try:
            self._client.post(f"{self._path}/{verb}", dict(query))
        except ResponseError as error:
            if error.code not in (404, 409, 500):  # it has ended, or not begun: then nobody wants to know
                raise
