"""Bring features to a scale at which one strength and one step size make sense.

What is fitted is fitted to training rows alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .recipe import Matrix

_ROWS = 4096


@dataclass(frozen=True)
class Scaling:
    """What is done to the features before a classifier sees them.

    Attributes
    ----------
    kind : {"none", "divide", "standardise", "max_abs"}
        "divide" by one constant; "standardise" each column to mean 0 and variance 1, or divide it by its
        largest magnitude ("max_abs", for sparse X), with figures taken from the training rows of each split.
    divisor : float
        Used by "divide".
    power : float
        To which each value is raised, after it is divided by a constant and before all else.
    """

    kind: Literal["none", "divide", "standardise", "max_abs"]
    divisor: float = 1.0
    power: float = 1.0

    def describe(self) -> str:
        """Say what is done, for a table's caption."""
        steps = {
            "none": [],
            "divide": [f"divided by {self.divisor:g}"],
            "standardise": ["standardised (mean and variance of the samples trained on)"],
            "max_abs": ["divided by their largest magnitude in the samples trained on"],
        }[self.kind]
        if self.power != 1:
            steps.insert(1 if self.kind == "divide" else 0, describe_power(self.power))
        return ", then ".join(steps) or "used as they are"


def describe_power(power: float) -> str:
    """Say what is done to each value."""
    names = {1.0: "as they are", 0.5: "square roots", 0.25: "fourth roots"}
    return names.get(power, f"powers of {power:g}")


def has_negative(X: Matrix) -> bool:
    """Whether some value has no root."""
    values = X if isinstance(X, np.ndarray) else X.data
    return bool(values.size) and bool(values.min() < 0)


def choose_scaling(X: Matrix, power: float = 1.0) -> Scaling:
    """Choose by type and range; raise the values to a power besides.

    8-bit integers are divided by 255, or by their maximum where they do not use the range; numbers within
    [-1, 1] stay as they are; others are standardised, or where X is sparse divided by each column's largest
    magnitude, which keeps zeros zero.

    Raises
    ------
    ValueError
        A power other than 1 of negative values.
    """
    if power != 1 and has_negative(X):
        raise ValueError(f"power {power:g} needs values that are not negative")
    return replace(_by_range(X), power=power)


def _by_range(X: Matrix) -> Scaling:
    dense = isinstance(X, np.ndarray)
    values = X if isinstance(X, np.ndarray) else X.data
    if values.size == 0:
        return Scaling("none")
    low, high = float(values.min()), float(values.max())
    if X.dtype == np.uint8:
        return Scaling("divide", 255.0 if high > 127 else high) if high > 1 else Scaling("none")
    if 0.1 < max(-low, high) <= 1.0:
        return Scaling("none")
    return Scaling("standardise" if dense else "max_abs")


def apply_constant(X: Matrix, scaling: Scaling) -> Matrix:
    """Do once for all rows what needs no figures of the training part: to float32, a division, a power."""
    if scaling.kind == "standardise":
        # In float64, block by block, later: a float32 of a large mean has lost the differences.
        return X if scaling.power == 1 else _raised(X.astype(np.float64), scaling.power)
    if not isinstance(X, np.ndarray):
        scaled = X.astype(np.float32)
        if scaling.kind == "divide":
            scaled.data /= np.float32(scaling.divisor)
        scaled.data = _raised(scaled.data, scaling.power)
        return scaled
    if scaling.kind == "divide":
        return _raised(np.divide(X, np.float32(scaling.divisor), dtype=np.float32), scaling.power)
    return _raised(X.astype(np.float32, order="C", copy=False), scaling.power)


def _raised(values: npt.NDArray[Any], power: float) -> npt.NDArray[Any]:
    if power == 1:
        return values
    raised: npt.NDArray[Any] = np.sqrt(values) if power in (0.5, 0.25) else values ** values.dtype.type(power)
    return np.sqrt(raised, out=raised) if power == 0.25 else raised


@dataclass(frozen=True)
class FittedScaling:
    """A scaling with the figures of the rows that it was fitted on.

    Attributes
    ----------
    scaling : Scaling
    mean, scale : ndarray of float64, shape (n_features,), or None
        A column becomes (column - mean) / scale; None stands for zeros and ones.
    """

    scaling: Scaling
    mean: npt.NDArray[np.float64] | None = None
    scale: npt.NDArray[np.float64] | None = None

    def apply(self, X: Matrix) -> Matrix:
        """Scale rows for which `apply_constant` is done; float32."""
        if self.scale is None:
            return X
        if isinstance(X, np.ndarray):
            mean = self.mean if self.mean is not None else np.zeros(X.shape[1])
            return _standardise(X, mean, self.scale)
        scaled = X.astype(np.float32)
        scaled.data /= self.scale.astype(np.float32)[scaled.indices]
        return scaled


def fit_scaling(X: Matrix, scaling: Scaling) -> FittedScaling:
    """Take the figures of `scaling` from training rows, for which `apply_constant` is done."""
    if scaling.kind == "standardise":
        assert isinstance(X, np.ndarray)
        mean, sd = _moments(X)
        # A column that is constant but for rounding carries nothing: do not blow its noise up.
        scale = np.where(sd > 1e-10 * np.abs(mean), sd, 1.0)
        scale[scale == 0] = 1.0
        return FittedScaling(scaling, mean, scale)
    if scaling.kind == "max_abs":
        assert not isinstance(X, np.ndarray)
        largest = np.zeros(X.shape[1])
        np.maximum.at(largest, X.indices, np.abs(X.data))
        largest[largest == 0] = 1
        return FittedScaling(scaling, None, largest)
    return FittedScaling(scaling)


def apply_fitted(X_train: Matrix, X_test: Matrix, scaling: Scaling) -> tuple[Matrix, Matrix]:
    """Do what depends on the training rows, to both parts of a split."""
    fitted = fit_scaling(X_train, scaling)
    return fitted.apply(X_train), fitted.apply(X_test)


def largest_deviation(X: Matrix, scaling: Scaling) -> float:
    """The largest standard deviation of a column of X as `scaling` leaves it."""
    if scaling.kind == "standardise":
        return 1.0
    if scaling.power != 1:
        X = apply_constant(X, scaling)
        scaling = Scaling("max_abs" if scaling.kind == "max_abs" else "none")
    if not isinstance(X, np.ndarray):
        data = X.data.astype(np.float64)
        if scaling.kind == "max_abs":
            largest = np.zeros(X.shape[1])
            np.maximum.at(largest, X.indices, np.abs(data))
            data /= np.where(largest > 0, largest, 1.0)[X.indices]
        n_samples, n_features = X.shape
        mean = np.bincount(X.indices, data, n_features) / n_samples
        square = np.bincount(X.indices, data * data, n_features) / n_samples
        return float(np.sqrt(np.maximum(square - mean * mean, 0).max())) / scaling.divisor
    return float(_moments(X)[1].max()) / scaling.divisor


def _moments(X: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation of each column in float64, in blocks of rows."""
    mean = X.mean(axis=0, dtype=np.float64)
    total = np.zeros(X.shape[1])
    for start in range(0, len(X), _ROWS):
        centred = X[start : start + _ROWS] - mean
        total += np.einsum("ij,ij->j", centred, centred)
    return mean, np.sqrt(total / len(X))


def _standardise(
    X: npt.NDArray[Any], mean: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    out = np.empty(X.shape, dtype=np.float32)
    for start in range(0, len(X), _ROWS):
        out[start : start + _ROWS] = (X[start : start + _ROWS] - mean) / scale
    return out
