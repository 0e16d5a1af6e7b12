"""What a teacher works from: a participant's recorded facts in words, each with how it bears on risk.

No record, code table or template is known here; `exam_facts` and `history` say which facts a record holds.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from workers.cohort.lexicon import AGE


@dataclass(frozen=True, slots=True)
class Fact:
    """One recorded fact in words, and how it bears on risk: negative points lower, positive raise.

    code: of the record; age and sex together are one fact, `AGE`. mechanism: why it bears on risk, one clause or none.
    when: how long ago, as the prompt says it; empty where undated.
    """

    words: str
    points: int
    theme: str
    mechanism: str = ""
    code: str = ""
    when: str = ""


@dataclass(frozen=True)
class Case:
    """A participant at the index day as the teacher sees them; `key` seeds the wording and is never shown.

    unshown: codes that are recorded and that a teacher who is kept to the prompt does not see.
    """

    key: str
    facts: tuple[Fact, ...]
    has_event: bool
    unshown: frozenset[str] = frozenset()

    @property
    def recorded(self) -> frozenset[str]:
        """The codes of the whole record."""
        return self.unshown.union(fact.code for fact in self.facts)


@dataclass(frozen=True)
class Knowledge:
    """What a teacher knows beside the record.

    themes: in the order of the numbered steps. pool: facts that a record could hold, to fabricate from.
    expected: name by code of what is worth a remark where a record lacks it, the most telling first.
    """

    themes: tuple[str, ...]
    pool: tuple[Fact, ...] = ()
    expected: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Argument:
    """What a rationale has to say: facts (age and sex first), the conclusion, and names of what is not recorded."""

    facts: tuple[Fact, ...]
    raised: bool
    themes: tuple[str, ...]
    missing: tuple[str, ...] = ()

    @property
    def person(self) -> Fact | None:
        """Age and sex, where either is recorded."""
        return next((fact for fact in self.facts[:1] if fact.code == AGE), None)

    @property
    def evidence(self) -> tuple[Fact, ...]:
        """Every fact beside age and sex."""
        return self.facts[1:] if self.person else self.facts


def risk_points(facts: Iterable[Fact]) -> int:
    """Sum of the points of facts."""
    return sum(fact.points for fact in facts)


def example_keys(labels: pd.DataFrame) -> list[str]:
    """What names an example, one a label row: participant and index time. It seeds; it is never shown."""
    columns = zip(labels["subject_id"], labels["prediction_time"], strict=True)
    return [f"{subject_id}|{prediction_time}" for subject_id, prediction_time in columns]
