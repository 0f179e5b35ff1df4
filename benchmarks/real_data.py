"""The real data of the benchmarks: beside the source tree, or where REGCORE_TEST_DATA says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["archive", "csr", "folder", "training_part"]


def folder() -> Path:
    """Return where the data is looked for, there or not."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("REGCORE_TEST_DATA", beside))


def archive(name: str) -> dict[str, np.ndarray]:
    """Return the arrays of a file; FileNotFoundError without it."""
    path = folder() / name
    if not path.is_file():
        raise FileNotFoundError(f"no real data: {path} is no file (REGCORE_TEST_DATA names another folder)")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def csr(arrays: dict[str, np.ndarray], part: str = "X_train") -> Any:
    """Return the CSR matrix whose parts a file holds."""
    from scipy import sparse

    data, indices, indptr, shape = (
        arrays[f"{part}_{name}"] for name in ("data", "indices", "indptr", "shape")
    )
    return sparse.csr_matrix((data, indices, indptr), shape=tuple(shape))


def training_part(name: str) -> tuple[Any, np.ndarray]:
    """Return X, as it is stored, and y (int32): the training part of a file, or all of one without parts."""
    arrays = archive(name)
    part = "" if "X" in arrays else "_train"
    X = csr(arrays) if f"X{part}_data" in arrays else arrays[f"X{part}"]
    return X, arrays[f"y{part}"].astype(np.int32)
