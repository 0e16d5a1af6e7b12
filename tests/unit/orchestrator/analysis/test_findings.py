"""The contrasts, the learning checks and the findings, on stores built on disk."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.analysis.answer import phrase_answer
from orchestrator.analysis.cells import match_cells
from orchestrator.analysis.checks.verdict import Verdict
from orchestrator.analysis.findings import NO_AUCS, Findings, analyse
from orchestrator.analysis.results import Results, load_results
from orchestrator.analysis.tables.scores import comparator_differences
from orchestrator.design.grid import Design, expand
from orchestrator.store.outcomes import read_attempts, read_outcomes
from orchestrator.study.study import Contrast, Study, load_study
from support.places import SWEEPS
from support.stores.builders import build_store, commit_trial, invent_people, predict, usual_signal
from support.stores.estimates import known, with_estimate
from workers.contract.errors import StoreError
from workers.contract.layout import StoreLayout
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import Supervision
from workers.contract.system.sources import sha256_of
from workers.contract.trial import Method, Trial

QUICKSTART = SWEEPS / "quickstart.yaml"
N_REPLICATES = 200


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(QUICKSTART)


@pytest.fixture(scope="module")
def design(study: Study) -> Design:
    return expand(study)


@pytest.fixture(scope="module")
def results(study: Study, design: Design, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read(build_store(tmp_path_factory.mktemp("stores"), study, design), design)


@pytest.fixture(scope="module")
def findings(study: Study, design: Design, results: Results) -> Findings:
    return analyse(study, design, results, n_replicates=N_REPLICATES)


def read(layout: StoreLayout, design: Design) -> Results:
    return load_results(layout, design, outcomes=read_outcomes(layout).committed, attempts=read_attempts(layout))


def reverse_signal(trial: Trial) -> float:
    """Rationales help: the opposite of what the paper reports."""
    is_rationale = trial.role == "grid" and trial.spec.supervision is not Supervision.LABEL_ONLY
    return usual_signal(trial) + (2.5 if is_rationale else 0.0)


def no_signal(trial: Trial) -> float:
    return 0.0 if trial.spec.method is Method.LORA else usual_signal(trial)


def same_signal(trial: Trial) -> float:
    return 1.2 if trial.role == "grid" else usual_signal(trial)


def test_damaged_predictions_cost_their_own_trial_only(study: Study, design: Design, tmp_path: Path) -> None:
    torn = design.trials[1].trial_id
    layout = build_store(tmp_path, study, design, damaged={torn}, n_participants=300)
    results = read(layout, design)
    found = analyse(study, design, results, n_replicates=20)
    assert results.standing(torn) == "damaged" and torn not in results.predictions
    assert f"delete trials/{torn}/outcome.json and run again" in found.damaged[0]
    assert (found.completeness[0].scored, found.completeness[0].damaged) == (11, 1)
    assert any("predictions are damaged: 1;" in warning for warning in found.warnings)


def test_damaged_trial_makes_its_cell_incomplete_and_is_no_failure(
    study: Study, design: Design, tmp_path: Path
) -> None:
    layout = build_store(tmp_path, study, design, damaged={design.trials[1].trial_id}, n_participants=300)
    contrast = analyse(study, design, read(layout, design), n_replicates=20).contrasts[0]
    assert [tuple(cell.unscored.values()) for cell in contrast.incomplete] == [("damaged",)]
    assert contrast.n_complete == contrast.n_cells_sensitivity == 3


@pytest.mark.parametrize("change", ["no column", "not a number", "no table"])
def test_unusable_predictions_are_damaged_though_their_checksum_holds(
    study: Study, design: Design, tmp_path: Path, change: str
) -> None:
    layout = StoreLayout(tmp_path)
    trial = design.trials[0]
    table = predict(invent_people(200), trial, signal=1.0, invalid_rate=0.0)
    outcome = commit_trial(layout, trial, table)
    path = layout.trial(trial.trial_id) / outcome.attempt / "predictions.parquet"
    if change == "no table":
        path.write_bytes(b"no table")
    elif change == "no column":
        pq.write_table(table.drop_columns("validity"), path)
    else:
        risks = np.full(len(table), np.nan)
        pq.write_table(table.set_column(table.column_names.index("p_strict"), "p_strict", pa.array(risks)), path)
    files = {**outcome.files, "predictions.parquet": sha256_of(path)}
    changed = outcome.model_copy(update={"files": files})
    results = load_results(layout, design, outcomes={trial.trial_id: changed}, attempts={})
    assert "run again" in results.damaged[trial.trial_id]
    assert results.outcomes == {} and results.predictions == {}


def test_trials_that_scored_the_same_examples_hold_them_once(results: Results) -> None:
    first, *others = results.predictions.values()
    assert all(table.shares_examples(first) for table in others)
    assert any(table.risks[Scoring.STRICT] is not first.risks[Scoring.STRICT] for table in others)


def test_few_people_who_fail_in_many_trials_are_hidden(study: Study, design: Design, results: Results) -> None:
    owner = Counter(next(iter(results.predictions.values())).participant_id.tolist())
    first = next(iter(results.predictions.values()))
    held_out_controls = first.participant_id[(first.split == "held_out") & (first.label == 0)].tolist()
    person = next(name for name, n in Counter(held_out_controls).items() if n == owner[name] == 3)
    tables = {
        trial_id: replace(table, is_valid=table.participant_id != person)
        for trial_id, table in results.predictions.items()
    }
    found = analyse(study, design, replace(results, predictions=tables), n_replicates=10)
    assert all(score.invalid.controls.is_hidden and score.invalid.all.is_hidden for score in found.supervisions)
    assert all(row.invalid.is_hidden for row in found.trials)


def test_events_of_the_test_set_can_not_be_had_from_its_size(study: Study, design: Design, results: Results) -> None:
    """Ten controls a case are 3 events where there are 33 examples."""
    first = next(iter(results.predictions.values()))
    rows = np.concatenate([np.flatnonzero(first.label == 1)[:3], np.flatnonzero(first.label == 0)[:30]])
    tables = {
        trial_id: replace(table.at(rows), split=np.full(len(rows), "held_out"))
        for trial_id, table in results.predictions.items()
    }
    held_out = analyse(study, design, replace(results, predictions=tables), n_replicates=10).held_out
    assert held_out is not None
    assert (str(held_out.n_events), str(held_out.n_examples)) == ("≤5", "hidden")


def test_cells_hold_every_supervision_once(design: Design) -> None:
    contrast = Contrast(treatment=("free_form", "step_by_step"), reference="label_only")
    cells = match_cells(design.trials, contrast)
    assert len(cells) == 4
    assert all(set(cell.members) == set(Supervision) for cell in cells)
    assert all("supervision" not in cell.coordinates for cell in cells)
    assert {cell.cell_id for cell in cells} == {trial.cell_id for trial in design.trials}


def test_two_trials_of_one_supervision_in_a_cell_are_refused(design: Design) -> None:
    trial = design.trials[1]
    assert trial.spec.teacher is not None
    teacher = trial.spec.teacher.model_copy(update={"seed": 1})
    twin = trial.model_copy(update={"spec": trial.spec.model_copy(update={"teacher": teacher})})
    with pytest.raises(StoreError, match="two trials"):
        match_cells((*design.trials, twin), Contrast(treatment=("free_form",), reference="label_only"))


def test_contrast_is_the_mean_of_its_cells_differences(findings: Findings) -> None:
    contrast = findings.contrasts[0]
    aucs = {trial.trial_id: trial.strict_auc for trial in findings.trials}
    differences = []
    for cell in contrast.cells:
        kinds = {row.kind: aucs[row.trial_id] for row in findings.trials if row.cell_id == cell.cell_id}
        differences.append((kinds["free_form"] + kinds["step_by_step"]) / 2 - kinds["label_only"])  # type: ignore[operator]
    assert [known(cell).value for cell in contrast.cells] == pytest.approx(differences)
    assert contrast.share_below is not None and contrast.share_below.value == contrast.n_lower / 4 == 1.0
    assert known(contrast).value == pytest.approx(np.mean(differences))
    assert contrast.n_complete == contrast.n_cells == 4


def test_observed_aucs_equal_those_of_the_workers(findings: Findings, results: Results) -> None:
    for row in findings.trials:
        metrics = results.outcomes[row.trial_id].scores["held_out"].metrics
        assert row.strict_auc == pytest.approx(metrics[Scoring.STRICT].roc_auc, abs=1e-9)
        assert row.forced_auc == pytest.approx(metrics[Scoring.FORCED].roc_auc, abs=1e-9)


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        (usual_signal, "ranked participants worse than"),
        (reverse_signal, "ranked participants better than"),
        (same_signal, "No difference was shown"),
        (no_signal, "That there is none can't be said either: of 2 places"),
    ],
    ids=["harm", "benefit", "no difference", "no learning"],
)
def test_answer_follows_the_data(
    study: Study, design: Design, tmp_path: Path, signal: Callable[[Trial], float], expected: str
) -> None:
    layout = build_store(tmp_path, study, design, signal=signal, invalid_rate=lambda _: 0.0)
    found = analyse(study, design, read(layout, design), n_replicates=N_REPLICATES)
    assert expected in found.answer


def test_failed_trial_makes_its_cell_incomplete_and_counts_as_chance_in_the_sensitivity(
    study: Study, design: Design, tmp_path: Path
) -> None:
    failed, diverged, missing = (design.trials[i].trial_id for i in (1, 5, 8))
    layout = build_store(
        tmp_path, study, design, failed={failed}, diverged={diverged}, missing={missing}, n_participants=300
    )
    found = analyse(study, design, read(layout, design), n_replicates=N_REPLICATES)
    contrast = found.contrasts[0]
    assert contrast.n_complete == 1
    unscored = [tuple(cell.unscored.values()) for cell in contrast.incomplete]
    assert unscored == [("failed",), ("diverged",), ("missing",)]
    assert contrast.n_cells_sensitivity == 3
    assert contrast.sensitivity is not None
    aucs = {row.trial_id: 0.5 if row.strict_auc is None else row.strict_auc for row in found.trials}
    cells = [[aucs[trial.trial_id] for trial in design.trials[start : start + 3]] for start in (0, 3, 9)]
    expected = np.mean([(free + steps) / 2 - label for label, free, steps in cells])
    assert contrast.sensitivity.value == pytest.approx(expected)
    assert found.completeness[0].model_dump() == {
        "role": "grid",
        "planned": 12,
        "scored": 9,
        "diverged": 1,
        "failed": 1,
        "damaged": 0,
        "missing": 1,
        "spared": 0,
    }
    assert [(group.kind, group.n_attempts, group.n_trials) for group in found.failures] == [("out_of_memory", 2, 1)]


@pytest.mark.parametrize(
    ("missing", "why"),
    [
        ("zero_shot", "a base has no scored zero-shot control"),
        ("permuted", "the study has no permuted-label control"),
        ("mirrored", "the mirror image of the permuted labels is not trained yet; run the study again"),
    ],
)
def test_missing_control_allows_no_verdict(
    study: Study, design: Design, results: Results, missing: str, why: str
) -> None:
    controls = tuple(trial for trial in design.controls if missing not in (trial.spec.method.value, trial.spec.labels))
    found = analyse(study, replace(design, controls=controls), results, n_replicates=20)
    assert not found.verdict.allowed and not found.verdict.none_allowed
    assert found.checks[0].passed is None and found.checks[0].of == "leak"
    assert found.answer.startswith("No verdict") and f"not run: {why}" in found.answer


@pytest.mark.parametrize(
    ("leaking", "passes"),
    [(("permuted", "mirrored"), False), (("permuted",), True)],
    ids=["both twins", "a lucky permutation"],
)
def test_labels_that_both_twins_rank_by_are_a_leak(
    study: Study, design: Design, tmp_path: Path, leaking: tuple[str, ...], passes: bool
) -> None:
    def signal(trial: Trial) -> float:
        lucky = {"permuted": 0.6, "mirrored": 0.6 if len(leaking) == 2 else -0.6}
        return lucky.get(trial.spec.labels, usual_signal(trial))

    layout = build_store(tmp_path, study, design, signal=signal)
    found = analyse(study, design, read(layout, design), n_replicates=N_REPLICATES)
    assert found.checks[0].passed is passes
    assert found.verdict.allowed is passes


def test_where_labels_teach_both_verdicts_may_be_said(findings: Findings) -> None:
    assert [check.passed for check in findings.checks] == [True, True, True]
    assert findings.verdict == Verdict(allowed=True, reasons=(), none_allowed=True, none_reasons=())
    assert [place.standing for place in findings.learning] == ["learnt", "learnt"]


def test_difference_is_said_though_nothing_was_shown_to_learn(study: Study, design: Design, tmp_path: Path) -> None:
    layout = build_store(tmp_path, study, design, signal=lambda trial: 2.5 if trial.spec.teacher else no_signal(trial))
    found = analyse(study, design, read(layout, design), n_replicates=N_REPLICATES)
    assert [check.passed for check in found.checks] == [True, True, False]
    assert "ranked participants better than" in found.answer


def test_empty_store_gives_findings_without_numbers(study: Study, design: Design) -> None:
    found = analyse(study, design, Results(outcomes={}, predictions={}, attempts={}))
    assert found.held_out is None
    assert found.completeness[0].missing == 12
    assert all(contrast[Scoring.STRICT] is None for contrast in found.contrasts)
    assert found.answer.startswith("No verdict")


def test_few_events_are_warned_of(study: Study, design: Design, tmp_path: Path) -> None:
    found = analyse(
        study,
        design,
        read(build_store(tmp_path, study, design, n_participants=200), design),
        n_replicates=20,
    )
    assert "fewer than 200 events" in found.warnings[0]


def test_what_the_study_vouches_for_is_said(study: Study, design: Design) -> None:
    vouching = study.model_copy(update={"cohort": study.cohort.model_copy(update={"known_at_index": ("urea",)})})
    found = analyse(vouching, design, Results(outcomes={}, predictions={}, attempts={}))
    assert found.warnings[0].startswith("The study vouches that these inputs were known at the index: urea.")


def test_findings_survive_json_and_name_no_participant(findings: Findings) -> None:
    body = findings.model_dump_json()
    assert Findings.model_validate_json(body) == findings
    assert "participant-0" not in body
    assert "example-0" not in body


def test_same_inputs_give_the_same_findings(study: Study, design: Design, results: Results, findings: Findings) -> None:
    assert analyse(study, design, results, n_replicates=N_REPLICATES) == findings


def test_changed_conclusion_under_forced_scoring_is_said(findings: Findings) -> None:
    contrast = with_estimate(findings.contrasts[0], Scoring.FORCED, value=0.0, low=-0.1, high=0.1)
    contrast = contrast.model_copy(update={"layers": (), "by_axis": ()})
    assert "which changes the conclusion" in phrase_answer(contrast, findings.verdict)


def test_each_comparator_is_held_against_label_only_of_the_largest_size_on_as_many_examples(
    findings: Findings, design: Design
) -> None:
    aucs = {trial.trial_id: trial.strict_auc or 0.0 for trial in findings.trials}
    largest = [
        aucs[trial.trial_id]
        for trial in design.trials
        if trial.spec.supervision is Supervision.LABEL_ONLY and trial.spec.train_size == 640
    ]
    for row in findings.comparators:
        (own,) = (
            aucs[trial.trial_id]
            for trial in design.controls
            if trial.coordinates["control"] == row.kind and trial.coordinates.get("train_size") in (None, 640)
        )
        assert row.train_size == 640 and known(row).value == pytest.approx(own - np.mean(largest))
    assert {row.kind for row in findings.comparators} == {"zero_shot", "age_sex", "logistic"}


def test_without_label_only_trials_nothing_is_held_against_them(design: Design, results: Results) -> None:
    left = {
        trial.trial_id: results.outcomes[trial.trial_id]
        for trial in design.everything
        if trial.spec.supervision is not Supervision.LABEL_ONLY
    }
    assert comparator_differences(design, replace(results, outcomes=left), NO_AUCS) == ()
