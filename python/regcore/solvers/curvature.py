"""A block-diagonal model of the data term's second derivative, one block an output, made from some rows.

With h_ic the second derivative of sample i's loss in its score c (times its weight), block c is

    A_c = sum_i h_ic z_i z_i' / sum_i w_i,    z_i = (x_i, 1)

The blocks leave out how the outputs influence each other, and rows that were not drawn; a quasi-Newton method
that starts from them finds both by itself. A feature that the drawn rows hardly show gets its share of the
curvature from the columns' second moments over all rows.

The margins of squared_hinge are differences of two scores, so that its outputs depend on each other strongly;
where W is small, its model is therefore one block of all outputs together, the second derivative itself.

At zero, and where the blocks would be too large, one block that all outputs share stands in for them, or
diagonals alone. These are those of the features without their means, since with these W and b would depend on
each other. In the terms of b' = b + W mean they do not, and to go over to b' and back is a product of rank
one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore import _core
from regcore.losses import Loss

if TYPE_CHECKING:
    import numpy.typing as npt

    from regcore.solvers.protocol import ObjectiveLike

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["Curvature", "Metric"]

_MOST_FEATURES = 2500  # of a block
_MOST_NUMBERS = 1 << 25  # of all blocks together
_MOST_COUPLED = 1200  # rows of the block of all outputs together
_KEPT_RIDGES = 2
_CHUNK = 2048  # rows that are held as dense numbers at a time
_FEW_NUMBERS = 1 << 16  # blocks with fewer are kept in double
_RARE = 0.5  # a feature is rare in the sample below this share of its second moment
_FIXED = 1e3  # a coordinate with so many times its curvature added is solved for by itself ...
_REDUCED = 0.8  # ... if no more than this share of a block is left


class Metric:
    """Solves (A_c + diag(extra_c)) z_c = r_c for all outputs c.

    Coordinates whose `extra` is so large that they are as good as fixed do not take part in the solution of
    the others: the factors are as small as the rest.
    """

    def __init__(
        self,
        blocks: Array | None,
        factors: Array,
        diagonal: Array,
        means: Array | None,
        extra: Array,
        n_threads: int,
    ) -> None:
        self._shape = extra.shape
        if blocks is not None and blocks.shape[1] > extra.shape[1]:  # of all outputs together
            diagonal, extra, factors = diagonal.reshape(1, -1), extra.reshape(1, -1), np.ones(1)
        self.diagonal = diagonal + extra
        self._means = means
        self._n_threads = n_threads
        self._factor: Array | None = None
        if blocks is None:
            return
        self._scale = np.ones(len(extra))
        if len(blocks) < len(extra):  # one block for all outputs, in proportion
            extra = (extra / factors[:, None]).mean(axis=0, keepdims=True)
            self._scale = 1 / factors
        inner = np.einsum("ckk->ck", blocks)
        free = extra <= _FIXED * inner
        n_free = free.sum(axis=1)
        self._order: Array | None = None
        if n_free.max(initial=0) < _REDUCED * free.shape[1]:
            # free coordinates first; the ones that fill up the smaller blocks are held by their own `extra`
            self._order = np.argsort(~free, axis=1, kind="stable")[:, : max(int(n_free.max()), 1)]
            pick = self._order
            blocks = np.stack([block[i].take(i, axis=1) for block, i in zip(blocks, pick, strict=True)])
            extra = np.take_along_axis(extra, pick, axis=1)
        factor = np.empty_like(blocks)
        extra = np.ascontiguousarray(extra)
        while not _core.cholesky_blocks(blocks, extra, factor, n_threads).all():
            extra = 10 * extra + np.finfo(blocks.dtype).eps * inner.max()
        self._factor = factor

    def solve(self, r: Array) -> Array:
        """Return z of shape (n_outputs, K), float64."""
        if self._means is not None:
            z: Array = r.copy()
            z[:, :-1] -= r[:, -1:] * self._means
            z /= self.diagonal
            z[:, -1] -= np.einsum("ck,k->c", z[:, :-1], self._means)
            return z
        r = r.reshape(self.diagonal.shape)
        z = r / self.diagonal
        if self._factor is None:
            return z
        right = r if self._order is None else np.take_along_axis(r, self._order, axis=1)
        solved = np.empty(right.shape)
        _core.cholesky_solve(self._factor, np.ascontiguousarray(right), solved, self._n_threads)
        solved *= self._scale[:, None]
        if self._order is None:
            return solved.reshape(self._shape)
        np.put_along_axis(z, self._order, solved, axis=1)
        return z.reshape(self._shape)


class Curvature:
    """The blocks A_c at a point.

    Parameters
    ----------
    objective : ObjectiveLike
    W, b : ndarray
        The point; b None without an intercept.
    n_rows : int
        Rows to draw; all of them if there are no more.
    moments : tuple of two ndarray of shape (n_features,)
        Means and mean squares of the (standardised) features.
    seed : int
        Of the draw.

    Attributes
    ----------
    diagonal : ndarray of shape (n_outputs, K), float64
    floor : float
        What every metric adds to it: rounding leaves no block flat.
    n_passes : float
        What it cost.
    """

    def __init__(
        self,
        objective: ObjectiveLike,
        W: Array,
        b: Array | None,
        n_rows: int,
        moments: tuple[Array, Array],
        seed: int,
    ) -> None:
        self._n_threads = objective.n_threads
        n_samples, n_features, n_outputs = objective.n_samples, objective.n_features, objective.n_outputs
        n_rows = min(n_rows, n_samples)
        if n_rows < n_samples:
            rows = np.sort(np.random.default_rng(seed).choice(n_samples, n_rows, replace=False))
        else:
            rows = np.arange(n_samples)
        self.n_passes = n_rows / n_samples
        self._n_features = n_features
        K = n_features + (b is not None)
        n_blocks = block_count(objective, K)
        if not W.any() and (b is None or not b.any()):
            n_blocks = min(n_blocks, 1)  # at zero the outputs have equal blocks, or nearly so in proportion
        is_coupled = is_one_block(objective, K)
        if is_coupled:
            n_blocks = n_outputs * (n_outputs + 1) // 2
        kind = np.float64 if is_coupled or n_outputs * K * K <= _FEW_NUMBERS else np.float32
        blocks = np.zeros((n_blocks, K, K), kind)
        means, seen, total = np.zeros(n_outputs), np.zeros(n_features), 0.0
        buffer = np.ones((min(_CHUNK, n_rows), K), kind) if n_blocks else None
        for first in range(0, n_rows, _CHUNK):
            some = rows[first : first + _CHUNK]
            h, weight = objective._loss_curvature(W, b, some)
            total += weight
            means += h.sum(axis=0)
            if buffer is not None:
                z = buffer[: len(some)]
                x = objective._dense_rows(some, kind, out=z[:, :n_features])
                seen += np.einsum("nk,nk->k", x, x)
                if is_coupled:
                    shared = objective._margin_curvature(W, b, some)
                else:
                    shared = h if n_blocks == n_outputs else h.mean(axis=1, keepdims=True)
                _core.gram_blocks(z, np.ascontiguousarray(shared), blocks, self._n_threads)
        total = total or 1.0
        means /= total
        column_means, squares = moments
        squares = np.append(squares, 1.0) if b is not None else squares
        average = means.mean() or 1.0
        self._ridges: dict[float, Metric] = {}
        self._means: Array | None = None
        self._factors = np.maximum(means / average, 1e-3) if n_blocks == 1 < n_outputs else np.ones(n_outputs)
        if is_coupled:
            blocks = _joined(blocks, n_outputs)
            n_blocks = n_outputs
        if n_blocks:
            blocks /= total
            rare = np.append(seen / n_rows < _RARE * moments[1], [False] * (K - n_features))
            missing = np.where(rare, squares - np.append(seen / n_rows, [0.0] * (K - n_features)), 0.0)
            per_block = (means if n_blocks == n_outputs else np.array([average]))[:, None] * missing
            diagonals = np.einsum("bkk->bk", blocks)  # a view
            diagonals += per_block.reshape(diagonals.shape).astype(kind)
            inner = diagonals.reshape(n_blocks, K).astype(np.float64)
            self.diagonal = inner * self._factors[:, None] if n_blocks == 1 else inner
            self._blocks: Array | None = blocks
        else:
            self._blocks = None
            spread = squares.copy()
            if b is not None:
                self._means = column_means
                spread[:n_features] = np.maximum(squares[:n_features] - column_means**2, 0)
            self.diagonal = means[:, None] * spread
        # nowhere flat: a model without curvature would allow steps of any length
        rounding = 1e-6 if kind == np.float32 else 1e-10
        self.floor = rounding * max(float(self.diagonal.max()), 1e-30)

    def metric(self, extra: Array) -> Metric:
        """Return the metric with `extra`, (n_outputs, K), added to the diagonals."""
        extra = extra + self.floor
        return Metric(self._blocks, self._factors, self.diagonal, self._means, extra, self._n_threads)

    def ridge(self, l2: float) -> Metric:
        """Return the metric with the L2 penalty `l2`; some are kept, for fits that share the model."""
        if l2 not in self._ridges:
            for oldest in list(self._ridges)[: 1 - _KEPT_RIDGES]:
                del self._ridges[oldest]
            extra = np.full(self.diagonal.shape, 2 * l2)
            extra[:, self._n_features :] = 0
            self._ridges[l2] = self.metric(extra)
        return self._ridges[l2]


def is_one_block(objective: ObjectiveLike, K: int) -> bool:
    """Whether the model is one block of all outputs together."""
    is_coupled = objective.loss is Loss.SQUARED_HINGE and objective.n_outputs > 1
    return is_coupled and objective.n_outputs * K <= _MOST_COUPLED


def _joined(blocks: Array, n_outputs: int) -> Array:
    """The matrix of all outputs, (1, n_outputs * K, n_outputs * K), of the blocks of its lower triangle."""
    K = blocks.shape[1]
    whole = np.empty((n_outputs, K, n_outputs, K), blocks.dtype)
    for block, c, d in zip(blocks, *np.tril_indices(n_outputs), strict=True):
        whole[c, :, d] = whole[d, :, c] = block
    return whole.reshape(1, n_outputs * K, n_outputs * K)


def block_count(objective: ObjectiveLike, K: int) -> int:
    """n_outputs blocks if they are small enough, 1 for all outputs, or 0: the diagonals alone."""
    if K > _MOST_FEATURES:
        return 0
    return objective.n_outputs if objective.n_outputs * K * K <= _MOST_NUMBERS else 1
