"""Scores within groups of participants, against scikit-learn; and what few people behind one hide."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import recall_score, roc_auc_score

from orchestrator.analysis.findings import Findings, analyse
from orchestrator.analysis.results import NOT_KNOWN, Predictions, Results, TextArray, load_results
from orchestrator.analysis.tables.clinical.operating import threshold_of
from orchestrator.analysis.tables.clinical.subgroups import Subgroups, subgroups
from orchestrator.design.grid import Design, expand
from orchestrator.disclosure import hidden_parts
from orchestrator.report.page import render_report
from orchestrator.store.outcomes import read_attempts, read_outcomes
from orchestrator.study.study import Study, load_study
from support.places import SWEEPS
from support.stores.builders import NATURAL_PREVALENCE, TRAIN_PREVALENCE, People, build_store, invent_people
from workers.contract.metrics import shift_prior
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import Supervision

LEVELS = [("sex", "female"), ("sex", "male"), ("age_band", "50-59"), ("age_band", "60-69"), ("age_band", "70-79")]


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(SWEEPS / "quickstart.yaml")


@pytest.fixture(scope="module")
def design(study: Study) -> Design:
    return expand(study)


@pytest.fixture(scope="module")
def results(study: Study, design: Design, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read(tmp_path_factory.mktemp("stores"), study, design)


def read(folder: Path, study: Study, design: Design, people: People | None = None) -> Results:
    layout = build_store(folder, study, design, people=people)
    outcomes = read_outcomes(layout).committed
    return load_results(layout, design, outcomes=outcomes, attempts=read_attempts(layout))


def found_in(design: Design, results: Results, *, min_cell: int = 5) -> Subgroups:
    found = subgroups(design, results, min_cell=min_cell, n_replicates=50, seed=0)
    assert found is not None
    return found


def regrouped(results: Results, sex: TextArray) -> Results:
    """The same results with another sex of every example."""
    tables = {one: replace(table, groups={"sex": sex}) for one, table in results.predictions.items()}
    return replace(results, predictions=tables)


def first_of(results: Results) -> Predictions:
    return next(iter(results.predictions.values()))


def test_scores_in_a_group_are_those_of_scikit_learn_on_its_rows(design: Design, results: Results) -> None:
    found = found_in(design, results, min_cell=0)
    assert [(group.kind, group.level) for group in found.groups] == LEVELS
    largest = max(trial.spec.train_size or 0 for trial in design.trials)
    assert found.train_size == largest
    for group in found.groups:
        assert [score.supervision for score in group.scores] == list(Supervision)
        for score in group.scores:
            aucs, gaps, sensitivities = [], [], []
            for trial in design.trials:
                if (trial.spec.supervision, trial.spec.train_size) != (score.supervision, largest):
                    continue
                table = results.predictions[trial.trial_id]
                rows = (table.split == "held_out") & (table.groups[group.kind] == group.level)
                label, risks = table.label[rows], table.risks[Scoring.STRICT][rows]
                shifted = shift_prior(risks, from_prevalence=TRAIN_PREVALENCE, to_prevalence=NATURAL_PREVALENCE)
                aucs.append(roc_auc_score(label, risks))
                gaps.append(label.mean() - shifted.mean())
                sensitivities.append(recall_score(label, risks > (threshold_of(table) or 0)))
            assert score.n_trials == len(aucs) == 2
            assert score.auc is not None and score.auc.value == pytest.approx(np.mean(aucs))
            assert score.in_the_large.value == pytest.approx(np.mean(gaps))
            assert score.sensitivity.value == pytest.approx(np.mean(sensitivities))
            for estimate in (score.auc, score.in_the_large):
                assert estimate.low is not None and estimate.high is not None
                assert estimate.low < estimate.value < estimate.high


def test_one_group_of_all_has_the_interval_of_the_whole(study: Study, design: Design, results: Results) -> None:
    everybody = np.full(len(first_of(results).label), "female")
    group = found_in(design, regrouped(results, everybody)).groups[0]
    whole = analyse(study, design, results, n_replicates=50)
    of_size = {one.supervision: one for one in whole.supervisions if one.train_size == 640}
    for score in group.scores:
        assert score.auc == of_size[score.supervision][Scoring.STRICT]
    assert whole.held_out is not None
    assert group.n_participants.value == whole.held_out.n_participants.value


def test_counts_of_a_kind_add_up_to_the_test_set(design: Design, results: Results) -> None:
    table = first_of(results)
    n_events = int(table.label[table.split == "held_out"].sum())
    for kind in ("sex", "age_band"):
        groups = [group for group in found_in(design, results, min_cell=0).groups if group.kind == kind]
        assert sum(group.n_events.value or 0 for group in groups) == n_events


def test_a_small_group_hides_itself_and_the_next_smallest(design: Design, results: Results) -> None:
    """Four men of unknown sex would follow from the total and the women's and men's counts."""
    table = first_of(results)
    people = np.unique(table.participant_id[table.split == "held_out"])
    sex = np.where(np.isin(table.participant_id, people[:150]), "male", "female").astype("U9")
    sex[np.isin(table.participant_id, people[-4:])] = NOT_KNOWN
    groups = {group.level: group for group in found_in(design, regrouped(results, sex)).groups}
    assert groups["female"].scores and groups["female"].n_participants.value
    for level in ("male", NOT_KNOWN):
        assert groups[level].scores == () and str(groups[level].n_events) == "hidden"
        assert groups[level].n_participants.value is None
    assert all(group.scores for group in found_in(design, regrouped(results, sex), min_cell=0).groups)


@pytest.mark.parametrize(
    ("parts", "hidden"),
    [
        ({"a": (90, 40), "b": (80, 30)}, set()),
        ({"a": (90, 40), "b": (80, 3)}, {"a", "b"}),
        ({"a": (90, 40), "b": (80, 3), "c": (70, 20)}, {"b", "c"}),
        ({"a": (90, 40), "b": (2, 0), "c": (3, 0), "d": (70, 20)}, {"b", "c", "d"}),
        ({"a": (90, 40), "b": (20, 1), "c": (30, 2), "d": (70, 20)}, {"b", "c", "d"}),
        ({"a": (90, 0), "b": (80, 30)}, set()),
    ],
)
def test_hidden_parts_are_never_one_alone_nor_few_together(parts: dict[str, tuple[int, int]], hidden: set[str]) -> None:
    assert hidden_parts(parts, min_cell=5) == hidden
    assert hidden_parts(parts, min_cell=0) == set()


def test_an_older_store_has_no_groups(study: Study, design: Design, tmp_path: Path) -> None:
    people = replace(invent_people(600), sex=None, age_band=None)
    results = read(tmp_path, study, design, people=people)
    found = analyse(study, design, results, n_replicates=20)
    assert found.subgroups is None
    assert 'id="subgroups"' not in render_report(study, design, found)


def test_trials_from_before_there_were_groups_take_those_of_the_others(design: Design, results: Results) -> None:
    last = list(results.predictions)[-1]
    mixed = {one: table if one == last else replace(table, groups={}) for one, table in results.predictions.items()}
    mixed |= {design.trials[-1].trial_id: results.predictions[design.trials[-1].trial_id]}
    assert found_in(design, replace(results, predictions=mixed)) == found_in(design, results)


def test_a_kind_that_nobody_knows_is_left_out(design: Design, results: Results) -> None:
    sex = np.full(len(first_of(results).label), NOT_KNOWN)
    assert subgroups(design, regrouped(results, sex), min_cell=0, n_replicates=20, seed=0) is None


def test_a_group_without_an_event_has_no_auc(design: Design, results: Results) -> None:
    table = first_of(results)
    sex = np.where(table.label == 1, "male", "female")
    groups = {group.level: group for group in found_in(design, regrouped(results, sex)).groups}
    for score in groups["female"].scores:
        assert score.auc is None and score.in_the_large.value < 0 and score.sensitivity.value is None


def test_the_page_shows_each_group_and_findings_of_before_are_readable(
    study: Study, design: Design, results: Results
) -> None:
    found = analyse(study, design, results, n_replicates=20)
    page = render_report(study, design, found)
    assert all(f"{kind.replace('_', ' ')}: {level}" in page for kind, level in LEVELS)
    older = found.model_dump(mode="json", exclude={"subgroups"})
    assert Findings.model_validate(older).subgroups is None
