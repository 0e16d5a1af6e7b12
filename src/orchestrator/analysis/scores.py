"""Scores by supervision, by comparator and by trial, all from the one table of AUCs."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from orchestrator.analysis.bootstrap import AucTable, Estimate
from orchestrator.analysis.disclosure import Share
from orchestrator.analysis.learning import mean_weights, size_order
from orchestrator.analysis.results import Results, Standing
from orchestrator.analysis.validity import InvalidShares, invalid_shares
from orchestrator.grid import Design
from workers.contract.outcome import Record, Scoring
from workers.contract.teaching import Supervision
from workers.contract.trial import AxisValue, Method, Trial

Aucs = Mapping[Scoring, AucTable]


class SupervisionScore(Record):
    """Mean AUC of the scored trials of one supervision; `train_size` is "all" over all sizes."""

    supervision: Supervision
    train_size: AxisValue
    n_planned: int
    n_scored: int
    strict: Estimate | None
    forced: Estimate | None
    pr_auc: float | None
    brier: float | None
    ece: float | None
    invalid: InvalidShares


class BaselineScore(Record):
    """Mean AUC of one kind of control on the same test set."""

    kind: str
    base: str | None
    train_size: int | None
    n_planned: int
    n_scored: int
    strict: Estimate | None
    forced: Estimate | None
    invalid: InvalidShares


class TrialRow(Record):
    """One line of the table of all trials; scores are those on held_out, null where there are none."""

    trial_id: str
    cell_id: str
    role: str
    kind: str
    coordinates: dict[str, AxisValue]
    standing: Standing
    n_failed_attempts: int
    strict_auc: float | None
    forced_auc: float | None
    pr_auc: float | None
    brier: float | None
    ece: float | None
    invalid: Share
    n_distinct: int | None
    wall_s: float | None


def kind_of(trial: Trial) -> str:
    """What a trial is in the words of a study file: a supervision, or the name of a control."""
    if trial.spec.labels == "permuted":
        return "permuted_labels"
    if trial.spec.method is not Method.LORA:
        return trial.spec.method.value
    return trial.spec.supervision.value if trial.spec.supervision else trial.spec.method.value


def supervision_scores(design: Design, results: Results, aucs: Aucs, *, min_cell: int) -> tuple[SupervisionScore, ...]:
    """Every supervision of the grid over all train sizes, then at each, smallest first."""
    sizes = sorted({trial.spec.train_size for trial in design.trials}, key=size_order)
    supervisions = dict.fromkeys(trial.spec.supervision for trial in design.trials if trial.spec.supervision)
    scores = []
    for supervision in supervisions:
        trials = [trial for trial in design.trials if trial.spec.supervision is supervision]
        scores.append(_supervision_score(supervision, "all", trials, results, aucs, min_cell=min_cell))
        for size in sizes if len(sizes) > 1 else ():
            at_size = [trial for trial in trials if trial.spec.train_size == size]
            label = "whole split" if size is None else size
            scores.append(_supervision_score(supervision, label, at_size, results, aucs, min_cell=min_cell))
    return tuple(scores)


def baseline_scores(design: Design, results: Results, aucs: Aucs, *, min_cell: int) -> tuple[BaselineScore, ...]:
    """Controls by kind, base and train size, in the order of the design."""
    groups: dict[tuple[str, str | None, int | None], list[Trial]] = {}
    for trial in design.controls:
        base = str(trial.coordinates["base"]) if "base" in trial.coordinates else None
        groups.setdefault((kind_of(trial), base, trial.spec.train_size), []).append(trial)
    return tuple(
        BaselineScore(
            kind=kind,
            base=base,
            train_size=train_size,
            n_planned=len(trials),
            n_scored=len(_scored(trials, results)),
            strict=_mean_auc(trials, results, aucs[Scoring.STRICT]),
            forced=_mean_auc(trials, results, aucs[Scoring.FORCED]),
            invalid=_invalid_shares(trials, results, min_cell=min_cell),
        )
        for (kind, base, train_size), trials in groups.items()
    )


def trial_rows(design: Design, results: Results, aucs: Aucs, *, min_cell: int) -> tuple[TrialRow, ...]:
    """One row for every planned trial, grid first."""
    observed = {
        scoring: dict(zip(table.trial_ids, table.observed.tolist(), strict=True)) for scoring, table in aucs.items()
    }
    rows = []
    for trial in design.everything:
        outcome = results.outcomes.get(trial.trial_id)
        held_out = outcome.scores.get("held_out") if outcome else None
        metrics = held_out.metrics.get(Scoring.STRICT) if held_out else None
        row = TrialRow(
            trial_id=trial.trial_id,
            cell_id=trial.cell_id,
            role=trial.role,
            kind=kind_of(trial),
            coordinates=trial.coordinates,
            standing=results.standing(trial.trial_id),
            n_failed_attempts=len(results.attempts.get(trial.trial_id, ())),
            strict_auc=observed[Scoring.STRICT].get(trial.trial_id),
            forced_auc=observed[Scoring.FORCED].get(trial.trial_id),
            pr_auc=metrics.pr_auc if metrics else None,
            brier=metrics.brier if metrics else None,
            ece=metrics.ece if metrics else None,
            invalid=_invalid_shares([trial], results, min_cell=min_cell).all,
            n_distinct=held_out.n_distinct if held_out else None,
            wall_s=outcome.cost.wall_s if outcome else None,
        )
        rows.append(row)
    return tuple(rows)


def _supervision_score(
    supervision: Supervision,
    train_size: AxisValue,
    trials: Sequence[Trial],
    results: Results,
    aucs: Aucs,
    *,
    min_cell: int,
) -> SupervisionScore:
    scored = _scored(trials, results)
    metrics = [results.outcomes[trial.trial_id].scores["held_out"].metrics[Scoring.STRICT] for trial in scored]
    return SupervisionScore(
        supervision=supervision,
        train_size=train_size,
        n_planned=len(trials),
        n_scored=len(scored),
        strict=_mean_auc(trials, results, aucs[Scoring.STRICT]),
        forced=_mean_auc(trials, results, aucs[Scoring.FORCED]),
        pr_auc=_mean(metric.pr_auc for metric in metrics),
        brier=_mean(metric.brier for metric in metrics),
        ece=_mean(metric.ece for metric in metrics),
        invalid=_invalid_shares(trials, results, min_cell=min_cell),
    )


def _scored(trials: Sequence[Trial], results: Results) -> list[Trial]:
    return [trial for trial in trials if results.is_scored(trial.trial_id)]


def _mean_auc(trials: Sequence[Trial], results: Results, aucs: AucTable) -> Estimate | None:
    scored = _scored(trials, results)
    return aucs.estimate(mean_weights(scored)) if scored else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _invalid_shares(trials: Sequence[Trial], results: Results, *, min_cell: int) -> InvalidShares:
    tables = [results.predictions[trial.trial_id] for trial in _scored(trials, results)]
    return invalid_shares(tables, min_cell=min_cell)
