"""Whether models serve women and men, and the young and the old, alike: scores within each group of participants.

Strict scoring on held-out; means over the trials of a supervision at the largest train size; intervals over the
participants of a group, of these trained models alone. Nothing here compares groups: they differ in more than a name.
Where a group is too small nothing is told of it, nor of as many others as it would follow from.
Source: protocol, sections 3.7 and 8.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.analysis.checks.check import mean_weights
from orchestrator.analysis.resampling.bootstrap import Estimate, Sample, bootstrap_aucs, resampled_weights
from orchestrator.analysis.resampling.held_out import HeldOut, align_held_out
from orchestrator.analysis.results import NOT_KNOWN, FloatArray, IntArray, Results, TextArray
from orchestrator.analysis.tables.clinical.operating import above_thresholds, class_share
from orchestrator.analysis.tables.scores import by_size, fine_tuned, scored
from orchestrator.design.grid import Design
from orchestrator.disclosure import Count, Share, hidden_parts
from workers.contract.metrics import shift_prior
from workers.contract.outcome import Record
from workers.contract.recipes.scorings import Scoring
from workers.contract.recipes.teaching import Supervision
from workers.contract.trial import AxisValue, Trial


class GroupScore(Record):
    """Of the trials of one supervision within a group; null where it can't be computed.

    in_the_large: Observed rate less mean predicted risk, corrected to natural prevalence; 0 is perfect.
    sensitivity: At the threshold that each trial has for everybody.
    """

    supervision: Supervision
    n_trials: int
    auc: Estimate | None
    in_the_large: Estimate
    sensitivity: Share


class Subgroup(Record):
    """Participants of held-out of one sex, or of one age band; without scores where they are too few."""

    kind: str
    level: str
    n_participants: Count
    n_events: Count
    scores: tuple[GroupScore, ...] = ()


class Subgroups(Record):
    """Every group of every kind that the cohort knows; a participant of several index dates may be in two age bands."""

    train_size: AxisValue
    groups: tuple[Subgroup, ...]


def subgroups(design: Design, results: Results, *, min_cell: int, n_replicates: int, seed: int) -> Subgroups | None:
    """Every supervision of the grid in every group; null where nothing is scored, or no group is known."""
    trained = scored(fine_tuned(design.trials), results)
    if not trained:
        return None
    size, largest = by_size(trained, sizes_of=trained)[-1]
    tables = {trial.trial_id: results.predictions[trial.trial_id] for trial in largest}
    held_out, above = align_held_out(tables), above_thresholds(tables)
    read = _Read(
        arms={
            one: fine_tuned(largest, one) for one in dict.fromkeys(trial.spec.supervision for trial in largest) if one
        },
        strict=replace(held_out, risks={Scoring.STRICT: held_out.risks[Scoring.STRICT]}),
        shifted=_shifted(held_out, results),
        above=above,
        min_cell=min_cell,
        resampled={"n_replicates": n_replicates, "seed": seed},
    )
    kinds = {kind: levels for kind, levels in held_out.groups.items() if (levels != NOT_KNOWN).any()}
    groups = [group for kind, levels in kinds.items() for group in _groups(kind, levels, read)]
    return Subgroups(train_size=size, groups=tuple(groups)) if groups else None


@dataclass(frozen=True, eq=False)
class _Read:
    """What every group is a part of: strict risks as read, these shifted, and whether they exceed their threshold."""

    arms: Mapping[Supervision, Sequence[Trial]]
    strict: HeldOut
    shifted: FloatArray
    above: HeldOut | None
    min_cell: int
    resampled: Mapping[str, int]


def _groups(kind: str, levels: TextArray, read: _Read) -> Iterator[Subgroup]:
    """The groups of one kind, of which all examples are in one each."""
    found = {str(level): np.flatnonzero(levels == level) for level in np.unique(levels)}
    counts = {level: _people(read.strict, rows) for level, rows in found.items()}
    hidden = hidden_parts(counts, min_cell=read.min_cell)
    for level, rows in found.items():
        if level in hidden:
            yield Subgroup(kind=kind, level=level, n_participants=Count.withheld(), n_events=Count.withheld())
            continue
        n_events = int(read.strict.label[rows].sum())
        yield Subgroup(
            kind=kind,
            level=level,
            n_participants=Count.of(counts[level][0], min_cell=read.min_cell),
            n_events=Count.of(n_events, min_cell=read.min_cell),
            scores=tuple(_scores(rows, read)),
        )


def _people(held_out: HeldOut, rows: IntArray) -> tuple[int, int, int]:
    """Participants behind these examples: all, those with an event, those with an example without one."""
    people, label = held_out.participant[rows], held_out.label[rows]
    return len(np.unique(people)), len(np.unique(people[label == 1])), len(np.unique(people[label == 0]))


def _scores(rows: IntArray, read: _Read) -> Iterator[GroupScore]:
    inside = read.strict.only(rows)
    aucs = bootstrap_aucs(inside, **read.resampled)[Scoring.STRICT]
    above = read.above.only(rows) if read.above else None
    of_arms = [[inside.trial_ids.index(trial.trial_id) for trial in trials] for trials in read.arms.values()]
    excesses = [inside.label - read.shifted[of_arm][:, rows].mean(axis=0) for of_arm in of_arms]
    in_the_large = _means(excesses, inside, **read.resampled)
    for (supervision, trials), mean in zip(read.arms.items(), in_the_large, strict=True):
        yield GroupScore(
            supervision=supervision,
            n_trials=len(trials),
            auc=aucs.estimate(mean_weights(trials)),
            in_the_large=mean,
            sensitivity=class_share(above, trials, 1, min_cell=read.min_cell) if above else Share(value=None),
        )


def _means(values: Sequence[FloatArray], held_out: HeldOut, *, n_replicates: int, seed: int) -> list[Estimate]:
    """Of each of several values of all examples, over the same resamples."""
    chunks = resampled_weights(held_out, n_replicates=n_replicates, seed=seed)
    means = [[chunk @ each / chunk.sum(axis=1) for each in values] for chunk in chunks]
    return [
        Sample(float(np.average(each, weights=held_out.weight)), np.concatenate(replicates)).estimate()
        for each, replicates in zip(values, zip(*means, strict=True), strict=True)
    ]


def _shifted(held_out: HeldOut, results: Results) -> FloatArray:
    """Strict risks corrected to natural prevalence, shape (n_trials, n_examples)."""
    outcomes = [results.outcomes[trial_id] for trial_id in held_out.trial_ids]
    return np.stack(
        [
            shift_prior(raw, from_prevalence=one.train_prevalence, to_prevalence=one.natural_prevalence)
            for raw, one in zip(held_out.risks[Scoring.STRICT], outcomes, strict=True)
        ]
    )
