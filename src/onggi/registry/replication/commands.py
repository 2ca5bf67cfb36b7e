"""`onggi registry remote`, `upstream` and `replication`: whoever is root on the machine may do all of it, while it serves."""

import argparse
from collections.abc import Callable
from typing import Any

from onggi.registry import audit, options, remotes
from onggi.registry.administration import actor, given_password, write
from onggi.registry.database import Connection
from onggi.registry.options import duration
from onggi.registry.replication import rules, runs
from onggi.registry.replication.rules import Direction
from onggi.registry.replication.runs import Cause
from onggi.registry.upstream import upstreams

_UNITS = {"k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}


def size(text: str) -> int:
    """`500M`, `20G`, `1T`, or bytes."""
    number, unit = (text[:-1], _UNITS.get(text[-1:].lower(), 0)) if text[-1:].isalpha() else (text, 1)
    if not (number.isascii() and number.isdigit() and unit) or len(number) > 15:
        raise argparse.ArgumentTypeError(f"{text!a} is no size: 500M, 20G, 1T")
    return int(number) * unit


def _seconds(text: str) -> int:
    return 0 if text == "0" else int(duration(text).total_seconds())


# Remotes


def remote_add(given: argparse.Namespace) -> int:
    secret = given_password(given, f"Password of {given.username}: ") if given.username else ""

    def make(connection: Connection) -> None:
        made = remotes.create(connection, given.name, given.url, given.username, secret, actor().name)
        audit.record(connection, actor(), "create remote", subject=made.name,
                     details={"url": made.url, "username": made.username})  # fmt: skip

    write(given, make)
    return 0


def remote_account(given: argparse.Namespace) -> int:
    secret = given_password(given, f"Password of {given.username}: ") if given.username else ""

    def change(connection: Connection) -> None:
        remotes.set_account(connection, remotes.find(connection, given.name), given.username, secret)
        audit.record(connection, actor(), "change remote", subject=given.name, details={"username": given.username})

    write(given, change)
    return 0


def remote_delete(given: argparse.Namespace) -> int:
    def forget(connection: Connection) -> None:
        remotes.delete(connection, given.name)
        audit.record(connection, actor(), "delete remote", subject=given.name)

    write(given, forget)
    return 0


def remote_list(given: argparse.Namespace) -> int:
    for row in write(given, remotes.listing):
        print(f"{row['name']:<20} {row['url']:<40} {row['username']}".rstrip())
    return 0


# Caches


def upstream_set(given: argparse.Namespace) -> int:
    def apply(connection: Connection) -> None:
        upstreams.put(connection, given.project, given.remote, prefix=given.prefix, check_s=given.check,
                      limit_bytes=given.limit, keep_days=given.keep_days)  # fmt: skip
        audit.record(connection, actor(), "set upstream", project=given.project, details={"remote": given.remote})

    write(given, apply)
    return 0


def upstream_delete(given: argparse.Namespace) -> int:
    def forget(connection: Connection) -> None:
        upstreams.delete(connection, given.project)
        audit.record(connection, actor(), "delete upstream", project=given.project)

    write(given, forget)
    return 0


def upstream_list(given: argparse.Namespace) -> int:
    for found in write(given, upstreams.all_of):
        place = f"{found.remote.namespace}/{found.prefix}" if found.prefix else found.remote.namespace
        print(f"{found.project:<20} {place:<40} limit {found.limit_bytes or 'none'}")
    return 0


# Replication


def replication_create(given: argparse.Namespace) -> int:
    direction = Direction.PUSH if given.push else Direction.PULL

    def make(connection: Connection) -> None:
        rule = rules.create(
            connection, given.project, given.name, direction, given.push or given.pull,
            prefix=given.project if given.prefix is None else given.prefix, repositories=given.repositories,
            tags=given.tags, on_event=given.on_event, every_s=given.every, deletes=given.deletes, by=actor().name,
        )  # fmt: skip
        runs.plan(connection, rule)
        audit.record(connection, actor(), "create replication rule", project=given.project, subject=given.name)

    write(given, make)
    return 0


def _switch(*, enabled: bool) -> Callable[[argparse.Namespace], int]:
    def command(given: argparse.Namespace) -> int:
        def change(connection: Connection) -> None:
            rules.change(connection, rules.find(connection, given.project, given.name), enabled=enabled, every_s=None)
            runs.plan(connection, rules.find(connection, given.project, given.name))
            audit.record(connection, actor(), "change replication rule", project=given.project, subject=given.name,
                         details={"enabled": enabled})  # fmt: skip

        write(given, change)
        return 0

    return command


def replication_delete(given: argparse.Namespace) -> int:
    def forget(connection: Connection) -> None:
        rules.delete(connection, rules.find(connection, given.project, given.name))
        audit.record(connection, actor(), "delete replication rule", project=given.project, subject=given.name)

    write(given, forget)
    return 0


def replication_list(given: argparse.Namespace) -> int:
    for rule in write(given, lambda connection: rules.of_project(connection, given.project)):
        arrow = "->" if rule.direction is Direction.PUSH else "<-"
        when = [word for word, on in (("on event", rule.on_event), (f"every {rule.every_s} s", rule.every_s),
                                      ("switched off", not rule.enabled)) if on]  # fmt: skip
        there = f"{rule.remote.name}/{rule.prefix}".rstrip("/")
        print(f"{rule.name:<20} {rule.repositories}:{rule.tags} {arrow} {there}  {', '.join(when)}".rstrip())
    return 0


def replication_run(given: argparse.Namespace) -> int:
    """The registry that serves carries it out, within some seconds."""

    def begin(connection: Connection) -> int:
        rule = rules.find(connection, given.project, given.name)
        made = runs.begin(connection, rule, Cause.HAND, dry_run=given.dry_run)
        audit.record(connection, actor(), "run replication rule", project=given.project, subject=given.name,
                     details={"run": made, "dry_run": given.dry_run})  # fmt: skip
        return made

    print(write(given, begin))
    return 0


def replication_runs(given: argparse.Namespace) -> int:
    found = write(given, lambda connection: runs.listing(
        connection, rules.find(connection, given.project, given.name), 0, 50))  # fmt: skip
    for run in found:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in run["outcomes"].items())
        what = f"{run['repository']}:{run['reference']}" if run["repository"] else "all"
        words = (run["state"], run["cause"], "dry run" if run["dry_run"] else "", what, counts, run["error"])
        print(f"{run['id']:<8} {run['created_at'][:19]}  {'  '.join(word for word in words if word)}")
    return 0


def replication_log(given: argparse.Namespace) -> int:
    """What came of each image of one run."""

    def read(connection: Connection) -> list[dict[str, Any]]:
        rule = rules.find(connection, given.project, given.name)
        found: list[dict[str, Any]] = []
        while page := runs.items(connection, rule, given.run_id, found[-1]["sequence"] if found else 0, 500):
            found += page
        return found

    for item in write(given, read):
        print(
            f"{item['outcome']:<12} {item['repository']}:{item['reference']} {item['digest']} {item['error']}".rstrip()
        )
    return 0


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    _add_remote(commands)
    _add_upstream(commands)
    _add_replication(commands)


def _group(commands: Any, name: str, text: str) -> Callable[..., argparse.ArgumentParser]:
    verbs = commands.add_parser(name, help=text).add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(word: str, run: Callable[[argparse.Namespace], int], text: str, *places: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = verbs.add_parser(word, help=text)
        for place in places:
            parser.add_argument(place)
        options.add_root(parser)
        options.add_database(parser)
        parser.set_defaults(run=run)
        return parser

    return verb


def _add_remote(commands: Any) -> None:
    verb = _group(commands, "remote", "other registries, for caches and replication")
    for word, run, text, places in (
        ("add", remote_add, "name another registry, and who we are to it", ("name", "url")),
        ("account", remote_account, "sign in there as another; without --username as nobody", ("name",)),
    ):
        parser = verb(word, run, text, *places)
        parser.add_argument(
            "--username", default="", metavar="USER", help="the account there; the password is asked for"
        )
        parser.add_argument("--password-stdin", action="store_true", help="read the password from the standard input")
    verb("delete", remote_delete, "forget it", "name")
    verb("list", remote_list, "show all")


def _add_upstream(commands: Any) -> None:
    verb = _group(commands, "upstream", "projects that are caches of other registries")
    parser = verb("set", upstream_set, "make an empty project a cache, or change its bounds", "project", "remote")
    parser.add_argument("--prefix", default="", metavar="NAME", help="only what is below NAME there")
    parser.add_argument("--check", type=_seconds, default=upstreams.CHECK_S, metavar="TIME",
                        help="how long what a tag means is believed (default 60s; 0: ask at each pull)")  # fmt: skip
    parser.add_argument("--limit", type=size, default=0, metavar="SIZE", help="keep so much (20G); default: all")
    parser.add_argument("--keep-days", type=int, default=0, metavar="DAYS",
                        help="let go what was not pulled for so long; default: nothing")  # fmt: skip
    verb("delete", upstream_delete, "be a cache no more; whole images stay", "project")
    verb("list", upstream_list, "show all")


def _add_replication(commands: Any) -> None:
    verb = _group(commands, "replication", "copy images to and from other registries by rule")
    parser = verb("create", replication_create, "make a rule", "project", "name")
    direction = parser.add_mutually_exclusive_group(required=True)
    direction.add_argument("--push", metavar="REMOTE", help="copy to it")
    direction.add_argument("--pull", metavar="REMOTE", help="copy from it")
    parser.add_argument(
        "--prefix", metavar="NAME", help='where there (default: the project\'s name; "": nowhere below)'
    )
    parser.add_argument("--repositories", default="*", metavar="PATTERN", help="without project and prefix (default *)")
    parser.add_argument("--tags", default="*", metavar="PATTERN", help="default *")
    parser.add_argument("--on-event", action="store_true", help="whenever something is pushed or deleted here")
    parser.add_argument("--every", type=_seconds, default=0, metavar="TIME", help="by the clock (1h)")
    parser.add_argument("--deletes", action="store_true", help="delete at the target what is deleted at the source")
    verb("list", replication_list, "show a project's rules", "project")
    verb("enable", _switch(enabled=True), "switch a rule on", "project", "name")
    verb("disable", _switch(enabled=False), "switch a rule off", "project", "name")
    verb("delete", replication_delete, "delete a rule; what it has copied stays", "project", "name")
    verb("run", replication_run, "carry a rule out now; prints the run's number", "project", "name").add_argument(
        "--dry-run", action="store_true", help="only say what would be done"
    )
    verb("runs", replication_runs, "what came of a rule's latest runs", "project", "name")
    verb("log", replication_log, "what came of each image of a run", "project", "name").add_argument("run_id", type=int)
