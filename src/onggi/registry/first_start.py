"""The first start: an owner with a one-time password, and a public project, so that the first push has a place."""

import sys

from onggi.registry import audit, passwords, projects, users
from onggi.registry.database import Connection
from onggi.registry.names import LIBRARY
from onggi.registry.service import Service

OWNER = "admin"


async def prepare(service: Service, base: str) -> None:
    """Make the owner where there are no users yet, and print, once, how to sign in."""
    if await service.read(users.count):
        return
    password = passwords.one_time()
    hashed = passwords.hash_of(password)

    def make(connection: Connection) -> bool:
        if users.count(connection):
            return False  # another node was first
        owner_id = users.create(connection, OWNER, hashed, admin=True, one_time=True)
        projects.create(connection, LIBRARY, public=True, owner_id=owner_id)
        audit.record(connection, audit.SYSTEM, "create user", subject=OWNER)
        return True

    if await service.write(make):
        print(
            f"This registry is new. Its owner is {OWNER}, with the one-time password\n\n    {password}\n\n"
            f"Choose your own by\n\n"
            f"    onggi registry user password {OWNER} --root {service.settings.root}\n\n"
            f"then: docker login {base.partition('://')[2]}",
            file=sys.stderr, flush=True,
        )  # fmt: skip
