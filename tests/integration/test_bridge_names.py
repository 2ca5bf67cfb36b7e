"""Names within networks, without an engine: apart, and over the death of engine and resolver."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onggi.engine.settings import Settings
from onggi.errors import Forbidden, NotFound
from onggi.network import dns
from onggi.network.endpoint import Attachment, EndpointRequest, Sandbox
from onggi.network.network import CreateNetwork
from tests.bridges import identity, opened, own_settings, run, until
from tests.namespaces import PATIENCE_S, SHORT_S, answering, ask_from, resolve

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces")


@pytest.fixture
def settings(tmp_path: Path, worker_id: str) -> Iterator[Settings]:
    with own_settings(tmp_path, worker_id) as chosen:
        yield chosen


def test_networks_are_apart_and_names_resolve_within_them(settings: Settings) -> None:
    async def body() -> None:
        async with opened(settings) as networks:
            for name in ("one", "two"):
                await networks.catalogue.create(CreateNetwork(name=name))
            sandboxes = []
            for number, (name, network, aliases) in enumerate(
                [("a", "one", ()), ("b", "one", ("db", "Web_1")), ("c", "two", ("db",)), ("d", "default", ())]
            ):
                attachments = [Attachment(network, aliases=aliases)] if network != "default" else []
                request = EndpointRequest(name=name, mode=network, attachments=attachments)
                sandboxes.append(await networks.connect(identity(number), request))
            await asyncio.to_thread(check, sandboxes)

            with pytest.raises(Forbidden, match="network one has active endpoints"):
                await networks.catalogue.remove("one")
            await networks.rename(identity(1), "bee")
            b = sandboxes[1].endpoints[0]
            a_namespace = sandboxes[0].namespace
            assert a_namespace is not None
            assert await asyncio.to_thread(resolve, a_namespace, "bee") == (0, [b.address])
            await networks.release(identity(1))
            deadline = time.monotonic() + PATIENCE_S  # the resolver is a process of its own, told beside the release
            while found := (await asyncio.to_thread(resolve, a_namespace, "bee"))[1]:
                assert time.monotonic() < deadline, f"still resolved: {found}"
            for number, sandbox in enumerate(sandboxes):
                assert sandbox.namespace is not None
                sandbox.namespace.close()
                await networks.release(identity(number))
            for name in ("one", "two"):
                await networks.catalogue.remove(name)
            with pytest.raises(NotFound, match="network one not found"):
                networks.catalogue.get("one")

    def check(sandboxes: list[Sandbox]) -> None:
        a, b, c, d = (sandbox.namespace for sandbox in sandboxes)
        assert a is not None
        assert b is not None
        assert c is not None
        assert d is not None
        b_address, c_address = sandboxes[1].endpoints[0].address, sandboxes[2].endpoints[0].address
        with answering(b, 80, b"b"), answering(c, 80, b"c"):
            assert ask_from(a, b_address, 80) == b"b"
            for stranger in (c, d):
                assert ask_from(stranger, b_address, 80, timeout_s=SHORT_S) == b""
            assert ask_from(a, c_address, 80, timeout_s=SHORT_S) == b""
        assert "nameserver 127.0.0.11\n" in sandboxes[0].resolv_conf
        assert sandboxes[1].endpoints[0].dns_names == ("b", "db", "Web_1", identity(1)[:12])
        for name in ("b", "B", "db", "web_1", "b.one", identity(1)[:12]):
            assert resolve(a, name) == (dns.NOERROR, [b_address]), name
        assert resolve(a, "b", stream=True) == (dns.NOERROR, [b_address])
        assert resolve(c, "db") == (dns.NOERROR, [c_address])
        assert resolve(a, "b", dns.AAAA) == (dns.NOERROR, [])
        reverse = ".".join(reversed(b_address.split("."))) + ".in-addr.arpa"
        assert resolve(a, reverse, dns.PTR) == (dns.NOERROR, [repr(dns.encode_name("b.one"))])
        assert resolve(a, "host.docker.internal")[1]
        # A DNS server of the container's own may have the port.
        with answering(a, 53, b"mine", udp=True):
            assert ask_from(a, "127.0.0.1", 53, udp=True) == b"mine"
            assert resolve(a, "b") == (dns.NOERROR, [b_address])

    run(body())


def test_names_resolve_while_the_engine_is_away_and_after_the_resolver_was_killed(settings: Settings) -> None:
    async def body() -> None:
        async with opened(settings) as networks:
            await networks.catalogue.create(CreateNetwork(name="one"))
            sandbox = await networks.connect(identity(1), EndpointRequest(name="a", mode="one"))
        assert sandbox.namespace is not None
        address = sandbox.endpoints[0].address
        assert await asyncio.to_thread(resolve, sandbox.namespace, "a") == (0, [address])
        async with opened(settings) as networks:
            await networks.reconcile([identity(1)])
            assert networks.endpoints(identity(1)) == sandbox.endpoints
            second = await networks.connect(identity(2), EndpointRequest(name="b", mode="one"))
            assert second.namespace is not None
            b_address = second.endpoints[0].address
            assert b_address != address
            assert await asyncio.to_thread(resolve, sandbox.namespace, "b") == (0, [b_address])

            (resolver,) = resolvers(settings)
            os.kill(resolver, 9)
            await until(lambda: resolver not in resolvers(settings) and len(resolvers(settings)) == 1)
            assert await asyncio.to_thread(resolve, second.namespace, "a") == (0, [address])
            for container in (identity(1), identity(2)):
                await networks.release(container)
            sandbox.namespace.close()
            second.namespace.close()
            await networks.catalogue.remove("one")
        await until(lambda: not resolvers(settings))

    run(body())


def test_names_resolve_again_when_engine_and_resolver_were_killed(settings: Settings) -> None:
    async def body() -> None:
        async with opened(settings) as networks:
            await networks.catalogue.create(CreateNetwork(name="one"))
            sandbox = await networks.connect(identity(1), EndpointRequest(name="a", mode="one"))
        assert sandbox.namespace is not None
        (resolver,) = resolvers(settings)
        os.kill(resolver, 9)
        await asyncio.to_thread(os.waitpid, resolver, 0)
        with sandbox.namespace as namespace:
            async with opened(settings) as networks:
                await networks.reconcile([identity(1)])
                await networks.mend(identity(1), namespace)
                address = sandbox.endpoints[0].address
                assert await asyncio.to_thread(resolve, namespace, "a") == (0, [address])
                await networks.mend(identity(1), namespace)
                await networks.release(identity(1))
                await networks.catalogue.remove("one")
        await until(lambda: not resolvers(settings))

    run(body())


def resolvers(settings: Settings) -> list[int]:
    """The engine's resolver processes."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().split(b"\0") if process.name.isdigit() else []
        except OSError:
            continue  # it has just ended
        if str(settings.exec_root / "resolver").encode() in words:
            found.append(int(process.name))
    return found
