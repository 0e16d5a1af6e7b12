"""That there is no difference is tested on the headline's own layer of uncertainty."""

import numpy as np
from scipy import stats

from orchestrator.analysis.checks.equivalence import Equivalence, equivalence
from orchestrator.analysis.checks.learnt import LearningAt
from orchestrator.analysis.uncertainty.layers import BASES, PARTICIPANTS
from orchestrator.study.study import Checks
from support.studies.simulated import SIZES, FloatArray, normal
from support.studies.told import contrast_of


def places(n_bases: int, n_learnt: int) -> list[LearningAt]:
    return [
        LearningAt(
            base=f"base-{base}",
            train_size=size,
            n_trials=2,
            gain=None,
            beyond_share=None,
            power=None,
            p_value=None,
            standing="learnt" if base < n_learnt else "not shown",
        )
        for base in range(n_bases)
        for size in SIZES
    ]


def told(differences: FloatArray, margin: float, *, n_learnt: int | None = None) -> Equivalence:
    contrast, cells, aucs = contrast_of(differences)
    n_bases = differences.shape[0]
    learning = places(n_bases, n_bases if n_learnt is None else n_learnt)
    return equivalence(contrast, cells, learning, Checks(margin=margin), aucs)


def test_over_new_bases_the_interval_is_the_t_of_their_means() -> None:
    """Bases scatter by 0.05, the test set by a fifth of that: the margin is met for these models, not for new ones."""
    table = 0.05 * normal(6, 1, 1, 2)
    table -= table.mean()
    found = told(table, 0.025)
    assert found.estimate is not None and found.estimate.high is not None
    spread = stats.ttest_1samp(table.mean(axis=(1, 2, 3)), 0).confidence_interval(0.90)
    assert found.estimate.high >= spread.high > 0.025
    assert found.holds is False and "new bases" in found.covers
    assert "is not excluded for new participants, new bases and their seeds" in found.statement
    assert contrast_of(table)[0].widest.name == BASES


def test_the_same_scatter_over_one_base_is_about_these_models() -> None:
    found = told(np.zeros((1, 1, 1, 2)), 0.025)
    assert contrast_of(np.zeros((1, 1, 1, 2)))[0].widest.name == PARTICIPANTS
    assert found.holds is True and found.covers == "these trained models on new participants"


def test_too_few_bases_that_learnt_conclude_nothing_about_new_ones() -> None:
    found = told(0.001 * normal(6, 1, 1, 2), 0.3, n_learnt=3)
    assert (found.n_cells, found.n_complete, found.estimate, found.holds) == (6, 12, None, None)
    assert found.statement == (
        "That there is no difference can't be concluded of new bases: of the 6 of 12 cells that learnt, "
        "3 bases of the 5 that it takes."
    )


def test_where_nothing_learnt_nothing_is_concluded() -> None:
    found = told(np.zeros((6, 1, 1, 2)), 0.3, n_learnt=0)
    assert found.holds is None and found.statement.startswith("No cell that learnt can be compared")
