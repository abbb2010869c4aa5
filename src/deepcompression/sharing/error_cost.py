"""The cost of a weight's errors for its layer's outputs: second moments of the layer's inputs, factored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepcompression.tensors.dtypes import Floats

# Added to the diagonal of H, as a fraction of its mean: inputs that were never seen must matter a little.
DAMPING = 0.01


@dataclass(frozen=True, eq=False)
class Metric:
    """The cost of a weight's errors, as `fit` defines it.

    order       int64 (groups, columns): the order in which columns are rounded, those with the largest inputs first
    upper       float32 (groups, columns, columns): U, in that order; None where columns do not depend on each other
    importance  float32 (groups, columns): D, in that order
    rows        float32 (groups, rows): the weight of each row's error
    """

    order: NDArray[np.int64]
    upper: Floats | None
    importance: Floats
    rows: Floats

    @classmethod
    def of(cls, moments: Floats, rows: Floats) -> Metric:
        """From second moments (groups, columns, columns), positive semidefinite, and rows (groups, rows)."""
        groups, columns, _ = moments.shape
        diagonal = np.diagonal(moments, axis1=1, axis2=2)
        order = np.argsort(-diagonal, axis=1, kind="stable")
        upper = np.empty((groups, columns, columns), np.float32)
        importance = np.empty((groups, columns), np.float32)
        # a group without any input still matters a little
        mean = diagonal.sum(axis=1) / max(1, columns)
        damped = DAMPING * np.maximum(mean, 1e-6 * mean.max() if mean.max(initial=0) > 0 else 1.0)
        for group, at in enumerate(order):
            h = moments[group].astype(np.float64)[np.ix_(at, at)]
            h[np.diag_indices(columns)] += damped[group]
            factor = np.linalg.cholesky(h[::-1, ::-1])[::-1, ::-1]
            diagonal_factor = np.diag(factor)
            upper[group] = factor / diagonal_factor
            importance[group] = diagonal_factor**2
        return cls(order, upper, importance, rows)

    @classmethod
    def diagonal(cls, rows: Floats, columns: int) -> Metric:
        """All columns alike: for embeddings, and for weights whose inputs are unknown."""
        order = np.tile(np.arange(columns), (len(rows), 1))
        return cls(order, None, np.ones((len(rows), columns), np.float32), rows)

    def weights(self) -> Floats:
        """The importance of each weight, (groups, rows, columns), in the order of rounding."""
        return self.rows[:, :, None] * self.importance[:, None, :]

    def inverse_diagonal(self) -> NDArray[np.float64]:
        """The diagonal of H^-1, float64 (groups, columns), in the columns' own order."""
        inverse = 1 / self.importance.astype(np.float64)
        if self.upper is not None:
            for group, upper in enumerate(self.upper):
                inverse[group] = np.square(np.linalg.inv(upper.astype(np.float64))).T @ inverse[group]
        back = np.empty_like(inverse)
        np.put_along_axis(back, self.order, inverse, 1)
        return back

    def cost(self, error: Floats) -> float:
        """The cost of an error (groups, rows, columns), in the columns' own order."""
        ordered = np.take_along_axis(error, self.order[:, None, :], 2)
        through = ordered if self.upper is None else ordered @ self.upper
        return float(np.einsum("grc,gr,gc->", through.astype(np.float64) ** 2, self.rows, self.importance))

    def unit(self, weight: Floats) -> float:
        """The cost of losing a weight of mean square: the unit of penalties."""
        if not weight.size:
            return 0.0
        square = float(np.mean(np.square(weight, dtype=np.float64)))
        return square * float(self.rows.mean(dtype=np.float64)) * float(self.importance.mean(dtype=np.float64))
