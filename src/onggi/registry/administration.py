"""`onggi registry user` and `project`: whoever is root on the machine may do all of this, also while it serves."""

import argparse
import asyncio
import getpass
import sys
from collections.abc import Callable
from typing import TypeVar

from onggi.errors import InvalidParameter
from onggi.registry import audit, options, passwords, projects, stores, users
from onggi.registry.audit import Actor
from onggi.registry.database import Connection
from onggi.registry.names import project_name
from onggi.registry.permissions import Role

T = TypeVar("T")


def write(given: argparse.Namespace, work: Callable[[Connection], T]) -> T:
    """One transaction in the metadata store that the options name, also while the registry serves."""

    async def carry_out() -> T:
        async with stores.existing_database(given) as database:
            return await database.write(work)

    return asyncio.run(carry_out())


def actor() -> Actor:
    """Whoever runs this command."""
    return Actor(f"{getpass.getuser()} on this machine")


def given_password(given: argparse.Namespace, prompt: str) -> str:
    """From the standard input, or asked for. Raises InvalidParameter."""
    if given.password_stdin:
        return sys.stdin.readline().rstrip("\n")
    if not sys.stdin.isatty():
        raise InvalidParameter("there is no terminal to ask for the password: use --password-stdin")
    return getpass.getpass(prompt)


def new_password(given: argparse.Namespace) -> str:
    """Asked for twice, and fit to be one. Raises InvalidParameter."""
    password = given_password(given, "New password: ")
    if not given.password_stdin and getpass.getpass("Once more: ") != password:
        raise InvalidParameter("the two are not the same")
    passwords.check_new(password)
    return password


def user_create(given: argparse.Namespace) -> int:
    hashed = passwords.hash_of(new_password(given))

    def make(connection: Connection) -> None:
        users.create(connection, given.name, hashed, admin=given.admin)
        audit.record(connection, actor(), "create user", subject=given.name)

    write(given, make)
    return 0


def user_password(given: argparse.Namespace) -> int:
    hashed = passwords.hash_of(new_password(given))

    def change(connection: Connection) -> None:
        users.set_password(connection, users.find(connection, given.name)["id"], hashed)
        audit.record(connection, actor(), "change password", subject=given.name)

    write(given, change)
    return 0


def user_delete(given: argparse.Namespace) -> int:
    def forget(connection: Connection) -> None:
        users.delete(connection, given.name)
        audit.record(connection, actor(), "delete user", subject=given.name)

    write(given, forget)
    return 0


def user_list(given: argparse.Namespace) -> int:
    rows = write(given, lambda connection: connection.execute("SELECT * FROM users ORDER BY name").fetchall())
    for row in rows:
        marks = [word for word, on in (("admin", row["admin"]), ("disabled", row["disabled"])) if on]
        print(f"{row['name']:<32} {' '.join(marks)}".rstrip())
    return 0


def project_create(given: argparse.Namespace) -> int:
    def make(connection: Connection) -> None:
        owner_id = users.find(connection, given.owner)["id"] if given.owner else None
        projects.create(connection, project_name(given.name), public=given.public, owner_id=owner_id)
        audit.record(connection, actor(), "create project", project=given.name)

    write(given, make)
    return 0


def project_member(given: argparse.Namespace) -> int:
    def change(connection: Connection) -> None:
        project, user = projects.find(connection, given.name), users.find(connection, given.user)
        projects.set_member(connection, project["id"], user["id"], Role(given.role))
        audit.record(connection, actor(), "set member", project=given.name, subject=f"{given.user} {given.role}")

    write(given, change)
    return 0


def project_delete(given: argparse.Namespace) -> int:
    def forget(connection: Connection) -> None:
        projects.delete(connection, given.name)
        audit.record(connection, actor(), "delete project", project=given.name)

    write(given, forget)
    return 0


def project_list(given: argparse.Namespace) -> int:
    rows = write(given, lambda connection: connection.execute("SELECT * FROM projects ORDER BY name").fetchall())
    for row in rows:
        print(f"{row['name']:<32} {'public' if row['public'] else 'private'}")
    return 0


def add_user(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    user = commands.add_parser("user", help="make, change and delete people's accounts")
    verbs = user.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, run, text in (
        ("create", user_create, "make an account"),
        ("password", user_password, "give an account another password; its sessions and tokens end"),
        ("delete", user_delete, "delete an account"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("name")
        options.add_root(verb)
        options.add_database(verb)
        if name != "delete":
            verb.add_argument("--password-stdin", action="store_true", help="read the password from the standard input")
        if name == "create":
            verb.add_argument("--admin", action="store_true", help="may administer the registry")
        verb.set_defaults(run=run)
    listing = verbs.add_parser("list", help="show the accounts")
    options.add_root(listing)
    options.add_database(listing)
    listing.set_defaults(run=user_list)


def add_project(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    project = commands.add_parser("project", help="make and delete projects, set their members")
    verbs = project.add_subparsers(dest="verb", required=True, metavar="VERB")
    create = verbs.add_parser("create", help="make a project")
    create.add_argument("name")
    create.add_argument("--public", action="store_true", help="everybody may pull")
    create.add_argument("--owner", metavar="USER", default="", help="who owns it")
    create.set_defaults(run=project_create)
    member = verbs.add_parser("member", help="give a user a role in a project")
    member.add_argument("name")
    member.add_argument("user")
    member.add_argument("role", choices=[str(role) for role in Role])
    member.set_defaults(run=project_member)
    delete = verbs.add_parser("delete", help="delete an empty project")
    delete.add_argument("name")
    delete.set_defaults(run=project_delete)
    listing = verbs.add_parser("list", help="show the projects")
    listing.set_defaults(run=project_list)
    for verb in (create, member, delete, listing):
        options.add_root(verb)
        options.add_database(verb)
