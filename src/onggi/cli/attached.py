"""A container's streams, signals and exit status, for `run`, `start --attach` and `attach`."""

import sys

from onggi.cli.failure import Failure, ResponseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from onggi.cli.connection import Client, Connection, Response
    from onggi.cli.trace import Trace


def exit_status(answer: "dict[str, Any]") -> int:
    """The exit status in the answer to a wait; 125 where the engine could not tell."""
    error = (answer.get("Error") or {}).get("Message")
    if error:
        sys.stderr.write(f"Error waiting for container: {error}\n")
        return 125
    return int(answer["StatusCode"])


def require_terminal() -> None:
    """Raises Failure where keys are to be passed on and there is no terminal to read them from."""
    from onggi.cli.terminal import is_terminal

    if not is_terminal(0):
        raise Failure("the input device is not a TTY")


def _as_it_is(failure: Failure) -> Failure:
    return failure


class Attached:
    """One container to attach to. `keys` are the detach keys as the user wrote them, "" for Docker's."""

    __slots__ = ("_client", "_keys", "_path", "_proxy", "_streams", "_tty")

    def __init__(
        self, client: "Client", container: str, *, tty: bool, streams: "set[str]", keys: str = "", proxy: bool = True
    ) -> None:
        self._client = client
        self._path = f"/containers/{container}"
        self._tty = tty
        self._streams = streams
        self._keys = keys
        self._proxy = proxy

    def carry(
        self, *, condition: str, starts: bool = True, refusal: "Callable[[Failure], Failure]" = _as_it_is,
        trace: "Trace | None" = None,
    ) -> int:  # fmt: skip
        """Attach, wait, start the container if it `starts`, and carry the streams. Returns the container's exit status,
        0 after a detach. Raises what `refusal` makes of a start's failure.

        No byte and no exit status can be missed: the container starts only when attach and wait are both heard.
        """
        from onggi.cli import signals as numbers
        from onggi.cli import system, terminal
        from onggi.cli.streams import Session, Signals, forwarded
        from onggi.cli.window import Forwarder

        client = self._client
        caught = forwarded() if self._proxy else []
        window = numbers.number("SIGWINCH") if self._tty and sys.stdout.isatty() else 0
        if window:
            caught.append(window)
        query: dict[str, Any] = {"stream": True, **dict.fromkeys(self._streams, True)}
        if self._keys:
            query["detachKeys"] = self._keys
        with Signals(caught) as signals:
            mark = system.urandom(8).hex()
            stream = client.upgrade(f"{self._path}/attach", query, headers={"Onggi-Mark": mark})
            try:
                if starts and client.onggi:
                    waiting = self._start_and_wait(stream, f"{condition} {mark}", trace)
                else:
                    waiting = self._wait_and_start(stream, condition, trace, starts=starts)
            except ResponseError as error:
                stream.close()
                raise refusal(error) from None
            forwarder = Forwarder(client, self._path, window=bool(window))
            if window:
                forwarder.resize()
            session = Session(
                stream,
                stdin="stdin" in self._streams,
                output=bool(self._streams & {"stdout", "stderr"}),
                tty=self._tty,
                keys=terminal.detach_keys(self._keys) if self._keys else terminal.DEFAULT_KEYS,
                signals=signals,
                on_signal=forwarder,
                ended=waiting.connection,
            )
            if not session.carry():
                return 0
            if trace:
                trace.mark("streams")
            return exit_status(waiting.json())

    def _start_and_wait(self, stream: "Connection", until: str, trace: "Trace | None") -> "Response":
        """An engine of ours starts when the attach has been heard, and tells the end in the answer to the start."""
        client = self._client
        headers = {"Onggi-Wait": until, **({"Onggi-Trace": "1"} if trace else {})}
        started = client.begin("POST", f"{self._path}/start", headers=headers)
        client.upgraded(stream)
        if trace:
            trace.mark("attach")
        waiting = client.finish(started)
        if trace:
            trace.mark("start", waiting.headers.get("onggi-trace", ""))
        return waiting

    def _wait_and_start(
        self, stream: "Connection", condition: str, trace: "Trace | None", *, starts: bool
    ) -> "Response":
        """Attach and wait are both asked for before either answer is read, and both are heard before the start."""
        client = self._client
        ended = client.begin("POST", f"{self._path}/wait", {"condition": condition})
        client.upgraded(stream)
        waiting = client.finish(ended)
        if trace:
            trace.mark("attach")
        if not starts:
            return waiting
        try:
            client.post(f"{self._path}/start")
        except ResponseError:
            if condition == "removed":
                waiting.read()
            raise
        if trace:
            trace.mark("start")
        return waiting
