"""The job that delivers one event to one hook.

    POST URL
    Content-Type: application/json
    Onggi-Event: push
    Onggi-Delivery: 6f1c…               the same at every try
    Onggi-Timestamp: 1767225600         of this try, in seconds
    Onggi-Signature: sha256=…           HMAC of "TIMESTAMP.BODY" with the hook's secret

Taken is what is answered 2xx. All else is tried again, later and later; no redirect is followed, and of an answer only the
status is kept, so that a hook can't be used to read what the registry's machine can reach.
"""

import hmac
import time
import uuid
from datetime import timedelta

import aiohttp
from yarl import URL

from onggi.errors import OnggiError
from onggi.registry import jobs
from onggi.registry.clock import stamp
from onggi.registry.database import Connection
from onggi.registry.events import Event
from onggi.registry.jobs import Handler, Job
from onggi.registry.jsonform import encode
from onggi.registry.names import project_of
from onggi.registry.service import Service
from onggi.registry.webhooks import hooks
from onggi.registry.webhooks.hooks import Hook
from onggi.registry.webhooks.targets import CheckedResolver, check_literal

KIND = "webhook"
TEST = "test"
"""No event of the registry: what is sent when somebody tries a hook out."""
ATTEMPTS = 10
TIMEOUT = aiohttp.ClientTimeout(total=20, connect=10)
AT_ONCE = 4


class NotTaken(OnggiError):
    """The target did not answer 2xx: try again."""


def body_of(event: Event) -> bytes:
    return encode({
        "kind": event.kind.value, "at": stamp(), "project": project_of(event.repository), "repository": event.repository,
        "tag": event.reference, "digest": event.digest, "actor": event.actor, "details": event.details,
    })  # fmt: skip


def test_body(project: str, actor: str) -> bytes:
    """What a hook is sent to be tried out: an event about nothing."""
    return encode({
        "kind": TEST, "at": stamp(), "project": project, "repository": "", "tag": "", "digest": "", "actor": actor,
        "details": {},
    })  # fmt: skip


def enqueue(connection: Connection, hook_id: int, event: str, body: bytes) -> str:
    """Deliver `body` soon; gives the delivery's name."""
    name = uuid.uuid4().hex
    hooks.begin(connection, hook_id, name, event, body)
    jobs.enqueue(connection, KIND, {"webhook": hook_id, "delivery": name}, subject=name)
    return name


def signature(secret: str, timestamp: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), f"{timestamp}.".encode() + body, "sha256").hexdigest()


class Deliverer:
    """Runs the jobs of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def deliver(self, job: Job) -> None:
        hook_id, name = int(job.payload["webhook"]), str(job.payload["delivery"])

        def look(connection: Connection) -> tuple[Hook, str, bytes] | None:
            hook = hooks.by_id(connection, hook_id)
            if hook is None:
                return None
            row = hooks.delivery(connection, hook_id, name)
            return hook, row["event"], row["body"]

        found = await self._service.read(look)
        if found is None:
            return  # and with the webhook went its deliveries
        if not found[0].enabled:
            await self._service.database.write(
                lambda connection: hooks.finish(connection, name, "given up", status=0, error="the webhook is switched off",
                                                attempt=job.attempt, took_ms=0)
            )  # fmt: skip
            return
        hook, event, body = found
        began = time.monotonic()
        status, error = await self._post(hook, event, name, body)
        taken = 200 <= status < 300
        last = job.attempt >= ATTEMPTS
        took_ms = int((time.monotonic() - began) * 1000)
        state = "taken" if taken else "given up" if last else "waiting"
        await self._service.database.write(
            lambda connection: hooks.finish(connection, name, state, status=status, error=error, attempt=job.attempt,
                                            took_ms=took_ms)
        )  # fmt: skip
        if not taken:
            raise NotTaken(error or f"answered {status}")

    async def _post(self, hook: Hook, event: str, name: str, body: bytes) -> tuple[int, str]:
        """Status, and what went wrong before there was one."""
        networks = self._service.settings.webhook_networks
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json", "User-Agent": "Onggi-Registry", "Onggi-Event": event,
            "Onggi-Delivery": name, "Onggi-Timestamp": timestamp,
            "Onggi-Signature": signature(hook.secret, timestamp, body),
        }  # fmt: skip
        try:
            url = URL(hook.url)
            check_literal(url, networks)
            connector = aiohttp.TCPConnector(resolver=CheckedResolver(networks), use_dns_cache=False, force_close=True)
            async with (
                aiohttp.ClientSession(connector=connector, timeout=TIMEOUT, trust_env=False,
                                      cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False) as session,
                session.post(url, data=body, headers=headers, allow_redirects=False) as reply,
            ):  # fmt: skip
                return reply.status, ""
        except TimeoutError:
            return 0, "it did not answer in time"
        except (OnggiError, aiohttp.ClientError, OSError, ValueError) as error:
            return 0, f"{type(error).__name__}: {error}" if not isinstance(error, OnggiError) else str(error)


def install(service: Service) -> None:
    def on_event(connection: Connection, event: Event) -> None:
        for hook in hooks.wanting(connection, project_of(event.repository), event):
            enqueue(connection, hook.id, event.kind.value, body_of(event))

    service.events.subscribe(on_event)
    service.job_handlers[KIND] = Handler(
        Deliverer(service).deliver, attempts=ATTEMPTS, first_delay=timedelta(seconds=2), most_delay=timedelta(hours=1),
        at_once=AT_ONCE, lease=timedelta(minutes=1),
    )  # fmt: skip
