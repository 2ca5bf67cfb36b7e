"""The signatures of one image among the documents of its repository: read and held against trusted keys.

The caller brings a `Documents`: what a repository has. The same walk serves the registry, which has them on its disk.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Protocol

import msgspec

from onggi.oci.digest import Digest
from onggi.oci.manifest import InvalidManifest, Manifest, parse_manifest
from onggi.signing import cosign, notation
from onggi.signing.keys import PublicKey, TrustStore
from onggi.signing.notation import NotVerified

SIGNATURES = (cosign.BUNDLE, notation.SIGNATURE)
"""Artifact types of the referrers that are signatures."""
MOST_SIGNATURES = 64
"""Of the referrers, and again under the tag. More than anybody makes; each costs a verification at every pull."""
MOST_MANIFEST_BYTES = 64 * 1024
"""A signature's manifest has about 1 KiB."""


class Documents(Protocol):
    def referrers(self, image: Digest) -> Iterable[tuple[Digest, str, bytes]]:
        """Digest, artifact type and bytes of the manifests of `SIGNATURES` whose subject is `image`.

        Only the first `MOST_SIGNATURES` are looked at, so whoever may push decides what is seen: the order must not let
        one account's crowd out another's. Those larger than `MOST_MANIFEST_BYTES` are not needed.
        """

    def tagged(self, tag: str) -> tuple[Digest, bytes] | None:
        """The manifest that a tag names."""

    def blob(self, digest: Digest) -> bytes:
        """A small blob, verified. b"" when it is not there, or is larger than a signature is."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """A key, or certificates, that a policy speaks of by name."""

    name: str
    key: PublicKey | None = None
    certificates: TrustStore | None = None


class Signature(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One signature that was found, and what it is worth."""

    kind: str
    """"cosign" or "notation"."""
    artifact: str
    """Digest of the manifest that carries it."""
    trusted: list[str] = []
    """Names of the trusted keys that made it: usually one, or none."""
    signer: str = ""
    reason: str = ""
    """Why it does not count."""


def _manifest(content: bytes) -> Manifest | None:
    try:
        parsed = parse_manifest(content, "")
    except InvalidManifest:
        return None
    return parsed if isinstance(parsed, Manifest) else None


def gather(image: Digest, documents: Documents, trusted: Sequence[Trusted], now: datetime) -> list[Signature]:
    """Every signature of `image`, those of the referrers first."""
    found: list[Signature] = []
    for artifact, kind, content in islice(documents.referrers(image), MOST_SIGNATURES):
        manifest = _manifest(content)
        if manifest is None or manifest.subject is None or manifest.subject.digest != image:
            continue
        if kind == cosign.BUNDLE:
            found += _bundles(artifact, manifest, image, documents, trusted)
        elif kind == notation.SIGNATURE:
            found += _notations(artifact, manifest, image, documents, trusted, now)
    return found + _simple(image, documents, trusted)


def _bundles(
    artifact: Digest, manifest: Manifest, image: Digest, documents: Documents, trusted: Sequence[Trusted]
) -> Iterator[Signature]:
    for layer in manifest.layers[:1]:
        content = documents.blob(layer.digest)
        names = [each.name for each in trusted
                 if each.key is not None and cosign.verify_bundle(content, image, [each.key]) is not None]  # fmt: skip
        yield Signature(
            kind="cosign", artifact=artifact, trusted=names, reason="" if names else "no trusted key made it"
        )


def _notations(
    artifact: Digest, manifest: Manifest, image: Digest, documents: Documents, trusted: Sequence[Trusted], now: datetime
) -> Iterator[Signature]:
    for layer in manifest.layers[:1]:
        if layer.media_type != notation.JWS:
            yield Signature(kind="notation", artifact=artifact, reason="only JWS envelopes are read")
            continue
        content = documents.blob(layer.digest)
        names, signer, reason = [], "", "no certificates are trusted"
        for each in trusted:
            if each.certificates is None:
                continue
            try:
                signer = notation.verify(content, image, each.certificates, now)
                names.append(each.name)
            except NotVerified as error:
                reason = str(error)
        yield Signature(
            kind="notation", artifact=artifact, trusted=names, signer=signer, reason="" if names else reason
        )


def _simple(image: Digest, documents: Documents, trusted: Sequence[Trusted]) -> list[Signature]:
    tagged = documents.tagged(cosign.signature_tag(image))
    manifest = _manifest(tagged[1]) if tagged is not None else None
    if tagged is None or manifest is None:
        return []
    found = []
    for layer in manifest.layers[:MOST_SIGNATURES]:
        signature = (layer.annotations or {}).get(cosign.SIGNATURE, "")
        if layer.media_type != cosign.SIMPLE_SIGNING or not signature:
            continue
        payload = documents.blob(layer.digest)
        names = [each.name for each in trusted
                 if each.key is not None and cosign.verify_simple(payload, signature, image, [each.key]) is not None]  # fmt: skip
        found.append(Signature(kind="cosign", artifact=tagged[0], trusted=names,
                               reason="" if names else "no trusted key made it"))  # fmt: skip
    return found
