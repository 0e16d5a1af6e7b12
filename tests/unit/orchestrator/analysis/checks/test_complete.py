"""What is missing is counted, tested by arm, and stands against a verdict where it is too much."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest
from scipy.stats import hypergeom

from orchestrator.analysis.cells import Cell, match_cells
from orchestrator.analysis.checks.check import Check
from orchestrator.analysis.checks.complete import Coverage, completeness_check, coverage
from orchestrator.analysis.findings import Findings, analyse
from orchestrator.analysis.results import Results, Standing, load_results
from orchestrator.design.grid import Design, expand
from orchestrator.report.page import render_report
from orchestrator.store.outcomes import read_attempts, read_outcomes
from orchestrator.study.study import Checks, Contrast, Study, load_study
from support.places import SWEEPS
from support.stores.builders import build_store
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import Method, Trial

CONTRAST = Contrast(treatment=("free_form", "step_by_step"), reference="label_only")


@dataclass(frozen=True, eq=False)
class Told(Results):
    """Every trial has scores but those that are named."""

    endings: Mapping[str, Standing] = field(default_factory=dict)

    def standing(self, trial_id: str) -> Standing:
        return self.endings.get(trial_id, "scored")


def told(unscored: Mapping[str, Standing]) -> Told:
    return Told(outcomes={}, predictions={}, attempts={}, endings=unscored)


@pytest.fixture(scope="module")
def large() -> Design:
    return expand(load_study(SWEEPS / "adrd-504-tiny.yaml"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Design, Results]:
    study = load_study(SWEEPS / "quickstart.yaml")
    design = expand(study)
    layout = build_store(tmp_path_factory.mktemp("stores"), study, design)
    outcomes = read_outcomes(layout).committed
    return study, design, load_results(layout, design, outcomes=outcomes, attempts=read_attempts(layout))


def found_without(store: tuple[Study, Design, Results], gone: Callable[[Trial], bool], **asked: object) -> Findings:
    study, design, results = store
    kept = {trial.trial_id for trial in design.everything if not gone(trial)}
    left = replace(
        results,
        outcomes={one: outcome for one, outcome in results.outcomes.items() if one in kept},
        predictions={one: table for one, table in results.predictions.items() if one in kept},
    )
    study = study.model_copy(update={"checks": Checks(**asked)})
    return analyse(study, design, left, n_replicates=50)


def judged(design: Design, gone: Callable[[Trial], bool]) -> tuple[Coverage, Check]:
    results = told({trial.trial_id: "missing" for trial in design.everything if gone(trial)})
    covered = coverage("rationale_vs_label", match_cells(design.trials, CONTRAST), results)
    return covered, completeness_check(covered, design, results, asked=Checks())


def is_rationale(trial: Trial) -> bool:
    return trial.role == "grid" and trial.spec.supervision is not Supervision.LABEL_ONLY


def is_at(trial: Trial, **place: object) -> bool:
    return trial.role == "grid" and place.items() <= trial.coordinates.items()


def test_a_complete_study_is_told_so(store: tuple[Study, Design, Results]) -> None:
    found = found_without(store, lambda _: False)
    first = found.coverage[0]
    assert (first.n_complete, first.n_cells, first.unscored, first.absent) == (4, 4, (), {})
    assert (first.p_value, first.untested) == (None, "no planned trial lacks scores")
    assert found.checks[1].passed and found.verdict.allowed


def test_one_cell_of_four_allows_no_verdict(store: tuple[Study, Design, Results]) -> None:
    rationales = [trial.trial_id for trial in store[1].trials if trial.spec.supervision is Supervision.FREE_FORM][:3]
    found = found_without(store, lambda trial: trial.trial_id in rationales)
    assert not found.verdict.allowed and not found.verdict.none_allowed
    assert found.answer.startswith("No verdict: ") and "Measured, and not interpreted: " in found.answer
    told_of = "1 of 4 matched cells of rationale_vs_label are there (free_form: 3 missing), none at train size 128 "
    assert found.checks[1].statement.startswith(told_of)
    assert [covered.n_complete for covered in found.coverage] == [1, 1, 4]


def test_a_verdict_that_the_study_allows_all_the_same_says_so(store: tuple[Study, Design, Results]) -> None:
    why = "one node was lost for good"
    found = found_without(store, lambda trial: trial is store[1].trials[1], missing_accepted=why)
    assert found.verdict.allowed and "3 of 4 matched cells" in found.checks[1].statement
    assert found.checks[1].statement.endswith(f"accepted by the study: {why}")
    assert f"The study allows a verdict though planned trials are missing: {why}" in found.warnings
    page = render_report(store[0], store[1], found)
    assert why in page and "free_form: 1 missing" in page
    assert not found_without(store, lambda trial: trial is store[1].trials[1]).verdict.allowed
    assert found_without(store, lambda trial: trial is store[1].trials[1], complete=0.75).verdict.allowed


def test_an_acceptance_that_was_not_needed_is_not_spoken_of(store: tuple[Study, Design, Results]) -> None:
    found = found_without(store, lambda _: False, missing_accepted="in case")
    assert "in case" not in found.model_dump_json()


@pytest.mark.parametrize(
    ("gone", "absent", "passes"),
    [
        (lambda trial: is_at(trial, base="qwen-m"), {"base": ("qwen-m",)}, False),
        (lambda trial: is_at(trial, supervision="label_only", train_size=64), {"train_size": (64,)}, False),
        (lambda trial: is_at(trial, supervision="free_form", base="qwen-m", train_size=64), {}, True),
    ],
    ids=["a base", "the labels of a size", "one place of 28"],
)
def test_a_level_that_is_gone_allows_no_verdict_whatever_the_share(
    large: Design, gone: Callable[[Trial], bool], absent: Mapping[str, object], *, passes: bool
) -> None:
    covered, check = judged(large, gone)
    assert covered.absent == absent and check.passed is passes
    lenient = Checks(complete=0.01)
    results = told({trial.trial_id: "missing" for trial in large.everything if gone(trial)})
    assert completeness_check(covered, large, results, asked=lenient).passed is passes


@pytest.mark.parametrize("label", ["permuted", "mirrored", "zero-shot"])
def test_leak_controls_that_one_base_lacks_allow_no_verdict(large: Design, label: str) -> None:
    def gone(trial: Trial) -> bool:
        is_kind = trial.spec.method is Method.ZERO_SHOT if label == "zero-shot" else trial.spec.labels == label
        return trial.role == "control" and is_kind and trial.coordinates.get("base") == "qwen-m"

    covered, check = judged(large, gone)
    assert covered.n_complete == covered.n_cells == 168
    assert check.passed is False and "none at base qwen-m" in check.statement


def test_uneven_missing_trials_are_tested_exactly() -> None:
    """Two arms of ten: four of the first and none of the second missing is p = 2 · C(10,4) / C(20,4)."""
    cells = [Cell(str(row), {"seed": row}, {"a": f"a-{row}", "b": f"b-{row}"}) for row in range(10)]
    covered = coverage("a_vs_b", cells, told({f"a-{row}": "diverged" for row in range(4)}))
    assert covered.p_value == pytest.approx(2 * hypergeom(20, 10, 4).pmf(4)) == pytest.approx(2 * 210 / 4845)
    assert not covered.is_uneven
    five = coverage("a_vs_b", cells, told({f"a-{row}": "failed" for row in range(6)}))
    assert five.is_uneven and [(one.arm, one.standing, one.n_trials) for one in five.unscored] == [("a", "failed", 6)]


def test_three_arms_are_tested_by_tables_that_are_drawn() -> None:
    """Every way in which the four that are missing may fall on arms of five each, by its chance."""
    ways = [(a, b, 4 - a - b) for a in range(5) for b in range(5 - a)]
    chances = {way: math.prod(math.comb(5, n) for n in way) / math.comb(15, 4) for way in ways}
    cells = [Cell(str(row), {"seed": row}, {arm: f"{arm}-{row}" for arm in "abc"}) for row in range(5)]
    for way in ((4, 0, 0), (1, 1, 2), (0, 3, 1)):
        gone: dict[str, Standing] = {
            f"{arm}-{row}": "failed" for arm, n in zip("abc", way, strict=True) for row in range(n)
        }
        exact = sum(chance for chance in chances.values() if chance <= chances[way] + 1e-12)
        assert coverage("abc", cells, told(gone)).p_value == pytest.approx(exact, abs=0.015)
        assert coverage("abc", cells, told(gone)) == coverage("abc", cells, told(gone))


def test_a_reason_stands_where_nothing_can_be_tested() -> None:
    cells = [Cell("0", {}, {"a": "a-0", "b": "b-0"})]
    assert coverage("x", cells, told({"a-0": "failed", "b-0": "missing"})).untested == "no planned trial has scores"
    assert coverage("x", [], told({})).untested == "there is one arm"


def test_findings_from_before_there_was_such_a_table_are_read(store: tuple[Study, Design, Results]) -> None:
    found = found_without(store, lambda _: False)
    assert Findings.model_validate(found.model_dump(mode="json", exclude={"coverage"})).coverage == ()


def test_no_contrast_is_no_pass(large: Design) -> None:
    check = completeness_check(None, large, told({}), asked=Checks())
    assert check.passed is None and check.of == "completeness"
