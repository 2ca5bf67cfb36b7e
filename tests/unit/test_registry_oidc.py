"""Signing in at a provider, without one: which tokens are taken, whose answers, and who becomes whom."""

import base64
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from onggi.errors import InvalidParameter
from onggi.registry import cli_secrets, options, users
from onggi.registry.main import _parser
from onggi.registry.oidc import attempts, id_token, identities
from onggi.registry.oidc.attempts import AttemptLost, AttemptUsed
from onggi.registry.oidc.fetching import check_url
from onggi.registry.oidc.id_token import TokenRefused
from onggi.registry.settings import Oidc
from tests.registry_database import Memory

ISSUER = "https://login.example.com"
US = Oidc(ISSUER, "registry")
RSA = rsa.generate_private_key(65537, 2048)
P256 = ec.generate_private_key(ec.SECP256R1())
KEYS: dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey] = {"RS256": RSA, "ES256": P256}


def claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {"iss": ISSUER, "sub": "u1", "aud": "registry", "exp": now + 300, "iat": now, "nonce": "n"}
    return {key: value for key, value in (good | more).items() if value is not None}


def made(algorithm: str = "RS256", header: dict[str, Any] | None = None, **more: Any) -> str:
    return jwt.encode(claims(**more), KEYS[algorithm], algorithm, headers=header)


def read(token: str, algorithm: str = "RS256") -> Any:
    """As `provider` does: what the token names first, then its key."""
    id_token.key_name(token)
    return id_token.verify(
        token, KEYS[algorithm].public_key(), issuer=ISSUER, client_id="registry", nonce="n"
    )  # fmt: skip


def part(document: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def signed_by_public_key() -> str:
    """HS256 with the public key's text as the secret. (CVE-2015-9235)"""
    import hmac

    secret = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = part({"alg": "HS256", "typ": "JWT"}) + "." + part(claims())
    return body + "." + base64.urlsafe_b64encode(hmac.digest(secret, body.encode(), "sha256")).rstrip(b"=").decode()


def with_other_signature() -> str:
    return made().rpartition(".")[0] + "." + made(sub="somebody else").rpartition(".")[2]


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_token_of_the_provider_is_taken(algorithm: str) -> None:
    assert read(made(algorithm), algorithm)["sub"] == "u1"
    assert read(made(algorithm, aud=["other", "registry"], azp="registry"), algorithm)["sub"] == "u1"
    assert read(made(algorithm, exp=int(time.time()) - 30), algorithm)["sub"] == "u1", "clocks differ"


HOSTILE: dict[str, tuple[Callable[[], str], str]] = {
    "alg none": (lambda: part({"alg": "none"}) + "." + part(claims()) + ".", "is signed by 'none'"),
    "the public key as a secret": (signed_by_public_key, "is signed by 'HS256'"),
    "another algorithm of the same key": (lambda: jwt.encode(claims(), RSA, "RS512"), "is signed by 'RS512'"),
    "ES256 with an RSA key's name": (lambda: made("ES256"), "malformed"),
    "another key": (lambda: jwt.encode(claims(), rsa.generate_private_key(65537, 2048), "RS256"), "not the provider's"),
    "another token's signature": (with_other_signature, "not the provider's"),
    "unknown demands": (lambda: made(header={"crit": ["x"], "x": 1}), "crit|can't be read"),
    "another issuer": (lambda: made(iss="https://evil.example.com"), "another issuer"),
    "issuer with a slash more": (lambda: made(iss=ISSUER + "/"), "another issuer"),
    "for another client": (lambda: made(aud="other"), "for another client"),
    "for several, asked by nobody": (lambda: made(aud=["other", "registry"]), "several clients"),
    "asked by another": (lambda: made(azp="other"), "another client asked"),
    "expired": (lambda: made(exp=int(time.time()) - 120), "has expired"),
    "without an end": (lambda: made(exp=None), "lacks exp"),
    "of tomorrow": (lambda: made(iat=int(time.time()) + 86400), "later time"),
    "not yet good": (lambda: made(nbf=int(time.time()) + 86400), "later time"),
    "another log-in": (lambda: made(nonce="m"), "another log-in"),
    "no log-in": (lambda: made(nonce=None), "another log-in"),
    "a log-in that is no text": (lambda: made(nonce=["n"]), "another log-in"),
    "of nobody": (lambda: made(sub=""), "subject is malformed"),
    "without a subject": (lambda: made(sub=None), "lacks sub"),
    "a subject of 10,000 letters": (lambda: made(sub="x" * 10_000), "subject is malformed"),
    "a subject with a line break": (lambda: made(sub="u1\nu2"), "subject is malformed"),
    "too long": (lambda: made(x="x" * 70_000), "too long"),
    "no token": (lambda: "hello", "can't be read"),
    "nothing": (lambda: "", "can't be read"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_token_that_is_not_right_is_refused(case: str) -> None:
    make, why = HOSTILE[case]
    with pytest.raises(TokenRefused, match=why):
        read(make())


def test_weak_and_foreign_keys_verify_nothing() -> None:
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505  # what is refused
    assert id_token.algorithm_of(weak.public_key()) is None
    assert id_token.algorithm_of(ec.generate_private_key(ec.SECP384R1()).public_key()) is None
    assert id_token.algorithm_of(b"secret") is None


def test_an_answer_belongs_to_the_browser_that_asked_and_is_taken_once() -> None:
    memory = Memory()
    key = memory.write(attempts.key)
    assert memory.write(attempts.key) == key, "all nodes have one"
    attempt, cookie = attempts.begin(key)
    assert attempts.resume(key, cookie, attempt.state) == attempt
    assert len(attempt.verifier) == len(attempt.challenge) == 43
    assert len({attempt.state, attempt.nonce, attempt.verifier}) == 3
    assert not any(secret in cookie for secret in (attempt.state, attempt.nonce, attempt.verifier))

    other, other_cookie = attempts.begin(key)
    for shown, state in (
        (other_cookie, attempt.state), (cookie, other.state), ("", attempt.state), (cookie, ""), (cookie, "é"),
        (cookie.replace(".", ".9", 1), attempt.state), (cookie[:-1], attempt.state), ("a.b.c", attempt.state), ("\udcff", "x"),
    ):  # fmt: skip
        with pytest.raises(AttemptLost):
            attempts.resume(key, shown, state)
    with pytest.raises(AttemptLost):
        attempts.resume(b"k" * 32, cookie, attempt.state)

    memory.write(lambda connection: attempts.use(connection, attempt))
    with pytest.raises(AttemptUsed):
        memory.write(lambda connection: attempts.use(connection, attempt))
    memory.write(lambda connection: attempts.use(connection, other))


def test_an_answer_comes_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt, cookie = attempts.begin(b"k" * 32)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + attempts.LIFETIME_S + 2)
    with pytest.raises(AttemptLost):
        attempts.resume(b"k" * 32, cookie, attempt.state)


def enter(memory: Memory, settings: Oidc = US, **told: Any) -> Any:
    found = identities.person(settings, {"sub": "u1", **told})
    return memory.write(lambda connection: identities.sign_in(connection, settings, found, "192.0.2.1"))


def test_a_person_is_issuer_and_subject_whatever_the_name() -> None:
    memory = Memory()
    memory.write(lambda connection: users.create(connection, "alice", "hash", admin=True, email="alice@example.com"))
    first = enter(memory, preferred_username="alice", email="alice@example.com", email_verified=True)
    assert first["name"] == "alice-2", "a name and an address link nobody"
    assert not first["admin"]
    assert first["password_hash"] == ""
    again = enter(memory, preferred_username="alison", email="other@example.com")
    assert (again["id"], again["name"]) == (first["id"], "alice-2")
    assert again["signed_in_at"]
    other = enter(memory, Oidc("https://other.example.com", "registry"), preferred_username="alice")
    assert other["name"] == "alice-3", "the same subject of another issuer is somebody else"


@pytest.mark.parametrize(
    ("wanted", "name"),
    [("Alice.Smith@example.com", "alice-smith"), ("<script>", "script"), ("..", ""), ("김", ""), ("a--b", "a-b"),
     ("admin+x", "admin-x"), ("x" * 200, "x" * 56), ("", "")],
)  # fmt: skip
def test_a_name_is_made_out_of_what_is_wanted(wanted: str, name: str) -> None:
    assert identities.user_name(wanted) == name
    if name:
        assert users.user_name(f"{name}-99") == f"{name}-99"


def test_names_of_people_without_one() -> None:
    memory = Memory()
    assert enter(memory, preferred_username="김", email="kim@example.com")["name"] == "kim"
    assert enter(memory, sub="김", preferred_username=["x"], email=7)["name"] == "user"


def test_who_is_not_linked_or_disabled_does_not_come_in() -> None:
    memory, closed = Memory(), Oidc(ISSUER, "registry", create_users=False)
    with pytest.raises(identities.NotLinked):
        enter(memory, closed)
    user_id = memory.write(lambda connection: users.create(connection, "bob", "hash"))
    memory.write(lambda connection: identities.link(connection, user_id, ISSUER, "u1"))
    memory.write(lambda connection: identities.link(connection, user_id, ISSUER, "u1"))
    assert enter(memory, closed)["name"] == "bob"
    other_id = memory.write(lambda connection: users.create(connection, "eve", "hash"))
    with pytest.raises(identities.IdentityTaken):
        memory.write(lambda connection: identities.link(connection, other_id, ISSUER, "u1"))
    memory.write(lambda connection: users.change(connection, user_id, disabled=True))
    with pytest.raises(identities.AccountDisabled):
        enter(memory, closed)
    memory.write(lambda connection: identities.unlink(connection, user_id, ISSUER, "u1"))
    with pytest.raises(identities.IdentityUnknown):
        memory.write(lambda connection: identities.unlink(connection, user_id, ISSUER, "u1"))


def test_groups_let_in_and_make_administrators() -> None:
    memory = Memory()
    settings = Oidc(ISSUER, "registry", required_groups=("staff", "guests"), admin_group="ops", groups_claim="roles")
    for groups in (None, [], ["ops"], "other", {"staff": 1}, [["staff"]]):
        with pytest.raises(identities.NotInGroup):
            enter(memory, settings, roles=groups)
    assert not enter(memory, settings, roles="staff")["admin"]
    assert enter(memory, settings, roles=["staff", "ops", 7])["admin"]
    assert enter(memory, settings, roles=["staff"])["admin"], "the last administrator stays"
    memory.write(lambda connection: users.create(connection, "root", "hash", admin=True))
    assert not enter(memory, settings, roles=["staff"])["admin"]


def test_a_cli_secret_is_its_persons_until_it_ends() -> None:
    memory = Memory()
    alice = memory.write(lambda connection: users.create(connection, "alice", ""))
    bob = memory.write(lambda connection: users.create(connection, "bob", ""))
    row, secret = memory.write(lambda connection: cli_secrets.create(connection, alice, "laptop"))
    assert secret.startswith(cli_secrets.PREFIX)
    assert secret not in json.dumps({key: row[key] for key in row.keys()})  # noqa: SIM118  # a row is no mapping

    def fits(user: int, text: str) -> bool:
        return memory.write(lambda connection: cli_secrets.by_secret(connection, user, text)) is not None

    assert fits(alice, secret)
    assert not fits(bob, secret)
    assert not fits(alice, secret[:-1])
    assert not fits(alice, row["secret_hash"])
    with pytest.raises(cli_secrets.SecretUnknown):
        memory.write(lambda connection: cli_secrets.delete(connection, bob, row["id"]))
    assert fits(alice, secret)
    memory.write(lambda connection: connection.execute("UPDATE cli_secrets SET expires_at = created_at"))
    assert not fits(alice, secret)
    assert memory.write(lambda connection: cli_secrets.of_user(connection, alice)) == []
    for number in range(cli_secrets.MOST):
        memory.write(partial(cli_secrets.create, user_id=alice, name=f"machine {number}"))
    with pytest.raises(cli_secrets.TooManySecrets):
        memory.write(lambda connection: cli_secrets.create(connection, alice, "one more"))
    for name in ("", "x" * 101, "a\nb"):
        with pytest.raises(InvalidParameter):
            memory.write(partial(cli_secrets.create, user_id=bob, name=name))


@pytest.mark.parametrize(
    "url",
    ["http://login.example.com", "ftp://login.example.com", "https://u:p@login.example.com", "https://", "https://h/#x",
     "https://h:99999", "https://h/a b", "https://h/\n", "http://127.0.0.1.example.com", "javascript:alert(1)", "https://é"],
)  # fmt: skip
def test_the_provider_is_reached_by_https_alone(url: str) -> None:
    with pytest.raises(InvalidParameter):
        check_url(url, loopback=True)
    with pytest.raises(InvalidParameter):
        check_url("http://127.0.0.1:8080", loopback=False)


def settings_of(*words: str) -> Any:
    return options.settings_of(_parser().parse_args(["serve", *words])).oidc


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    named = ["--oidc-issuer", ISSUER, "--oidc-client-id", "registry"]
    whole = [*named, "--url", "https://registry.example.com"]
    assert settings_of() is None
    found = settings_of(
        *whole, "--oidc-client-secret-file", str(secret), "--oidc-no-create", "--oidc-require-group", "staff"
    )
    assert (found.client_secret, found.create_users, found.required_groups) == ("s3cret", False, ("staff",))
    assert "s3cret" not in repr(found)
    assert settings_of(*whole) == US
    for words, why in (
        (["--oidc-no-create"], "--oidc-no-create needs --oidc-issuer"),
        (["--oidc-admin-group", "x"], "--oidc-admin-group needs --oidc-issuer"),
        (named, "needs --url"),
        (["--oidc-issuer", ISSUER, "--url", "https://r"], "needs --oidc-client-id"),
        ([*whole, "--oidc-scope", "profile"], "must hold openid"),
        ([*whole, "--oidc-issuer", ISSUER + "?x=1"], "has no query"),
        ([*whole, "--oidc-issuer", "http://login.example.com"], "must be reached by https://"),
    ):
        with pytest.raises(InvalidParameter, match=why):
            settings_of(*words)
    secret.chmod(0o644)
    with pytest.raises(InvalidParameter, match="others may read it"):
        settings_of(*whole, "--oidc-client-secret-file", str(secret))
