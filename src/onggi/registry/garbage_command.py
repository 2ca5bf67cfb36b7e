"""`onggi registry gc`: collect now, beside the registry that serves or while it does not."""

import argparse
import asyncio

from onggi.registry import garbage, options, stores
from onggi.registry.settings import Settings


def run(given: argparse.Namespace) -> int:
    async def carry_out() -> garbage.Collected:
        settings = Settings(
            root=given.root, unreferenced_age=given.unreferenced_age, keep_deleted=given.keep_deleted,
            upload_age=given.upload_age,
        )  # fmt: skip
        async with stores.existing(given) as (database, objects):
            return await garbage.collect(database, objects, settings)

    done = asyncio.run(carry_out())
    print(f"uploads given up {done.uploads}, manifests {done.manifests}, links {done.links}, blobs {done.blobs}, "
          f"objects deleted {done.objects}")  # fmt: skip
    return 0


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("gc", help="collect garbage now")
    options.add_root(parser)
    options.add_database(parser)
    options.add_ages(parser)
    parser.set_defaults(run=run)
