"""Before a launch that must end abandons its trials, what trains leaves a resume point."""

from orchestrator.execution.events import Ended, Progressed, StopLevel
from orchestrator.launch.trials.saving import WITHIN_S, Saving
from workers.contract.answers.ending import Ending
from workers.contract.outcome import Progress


def trains(trial_id: str, *, is_saved: bool = False) -> Progressed:
    return Progressed(trial_id, Progress(phase="training", done=1, total=9, is_saved=is_saved))


def test_whoever_trains_is_waited_for_until_it_has_saved() -> None:
    saving = Saving()
    saving.hear(trains("a"))
    saving.hear(trains("b"))
    assert saving.level(StopLevel.SAVE) is StopLevel.SAVE
    saving.hear(trains("a", is_saved=True))
    assert saving.level(StopLevel.SAVE) is StopLevel.SAVE
    saving.hear(Ended(Ending(trial_id="b", state="scored")))
    assert saving.level(StopLevel.SAVE) is StopLevel.NOW


def test_what_does_not_train_is_not_waited_for() -> None:
    saving = Saving()
    saving.hear(trains("a"))
    saving.hear(Progressed("a", Progress(phase="scoring", done=1, total=9)))
    assert saving.level(StopLevel.SAVE) is StopLevel.NOW


def test_a_worker_that_does_not_answer_is_abandoned_after_a_minute() -> None:
    now = [0.0]
    saving = Saving(clock=lambda: now[0])
    saving.hear(trains("a"))
    assert saving.level(StopLevel.SAVE) is StopLevel.SAVE
    now[0] = WITHIN_S
    assert saving.level(StopLevel.SAVE) is StopLevel.NOW


def test_other_levels_are_what_is_asked() -> None:
    saving = Saving()
    saving.hear(trains("a"))
    assert [saving.level(level) for level in (StopLevel.GO_ON, StopLevel.DRAIN, StopLevel.NOW)] == [0, 1, 3]
