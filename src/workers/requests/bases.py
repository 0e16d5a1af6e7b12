"""Bases outside of any store, read as a study would in a folder that goes again: proved, or only sketched."""

import tempfile
from pathlib import Path

from workers.contract.answers.proof import BaseAnswer, BaseQuestion
from workers.contract.answers.sketches import Sketched, SketchedBase, SketchQuestion
from workers.contract.errors import InputError
from workers.models.base import materialise
from workers.preparing.fits import outlook
from workers.preparing.prepare import of_its_base
from workers.preparing.proof import prove
from workers.preparing.sketches import Sketches


def prove_base(question: BaseQuestion) -> BaseAnswer:
    """Materialise and prove one base.

    Raises:
        InputError: What does not fit, and what would.
    """
    with tempfile.TemporaryDirectory() as folder:
        materialise(question.base, Path(folder), sources=question.sources)
        return BaseAnswer(proof=prove(Path(folder), question.base, precision=question.precision))


def sketch_bases(question: SketchQuestion) -> Sketched:
    """Read configuration and tokenizer of each trial's base, and see that an answer has room in it."""
    bases: dict[str, SketchedBase] = {}
    problems = []
    with Sketches.opened() as sketches:
        for order in question.orders:
            try:
                found = outlook(order, sketches)
                bases[str(order.trial.coordinates["base"])] = found.base
                wrong = tuple(found.problems)
            except InputError as error:
                wrong = error.problems
            problems += [of_its_base(problem, order) for problem in wrong]
    return Sketched(bases=bases, problems=tuple(problems))
