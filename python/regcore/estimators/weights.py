"""Weights of the samples and of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore.estimators.data import as_numpy
from regcore.weights import class_factors

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["sample_weights"]


def sample_weights(sample_weight: Any, class_weight: Any, classes: Array, codes: Array) -> Array | None:
    """Return the weights of the samples times those of their classes; None where all are 1.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,) or None
    class_weight : mapping of labels to weights, "balanced" or None
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
    if isinstance(class_weight, Mapping) and set(classes.tolist()) <= set(class_weight):
        # a part of the data, such as a fold, may lack a class; a wrong name leaves one without a weight
        class_weight = {label: class_weight[label] for label in classes.tolist()}
    factors = class_factors(class_weight, classes, codes, weights)[codes]
    return factors if weights is None else factors * weights
