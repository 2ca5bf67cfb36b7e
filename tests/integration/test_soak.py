"""Random valid commands on many containers, and the engine killed amid them, against a model of Docker's state machine.

Some steps, the same each time, by default; ONGGI_TESTS_WHOLE=1 goes on with others for twenty minutes, or as many
seconds as ONGGI_SOAK_S says.
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.conditions import until
from tests.engine import Engine
from tests.http import Api
from tests.integration.test_containers_crash import cgroups, left_on_disk
from tests.soak import KINDS, LABEL, EventLog, Subject

MOST = 30
AT_ONCE = 6
SELDOM = 3
WHOLE_S = 1200.0
SOAK_S = float(os.environ.get("ONGGI_SOAK_S") or (WHOLE_S if os.environ.get("ONGGI_TESTS_WHOLE") == "1" else 0))
SHORT = settings(
    max_examples=3, stateful_step_count=25, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
# The first example is always the simplest; each of the others goes its own way.
LONG = settings(SHORT, max_examples=4, stateful_step_count=150, derandomize=False)
NETWORKS = {"none": 2, "bridge": 1, "soak-first": 1}


class Soak(RuleBasedStateMachine):
    """Containers come and go; after each step all of them are as the model says."""

    engine: Engine
    made = 0
    commands = 0

    def __init__(self) -> None:
        super().__init__()
        self.api = Api(self.engine.socket)
        self.log = EventLog(self.engine.socket)
        self.log.follow()
        until(lambda: self.api.ok("GET", "/info").json()["NEventsListener"] == 1, "the events are followed")
        self.subjects: list[Subject] = []
        self.pool = ThreadPoolExecutor(AT_ONCE)

    def _all_at_once(self, commands: list[Callable[[], None]]) -> None:
        list(self.pool.map(lambda command: command(), commands))

    def _checked(self, subjects: list[Subject]) -> None:
        self._all_at_once([subject.check for subject in subjects])
        self.subjects = [subject for subject in self.subjects if subject.state != "gone"]

    @precondition(lambda self: len(self.subjects) <= MOST - 5)
    @rule(data=strategies.data(), count=strategies.integers(1, 5))
    def create(self, data: strategies.DataObject, count: int) -> None:
        new = []
        for _ in range(count):
            kind = KINDS[data.draw(strategies.sampled_from(sorted(KINDS)))]
            policy = data.draw(strategies.sampled_from(kind.policies))
            network = data.draw(
                strategies.sampled_from([name for name, times in NETWORKS.items() for _ in range(times)])
            )
            Soak.made += 1
            new.append(Subject(self.api, self.log, f"soak-{Soak.made}", kind, policy, network))
        self._all_at_once([subject.create for subject in new])
        self.subjects += new
        self._checked(new)

    @precondition(lambda self: self.subjects)
    @rule(data=strategies.data(), count=strategies.integers(1, AT_ONCE))
    def command(self, data: strategies.DataObject, count: int) -> None:
        """Some containers get a command each, at once."""
        chosen = data.draw(
            strategies.lists(
                strategies.sampled_from(range(len(self.subjects))), min_size=1, max_size=min(count, len(self.subjects)),
                unique=True,
            )
        )  # fmt: skip
        subjects = [self.subjects[index] for index in chosen]
        commands = []
        for subject in subjects:
            possible = subject.commands()
            commands.append(possible[data.draw(strategies.integers(0, len(possible) - 1))])
        self._all_at_once(commands)
        Soak.commands += len(commands)
        self._checked(subjects)

    @precondition(lambda self: any(subject.state == "exited" for subject in self.subjects))
    @rule(chance=strategies.integers(1, 8))
    def prune(self, chance: int) -> None:
        if chance != SELDOM:
            return  # else hardly any container lives to see much
        ended = [subject for subject in self.subjects if subject.state in ("created", "exited")]
        found = self.api.ok("POST", "/containers/prune", filters=f'{{"label":["{LABEL}"]}}').json()["ContainersDeleted"]
        assert set(found) == {subject.id for subject in ended}
        for subject in ended:
            subject.is_removed()
        self._checked(ended)

    @precondition(lambda self: self.subjects)
    @rule(data=strategies.data(), chance=strategies.integers(1, 8))
    def kill_engine(self, data: strategies.DataObject, chance: int) -> None:
        """kill -9; some programs end while there is no engine."""
        if chance > SELDOM:
            return  # a start takes as long as many commands
        running = [subject for subject in self.subjects if subject.state == "running" and subject.returns < 3]
        dying = (
            data.draw(strategies.lists(strategies.sampled_from(running), max_size=2, unique=True)) if running else []
        )
        pids = [subject.pid for subject in self.subjects]
        self.engine.kill()
        self.log.join()
        for subject, pid in zip(self.subjects, pids, strict=True):
            if subject in dying:
                os.kill(pid, 9)
        self.engine.start()
        self.log.follow()
        for subject, pid in zip(self.subjects, pids, strict=True):
            subject.after_engine_death(pid, died=subject in dying)
        self._checked(list(self.subjects))

    @invariant()
    def every_container_is_listed(self) -> None:
        listed = self.api.ok("GET", "/containers/json", all=1).json()
        assert {(entry["Id"], entry["Names"][0], entry["State"]) for entry in listed} == {
            (subject.id, f"/{subject.name}", subject.state) for subject in self.subjects
        }

    def teardown(self) -> None:
        """Everything can be removed, in whatever state it is."""
        try:
            left = [subject for subject in self.subjects if subject.state != "gone"]
            self._all_at_once([subject.remove_by_force for subject in left])
            self._checked(left)
        finally:
            self.pool.shutdown()
            self.log.leave()
            for entry in self.api.ok("GET", "/containers/json", all=1).json():  # of a step that has failed
                self.api("DELETE", f"/containers/{entry['Id']}", force=1)
        nothing_is_left(self.engine)


def links(engine: Engine) -> list[str]:
    """Ends of veth pairs that are ports of a bridge of the engine's: those of containers."""
    bridges = {path.parent for path in Path("/sys/class/net").glob("*/bridge")}
    ours = [path for path in bridges if path.name == engine.bridge or path.name.startswith(engine.bridge)]
    return [port.name for bridge in ours for port in (bridge / "brif").iterdir()]


def nothing_is_left(engine: Engine) -> None:
    """Of containers that were removed: no directory, cgroup, shim."""
    places = [engine.exec_root / "containers", engine.data_root / "containers"]
    until(lambda: not left_on_disk(engine), "no directory is left")
    until(lambda: not [entry for place in places for entry in place.iterdir()], "no file is left")
    until(lambda: not cgroups(engine), "no cgroup is left")


def seconds_left(begun: float) -> float:
    return SOAK_S - (time.monotonic() - begun)


@pytest.fixture
def soaked(own_engine: Engine) -> Iterator[Engine]:
    api = Api(own_engine.socket)
    for network in ("soak-first", "soak-second"):
        api.ok("POST", "/networks/create", {"Name": network})
    yield own_engine
    for network in ("soak-first", "soak-second"):
        api.ok("DELETE", f"/networks/{network}")


@pytest.mark.timeout(WHOLE_S * 2)
def test_no_divergence_from_the_model(soaked: Engine) -> None:
    class Bound(Soak):
        engine = soaked

    begun = time.monotonic()
    run_state_machine_as_test(Bound, settings=SHORT)
    while seconds_left(begun) > 0:
        run_state_machine_as_test(Bound, settings=LONG)
    print(f"{Soak.made} containers, {Soak.commands} commands in {time.monotonic() - begun:.0f} s")  # shown by -s
