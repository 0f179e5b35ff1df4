"""What several test files share: names of losses, problems, and how errors are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

MULTICLASS_LOSSES = ("cross_entropy", "hinge", "squared_hinge", "crammer_singer")
BINARY_LOSSES = ("cross_entropy", "hinge", "squared_hinge")


def loss_of(solver: str) -> str:
    """Return a loss that the solver handles."""
    return "hinge" if solver == "dual" else "cross_entropy"


@dataclass
class Problem:
    """A small random classification problem and a point at which to evaluate it."""

    X: Any
    y: np.ndarray
    W: np.ndarray
    b: np.ndarray
    sample_weight: np.ndarray

    def astype(self, dtype: Any) -> Problem:
        """Return the same problem in another dtype (X, W, b and the weights)."""
        X, W, b, sample_weight = (a.astype(dtype) for a in (self.X, self.W, self.b, self.sample_weight))
        return Problem(X, self.y, W, b, sample_weight)


def relative_error(actual: Any, exact: Any) -> float:
    """Return the largest error relative to the largest exact entry; the error itself where all are zero."""
    exact = np.asarray(exact)
    error = np.abs(np.asarray(actual).astype(exact.dtype) - exact).max(initial=0)
    scale = np.abs(exact).max(initial=0)
    return float(error / scale) if scale > 0 else float(error)
