"""What a registry is made of: each module adds its routes, subscribers and jobs to a service before it is opened.

A feature is a module with `install(service) -> list[Route]`. Add yours here.
"""

from collections.abc import Callable

from onggi.registry import garbage, retention
from onggi.registry.management import (
    activity,
    cli_secrets,
    images,
    projects,
    remotes,
    repositories,
    robots,
    searching,
    users,
)
from onggi.registry.oidc import api as oidc
from onggi.registry.page import page
from onggi.registry.replication import api as replication
from onggi.registry.route import Route
from onggi.registry.scanning import api as scanning
from onggi.registry.service import Service
from onggi.registry.trust import api as trust
from onggi.registry.upstream import api as upstream
from onggi.registry.v2 import blobs, discovery, manifests, token, uploads
from onggi.registry.webhooks import api as webhooks

Install = Callable[[Service], list[Route]]
FEATURES: tuple[Install, ...] = (
    uploads.routes,  # before blobs: /v2/NAME/blobs/uploads/ is no digest
    blobs.routes,
    manifests.routes,
    discovery.routes,
    token.routes,
    users.routes,
    cli_secrets.routes,
    oidc.install,
    projects.routes,
    robots.routes,
    images.routes,
    repositories.routes,
    activity.routes,
    searching.routes,
    garbage.install,
    retention.install,
    scanning.install,
    trust.install,
    webhooks.install,
    remotes.routes,
    upstream.install,
    replication.install,
)


def install(service: Service) -> list[Route]:
    """Install all of them; gives every route. The page comes last: it asks all others."""
    routes = [route for feature in FEATURES for route in feature(service)]
    return [*routes, *page.install(service, routes)]
