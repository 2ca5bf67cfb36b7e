"""/onggi/manifests: of Onggi's own. Manifests at registries for `onggi manifest`, which speaks to no registry itself.

    GET  ?name=REFERENCE[&insecure=1]        → {"Descriptor": …, "Raw": base64}
    PUT  ?name=REFERENCE[&insecure=1]          {"MediaType", "Raw", "Members": [{"Source", "MediaType", "Raw"}]}
                                             → {"Digest", "Pushed": [REFERENCE]}

X-Registry-Auth carries the credentials, as for a pull.
"""

from base64 import b64decode, b64encode
from binascii import Error
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from onggi.api.request import flag, read_json
from onggi.api.response import json_response
from onggi.api.route import Route
from onggi.distribution.credentials import decode_header
from onggi.errors import InvalidParameter
from onggi.images.manifests import Member
from onggi.oci.descriptor import Descriptor, encode_document
from onggi.oci.reference import Reference

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


class _Found(msgspec.Struct, rename="pascal"):
    descriptor: Descriptor
    raw: str


class _Member(msgspec.Struct, rename="pascal"):
    source: str
    media_type: str
    raw: str


class _Index(msgspec.Struct, rename="pascal"):
    media_type: str
    raw: str
    members: list[_Member] = []


def routes(engine: "Engine") -> list[Route]:
    async def find(request: web.Request) -> web.StreamResponse:
        reference = Reference.parse(request.query.get("name", ""))
        credentials = decode_header(request.headers.get("X-Registry-Auth", ""))
        found = await engine.transfer.manifest(reference, credentials, insecure=flag(request, "insecure"))
        body = encode_document(_Found(found.descriptor, b64encode(found.content).decode()))
        return web.Response(body=body + b"\n", content_type="application/json")

    async def push(request: web.Request) -> web.StreamResponse:
        target = Reference.parse(request.query.get("name", ""))
        credentials = decode_header(request.headers.get("X-Registry-Auth", ""))
        index = await read_json(request, _Index)
        members = [
            Member(Reference.parse(member.source), member.media_type, _decoded(member.raw)) for member in index.members
        ]
        work = engine.transfer.push_index(
            target, _decoded(index.raw), index.media_type, members, credentials, insecure=flag(request, "insecure")
        )
        digest, taken = await work
        return json_response({"Digest": digest, "Pushed": [reference.canonical for reference in taken]})

    return [Route("GET", "/onggi/manifests", find), Route("PUT", "/onggi/manifests", push)]


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (Error, ValueError) as error:
        raise InvalidParameter("a manifest must be base64") from error
