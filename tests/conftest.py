"""Fixtures and helpers that all tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

MULTICLASS_LOSSES = ("cross_entropy", "hinge", "squared_hinge", "crammer_singer")
BINARY_LOSSES = ("cross_entropy", "hinge", "squared_hinge")


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
        floats = (a.astype(dtype) for a in (self.X, self.W, self.b, self.sample_weight))
        X, W, b, sample_weight = floats
        return Problem(X, self.y, W, b, sample_weight)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261122)


@pytest.fixture
def make_problem(rng: np.random.Generator) -> Callable[..., Problem]:
    """A function that makes a random problem; n_classes=1 gives the binary form."""

    def make(
        n_samples: int = 40, n_features: int = 7, n_classes: int = 3, dtype: Any = np.float64
    ) -> Problem:
        sample_weight = rng.uniform(0.1, 2.0, n_samples)
        sample_weight[::5] = 0.0
        return Problem(
            X=rng.standard_normal((n_samples, n_features)).astype(dtype),
            y=rng.integers(0, max(2, n_classes), n_samples),
            W=rng.standard_normal((n_classes, n_features)).astype(dtype),
            b=rng.standard_normal(n_classes).astype(dtype),
            sample_weight=sample_weight.astype(dtype),
        )

    return make


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree; tests that read it are skipped where only the tests are there."""
    if not (REPOSITORY / "pyproject.toml").is_file():
        pytest.skip("the source tree is not here, only the tests")
    return REPOSITORY


@pytest.fixture(scope="session")
def data_directory() -> Path:
    """Real data beside the source tree, or where REGCORE_TEST_DATA says; without it the test is skipped."""
    directory = Path(os.environ.get("REGCORE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not directory.is_dir():
        pytest.skip(f"no real data: {directory} is no directory (REGCORE_TEST_DATA names another)")
    return directory


@pytest.fixture(scope="session")
def load_data(data_directory: Path) -> Callable[[str], dict[str, np.ndarray]]:
    """A function that reads one .npz of the real data into a dict, or skips the test without the file."""

    def load(name: str) -> dict[str, np.ndarray]:
        path = data_directory / name
        if not path.is_file():
            pytest.skip(f"no real data: {path} is no file")
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)

    return load


def relative_error(actual: Any, exact: Any) -> float:
    """Return the largest error relative to the largest exact entry; 0 where both are zero."""
    exact = np.asarray(exact)
    error = np.abs(np.asarray(actual).astype(exact.dtype) - exact).max(initial=0)
    scale = np.abs(exact).max(initial=0)
    return float(error / scale) if scale > 0 else float(error)
