"""What a teacher may see of a prepared cohort: a case a label row, whatever its records are."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from workers.cohort.lexicon import Lexicon
from workers.contract.recipes.teaching import Supervision
from workers.examples.exam_facts import EXAM_KNOWLEDGE, cases_of
from workers.examples.facts import Case, Knowledge
from workers.examples.history import cases_of_records, knowledge_of
from workers.store.published import RECORDS, VALUES

RATIONALE_SUPERVISIONS = (Supervision.FREE_FORM, Supervision.STEP_BY_STEP)


def read_cases(
    cohort: Path,
    labels: pd.DataFrame,
    lexicon: Lexicon | None,
    *,
    is_wanted: Sequence[bool],
    max_words: int | None = None,
) -> tuple[list[Case], Knowledge]:
    """What a teacher may see of the wanted label rows, in order, and what it knows of their codes.

    Args:
        max_words: Of the prompts, for a teacher who is kept to what they show; an exam summary leaves nothing out.
    """
    if lexicon is None:
        return cases_of(pd.read_parquet(cohort / VALUES)[is_wanted], labels[is_wanted]), EXAM_KNOWLEDGE
    cases = cases_of_records(
        pd.read_parquet(cohort / RECORDS), labels, lexicon, is_wanted=is_wanted, max_words=max_words
    )
    return cases, knowledge_of(lexicon)
