"""Second derivatives of the smooth losses in the scores, from probabilities or scores that the core made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore import _core
from regcore.losses import Loss

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["intercept_curvature", "loss_curvature", "margin_curvature", "newton_step"]


def loss_curvature(loss: Loss, values: Array, y: Array, w: Array | None, *, binary: bool) -> Array:
    """Return the second derivatives of w loss in each score, float64 of shape (n_samples, n_outputs).

    Parameters
    ----------
    loss : Loss
    values : ndarray of shape (n_samples, n_classes or n_outputs)
        Probabilities p for cross_entropy, where it is p (1 - p); scores for squared_hinge, where it is 2 for
        each margin that is violated.
    y, w : ndarray of shape (n_samples,), or w None
    binary : bool
        Whether it is the loss of one score.

    Raises
    ------
    ValueError
        If the loss has no second derivative.
    """
    values = values.astype(np.float64)
    h: Array
    if loss is Loss.CROSS_ENTROPY:
        h = values * (1 - values)
        h = h[:, 1:] if binary else h
    elif loss is not Loss.SQUARED_HINGE:
        raise ValueError(f"loss={loss.label!r} has no second derivative")
    elif binary:
        h = 2.0 * ((2.0 * y[:, None] - 1) * values < 1)
    else:
        own = np.arange(len(y)), y
        h = 2.0 * _violated(values, y)
        h[own] = h.sum(axis=1)
    return h if w is None else h * w[:, None]


def margin_curvature(scores: Array, y: Array, w: Array | None) -> Array:
    """Return the second derivatives of w squared_hinge in each two scores, float64.

    A violated margin of class j and label y has 2 (e_j - e_y) (e_j - e_y)'.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_classes)
    y, w : ndarray of shape (n_samples,), or w None

    Returns
    -------
    curvature : ndarray of shape (n_samples, n_classes (n_classes + 1) / 2)
        Of the pairs (c, d) with c >= d, in the order of `numpy.tril_indices`.
    """
    n_samples, n_classes = scores.shape
    violated = 2.0 * _violated(scores.astype(np.float64), y)
    label = np.zeros_like(violated)
    label[np.arange(n_samples), y] = 1
    diagonal = violated + label * violated.sum(axis=1, keepdims=True)
    curvature = np.empty((n_samples, n_classes * (n_classes + 1) // 2))
    for p, (c, d) in enumerate(zip(*np.tril_indices(n_classes), strict=True)):
        pair = diagonal[:, c] if c == d else -violated[:, c] * label[:, d] - violated[:, d] * label[:, c]
        curvature[:, p] = pair
    return curvature if w is None else curvature * w[:, None]


def _violated(scores: Array, y: Array) -> Array:
    """Where the margin of a class other than the sample's own is violated."""
    own = np.arange(len(y)), y
    violated: Array = scores - scores[own][:, None] > -1
    violated[own] = False
    return violated


def intercept_curvature(
    loss: Loss, values: Array, y: Array, w: Array | None, n_outputs: int, n_threads: int
) -> Array:
    """Return the sum of w d2 loss / db db' over some samples, float64 of shape (n_outputs, n_outputs).

    Parameters
    ----------
    loss : Loss
    values : ndarray of shape (n_samples, n_classes or n_outputs), C-contiguous
        Probabilities p for cross_entropy, where it is diag(p) - p p', or scores for squared_hinge, where it
        is 2 sum_j (e_j - e_y) (e_j - e_y)' over the classes j with a positive margin.
    y, w : ndarray of shape (n_samples,), or w None
    n_outputs, n_threads : int
    """
    curvature: Array
    probabilities = loss is Loss.CROSS_ENTROPY
    if n_outputs == 1:
        if probabilities:
            terms = values[:, 0].astype(np.float64) * values[:, 1]
        else:
            terms = np.where(np.where(y == 1, 1, -1) * values[:, 0] < 1, 2.0, 0.0)
        curvature = np.full((1, 1), (terms if w is None else terms * w).sum())
        return curvature
    if not probabilities:
        values = _violated(values, y).astype(values.dtype)
    # sums of e_y v' and (v - e_y) v' by the core's own products: the threads of a BLAS would still be
    # spinning when the next pass begins. Nothing of them cancels, however small v is beside the diagonal.
    problem = _core.Problem(values, y, w, 0, n_outputs)
    by_label, by_slope = np.empty((2, n_outputs, n_outputs), values.dtype)
    unused = np.empty(n_outputs, values.dtype)
    problem.adjoint(None, by_label, unused, n_threads)
    others = by_label * problem.weight_sums[0]
    np.fill_diagonal(others, 0)
    if probabilities:
        problem.adjoint(values, by_slope, unused, n_threads)
        curvature = np.diag(others.sum(axis=0)) - others - by_slope * problem.weight_sums[0]
        return (curvature + curvature.T) / 2
    curvature = 2 * (np.diag(others.sum(axis=0) + others.sum(axis=1)) - others - others.T)
    return curvature


def newton_step(curvature: Array, r: Array) -> Array:
    """Return the solution x of H x = r, shortened so that no entry is above 1, of the shape of r.

    Parameters
    ----------
    curvature : ndarray of float64 of shape (n_models, n_outputs, n_outputs)
        H; with several outputs it takes equal numbers to zero, and the x of sum zero is returned.
    r : ndarray of shape (n_models, n_outputs)
    """
    n_outputs = r.shape[1]
    size = np.maximum(np.trace(curvature, axis1=1, axis2=2), np.finfo(np.float64).tiny)[:, None, None]
    shift = 1e-12 * np.eye(n_outputs) + (n_outputs > 1) / n_outputs
    step = np.linalg.solve(curvature + size * shift, r.astype(np.float64)[:, :, None])[:, :, 0]
    shortened: Array = step / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1)
    return shortened
