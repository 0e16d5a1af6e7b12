"""The hash of a plan, by which a launch runs what was reviewed or refuses: nothing of a review is stored.

It reads `study-store-counts`, as in `3f9ac01b-77de20aa-12.0.6.0.0.0`: what the study says, what the store holds, and
how many trials are in each state, so that a refusal can tell what has changed.
"""

import re
from dataclasses import dataclass
from typing import Self

from orchestrator.design.plan import Plan
from orchestrator.study.study import Study
from workers.contract.errors import InputError, Problem
from workers.contract.outcome import TrialState
from workers.contract.recipes.recipe import digest_of

# 32 bits each: a change goes unnoticed once in four thousand million.
N_DIGITS = 8
WRITTEN = re.compile(rf"([0-9a-f]{{{N_DIGITS}}})-([0-9a-f]{{{N_DIGITS}}})-(\d+(?:\.\d+){{{len(TrialState) - 1}}})")


@dataclass(frozen=True)
class PlanHash:
    """What a plan followed from.

    study: Of everything that the study says but where its file lies.
    store: Of every trial's state and every stored outcome's checksum.
    counts: Trials in each state, in the order of `TrialState`.
    """

    study: str
    store: str
    counts: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.study}-{self.store}-{'.'.join(map(str, self.counts))}"

    @classmethod
    def of(cls, study: Study, plan: Plan) -> Self:
        """The hash of this plan; costs one pass over its trials."""
        planned = plan.trials + plan.controls
        states = {item.trial.trial_id: item.state.value for item in planned}
        states |= {item.trial_id: item.state.value for item in plan.left_over}
        checksums = {item.trial.trial_id: item.checksum for item in planned}
        checksums |= {item.trial_id: item.checksum for item in plan.left_over}
        return cls(
            study=digest_of(study.model_dump(mode="json", exclude={"path"}))[:N_DIGITS],
            store=digest_of({"states": states, "checksums": checksums})[:N_DIGITS],
            counts=tuple(plan.counts.values()),
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a hash as it was printed.

        Raises:
            InputError: It is none.
        """
        found = WRITTEN.fullmatch(text.strip())
        if found is None:
            raise InputError(Problem("--plan", f"`{text}` is no plan hash", "copy it from `sweep plan`"))
        return cls(found[1], found[2], tuple(map(int, found[3].split("."))))

    def refuse_another(self, now: Self) -> None:
        """See that what was reviewed is what stands now.

        Raises:
            InputError: It is not; says what has changed.
        """
        if now == self:
            return
        changed = ["the study says something else"] if now.study != self.study else []
        if now.counts != self.counts:
            changed.append(f"reviewed were {_spelled(self.counts)}, now there are {_spelled(now.counts)}")
        elif now.store != self.store:
            changed.append("the counts are the same, but not the trials or their outcomes")
        raise InputError(Problem("--plan", "; ".join(changed), "review `sweep plan` again and give its hash"))


def _spelled(counts: tuple[int, ...]) -> str:
    return " · ".join(f"{n} {state}" for n, state in zip(counts, TrialState, strict=True) if n) or "none"
