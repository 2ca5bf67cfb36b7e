"""Where the engine is: -H, ONGGI_HOST, DOCKER_HOST, a context, or the default socket, in that order."""

from onggi.cli.failure import Failure
from onggi.cli.system import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from onggi.cli.config import Config

DEFAULT_SOCKET = "/run/onggi/onggi.sock"


class Tls:
    """Files of a TLS client. `verify` is False where the engine's certificate is taken unseen."""

    __slots__ = ("ca", "certificate", "key", "verify")

    def __init__(self, ca: str, certificate: str, key: str, *, verify: bool) -> None:
        self.ca = ca
        self.certificate = certificate
        self.key = key
        self.verify = verify


class Address:
    """An engine's address, taken apart. `text` is how it was written; `default` tells that nobody chose it."""

    __slots__ = ("default", "host", "path", "port", "scheme", "text", "tls", "user")

    def __init__(self, text: str, *, tls: "Tls | None" = None, default: bool = False) -> None:
        self.text = text
        self.tls = tls
        self.default = default
        self.host = self.path = self.user = ""
        self.port = 0
        self.scheme, found, rest = text.partition("://")
        if not found:
            raise Failure(f"unable to parse docker host `{text}`")
        if self.scheme == "unix":
            self.path = rest
        elif self.scheme in ("tcp", "http", "https"):
            self._take_host(rest.partition("/")[0], 2376 if tls or self.scheme == "https" else 2375)
            self.path = rest.partition("/")[1] + rest.partition("/")[2].rstrip("/")
        elif self.scheme == "ssh":
            host, slash, self.path = rest.partition("/")
            self.path = slash + self.path
            self.user, _, host = host.rpartition("@")
            if ":" in self.user:
                raise Failure("invalid SSH URL: plain-text password is not supported")
            self._take_host(host, 0)
            _refuse_options(self.user, "user")
            _refuse_options(self.host, "host")
        elif self.scheme in ("npipe", "fd"):
            raise Failure(f"{self.scheme}:// addresses are not supported: use unix://, tcp:// or ssh://")
        else:
            raise Failure(f"unsupported protocol in address {text}: use unix://, tcp:// or ssh://")

    def _take_host(self, text: str, port: int) -> None:
        if text.startswith("["):
            self.host, _, rest = text[1:].partition("]")
            number = rest.removeprefix(":")
        elif text.count(":") > 1:
            self.host, number = text, ""
        else:
            self.host, _, number = text.partition(":")
        if number and not (number.isascii() and number.isdigit() and int(number) < 65536):
            raise Failure(f"invalid port in address {self.text}")
        self.port = int(number or port)
        self.host = self.host or "127.0.0.1"


def _refuse_options(text: str, what: str) -> None:
    """A host that ssh would take for an option, or that a shell at the other end would (CVE-2017-1000117)."""
    if text.startswith("-") or any(c <= " " or c in "'\"\\`$;&|<>()" or c == "\x7f" for c in text):
        raise Failure(f"invalid SSH URL: {what} {text!r} holds characters that are not allowed")


def _tls(config: "Config", given: "dict[str, str]") -> "Tls | None":
    """TLS from --tls… and DOCKER_TLS…; None where neither asks for it."""
    verify = given.get("tlsverify", "true" if environment("DOCKER_TLS_VERIFY") else "") == "true"
    if not verify and given.get("tls", "true" if environment("DOCKER_TLS") else "") != "true":
        return None
    folder = environment("DOCKER_CERT_PATH") or config.folder
    return Tls(
        given.get("tlscacert") or f"{folder}/ca.pem",
        given.get("tlscert") or f"{folder}/cert.pem",
        given.get("tlskey") or f"{folder}/key.pem",
        verify=verify,
    )


def parse(text: str, tls: "Tls | None" = None) -> Address:
    """As `-H` takes it: without a scheme it is a TCP host, "unix://" alone the default socket."""
    text = text.strip()
    if text in ("", "unix://"):
        return Address(f"unix://{DEFAULT_SOCKET}", default=not text)
    return Address(text if "://" in text else f"tcp://{text}", tls=tls)


def context_name(config: "Config", given: "dict[str, str]") -> str:
    """Which context is current: "default" wherever an address is given directly."""
    if given.get("context"):
        return given["context"]
    if given.get("host") or environment("ONGGI_HOST") or environment("DOCKER_HOST"):
        return "default"
    return environment("DOCKER_CONTEXT") or config.text("currentContext") or "default"


def find(config: "Config", given: "dict[str, str]") -> Address:
    """The address to use. `given` holds the global options. Raises Failure."""
    if given.get("host") and given.get("context"):
        raise Failure("conflicting options: cannot specify both --host and --context")
    name = context_name(config, given)
    if name != "default":
        from onggi.cli.contexts import address_of

        return address_of(config, name)
    host = given.get("host") or environment("ONGGI_HOST") or environment("DOCKER_HOST") or ""
    return parse(host, _tls(config, given))
