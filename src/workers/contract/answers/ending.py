"""How a trial ended, as the driver hears it."""

from typing import Literal, Self

from workers.contract.outcome import BySplit, FailureKind, Outcome, Split, SplitScores


class Ending(BySplit):
    """How one call of the runner ended; the store holds the rest."""

    trial_id: str
    state: Literal["scored", "diverged", "failed"]
    failure: FailureKind | None = None
    detail: str = ""
    commit_s: float = 0.0

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        """Of a trial that is committed."""
        return cls(trial_id=outcome.trial_id, state=outcome.state, scores=outcome.scores, detail=outcome.detail)

    @property
    def shown(self) -> tuple[Split, SplitScores] | None:
        """The scores on held_out, or else those on tuning."""
        splits: tuple[Split, ...] = ("held_out", "tuning")
        return next(((split, self.scores[split]) for split in splits if split in self.scores), None)
