"""The runs of one study in its MLflow experiment: one parent, one child a trial, and what is more than that.

Pure. A request that was sent twice, or whose answer was lost, leaves twins: two runs of one trial, or two parents. Runs
that carry none of our tags are somebody else's and are never among the surplus.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.tracking.projection import TRIAL_ID, KnownRun

STUDY = "sweep.study"
PARENT = "mlflow.parentRunId"


@dataclass(frozen=True)
class RunFamily:
    """Of an experiment, the oldest parent and the oldest run of each trial, by trial id; the others are surplus."""

    parent: KnownRun | None
    children: dict[str, KnownRun]
    surplus: tuple[KnownRun, ...]


def family_of(study: str, runs: Iterable[KnownRun]) -> RunFamily:
    """Find the study's own runs by their tags, wherever a child hangs.

    Args:
        study: The name in the parent's tag.
        runs: Every run of the experiment; one that two pages of a search showed counts once.
    """
    unique = {run.run_id: run for run in runs}.values()
    n_below = Counter(run.tags.get(PARENT) for run in unique)

    def seniority(run: KnownRun) -> tuple[int, int, int, str]:
        # A request that was sent twice gives both its time: then the one that was gone on with.
        return run.started_ms, -n_below[run.run_id], -len(run.metrics) - len(run.tags), run.run_id

    by_age = sorted(unique, key=seniority)
    parents = [run for run in by_age if run.tags.get(STUDY) == study and TRIAL_ID not in run.tags]
    children: dict[str, KnownRun] = {}
    surplus = parents[1:]
    for run in by_age:
        # Ours carry both from the moment they are created; somebody's run may quote a trial id.
        if TRIAL_ID in run.tags and PARENT in run.tags and children.setdefault(run.tags[TRIAL_ID], run) is not run:
            surplus.append(run)
    return RunFamily(parents[0] if parents else None, children, tuple(surplus))
