"""A trial's predictions on held_out in the columns of MEDS-Evaluation, with clear participant ids: for local use only.

The store keeps salted ids; labels and salt of the same store link them back. The file names single participants, so it
is private to the user and is not written where it could be committed.
Source: PredictionSchema of meds-evaluation 0.0.6 on LabelSchema of meds 0.4.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workers.contract.answers.findings import PredictionsOrder, WrittenPredictions
from workers.contract.data_class import DataClass
from workers.contract.errors import InputError, Problem, StoreError
from workers.contract.inputs import InputKind, input_recipes
from workers.contract.layout import StoreLayout
from workers.contract.metrics import shift_prior
from workers.contract.outcome import PREDICTIONS, Outcome
from workers.contract.system.opening import open_store, refuse_blinded
from workers.contract.system.sources import sha256_of
from workers.store.private_files import refuse_unfit_place
from workers.store.published import LABELS, verified_folder
from workers.work.predictions import salted

# The likelier label. No threshold is tuned here: the probability stands beside it for whoever needs another.
THRESHOLD = 0.5


def write_predictions(order: PredictionsOrder) -> WrittenPredictions:
    """Write the strict, prior-shifted predictions of a committed trial; one row an example of held_out.

    Raises:
        InputError: The store is blinded, the trial has no predictions, or `out` is no fit place for participant data.
        StoreError: Something in the store is missing or damaged.
    """
    layout, trial_id, out = open_store(Path(order.store)), order.trial_id, order.out
    refuse_blinded(layout)
    if not layout.outcome(trial_id).is_file():
        raise InputError(Problem("--trial", f"the store holds no outcome of {trial_id}", "take an id of `sweep plan`"))
    outcome = Outcome.load(layout.outcome(trial_id))
    if outcome.state != "scored":
        raise InputError(Problem("--trial", f"{trial_id} {outcome.state} and has no predictions", "name a scored one"))
    data_class = order.data_class or outcome.trial.spec.cohort.kind.data_class
    refuse_unfit_place(out, option="--out", kind="file", data_class=data_class)
    predictions = _held_out(layout, outcome)
    if not layout.salt.is_file():
        raise StoreError(f"{layout.salt}: missing; without it no prediction can be linked to a participant")
    cohort = input_recipes(outcome.trial.spec)[InputKind.COHORT]
    labels = pd.read_parquet(verified_folder(cohort, layout) / LABELS)
    table = _in_columns(predictions, labels, outcome=outcome, salt=layout.salt.read_bytes())
    _write_private(table.replace_schema_metadata({"synthetic": str(data_class is DataClass.SYNTHETIC).lower()}), out)
    return WrittenPredictions(n_rows=len(table), is_sampled=bool((predictions["sampling_weight"] != 1).any()))


def _held_out(layout: StoreLayout, outcome: Outcome) -> pd.DataFrame:
    path = layout.trial(outcome.trial_id) / outcome.attempt / PREDICTIONS
    if not path.is_file() or sha256_of(path) != outcome.predictions:
        raise StoreError(f"{path}: missing, or not what the outcome names; run the trial again")
    predictions = pd.read_parquet(path)
    return predictions[predictions["split"] == "held_out"]


def _in_columns(predictions: pd.DataFrame, labels: pd.DataFrame, *, outcome: Outcome, salt: bytes) -> pa.Table:
    """The columns of MEDS-Evaluation, sorted by participant and time.

    Raises:
        StoreError: An example of the predictions is none of the labels.
    """
    members = labels[labels["split"] == "held_out"]
    times = labels["prediction_time"].astype(str)  # of the whole table: how a time is spelled depends on the others
    keys = members["subject_id"].astype(str) + "|" + times[members.index]
    linked = predictions.merge(
        members.assign(example_id=[salted(key, salt) for key in keys]), on="example_id", validate="one_to_one"
    ).sort_values(["subject_id", "prediction_time"])
    if len(linked) < len(predictions):
        n_lost = len(predictions) - len(linked)
        raise StoreError(f"{n_lost} predictions belong to no label of the store's cohort; is its .salt another one?")
    risks = shift_prior(
        linked["p_strict"].to_numpy(dtype=np.float64),
        from_prevalence=outcome.train_prevalence,
        to_prevalence=outcome.natural_prevalence,
    )
    return pa.table(
        {
            "subject_id": _ids(linked["subject_id"]),
            "prediction_time": pa.array(linked["prediction_time"], pa.timestamp("us")),
            "boolean_value": pa.array(linked["boolean_value"], pa.bool_()),
            "predicted_boolean_value": pa.array(risks >= THRESHOLD, pa.bool_()),
            "predicted_boolean_probability": pa.array(risks, pa.float32()),
        }
    )


def _ids(subjects: "pd.Series[str]") -> pa.Array:
    """Ids as int64, as MEDS has them, where all of them are whole numbers that survive the change; else as text."""
    texts = subjects.astype(str)
    if texts.str.fullmatch(r"0|-?[1-9]\d{0,17}").all():
        return pa.array(texts.astype("int64"), pa.int64())
    return pa.array(texts, pa.string())


def _write_private(table: pa.Table, out: Path) -> None:
    """Mode 0600, all of it or nothing, over nothing."""
    handle, temporary = tempfile.mkstemp(prefix=".tmp-", dir=out.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            pq.write_table(table, file)
        os.link(temporary, out)
    except FileExistsError:
        raise InputError(Problem("--out", f"{out} exists", "name a new file; nothing is overwritten")) from None
    finally:
        Path(temporary).unlink(missing_ok=True)
