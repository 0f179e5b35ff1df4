"""Dual coordinate ascent for cross_entropy with an L2 part in the penalty; the loop is compiled.

A sample's dual variables are probabilities p_i of the classes: with the slopes g_i = p_i - e_y and V = sum_i
w_i g_i x_i' (w scaled to a sum of 1) the dual is

    D(p) = -sum_i w_i sum_j p_ij log p_ij - R*(-V),   as long as  sum_i w_i g_i = 0  if the intercept is free.

R* is smooth where R has an L2 part. Each sample in turn takes the exact step in its own p_i, see
``src/regcore/dual_softmax.h``; W follows at once, so that an epoch, which costs about two passes over the
data, is worth far more than a gradient. The number of epochs grows with

    q = mean ||x||**2 / (2 l2 n_samples),

what a sample's own step changes its scores by: a dozen do for a gap of 1e-6 at q = 10, whatever the features
look like. So this is the fastest solver on text, whose rows have few features each and no common scale to be
found by a change of variables; `work_per_sample` tells "auto" where. A free intercept has a proximal term,
whose centre moves after each epoch. Large CSR matrices are visited in two blocks, as with the hinges.

The certificate is that of `Objective.dual_gap` at p. It costs about as much as an epoch, and is only asked
for once the divergences of p_i from the softmax of the scores, which the epochs sum up as they go, say that
the gap will be small enough: at the optimum they are what the gap is made of.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from regcore.losses import Loss
from regcore.solvers.outcomes import proven
from regcore.solvers.protocol import Outcome, ProblemToSolve, Step

if TYPE_CHECKING:
    from regcore.solvers.protocol import Array, ObjectiveLike

__all__ = ["ascend_first", "dual_cross_entropy", "has_probabilities", "starts_in_the_dual", "work_per_sample"]

_EPOCHS = 2  # a step
_SEED = 0  # of the samples' order: "auto" takes this solver, and gives the same bits in every run
_FIRST_WORK, _LAST_WORK = 10.0, 90.0  # a sample's step around a centre, as q; doubled from one to the next
_STEPS_AROUND_CENTRES = 8
_WEAK = 0.02  # an L1 penalty, beside the largest slope at zero
_INTERCEPT_SHARE, _INTERCEPT_WORK = 0.1, 1.0  # of the features' part of a sample's step, and at least
_ABSENT = -100.0  # intercept of a class without samples
_MOST_UNCHECKED = 16  # steps
_LESS, _MOST_STALLED = 0.9, 3  # looks at a gap that does not fall to this share ...
# ... and is so small that rounding may be the reason, by the bytes of a number
_ROUNDING = {4: 1e-4, 8: 1e-11}


def has_probabilities(objective: ObjectiveLike) -> bool:
    """Whether the dual variables are probabilities, and R* is smooth: what this module is for."""
    penalty = objective.penalty
    return penalty is not None and penalty.l2 > 0 and _has_steps(objective)


def _has_steps(objective: Any) -> bool:
    """Whether the core has steps for the samples, if need be around a centre."""
    penalty = objective.penalty
    return (
        objective.loss is Loss.CROSS_ENTROPY
        and penalty is not None
        and not (penalty.l1 and penalty.group)
        and hasattr(objective, "_dual_ascent")
        and objective._has_plain_labels
        and not (objective._is_sparse and objective._standardization is not None)
    )


def work_per_sample(objective: ObjectiveLike) -> float:
    """The q of the module's description, which the number of epochs grows with."""
    assert objective.penalty is not None
    return _mean_square(objective) / (2 * objective.penalty.l2 * objective.n_samples)


def _mean_square(objective: ObjectiveLike) -> float:
    known: float | None = objective._mean_square  # type: ignore[attr-defined]
    return float(objective._column_moments()[1].sum()) if known is None else known


def dual_cross_entropy(problem: ProblemToSolve) -> Generator[Step, None, Outcome]:
    """Minimise cross_entropy with an L2 part by dual coordinate ascent; an iteration is two epochs.

    Converged means that the duality gap is at most `tol` times the objective.

    Parameters
    ----------
    problem : ProblemToSolve

    Yields
    ------
    Step

    Returns
    -------
    Outcome

    References
    ----------
    Shalev-Shwartz and Zhang, "Stochastic dual coordinate ascent methods for regularized loss minimization",
    Journal of Machine Learning Research 14 (2013). Yu, Huang and Lin, "Dual coordinate descent methods for
    logistic regression and maximum entropy models", Machine Learning 85 (2011). Rockafellar, "Augmented
    Lagrangians and applications of the proximal point algorithm in convex programming", Mathematics of
    Operations Research 1 (1976): the intercept.
    """
    ascent = _Ascent(problem)
    run, tol = ascent.run, problem.tol
    while True:
        if tol is not None and run.gap <= tol * abs(run.value):
            return proven(run.gap, run.value)
        if run.n_stalled >= _MOST_STALLED and tol is not None:
            return Outcome(False, ascent.stalled())
        if run.n_unchecked == 0 and run.n_stalled:
            ascent.renew()
        ascent.step()
        if tol is not None and ascent.is_worth_a_look(tol):
            ascent.look()
        yield ascent.reached()


def starts_in_the_dual(problem: ProblemToSolve) -> bool:
    """Whether `ascend_first` pays for a penalty that makes weights zero: on CSR, from zero, if it is weak.

    From zero, steps by a quadratic model of a nearly separable problem are far too long, and a working set
    has to be doubled many times.
    """
    objective, penalty = problem.objective, problem.objective.penalty
    if problem.resume is not None:
        return "divergence" in problem.resume
    if penalty is None or problem.tol is None or not (penalty.l1 or penalty.group) or problem.W.any():
        return False
    if not (_has_steps(objective) and objective._is_sparse):  # type: ignore[attr-defined]
        return False
    _, slopes, _ = objective._data_term(problem.W, problem.b)
    if penalty.group:
        largest = float(np.sqrt(np.einsum("cd,cd->d", slopes, slopes)).max())
    else:
        largest = float(np.abs(slopes).max())
    return (penalty.l1 or penalty.group) < _WEAK * largest


def ascend_first(problem: ProblemToSolve) -> Generator[Step, None, tuple[ProblemToSolve, float]]:
    """Begin with dual ascent around centres, for a solver that is good near the optimum.

    Without an L2 part, or with a weak one, each step has a proximal term ||W - W_c||**2 / (2 step) around the
    weights where the last one ended (Rockafellar), so that R* is smooth. Some such steps come near the
    optimum and its support where steps by a quadratic model would be far too long.

    Returns
    -------
    problem : ProblemToSolve
        The same from there on.
    n_passes : float
        What it has cost.
    """
    ascent = _Ascent(problem, around_centres=True)
    while ascent.run.n_steps < _STEPS_AROUND_CENTRES:
        ascent.step()
        yield ascent.reached()
    return replace(problem, W=ascent.W, b=ascent.intercept, resume=None), ascent.run.n_passes


@dataclass(slots=True)
class _Run:
    """Where the ascent is, besides the loop's own state."""

    value: float = math.nan
    gap: float = math.nan
    n_passes: float = 0.0
    divergence: float = math.nan  # of the last epoch ...
    shrinks: float = 1.0  # ... and what an epoch leaves of it
    ratio: float = 1.0  # of the gap to what the divergence had made expect, at the last look
    n_unchecked: int = 0  # steps since then
    best: float = math.inf
    n_stalled: int = 0
    n_steps: int = 0
    work: float = _FIRST_WORK  # around a centre


class _Ascent:
    """The compiled loop, and the certificate."""

    def __init__(self, problem: ProblemToSolve, *, around_centres: bool = False) -> None:
        objective: Any = problem.objective
        self.objective = objective
        self.n_threads: int = objective._n_threads
        self.dtype = problem.W.dtype
        self.is_free = problem.b is not None
        self.around_centres = around_centres
        self.W, self._other = problem.W, np.empty_like(problem.W)
        self.b = np.zeros(len(problem.W), self.dtype) if problem.b is None else problem.b
        self._slopes = np.empty((objective.n_samples, len(self.W)), self.dtype)
        self._mean_square = _mean_square(objective) or 1.0
        self._loop = objective._dual_ascent(
            self.dtype, objective._standardization, proximal=around_centres, metric=None, seed=_SEED
        )
        self.run = _Run(n_passes=1.0)  # the rows' norms
        b = self.b.astype(np.float64)
        if self.is_free and len(b) > 1:
            b[objective._class_sums(self.dtype)[1].ravel() == 0] = _ABSENT
            self.run.n_passes += 1
        self._set_centre(b)
        if problem.resume is not None:
            self._loop.set_state(problem.resume)
            self.run = _Run(**{field.name: problem.resume[field.name] for field in fields(_Run)})
        elif self.W.any() or self.b.any():
            self._begin_at_given_scores()

    def _set_centre(self, b: Array) -> None:
        """Let the next steps begin at W and b: W is only looked at where there are centres."""
        l2, step = self.objective.penalty.l2, 0.0
        curvature = 1 / (2 * l2) if l2 else math.inf
        if self.around_centres:
            wanted = self.run.work * self.objective.n_samples / self._mean_square
            if wanted < curvature:
                curvature, step = wanted, 1 / (1 / wanted - 2 * l2)
        intercept_step = _INTERCEPT_SHARE * self._mean_square * curvature
        intercept_step = max(intercept_step, _INTERCEPT_WORK * self.objective.n_samples)
        self._loop.set_centre(self.W, b, step, intercept_step if self.is_free else 0.0)

    def _begin_at_given_scores(self) -> None:
        """Begin at the probabilities that a W and b have."""
        given = (self.W, self.b) if self.is_free else (self.W,)
        slopes = self.objective.predict_proba(*given).astype(self.dtype)
        y = self.objective._y
        if slopes.shape[1] > len(self.W):  # the binary form
            slopes = slopes[:, 1:] - (y == 1)[:, None]
        else:
            slopes[np.arange(len(y)), y] -= 1
        self._loop.set_state(self._loop.state() | {"slopes": slopes.astype(self.dtype)})
        self.renew()
        self.run.n_passes += 1

    def renew(self) -> None:
        """Compute the loop's weights anew: rounding adds up."""
        self._loop.refresh(np.empty(self.W.shape), np.empty(len(self.W)), self.n_threads)
        self.run.n_passes += 1

    def step(self) -> None:
        """Do some epochs, and evaluate where they lead."""
        run = self.run
        before = run.divergence
        n_centres, n_epochs = (1, _EPOCHS) if self.around_centres else (_EPOCHS, 1)
        run.divergence, n_visits = self._loop.run(n_centres, n_epochs, self.n_threads)
        run.shrinks = (run.divergence / before) ** (1 / _EPOCHS) if before > 0 else 1.0
        self.W, self._other = self._other, self.W
        b = np.empty(len(self.W))
        self._loop.parameters(self.W, b, False)
        self.b = b.astype(self.dtype)
        run.value = float(self.objective.value(self.W, self.intercept))
        run.n_passes += n_visits / self.objective.n_samples + 1
        run.n_steps += 1
        run.n_unchecked += 1
        run.gap = math.nan
        if self.around_centres and run.work < _LAST_WORK:
            run.work = min(2 * run.work, _LAST_WORK)
            self._set_centre(b)

    @property
    def intercept(self) -> Array | None:
        return self.b if self.is_free else None

    @property
    def _expected(self) -> float:
        """What the gap should be now, from what the samples met in the last epoch, were the ratio 1."""
        return self.run.divergence * min(self.run.shrinks, 1.0)

    def is_worth_a_look(self, tol: float) -> bool:
        """Whether the gap may be small enough, or rounding have ended the ascent."""
        run = self.run
        return run.ratio * self._expected <= tol * abs(run.value) or run.n_unchecked >= _MOST_UNCHECKED

    def look(self) -> None:
        """Compute the gap."""
        run = self.run
        self._loop.slopes(self._slopes)
        gradient = self.objective._adjoint(self._slopes, self.dtype)
        gap = self.objective._certificate(self.W, self.intercept, run.value, gradient, dual=self._slopes)
        run.gap = max(float(gap), float(np.finfo(self.dtype).eps) * run.value)  # the value itself is rounded
        run.n_passes += 1
        run.ratio = run.gap / self._expected if self._expected > 0 else 1.0
        may_be_rounding = run.gap <= _ROUNDING[self.dtype.itemsize] * max(1.0, run.value)
        run.n_stalled = run.n_stalled + 1 if may_be_rounding and run.gap > _LESS * run.best else 0
        run.best = min(run.best, run.gap)
        run.n_unchecked = 0

    def stalled(self) -> str:
        """Say what has ended the ascent, and what to change."""
        advice = "use dtype=float64" if self.dtype == np.float32 else "raise tol"
        return f"{self.dtype} gives nothing more (duality gap {self.run.gap:.2g}); {advice}"

    def reached(self) -> Step:
        """Return the iterate as a step of the fit."""
        run = self.run
        gap = None if math.isnan(run.gap) else run.gap
        return Step(self.W, self.intercept, run.value, run.n_passes, dual_gap=gap, state=self.state)

    def state(self) -> Mapping[str, Any]:
        """Return what the next iteration needs besides W and b."""
        found: dict[str, Any] = self._loop.state()
        return found | asdict(self.run)
