"""The data of the benchmarks: shapes, random problems, and what it means that two answers agree.

The dense ones are those of ``regcore bench``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from regcore.command.cases import (
    DENSE_SHAPES,
    TOLERANCE,
    Problem,
    Shape,
    dense_problem,
    relative_error,
    with_parameters,
)

__all__ = [
    "BINARY_LOSSES",
    "BINARY_SHAPES",
    "DENSE_SHAPES",
    "DTYPES",
    "LOSSES",
    "NONZEROS_PER_ROW",
    "SPARSE_SHAPES",
    "STORAGE_DTYPES",
    "STORAGE_SHAPES",
    "WEIGHT_SHAPES",
    "Problem",
    "Shape",
    "assert_agree",
    "dense_problem",
    "sparse_problem",
]

LOSSES = ("cross_entropy", "hinge", "squared_hinge", "crammer_singer")
BINARY_LOSSES = ("cross_entropy", "hinge", "squared_hinge")
DTYPES = ("float32", "float64")

BINARY_SHAPES = (Shape(400_000, 64, 1), Shape(100_000, 512, 1), Shape(60_000, 784, 1))
SPARSE_SHAPES = tuple(Shape(100_000, 50_000, n_classes) for n_classes in (1, 2, 20, 100))
STORAGE_SHAPES = (Shape(60_000, 784, 1), Shape(60_000, 784, 10))
STORAGE_DTYPES = ("float16", "uint8", "int8")
NONZEROS_PER_ROW = 38

# (n_classes, n_features): a linear model on pixels, on embeddings with many classes, and on text
WEIGHT_SHAPES = ((10, 784), (1000, 512), (20, 50_000))


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
    return with_parameters(X, values.reshape(shape.n_samples, -1), shape, dtype, rng)


def assert_agree(actual: Any, expected: Any, dtype: str) -> None:
    """Check numbers, arrays, or tuples of them, against each other, relative to the largest entry."""
    assert relative_error(actual, expected) <= TOLERANCE[dtype]
