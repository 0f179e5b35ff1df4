"""Weights are repetition: one form for all data that says the same, where it costs next to nothing.

A sample of weight 3 is the sample three times, one of weight 0 is no sample, and the order of the samples
means nothing. What a fit minimises knows that, but a solver may not: it stops when `tol` is met, or at one of
many minima, and which of them that is depends on how the same data was written down. Small data is therefore
brought into one form before it is fitted, if it has weights, or samples that are equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["Merged", "merged"]

_MOST_NUMBERS = 1 << 16  # of X: to sort so many takes a fraction of the time of any fit


class Merged(NamedTuple):
    """Samples that differ from each other, in an order of their own.

    Attributes
    ----------
    X : ndarray or CSR matrix of shape (n_distinct, n_features)
    codes : ndarray of shape (n_distinct,)
    weights : ndarray of float64 of shape (n_distinct,)
        Sums of the weights of equal samples; all positive.
    rows : ndarray of shape (n_distinct,)
        Where each of them first was.
    """

    X: Any
    codes: Array
    weights: Array
    rows: Array


def merged(X: Any, codes: Array, weights: Array | None, apart: Array | None = None) -> Merged | None:
    """Return small data with equal samples merged and samples without weight left out, sorted.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    codes : ndarray of shape (n_samples,)
        Samples with different codes are different samples.
    weights : ndarray of shape (n_samples,) or None
    apart : ndarray of integers of shape (n_samples, n_columns), default=None
        What else tells samples apart, such as their folds.

    Returns
    -------
    merged : Merged or None
        None if there is nothing to be done: all samples are different and have weight 1, or the data is not
        small. None as well for numbers that will be refused, which are then found in the row that they have.
    """
    n_samples, n_features = X.shape
    if n_samples * n_features > _MOST_NUMBERS:
        return None
    dense = np.ascontiguousarray(X if isinstance(X, np.ndarray) else X.toarray())
    if weights is not None and not (
        weights.dtype.kind in "fiub" and np.isfinite(weights).all() and weights.min() >= 0
    ):
        return None
    if not np.isfinite(dense).all():
        return None
    columns = [dense, codes[:, None]] if apart is None else [dense, codes[:, None], apart]
    as_bytes = [np.ascontiguousarray(part).view(np.uint8) for part in columns]
    keys = np.concatenate(as_bytes, axis=1)
    _, first, place = np.unique(keys.view(f"V{keys.shape[1]}")[:, 0], return_index=True, return_inverse=True)
    totals = np.bincount(place, weights, minlength=len(first)).astype(np.float64)
    if (totals == 1).all():
        return None
    rows = first[totals > 0]
    part = X[rows]
    return Merged(
        X=np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part,
        codes=codes[rows],
        weights=totals[totals > 0],
        rows=rows,
    )
