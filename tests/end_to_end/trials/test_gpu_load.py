"""What a trial takes of a GPU is found by its own work in short, here under a GPU that is played."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from support.studies.orders import comparator_spec, micro_spec, micro_training, order_of
from workers.attempt import gpu_load
from workers.attempt.gpu_load import MOST_PARTS, MOST_STEPS, CarryOut, measure
from workers.contract.answers.readiness import GpuLoad
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import Method, TrialSpec
from workers.work.bench import Predicting, Work
from workers.work.training_set import TrainingSet

FEWER_TOKENS = 8_192  # than all prompts of the micro study have


class Played:
    """A GPU that is busy for a tenth of the time."""

    def total_bytes(self) -> int:
        return 1000

    def used_bytes(self) -> int:
        return 300

    def busy_s(self, work: Callable[[], object]) -> float:
        seconds = work()
        assert isinstance(seconds, float)
        return seconds / 10


class Watched:
    """Work that is not done, but looked at; out of memory in fewer parts than this."""

    def __init__(self, *, fits_in: int = 1, error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.seen: list[tuple[Work, TrainingSet]] = []
        self._fits_in, self._error = fits_in, error

    def __call__(self, work: Work, taught: TrainingSet) -> Predicting:
        yield from ()
        self.seen.append((work, taught))
        if work.n_micro_batches < self._fits_in:
            raise self._error
        return None  # type: ignore[return-value]  # nobody looks at it


def measured(store: Path, *specs: TrialSpec, carry_out: CarryOut) -> GpuLoad:
    return measure([order_of(spec, store) for spec in specs], gauge=Played(), n_cpus=4, carry_out=carry_out)


@pytest.mark.parametrize(
    "spec",
    [micro_spec(Supervision.STEP_BY_STEP), micro_spec(method=Method.HEAD), comparator_spec(Method.ZERO_SHOT)],
    ids=lambda spec: str(spec.method),
)
def test_every_method_is_measured_by_its_own_work_and_leaves_nothing(store: Path, spec: TrialSpec) -> None:
    before = sorted(store.rglob("*"))
    load = measure([order_of(spec, store)], gauge=Played(), n_cpus=4)
    assert (load.fits, load.peak_bytes, load.room_bytes, load.n_cpus) == (True, 300, 900, 4)
    assert load.busy_s > 0
    assert load.wall_s > 0
    assert sorted(store.rglob("*")) == before


def test_the_heaviest_of_the_trials_is_measured(store: Path) -> None:
    watched, larger = Watched(), micro_training(batch_size=16)
    specs = [
        micro_spec(Supervision.STEP_BY_STEP),
        micro_spec(Supervision.STEP_BY_STEP, training=larger),
        micro_spec(training=larger),
        comparator_spec(Method.ZERO_SHOT),
    ]
    measured(store, *specs, carry_out=watched)
    for work, taught in watched.seen:
        assert (work.spec.supervision, work.training.batch_size) == (Supervision.STEP_BY_STEP, 16)
        assert len(taught.rows) == 16


@pytest.fixture
def few_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_load, "MOST_TOKENS", FEWER_TOKENS)


@pytest.mark.usefixtures("few_are_read")
def test_it_trains_on_the_longest_examples_and_reads_the_longest_prompts(store: Path) -> None:
    watched, spec = Watched(), micro_spec(Supervision.FREE_FORM)
    measured(store, spec, carry_out=watched)
    work, taught = watched.seen[0]
    whole = Work(spec, work.layout, work.folder, work.bench)

    def lengths(rows: TrainingSet) -> list[int]:
        texts = zip(whole.prompt_tokens(rows.rows), whole.rationale_tokens(rows.rows), strict=True)
        return sorted(len(prompt) + len(rationale) for prompt, rationale in texts)

    assert lengths(taught) == lengths(TrainingSet.of(whole))[-8:]
    read, every = (sorted(map(len, each.prompt_tokens(each.scored_rows.rows))) for each in (work, whole))
    assert len(read) < len(every)
    assert read == every[-(FEWER_TOKENS // every[-1]) :]


@pytest.mark.usefixtures("few_are_read")
def test_steps_and_scored_prompts_stand_in_the_proportion_of_the_trial(store: Path) -> None:
    watched, spec = Watched(), micro_spec(training=micro_training(steps=16))
    measured(store, spec, carry_out=watched)
    work, _ = watched.seen[0]
    whole = Work(spec, work.layout, work.folder, work.bench)
    assert 2 < work.training.steps < MOST_STEPS
    share = len(work.scored_rows.rows) / len(whole.scored_rows.rows)
    assert work.training.steps == pytest.approx(16 * share, abs=0.5)


def test_a_batch_that_does_not_fit_is_tried_in_more_parts(store: Path) -> None:
    watched = Watched(fits_in=4)
    assert measured(store, micro_spec(), carry_out=watched).fits
    assert [work.n_micro_batches for work, _ in watched.seen] == [1, 2, 4, 4, 4]


def test_a_base_that_fits_in_no_parts_is_said_to_be_too_large(store: Path) -> None:
    load = measured(store, micro_spec(), carry_out=Watched(fits_in=MOST_PARTS + 1))
    assert (load.fits, load.peak_bytes, load.room_bytes) == (False, 300, 900)


def test_what_breaks_otherwise_is_no_want_of_memory(store: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        measured(store, micro_spec(), carry_out=Watched(fits_in=2, error=ZeroDivisionError))
