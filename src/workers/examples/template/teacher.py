"""A seeded template teacher: rationales that weigh the participant's own recorded facts, and nothing else.

A blind teacher does not see the label; a conditioned one argues for it; a filtered one is blind, and silent where it
was wrong. Either way the answer line is not written here but in `targets`.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workers.contract.recipes.teaching import Supervision, TemplateTeacherRecipe
from workers.examples.exam_facts import EXAM_KNOWLEDGE
from workers.examples.facts import Argument, Case, Fact, Knowledge, risk_points
from workers.examples.template import grammar, terse
from workers.examples.template.flaws import flawed, has_flaws

WRITERS = {
    ("terse", Supervision.FREE_FORM): terse.free_form,
    ("terse", Supervision.STEP_BY_STEP): terse.step_by_step,
    ("varied", Supervision.FREE_FORM): grammar.free_form,
    ("varied", Supervision.STEP_BY_STEP): grammar.step_by_step,
}


def fit_threshold(cases: Sequence[Case]) -> int:
    """The points from which the teacher calls a risk raised: largest Youden index over the given (train) cases."""
    points = np.array([risk_points(case.facts) for case in cases])
    events = np.array([case.has_event for case in cases])
    candidates = np.unique(points)
    youden = [(points[events] >= cut).mean() - (points[~events] >= cut).mean() for cut in candidates]
    return int(candidates[int(np.argmax(youden))])


@dataclass(frozen=True)
class TemplateTeacher:
    """Writes rationales by seeded templates; the same case and seed always give the same words."""

    recipe: TemplateTeacherRecipe
    threshold: int
    knowledge: Knowledge = EXAM_KNOWLEDGE

    def write(self, case: Case, supervision: Supervision) -> str:
        """The rationale of one case on one line, at most `recipe.max_words` words.

        Empty for label_only, and where a filtered teacher would have been wrong.
        """
        if supervision is Supervision.LABEL_ONLY:
            return ""
        raised = case.has_event if self.recipe.label_access == "conditioned" else self.judges_raised(case)
        if self.recipe.label_access == "filtered" and raised != case.has_event:
            return ""
        seed = f"{self.recipe.seed}|{supervision}|{case.key}"
        argument = Argument(self._told_facts(case, seed=seed), raised, self.knowledge.themes, self._missing(case))
        writer = WRITERS[self.recipe.grammar, supervision]
        return writer(argument, max_words=self.recipe.max_words, choice=_choice(seed))

    def judges_raised(self, case: Case) -> bool:
        """The teacher's own yes or no, from the recorded facts alone."""
        return risk_points(case.facts) >= self.threshold

    def _told_facts(self, case: Case, *, seed: str) -> tuple[Fact, ...]:
        if not has_flaws(self.recipe):
            return case.facts
        pool = [fact for fact in self.knowledge.pool if fact.code not in case.unshown]
        return flawed(case.facts, self.recipe, pool=pool, choice=_choice(f"flaws|{seed}"))

    def _missing(self, case: Case) -> tuple[str, ...]:
        return tuple(name for code, name in self.knowledge.expected if code not in case.recorded)


def _choice(seed: str) -> random.Random:
    return random.Random(hashlib.sha256(seed.encode()).digest())
