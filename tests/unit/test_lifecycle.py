"""States, verbs and refusals: the table against what Docker 28.5.2 answers (each pair was tried on it)."""

from dataclasses import dataclass

import pytest

from onggi.engine.lifecycle import TRANSITIONS, State, Verb, is_running, refusal, require
from onggi.errors import Conflict, NotModified, OnggiError, System

ID = "f" * 64
FROM_USERS = [verb for verb in Verb if verb not in (Verb.REVIVE, Verb.EXIT, Verb.EXIT_TO_RESTART, Verb.FAIL_REMOVE)]


@dataclass(frozen=True)
class Thing:
    state: State
    id: str = ID
    name: str = "web"


DOCKER_SAYS = {
    ("created", "stop"): (NotModified, None),
    ("created", "kill"): (Conflict, f"container {ID} is not running"),
    ("created", "pause"): (Conflict, f"container {ID} is not running"),
    ("created", "unpause"): (System, f"Container {ID} is not paused"),
    ("created", "exec"): (Conflict, f"container {ID} is not running"),
    ("created", "resize"): (Conflict, f"container {ID} is not running"),
    ("created", "top"): (Conflict, f"container {ID} is not running"),
    ("running", "start"): (NotModified, None),
    ("running", "unpause"): (System, f"Container {ID} is not paused"),
    ("running", "remove"): (
        Conflict,
        'cannot remove container "web": container is running: stop the container before removing or force remove',
    ),
    ("paused", "start"): (Conflict, "cannot start a paused container, try unpause instead"),
    ("paused", "pause"): (Conflict, f"Container {ID} is already paused"),
    ("paused", "remove"): (
        Conflict, 'cannot remove container "web": container is paused and must be unpaused first',
    ),
    ("paused", "exec"): (Conflict, "Container web is paused, unpause the container before exec"),
    ("paused", "attach"): (Conflict, "container web is paused, unpause the container before attach"),
    ("exited", "stop"): (NotModified, None),
    ("exited", "kill"): (Conflict, f"container {ID} is not running"),
    ("exited", "pause"): (Conflict, f"container {ID} is not running"),
    ("exited", "unpause"): (System, f"Container {ID} is not paused"),
    ("exited", "exec"): (Conflict, f"container {ID} is not running"),
    ("restarting", "start"): (NotModified, None),
    ("restarting", "pause"): (Conflict, f"Container {ID} is restarting, wait until the container is running"),
    ("restarting", "unpause"): (System, f"Container {ID} is not paused"),
    ("restarting", "remove"): (
        Conflict,
        'cannot remove container "web": container is restarting: stop the container before removing or force remove',
    ),
    ("restarting", "exec"): (Conflict, f"Container {ID} is restarting, wait until the container is running"),
    ("restarting", "attach"): (Conflict, "container web is restarting, wait until the container is running"),
    ("restarting", "top"): (Conflict, f"Container {ID} is restarting, wait until the container is running"),
}  # fmt: skip


@pytest.mark.parametrize("pair", DOCKER_SAYS)
def test_refusals_are_dockers(pair: tuple[str, str]) -> None:
    kind, sentence = DOCKER_SAYS[pair]
    with pytest.raises(kind) as caught:
        require(Thing(State(pair[0])), Verb(pair[1]))
    if sentence is not None:
        assert str(caught.value) == sentence


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("verb", FROM_USERS)
def test_every_pair_is_allowed_or_refused_in_a_sentence(state: State, verb: Verb) -> None:
    thing = Thing(state)
    if (state, verb) in TRANSITIONS:
        assert require(thing, verb) is TRANSITIONS[state, verb]
    else:
        error = refusal(thing, verb)
        assert isinstance(error, OnggiError)
        assert str(error)


def test_what_runs_can_end_and_what_does_not_can_go() -> None:
    for state in (State.RUNNING, State.PAUSED):
        assert (state, Verb.EXIT) in TRANSITIONS
    for state in State:
        if state is not State.REMOVING:
            assert TRANSITIONS[state, Verb.FORCE_REMOVE] is State.REMOVING


def test_running_is_dockers_running() -> None:
    assert [state for state in State if is_running(state)] == [State.RUNNING, State.PAUSED, State.RESTARTING]
