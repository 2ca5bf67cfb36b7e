"""What the provider's hosts answer: asked within bounds, for the answer may be anybody's.

Only HTTPS (or a loopback issuer, to try it out), no redirects, so many bytes and seconds. The issuer's own host may be
anywhere: the registry's owner named it. Its metadata name other hosts, and whoever writes those must not make the
registry ask what only its machine can reach: they are on the public network, or where `--oidc-network` says.
"""

import ipaddress
import ssl
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from onggi.errors import InvalidParameter, Unavailable
from onggi.registry.settings import Oidc
from onggi.registry.webhooks.targets import CheckedResolver, Networks, TargetForbidden, check_literal

LIMIT_BYTES = 1024 * 1024
TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5)
_ANYWHERE: Networks = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


class ProviderFailed(Unavailable):
    """The provider can't be asked, or does not answer as one does. Nothing that the person could mend."""

    def __init__(self, what: str) -> None:
        super().__init__(f"signing in at the OpenID Connect provider does not work now: {what}")


def check_url(text: str, *, loopback: bool) -> URL:
    """An address that may be asked; with `loopback` that may be http:// on this machine. Raises InvalidParameter."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise InvalidParameter(f"{text[:200]!a} is no URL: {error}") from error
    if not parts.hostname or not text.isascii() or not text.isprintable() or " " in text or len(text) > 2000:
        raise InvalidParameter(f"{text[:200]!a} is no URL of a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidParameter("the provider's URL holds no user, password or fragment")
    if parts.scheme != "https" and not (loopback and parts.scheme == "http" and is_loopback(parts.hostname)):
        raise InvalidParameter(f"the provider must be reached by https://, which {text[:200]!a} is not")
    return URL(text)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Fetcher:
    """Asks the hosts of one provider."""

    def __init__(self, settings: Oidc) -> None:
        """Raises InvalidParameter for a CA file that can't be used."""
        self._networks = settings.networks
        self._issuer = URL(settings.issuer)
        self._loopback = is_loopback(self._issuer.host or "")
        try:
            self._context = ssl.create_default_context(cafile=settings.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise InvalidParameter(f"can't use the certificates in {settings.ca_file}: {error}") from error

    def check(self, text: str, what: str) -> URL:
        """An address of the provider's metadata. Raises ProviderFailed."""
        try:
            return check_url(text, loopback=self._loopback)
        except InvalidParameter as error:
            raise ProviderFailed(f"its {what}: {error}") from error

    async def ask(
        self, text: str, what: str, *, form: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of GET, or of POST with a `form`. `what` names the endpoint. Raises ProviderFailed."""
        url = self.check(text, what)
        networks = _ANYWHERE if url.host == self._issuer.host else self._networks
        sent = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "Onggi-Registry"}
        try:
            check_literal(url, networks)
            connector = aiohttp.TCPConnector(
                resolver=CheckedResolver(networks), use_dns_cache=False, force_close=True, ssl=self._context
            )
            async with (
                aiohttp.ClientSession(connector=connector, timeout=TIMEOUT, trust_env=False,
                                      cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False) as session,
                session.request("GET" if form is None else "POST", url, data=form, headers=sent | (headers or {}),
                                allow_redirects=False) as reply,
            ):  # fmt: skip
                data = bytearray()
                async for piece in reply.content.iter_any():
                    data += piece
                    if len(data) > LIMIT_BYTES:
                        raise ProviderFailed(f"its {what} answers more than {LIMIT_BYTES} bytes")
                return reply.status, bytes(data)
        except TargetForbidden as error:
            raise ProviderFailed(
                f"its {what} is at an address that is not on the public network: the registry's owner may allow it by"
                " --oidc-network"
            ) from error
        except TimeoutError as error:
            raise ProviderFailed(f"its {what} did not answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ProviderFailed(f"its {what} can't be asked: {type(error).__name__}") from error
