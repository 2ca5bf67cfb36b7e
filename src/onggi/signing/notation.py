"""Signatures of Notation: a JWS envelope with a chain of certificates, referring to the image.

(notaryproject specifications: signature-specification, signature-envelope-jws. COSE envelopes are not read.)
"""

import base64
import binascii
from datetime import datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from onggi.oci.digest import Digest
from onggi.signing.keys import InvalidKey, TrustStore

SIGNATURE = "application/vnd.cncf.notary.signature"
JWS = "application/jose+json"
COSE = "application/cose"
_CONTENT = "application/vnd.cncf.notary.payload.v1+json"
_SCHEME = "io.cncf.notary.signingScheme"
_EXPIRY = "io.cncf.notary.expiry"
_AUTHENTIC_TIME = "io.cncf.notary.authenticSigningTime"
_X509 = "notary.x509"
_AUTHORITY = "notary.x509.signingAuthority"
_KNOWN = {_SCHEME, _EXPIRY, _AUTHENTIC_TIME}
"""Members that may be critical and are understood here; another critical one ends the verification, as it must."""
MOST_BYTES = 1 << 20


class NotVerified(Exception):
    """Why a signature does not count, in a sentence."""


class _Header(msgspec.Struct):
    x5c: list[str] = []


class _Envelope(msgspec.Struct):
    payload: str
    protected: str
    signature: str
    header: _Header


class _Protected(msgspec.Struct):
    alg: str
    cty: str
    crit: list[str] = []
    scheme: str = msgspec.field(default="", name=_SCHEME)
    signing_time: datetime | None = msgspec.field(default=None, name="io.cncf.notary.signingTime")
    authentic_time: datetime | None = msgspec.field(default=None, name=_AUTHENTIC_TIME)
    expiry: datetime | None = msgspec.field(default=None, name=_EXPIRY)


class _Target(msgspec.Struct):
    digest: str


class _Payload(msgspec.Struct, rename="camel"):
    target_artifact: _Target


_envelope = msgspec.json.Decoder(_Envelope)
_protected = msgspec.json.Decoder(_Protected)
_payload = msgspec.json.Decoder(_Payload)


def _url64(text: str) -> bytes:
    """base64url without padding. (RFC 7515) Raises NotVerified."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotVerified("the signature's envelope is malformed") from error


def verify(content: bytes, image: Digest, store: TrustStore, now: datetime) -> str:
    """The name of who signed `image` by this envelope. Raises NotVerified."""
    try:
        envelope = _envelope.decode(content[:MOST_BYTES])
        protected = _protected.decode(_url64(envelope.protected))
        chain = [base64.b64decode(text, validate=True) for text in envelope.header.x5c]
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise NotVerified("the signature's envelope is malformed") from error
    if protected.cty != _CONTENT or protected.scheme not in (_X509, _AUTHORITY) or _SCHEME not in protected.crit:
        raise NotVerified("the signature is of an unknown kind")
    unknown = set(protected.crit) - _KNOWN
    if unknown:
        raise NotVerified(f"the signature asks for {sorted(unknown)[0][:80]!a}, which is not understood here")
    if protected.expiry is not None and (protected.expiry.tzinfo is None or now >= protected.expiry):
        raise NotVerified("the signature has expired")
    # The signer's own word on when it signed proves nothing: the chain must be good now. (signing scheme notary.x509)
    try:
        key, signer = store.signer(chain, now)
    except InvalidKey as error:
        raise NotVerified(str(error)) from error
    if not key.jws_algorithm or protected.alg != key.jws_algorithm:
        raise NotVerified(f"the signature's algorithm {protected.alg[:20]!a} is not the one of its key")
    signature = _url64(envelope.signature)
    if protected.alg.startswith("ES"):
        half = len(signature) // 2
        signature = encode_dss_signature(
            int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
        )
    signed = f"{envelope.protected}.{envelope.payload}".encode()
    if not key.verifies(signature, signed, pss=True):
        raise NotVerified("the signature is not over these bytes")
    try:
        target = _payload.decode(_url64(envelope.payload)).target_artifact
    except (msgspec.MsgspecError, RecursionError) as error:
        raise NotVerified("the signature's payload is malformed") from error
    if target.digest != image:
        raise NotVerified("the signature is of another image")
    return signer
