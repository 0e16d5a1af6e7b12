"""A base that proves itself outside of any store: read as a study would, in a folder that goes again."""

import tempfile
from pathlib import Path

from workers.contract.answers.proof import BaseAnswer, BaseQuestion
from workers.models.base import materialise
from workers.preparing.proof import prove


def prove_base(question: BaseQuestion) -> BaseAnswer:
    """Materialise and prove one base.

    Raises:
        InputError: What does not fit, and what would.
    """
    with tempfile.TemporaryDirectory() as folder:
        materialise(question.base, Path(folder), sources=question.sources)
        return BaseAnswer(proof=prove(Path(folder), question.base, precision=question.precision))
