"""Scores on tuning alone: what may be seen of a study before all of its trials have an outcome."""

from orchestrator.analysis.results import Results
from orchestrator.analysis.tables.scores import kind_of, mean_of_known, scored
from orchestrator.design.grid import Design
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import AxisValue, Trial


class TuningScore(Record):
    """Mean ROC-AUC on tuning of the scored trials of one kind at one base and train size."""

    kind: str
    base: str | None
    train_size: AxisValue | None
    n_planned: int
    n_scored: int
    strict: float | None
    forced: float | None


def tuning_scores(design: Design, results: Results) -> tuple[TuningScore, ...]:
    """In the order of the design, grid first."""
    groups: dict[tuple[str, AxisValue | None, AxisValue | None], list[Trial]] = {}
    for trial in design.everything:
        place = trial.coordinates.get("base"), trial.coordinates.get("train_size", trial.spec.train_size)
        groups.setdefault((kind_of(trial), *place), []).append(trial)
    return tuple(
        TuningScore(
            kind=kind,
            base=None if base is None else str(base),
            train_size=train_size,
            n_planned=len(trials),
            n_scored=len(with_scores := scored(trials, results)),
            strict=_mean_auc(with_scores, results, Scoring.STRICT),
            forced=_mean_auc(with_scores, results, Scoring.FORCED),
        )
        for (kind, base, train_size), trials in groups.items()
    )


def _mean_auc(trials: list[Trial], results: Results, scoring: Scoring) -> float | None:
    found = (results.outcomes[trial.trial_id].scores["tuning"].metrics[scoring] for trial in trials)
    return mean_of_known(metrics.roc_auc for metrics in found)
