"""The job that keeps caches within their bounds: what was not pulled for longest goes first."""

from datetime import timedelta

from onggi.registry import clock, jobs, quotas
from onggi.registry.jobs import Handler, Job
from onggi.registry.service import Service
from onggi.registry.upstream import upstreams
from onggi.registry.upstream.cache import EVICT
from onggi.registry.upstream.forgetting import forget_lone, forget_unused, shrink
from onggi.registry.upstream.upstreams import Upstream

EVERY = timedelta(hours=1)
ROOM = 0.9
"""A full cache is emptied to this part of its limit."""


def install(service: Service) -> None:
    async def evict(upstream: Upstream) -> None:
        project_id, days = upstream.project_id, upstream.keep_days
        await service.database.write(lambda connection: forget_lone(connection, project_id))
        if days:
            before = clock.ago(timedelta(days=days))
            while await service.database.write(lambda connection: forget_unused(connection, project_id, before)):
                pass
        used = await service.database.scan(lambda connection: quotas.used_bytes(connection, project_id))
        if upstream.limit_bytes and used > upstream.limit_bytes:
            await service.pulls.write()  # what was pulled just now is not old
            goal = int(upstream.limit_bytes * ROOM)
            while await service.database.write(lambda connection: shrink(connection, project_id, goal)):
                pass

    async def run(job: Job) -> None:
        project = str(job.payload.get("project", ""))
        for upstream in await service.read(upstreams.all_of):
            if project in ("", upstream.project):
                await evict(upstream)
        if not project:
            await service.write(lambda connection: jobs.enqueue(connection, EVICT, {}, subject="all", delay=EVERY))

    service.job_handlers[EVICT] = Handler(run, attempts=1_000_000)
    service.at_start.append(lambda connection: jobs.enqueue(connection, EVICT, {}, subject="all"))
