"""Regularisation paths: one model for each of many strengths, from the strongest to the weakest.

Every model starts from its neighbour's, and ends with a certificate of its own. Strengths are those of the
estimators (and scikit-learn), alpha (l1_ratio sum |W| + (1 - l1_ratio) / 2 sum W**2).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore.objective import Objective
from regcore.penalties import from_estimator
from regcore.solvers import SOLVERS, ConvergenceWarning, fit
from regcore.solvers.newton_cd import Descent
from regcore.solvers.newton_matrix import has_matrix
from regcore.solvers.registry import choose
from regcore.solvers.run import _max_iter as checked_max_iter
from regcore.solvers.run import _tol as checked_tol
from regcore.solvers.run import compute_dtype

if TYPE_CHECKING:
    import numpy.typing as npt

    from regcore.losses import Loss

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["RegularizationPath", "regularization_path"]

_MOST_STEPS = 100  # Newton's, in the intercepts


@dataclass(frozen=True, slots=True)
class RegularizationPath:
    """The models of a path.

    Attributes
    ----------
    alphas : ndarray of float64 of shape (n_alphas,)
        Strengths, descending; of those that `regularization_path` chose the first gives W = 0.
    coefs : ndarray of shape (n_alphas, n_outputs, n_features)
    intercepts : ndarray of shape (n_alphas, n_outputs)
    values : ndarray of float64 of shape (n_alphas,)
        Objectives.
    dual_gaps : ndarray of float64 of shape (n_alphas,)
        Upper bounds of value - minimum.
    n_passes : ndarray of float64 of shape (n_alphas,)
        What each model cost.
    converged : ndarray of bool of shape (n_alphas,)
    """

    alphas: Array
    coefs: Array
    intercepts: Array
    values: Array
    dual_gaps: Array
    n_passes: Array
    converged: Array


def regularization_path(
    X: Any,
    y: Any,
    *,
    loss: str | Loss = "cross_entropy",
    penalty: str = "l1",
    l1_ratio: float = 0.5,
    alphas: Any = None,
    n_alphas: int = 100,
    alpha_ratio: float = 1e-3,
    fit_intercept: bool = True,
    dtype: Any = None,
    tol: float = 1e-4,
    max_iter: int | None = None,
    **data: Any,
) -> RegularizationPath:
    """Fit a model for each of many strengths, each starting from its stronger neighbour.

    Parameters
    ----------
    X, y
        As for `Objective`.
    loss : {"cross_entropy", "hinge", "squared_hinge", "crammer_singer"}
    penalty : {"l1", "elasticnet", "group_l1", "l2"}, default="l1"
    l1_ratio : float, default=0.5
        Of "elasticnet", in (0, 1].
    alphas : array-like of shape (n_alphas,), default=None
        Strengths, finite and > 0, in any order. None: `n_alphas` of them in a geometric sequence down from
        the least strength at which all weights are zero, for smooth losses and penalties with zeros.
    n_alphas : int, default=100
    alpha_ratio : float, default=1e-3
        The last strength of that sequence, as a share of the first; in (0, 1).
    fit_intercept, dtype, tol, max_iter
        As for `fit`.
    **data
        Further arguments of `Objective`: sample_weight, n_classes, binary, standardize, n_threads ...

    Returns
    -------
    RegularizationPath

    Raises
    ------
    TypeError, ValueError
        As `Objective` and `fit`; ValueError also if `alphas` is needed and missing, or not positive.

    Warns
    -----
    ConvergenceWarning
        For each model that stopped before its gap fell to `tol` of its value; after an interrupt: the path
        then ends with the last strength whose model there is.
    """
    bare = Objective(X, y, loss=loss, **data)
    if bare.mean is not None and bare.scale is not None:  # computed once for all models
        data = data | {"standardize": (bare.mean, bare.scale)}
    kind = np.dtype(dtype) if dtype is not None else compute_dtype(bare)
    W, b = np.zeros(bare.weight_shape, kind), np.zeros(bare.intercept_shape, kind)
    if alphas is None:
        strengths, b = _grid(bare, W, b, penalty, l1_ratio, n_alphas, alpha_ratio, fit_intercept)
    else:
        strengths = _descending(alphas)
    objectives = [bare._with_penalty(from_estimator(penalty, alpha, l1_ratio)) for alpha in strengths]
    n_alphas = len(strengths)
    path = RegularizationPath(
        alphas=strengths,
        coefs=np.empty((n_alphas, *W.shape), kind),
        intercepts=np.zeros((n_alphas, len(W)), kind),
        values=np.full(n_alphas, np.nan),
        dual_gaps=np.full(n_alphas, np.nan),
        n_passes=np.zeros(n_alphas),
        converged=np.zeros(n_alphas, dtype=bool),
    )
    try:
        if all(choose(objective) == "newton-cd" and not has_matrix(objective) for objective in objectives):
            _descend(path, objectives, W, b if fit_intercept else None, tol, max_iter)
        else:
            _fit_each(path, objectives, W, b, fit_intercept, tol, max_iter)
    except KeyboardInterrupt:
        n_done = int(np.isnan(path.values).argmax())
        if not n_done:
            raise
        message = f"interrupted after {n_done} of {n_alphas} strengths; these are their models"
        warnings.warn(message, ConvergenceWarning, stacklevel=2)
        return RegularizationPath(*(getattr(path, field.name)[:n_done] for field in fields(path)))
    return path


def _fit_each(
    path: RegularizationPath,
    objectives: list[Objective],
    W: Array,
    b: Array,
    fit_intercept: bool,
    tol: float,
    max_iter: int | None,
) -> None:
    """One fit after the other, each from where the one before it ended."""
    for i, objective in enumerate(objectives):
        result = fit(
            objective, init=(W, b), fit_intercept=fit_intercept, dtype=W.dtype, tol=tol, max_iter=max_iter
        )
        W, b = result.W, result.b
        path.coefs[i], path.intercepts[i], path.values[i] = W, b, result.value
        path.n_passes[i], path.converged[i] = result.n_passes, result.converged
        if result.dual_gap is not None:
            path.dual_gaps[i] = result.dual_gap
        if result.message.startswith("interrupted"):
            raise KeyboardInterrupt


def _descend(
    path: RegularizationPath,
    objectives: list[Objective],
    W: Array,
    b: Array | None,
    tol: float,
    max_iter: int | None,
) -> None:
    """The same with one working set, whose columns are copied once, and the slopes of the neighbour."""
    limit, wanted = checked_max_iter(max_iter, SOLVERS["newton-cd"]), checked_tol(tol)
    n_passes = 0.0
    descent = Descent(objectives[0], W, b)

    def finish(i: int) -> None:
        nonlocal n_passes
        outcome = descent.solve(wanted, limit)
        if not outcome.converged and wanted is not None:
            warnings.warn(f"solver='newton-cd': {outcome.message}", ConvergenceWarning, stacklevel=4)
        run = descent.run
        path.coefs[i], path.values[i], path.dual_gaps[i] = descent.W, run.value, run.gap
        path.n_passes[i], path.converged[i] = path.n_passes[i] + run.n_passes - n_passes, outcome.converged
        if descent.b is not None:
            path.intercepts[i] = descent.b
        n_passes = run.n_passes

    descent.begin()
    finish(0)
    for i, objective in enumerate(objectives[1:], 1):
        descent.go_on_with(objective, wanted)
        finish(i)


def _grid(
    objective: Objective,
    W: Array,
    b: Array,
    penalty: str,
    l1_ratio: float,
    n_alphas: int,
    alpha_ratio: float,
    fit_intercept: bool,
) -> tuple[Array, Array]:
    """The strengths that the path chooses, and the intercepts of its first model."""
    if isinstance(n_alphas, bool) or not isinstance(n_alphas, (int, np.integer)) or n_alphas < 1:
        raise ValueError(f"n_alphas must be an integer >= 1; got {n_alphas!r}")
    if not 0 < alpha_ratio < 1:
        raise ValueError(f"alpha_ratio must be in (0, 1); got {alpha_ratio!r}")
    unit = from_estimator(penalty, 1.0, l1_ratio)
    if unit is None or not (unit.l1 or unit.group) or not objective.loss.is_smooth:
        raise ValueError(
            "alphas must be given: only a smooth loss (cross_entropy, squared_hinge) with an L1 or a group "
            f"part has a least strength without weights; got loss={objective.loss.label!r} and "
            f"penalty={penalty!r}"
        )
    if fit_intercept:
        b = _null_intercepts(objective, W, b)
    slope = objective.value_and_grad(W, b if fit_intercept else None).grad_W.astype(np.float64)
    largest = np.abs(slope).max() / unit.l1 if unit.l1 else np.sqrt((slope**2).sum(axis=0)).max() / unit.group
    if not largest > 0:
        raise ValueError("X has no feature whose slope differs from 0 without weights: give alphas")
    strengths: Array = largest * np.geomspace(1, alpha_ratio, n_alphas)
    return strengths, b


def _null_intercepts(objective: Objective, W: Array, b: Array) -> Array:
    """The best intercepts of a model without weights, by Newton's method."""
    value, _, grad_b = objective.value_and_grad(W, b)
    for _ in range(_MOST_STEPS):
        step = objective._centred(W, b, grad_b)
        new_value, _, new_grad = objective.value_and_grad(W, step)
        if not np.abs(new_grad).max() < np.abs(grad_b).max() or new_value > value + 1e-6 * abs(value):
            break
        b, value, grad_b = step, new_value, new_grad
    return b


def _descending(alphas: Any) -> Array:
    strengths = np.sort(np.asarray(alphas, dtype=np.float64).ravel())[::-1]
    if not strengths.size or not np.isfinite(strengths).all() or not strengths[-1] > 0:
        raise ValueError(f"alphas must be finite and > 0, and at least one; got {alphas!r}")
    return strengths
