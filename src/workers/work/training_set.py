"""Whom a trial's method is fitted on: settled before it begins, handed to it, never changed."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from workers.cohort.splits import balanced_train_rows
from workers.contract.errors import InputError, Problem
from workers.contract.inputs import InputKind
from workers.contract.recipes.teaching import Supervision
from workers.work.bench import IntArray, Work
from workers.work.predictions import Prevalence


@dataclass(frozen=True)
class TrainingSet:
    """Rows of the labels, shape (n,), and the shares of events by which a fit on them is corrected.

    n_dropped: Examples that were left out, because the teacher wrote no rationale for them.
    """

    rows: IntArray
    prevalence: Prevalence
    n_dropped: int = 0

    @classmethod
    def of(cls, work: Work) -> "TrainingSet":
        """What the trial asks for, as far as it has the rationales that it needs.

        Raises:
            InputError: It needs rationales, and the teacher wrote none.
        """
        spec, is_train = work.spec, (work.labels["split"] == "train").to_numpy()
        natural = float(work.outcomes[is_train].mean())
        if not spec.method.does.fits:
            has_shown = spec.demonstrations is not None and spec.demonstrations.shots > 0  # as many cases as controls
            return cls(np.empty(0, dtype=np.int64), Prevalence(train=0.5 if has_shown else natural, natural=natural))
        asked = np.flatnonzero(is_train)
        if spec.train_size is not None:
            size, salt, draw = spec.train_size, spec.cohort.split_salt, spec.training_draw
            asked = work.bench.chosen(
                (work.input(InputKind.COHORT), size, salt, draw),
                partial(balanced_train_rows, work.labels, size=size, salt=salt, draw=draw),
            )
        rows = asked if spec.supervision in (None, Supervision.LABEL_ONLY) else explained(work, asked)
        rows.setflags(write=False)
        prevalence = Prevalence(train=float(work.outcomes[rows].mean()), natural=natural)
        return cls(rows, prevalence, n_dropped=len(asked) - len(rows))


def explained(work: Work, rows: IntArray) -> IntArray:
    """The rows that have a rationale: a filtered teacher leaves out those that it got wrong.

    Raises:
        InputError: None has.
    """
    is_written = np.array([len(rationale) > 0 for rationale in work.rationale_tokens(rows)], dtype=bool)
    if not is_written.any():
        what = f"it wrote no rationale for any of the {len(rows)} training examples"
        raise InputError(Problem("teacher", what, "choose another teacher or a larger train size"))
    kept: IntArray = rows[is_written]
    return kept
