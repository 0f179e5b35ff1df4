from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

_Array: TypeAlias = npt.NDArray[Any]
_Doubles: TypeAlias = npt.NDArray[np.float64]
# CSR: data, indices, indptr, shape
_Matrix: TypeAlias = _Array | tuple[_Array, _Array, _Array, tuple[int, int]]
_Rows: TypeAlias = slice | npt.NDArray[np.int64] | None
_Standardization: TypeAlias = tuple[_Doubles | None, _Doubles | None] | None

def select_isa(name: str | None = None) -> None: ...
def check_isa() -> None: ...
def available_isas() -> list[str]: ...
def info() -> dict[str, Any]: ...
def colour_counts(
    pixels: npt.NDArray[np.uint8] | bytes, bins: tuple[int, int, int]
) -> npt.NDArray[np.int64]: ...
def measure_limits(dtype: npt.DTypeLike, n_threads: int) -> tuple[float, float]: ...

class Stop:
    def set(self) -> None: ...
    def is_set(self) -> bool: ...
    def heed(self) -> None: ...

class Problem:
    n_samples: int
    n_features: int
    n_classes: int
    n_models: int
    weight_sums: _Doubles

    def __init__(
        self,
        X: _Matrix,
        y: _Array | None,
        weights: _Array | None,
        loss: int,
        n_classes: int,
        n_models: int = 1,
        label_smoothing: float = 0.0,
    ) -> None: ...
    def models(self, weights_of: npt.NDArray[np.int32]) -> Problem: ...
    def evaluate(
        self,
        W: _Array,
        b: _Array | None,
        penalty: tuple[float, float, float],
        rows: _Rows,
        values: _Doubles,
        grad_W: _Array | None,
        grad_b: _Array | None,
        n_threads: int,
        standardize: _Standardization = None,
    ) -> None: ...
    def conjugate(
        self,
        W: _Array,
        b: _Array | None,
        u: _Array | None,
        shrink: _Doubles,
        lose: _Doubles,
        gain: _Doubles,
        values: _Doubles,
        n_threads: int,
        standardize: _Standardization = None,
    ) -> None: ...
    def adjoint(
        self,
        u: _Array | None,
        grad_W: _Array,
        grad_b: _Array,
        n_threads: int,
        standardize: _Standardization = None,
    ) -> None: ...
    def predict(
        self,
        W: _Array,
        b: _Array | None,
        rows: _Rows,
        scores: _Array | None,
        probabilities: _Array | None,
        labels: npt.NDArray[np.int64] | None,
        n_threads: int,
        standardize: _Standardization = None,
    ) -> None: ...
    def column_statistics(self, n_threads: int) -> tuple[_Doubles, _Doubles]: ...
    def curvature(
        self, seed: int, n_rows: int, standardize: _Standardization = None
    ) -> tuple[float, float, float]: ...

class StochasticGradient:
    def __init__(
        self,
        problem: Problem,
        W: _Array,
        b: _Array | None,
        penalty: tuple[float, float, float],
        standardize: _Standardization,
        *,
        batch_size: int,
        eta0: float,
        rate: float,
        power: float,
        momentum: float,
        intercept_rate: float,
        dropout: float,
        average_from: int,
        seed: int,
    ) -> None: ...
    def epoch(self) -> float: ...
    def set_eta0(self, eta0: float) -> None: ...
    def parameters(self, W: _Array, b: _Array | None, averaged: bool) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def set_state(self, given: Mapping[str, Any]) -> None: ...

class DualAscent:
    dtype: np.dtype[Any]

    def __init__(
        self,
        problem: Problem,
        dtype: npt.DTypeLike,
        penalty: tuple[float, float, float],
        standardize: _Standardization,
        *,
        proximal: bool,
        metric: _Doubles | None = None,
        seed: int,
    ) -> None: ...
    def set_centre(self, W: _Array, b: _Doubles, step: float, intercept_step: float) -> None: ...
    def run(self, n_centres: int, n_epochs: int, n_threads: int) -> tuple[float, int]: ...
    def refresh(self, V: _Doubles, residual: _Doubles, n_threads: int) -> tuple[float, float]: ...
    def class_sums(self, shares: _Doubles, sums: _Doubles, n_threads: int) -> None: ...
    def parameters(self, W: _Array, b: _Doubles, averaged: bool) -> None: ...
    def slopes(self, out: _Array) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def set_state(self, given: Mapping[str, Any]) -> None: ...

class CoordinateDescent:
    dtype: np.dtype[Any]
    n_columns: int

    def __init__(
        self, problem: Problem, dtype: npt.DTypeLike, standardize: _Standardization, *, intercept: bool
    ) -> None: ...
    def add(self, features: npt.NDArray[np.int64]) -> None: ...
    def set(self, W: _Doubles, b: _Doubles) -> float: ...
    def parameters(self) -> tuple[_Doubles, _Doubles]: ...
    def step(
        self,
        columns: npt.NDArray[np.int64],
        starts: npt.NDArray[np.int64],
        penalty: tuple[float, float, float],
        reduction: float,
        max_sweeps: int,
        max_steps: int = 1,
        violation: float = 0.0,
        residual: float = 0.0,
    ) -> tuple[float, float, float, float, float, int, float]: ...
    def slopes(self, out: _Array) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def set_state(self, given: Mapping[str, Any]) -> None: ...

def may_overlap(array: _Array, others: tuple[Any, ...]) -> bool: ...
def penalty_value(W: _Array, l1: float, l2: float, group: float) -> Any: ...
def penalty_gradient(W: _Array, l1: float, l2: float, group: float, out: _Array | None = None) -> _Array: ...
def penalty_prox(
    W: _Array, step: float, l1: float, l2: float, group: float, out: _Array | None = None
) -> _Array: ...
def gram_blocks(Z: _Array, H: _Doubles, out: _Array, n_threads: int) -> None: ...
def cholesky_blocks(A: _Array, extra: _Doubles, out: _Array, n_threads: int) -> npt.NDArray[np.bool_]: ...
def cholesky_solve(L: _Array, r: _Doubles, out: _Doubles, n_threads: int) -> None: ...

class Pairs:
    capacity: int
    size: int
    steps: list[_Doubles]
    changes: list[_Doubles]

    def __init__(self, capacity: int, size: int) -> None: ...
    def __len__(self) -> int: ...
    def add(self, step: _Doubles, change: _Doubles) -> None: ...
    def clear(self) -> None: ...
    def down(self, r: _Doubles, bend: _Doubles | None = None, free: _Doubles | None = None) -> None: ...
    def up(self, z: _Doubles) -> None: ...
    def newest(self) -> tuple[_Doubles, float] | None: ...
