"""Limited-memory quasi-Newton from a model of the curvature, for smooth losses with any penalty.

The direction is the two-loop recursion of L-BFGS (Nocedal and Wright, *Numerical Optimization*, algorithm
7.4), started not from a multiple of the identity but from the inverse of `regcore.solvers.curvature`'s model:
the second derivatives of each output by itself, from some of the rows. The losses do not change when all
outputs of a feature change together, which that model does not know. The least L2 and group penalties are
then those of the mean 0, so that with these, or without a penalty, the directions are kept orthogonal to such
changes; with L1 each step is followed by the change that its penalty likes best, which costs no pass. The
model is renewed while the objective falls fast, and later now and then. While it is new, and promises far too
much, a share of the largest curvature of the loss is added (Marquardt, "An algorithm for least-squares
estimation of nonlinear parameters", Journal of the Society for Industrial and Applied Mathematics 11, 1963).

With kinks (L1, ElasticNet, GroupL1) there are two phases.

1. The norms ||w|| are smoothed to sqrt(||w||**2 + epsilon**2) - epsilon with epsilon falling; the quadratic
   that bounds such a term from above (Hunter and Lange, "A tutorial on MM algorithms", The American
   Statistician 58, 2004) adds lambda / sqrt(||w||**2 + epsilon**2) to the model's diagonal, or a share of it
   for a weight that the last step moved little: its term is as good as linear.
2. Weights that the proximal step wants to be zero are set to zero. From there on steps are taken in the
   weights that are not zero, or whose slope exceeds lambda; one that changes its sign stops at zero (Andrew
   and Gao, "Scalable training of L1-regularized log-linear models", ICML 2007; the metric is restricted as in
   Gafni and Bertsekas, "Two-metric projection methods for constrained optimization", SIAM Journal on Control
   and Optimization 22, 1984). Zeros are exact.

With no penalty or L2 and few samples beside features the iterations begin at the solution that
`regcore.solvers.row_space_start` finds, and mostly end there.

Converged means that the duality gap is at most `tol` times the objective (or 2**-52, if that is less), or,
without a penalty, that the relative norm of the gradient is at most `tol`.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from regcore import _core
from regcore.losses import Loss
from regcore.solvers.curvature import Curvature, Metric, block_count
from regcore.solvers.kinks import Kinks, Slopes
from regcore.solvers.outcomes import NO_MINIMUM, proven, stationary
from regcore.solvers.protocol import (
    Bound,
    Centring,
    Evaluation,
    Outcome,
    ProblemToSolve,
    Request,
    Step,
)
from regcore.solvers.row_space_start import has_few_samples, row_space_solution

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]
    T = TypeVar("T")
    Asking: TypeAlias = Generator[Request, Any, T]  # what returns T once its requests are answered

__all__ = ["quasi_newton"]

_PAIRS = 20
_MOST_PAIR_NUMBERS = 1 << 24  # of all pairs together
_ARMIJO = 1e-4
_FLATTER = 0.9
_MOST_TRIALS = 25
_FAR_TOO_LONG = 0.3  # a step that had better been shorter than this share of it has its model damped, ...
_MOST_DAMPED = 3  # times in a step
_NEW_MODEL = 2  # steps at most after which it is the model that promised too much, and not the pairs
_LEAST_DAMPING, _MOST_DAMPING, _DAMPING_FACTOR = 1e-4, 0.1, 8.0  # by shares between these
_MOST_CURVATURE = {Loss.CROSS_ENTROPY: 0.25, Loss.SQUARED_HINGE: 2.0}  # of a loss in a score, about
_FIRST_RENEWAL = 8  # iterations after which a model is renewed, then twice as many, ...
_LAST_RENEWAL = 64
_SHARPEST = 1e-6  # the least epsilon, of the largest weight
_SETTLED = 3e-5  # the second phase begins below this relative slope ...
_CHANGING = 1e-3  # ... once a smaller share of the weights than this has changed its mind about being zero
_SHORT, _MOST_SHORT = 0.3, 4  # after so many steps of such lengths smoothing is no help any more
_AWAY = 3.0  # from zero is a weight of more than so many epsilon; a feature is shifted if ...
_SHARE_AWAY = 0.2  # ... so many of its outputs are
_MOST_CORRECTIONS = 2  # of a direction that crosses zero
_AT_ROUNDING = 1e-6  # without a tolerance, no step being left below this one is convergence
_FAR = 0.5  # no look at the gap where the fit starts with a residual above this one
_FLAT_STEPS = 20  # a fit is over if the value falls by no more than its rounding in so many, and ...
_LESS = 0.8  # ... the gap by no more than to this share
_CHECK_EVERY = 10  # iterations at most between two looks at the gap once the slope is small
_FIRST_LOOK = 0.2  # of tol is the slope then
_LEAST_FALL, _MOST_FALL, _GAP_MARGIN = 0.3, 0.03, 3.0  # of the slope between two, by how far the gap is


def quasi_newton(problem: ProblemToSolve, *, memory: int = _PAIRS) -> Generator[Step | Request, Any, Outcome]:
    """Minimise a smooth loss with any penalty; about one pass over the data an iteration.

    Parameters
    ----------
    problem : ProblemToSolve
    memory : int, default=20
        Pairs of steps and changes of the gradient that the quasi-Newton method keeps, if W is so small that
        they have less than 2**24 numbers in all.

    Yields
    ------
    Step or Request

    Returns
    -------
    Outcome
    """
    if isinstance(memory, bool) or not isinstance(memory, int) or memory < 1:
        raise ValueError(f"memory must be an integer >= 1; got {memory!r}")
    penalty = problem.objective.penalty
    if penalty is not None and penalty.l1 and penalty.group:
        raise ValueError(f"penalty {penalty!r} has both an L1 and a group part, whose sum has no solver")
    return _iterate(_Descent(problem, memory), problem)


# ---------------------------------------------------------------------- the method


@dataclass(slots=True)
class _Run:
    """What one iteration hands on to the next, besides the arrays."""

    value: float = math.nan  # data term + L2 part at z
    epsilon: float = 0.0  # of the smoothed norms; 0: they are exact
    n_passes: float = 0.0
    iteration: int = 0
    n_models: int = 0  # of the curvature that have been made
    model_rows: int = 0
    model_age: int = 0
    next_renewal: int = _FIRST_RENEWAL
    fall: float = math.inf  # relative, of the last step
    slope: float = math.inf  # relative, along the last direction
    damping: float = 0.0  # share of the largest curvature that is added to the model ...
    least_damping: float = 0.0  # ... at least, when more is needed
    n_unchecked: int = 0  # iterations with a small slope since the last look at the gap
    next_check: float = math.inf  # the relative slope at which the gap may be small enough
    n_short: int = 0  # steps one after the other that had to be cut
    n_failures: int = 0  # steps that failed one after the other
    n_flat: int = 0  # steps since the value last fell by more than its rounding ...
    flat_value: float = math.inf  # ... to this one, or since the last look at the gap for that reason ...
    flat_gap: float = math.inf  # ... which showed this one
    gap: float = math.nan
    residual: float = math.nan


class _Descent:
    """The iterate z = (W | b), the pairs and the model, and the operations on them."""

    def __init__(self, problem: ProblemToSolve, memory: int) -> None:
        self.problem = problem
        self.objective = problem.objective
        self.dtype = problem.W.dtype
        self.with_intercept = problem.b is not None
        self.D = problem.W.shape[1]
        self.kinks = Kinks(self.objective.penalty, self.D)
        self.has_penalty = self.kinks.l2 > 0 or self.kinks.strength > 0  # one of strength 0 is none
        columns = [problem.W] if problem.b is None else [problem.W, problem.b[:, None]]
        self.z: Array = np.concatenate(columns, axis=1).astype(np.float64)
        self.has_shifts = len(self.z) > 1 and self.kinks.strength > 0 and not self.kinks.in_groups
        self.keeps_sums = len(self.z) > 1 and not self.has_shifts
        self.memory = max(2, min(memory, _MOST_PAIR_NUMBERS // (2 * self.z.size)))
        self.pairs = _core.Pairs(self.memory, self.z.size)
        self.W, self.b = self.parameters(self.z)
        self.gradient = np.zeros_like(self.z)
        self.model_z = self.z
        self.moments: tuple[Array, Array] | None = None
        self.model: Curvature | None = None
        self.is_lent = False  # the model is somebody else's
        self.metric: Metric | None = None
        self.run = _Run()
        self.moved = np.full_like(self.z, 1e30)  # by the last step
        self.zero = np.zeros(problem.W.shape, dtype=bool)  # weights that the proximal step wants to be zero

    # ------------------------------------------------ evaluations

    def parameters(self, z: Array) -> tuple[Array, Array | None]:
        W = np.ascontiguousarray(z[:, : self.D], dtype=self.dtype)
        return W, np.ascontiguousarray(z[:, self.D], dtype=self.dtype) if self.with_intercept else None

    def rounded(self, z: Array) -> Array:
        if self.keeps_sums:  # any sum of the outputs has the same loss, and zero the least penalty
            z = z - z.mean(axis=0)
        with np.errstate(over="ignore"):  # a step far too long
            return z.astype(self.dtype).astype(np.float64)

    def evaluate(self, z: Array) -> Asking[tuple[float, Array, Array, Array | None]]:
        """Value and gradient of the data term and the L2 part, and z as W and b."""
        W, b = self.parameters(z)
        self.run.n_passes += 1
        value, grad_W, grad_b = yield Evaluation(W, b)
        w, l2 = z[:, : self.D], self.kinks.l2
        gradient = np.empty_like(z)
        gradient[:, : self.D] = grad_W
        if l2:
            gradient[:, : self.D] += 2 * l2 * w
            value += l2 * _dot(w, w)
        if b is not None:
            gradient[:, self.D] = grad_b
        return float(value), gradient, W, b

    def total(self) -> float:
        return self.run.value + self.kinks.value(self.z, 0.0)

    def certify(self) -> Asking[None]:
        """Put the gap and the residual at z into `run`, after a step in the intercepts if that helps."""
        if self.b is not None and self.has_penalty and self.run.slope < 1:
            self.run.n_passes += 1
            new = self.z.copy()
            new[:, self.D] = yield Centring(self.W, self.b, self.gradient[:, self.D].astype(self.dtype))
            value, gradient, W, b = yield from self.evaluate(new)
            if value <= self.run.value:
                self.z, self.gradient, self.W, self.b = new, gradient, W, b
                self.run.value = value
        grad_W = self.gradient[:, : self.D] - 2 * self.kinks.l2 * self.z[:, : self.D]
        grad_b = self.gradient[:, self.D] if self.with_intercept else np.zeros(len(self.z))
        grad = (np.ascontiguousarray(grad_W, dtype=self.dtype), grad_b.astype(self.dtype))
        self.run.residual = float(self.objective._stationarity(self.W, self.b, grad))
        if self.has_penalty and not (self.run.slope == math.inf and self.run.residual > _FAR):
            self.run.n_passes += 1
            self.run.gap = float((yield Bound(self.W, self.b, self.total(), *grad)))
        self.run.n_unchecked, self.run.next_check = 0, self.next_check()

    def next_check(self) -> float:
        """The relative slope at which the gap may be small enough; it costs three passes to look."""
        run, tol = self.run, self.problem.tol
        if tol is None or not self.has_penalty:
            return math.inf
        gap = run.gap / max(abs(self.total()), 1e-300)
        if run.slope == math.inf or gap == 0:
            return _FIRST_LOOK * tol
        # the gap falls with the slope, or more slowly, but faster than its root
        return run.slope * min(_LEAST_FALL, max(_GAP_MARGIN * tol / gap, _MOST_FALL))

    # ------------------------------------------------ the model of the curvature

    def renew_model(self) -> None:
        """Make a model at z if one is due: while the objective falls fast, and at growing intervals."""
        run, K, n_samples = self.run, self.z.shape[1], self.objective.n_samples
        cost = run.model_rows * K / (4 * n_samples)  # in passes, by arithmetic
        is_steep = run.fall > min(max(5e-3 * cost, 1e-3), 0.1)
        is_old = run.model_age >= run.next_renewal
        if self.model is None:
            run.model_rows = max(4 * K, 8 * n_samples // K) if block_count(self.objective, K) else 4096
            if self.problem.curvature is not None:
                self.model, self.is_lent, run.next_renewal = self.problem.curvature, True, _LAST_RENEWAL
                return
        elif is_steep and not self.is_lent and block_count(self.objective, K):
            self.pairs.clear()
        elif is_old:
            run.next_renewal = min(2 * run.next_renewal, _LAST_RENEWAL)
            run.model_rows = min(2 * run.model_rows, n_samples)
        else:
            return
        self.model_z, self.is_lent = self.z.copy(), False
        run.n_models += 1
        run.model_age = 0
        self.make_model()
        assert self.model is not None
        run.n_passes += self.model.n_passes

    def column_moments(self) -> tuple[Array, Array]:
        if self.moments is None:
            self.moments = self.objective._column_moments()
            self.run.n_passes += 1
        return self.moments

    def most_curvature(self) -> Array:
        """Second derivatives along the coordinates of an output, (K,), that no W exceeds by much."""
        squares = self.column_moments()[1]
        return _MOST_CURVATURE[self.objective.loss] * np.append(squares, [1.0] * self.with_intercept)

    def make_model(self) -> None:
        moments = self.column_moments()
        W, b = self.parameters(self.model_z)
        self.model = Curvature(self.objective, W, b, self.run.model_rows, moments, seed=self.run.n_models)
        self.metric = None

    # ------------------------------------------------ directions

    def slopes(self) -> Slopes:
        assert self.model is not None
        if self.run.epsilon:
            return self.kinks.smoothed(self.z, self.gradient, self.run.epsilon, self.moved)
        return self.kinks.exact(self.z, self.gradient, self.model.diagonal)

    def solve(self, r: Array, slopes: Slopes) -> Array:
        assert self.model is not None
        if self.metric is None:
            kinks, damping = self.kinks, self.run.damping
            if damping:
                self.metric = self.model.metric(slopes.extra + damping * self.most_curvature())
            else:
                self.metric = (
                    self.model.metric(slopes.extra) if kinks.strength else self.model.ridge(kinks.l2)
                )
        z = self.metric.solve(r)
        if self.keeps_sums:
            z -= z.mean(axis=0)
        return z

    def direction(self, slopes: Slopes) -> Array:
        """Minus the two-loop recursion applied to the gradient, among the weights that may move."""
        free = slopes.free
        r = slopes.gradient.copy() if free is None else np.where(free, slopes.gradient, 0)
        bend, mask = self.seen_by_pairs(slopes)
        self.pairs.down(r, bend, mask)
        z = self.solve(r, slopes)
        newest = None if self.kinks.strength else self.pairs.newest()
        if newest is not None:
            y, product = newest
            bend_along = _dot(y, self.solve(y, slopes))
            # it is 0 where gradients are close to the least numbers
            z *= product / bend_along if bend_along > 0 else 1.0
        self.pairs.up(z)
        np.negative(z, out=z)
        return z if free is None else np.where(free, z, 0)

    def seen_by_pairs(self, slopes: Slopes) -> tuple[Array | None, Array | None]:
        """What a kinked penalty changes in the pairs: the curvature it adds, or which weights may move."""
        if not self.kinks.strength:
            return None, None
        if slopes.free is not None:
            # pairs of groups contain the penalty's part, and single weights have none
            return None, slopes.free.astype(np.float64)
        bend = slopes.extra.copy()
        bend[:, : self.D] -= 2 * self.kinks.l2  # which the changes of the gradient contain
        return bend, None

    def damped(self, slopes: Slopes) -> tuple[Array, float]:
        """Add more to the model's diagonal (Levenberg, Marquardt); return a new direction and its slope."""
        run = self.run
        run.damping = max(_DAMPING_FACTOR * run.damping, run.least_damping, _LEAST_DAMPING)
        run.least_damping = run.damping / _DAMPING_FACTOR
        self.metric = None
        direction = self.direction(slopes)
        return direction, _dot(slopes.gradient, direction)

    def downhill(self, slopes: Slopes) -> Array:
        """Minus the gradient over the diagonal of the model."""
        assert self.model is not None
        step: Array = -slopes.gradient / (self.model.diagonal + slopes.extra + self.model.floor)
        return step

    def kept_on_their_side(self, direction: Array, slopes: Slopes, sign: Array) -> Array:
        """A direction whose weights of L1 stop at zero, for the others to know, and enter with a slope."""
        w, D = self.z[:, : self.D], self.D
        downhill = self.downhill(slopes)
        for _ in range(_MOST_CORRECTIONS):
            crossing = (w != 0) & (np.sign(w + direction[:, :D]) != sign)
            if not crossing.any():
                break
            stop = np.abs(slopes.gradient[:, :D]) / np.where(w != 0, np.abs(w), 1) + slopes.extra[:, :D]
            slopes.extra[:, :D] = np.where(crossing, 2 * stop, slopes.extra[:, :D])
            self.metric = None
            direction = self.direction(slopes)
        wrong = (w == 0) & (np.sign(direction[:, :D]) != sign)
        direction[:, :D][wrong] = 0
        gained = float(np.multiply(slopes.gradient[:, :D], downhill[:, :D])[wrong].sum())
        if _dot(slopes.gradient, direction) > 10 * gained:  # nearly all that is left to gain is theirs
            direction[:, :D][wrong] = downhill[:, :D][wrong]
        return direction

    def slope_at(self, new: Array, gradient: Array, direction: Array, slopes: Slopes) -> float:
        """Slope along a direction at a new point; a penalty that is not smoothed has the slope it had."""
        if self.run.epsilon:
            return _dot(self.kinks.smoothed(new, gradient, self.run.epsilon, self.moved).gradient, direction)
        return _dot(slopes.gradient + (gradient - self.gradient), direction)

    def step(self) -> Asking[bool]:
        """Go on to the next iterate; False if no step lowers the objective."""
        run = self.run
        self.renew_model()
        assert self.model is not None
        slopes = self.slopes()
        if self.kinks.strength:
            self.metric = None
        direction = self.direction(slopes)
        sign = leaving = None
        if slopes.free is not None:
            w = self.z[:, : self.D]
            sign = np.where(w != 0, np.sign(w), -np.sign(slopes.gradient[:, : self.D]))
            leaving = self.kinks.wants_zero(self.z, self.gradient, self.model.diagonal) & (w != 0)
            if not self.kinks.in_groups:
                direction = self.kept_on_their_side(direction, slopes, sign)
        slope = _dot(slopes.gradient, direction)
        if not slope < 0:
            self.pairs.clear()
            direction = self.downhill(slopes)
            if self.keeps_sums:
                direction -= direction.mean(axis=0)
            slope = _dot(slopes.gradient, direction)
        before = run.value + self.kinks.value(self.z, run.epsilon)
        # no more can be gained than all: a model that promises more has too little curvature
        may_damp = slopes.free is None and slope < 0 and run.model_age <= _NEW_MODEL
        while may_damp and before > 0 and slope < -2 * before and run.damping < _MOST_DAMPING:
            direction, slope = self.damped(slopes)
        run.slope = -slope / max(abs(before), 1e-300)
        length = min(1.0, -2 * before / slope) if slope < 0 < before else 1.0
        rounding = 4 * float(np.finfo(self.dtype).eps) * abs(before)
        n_damped = 0
        for trial in range(_MOST_TRIALS):
            is_first = trial == 0
            new = self.z + length * direction
            if sign is not None and leaving is not None:
                new = self.kinks.stopped_at_zero(new, self.z, sign, leaving)
            new = self.rounded(new)
            if not np.isfinite(new).all():
                length *= 0.1
                continue
            try:
                value, gradient, W, b = yield from self.evaluate(new)
            except OverflowError:  # a step far too long
                length *= 0.1
                continue
            after = value + self.kinks.value(new, run.epsilon)
            predicted = _dot(slopes.gradient, new - self.z) if sign is not None else length * slope
            if after <= before + _ARMIJO * predicted and after < before:
                break
            # where values are rounding, slopes still tell (Hager and Zhang's approximate Wolfe condition)
            is_flat = abs(after - before) <= rounding and (new != self.z).any()
            if is_flat and abs(self.slope_at(new, gradient, direction, slopes)) <= _FLATTER * -slope:
                break
            excess = after - before - predicted
            best = -predicted * length / (2 * excess) if 0 < excess < math.inf else 0.5 * length
            if (
                may_damp
                and best < _FAR_TOO_LONG * length
                and n_damped < _MOST_DAMPED
                and run.damping < _MOST_DAMPING
            ):
                n_damped += 1
                direction, slope = self.damped(slopes)
                continue
            length = min(max(best, 0.1 * length), 0.5 * length)
        else:
            return False
        s, y = new - self.z, gradient - self.gradient
        if self.kinks.in_groups and not run.epsilon:
            y[:, : self.D] += self.kinks.slope_of_groups(new) - self.kinks.slope_of_groups(self.z)
        if s.any():
            self.pairs.add(s, y)
        run.value, run.fall = value, (before - after) / max(abs(after), 1e-300)
        run.model_age += 1
        run.n_short = run.n_short + 1 if length < _SHORT else 0
        if run.damping and is_first:
            run.damping = run.damping / _DAMPING_FACTOR if run.damping > _LEAST_DAMPING else 0.0
            self.metric = None
        self.moved = s
        self.z, self.gradient, self.W, self.b = new, gradient, W, b
        self.shift()
        if run.n_short:  # so the smoothed norms were not as good as linear
            self.moved = np.full_like(self.z, 1e30)
        self.count_flat_steps()
        return True

    def shift(self) -> None:
        """Lower the smoothed L1 penalty by a change of all outputs of a feature, of which no loss knows."""
        epsilon = self.run.epsilon
        if not (self.has_shifts and epsilon):
            return
        w = self.z[:, : self.D]
        shifted = self.rounded(w - self.kinks.least_shifts(w, epsilon))
        gains = self.kinks.of_features(w, epsilon) - self.kinks.of_features(shifted, epsilon)
        # what is gained must be worth the rounding of the weights
        worth = gains > float(np.finfo(self.dtype).eps) * abs(self.total()) / self.D
        # where nearly all outputs are about zero there is nothing to gain, and the zeros would be lost
        worth &= np.count_nonzero(np.abs(w) > _AWAY * epsilon, axis=0) >= _SHARE_AWAY * len(w)
        if not worth.any():
            return
        l2, new = self.kinks.l2, self.z.copy()
        new[:, : self.D][:, worth] = shifted[:, worth]
        change = new - self.z
        self.run.value += l2 * _dot(new + self.z, change)
        self.gradient = self.gradient + 2 * l2 * change
        self.z, self.moved = new, np.maximum(np.abs(self.moved), np.abs(change))
        self.W, self.b = self.parameters(new)

    def count_flat_steps(self) -> None:
        run, value = self.run, self.total()
        if run.epsilon or run.flat_value - value > 4 * float(np.finfo(self.dtype).eps) * abs(value):
            run.n_flat, run.flat_value, run.flat_gap = 0, value, math.inf
        else:
            run.n_flat += 1

    def judge_flat_steps(self) -> None:
        """Give up if neither the value nor the gap falls any more; to be called after a look at the gap."""
        run = self.run
        reached = run.gap if self.has_penalty else run.residual
        if reached > _LESS * run.flat_gap:
            run.n_failures = 2
        run.n_flat, run.flat_gap = 0, min(reached, run.flat_gap)

    def proximal_step(self) -> Asking[bool]:
        """A step of the proximal gradient method, which lowers the objective wherever it is not least."""
        assert self.model is not None
        run, kinks, D = self.run, self.kinks, self.D
        before = self.total()
        length = 1 / (float(self.model.diagonal.max()) + 2 * kinks.l2)
        for _ in range(_MOST_TRIALS):
            new = self.z - length * self.gradient
            norms = kinks.norms(new)
            new[:, :D] *= np.maximum(1 - length * kinks.strength / np.where(norms > 0, norms, 1), 0)
            new = self.rounded(new)
            try:
                value, gradient, W, b = yield from self.evaluate(new)
            except OverflowError:  # a step far too long
                length /= 4
                continue
            after = value + kinks.value(new, 0.0)
            if after < before - 4 * float(np.finfo(self.dtype).eps) * abs(before):
                run.value, run.fall, self.moved = value, math.inf, new - self.z
                self.z, self.gradient, self.W, self.b = new, gradient, W, b
                return True
            length /= 4
        return False

    # ------------------------------------------------ phases

    def begin(self) -> Asking[None]:
        self.z = self.rounded(self.z)
        self.run.value, self.gradient, self.W, self.b = yield from self.evaluate(self.z)
        is_zero = self.z[:, : self.D] == 0
        if self.kinks.strength and (is_zero.all() or not is_zero.any()):  # else another strength's solution
            self.run.epsilon = self.first_epsilon()

    def start_in_row_space(self) -> Asking[None]:
        """Go to the solution of the same problem in the coordinates of the row space, if that is better."""
        found = row_space_solution(self.problem, self.W, self.b, partial(quasi_newton, memory=self.memory))
        self.run.n_passes += found.n_passes
        new = self.z.copy()
        new[:, : self.D] = found.W
        if found.b is not None:
            new[:, self.D] = found.b
        new = self.rounded(new)
        value, gradient, W, b = yield from self.evaluate(new)
        if value < self.run.value:
            self.z, self.gradient, self.W, self.b = new, gradient, W, b
            self.run.value = value
            yield from self.certify()

    def first_epsilon(self) -> float:
        """A tenth of the largest weight, or of the first step that a diagonal model takes."""
        largest = float(np.abs(self.z[:, : self.D]).max())
        if largest == 0:
            self.renew_model()
            assert self.model is not None
            largest = float(np.abs(self.gradient / (self.model.diagonal + 1e-30))[:, : self.D].max())
        return 0.1 * min(largest, 1.0) if largest else 1e-3

    def sharpen(self) -> Asking[None]:
        """Lower epsilon while the steps are good; in the end set small weights to zero."""
        run = self.run
        if not run.epsilon:
            return
        assert self.model is not None
        if run.slope < 3e-2 and not run.n_short:
            run.epsilon = max(0.7 * run.epsilon, _SHARPEST * float(np.abs(self.z[:, : self.D]).max()))
        zero = self.kinks.wants_zero(self.z, self.gradient, self.model.diagonal)
        n_changed = np.count_nonzero(zero != self.zero)
        self.zero = zero
        is_settled = run.slope < _SETTLED and n_changed <= _CHANGING * zero.size
        if is_settled or run.n_short >= _MOST_SHORT:
            yield from self.leave_smoothing()

    def leave_smoothing(self) -> Asking[None]:
        assert self.model is not None
        self.run.epsilon = 0.0
        zero = self.kinks.wants_zero(self.z, self.gradient, self.model.diagonal)
        z = self.z.copy()
        z[:, : self.D][zero] = 0
        self.z = z
        self.run.value, self.gradient, self.W, self.b = yield from self.evaluate(z)
        self.run.fall = 0.0
        self.pairs.clear()

    def state(self) -> Mapping[str, Any]:
        arrays: dict[str, Any] = {"gradient": self.gradient, "model_z": self.model_z}
        arrays |= {"moved": self.moved, "zero": self.zero}
        if self.pairs:
            arrays["steps"] = np.stack(self.pairs.steps)
            arrays["changes"] = np.stack(self.pairs.changes)
        return arrays | asdict(self.run)

    def reached(self) -> Step:
        run = self.run
        return Step(
            self.W,
            self.b,
            self.total(),
            run.n_passes,
            dual_gap=None if math.isnan(run.gap) else run.gap,
            residual=None if math.isnan(run.residual) else run.residual,
            state=self.state,
        )

    def resume(self, saved: Mapping[str, Any]) -> None:
        self.gradient, self.model_z = saved["gradient"], saved["model_z"]
        self.moved, self.zero = saved["moved"], saved["zero"]
        if "steps" in saved:
            for step, change in zip(saved["steps"], saved["changes"], strict=True):
                self.pairs.add(step, change)
        self.run = _Run(**{field.name: saved[field.name] for field in fields(_Run)})
        if self.run.n_models:
            n_passes = self.run.n_passes
            self.make_model()
            self.run.n_passes = n_passes


def _iterate(descent: _Descent, problem: ProblemToSolve) -> Generator[Step | Request, Any, Outcome]:
    if problem.resume is None:
        yield from descent.begin()
        yield from descent.certify()
        if has_few_samples(problem) and not _is_met(
            descent.run, problem.tol or 0.0, descent.total(), not descent.has_penalty
        ):
            yield from descent.start_in_row_space()
    else:
        descent.resume(problem.resume)
    run, tol = descent.run, problem.tol
    without_penalty = not descent.has_penalty
    if problem.resume is None and tol is not None and _is_met(run, tol, descent.total(), without_penalty):
        yield descent.reached()  # there is nothing to do, and this is what was found
    while True:
        if tol is not None and _is_met(run, tol, descent.total(), without_penalty):
            if without_penalty:
                return stationary(problem.objective, descent.W, descent.b, run.residual)
            return proven(run.gap, descent.total())
        if run.n_failures == 2:
            if without_penalty and problem.objective._separates(descent.W, descent.b):
                return NO_MINIMUM
            at_rounding = _is_met(run, _AT_ROUNDING, descent.total(), without_penalty)
            return Outcome(tol is None and at_rounding, _stuck(descent, without_penalty))
        if (yield from descent.step()):
            run.n_failures = 0
            yield from descent.sharpen()
        else:
            descent.pairs.clear()
            run.fall = math.inf  # a new model
            may_go_on = descent.kinks.strength > 0 and run.n_failures == 1 and not run.epsilon
            if may_go_on and (yield from descent.proximal_step()):
                run.n_failures = 0
            else:
                run.n_failures += 1
            if run.epsilon:
                yield from descent.leave_smoothing()
        run.iteration += 1
        run.gap = run.residual = math.nan
        is_close = tol is not None and run.slope <= 2 * tol
        run.n_unchecked += is_close
        may_be_enough = run.n_unchecked >= _CHECK_EVERY or run.slope <= run.next_check
        # without a penalty a look costs no pass, and the objective may fall to nothing
        is_flat = run.n_flat >= _FLAT_STEPS
        if (
            run.n_failures == 2
            or without_penalty
            or is_flat
            or (is_close and not run.epsilon and may_be_enough)
        ):
            yield from descent.certify()
            if is_flat:
                descent.judge_flat_steps()
        yield descent.reached()


def _is_met(run: _Run, tol: float, value: float, without_penalty: bool) -> bool:
    least = float(np.finfo(np.float64).eps)  # a value below this is zero
    return run.residual <= tol if without_penalty else run.gap <= tol * max(abs(value), least)


def _stuck(descent: _Descent, without_penalty: bool) -> str:
    run = descent.run
    reached = f"relative residual {run.residual:.2g}" if without_penalty else f"duality gap {run.gap:.2g}"
    advice = "use dtype=float64" if descent.dtype == np.float32 else "raise tol, or scale the features alike"
    return f"no step lowers the objective beyond the rounding of {descent.dtype} ({reached}); {advice}"


def _dot(a: Array, b: Array) -> float:
    # not by a BLAS, whose sums depend on its number of threads
    return float(np.einsum("ij,ij->", a, b))
