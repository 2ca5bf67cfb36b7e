"""A registry that does what a test tells it: honest at first, and any answer can be replaced.

async with HostileRegistry() as registry:
    image = registry.add_image("team/app", "1", [layer_of({"a": b"x"})])
    registry.replies["GET", f"/v2/team/app/blobs/{image.layers[0]}"] = endless
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self

from aiohttp import web

from tests.registry import CONFIG, LAYER, MANIFEST, SUFFIXES, PushedImage, compressed, digest_of

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HostileRegistry:
    """Enter it to serve on a loopback port; `host` is its name."""

    def __init__(self, *, address: str = "127.0.0.1") -> None:
        self._address = address
        self.host = ""
        self.documents: dict[str, tuple[bytes, str]] = {}
        """Path → content and media type."""
        self.replies: dict[tuple[str, str], Reply] = {}
        """Method and path → what to answer instead."""
        self.requests: list[tuple[str, str, Mapping[str, str]]] = []
        """Method, path with query, headers."""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._address, 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.host = f"{self._address}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def paths(self, method: str = "GET") -> list[str]:
        return [path for asked, path, _ in self.requests if asked == method]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs, dict(request.headers)))
        if reply := self.replies.get((request.method, request.path)):
            return await reply(request)
        if request.path == "/v2/":
            return web.json_response({})
        if document := self.documents.get(request.path):
            content, media_type = document
            headers = {"Content-Type": media_type, "ETag": f'"{digest_of(content)}"'}
            if "/manifests/" in request.path:
                headers["Docker-Content-Digest"] = digest_of(content)
            return web.Response(body=content, headers=headers)
        code = "MANIFEST_UNKNOWN" if "/manifests/" in request.path else "BLOB_UNKNOWN"
        message = code.lower().replace("_", " ")
        return web.json_response({"errors": [{"code": code, "message": message}]}, status=404)

    def add_document(self, path: str, content: bytes, media_type: str = "application/octet-stream") -> str:
        self.documents[path] = content, media_type
        return digest_of(content)

    def add_manifest(self, repository: str, tag: str, document: Any, media_type: str = MANIFEST) -> str:
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        for name in (tag, digest_of(content)):
            self.add_document(f"/v2/{repository}/manifests/{name}", content, media_type)
        return digest_of(content)

    def add_image(
        self,
        repository: str,
        tag: str,
        layers: Sequence[bytes],
        *,
        config: Mapping[str, Any] | None = None,
        manifest: Mapping[str, Any] | None = None,
        compression: str = "gzip",
    ) -> PushedImage:
        """An honest image; members of `config` and `manifest` replace those of the documents."""
        diff_ids = [digest_of(layer) for layer in layers]
        blobs, suffix = [compressed(layer, compression) for layer in layers], SUFFIXES[compression]
        settings = json.dumps(
            {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
            | dict(config or {})
        ).encode()
        for blob in (settings, *blobs):
            self.add_document(f"/v2/{repository}/blobs/{digest_of(blob)}", blob)
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest_of(settings), "size": len(settings)},
            "layers": [{"mediaType": LAYER + suffix, "digest": digest_of(blob), "size": len(blob)} for blob in blobs],
        } | dict(manifest or {})
        digest = self.add_manifest(repository, tag, document)
        return PushedImage(digest, digest_of(settings), [digest_of(blob) for blob in blobs], diff_ids, document)
