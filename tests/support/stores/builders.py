"""Builds a store on disk as workers would have left it: real files, invented participants.

The signal of each trial is given, so a test knows which way every contrast must point.
"""

import json
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.design.grid import Design
from orchestrator.study.study import Study
from workers.contract.layout import StoreLayout
from workers.contract.outcome import Attempt, Cost, FailureKind, Metrics, Outcome, Provenance, SplitScores, Validity
from workers.contract.recipes.scorings import ALWAYS_SCORED, Scoring
from workers.contract.recipes.teaching import Supervision
from workers.contract.system.durable import file_digests, link_exclusive
from workers.contract.trial import Method, Trial
from workers.work.predictions import Prevalence, score_predictions

FloatArray = npt.NDArray[np.float64]
TRAIN_PREVALENCE = 0.5
NATURAL_PREVALENCE = 0.08
ATTEMPT = "attempt-1"
# Columns that no score is read of.
UNSCORED = ("example_id", "sex", "age_band", "censoring_weight")
NO_SIGNALS: Mapping[Scoring, float] = MappingProxyType({})
NOTHING_FURTHER: Mapping[Scoring, Callable[[Trial], float]] = MappingProxyType({})
RATIONALES = (Supervision.FREE_FORM, Supervision.STEP_BY_STEP)
STARTED, ENDED = "2026-01-05T09:00:00+00:00", "2026-01-05T09:01:30+00:00"


@dataclass(frozen=True, eq=False)
class People:
    """Invented examples: up to three a participant, `risk` is what a perfect model would know."""

    example_id: list[str]
    participant_id: list[str]
    split: list[str]
    label: npt.NDArray[np.int8]
    risk: FloatArray
    sex: list[str] | None = None
    age_band: list[str] | None = None
    censoring: FloatArray | None = None


def invent_people(n_participants: int, *, seed: int = 0) -> People:
    """Draw participants with one to three examples each; a quarter of them is in tuning."""
    generator = np.random.default_rng(seed)
    owner = np.repeat(np.arange(n_participants), generator.integers(1, 4, n_participants))
    frailty = generator.normal(size=n_participants)[owner]
    risk = (frailty + 0.5 * generator.normal(size=len(owner))) / np.hypot(1, 0.5)
    label = (generator.random(len(owner)) < 1 / (1 + np.exp(3.5 - 1.8 * risk))).astype(np.int8)
    return People(
        example_id=[f"example-{row:05d}" for row in range(len(owner))],
        participant_id=[f"participant-{person:05d}" for person in owner],
        split=["tuning" if person % 4 == 0 else "held_out" for person in owner],
        label=label,
        risk=risk,
        sex=[("female", "male")[person % 2] for person in owner],
        age_band=[("50-59", "60-69", "70-79")[person % 3] for person in owner],
    )


def usual_signal(trial: Trial) -> float:
    """How much of the risk a trial sees: labels beat rationales, permuted labels teach nothing."""
    spec = trial.spec
    if spec.labels != "recorded":
        return 0.0
    if spec.prompt and spec.prompt.planted_signal:
        return 6.0
    if spec.demonstrations:
        return {"none": 0.1, "label": 0.3, "rationale": 0.9}[spec.demonstrations.shows]
    by_method = {Method.ZERO_SHOT: 0.05, Method.AGE_SEX: 1.1, Method.LOGISTIC: 1.9, Method.PREVALENCE: 0.0}
    by_method |= {Method.HEAD: 1.3, Method.BOOSTING: 1.8}
    if spec.method in by_method:
        return by_method[spec.method]
    grows = 0.12 * np.log2((spec.train_size or 2048) / 64)
    return float({Supervision.LABEL_ONLY: 1.1}.get(spec.supervision or Supervision.LABEL_ONLY, 0.35) + grows)


def usual_invalid_rate(trial: Trial) -> float:
    """Rationales sometimes end without an answer."""
    return 0.06 if trial.spec.supervision in RATIONALES else 0.0


def build_store(
    folder: Path,
    study: Study,
    design: Design,
    *,
    signal: Callable[[Trial], float] = usual_signal,
    invalid_rate: Callable[[Trial], float] = usual_invalid_rate,
    diverged: Collection[str] = (),
    failed: Collection[str] = (),
    missing: Collection[str] = (),
    damaged: Collection[str] = (),
    n_participants: int = 600,
    people: People | None = None,
    further: Mapping[Scoring, Callable[[Trial], float]] = NOTHING_FURTHER,
) -> StoreLayout:
    """Write outcomes, predictions and attempts of a whole design below `folder/<study>`.

    Args:
        signal: Weight of the true risk in a trial's logit, against noise of 1.
        invalid_rate: Share of a trial's outputs without a valid answer.
        diverged: Trial ids committed as diverged.
        failed: Trial ids with two failed attempts and no outcome.
        missing: Trial ids never tried.
        damaged: Trial ids whose predictions changed after the commit.
        people: Who is scored, in place of so many invented participants.
        further: Signal of each further scoring that trials of a base have.
    """
    layout = StoreLayout(folder / study.study)
    people = people or invent_people(n_participants)
    for trial in design.everything:
        if trial.trial_id in failed:
            for number in (1, 2):
                write_attempt(layout, trial, number=number)
        elif trial.trial_id not in missing:
            scored = None
            if trial.trial_id not in diverged:
                also = {scoring: of(trial) for scoring, of in further.items() if trial.spec.base}
                scored = predict(people, trial, signal=signal(trial), invalid_rate=invalid_rate(trial), further=also)
            commit_trial(layout, trial, scored)
        if trial.trial_id in damaged:
            with (layout.trial(trial.trial_id) / ATTEMPT / "predictions.parquet").open("ab") as file:
                file.write(b"\0")
    return layout


def cohort_counts(*, lost: int = 11, tuning_events: int = 59) -> dict[str, int]:
    """Counts as the manifest of a cohort holds them; every sum adds up."""
    splits = {"train": (7454, 2942, 386), "tuning": (1130, 444, tuning_events), "held_out": (2072, 823, 105)}
    units = ("n_examples", "n_participants", "n_events")
    totals = dict(zip(units, map(sum, zip(*splits.values(), strict=True)), strict=True))
    prior = {"excluded: cardiovascular disease before the index": 960, "excluded: lost before the horizon": lost}
    return {
        "n_candidates": totals["n_examples"] + sum(prior.values()),
        **totals,
        "largest_balanced_size": 2 * splits["train"][2],
        **prior,
        **{f"{split}_{unit}": n for split, row in splits.items() for unit, n in zip(units, row, strict=True)},
    }


def predict(
    people: People,
    trial: Trial,
    *,
    signal: float,
    invalid_rate: float,
    further: Mapping[Scoring, float] = NO_SIGNALS,
) -> pa.Table:
    """A predictions table; the noise depends on the trial's place in the design alone, not on its recipe.

    A trial with mirrored labels has that of its twin, turned round.
    """
    is_mirrored = trial.spec.labels == "mirrored"
    coordinates = {**trial.coordinates, **({"control": "permuted_labels"} if is_mirrored else {})}
    place = json.dumps([trial.role, coordinates], sort_keys=True)
    generator = np.random.default_rng(zlib.crc32(place.encode()))
    n = len(people.label)
    logit = signal * people.risk + (-1 if is_mirrored else 1) * generator.normal(size=n)
    forced = 1 / (1 + np.exp(-logit))
    is_invalid = generator.random(n) < invalid_rate
    also = {
        f"p_{scoring}": 1 / (1 + np.exp(-(strength * people.risk + generator.normal(size=n))))
        for scoring, strength in further.items()
    }
    return pa.table(
        {
            "example_id": people.example_id,
            "participant_id": people.participant_id,
            "split": people.split,
            "label": pa.array(people.label, pa.int8()),
            "sampling_weight": np.ones(n),
            "p_strict": np.where(is_invalid, TRAIN_PREVALENCE, forced),
            "p_forced": forced,
            "validity": np.where(is_invalid, Validity.TRUNCATED.value, Validity.VALID.value).tolist(),
            **also,
            **({"sex": people.sex, "age_band": people.age_band} if people.sex else {}),
            **({"censoring_weight": people.censoring} if people.censoring is not None else {}),
        }
    )


def commit_trial(layout: StoreLayout, trial: Trial, predictions: pa.Table | None) -> Outcome:
    """Write one attempt folder and its outcome; without predictions the trial is a diverged one."""
    home = layout.trial(trial.trial_id) / ATTEMPT
    home.mkdir(parents=True)
    if predictions is not None:
        pq.write_table(predictions, home / "predictions.parquet")
    if trial.spec.method is Method.LORA:
        pq.write_table(history_of(trial), home / "history.parquet")
        if trial.spec.training and trial.spec.training.diagnostics.n_probe:
            pq.write_table(_diagnostics(trial), home / "diagnostics.parquet")
        if predictions is not None:
            (home / "adapter").mkdir()
            (home / "adapter" / "adapter_config.json").write_text("{}")
    outcome = Outcome(
        trial_id=trial.trial_id,
        training_id=trial.spec.training_id,
        cell_id=trial.cell_id,
        state="diverged" if predictions is None else "scored",
        trial=trial,
        attempt=ATTEMPT,
        train_prevalence=TRAIN_PREVALENCE,
        natural_prevalence=NATURAL_PREVALENCE,
        scores={} if predictions is None else _scores(predictions),
        cost=_cost(trial),
        provenance=_provenance(),
        files=file_digests(home),
    ).sealed()
    link_exclusive(layout.outcome(trial.trial_id), outcome.model_dump_json().encode())
    return outcome


def split_scores(*, auc: float, invalid_rate: float = 0.0) -> SplitScores:
    """Scores of one split, alike under every scoring that all trials have."""
    metrics = Metrics(roc_auc=auc, pr_auc=auc, brier=0.1, ece=0.1, calibration_slope=1.0, calibration_intercept=0.0)
    return SplitScores(
        n_examples=100,
        n_participants=100,
        n_events=10,
        prevalence=0.1,
        invalid_rate=invalid_rate,
        invalid_rate_events=invalid_rate,
        invalid_rate_controls=invalid_rate,
        n_distinct=100,
        metrics=dict.fromkeys(ALWAYS_SCORED, metrics),
    )


def write_attempt(
    layout: StoreLayout, trial: Trial, *, number: int, kind: FailureKind = FailureKind.OUT_OF_MEMORY
) -> Attempt:
    """Record one failed attempt."""
    attempt = Attempt(
        trial_id=trial.trial_id,
        number=number,
        kind=kind,
        error="MemoryError",
        where="training.py:train",
        detail="",
        host="node-1",
        started_at=STARTED,
        ended_at=ENDED,
    )
    body = json.dumps(attempt.model_dump(mode="json")).encode()
    link_exclusive(layout.attempts(trial.trial_id) / f"{number}.json", body)
    return attempt


def _scores(table: pa.Table) -> dict[Literal["tuning", "held_out"], SplitScores]:
    """Scores of both splits, by the workers themselves."""
    table = table.drop_columns([name for name in UNSCORED if name in table.column_names])
    with pa.BufferOutputStream() as stream, pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return dict(_scores_of(stream.getvalue().to_pybytes()))


@cache
def _scores_of(predictions: bytes) -> dict[Literal["tuning", "held_out"], SplitScores]:
    """Most tests build the same store: 20 ms a trial."""
    table = pa.ipc.open_stream(predictions).read_pandas()
    found = score_predictions(table, Prevalence(train=TRAIN_PREVALENCE, natural=NATURAL_PREVALENCE))
    return {"tuning": found["tuning"], "held_out": found["held_out"]}


def history_of(trial: Trial) -> pa.Table:
    """Three steps; the label token is one of many where there is a rationale, and everything where there is none."""
    steps = np.arange(1, 4)
    share = 0.05 if trial.spec.supervision in RATIONALES else 0.5
    return pa.table(
        {
            "step": pa.array(steps, pa.int32()),
            "loss": 1.0 / steps,
            "learning_rate": np.full(3, 1e-3),
            "grad_norm": np.ones(3),
            "n_target_tokens": pa.array([96, 96, 96], pa.int32()),
            "wall_s": 0.1 * steps,
            "label_loss_share": share * np.array([0.8, 1.0, 1.2]),
            "n_label_tokens": pa.array([32, 32, 32], pa.int32()),
            "n_loss_tokens": pa.array([96, 96, 96], pa.int32()),
            "label_gradient_share": pa.array([2 * share * 0.9, None, None], pa.float64()),
        }
    )


def _diagnostics(trial: Trial) -> pa.Table:
    """Probe measurements at the start and the end, gradients at odds where there is a rationale."""
    cosine = -0.2 if trial.spec.supervision in RATIONALES else None
    rows = [
        {"fraction": fraction, "step": int(100 * fraction), "split": split, "n_examples": 64}
        | {"loss_direct": 0.7 - 0.1 * fraction, "loss_rationale": cosine and 2.0, "loss_conditioned": cosine and 0.6}
        | {"norm_direct": 1.5, "norm_rationale": cosine and 0.5, "norm_conditioned": cosine and 1.0}
        | {"cos_direct_rationale": cosine, "cos_direct_conditioned": cosine and 0.4}
        | {"cos_rationale_conditioned": cosine and 0.1}
        for fraction in (0.0, 1.0)
        for split in ("train", "tuning")
    ]
    return pa.Table.from_pylist(rows)


def _cost(trial: Trial) -> Cost:
    is_long = trial.spec.supervision in RATIONALES
    wall_s = {Method.LORA: 92.5 if is_long else 31.0, Method.ZERO_SHOT: 12.0}.get(trial.spec.method, 0.4)
    trains = trial.spec.method is Method.LORA
    return Cost(
        wall_s=wall_s,
        cpu_s=1.9 * wall_s,
        train_wall_s=0.6 * wall_s,
        score_wall_s=0.4 * wall_s,
        peak_memory_mib=812.0,
        n_examples_seen=4_800,
        n_input_tokens=480_000,
        n_target_tokens=158_000 if is_long else 19_200,
        n_steps=150 if trains else 0,
        n_loss_tokens=(158_000 if is_long else 19_200) if trains else 0,
        n_label_tokens=4_800 if trains else 0,
        flops=2.5e12 if trains else 0.0,
    )


def _provenance() -> Provenance:
    return Provenance(
        commit="0123abc",
        python="3.11.9",
        packages={"torch": "2.13.0", "transformers": "5.1.0", "peft": "0.19.0", "scikit-learn": "1.9.1"},
        device="cpu",
        n_threads=1,
        host="node-1",
        pid=1,
        started_at=STARTED,
        ended_at=ENDED,
    )
