"""Problems to measure speed on: their shapes, random data of these shapes, and whether two answers agree.

``regcore bench`` and the pytest benchmarks of the source tree share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

LEAST_SAMPLES = 64

TOLERANCE = {"float32": 5e-5, "float64": 1e-11}
"""By dtype of the computation, how far two answers may be apart, relative to the largest entry."""


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


# From memory bound (few classes) to bound by arithmetic (many), from histograms and pixels to embeddings.
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


@dataclass(frozen=True)
class Problem:
    """Random data and a point at which to evaluate the objective."""

    X: Any
    y: Array
    W: Array
    b: Array
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
    stored = np.dtype(dtype if storage is None else storage)
    size = (shape.n_samples, shape.n_features)
    if stored.kind == "f":
        X: Array = rng.integers(-3, 4, size, dtype=np.int8).astype(stored)
    else:
        X = rng.integers(0, 100, size, dtype=stored)
    return with_parameters(X, X, shape, dtype, rng)


def with_parameters(X: Any, stored: Array, shape: Shape, dtype: str, rng: np.random.Generator) -> Problem:
    """Add labels, weights and intercepts to samples X, whose numbers are `stored`, row by row."""
    # Scores of order 1, as near a solution. X holds small integers and W multiples of 2^-20, so that scores
    # up to 16 are exact even in float32, in whatever order they are summed: rounding decides no margin and no
    # tie, and the subgradients of two implementations agree as closely as gradients do.
    row_norm = np.sqrt((stored[:LEAST_SAMPLES].astype(np.float64) ** 2).sum(axis=1).mean())
    W = rng.standard_normal((shape.n_classes, shape.n_features)) / row_norm
    b = rng.standard_normal(shape.n_classes) / 4
    return Problem(
        X=X,
        y=rng.integers(0, max(2, shape.n_classes), shape.n_samples),
        W=(np.round(W * 2**20) / 2**20).astype(dtype),
        b=(np.round(b * 2**20) / 2**20).astype(dtype),
        shape=shape,
    )


def relative_error(actual: Any, expected: Any) -> float:
    """Return the largest difference of numbers, arrays or tuples of them, relative to the largest entry.

    Of a tuple it is the largest of its members' errors. Infinite if shapes differ; NaN in `actual` gives NaN.
    """
    if isinstance(expected, tuple):
        errors = [relative_error(a, e) for a, e in zip(actual, expected, strict=True)]
        return float(np.max(errors, initial=0.0))  # unlike max(), passes NaN on
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        return inf
    difference = float(np.abs(actual - expected).max(initial=0))
    scale = float(np.abs(expected).max(initial=0))
    return difference / scale if scale else inf if difference else 0.0
