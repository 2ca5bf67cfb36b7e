"""Every refusal a user can act on, by category. Imports nothing.

OnggiError
├── NotModified        304  already so; nothing was done
├── InvalidParameter   400  the request is wrong: say what and how to mend it
├── Unauthorized       401  no or bad credentials
├── Forbidden          403  credentials do not suffice
├── NotFound           404  no such object
├── NotAllowed         405  never on this object
├── Conflict           409  not in this state
├── TooLarge           413  over a limit
├── System             500  the machine refused: disk full, kernel error
├── Unsupported        501  not there (yet)
└── Unavailable        503  not now

A category is what `api/failure.py` maps to an HTTP status, once. Particular errors are subclasses beside the code
that raises them; their sentence is Docker's where Docker has one, since scripts match on it.
"""


class OnggiError(Exception):
    """Something the user can act on. `str()` is one sentence without a final newline."""

    exit_status = 1
    """What a command that meets this error ends with, when the container it should run did not start: 125 to 127."""


class NotModified(OnggiError):
    """The object is in the wanted state already."""


class InvalidParameter(OnggiError):
    """The request is malformed or contradicts itself."""


class Unauthorized(OnggiError):
    """No credentials, or bad ones."""


class Forbidden(OnggiError):
    """The credentials do not allow this."""


class NotFound(OnggiError):
    """No such object."""


class NotAllowed(OnggiError):
    """This can never be done to this object."""


class Conflict(OnggiError):
    """The object's present state does not allow this."""


class TooLarge(OnggiError):
    """Something from outside exceeds a limit."""


class System(OnggiError):
    """The machine refused: no space, a kernel error, a lacking feature. The cause is chained."""


class Unsupported(OnggiError):
    """Onggi does not offer this."""


class Unavailable(OnggiError):
    """Not now: the engine is starting, stopping or overloaded."""
