"""An OpenID Connect provider that misbehaves on command; left alone it does all that the specification asks.

with HostileProvider() as provider:
    code = provider.code_for(location)       what signing in there would send the browser back with
    provider.claims["nonce"] = "another"     and from now on its tokens say so
"""

import base64
import hashlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.onggi_registry import OnggiRegistry
from tests.registry import Certificate

CLIENT, SECRET = "registry", "s3cret of the/client"
Reply = tuple[int, dict[str, str], bytes]


class HostileProvider(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, certificate: Certificate | None = None) -> None:
        self._certificate = certificate
        self.metadata: dict[str, Any] = {}
        """What is said beside the truth."""
        self.claims: dict[str, Any] = {}
        """What tokens say beside the truth; None leaves a claim out."""
        self.userinfo: dict[str, Any] = {}
        self.replies: dict[str, Callable[[], Reply]] = {}
        """Path → what is answered there instead."""
        self.asked: list[str] = []
        self.new_key()
        self._codes: dict[str, dict[str, str]] = {}
        self.released = threading.Event()
        """Set to let go of who was made to wait."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._answer(self)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                """Quiet."""

        super().__init__(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.path, certificate.key)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self._thread = threading.Thread(target=self.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    @property
    def issuer(self) -> str:
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://127.0.0.1:{self.server_address[1]}"

    def new_key(self) -> None:
        """Sign by another key from now on, under another name."""
        self.key = rsa.generate_private_key(65537, 2048)
        self.key_name = hashlib.sha256(str(id(self.key)).encode()).hexdigest()[:8]

    def code_for(self, location: str) -> str:
        """The code that the person brings back who was sent to `location`."""
        query = dict(parse_qsl(urlsplit(location).query))
        code = f"code-{len(self._codes)}"
        self._codes[code] = query
        return code

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path).path
        self.asked.append(path)
        length = int(handler.headers.get("Content-Length", "0"))
        form = {name: values[0] for name, values in parse_qs(handler.rfile.read(length).decode()).items()}
        if path in self.replies:
            status, headers, body = self.replies[path]()
        else:
            status, headers, document = 200, {"Content-Type": "application/json"}, self._document(path, form, handler)
            status, body = (
                (404 if document is None else int(document.pop("_status", 200))),
                json.dumps(document).encode(),
            )
        try:
            handler.send_response(status)
            for name, text in headers.items():
                handler.send_header(name, text)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        except OSError:
            handler.close_connection = True  # the registry did not wait for all of it

    def _document(self, path: str, form: dict[str, str], handler: BaseHTTPRequestHandler) -> dict[str, Any] | None:
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token", "jwks_uri": f"{self.issuer}/keys",
                "userinfo_endpoint": f"{self.issuer}/userinfo", **self.metadata,
            }  # fmt: skip
        if path == "/keys":
            key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
            return {"keys": [{"kty": "oct", "kid": "x", "k": "AAAA"}, key | {"kid": self.key_name, "use": "sig"}]}
        if path == "/userinfo":
            right = handler.headers["Authorization"] == "Bearer access"
            return {"sub": "u1", **self.userinfo} if right else {"_status": 401, "error": "invalid_token"}
        if path == "/token":
            return self._tokens(form, handler.headers.get("Authorization", ""))
        return None

    def _tokens(self, form: dict[str, str], authorization: str) -> dict[str, Any]:
        asked = self._codes.pop(form.get("code", ""), None)
        pair = "registry:s3cret+of+the%2Fclient"  # each form-encoded (RFC 6749, 2.3.1)
        if authorization != "Basic " + base64.b64encode(pair.encode()).decode():
            return {"_status": 401, "error": "invalid_client"}
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if (
            asked is None
            or form["redirect_uri"] != asked["redirect_uri"]
            or challenge.rstrip(b"=").decode() != asked["code_challenge"]
            or asked["code_challenge_method"] != "S256"
        ):
            return {"_status": 400, "error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": "u1", "aud": CLIENT, "iat": now, "exp": now + 60, "nonce": asked["nonce"],
                  "preferred_username": "alice", **self.claims}  # fmt: skip
        said = {name: value for name, value in claims.items() if value is not None}
        return {"access_token": "access", "token_type": "Bearer",
                "id_token": jwt.encode(said, self.key, "RS256", {"kid": self.key_name})}  # fmt: skip


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def registry_at(directory: Path, issuer: str, client: str, secret: str, *more: str) -> OnggiRegistry:
    """One that is reached by the address that it is told it has: the provider sends people back there."""
    file = directory / "client-secret"
    file.touch(mode=0o600)
    file.write_text(secret + "\n")
    host = f"127.0.0.1:{free_port()}"
    registry = OnggiRegistry(
        directory, "--url", f"http://{host}", "--oidc-issuer", issuer, "--oidc-client-id", client,
        "--oidc-client-secret-file", str(file), *more,
    )  # fmt: skip
    registry.host = host
    return registry
