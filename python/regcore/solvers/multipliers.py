"""The method of multipliers for the hinges, by Newton's method in the weights, where these are not too many.

A sample's loss is max <u, m> over the dual variables u in U, m the margins 1 + s_j - s_y: U is the cube
[0, 1]^J ("hinge") or the simplex sum u <= 1 ("crammer_singer"). The part of a penalty that has kinks is
max <v, W> over v in B, |v| <= l1 or columns no longer than the group strength. Around multipliers u_c and
v_c, and a centre W_c, these become

    phi(W, b) = sum_i w_i max over u in U of  <u, m_i> - ||u - u_ci||**2 / (2 step)
                + max over v in B of  <v, W> - sum_d ||v_d - v_cd||**2 / (2 step_d)
                + l2 ||W||**2 + sum_d metric_d ||W_d - W_cd||**2 / (2 far) + ||b - b_c||**2 / (2 far)

whose inner maxima are at u = P_U(u_c + step m) and v = P_B(v_c + step_d W). phi is convex, has a continuous
gradient

    V + v + 2 l2 W + metric (W - W_c) / far,      V = sum_i w_i g_i x_i',

and is quadratic piece by piece (but for the groups), so that Newton's method with an exact search along its
directions ends after few steps. The second derivative is made from the samples between two kinks alone, which
are about as many as there are weights. Where phi is least, u meets the constraints of the dual problem, up to
the last term. Then u, v, W and b take the places of u_c, v_c, W_c and b_c, and the step grows: that is the
proximal point method for the dual problem, which needs no long steps to be fast, and no more of them than it
takes to find the samples on a kink at the optimum.

Features are centred if there is an intercept, and weighed by their variance (the metric).

References
----------
Rockafellar, "Augmented Lagrangians and applications of the proximal point algorithm in convex programming",
Mathematics of Operations Research 1 (1976). Qi and Sun, "A nonsmooth version of Newton's method",
Mathematical Programming 58 (1993). Li, Sun and Toh, "A highly efficient semismooth Newton augmented
Lagrangian method for solving Lasso problems", SIAM Journal on Optimization 28 (2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from regcore.losses import Loss
from regcore.solvers.margin_systems import Between, Rest, solve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regcore.solvers.protocol import Array

__all__ = ["Multipliers"]

_MOST_PARAMETERS = 2000  # of W and b together; beyond, margins between two kinks:
_MOST_TERMS = 3000
_ROUNDING = 1e-6  # of slopes
_MOST_NUMBERS = 1 << 23  # of their samples
_MOST_FEATURES = 8191
_MOST_STEPS_AT_ONCE = 10
_MOST_STEPS = 50  # of a subproblem
_FIRST_STEP = 5.0  # a margin's kink is as wide as 1 / step
_LARGEST_STEP = 1e9  # in units of the first; beyond, kinks are as narrow as margins are rounded
_SMALLEST_SLOPE = 1e-9
_KINK_STEP = 3.0  # of a weight, in units of `step` and of what makes a feature's scores change by 1
_FAST, _GROWTH_AT_ONCE, _NOT_SLOW, _GROWTH = 6, 6.0, 15, 3.0
_FAR = 1e-8  # 1 / far, in units of the first step
_SMALLEST_VARIANCE = 1e-6  # beside the largest one, in the metric
_FLAT = 0.1  # of the slope at the beginning of a search, at its end
_MOST_TRIALS = 12
_INSIDE = 0.05  # of an interval, how far from its ends the next trial is at least


def _are_between(around: Around, margins: Array, u: Array, *, has_simplex: bool) -> Array:
    """Whether each variable is between its bounds."""
    if has_simplex:
        return np.asarray(u > 0)
    z = around.u + around.step * margins
    return np.asarray((z > 0) & (z < 1))


@dataclass(frozen=True, slots=True)
class Around:
    """Multipliers, centre, and the steps of a subproblem."""

    u: Array  # (n_samples, n_outputs)
    v: Array  # (n_outputs, n_features)
    W: Array
    b: Array
    step: float
    far: float  # 1 / far

    @property
    def largest_step(self) -> float:
        """Beyond it, rounding undoes what a step does."""
        return self.far / _FAR * _LARGEST_STEP


class Multipliers:
    """The subproblems, and the steps that solve them.

    Parameters
    ----------
    objective : Objective
    intercept : bool

    Attributes
    ----------
    W, b : ndarray of float64
        Where the last subproblem is least, with the zeros of the penalty; b without the centring.
    V, r : ndarray of float64
        Sums of the slopes there, of shapes (n_outputs, n_features) and (n_outputs,).
    linear : float
        The sum of w_i u_ij there.
    largest : float
        The largest sum u of a simplex, which is 1 but for rounding.
    n_passes : float
        What has been done since it was last set to 0.
    """

    def __init__(self, objective: Any, *, intercept: bool) -> None:
        self._objective = objective
        self._intercept = intercept
        penalty = objective.penalty
        self._l1 = 0.0 if penalty is None else float(penalty.l1)
        self._l2 = 0.0 if penalty is None else float(penalty.l2)
        self._group = 0.0 if penalty is None else float(penalty.group)
        self._shape = objective.n_outputs, objective.n_features
        self._is_binary = objective.n_outputs == 1
        self._has_simplex = objective.loss is Loss.CRAMMER_SINGER and objective.n_outputs > 2
        n_samples = objective.n_samples
        weights = np.ones(n_samples) if objective._weights is None else objective._weights.astype(np.float64)
        self._weights = weights / weights.sum()
        self._own = np.arange(n_samples), np.asarray(objective._y).astype(np.int64)
        self._sign = np.where(self._own[1] == 1, -1.0, 1.0)[:, None]
        mean, square = objective._column_moments()
        self._mean = mean if intercept else np.zeros_like(mean)
        variance = np.maximum(square - self._mean**2, 0)
        largest = float(variance.max(initial=0.0)) or 1.0
        self._metric = np.maximum(variance, _SMALLEST_VARIANCE * largest)
        self._kink_step = _KINK_STEP * (self._l1 + self._group) * np.sqrt(self._metric)
        self.n_passes = 0.0
        self._n_steps = 0  # of the subproblem
        self._around: Around | None = None

    @staticmethod
    def handles(objective: Any) -> bool:
        """Whether the systems are small enough, and the penalty is none with two kinds of kinks."""
        if objective._weights is not None and objective._weights.ndim != 1:
            return False
        penalty = objective.penalty
        simple = penalty is None or penalty.l1 == 0 or penalty.group == 0
        small = objective.n_outputs * (objective.n_features + 1) <= _MOST_PARAMETERS
        return bool(simple and (small or objective.n_features <= _MOST_FEATURES))

    @staticmethod
    def cost_of_step(objective: Any, slopes: Array) -> float:
        """In passes, nearly, from these slopes on: direction, gradient, and the factor of a matrix."""
        n_outputs, K = objective.n_outputs, objective.n_features + 1
        between = (slopes > 0) & (slopes < 1)
        n_terms = int(between.sum())
        if objective.loss is Loss.CRAMMER_SINGER and n_outputs > 2:
            full = np.maximum(slopes, 0).sum(axis=1) >= 1 - _ROUNDING
            n_terms -= int((between.any(axis=1) & full).sum())
        if n_outputs * K > _MOST_PARAMETERS and n_terms > _MOST_TERMS:
            return math.inf
        n = min(n_outputs * K, n_terms)
        return float(2 + n**2 * (n / 3 + K) / (4 * int(objective._stored_numbers) * n_outputs + 1))

    def start(self, W: Array, b: Array, slopes: Array) -> None:
        """Begin at these weights and slopes (n_samples, n_outputs)."""
        self.n_passes += 1  # the moments
        W = W.astype(np.float64)
        b = b + np.einsum("cd,d->c", W, self._mean)
        if self._is_binary:
            u = slopes * self._sign
        else:
            u = slopes.astype(np.float64)
            u[self._own] = 0
        u = self._nearest_u(u.astype(np.float64))
        V, _ = self._sums(u)
        self._w, self._b = W, b
        # where few samples matter, each of them little, their kinks are looked at from as much farther away
        used = self._weights[:, None] * (u > 0)
        typical = float(np.einsum("nj,nj->", used, u)) / (float(used.sum()) or 1.0)
        step = _FIRST_STEP * max(typical, _SMALLEST_SLOPE)
        self._around = Around(u, self._nearest_v(-V), W, b, step, _FAR * step)
        self._n_steps = 0

    # ------------------------------------------------------------------ the subproblem

    def _margins(self, W: Array, b: Array, one: float) -> Array:
        """The margins of all outputs, those of the labels -inf; one = 0: how they change along W and b."""
        self.n_passes += 1
        b = b - np.einsum("cd,d->c", W, self._mean)
        s: Array = self._objective.scores(W, b).astype(np.float64).reshape(-1, self._shape[0])
        margins: Array = s if not self._is_binary else one + self._sign * s
        if self._is_binary:
            return margins
        margins += (one - s[self._own])[:, None]
        margins[self._own] = -math.inf if one else 0.0
        return margins

    def _nearest_u(self, z: Array) -> Array:
        """P_U(z)."""
        if not self._has_simplex:
            clipped: Array = np.clip(z, 0, 1)
            return clipped
        u: Array = np.maximum(z, 0)
        over = np.flatnonzero(u.sum(axis=1) > 1)
        if len(over):
            some = z[over]
            ordered = -np.sort(-some, axis=1)
            sums = np.cumsum(ordered, axis=1) - 1
            n_kept = (ordered * np.arange(1, z.shape[1] + 1) > sums).sum(axis=1)
            threshold = sums[np.arange(len(over)), n_kept - 1] / n_kept
            u[over] = np.maximum(some - threshold[:, None], 0)
        return u

    def _nearest_v(self, z: Array) -> Array:
        """P_B(z)."""
        if self._group > 0:
            norms = np.sqrt(np.einsum("cd,cd->d", z, z))
            scaled: Array = z * np.minimum(1, self._group / np.maximum(norms, self._group))
            return scaled
        clipped: Array = np.clip(z, -self._l1, self._l1)
        return clipped

    def _slopes(self, u: Array) -> Array:
        if self._is_binary:
            return u * self._sign
        g = u.copy()
        g[self._own] = -u.sum(axis=1)
        return g

    def _sums(self, u: Array) -> tuple[Array, Array]:
        """(V, r) of the centred features."""
        self.n_passes += 1
        V, r = self._objective._adjoint(np.ascontiguousarray(self._slopes(u)), np.dtype(np.float64))
        return V - np.outer(r, self._mean), r

    def _gradient_of_rest(self, around: Around, W: Array, b: Array) -> tuple[Array, Array]:
        """Of all but the losses."""
        v = self._nearest_v(around.v + around.step * self._kink_step * W)
        grad_b = around.far * (b - around.b) if self._intercept else np.zeros_like(b)
        return v + 2 * self._l2 * W + around.far * self._metric * (W - around.W), grad_b

    def advance(self, tol: float, value: float) -> None:
        """Take at most some Newton steps, and go on to the next subproblem if this one is solved.

        That is, if what is left of the gradient costs the certificate no more than tol times the value.
        """
        if self._around is None:
            raise RuntimeError("start comes first")
        around = self._around
        W, b = self._w, self._b
        margins = self._margins(W, b, 1.0)
        n_steps, is_solved = 0, False
        while True:
            u = self._nearest_u(around.u + around.step * margins)
            V, r = self._sums(u)
            rest_W, rest_b = self._gradient_of_rest(around, W, b)
            grad_W, grad_b = V + rest_W, r + rest_b
            if not self._intercept:
                grad_b = np.zeros_like(r)
            is_solved = self._loss_of_bound(grad_W, grad_b, W, b, value) <= tol
            is_solved = is_solved or self._n_steps >= _MOST_STEPS
            if is_solved or n_steps == _MOST_STEPS_AT_ONCE:
                break
            between = self._between(around, margins, u)
            if between is None:
                if around.step >= around.largest_step:
                    break  # no way on from here
                around = self._around = replace(around, step=_GROWTH * around.step)
                continue
            right = np.column_stack([-grad_W, -grad_b])
            direction = solve(between, self._rest(around, W), right, self._objective._n_threads)
            step_W = np.ascontiguousarray(direction[:, :-1])
            step_b = direction[:, -1] if self._intercept else np.zeros_like(b)
            slope = float(np.einsum("cd,cd->", grad_W, step_W) + np.einsum("c,c->", grad_b, step_b))
            if not slope < 0:
                is_solved = True  # rounding gives nothing more
                break
            change = self._margins(step_W, step_b, 0.0)
            t = self._search(around, margins, change, (W, b), (step_W, step_b), slope)
            W, b, margins = W + t * step_W, b + t * step_b, margins + t * change
            n_steps += 1
            self._n_steps += 1
        self._w, self._b = W, b
        self._publish(around, u, V, r, W, b)
        if is_solved:
            v = self._nearest_v(around.v + around.step * self._kink_step * W)
            growth = 1.0
            if self._n_steps <= _NOT_SLOW:
                growth = _GROWTH_AT_ONCE if self._n_steps <= _FAST else _GROWTH
            step = min(growth * around.step, around.largest_step)
            self._around = Around(u, v, W, b, step, around.far)
            self._n_steps = 0

    def _publish(self, around: Around, u: Array, V: Array, r: Array, W: Array, b: Array) -> None:
        """Weights whose v is inside B are zero at the optimum; the sums are those of the given features."""
        z = around.v + around.step * self._kink_step * W
        if self._group > 0:
            W = np.where(np.einsum("cd,cd->d", z, z) > self._group**2, W, 0.0)
        elif self._l1 > 0:
            W = np.where(np.abs(z) > self._l1, W, 0.0)
        self.W, self.b = W, b - np.einsum("cd,d->c", W, self._mean)
        self.V, self.r = V + np.outer(r, self._mean), r
        sums = u.sum(axis=1)
        self.linear = float(np.einsum("n,n->", self._weights, sums))
        self.largest = float(sums.max()) if self._has_simplex else 1.0

    def _loss_of_bound(self, grad_W: Array, grad_b: Array, W: Array, b: Array, value: float) -> float:
        """What the gradient takes from the dual bound, or adds to the residual, as a share of the value."""
        square = np.einsum("cd,cd->d", grad_W, grad_W)
        lost = float(np.abs(grad_b).sum()) / min(value, 1.0)
        if self._l2 > 0:
            return lost + float(square.sum()) / (4 * self._l2 * value)
        if self._group > 0:
            return lost + math.sqrt(float(square.max())) / self._group
        if self._l1 > 0:
            return lost + float(np.abs(grad_W).max()) / self._l1
        lost = math.sqrt(float(square.sum()) * float(np.einsum("cd,cd->", W, W)))
        lost += math.sqrt(float(np.einsum("c,c->", grad_b, grad_b)) * float(np.einsum("c,c->", b, b)))
        return lost / value

    # ------------------------------------------------------------------ Newton's method

    def _search(
        self,
        around: Around,
        margins: Array,
        change: Array,
        at: tuple[Array, Array],
        direction: tuple[Array, Array],
        slope: float,
    ) -> float:
        """How far to go: to where phi is least, nearly. No pass."""
        (W, b), (step_W, step_b) = at, direction
        weighted = self._weights[:, None] * change

        def slope_at(t: float) -> float:
            u = self._nearest_u(around.u + around.step * (margins + t * change))
            grad_W, grad_b = self._gradient_of_rest(around, W + t * step_W, b + t * step_b)
            total = np.einsum("nj,nj->", u, weighted) + np.einsum("cd,cd->", grad_W, step_W)
            return float(total + np.einsum("c,c->", grad_b, step_b))

        flat = -_FLAT * slope
        low, low_slope = 0.0, slope
        high, high_slope = math.inf, math.inf
        t = 1.0
        for _ in range(_MOST_TRIALS):
            found = slope_at(t)
            if abs(found) <= flat:
                break
            if found < 0:
                low, low_slope = t, found
            else:
                high, high_slope = t, found
            if high == math.inf:
                t *= 2
            else:
                t = (low * high_slope - high * low_slope) / (high_slope - low_slope)
                margin = _INSIDE * (high - low)
                t = min(max(t, low + margin), high - margin)
        return t

    def _rest(self, around: Around, W: Array) -> Rest:
        """The second derivative of all but the losses."""
        n_outputs, n_features = self._shape
        diagonal = np.ones((n_outputs, n_features + 1))
        diagonal[:, :-1] = around.far * self._metric + 2 * self._l2
        if self._intercept:
            diagonal[:, -1] = around.far
        step = around.step * self._kink_step
        z = around.v + step * W
        if self._l1 > 0:
            diagonal[:, :-1] += step * (np.abs(z) < self._l1)
        if self._group == 0:
            return Rest(diagonal)
        norms = np.sqrt(np.einsum("cd,cd->d", z, z))
        outside = norms > self._group
        norms[~outside] = 1
        step = step * np.where(outside, self._group / norms, 1.0)
        diagonal[:, :-1] += step
        directions = np.zeros_like(diagonal)
        directions[:, :-1] = z / norms
        return Rest(diagonal, np.append(step * outside, 0.0), directions)

    def _between(self, around: Around, margins: Array, u: Array) -> Between | None:
        """The margins whose variables are between their bounds; None: they are too many.

        On the face sum u = 1 of the simplex, the e_f are an orthonormal basis of what is orthogonal to 1.
        """
        between = _are_between(around, margins, u, has_simplex=self._has_simplex)
        if not self._is_binary:
            between[self._own] = False
        between[self._weights == 0] = False
        rows = np.flatnonzero(between.any(axis=1))
        between = between[rows]
        capped = np.zeros(len(rows), bool)
        if self._has_simplex:
            capped = np.maximum(around.u[rows] + around.step * margins[rows], 0).sum(axis=1) > 1
        # on the face the first of n variables is left out: they have n - 1 directions
        place = between.cumsum(axis=1)
        is_term = between & ((place > 1) | ~capped[:, None])
        row, column = np.nonzero(is_term)
        n_outputs, n_features = self._shape
        if n_outputs * (n_features + 1) > _MOST_PARAMETERS and (
            len(row) > _MOST_TERMS or len(rows) * (n_features + 1) > _MOST_NUMBERS
        ):
            return None
        self.n_passes += len(rows) / len(self._weights)
        E = np.zeros((len(row), n_outputs))
        E[np.arange(len(row)), column] = 1
        if not self._is_binary:
            free = np.flatnonzero(~capped[row])
            E[free, self._own[1][rows][row][free]] -= 1
            held = np.flatnonzero(capped[row])
            r = (place[row, column][held] - 1)[:, None]
            before = between[row[held]] & (place[row[held]] <= r)
            E[held] = (before - r * E[held]) / np.sqrt(r * (r + 1))
        return Between(self._rows(rows), row, E, around.step * self._weights[rows][row])

    def _rows(self, rows: Array) -> Array:
        Z = np.zeros((len(rows), self._shape[1] + 1))
        self._objective._dense_rows(rows, np.float64, out=Z[:, :-1])
        Z[:, :-1] -= self._mean
        if self._intercept:
            Z[:, -1] = 1
        return Z

    # ------------------------------------------------------------------ checkpoints

    def state(self) -> dict[str, Any]:
        """What the next steps need; nothing before the start."""
        around = self._around
        if around is None:
            return {}
        return {
            "newton_W": self._w,
            "newton_b": self._b,
            "multiplier_u": around.u,
            "multiplier_v": around.v,
            "multiplier_W": around.W,
            "multiplier_b": around.b,
            "multiplier_step": around.step,
            "multiplier_far": around.far,
            "newton_steps": self._n_steps,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state with a start."""
        self._w, self._b = state["newton_W"], state["newton_b"]
        self._around = Around(
            u=state["multiplier_u"],
            v=state["multiplier_v"],
            W=state["multiplier_W"],
            b=state["multiplier_b"],
            step=float(state["multiplier_step"]),
            far=float(state["multiplier_far"]),
        )
        self._n_steps = int(state["newton_steps"])
