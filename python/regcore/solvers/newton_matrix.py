"""Proximal Newton by the matrix of second derivatives: one output, many samples, some hundred features.

A step minimises a quadratic model of the loss plus the penalty, in the core: ``src/regcore/gram.c``. The
first model is made of the second derivatives of a sample of the rows, for all weights; its step tells which
of them matter. The next ones are made of all rows, for the weights that are not zero or whose slopes come
close to the penalty's strength. Such a model serves for many steps: while the loss changes its curvature
little, a step costs a pass over the data, and the matrix, which costs several, is made anew where steps no
longer lower the objective as they should, or where other weights come to matter (compare Friedman, Hastie
and Tibshirani, "Regularization paths for generalized linear models via coordinate descent", Journal of
Statistical Software 33, 2010, whose model is made anew at each step).

Converged means that the duality gap is at most `tol` times the objective.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore import _core
from regcore.losses import Loss
from regcore.solvers.protocol import Bound, Evaluation, Outcome, ProblemToSolve, Request, Step

if TYPE_CHECKING:
    import numpy.typing as npt

    from regcore.solvers.protocol import ObjectiveLike

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["has_matrix", "newton_matrix"]

_MOST_FEATURES = 512
_SAMPLES_PER_FEATURE = 4  # fewer are for coordinate descent on the samples
_ROWS_PER_FEATURE, _LEAST_ROWS = (8, 40), 2048  # of the models that are not of all rows
_ALL_ROWS = 2  # the level of those that are
_MISSING = 0.2  # of what the last step promised, from which on weights enter the model
_CHUNK = 2048  # rows that are made dense at a time
_MANY = 0.6  # share of the features: more of them are not gathered, but all taken
_CLOSE = 0.85  # share of the strength; slopes beyond it take part in the model of all rows
_SAMPLED_STEPS = 1  # they find which weights matter
_HOLDS = 0.3, 0.6  # a model serves while a step promises at most this part of what the last one did, ...
_LARGE = 256  # ... the second number with so many weights, whose model costs more
_ENOUGH = 1e-6  # of what a step promises: where the sweeps of a model end
_CERTIFIABLE = 3.0  # times tol: what a step promised, as a share of the objective, before a certificate
_FRUITLESS = 1e-4  # times tol: from there on, steps gain nothing any more
_SHORTEST = 1e-4
_ARMIJO = 1e-3
_MOST_STALLED = 4


def has_matrix(objective: ObjectiveLike) -> bool:
    """Whether the objective is one of those that the module's description names."""
    penalty = objective.penalty
    return (
        objective.loss.is_smooth
        and objective.n_outputs == 1
        and penalty is not None
        and penalty.l1 > 0
        and penalty.group == 0
        and not objective._is_sparse  # type: ignore[attr-defined]
        and objective.n_features <= _MOST_FEATURES
        and objective.n_samples > max(_SAMPLES_PER_FEATURE * objective.n_features, _LEAST_ROWS)
        and objective._has_different_labels  # type: ignore[attr-defined]
    )


@dataclass(slots=True)
class _Run:
    """What one iteration hands on to the next, besides the arrays."""

    value: float = math.nan  # of the objective
    gap: float = math.nan
    promised: float = math.inf  # by the last step, as a share of the objective
    n_passes: float = 0.0
    n_steps: int = 0  # of the model
    level: int = 0  # of the model: the higher, the more rows
    best: float = math.inf  # the least gap
    n_stalled: int = 0
    n_failures: int = 0  # steps that did not lower the objective


def newton_matrix(problem: ProblemToSolve) -> Generator[Step | Request, Any, Outcome]:
    """Minimise an objective of which `has_matrix` holds.

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
    fit = _Fit(problem)
    if problem.resume is None:
        yield from fit.begin()
    else:
        fit.resume(problem.resume)
    while True:
        outcome = fit.outcome()
        if outcome is not None:
            return outcome
        yield from fit.iterate()
        yield fit.reached()


class _Fit:
    """The iterate, its slopes, and the model."""

    def __init__(self, problem: ProblemToSolve) -> None:
        penalty = problem.objective.penalty
        assert penalty is not None
        self.problem, self.objective, self.tol = problem, problem.objective, problem.tol
        self.W, self.b = problem.W, problem.b
        self.l1, self.l2 = penalty.l1, penalty.l2
        self.eps = float(np.finfo(self.W.dtype).eps)
        self.slopes = np.zeros(self.W.shape[1])  # of the data term
        self.slope_b = 0.0
        self.members: Array = np.empty(0, np.int64)  # features of the model
        self.H: Array = np.empty((0, 0))
        self.curvatures: Array = np.ones(self.W.shape[1])  # the diagonal of the first model
        self.run = _Run()

    # ------------------------------------------------ the point

    def begin(self) -> Generator[Request, Any, None]:
        """Evaluate the start; without weights, the intercept of cross_entropy begins at its best.

        There the classes tell all: with their shares s and the weighted means M_c of their x, the slopes are
        s_1 (M_0 + M_1) - M_1.
        """
        objective, run = self.objective, self.run
        found = None
        if self.b is not None and not self.W.any() and objective.loss is Loss.CROSS_ENTROPY:
            sums, shares = (part[0] for part in objective._class_sums(self.W.dtype))  # type: ignore[attr-defined]
            run.n_passes += 1
            if shares.all():
                share = shares.astype(np.float64)
                self.b[:] = np.log(share[1] / share[0])
                if not (objective._is_soft or objective.label_smoothing):  # type: ignore[attr-defined]
                    grad_W = shares[1] * (sums[:1] + sums[1:]) - sums[1:]
                    found = -float(share @ np.log(share)), grad_W, np.zeros_like(self.b)
        if found is None:
            found = yield Evaluation(self.W, self.b)
            run.n_passes += 1
        loss, grad_W, grad_b = found
        self._settle(self.W, self.b, float(loss), grad_W, grad_b)
        if not self.W.any() and self._violation() <= 0:
            yield from self._certify(grad_W, grad_b)

    def _settle(self, W: Array, b: Array | None, loss: float, grad_W: Array, grad_b: Array) -> None:
        self.W, self.b = W, b
        self.slopes = grad_W[0].astype(np.float64)
        self.slope_b = float(grad_b[0])
        self.run.value = loss + self._penalty(W[0].astype(np.float64))

    def _penalty(self, w: Array) -> float:
        return float(self.l1 * np.abs(w).sum() + self.l2 * np.square(w).sum())

    def _certify(self, grad_W: Array, grad_b: Array) -> Generator[Request, Any, None]:
        run = self.run
        run.gap = float((yield Bound(self.W, self.b, run.value, grad_W, grad_b)))
        run.n_passes += 1
        run.n_stalled = run.n_stalled + 1 if run.gap > 0.9 * run.best else 0
        run.best = min(run.best, run.gap)

    # ------------------------------------------------ the model

    def _make_model(self) -> None:
        """The second derivatives of a few rows in all weights, or of many, or all, in those that matter."""
        objective, run = self.objective, self.run
        n_samples, n_features = objective.n_samples, self.W.shape[1]
        if run.level:
            near = (self.W[0] != 0) | (np.abs(self.slopes) > _CLOSE * self.l1)
            self.members = np.flatnonzero(near | (near.mean() > _MANY))
        else:
            self.members = np.arange(n_features)
        wanted = max(_ROWS_PER_FEATURE[min(run.level, 1)] * len(self.members), _LEAST_ROWS)
        step = 1 if run.level == _ALL_ROWS else max(n_samples // wanted, 1)
        h, total = objective._loss_curvature(self.W, self.b, np.arange(0, n_samples, step))
        h, n, kind = np.ascontiguousarray(h), len(self.members), self.W.dtype
        blocks, means = np.zeros((1, n, n), kind), np.zeros(n)
        buffer = np.empty((min(_CHUNK, len(h)), n), kind)
        for first in range(0, len(h), _CHUNK):
            part = h[first : first + _CHUNK]
            rows = slice(first * step, (first + len(part)) * step, step)
            Z = objective._dense_part(rows, self.members, buffer)  # type: ignore[attr-defined]
            _core.gram_blocks(Z, part, blocks, objective.n_threads)
            if self.b is not None:  # a BLAS has threads of its own, which would still spin afterwards
                means += np.einsum("n,nk->k", part[:, 0].astype(kind), Z)
        run.n_passes += (1 + n / n_features) / step
        self.H = np.empty((n + (self.b is not None),) * 2)
        self.H[:n, :n] = blocks[0]
        if self.b is not None:
            self.H[n, :n] = self.H[:n, n] = means
            self.H[n, n] = h.sum()
        self.H /= total or 1.0
        diagonal = np.einsum("kk->k", self.H)  # a view
        diagonal += 4 * self.eps * max(float(diagonal.max(initial=0)), 1e-30)
        if not run.level:
            self.curvatures = diagonal[:n].copy()
        run.n_steps = 0

    def _needs_model(self) -> bool:
        """Whether there is none, or weights that are not in it promise as much as the others do."""
        run = self.run
        if not len(self.H):
            return True
        beyond = np.maximum(np.abs(self.slopes) - self.l1, 0)
        beyond[self.members] = 0
        gain = float((np.square(beyond) / (2 * np.maximum(self.curvatures, 1e-300))).sum())
        return run.level > 0 and gain > _MISSING * run.promised * self._size

    # ------------------------------------------------ iterations

    def iterate(self) -> Generator[Request, Any, None]:
        """Take a step of the model, as far as the objective falls."""
        run = self.run
        if self._needs_model():
            self._make_model()
        w, b = self.W[0].astype(np.float64), 0.0 if self.b is None else float(self.b[0])
        before = w[self.members] if self.b is None else np.append(w[self.members], b)
        g = (
            self.slopes[self.members]
            if self.b is None
            else np.append(self.slopes[self.members], self.slope_b)
        )
        after = before.copy()
        enough = _ENOUGH * min(run.promised, 1.0) * max(abs(run.value), 1e-300)
        n = len(self.members)
        if not _core.minimise_quadratic(self.H, g, after, n, self.l1, self.l2, enough):
            after = before
        change = after - before
        promised = -float(g @ change + change @ (self.H @ change) / 2)
        promised += self._penalty(before[:n]) - self._penalty(after[:n])
        share, rounding = 1.0, 4 * self.eps * max(abs(run.value), 1e-300)
        while promised > 0 and share >= _SHORTEST:
            to = before + share * change if share < 1 else after
            W = np.zeros_like(self.W)
            W[0, self.members] = to[:n]
            at = None if self.b is None else np.array([to[n]], self.W.dtype)
            loss, grad_W, grad_b = yield Evaluation(W, at)
            run.n_passes += 1
            value = float(loss) + self._penalty(W[0].astype(np.float64))
            if value <= run.value - _ARMIJO * share * promised + rounding:
                break
            share /= 2
        else:
            share = 0.0
        run.gap = math.nan
        last, run.promised = run.promised, max(promised, 0.0) / self._size
        run.n_steps += 1
        if share:
            self._settle(W, at, float(loss), grad_W, grad_b)
            run.n_failures = 0
        else:
            run.n_failures += run.level == _ALL_ROWS
            grad_W = self.slopes[None].astype(self.W.dtype)
            grad_b = np.array([self.slope_b], self.W.dtype)
        holds = _HOLDS[0] + (_HOLDS[1] - _HOLDS[0]) * min(n / _LARGE, 1.0)
        is_slow = run.level > 0 and run.n_steps > 1 and run.promised > holds * last
        if is_slow or not share or (run.level == 0 and run.n_steps >= _SAMPLED_STEPS):
            run.level, self.H = min(run.level + 1, _ALL_ROWS), np.empty((0, 0))
        if self._is_certifiable() or run.n_failures >= 2:
            yield from self._certify(grad_W, grad_b)
            if run.n_stalled:
                run.level, self.H = _ALL_ROWS, np.empty((0, 0))

    def _violation(self) -> float:
        """How far the slopes of the weights exceed what the penalty allows, as a share of its strength."""
        w = self.W[0].astype(np.float64)
        slopes = np.abs(np.where(w != 0, np.sign(w) * (self.slopes + 2 * self.l2 * w), self.slopes))
        beyond = np.where(
            w != 0, np.abs(self.slopes + 2 * self.l2 * w + self.l1 * np.sign(w)), slopes - self.l1
        )
        return float(beyond.max()) / self.l1

    def _is_certifiable(self) -> bool:
        """Whether the gap, which costs a pass, may be small enough."""
        run, tol = self.run, self.tol
        if tol is None or run.promised > _CERTIFIABLE * tol:
            return False
        if self.l2 > 0 or run.promised <= _FRUITLESS * tol:
            return True
        shrunk = self.l1 * float(np.abs(self.W).sum(dtype=np.float64)) * max(self._violation(), 0.0)
        return shrunk <= 2 * tol * self._size

    @property
    def _size(self) -> float:
        """What the gap is compared with."""
        return max(abs(self.run.value), float(np.finfo(np.float64).eps))

    def outcome(self) -> Outcome | None:
        """How the fit ends here, if it does."""
        run = self.run
        if self.tol is None or math.isnan(run.gap):
            return None
        if run.gap <= self.tol * self._size:
            share = run.gap / abs(run.value) if run.value else 0.0
            return Outcome(True, f"the duality gap fell to {share:.2g} of the objective")
        if run.n_stalled >= _MOST_STALLED or run.n_failures >= 2:
            advice = (
                "use dtype=float64"
                if self.W.dtype == np.float32
                else "raise tol, or scale the features alike"
            )
            return Outcome(
                False,
                f"no step lowers the objective beyond the rounding of {self.W.dtype} "
                f"(duality gap {run.gap:.2g}); {advice}",
            )
        return None

    # ------------------------------------------------ what the fit sees

    def reached(self) -> Step:
        """Return the iterate as a step of the fit."""
        run = self.run
        gap = None if math.isnan(run.gap) else run.gap
        return Step(self.W, self.b, run.value, run.n_passes, dual_gap=gap, state=self.state)

    def state(self) -> Mapping[str, Any]:
        """Return what the next iteration needs besides W and b."""
        arrays = {"H": self.H, "members": self.members, "slopes": self.slopes, "slope_b": self.slope_b}
        arrays["curvatures"] = self.curvatures
        found: dict[str, Any] = arrays | asdict(self.run)
        return found

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Go on from such a state."""
        self.H, self.members = saved["H"], saved["members"]
        self.slopes, self.slope_b = saved["slopes"], float(saved["slope_b"])
        self.curvatures = saved["curvatures"]
        self.run = _Run(**{field.name: saved[field.name] for field in fields(_Run)})
