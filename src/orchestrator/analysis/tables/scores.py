"""Scores by supervision, by base, by comparator and by trial, all from the one table of AUCs."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean

from orchestrator.analysis.checks.check import mean_weights
from orchestrator.analysis.checks.verdict import size_order
from orchestrator.analysis.contrasts import mean_of, sum_of
from orchestrator.analysis.estimates import ByScoring
from orchestrator.analysis.resampling.bootstrap import Aucs
from orchestrator.analysis.results import Results, Standing
from orchestrator.analysis.tables.validity import InvalidShares, invalid_shares
from orchestrator.design.comparators import RERUN, WHOLE_TRAIN_SPLIT
from orchestrator.design.grid import Design
from orchestrator.disclosure import Share
from orchestrator.study.study import Control
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import ALWAYS_SCORED, Scoring
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import AxisValue, Method, Trial

# The train size of a mean over trials of every train size; of the whole train split, it is another word.
ALL_SIZES = "all sizes"
# What fine-tuning has to beat; other controls show what must come out if nothing is wrong.
COMPARATORS = (Control.ZERO_SHOT, Control.HEAD, Control.AGE_SEX, Control.LOGISTIC, Control.BOOSTING)


class SupervisionScore(ByScoring):
    """Mean AUC of the scored trials of one supervision at one train size, or over all."""

    supervision: Supervision
    train_size: AxisValue
    n_planned: int
    n_scored: int
    pr_auc: float | None
    brier: float | None
    ece: float | None
    invalid: InvalidShares


class PlaceScore(ByScoring):
    """Mean AUC of the scored trials of one supervision at one base and train size, or over all sizes.

    `invalid` is null in older findings alone.
    """

    supervision: Supervision
    base: str
    train_size: AxisValue
    n_planned: int
    n_scored: int
    invalid: InvalidShares | None = None


class BaselineScore(ByScoring):
    """Mean AUC of one kind of control on the same test set."""

    kind: str
    base: str | None
    train_size: int | None
    n_planned: int
    n_scored: int
    invalid: InvalidShares


class ComparatorDifference(ByScoring):
    """Mean AUC of one kind of comparator minus that of the label-only trials of the largest train size.

    On as many examples, where it learns from any; base by base, where it has one.
    """

    kind: str
    train_size: int
    n_trials: int


class TrialRow(Record):
    """One line of the table of all trials; scores are those on held_out, null where there are none.

    `further_aucs` are those under the scorings that the study asks for beside strict and forced; `failure` is the kind
    of the last failed attempt.
    """

    trial_id: str
    cell_id: str
    role: str
    kind: str
    coordinates: dict[str, AxisValue]
    standing: Standing
    n_failed_attempts: int
    failure: str | None = None
    strict_auc: float | None
    forced_auc: float | None
    further_aucs: dict[Scoring, float]
    pr_auc: float | None
    brier: float | None
    ece: float | None
    invalid: Share
    n_distinct: int | None
    wall_s: float | None


def kind_of(trial: Trial) -> str:
    """What a trial is in the words of a study file: a supervision, the name of a control, or `few_shot`."""
    if trial.role == "control" and "control" in trial.coordinates:
        return str(trial.coordinates["control"])
    if trial.spec.labels != "recorded":
        return f"{trial.spec.labels}_labels"
    if trial.spec.method is Method.LORA and trial.spec.supervision:
        return trial.spec.supervision.value
    return trial.spec.method.value


def fine_tuned(trials: Iterable[Trial], supervision: Supervision | None = None) -> list[Trial]:
    """Trials that train an adapter on one supervision, or on any."""
    return [
        trial
        for trial in trials
        if trial.spec.method is Method.LORA
        and trial.spec.supervision is not None
        and supervision in (None, trial.spec.supervision)
    ]


def supervision_scores(design: Design, results: Results, aucs: Aucs, *, min_cell: int) -> tuple[SupervisionScore, ...]:
    """Every supervision of the grid over all train sizes, then at each, smallest first."""
    trained = fine_tuned(design.trials)
    scores = []
    for supervision in dict.fromkeys(trial.spec.supervision for trial in trained if trial.spec.supervision):
        for size, trials in by_size(fine_tuned(trained, supervision), sizes_of=trained):
            scores.append(_supervision_score(supervision, size, trials, results, aucs, min_cell=min_cell))
    return tuple(scores)


def place_scores(design: Design, results: Results, aucs: Aucs, *, min_cell: int) -> tuple[PlaceScore, ...]:
    """Every supervision at every base, over all train sizes and at each; empty for a study of one base."""
    trained = fine_tuned(design.trials)
    bases = list(dict.fromkeys(str(trial.coordinates["base"]) for trial in trained))
    return tuple(
        PlaceScore(
            supervision=supervision,
            base=base,
            train_size=size,
            n_planned=len(trials),
            n_scored=len(scored(trials, results)),
            invalid=invalid_of(trials, results, min_cell=min_cell),
        ).of_aucs(aucs, mean_weights(scored(trials, results)))
        for base in (bases if len(bases) > 1 else ())
        for supervision in dict.fromkeys(trial.spec.supervision for trial in trained if trial.spec.supervision)
        for size, trials in by_size(
            [trial for trial in fine_tuned(trained, supervision) if trial.coordinates["base"] == base],
            sizes_of=trained,
        )
        if trials
    )


def baseline_scores(design: Design, results: Results, aucs: Aucs, *, min_cell: int) -> tuple[BaselineScore, ...]:
    """Controls by kind, base and train size, in the order of the design."""
    groups: dict[tuple[str, str | None, int | None], list[Trial]] = {}
    for trial in design.controls:
        if kind_of(trial) == RERUN:  # a trial of the grid once more, and no comparator
            continue
        base = str(trial.coordinates["base"]) if "base" in trial.coordinates else None
        groups.setdefault((kind_of(trial), base, trial.spec.train_size), []).append(trial)
    return tuple(
        BaselineScore(
            kind=kind,
            base=base,
            train_size=train_size,
            n_planned=len(trials),
            n_scored=len(scored(trials, results)),
            invalid=invalid_of(trials, results, min_cell=min_cell),
        ).of_aucs(aucs, mean_weights(scored(trials, results)))
        for (kind, base, train_size), trials in groups.items()
    )


def comparator_differences(design: Design, results: Results, aucs: Aucs) -> tuple[ComparatorDifference, ...]:
    """One for each kind that is scored; none where no label-only trial is."""
    trained = fine_tuned(scored(design.trials, results), Supervision.LABEL_ONLY)
    size = max((trial.spec.train_size for trial in trained), key=size_order, default=None)
    if size is None:
        return ()
    references: dict[AxisValue, list[Trial]] = {}
    for trial in trained:
        if trial.spec.train_size == size:
            references.setdefault(trial.coordinates["base"], []).append(trial)
    found = []
    for kind in COMPARATORS:
        alike = [trial for trial in scored(design.controls, results) if kind_of(trial) == kind]
        trials = [trial for trial in alike if trial.coordinates.get("train_size", size) == size]
        weights = [
            sum_of([mean_weights(own), {one: -weight for one, weight in mean_weights(reference).items()}])
            for base, reference in references.items()
            if (own := [trial for trial in trials if trial.coordinates.get("base", base) == base])
        ]
        if weights:
            row = ComparatorDifference(kind=kind.value, train_size=size, n_trials=len(trials))
            found.append(row.of_aucs(aucs, mean_of(weights)))
    return tuple(found)


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
        invalid = invalid_of([trial], results, min_cell=min_cell).all
        failed = results.attempts.get(trial.trial_id, ())
        row = TrialRow(
            trial_id=trial.trial_id,
            cell_id=trial.cell_id,
            role=trial.role,
            kind=kind_of(trial),
            coordinates=trial.coordinates,
            standing=results.standing(trial.trial_id),
            n_failed_attempts=len(failed),
            failure=failed[-1].kind.value if failed else None,
            strict_auc=observed[Scoring.STRICT].get(trial.trial_id),
            forced_auc=observed[Scoring.FORCED].get(trial.trial_id),
            further_aucs={
                scoring: auc
                for scoring, of_trial in observed.items()
                if scoring not in ALWAYS_SCORED and math.isfinite(auc := of_trial.get(trial.trial_id, math.nan))
            },
            pr_auc=metrics.pr_auc if metrics else None,
            brier=metrics.brier if metrics else None,
            ece=metrics.ece if metrics else None,
            invalid=invalid,
            # With untied scores, what is missing to the number of examples would tell the invalid ones.
            n_distinct=held_out.n_distinct if held_out and not invalid.is_hidden else None,
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
    with_scores = scored(trials, results)
    metrics = [results.outcomes[trial.trial_id].scores["held_out"].metrics[Scoring.STRICT] for trial in with_scores]
    return SupervisionScore(
        supervision=supervision,
        train_size=train_size,
        n_planned=len(trials),
        n_scored=len(with_scores),
        pr_auc=mean_of_known(metric.pr_auc for metric in metrics),
        brier=mean_of_known(metric.brier for metric in metrics),
        ece=mean_of_known(metric.ece for metric in metrics),
        invalid=invalid_of(trials, results, min_cell=min_cell),
    ).of_aucs(aucs, mean_weights(with_scores))


def scored(trials: Iterable[Trial], results: Results) -> list[Trial]:
    """Those that have predictions to analyse."""
    return [trial for trial in trials if results.is_scored(trial.trial_id)]


def invalid_of(trials: Iterable[Trial], results: Results, *, min_cell: int) -> InvalidShares:
    """Shares of invalid outputs over the scored ones among several trials."""
    tables = [results.predictions[trial.trial_id] for trial in scored(trials, results)]
    return invalid_shares(tables, min_cell=min_cell)


def by_size(trials: Sequence[Trial], *, sizes_of: Iterable[Trial]) -> list[tuple[AxisValue, list[Trial]]]:
    """All trials, then by train size where `sizes_of` have several, smallest first."""
    sizes = sorted({trial.spec.train_size for trial in sizes_of}, key=size_order)
    groups: list[tuple[AxisValue, list[Trial]]] = [(ALL_SIZES, list(trials))]
    for size in sizes if len(sizes) > 1 else ():
        groups.append((size or WHOLE_TRAIN_SPLIT, [trial for trial in trials if trial.spec.train_size == size]))
    return groups


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean of those that are there; null where none is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
