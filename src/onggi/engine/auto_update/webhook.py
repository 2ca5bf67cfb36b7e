"""What takes a registry's webhooks: only those that are signed with a secret that both know, each once, and not old ones.

POST /          Onggi-Event: push, Onggi-Delivery, Onggi-Timestamp, Onggi-Signature   (docs/reference/webhooks.md)
"""

import hmac
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from aiohttp import web

from onggi.errors import InvalidParameter

log = logging.getLogger("onggi.auto_update")
MOST_BYTES = 256 * 1024
OLDEST_S = 300
_LEAST_SECRET = 16
_MOST_KNOWN = 10_000
Heard = Callable[[str, str], None]
"""(repository, tag)"""


class _Push(msgspec.Struct, frozen=True):
    kind: str
    repository: str = ""
    tag: str = ""


_push = msgspec.json.Decoder(_Push)


def read_secrets(path: Path) -> list[str]:
    """One a line. Raises InvalidParameter for a file that others may read, or one without a good secret."""
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise InvalidParameter(f"{path} holds secrets and others may read it: chmod 600 {path}")
            found = [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidParameter(f"the webhooks' secrets can't be read: {error}") from error
    if not found or any(len(secret) < _LEAST_SECRET for secret in found):
        raise InvalidParameter(f"{path} must hold a secret of at least {_LEAST_SECRET} characters on each line")
    return found


class Webhook:
    """The one handler."""

    def __init__(self, secrets: Sequence[str], heard: Heard) -> None:
        self._secrets, self._heard = list(secrets), heard
        self._known: OrderedDict[str, None] = OrderedDict()
        """Deliveries of the last minutes: who listens in can't send one again."""

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MOST_BYTES)
        app.router.add_post("/", self._take)
        return app

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = request.headers
        stamp, delivery = headers.get("Onggi-Timestamp", ""), headers.get("Onggi-Delivery", "")
        if not self._is_signed(stamp, body, headers.get("Onggi-Signature", "")):
            log.warning("a webhook from %s is not signed by any of our secrets", request.remote)
            return web.Response(status=401, text="the signature does not fit\n")
        if abs(time.time() - int(stamp)) > OLDEST_S:
            return web.Response(status=401, text="the timestamp is not of now: are the clocks right?\n")
        if delivery in self._known:
            return web.Response(status=202, text="taken before\n")
        try:
            told = _push.decode(body)
        except msgspec.DecodeError as error:
            return web.Response(status=400, text=f"the body is no event: {error}\n")
        self._known[delivery] = None
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        if told.kind in ("push", "rollback", "replication") and told.tag:
            self._heard(told.repository, told.tag)
        return web.Response(status=202, text="taken\n")

    def _is_signed(self, stamp: str, body: bytes, signature: str) -> bool:
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 16):
            return False
        signed = f"{stamp}.".encode() + body
        fits = [
            hmac.compare_digest(f"sha256={hmac.digest(secret.encode(), signed, 'sha256').hex()}".encode(),
                                signature.encode(errors="replace"))
            for secret in self._secrets
        ]  # fmt: skip
        return any(fits)
