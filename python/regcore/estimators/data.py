"""What the estimators take as X and y, and how it reaches the core: as it is, wherever that can be."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sklearn import get_config
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, validate_data

if TYPE_CHECKING:
    import numpy.typing as npt
    from sklearn.base import BaseEstimator

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["as_caller_has_it", "as_numpy", "checked", "checked_with_labels", "encoded"]

# What the core reads as it is; anything else is converted to float64.
_STORAGE = [
    *(np.float64, np.float32, np.float16, np.bool_),
    *(np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64),
]
# NaN and infinities are found by the core, in the pass that meets them.
_SETTINGS: dict[str, Any] = {
    "accept_sparse": "csr",
    "accept_large_sparse": True,
    "dtype": _STORAGE,
    "ensure_all_finite": False,
}
# What pandas calls the contents of a column of objects that are numbers
_NUMBERS = ("integer", "floating", "mixed-integer-float", "boolean", "decimal", "empty", "unknown")
_WIDEST_TABLE = 1 << 16  # labels may lie so far apart, at most, to be looked up in a table


def checked(estimator: BaseEstimator, X: Any) -> Any:
    """Return new data as an array or CSR matrix, of the features that the estimator was fitted on."""
    _refuse_columns(X)
    return validate_data(estimator, as_numpy("X", X), reset=False, **_SETTINGS)


def checked_with_labels(estimator: BaseEstimator, X: Any, y: Any, *, reset: bool = True) -> tuple[Any, Array]:
    """Return training data as an array or CSR matrix, and its labels as an array of one dimension."""
    _refuse_columns(X)
    X, y = as_numpy("X", X), as_numpy("y", y)
    if (
        type(y) is np.ndarray and y.ndim == 1 and y.dtype.kind in "biuUS"
    ):  # nothing to be checked or converted
        X = validate_data(estimator, X, reset=reset, **_SETTINGS)
        check_consistent_length(X, y)
        return X, y
    X, y = validate_data(estimator, X, y, reset=reset, **_SETTINGS)
    if y.dtype.kind not in "biuUSO":  # such as fractions; `encoded` tells the others apart
        check_classification_targets(y)
    return X, y


def encoded(y: Array, classes: Array | None = None) -> tuple[Array, Array]:
    """Return the classes, sorted, and the place of each label among them.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
    classes : ndarray of shape (n_classes,), default=None
        Sorted; None: the labels that there are.

    Raises
    ------
    TypeError
        If the labels cannot be sorted.
    ValueError
        If a label is not among `classes`.
    """
    if y.dtype.kind in "iub":
        found, codes = _encoded_integers(y)
    elif y.dtype == object:
        found, codes = _encoded_objects(y)
    else:
        found, codes = np.unique(y, return_inverse=True)
    if classes is None:
        return found, codes
    unseen = np.setdiff1d(found, classes)
    if len(unseen):
        raise ValueError(
            f"y must hold labels of classes {_listed(classes)} alone; got {_listed(unseen)}, "
            "which the first call of partial_fit did not name in classes="
        )
    return classes, np.searchsorted(classes, found)[codes]


def _encoded_integers(y: Array) -> tuple[Array, Array]:
    low, high = int(y.min()), int(y.max())
    if y.dtype.kind == "b" or high - low >= _WIDEST_TABLE:
        return np.unique(y, return_inverse=True)
    shifted = y.astype(np.int64) - low
    there = np.bincount(shifted, minlength=high - low + 1) > 0
    return (np.flatnonzero(there) + low).astype(y.dtype), (np.cumsum(there) - 1)[shifted]


def _encoded_objects(y: Array) -> tuple[Array, Array]:
    try:
        ordered = sorted(set(y.tolist()))
    except TypeError:
        kinds = ", ".join(sorted({type(label).__name__ for label in y.tolist()}))
        raise TypeError(
            f"y must hold labels of one kind, which can be sorted; got {kinds} together (y.astype(str)?)"
        ) from None
    places = {label: place for place, label in enumerate(ordered)}
    classes = np.empty(len(ordered), object)
    classes[:] = ordered
    return classes, np.fromiter((places[label] for label in y.tolist()), np.int64, len(y))


def _listed(labels: Array) -> str:
    shown = ", ".join(map(repr, labels[:5].tolist()))
    return f"[{shown}{', ...' if len(labels) > 5 else ''}]"


# ---------------------------------------------------------------------- arrays of other libraries


def as_numpy(argument: str, array: Any) -> Any:
    """Return an array of another library (PyTorch, JAX, CuPy and the like) as NumPy's, sharing its memory.

    Everything else, NumPy's own arrays among it, comes back as it is.

    Raises
    ------
    ValueError
        If the array is not in the memory of the CPU, or its library will not lend it.
    """
    if isinstance(array, (np.ndarray, np.generic)) or not hasattr(array, "__dlpack__"):
        return array
    if hasattr(array, "columns"):  # a table may have DLPack as well; scikit-learn reads its names
        return array
    try:
        return np.from_dlpack(array)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{argument} must be in the memory of the CPU, and free of gradients, to be read without a copy; "
            f"got {type(array).__module__}.{type(array).__name__}: {error}"
        ) from error


def as_caller_has_it(result: Array, X: Any) -> Any:
    """Return a result in the library that X came from, if scikit-learn is told to (`array_api_dispatch`).

    Labels that are no numbers stay in NumPy: no other array library holds them.
    """
    if (
        isinstance(X, np.ndarray)
        or not hasattr(X, "__dlpack__")
        or hasattr(X, "columns")
        or result.dtype.kind not in "fiub"
        or not get_config()["array_api_dispatch"]
    ):
        return result
    if hasattr(X, "__array_namespace__"):
        return X.__array_namespace__().from_dlpack(result)
    return sys.modules[type(X).__module__.partition(".")[0]].from_dlpack(result)


# ---------------------------------------------------------------------- tables


def _refuse_columns(X: Any) -> None:
    """Refuse a DataFrame (pandas or Polars) with columns that are no quantities, by their names."""
    if isinstance(X, np.ndarray) or not (hasattr(X, "columns") and hasattr(X, "dtypes")):
        return
    kinds = list(zip(X.columns, X.dtypes, strict=True))
    wrong = [(name, kind) for name, kind in kinds if not _is_quantity(X, name, kind)]
    if wrong:
        shown = ", ".join(f"{name!r} ({kind})" for name, kind in wrong[:5])
        raise ValueError(
            f"X must have columns of numbers; got {shown}{', ...' if len(wrong) > 5 else ''}: encode such "
            "columns first, as by OneHotEncoder in a ColumnTransformer, or leave them out"
        )


def _is_quantity(X: Any, name: Any, kind: Any) -> bool:
    if hasattr(kind, "is_numeric"):  # Polars
        return bool(kind.is_numeric()) or str(kind) in ("Boolean", "Null", "Object")
    if str(kind) == "object":
        from pandas.api.types import infer_dtype

        columns = X.loc[:, name]
        inferred = infer_dtype(columns, skipna=True) if columns.ndim == 1 else "unknown"
        return inferred in _NUMBERS
    return getattr(kind, "kind", "O") in "fiub"
