"""What a launch relies on, whatever runs its trials: each claim is held against every executor, with one slot."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from orchestrator.execution.events import Event, Progressed, Started, StopLevel
from orchestrator.execution.executor import Pool
from workers.contract.answers.ending import Ending
from workers.contract.layout import StoreLayout
from workers.contract.outcome import FailureKind
from workers.contract.trial import WorkOrder

Claim = Callable[[Pool, StoreLayout, Sequence[str]], None]


@dataclass
class Told:
    """An overseer that remembers.

    again: Trials that are sent back, and how often still.
    stops: What is asked, given what was heard so far.
    passed_over: Trials for which there is no time.
    """

    again: Counter[str] = field(default_factory=Counter)
    stops: Callable[["Told"], StopLevel] = lambda _: StopLevel.GO_ON
    passed_over: frozenset[str] = frozenset()
    started: list[str] = field(default_factory=list)
    moved: set[str] = field(default_factory=set)
    endings: list[Ending] = field(default_factory=list)

    def hear(self, event: Event) -> None:
        match event:
            case Started(trial_id):
                self.started.append(trial_id)
            case Progressed(trial_id):
                assert trial_id in self.started, "a trial moved on before it began"
                self.moved.add(trial_id)

    def judge(self, ending: Ending) -> bool:
        self.endings.append(ending)
        is_sent_back = self.again[ending.trial_id] > 0
        self.again[ending.trial_id] -= is_sent_back
        return is_sent_back

    def stop_level(self) -> StopLevel:
        return self.stops(self)

    def may_start(self, trial_id: str) -> bool:
        return trial_id not in self.passed_over

    @property
    def ended(self) -> list[str]:
        """Ids, in the order in which attempts ended."""
        return [ending.trial_id for ending in self.endings]


def each_trial_starts_in_its_turn_and_ends_once(pool: Pool, layout: StoreLayout, trial_ids: Sequence[str]) -> None:
    """Its outcome is in the store before it is judged."""
    told = Told()
    pool.run(trial_ids, layout, told)
    assert told.started == list(trial_ids)
    assert sorted(told.ended) == sorted(trial_ids)
    assert {ending.state for ending in told.endings} == {"scored"}
    assert all(layout.outcome(trial_id).is_file() for trial_id in trial_ids)


def what_is_sent_back_runs_again_before_what_waits(pool: Pool, layout: StoreLayout, trial_ids: Sequence[str]) -> None:
    """And what fails is judged with its class, its record in the store."""
    slow, *others = trial_ids
    order = WorkOrder.model_validate_json(layout.order(slow).read_bytes())
    layout.order(slow).write_text(order.model_copy(update={"timeout_s": 1e-9}).model_dump_json())
    told = Told(again=Counter([slow]))
    pool.run(trial_ids, layout, told)
    assert told.started == [slow, slow, *others]
    failures = [ending.failure for ending in told.endings if ending.trial_id == slow]
    assert failures == [FailureKind.TIMEOUT] * 2
    assert len(list(layout.attempts(slow).iterdir())) == 2
    assert not layout.outcome(slow).exists()
    assert all(layout.outcome(trial_id).is_file() for trial_id in others)


def after_drain_nothing_starts_and_what_runs_ends(pool: Pool, layout: StoreLayout, trial_ids: Sequence[str]) -> None:
    """However many wait."""
    told = Told(stops=lambda told: StopLevel.DRAIN if told.started else StopLevel.GO_ON)
    pool.run(trial_ids, layout, told)
    assert told.ended == told.started == list(trial_ids[:1])


def at_now_what_runs_is_abandoned(pool: Pool, layout: StoreLayout, trial_ids: Sequence[str]) -> None:
    """It leaves no outcome, and nobody is asked to judge it."""
    told = Told(stops=lambda told: StopLevel.NOW if told.moved else StopLevel.GO_ON)
    pool.run(trial_ids, layout, told)
    assert told.moved
    assert told.endings == []
    assert not any(layout.outcome(trial_id).exists() for trial_id in trial_ids)


def what_there_is_no_time_for_is_passed_over(pool: Pool, layout: StoreLayout, trial_ids: Sequence[str]) -> None:
    """And the rest runs."""
    told = Told(passed_over=frozenset(trial_ids[:1]))
    pool.run(trial_ids, layout, told)
    assert told.ended == list(trial_ids[1:])


CLAIMS: tuple[Claim, ...] = (
    each_trial_starts_in_its_turn_and_ends_once,
    what_is_sent_back_runs_again_before_what_waits,
    after_drain_nothing_starts_and_what_runs_ends,
    at_now_what_runs_is_abandoned,
    what_there_is_no_time_for_is_passed_over,
)
