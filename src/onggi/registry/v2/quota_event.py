"""A push that a project's quota refuses is told to whoever listens."""

from aiohttp import web

from onggi.registry.events import Event, EventKind
from onggi.registry.requests import REPOSITORY, SUBJECT
from onggi.registry.service import Service


async def tell_quota_exceeded(service: Service, request: web.Request) -> None:
    event = Event(EventKind.QUOTA, request[REPOSITORY], request[SUBJECT].name)
    await service.write(lambda connection: service.events.publish(connection, event))
