"""What a tracking server should say about a trial: names, numbers and ids, picked one by one.

Pure, and the whole list of what leaves the store: no text, no file, no path, no host, no prediction, and nothing
that a small count of participants follows from.
"""

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from orchestrator.design.naming import name_of
from orchestrator.disclosure import coarse
from orchestrator.store.sealing import Standing
from workers.contract.outcome import Attempt, Outcome
from workers.contract.recipes.scorings import SCORINGS, further_scorings
from workers.contract.trial import Trial

# Metric, value, Unix milliseconds, step.
Point = tuple[str, float, int, int]
Status = Literal["SCHEDULED", "RUNNING", "FINISHED", "FAILED", "KILLED"]
TRIAL_ID = "sweep.trial_id"
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
STEP_METRICS = ("loss", "learning_rate", "grad_norm", "label_loss_share", "label_gradient_share")
# Of a teacher: names, numbers and switches only.
TEACHER = (
    *("kind", "label_access", "grammar", "max_words"),
    *("fabricated_rate", "omission_rate", "vagueness_rate", "wrong_direction_rate"),
)
SATURATION = ("mean_entropy", "mean_off_label_mass")
LARGEST = sys.float_info.max
PARTS_OF_TRAINING = ("lora", "objective", "budget", "diagnostics")


@dataclass(frozen=True)
class Facts:
    """What one run should hold; what is not named here is left alone. Times are Unix milliseconds.

    curve: the last point of each training curve, whose others are written before.
    """

    status: Status
    tags: Mapping[str, str]
    metrics: Mapping[str, float] = field(default_factory=dict)
    started_ms: int | None = None
    ended_ms: int | None = None
    curve: Mapping[str, float] = field(default_factory=dict)


# The trial is in the queue of this launch; a worker has begun it; its driver ended and the store has nothing of it.
WAITING = Facts("SCHEDULED", {STATE: "scheduled"})
RUNNING = Facts("RUNNING", {STATE: "running"})
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


def is_of_another_outcome(run: KnownRun, facts: Facts) -> bool:
    """Whether a run tells of an outcome that another has replaced, after a quarantine say; older runs name none."""
    names = [name for name in (OUTCOME, HISTORY) if name in facts.tags]
    return any(run.tags.get(name, facts.tags[name]) != facts.tags[name] for name in names)


def news(run: KnownRun, facts: Facts, trial: Trial | None, *, in_design: bool = True) -> News:
    """Compare a run with what it should hold; of a trial that nothing describes any more, with the facts alone.

    A parameter that is there stays as it is: MLflow refuses to change one. Content never changes under one
    trial id, and names, which may, are tags too.
    """
    names = {**identity_of(trial), "mlflow.runName": name_of(trial)} if trial else {}
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


def failed(attempt: Attempt) -> Facts:
    """Its last attempt failed; the class of the failure is told, the evidence stays in the store."""
    tags = {
        STATE: "failed",
        "sweep.failure": attempt.kind.value,
        "sweep.failed_attempts": str(attempt.number),
    }
    return Facts("FAILED", tags, {}, milliseconds(attempt.started_at), milliseconds(attempt.ended_at))


def committed(outcome: Outcome) -> Facts:
    """It has an outcome; a diverged trial is a result too, so both are finished."""
    tags: dict[str, str] = {STATE: outcome.state} | ({} if outcome.is_withheld else {OUTCOME: outcome.checksum})
    if digest := outcome.files.get("history.parquet"):
        tags[HISTORY] = digest
    return Facts(
        "FINISHED",
        tags,
        metrics_of(outcome),
        milliseconds(outcome.provenance.started_at),
        milliseconds(outcome.provenance.ended_at),
    )


def plan_tags(plan: Standing) -> dict[str, str]:
    """How a study stands to its sealed analysis plan; deviations in the study file's own words, cut to what MLflow
    takes.
    """
    return {
        PLAN: plan.digest or "unsealed",
        BLINDED: "yes" if plan.is_blinded else "no",
        DEVIATIONS: "\n".join(map(str, plan.deviations))[:LONGEST_TAG] or "none",
    }


def metrics_of(outcome: Outcome) -> dict[str, float]:
    """Final metrics under dotted names, e.g. `held_out.strict.roc_auc`; only finite ones.

    Counts of people, rates by class and ties stay in the store: 2 invalid events would follow from them. The report
    shows what may be shown.
    """
    metrics: dict[str, float | None] = {f"cost.{name}": value for name, value in outcome.cost.model_dump().items()}
    for split, scores in outcome.scores.items():
        metrics[f"{split}.prevalence"] = coarse(scores.prevalence, n_examples=scores.n_examples)
        metrics[f"{split}.invalid_rate"] = coarse(scores.invalid_rate, n_examples=scores.n_examples)
        for scoring, values in scores.metrics.items():
            metrics |= {f"{split}.{scoring}.{name}": value for name, value in values.model_dump().items()}
        for scoring, found in scores.saturation.items():
            metrics[f"{split}.{scoring}.share_extreme"] = coarse(found.share_extreme, n_examples=scores.n_examples)
            metrics |= {f"{split}.{scoring}.{name}": getattr(found, name) for name in SATURATION}
    return {name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)}


def steps_of(history: bytes, *, started_ms: int) -> list[Point]:
    """Points of the training curves, the same at every replay.

    Args:
        history: A history.parquet.
        started_ms: When the attempt began; `wall_s` counts from there.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    return [
        (name, row[name], started_ms + int(row["wall_s"] * 1000), row["step"])
        for row in pq.read_table(pa.BufferReader(history)).to_pylist()
        for name in STEP_METRICS
        if row.get(name) is not None
    ]


def last_of(points: Iterable[Point]) -> dict[str, float]:
    """The value of each curve at its last step."""
    return {name: value for name, value, _, _ in sorted(points, key=lambda point: point[3])}


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
