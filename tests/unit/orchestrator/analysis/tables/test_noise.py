"""Reruns in the design, and the noise floor that follows from them, by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.analysis.cells import match_cells
from orchestrator.analysis.resampling.bootstrap import AucTable
from orchestrator.analysis.tables.noise import NoiseFloor, noise_floor
from orchestrator.design.comparators import RERUN, first_run_of
from orchestrator.design.grid import Design, expand
from orchestrator.study.study import Checks, Study, load_study
from support.places import SWEEPS
from support.studies.told import AllScored
from workers.contract.errors import InputError
from workers.contract.recipes.scorings import Scoring

SCORED = AllScored(outcomes={}, predictions={}, attempts={})


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study(SWEEPS / "quickstart.yaml")


def with_reruns(study: Study, share: float) -> Design:
    return expand(study.model_copy(update={"checks": Checks(reruns=share)}))


def floor(study: Study, design: Design, gaps: list[float]) -> NoiseFloor:
    """Reruns that lie so far above their first runs, which all have an AUC of 0.7."""
    reruns = [trial.trial_id for trial in design.controls if trial.coordinates["control"] == RERUN]
    observed = {trial.trial_id: 0.7 for trial in design.trials}
    observed |= {trial_id: 0.7 + gap for trial_id, gap in zip(reruns, gaps, strict=False)}
    table = AucTable(tuple(observed), np.array(list(observed.values())), np.array([list(observed.values())]))
    cells = {name: match_cells(design.trials, one) for name, one in study.contrasts.items()}
    found = noise_floor(study.contrasts, design, cells=cells, results=SCORED, aucs={Scoring.STRICT: table})
    assert found is not None
    return found


def test_reruns_are_controls_of_their_own_and_move_no_other_trial(study: Study) -> None:
    usual, more = expand(study), with_reruns(study, 0.3)
    reruns = more.controls[len(usual.controls) :]
    assert more.trials == usual.trials and more.controls[: len(usual.controls)] == usual.controls
    assert len(reruns) == 4  # 30 % of 12, rounded up
    assert {trial.coordinates["control"] for trial in reruns} == {RERUN}
    assert len(more.by_id) == len(more.everything)
    grid = {trial.trial_id: trial for trial in usual.trials}
    for trial in reruns:
        first = grid[first_run_of(trial.spec).trial_id]
        assert trial.coordinates == {**first.coordinates, "control": RERUN, "seed": trial.coordinates["seed"]}
        assert trial.trial_id != first.trial_id and trial.cell_id != first.cell_id
        assert first_run_of(first.spec) == trial.spec


def test_which_are_run_again_follows_from_their_ids(study: Study) -> None:
    firsts = [first_run_of(trial.spec).trial_id for trial in with_reruns(study, 0.3).controls[-4:]]
    assert firsts == sorted(trial.trial_id for trial in expand(study).trials)[:4]
    assert len(with_reruns(study, 1.0).controls) == len(expand(study).controls) + 12


def test_the_noise_floor_by_hand(study: Study) -> None:
    """Gaps of 1, −1, 3 and −1 hundredths: a variance of 12 / 8 of a training, twice that of a difference of two."""
    found = floor(study, with_reruns(study, 0.3), [0.01, -0.01, 0.03, -0.01])
    assert (found.n_planned, found.n_pairs) == (4, 4)
    assert found.deviation is not None and found.deviation.value == pytest.approx(0.015**0.5 / 10)
    # chi-squared with 4 degrees of freedom: 0.4844 and 11.1433
    assert found.deviation.low == pytest.approx((6e-4 / 11.1433) ** 0.5, rel=1e-4)
    assert found.deviation.high == pytest.approx((6e-4 / 0.4844) ** 0.5, rel=1e-4)
    pooled, free, _ = found.detectable
    assert free.one_cell == pytest.approx(2.8016 * 2**0.5 * found.deviation.value, rel=1e-4)
    assert pooled.one_cell == pytest.approx(2.8016 * 1.5**0.5 * found.deviation.value, rel=1e-4)
    assert free.pooled == pytest.approx(free.one_cell / 2)  # four cells that share no trial


def test_few_reruns_have_no_interval_and_unscored_ones_are_counted(study: Study) -> None:
    found = floor(study, with_reruns(study, 0.3), [0.02])
    assert (found.n_planned, found.n_pairs) == (4, 1)
    assert found.deviation is not None and (found.deviation.low, found.deviation.high) == (None, None)
    nothing = floor(study, with_reruns(study, 0.3), [])
    assert (nothing.n_pairs, nothing.deviation, nothing.detectable) == (0, None, ())


def test_without_reruns_there_is_no_noise_floor(study: Study) -> None:
    design = replace(expand(study), controls=())
    assert noise_floor(study.contrasts, design, cells={}, results=SCORED, aucs={}) is None


def test_reruns_where_nothing_is_trained_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    text = (SWEEPS / "quickstart.yaml").read_text()
    start, end = text.index("axes:"), text.index("training:")
    few_shot = "few_shot: {base: [tiny-llama], shots: [2], shows: [label], inference: [direct], order_seed: [0]}\n\n"
    path.write_text(text[:start] + few_shot + text[end:] + "\nchecks: {reruns: 0.1}\n")
    with pytest.raises(InputError, match=r"checks\.reruns: trains nothing again"):
        load_study(path)
