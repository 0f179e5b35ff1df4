"""Weights of samples from weights of their classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["class_factors", "sample_weights"]


def sample_weights(
    y: npt.ArrayLike, class_weight: Mapping[Any, float] | str = "balanced", sample_weight: Any = None
) -> Array:
    """Return the weight of every sample that weights of the classes mean.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Labels of any kind that can be ordered.
    class_weight : mapping of labels to weights, or "balanced", default="balanced"
        Classes that the mapping leaves out have the weight 1; a weight of 0 leaves a class out of the fit.
        "balanced": the classes have the same total weight, n_samples / n_classes each if no `sample_weight`
        is given; it counts the weights of the samples, so that a weight of 2 is the sample twice.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights to be multiplied with those of the classes.

    Returns
    -------
    weights : ndarray of float64 of shape (n_samples,)
        For `sample_weight` of an `Objective`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it may be, or `class_weight` has a label that `y` has not.

    Examples
    --------
    >>> import regcore
    >>> regcore.sample_weights(["cat", "dog", "dog", "dog"]).tolist()
    [2.0, 0.6666666666666666, 0.6666666666666666, 0.6666666666666666]
    >>> regcore.sample_weights([0, 1, 1], {1: 0.5}).tolist()
    [1.0, 0.5, 0.5]
    """
    labels = np.asarray(y)
    if labels.ndim != 1 or not labels.size:
        raise ValueError(f"y must have shape (n_samples,), one label a sample; got shape {labels.shape}")
    classes, codes = np.unique(labels, return_inverse=True)
    weights = None if sample_weight is None else _checked(sample_weight, labels.shape)
    factors = class_factors(class_weight, classes, codes, weights)[codes]
    return factors if weights is None else factors * weights


def class_factors(class_weight: Any, classes: Array, codes: Array, weights: Array | None = None) -> Array:
    """Return the weights of the classes, as `sample_weights` describes them.

    Parameters
    ----------
    class_weight : mapping or "balanced"
    classes : ndarray of shape (n_classes,)
        The labels.
    codes : ndarray of integers of shape (n_samples,)
        Where in `classes` the label of each sample is.
    weights : ndarray of shape (n_samples,), default=None
        Of the samples.

    Returns
    -------
    factors : ndarray of float64 of shape (n_classes,)
        0 for a class without any weight.
    """
    if isinstance(class_weight, Mapping):
        return _mapped(class_weight, classes)
    if not isinstance(class_weight, str) or class_weight != "balanced":
        raise ValueError(f"class_weight must be a mapping or 'balanced'; got {class_weight!r}")
    totals = np.bincount(codes, weights, minlength=len(classes)).astype(np.float64)
    present = totals > 0
    factors = np.zeros(len(classes))
    factors[present] = totals.sum() / (present.sum() * totals[present])
    return factors


def _mapped(class_weight: Mapping[Any, Any], classes: Array) -> Array:
    place = {label: i for i, label in enumerate(classes.tolist())}
    factors = np.ones(len(classes))
    for label, weight in class_weight.items():
        if isinstance(weight, bool) or not isinstance(weight, Real):
            raise TypeError(f"class_weight: the weight of {label!r} must be a number; got {weight!r}")
        if not (math.isfinite(float(weight)) and float(weight) >= 0):
            raise ValueError(f"class_weight: the weight of {label!r} must be finite and >= 0; got {weight}")
        if label not in place:
            raise ValueError(f"class_weight has a weight for {label!r}, which is no label of y")
        factors[place[label]] = float(weight)
    return factors


def _checked(sample_weight: Any, shape: tuple[int, ...]) -> Array:
    weights = np.asarray(sample_weight)
    if weights.shape != shape:
        raise ValueError(f"sample_weight must have shape {shape}, one weight a sample; got {weights.shape}")
    if weights.dtype.kind not in "fiub":
        raise TypeError(f"sample_weight must hold real numbers; got dtype {weights.dtype}")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ValueError("sample_weight must be finite and not negative, with a positive sum")
    return weights.astype(np.float64)
