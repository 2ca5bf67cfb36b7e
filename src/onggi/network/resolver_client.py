"""The engine's side of the resolver: starts it when it is first needed, tells it names, finds it again."""

import asyncio
import logging
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from onggi import jsontext
from onggi.errors import System
from onggi.linux import message
from onggi.linux.fd import Fd

log = logging.getLogger(__name__)

VERSION = 1
_SOCKET = "resolver.sock"
_BOOT = "import sys; sys.path.insert(0, {root!r}); from onggi.network.resolver import main; main()"
_PATIENCE_S = 10.0
_MOST_RESTARTS = 3
"""In a row, without an order in between that was taken."""


@dataclass(frozen=True, slots=True)
class NameEntry:
    """A container's names on one network."""

    network_id: str
    network_name: str
    subnet: IPv4Network
    names: Sequence[str]
    """The first is what its address resolves to."""
    address: str

    def order(self, client: str) -> dict[str, object]:
        return {
            "do": "add",
            "network": self.network_id,
            "network_name": self.network_name,
            "first": int(self.subnet.network_address),
            "last": int(self.subnet.broadcast_address),
            "client": client,
            "names": list(self.names),
            "address": self.address,
        }


@dataclass(slots=True)
class ResolverClient:
    """What one container may ask for."""

    networks: Sequence[str]
    upstream: Sequence[str]
    names: Mapping[str, str]
    sockets: tuple[Fd, Fd] | None
    """Kept so that a new resolver can go on with them; None for a container from before this engine's start."""

    def order(self, client: str, what: str) -> dict[str, object]:
        return {
            "do": what,
            "client": client,
            "networks": list(self.networks),
            "upstream": list(self.upstream),
            "names": dict(self.names),
        }

    def close(self) -> None:
        for each in self.sockets or ():
            each.close()


class ResolverProcess:
    """Enter it to find the resolver of an engine before; leave it to let it go on for the containers that run."""

    def __init__(self, directory: Path) -> None:
        """`directory` is made if missing, for root alone; its parent must exist."""
        self._directory = directory
        self._connection: Fd | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: dict[str, ResolverClient] = {}
        self._entries: dict[tuple[str, str], NameEntry] = {}
        """By container and network."""
        self._lock = asyncio.Lock()
        self._group = asyncio.TaskGroup()
        self._restarts = 0

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None and not self._clients:
            await self._send({"do": "end"})
        self._disconnect()
        await self._group.__aexit__(None, None, None)
        for client in self._clients.values():
            client.close()

    async def find(self, known: Mapping[str, ResolverClient], entries: Mapping[tuple[str, str], NameEntry]) -> None:
        """Take up again the resolver of an engine before, for the containers that it `known`.

        `serves` tells for which of them it went on; the others are to be opened anew.
        """
        async with self._lock:
            if not known or not await asyncio.to_thread(self._reach):
                return
            try:
                served = await self._synchronise()
            except (System, OSError) as error:
                log.error("the resolver of the engine before is left alone: %s", error)
                return
            for client in served - known.keys():
                await self._send({"do": "close", "client": client})
            for (client, network), entry in entries.items():
                if client in served:
                    self._entries[client, network] = entry
                    await self._send(entry.order(client))
            for client in known.keys() & served:
                self._clients[client] = known[client]
                await self._send(known[client].order(client, "update"))

    async def open(self, container_id: str, client: ResolverClient, entries: Sequence[NameEntry]) -> None:
        """Serve a container from now on; `client` and its sockets are ours. Raises System."""
        self._clients[container_id] = client
        async with self._lock:
            await self._ensure(without=container_id)
            # Names before questions: one that is not known yet would be asked of servers outside.
            await self._add(container_id, entries)
            await self._send(client.order(container_id, "open"), client.sockets or ())
        self._restarts = 0

    async def _add(self, container_id: str, entries: Sequence[NameEntry]) -> None:
        for entry in entries:
            self._entries[container_id, entry.network_id] = entry
            await self._send(entry.order(container_id))

    async def change(self, container_id: str, networks: Sequence[str], entries: Sequence[NameEntry]) -> None:
        """Other networks or other names from now on."""
        client = self._clients.get(container_id)
        if client is None:
            return
        client.networks = networks
        async with self._lock:
            gone = [key for key in self._entries if key[0] == container_id and key[1] not in networks]
            await self._add(container_id, entries)
            await self._send(client.order(container_id, "update"))
            for key in gone:
                del self._entries[key]
                await self._send({"do": "drop", "network": key[1], "client": container_id})

    def serves(self, container_id: str) -> bool:
        return container_id in self._clients

    async def close(self, container_id: str) -> None:
        """The container has ended. Idempotent."""
        client = self._clients.pop(container_id, None)
        gone = [key for key in self._entries if key[0] == container_id]
        for key in gone:
            del self._entries[key]
        if client is None:
            return
        client.close()
        async with self._lock:
            await self._send({"do": "close", "client": container_id})
            for _, network in gone:
                await self._send({"do": "drop", "network": network, "client": container_id})

    async def _send(self, order: Mapping[str, object], sockets: Sequence[Fd] = ()) -> None:
        connection = self._connection
        if connection is None:
            return  # it is being started anew, and will be told all there is
        payload = jsontext.dumps(order).encode()
        try:
            message.send(connection, payload, sockets)
        except BlockingIOError:
            await asyncio.to_thread(self._send_slowly, connection, payload, sockets)
        except (BrokenPipeError, ConnectionResetError):
            pass  # its end is seen by `_lost`

    @staticmethod
    def _send_slowly(connection: Fd, payload: bytes, sockets: Sequence[Fd]) -> None:
        poll = select.poll()
        poll.register(connection, select.POLLOUT)
        if not poll.poll(_PATIENCE_S * 1000):
            raise System("the resolver does not take orders")
        message.send(connection, payload, sockets)

    async def _synchronise(self) -> set[str]:
        """The containers that the resolver serves."""
        assert self._connection is not None, "not connected"
        try:
            await self._send({"do": "sync"})
            reply = await asyncio.to_thread(_await_message, self._connection)
            if reply.get("version") != VERSION:
                raise System(f"the resolver that runs speaks version {reply.get('version')}, this engine {VERSION}")
        except BaseException:
            self._disconnect()  # half a connection would pass for one
            raise
        self._follow()
        return set(reply["clients"])

    async def _ensure(self, *, without: str = "") -> None:
        """Have a resolver, with all it must know but the one client that is opened next."""
        if self._connection is not None:
            return
        if not await asyncio.to_thread(self._reach):
            await asyncio.to_thread(self._start)
        served = await self._synchronise()
        for stray in served - self._clients.keys():
            await self._send({"do": "close", "client": stray})
        for (container_id, _), entry in self._entries.items():
            await self._send(entry.order(container_id))
        for container_id, client in self._clients.items():
            if container_id in served:
                await self._send(client.order(container_id, "update"))
            elif container_id != without and client.sockets is not None:
                await self._send(client.order(container_id, "open"), client.sockets)

    def _address(self, directory: int) -> str:
        # By descriptor: the path of the directory may be longer than an address may be.
        return f"/proc/self/fd/{directory}/{_SOCKET}"

    def _open_directory(self) -> Fd:
        # Root's alone: who can reach the socket can answer a container's questions.
        self._directory.mkdir(mode=0o700, exist_ok=True)
        return Fd(os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))

    def _reach(self) -> bool:
        """Connect to a resolver that runs already."""
        with self._open_directory() as directory:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
            try:
                connection.connect(self._address(directory.fileno()))
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
                return False
        self._connection = Fd(connection.detach())
        return True

    def _start(self) -> None:
        if self._process is not None:
            self._process.wait()  # its connection is closed: it has ended or is about to
            self._process = None
        with (
            self._open_directory() as directory,
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as listener,
        ):
            try:
                os.unlink(_SOCKET, dir_fd=directory.fileno())
            except FileNotFoundError:
                pass
            listener.bind(self._address(directory.fileno()))
            listener.listen()
            root = str(Path(__file__).resolve().parents[2])
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    "-c",
                    _BOOT.format(root=root),
                    str(self._directory),
                    str(listener.fileno()),
                ],
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={"LC_ALL": "C.UTF-8"},
                cwd="/",
                start_new_session=True,
            )
        if not self._reach():
            raise System("the resolver did not start")

    def _follow(self) -> None:
        assert self._connection is not None, "not connected"
        os.set_blocking(self._connection.fileno(), False)
        asyncio.get_running_loop().add_reader(self._connection.fileno(), self._lost)

    def _lost(self) -> None:
        """The connection can be read: it speaks only when asked, so this is its end."""
        log.warning("the resolver has ended")
        self._disconnect()
        if self._clients and self._restarts < _MOST_RESTARTS:
            self._restarts += 1
            self._group.create_task(self._restart(), name="restart the resolver")

    async def _restart(self) -> None:
        async with self._lock:
            try:
                await self._ensure()
            except (System, OSError) as error:
                log.error("the resolver cannot be started: %s", error)

    def _disconnect(self) -> None:
        if self._connection is not None:
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            self._connection.close()
            self._connection = None
        if self._process is not None:
            self._process.poll()


def _await_message(connection: Fd) -> Any:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    answer = message.receive(connection) if poll.poll(_PATIENCE_S * 1000) else None
    if answer is None:
        raise System("the resolver does not answer")
    answer.close()
    return jsontext.loads(answer.payload)
