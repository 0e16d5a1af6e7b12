"""The numbers of a trial that a person reads in MLflow, by the names that its page makes sections of; pure.

All others stay in the dataset. No count of people, and no share from which a small one follows.
"""

import math
from collections.abc import Iterable

from orchestrator.disclosure import coarse
from workers.contract.outcome import Outcome
from workers.contract.recipes.scorings import Scoring

# Metric, value, Unix milliseconds, step.
Point = tuple[str, float, int, int]
# Of each step, by the column of a history.
CURVES = {name: f"train/{name}" for name in ("loss", "grad_norm", "label_loss_share")}
COSTS = ("wall_s", "peak_memory_mib", "n_target_tokens", "flops")
# Of strict scoring on held_out, by what it is called in an outcome.
STRICT = ("pr_auc", "brier", "ece", "calibration_slope")


def auc_of(split: str, scoring: Scoring = Scoring.STRICT) -> str:
    """What the ROC-AUC of a split is called."""
    return f"{split}/{scoring}_auc"


def metrics_of(outcome: Outcome) -> dict[str, float]:
    """Of tuning, which anybody may see, what a trial is chosen by; of held_out, once it is open, all that is read."""
    cost = outcome.cost.model_dump(include=set(COSTS))
    metrics: dict[str, float | None] = {f"cost/{name}": cost[name] for name in COSTS}
    for split, scores in outcome.scores.items():
        read = scores.metrics if split == "held_out" else {Scoring.STRICT: scores.metrics[Scoring.STRICT]}
        metrics |= {auc_of(split, scoring): found.roc_auc for scoring, found in read.items()}
        metrics[f"{split}/invalid_rate"] = coarse(scores.invalid_rate, n_examples=scores.n_examples)
        if split == "held_out":
            strict = scores.metrics[Scoring.STRICT].model_dump(include=set(STRICT))
            metrics |= {f"{split}/strict_{name}": strict[name] for name in STRICT}
    return {name: float(value) for name, value in metrics.items() if value is not None and math.isfinite(value)}


def steps_of(history: bytes, *, started_ms: int) -> list[Point]:
    """Points of the training curves, the same at every replay.

    Args:
        history: A history.parquet, of a committed trial or of a resume point.
        started_ms: When the trial began; `wall_s` counts from there.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    return [
        (name, row[column], started_ms + int(row["wall_s"] * 1000), row["step"])
        for row in pq.read_table(pa.BufferReader(history)).to_pylist()
        for column, name in CURVES.items()
        if row.get(column) is not None
    ]


def last_of(points: Iterable[Point]) -> dict[str, float]:
    """The value of each curve at its last step."""
    return {name: value for name, value, _, _ in sorted(points, key=lambda point: point[3])}
