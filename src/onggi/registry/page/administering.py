"""Pages of those who administer the registry: users, new projects, remotes, jobs, advisories, what everybody did."""

from typing import Any

from aiohttp import web

from onggi.registry.page.visit import Form, Site, Visit, path_of
from onggi.registry.permissions import Action
from onggi.registry.route import Route

PAGE = 50


# Projects


async def new_project(visit: Visit) -> web.StreamResponse:
    await visit.get("/api/v1/users")  # who may not make one is told so now, not after typing
    return visit.page("new_project.html")


async def make_project(visit: Visit, form: Form) -> web.StreamResponse:
    name = form.get("name", "").strip()
    await visit.send("POST", "/api/v1/projects", {
        "name": name, "public": form.get("public") == "1", "owner": form.get("owner", "").strip(),
    })  # fmt: skip
    return visit.done(path_of("projects", name), "made")


# People


async def users(visit: Visit) -> web.StreamResponse:
    return visit.page("users.html", users=await visit.get("/api/v1/users"))


async def make_user(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("POST", "/api/v1/users", {
        "name": form.get("name", "").strip(), "password": form.get("password", ""), "email": form.get("email", "").strip(),
        "admin": form.get("admin") == "1",
    })  # fmt: skip
    return visit.done("/users", "made")


async def change_user(visit: Visit, form: Form) -> web.StreamResponse:
    given: dict[str, Any] = {field: form[field] == "1" for field in ("admin", "disabled") if field in form}
    await visit.send("PATCH", "/api/v1/users/{user}", given)
    return visit.done("/users", "saved")


async def set_password(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("PUT", "/api/v1/users/{user}/password", {"new": form.get("password", "")})
    return visit.done("/users", "password-set")


async def delete_user(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("DELETE", "/api/v1/users/{user}")
    return visit.done("/users", "deleted")


# Who they are at the provider


async def identities(visit: Visit) -> web.StreamResponse:
    name = visit["user"]
    found = await visit.get("/api/v1/users/{user}/identities")
    return visit.page("identities.html", name=name, identities=found)


async def link_identity(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("PUT", "/api/v1/users/{user}/identities", {"subject": form.get("subject", "").strip()})
    return visit.done(path_of("users", visit["user"], "identities"), "saved")


async def unlink_identity(visit: Visit, form: Form) -> web.StreamResponse:
    query = {"subject": form.get("subject", ""), "issuer": form.get("issuer", "")}
    await visit.send("DELETE", "/api/v1/users/{user}/identities", query=query)
    return visit.done(path_of("users", visit["user"], "identities"), "deleted")


# The registry


async def overview(visit: Visit) -> web.StreamResponse:
    before = visit.query("before")
    jobs = await visit.get("/api/v1/jobs", {"before": before, "n": str(PAGE + 1)})
    return visit.page(
        "registry.html", jobs=jobs[:PAGE], more=jobs[PAGE - 1]["id"] if len(jobs) > PAGE else 0, before=before,
        sources=await visit.get("/api/v1/advisories"), remotes=await visit.get("/api/v1/remotes"),
    )  # fmt: skip


async def collect(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("POST", "/api/v1/collect")
    return visit.done("/registry", "collected")


async def retry(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("POST", "/api/v1/jobs/{id}/retry")
    return visit.done("/registry", "retried")


async def activity(visit: Visit) -> web.StreamResponse:
    before = visit.query("before")
    found = await visit.get("/api/v1/audit", {"before": before, "n": str(PAGE + 1)})
    return visit.page(
        "registry_activity.html", entries=found[:PAGE], before=before,
        more=found[PAGE - 1]["sequence"] if len(found) > PAGE else 0,
    )  # fmt: skip


def routes(site: Site) -> list[Route]:
    elsewhere = [
        site.get("/users/{user}/identities", identities, Action.REGISTRY),
        site.post("/users/{user}/identities", link_identity, identities, Action.REGISTRY),
        site.post("/users/{user}/identities/delete", unlink_identity, identities, Action.REGISTRY),
    ]
    return [
        *(elsewhere if site.service.settings.oidc is not None else ()),
        site.get("/new-project", new_project, Action.REGISTRY),
        site.post("/new-project", make_project, new_project, Action.REGISTRY),
        site.get("/users", users, Action.REGISTRY),
        site.post("/users", make_user, users, Action.REGISTRY),
        site.post("/users/{user}", change_user, users, Action.REGISTRY),
        site.post("/users/{user}/password", set_password, users, Action.REGISTRY),
        site.post("/users/{user}/delete", delete_user, users, Action.REGISTRY),
        site.get("/registry", overview, Action.REGISTRY),
        site.post("/registry/collect", collect, overview, Action.REGISTRY),
        site.post("/registry/jobs/{id}/retry", retry, overview, Action.REGISTRY),
        site.get("/registry/activity", activity, Action.REGISTRY),
    ]
