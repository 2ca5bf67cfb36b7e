"""One repository of a registry: its manifests, blobs, tags and uploads. (OCI distribution-spec)"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

import msgspec
from multidict import CIMultiDictProxy
from yarl import URL

from onggi.distribution import warning
from onggi.distribution.client import Client
from onggi.distribution.failure import AnswerNotFound, Misbehaved, TooSlow, printable
from onggi.distribution.http import Body
from onggi.oci.descriptor import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Descriptor, decode_hook
from onggi.oci.digest import Digest, InvalidDigest
from onggi.oci.manifest import MANIFEST_LIMIT_BYTES, Index, InvalidManifest, parse_manifest

ACCEPTED = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)
_ACCEPT = ", ".join(ACCEPTED)
_LIST_LIMIT_BYTES = 16 * 1024 * 1024
"""Of all pages of a list together."""
_MOST_PAGES = 1000
_NEXT = re.compile(r'\s*<([^>]*)>\s*;\s*rel="?next"?', re.IGNORECASE)
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII)
_UPLOADED = re.compile(r"(?:bytes=)?0-([0-9]{1,18})", re.ASCII)
_UPLOAD_REPLY_S = 300.0


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


class _Catalog(msgspec.Struct):
    repositories: list[str] | None = None


_tags = msgspec.json.Decoder(_Tags)
_catalog = msgspec.json.Decoder(_Catalog)
_index = msgspec.json.Decoder(Index, dec_hook=decode_hook)


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or index as it came, with the digest of what came."""

    content: bytes
    media_type: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Head:
    """What a registry says of a manifest without giving it."""

    digest: Digest
    media_type: str
    size_bytes: int


class BlobStream:
    """A blob on its way: from `offset` on, in pieces as they arrive."""

    def __init__(
        self,
        offset: int,
        validator: str,
        pieces: AsyncIterator[bytes],
        *,
        whole: bool,
        size_bytes: int | None = None,
    ) -> None:
        self.offset = offset
        self.size_bytes = size_bytes
        """Of the whole blob, where the registry says it; a claim."""
        self.validator = validator
        """The strong entity tag, for `If-Range`; empty when there is none."""
        self.pieces = pieces
        self.whole = whole
        """The registry sends all of the blob, no range of it."""


class Repository:
    """`actions` is what tokens are asked for: pull, or pull,push."""

    def __init__(self, client: Client, name: str, *, actions: str = "pull") -> None:
        self.client, self.name = client, name
        self._scopes: Sequence[str] = (f"repository:{name}:{actions}",)
        self.warnings: list[str] = []
        """What the registry wanted people to know, each once. Shown, never acted upon."""

    def _url(self, path: str) -> URL:
        return self.client.endpoint.url(f"{self.name}/{path}")

    async def _document(
        self, method: str, path: str, *, limit_bytes: int, what: str, headers: Mapping[str, str] | None = None,
        scopes: Sequence[str] = (), body: bytes | None = None,
    ) -> tuple[CIMultiDictProxy[str], bytes]:  # fmt: skip
        """`Client.document` for a manifest; its warnings are noted."""
        _, answered, content = await self.client.document(
            method, self._url(path), scopes=scopes or self._scopes, limit_bytes=limit_bytes, what=what, headers=headers,
            body=body,
        )  # fmt: skip
        for sentence in warning.sentences(answered.getall("Warning", [])):
            if sentence not in self.warnings and len(self.warnings) < warning.MOST:
                self.warnings.append(sentence)
        return answered, content

    # Manifests

    async def head(self, reference: str) -> Head | None:
        """By tag or digest; None when the registry gives no digest. Raises Answer, Unreachable."""
        headers, _ = await self._document(
            "HEAD", f"manifests/{reference}", limit_bytes=0, what="the manifest", headers={"Accept": _ACCEPT}
        )
        try:
            digest = Digest(headers.get("Docker-Content-Digest", ""))
        except InvalidDigest:
            return None
        size = headers.get("Content-Length", "")
        return Head(digest, _media_type(headers.get("Content-Type", "")), int(size) if size.isdecimal() else 0)

    async def manifest(self, reference: str | Digest) -> Document:
        """By tag, or by digest: then verified. Raises Answer, Unreachable, Misbehaved."""
        headers, content = await self._document(
            "GET", f"manifests/{reference}", limit_bytes=MANIFEST_LIMIT_BYTES, what="the manifest",
            headers={"Accept": _ACCEPT},
        )  # fmt: skip
        if isinstance(reference, Digest) and not reference.verifies(content):
            raise Misbehaved(f"manifest verification failed for digest {reference}")
        digest = reference if isinstance(reference, Digest) else Digest.of(content)
        return Document(content, _media_type(headers.get("Content-Type", "")), digest)

    async def put_manifest(self, reference: str, content: bytes, media_type: str) -> bool:
        """True when the registry says that it lists the manifest with its subject's referrers."""
        headers, _ = await self._document(
            "PUT", f"manifests/{reference}", limit_bytes=64 * 1024, what="the answer",
            headers={"Content-Type": media_type}, body=content,
        )  # fmt: skip
        return "OCI-Subject" in headers

    async def delete_manifest(self, reference: str) -> None:
        """Delete a tag, or a manifest by its digest. Raises Answer, Unreachable."""
        await self._document(
            "DELETE", f"manifests/{reference}", scopes=(f"repository:{self.name}:pull,push,delete",),
            limit_bytes=64 * 1024, what="the answer",
        )  # fmt: skip

    async def tags(self) -> list[str]:
        """All tags. Raises Answer, Unreachable, Misbehaved."""
        pages = listed(self.client, self._url("tags/list"), self._scopes, _tags, "the registry's list of tags")
        return [tag async for page in pages for tag in page.tags or []]

    async def referrers(self, digest: Digest) -> list[Descriptor]:
        """What names `digest` as its subject: by the referrers list, or by the tag that stands in for it.

        (distribution-spec, "Listing Referrers", "Referrers Tag Schema") Raises Answer, Unreachable, Misbehaved.
        """
        url = self._url(f"referrers/{digest}")
        try:
            pages = listed(self.client, url, self._scopes, _index, "the registry's list of referrers")
            return [entry async for page in pages for entry in page.manifests]
        except AnswerNotFound:
            pass
        try:
            document = await self.manifest(referrers_tag(digest))
        except AnswerNotFound:
            return []
        return list(parsed_index(document).manifests)

    # Blobs

    async def small_blob(self, digest: Digest, limit_bytes: int, what: str) -> bytes:
        """A whole, verified blob in memory. Raises Answer, Unreachable, Misbehaved."""
        _, _, content = await self.client.document(
            "GET", self._url(f"blobs/{digest}"), scopes=self._scopes, limit_bytes=limit_bytes, what=what
        )
        if not digest.verifies(content):
            raise Misbehaved(f"{what} verification failed for digest {digest}")
        return content

    @asynccontextmanager
    async def blob(
        self, digest: Digest, offset: int = 0, validator: str = "", *, end: int | None = None
    ) -> AsyncIterator[BlobStream]:
        """From `offset` on, to before `end`, if the registry can do that and nothing has changed, else all of it."""
        headers = {}
        if offset or end is not None:
            headers["Range"] = f"bytes={offset}-{'' if end is None else end - 1}"
            if validator:
                headers["If-Range"] = validator
        async with self.client.stream(
            "GET", self._url(f"blobs/{digest}"), scopes=self._scopes, headers=headers
        ) as response:
            begins = 0
            length = response.headers.get("Content-Length", "")
            size = int(length) if length.isdecimal() and len(length) < 19 else None
            if response.status == HTTPStatus.PARTIAL_CONTENT:
                match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
                if match is None or int(match[1]) != offset:
                    raise Misbehaved(f"the registry sent another range of {digest} than asked for")
                begins = offset
                size = int(match[3]) if match[3] != "*" else None
            tag = response.headers.get("ETag", "")
            strong = tag if tag.startswith('"') and len(tag) < 1000 else ""
            whole = response.status != HTTPStatus.PARTIAL_CONTENT
            pieces = self._pieces(response.content.iter_any(), digest)
            yield BlobStream(begins, strong, pieces, whole=whole, size_bytes=size)

    async def _pieces(self, pieces: AsyncIterator[bytes], digest: Digest) -> AsyncIterator[bytes]:
        """Ends with TooSlow what trickles: the next byte always comes, but the blob never would."""
        deadlines = self.client.http.deadlines
        window_ends, brought = time.monotonic() + deadlines.trickle_s, 0
        async for piece in pieces:
            yield piece
            brought += len(piece)
            if (now := time.monotonic()) > window_ends:
                if brought < deadlines.trickle_bytes:
                    raise TooSlow(f"{digest} trickles: {brought} bytes in {deadlines.trickle_s:g} seconds")
                window_ends, brought = now + deadlines.trickle_s, 0

    async def has_blob(self, digest: Digest) -> int | None:
        """Its size when the repository has the blob, else None."""
        try:
            _, headers, _ = await self.client.document(
                "HEAD", self._url(f"blobs/{digest}"), scopes=self._scopes, limit_bytes=0, what="the blob"
            )
        except AnswerNotFound:
            return None
        size = headers.get("Content-Length", "")
        return int(size) if size.isdecimal() else 0

    # Uploads

    async def begin_upload(self, digest: Digest, mount_from: str = "") -> URL | None:
        """Where to send the blob; None when it was mounted from another repository of the registry.

        Raises Answer, Unreachable, Misbehaved.
        """
        url, scopes = self._url("blobs/uploads/"), self._scopes
        if mount_from:
            url = url.with_query({"mount": str(digest), "from": mount_from})
            scopes = (*scopes, f"repository:{mount_from}:pull")
        status, headers, _ = await self.client.document(
            "POST", url, scopes=scopes, limit_bytes=64 * 1024, what="the answer", body=b""
        )
        if status == HTTPStatus.CREATED and mount_from:
            return None
        if status != HTTPStatus.ACCEPTED:
            raise Misbehaved(f"the registry answers {status} to the begin of an upload")
        return self.client.own_location(url, headers.get("Location"))

    async def upload(self, location: URL, digest: Digest, size_bytes: int, body: Callable[[], Body]) -> None:
        """Send a whole blob of a known size in one request. Raises Answer, Unreachable, Misbehaved."""
        await self._finish(location, digest, {"Content-Length": str(size_bytes)}, body)

    async def upload_piece(self, location: URL, offset: int, piece: bytes) -> URL:
        """Send the bytes from `offset` on; gives where to go on."""
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{offset}-{offset + len(piece) - 1}"}
        async with self.client.stream(
            "PATCH", location, scopes=self._scopes, headers=headers, body=lambda: piece, reply_s=_UPLOAD_REPLY_S
        ) as response:
            return self.client.own_location(location, response.headers.get("Location"))

    async def upload_reached(self, location: URL) -> tuple[URL, int]:
        """Where an upload that broke off goes on, and how many bytes the registry has of it.

        Raises Answer, Unreachable, Misbehaved.
        """
        _, headers, _ = await self.client.document(
            "GET", location, scopes=self._scopes, limit_bytes=64 * 1024, what="the answer"
        )
        match = _UPLOADED.fullmatch(headers.get("Range", ""))
        if match is None:
            raise Misbehaved("the registry does not say how much it has of an upload")
        reached = int(match[1])
        # "0-0" is what registries say when they have nothing.
        return self.client.own_location(
            location, headers.get("Location") or str(location)
        ), reached + 1 if reached else 0

    async def finish_upload(self, location: URL, digest: Digest) -> None:
        """All pieces are sent."""
        await self._finish(location, digest, {}, lambda: b"")

    async def _finish(self, location: URL, digest: Digest, headers: dict[str, str], body: Callable[[], Body]) -> None:
        query = f"{location.raw_query_string}&" if location.raw_query_string else ""
        url = URL(f"{location.with_query(None)}?{query}digest={digest}", encoded=True)
        async with self.client.stream(
            "PUT", url, scopes=self._scopes, headers={"Content-Type": "application/octet-stream", **headers},
            body=body, reply_s=_UPLOAD_REPLY_S,
        ) as response:  # fmt: skip
            if response.status != HTTPStatus.CREATED:
                raise Misbehaved(f"the registry answers {response.status} to the end of an upload")
            told = response.headers.get("Docker-Content-Digest", str(digest))
            if told != digest:
                raise Misbehaved(f"the registry took {digest} for {printable(told)}")

    async def cancel_upload(self, location: URL) -> None:
        """Tell the registry that no more comes."""
        async with asyncio.timeout(self.client.http.deadlines.connect_s):
            await self.client.document("DELETE", location, scopes=self._scopes, limit_bytes=65536, what="the answer")


def referrers_tag(digest: Digest) -> str:
    """The tag of the index of referrers where a registry keeps no list. (distribution-spec, "Referrers Tag Schema")"""
    return f"{digest.algorithm}-{digest.hex}"[:128]


def parsed_index(document: Document) -> Index:
    """Raises Misbehaved for what is no index."""
    try:
        found = parse_manifest(document.content, document.media_type)
    except InvalidManifest as error:
        raise Misbehaved(f"the tag of a list of referrers names no index: {error}") from error
    if not isinstance(found, Index):
        raise Misbehaved("the tag of a list of referrers names no index")
    return found


T = TypeVar("T")


async def listed(
    client: Client, url: URL, scopes: Sequence[str], decoder: "msgspec.json.Decoder[T]", what: str
) -> AsyncIterator[T]:
    """The pages of a list. Raises Answer, Unreachable, Misbehaved (also for one that never ends)."""
    read = 0
    for _ in range(_MOST_PAGES):
        _, headers, content = await client.document(
            "GET", url, scopes=scopes, limit_bytes=_LIST_LIMIT_BYTES - read, what=what
        )
        read += len(content)
        try:
            page = decoder.decode(content)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, InvalidDigest) as error:
            raise Misbehaved(f"{what} is malformed") from error
        yield page
        link = _NEXT.match(headers.get("Link", "")[:4096])
        if link is None:
            return
        following = client.own_location(url, link[1])
        if following == url:
            raise Misbehaved(f"{what} never ends")
        url = following
    raise Misbehaved(f"{what} has more than {_MOST_PAGES} pages")


async def repositories(client: Client) -> list[str]:
    """The names of all that the registry lists. Raises Answer (many registries list none), Unreachable, Misbehaved."""
    pages = listed(
        client,
        client.endpoint.url("_catalog"),
        ("registry:catalog:*",),
        _catalog,
        "the registry's list of repositories",
    )
    return [name async for page in pages for name in page.repositories or []]


def _media_type(header: str) -> str:
    return header.partition(";")[0].strip().lower()
