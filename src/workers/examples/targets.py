"""What a model is trained to write after the prompt: a rationale or none, then one line `Answer: yes|no`.

As text, and, for rationales that are token ids already, what a control makes of them.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from workers.contract.recipes.teaching import TargetRecipe
from workers.contract.trial import TrialSpec

DELIMITER = "Answer:"
WORDS = {True: "yes", False: "no"}
EXCHANGE_SEED = 2


def answer_line(has_event: bool) -> str:
    """The last line of every target."""
    return f"{DELIMITER} {WORDS[has_event]}"


def target_text(rationale: str, *, has_event: bool) -> str:
    """The whole target: the rationale on its own line, if there is one, and the answer line."""
    line = answer_line(has_event)
    return f"{rationale}\n{line}" if rationale else line


def controlled_rationales(
    rationales: Sequence[list[int]], recipe: TargetRecipe, *, owners: Sequence[str], seed: int, filler: int
) -> list[list[int]]:
    """The rationales that are trained on, in the order of the examples; `owners` are their participants.

    Raises:
        ValueError: A truncated rationale without `keep_tokens`.
    """
    match recipe.rationale:
        case "real":
            return list(rationales)
        case "shuffled":
            return [rationales[giver] for giver in exchange(owners, seed=seed)]
        case "filler":
            return [[filler] * len(rationale) for rationale in rationales]
        case "truncated":
            if recipe.keep_tokens is None:
                raise ValueError("a truncated rationale needs target.keep_tokens")
            return [rationale[: recipe.keep_tokens] for rationale in rationales]


def exchange(owners: Sequence[str], *, seed: int) -> npt.NDArray[np.int64]:
    """For every row the row whose rationale it gets: a permutation, nobody's own while no one owns over half.

    Participants stand in a seeded order, rows of one together; a rotation by the largest participant's number of rows
    leaves everyone's own rows behind.
    """
    codes, _ = pd.factorize(np.asarray(owners, dtype=object))
    generator = np.random.default_rng([EXCHANGE_SEED, seed])
    places = generator.permutation(codes.max() + 1)[codes]
    order = np.lexsort((generator.random(len(codes)), places))
    givers = np.empty(len(codes), dtype=np.int64)
    givers[order] = np.roll(order, -int(np.bincount(codes).max()))
    return givers


# Task prefixes of Hsieh et al., Distilling Step-by-Step, arXiv 2305.02301.
LABEL_PREFIX, RATIONALE_PREFIX = "[label] ", "[rationale] "


def evaluation_prefix(spec: TrialSpec) -> str:
    """What stands before every prompt when a trained adapter is scored; nothing but under `multi_task`."""
    is_multi_task = spec.training is not None and spec.training.objective.kind == "multi_task"
    return LABEL_PREFIX if is_multi_task else ""
