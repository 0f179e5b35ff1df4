"""What a fit claims of its end, computed again in plain NumPy, in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import regcore
from regcore import reference
from regcore.losses import Loss

__all__ = ["Certificate", "WatchedObjective", "certificate"]


class WatchedObjective(regcore.Objective):
    """An objective that keeps the slopes with which the dual solver's best bound was proven.

    They are those of its loop over the samples, or those that Newton's method has summed last: `slopes` has
    both, since which of them it was is the solver's affair. `watch` is the callback of the fit that does it.
    """

    slopes: tuple[np.ndarray, ...] = ()
    _ascent: Any = None
    _summed: np.ndarray | None = None
    _bound = -np.inf

    def _dual_ascent(self, *args: Any, **settings: Any) -> Any:
        self._ascent = super()._dual_ascent(*args, **settings)
        return self._ascent

    def _adjoint(self, dual: np.ndarray, dtype: Any) -> Any:
        self._summed = dual
        return super()._adjoint(dual, dtype)

    def watch(self, state: Any) -> None:
        """Keep the slopes if they prove more than those before; without a penalty, the last."""
        if self._ascent is None:
            return
        bound = np.inf if state.dual_gap is None else state.value - state.dual_gap
        if bound > self._bound or state.dual_gap is None:
            self._bound = bound
            found = (self._ascent.state()["slopes"], self._summed)
            self.slopes = tuple(slopes.astype(np.float64) for slopes in found if slopes is not None)


@dataclass(frozen=True)
class Certificate:
    """Value, and what proves it: the gap, or, without a penalty, the residual; both relative."""

    value: float
    gap: float | None
    residual: float | None


def certificate(objective: WatchedObjective, X: Any, y: np.ndarray, result: regcore.FitResult) -> Certificate:
    """Return the certificate of a result by `regcore.reference`, on a standardised copy of X if need be.

    Without a penalty the residual is the norm of the gradient beside that at zero; for the hinges it is the
    one that `regcore.solvers.dual` describes, of its dual point.
    """
    X = X.astype(np.float64)
    if objective.mean is not None and objective.scale is not None:
        X = (X - objective.mean) / objective.scale
    W, b = result.W.astype(np.float64), result.b.astype(np.float64)
    loss, penalty, slopes = objective.loss.label, objective.penalty, objective.slopes
    value, grad_W, grad_b = reference.loss_and_grad(X, y, W, b, loss=loss, penalty=penalty)
    value = float(value)
    if value == 0:
        return Certificate(0.0, 0.0, 0.0)
    if penalty is not None:
        gap = min(
            float(reference.dual_gap(X, y, W, b, loss=loss, penalty=penalty, dual=given))
            for given in slopes or (None,)
        )
        return Certificate(value, gap / value, None)
    if not slopes:
        _, *at_zero = reference.data_loss_and_grad(X, y, 0 * W, 0 * b, loss=loss)
        return Certificate(value, None, _norm(grad_W, grad_b) / _norm(*at_zero))
    residuals = []
    for given in slopes:
        u = _in_domain(given, y, objective.loss)
        V, r = (X.T @ u).T / len(y), u.mean(axis=0)
        linear = -float(reference.sample_conjugates(u, y, loss=loss).mean())
        short = value - linear - float((V * W).sum() + r @ b)
        residuals.append((max(short, 0) + _norm(V) * _norm(W) + _norm(r) * _norm(b)) / value)
    return Certificate(value, None, min(residuals))


def _in_domain(slopes: np.ndarray, y: np.ndarray, loss: Loss) -> np.ndarray:
    """Return slopes of a hinge without the roundings that lead out of the domain of its conjugate."""
    if slopes.shape[1] == 1:
        return np.clip(slopes, -1, 1)
    own = np.arange(len(y)), y
    slopes = np.maximum(slopes, 0)
    slopes[own] = 0
    largest = slopes.max(axis=1) if loss is Loss.HINGE else slopes.sum(axis=1)
    slopes /= np.maximum(largest, 1)[:, None]
    slopes[own] = -slopes.sum(axis=1)
    return slopes


def _norm(*arrays: np.ndarray) -> float:
    return float(np.sqrt(sum(float(np.square(array).sum()) for array in arrays)))
