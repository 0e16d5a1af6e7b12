"""An adapter that leaves its store: what is asked of a worker, what the check found, and what it answers."""

from pydantic import Field

from workers.contract.answers.findings import Answer
from workers.contract.data_class import DataClass
from workers.contract.outcome import Record
from workers.contract.recipes.recipe import Recipe

# What may be seen from an adapter at most, by the upper end of a 95 % interval; ours, as no rule of a data set says it.
MOST_AUC, MOST_EXTRACTED = 0.65, 0.10


class ExportOrder(Recipe):
    """Which trial's adapter goes to which new folder.

    by, at: Who asks, and when, UTC.
    data_class: Of the cohort, as its study says it.
    reason: Why it may leave whatever the check finds; empty where it may not.
    """

    trial_id: str
    store: str
    to: str
    by: str
    at: str
    data_class: DataClass
    reason: str = ""


class IntervalEstimate(Record):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


class Membership(Record):
    """How well an adapter tells who was trained on: 0.5 and 0 are not at all.

    attack: Chance that a trained example gained more from the adapter, in loss, than one of another participant with
        the same label.
    plain: The same by the loss under the adapter alone.
    extracted: Share of trained examples whose next tokens the adapter gives back from what stands before them, and the
        untrained base does not, minus that share of other participants' examples.
    is_by_labels: Whether answers alone were compared, because the teacher wrote for nobody who was not trained on; what
        the adapter tells by its rationales is then not known.
    data_class: Of the cohort; where its adapters are checked, they leave within the bounds alone, or for a reason.
    reason: Why it left all the same.
    """

    trial_id: str
    n_members: int
    n_others: int
    attack: IntervalEstimate
    plain: IntervalEstimate
    extracted: IntervalEstimate
    most_auc: float = MOST_AUC
    most_extracted: float = MOST_EXTRACTED
    is_by_labels: bool = False
    data_class: DataClass
    reason: str = ""

    @property
    def is_within(self) -> bool:
        """Whether both are shown to stay below their bounds."""
        return (
            not self.is_by_labels and self.attack.high <= self.most_auc and self.extracted.high <= self.most_extracted
        )

    def __str__(self) -> str:
        return (
            f"membership attack {self.attack}, bound {self.most_auc}; extracted {self.extracted}, "
            f"bound {self.most_extracted}; {self.n_members} trained examples, {self.n_others} of others"
            f"{', by their answers alone: nobody else has a rationale' if self.is_by_labels else ''}"
        )


class Export(Record):
    """The record in the store of an adapter that left it."""

    to: str
    by: str
    at: str
    membership: Membership


class Exported(Answer):
    """What was found, and the names of the files that were written; none of it where it was refused."""

    membership: Membership | None = None
    files: tuple[str, ...] = Field(default=())
