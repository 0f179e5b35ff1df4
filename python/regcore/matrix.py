"""X as it is borrowed from the user: a dense array or a CSR matrix.

The core reads it as it is; what Python itself needs is read here: some rows, some columns, a few numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore.arguments import as_array, integer, packed

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["Matrix", "as_matrix"]

_DENSE_NUMBERS = 1 << 17  # of rows that are made dense at a time
_SAMPLED_ROWS, _SAMPLED_VALUES = 32, 2048


class Matrix(ABC):
    """A matrix of shape (n_samples, n_features) in somebody else's memory.

    Attributes
    ----------
    parts : ndarray, or tuple (data, indices, indptr, shape)
        As `_core.Problem` takes it.
    shape : (n_samples, n_features)
    is_sparse : bool
    dtype : dtype
        Of the stored numbers.
    n_stored : int
        How many they are.
    """

    parts: Any
    shape: tuple[int, int]
    is_sparse: bool
    dtype: np.dtype[Any]
    n_stored: int

    @property
    @abstractmethod
    def arrays(self) -> tuple[Array, ...]:
        """The arrays that hold it."""

    @abstractmethod
    def columns(self, features: Array) -> Array:
        """Return some columns, float64 of shape (n_samples, n)."""

    @abstractmethod
    def sample(self) -> list[Array]:
        """Return a few of its numbers and their places, the same of the same matrix."""

    @abstractmethod
    def mean_square(self) -> float | None:
        """Mean of ||x||**2 where that is cheaper than the statistics of the columns, which tell it, too."""

    @abstractmethod
    def _write(self, rows: Array, out: Array) -> None:
        """Write some rows into a dense array."""

    def rows(
        self,
        rows: Array,
        dtype: npt.DTypeLike,
        standardization: tuple[Array, Array] | None = None,
        out: Array | None = None,
    ) -> Array:
        """Return those rows, standardised, as a dense array (n_rows, n_features): `out`, or a new one."""
        dense = np.empty((len(rows), self.shape[1]), dtype) if out is None else out
        # a part at a time, which is still in the cache when it is converted
        part = max(_DENSE_NUMBERS // self.shape[1], 1)
        for first in range(0, len(rows), part):
            target = dense[first : first + part]
            self._write(rows[first : first + part], target)
            if standardization is not None:
                mean, scale = standardization
                target -= mean.astype(dtype)
                target /= scale.astype(dtype)
        return dense


class _Dense(Matrix):
    is_sparse = False

    def __init__(self, X: Array) -> None:
        if X.ndim != 2:
            raise ValueError(f"X must have two dimensions (n_samples, n_features); got shape {X.shape}")
        self.parts, self.shape, self.dtype, self.n_stored = X, _not_empty(X.shape), X.dtype, X.size

    @property
    def arrays(self) -> tuple[Array, ...]:
        return (self.parts,)

    def columns(self, features: Array) -> Array:
        dense: Array = self.parts[:, features].astype(np.float64)
        return dense

    def sample(self) -> list[Array]:
        return [
            self.parts[np.ix_(_spread(self.shape[0], _SAMPLED_ROWS), _spread(self.shape[1], _SAMPLED_VALUES))]
        ]

    def mean_square(self) -> float | None:
        return None

    def _write(self, rows: Array, out: Array) -> None:
        out[...] = self.parts[rows]


class _Csr(Matrix):
    is_sparse = True

    def __init__(self, X: Any) -> None:
        data, indices, indptr = (packed(np.asarray(part)) for part in (X.data, X.indices, X.indptr))
        if not isinstance(X.shape, tuple) or len(X.shape) != 2:
            raise ValueError(f"X must have two dimensions (n_samples, n_features); got shape {X.shape}")
        self.shape = n_samples, _ = _not_empty(tuple(integer("X.shape", n) for n in X.shape))
        for name, part in (("data", data), ("indices", indices), ("indptr", indptr)):
            if part.ndim != 1:
                raise ValueError(f"X.{name} must be one-dimensional; got shape {part.shape}")
        for name, part in (("indices", indices), ("indptr", indptr)):
            if part.dtype not in (np.int32, np.int64):
                raise TypeError(f"X.{name} must be int32 or int64; got {part.dtype}")
        if len(indptr) != n_samples + 1:
            raise ValueError(f"X.indptr must have n_samples + 1 = {n_samples + 1} entries; got {len(indptr)}")
        if len(data) != len(indices):
            raise ValueError(
                f"X.data and X.indices must have the same length; got {len(data)} and {len(indices)}"
            )
        if indptr.dtype != indices.dtype:
            indptr, indices = indptr.astype(np.int64), indices.astype(np.int64)
        self.parts = data, indices, indptr, self.shape
        self.dtype, self.n_stored = data.dtype, int(indptr[-1])

    @property
    def arrays(self) -> tuple[Array, ...]:
        arrays: tuple[Array, ...] = self.parts[:3]
        return arrays

    def columns(self, features: Array) -> Array:
        data, indices, indptr = self.arrays
        place = np.full(self.shape[1], -1)
        place[features] = np.arange(len(features))
        found = np.flatnonzero(place[indices] >= 0)
        columns = np.zeros((self.shape[0], len(features)))
        rows = np.searchsorted(indptr, found, side="right") - 1
        np.add.at(columns, (rows, place[indices[found]]), data[found])
        return columns

    def sample(self) -> list[Array]:
        data, indices, indptr = self.arrays
        places = _spread(self.n_stored, _SAMPLED_VALUES)
        rows = _spread(self.shape[0], _SAMPLED_ROWS)
        return [indptr[rows].astype(np.int64), indices[places].astype(np.int64), data[places]]

    def mean_square(self) -> float | None:
        data = self.arrays[0]
        return float(np.einsum("i,i->", data, data, dtype=np.float64)) / self.shape[0]

    def _write(self, rows: Array, out: Array) -> None:
        data, indices, indptr = self.arrays
        lengths = indptr[rows + 1] - indptr[rows]
        ends = np.cumsum(lengths)
        places = np.arange(ends[-1]) + np.repeat(indptr[rows] - (ends - lengths), lengths)
        out[...] = 0
        # numbers that are there twice add up
        np.add.at(
            out, (np.repeat(np.arange(len(rows)), lengths), indices[places]), data[places].astype(out.dtype)
        )


def as_matrix(X: Any) -> Matrix:
    """Return X, an array-like or a CSR matrix (anything with data, indices, indptr and shape), checked.

    Raises
    ------
    TypeError, ValueError
        If X is sparse in another format, or its shape or the types of its parts are wrong. What a CSR
        matrix's indices hold is checked by the core.
    """
    if isinstance(X, Matrix):
        return X
    if hasattr(X, "indptr") and hasattr(X, "indices"):
        if getattr(X, "format", "csr") != "csr":
            raise TypeError(f"X must be dense or CSR; got {X.format!r} format (X.tocsr() converts)")
        return _Csr(X)
    if hasattr(X, "tocsr"):
        raise TypeError(f"X must be dense or CSR; got {type(X).__name__} (X.tocsr() converts)")
    return _Dense(as_array("X", X))


def _not_empty(shape: tuple[Any, ...]) -> tuple[int, int]:
    n_samples, n_features = shape
    if n_samples < 1 or n_features < 1:
        raise ValueError(f"X must have at least one sample and one feature; got shape {shape}")
    return n_samples, n_features


def _spread(n: int, most: int) -> Array:
    """At most so many of n places, evenly."""
    return np.unique(np.linspace(0, max(n - 1, 0), most).astype(np.int64))[:n]
