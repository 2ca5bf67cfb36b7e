"""What an upstream's refusal is to our client: a category of ours, and a sentence that says whose refusal it is."""

from onggi.distribution.address import AddressRefused, NotPermitted
from onggi.distribution.failure import Answer, AnswerBusy, AnswerDenied, AnswerNotFound, AnswerUnauthorized, Unreachable
from onggi.errors import Forbidden, NotAllowed, NotFound, OnggiError, Unavailable
from onggi.registry.remotes import Remote


class UpstreamUnavailable(Unavailable):
    """It can't be reached, or fails: and what is asked for is not here."""

    code = "UNAVAILABLE"


class UpstreamBusy(Unavailable):
    """It has had enough of us for now (429)."""

    code = "TOOMANYREQUESTS"

    def __init__(self, sentence: str, retry_after_s: float | None) -> None:
        super().__init__(sentence)
        self.headers = {"Retry-After": f"{max(retry_after_s, 1):.0f}"} if retry_after_s is not None else {}


class UpstreamDenies(Forbidden):
    code = "DENIED"


class UpstreamHasNot(NotFound):
    def __init__(self, sentence: str, code: str) -> None:
        super().__init__(sentence)
        self.code = code


class CacheTakesNoPush(NotAllowed):
    code = "UNSUPPORTED"

    def __init__(self, project: str, namespace: str) -> None:
        super().__init__(
            f"the project {project} is a cache of {namespace}: it takes no pushes; push to {namespace}, or to another project"
        )


def permanent(error: OnggiError) -> bool:
    """The upstream has spoken: what is here of it must not be given out instead."""
    return isinstance(error, AnswerNotFound | AnswerDenied | AnswerUnauthorized)


def of(error: OnggiError, remote: Remote, code: str) -> OnggiError:
    """`code` is that of what is not found: MANIFEST_UNKNOWN, BLOB_UNKNOWN, NAME_UNKNOWN."""
    sentence = f"the upstream {remote.namespace} says: {error}"
    if isinstance(error, AnswerNotFound):
        return UpstreamHasNot(sentence, code)
    if isinstance(error, AnswerDenied | AnswerUnauthorized):
        return UpstreamDenies(sentence)
    if isinstance(error, AnswerBusy) and (error.status == 429 or error.first == "TOOMANYREQUESTS"):
        return UpstreamBusy(sentence, error.retry_after_s)
    if isinstance(error, Answer):
        return UpstreamUnavailable(sentence)
    if isinstance(error, NotPermitted | AddressRefused):
        return UpstreamUnavailable(
            f"the upstream {remote.namespace} is not reached: {error}; the registry's owner may allow it by --remote-network"
        )
    if isinstance(error, Unreachable):
        return UpstreamUnavailable(f"the upstream {remote.namespace} can't be reached: {error}")
    return UpstreamUnavailable(f"the upstream {remote.namespace} sent what can't be used: {error}")
