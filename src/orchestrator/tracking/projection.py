"""What a tracking server should say about a trial: names, numbers and ids, picked one by one.

Pure, and the whole list of what leaves the store: no text, no file, no path, no host, no prediction, and nothing
that a small count of participants follows from.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from orchestrator.store.sealing import Standing
from orchestrator.tracking.metrics import metrics_of
from workers.contract.outcome import Attempt, Outcome
from workers.contract.recipes.scorings import SCORINGS, further_scorings
from workers.contract.trial import Trial

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
TRIAL_ID = "sweep.trial_id"
# How a run is laid out: names of its metrics, and a start that is its trial's. MLflow can neither rename nor move one.
LAYOUT, THIS_LAYOUT = "sweep.layout", "2"
STATE = "sweep.state"
# Whether the study as it is now has the trial: stale ones and orphans stay, and this tells them apart.
IN_DESIGN = "sweep.in_design"
# The digest of the history that is in MLflow, written once all of its steps are.
HISTORY = "sweep.history"
# The checksum of the outcome that the run tells all of: not before its scores on held_out may be seen.
OUTCOME = "sweep.outcome"
# Of the parent run: the digest of the analysis plan, whether scores are closed, and what was changed since.
PLAN, BLINDED, DEVIATIONS = "sweep.plan", "sweep.blinded", "sweep.deviations"
LONGEST_TAG = 5000
# Of a teacher: names, numbers and switches only.
TEACHER = (
    *("kind", "label_access", "grammar", "max_words"),
    *("fabricated_rate", "omission_rate", "vagueness_rate", "wrong_direction_rate"),
)
LARGEST = sys.float_info.max
PARTS_OF_TRAINING = ("lora", "objective", "budget", "diagnostics")


@dataclass(frozen=True)
class Facts:
    """What one run should hold; what is not named here is left alone. Times are Unix milliseconds.

    started_ms: When the trial's first attempt on record began.
    curve: the last point of each training curve, whose others are written before.
    """

    status: Status
    tags: Mapping[str, str]
    metrics: Mapping[str, float] = field(default_factory=dict)
    started_ms: int | None = None
    ended_ms: int | None = None
    curve: Mapping[str, float] = field(default_factory=dict)


# Its driver ended, and the store has nothing of it.
INTERRUPTED = Facts("KILLED", {STATE: "interrupted"})


@dataclass(frozen=True)
class News:
    """What a run does not hold yet, and what it holds otherwise or has lost (`wrong`); false where there is nothing."""

    tags: dict[str, str]
    metrics: dict[str, float]
    params: dict[str, str]
    wrong: dict[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.tags or self.metrics or self.params or self.wrong)


@dataclass
class KnownRun:
    """What the server holds about one trial, as last read or written; it began at a Unix time in milliseconds."""

    run_id: str
    started_ms: int
    status: str
    tags: dict[str, str]
    metrics: dict[str, float]
    params: dict[str, str]

    def learn(self, news: News) -> None:
        """Note that this was written."""
        self.tags |= news.tags
        self.metrics |= news.metrics | news.wrong
        self.params |= news.params


def is_to_be_rewritten(run: KnownRun, facts: Facts) -> bool:
    """Whether a run can't be made to hold the facts: it is laid out as older ones were, began at another moment (of an
    attempt that left no record, say), or tells of an outcome that another has replaced, after a quarantine say."""
    if run.tags.get(LAYOUT) != THIS_LAYOUT or facts.started_ms not in (None, run.started_ms):
        return True
    names = [name for name in (OUTCOME, HISTORY) if name in facts.tags]
    return any(run.tags.get(name, facts.tags[name]) != facts.tags[name] for name in names)


def news(run: KnownRun, facts: Facts, trial: Trial | None, *, name: str = "", in_design: bool = True) -> News:
    """Compare a run with what it should hold; of a trial that nothing describes any more, with the facts alone.

    A parameter that is there stays as it is: MLflow refuses to change one. Content never changes under one
    trial id, and names, which may, are tags too.
    """
    names = {**identity_of(trial), "mlflow.runName": name} if trial else {}
    names[IN_DESIGN] = "yes" if in_design else "no"
    params = params_of(trial) if trial else {}
    latest, held = {**facts.metrics, **facts.curve}, run.metrics
    # Of a run that was told everything, what is missing was lost: its old point would be taken for one that is there.
    was_told = OUTCOME in facts.tags and run.tags.get(OUTCOME) == facts.tags[OUTCOME]
    missing = {key: value for key, value in latest.items() if key not in held}
    differing = {key: value for key, value in latest.items() if key in held and not _is_same(held[key], value)}
    return News(
        tags={key: value for key, value in {**names, **facts.tags}.items() if run.tags.get(key) != value},
        metrics={} if was_told else missing,
        params={key: value for key, value in params.items() if key not in run.params},
        wrong=differing | (missing if was_told else {}),
    )


def _is_same(held: float, told: float) -> bool:
    """Whether MLflow holds a number as it keeps it: an infinite one is cut to the largest that there is."""
    return held == max(-LARGEST, min(LARGEST, told)) or (math.isnan(held) and math.isnan(told))


def running(started_at: str, attempts: Sequence[Attempt] = ()) -> Facts:
    """A worker began the trial at an ISO 8601 time, after these attempts that failed."""
    return Facts("RUNNING", {STATE: "running"}, started_ms=_first_start(started_at, attempts))


def failed(attempts: Sequence[Attempt]) -> Facts:
    """Its last attempt failed; the class of the failure is told, the evidence stays in the store."""
    attempt = attempts[-1]
    tags = {
        STATE: "failed",
        "sweep.failure": attempt.kind.value,
        "sweep.failed_attempts": str(attempt.number),
    }
    return Facts("FAILED", tags, {}, _first_start(attempt.started_at, attempts), milliseconds(attempt.ended_at))


def committed(outcome: Outcome, attempts: Sequence[Attempt] = ()) -> Facts:
    """It has an outcome, after these attempts that failed; a diverged trial is a result too, so both are finished."""
    tags: dict[str, str] = {STATE: outcome.state} | ({} if outcome.is_withheld else {OUTCOME: outcome.checksum})
    if digest := outcome.files.get("history.parquet"):
        tags[HISTORY] = digest
    return Facts(
        "FINISHED",
        tags,
        metrics_of(outcome),
        _first_start(outcome.provenance.started_at, attempts),
        milliseconds(outcome.provenance.ended_at),
    )


def _first_start(started_at: str, attempts: Sequence[Attempt]) -> int:
    return min(milliseconds(moment) for moment in (started_at, *(attempt.started_at for attempt in attempts)))


def plan_tags(plan: Standing) -> dict[str, str]:
    """How a study stands to its sealed analysis plan; deviations in the study file's own words, cut to what MLflow
    takes.
    """
    return {
        PLAN: plan.digest or "unsealed",
        BLINDED: "yes" if plan.is_blinded else "no",
        DEVIATIONS: "\n".join(map(str, plan.deviations))[:LONGEST_TAG] or "none",
    }


def params_of(trial: Trial) -> dict[str, str]:
    """The configuration, flat; coordinates go by the study's names, so a base is a name and never a file."""
    spec = trial.spec
    params: dict[str, object] = {**trial.coordinates, "method": spec.method.value, "labels": spec.labels}
    params["controls_per_case"] = spec.evaluation.controls_per_case or "all"
    evaluation = ("max_new_tokens", *(SCORINGS[scoring].asked_by for scoring in further_scorings()))
    params |= {name: getattr(spec.evaluation, name) for name in evaluation}
    if spec.supervision:
        params["supervision"] = spec.supervision.value
    if spec.prompt:
        params |= {"prompt.template": spec.prompt.template, "prompt.planted_signal": spec.prompt.planted_signal}
    if spec.teacher:
        teacher = spec.teacher.model_dump(mode="json", include=set(TEACHER))
        params |= {"label_access": spec.teacher.label_access} | _flat("teacher", teacher)
        params |= _flat("target", spec.target.model_dump(mode="json"))
    if spec.demonstrations:
        params |= spec.demonstrations.model_dump(mode="json")
    if spec.training:
        training = spec.training.model_dump(mode="json")
        parts = {name: training.pop(name) for name in PARTS_OF_TRAINING}
        params |= training
        for name, fields in parts.items():
            params |= _flat(name, fields)
    return {name: str(value) for name, value in params.items()}


def _flat(name: str, fields: Mapping[str, object]) -> dict[str, object]:
    return {f"{name}.{field}": value for field, value in fields.items()}


def identity_of(trial: Trial) -> dict[str, str]:
    """The tags by which a run is found, grouped and compared."""
    ids = {
        TRIAL_ID: trial.trial_id,
        "sweep.cell_id": trial.cell_id,
        "sweep.training_id": trial.spec.training_id,
        "sweep.role": trial.role,
    }
    return ids | {f"axis.{name}": str(value) for name, value in trial.coordinates.items()}


def milliseconds(moment: str) -> int:
    """An ISO 8601 time as Unix milliseconds; without a zone it is UTC."""
    parsed = datetime.fromisoformat(moment)
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)
