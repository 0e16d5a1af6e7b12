"""The analysis plan of a study: what a change of its file makes a deviation, and what it does not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.design.analysis_plan import AnalysisPlan, deviations, plan_of
from orchestrator.study.study import Study, load_study
from support.places import SWEEPS

STUDY = load_study(SWEEPS / "quickstart.yaml")
RULES = {"confidence": "0.95"}
SEALED = plan_of(STUDY, RULES)
PRIMARY = "rationale_vs_label: {treatment: [free_form, step_by_step], reference: label_only}"


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[str, str], Study]:
    def edit(before: str, after: str) -> Study:
        text = (SWEEPS / "quickstart.yaml").read_text()
        assert before in text
        path = tmp_path / "quickstart.yaml"
        path.write_text(text.replace(before, after))
        return load_study(path)

    return edit


@pytest.mark.parametrize(
    ("before", "after", "part", "sealed", "today"),
    [
        (
            PRIMARY,
            PRIMARY.replace("}", ", where: {train_size: [640]}}"),
            "contrasts.rationale_vs_label",
            "{treatment: [free_form, step_by_step], reference: label_only}",
            "{treatment: [free_form, step_by_step], reference: label_only, where: {train_size: [640]}}",
        ),
        ("resources:", "checks: {margin: 0.02}\nresources:", "checks.margin", "null", "0.02"),
        ("resources:", "checks: {power: 0.9}\nresources:", "checks.power", "0.8", "0.9"),
        ("blind: false", "blind: true", "blind", "false", "true"),
        ("seed: [11, 23]", "seed: [11, 23, 37]", "axes.seed", "[11, 23]", "[11, 23, 37]"),
        ("age_sex, logistic]", "age_sex]", "controls", None, None),
        ("controls_per_case: null", "controls_per_case: 3", "evaluation.controls_per_case", "null", "3.0"),
        ("min_cell: 5 ", "split_salt: another ", "cohort.split_salt", None, "another"),
        ("change how well", "alter how well", "question", None, None),
        (
            "resources:",
            "interactions: {of_forms: {of: free_vs_label, minus: steps_vs_label}}\nresources:",
            "interactions.of_forms",
            "not said",
            "{of: free_vs_label, minus: steps_vs_label}",
        ),
    ],
)
def test_a_change_of_what_a_study_is_judged_by_is_a_deviation(
    edited: Callable[[str, str], Study], before: str, after: str, part: str, sealed: str | None, today: str | None
) -> None:
    (found,) = deviations(SEALED, edited(before, after), RULES)
    assert found.part == part
    assert sealed in (None, found.sealed)
    assert today in (None, found.today)


def test_the_order_of_contrasts_counts_since_the_first_is_primary(edited: Callable[[str, str], Study]) -> None:
    others = "  free_vs_label: {treatment: [free_form], reference: label_only}\n"
    (found,) = deviations(SEALED, edited(f"  {PRIMARY}\n{others}", f"{others}  {PRIMARY}\n"), RULES)
    assert found.sealed == "[rationale_vs_label, free_vs_label, steps_vs_label]"
    assert found.today == "[free_vs_label, rationale_vs_label, steps_vs_label]"


def test_a_contrast_that_was_dropped_stands_beside_what_it_was(edited: Callable[[str, str], Study]) -> None:
    dropped = "  steps_vs_label: {treatment: [step_by_step], reference: label_only}\n"
    found = {each.part: each for each in deviations(SEALED, edited(dropped, ""), RULES)}
    assert found.keys() == {"contrasts", "contrasts.steps_vs_label"}
    assert found["contrasts.steps_vs_label"].today == "not said"


def test_what_is_no_part_of_the_analysis_is_no_deviation(edited: Callable[[str, str], Study]) -> None:
    for before, after in (("cpus_per_trial: 1", "cpus_per_trial: 2"), ("min_cell: 5 ", "min_cell: 7 ")):
        assert deviations(SEALED, edited(before, after), RULES) == ()


def test_a_plan_that_knows_fewer_parts_than_a_later_version_is_kept_where_nothing_was_said_of_them() -> None:
    older = {name: text for name, text in SEALED.parts.items() if name not in ("checks.margin", "rules.confidence")}
    assert deviations(AnalysisPlan(parts=older, contrasts=SEALED.contrasts), STUDY, RULES) == ()


def test_nor_is_a_field_within_a_part_that_an_earlier_version_did_not_have(tmp_path: Path) -> None:
    text = (SWEEPS / "support2.yaml").read_text()
    plan = plan_of(load_study(SWEEPS / "support2.yaml"), RULES)
    mapping, added = plan.parts["cohort.mapping"], ("thousands: , ", "empty: unknown, ")
    assert all(field in mapping for field in added)
    for field in added:
        mapping = mapping.replace(field, "")
    older = AnalysisPlan(parts={**plan.parts, "cohort.mapping": mapping}, contrasts=plan.contrasts)

    def found(before: str, after: str) -> list[str]:
        path = tmp_path / "support2.yaml"
        path.write_text(text.replace(before, after).replace("../.data", str(SWEEPS.parent / ".data")))
        return [one.part for one in deviations(older, load_study(path), RULES)]

    assert found("", "") == []
    assert found("horizon_days: 180", "horizon_days: 90") == ["cohort.mapping"]
    assert found("outcome: {flag: death,", "outcome: {flag: death, empty: did_not_happen,") == ["cohort.mapping"]


def test_a_rule_that_another_version_of_the_code_changed_is_a_deviation() -> None:
    (found,) = deviations(SEALED, STUDY, {"confidence": "0.9"})
    assert str(found) == "rules.confidence: 0.95 → 0.9"


def test_a_plan_reads_back_as_it_was_written() -> None:
    assert AnalysisPlan.model_validate_json(SEALED.model_dump_json()) == SEALED
