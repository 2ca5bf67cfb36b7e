"""Signatures made and verified, and everything that must not pass for one."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from onggi.oci.digest import Digest
from onggi.signing import cosign, notation
from onggi.signing.keys import InvalidKey, PrivateKey, PublicKey, TrustStore
from onggi.signing.notation import NotVerified

IMAGE = Digest.of(b"an image")
OTHER = Digest.of(b"another image")
NOW = datetime(2026, 6, 1, tzinfo=UTC)
KEY = PrivateKey.generate()


def test_bundles() -> None:
    bundle = cosign.make_bundle(IMAGE, KEY)
    stranger = PrivateKey.generate().public
    assert cosign.verify_bundle(bundle, IMAGE, [stranger, KEY.public]) == KEY.public
    assert cosign.verify_bundle(bundle, IMAGE, [stranger]) is None
    assert cosign.verify_bundle(bundle, OTHER, [KEY.public]) is None


def _changed_bundle(change: Callable[[dict[str, Any], dict[str, Any]], None], *, sign: bool) -> bytes:
    bundle = json.loads(cosign.make_bundle(IMAGE, KEY))
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    change(bundle, statement)
    payload = json.dumps(statement).encode()
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    if sign:
        kind = bundle["dsseEnvelope"]["payloadType"].encode()
        signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
        bundle["dsseEnvelope"]["signatures"] = [{"sig": base64.b64encode(KEY.sign(signed)).decode()}]
    return json.dumps(bundle).encode()


def test_a_statement_of_another_kind_is_no_signature_of_the_image() -> None:
    """An attestation by the same key (say: "this image has failed") names the image, too."""
    changes: list[Callable[[dict[str, Any], dict[str, Any]], Any]] = [
        lambda _, statement: statement.update(predicateType="https://slsa.dev/provenance/v1"),
        lambda _, statement: statement.update(subject=[]),
        lambda _, statement: statement.update(_type="https://in-toto.io/Statement/v9"),
        lambda _, statement: statement["subject"][0].update(digest={"sha512": IMAGE.hex}),
        lambda bundle, _: bundle["dsseEnvelope"].update(payloadType="text/plain"),
    ]
    for change in changes:
        assert cosign.verify_bundle(_changed_bundle(change, sign=True), IMAGE, [KEY.public]) is None
    assert cosign.verify_bundle(_changed_bundle(lambda *_: None, sign=True), IMAGE, [KEY.public]) == KEY.public
    moved = _changed_bundle(
        lambda _, statement: statement["subject"][0].update(digest={"sha256": OTHER.hex}), sign=False
    )
    assert cosign.verify_bundle(moved, OTHER, [KEY.public]) is None


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[" * 100_000, b"\xff", b'{"dsseEnvelope": {"payload": 1}}',
                b'{"dsseEnvelope": {"payload": "!", "payloadType": "application/vnd.in-toto+json", "signatures": []}}'],
)  # fmt: skip
def test_malformed_bundles_are_no_signature(content: bytes) -> None:
    assert cosign.verify_bundle(content, IMAGE, [KEY.public]) is None
    assert cosign.verify_simple(content, "AAAA", IMAGE, [KEY.public]) is None
    with pytest.raises(NotVerified):
        notation.verify(content, IMAGE, TrustStore(()), NOW)


def test_simple_signing() -> None:
    payload, signature = cosign.make_simple(IMAGE, "registry.example/team/app", KEY)
    assert cosign.verify_simple(payload, signature, IMAGE, [KEY.public]) == (KEY.public, "registry.example/team/app")
    assert cosign.verify_simple(payload, signature, OTHER, [KEY.public]) is None
    assert cosign.verify_simple(payload + b" ", signature, IMAGE, [KEY.public]) is None
    assert cosign.verify_simple(payload, "%%%", IMAGE, [KEY.public]) is None
    wrong = payload.replace(b"cosign container image signature", b"something else entirely         ")
    assert cosign.verify_simple(wrong, base64.b64encode(KEY.sign(wrong)).decode(), IMAGE, [KEY.public]) is None


def test_keys_of_every_kind_and_none_that_is_weak() -> None:
    for private in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048),
                    ed25519.Ed25519PrivateKey.generate()):  # fmt: skip
        pem = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        assert len(PublicKey.load(pem).fingerprint()) == 64
    weak = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505
    other = ec.generate_private_key(ec.SECP256K1()).public_key()
    for key in (weak, other):
        pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        with pytest.raises(InvalidKey, match="the key must be"):
            PublicKey.load(pem)
    for text in (b"", b"nonsense", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"x" * 100_000):
        with pytest.raises(InvalidKey):
            PublicKey.load(text)


def test_private_keys_are_kept_by_a_password() -> None:
    pem = KEY.pem(b"secret")
    assert PrivateKey.load(pem, b"secret").public_pem == KEY.public_pem
    for password in (None, b"wrong"):
        with pytest.raises(InvalidKey):
            PrivateKey.load(pem, password)


# Notation


class Authority:
    """A root and what it issues."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self.issue("root", self.key.public_key(), authority=True, issuer="root")

    def issue(self, name: str, key: Any, *, authority: bool = False, issuer: str = "root", days: int = 100,
              purpose: Any = ExtendedKeyUsageOID.CODE_SIGNING) -> x509.Certificate:  # fmt: skip
        def subject(common: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])

        builder = (
            x509.CertificateBuilder().subject_name(subject(name)).issuer_name(subject(issuer)).public_key(key)
            .serial_number(x509.random_serial_number()).not_valid_before(NOW - timedelta(days=10))
            .not_valid_after(NOW + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=authority, crl_sign=authority,
                           content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
                           encipher_only=False, decipher_only=False), critical=True)
        )  # fmt: skip
        if not authority and purpose is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    @property
    def store(self) -> TrustStore:
        return TrustStore.load(self.certificate.public_bytes(serialization.Encoding.PEM))


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _envelope(key: Any, chain: list[x509.Certificate], image: Digest = IMAGE, **protected: Any) -> dict[str, Any]:
    header = {"alg": "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "PS256",
              "cty": "application/vnd.cncf.notary.payload.v1+json", "crit": ["io.cncf.notary.signingScheme"],
              "io.cncf.notary.signingScheme": "notary.x509", "io.cncf.notary.signingTime": "2026-05-01T00:00:00Z",
              **protected}  # fmt: skip
    payload = _b64(json.dumps({"targetArtifact": {"digest": image, "mediaType": "m", "size": 1}}).encode())
    head = _b64(json.dumps(header).encode())
    signed = f"{head}.{payload}".encode()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    else:
        signature = key.sign(signed, padding.PSS(padding.MGF1(hashes.SHA256()), salt_length=32), hashes.SHA256())
    encoded = [base64.b64encode(each.public_bytes(serialization.Encoding.DER)).decode() for each in chain]
    return {"payload": payload, "protected": head, "signature": _b64(signature), "header": {"x5c": encoded}}


def _verify(envelope: dict[str, Any], store: TrustStore, image: Digest = IMAGE, at: datetime = NOW) -> str:
    return notation.verify(json.dumps(envelope).encode(), image, store, at)


def test_notation() -> None:
    authority = Authority()
    for key in (ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)):
        chain = [authority.issue("release", key.public_key()), authority.certificate]
        assert _verify(_envelope(key, chain), authority.store) == "CN=release"
        with pytest.raises(NotVerified, match="another image"):
            _verify(_envelope(key, chain), authority.store, OTHER)
        with pytest.raises(NotVerified, match="not vouched for"):
            _verify(_envelope(key, chain), Authority().store)
        with pytest.raises(NotVerified, match="was not valid"):
            _verify(_envelope(key, chain), authority.store, at=NOW + timedelta(days=200))


def test_notation_refuses() -> None:
    authority, key = Authority(), ec.generate_private_key(ec.SECP256R1())
    leaf = authority.issue("release", key.public_key())
    chain = [leaf, authority.certificate]
    other = _envelope(ec.generate_private_key(ec.SECP256R1()), chain)
    middle_key = ec.generate_private_key(ec.SECP256R1())
    middle = authority.issue("middle", middle_key.public_key())  # no authority, and issues all the same
    below = Authority()
    below.key, below.certificate = middle_key, middle
    issued = below.issue("below", key.public_key(), issuer="middle")
    for_tls = authority.issue("tls", key.public_key(), purpose=ExtendedKeyUsageOID.SERVER_AUTH)
    cases: list[tuple[str, dict[str, Any]]] = [
        ("not over these bytes", other),
        ("of an unknown kind", _envelope(key, chain, IMAGE, **{"io.cncf.notary.signingScheme": "made.up"})),
        ("of an unknown kind", _envelope(key, chain, cty="text/plain")),
        ("not understood here", _envelope(key, chain, crit=["io.cncf.notary.signingScheme", "io.example.plugin"])),
        ("has expired", _envelope(key, chain, IMAGE, **{"io.cncf.notary.expiry": "2026-05-31T00:00:00Z"})),
        ("is not the one of its key", _envelope(key, chain, alg="HS256")),
        ("is not the one of its key", _envelope(key, chain, alg="none")),
        ("empty or too long", _envelope(key, [])),
        ("empty or too long", _envelope(key, [leaf] * 9)),
        ("not for signing code", _envelope(key, [for_tls, authority.certificate])),
        ("may not issue certificates", _envelope(key, [issued, middle, authority.certificate])),
        ("was not issued by", _envelope(key, [Authority().issue("release", key.public_key()), authority.certificate])),
    ]  # fmt: skip
    for reason, envelope in cases:
        with pytest.raises(NotVerified, match=reason):
            _verify(envelope, authority.store)
    tampered = _envelope(key, chain)
    tampered["payload"] = _b64(json.dumps({"targetArtifact": {"digest": OTHER}}).encode())
    with pytest.raises(NotVerified, match="not over these bytes"):
        _verify(tampered, authority.store, OTHER)
