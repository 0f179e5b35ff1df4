"""Newton's systems of `regcore.solvers.multipliers`, where weights or samples between two kinks are few.

The second derivative is D + sum_f weight_f a_f a_f', with one term for each margin f between two kinks,
a_f = e_f z' as a matrix (n_outputs, n_features + 1), z the sample with a 1 for the intercept, and D what the
penalty and the proximal terms add: diagonal but for s_d e_d e_d' in each feature d of a group. The system is
solved in W and b, or, where that is less, in as many unknowns as there are terms (Woodbury's identity).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from regcore import _core

if TYPE_CHECKING:
    from regcore.solvers.protocol import Array

__all__ = ["Between", "Rest", "solve"]

_CHUNK = 2048  # samples whose rows are multiplied at a time
_RIDGE, _MORE_RIDGE = 1e-14, 100.0
_FEWER = 0.8  # unknowns, for the sake of which the system is turned round


@dataclass(frozen=True, slots=True)
class Between:
    """The margins between two kinks.

    Attributes
    ----------
    Z : ndarray of shape (n_rows, n_features + 1)
        Their samples.
    row : ndarray of shape (n_terms,)
        The sample of each.
    E : ndarray of shape (n_terms, n_outputs)
        The e_f.
    weight : ndarray of shape (n_terms,)
    """

    Z: Array
    row: Array
    E: Array
    weight: Array


@dataclass(frozen=True, slots=True)
class Rest:
    """D.

    Attributes
    ----------
    diagonal : ndarray of shape (n_outputs, n_features + 1)
    bend : ndarray of shape (n_features + 1,), or None
        The s_d, less than the diagonal, which is then the same for all outputs; None: all are 0.
    directions : ndarray of shape (n_outputs, n_features + 1), or None
        The e_d.
    """

    diagonal: Array
    bend: Array | None = None
    directions: Array | None = None

    def times(self, x: Array) -> Array:
        """D x."""
        product: Array = self.diagonal * x
        if self.bend is not None and self.directions is not None:
            product -= self.directions * (self.bend * np.einsum("ck,ck->k", self.directions, x))
        return product

    def solved(self, x: Array) -> Array:
        """D^-1 x."""
        solution: Array = x / self.diagonal
        if self.bend is not None and self.directions is not None:
            along = np.einsum("ck,ck->k", self.directions, x)
            solution += self.directions * (self.inverse_bend() * along)
        return solution

    def inverse_bend(self) -> Array:
        """What D^-1 has in the place of -s_d."""
        bend: Array = np.zeros(self.diagonal.shape[1]) if self.bend is None else self.bend
        inverse: Array = bend / (self.diagonal[0] * (self.diagonal[0] - bend))
        return inverse


def solve(between: Between, rest: Rest, right: Array, n_threads: int) -> Array:
    """Solve the system; `right` and the solution have the shape (n_outputs, n_features + 1)."""
    if len(between.row) < _FEWER * right.size:
        return _in_terms(between, rest, right, n_threads)
    return _in_weights(between, rest, right, n_threads)


def _in_weights(between: Between, rest: Rest, right: Array, n_threads: int) -> Array:
    n_outputs, K = right.shape
    H = np.zeros((n_outputs, K, n_outputs, K))
    places = np.arange(K)
    n_rows = len(between.Z)
    for c in range(n_outputs):
        for d in range(c + 1):
            shared = between.weight * between.E[:, c] * between.E[:, d]
            share: Array = np.bincount(between.row, shared, minlength=n_rows)
            used = np.flatnonzero(share)
            block = np.zeros((1, K, K))
            for first in range(0, len(used), _CHUNK):
                some = used[first : first + _CHUNK]
                _core.gram_blocks(between.Z[some], share[some, None], block, n_threads)
            H[c, :, d, :] = block[0]
            if c != d:
                H[d, :, c, :] = block[0]
            if rest.bend is not None and rest.directions is not None:
                across = rest.bend * rest.directions[c] * rest.directions[d]
                H[c, places, d, places] -= across
                if c != d:
                    H[d, places, c, places] -= across
        H[c, places, c, places] += rest.diagonal[c]
    factor = _factor(H.reshape(1, right.size, right.size), n_threads)
    return _solved(factor, right.ravel(), n_threads).reshape(right.shape)


def _in_terms(between: Between, rest: Rest, right: Array, n_threads: int) -> Array:
    """(D + B B')^-1 = D^-1 - D^-1 B (I + B' D^-1 B)^-1 B' D^-1; the columns of B are the terms."""
    Z, row, n = between.Z, between.row, len(between.row)
    E = between.E * np.sqrt(between.weight)[:, None]
    n_outputs = E.shape[1]

    def across(x: Array) -> Array:
        """B' x."""
        found: Array = np.einsum("fc,fc->f", E, np.einsum("nk,ck->nc", Z, x)[row])
        return found

    def back(t: Array) -> Array:
        """B t."""
        shares = np.zeros((len(Z), n_outputs))
        np.add.at(shares, row, E * t[:, None])
        found: Array = np.einsum("nc,nk->ck", shares, Z)
        return found

    S = np.zeros((n, n))
    inverse = 1 / rest.diagonal
    if np.all(inverse == inverse[0]):
        products = _gram(Z, inverse[0], n_threads)
        S += products[np.ix_(row, row)] * np.einsum("fc,gc->fg", E, E)
    else:
        for c in range(n_outputs):
            used = np.flatnonzero(E[:, c])
            rows, place = np.unique(row[used], return_inverse=True)
            products = _gram(Z[rows], inverse[c], n_threads)
            S[np.ix_(used, used)] += products[np.ix_(place, place)] * np.outer(E[used, c], E[used, c])
    if rest.bend is not None and rest.directions is not None:
        bent = rest.bend > 0
        along = np.einsum("fc,ck->fk", E, rest.directions[:, bent]) * Z[row][:, bent]
        S += _gram(along, rest.inverse_bend()[bent], n_threads)
    S[np.arange(n), np.arange(n)] += 1
    factor = _factor(S[None], n_threads)

    def solution(x: Array) -> Array:
        first = rest.solved(x)
        return first - rest.solved(back(_solved(factor, across(first), n_threads)))

    found = solution(right)
    # D^-1 may be large: what it has cost in digits comes back
    return found + solution(right - rest.times(found) - back(across(found)))


def _gram(Z: Array, weight: Array, n_threads: int) -> Array:
    """Z diag(weight) Z'."""
    product = np.zeros((1, len(Z), len(Z)))
    _core.gram_blocks(
        np.ascontiguousarray(Z.T), np.ascontiguousarray(weight)[:, None].copy(), product, n_threads
    )
    found: Array = product[0]
    return found


def _factor(A: Array, n_threads: int) -> Array:
    """The Cholesky factor of A, with a ridge if rounding wants one."""
    factor: Array = np.empty_like(A)
    extra: Any = np.zeros(A.shape[:2])
    ridge = _RIDGE * float(np.einsum("bii->bi", A).max(initial=0.0))
    while not _core.cholesky_blocks(A, extra, factor, n_threads).all():
        extra[...] = ridge
        ridge *= _MORE_RIDGE
    return factor


def _solved(factor: Array, right: Array, n_threads: int) -> Array:
    solution = np.empty((1, len(right)))
    _core.cholesky_solve(factor, np.ascontiguousarray(right)[None], solution, n_threads)
    found: Array = solution[0]
    return found
