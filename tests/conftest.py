"""Fixtures that all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import Problem

REPOSITORY = Path(__file__).resolve().parent.parent

# A shell's background job starts with SIGINT ignored: no interrupt would arrive, and such a fit never end.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
