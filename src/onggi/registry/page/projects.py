"""Pages of one project for those who run it: members, robots, webhooks, rules, policy, replication, activity, settings."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from onggi.errors import InvalidParameter
from onggi.registry.app import PathUnknown
from onggi.registry.events import EventKind
from onggi.registry.page.visit import Form, Site, Visit, path_of, whole_number
from onggi.registry.permissions import ROBOT_ACTIONS, Action, Role
from onggi.registry.route import Route

_PROJECT = "/api/v1/projects/{project}"
_BYTES = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
PAGE = 50


async def _tab(visit: Visit, template: str, **values: Any) -> web.Response:
    return visit.page(template, project=await visit.get(_PROJECT), **values)


def _at(visit: Visit, *parts: str) -> str:
    return path_of("projects", visit["project"], *parts)


# Members


async def members(visit: Visit) -> web.StreamResponse:
    return await _tab(visit, "members.html", members=await visit.get(f"{_PROJECT}/members"), roles=[*Role])


async def set_member(visit: Visit, form: Form) -> web.StreamResponse:
    user = form.get("user", "").strip()
    if not user:
        raise InvalidParameter("name a user")
    await visit.send("PUT", f"{_PROJECT}/members/{{user}}", {"role": form.get("role", "")}, user=user)
    return visit.done(_at(visit, "members"), "saved")


async def remove_member(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("DELETE", f"{_PROJECT}/members/{{user}}", user=form.get("user", ""))
    return visit.done(_at(visit, "members"), "removed")


# Robots


async def robots(visit: Visit, made: Mapping[str, Any] | None = None) -> web.StreamResponse:
    return await _tab(
        visit, "robots.html", robots=await visit.get(f"{_PROJECT}/robots"), made=made, actions=sorted(ROBOT_ACTIONS)
    )


async def new_robot(visit: Visit, form: Form) -> web.StreamResponse:
    actions = [action for action in sorted(ROBOT_ACTIONS) if form.get(f"may-{action}")]
    made = await visit.send("POST", f"{_PROJECT}/robots", {
        "name": form.get("name", "").strip(), "days": whole_number(form.get("days", ""), "the number of days") or 0,
        "scopes": [{"repository": form.get("repository", "").strip() or f"{visit['project']}/*", "actions": actions}],
    })  # fmt: skip
    return await robots(visit, made)


async def renew_robot(visit: Visit, form: Form) -> web.StreamResponse:
    return await robots(visit, await visit.send("POST", f"{_PROJECT}/robots/{{robot}}/secret"))


async def delete_robot(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("DELETE", f"{_PROJECT}/robots/{{robot}}")
    return visit.done(_at(visit, "robots"), "deleted")


# Webhooks


async def webhooks(visit: Visit, made: Mapping[str, Any] | None = None) -> web.StreamResponse:
    hooks = await visit.get(f"{_PROJECT}/webhooks")
    return await _tab(visit, "webhooks.html", hooks=hooks, made=made, events=[*EventKind])


async def new_webhook(visit: Visit, form: Form) -> web.StreamResponse:
    made = await visit.send("POST", f"{_PROJECT}/webhooks", {
        "url": form.get("url", "").strip(), "repositories": form.get("repositories", "").strip() or "*",
        "events": [event for event in EventKind if form.get(f"on-{event}")],
    })  # fmt: skip
    return await webhooks(visit, made)


async def switch_webhook(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("PATCH", f"{_PROJECT}/webhooks/{{hook}}", {"enabled": form.get("enabled") == "1"})
    return visit.done(_at(visit, "webhooks"), "saved")


async def delete_webhook(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("DELETE", f"{_PROJECT}/webhooks/{{hook}}")
    return visit.done(_at(visit, "webhooks"), "deleted")


async def deliveries(visit: Visit) -> web.StreamResponse:
    found = await visit.get(
        f"{_PROJECT}/webhooks/{{hook}}/deliveries", {"before": visit.query("before"), "n": str(PAGE + 1)}
    )
    hooks = {str(hook["id"]): hook for hook in await visit.get(f"{_PROJECT}/webhooks")}
    if visit["hook"] not in hooks:
        raise PathUnknown  # deleted meanwhile, or a number that is written otherwise
    return await _tab(
        visit, "deliveries.html", deliveries=found[:PAGE], more=found[PAGE - 1]["sequence"] if len(found) > PAGE else 0,
        hook=hooks[visit["hook"]],
        bodies={each["name"]: json.dumps(each["body"], indent=2, ensure_ascii=False) for each in found},
    )  # fmt: skip


async def test_webhook(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("POST", f"{_PROJECT}/webhooks/{{hook}}/test")
    return visit.done(_at(visit, "webhooks", visit["hook"]), "tested")


async def replay(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("POST", f"{_PROJECT}/webhooks/{{hook}}/deliveries/{{delivery}}/replay")
    return visit.done(_at(visit, "webhooks", visit["hook"]), "replayed")


# Rules


async def rules(visit: Visit, doomed: list[Any] | None = None) -> web.StreamResponse:
    return await _tab(visit, "rules.html", doomed=doomed, ignores=await visit.get(f"{_PROJECT}/ignores"))


async def add_rule(visit: Visit, form: Form) -> web.StreamResponse:
    kind, found = visit["kind"], await visit.get(_PROJECT)
    rule: dict[str, Any] = {
        "repositories": form.get("repositories", "").strip() or "*",
        "tags": form.get("tags", "").strip() or "*",
    }
    if kind == "retention":
        for field in ("keep_last", "keep_days", "untagged_days"):
            number = whole_number(form.get(field, ""), "each of the three")
            if number is not None:
                rule[field] = number
    elif kind != "immutable":
        raise PathUnknown
    await visit.send("PATCH", _PROJECT, {kind: [*found[kind], rule]})
    return visit.done(_at(visit, "rules"), "saved")


async def delete_rule(visit: Visit, form: Form) -> web.StreamResponse:
    """By what it says, not by its place: somebody else may have changed the list meanwhile."""
    kind = visit["kind"]
    if kind not in ("retention", "immutable"):
        raise PathUnknown
    found = await visit.get(_PROJECT)
    left = [rule for rule in found[kind] if json.dumps(rule, sort_keys=True) != form.get("rule", "")]
    await visit.send("PATCH", _PROJECT, {kind: left})
    return visit.done(_at(visit, "rules"), "deleted")


async def plan_retention(visit: Visit, form: Form) -> web.StreamResponse:
    return await rules(visit, await visit.send("POST", f"{_PROJECT}/retention", query={"dry_run": "true"}))


async def apply_retention(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("POST", f"{_PROJECT}/retention")
    return visit.done(_at(visit, "rules"), "applied")


async def stop_ignoring(visit: Visit, form: Form) -> web.StreamResponse:
    query = {"problem": form.get("problem", ""), "package": form.get("package", "")}
    await visit.send("DELETE", f"{_PROJECT}/ignores", query=query)
    return visit.done(_at(visit, "rules"), "deleted")


# What may be pulled


async def policy(visit: Visit) -> web.StreamResponse:
    found = await visit.get(f"{_PROJECT}/policy")
    text = visit.typed.get("policy") or json.dumps(found, indent=2)
    return await _tab(visit, "policy.html", policy=found, text=text)


async def set_policy(visit: Visit, form: Form) -> web.StreamResponse:
    try:
        given = json.loads(form.get("policy", ""))
    except (ValueError, RecursionError) as error:
        raise InvalidParameter(f"this is no JSON: {error}") from error
    await visit.send("PUT", f"{_PROJECT}/policy", given)
    return visit.done(_at(visit, "policy"), "saved")


# Other registries


async def replication(visit: Visit) -> web.StreamResponse:
    rules = await visit.get(f"{_PROJECT}/replication")
    runs = {rule["name"]: await visit.get(f"{_PROJECT}/replication/{{rule}}/runs", {"n": "5"}, rule=rule["name"])
            for rule in rules}  # fmt: skip
    return await _tab(visit, "replication.html", rules=rules, runs=runs)


async def run_replication(visit: Visit, form: Form) -> web.StreamResponse:
    await visit.send("POST", f"{_PROJECT}/replication/{{rule}}/runs", {"dry_run": form.get("dry_run") == "1"})
    return visit.done(_at(visit, "replication"), "begun")


# Activity, settings


async def activity(visit: Visit) -> web.StreamResponse:
    before = visit.query("before")
    found = await visit.get(f"{_PROJECT}/audit", {"before": before, "n": str(PAGE + 1)})
    return await _tab(
        visit, "activity.html", entries=found[:PAGE], before=before,
        more=found[PAGE - 1]["sequence"] if len(found) > PAGE else 0,
    )  # fmt: skip


async def settings(visit: Visit) -> web.StreamResponse:
    return await _tab(visit, "settings.html", units=[*_BYTES])


async def change(visit: Visit, form: Form) -> web.StreamResponse:
    given: dict[str, Any] = {"description": form.get("description", ""), "public": form.get("public") == "1"}
    if "quota" in form:
        quota = whole_number(form["quota"], "a quota") or 0
        given["quota_bytes"] = quota * _BYTES.get(form.get("unit", ""), 1)
    await visit.send("PATCH", _PROJECT, given)
    return visit.done(_at(visit, "settings"), "saved")


async def delete(visit: Visit, form: Form) -> web.StreamResponse:
    if form.get("confirm", "").strip() != visit["project"]:
        raise InvalidParameter(f"type {visit['project']} to delete it")
    await visit.send("DELETE", _PROJECT)
    return visit.done("/", "deleted")


def routes(site: Site) -> list[Route]:
    one = "/projects/{project}"
    return [
        site.get(one + "/members", members, Action.PROJECT_READ),
        site.post(one + "/members", set_member, members, Action.MEMBERS),
        site.post(one + "/members/remove", remove_member, members, Action.MEMBERS),
        site.get(one + "/robots", robots, Action.ROBOTS),
        site.post(one + "/robots", new_robot, robots, Action.ROBOTS),
        site.post(one + "/robots/{robot}/renew", renew_robot, robots, Action.ROBOTS),
        site.post(one + "/robots/{robot}/delete", delete_robot, robots, Action.ROBOTS),
        site.get(one + "/webhooks", webhooks, Action.PROJECT_READ),
        site.post(one + "/webhooks", new_webhook, webhooks, Action.PROJECT_EDIT),
        site.get(one + "/webhooks/{hook}", deliveries, Action.PROJECT_READ),
        site.post(one + "/webhooks/{hook}/switch", switch_webhook, webhooks, Action.PROJECT_EDIT),
        site.post(one + "/webhooks/{hook}/delete", delete_webhook, webhooks, Action.PROJECT_EDIT),
        site.post(one + "/webhooks/{hook}/test", test_webhook, deliveries, Action.PROJECT_EDIT),
        site.post(one + "/webhooks/{hook}/deliveries/{delivery}/replay", replay, deliveries, Action.PROJECT_EDIT),
        site.get(one + "/rules", rules, Action.PROJECT_READ),
        site.post(one + "/rules/{kind}", add_rule, rules, Action.PROJECT_EDIT),
        site.post(one + "/rules/{kind}/delete", delete_rule, rules, Action.PROJECT_EDIT),
        site.post(one + "/retention/plan", plan_retention, rules, Action.PROJECT_EDIT),
        site.post(one + "/retention/apply", apply_retention, rules, Action.PROJECT_EDIT),
        site.post(one + "/ignores/delete", stop_ignoring, rules, Action.PROJECT_EDIT),
        site.get(one + "/policy", policy, Action.PROJECT_READ),
        site.post(one + "/policy", set_policy, policy, Action.PROJECT_EDIT),
        site.get(one + "/replication", replication, Action.PROJECT_READ),
        site.post(one + "/replication/{rule}/run", run_replication, replication, Action.PROJECT_EDIT),
        site.get(one + "/activity", activity, Action.PROJECT_READ),
        site.get(one + "/settings", settings, Action.PROJECT_EDIT),
        site.post(one + "/settings", change, settings, Action.PROJECT_EDIT),
        site.post(one + "/delete", delete, settings, Action.PROJECT_DELETE),
    ]
