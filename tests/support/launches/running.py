"""Runs orders to their end in this process, and reads back what they left."""

from collections.abc import Callable
from pathlib import Path

from workers.attempt.runner import Runner
from workers.contract.answers.ending import Ending
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, Outcome
from workers.contract.trial import TrialSpec, WorkOrder
from workers.work.bench import unheard


def finish(order: WorkOrder, *, clock: Callable[[], float] | None = None) -> Ending:
    runner = Runner(n_threads=1) if clock is None else Runner(n_threads=1, clock=clock)
    return unheard(runner.run(order))


def attempts_of(store: Path, spec: TrialSpec) -> list[Attempt]:
    folder = StoreLayout(store).attempts(spec.trial_id)
    return [Attempt.model_validate_json(path.read_bytes()) for path in sorted(folder.glob("*.json"))]


def committed(store: Path, spec: TrialSpec) -> tuple[Outcome, Path]:
    """The outcome, and the folder of the attempt that it names."""
    layout = StoreLayout(store)
    outcome = Outcome.load(layout.outcome(spec.trial_id))
    return outcome, layout.trial(spec.trial_id) / outcome.attempt
