"""The states of a container, what can be asked of it in each, and the one table that says so.

                 start                 pause
    created ───────────► running ◄────────────► paused
       │                 ▲  │  ▲     unpause       │
       │           start │  │  └── revive ── restarting        exit: the kernel's verb, it comes when
       │                 │  ▼ exit               ▲  │          the container's first process ends
       │               exited ◄──────────────────┼──┘
       ▼                 ▼           exit, and the policy says so
    removing (any state; running and paused only by force)

Answers to what the table does not hold are Docker's, word for word (observed on Docker 28.5.2).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from onggi.errors import Conflict, NotModified, OnggiError, System


class State(StrEnum):
    """Docker's words for State.Status."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    """Its policy will start it again after a pause."""
    EXITED = "exited"
    REMOVING = "removing"
    DEAD = "dead"
    """A removal failed half-way; only another removal is possible."""


class Verb(StrEnum):
    """What is asked of a container; `revive`, `exit` and `end` come from us and the kernel, the others from users."""

    START = "start"
    STOP = "stop"
    KILL = "kill"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    RESTART = "restart"
    REMOVE = "remove"
    FORCE_REMOVE = "force-remove"
    UPDATE = "update"
    RENAME = "rename"
    EXEC = "exec"
    ATTACH = "attach"
    RESIZE = "resize"
    TOP = "top"
    REVIVE = "revive"
    EXIT = "exit"
    EXIT_TO_RESTART = "exit-to-restart"
    FAIL_REMOVE = "fail-remove"


_C, _R, _P, _T, _E, _D = (
    State.CREATED, State.RUNNING, State.PAUSED, State.RESTARTING, State.EXITED, State.DEAD,
)  # fmt: skip

TRANSITIONS: Mapping[tuple[State, Verb], State] = {
    (_C, Verb.START): _R, (_E, Verb.START): _R, (_T, Verb.REVIVE): _R,
    (_R, Verb.STOP): _E, (_P, Verb.STOP): _E, (_T, Verb.STOP): _E,
    (_R, Verb.KILL): _R, (_P, Verb.KILL): _P, (_T, Verb.KILL): _T,
    (_R, Verb.PAUSE): _P, (_P, Verb.UNPAUSE): _R,
    (_C, Verb.RESTART): _R, (_R, Verb.RESTART): _R, (_P, Verb.RESTART): _R, (_E, Verb.RESTART): _R,
    (_T, Verb.RESTART): _R,
    (_R, Verb.EXIT): _E, (_P, Verb.EXIT): _E, (_T, Verb.EXIT): _E,
    (_R, Verb.EXIT_TO_RESTART): _T, (_P, Verb.EXIT_TO_RESTART): _T,
    # A start that fails before the program runs leaves what was: created stays created in Docker's `ps`.
    (_C, Verb.EXIT): _C,
    (_C, Verb.REMOVE): State.REMOVING, (_E, Verb.REMOVE): State.REMOVING, (_D, Verb.REMOVE): State.REMOVING,
    **{(state, Verb.FORCE_REMOVE): State.REMOVING for state in (_C, _R, _P, _T, _E, _D)},
    (State.REMOVING, Verb.FAIL_REMOVE): _D,
    **{(state, verb): state for state in (_C, _R, _P, _T, _E) for verb in (Verb.UPDATE, Verb.RENAME)},
    (_R, Verb.EXEC): _R,
    **{(state, Verb.ATTACH): state for state in (_C, _R, _E)},
    (_R, Verb.RESIZE): _R, (_P, Verb.RESIZE): _P,
    (_R, Verb.TOP): _R, (_P, Verb.TOP): _P,
}  # fmt: skip


class Named(Protocol):
    """What a refusal says of a container."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def state(self) -> State: ...


def is_running(state: State) -> bool:
    """Docker's `State.Running`: it has a process, or will have one again without being asked."""
    return state in (State.RUNNING, State.PAUSED, State.RESTARTING)


@dataclass(frozen=True, slots=True)
class Called:
    """A container as the user called it: some of Docker's refusals repeat the word that was used, be it name or ID."""

    id: str
    name: str
    state: State


def called(container: Named, word: str) -> Called:
    """For `require`: the same container, its name replaced by `word`."""
    return Called(container.id, word, container.state)


class NotRunning(Conflict):
    def __init__(self, container_id: str) -> None:
        super().__init__(f"container {container_id} is not running")


class AlreadyInState(NotModified):
    """The answer has no body; this is for our own log."""


class NotPaused(System):
    """Docker answers this mistake with 500."""


def _restarting(container: Named) -> OnggiError:
    return Conflict(f"Container {container.id} is restarting, wait until the container is running")


def _not_running(container: Named) -> OnggiError:
    return NotRunning(container.id)


def _already(container: Named) -> OnggiError:
    return AlreadyInState(f"container {container.id} is {container.state} already")


def _why_not_remove(container: Named) -> OnggiError:
    why = {
        State.RUNNING: "container is running: stop the container before removing or force remove",
        State.RESTARTING: "container is restarting: stop the container before removing or force remove",
        State.PAUSED: "container is paused and must be unpaused first",
    }[container.state]
    return Conflict(f'cannot remove container "{container.name}": {why}')


def _gone(verb: Verb) -> Callable[[Named], OnggiError]:
    if verb is Verb.START or verb is Verb.RESTART:
        return lambda container: Conflict("container is marked for removal and cannot be started")
    if verb is Verb.UPDATE:
        return lambda container: Conflict(
            f'cannot update container {container.id}: container is marked for removal and cannot be "update"'
        )
    if verb is Verb.REMOVE or verb is Verb.FORCE_REMOVE:
        return lambda container: Conflict(f"removal of container {container.id} is already in progress")
    if verb is Verb.STOP:
        return _already
    return _not_running


_REFUSALS: Mapping[tuple[State, Verb], Callable[[Named], OnggiError]] = {
    (_R, Verb.START): _already,
    (_T, Verb.START): _already,
    (_P, Verb.START): lambda container: Conflict("cannot start a paused container, try unpause instead"),
    (_C, Verb.STOP): _already,
    (_E, Verb.STOP): _already,
    **{(state, Verb.KILL): _not_running for state in (_C, _E, _D, State.REMOVING)},
    (_P, Verb.PAUSE): lambda container: Conflict(f"Container {container.id} is already paused"),
    (_T, Verb.PAUSE): _restarting,
    **{
        (state, Verb.UNPAUSE): lambda container: NotPaused(f"Container {container.id} is not paused")
        for state in State
        if state is not _P
    },
    **{(state, Verb.REMOVE): _why_not_remove for state in (_R, _P, _T)},
    (_P, Verb.EXEC): lambda container: Conflict(
        f"Container {container.name} is paused, unpause the container before exec"
    ),
    (_T, Verb.EXEC): _restarting,
    (_P, Verb.ATTACH): lambda container: Conflict(
        f"container {container.name} is paused, unpause the container before attach"
    ),
    (_T, Verb.ATTACH): lambda container: Conflict(
        f"container {container.name} is restarting, wait until the container is running"
    ),
    (_T, Verb.RESIZE): _not_running,
    (_T, Verb.TOP): _restarting,
}


def refusal(container: Named, verb: Verb) -> OnggiError:
    """Docker's answer to a verb that the container's state does not allow."""
    known = _REFUSALS.get((container.state, verb))
    if known is None:
        known = _gone(verb) if container.state in (State.REMOVING, State.DEAD) else _not_running
    return known(container)


def require(container: Named, verb: Verb) -> State:
    """The state that `verb` leads to. Raises Docker's refusal where the table has no such pair."""
    target = TRANSITIONS.get((container.state, verb))
    if target is None:
        raise refusal(container, verb)
    return target
