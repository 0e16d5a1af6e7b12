"""What ran: how far the trials got and on whom, what failed, what it cost, and with what it was computed."""

from collections import Counter
from collections.abc import Iterable
from typing import get_args

from orchestrator.analysis.resampling.held_out import HeldOut
from orchestrator.analysis.results import Results, Standing
from orchestrator.design.grid import Design
from orchestrator.disclosure import Count
from workers.contract.outcome import Record


class Completeness(Record):
    """How far the trials of one role got."""

    role: str
    planned: int
    scored: int
    diverged: int
    failed: int
    damaged: int
    missing: int
    spared: int = 0


class HeldOutSet(Record):
    """The test set that every trial shares."""

    n_participants: Count
    n_examples: Count
    n_events: Count


class TotalCost(Record):
    """What the committed trials used, summed, damaged ones aside; failed attempts leave no account."""

    wall_s: float
    cpu_s: float
    n_input_tokens: int
    n_target_tokens: int
    peak_memory_mib: float


class ForecastScore(Record):
    """How long a launch expected its trials, as far as it knew their kinds, to take, and how long all of them took."""

    launch: int
    n_known: int
    n_trials: int
    p10_s: float
    p50_s: float
    p90_s: float
    took_s: float


class FailureGroup(Record):
    """Failed attempts of one kind at one place."""

    kind: str
    where: str
    n_attempts: int
    n_trials: int


class ProvenanceSummary(Record):
    """With what the outcomes were computed: each distinct value once, sorted; hosts are only counted."""

    commits: tuple[str, ...]
    pythons: tuple[str, ...]
    devices: tuple[str, ...]
    packages: dict[str, tuple[str, ...]]
    n_hosts: int
    first_started_at: str
    last_ended_at: str


def completeness_of(design: Design, results: Results) -> tuple[Completeness, ...]:
    """Of the grid, and of the controls."""
    found = []
    for role, trials in (("grid", design.trials), ("control", design.controls)):
        standings = Counter(results.standing(trial.trial_id) for trial in trials)
        counts = {standing: standings[standing] for standing in get_args(Standing)}
        found.append(Completeness(role=role, planned=len(trials), **counts))
    return tuple(found)


def failures_of(results: Results) -> tuple[FailureGroup, ...]:
    """Failed attempts by kind and place, most frequent first; messages stay in the store."""
    groups: dict[tuple[str, str], list[str]] = {}
    for trial_id, attempts in results.attempts.items():
        for attempt in attempts:
            groups.setdefault((attempt.kind.value, attempt.where), []).append(trial_id)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return tuple(
        FailureGroup(kind=kind, where=where, n_attempts=len(trial_ids), n_trials=len(set(trial_ids)))
        for (kind, where), trial_ids in ordered
    )


def total_cost_of(results: Results) -> TotalCost | None:
    """Sums over the outcomes; none before the first."""
    if not results.outcomes:
        return None
    costs = [outcome.cost for outcome in results.outcomes.values()]
    return TotalCost(
        wall_s=sum(cost.wall_s for cost in costs),
        cpu_s=sum(cost.cpu_s for cost in costs),
        n_input_tokens=sum(cost.n_input_tokens for cost in costs),
        n_target_tokens=sum(cost.n_target_tokens for cost in costs),
        peak_memory_mib=max(cost.peak_memory_mib for cost in costs),
    )


def provenance_of(results: Results) -> ProvenanceSummary | None:
    """Of every outcome; none before the first."""
    if not results.outcomes:
        return None
    records = [outcome.provenance for outcome in results.outcomes.values()]
    names = sorted({name for record in records for name in record.packages})
    packages = {
        name: _distinct(record.packages[name] for record in records if name in record.packages) for name in names
    }
    return ProvenanceSummary(
        commits=_distinct(record.commit for record in records),
        pythons=_distinct(record.python for record in records),
        devices=_distinct(record.device for record in records),
        packages=packages,
        n_hosts=len({record.host for record in records}),
        first_started_at=min(record.started_at for record in records),
        last_ended_at=max(record.ended_at for record in records),
    )


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


def held_out_set(held_out: HeldOut, *, min_cell: int) -> HeldOutSet:
    """Its size, unless that would tell how few events there are."""
    n_examples, n_events = len(held_out.label), int(held_out.label.sum())
    events = Count.of(n_events, min_cell=min_cell, total=n_examples)
    # Where controls are sampled, so many to a case, examples or participants would tell the cases.
    is_told = events.value is not None
    return HeldOutSet(
        n_participants=Count.of(held_out.n_participants, min_cell=min_cell) if is_told else Count.withheld(),
        n_examples=Count.of(n_examples, min_cell=min_cell) if is_told else Count.withheld(),
        n_events=events,
    )
