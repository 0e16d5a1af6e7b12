"""What a trial leaves behind: an outcome (scored or diverged), or the record of an attempt that failed.

An outcome carries its own checksum; `Outcome.load` refuses one that does not match. What was stored once stays
readable: a field that is added to a record gets a default, and none is renamed or taken away.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import from_json

from workers.contract.errors import OtherVersionError, StoreError
from workers.contract.files import NO_NAME, FileName, Name, read_regular
from workers.contract.recipes.scorings import Scoring
from workers.contract.trial import Trial

# Of a scored trial's files, the one that its scores follow from.
PREDICTIONS = "predictions.parquet"
Split = Literal["tuning", "held_out"]


class TrialState(StrEnum):
    """Where a trial of the design stands, read from the store alone."""

    KEEP = "keep"
    RETRY = "retry"
    ADD = "add"
    STALE = "stale"
    ORPHAN = "orphan"
    SPARED = "spared"


class FailureKind(StrEnum):
    """Why an attempt failed."""

    OUT_OF_MEMORY = "out_of_memory"
    LOST_WORKER = "lost_worker"
    TIMEOUT = "timeout"
    DATA = "data"
    STORAGE = "storage"
    UNFIT_NODE = "unfit_node"
    DISK_FULL = "disk_full"
    CODE = "code"


class Validity(StrEnum):
    """What became of the model's own output under strict scoring."""

    VALID = "valid"
    NO_DELIMITER = "no_delimiter"
    TRUNCATED = "truncated"
    LABEL_OUTSIDE_SET = "label_outside_set"
    THOUGHT_CUT_OFF = "thought_cut_off"


class Record(BaseModel):
    """A frozen part of what is stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sealed(Record):
    """A record with the checksum of all the rest of its file, without which it is not read; an older file has none."""

    checksum: str = ""

    def sealed(self) -> Self:
        """The same record with its checksum filled in."""
        return self.model_copy(update={"checksum": checksum_of(json.loads(self.model_dump_json()))})

    @model_validator(mode="before")
    @classmethod
    def _holds(cls, stored: object) -> object:
        if isinstance(stored, Mapping) and stored.get("checksum") and stored["checksum"] != checksum_of(stored):
            raise ValueError("the checksum does not match")
        return stored


class Metrics(Record):
    """Discrimination and calibration of one set of probabilities; null where a class is missing.

    Ranges: roc_auc, pr_auc, brier, ece in [0, 1]; the slope is 1 and the intercept 0 when perfectly calibrated.
    """

    roc_auc: float | None
    pr_auc: float | None
    brier: float
    ece: float
    calibration_slope: float | None
    calibration_intercept: float | None


class Saturation(Record):
    """How far the probabilities of one scoring can still rank; of the model's own, before the prior is corrected.

    Weighted like the metrics. share_extreme is of P(yes) above 0.99 or below 0.01, mean_entropy in nats (at most
    0.693), tie_rate the share of case-control pairs with equal scores, off-label mass what neither label gets.
    """

    n_distinct: int
    share_extreme: float
    mean_entropy: float
    tie_rate: float | None
    mean_off_label_mass: float | None = None


class SplitScores(Record):
    """Scores on one split; metrics are weighted back to natural prevalence."""

    n_examples: int
    n_participants: int
    n_events: int
    prevalence: float
    invalid_rate: float
    invalid_rate_events: float
    invalid_rate_controls: float
    n_distinct: int
    metrics: dict[Scoring, Metrics]
    saturation: dict[Scoring, Saturation] = {}


class BySplit(Record):
    """What tells of a trial's scores."""

    scores: dict[Split, SplitScores] = {}

    def withheld(self) -> Self:
        """What of it may be seen while its store is blinded."""
        kept = {split: scores for split, scores in self.scores.items() if split != "held_out"}
        return self.model_copy(update={"scores": kept})


class Cost(Record):
    """What the attempt used on its node, and what it was taught with: the ledger by which supervisions are compared.

    Tokens and operations are those of training, without padding, scoring and diagnostics; 0 where a trial trains none
    or is older. `n_loss_tokens` are target tokens whose weight in the loss is above 0, `n_label_tokens` the yes and no
    of them, `n_examples_dropped` examples without the rationale that they need, `flops` is an estimate (`work.meter`).

    A resumed attempt took the steps after `resumed_from_step`: times are its own, steps, tokens and operations those of
    the whole training. Batches went through the model in `n_micro_batches` parts, with tensors of `peak_gpu_memory_mib`
    on its GPU. `n_checkpoints_skipped` were torn or of other content, `n_checkpoints_failed` not written. `parts`: s.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    train_wall_s: float = 0.0
    score_wall_s: float = 0.0
    peak_memory_mib: float = 0.0
    peak_gpu_memory_mib: float = 0.0
    n_examples_seen: int = 0
    n_input_tokens: int = 0
    n_target_tokens: int = 0
    n_steps: int = 0
    n_loss_tokens: int = 0
    n_label_tokens: int = 0
    n_examples_dropped: int = 0
    flops: float = 0.0
    resumed_from_step: int = 0
    n_checkpoints_skipped: int = 0
    n_checkpoints_failed: int = 0
    n_micro_batches: int = 1
    parts: dict[Name, float] = {}


class Provenance(Record):
    """Where and with what an outcome was computed; never part of an id.

    code: Digest of the installed sources of `workers`; empty in older outcomes.
    """

    commit: str
    code: str = ""
    python: str
    packages: dict[str, str]
    device: str
    n_threads: int
    host: str
    pid: int = 0
    started_at: str
    ended_at: str


class Outcome(BySplit):
    """The committed result of a trial; creating its file is the commit."""

    trial_id: Name
    training_id: Name
    cell_id: Name
    state: Literal["scored", "diverged"]
    trial: Trial
    attempt: Name
    detail: str = ""
    train_prevalence: float
    natural_prevalence: float
    scores: dict[Split, SplitScores]
    cost: Cost
    provenance: Provenance
    files: dict[FileName, str]
    checksum: str = ""

    @property
    def predictions(self) -> str | None:
        """SHA-256 of the trial's predictions; null where it has none."""
        return self.files.get(PREDICTIONS)

    @property
    def is_withheld(self) -> bool:
        """Whether its scores on held_out are kept back."""
        return self.state == "scored" and "held_out" not in self.scores

    def sealed(self) -> Self:
        """The same outcome with its checksum filled in."""
        return self.model_copy(update={"checksum": checksum_of(json.loads(self.model_dump_json()))})

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Verify the bytes of an outcome file: its checksum, and its id against its spec.

        Raises:
            OtherVersionError: It is whole, but not as this version writes one.
            StoreError: It is torn, one of the two does not hold, or it names what is no name; names no file.
        """
        try:
            outcome = cls.model_validate_json(body)
        except ValidationError as error:
            if all(each["type"] == NO_NAME for each in error.errors(include_input=False)):
                raise StoreError("the outcome leads out of its trial's folder; rerun the trial") from None
            if _is_whole(body):
                raise OtherVersionError("written by another version; use that one, or another --store") from None
            raise StoreError(f"unreadable outcome ({type(error).__name__}); rerun the trial") from None
        if outcome.checksum != checksum_of(from_json(body)) or outcome.trial_id != outcome.trial.trial_id:
            raise StoreError("the outcome's checksum does not match; rerun the trial")
        return outcome

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and verify an outcome file.

        Raises:
            StoreError: It is torn, its checksum does not hold, or it can't be read; the last from an `OSError`.
        """
        try:
            return cls.parse(read_regular(path))
        except OSError as error:
            raise StoreError(f"{path}: can't be read ({error.strerror}); see that this node reaches it") from error
        except StoreError as error:
            raise type(error)(f"{path}: {error}") from None


def _is_whole(body: bytes) -> bool:
    """Whether bytes that this version can't understand are as somebody sealed them."""
    with suppress(ValueError, AttributeError, KeyError, TypeError):
        stored = from_json(body)
        return bool(stored["checksum"] == checksum_of(stored))
    return False


def checksum_of(stored: Mapping[str, object]) -> str:
    """SHA-256 of all in the file but the checksum, not of the model: what a later version adds is in no old file."""
    body = {name: value for name, value in stored.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class Attempt(Sealed):
    """One failed try at a trial: class and evidence, never a participant's text.

    `attempt` names its folder and its log; empty where it had none. `n_micro_batches`: the parts of its batches.
    """

    trial_id: Name
    number: int
    kind: FailureKind
    error: str
    where: str
    detail: str
    host: str
    started_at: str
    ended_at: str
    attempt: Name | Literal[""] = ""
    n_micro_batches: int = 1


class Progress(Record):
    """A running trial's position, sent to the driver about once a second; `is_saved` as the driver asked for.
    Its first one says when the attempt `started_at`; `saved_step` is that of the last resume point."""

    phase: Literal["loading", "training", "scoring", "committing"]
    done: int
    total: int
    loss: float | None = None
    is_saved: bool = False
    started_at: str = ""
    saved_step: int = 0
