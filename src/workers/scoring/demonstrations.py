"""Worked examples before the question: who is shown, in which order, and as which tokens.

The participants do not depend on what is shown of them, and an order seed changes their order alone.
"""

import random
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from sklearn.impute import SimpleImputer
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from workers.cohort.features import Features
from workers.cohort.splits import balanced_train_rows
from workers.contract.recipes.teaching import DemonstrationRecipe
from workers.examples.tokenizing.tokens import AnswerTokens
from workers.scoring.classical.baselines import is_too_large
from workers.scoring.classical.standardised import Scale

IntArray = npt.NDArray[np.int64]


def fixed_rows(labels: pd.DataFrame, recipe: DemonstrationRecipe, *, salt: str) -> IntArray:
    """The demonstrations that everybody sees, shape (shots,): the first by hash of each label, in the seed's order.

    Nested, as train sizes are: four shots hold the participants of two.
    """
    rows = balanced_train_rows(labels, size=recipe.shots, salt=salt)
    return rows[_order(recipe)]


def nearest_rows(labels: pd.DataFrame, features: Features, recipe: DemonstrationRecipe, *, rows: IntArray) -> IntArray:
    """The demonstrations that each of these rows sees, shape (n_rows, shots): its nearest train rows of each label.

    Args:
        features: Of all label rows; medians, means and deviations are those of the train split.
    """
    is_train = (labels["split"] == "train").to_numpy()
    scaled = _scaled(features[is_train])
    asked = scaled(features[rows])
    found = []
    for outcome in (True, False):
        members = np.flatnonzero(is_train & (labels["boolean_value"].to_numpy() == outcome))
        space = NearestNeighbors(n_neighbors=recipe.shots // 2, algorithm="brute").fit(scaled(features[members]))
        found.append(members[space.kneighbors(asked, return_distance=False)])
    return np.hstack(found)[:, _order(recipe)]


def _scaled(fitted: Features) -> Callable[[Features], npt.NDArray[np.float64] | sparse.csr_array]:
    """Values in deviations of the fitted rows; of very many only the held ones, for what all rows have parts none."""
    if is_too_large(fitted):
        return Scale.of(fitted).held
    model = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit(fitted.table().to_numpy())
    return lambda features: np.asarray(model.transform(features.table().to_numpy()))


def demonstration(
    prompt: Sequence[int],
    rationale: Sequence[int],
    *,
    has_event: bool,
    answer: AnswerTokens,
    line_break: Sequence[int],
) -> list[int]:
    """One worked example: prompt and target as in training, a line break in place of the end."""
    return [*prompt, *answer.target(list(rationale), has_event=has_event)[:-1], *line_break]


def _order(recipe: DemonstrationRecipe) -> list[int]:
    order = list(range(recipe.shots))
    random.Random(recipe.order_seed).shuffle(order)
    return order
