"""Estimates of findings, taken out and put in."""

from typing import TypeVar

from orchestrator.analysis.estimates import ByScoring
from orchestrator.analysis.resampling.bootstrap import Estimate
from workers.contract.recipes.scorings import Scoring

Row = TypeVar("Row", bound=ByScoring)


def known(row: ByScoring, scoring: Scoring = Scoring.STRICT) -> Estimate:
    estimate = row[scoring]
    assert estimate is not None
    return estimate


def with_estimate(row: Row, scoring: Scoring, *, value: float, low: float, high: float) -> Row:
    estimate = Estimate(value=value, low=low, high=high)
    return row.model_copy(update={"estimates": {**row.estimates, scoring: estimate}})
