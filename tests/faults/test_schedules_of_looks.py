"""A study that looks, under the same faults: each look is decided once, and nothing runs that it spared."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from orchestrator.analysis.checks.phases import planned_phases
from orchestrator.store.sealing import read_looks
from support.schedules.scenes import Clear, Scored, looking
from support.schedules.schedule import N_STEPS, Schedule, pick, run_schedules
from support.schedules.worlds import HOSTS


class Looking(Schedule):
    """One store whose study may end at its look, or go on; faults strike before it, in it and after it."""

    def __init__(self) -> None:
        super().__init__(looking(Scored))
        self.decided = b""

    @initialize(host=st.sampled_from(HOSTS), n_rounds=st.integers(0, 60), is_clear=st.booleans())
    def begin(self, host: str, n_rounds: int, is_clear: bool) -> None:
        self.world.scene = looking(Clear if is_clear else Scored)
        super().begin(host, n_rounds)

    @rule(which=st.integers(0, 11), n_steps=N_STEPS)
    def go_on_to_the_look(self, which: int, n_steps: int) -> None:
        """Every worker ends; one driver then stands before its look, in it, or a few steps beyond."""
        for worker in [worker for worker in self.workers if not worker.is_paused]:
            self.world.go_on(worker, 1000)
        for driver in pick([driver for driver in self.ready if driver in self.world.drivers], which):
            self._note("to the look", f"{driver} goes on to its look and takes {n_steps} steps")
            self.world.go_on(driver, 1000, stops_at="os.link")
            self.world.go_on(driver, n_steps)

    @invariant()
    def a_look_is_decided_once_and_nothing_runs_before_it_or_against_it(self) -> None:
        path = self.layout.look(1)
        found = path.read_bytes() if path.exists() else b""
        assert not self.decided or found == self.decided, "the decision of a look was changed"
        self.decided = found
        looks = read_looks(self.layout)
        goes_on = bool(looks) and looks[0].decision == "go_on"
        beyond = {worker.trial_id for worker in self.world.workers} - self.due
        assert goes_on or not beyond, f"{beyond} ran {'though they were spared' if looks else 'before the look'}"

    @property
    def due(self) -> frozenset[str]:
        """By the look."""
        scene = self.world.scene
        return planned_phases(scene.study, scene.design)[0].trial_ids

    def _heal(self) -> None:
        """And a second launch runs nothing."""
        super()._heal()
        (look,) = read_looks(self.layout)
        self.seen[look.decision] += 1
        assert set(look.trial_ids) == self.due
        done = {trial_id for trial_id in self.world.scene.design.by_id if self.layout.outcome(trial_id).exists()}
        assert done == (self.due if look.decision == "end" else self.world.scene.design.by_id.keys())
        n_workers, driver = len(self.world.workers), self.world.start_driver("b")
        while driver.is_alive:
            self.world.go_on(driver, 300)
        assert len(self.world.workers) == n_workers, "a second launch ran something"
        self.a_look_is_decided_once_and_nothing_runs_before_it_or_against_it()


def test_random_schedules_decide_a_look_once(capsys: pytest.CaptureFixture[str]) -> None:
    seen = run_schedules(Looking, 20, capsys)
    assert seen["end"] and seen["go_on"]


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_many_schedules_decide_a_look_once(capsys: pytest.CaptureFixture[str]) -> None:
    run_schedules(Looking, 500, capsys, is_search=True)
