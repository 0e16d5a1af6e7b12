"""What follows a failed attempt: another try, one in smaller batches, giving the trial up, or ending the launch.

No file and no clock. Each class of failure has a budget of its own for one launch; the next begins with fresh ones.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.execution.events import StopLevel
from workers.contract.outcome import Attempt, FailureKind

# So many trials in a row given up for the same reason: the reason is not theirs.
IDENTICAL_FAILURES = 5
# More parts than a batch has examples may still help: scoring batches are split alike.
MAX_MICRO_BATCHES = 64


@dataclass(frozen=True)
class Policy:
    """What is done about one class of failure.

    retries: Attempts that a trial gets beside the first, after failures of this class, in one launch.
    is_charged: Whether they are counted; not where no trial is to blame.
    refits: Each of them splits batches in twice as many parts; the effective batch stays.
    ends_launch: Nothing that is started now could do better.
    remedy: What a person can do where the retries are used up.
    """

    retries: int
    remedy: str
    refits: bool = False
    ends_launch: bool = False
    is_charged: bool = True


POLICIES: Mapping[FailureKind, Policy] = {
    FailureKind.OUT_OF_MEMORY: Policy(
        6, "give a trial more memory: fewer slots a node (`resources`), a smaller batch or another node", refits=True
    ),
    FailureKind.LOST_WORKER: Policy(3, "look at the node that lost it; `sweep run` tries the trial again"),
    FailureKind.TIMEOUT: Policy(1, "raise `resources.timeout_s`; the trial goes on from its last resume point"),
    FailureKind.DATA: Policy(0, "mend the input that the message names, then `sweep run`"),
    FailureKind.STORAGE: Policy(2, "see that every node can write the store, then `sweep run`"),
    FailureKind.UNFIT_NODE: Policy(0, "mend the node that is named, or leave it out", is_charged=False),
    FailureKind.DISK_FULL: Policy(0, "free space where the store lies, then `sweep run`", ends_launch=True),
    FailureKind.CODE: Policy(1, "rerun the trial by hand as `sweep explain` says, and mend the code"),
}


@dataclass(frozen=True)
class Decision:
    """What follows a failed attempt; a trial that goes back to the queue of an ending launch stays missing."""

    is_tried_again: bool
    why: str


class Recovery:
    """The failures of one launch so far, and what follows from the next.

    Args:
        before: Failed attempts of earlier launches, by trial id: a trial that did not fit its memory then begins split.
    """

    def __init__(self, before: Mapping[str, Sequence[Attempt]]) -> None:
        self._splits = {trial_id: _learnt_split(attempts) for trial_id, attempts in before.items()}
        self._spent: Counter[tuple[str, FailureKind]] = Counter()
        self._in_a_row: tuple[object, int] = (None, 0)
        self.ended_because = ""

    @property
    def stop_level(self) -> StopLevel:
        """Whether the launch is to end, running trials first."""
        return StopLevel.DRAIN if self.ended_because else StopLevel.GO_ON

    def n_micro_batches(self, trial_id: str) -> int:
        """Into how many parts the trial's batches are split now."""
        return self._splits.get(trial_id, 1)

    def succeeded(self) -> None:
        """Note that a trial has an outcome."""
        self._in_a_row = (None, 0)

    def after(self, kind: FailureKind, *, trial_id: str, detail: str) -> Decision:
        """Choose what follows a failed attempt.

        Args:
            detail: What the same fault would say again at another trial.
        """
        policy, name = POLICIES[kind], kind.value.replace("_", " ")
        if policy.ends_launch:
            self._end(f"{name}: {policy.remedy}")
            return Decision(is_tried_again=True, why=f"{name}, left for the next launch")
        if not policy.is_charged:
            return Decision(is_tried_again=True, why=f"{name}, tried elsewhere")
        self._spent[trial_id, kind] += 1
        if self._spent[trial_id, kind] <= policy.retries:
            if not policy.refits:
                return Decision(is_tried_again=True, why=f"{name}, tried again")
            if (parts := 2 * self.n_micro_batches(trial_id)) <= MAX_MICRO_BATCHES:
                self._splits[trial_id] = parts
                return Decision(is_tried_again=True, why=f"{name}, tried again with each batch in {parts} parts")
        self._give_up((kind, detail), why=f"{name}: {detail}", remedy=policy.remedy)
        return Decision(is_tried_again=False, why=policy.remedy)

    def _give_up(self, signature: tuple[FailureKind, str], *, why: str, remedy: str) -> None:
        last, n_alike = self._in_a_row
        self._in_a_row = (signature, n_alike + 1 if signature == last else 1)
        if self._in_a_row[1] >= IDENTICAL_FAILURES:
            self._end(f"{IDENTICAL_FAILURES} trials in a row failed alike ({why}); {remedy}")

    def _end(self, why: str) -> None:
        self.ended_because = self.ended_because or why


def _learnt_split(attempts: Sequence[Attempt]) -> int:
    """Twice what did not fit before."""
    too_few = [attempt.n_micro_batches for attempt in attempts if attempt.kind is FailureKind.OUT_OF_MEMORY]
    return min(2 * max(too_few), MAX_MICRO_BATCHES) if too_few else 1
