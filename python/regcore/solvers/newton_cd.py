"""Proximal Newton by coordinate descent on a working set, for smooth losses whose penalty makes weights zero.

A step minimises a quadratic model of the loss plus the penalty over the weights of a working set, one weight
(or one feature, with a group penalty) at a time, in the core: see ``src/regcore/coordinate.c``. It costs the
nonzeros of the working set's columns, not a pass over the data. Passes are for certificates: the slopes of
the losses, which the core knows from its steps, give by one product with X the gradient in all weights, and
with it the duality gap and the weights that have to enter the working set, those whose slopes exceed the
penalty's strength most (after Johnson and Guestrin, "Blitz: a principled meta-algorithm for scaling sparse
optimization", ICML 2015, and Massias, Gramfort and Salmon, "Celer: a fast solver for the lasso with dual
extrapolation", ICML 2018). The working set about doubles from one pass to the next until it has all of them,
and is solved the more accurately the fewer are missing. With a weak penalty on CSR the first steps are those
of `regcore.solvers.dual_cross_entropy.ascend_first`.

Where the weights that move are few, their model is solved by its matrix of second derivatives: see
``src/regcore/gram.c``. With one output, many samples and not too many features there is no working set of
columns, but a matrix of all samples: see `regcore.solvers.newton_matrix`.

Converged means that the duality gap is at most `tol` times the objective (or 2**-52, if that is less), or,
without a penalty, that the relative norm of the gradient is at most `tol`.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore.losses import Loss
from regcore.solvers.dual_cross_entropy import ascend_first, starts_in_the_dual
from regcore.solvers.newton_matrix import has_matrix, newton_matrix
from regcore.solvers.outcomes import NO_MINIMUM
from regcore.solvers.protocol import Outcome, ProblemToSolve, Request, Step

if TYPE_CHECKING:
    import numpy.typing as npt

    from regcore.solvers.protocol import ObjectiveLike

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["Descent", "newton_cd"]

_LEAST_SIZE = 100  # weights that enter the working set at a time, at least
_REDUCTION = 0.3  # of the steps of a sweep, at which the sweeps of a model end
_FIRST_SWEEPS, _MOST_SWEEPS = 8, 60  # of a model; few while it will soon be another one
_MOST_STEPS = 25  # between two certificates
_FEW_STEPS = 3  # of an iteration, where they take less time than what comes with it
_LOOSEST, _TIGHTEST = 0.3, 1e-15  # relative violation that is left in a working set
_SHARE_OF_OUTSIDE = 0.2  # of the violation outside, to which that inside is reduced
_SHARE_OF_TOL = 1.0  # a violation of this share of tol should do: the last step reduces it still
_INTERCEPT_SHARE = 0.1  # slope of an intercept, in relative violations times the objective
_WITHOUT_TOL = 1e-6
_LARGE = 10_000  # scores; from there on a certificate costs less than a few steps ...
_SMALL = 1 << 18  # weights of a model, of which several are certified at once
_FIRST_AIM = 0.03  # ... and the first of a neighbour is taken at this violation, in case something is missing
_WORTH_A_LOOK = 4.0  # passes that steps have cost, after which a certificate is cheap
_MOST_STALLED = 8  # certificates that are no better than the best
_AT_ROUNDING = 1e-6


def newton_cd(problem: ProblemToSolve) -> Generator[Step | Request, Any, Outcome]:
    """Minimise a smooth loss with any penalty; meant for those that make most weights zero.

    Parameters
    ----------
    problem : ProblemToSolve

    Yields
    ------
    Step or Request

    Returns
    -------
    Outcome
    """
    if not hasattr(problem.objective, "_coordinate_descent"):
        raise TypeError("solver='newton-cd' needs the samples themselves: an Objective over data in memory")
    if has_matrix(problem.objective):
        return newton_matrix(problem)
    return _begin_and_iterate(problem)


def _begin_and_iterate(problem: ProblemToSolve) -> Generator[Step | Request, Any, Outcome]:
    n_passes = 0.0
    if starts_in_the_dual(problem):
        problem, n_passes = yield from ascend_first(problem)
    descent = Descent(problem.objective, problem.W, problem.b)
    descent.run.n_passes = n_passes
    return (yield from _iterate(descent, problem))


def _iterate(descent: Descent, problem: ProblemToSolve) -> Generator[Step | Request, Any, Outcome]:
    tol = problem.tol
    if problem.resume is None:
        descent.begin()
        if tol is not None and descent.is_met(tol):
            yield descent.reached()  # there is nothing to do, and this is what was found
    else:
        descent.resume(problem.resume)
    while True:
        outcome = descent.outcome(tol)
        if outcome is not None:
            return outcome
        descent.advance(tol, _FEW_STEPS if descent.is_small else 1)
        yield descent.reached()


@dataclass(slots=True)
class _Run:
    """What one iteration hands on to the next, besides the arrays."""

    value: float = math.nan
    gap: float = math.nan
    residual: float = math.nan
    n_passes: float = 0.0
    is_checked: int = 0  # the gap and the slopes are those of this point
    n_steps: int = 0  # since the last certificate
    n_passes_checked: float = 0.0  # at the last certificate
    is_solved: int = 1  # the working set, to its aim, by the last step
    n_sweeps: int = 0  # of a step at most
    size: int = 0  # of the working set
    aim: float = _LOOSEST  # relative violation in the working set at which it counts as solved
    target: float = math.nan  # the same once nothing is missing
    best: float = math.inf  # the least gap or residual
    n_stalled: int = 0
    n_failures: int = 0  # steps that did not lower the objective


class Descent:
    """The iterate on its working set; for one objective after another that differ in their penalties only.

    Parameters
    ----------
    objective : Objective
    W : ndarray of shape (n_outputs, n_features)
        Where to start; the first array of the iterates, and the caller's no more.
    b : ndarray of shape (n_outputs,) or None
    """

    def __init__(self, objective: ObjectiveLike, W: Array, b: Array | None) -> None:
        self._loop: Any = objective._coordinate_descent(W.dtype, intercept=b is not None)  # type: ignore[attr-defined]
        self.dtype = W.dtype
        self.W, self.b = W, b
        self._spare: Array | None = None  # the other array of two that take turns in being yielded
        self._columns: Array | None = None  # of the lists of a step; None: those of the core
        self._starts: Array | None = None
        self._is_listed = False
        self._sums: Array | None = None  # of the classes, and their shares of the weights
        self._shares: Array | None = None
        self._largest = math.nan
        self.run = _Run()
        self.set_objective(objective)
        self._n_visited = float(objective._stored_numbers) * len(W)  # type: ignore[attr-defined]

    def set_objective(self, objective: ObjectiveLike) -> None:
        """Take another penalty, from where the iterate is."""
        penalty = objective.penalty
        self.objective = objective
        l1, l2, group = (0.0, 0.0, 0.0) if penalty is None else (penalty.l1, penalty.l2, penalty.group)
        if l1 and group:
            raise ValueError(f"penalty {penalty!r} has both an L1 and a group part, whose sum has no solver")
        self._triple = l1, l2, group
        self._kink = l1 or group
        self.has_penalty = l1 > 0 or l2 > 0 or group > 0
        self.is_small = objective.n_samples * len(self.W) < _LARGE and self.W.size <= _SMALL

    # ------------------------------------------------ the point

    def begin(self) -> None:
        """Evaluate the start and its certificate.

        Without weights, the intercepts of cross_entropy begin at their best, the logarithms of the classes'
        shares.
        """
        self._sum_classes()
        support = np.flatnonzero(self.W.any(axis=0))
        at_zero = not len(support) and self._sums is not None and self.objective.loss is Loss.CROSS_ENTROPY
        if at_zero and self.b is not None and self._shares is not None and self._shares.all():
            logarithms = np.log(self._shares)
            self.b[:] = logarithms[1] - logarithms[0] if len(self.b) == 1 else logarithms - logarithms.mean()
        self._enter(support)
        weights = np.ascontiguousarray(self.W[:, support].T, np.float64)
        self._loop.set(weights, np.zeros(len(self.W)) if self.b is None else self.b.astype(np.float64))
        self.run.value = self._loop.settle(self._triple)
        if at_zero:
            self._loop.look_at_zero(self._sums)
        else:
            self._look()
        self._certify()

    def _sum_classes(self) -> None:
        """Find what certificates need of the classes with an intercept: a pass, once for all fits."""
        if self.b is None:
            return
        sums, shares = self.objective._class_sums(self.dtype)  # type: ignore[attr-defined]
        self._sums, self._shares = sums[0], shares[0].astype(np.float64)
        self.run.n_passes += 1

    def _look(self) -> None:
        self._loop.look(self.objective.n_threads)
        self.run.n_passes += 1

    def _take_over(self) -> None:
        """Make the core's weights the iterate, in the type of the computation."""
        W = np.zeros_like(self.W) if self._spare is None else self._spare
        b = None if self.b is None else np.empty_like(self.b)
        self._loop.write(W, b)
        self._spare, self.W, self.b = self.W, W, b

    def check(self) -> None:
        """Evaluate the iterate as it is rounded, and its certificate: one pass."""
        self.run.value = self._loop.settle(self._triple)
        self._take_over()
        self._look()
        self._certify()

    def _certify(self) -> None:
        run, loop = self.run, self._loop
        if not self.has_penalty:
            run.residual = float(self.objective._stationarity(self.W, self.b, loop.gradient()))
        elif self._has_absent_classes:
            slopes = np.empty((self.objective.n_samples, len(self.W)), self.dtype)
            loop.slopes(slopes)
            run.gap = float(
                self.objective._certificate(self.W, self.b, run.value, loop.gradient(), dual=slopes)
            )
        else:
            run.gap = loop.gap(self._triple, run.value, self._sums, self._shares)
        run.is_checked, run.n_steps, run.n_passes_checked = 1, 0, run.n_passes

    @property
    def _has_absent_classes(self) -> bool:
        """Whether a class has no samples, whose intercept has no minimum then."""
        return self.b is not None and self._shares is not None and not self._shares.all()

    # ------------------------------------------------ from one penalty to the next

    def go_on_with(self, objective: ObjectiveLike, tol: float | None) -> None:
        """Take another penalty of the same kind, of which this iterate is a neighbour's minimiser.

        The slopes of the neighbour say which weights will not be zero: few change by more than the strength
        does (Tibshirani et al., "Strong rules for discarding predictors in lasso-type problems", Journal of
        the Royal Statistical Society B 74, 2012).
        """
        before, run = self._kink, self.run
        self.set_objective(objective)
        self.run = _Run(value=run.value, n_passes=run.n_passes, size=run.size)
        self.begin_round(tol, margin=max(before - self._kink, 0.0) / max(self._kink, 1e-300))
        self.run.aim = self.run.target if self.is_small else max(_FIRST_AIM, self.run.target)

    def solve(self, tol: float | None, max_iter: int) -> Outcome:
        """Iterate to the end."""
        n_left = max_iter
        while n_left > 0:
            outcome = self.outcome(tol)
            if outcome is not None:
                return outcome
            n_left -= self.advance(tol, min(_MOST_STEPS, n_left))
        if not self.run.is_checked:
            self.check()
        found = self.outcome(tol)
        if found is None:
            gap, value = self.run.gap, self.run.value
            message = (
                f"max_iter={max_iter} came before tol, with a dual gap of {gap:.2g} at value {value:.6g}"
            )
            found = Outcome(False, message)
        return found

    # ------------------------------------------------ the working set

    def _enter(self, features: Array) -> None:
        """Copy those columns that are not there yet."""
        before = self._loop.n_columns
        if len(features):
            self._loop.add(features)
        self._count(self._loop.n_columns - before)

    def _count(self, n_columns: int) -> None:
        """Add what it costs to copy so many columns."""
        if n_columns:
            self.run.n_passes += 1 if self.objective._is_sparse else n_columns / self.W.shape[1]  # type: ignore[attr-defined]

    def begin_round(self, tol: float | None, margin: float = 0.0) -> None:
        """Choose the working set from the slopes of all weights, and how well it is to be solved.

        Weights enter whose slopes exceed the strength, or come so close to it, as a share of it.
        """
        run = self.run
        if math.isnan(run.target):
            run.target = _SHARE_OF_TOL * (tol or _WITHOUT_TOL)
        if self._kink:
            before = self._loop.n_columns
            outside, size = self._loop.choose(self._triple, margin, max(_LEAST_SIZE, run.size))
            self._count(self._loop.n_columns - before)
            self._columns, self._starts, self._is_listed = None, None, True
            self._largest = self._kink
        else:
            outside, size = self._take_all()
        self._tighten(outside, tol)
        run.size = size
        run.is_checked = 0

    def _take_all(self) -> tuple[float, int]:
        """Without a kink, all weights take part."""
        C, D = self.W.shape
        outside = 1.0 if self._columns is None else 0.0
        if self._columns is None:
            self._enter(np.arange(D))
            self._columns, self._starts = np.tile(np.arange(D), C), np.arange(C + 1) * D
        if math.isnan(self._largest):
            self._largest = max(float(np.abs(self._loop.gradient()[0]).max()), 1e-300)
        return outside, C * D

    def _tighten(self, outside: float, tol: float | None) -> None:
        """Say how well the working set is to be solved: no better than what is missing in it deserves."""
        run = self.run
        if outside > 2 * run.aim or run.size == 0:
            run.aim = min(_LOOSEST, max(_SHARE_OF_OUTSIDE * outside, run.target))
            return
        if not run.is_solved:
            return
        measure = run.gap / max(abs(run.value), 1e-300) if self.has_penalty else run.residual
        missing = measure / tol if tol else 10.0
        aim = run.aim * min(max(0.5 / missing, 0.01), 0.3)
        if run.aim <= run.target:
            run.target = max(aim, _TIGHTEST)
        run.aim = max(aim, run.target)

    # ------------------------------------------------ iterations

    def advance(self, tol: float | None, n_steps: int = 1) -> int:
        """Take a step, or at most so many, return how many; certify the end if the working set is solved."""
        run = self.run
        if run.is_checked:
            self.begin_round(tol)
        n_taken, is_solved, share = self._step(n_steps)
        run.n_steps += n_taken
        run.n_failures = run.n_failures + 1 if share == 0 else 0
        run.is_solved = int(is_solved)
        has_cost = run.n_passes - run.n_passes_checked >= _WORTH_A_LOOK
        if is_solved or has_cost or run.n_steps >= _MOST_STEPS:
            self.check()
            if not is_solved:
                run.n_sweeps = min(2 * run.n_sweeps, _MOST_SWEEPS)
            measure = run.gap if self.has_penalty else run.residual
            run.n_stalled = run.n_stalled + 1 if measure > 0.9 * run.best else 0
            run.best = min(run.best, measure)
        return n_taken

    def _step(self, n_steps: int) -> tuple[int, bool, float]:
        """At most so many steps; return how many, whether the working set is solved, and the last share."""
        run = self.run
        if not run.n_sweeps:
            run.n_sweeps = _MOST_SWEEPS if self.is_small else _FIRST_SWEEPS
        enough = run.aim * self._largest
        enough_b = _INTERCEPT_SHARE * run.aim * max(abs(run.value), 1e-300)
        loss, penalty, violation, residual, share, n_taken, numbers = self._loop.step(
            self._columns, self._starts, self._triple, _REDUCTION, run.n_sweeps, n_steps, enough, enough_b
        )
        run.value = loss + penalty
        run.gap = run.residual = math.nan
        run.n_passes += numbers / self._n_visited
        is_solved = (violation <= enough and residual <= enough_b) or share == 0
        return n_taken, is_solved, share

    def is_met(self, tol: float) -> bool:
        """Whether the criterion of the module's description is met."""
        run = self.run
        if not self.has_penalty:
            return run.residual <= tol
        return run.gap <= tol * max(abs(run.value), float(np.finfo(np.float64).eps))

    def outcome(self, tol: float | None) -> Outcome | None:
        """How the fit ends here, if it does."""
        run = self.run
        if not run.is_checked or tol is None:
            return None
        if self.is_met(tol):
            if self.has_penalty:
                share = run.gap / abs(run.value) if run.value else 0.0
                return Outcome(True, f"the duality gap fell to {share:.2g} of the objective")
            if self.objective._separates(self.W, self.b):
                return NO_MINIMUM
            return Outcome(True, f"the gradient fell to {run.residual:.2g} of that at zero")
        if run.n_stalled >= _MOST_STALLED or run.n_failures >= 2:
            if not self.has_penalty and self.objective._separates(self.W, self.b):
                return NO_MINIMUM
            return Outcome(False, self._stuck())
        return None

    def _stuck(self) -> str:
        run = self.run
        reached = (
            f"duality gap {run.gap:.2g}" if self.has_penalty else f"relative residual {run.residual:.2g}"
        )
        advice = "use dtype=float64" if self.dtype == np.float32 else "raise tol, or scale the features alike"
        return f"no step lowers the objective beyond the rounding of {self.dtype} ({reached}); {advice}"

    # ------------------------------------------------ what the fit sees

    def reached(self) -> Step:
        """Return the iterate as a step of the fit."""
        run = self.run
        if not run.is_checked:
            self._take_over()
        return Step(
            self.W,
            self.b,
            run.value,
            run.n_passes,
            dual_gap=None if math.isnan(run.gap) else run.gap,
            residual=None if math.isnan(run.residual) else run.residual,
            value_is_estimate=not run.is_checked and self.dtype == np.float32,
            state=self.state,
        )

    def state(self) -> Mapping[str, Any]:
        """Return what the next iteration needs besides W and b."""
        columns, starts = self._columns, self._starts
        if self._is_listed:
            columns, starts = self._loop.listed(self._triple[2] > 0)
        found: dict[str, Any] = self._loop.state() | asdict(self.run) | {"features": self._loop.features}
        if columns is not None and starts is not None:
            found |= {"columns": columns, "starts": starts}
        return found | {"largest": self._largest}

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Go on from such a state."""
        self._sum_classes()
        self._enter(saved["features"])
        self._columns, self._starts = saved.get("columns"), saved.get("starts")
        self._largest = saved["largest"]
        self._loop.set_state(saved)
        self.run = _Run(**{field.name: saved[field.name] for field in fields(_Run)})
        if self.run.is_checked:
            self._loop.look(self.objective.n_threads)
