"""Findings of studies with many axes and scorings: interactions, arms, protocols, saturation, mechanism, controls."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrator.analysis.answer import phrase_answer
from orchestrator.analysis.checks.rules import AUC_OF_PLANTED_SIGNAL
from orchestrator.analysis.checks.verdict import Verdict
from orchestrator.analysis.contrasts import ContrastFindings
from orchestrator.analysis.findings import Findings, analyse
from orchestrator.analysis.results import Results, load_results
from orchestrator.analysis.tables.scores import kind_of
from orchestrator.analysis.traces import read_trace
from orchestrator.design.grid import Design, expand
from orchestrator.report.page import render_report
from orchestrator.store.dataset.aggregate import aggregate
from orchestrator.store.dataset.query import query
from orchestrator.store.outcomes import read_attempts, read_outcomes
from orchestrator.study.study import Contrast, Study, load_study
from support.places import SWEEPS
from support.stores.builders import build_store, commit_trial, invent_people, predict, usual_signal
from support.stores.estimates import known, with_estimate
from workers.contract.layout import StoreLayout
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import Supervision
from workers.contract.system.sources import sha256_of
from workers.contract.trial import Method, Trial

FURTHER: dict[Scoring, Callable[[Trial], float]] = {
    Scoring.DIRECT: lambda trial: 0.8 * usual_signal(trial),
    Scoring.REASONED: lambda trial: 0.5 * usual_signal(trial),
}


def read(layout: StoreLayout, design: Design) -> Results:
    return load_results(layout, design, outcomes=read_outcomes(layout).committed, attempts=read_attempts(layout))


@pytest.fixture(scope="module")
def fewshot() -> tuple[Study, Design]:
    study = load_study(SWEEPS / "fewshot.yaml")
    return study, expand(study)


@pytest.fixture(scope="module")
def mechanism() -> tuple[Study, Design]:
    study = load_study(SWEEPS / "mechanism.yaml")
    return study, expand(study)


@pytest.fixture(scope="module")
def store(mechanism: tuple[Study, Design], tmp_path_factory: pytest.TempPathFactory) -> StoreLayout:
    return build_store(tmp_path_factory.mktemp("mechanism"), *mechanism, n_participants=200)


@pytest.fixture(scope="module")
def mechanism_found(mechanism: tuple[Study, Design], store: StoreLayout) -> Findings:
    return analyse(*mechanism, read(store, mechanism[1]), n_replicates=50)


@pytest.fixture(scope="module")
def found(fewshot: tuple[Study, Design], tmp_path_factory: pytest.TempPathFactory) -> Findings:
    layout = build_store(tmp_path_factory.mktemp("fewshot"), *fewshot, n_participants=200, further=FURTHER)
    return analyse(*fewshot, read(layout, fewshot[1]), n_replicates=100)


def contrast_of(findings: Findings, name: str) -> ContrastFindings:
    (contrast,) = [one for one in findings.contrasts if one.name == name]
    return contrast


def strict_of(findings: Findings, **place: object) -> list[float]:
    rows = [row for row in findings.trials if row.role == "grid" and place.items() <= row.coordinates.items()]
    return [row.strict_auc for row in rows if row.strict_auc is not None]


def test_sign_reversal_is_one_contrast_minus_the_other(found: Findings) -> None:
    (reversal,) = found.interactions
    shown, trained = contrast_of(found, reversal.of), contrast_of(found, reversal.minus)
    for scoring in (Scoring.STRICT, Scoring.FORCED, Scoring.DIRECT, Scoring.REASONED):
        gap, of, minus = (known(one, scoring) for one in (reversal, shown, trained))
        assert gap.value == pytest.approx(of.value - minus.value)
    low = known(reversal).low
    assert low is not None and low > 0
    assert reversal[Scoring.MARGINAL] is None


def test_interaction_without_one_side_has_no_estimate(fewshot: tuple[Study, Design]) -> None:
    study, design = fewshot
    empty = analyse(study, design, Results(outcomes={}, predictions={}, attempts={}))
    assert [one[Scoring.STRICT] for one in empty.interactions] == [None]
    assert (empty.arms[0][Scoring.STRICT], empty.arms[0].n_scored) == (None, 0)


def test_contrast_of_demonstrations_pairs_within_order_and_inference(found: Findings) -> None:
    contrast = contrast_of(found, "shown_rationale_vs_label")
    assert (contrast.n_complete, contrast.n_cells) == (8, 8)
    means = {shows: np.mean(strict_of(found, shows=shows)) for shows in ("rationale", "label")}
    assert known(contrast).value == pytest.approx(means["rationale"] - means["label"])


def test_groups_are_the_means_of_their_cells(found: Findings) -> None:
    contrast = contrast_of(found, "shown_rationale_vs_label")
    assert [group.coordinates for group in contrast.groups] == [{"base": "qwen-s"}, {"base": "qwen-s-reasoning"}]
    for group in contrast.groups:
        cells = [known(cell).value for cell in contrast.cells if group.coordinates["base"] in cell.coordinates.values()]
        assert group.n_cells == len(cells) == 4
        assert known(group).value == pytest.approx(np.mean(cells))


def test_arms_of_demonstrations_are_means_over_bases_and_orders(found: Findings) -> None:
    arms = [arm for arm in found.arms if arm.method is Method.FEW_SHOT]
    assert [arm.n_planned for arm in arms] == [2, 4, 4, 2, 4, 4]
    for arm in arms:
        assert arm[Scoring.DIRECT] is not None
        assert known(arm).value == pytest.approx(np.mean(strict_of(found, **arm.coordinates)))


def test_target_by_protocol_is_the_difference_of_differences(found: Findings) -> None:
    mean = {
        (row.supervision, scoring): known(row, scoring).value
        for row in found.supervisions
        for scoring in (Scoring.DIRECT, Scoring.FORCED, Scoring.REASONED)
    }
    label, rationale = Supervision.LABEL_ONLY, Supervision.FREE_FORM
    answered_at_once = mean[label, Scoring.DIRECT] - mean[rationale, Scoring.DIRECT]
    both, own = found.differences_in_differences
    assert both.estimate.value == pytest.approx(
        answered_at_once - (mean[label, Scoring.REASONED] - mean[rationale, Scoring.REASONED])
    )
    assert own.estimate.value == pytest.approx(
        answered_at_once - (mean[label, Scoring.REASONED] - mean[rationale, Scoring.FORCED])
    )
    assert both.n_cells == own.n_cells == 4


def test_without_a_reasoned_score_there_is_no_difference_of_differences(mechanism_found: Findings) -> None:
    assert mechanism_found.differences_in_differences == ()
    assert mechanism_found.supervisions[0][Scoring.DIRECT] is None


def test_saturation_is_told_by_supervision_and_scoring(found: Findings) -> None:
    rows = {(row.supervision.value, str(row.scoring)): row for row in found.saturation}
    assert len(rows) == 8
    assert rows["free_form", "strict"].n_distinct < rows["free_form", "forced"].n_distinct
    assert all(round(row.share_extreme, 2) == row.share_extreme or row.share_extreme > 0 for row in found.saturation)


def test_invalid_outputs_are_told_by_base_and_class(
    fewshot: tuple[Study, Design], tmp_path_factory: pytest.TempPathFactory
) -> None:
    study, design = fewshot
    assert study.axes is not None
    bases = study.axes.base
    rates = dict(zip(bases, (0.1, 0.3), strict=False))
    layout = build_store(
        tmp_path_factory.mktemp("invalid"), study, design, n_participants=400,
        invalid_rate=lambda trial: rates.get(str(trial.coordinates.get("base")), 0.2),
    )  # fmt: skip
    results = read(layout, design)
    found = analyse(study, design, results, n_replicates=20)
    for place in found.places:
        of_place = {"supervision": place.supervision.value, "base": place.base}.items()
        tables = [
            results.predictions[trial.trial_id] for trial in design.trials
            if trial.spec.method is Method.LORA and of_place <= trial.coordinates.items()
        ]  # fmt: skip
        assert place.invalid is not None
        for label, told in enumerate((place.invalid.controls, place.invalid.events)):
            rows = [~table.is_valid[(table.split == "held_out") & (table.label == label)] for table in tables]
            assert told.value == pytest.approx(np.concatenate(rows).mean(), abs=0.08), (place.base, label)
    page = render_report(study, design, found)
    assert "Invalid outputs by base" in page


def test_scores_by_base_are_means_of_its_trials(found: Findings) -> None:
    for place in found.places:
        strict = strict_of(found, supervision=place.supervision.value, base=place.base)
        assert place.n_scored == len(strict) == 2
        assert known(place).value == pytest.approx(np.mean(strict))


def test_contrast_narrowed_by_where_is_a_mean_over_its_cells_only(mechanism_found: Findings) -> None:
    contrast = contrast_of(mechanism_found, "rationale_vs_label")
    usual = {"objective": "token_mean", "ordering": "rationale_first", "rationale": "real", "label_access": "blind"}
    rationale = strict_of(mechanism_found, supervision="free_form", budget="steps", **usual)
    label = strict_of(mechanism_found, supervision="label_only", budget="steps")
    assert len(rationale) == len(label) == contrast.n_complete == 3
    assert known(contrast).value == pytest.approx(np.mean(rationale) - np.mean(label))


def test_contrast_without_a_cell_is_warned_of(mechanism: tuple[Study, Design], store: StoreLayout) -> None:
    study, design = mechanism
    where = {"objective": ("two_view_mix",), "supervision": ("free_form",)}
    lonely = Contrast(axis="budget", treatment=("target_tokens@20000",), reference="steps", where=where)
    changed = study.model_copy(update={"contrasts": {"lonely": lonely}})
    warnings = analyse(changed, design, read(store, design), n_replicates=10).warnings
    assert any("contrast lonely matches no cell" in warning for warning in warnings)


def test_answer_names_axis_and_where(mechanism_found: Findings) -> None:
    omega, narrowed = (contrast_of(mechanism_found, name) for name in ("omega_0.9_vs_token_mean", "rationale_vs_label"))
    answers = [
        phrase_answer(
            with_estimate(contrast, Scoring.STRICT, value=0.0, low=-0.1, high=0.1), Verdict(allowed=True, reasons=())
        )
        for contrast in (one.model_copy(update={"layers": (), "by_axis": ()}) for one in (omega, narrowed))
    ]
    assert "between models with objective span_balanced@0.9 and with objective token_mean: mean" in answers[0]
    assert "between models trained on free_form and on label_only (where objective token_mean, ordering" in answers[1]


def test_label_token_shares_come_from_ledger_and_history(mechanism_found: Findings) -> None:
    label, rationale = (
        next(row for row in mechanism_found.training if row.coordinates["supervision"] == supervision)
        for supervision in ("label_only", "free_form")
    )
    assert label.label_token_share == pytest.approx(4_800 / 19_200)
    assert rationale.label_token_share == pytest.approx(4_800 / 158_000)
    assert (label.label_loss_share, rationale.label_loss_share) == pytest.approx((0.5, 0.05))
    assert rationale.label_gradient_share == pytest.approx(0.09)
    assert rationale.n_trials == 3


def test_gradient_cosines_are_means_by_arm_split_and_fraction(mechanism_found: Findings) -> None:
    probes = [probe for probe in mechanism_found.probes if probe.coordinates["supervision"] == "free_form"]
    assert {(probe.split, probe.fraction) for probe in probes} == {
        (s, f) for s in ("train", "tuning") for f in (0.0, 1.0)
    }
    assert all(probe.values["cos_direct_rationale"] == pytest.approx(-0.2) for probe in probes)
    labels = [probe for probe in mechanism_found.probes if probe.coordinates["supervision"] == "label_only"]
    assert labels and all("cos_direct_rationale" not in probe.values for probe in labels)


def test_outcome_from_before_there_were_shares_and_scorings_still_loads(
    mechanism: tuple[Study, Design], tmp_path: Path
) -> None:
    _, design = mechanism
    trial = design.trials[0]
    layout = StoreLayout(tmp_path)
    outcome = commit_trial(layout, trial, predict(invent_people(100), trial, signal=1.0, invalid_rate=0.0))
    home = layout.trial(trial.trial_id) / outcome.attempt
    new = ["label_loss_share", "n_label_tokens", "n_loss_tokens", "label_gradient_share"]
    pq.write_table(pq.read_table(home / "history.parquet").drop_columns(new), home / "history.parquet")
    files = {name: digest for name, digest in outcome.files.items() if name != "diagnostics.parquet"}
    old = outcome.model_copy(update={"files": {**files, "history.parquet": sha256_of(home / "history.parquet")}})
    assert read_trace(layout, old).is_empty
    results = load_results(layout, design, outcomes={trial.trial_id: old}, attempts={})
    assert set(results.predictions[trial.trial_id].risks) == {Scoring.STRICT, Scoring.FORCED}
    assert results.traces == {}


def test_damaged_diagnostics_cost_the_trace_alone(mechanism: tuple[Study, Design], tmp_path: Path) -> None:
    _, design = mechanism
    trial = design.trials[0]
    layout = StoreLayout(tmp_path)
    outcome = commit_trial(layout, trial, predict(invent_people(100), trial, signal=1.0, invalid_rate=0.0))
    (layout.trial(trial.trial_id) / outcome.attempt / "diagnostics.parquet").write_bytes(b"torn")
    trace = read_trace(layout, outcome)
    assert trace.probes == () and trace.label_loss_share is not None


def test_controls_go_by_the_names_of_the_study_file(
    fewshot: tuple[Study, Design], mechanism: tuple[Study, Design]
) -> None:
    study, design = mechanism
    kinds = {kind_of(trial) for trial in design.controls}
    assert kinds == {control.value for control in study.controls} | {"mirrored_labels"}
    assert {kind_of(trial) for trial in fewshot[1].trials} == {"label_only", "free_form", "few_shot"}


@pytest.mark.parametrize(("signal", "is_found"), [(6.0, True), (0.5, False)], ids=["found", "not found"])
def test_planted_signal_must_be_found(
    mechanism: tuple[Study, Design], tmp_path: Path, signal: float, is_found: bool
) -> None:
    study, design = mechanism
    few = Design(
        trials=tuple(t for t in design.trials if t.coordinates["supervision"] == "label_only"), controls=design.controls
    )

    def planted(trial: Trial) -> float:
        return signal if trial.spec.prompt and trial.spec.prompt.planted_signal else usual_signal(trial)

    layout = build_store(tmp_path, study, few, signal=planted, n_participants=500)
    check = analyse(study, few, read(layout, few), n_replicates=100).checks[-1]
    assert check.passed is is_found and check.estimate is not None and check.estimate.low is not None
    assert (check.estimate.low > AUC_OF_PLANTED_SIGNAL) is is_found
    assert ("was found" if is_found else "was not found") in check.statement


def test_planted_control_that_is_not_scored_allows_no_verdict(
    mechanism: tuple[Study, Design], store: StoreLayout
) -> None:
    study, design = mechanism
    planted = [trial.trial_id for trial in design.controls if kind_of(trial) == "planted_signal"]
    results = read(store, design)
    left = replace(
        results,
        predictions={key: table for key, table in results.predictions.items() if key not in planted},
        outcomes={key: outcome for key, outcome in results.outcomes.items() if key not in planted},
    )
    found = analyse(study, design, left, n_replicates=20)
    assert found.checks[-1].passed is None and not found.verdict.allowed


@pytest.mark.parametrize(("signal", "passes"), [(0.9, True), (0.0, False)])
def test_study_without_training_is_judged_by_its_demonstrations(
    fewshot: tuple[Study, Design], tmp_path: Path, signal: float, passes: bool
) -> None:
    study, design = fewshot
    only = Design(trials=tuple(t for t in design.trials if t.coordinates.get("order_seed") == 1), controls=())
    layout = build_store(tmp_path, study, only, signal=lambda _: signal, n_participants=200)
    found = analyse(study, only, read(layout, only), n_replicates=100)
    assert [(check.name, check.passed) for check in found.checks] == [
        ("What was planned is there", None),
        ("Labelled demonstrations rank above chance", passes),
    ]
    assert found.supervisions == ()


def test_findings_survive_json(found: Findings, mechanism_found: Findings) -> None:
    for findings in (found, mechanism_found):
        assert Findings.model_validate_json(findings.model_dump_json()) == findings


def test_dataset_holds_axes_ledger_and_diagnostics(mechanism: tuple[Study, Design], store: StoreLayout) -> None:
    _, design = mechanism
    aggregate(store, design)
    where = "WHERE objective = 'span_balanced@0.9' AND role = 'grid'"
    sql = f"SELECT count(*), any_value(rationale), max(n_steps), max(n_label_tokens), count(shows) FROM trials {where}"
    assert query(store, sql).rows == ((3, "real", 150, 4_800, 0),)
    assert query(store, f"SELECT count(*) FROM trials JOIN diagnostics USING (trial_id) {where}").rows == ((12,),)
    rows = query(store, "SELECT avg(label_loss_share), count(p_direct), count(*) > 0 FROM history, predictions LIMIT 1")
    assert rows.rows[0][1] == 0


def test_few_shot_trials_are_a_part_of_the_dataset_of_their_own(fewshot: tuple[Study, Design], tmp_path: Path) -> None:
    study, design = fewshot
    some = Design(trials=tuple(t for t in design.trials if t.spec.method is Method.FEW_SHOT)[:3], controls=())
    layout = build_store(tmp_path, study, some, n_participants=100, further=FURTHER)
    aggregate(layout, some)
    sql = "SELECT supervision, shows, shots, rationale_form, held_out_direct_roc_auc > 0 FROM trials ORDER BY shows"
    assert query(layout, sql).rows == (
        ("few_shot", "label", 2, None, True),
        ("few_shot", "none", None, None, True),
        ("few_shot", "rationale", 2, "free_form", True),
    )
    assert query(layout, "SELECT count(p_direct) = count(*), count(p_marginal) FROM predictions").rows == ((True, 0),)
