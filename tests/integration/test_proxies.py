"""Pulls and pushes through a proxy, to a registry whose name this machine can't resolve."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from onggi.distribution.proxy import Proxies
from onggi.errors import OnggiError
from onggi.oci.reference import Reference
from tests.proxy import Proxy
from tests.registry import Certificate, Registry, layer_of, push_image
from tests.transfer import Host

T = TypeVar("T")
LAYERS = [layer_of({"a": b"x" * 1000}), layer_of({"b": os.urandom(2_500_000)})]
NAME = "registry.invalid:5000"


def run(work: Callable[[], Awaitable[T]]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(90):
            return await work()

    return asyncio.run(bounded())


def test_plain_http_goes_through_the_http_proxy_in_both_directions(registry: Registry, tmp_path: Path) -> None:
    repository = f"proxied/{tmp_path.name}"
    pushed = push_image(registry.host, repository, "1", LAYERS)

    async def script() -> None:
        async with Proxy({NAME: registry.host}, user="me:pass:word") as proxy:
            proxies = Proxies(proxy.url, proxy.url)
            async with Host(tmp_path / "host", insecure=(NAME,), proxies=proxies) as host:
                image, _ = await host.pull(f"{NAME}/{repository}:1")
                assert image.id == pushed.image_id
                await host.images.tag(str(image.id), Reference.parse(f"{NAME}/{repository}-back:2"))
                await host.push(f"{NAME}/{repository}-back:2")
            assert f"CONNECT {NAME}" in proxy.requests  # tried by TLS first
            assert f"GET http://{NAME}/v2/{repository}/manifests/1" in proxy.requests
            assert f"PUT http://{NAME}/v2/{repository}-back/manifests/2" in proxy.requests

    run(script)


def test_https_goes_through_a_tunnel_and_is_verified_end_to_end(tmp_path: Path) -> None:
    certificate = Certificate(tmp_path / "certificate", asked_of_clients=True)
    trusted = tmp_path / "certs.d" / NAME
    trusted.mkdir(parents=True)
    (trusted / "ca.crt").write_bytes(certificate.path.read_bytes())
    (trusted / "client.cert").write_bytes(certificate.path.read_bytes())
    (trusted / "client.key").write_bytes(certificate.key.read_bytes())
    with Registry(tmp_path / "registry") as plain:
        pushed = push_image(plain.host, "proxied/app", "1", LAYERS)
    with Registry(tmp_path / "registry", certificate=certificate) as registry:

        async def script(certificates: Path) -> str:
            async with Proxy({NAME: registry.host}) as proxy:
                proxies = Proxies("", proxy.url)
                async with Host(certificates / "host", certificates=[certificates], proxies=proxies) as host:
                    image, _ = await host.pull(f"{NAME}/proxied/app:1")
                assert set(proxy.requests) == {f"CONNECT {NAME}"}
                return str(image.id)

        assert run(lambda: script(tmp_path / "certs.d")) == pushed.image_id
        with pytest.raises(OnggiError) as refusal:
            run(lambda: script(tmp_path / "nothing"))
    assert str(refusal.value) == (
        f'Get "https://{NAME}/v2/": tls: failed to verify certificate: x509: certificate signed by unknown authority'
    )


@pytest.mark.parametrize(
    ("user", "routes", "sentence"),
    [
        ("", {}, f'Get "https://{NAME}/v2/": proxyconnect tcp: the proxy answers 403 Forbidden'),
        ("me:it", {}, f'Get "https://{NAME}/v2/": proxyconnect tcp: the proxy answers 407 Proxy Authentication Required'),
    ],
)  # fmt: skip
def test_a_proxy_that_refuses_is_told(tmp_path: Path, user: str, routes: dict[str, str], sentence: str) -> None:
    async def script() -> None:
        async with Proxy(routes, user=user) as proxy:
            url = proxy.url.replace("me:it@", "")
            async with Host(tmp_path / "host", proxies=Proxies(url, url)) as host:
                with pytest.raises(OnggiError) as refusal:
                    await host.pull(f"{NAME}/app:1")
        assert str(refusal.value) == sentence

    run(script)


def test_a_proxy_that_is_not_there_is_told(tmp_path: Path) -> None:
    async def script() -> None:
        async with Proxy({}) as proxy:
            url = proxy.url
        async with Host(tmp_path / "host", proxies=Proxies(url, url)) as host:
            with pytest.raises(OnggiError) as refusal:
                await host.pull(f"{NAME}/app:1")
        address = url.removeprefix("http://")
        assert str(refusal.value) == (
            f'Get "https://{NAME}/v2/": proxyconnect tcp: dial tcp {address}: connect: connection refused'
        )

    run(script)
