"""Committed trials computed again: scores from their stored predictions, or everything from their recipe.

Changes nothing: what is trained again lies in a scratch store that shares the prepared inputs, and goes.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from threadpoolctl import threadpool_limits

from workers.contract.answers.ending import Ending
from workers.contract.answers.verification import RETRAIN_TOLERANCE, Retrained, VerifyFindings, VerifyOrder
from workers.contract.errors import StoreError
from workers.contract.layout import StoreLayout
from workers.contract.metrics import line_loss, shift_prior
from workers.contract.outcome import PREDICTIONS, Outcome, SplitScores
from workers.contract.recipes.recipe import flattened
from workers.contract.recipes.scorings import SCORINGS
from workers.contract.system.durable import temporary_prefix
from workers.contract.system.opening import open_store
from workers.contract.trial import WorkOrder
from workers.work.predictions import Prevalence, score_predictions

# Same arithmetic on the same rows: only the order of sums may differ between versions of a library.
SCORE_TOLERANCE = 1e-9
# Mean log loss by which a calibration line of before 28 November 2026 may miss the likeliest: its solver stopped short.
OLDER_LINE = 0.05
LINE = ("calibration_slope", "calibration_intercept")


def verify(order: VerifyOrder) -> VerifyFindings:
    """Compute again what the order names.

    Raises:
        StoreError: An outcome can't be read.
    """
    layout = open_store(Path(order.store))
    # Many small fits: on two threads they took six times the CPU time, waiting for each other.
    with threadpool_limits(limits=1):
        found = {trial_id: differing_scores(layout, trial_id) for trial_id in order.recompute}
    return VerifyFindings(
        n_recomputed=len(found),
        differing={trial_id: names for trial_id, names in found.items() if names},
        retrained=tuple(retrain(layout, order.retrain)) if order.retrain else (),
    )


def differing_scores(layout: StoreLayout, trial_id: str) -> tuple[str, ...]:
    """Dotted names of the stored scores that the stored predictions don't give, e.g. `held_out.metrics.strict.ece`."""
    outcome = Outcome.load(layout.outcome(trial_id))
    if outcome.state != "scored":
        return ()
    prevalence = Prevalence(train=outcome.train_prevalence, natural=outcome.natural_prevalence)
    try:
        predictions = _predictions(layout, outcome)
        again = score_predictions(predictions, prevalence)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:  # their messages may quote a row
        return (f"{PREDICTIONS}: {type(error).__name__}",)
    # What a later version measures beside it is not in an old outcome, and so is not compared.
    stored = flattened({split: scores.model_dump(exclude_unset=True) for split, scores in outcome.scores.items()})
    found = flattened({split: scores.model_dump() for split, scores in again.items()})
    differing = tuple(name for name, value in stored.items() if not _is_same(value, found.get(name)))
    if any(name.endswith(LINE) for name in differing) and _are_older_lines(predictions, outcome, again, prevalence):
        return tuple(name for name in differing if not name.endswith(LINE))
    return differing


def _are_older_lines(
    predictions: pd.DataFrame, outcome: Outcome, again: Mapping[str, SplitScores], prevalence: Prevalence
) -> bool:
    """Whether every stored calibration line is nearly as likely as the one that is found now."""
    for split, scores in outcome.scores.items():
        members = predictions[predictions["split"] == split]
        labels, weights = (members[name].to_numpy() for name in ("label", "sampling_weight"))
        for scoring, now in again[split].metrics.items():
            stored = scores.metrics.get(scoring)
            risks = shift_prior(
                members[scoring.column].to_numpy(),
                from_prevalence=prevalence.train,
                to_prevalence=prevalence.natural,
            )
            losses = [
                line_loss(risks, labels, weights, slope=line.calibration_slope, intercept=line.calibration_intercept)
                for line in (stored, now)
                if line and line.calibration_slope is not None and line.calibration_intercept is not None
            ]
            if len(losses) == 1 or (losses and abs(losses[0] - losses[1]) > OLDER_LINE):
                return False
    return True


def retrain(layout: StoreLayout, orders: tuple[WorkOrder, ...]) -> Iterator[Retrained]:
    """Run trials again, one after the other, on as many threads as the first time.

    Raises:
        StoreError: An outcome can't be read, or the store takes no scratch folder.
    """
    try:
        scratch = tempfile.TemporaryDirectory(prefix=temporary_prefix(), dir=layout.root)
    except OSError as error:
        raise StoreError(f"{layout.root}: takes no scratch folder ({error.strerror}); mend its mode or disk") from None
    from workers.attempt.runner import Runner
    from workers.work.bench import unheard

    with scratch as folder:
        second = StoreLayout(Path(folder))
        _share_inputs(layout, second)
        for order in orders:
            outcome = Outcome.load(layout.outcome(order.trial.trial_id))
            again = order.model_copy(update={"store": folder})
            ending = unheard(Runner(n_threads=outcome.provenance.n_threads).run(again))
            yield _compared(outcome, ending, layout, second)


def _share_inputs(layout: StoreLayout, second: StoreLayout) -> None:
    """Give a scratch store the prepared inputs and the salt; published files never change, so a link will do."""
    if layout.inputs.is_dir():
        shutil.copytree(layout.inputs, second.inputs, copy_function=_link_or_copy)
    if layout.salt.is_file():
        _link_or_copy(layout.salt, second.salt)


def _link_or_copy(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # no hard links there, or another file system
        shutil.copy2(source, target)


def _compared(outcome: Outcome, ending: Ending, layout: StoreLayout, second: StoreLayout) -> Retrained:
    if ending.state != outcome.state or outcome.state != "scored":
        detail = f"was {outcome.state}" if ending.state != outcome.state else ""
        if ending.state == "failed":
            detail = f"{ending.failure}: {ending.detail}"
        return Retrained(trial_id=outcome.trial_id, state=ending.state, detail=detail)
    again = Outcome.load(second.outcome(outcome.trial_id))
    before, after = (_held_out(store, each) for store, each in ((layout, outcome), (second, again)))
    if not before.index.equals(after.index):
        return Retrained(trial_id=outcome.trial_id, state="scored", detail="other examples were scored")
    both = [scoring for scoring in SCORINGS if scoring.column in before and scoring.column in after]
    gaps = {scoring: (before[scoring.column] - after[scoring.column]).abs().to_numpy() for scoring in both}
    return Retrained(
        trial_id=outcome.trial_id,
        state="scored",
        is_identical=again.files.get(PREDICTIONS) == outcome.predictions,
        largest_difference={scoring: float(gap.max(initial=0)) for scoring, gap in gaps.items()},
        n_beyond=int(np.any([gap > RETRAIN_TOLERANCE for gap in gaps.values()], axis=0).sum()),
        n_examples=len(before),
    )


def _predictions(layout: StoreLayout, outcome: Outcome) -> pd.DataFrame:
    return pd.read_parquet(layout.trial(outcome.trial_id) / outcome.attempt / PREDICTIONS)


def _held_out(layout: StoreLayout, outcome: Outcome) -> pd.DataFrame:
    rows = _predictions(layout, outcome)
    return rows[rows["split"] == "held_out"].set_index("example_id").sort_index()


def _is_same(stored: object, found: object) -> bool:
    if isinstance(stored, float) and isinstance(found, float):
        return math.isclose(stored, found, rel_tol=SCORE_TOLERANCE, abs_tol=SCORE_TOLERANCE)
    return stored == found
