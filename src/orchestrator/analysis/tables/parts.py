"""Where the time of trials went: the mean seconds of each part of them, by kind of trial and base."""

from collections.abc import Mapping
from statistics import fmean

from orchestrator.analysis.results import Results
from orchestrator.analysis.tables.scores import kind_of
from orchestrator.design.grid import Design
from workers.contract.outcome import Cost, Record
from workers.contract.trial import AxisValue

# In the order of a trial: it waits, is trained, writes and is read; MLflow hears of it beside the next one.
PARTS = (
    *("waiting", "loading", "examples", "forward", "backward", "optimizer", "writing", "reading", "metrics", "other"),
    *("commit", "tracking"),
)
ALL_BASES = "all bases"
# By base too, as long as a page shows so many rows at a glance.
MAX_ROWS = 24


class SpentTime(Record):
    """Of the trials of one kind and base that tell it; `seconds` holds each part that any of them has."""

    kind: str
    base: str
    n_trials: int
    seconds: dict[str, float]


def spent_times(design: Design, results: Results, driver: Mapping[str, Mapping[str, float]]) -> tuple[SpentTime, ...]:
    """In the order of the design; none of trials that are older.

    Args:
        driver: What launches wrote down of each trial, by its id: commit and tracking.
    """
    groups: dict[tuple[str, AxisValue], list[dict[str, float]]] = {}
    for trial in design.everything:
        cost = results.outcomes[trial.trial_id].cost if trial.trial_id in results.outcomes else Cost()
        if cost.parts:
            place = kind_of(trial), trial.coordinates.get("base", "–")
            groups.setdefault(place, []).append({**cost.parts, **driver.get(trial.trial_id, {})})
    if len(groups) > MAX_ROWS:
        merged: dict[tuple[str, AxisValue], list[dict[str, float]]] = {}
        for (kind, _), trials in groups.items():
            merged.setdefault((kind, ALL_BASES), []).extend(trials)
        groups = merged
    return tuple(
        SpentTime(kind=kind, base=str(base), n_trials=len(trials), seconds=_means(trials))
        for (kind, base), trials in groups.items()
    )


def _means(trials: list[dict[str, float]]) -> dict[str, float]:
    known = {part: [spent[part] for spent in trials if part in spent] for part in PARTS}
    return {part: fmean(seconds) for part, seconds in known.items() if seconds}
