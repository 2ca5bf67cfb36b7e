"""The options of `serve` for OpenID Connect → `settings.Oidc`."""

import argparse
import ipaddress
from pathlib import Path

from onggi.errors import InvalidParameter
from onggi.registry import secret_file
from onggi.registry.oidc.fetching import check_url
from onggi.registry.settings import Oidc


def add(parser: argparse.ArgumentParser) -> None:
    """All begin as None, so that one without a provider is noticed."""
    group = parser.add_argument_group("signing in at an OpenID Connect provider (needs --url)")
    group.add_argument("--oidc-issuer", metavar="URL", help="the provider, as its tokens call it")
    group.add_argument("--oidc-client-id", metavar="ID", help="what this registry is called there")
    group.add_argument("--oidc-client-secret-file", type=Path, metavar="FILE",
                       help="its secret there, in a file readable by its owner only; none for a public client")  # fmt: skip
    group.add_argument("--oidc-scope", metavar="TEXT", help='default "openid profile email"')
    group.add_argument("--oidc-name-claim", metavar="CLAIM",
                       help="what new users are called after (default preferred_username)")  # fmt: skip
    group.add_argument("--oidc-groups-claim", metavar="CLAIM", help="which groups they are in (default groups)")
    group.add_argument("--oidc-require-group", action="append", metavar="GROUP",
                       help="who is in none of these may not sign in (several times)")  # fmt: skip
    group.add_argument("--oidc-admin-group", metavar="GROUP",
                       help="who is in it administers the registry, and who is not does not")  # fmt: skip
    group.add_argument("--oidc-no-create", action="store_const", const=True,
                       help="the first sign-in makes no user: an administrator links them")  # fmt: skip
    group.add_argument("--oidc-ca-file", type=Path, metavar="FILE",
                       help="certificates (PEM) by which the provider is known, instead of the machine's")  # fmt: skip
    group.add_argument("--oidc-network", type=ipaddress.ip_network, action="append", metavar="NETWORK",
                       help="a network where the provider's hosts other than the issuer's may be (several times)")  # fmt: skip


def settings_of(given: argparse.Namespace) -> Oidc | None:
    """None where no provider is named. Raises InvalidParameter, OSError."""
    if given.oidc_issuer is None:
        for name, value in vars(given).items():
            if name.startswith("oidc_") and value is not None:
                raise InvalidParameter(f"--{name.replace('_', '-')} needs --oidc-issuer: it names the provider")
        return None
    if not given.oidc_client_id:
        raise InvalidParameter("--oidc-issuer needs --oidc-client-id: what this registry is called at the provider")
    if not given.url:
        raise InvalidParameter("--oidc-issuer needs --url: the provider sends browsers back to URL/oidc/callback")
    if check_url(given.oidc_issuer, loopback=True).query_string:
        raise InvalidParameter("--oidc-issuer has no query: it is the URL that the provider calls itself")
    usual = Oidc(given.oidc_issuer, given.oidc_client_id)
    scope = given.oidc_scope if given.oidc_scope is not None else usual.scope
    if "openid" not in scope.split():
        raise InvalidParameter("--oidc-scope must hold openid")
    secret = given.oidc_client_secret_file
    return Oidc(
        issuer=given.oidc_issuer, client_id=given.oidc_client_id,
        client_secret=secret_file.read(secret, content="the client's secret") if secret is not None else "",
        scope=scope, name_claim=given.oidc_name_claim or usual.name_claim,
        groups_claim=given.oidc_groups_claim or usual.groups_claim,
        required_groups=tuple(given.oidc_require_group or ()), admin_group=given.oidc_admin_group or "",
        create_users=not given.oidc_no_create, ca_file=given.oidc_ca_file, networks=tuple(given.oidc_network or ()),
    )  # fmt: skip
