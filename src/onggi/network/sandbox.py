"""Network namespaces: made ready ahead of need, since making one takes a millisecond that a start need not wait for.

One thread makes them: unshare(2) and setns(2) change the namespace of a thread. A namespace lives by descriptors alone,
never by a mount below /run/netns: the pool's die with the daemon, a container's live as long as its processes.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address
from types import TracebackType
from typing import Self, TypeVar

from onggi.linux.fd import Fd
from onggi.linux.netlink import Route, mac_bytes
from onggi.linux.nft_redirect import send_elsewhere
from onggi.linux.nftables import Nftables
from onggi.linux.process import CLONE_NEWNET, setns, unshare
from onggi.network.host_files import EMBEDDED_RESOLVER

T = TypeVar("T")

_NAMESPACE = "/proc/thread-self/ns/net"
_SYSCTLS = (
    # As Docker sets them: any user may ping, and bind the ports below 1024, of a network that is the container's own.
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", b"0"),
    ("/proc/sys/net/ipv4/ping_group_range", b"0 2147483647"),
    # IPv4 only: no router advertisement gives an address, before the first link is there.
    ("/proc/sys/net/ipv6/conf/default/disable_ipv6", b"1"),
    ("/proc/sys/net/ipv6/conf/default/accept_ra", b"0"),
)


@dataclass(frozen=True, slots=True)
class Plug:
    """A veth pair to be made: one end a port of a bridge, the other an interface inside with address and route."""

    bridge: int
    """Index of the bridge."""
    link: str
    """Name of the end outside."""
    interface: str
    """Name of the end inside."""
    address: IPv4Address
    prefix_length: int
    mac: str
    mtu: int
    gateway: str = ""
    """Of the default route; "" for none."""
    isolated: bool = False
    """The port reaches no other isolated port of the bridge."""


@dataclass(slots=True)
class Ready:
    """A namespace with loopback, and with one plug unless it is bare. Used once."""

    namespace: Fd
    plug: Plug | None
    resolver: tuple[Fd, Fd] | None = None
    """Sockets of the embedded resolver, where the plug's network has names."""

    def close(self) -> None:
        self.namespace.close()
        for each in self.resolver or ():
            each.close()


class NamespaceThread:
    """The thread that may change its namespace. All calls are queued to it, in order."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network-namespace")
        self._home: Fd | None = None
        self._route: Route | None = None

    def _open_home(self) -> None:
        self._home = Fd(os.open(_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC))
        self._route = Route()

    def __enter__(self) -> Self:
        self._thread.submit(self._open_home).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._home is not None:
            self._home.close()
        if self._route is not None:
            self._route.close()

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def make(self, plug: Plug | None, *, resolver: bool = False) -> Ready:
        """A new namespace with loopback up, and with the `resolver`'s sockets if asked.

        Raises OSError; nothing is left then, nor when the caller is cancelled.
        """
        work = self._thread.submit(self._make, plug, resolver=resolver)
        try:
            return await asyncio.wrap_future(work)
        except asyncio.CancelledError:
            work.add_done_callback(_discard)
            raise

    async def plug_in(self, namespace: Fd, plugs: Sequence[Plug]) -> None:
        """Connect a namespace to networks, all or none. Raises OSError."""
        await self._run(self._plug_all, namespace, plugs)

    async def unplug(self, link: str) -> None:
        """Remove a pair by its end outside. Nothing happens when it is gone."""
        await self._run(self._unplug, link)

    async def set_mac(self, namespace: Fd, interface: str, mac: str) -> None:
        await self._run(self._inside, namespace, lambda route: route.set_mac(route.index(interface), mac_bytes(mac)))

    async def set_default_route(self, namespace: Fd, gateway: str) -> None:
        """Replace the default route; "" removes it."""

        def replace(route: Route) -> None:
            try:
                route.delete_default_route()
            except ProcessLookupError:
                pass  # ESRCH: there was none
            if gateway:
                route.add_default_route(gateway)

        await self._run(self._inside, namespace, replace)

    async def interfaces(self, namespace: Fd) -> list[str]:
        """Names of the links inside."""
        return await self._run(self._inside, namespace, lambda route: [link.name for link in route.links()])

    async def open_resolver(self, namespace: Fd) -> tuple[Fd, Fd]:
        """A UDP and a listening TCP socket inside, which hear what is sent to 127.0.0.11 port 53; the caller's."""
        return await self._run(self._inside, namespace, lambda route: _open_resolver())

    def _return(self) -> None:
        assert self._home is not None, "the thread was not entered"
        setns(self._home.fileno(), CLONE_NEWNET)

    def _inside(self, namespace: Fd, work: Callable[[Route], T]) -> T:
        setns(namespace.fileno(), CLONE_NEWNET)
        try:
            with Route() as route:
                return work(route)
        finally:
            self._return()

    def _make(self, plug: Plug | None, *, resolver: bool) -> Ready:
        unshare(CLONE_NEWNET)
        try:
            with Fd(os.open(_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)) as namespace, Route() as route:
                for path, value in _SYSCTLS:
                    _write(path, value)
                route.up(1)
                if plug is not None:
                    self._plug(namespace, route, plug)
                sockets = _open_resolver() if resolver else None
                return Ready(Fd(namespace.take()), plug, sockets)
        finally:
            self._return()

    def _plug(self, namespace: Fd, inside: Route, plug: Plug) -> None:
        assert self._route is not None, "the thread was not entered"
        self._route.add_veth(
            plug.link,
            plug.interface,
            namespace.fileno(),
            master=plug.bridge,
            mtu=plug.mtu,
            mac=mac_bytes(plug.mac),
            isolated=plug.isolated,
        )
        try:
            index = inside.index(plug.interface)
            inside.up(index)
            inside.add_address(index, str(plug.address), plug.prefix_length)
            if plug.gateway:
                inside.add_default_route(plug.gateway)
        except BaseException:
            self._route.delete(plug.link)
            raise

    def _plug_all(self, namespace: Fd, plugs: Sequence[Plug]) -> None:
        def plug_each(route: Route) -> None:
            done: list[str] = []
            try:
                for plug in plugs:
                    self._plug(namespace, route, plug)
                    done.append(plug.link)
            except BaseException:
                for link in done:
                    self._unplug(link)
                raise

        self._inside(namespace, plug_each)

    def _unplug(self, link: str) -> None:
        assert self._route is not None, "the thread was not entered"
        try:
            self._route.delete(link)
        except OSError as error:
            if error.errno != _ENODEV:
                raise


_ENODEV = 19


def _write(path: str, value: bytes) -> None:
    try:
        with Fd(os.open(path, os.O_WRONLY | os.O_CLOEXEC)) as file:
            os.write(file.fileno(), value)
    except FileNotFoundError:
        pass  # a kernel without IPv6 has nothing to turn off


def _discard(work: Future[Ready]) -> None:
    if not work.cancelled() and work.exception() is None:
        work.result().close()


def _open_resolver() -> tuple[Fd, Fd]:
    sockets = []
    try:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            opened = socket.socket(socket.AF_INET, kind | socket.SOCK_CLOEXEC)
            sockets.append(opened)
            opened.bind((EMBEDDED_RESOLVER, 0))
        sockets[1].listen(64)
        udp, tcp = (opened.getsockname()[1] for opened in sockets)
        with Nftables() as rules:
            send_elsewhere(rules, EMBEDDED_RESOLVER, 53, udp=udp, tcp=tcp)
    except BaseException:
        for opened in sockets:
            opened.close()
        raise
    return Fd(sockets[0].detach()), Fd(sockets[1].detach())
