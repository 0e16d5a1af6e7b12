"""Imputed and scaled values that are never written out, and a logistic regression on them: for very many codes.

Missing cells make a table dense: every one holds its code's median. Here a matrix is what is held, off the median and
over the deviation, and a constant row for all that is not. The numbers are those of scikit-learn's SimpleImputer
(median, with indicators), StandardScaler and LogisticRegression (lbfgs) to rounding.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit

from workers.cohort.features import Features

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Of scikit-learn's lbfgs.
GRADIENT_TOLERANCE, LOSS_TOLERANCE, MAX_LINE_SEARCHES = 1e-4, 64 * np.finfo(float).eps, 50


@dataclass(frozen=True, eq=False)
class Scale:
    """Medians, means and deviations of the rows that a method is fitted on; the last two after imputation.

    gappy: Numbers of the codes that some of these rows lack. gaps: the share that lacks each.
    """

    medians: FloatArray
    means: FloatArray
    deviations: FloatArray
    gappy: IntArray
    gaps: FloatArray

    @classmethod
    def of(cls, features: Features) -> Self:
        """Learn from these rows."""
        n_rows, n_codes = features.shape
        held = features.held.tocsc()
        medians = np.zeros(n_codes)
        for column in np.flatnonzero(~features.is_bare & (features.n_recorded > 0)):
            medians[column] = np.median(held.data[held.indptr[column] : held.indptr[column + 1]])
        columns = np.repeat(np.arange(n_codes), np.diff(held.indptr))
        off = held.data - medians[columns]
        mean_off = np.bincount(columns, weights=off, minlength=n_codes) / n_rows
        squares = np.bincount(columns, weights=(off - mean_off[columns]) ** 2, minlength=n_codes)
        variances = (squares + (n_rows - features.n_recorded) * mean_off**2) / n_rows
        gaps = 1 - features.n_recorded / n_rows
        gappy = np.flatnonzero(~features.is_bare & (gaps > 0))
        return cls(medians, medians + mean_off, _deviations(variances), gappy, gaps[gappy])

    def held(self, features: Features) -> sparse.csr_array:
        """What lies off the medians, over the deviations, shape (n_rows, n_codes)."""
        held = features.held
        scaled = (held.data - self.medians[held.indices]) / self.deviations[held.indices]
        return sparse.csr_array((scaled, held.indices, held.indptr), shape=held.shape)

    def inputs(self, features: Features) -> "Inputs":
        """The scaled values, and an indicator of each gappy code."""
        held = features.held
        is_recorded = sparse.csr_array((np.ones_like(held.data), held.indices, held.indptr), shape=held.shape)
        of_gaps = _deviations(self.gaps * (1 - self.gaps))
        recorded = is_recorded[:, self.gappy] @ sparse.diags_array(-1 / of_gaps)
        constant = np.concatenate([(self.medians - self.means) / self.deviations, (1 - self.gaps) / of_gaps])
        return Inputs(sparse.csr_array(sparse.hstack([self.held(features), recorded], format="csr")), constant)


@dataclass(frozen=True, eq=False)
class Inputs:
    """A matrix of which `constant` stands in every row, and `held` is added to it."""

    held: sparse.csr_array
    constant: FloatArray

    def times(self, weights: FloatArray) -> FloatArray:
        """The product with a column, shape (n_rows,)."""
        return np.asarray(self.held @ weights + self.constant @ weights)

    def transposed_times(self, rows: FloatArray) -> FloatArray:
        """The transposed matrix times a column, shape (n_inputs,)."""
        return np.asarray(self.held.T @ rows + self.constant * rows.sum())


@dataclass(frozen=True, eq=False)
class SparseLogistic:
    """A fitted logistic regression."""

    scale: Scale
    weights: FloatArray
    intercept: float

    @classmethod
    def fit(cls, features: Features, outcomes: IntArray, *, inverse_penalty: float, max_iterations: int) -> Self:
        """Minimise the mean log loss and the penalty, as LogisticRegression does, from 0."""
        scale = Scale.of(features)
        inputs, n_rows = scale.inputs(features), len(outcomes)
        penalty = 1 / (inverse_penalty * n_rows)

        def loss(solution: FloatArray) -> tuple[float, FloatArray]:
            weights, scores = solution[:-1], inputs.times(solution[:-1]) + solution[-1]
            slopes = (expit(scores) - outcomes) / n_rows
            mean = float(np.mean(np.logaddexp(0, scores) - outcomes * scores)) + penalty / 2 * float(weights @ weights)
            return mean, np.append(inputs.transposed_times(slopes) + penalty * weights, slopes.sum())

        found = minimize(
            loss,
            np.zeros(len(inputs.constant) + 1),
            method="L-BFGS-B",
            jac=True,
            options={
                "maxiter": max_iterations,
                "maxls": MAX_LINE_SEARCHES,
                "gtol": GRADIENT_TOLERANCE,
                "ftol": LOSS_TOLERANCE,
            },
        )
        return cls(scale, found.x[:-1], float(found.x[-1]))

    def risks(self, features: Features) -> FloatArray:
        """Probability of the outcome, shape (n_rows,)."""
        return np.asarray(expit(self.scale.inputs(features).times(self.weights) + self.intercept))


def _deviations(variances: FloatArray) -> FloatArray:
    """Of what is the same in all rows 1, as StandardScaler has it."""
    return np.where(variances > 0, np.sqrt(variances), 1.0)
