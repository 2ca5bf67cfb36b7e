"""The account behind a token's subject: its rights as they are now, not as they were when the token was made."""

from onggi.registry import robots, users
from onggi.registry.database import Connection
from onggi.registry.permissions import ANONYMOUS, Subject, SubjectKind
from onggi.registry.tokens import CATALOG


def current(connection: Connection, subject: Subject) -> Subject:
    """The subject with today's rights and what its token was granted; anonymous when the account is gone."""
    if subject.kind is SubjectKind.USER:
        row = users.by_id(connection, subject.id)
        return users.subject_of(row) if row is not None else ANONYMOUS
    if subject.kind is SubjectKind.ROBOT:
        row = robots.by_name(connection, subject.name)
        return robots.subject_of(row) if row is not None else ANONYMOUS
    return subject


def viewer(connection: Connection, subject: Subject) -> Subject:
    """Whose view a list of repositories or projects shows: a token shows its account's only when it was asked for lists."""
    if subject.granted is not None and CATALOG not in subject.granted:
        return ANONYMOUS
    return current(connection, subject)
