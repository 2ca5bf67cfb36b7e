"""Which requests go through a proxy: Go's rules."""

import pytest
from yarl import URL

from onggi.distribution.proxy import Proxies
from onggi.errors import InvalidParameter

THROUGH, DIRECT = True, False


@pytest.mark.parametrize(
    ("no_proxy", "url", "expected"),
    [
        ("", "https://registry.example/v2/", THROUGH),
        ("", "https://localhost:5000/v2/", DIRECT),
        ("", "https://127.0.0.1:5000/v2/", DIRECT),
        ("", "https://127.9.9.9/v2/", DIRECT),
        ("", "https://[::1]:5000/v2/", DIRECT),
        ("*", "https://registry.example/v2/", DIRECT),
        ("registry.example", "https://registry.example/v2/", DIRECT),
        ("REGISTRY.example", "https://Registry.Example/v2/", DIRECT),
        ("registry.example", "https://mirror.registry.example/v2/", DIRECT),
        ("registry.example", "https://otherregistry.example/v2/", THROUGH),
        (".registry.example", "https://registry.example/v2/", THROUGH),
        (".registry.example", "https://a.registry.example/v2/", DIRECT),
        ("*.registry.example", "https://a.registry.example/v2/", DIRECT),
        ("registry.example:5000", "https://registry.example:5000/v2/", DIRECT),
        ("registry.example:5000", "https://registry.example/v2/", THROUGH),
        ("other, registry.example", "https://registry.example/v2/", DIRECT),
        ("10.0.0.0/8", "https://10.2.3.4/v2/", DIRECT),
        ("10.0.0.0/8", "https://11.2.3.4/v2/", THROUGH),
        ("10.2.3.4:443", "https://10.2.3.4/v2/", DIRECT),
        ("10.2.3.4:444", "https://10.2.3.4/v2/", THROUGH),
        ("fd00::/8", "https://[fd00::1]:5000/v2/", DIRECT),
        ("[fd00::1]:5000", "https://[fd00::1]:5000/v2/", DIRECT),
    ],
)
def test_exceptions(no_proxy: str, url: str, expected: bool) -> None:
    proxies = Proxies("http://plain:1", "http://secure:2", no_proxy)
    assert proxies.of(URL(url)) == (URL("http://secure:2") if expected else None)


def test_each_scheme_has_its_own() -> None:
    proxies = Proxies(http="proxy:3128")
    assert proxies.of(URL("http://registry.example/")) == URL("http://proxy:3128")
    assert proxies.of(URL("https://registry.example/")) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("socks5://proxy:1", "invalid http-proxy 'socks5://proxy:1': socks5 proxies are not supported: use http or https"),
        ("http://", "invalid http-proxy 'http://': it must be a URL, as http://HOST:PORT"),
        ("http://me:secret@proxy:nonsense", "invalid http-proxy 'proxy:nonsense': it must be a URL, as http://HOST:PORT"),
    ],
)  # fmt: skip
def test_what_is_no_proxy_is_refused_without_its_password(text: str, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as refusal:
        Proxies(http=text)
    assert str(refusal.value) == sentence
