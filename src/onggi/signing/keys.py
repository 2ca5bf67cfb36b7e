"""Keys and certificates that signatures are verified with, and made with. PEM in, one question out: did it sign this?"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from onggi.errors import InvalidParameter

LEAST_RSA_BITS = 2048
MOST_PEM_BYTES = 64 * 1024
MOST_CHAIN = 8
_CURVE_HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512(),
}  # fmt: skip


class InvalidKey(InvalidParameter):
    """Text that is no key or certificate, or of a kind that is not taken."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An ECDSA (P-256, P-384, P-521), RSA (from 2048 bits on) or Ed25519 key."""

    _key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

    @classmethod
    def load(cls, pem: bytes) -> "PublicKey":
        """Raises InvalidKey."""
        if len(pem) > MOST_PEM_BYTES:
            raise InvalidKey("a key is longer than keys are")
        try:
            key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InvalidKey("this is no public key in PEM form (-----BEGIN PUBLIC KEY-----)") from error
        return cls.of(key)

    @classmethod
    def of(cls, key: object) -> "PublicKey":
        """Raises InvalidKey for a kind that is not taken."""
        if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVE_HASHES:
            return cls(key)
        if isinstance(key, rsa.RSAPublicKey) and key.key_size >= LEAST_RSA_BITS:
            return cls(key)
        if isinstance(key, ed25519.Ed25519PublicKey):
            return cls(key)
        raise InvalidKey("the key must be ECDSA on P-256, P-384 or P-521, Ed25519, or RSA of at least 2048 bits")

    def verifies(self, signature: bytes, data: bytes, *, pss: bool = False) -> bool:
        """True when this key made `signature` over `data`. ECDSA in ASN.1; RSA by PKCS#1 v1.5, or PSS (RFC 8017)."""
        try:
            if isinstance(self._key, ec.EllipticCurvePublicKey):
                self._key.verify(signature, data, ec.ECDSA(_CURVE_HASHES[self._key.curve.name]))
            elif isinstance(self._key, rsa.RSAPublicKey):
                chosen = _rsa_hash(self._key.key_size) if pss else hashes.SHA256()
                self._key.verify(signature, data, _pss(chosen) if pss else padding.PKCS1v15(), chosen)
            else:
                self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    @property
    def jws_algorithm(self) -> str:
        """The one algorithm of RFC 7518 that Notation allows for such a key; "" for none. (notation signature-spec)"""
        if isinstance(self._key, ec.EllipticCurvePublicKey):
            return {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}[self._key.curve.name]
        if isinstance(self._key, rsa.RSAPublicKey):
            return f"PS{_rsa_hash(self._key.key_size).digest_size * 8}"
        return ""

    def fingerprint(self) -> str:
        """SHA-256 of the key's DER form, in hex."""
        der = self._key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        digest = hashes.Hash(hashes.SHA256())
        digest.update(der)
        return digest.finalize().hex()


def _rsa_hash(bits: int) -> hashes.HashAlgorithm:
    return hashes.SHA256() if bits < 3072 else hashes.SHA384() if bits < 4096 else hashes.SHA512()


def _pss(chosen: hashes.HashAlgorithm) -> padding.PSS:
    return padding.PSS(padding.MGF1(chosen), salt_length=chosen.digest_size)


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key to sign with: ECDSA, as cosign makes them."""

    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, pem: bytes, password: bytes | None = None) -> "PrivateKey":
        """PKCS #8, encrypted or not; for cosign's own form see `key_file`. Raises InvalidKey."""
        try:
            key = serialization.load_pem_private_key(pem, password)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidKey(f"this is no private key in PKCS #8 form, or the password is wrong: {error}") from error
        return cls._of(key)

    @classmethod
    def load_der(cls, der: bytes) -> "PrivateKey":
        """PKCS #8 without PEM. Raises InvalidKey."""
        try:
            return cls._of(serialization.load_der_private_key(der, None))
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidKey(f"this is no private key in PKCS #8 form: {error}") from error

    @classmethod
    def _of(cls, key: object) -> "PrivateKey":
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVE_HASHES:
            raise InvalidKey("images are signed with ECDSA keys on P-256, P-384 or P-521")
        return cls(key)

    def der(self) -> bytes:
        """PKCS #8, not encrypted."""
        return self._key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @classmethod
    def generate(cls) -> "PrivateKey":
        return cls(ec.generate_private_key(ec.SECP256R1()))

    def pem(self, password: bytes | None = None) -> bytes:
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            encryption = serialization.BestAvailableEncryption(password)
        return self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)

    @property
    def public_pem(self) -> bytes:
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def public(self) -> PublicKey:
        return PublicKey(self._key.public_key())

    def sign(self, data: bytes) -> bytes:
        """ECDSA in ASN.1, with the hash of the curve."""
        return self._key.sign(data, ec.ECDSA(_CURVE_HASHES[self._key.curve.name]))


@dataclass(frozen=True, slots=True)
class TrustStore:
    """Certificates that a chain must end in."""

    roots: tuple[x509.Certificate, ...]

    @classmethod
    def load(cls, pem: bytes) -> "TrustStore":
        """One certificate or more. Raises InvalidKey."""
        try:
            roots = tuple(x509.load_pem_x509_certificates(pem[:MOST_PEM_BYTES]))
        except ValueError as error:
            raise InvalidKey("this is no certificate in PEM form (-----BEGIN CERTIFICATE-----)") from error
        return cls(roots)

    def signer(self, chain: Sequence[bytes], at: datetime) -> tuple[PublicKey, str]:
        """The key that a chain (DER, the signer's first) vouches for at that moment, and the signer's name.

        Raises InvalidKey with what is wrong with it. (notation signature-spec, "Certificate Requirements")
        """
        if not 1 <= len(chain) <= MOST_CHAIN:
            raise InvalidKey("the signature's chain of certificates is empty or too long")
        try:
            return self._signer([x509.load_der_x509_certificate(der) for der in chain], at)
        except (ValueError, x509.DuplicateExtension, x509.InvalidVersion, UnsupportedAlgorithm) as error:
            # Members of a certificate are parsed when they are looked at.
            raise InvalidKey("the signature's chain of certificates is damaged") from error

    def _signer(self, certificates: Sequence[x509.Certificate], at: datetime) -> tuple[PublicKey, str]:
        leaf = certificates[0]
        if certificates[-1] not in self.roots:
            raise InvalidKey(f"the signer {_name(leaf)} is not vouched for by a certificate that is trusted")
        for certificate in certificates:
            if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
                raise InvalidKey(f"the certificate of {_name(certificate)} was not valid when it signed")
        for issued, issuer in zip(certificates, [*certificates[1:], certificates[-1]], strict=True):
            try:
                issued.verify_directly_issued_by(issuer)
            except (InvalidSignature, ValueError, TypeError) as error:
                raise InvalidKey(f"the certificate of {_name(issued)} was not issued by {_name(issuer)}") from error
        for issuer in certificates[1:]:
            if not _is_authority(issuer):
                raise InvalidKey(f"{_name(issuer)} may not issue certificates")
        _check_leaf(leaf, alone=len(certificates) == 1)
        return PublicKey.of(leaf.public_key()), _name(leaf)


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()[:200]


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except (x509.ExtensionNotFound, ValueError):
        return False


def _check_leaf(leaf: x509.Certificate, *, alone: bool) -> None:
    """It is for signing code, and for nothing that would let another purpose's key sign images."""
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        raise InvalidKey(f"the certificate of {_name(leaf)} does not say what its key is for") from error
    if not usage.digital_signature or (usage.key_cert_sign and not alone):
        raise InvalidKey(f"the key of {_name(leaf)} is not for signatures")
    try:
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
        raise InvalidKey(f"the key of {_name(leaf)} is not for signing code")
