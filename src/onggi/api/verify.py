"""POST /onggi/images/verify: of Onggi's own. Compares images on the disk with their digests, and mends them.

Query: `names` (repeated; none: all images), `repair`. Header X-Registry-Config: credentials by registry, for repairs.
Answer: progress lines, and for each image one `{"aux": {"Image", "Name", "Damage": [{"Kind", "Digest", …}]}}`.
"""

from typing import TYPE_CHECKING

from aiohttp import web

from onggi.api.request import flag
from onggi.api.response import Progress, stream_progress
from onggi.api.route import Route
from onggi.distribution.credentials import decode_config_header

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


def routes(engine: "Engine") -> list[Route]:
    async def verify(request: web.Request) -> web.StreamResponse:
        names = request.query.getall("names", [])
        images = [(name, engine.images.get(name)) for name in names]
        if not names:
            images = [
                (image.names[0].familiar if image.names else image.id.short, image) for image in engine.images.all()
            ]
        credentials = decode_config_header(request.headers.get("X-Registry-Config", ""))
        repair = flag(request, "repair")

        async def work(progress: Progress) -> None:
            verification = engine.transfer.verification(progress, repair=repair, credentials=credentials)
            for name, image in images:
                damage = [found.message() for found in await verification.run(image)]
                progress({"aux": {"Image": str(image.id), "Name": name, "Damage": damage}})

        return await stream_progress(request, work, head_first=True)

    return [Route("POST", "/onggi/images/verify", verify)]
