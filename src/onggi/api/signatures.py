"""/onggi/signatures: of Onggi's own. Signatures at registries for `onggi trust`, which keeps the keys and signs itself.

    PUT  ?name=REFERENCE   {"Image": DIGEST, "Bundle": base64} or {"Image", "Payload": base64, "Signature"}  → {"Digest"}
    POST ?name=REFERENCE   {"Keys": [{"Name", "Pem"}]}           → {"Image": DIGEST, "Signatures": […]}

X-Registry-Auth carries the credentials, as for a pull.
"""

from base64 import b64decode
from binascii import Error
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from onggi.api.request import read_json
from onggi.api.response import json_response
from onggi.api.route import Route
from onggi.distribution.credentials import decode_header
from onggi.errors import InvalidParameter
from onggi.oci.digest import Digest
from onggi.oci.reference import Reference
from onggi.signing.gathering import Trusted
from onggi.signing.keys import PublicKey, TrustStore

if TYPE_CHECKING:
    from onggi.engine.engine import Engine


class _New(msgspec.Struct, rename="pascal"):
    image: str
    bundle: str = ""
    payload: str = ""
    signature: str = ""


class _Key(msgspec.Struct, rename="pascal"):
    name: str
    pem: str


class _Keys(msgspec.Struct, rename="pascal"):
    keys: list[_Key]


def _trusted(key: _Key) -> Trusted:
    if "CERTIFICATE" in key.pem:
        return Trusted(key.name, certificates=TrustStore.load(key.pem.encode()))
    return Trusted(key.name, key=PublicKey.load(key.pem.encode()))


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (Error, ValueError) as error:
        raise InvalidParameter("a signature is sent as base64") from error


def routes(engine: "Engine") -> list[Route]:
    async def attach(request: web.Request) -> web.StreamResponse:
        name = Reference.parse(request.query.get("name", ""))
        credentials = decode_header(request.headers.get("X-Registry-Auth", ""))
        given = await read_json(request, _New)
        image = Digest(given.image)
        if given.bundle:
            digest = await engine.transfer.attach_bundle(name, image, _decoded(given.bundle), credentials)
        elif given.payload and given.signature:
            digest = await engine.transfer.attach_simple(
                name, image, _decoded(given.payload), given.signature, credentials
            )
        else:
            raise InvalidParameter("give a Bundle, or a Payload with its Signature")
        return json_response({"Digest": digest})

    async def verify(request: web.Request) -> web.StreamResponse:
        name = Reference.parse(request.query.get("name", ""))
        credentials = decode_header(request.headers.get("X-Registry-Auth", ""))
        keys = [_trusted(key) for key in (await read_json(request, _Keys)).keys]
        image, found = await engine.transfer.verify_signatures(name, keys, credentials)
        return json_response(
            {"Image": image, "Signatures": [msgspec.to_builtins(each, enc_hook=str) for each in found]}
        )

    return [Route("PUT", "/onggi/signatures", attach), Route("POST", "/onggi/signatures", verify)]
