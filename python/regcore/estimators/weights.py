"""Weights of the samples and of their classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sklearn.utils import compute_class_weight

from regcore.estimators.data import as_numpy

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["class_factors", "sample_weights"]


def sample_weights(sample_weight: Any, class_weight: Any, classes: Array, codes: Array) -> Array | None:
    """Return the weights of the samples times those of their classes; None where all are 1.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,) or None
    class_weight : dict, "balanced" or None
    classes : ndarray of shape (n_classes,)
    codes : ndarray of shape (n_samples,)
        Place of each sample's label among the classes.

    Returns
    -------
    weights : ndarray of shape (n_samples,) or None
    """
    weights: Array | None = None
    if sample_weight is not None:
        weights = np.asarray(as_numpy("sample_weight", sample_weight))
        if weights.shape != codes.shape:
            raise ValueError(
                f"sample_weight must have shape {codes.shape}, one weight a row of X; got {weights.shape}"
            )
        if not weights.any():
            raise ValueError("sample_weight must have a positive sum; all weights are zero")
    if class_weight is None:
        return weights
    factors = class_factors(class_weight, classes, codes, weights)[codes]
    return factors if weights is None else factors * weights


def class_factors(class_weight: Any, classes: Array, codes: Array, weights: Array | None) -> Array:
    """Return the weight of each class.

    "balanced" means sum of all weights / (number of classes x sum of the weights of the class): with the
    samples' weights, so that a weight of 2 is the sample twice here too.
    """
    if isinstance(class_weight, str) and class_weight != "balanced":
        raise ValueError(f"class_weight must be a dict, 'balanced' or None; got {class_weight!r}")
    factors: Array
    if not isinstance(class_weight, str):
        factors = compute_class_weight(class_weight, classes=classes, y=classes)
        return factors
    totals = np.bincount(codes, weights, minlength=len(classes)).astype(np.float64)
    present = totals > 0
    factors = np.zeros(len(classes))
    factors[present] = totals.sum() / (present.sum() * totals[present])
    return factors
