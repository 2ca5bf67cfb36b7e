"""One registry: its settings, stores, subscribers and jobs, opened and closed together. No use case lives here.

A feature adds a module to `FEATURES`: `install(service)` may subscribe to events, add job handlers and routes.
"""

import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

from onggi.content.object_directory import ObjectDirectory
from onggi.content.objects import Objects
from onggi.registry import jobs, settings_store, stores
from onggi.registry.database import Connection, Database, Work
from onggi.registry.events import Events
from onggi.registry.failure import Failure
from onggi.registry.manifests import Stored
from onggi.registry.metrics import Metrics
from onggi.registry.passwords import Passwords
from onggi.registry.permissions import Subject
from onggi.registry.pulls import Pulls
from onggi.registry.reach import Reach
from onggi.registry.receiving import Receiver
from onggi.registry.settings import Settings
from onggi.registry.throttle import Throttle, Turns
from onggi.registry.tokens import Tokens
from onggi.registry.upstream.cache import Cache

T = TypeVar("T")
PullGate = Callable[[Subject, str, Stored], Awaitable[str]]
"""(who, repository, the manifest that is about to be given out) → a warning that goes with it, or """ ""
BeginSession = Callable[[web.Request, Any, str], Awaitable[web.StreamResponse]]
"""(the request, the row of the user who has signed in, a path of the page to go on at)"""
ShowFailure = Callable[[web.Request, Exception, Failure], Awaitable[web.Response | None]]
TOKEN_KEY = "token-key"
THREADS = 16


class Service:
    """Enter it to open. Handlers and features reach everything through it."""

    database: Database
    objects: Objects
    receiver: Receiver
    tokens: Tokens
    passwords: Passwords
    jobs: jobs.Runner
    pulls: Pulls
    reach: Reach
    cache: Cache

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.events = Events()
        self.metrics = Metrics()
        self.job_handlers: dict[str, jobs.Handler] = {}
        """Kind → handler. Filled by features before the service is entered."""
        self.at_start: list[Work[None]] = []
        """Done in one transaction when the service is opened: first jobs of features."""
        self.pull_gates: list[PullGate] = []
        """Asked before a manifest is given out by GET; each may raise Forbidden with the rule and the reason, or warn."""
        self.show_failure: ShowFailure | None = None
        """How a browser is told of a failure: set by the page. None of it: the client is no browser, and gets JSON."""
        self.begin_session: BeginSession | None = None
        """How a browser is signed in that the page has sent to sign in elsewhere: set by the page."""
        self.account_throttle = Throttle(free=5)
        self.address_throttle = Throttle(free=30)
        self.sign_ins = Turns(most=1000)
        """By address."""
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="disk")
        """For what blocks on the disk."""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        root = self.settings.root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self.database = await self._stack.enter_async_context(stores.database(root, self.settings.database))
            self.objects = ObjectDirectory(self.settings.blobs or root / "blobs")
            if self.settings.database:
                await stores.hold_together(self.database, self.objects)
            self.receiver = Receiver(self.objects, self.pool, lambda count: self.metrics.received.add(amount=count))
            self.passwords = Passwords()
            self._stack.callback(self.passwords.close)
            key = await self.database.write(
                lambda connection: settings_store.get_or_make(connection, TOKEN_KEY, lambda: secrets.token_bytes(32))
            )
            self.tokens = Tokens(key, self.settings.service, self.settings.token_lifetime)
            if not self.settings.database:
                await self.database.write(jobs.release_all)
            await self.database.write(lambda connection: [work(connection) for work in self.at_start])
            self.reach = await self._stack.enter_async_context(Reach(root, self.settings.remote_networks))
            self.cache = Cache(
                self.database, self.objects, self.pool, self.reach, self.events, self.metrics, self.settings.mirror
            )
            self._stack.push_async_callback(self.cache.close)
            self.pulls = await self._stack.enter_async_context(Pulls(self.database))
            self.jobs = await self._stack.enter_async_context(jobs.Runner(self.database, self.job_handlers))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        self.pool.shutdown(wait=True)

    async def write(self, work: Work[T]) -> T:
        """`database.write`, and the jobs that it enqueued are looked at."""
        result = await self.database.write(work)
        self.jobs.nudge()
        return result

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self.database.read(work)
