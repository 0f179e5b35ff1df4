"""The row space of X: coordinates in which a problem with fewer samples than features is a small one.

Scores depend on W only through its part in the span of the rows of X, and a penalty on ||W||**2 wants the
rest of it to be zero. With X X' = L L' (Cholesky, L of shape (n_samples, n_samples)) the rows of Q = L^-1 X
are orthonormal, so that W = V Q has the scores X W' = L V' and the norm ||W|| = ||V||: the problem in V is
that in W, with L in the place of X (the representer theorem; Kimeldorf and Wahba, "Some results on
Tchebycheffian spline functions", Journal of Mathematical Analysis and Applications 33, 1971).

X X' may be singular (centred features, equal rows). Then L L' = X X' + delta I: as though each sample had a
feature of its own of the size sqrt(delta), at the rounding of X X'.

All products with X are the core's, of any storage type, standardised on the way, and the same for any number
of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore import _core
from regcore.losses import Loss

if TYPE_CHECKING:
    import numpy.typing as npt

    from regcore.matrix import Matrix

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["RowSpace"]

_NUMBERS = 1 << 22  # of rows that are held as dense numbers at a time
_ROUNDING = 2.0**-46  # of X X', beside its mean diagonal


class RowSpace:
    """L, and the way from V to W and back.

    Parameters
    ----------
    X : Matrix
    standardization : (mean, scale) or None
    n_threads : int

    Attributes
    ----------
    features : ndarray of float64 of shape (n_samples, n_samples)
        L: lower triangular.
    n_passes : int
        How often X was read for it.
    """

    def __init__(
        self,
        X: Matrix,
        standardization: tuple[Array, Array] | None,
        n_threads: int,
    ) -> None:
        self._parts = X.parts
        self._n_samples, self._n_features = X.shape
        self._standardization = standardization
        self._n_threads = n_threads
        products, at_a_time = [], max(_NUMBERS // self._n_features, 1)
        for first in range(0, self._n_samples, at_a_time):
            rows = np.arange(first, min(first + at_a_time, self._n_samples))
            products.append(self.scores(X.rows(rows, np.float64, standardization)))
        self.n_passes = len(products)
        gram = np.concatenate(products, axis=1)[None]
        ridge = np.full((1, self._n_samples), max(_ROUNDING * np.einsum("nii->ni", gram).mean(), 1e-300))
        self._factor = np.empty_like(gram)
        while not _core.cholesky_blocks(gram, ridge, self._factor, n_threads).all():
            ridge *= 4
        self.features: Array = self._factor[0]

    def scores(self, W: Array) -> Array:
        """Return X W' of shape (n_samples, n_outputs), given W of shape (n_outputs, n_features)."""
        labels = np.zeros(self._n_samples, np.uint8)
        problem = _core.Problem(self._parts, labels, None, int(Loss.SQUARED_HINGE), len(W))
        scores = np.empty((self._n_samples, len(W)))
        W = np.ascontiguousarray(W, np.float64)
        problem.predict(W, None, None, scores, None, None, self._n_threads, self._standardization)
        return scores

    def coordinates(self, W: Array) -> Array:
        """Return V of the part of W that is in the row space; one pass over X."""
        scores = np.ascontiguousarray(self.scores(W).T)
        combination = np.empty_like(scores)
        _core.cholesky_solve(self._factor, scores, combination, self._n_threads)
        coordinates: Array = np.einsum("cn,nk->ck", combination, self.features)
        return coordinates

    def weights(self, V: Array) -> Array:
        """Return W = V L^-1 X, float64; one pass over X."""
        products = np.einsum("nk,ck->cn", self.features, V)
        combination = np.empty_like(products)
        _core.cholesky_solve(self._factor, products, combination, self._n_threads)
        # A X by the core's sums of u x', which take slopes of a loss: those of the squared hinge are any
        # numbers >= 0, one for each class but the label's, which here is one more
        n_outputs = len(V)
        slopes = np.zeros((self._n_samples, 2 * n_outputs + 1))
        slopes[:, :n_outputs] = np.maximum(combination, 0).T
        slopes[:, n_outputs : 2 * n_outputs] = np.maximum(-combination, 0).T
        slopes[:, -1] = -slopes.sum(axis=1)
        labels = np.full(self._n_samples, 2 * n_outputs, np.int64)
        problem = _core.Problem(self._parts, labels, None, int(Loss.SQUARED_HINGE), slopes.shape[1])
        sums, unused = np.empty((slopes.shape[1], self._n_features)), np.empty(slopes.shape[1])
        problem.adjoint(slopes, sums, unused, self._n_threads, self._standardization)
        weights: Array = self._n_samples * (sums[:n_outputs] - sums[n_outputs : 2 * n_outputs])
        return weights
