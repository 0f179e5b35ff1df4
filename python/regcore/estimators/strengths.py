"""Strengths worth trying, from the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore.losses import Loss
from regcore.objective import Objective

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["spaced_strengths"]


def spaced_strengths(
    X: Any,
    codes: Array,
    weights: Array | None,
    *,
    loss: Loss,
    n_classes: int,
    n_alphas: int,
    eps: float,
    n_threads: int | None,
) -> Array:
    """Return strengths evenly spaced in their logarithm, the greatest first.

    The greatest is the largest entry of the gradient at W = 0: there, and above, an L1 penalty keeps every
    weight zero. The intercept is taken at its optimum for cross_entropy, the logarithms of the classes'
    shares, and otherwise at zero.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    codes : ndarray of shape (n_samples,)
        Labels 0 .. n_classes - 1.
    weights : ndarray of shape (n_samples,) or None
    loss, n_classes, n_threads
        As in `Objective`.
    n_alphas : int
    eps : float
        The least as a share of the greatest.

    Returns
    -------
    alphas : ndarray of shape (n_alphas,)
    """
    binary = n_classes == 2 and loss.has_binary_form
    objective = Objective(
        X,
        codes,
        loss=loss,
        sample_weight=weights,
        n_classes=n_classes,
        binary=binary,
        n_threads=n_threads,
    )
    b = np.zeros(objective.n_outputs)
    if loss is Loss.CROSS_ENTROPY:
        totals = np.bincount(codes, weights, minlength=n_classes)
        logs = np.log(np.maximum(totals, np.finfo(float).tiny) / totals.sum())
        b = logs[1:] - logs[:1] if binary else logs
    gradient = objective.value_and_grad(np.zeros(objective.weight_shape), b).grad_W
    greatest = float(np.abs(gradient).max()) or 1.0
    found: Array = greatest * np.logspace(0, np.log10(eps), n_alphas)
    return found
