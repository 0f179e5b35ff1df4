"""Dual coordinate ascent for the hinges, to a duality gap; the loop over the samples is compiled.

The problem is min over W, b of  sum_i w_i loss(y_i, W x_i + b) + R(W),  the weights w scaled to a sum of
1. A sample's dual variables u_ij >= 0, j != y_i, are the slopes of its loss in the margins 1 + s_j - s_y:
at most 1 each ("hinge"), or in their sum ("crammer_singer"). With the slopes g_i in the scores (g_ij =
u_ij, and minus their sum at y_i) and V = sum_i w_i g_i x_i', every u gives a lower bound of the minimum,

    D(u) = sum_i w_i sum_j u_ij - R*(-V),        as long as  sum_i w_i g_i = 0  if the intercept is free,

where R*(Z) = sum max(|Z| - l1, 0)**2 / (4 l2); without an L2 part it is 0 for |Z| <= l1 (or columns no
longer than the group strength) and infinite elsewhere.

What is done. Each sample in turn takes the exact step in its own dual variables, of the problem with the
proximal term ||W - W_c||**2 / (2 step) + ||b - b_c||**2 / (2 step_b) around a centre; after each epoch
the centre moves to W and b. That is the proximal point method with inner problems that are hardly solved:
it meets the constraints in the limit, gives exact zeros, and is much faster than the plain ascent where
l2 is small. The first step is such that a sample's own step is of the order of its slopes' range. It
grows while little is left to gain inside the proximal problem, beside the gap; otherwise, if the gap
hardly falls, the proximal problems get more epochs each. Samples whose dual variables stay where they are
sleep for up to 31 epochs. Large CSR matrices are visited in two blocks, each with weights of its own, which
come together four times an epoch (Ma et al.); the bits are the same on any number of threads. Where the
samples are few and there is no L2 part, Newton's method solves the proximal problems: see
`regcore.solvers.dual_newton`. Elsewhere, when the ascent has longer to go at its speed of late than Newton's
method in the weights, that takes over: see `regcore.solvers.multipliers`. With a free intercept dense
features are centred (which does not change the problem), and without an L2 part the proximal term weighs
each feature by its standard deviation.

The certificate. u is moved to where the intercept's constraint holds exactly and R* is finite, as
`regcore.certificate` describes; V is at hand, so that this costs no pass. The gap is the least objective so
far (of the weights after an epoch, or averaged over the epochs between two certificates) minus the greatest
bound so far, and never less than the rounding of the objective.

Without a penalty u would have to meet V = 0, and no such bound can be given. There the `residual` is

    (objective - sum_i w_i sum_j u_ij - <V, W> - <r, b> + ||V|| ||W|| + ||r|| ||b||) / objective:

within a distance of ||W|| from W and of ||b|| from b no objective is smaller by more than that share. An
optimum exists, since the hinges are piecewise linear and bounded from below; where the data is separable
it is 0, and is found as such, with a gap of 0.

Besides X the solver keeps the slopes (n_samples, n_outputs), and some ten arrays of the shape of W; Newton's
method some ten arrays of doubles of the slopes' shape and three square matrices, of at most 3000 rows.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from regcore.certificate import best_bound, feasible_scale, intercept_shift, penalty_conjugate
from regcore.losses import Loss
from regcore.solvers.dual_cross_entropy import dual_cross_entropy, has_probabilities
from regcore.solvers.dual_newton import Around, Newton
from regcore.solvers.multipliers import Multipliers
from regcore.solvers.protocol import Outcome, ProblemToSolve, Step

if TYPE_CHECKING:
    from regcore.penalties import Penalty
    from regcore.solvers.protocol import Array

__all__ = ["dual"]

_FIRST_STEP = 0.5  # of a typical sample in its dual variables, as a share of their range
_LARGEST_STEP = 1e3  # in the units of the first; beyond, rounding undoes what the centre does
_LARGEST_NEWTON_STEP = 1e7
_NEWTON_GROWTH, _FEW_NEWTON_STEPS = 4.0, 10
_NEWTON_TOL = 0.1  # of the gap, to which Newton's method solves a proximal problem
_INTERCEPT_SHARE = 0.1  # of the step of a sample's features all together
_SMALL_INNER_GAP, _TINY_INNER_GAP = 0.3, 0.01  # of the gap: the step may grow
_GROWTH, _GROWTH_AT_ONCE = 1.5, 10.0
_SLOW = 0.9  # what is left of the gap from one certificate to the next
_PASSES_PER_CHECK = 2.0
_LEAST_EPOCHS, _MOST_EPOCHS = 4, 32
_LEAST_CENTRES, _MOST_PER_CENTRE = 2, 64
_ABSENT = -1e6  # intercept of a class without samples
_SMALLEST_DEVIATION = 1e-3  # beside the largest one, in the metric
_STALLED_CHECKS, _STALLED_NEWTON = 50, 15
_CERTIFICATES, _MANY_CERTIFICATES = 3, 24  # over which the speed is measured
_WANTED_WITHOUT_TOL = 1e-9
_EARLY, _SPEEDS_UP = 0.05, 3.0  # a gap beside the value, and what the ascent's speed there says of later
_MULTIPLIERS_TOL = 0.01  # of the gap, to which Newton's method solves a subproblem
_NEWTON_STEPS, _NEWTON_STEPS_A_DIGIT = 10, 15  # of the method of multipliers, to gain a digit
# of a state
_NUMBERS = (
    "value",
    "n_passes",
    "_curvature",
    "_n_epochs",
    "_per_centre",
    "_inner_gap",
    "_left",
    "_least",
    "_greatest",
    "_n_stalled",
    "_best",
    "_by_newton",
    "_newton_steps",
    "_by_multipliers",
    "_gave_up",
    "_n_certificates",
    "_first_measure",
    "_first_passes",
)


def dual(problem: ProblemToSolve, *, first_step: float = _FIRST_STEP) -> Generator[Step, None, Outcome]:
    """Minimise a hinge loss with any penalty by dual coordinate ascent; an iteration is several epochs.

    cross_entropy of labels with an L2 part is `regcore.solvers.dual_cross_entropy`'s.

    Converged means: the duality gap is at most `tol` times the objective; without a penalty: the residual
    described above is at most `tol`.

    Parameters
    ----------
    problem : ProblemToSolve
    first_step : float, default=0.5
        Step of the proximal term, in units of what makes a typical sample's own step as long as the range of
        its dual variables; positive and finite. It grows by itself. cross_entropy has no such term.

    Yields
    ------
    Step

    Returns
    -------
    Outcome

    References
    ----------
    Shalev-Shwartz and Zhang, "Accelerated proximal stochastic dual coordinate ascent for regularized loss
    minimization", Mathematical Programming 155 (2016). Rockafellar, "Augmented Lagrangians and applications
    of the proximal point algorithm in convex programming", Mathematics of Operations Research 1 (1976).
    Keerthi, Sundararajan, Chang, Hsieh and Lin, "A sequential dual method for large scale multi-class linear
    SVMs", KDD 2008. Weston and Watkins, "Support vector machines for multi-class pattern recognition",
    ESANN 1999. Ma, Smith, Jaggi, Jordan, Richtarik and Takac, "Adding vs. averaging in distributed
    primal-dual optimization", ICML 2015.
    """
    first_step = _positive("first_step", first_step)
    objective = problem.objective
    if not hasattr(objective, "_dual_ascent"):
        raise TypeError("solver='dual' needs the samples themselves: an Objective over data in memory")
    if has_probabilities(objective):
        return dual_cross_entropy(problem)
    if objective.loss not in (Loss.HINGE, Loss.CRAMMER_SINGER):
        raise ValueError(f"solver='dual' is for the hinges; got loss={objective.loss.label!r}")
    return _ascend(problem, _Ascent(problem, first_step))


def _ascend(problem: ProblemToSolve, ascent: _Ascent) -> Generator[Step, None, Outcome]:
    tol = problem.tol
    resumed = problem.resume is not None
    while True:
        if not resumed:
            ascent.run()
            ascent.certify()
            # the arrays of a Step that has been yielded are not written again
            yield Step(
                ascent.W,
                ascent.b if problem.b is not None else None,
                ascent.value,
                ascent.n_passes,
                dual_gap=ascent.gap,
                residual=ascent.residual,
                state=ascent.state,
            )
        resumed = False
        if tol is not None:
            if ascent.value == 0:
                return Outcome(True, "every sample is beyond its margin: the objective is 0, its least value")
            if ascent.gap is not None and ascent.gap <= tol * abs(ascent.value):
                return Outcome(True, f"the dual gap is at most tol={tol:g} of the objective")
            if ascent.gap is None and ascent.residual is not None and ascent.residual <= tol:
                return Outcome(True, f"the residual is at most tol={tol:g}")
        if ascent.is_stalled() and tol is not None:
            return Outcome(False, ascent.stalled())
        ascent.adapt(tol)


class _Ascent:
    """The compiled loop, its steps, and the certificate."""

    def __init__(self, problem: ProblemToSolve, first_step: float) -> None:
        objective: Any = problem.objective
        self.objective = objective
        self.n_threads: int = objective._n_threads
        self.free = problem.b is not None
        self.l1, self.l2, self.group = _triple(objective.penalty)
        self.unpenalised = self.l1 == self.l2 == self.group == 0
        self.dtype = self.inner_dtype = problem.W.dtype
        self.W = problem.W
        self.b: Array = np.zeros(len(problem.W), self.dtype) if problem.b is None else problem.b
        self.value = math.nan
        self.gap: float | None = None
        self.residual: float | None = None
        self._least, self._greatest = math.inf, 0.0  # objective; bound, of which u = 0 gives the first
        self.n_passes = 0.0
        self._inner_gap = self._left = math.inf
        self._n_epochs, self._per_centre = _LEAST_EPOCHS, 1
        self._newton: Newton | None = None
        self._by_newton, self._newton_steps = False, 0  # the last iteration was, and what it took
        self._multipliers: Multipliers | None = None
        self._by_multipliers, self._gave_up = False, False
        self._n_certificates, self._first_measure, self._first_passes = 0, math.inf, 0.0
        self._standardize(problem, first_step)

        shape = problem.W.shape
        self._V, self._r = np.zeros(shape), np.zeros(shape[0])
        self._pool = [np.zeros(shape, self.inner_dtype) for _ in range(3)]
        n_labels = max(2, shape[0])
        self._class_sums, self._shares = np.zeros((n_labels, shape[1])), np.zeros(n_labels)
        start = problem.W.astype(self.inner_dtype)
        b = self.b.astype(np.float64)
        if self.free:
            self._loop.class_sums(self._shares, self._class_sums, self.n_threads)
            self.n_passes += 1
            b -= self._b_shift(start)
            if shape[0] > 1:
                b[self._shares == 0] = _ABSENT  # nothing ever pulls it back
        self._set_centre(start, b)
        self._n_stalled, self._best = 0, math.inf
        if problem.resume is not None:
            self._resume(problem.resume)

    # ------------------------------------------------------------------ set-up

    def _standardize(self, problem: ProblemToSolve, first_step: float) -> None:
        """Choose the features' origin, the metric and the steps, and make the loop."""
        objective: Any = self.objective
        given = objective._standardization
        self._shift = np.zeros(objective.n_features)
        self.metric: Array | None = None
        quick = None if self.l2 == 0 or (self.free and not objective._is_sparse) else objective._mean_square
        if quick is not None:
            # neither the origin nor the metric matters
            self._choose_steps(quick, first_step)
            self._make_loop(None, problem.seed)
            return
        mean, deviation = objective._column_statistics()
        scale = np.ones_like(mean) if given is None else given[1]
        given_mean = np.zeros_like(mean) if given is None else given[0]
        origin = given_mean
        if self.free:
            # the intercept makes the origin of the features a matter of choice
            origin = np.zeros_like(mean) if objective._is_sparse else mean
            self._shift = (given_mean - origin) / scale
        used = None
        if given is not None or np.any(origin):
            used = (origin if np.any(origin) else None, None if given is None else scale)
        square = (deviation / scale) ** 2
        if self.l2 == 0:
            spread = np.sqrt(square)
            largest = spread.max()
            if largest > 0:
                spread = np.where(spread > 0, np.maximum(spread, _SMALLEST_DEVIATION * largest), largest)
                self.metric = largest / spread
        square += ((mean - origin) / scale) ** 2
        if self.metric is not None:
            square *= self.metric
        self._choose_steps(float(square.sum()), first_step)
        self._make_loop(used, problem.seed)

    def _choose_steps(self, mean_square: float, first_step: float) -> None:
        """Of the mean ||x||**2."""
        self._mean_square = mean_square or 1.0
        if not math.isfinite(self._mean_square):
            self._mean_square = 1.0  # the loop says which number is to blame
        self._curvature = first_step * self.objective.n_samples / self._mean_square
        # no proximal term where the plain ascent takes shorter steps still
        self.proximal = self.l2 == 0 or 1 / (2 * self.l2) > self._curvature

    def _make_loop(self, standardization: tuple[Array | None, Array | None] | None, seed: int) -> None:
        if self.l2 == 0 and not self.unpenalised and Newton.handles(self.objective):
            self._newton = Newton(self.objective, standardization, self.metric)
            self.inner_dtype = np.dtype(np.float64)  # steps are so long that float32's slopes would be felt
        self._loop = self.objective._dual_ascent(
            self.inner_dtype, standardization, proximal=self.proximal, metric=self.metric, seed=seed
        )
        self.n_passes += 2  # statistics, norms

    def _set_centre(self, W: Array, b: Array) -> None:
        inverse = 1 / self._curvature - 2 * self.l2
        if self.proximal and inverse > 0:
            step = 1 / inverse
        else:
            step, self._curvature = 0.0, 1 / (2 * self.l2)
        self._loop.set_centre(
            W, b, step, _INTERCEPT_SHARE * self._mean_square * self._curvature if self.free else 0.0
        )

    def _b_shift(self, W: Array) -> Array:
        """What the loop's intercept lacks: its features have another origin."""
        shift: Array = np.zeros(len(W))
        if np.any(self._shift):
            np.einsum("cd,d->c", W, self._shift, out=shift)
        return shift

    # ------------------------------------------------------------------ progress

    def run(self) -> None:
        """Do so many epochs as a certificate costs, or more; or solve the proximal problem."""
        if self._by_multipliers and self._multipliers is not None:
            left = self.gap / self.value if self.gap is not None else self.residual or 0.0
            self._multipliers.n_passes = 0.0
            self._multipliers.advance(_MULTIPLIERS_TOL * left, self.value)
            self.n_passes += self._multipliers.n_passes
            return
        if self._newton is not None and self._left < math.inf:
            self._run_newton(self._newton)
            return
        n_centres = max(_LEAST_CENTRES, -(-self._n_epochs // self._per_centre))
        self._inner_gap, n_visits = self._loop.run(n_centres, self._per_centre, self.n_threads)
        passes = n_visits / self.objective.n_samples
        self.n_passes += passes
        wanted = _PASSES_PER_CHECK * n_centres * self._per_centre / max(passes, 1e-9)
        self._n_epochs = int(min(max(wanted, _LEAST_EPOCHS), _MOST_EPOCHS))

    def _run_newton(self, newton: Newton) -> None:
        state = self._loop.state()
        around = Around(
            state["centre"].astype(np.float64), state["centre_b"], state["curvature"], state["intercept_step"]
        )
        before = newton.n_passes
        slopes, self._inner_gap, self._newton_steps = newton.solve(
            around, state["slopes"], _NEWTON_TOL * self._left
        )
        self.n_passes += newton.n_passes - before
        awake = np.zeros_like(state["wait"])
        self._loop.set_state(
            state | {"slopes": slopes.astype(self.inner_dtype), "wait": awake, "patience": awake}
        )  # and the certificate computes the weights
        self._by_newton = True

    def adapt(self, tol: float | None) -> None:
        """Let the step grow where the proximal problem is solved much better than the problem itself.

        And give it more epochs where it is not, and nothing comes of it; or go over to the method of
        multipliers, if that is the shorter way to tol.
        """
        left = self.gap if self.gap is not None else (self.residual or 0.0) * self.value
        before, self._left = self._left, left
        if self._by_multipliers:
            if self._n_stalled >= _STALLED_NEWTON:
                self._by_multipliers, self._gave_up, self._n_stalled = False, True, 0
            return
        if self._is_slow(left, tol):
            self._start_multipliers()
            return
        if not self.proximal:
            return
        if self._by_newton:
            solved = self._inner_gap < _SMALL_INNER_GAP * left
            growth = _NEWTON_GROWTH if self._newton_steps <= _FEW_NEWTON_STEPS else 1.0
            self._move_centre(growth if solved else 1 / _NEWTON_GROWTH, stays=not solved)
        elif self._inner_gap < _SMALL_INNER_GAP * left:
            growth = _GROWTH if self._inner_gap > _TINY_INNER_GAP * left else _GROWTH_AT_ONCE
            if self._curvature < self._most_curvature():
                self._move_centre(growth)
        elif left > _SLOW * before:
            self._per_centre = min(2 * self._per_centre, _MOST_PER_CENTRE)

    def _is_slow(self, left: float, tol: float | None) -> bool:
        """Whether coordinate ascent has longer to go, at its speed of late, than Newton's method."""
        if self._gave_up or self._newton is not None or not Multipliers.handles(self.objective):
            return False
        self._n_certificates += 1
        if self._n_certificates % _CERTIFICATES:
            return False
        before, passes = self._first_measure, self.n_passes - self._first_passes
        self._first_measure, self._first_passes = left, self.n_passes
        wanted = (tol or _WANTED_WITHOUT_TOL) * self.value
        if not (0 < wanted < left and before < math.inf):
            return False
        fallen = math.log(before / left) if left < before else 0.0
        distance = math.log10(left / wanted)
        ahead = passes * math.log(10) * distance / fallen if fallen > 0 else math.inf
        if left > _EARLY * self.value:
            if self.unpenalised and self._n_certificates < _MANY_CERTIFICATES:
                return (
                    False  # a residual says little before the end, which nearly separable data reaches soon
                )
            ahead /= _SPEEDS_UP
        slopes = self._loop.state()["slopes"]
        if slopes.shape[1] == 1:
            slopes = np.abs(slopes)
        cost = Multipliers.cost_of_step(self.objective, slopes)
        return ahead > cost * (_NEWTON_STEPS + _NEWTON_STEPS_A_DIGIT * distance)

    def _start_multipliers(self) -> None:
        self._multipliers = Multipliers(self.objective, intercept=self.free)
        self._multipliers.start(self.W, self.b.astype(np.float64), self._loop.state()["slopes"])
        self.n_passes += self._multipliers.n_passes
        self._by_multipliers, self._n_stalled = True, 0

    def _most_curvature(self) -> float:
        if self.l2 > 0:
            return (1 - 1e-6) / (2 * self.l2)
        largest = _LARGEST_STEP if self._newton is None else _LARGEST_NEWTON_STEP
        return float(largest * self.objective.n_samples / self._mean_square)

    def _move_centre(self, growth: float, *, stays: bool = False) -> None:
        """Let the next proximal problem begin where this one has ended, with a step that has grown."""
        W = next(array for array in self._pool if array is not self.W)
        b = np.empty(len(W))
        if stays:
            state = self._loop.state()
            W[...] = state["centre"] * (1 / state["inverse_step"])
            if self.metric is not None:
                W *= self.metric.astype(self.inner_dtype)
            b[...] = state["centre_b"]
        else:
            self._loop.parameters(W, b, False)
        self._curvature = min(growth * self._curvature, max(self._curvature, self._most_curvature()))
        self._set_centre(W, b)

    def certify(self) -> None:
        """Evaluate the weights that the epochs have led to, and the bound that their dual variables give."""
        if self._by_multipliers and self._multipliers is not None:
            self._certify_multipliers(self._multipliers)
            return
        linear, largest = self._loop.refresh(self._V, self._r, self.n_threads)
        self.n_passes += 1
        self.residual = None
        given = self.W  # whoever has it may still look at it
        for averaged in (False,) if self._by_newton else (True, False):
            W = next(array for array in self._pool if array is not given and array is not self.W)
            b = np.empty(len(W))
            self._loop.parameters(W, b, averaged)
            W = W.astype(self.dtype, copy=False)
            value, b = self._evaluate(W, b + self._b_shift(W))
            if self.unpenalised:
                residual = self._residual(linear, value, W, b)
                if self.residual is None or residual < self.residual:
                    self.residual, self.value, self.W, self.b = residual, value, W, b
            elif value < self._least:
                self._least, self.value, self.W, self.b = value, value, W, b
                break  # mostly the average is the better one
        self._conclude(linear, largest)

    def _certify_multipliers(self, multipliers: Multipliers) -> None:
        """The same of the weights that Newton's method has led to, and the sums that it has at hand."""
        self._V, self._r = multipliers.V + np.outer(multipliers.r, self._shift), multipliers.r
        W = multipliers.W.astype(self.dtype)
        value, b = self._evaluate(W, multipliers.b)
        if self.unpenalised:
            residual = self._residual(multipliers.linear, value, W, b)
            if self.residual is None or residual < self.residual:
                self.residual, self.value, self.W, self.b = residual, value, W, b
        elif value < self._least:
            self._least, self.value, self.W, self.b = value, value, W, b
        self._conclude(multipliers.linear, multipliers.largest)

    def _conclude(self, linear: float, largest: float) -> None:
        if self.unpenalised:
            self._try_separable()
        else:
            self._greatest = max(self._greatest, self._bound(linear, largest))
            # the objective itself is rounded
            rounding = float(np.finfo(self.dtype).eps) * self.value
            self.gap = max(self.value - self._greatest, rounding)

    def _evaluate(self, W: Array, b: Array) -> tuple[float, Array]:
        rounded = b.astype(self.dtype)
        self.n_passes += 1
        return float(self.objective.value(W, rounded if self.free else None)), rounded

    # ------------------------------------------------------------------ certificates

    def _bound(self, linear: float, largest: float) -> float:
        """The best D(u') that is known from V, r and the linear part of u."""
        V = self._V[None]
        if self.objective.loss is Loss.CRAMMER_SINGER and largest > 1:  # u is rounded
            V, linear = V / largest, linear / largest
        if self.free:
            bound: Literal["sum", "each"] = "sum" if self.objective.loss is Loss.CRAMMER_SINGER else "each"
            shift = intercept_shift(self._r[None], self._shares[None], bound)
            V = shift.applied_to(V, self._class_sums[None])
            given = float((self._shares * shift.lose[0]).sum() * shift.gain[0].sum())
            linear = float(shift.shrink[0]) * linear + given
        scale = feasible_scale(V, self.l1, self.l2, self.group)
        if np.any(scale != 1):
            V = V * scale[:, None, None]
        conjugate = penalty_conjugate(V, self.l1, self.l2, self.group)
        return float(best_bound(scale * linear, np.zeros(1), conjugate)[0])

    def _residual(self, linear: float, value: float, W: Array, b: Array) -> float:
        """The residual of the module's description, at W and b."""
        V, wide_W, wide_b = (
            self._V - np.outer(self._r, self._shift),
            W.astype(np.float64),
            b.astype(np.float64),
        )
        products = float(np.einsum("cd,cd->", V, wide_W))
        bound = _norm(V) * _norm(wide_W)
        if self.free:
            present = slice(None) if len(b) == 1 else self._shares > 0
            r, wide_b = self._r[present], wide_b[present]
            products += float(r @ wide_b)
            bound += _norm(r) * _norm(wide_b)
        return (max(value - linear - products, 0.0) + bound) / value if value > 0 else 0.0

    def _try_separable(self) -> None:
        """Where all margins are positive, larger weights make the objective 0."""
        W, b = 2 * self.W, 2 * self.b
        if self.value > 0 and self._evaluate(W, b)[0] == 0:
            self.W, self.b, self.value = W, b, 0.0
        if self.value == 0:
            self.gap, self.residual = 0.0, 0.0

    # ------------------------------------------------------------------ the end

    def is_stalled(self) -> bool:
        """Whether the gap has not fallen for long, and is so small that rounding may be the reason."""
        measure = self.gap if self.gap is not None else self.residual or 0.0
        self._n_stalled = self._n_stalled + 1 if measure > 0.99 * self._best else 0
        self._best = min(self._best, measure)
        if self._n_stalled < (_STALLED_NEWTON if self._by_multipliers else _STALLED_CHECKS):
            return False
        narrow = self.dtype == np.float32
        if self.gap is None:
            return (self.residual or 0.0) < (1e-3 if narrow else 1e-8)
        # the margins are about 1, however small the objective is
        return self.gap < (1e-5 if narrow else 1e-12) * max(1.0, self.value)

    def stalled(self) -> str:
        """Say that rounding has ended the fit, and what to change."""
        if self.dtype == np.float32:
            return "float32 gives nothing more; use dtype=float64 or raise tol"
        return "rounding gives nothing more; raise tol"

    # ------------------------------------------------------------------ checkpoints

    def state(self) -> dict[str, Any]:
        """What the next iteration needs besides W and b."""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        gaps = {name: math.nan if number is None else number for name, number in self._certified()}
        found: dict[str, Any] = self._loop.state()
        newton = self._multipliers.state() if self._by_multipliers and self._multipliers is not None else {}
        return found | numbers | gaps | newton

    def _certified(self) -> tuple[tuple[str, float | None], ...]:
        return ("gap", self.gap), ("residual", self.residual)

    def _resume(self, state: Mapping[str, Any]) -> None:
        self._loop.set_state(state)
        self._loop.refresh(self._V, self._r, self.n_threads)  # as the certificate did
        for name in _NUMBERS:
            setattr(self, name, state[name])
        if self._by_multipliers:
            self._multipliers = Multipliers(self.objective, intercept=self.free)
            self._multipliers.set_state(state)
        self.gap, self.residual = (
            None if math.isnan(state[name]) else float(state[name]) for name, _ in self._certified()
        )


def _triple(penalty: Penalty | None) -> tuple[float, float, float]:
    return (0.0, 0.0, 0.0) if penalty is None else (penalty.l1, penalty.l2, penalty.group)


def _norm(array: Array) -> float:
    # not through a BLAS, whose threads go on spinning
    return math.sqrt(float(np.einsum("i,i->", array.ravel(), array.ravel())))


def _positive(argument: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{argument} must be a real number; got {type(value).__name__}")
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{argument} must be finite and > 0; got {value!r}")
    return number
