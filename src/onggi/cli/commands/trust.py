"""`trust`: keys to sign images with, signatures, and whether one is there. The keys stay here; cosign reads and writes the same.

The passphrase is asked for, or comes by ONGGI_TRUST_PASSPHRASE or COSIGN_PASSWORD.
"""

import os
import sys
from base64 import b64encode

from onggi.cli import credentials
from onggi.cli.commands.pull import reference
from onggi.cli.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from onggi.cli.arguments import Arguments
    from onggi.cli.main import Invocation
    from onggi.signing.keys import PrivateKey

_VARIABLES = ("ONGGI_TRUST_PASSPHRASE", "COSIGN_PASSWORD")


def _libraries() -> None:
    """The command line starts without site-packages, which costs time; what signs needs them. Raises Failure."""
    import site
    from importlib.util import find_spec

    site.main()
    missing = [name for name in ("cryptography", "msgspec", "nacl") if find_spec(name) is None]
    if missing:
        raise Failure(f"signing needs libraries that `pip install onggi` brings: {', '.join(missing)}")


def _passphrase(*, new: bool) -> bytes:
    from getpass import getpass

    for name in _VARIABLES:
        if name in os.environ:
            return os.environb[name.encode()]
    if not sys.stdin.isatty():
        raise Failure(f"a passphrase is needed: set {_VARIABLES[0]}, or run this on a terminal")
    text = getpass("Passphrase of the new key: " if new else "Passphrase of the key: ")
    if new and getpass("Once more: ") != text:
        raise Failure("the two are not the same")
    return text.encode()


def _write(path: str, content: bytes, mode: int) -> None:
    """A new file, whole or not at all. Raises Failure for one that is there: a key is never written over."""
    made = f"{path}.{os.getpid()}"
    try:
        file = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(file, "wb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
            os.link(made, path)
        finally:
            os.unlink(made)
    except FileExistsError as error:
        raise _taken(path) from error
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error


def _taken(path: str) -> Failure:
    return Failure(f"{path} is there already: name another key, or another --dir")


def generate(invocation: "Invocation", found: "Arguments") -> int:
    _libraries()
    from onggi.signing import key_file
    from onggi.signing.keys import PrivateKey

    name, folder = found.words[0], found.text("dir") or "."
    if "/" in name or name.startswith((".", "-")):
        raise Failure(f"invalid key name {name}: it becomes the files {name}.key and {name}.pub")
    private, public = (os.path.join(folder, f"{name}.{ending}") for ending in ("key", "pub"))
    for path in (private, public):
        if os.path.lexists(path):
            raise _taken(path)
    key = PrivateKey.generate()
    _write(private, key_file.save(key, _passphrase(new=True)), 0o600)
    _write(public, key.public_pem, 0o644)
    sys.stdout.write(f"Private key: {private}\nPublic key: {public}\n")
    return 0


def _load(path: str) -> "PrivateKey":
    from onggi.errors import OnggiError
    from onggi.signing import key_file

    try:
        with open(path, "rb") as file:
            text = file.read(128 * 1024)
        return key_file.load(text, _passphrase(new=False) if key_file.is_locked(text) else b"")
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error
    except OnggiError as error:
        raise Failure(f"{path}: {error}") from error


def sign(invocation: "Invocation", found: "Arguments") -> int:
    _libraries()
    from onggi.oci.digest import Digest
    from onggi.signing import cosign

    form = found.text("form") or "both"
    if form not in ("bundle", "simple", "both"):
        raise Failure(f"--form is bundle, simple or both, not {form}")
    name = reference(found.words[0]).with_default_tag()
    if not found.text("key"):
        raise Failure("--key is needed: make one by `onggi trust generate NAME`")
    headers = credentials.headers_for(invocation.config, found.words[0])
    query: dict[str, Any] = {"name": name.canonical}
    there = invocation.client.call("GET", "/onggi/manifests", query, headers=headers).json()
    image, key = Digest(there["Descriptor"]["digest"]), _load(found.text("key"))

    def attach(**signature: str) -> None:
        body = {"Image": str(image), **signature}
        answer = invocation.client.call("PUT", "/onggi/signatures", query, body, headers=headers).json()
        sys.stdout.write(f"{answer['Digest']}\n")

    if form != "simple":
        attach(Bundle=b64encode(cosign.make_bundle(image, key)).decode())
    if form != "bundle":
        payload, signature = cosign.make_simple(image, f"{name.registry}/{name.repository}", key)
        attach(Payload=b64encode(payload).decode(), Signature=signature)
    return 0


def verify(invocation: "Invocation", found: "Arguments") -> int:
    """Exit status 1 when none of the keys has signed it."""
    paths = found.texts("key")
    if not paths:
        raise Failure("--key is needed: a public key, or certificates, in PEM form")
    keys = []
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                keys.append({"Name": path, "Pem": file.read(128 * 1024)})
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"{path}: {error}") from error
    name = reference(found.words[0]).with_default_tag()
    headers = credentials.headers_for(invocation.config, found.words[0])
    query: dict[str, Any] = {"name": name.canonical}
    answer = invocation.client.call("POST", "/onggi/signatures", query, {"Keys": keys}, headers=headers).json()
    good = [each for each in answer["Signatures"] if each.get("trusted")]
    for each in good:
        sys.stdout.write(f"{answer['Image']} is signed by {', '.join(each['trusted'])} ({each['kind']})\n")
    if not good:
        others = (
            f"others have signed it ({len(answer['Signatures'])})" if answer["Signatures"] else "nobody has signed it"
        )
        sys.stderr.write(f"{answer['Image']} is not signed by any of these keys: {others}\n")
    return 0 if good else 1
