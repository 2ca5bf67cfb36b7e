"""An ID token: is it the provider's, for us, of this log-in, of now? (OpenID Connect Core 1.0, section 3.1.3.7)

Two algorithms are taken, and a key fits one of them only, so what a token says of its algorithm chooses nothing.
"""

import hmac
import time
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from onggi.errors import Unauthorized

LEEWAY_S = 60
LIMIT_CHARACTERS = 64 * 1024
LEAST_RSA_BITS = 2048
Key = RSAPublicKey | EllipticCurvePublicKey


class TokenRefused(Unauthorized):
    def __init__(self, why: str) -> None:
        super().__init__(f"the provider's token is not taken: {why}")


def algorithm_of(key: object) -> str | None:
    """The one algorithm that `key` may verify; None for a key that is not taken."""
    if isinstance(key, RSAPublicKey):
        return "RS256" if key.key_size >= LEAST_RSA_BITS else None
    if isinstance(key, EllipticCurvePublicKey):
        return "ES256" if isinstance(key.curve, SECP256R1) else None
    return None


def key_name(token: str) -> tuple[str, str]:
    """The algorithm and the key (`kid`, "" for none) that a token names, not verified. Raises TokenRefused."""
    if len(token) > LIMIT_CHARACTERS:
        raise TokenRefused("it is too long")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise TokenRefused("it can't be read") from error
    algorithm, name = header.get("alg"), header.get("kid", "")
    if algorithm not in ("RS256", "ES256"):
        raise TokenRefused(f"it is signed by {str(algorithm)[:20]!a}; RS256 and ES256 are taken")
    if "crit" in header:
        raise TokenRefused("its header demands what is not known here (crit)")
    return str(algorithm), name if isinstance(name, str) else ""


def verify(token: str, key: Key, *, issuer: str, client_id: str, nonce: str) -> Mapping[str, Any]:
    """The claims. Raises TokenRefused."""
    algorithm = algorithm_of(key)
    if algorithm is None:
        raise TokenRefused("its key is too weak or of no kind that is taken")
    try:
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=[algorithm], issuer=issuer, audience=client_id, leeway=LEEWAY_S,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )  # fmt: skip
    except jwt.ExpiredSignatureError as error:
        raise TokenRefused("it has expired; are the clocks right?") from error
    except jwt.ImmatureSignatureError as error:
        raise TokenRefused("it is of a later time; are the clocks right?") from error
    except jwt.InvalidIssuerError as error:
        raise TokenRefused("another issuer made it") from error
    except jwt.InvalidAudienceError as error:
        raise TokenRefused("it is for another client") from error
    except jwt.MissingRequiredClaimError as error:
        raise TokenRefused(f"it lacks {error.claim}") from error
    except jwt.InvalidSignatureError as error:
        raise TokenRefused("its signature is not the provider's") from error
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        raise TokenRefused("it is malformed") from error
    _check_party(claims, client_id)
    _check_login(claims, nonce)
    return claims


def _check_party(claims: Mapping[str, Any], client_id: str) -> None:
    """Raises TokenRefused for a token that was made for several, and first of all for somebody else."""
    audience, party = claims["aud"], claims.get("azp")
    if party is None and isinstance(audience, list) and len(audience) > 1:
        raise TokenRefused("it is for several clients and does not say which one asked (azp)")
    if party is not None and party != client_id:
        raise TokenRefused("another client asked for it")


def _check_login(claims: Mapping[str, Any], nonce: str) -> None:
    """Raises TokenRefused unless it was made for this log-in, of somebody."""
    found, subject = claims.get("nonce"), claims["sub"]
    if not isinstance(found, str) or not hmac.compare_digest(found.encode(errors="replace"), nonce.encode()):
        raise TokenRefused("it belongs to another log-in")
    # At most 255 ASCII characters. (OpenID Connect Core 1.0, section 2)
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or not subject.isprintable():
        raise TokenRefused("its subject is malformed")
    if not isinstance(claims["exp"], int | float) or claims["iat"] > time.time() + LEEWAY_S:
        raise TokenRefused("its times are malformed")
