"""What the tables of the dataset hold, and the one row that a trial makes.

    trials        one row a trial: ids, coordinates, scores of both splits under each scoring, ledger, cost, provenance
    predictions   one row a trial and example, raw probabilities; identifiers are salted hashes
    history       one row a trial and optimizer step
    diagnostics   one row a trial, probe split and point of the training

Each file is whole by itself: its supervision is a column, as it is the folder's name. On an axis that a study does not
vary a trial stands where all do. A column that a trial does not have, because nobody asked for it or because the trial
is older, is null.
"""

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Literal, get_args

from orchestrator.study.axes import AXES
from orchestrator.study.axis_fields import usual_of
from workers.contract.outcome import Cost, Metrics, Outcome, Record, Saturation, SplitScores
from workers.contract.recipes.scorings import SCORINGS, further_scorings
from workers.contract.trial import Trial

if TYPE_CHECKING:
    import pyarrow as pa

Table = Literal["trials", "predictions", "history", "diagnostics"]
TABLES: tuple[Table, ...] = get_args(Table)
SPLITS = ("tuning", "held_out")
PROVENANCE, MOMENTS = ("commit", "device"), ("started_at", "ended_at")
# A column of every table, and the name of the folders of its files.
PARTED_BY = "supervision"
# The folder of its file tells a trial's supervision.
AXIS_COLUMNS = {name: axis.kind for name, axis in AXES.items() if name != "supervision"}
# Of predictions: to what groups a participant belongs.
SUBGROUPS = ("sex", "age_band")
# Fields that hold one record a scoring, or one number a part of a trial's time.
BY_SCORING = {"metrics", "saturation", "parts"}
OPTIONAL = (
    "off_label_mass",
    *SUBGROUPS,
    "censoring_weight",
    "label_loss_share",
    "n_label_tokens",
    "n_loss_tokens",
    "label_gradient_share",
    "n_input_tokens",
)


def may_lack(column: str) -> bool:
    """Whether an attempt's file is whole without this column, because nobody asked for it or it is older."""
    return column in OPTIONAL or column in {scoring.column for scoring in further_scorings()}


def trial_row(trial: Trial, outcome: Outcome) -> dict[str, object]:
    """One row of the trials table; axes by the names of the design, null where the trial stands on none."""
    spec = trial.spec
    row: dict[str, object] = {
        "trial_id": outcome.trial_id,
        "training_id": outcome.training_id,
        "cell_id": outcome.cell_id,
        "role": trial.role,
        "state": outcome.state,
        "method": spec.method.value,
        "labels": spec.labels,
        "control": trial.coordinates.get("control"),
        "rationale_form": spec.supervision.value if spec.supervision else None,
        "planted_signal": spec.prompt.planted_signal if spec.prompt else None,
        "train_prevalence": outcome.train_prevalence,
        "natural_prevalence": outcome.natural_prevalence,
        **{axis: trial.coordinates.get(axis, usual_of(spec, axis)) for axis in AXIS_COLUMNS},
        "train_size": spec.train_size,  # a number, or null where the coordinate says the whole split
        **outcome.cost.model_dump(exclude=BY_SCORING),
        **outcome.provenance.model_dump(include=set(PROVENANCE)),
        **{name: datetime.fromisoformat(getattr(outcome.provenance, name)) for name in MOMENTS},
    }
    for split, scores in outcome.scores.items():
        row |= {f"{split}_{name}": value for name, value in scores.model_dump(exclude=BY_SCORING).items()}
        for scoring, found in (*scores.metrics.items(), *scores.saturation.items()):
            row |= {f"{split}_{scoring}_{name}": value for name, value in found.model_dump().items()}
    return row


@cache
def table_schemas() -> dict[Table, "pa.Schema"]:
    """Columns of the four tables, without the supervision, which `parted_by` adds."""
    import pyarrow as pa

    text, real, short = pa.string(), pa.float64(), pa.int32()
    predictions = dict.fromkeys(("trial_id", "example_id", "participant_id", "split", "validity"), text)
    predictions |= {"label": pa.int8(), "sampling_weight": real, **{scoring.column: real for scoring in SCORINGS}}
    beside = {"off_label_mass": real, **dict.fromkeys(SUBGROUPS, text), "censoring_weight": real}
    history = {"trial_id": text, "step": short, "loss": real, "learning_rate": real, "grad_norm": real}
    history |= {"n_target_tokens": short, "n_loss_tokens": short, "n_label_tokens": short, "n_input_tokens": short}
    history |= {"label_loss_share": real, "label_gradient_share": real, "wall_s": real}
    probed = ("loss_direct", "loss_rationale", "loss_conditioned", "norm_direct", "norm_rationale", "norm_conditioned")
    cosines = ("cos_direct_rationale", "cos_direct_conditioned", "cos_rationale_conditioned")
    diagnostics = {"trial_id": text, "split": text, "fraction": real, "step": short, "n_examples": short}
    return {
        "trials": pa.schema(_trial_columns()),
        "predictions": pa.schema({**predictions, **beside}),
        "history": pa.schema(history),
        "diagnostics": pa.schema(diagnostics | dict.fromkeys((*probed, *cosines), real)),
    }


def _trial_columns() -> dict[str, "pa.DataType"]:
    import pyarrow as pa

    text, real, whole = pa.string(), pa.float64(), pa.int64()

    def numbers(model: type[Record], prefix: str = "") -> dict[str, "pa.DataType"]:
        fields = model.model_fields.items()
        return {
            f"{prefix}{name}": whole if field.annotation is int else real
            for name, field in fields
            if name not in BY_SCORING
        }

    names = ("trial_id", "training_id", "cell_id", "role", "state", "method", "labels", "control", "rationale_form")
    columns = dict.fromkeys(names, text)
    columns |= {axis: {int: whole, float: real, str: text}[kind] for axis, kind in AXIS_COLUMNS.items()}
    columns |= dict.fromkeys(("planted_signal", "train_prevalence", "natural_prevalence"), real)
    for split in SPLITS:
        columns |= numbers(SplitScores, f"{split}_")
        for scoring in SCORINGS:
            columns |= numbers(Metrics, f"{split}_{scoring}_") | numbers(Saturation, f"{split}_{scoring}_")
    moments = dict.fromkeys(MOMENTS, pa.timestamp("us", tz="UTC"))
    return columns | numbers(Cost) | dict.fromkeys(PROVENANCE, text) | moments


def parted_by() -> "pa.Field":
    """The supervision: of the type that readers give to the names of folders, so that file and folder agree."""
    import pyarrow as pa

    return pa.field(PARTED_BY, pa.dictionary(pa.int32(), pa.string()))
