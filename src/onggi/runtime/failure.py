"""Why a container or an exec did not start, in Docker's sentences.

The sentences are matched on: the docker command line ends with 127 where it reads "executable file not found" or
"no such file or directory", with 126 for "permission denied" or "is a directory", else with 125.
"""

from onggi.errors import InvalidParameter, System


class CommandNotFound(InvalidParameter):
    """The program is not in the container's root."""

    exit_status = 127


class CannotRun(InvalidParameter):
    """The program is there and the kernel does not run it: no permission, a directory, another machine's format."""

    exit_status = 126


class StartFailed(System):
    """The container could not be set up; the program was not reached."""

    exit_status = 128


class InvalidStart(InvalidParameter):
    """The container could not be set up as asked: a bad user, working directory or mount. Mended by the user."""

    exit_status = 128
