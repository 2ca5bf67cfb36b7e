"""Pages to look at: projects, repositories, tags, images, findings, packages, search; and what is done to tags there."""

import json
from typing import Any

from aiohttp import web

from onggi.errors import InvalidParameter
from onggi.oci.digest import Digest
from onggi.registry.app import PathUnknown
from onggi.registry.page.visit import Form, Site, Visit, path_of
from onggi.registry.permissions import Action, AuthenticationNeeded
from onggi.registry.refusals import ManifestUnknown
from onggi.registry.route import Route
from onggi.registry.scanning.scans import NoBill, NotScanned

TAGS = 50
FOUND = 100
RECENT = 5
_REPOSITORY = "/api/v1/repositories/{name*}/-"
_MANIFEST = _REPOSITORY + "/manifests/{reference}"
SEVERITIES = ("critical", "high", "medium", "low", "negligible", "unknown")


async def home(visit: Visit) -> web.StreamResponse:
    if visit.subject.must_change_password:
        return visit.done("/account", "choose")
    projects = await visit.get("/api/v1/projects", {"n": "1000"})
    if not projects and not visit.subject.known:
        raise AuthenticationNeeded  # nothing here is for everybody
    recent = await visit.get("/api/v1/search", {"sort": "newest", "n": str(RECENT)})
    return visit.page("home.html", projects=projects, recent=recent)


async def search(visit: Visit) -> web.StreamResponse:
    text = visit.query("q").strip()
    found = await visit.get("/api/v1/search", {"q": text, "n": str(FOUND)}) if text else []
    return visit.page("search.html", q=text, found=found, most=FOUND)


# Projects and repositories


async def project(visit: Visit) -> web.StreamResponse:
    last = visit.query("last")
    repositories = await visit.get("/api/v1/projects/{project}/repositories", {"last": last, "n": "101"})
    return visit.page(
        "project.html", project=await visit.get("/api/v1/projects/{project}"), repositories=repositories[:100],
        more=repositories[99]["name"] if len(repositories) > 100 else "", last=last,
    )  # fmt: skip


async def _with_project(visit: Visit) -> dict[str, Any]:
    """The project of the repository that the path names."""
    name = visit["name"]
    found: dict[str, Any] = await visit.get("/api/v1/projects/{project}", project=name.partition("/")[0])
    return found


async def repository(visit: Visit) -> web.StreamResponse:
    q, last, order = visit.query("q"), visit.query("last"), "name" if visit.query("sort") == "name" else "newest"
    tags = await visit.get(f"{_REPOSITORY}/tags", {"sort": order, "q": q, "last": last, "n": str(TAGS + 1)})
    return visit.page(
        "repository.html", repository=await visit.get(_REPOSITORY), project=await _with_project(visit),
        tags=tags[:TAGS], more=tags[TAGS - 1]["name"] if len(tags) > TAGS else "", q=q, order=order, last=last,
        severities=SEVERITIES,
    )  # fmt: skip


async def describe(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("PATCH", _REPOSITORY, {"description": form.get("description", "")})
    return visit.done(path_of("repositories", visit["name"]), "saved")


async def delete_repository(visit: Visit, form: Form) -> web.StreamResponse:
    if form.get("confirm", "").strip() != visit["name"]:
        raise NameNotTyped(visit["name"])
    await visit.send("DELETE", _REPOSITORY)
    return visit.done(path_of("projects", visit["name"].partition("/")[0]), "deleted")


class NameNotTyped(InvalidParameter):
    """Nobody deletes much by a slip of the hand."""

    def __init__(self, name: str) -> None:
        super().__init__(f"type {name} to delete it")


# Tags


async def tag(visit: Visit) -> web.StreamResponse:
    """Where it points and has pointed."""
    history = await visit.get(f"{_REPOSITORY}/tags/{{tag}}/history", {"before": visit.query("before"), "n": "51"})
    try:
        current = await visit.get(f"{_REPOSITORY}/tags/{{tag}}")
    except ManifestUnknown:
        if not history:
            raise
        current = None  # it is gone, its history is not
    return visit.page(
        "tag.html", name=visit["name"], tag=visit["tag"], current=current, history=history[:50],
        more=history[49]["sequence"] if len(history) > 50 else 0, project=await _with_project(visit),
    )  # fmt: skip


async def roll_back(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("POST", f"{_REPOSITORY}/tags/{{tag}}/rollback", {"digest": form.get("digest", "")})
    return visit.done(path_of("repositories", visit["name"], "-", "tags", visit["tag"]), "rolled-back")


async def delete_tag(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("DELETE", "/v2/{name*}/manifests/{reference}", reference=visit["tag"])
    return visit.done(path_of("repositories", visit["name"]), "deleted")


# Images


async def image(visit: Visit) -> web.StreamResponse:
    found = await visit.get(_MANIFEST)
    signatures = (await visit.get(f"{_MANIFEST}/signatures"))["signatures"]
    return visit.page(
        "image.html", name=visit["name"], reference=visit["reference"], image=found, signatures=signatures,
        steps=_steps(found), project=await _with_project(visit), severities=SEVERITIES,
    )  # fmt: skip


def _steps(image: dict[str, Any]) -> list[dict[str, Any]]:
    """The history with the layer that each step made; the layers alone where there is no history, or one that lies."""
    layers, history = image["layers"], image["config"].get("history", [])
    if len(layers) != sum(not step.get("empty_layer", False) for step in history):
        return [{"created_by": "", "comment": "", "layer": layer} for layer in layers]
    rest = iter(layers)
    return [
        {"created_by": step.get("created_by", ""), "comment": step.get("comment", ""),
         "layer": None if step.get("empty_layer", False) else next(rest)}
        for step in history
    ]  # fmt: skip


async def delete_image(visit: Visit, form: Form) -> web.StreamResponse:
    """The image that was looked at: its tag may name another by now."""
    await visit.send("DELETE", "/v2/{name*}/manifests/{reference}", reference=Digest(form.get("digest", "")))
    return visit.done(path_of("repositories", visit["name"]), "deleted")


async def scan_again(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("POST", f"{_MANIFEST}/scan")
    return visit.done(path_of("repositories", visit["name"], "-", "manifests", visit["reference"], "findings"), "scan")


async def findings(visit: Visit) -> web.StreamResponse:
    severity, q, fixable = visit.query("severity"), visit.query("q").strip().lower(), visit.query("fixable") == "1"
    try:
        scan = await visit.get(f"{_MANIFEST}/scan")
    except NotScanned as error:
        scan = {"state": "waiting", "error": str(error)}
    shown = [
        finding for finding in scan.get("findings", ())
        if (not severity or finding.get("severity", "unknown") == severity) and (not fixable or finding.get("fixed_version"))
        and (not q or q in f"{finding['id']} {finding['package']} {' '.join(finding.get('aliases', ()))}".lower())
    ]  # fmt: skip
    return visit.page(
        "findings.html", name=visit["name"], reference=visit["reference"], scan=scan, shown=shown, severity=severity,
        q=visit.query("q"), fixable=fixable, project=await _with_project(visit), severities=SEVERITIES,
    )  # fmt: skip


async def set_aside(visit: Visit, form: Form) -> web.StreamResponse:
    rule: dict[str, Any] = {"problem": form.get("problem", ""), "reason": form.get("reason", "").strip()}
    if form.get("package"):
        rule["package"] = form["package"]
    if form.get("until"):
        rule["until"] = f"{form['until']}T00:00:00Z"
    await visit.send("POST", "/api/v1/projects/{project}/ignores", rule, project=visit["name"].partition("/")[0])
    return visit.done(
        path_of("repositories", visit["name"], "-", "manifests", visit["reference"], "findings"), "set-aside"
    )


async def packages(visit: Visit) -> web.StreamResponse:
    q = visit.query("q").strip().lower()
    why = ""
    try:
        bill = await visit.get(f"{_MANIFEST}/bom")
    except (NotScanned, NoBill) as error:
        bill, why = {}, str(error)
    components = [
        {"name": each["name"], "version": each.get("version", ""), "purl": each.get("purl", ""),
         "licences": [entry.get("expression") or entry["license"].get("id") or entry["license"].get("name", "")
                      for entry in each.get("licenses", ())]}
        for each in bill.get("components", ()) if each.get("type") == "library" and q in each["name"].lower()
    ]  # fmt: skip
    return visit.page(
        "packages.html", name=visit["name"], reference=visit["reference"], packages=components, q=visit.query("q"), why=why,
        project=await _with_project(visit),
    )  # fmt: skip


async def download(visit: Visit) -> web.StreamResponse:
    """A report or a bill of materials, as a file."""
    form = visit["form"]
    sources = {
        "cyclonedx": ("bom", "cdx.json"), "spdx": ("bom", "spdx.json"), "sarif": ("scan", "sarif.json"),
        "json": ("scan", "json"),
    }  # fmt: skip
    if form not in sources:
        raise PathUnknown
    what, ending = sources[form]
    document = await visit.get(f"{_MANIFEST}/{what}", {"format": form})
    name = "".join(letter if letter.isalnum() else "-" for letter in f"{visit['name']}-{visit['reference']}")[:150]
    return web.Response(
        text=json.dumps(document, indent=1), content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{name}.{ending}"', "Cache-Control": "no-store"},
    )  # fmt: skip


def routes(site: Site) -> list[Route]:
    one = "/repositories/{name*}/-"
    manifest = one + "/manifests/{reference}"
    return [
        site.get("/", home),
        site.get("/search", search),
        site.get("/projects/{project}", project, Action.PULL),
        site.get(one + "/tags/{tag}", tag, Action.PULL),
        site.post(one + "/tags/{tag}/rollback", roll_back, tag, Action.DELETE),
        site.post(one + "/tags/{tag}/delete", delete_tag, tag, Action.DELETE),
        site.get(manifest + "/findings", findings, Action.PULL),
        site.post(manifest + "/findings/ignore", set_aside, findings, Action.PROJECT_EDIT),
        site.post(manifest + "/scan", scan_again, image, Action.SCAN),
        site.get(manifest + "/packages", packages, Action.PULL),
        site.get(manifest + "/download/{form}", download, Action.PULL),
        site.post(manifest + "/delete", delete_image, image, Action.DELETE),
        site.get(manifest, image, Action.PULL),
        site.post(one + "/description", describe, repository, Action.PROJECT_EDIT),
        site.post(one + "/delete", delete_repository, repository, Action.DELETE),
        site.get("/repositories/{name*}", repository, Action.PULL),
    ]
