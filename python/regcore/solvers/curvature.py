"""A block-diagonal model of the data term's second derivative, one block an output, made from some rows.

With h_ic the second derivative of sample i's loss in its score c (times its weight), block c is

    A_c = sum_i h_ic z_i z_i' / sum_i w_i,    z_i = (x_i, 1)

The blocks leave out how the outputs influence each other, and rows that were not drawn; a quasi-Newton method
that starts from them finds both by itself. A feature that the drawn rows hardly show gets its share of the
curvature from the columns' second moments over all rows. Where the blocks would be too large, one block that
all outputs share, or their diagonals alone, stand in for them.

The products and factorisations are NumPy's: this is arithmetic on small dense matrices, away from the passes
over the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from regcore.solvers.protocol import ObjectiveLike

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["Curvature", "Metric"]

_MOST_FEATURES = 2500  # of a block
_MOST_NUMBERS = 1 << 25  # of all blocks together
_CHUNK = 2048  # rows that are held as dense numbers at a time
_FEW_NUMBERS = 1 << 20  # blocks with fewer are kept in double
_RARE = 0.5  # a feature is rare in the sample below this share of its second moment
_FIXED = 1e3  # a coordinate with so many times its curvature added is solved for by itself


class Metric:
    """Solves (A_c + diag(extra_c)) z_c = r_c for all outputs c."""

    def __init__(
        self, blocks: Array | None, factors: Array, diagonal: Array, extra: Array, fixes: bool
    ) -> None:
        self._blocks = blocks  # (n_outputs or 1, K, K), or None
        self._factors = factors  # (n_outputs,): of a block that is shared
        self.diagonal = diagonal + extra
        self._extra = extra
        self._fixes = fixes  # whether coordinates are held by a large `extra`
        self._inverse: Array | None = None

    def solve(self, r: Array, *, again: bool) -> Array:
        """Return z of shape (n_outputs, K), float64; `again`: an inverse is worth its cost."""
        if self._blocks is None:
            z: Array = r / self.diagonal
            return z
        if self._fixes:
            return self._solve_reduced(r)
        if len(self._blocks) < len(r) or again:
            return self._solve_by_inverse(r)
        kind = self._blocks.dtype
        z = np.linalg.solve(self._completed(), r.astype(kind)[..., None])[..., 0].astype(np.float64)
        return z

    def _completed(self) -> Array:
        assert self._blocks is not None
        extra = self._extra
        if len(self._blocks) < len(extra):
            extra = (extra / self._factors[:, None]).mean(axis=0, keepdims=True)
        completed = self._blocks.copy()
        n = completed.shape[-1]
        completed.reshape(len(completed), -1)[:, :: n + 1] += extra.astype(completed.dtype)
        return completed

    def _solve_by_inverse(self, r: Array) -> Array:
        if self._inverse is None:
            self._inverse = np.linalg.inv(self._completed())
            self._inverse += self._inverse.transpose(0, 2, 1)
            self._inverse *= 0.5
        right = r.astype(self._inverse.dtype)
        if len(self._inverse) == len(r):
            # not by a BLAS: its threads go on spinning and would take the cores from the next pass
            z = np.einsum("ckl,cl->ck", self._inverse, right)
        else:
            z = np.einsum("kl,cl->ck", self._inverse[0], right) / self._factors[:, None]
        solved: Array = z.astype(np.float64)
        return solved

    def _solve_reduced(self, r: Array) -> Array:
        """Coordinates that are as good as fixed do not take part in the solution of the others."""
        assert self._blocks is not None
        z: Array = r / self.diagonal
        for c in range(len(r)):
            free = np.flatnonzero(self._extra[c] <= _FIXED * (self.diagonal[c] - self._extra[c]))
            if not free.size:
                continue
            shared = len(self._blocks) < len(r)
            block = self._blocks[0 if shared else c][np.ix_(free, free)]
            if shared:
                block = block * self._factors[c].astype(block.dtype)
            block[np.diag_indices_from(block)] += self._extra[c, free].astype(block.dtype)
            z[c, free] = np.linalg.solve(block, r[c, free].astype(block.dtype))
        return z


class Curvature:
    """The blocks A_c at a point.

    Parameters
    ----------
    objective : ObjectiveLike
    W, b : ndarray
        The point; b None without an intercept.
    n_rows : int
        Rows to draw; all of them if there are no more.
    moments : ndarray of shape (n_features,)
        Mean squares of the (standardised) features.
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
        self, objective: ObjectiveLike, W: Array, b: Array | None, n_rows: int, moments: Array, seed: int
    ) -> None:
        n_samples, n_features, n_outputs = objective.n_samples, objective.n_features, objective.n_outputs
        n_rows = min(n_rows, n_samples)
        if n_rows < n_samples:
            rows = np.sort(np.random.default_rng(seed).choice(n_samples, n_rows, replace=False))
        else:
            rows = np.arange(n_samples)
        self.n_passes = n_rows / n_samples
        K = n_features + (b is not None)
        n_blocks = block_count(objective, K)
        kind = np.float64 if n_outputs * K * K <= _FEW_NUMBERS else np.float32
        blocks = np.zeros((n_blocks, K, K), kind)
        means, seen, total = np.zeros(n_outputs), np.zeros(n_features), 0.0
        for first in range(0, n_rows, _CHUNK):
            some = rows[first : first + _CHUNK]
            h, weight = objective.loss_curvature(W, b, some)
            total += weight
            means += h.sum(axis=0)
            if n_blocks:
                z = objective.dense_rows(some, kind)
                seen += np.square(z).sum(axis=0, dtype=np.float64)
                if b is not None:
                    z = np.concatenate([z, np.ones((len(z), 1), kind)], axis=1)
                roots = np.sqrt(h if n_blocks == n_outputs else h.mean(axis=1, keepdims=True)).astype(kind)
                for c in range(n_blocks):
                    scaled = z * roots[:, c : c + 1]
                    blocks[c] += scaled.T @ scaled
        total = total or 1.0
        means /= total
        squares = np.append(moments, 1.0) if b is not None else moments
        expected = means[:, None] * squares
        average = means.mean() or 1.0
        self._factors = np.maximum(means / average, 1e-3) if n_blocks == 1 < n_outputs else np.ones(n_outputs)
        if n_blocks:
            blocks /= total
            rare = np.append(seen / n_rows < _RARE * moments, [False] * (K - n_features))
            missing = np.where(rare, squares - np.append(seen / n_rows, [0.0] * (K - n_features)), 0.0)
            per_block = (means if n_blocks == n_outputs else np.array([average]))[:, None] * missing
            blocks.reshape(n_blocks, -1)[:, :: K + 1] += per_block.astype(kind)
            inner = blocks.reshape(n_blocks, -1)[:, :: K + 1].astype(np.float64)
            self.diagonal = inner * self._factors[:, None] if n_blocks == 1 else inner
            self._blocks: Array | None = blocks
        else:
            self.diagonal = expected
            self._blocks = None
        # nowhere flat: a model without curvature would allow steps of any length
        rounding = 1e-6 if kind == np.float32 else 1e-10
        self.floor = rounding * max(float(self.diagonal.max()), 1e-30)

    def metric(self, extra: Array, *, fixes: bool) -> Metric:
        """Return the metric with `extra`, (n_outputs, K), added; `fixes`: some of it holds coordinates."""
        return Metric(self._blocks, self._factors, self.diagonal, extra + self.floor, fixes)


def block_count(objective: ObjectiveLike, K: int) -> int:
    """n_outputs blocks if they are small enough, 1 for all outputs, or 0: the diagonals alone."""
    if K > _MOST_FEATURES:
        return 0
    return objective.n_outputs if objective.n_outputs * K * K <= _MOST_NUMBERS else 1
