"""The data of the benchmarks: shapes, random problems, and what it means that two answers agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

LOSSES = ("cross_entropy", "hinge", "squared_hinge", "crammer_singer")
BINARY_LOSSES = ("cross_entropy", "hinge", "squared_hinge")
DTYPES = ("float32", "float64")

LEAST_SAMPLES = 64


@dataclass(frozen=True)
class Shape:
    """Size of a problem; n_classes = 1 is the binary form."""

    n_samples: int
    n_features: int
    n_classes: int

    def scaled(self, scale: float) -> Shape:
        """Return the shape with so many times the samples, but not fewer than LEAST_SAMPLES."""
        n_samples = max(round(self.n_samples * scale), min(self.n_samples, LEAST_SAMPLES))
        return Shape(n_samples, self.n_features, self.n_classes)

    def __str__(self) -> str:
        return f"{self.n_samples}x{self.n_features}x{self.n_classes}"


# from memory bound (few classes) to bound by arithmetic (many), from histograms and pixels to embeddings
DENSE_SHAPES = (
    Shape(400_000, 64, 2),
    Shape(200_000, 128, 10),
    Shape(100_000, 512, 2),
    Shape(60_000, 784, 10),
    Shape(50_000, 3072, 10),
    Shape(20_000, 1024, 100),
    Shape(20_000, 512, 1000),
    Shape(8_192, 2048, 5000),
)
BINARY_SHAPES = (Shape(400_000, 64, 1), Shape(100_000, 512, 1), Shape(60_000, 784, 1))
SPARSE_SHAPES = tuple(Shape(100_000, 50_000, n_classes) for n_classes in (1, 2, 20, 100))
STORAGE_SHAPES = (Shape(60_000, 784, 1), Shape(60_000, 784, 10))
STORAGE_DTYPES = ("float16", "uint8", "int8")
NONZEROS_PER_ROW = 38

# (n_classes, n_features): a linear model on pixels, on embeddings with many classes, and on text
WEIGHT_SHAPES = ((10, 784), (1000, 512), (20, 50_000))


@dataclass(frozen=True)
class Problem:
    """Random data and a point at which to evaluate the objective."""

    X: Any
    y: np.ndarray
    W: np.ndarray
    b: np.ndarray
    shape: Shape

    @property
    def n_bytes(self) -> int:
        """Bytes of X, which a call reads at least once."""
        if hasattr(self.X, "indptr"):
            return int(self.X.data.nbytes + self.X.indices.nbytes + self.X.indptr.nbytes)
        return int(self.X.nbytes)

    @property
    def n_operations(self) -> int:
        """Floating-point operations of the two products of a call, scores and gradient."""
        n_entries = self.X.nnz if hasattr(self.X, "indptr") else self.X.size
        return int(4 * n_entries * self.shape.n_classes)


def dense_problem(shape: Shape, dtype: str, storage: str | None = None) -> Problem:
    """Return a dense problem with W in `dtype` and X in `storage` (None: `dtype` too)."""
    rng = np.random.default_rng(7)
    storage = np.dtype(dtype if storage is None else storage)
    size = (shape.n_samples, shape.n_features)
    if storage.kind == "f":
        X = rng.integers(-3, 4, size, dtype=np.int8).astype(storage)
    else:
        X = rng.integers(0, 100, size, dtype=storage)
    return _with_parameters(X, X, shape, dtype, rng)


def sparse_problem(shape: Shape, dtype: str) -> Problem:
    """Return a CSR problem whose columns are as skewed as the words of a text (Zipf's law)."""
    from scipy import sparse

    rng = np.random.default_rng(7)
    n_nonzero = shape.n_samples * NONZEROS_PER_ROW
    share = 1 / np.arange(1, shape.n_features + 1)
    columns = rng.choice(shape.n_features, n_nonzero, p=share / share.sum()).astype(np.int32)
    indptr = np.arange(0, n_nonzero + 1, NONZEROS_PER_ROW, dtype=np.int32)
    values = rng.integers(1, 4, n_nonzero).astype(dtype)
    X = sparse.csr_array((values, columns, indptr), shape=(shape.n_samples, shape.n_features))
    return _with_parameters(X, values.reshape(shape.n_samples, -1), shape, dtype, rng)


def _with_parameters(
    X: Any, stored: np.ndarray, shape: Shape, dtype: str, rng: np.random.Generator
) -> Problem:
    # Scores of order 1, as near a solution. X holds small integers and W multiples of 2^-20, so that scores
    # up to 16 are exact even in float32, in whatever order they are summed: rounding decides no margin and no
    # tie, and the subgradients of two implementations agree as closely as gradients do.
    row_norm = np.sqrt((stored[:LEAST_SAMPLES].astype(np.float64) ** 2).sum(axis=1).mean())
    W = rng.standard_normal((shape.n_classes, shape.n_features)) / row_norm
    W = np.round(W * 2**20) / 2**20
    return Problem(
        X=X,
        y=rng.integers(0, max(2, shape.n_classes), shape.n_samples),
        W=W.astype(dtype),
        b=np.zeros(shape.n_classes, dtype=dtype),
        shape=shape,
    )


def assert_agree(actual: Any, expected: Any, dtype: str) -> None:
    """Check numbers, arrays, or tuples of them, against each other, relative to the largest entry."""
    if isinstance(expected, tuple):
        for a, e in zip(actual, expected, strict=True):
            assert_agree(a, e, dtype)
        return
    tolerance = {"float32": 5e-5, "float64": 1e-11}[dtype]
    expected = np.asarray(expected)
    error = np.abs(np.asarray(actual) - expected).max(initial=0)
    scale = np.abs(expected).max(initial=0)
    assert np.isfinite(error)
    assert error <= tolerance * scale
