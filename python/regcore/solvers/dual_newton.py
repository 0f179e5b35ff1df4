"""Newton's method for the proximal problems of `regcore.solvers.dual`, where the samples are few.

The dual of the problem around a centre is, in the slopes a_f = w_i u_ij of the samples' losses,

    max over 0 <= a <= w   sum_f a_f - Phi(A) + <r, b_c> - step_b ||r||**2 / 2,    A = A_c - V,

where Phi(A) = curvature / 2 sum_d metric_d prox(A)_d**2, V = sum_f a_f e_f x_i', r = sum_f a_f e_f, and e_f
has 1 at j and -1 at y_i (in the binary form the label's sign). It is concave, and its gradient is the margin
1 + s_j - s_y at W = curvature metric prox(A) and b = b_c - step_b r. Its Hessian is made from the columns of
X alone whose weights are not zero. Coordinate ascent is slow on it where features are correlated or the step
is long; Newton's method in the variables that are not held by their bounds takes a few steps for most steps
of the proximal term, so that the proximal point method can take long ones and ends after few centres. That
is a semismooth Newton augmented Lagrangian method, of so few variables that its systems are solved directly.

References
----------
Bertsekas, "Projected Newton methods for optimization problems with simple constraints", SIAM Journal on
Control and Optimization 20 (1982). Li, Sun and Toh, "A highly efficient semismooth Newton augmented
Lagrangian method for solving Lasso problems", SIAM Journal on Optimization 28 (2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from regcore import _core
from regcore.losses import Loss

if TYPE_CHECKING:
    from regcore.solvers.protocol import Array

__all__ = ["Around", "Newton"]

_MOST_VARIABLES = 512
_MOST_STEPS = 30
_MOST_HALVINGS = 12
_SUFFICIENT = 1e-4  # of the rise that the gradient promises
_RIDGE, _MOST_RIDGE = 1e-12, 1.0  # of the largest curvature
_MORE_RIDGE, _LESS_RIDGE = 100.0, 10.0
_MOST_NUMBERS = 1 << 22  # of the columns that are kept
_MOST_REPAIRS = 8  # of a direction that leaves the bounds at once


@dataclass(frozen=True, slots=True)
class Around:
    """The proximal problem: its centre and its steps, as `rc_dual` has them."""

    A: Array  # (n_outputs, n_features)
    b: Array  # (n_outputs,)
    curvature: float
    intercept: float


class Newton:
    """The samples with a weight as dual variables, and the columns of X that were needed so far.

    Parameters
    ----------
    objective : Objective
    standardization : (origin, scale)
        Of the features; each of shape (n_features,) or None.
    metric : ndarray of shape (n_features,), or None
    """

    def __init__(
        self, objective: Any, standardization: tuple[Array | None, Array | None] | None, metric: Array | None
    ) -> None:
        self._objective = objective
        penalty = objective.penalty
        self._l1, self._group = float(penalty.l1), float(penalty.group)
        self._origin, self._scale = (None, None) if standardization is None else standardization
        self._metric = np.ones(objective.n_features) if metric is None else metric
        weights = np.ones(objective.n_samples) if objective._weights is None else objective._weights
        self._weights = weights.astype(np.float64) / weights.sum(dtype=np.float64)
        y = np.asarray(objective._y).astype(np.int64)
        self._y = y
        n_outputs = objective.n_outputs
        rows = np.flatnonzero(self._weights > 0)
        if n_outputs == 1:
            self._row, self._class = rows, np.zeros(len(rows), np.int64)
            self._sign = np.where(y[rows] == 1, -1.0, 1.0)
        else:
            others = np.arange(n_outputs) != y[rows, None]
            self._row = np.repeat(rows, n_outputs - 1)
            self._class = np.nonzero(others)[1]
            self._sign = np.ones(len(self._row))
        self._most = self._weights[self._row]
        self._place = np.full(objective.n_features, -1)  # of a feature among the columns
        self._X = np.zeros((objective.n_samples, 0))
        self.n_passes = 0.0

    @staticmethod
    def handles(objective: Any) -> bool:
        """Whether the dual variables have bounds of their own, and are few, also beside the weights."""
        if objective._weights is not None and objective._weights.ndim != 1:
            return False
        simple = objective.loss is Loss.HINGE or objective.n_outputs <= 2
        n_variables = objective.n_samples * max(1, objective.n_outputs - 1)
        few = n_variables <= min(_MOST_VARIABLES, objective.n_outputs * (objective.n_features + 1))
        return bool(simple and few and objective.n_samples * objective.n_features <= _MOST_NUMBERS)

    def solve(self, around: Around, slopes: Array, tol: float) -> tuple[Array, float, int]:
        """Maximise from these slopes to a duality gap of the proximal problem of tol.

        Returns the slopes, the gap, and how many steps were tried.
        """
        state, ridge = self._at(around, self._gather(slopes)), _RIDGE
        n_steps = 0
        while n_steps < _MOST_STEPS and self._gap(state) > tol and ridge <= _MOST_RIDGE:
            n_steps += 1
            margin, a = state.margin, state.a
            held = ((a <= 0) & (margin <= 0)) | ((a >= self._most) & (margin >= 0))
            after = self._search(around, state, self._direction(around, state, ~held, ridge))
            if after is None:
                ridge *= _MORE_RIDGE
            else:
                state, ridge = after, max(ridge / _LESS_RIDGE, _RIDGE)
        return self._spread(state.a), self._gap(state), n_steps

    # ------------------------------------------------------------------ a point

    def _at(self, around: Around, a: Array) -> _State:
        objective = self._objective
        V, r = objective._adjoint(self._spread(a), np.dtype(np.float64))
        self.n_passes += 1
        if self._origin is not None:
            given = objective._standardization
            scale = 1.0 if self._scale is None else self._scale
            V = V + np.outer(r, ((0.0 if given is None else given[0]) - self._origin) / scale)
        prox = _core.penalty_prox(around.A - V, 1.0, self._l1, 0.0, self._group)
        W = around.curvature * self._metric * prox
        b = around.b - around.intercept * r
        active = np.flatnonzero(prox.any(axis=0))
        scores = np.einsum("nd,cd->nc", self._of(active), W[:, active]) + b
        value = a.sum() - 0.5 * float(np.einsum("cd,cd->", W, prox))
        value += float(r @ around.b) - 0.5 * around.intercept * float(r @ r)
        margin = 1 + self._sign * scores[self._row, self._class]
        if len(b) > 1:
            margin -= scores[self._row, self._y[self._row]]
        return _State(a, W, b, around.A - V, active, margin, float(value))

    def _gap(self, state: _State) -> float:
        """Of the proximal problem: that of the samples, since W and b are the best for their slopes."""
        lost = self._most * np.maximum(state.margin, 0) - state.a * state.margin
        return float(lost.sum())

    # ------------------------------------------------------------------ a step

    def _direction(self, around: Around, state: _State, free: Array, ridge: float) -> Array:
        """Newton's direction in the free variables, of which none leaves its bounds at once; else 0."""
        direction = np.zeros_like(state.a)
        indices = np.flatnonzero(free)
        curvature = self._hessian(around, state, indices)
        ridge *= max(float(np.diag(curvature).max(initial=0.0)), 1e-300)
        for _ in range(_MOST_REPAIRS):
            if not len(indices):
                break
            found = self._solved(curvature, ridge, state.margin[indices])
            if found is None:  # not to be told from a singular one: the search will want a larger ridge
                break
            a, ceiling = state.a[indices], self._most[indices]
            leaves = ((a <= 0) & (found < 0)) | ((a >= ceiling) & (found > 0))
            direction[:] = 0
            direction[indices] = np.where(leaves, 0, found)
            if not leaves.any():
                break
            indices, curvature = indices[~leaves], curvature[np.ix_(~leaves, ~leaves)]
        return direction

    def _solved(self, curvature: Array, ridge: float, right: Array) -> Array | None:
        """(curvature + ridge I)^-1 right, by the core: a BLAS would keep its own threads spinning."""
        n = len(right)
        factor, solution = np.empty((1, n, n)), np.empty((1, n))
        n_threads = self._objective._n_threads
        A = np.ascontiguousarray(curvature)[None]
        if not _core.cholesky_blocks(A, np.full((1, n), ridge), factor, n_threads).all():
            return None
        _core.cholesky_solve(factor, np.ascontiguousarray(right)[None], solution, n_threads)
        found: Array = solution[0]
        return found

    def _gram(self, Z: Array) -> Array:
        """Z Z'."""
        Z = np.ascontiguousarray(Z.T)
        product = np.zeros((1, Z.shape[1], Z.shape[1]))
        _core.gram_blocks(Z, np.ones((len(Z), 1)), product, self._objective._n_threads)
        found: Array = product[0]
        return found

    def _hessian(self, around: Around, state: _State, indices: Array) -> Array:
        """Of minus the dual, in these variables."""
        row, column, sign = self._row[indices], self._class[indices], self._sign[indices]
        X = self._of(state.active)
        A = state.A[:, state.active]
        step = around.curvature * self._metric[state.active]
        n_outputs = len(state.b)
        # each variable's e_f, one row an output
        e = np.zeros((n_outputs, len(indices)))
        e[column, np.arange(len(indices))] = sign
        if n_outputs > 1:
            e[self._y[row], np.arange(len(indices))] = -1
        total = around.intercept * np.einsum("cf,cg->fg", e, e)
        norms = np.sqrt(np.einsum("cd,cd->d", A, A))
        if self._group > 0:
            step_of_norm = step * self._group / norms
            step = step - step_of_norm
            Z = X[row] * np.einsum("cf,cd->fd", e, A / norms) * np.sqrt(step_of_norm)
            total += self._gram(Z)
        for c in range(n_outputs):
            used = np.flatnonzero(e[c])
            bent = step if self._group > 0 else np.where(np.abs(A[c]) > self._l1, step, 0.0)
            Z = X[row[used]] * e[c, used, None] * np.sqrt(bent)
            total[np.ix_(used, used)] += self._gram(Z)
        hessian: Array = total
        return hessian

    def _search(self, around: Around, state: _State, direction: Array) -> _State | None:
        """A point along the projected direction where the dual has risen; None: there is none."""
        step = 1.0
        for _ in range(_MOST_HALVINGS):
            a = np.clip(state.a + step * direction, 0, self._most)
            promised = float(state.margin @ (a - state.a))
            if promised <= 0:
                return None
            after = self._at(around, a)
            if after.value >= state.value + _SUFFICIENT * promised:
                return after
            step /= 2
        return None

    # ------------------------------------------------------------------ slopes and columns

    def _spread(self, a: Array) -> Array:
        """The slopes (n_samples, n_outputs) of the variables."""
        slopes = np.zeros((len(self._weights), self._objective.n_outputs))
        slopes[self._row, self._class] = self._sign * np.clip(a / self._most, 0, 1)
        if slopes.shape[1] > 1:
            rows = np.arange(len(slopes))
            slopes[rows, self._y] = -slopes.sum(axis=1)
        return slopes

    def _gather(self, slopes: Array) -> Array:
        u = self._sign * slopes[self._row, self._class].astype(np.float64)
        a: Array = np.clip(u, 0, 1) * self._most
        return a

    def _of(self, features: Array) -> Array:
        """Columns of X, standardised, of which those that have been asked for before are kept."""
        new = features[self._place[features] < 0]
        if len(new):
            columns = self._objective._columns(new)
            if self._origin is not None:
                columns -= self._origin[new]
            if self._scale is not None:
                columns /= self._scale[new]
            self._place[new] = self._X.shape[1] + np.arange(len(new))
            self._X = np.hstack([self._X, columns])
        found: Array = self._X[:, self._place[features]]
        return found


@dataclass(frozen=True, slots=True)
class _State:
    a: Array
    W: Array
    b: Array
    A: Array
    active: Array
    margin: Array
    value: float
