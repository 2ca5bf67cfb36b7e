"""The seam: `allow(subject, action, …)` looks the subject's standing up and asks `permissions.may`."""

from onggi.registry import projects
from onggi.registry.database import Database
from onggi.registry.names import project_of
from onggi.registry.permissions import (
    Action,
    AuthenticationNeeded,
    Denied,
    PasswordNotChosen,
    Standing,
    Subject,
    may,
)


async def may_in(database: Database, subject: Subject, action: Action, repository: str) -> bool:
    """True when `subject` may do `action` in `repository`."""
    standing = await database.read(lambda connection: projects.standing(connection, project_of(repository), subject))
    return may(subject, action, standing, repository)


async def allow(
    database: Database, subject: Subject, action: Action, *, project: str = "", repository: str = ""
) -> None:
    """Return, or raise AuthenticationNeeded (who is not signed in, or whose token is for less) or Denied."""
    project = project_of(repository) if repository else project
    if project:
        standing = await database.read(lambda connection: projects.standing(connection, project, subject))
    else:
        standing = Standing("")
    if may(subject, action, standing, repository):
        return
    if not subject.known or subject.granted is not None:
        raise AuthenticationNeeded(f"repository:{repository}:{scope_actions(action)}" if repository else "")
    if subject.must_change_password:
        raise PasswordNotChosen
    raise Denied(action, repository or project)


def scope_actions(action: Action) -> str:
    """The words of Docker's scope that let a client do `action`: who pushes also pulls."""
    return "pull,push" if action is Action.PUSH else str(action)
