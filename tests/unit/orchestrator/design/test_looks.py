"""The order of the cells of a study that looks: even in every prefix, controls first, nothing twice or left out."""

from collections import Counter
from itertools import pairwise, product

import pytest

from orchestrator.analysis.cells import match_cells
from orchestrator.design.grid import expand
from orchestrator.design.looks import even_order, phases_of
from orchestrator.study.study import load_study
from support.places import SWEEPS

STUDY = load_study(SWEEPS / "adrd-504-tiny.yaml").model_copy(update={"looks": (0.25, 0.5)})
DESIGN = expand(STUDY)
CONTRAST = STUDY.contrasts["rationale_vs_label"]
CELLS = match_cells(DESIGN.trials, CONTRAST)


@pytest.mark.parametrize("sizes", [(1,), (1, 5), (2, 2), (4, 2), (3, 3, 3), (6, 4, 10), (2, 4, 8), (7, 4, 3, 2)])
def test_levels_of_every_axis_differ_by_one_cell_at_most_in_every_prefix(sizes: tuple[int, ...]) -> None:
    places = [dict(zip("abcd", place, strict=False)) for place in product(*map(range, sizes))]
    order = even_order(places)
    assert order is not None
    assert sorted(order) == list(range(len(places)))
    counts = [Counter(dict.fromkeys(range(size), 0)) for size in sizes]
    for index in order:
        for count, axis in zip(counts, "abcd", strict=False):
            count[places[index][axis]] += 1
        assert all(max(count.values()) - min(count.values()) <= 1 for count in counts)


@pytest.mark.parametrize(
    "places", [[], [{"a": 1}, {"a": 1}], [{"a": 1, "b": 1}, {"a": 2, "b": 2}], [{"a": 1}, {"b": 1}]]
)
def test_places_that_do_not_cross_have_no_such_order(places: list[dict[str, int]]) -> None:
    assert even_order(places) is None


def test_a_phase_holds_whole_cells_and_the_ones_before_it() -> None:
    phases = phases_of(DESIGN, CELLS, looks=STUDY.looks, compared="supervision")
    assert phases is not None
    assert [len(phase.cell_ids) for phase in phases] == [42, 84, 168]
    for phase, after in pairwise(phases):
        assert phase.trial_ids < after.trial_ids
        assert phase.cell_ids < after.cell_ids
    assert phases[-1].trial_ids == set(DESIGN.by_id)
    for phase in phases:
        in_cells = {trial for cell in CELLS if cell.cell_id in phase.cell_ids for trial in cell.members.values()}
        assert phase.trial_ids - in_cells == {trial.trial_id for trial in DESIGN.controls}


def test_a_trial_that_is_not_compared_goes_with_the_cell_in_its_place() -> None:
    cells = match_cells(DESIGN.trials, STUDY.contrasts["free_vs_label"])
    (first, *_) = phases_of(DESIGN, cells, looks=(0.25,), compared="supervision") or ()
    forms = Counter(trial.coordinates["supervision"] for trial in DESIGN.trials if trial.trial_id in first.trial_ids)
    assert forms == {"step_by_step": 42, "free_form": 42, "label_only": 42}


def test_a_rerun_waits_for_the_trial_that_it_repeats() -> None:
    study = STUDY.model_copy(update={"checks": STUDY.checks.model_copy(update={"reruns": 0.1})})
    design = expand(study)
    reruns = {trial.trial_id for trial in design.controls if trial.coordinates["control"] == "rerun"}
    phases = phases_of(design, CELLS, looks=STUDY.looks, compared="supervision") or ()
    assert [len(phase.trial_ids & reruns) for phase in phases] == sorted(
        len(phase.trial_ids & reruns) for phase in phases
    )
    assert 0 < len(phases[0].trial_ids & reruns) < len(reruns) == len(phases[-1].trial_ids & reruns)


def test_a_study_without_looks_has_one_phase() -> None:
    (phase,) = phases_of(DESIGN) or ()
    assert phase.trial_ids == set(DESIGN.by_id)
    assert phase.share is None
