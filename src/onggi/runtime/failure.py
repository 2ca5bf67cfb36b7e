"""Why a container or an exec did not start, in Docker's sentences.

The sentences are matched on: the docker command line ends with 127 where it reads "executable file not found" or
"no such file or directory", with 126 for "permission denied" or "is a directory", else with 125.
"""

from onggi.errors import InvalidParameter, OnggiError, System
from onggi.runtime.init import StartFailure

DELEGATE = "Delegate"
"""The step that `delegate` names."""
_CONTAINER = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: error during container init: "
)
_FOREIGN = "failed to create task for container: failed to create shim task: OCI runtime create failed: "
_FOREIGN_EXEC = "OCI runtime exec failed: "
_LOG = "failed to create task for container: failed to initialize logging driver: "
_EXEC = "OCI runtime exec failed: exec failed: unable to start container process: "


class CommandNotFound(InvalidParameter):
    """The program is not in the container's root."""

    exit_status = 127


class CannotRun(InvalidParameter):
    """The program is there and the kernel does not run it: no permission, a directory, another machine's format."""

    exit_status = 126


class StartFailed(System):
    """The container could not be set up; the program was not reached."""

    exit_status = 128


class RuntimeRefused(System):
    """Another OCI runtime did not do what it was told; the sentence is its own."""


class UnknownUser(System):
    """The user or a group of the process is not in the container's files. Docker answers this with 500."""

    exit_status = 128


class InvalidStart(InvalidParameter):
    """The container could not be set up as asked: a bad user, working directory or mount. Mended by the user."""

    exit_status = 128


class LogFileMissing(StartFailed):
    """A file or socket that the container's logging driver needs is not there."""

    exit_status = 127


def log_failure(text: str) -> OnggiError:
    """The container's logging driver can't begin."""
    kind = LogFileMissing if "no such file or directory" in text else StartFailed  # Docker looks for these words
    return kind(_LOG + text)


def failure(cause: StartFailure, *, exec: bool) -> OnggiError:
    """What the user is told when a process was not reached. `exec`: it was one more process in a container."""
    if cause.step == "ResolveUser":
        return UnknownUser(cause.text)
    if cause.step == "log":
        return log_failure(cause.text)
    if cause.step == DELEGATE:  # another runtime's words, which begin with its own name
        sentence = (_FOREIGN_EXEC if exec else _FOREIGN) + cause.text
    else:
        sentence = (_EXEC if exec else _CONTAINER) + cause.text
    match cause.exit_status:
        case CommandNotFound.exit_status:
            return CommandNotFound(sentence)
        case CannotRun.exit_status:
            return CannotRun(sentence)
    # Without an errno it was not the kernel that refused but the request that made no sense in this root.
    return InvalidStart(sentence) if cause.code == 0 else StartFailed(sentence)
