"""What users hand in, checked: an error names the argument, what came and what is allowed."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore.losses import Loss

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

__all__ = [
    "as_array",
    "class_count",
    "integer",
    "label_smoothing_share",
    "labels_or_targets",
    "model_count",
    "packed",
    "scaling_pair",
    "selected_rows",
    "thread_count",
    "weights_of_samples",
]

_MOST_CLASSES = 1 << 24  # a float32 counts so far
_MOST_THREADS = 1024  # an OpenMP runtime that cannot start a thread ends the process


def as_array(argument: str, value: Any) -> Array:
    """Return `value` as an array."""
    try:
        return np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{argument} is no array: {error}") from None


def packed(array: Array) -> Array:
    """Return the array itself if it is C-contiguous and aligned, otherwise a copy that is."""
    if array.flags.c_contiguous and array.flags.aligned:
        return array
    return array.copy(order="C")


def integer(argument: str, value: Any) -> int:
    """Return `value`, a Python or NumPy integer."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{argument} must be an integer; got {value!r}")
    return int(value)


def thread_count(n_threads: int | None) -> int:
    """Return the number of threads that the core takes: 0 for all."""
    if n_threads is None:
        return 0
    if isinstance(n_threads, bool) or not isinstance(n_threads, (int, np.integer)) or n_threads < 1:
        raise ValueError(f"n_threads must be a positive integer or None; got {n_threads!r}")
    return min(int(n_threads), _MOST_THREADS)


def labels_or_targets(values: Any, n_samples: int, loss: Loss, binary: bool) -> Array:
    """Return y: integers of shape (n_samples,), or soft targets, floats of two dimensions (one if binary)."""
    y = as_array("y", values)
    if y.ndim == 2 or (binary and y.dtype.kind == "f"):
        return _soft_targets(y, n_samples, loss)
    if y.shape != (n_samples,):
        raise ValueError(f"y must have shape ({n_samples},), one label a row of X; got {y.shape}")
    if y.dtype.kind == "b":
        y = y.view(np.uint8)
    if y.dtype.kind not in "iu":
        raise TypeError(f"y must hold integers 0 .. n_classes - 1; got dtype {y.dtype}")
    if not y.dtype.isnative:
        raise TypeError(f"y must hold integers in native byte order; got dtype {y.dtype}")
    return y


def _soft_targets(y: Array, n_samples: int, loss: Loss) -> Array:
    if loss is not Loss.CROSS_ENTROPY:
        raise ValueError(
            f"y must hold labels for loss={loss.label!r}; soft targets are for 'cross_entropy', got {y.ndim} "
            f"dimension(s) of {y.dtype}"
        )
    if y.ndim not in (1, 2) or len(y) != n_samples:
        raise ValueError(f"y must have {n_samples} rows, one a row of X; got shape {y.shape}")
    if y.dtype not in (np.float32, np.float64):
        raise TypeError(f"y must hold float32 or float64 if it has two dimensions; got dtype {y.dtype}")
    return y


def class_count(n_classes: Any, y: Array, binary: bool) -> int:
    """Return n_classes, as given or as `y`, which was checked, has them."""
    if y.ndim == 2 and n_classes is None:
        if y.shape[1] < 2:
            raise ValueError(f"y must have a column for each of at least two classes; got shape {y.shape}")
        n_classes = y.shape[1]
    if n_classes is None:
        n_classes = 2 if y.dtype.kind == "f" else max(2, int(y.max(initial=0)) + 1)
        if n_classes > _MOST_CLASSES:
            raise ValueError(f"y must hold labels below 2**24; got {n_classes - 1}")
    count = integer("n_classes", n_classes)
    if binary and count != 2:
        raise ValueError(f"binary=True needs two classes, labels 0 and 1; got n_classes={count}")
    if count < 2:
        raise ValueError(f"n_classes must be at least 2 (with binary=True, W has one row); got {count}")
    if count > _MOST_CLASSES:
        raise ValueError(f"n_classes must be at most 2**24; got {count}")
    if y.ndim == 2 and y.shape[1] != count:
        raise ValueError(f"y must have n_classes={count} columns; got shape {y.shape}")
    return count


def weights_of_samples(sample_weight: Any, n_samples: int) -> Array | None:
    """Return weights of shape (n_samples,) or (n_models, n_samples), in a range that float32 can hold."""
    if sample_weight is None:
        return None
    weights = as_array("sample_weight", sample_weight)
    if weights.ndim not in (1, 2) or weights.shape[-1] != n_samples:
        raise ValueError(
            f"sample_weight must have shape ({n_samples},) or (n_models, {n_samples}); got {weights.shape}"
        )
    if weights.dtype.kind not in "fiub":
        raise TypeError(f"sample_weight must hold real numbers; got dtype {weights.dtype}")
    if weights.dtype not in (np.float32, np.float64) or not weights.flags.aligned:
        weights = weights.astype(np.float32 if weights.dtype == np.float32 else np.float64)
    return _in_range(weights)


def _in_range(weights: Array) -> Array:
    """Weights and a sum that float32 can hold: a common factor, a power of two, does not change the mean."""
    largest = weights.max(axis=-1, keepdims=True)
    outside = np.isfinite(largest) & (largest > 0) & ((largest < 2.0**-60) | (largest > 2.0**60))
    if not outside.any():
        return weights
    scaled: Array = np.ldexp(weights, np.where(outside, -np.frexp(largest)[1], 0))
    return scaled


def model_count(n_models: Any, weights: Array | None) -> int | None:
    """Return n_models, as given or as the checked weights have them; None: no stack."""
    count = None if n_models is None else integer("n_models", n_models)
    if count is not None and not 1 <= count < 2**31:
        raise ValueError(f"n_models must be in [1, 2**31) (None: no stack); got {count}")
    if weights is None or weights.ndim == 1:
        return count
    if count not in (None, len(weights)):
        raise ValueError(f"sample_weight must have n_models={count} rows; got {len(weights)}")
    return len(weights)


def label_smoothing_share(value: Any, loss: Loss) -> float:
    """Return the label smoothing, in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"label_smoothing must be a real number; got {type(value).__name__}")
    if not 0 <= float(value) < 1:
        raise ValueError(f"label_smoothing must be in [0, 1); got {value}")
    if value and loss is not Loss.CROSS_ENTROPY:
        raise ValueError(f"label_smoothing is for loss='cross_entropy'; got loss={loss.label!r}")
    return float(value)


def scaling_pair(standardize: Any, n_features: int) -> tuple[Array, Array]:
    """Return (mean, scale), float64 of shape (n_features,)."""
    if not isinstance(standardize, (tuple, list)) or len(standardize) != 2:
        raise TypeError(f"standardize must be True, False or a pair (mean, scale); got {standardize!r}")
    mean, scale = (np.array(part, dtype=np.float64) for part in standardize)
    for name, part in (("mean", mean), ("scale", scale)):
        if part.shape != (n_features,):
            raise ValueError(f"standardize: {name} must have shape ({n_features},); got {part.shape}")
        if not np.isfinite(part).all():
            raise ValueError(f"standardize: {name} must be finite; got {part[~np.isfinite(part)][0]}")
    if not (scale > 0).all():
        raise ValueError(f"standardize: scale must be positive; got {scale.min():g}")
    return mean, scale


def selected_rows(rows: slice | npt.ArrayLike | None, n_samples: int) -> slice | Array | None:
    """Return what selects rows as the core takes it: a slice, a packed array of int64, or None for all."""
    if rows is None or isinstance(rows, slice):
        return rows
    index = np.asarray(rows)
    if index.size == 0:
        raise ValueError("rows must select at least one row; got none")
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise TypeError(
            f"rows must be a slice or a one-dimensional array of integers; "
            f"got {index.ndim} dimension(s) of {index.dtype}"
        )
    if index.dtype.kind == "u" and index.max() >= n_samples:
        raise ValueError(f"rows must lie in [0, {n_samples}); got {index.max()}")
    return packed(index.astype(np.int64, copy=False))
