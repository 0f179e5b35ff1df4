"""Accelerated proximal gradient with backtracking and restart, for smooth losses with any penalty.

With f the data term plus the L2 part of the penalty and r the rest of it (L1 or group), one iteration is

    x+ = prox_{s r}(y - s grad f(y))
    y+ = x+ + (t - 1) / t+ (x+ - x),    t+ = (1 + sqrt(1 + 4 t**2 s / s+)) / 2

(Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems", SIAM
Journal on Imaging Sciences 2, 2009). The step s grows while it can and is halved where

    f(x+) <= f(y) + <grad f(y), x+ - y> + ||x+ - y||**2 / (2 s)

fails (Scheinberg, Goldfarb and Bai, "Fast first-order methods for composite convex optimization with
backtracking", Foundations of Computational Mathematics 14, 2014). The momentum is dropped whenever it points
uphill, <y - x+, x+ - x> > 0 (O'Donoghue and Candes, "Adaptive restart for accelerated gradient schemes", the
same journal 15, 2015), which makes the method adapt to strong convexity that nobody told it about. The
intercept is one more block of x that r does not touch.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore.penalties import L1, GroupL1, Penalty
from regcore.solvers.outcomes import proven, stationary
from regcore.solvers.protocol import Outcome, ProblemToSolve, Step

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["fista", "nonsmooth_part"]

_GROWTH = 1.25
_MOST_PATIENCE = 64
_MOST_HALVINGS = 200
_MOST_REFUSALS = 10


def nonsmooth_part(penalty: Penalty | None) -> L1 | GroupL1 | None:
    """Return what is left of a penalty without its L2 part, which `smooth_value_and_grad` contains."""
    if penalty is None:
        return None
    if penalty.l1 and penalty.group:
        raise ValueError(f"penalty {penalty!r} has both an L1 and a group part, whose sum has no solver")
    if penalty.l1:
        return L1(penalty.l1)
    return GroupL1(penalty.group) if penalty.group else None


def fista(problem: ProblemToSolve, *, step: float | None = None) -> Generator[Step, None, Outcome]:
    """Minimise by accelerated proximal gradient; two passes over the data an iteration, at first a few more.

    Converged means: the norm of the proximal gradient (x - prox(x - s grad f(x))) / s at the returned point,
    all of W and b together, is at most `tol` times the norm of grad f at zero, and, if there is a penalty,
    the duality gap at most `tol` times the value.

    Parameters
    ----------
    problem : ProblemToSolve
    step : float, default=None
        First step length; None: from the curvature along the first gradient.

    Yields
    ------
    Step

    Returns
    -------
    Outcome
    """
    if step is not None and not (math.isfinite(step) and step > 0):
        raise ValueError(f"step must be finite and > 0; got {step!r}")
    return _iterate(_Workspace(problem), problem, step)


@dataclass(slots=True)
class _Run:
    """What one iteration hands on to the next, besides the arrays."""

    f_y: float  # at y, if the gradient there is known
    gradient_is_known: bool
    scale: float  # norm of the gradient at zero
    step: float
    t: float = 1.0
    patience: int = 1  # steps without a failure before one tries to grow
    n_accepted: int = 0  # how many there have been
    n_refused: int = 0  # times that the residual was small by rounding alone
    residual: float = math.inf
    value: float = math.nan  # at x
    gap: float = math.nan
    share: float = 1.0  # of `tol`, to which the residual must fall before one looks at the gap (again)
    is_certified: bool = False  # the residual, and the gap if there is one, are those of x
    is_stuck: bool = False

    def is_met(self, tol: float, has_gap: bool) -> bool:
        """Whether that is enough."""
        is_small = self.is_certified and self.residual <= tol
        return is_small and (not has_gap or self.gap <= tol * abs(self.value))


def _iterate(work: _Workspace, problem: ProblemToSolve, step: float | None) -> Generator[Step, None, Outcome]:
    run = _first_state(work, step) if problem.resume is None else _resumed_state(work, problem.resume)
    tol = problem.tol
    has_gap = _is_positive(problem.objective.penalty)

    def state() -> Mapping[str, Any]:
        arrays = {"y": work.y.flat} | ({"gradient": work.gradient.flat} if run.gradient_is_known else {})
        return arrays | asdict(run) | {"n_passes": work.n_passes}

    while True:
        if tol is not None and run.is_met(tol, has_gap):
            if has_gap:
                return proven(run.gap, run.value)
            return stationary(problem.objective, work.x.W, work.x.b, run.residual)
        if run.is_stuck:
            reached = f"duality gap {run.gap:.2g}" if has_gap else f"relative residual {run.residual:.2g}"
            return Outcome(False, f"{_stuck(work.dtype)} ({reached})")
        if not run.gradient_is_known:
            run.f_y = work.gradient_at(work.y)
        previous_step = run.step
        grows = run.n_accepted >= run.patience
        if grows:
            run.step = min(_GROWTH * run.step, max(work.longest_step, run.step))
        for n_halvings in range(_MOST_HALVINGS):
            accepted, run.value = work.try_step(run.f_y, run.step)
            if accepted:
                break
            if n_halvings == 0 and grows:
                run.step, run.patience = previous_step, min(2 * run.patience, _MOST_PATIENCE)
            else:
                run.step /= 2
            run.n_accepted = 0
        else:
            return Outcome(False, _stuck(work.dtype))
        run.n_accepted += 1
        run.residual = work.norm(work.difference.flat) / run.step / run.scale

        np.subtract(work.new.flat, work.x.flat, out=work.scratch)
        uphill = work.dot(work.difference.flat, work.scratch) < 0
        t_next = 1.0 if uphill else (1 + math.sqrt(1 + 4 * run.t**2 * previous_step / run.step)) / 2
        np.multiply(work.scratch, 0 if uphill else (run.t - 1) / t_next, out=work.y.flat)
        np.add(work.y.flat, work.new.flat, out=work.y.flat)
        work.x, work.new = work.new, work.x
        run.t, run.gradient_is_known, run.is_certified, run.gap = t_next, False, False, math.nan

        if tol is not None and run.residual <= run.share * tol:
            # measured at y with the gradient there; what counts is the returned point
            work.y.flat[...] = work.x.flat
            run.f_y = work.gradient_at(work.x)
            distance, run.residual = run.residual, work.proximal_gradient_norm(run.step) / run.scale
            run.n_refused += run.residual > run.share * tol
            run.is_stuck = distance == 0 or run.n_refused == _MOST_REFUSALS
            run.t, run.gradient_is_known, run.is_certified = 1.0, True, True
            if has_gap:
                run.gap = work.gap_at_x(run.value)
                if run.gap > tol * abs(run.value):  # it falls with the square of the residual in the end
                    run.share = min(0.5, max(0.1, math.sqrt(tol * abs(run.value) / run.gap))) * run.share
        gap = None if math.isnan(run.gap) else run.gap
        yield Step(
            work.x.W, work.x.b, run.value, work.n_passes, dual_gap=gap, residual=run.residual, state=state
        )


def _is_positive(penalty: Penalty | None) -> bool:
    return penalty is not None and (penalty.l1 > 0 or penalty.l2 > 0 or penalty.group > 0)


def _first_state(work: _Workspace, step: float | None) -> _Run:
    f_x = work.gradient_at(work.x)
    scale = work.norm_at_zero() or 1.0
    step = work.first_step(f_x) if step is None else step
    work.y.flat[...] = work.x.flat
    return _Run(f_x, True, scale, step)


def _resumed_state(work: _Workspace, saved: Mapping[str, Any]) -> _Run:
    work.y.flat[...] = saved["y"]
    if saved["gradient_is_known"]:
        work.gradient.flat[...] = saved["gradient"]
    work.n_passes = int(saved["n_passes"])
    return _Run(**{field.name: saved[field.name] for field in fields(_Run)})


def _stuck(dtype: np.dtype[Any]) -> str:
    advice = "use dtype=float64" if dtype == np.float32 else "bring the features to a common scale"
    return f"no step, however short, lowers the objective beyond the rounding of {dtype}; {advice}"


class _Point:
    """W and b in one flat array."""

    __slots__ = ("W", "b", "flat")

    def __init__(self, W: Array, with_intercept: bool) -> None:
        self.flat: Array = np.zeros(W.size + (len(W) if with_intercept else 0), W.dtype)
        self.W: Array = self.flat[: W.size].reshape(W.shape)
        self.b: Array | None = self.flat[W.size :] if with_intercept else None


class _Workspace:
    """The buffers of a fit, and the operations on them: an iteration allocates nothing of the size of W."""

    def __init__(self, problem: ProblemToSolve) -> None:
        self.objective = problem.objective
        self.rest = nonsmooth_part(problem.objective.penalty)
        self.dtype = problem.W.dtype
        points = [_Point(problem.W, problem.b is not None) for _ in range(5)]
        self.x, self.new, self.y, self.difference, self.gradient = points
        self.x.W[...] = problem.W
        if problem.b is not None and self.x.b is not None:
            self.x.b[...] = problem.b
        self.scratch, self.products = np.empty_like(self.x.flat), np.empty_like(self.x.flat)
        # the core always gives the gradient of an intercept; without one it goes nowhere
        unused = np.empty(len(problem.W), self.dtype)
        self.gradient_out = (self.gradient.W, unused if self.gradient.b is None else self.gradient.b)
        self.slack = 10 * float(np.finfo(self.dtype).eps)
        # where the gradient vanishes every step is accepted, until it is infinite
        self.longest_step = math.sqrt(float(np.finfo(self.dtype).max))
        self.n_passes = 0

    def dot(self, a: Array, b: Array) -> float:
        # not by a BLAS, whose sums depend on its number of threads
        np.multiply(a, b, out=self.products)
        return float(self.products.sum(dtype=np.float64))

    def norm(self, a: Array) -> float:
        return math.sqrt(self.dot(a, a))

    def gradient_at(self, point: _Point) -> float:
        """Put grad f(point) into `gradient`, and return f(point)."""
        self.n_passes += 1
        return float(self.objective.smooth_value_and_grad(point.W, point.b, out=self.gradient_out).value)

    def gap_at_x(self, value: float) -> float:
        """Return the duality gap at x, where `gradient` is grad f(x)."""
        self.n_passes += 1
        penalty, x = self.objective.penalty, self.x
        grad_W = self.gradient.W - 2 * (0.0 if penalty is None else penalty.l2) * x.W
        grad_b = np.zeros(len(x.W), self.dtype) if self.gradient.b is None else self.gradient.b
        return float(self.objective._certificate(x.W, x.b, value, (grad_W.astype(self.dtype), grad_b)))

    def norm_at_zero(self) -> float:
        """Return the norm of grad f at zero, where `gradient` is now grad f(x)."""
        if self.x.flat.any():
            self.new.flat[...] = 0
            self.n_passes += 1
            at_zero = self.objective.smooth_value_and_grad(self.new.W, self.new.b)
            parts = [at_zero.grad_W] if self.new.b is None else [at_zero.grad_W, at_zero.grad_b]
            return math.sqrt(sum(float(np.sum(np.square(part, dtype=np.float64))) for part in parts))
        return self.norm(self.gradient.flat)

    def first_step(self, f_x: float) -> float:
        """Return 1 / curvature of f between x and a point down the gradient where f is lower by about 1 %."""
        squared = self.dot(self.gradient.flat, self.gradient.flat)
        if squared == 0:
            return 1.0
        length = 0.01 * max(abs(f_x), 1e-3) / squared
        self.scratch[...] = self.gradient.flat
        np.multiply(self.gradient.flat, -length, out=self.new.flat)
        np.add(self.new.flat, self.x.flat, out=self.new.flat)
        self.gradient_at(self.new)
        np.subtract(self.gradient.flat, self.scratch, out=self.new.flat)
        curvature = self.norm(self.new.flat) / (length * math.sqrt(squared))
        self.gradient.flat[...] = self.scratch
        return 1 / curvature if curvature > 0 else length

    def step_from(self, origin: _Point, step: float, out: _Point) -> None:
        """Put prox(origin - step * gradient) into `out`."""
        np.multiply(self.gradient.flat, -step, out=out.flat)
        np.add(out.flat, origin.flat, out=out.flat)
        if self.rest is not None:
            self.rest.prox(out.W, step, out=out.W)

    def try_step(self, f_y: float, step: float) -> tuple[bool, float]:
        """Make `new` from y, and `difference` = new - y.

        Return whether f falls as much as it should, and the objective at new.
        """
        self.step_from(self.y, step, self.new)
        np.subtract(self.new.flat, self.y.flat, out=self.difference.flat)
        self.n_passes += 1
        try:
            value = float(self.objective.value(self.new.W, self.new.b))
        except OverflowError:  # a step far too long
            return False, math.inf
        f_new = value if self.rest is None else value - self.rest.value(self.new.W)
        slope = self.dot(self.gradient.flat, self.difference.flat)
        model = slope + self.dot(self.difference.flat, self.difference.flat) / (2 * step)
        return f_new - f_y <= model + self.slack * abs(f_y), value

    def proximal_gradient_norm(self, step: float) -> float:
        """Return ||x - prox(x - step * gradient)|| / step.

        In double, because x - step * gradient may round to x in float32.
        """
        W = self.x.W.astype(np.float64)
        moved = W - step * self.gradient.W
        if self.rest is not None:
            self.rest.prox(moved, step, out=moved)
        moved -= W
        moved /= step
        squares = float(np.square(moved).sum())
        if self.gradient.b is not None:
            squares += float(np.square(self.gradient.b, dtype=np.float64).sum())
        return math.sqrt(squares)
