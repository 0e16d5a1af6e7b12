"""Where labels alone were shown to teach: on tuning data, with a power of its own, and within a declared share."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.analysis.checks.check import auc_of
from orchestrator.analysis.checks.learnt import LearningAt, learning_by_place, learning_check
from orchestrator.analysis.findings import Findings, analyse
from orchestrator.analysis.results import Predictions, Results, load_results
from orchestrator.design.grid import Design, expand
from orchestrator.store.outcomes import read_outcomes
from orchestrator.study.study import Checks, Study, load_study
from support.places import SWEEPS
from support.stores.builders import build_store, usual_signal
from workers.contract.errors import InputError
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import Trial

N_REPLICATES = 100
USUAL = Checks()


@pytest.fixture(scope="module")
def study() -> Study:
    usual = load_study(SWEEPS / "quickstart.yaml")
    return usual.model_copy(update={"checks": Checks(permutations=4)})


@pytest.fixture(scope="module")
def design(study: Study) -> Design:
    return expand(study)


@pytest.fixture(scope="module")
def results(study: Study, design: Design, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return stored(tmp_path_factory.mktemp("stores"), study, design, usual_signal)


def stored(
    folder: Path, study: Study, design: Design, signal: Callable[[Trial], float], n_participants: int = 600
) -> Results:
    layout = build_store(folder, study, design, signal=signal, n_participants=n_participants)
    return load_results(layout, design, outcomes=read_outcomes(layout).committed, attempts={})


def judged(design: Design, results: Results, asked: Checks = USUAL) -> tuple[LearningAt, ...]:
    return learning_by_place(design, results, asked=asked, n_replicates=N_REPLICATES, seed=0)


def teaching(large: float, small: float) -> Callable[[Trial], float]:
    """So much of the risk is learnt from labels at the two train sizes."""

    def signal(trial: Trial) -> float:
        if trial.role == "grid" and trial.spec.supervision is Supervision.LABEL_ONLY:
            return large if trial.spec.train_size == 640 else small
        return usual_signal(trial)

    return signal


def test_each_train_size_is_judged_by_itself(study: Study, design: Design, tmp_path: Path) -> None:
    found = judged(design, stored(tmp_path, study, design, teaching(1.5, 0.0)))
    assert [(place.train_size, place.n_trials, place.standing) for place in found] == [
        (128, 2, "not shown"),
        (640, 2, "learnt"),
    ]
    assert learning_check(found, asked=USUAL).passed is True
    assert "1 learnt, 1 were not shown to, and 0 can't" in learning_check(found, asked=USUAL).statement


def test_held_out_participants_decide_nothing(design: Design, results: Results) -> None:
    def turned(table: Predictions) -> Predictions:
        risks = {one: np.where(table.split == "held_out", 1 - risks, risks) for one, risks in table.risks.items()}
        return replace(table, risks=risks)

    tables = {trial_id: turned(table) for trial_id, table in results.predictions.items()}
    assert judged(design, replace(results, predictions=tables)) == judged(design, results)


def test_every_seed_counts(design: Design, results: Results) -> None:
    large = judged(design, results)[1]
    arm = [trial for trial in design.trials if trial.spec.supervision is Supervision.LABEL_ONLY][2:]
    base = design.controls[0].trial_id
    aucs = [tuning_auc(results.predictions[trial_id]) for trial_id in (arm[0].trial_id, arm[1].trial_id, base)]
    assert large.gain is not None
    assert large.gain.value == pytest.approx((aucs[0] + aucs[1]) / 2 - aucs[2])


def tuning_auc(table: Predictions) -> float:
    part = table.at(np.flatnonzero(table.split == "tuning"))
    return auc_of(part.risks[Scoring.FORCED], part.label, part.weight)


def test_what_could_not_have_been_seen_is_not_judged(study: Study, design: Design, tmp_path: Path) -> None:
    found = judged(design, stored(tmp_path, study, design, teaching(0.0, 0.0), n_participants=90))
    assert {place.standing for place in found} == {"can't be judged"}
    assert all(place.power is not None and place.power < USUAL.power for place in found)
    assert learning_check(found, asked=USUAL).passed is None


def test_share_that_is_asked_for_decides(study: Study, design: Design, tmp_path: Path) -> None:
    results = stored(tmp_path, study, design, teaching(0.9, 0.9), n_participants=1500)
    assert {place.standing for place in judged(design, results, Checks(learning_share=0.2))} == {"learnt"}
    assert "learnt" not in {place.standing for place in judged(design, results, Checks(learning_share=1.0))}


def test_p_value_is_the_rank_among_permutations(study: Study, design: Design, results: Results) -> None:
    small, large = judged(design, results)
    assert (small.p_value, large.p_value) == (None, 1 / 5)
    permuted = [trial.trial_id for trial in design.controls if trial.spec.labels == "permuted"]
    best = next(trial for trial in design.controls if trial.spec.method.value == "logistic")
    tables = {**results.predictions, permuted[0]: results.predictions[best.trial_id]}
    assert judged(design, replace(results, predictions=tables))[1].p_value == 2 / 5


@pytest.mark.parametrize("lacking", ["logistic", "zero_shot"])
def test_study_without_what_learning_is_measured_by_is_not_judged(
    design: Design, results: Results, lacking: str
) -> None:
    controls = tuple(trial for trial in design.controls if trial.spec.method.value != lacking)
    found = judged(replace(design, controls=controls), results)
    assert {(place.standing, place.power) for place in found} == {("can't be judged", None)}


def test_tuning_without_an_event_is_not_judged(design: Design, results: Results) -> None:
    tables = {
        trial_id: table.at(np.flatnonzero((table.split == "held_out") | (table.label == 0)))
        for trial_id, table in results.predictions.items()
    }
    assert {place.standing for place in judged(design, replace(results, predictions=tables))} == {"can't be judged"}


def test_no_difference_is_said_of_the_cells_that_learnt_alone(study: Study, design: Design, tmp_path: Path) -> None:
    def signal(trial: Trial) -> float:
        if trial.role == "grid":
            return 1.5 if trial.spec.train_size == 640 else 0.0
        return usual_signal(trial)

    results = stored(tmp_path, study, design, signal)
    found = {margin: told(study, design, results, margin) for margin in (0.3, 1e-4, None)}
    assert [(one.equivalence.n_cells, one.equivalence.n_complete) for one in found.values() if one.equivalence] == [
        (2, 4)
    ] * 3
    assert [one.equivalence.holds for one in found.values() if one.equivalence] == [True, False, None]
    assert "Any difference is within ±0.3 for these trained models on new participants: " in found[0.3].answer
    assert (
        "A difference beyond ±0.0001 is not excluded for these trained models on new participants: "
        in found[1e-4].answer
    )
    assert "declared no margin" in found[None].answer


def told(study: Study, design: Design, results: Results, margin: float | None) -> Findings:
    asked = study.model_copy(update={"checks": Checks(margin=margin, permutations=4)})
    return analyse(asked, design, results, n_replicates=N_REPLICATES)


def test_both_one_sided_tests_are_read_from_the_90_percent_interval(
    study: Study, design: Design, results: Results
) -> None:
    found = told(study, design, results, None)
    wide, narrow = found.contrasts[0][Scoring.STRICT], found.equivalence and found.equivalence.estimate
    assert wide and narrow and wide.low and wide.high and narrow.low and narrow.high
    assert narrow.value == pytest.approx(wide.value)
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


@pytest.mark.parametrize(
    ("field", "value"),
    [("margin", -0.02), ("margin", 0), ("learning_share", 0), ("power", 0.3), ("permutations", 0)],
)
def test_checks_that_can_not_be_meant_are_refused(field: str, value: float, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text((SWEEPS / "quickstart.yaml").read_text() + f"\nchecks: {{{field}: {value}}}\n")
    with pytest.raises(InputError, match=rf"checks\.{field}"):
        load_study(path)
