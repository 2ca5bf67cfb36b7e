"""A forward proxy for tests, as companies run them: CONNECT, and plain requests with an absolute URI.

async with Proxy({"registry.invalid:443": registry.host}) as proxy:
    ...  # a client that is told of `proxy.url` reaches the registry under a name that only the proxy knows
"""

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import urlsplit

from tests.loopback import Loopback, pass_on


class Proxy(Loopback):
    """`routes`: HOST:PORT that clients ask for → HOST:PORT where it is. Everything else gets 403.

    With `user` ("name:password") it answers 407 to whoever does not show it.
    """

    def __init__(self, routes: Mapping[str, str], *, user: str = "") -> None:
        self._routes = routes
        self._expected = f"Basic {b64encode(user.encode()).decode()}" if user else ""
        self._user = f"{user}@" if user else ""
        super().__init__()
        self.requests: list[str] = []
        """`CONNECT host:port`, `GET http://…`."""

    @property
    def url(self) -> str:
        return f"http://{self._user}{self.host}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection: what follows a plain one is passed on as it is, with `Connection: close`."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.rstrip("\r\n").split("\r\n")
        method, target, _ = line.split(" ")
        self.requests.append(f"{method} {target}")
        headers = [field.partition(": ")[::2] for field in fields]
        shown = {name.lower(): value for name, value in headers}
        if shown.get("proxy-authorization", "") != self._expected:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        parts = urlsplit(target if method != "CONNECT" else f"//{target}")
        authority = f"{parts.hostname}:{parts.port or 80}"
        if authority not in self._routes:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        host, _, port = self._routes[authority].rpartition(":")
        there, onward = await asyncio.open_connection(host, int(port))
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = parts.path + (f"?{parts.query}" if parts.query else "")
                kept = [f"{n}: {v}" for n, v in headers if n.lower() not in ("proxy-authorization", "connection")]
                onward.write("\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]).encode())
            async with asyncio.TaskGroup() as group:
                group.create_task(pass_on(reader, onward))
                group.create_task(pass_on(there, writer))
        except* (ConnectionError, asyncio.IncompleteReadError):
            pass  # either side may leave at any time
        finally:
            onward.close()
