"""Signatures of cosign, with keys: sigstore bundles that refer to the image, and simple signing under a `.sig` tag.

Bundles: a DSSE envelope over an in-toto statement whose subject is the image (sigstore bundle v0.3; dsse.dev,
"protocol"). Simple signing: a payload with the image's digest, its signature in an annotation of the layer
(cosign, specs/SIGNATURE_SPEC.md; containers-signature, "simple signing"). Keyless signatures need Fulcio and Rekor and are
not verified here.
"""

import base64
import binascii
from collections.abc import Iterable
from typing import Any

import msgspec

from onggi.oci.digest import Digest
from onggi.signing.keys import PrivateKey, PublicKey

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
PREDICATE = "https://sigstore.dev/cosign/sign/v1"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PAYLOAD = "application/vnd.in-toto+json"
_TYPES = ("cosign container image signature", "atomic container signature", PREDICATE)
MOST_BYTES = 1 << 20


class _Signature(msgspec.Struct):
    sig: str


class _Envelope(msgspec.Struct, rename="camel"):
    payload: str
    payload_type: str
    signatures: list[_Signature]


class _Bundle(msgspec.Struct, rename="camel"):
    dsse_envelope: _Envelope


class _Subject(msgspec.Struct):
    digest: dict[str, str]


class _Statement(msgspec.Struct, rename={"type": "_type", "predicate_type": "predicateType"}):
    type: str
    subject: list[_Subject]
    predicate_type: str


class _Image(msgspec.Struct, rename={"digest": "docker-manifest-digest"}):
    digest: str


class _Identity(msgspec.Struct, rename={"reference": "docker-reference"}):
    reference: str = ""


class _Critical(msgspec.Struct):
    identity: _Identity
    image: _Image
    type: str


class _Payload(msgspec.Struct):
    critical: _Critical


_bundle = msgspec.json.Decoder(_Bundle)
_statement = msgspec.json.Decoder(_Statement)
_payload = msgspec.json.Decoder(_Payload)


def signature_tag(digest: Digest) -> str:
    """Where simple signing keeps an image's signatures: `sha256-….sig`."""
    return f"{digest.replace(':', '-')}.sig"


def _decoded(text: str) -> bytes:
    """Standard base64; b"" for what is none."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _pre_authentication(kind: str, payload: bytes) -> bytes:
    """What a DSSE signature is made over: lengths first, so that kind and payload can't run into each other."""
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(payload), payload)


def verify_bundle(content: bytes, image: Digest, keys: Iterable[PublicKey]) -> PublicKey | None:
    """The key of `keys` that signed `image` by this bundle; None where none did, or it says something else."""
    try:
        envelope = _bundle.decode(content[:MOST_BYTES]).dsse_envelope
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    payload = _decoded(envelope.payload)
    if envelope.payload_type != _PAYLOAD or not payload:
        return None
    signed = _pre_authentication(envelope.payload_type, payload)
    for key in keys:
        if any(key.verifies(_decoded(each.sig), signed) for each in envelope.signatures[:8]):
            return key if _names(payload, image) else None
    return None


def _names(payload: bytes, image: Digest) -> bool:
    """The statement, whose signature has been verified, is a signature of `image`."""
    try:
        statement = _statement.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False
    return (
        statement.type == _STATEMENT
        and statement.predicate_type == PREDICATE
        and any(subject.digest.get(image.algorithm) == image.hex for subject in statement.subject)
    )


def verify_simple(
    payload: bytes, signature: str, image: Digest, keys: Iterable[PublicKey]
) -> tuple[PublicKey, str] | None:
    """The key that signed `image` by this payload, and the name that it signed for; None where none did."""
    for key in keys:
        if not key.verifies(_decoded(signature), payload):
            continue
        try:
            critical = _payload.decode(payload[:MOST_BYTES]).critical
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return None
        if critical.type in _TYPES and critical.image.digest == image:
            return key, critical.identity.reference
        return None
    return None


def make_bundle(image: Digest, key: PrivateKey) -> bytes:
    """A bundle as `cosign sign --key` makes it without a transparency log."""
    statement = {
        "_type": _STATEMENT, "subject": [{"digest": {image.algorithm: image.hex}, "annotations": {}}],
        "predicateType": PREDICATE, "predicate": {},
    }  # fmt: skip
    payload = msgspec.json.encode(statement)
    signature = key.sign(_pre_authentication(_PAYLOAD, payload))
    hint = base64.b64encode(bytes.fromhex(key.public.fingerprint())).decode()
    document: dict[str, Any] = {
        "mediaType": BUNDLE, "verificationMaterial": {"publicKey": {"hint": hint}},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(), "payloadType": _PAYLOAD,
            "signatures": [{"sig": base64.b64encode(signature).decode()}],
        },
    }  # fmt: skip
    return msgspec.json.encode(document)


def make_simple(image: Digest, reference: str, key: PrivateKey) -> tuple[bytes, str]:
    """Payload and signature of simple signing. `reference`: the repository's full name, without tag."""
    payload = msgspec.json.encode({
        "critical": {"identity": {"docker-reference": reference}, "image": {"docker-manifest-digest": str(image)},
                     "type": _TYPES[0]},
        "optional": None,
    })  # fmt: skip
    return payload, base64.b64encode(key.sign(payload)).decode()
