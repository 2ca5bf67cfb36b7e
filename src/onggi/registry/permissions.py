"""Who may do what: one table of roles and actions, and the question `allow`.

Every route names its action (`route.Route`), and the frame asks before the handler runs; nothing else decides. A
subject's rights in a project are those of

    the role that a user has there as a member
    `guest`, for everybody, where the project is public
    the robot's own scopes, within its project
    all, for an administrator of the registry

and a bearer token has only what it was issued for. An unknown project answers as a private one does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from onggi.errors import Forbidden, Unauthorized


class Action(StrEnum):
    """What can be done. Those of a repository are Docker's scopes, or go with one of them."""

    PULL = "pull"
    """Manifests, blobs, tags, referrers, search results, scan reports, bills of materials."""
    PUSH = "push"
    DELETE = "delete"
    """Manifests, tags, and whole repositories; move a tag back."""
    SCAN = "scan"
    """Ask for a scan now."""
    PROJECT_READ = "project:read"
    """Its settings, members, webhooks, deliveries, jobs, activity."""
    PROJECT_EDIT = "project:edit"
    """Settings, rules, policy, webhooks, replication, ignore lists."""
    ROBOTS = "project:robots"
    MEMBERS = "project:members"
    PROJECT_DELETE = "project:delete"
    REGISTRY = "registry"
    """Users, all projects, the audit log of all, garbage collection, advisories."""


class Role(StrEnum):
    GUEST = "guest"
    DEVELOPER = "developer"
    MAINTAINER = "maintainer"
    OWNER = "owner"


_GUEST = frozenset({Action.PULL})
_DEVELOPER = _GUEST | {Action.PUSH, Action.SCAN, Action.PROJECT_READ}
_MAINTAINER = _DEVELOPER | {Action.DELETE, Action.PROJECT_EDIT, Action.ROBOTS}
_OWNER = _MAINTAINER | {Action.MEMBERS, Action.PROJECT_DELETE}

PERMISSIONS: Mapping[Role, frozenset[Action]] = {
    Role.GUEST: _GUEST,
    Role.DEVELOPER: _DEVELOPER,
    Role.MAINTAINER: _MAINTAINER,
    Role.OWNER: _OWNER,
}
"""The one table. docs/reference/registry.md shows it; a test asks the running server for each of its cells."""

ROBOT_ACTIONS = frozenset({Action.PULL, Action.PUSH, Action.DELETE, Action.SCAN})
"""What a robot's scope may hold."""


class SubjectKind(StrEnum):
    ANONYMOUS = "anonymous"
    USER = "user"
    ROBOT = "robot"


@dataclass(frozen=True, slots=True)
class Scope:
    """Actions in one repository, in those that `pattern` fits: `team/app`, `team/*`."""

    pattern: str
    actions: frozenset[Action]

    def covers(self, repository: str) -> bool:
        if self.pattern.endswith("/*"):
            return repository.startswith(self.pattern[:-1])
        return repository == self.pattern


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asks. `name` is what the audit log and `pushed_by` show."""

    kind: SubjectKind
    name: str
    id: int = 0
    admin: bool = False
    scopes: tuple[Scope, ...] = ()
    """A robot's."""
    granted: tuple[Scope, ...] | None = None
    """What a bearer token was issued for; None for who came with a password or a session."""
    must_change_password: bool = False
    """Signed in with the one-time password: may do nothing but choose another."""
    by_secret: bool = False
    """A person signed in with a CLI secret: it makes no other one."""

    @property
    def known(self) -> bool:
        return self.kind is not SubjectKind.ANONYMOUS


ANONYMOUS = Subject(SubjectKind.ANONYMOUS, "anonymous")


@dataclass(frozen=True, slots=True)
class Standing:
    """What the database says of a subject in one project."""

    project: str
    public: bool = False
    role: Role | None = None


class AuthenticationNeeded(Unauthorized):
    """Sign in, or come with a token for more. `scope` is what a token is needed for."""

    def __init__(self, scope: str = "", sentence: str = "authentication required") -> None:
        super().__init__(sentence)
        self.scope = scope


class Denied(Forbidden):
    def __init__(self, action: Action, resource: str) -> None:
        super().__init__(f"requested access to the resource is denied: {action} on {resource or 'the registry'}")


class PasswordNotChosen(Forbidden):
    """Signed in by the one-time password, which is good for nothing but choosing another."""

    def __init__(self) -> None:
        super().__init__(
            "choose a password of your own first: by PUT /api/v1/user/password, or on the registry's machine by "
            "`onggi registry user password`"
        )


def may(subject: Subject, action: Action, standing: Standing, repository: str = "") -> bool:
    """True when `subject` may do `action` in the project, or in its `repository` where one is named.

    Pure: the test of the whole matrix asks this function and the server alike.
    """
    if subject.granted is not None:
        return bool(repository) and any(
            action in scope.actions for scope in subject.granted if scope.covers(repository)
        )
    return holds(subject, action, standing, repository)


def holds(subject: Subject, action: Action, standing: Standing, repository: str = "") -> bool:
    """As `may`, whatever a token was issued for: what the account itself may do."""
    if subject.must_change_password:
        return False
    if subject.admin:
        return True
    if action is Action.REGISTRY:
        return False
    if standing.public and action in PERMISSIONS[Role.GUEST]:
        return True
    if subject.kind is SubjectKind.ROBOT:
        return bool(repository) and any(action in scope.actions for scope in subject.scopes if scope.covers(repository))
    return standing.role is not None and action in PERMISSIONS[standing.role]
