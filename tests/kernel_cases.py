"""Cases for the C driver of the kernel tests, `tests/c/check_kernels.c`, with what the reference expects.

    python tests/kernel_cases.py FILE [little|big]

A file is a row of cases, each with the number of its fields (int64), the operation, a description, and the
fields: a name, a type (the core's code), a length and the items; a case of no fields ends it. All numbers are
in the byte order of the machine that will read them. Expected values are computed in longdouble and written
in float64.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from problems import BINARY_LOSSES, MULTICLASS_LOSSES, Problem
from test_against_reference import CLASSES, STORAGES, TOLERANCE, exactly, random_problem
from test_dense import completed, positive_definite
from test_sgd import PENALTIES, SETTINGS, plain_sgd

from regcore import reference
from regcore.command.hsv import rgb_to_hsv
from regcore.losses import resolve_loss

# in the order of rc_dtype
DTYPES = (
    "float32",
    "float64",
    "float16",
    "uint8",
    "int8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
)
LOSSES = [*((loss, False) for loss in MULTICLASS_LOSSES), *((loss, True) for loss in BINARY_LOSSES)]
PARTS = [(0.0, 0.0, 0.0), (0.02, 0.05, 0.0), (0.01, 0.0, 0.03), (0.02, 0.03, 0.02)]
MOST_WORK = 1_000_000  # products of a case: the expected ones are computed in longdouble

Case = dict[str, Any]


# --------------------------------------------------------------------------------------------------
# The file
# --------------------------------------------------------------------------------------------------
def write_cases(path: Path, cases: Iterable[Case], order: str = sys.byteorder) -> None:
    with path.open("wb") as file:
        for case in cases:
            write_case(file, case, {"little": "<", "big": ">"}[order])
        file.write(bytes(8))


def write_case(file: BinaryIO, case: Case, order: str) -> None:
    arrays = {key: as_array(value) for key, value in case.items() if key not in ("operation", "what")}
    arrays = {key: array for key, array in arrays.items() if array is not None}
    file.write(
        struct.pack(f"{order}q16s160s", len(arrays), case["operation"].encode(), case["what"].encode()[:159])
    )
    for key, array in arrays.items():
        file.write(struct.pack(f"{order}16sqq", key.encode(), DTYPES.index(array.dtype.name), array.size))
        file.write(array.astype(array.dtype.newbyteorder(order)).tobytes())


def as_array(value: Any) -> np.ndarray | None:
    if value is None:
        return None
    array = np.ascontiguousarray(value)
    if array.dtype == np.longdouble:
        return array.astype(np.float64)
    return array.view(np.uint8) if array.dtype == bool else array


def memory_of(array: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the items that an array's memory holds, gaps included, and the first one's offset in bytes."""
    low, high = np.lib.array_utils.byte_bounds(array)
    items = np.frombuffer(ctypes.string_at(low, high - low), array.dtype)
    return items, array.ctypes.data - low


# --------------------------------------------------------------------------------------------------
# Problems
# --------------------------------------------------------------------------------------------------
def matrix_fields(X: Any) -> Case:
    if hasattr(X, "indptr"):
        return {
            "X": X.data,
            "indices": X.indices,
            "indptr": X.indptr,
            "shape": np.array([*X.shape, 0, 0, 0], np.int64),
        }
    items, offset = memory_of(X)
    return {"X": items, "shape": np.array([*X.shape, *X.strides, offset], np.int64)}


def problem_fields(p: Problem, loss: str, *, b: bool, weighted: bool, dtype: Any, **more: Any) -> Case:
    return {
        **matrix_fields(p.X),
        "real": np.array([DTYPES.index(np.dtype(dtype).name)], np.int64),
        "loss": np.array([resolve_loss(loss)], np.int64),
        "n_classes": np.array([len(p.W)], np.int64),
        "y": p.y,
        "W": p.W,
        "b": p.b if b else None,
        "weights": p.sample_weight if weighted else None,
        "tolerance": TOLERANCE[dtype],
        **more,
    }


def problem_of_size(rng: np.random.Generator, n_classes: int, dtype: Any, storage: str) -> Problem:
    """A random problem that the oracle is not too long at, with labels of a random type."""
    while True:
        p = random_problem(rng, n_classes, dtype, storage)
        if p.X.shape[0] * p.X.shape[1] * n_classes <= MOST_WORK:
            p.y = p.y.astype(rng.choice(DTYPES[3:]))
            return p


def penalised(W: np.ndarray, parts: tuple[float, float, float]) -> tuple[Any, Any]:
    return reference.penalty_value(W, *parts), reference.penalty_gradient(W, *parts)


def evaluations(rng: np.random.Generator) -> Iterator[Case]:
    """Value, gradient and predictions: every loss on every storage, with all else drawn."""
    trial = 0
    for dtype in (np.float32, np.float64):
        for loss, binary in LOSSES:
            for storage in STORAGES:
                trial += 1
                p = problem_of_size(rng, 1 if binary else int(rng.choice(CLASSES)), dtype, storage)
                with_b, weighted, parts = trial % 3 > 0, trial % 2 > 0, PARTS[trial % 4]
                n_samples, n_features = p.X.shape
                rows, fields = np.arange(n_samples), {}
                if trial % 5 == 1:
                    rows = rng.integers(0, n_samples, n_samples // 2 + 1)
                    fields["rows"] = rows
                elif trial % 5 == 2:
                    rows = rows[::-2]
                    fields["slice"] = np.array([n_samples - 1, -2, len(rows)], np.int64)
                e = exactly(p, dtype)
                if trial % 7 == 3:
                    center, scale = 0.1 * rng.standard_normal(n_features), rng.uniform(0.5, 2, n_features)
                    fields |= {"center": center, "scale": scale}
                    e.X = (e.X - center) / scale
                b, weight = e.b if with_b else None, e.sample_weight[rows] if weighted else None
                value, grad_W, grad_b = reference.loss_and_grad(
                    e.X[rows], e.y[rows], e.W, b, loss=loss, sample_weight=weight
                )
                penalty, penalty_gradient = penalised(e.W, parts)
                what = (
                    f"{np.dtype(dtype)}, {storage} {p.X.shape}, {len(p.W)} classes, {loss}, b {with_b}, "
                    f"weights {weighted}, {', '.join(fields) or 'all rows'}"
                )
                case = {
                    "what": what,
                    **problem_fields(p, loss, b=with_b, weighted=weighted, dtype=dtype),
                    **fields,
                }
                yield {
                    **case,
                    "operation": "evaluate",
                    "penalty": np.array(parts),
                    "value": value + penalty,
                    "grad_W": grad_W + penalty_gradient,
                    "grad_b": grad_b,
                }
                yield {
                    **case,
                    "operation": "predict",
                    "scores": reference.scores(e.X[rows], e.W, b),
                    "probabilities": reference.predict_proba(e.X[rows], e.W, b),
                }


def stacks(rng: np.random.Generator) -> Iterator[Case]:
    """Several models at once, each with weights of its own, of which some are 0."""
    for dtype in (np.float32, np.float64):
        for storage in ("C", "F", "csr", "uint8"):
            for loss, n_classes, n_models in (
                ("cross_entropy", 1, 16),
                ("hinge", 1, 5),
                ("crammer_singer", 3, 3),
            ):
                p = problem_of_size(rng, n_classes, dtype, storage)
                n_samples, n_features = p.X.shape
                scale = np.abs(p.W).max()
                W = (scale * rng.standard_normal((n_models, n_classes, n_features))).astype(dtype)
                b = rng.standard_normal((n_models, n_classes)).astype(dtype)
                weight = rng.uniform(0.1, 1, (n_models, n_samples)).astype(dtype)
                weight[:, 1:] *= rng.random((n_models, n_samples - 1)) > 0.3
                e = exactly(p, dtype)
                models = [
                    reference.loss_and_grad(
                        e.X, e.y, W[m].astype(np.longdouble), b[m].astype(np.longdouble), loss=loss,
                        sample_weight=weight[m].astype(np.longdouble),
                    )
                    for m in range(n_models)
                ]  # fmt: skip
                value, grad_W, grad_b = (
                    np.array(parts, np.longdouble) for parts in zip(*models, strict=True)
                )
                yield {
                    "operation": "evaluate",
                    "what": f"{np.dtype(dtype)}, {storage} {p.X.shape}, {n_models} models, {loss}",
                    **problem_fields(p, loss, b=True, weighted=True, dtype=dtype),
                    "n_models": np.array([n_models], np.int64),
                    "W": W,
                    "b": b,
                    "weights": weight,
                    "value": value,
                    "grad_W": grad_W,
                    "grad_b": grad_b,
                }


def large_problems(rng: np.random.Generator) -> Iterator[Case]:
    """Enough rows or classes for several blocks and threads; and scores at which exp and log must hold."""
    shapes = (
        (3000, 60, 5, "C"),
        (3000, 60, 3, "F"),
        (5000, 9, 2, "int8"),
        (300, 20, 400, "C"),
        (4000, 40, 20, "csr"),
    )
    for dtype in (np.float32, np.float64):
        for n_samples, n_features, n_classes, storage in shapes:
            X = rng.integers(-3, 4, (n_samples, n_features)).astype("int8" if storage == "int8" else dtype)
            if storage == "csr":
                from scipy import sparse

                X[rng.random(X.shape) < 0.8] = 0
                X = sparse.csr_array(X)
            W = (0.1 * rng.standard_normal((n_classes, n_features))).astype(dtype)
            p = Problem(
                X=np.asfortranarray(X) if storage == "F" else X,
                y=rng.integers(0, n_classes, n_samples).astype(np.uint16),
                W=W,
                b=np.zeros(n_classes, dtype),
                sample_weight=np.ones(n_samples, dtype),
            )
            yield evaluation(p, "cross_entropy", dtype, f"{storage} {X.shape}, {n_classes} classes")
        for gap in (0.0, 17.0, 60.0, 1e4):
            X = np.repeat(np.array([[gap], [-gap], [1.0]]), 3, axis=0).astype(dtype)
            for n_classes in (1, 3):
                W = np.linspace(-1, 1, 3).astype(dtype)[-n_classes:, np.newaxis].copy()
                y = np.arange(9) % max(2, n_classes)
                p = Problem(X, y, W, np.zeros(n_classes, dtype), np.ones(9, dtype))
                yield evaluation(p, "cross_entropy", dtype, f"scores of {gap}, {n_classes} classes")


def extremes(rng: np.random.Generator) -> Iterator[Case]:
    """Every number that a byte holds, and halves of every size: subnormals, zeros, the largest."""
    halves = np.arange(0, 2**16, 37, dtype=np.uint16).view(np.float16)
    stored = {
        "float16": halves[np.isfinite(halves)],
        "float16, subnormal": np.arange(0x8001, 0x8400, 3, dtype=np.uint16).view(np.float16),
        "uint8": np.arange(256, dtype=np.uint8),
        "int8": np.arange(-128, 128).astype(np.int8),
    }
    for dtype in (np.float32, np.float64):
        for name, numbers in stored.items():
            for n_classes, n_features in ((1, 17), (3, 21), (5, 64)):
                X = rng.permutation(
                    np.resize(numbers, (len(numbers) + n_features) * 3 // n_features * n_features)
                )
                X = X.reshape(-1, n_features)
                W = rng.standard_normal((n_classes, n_features)) / np.abs(X.astype(float)).max()
                p = Problem(
                    X,
                    rng.integers(0, max(2, n_classes), len(X)).astype(np.int8),
                    W.astype(dtype),
                    np.zeros(n_classes, dtype),
                    np.ones(len(X), dtype),
                )
                yield evaluation(p, "squared_hinge", dtype, f"every {name} {X.shape}, {n_classes} classes")


def evaluation(p: Problem, loss: str, dtype: Any, what: str, **labels: Any) -> Case:
    """A case of `evaluate` that has an intercept and no penalty."""
    e = exactly(p, dtype)
    y = labels.get("targets", e.y)
    value, grad_W, grad_b = reference.loss_and_grad(
        e.X,
        y.astype(np.longdouble) if y.dtype.kind == "f" else y,
        e.W,
        e.b,
        loss=loss,
        label_smoothing=float(labels.get("smoothing", 0.0)),
    )
    return {
        "operation": "evaluate",
        "what": f"{np.dtype(dtype)}, {what}, {loss}",
        **problem_fields(p, loss, b=True, weighted=False, dtype=dtype),
        **labels,
        "value": value,
        "grad_W": grad_W,
        "grad_b": grad_b,
    }


def soft_targets(rng: np.random.Generator) -> Iterator[Case]:
    for dtype in (np.float32, np.float64):
        for storage in ("C", "csr"):
            for n_classes in (1, 2, 5, 17):
                p = problem_of_size(rng, n_classes, dtype, storage)
                T = rng.dirichlet(np.full(max(2, n_classes), 0.3), len(p.y)).astype(dtype)
                T /= T.sum(axis=1, keepdims=True)
                what = f"{storage} {p.X.shape}, {n_classes} classes"
                yield evaluation(p, "cross_entropy", dtype, f"{what}, smoothed", smoothing=0.1)
                p.y = None
                yield evaluation(p, "cross_entropy", dtype, f"{what}, targets", targets=T)
                if n_classes == 1:
                    p.y = np.clip(T[:, 1], 0, 1)
                    yield evaluation(p, "cross_entropy", dtype, f"{what}, probabilities")


def dual_points(rng: np.random.Generator) -> Iterator[Case]:
    """Conjugates at the slopes and at given points, sums over them, and sums over the classes."""
    for dtype in (np.float32, np.float64):
        for loss, binary in LOSSES:
            for storage in ("C", "F", "csr", "float16"):
                p = problem_of_size(rng, 1 if binary else int(rng.choice(CLASSES)), dtype, storage)
                e = exactly(p, dtype)
                n_samples, n_classes = len(p.y), len(p.W)
                n_labels = max(2, n_classes)
                omega = e.sample_weight / e.sample_weight.sum()
                what = f"{np.dtype(dtype)}, {storage} {p.X.shape}, {n_classes} classes, {loss}"
                case = {"what": what, **problem_fields(p, loss, b=True, weighted=True, dtype=dtype)}
                case["tolerance"] = 10 * TOLERANCE[dtype]

                # Fenchel: at the slopes the conjugate is <u, s> - loss
                value, grad_W, grad_b = reference.loss_and_grad(
                    e.X, e.y, e.W, e.b, loss=loss, sample_weight=e.sample_weight
                )
                product = (grad_W * e.W).sum() + grad_b @ e.b
                yield {
                    **case,
                    "operation": "conjugate",
                    "what": what + ", slopes",
                    "conjugate": product - value,
                    "magnitude": float(max(abs(product), value)),
                }

                # points in the domain: parts of a whole, given by the label to the others
                parts = rng.dirichlet(np.ones(n_labels + 1), n_samples).astype(dtype)[:, :n_labels]
                parts *= dtype(0.9)
                column = np.arange(n_samples), p.y.astype(np.int64)
                parts[column] = 0
                parts[column] = -parts.sum(axis=1)
                u = parts[:, 1:] if binary else parts
                u = np.ascontiguousarray(u)
                wide = u.astype(np.longdouble)
                if not binary:
                    wide[column] = 0
                    wide[column] = -wide.sum(axis=1)
                yield {
                    **case,
                    "operation": "adjoint",
                    "u": u,
                    "grad_W": (omega[:, np.newaxis] * wide).T @ e.X,
                    "grad_b": omega @ wide,
                }
                lose, gain = rng.uniform(0, 0.1, n_labels), rng.uniform(0, 0.3 / n_labels, n_labels)
                lose[::2], gain[1::2], shrink = 0, 0, 0.8
                two = np.hstack([-wide, wide]) if binary else wide
                given = lose[p.y.astype(np.int64), np.newaxis] * gain
                given[column] = 0
                given[column] = -given.sum(axis=1)
                moved = shrink * two + given
                for point, options in (
                    (two, {}),
                    (moved, {"shrink": np.array([shrink]), "lose": lose, "gain": gain}),
                ):
                    conjugates = reference.sample_conjugates(
                        point[:, 1:] if binary else point, e.y, loss=loss
                    )
                    assert np.isfinite(conjugates).all()
                    yield {
                        **case,
                        "operation": "conjugate",
                        "what": what + (", moved" if options else ", given"),
                        "u": u,
                        **options,
                        "conjugate": omega @ conjugates,
                    }
                one_hot = e.y.astype(np.int64)[:, np.newaxis] == np.arange(n_labels)
                weighted = omega[:, np.newaxis] * one_hot
                yield {
                    **case,
                    "operation": "adjoint",
                    "what": what + ", sums of the classes",
                    "grad_W": weighted.T @ e.X,
                    "grad_b": weighted.sum(axis=0),
                }


def columns(rng: np.random.Generator) -> Iterator[Case]:
    for storage in STORAGES:
        p = problem_of_size(rng, 2, np.float64, storage)
        e = exactly(p, np.float64)
        weight = e.sample_weight / e.sample_weight.sum()
        mean = weight @ e.X
        yield {
            "operation": "statistics",
            "what": f"{storage} {p.X.shape}",
            **problem_fields(p, "hinge", b=False, weighted=True, dtype=np.float64),
            "mean": mean,
            "deviation": np.sqrt(weight @ np.square(e.X - mean)),
        }


# --------------------------------------------------------------------------------------------------
# What has no samples
# --------------------------------------------------------------------------------------------------
def penalties(rng: np.random.Generator) -> Iterator[Case]:
    for dtype in (np.float32, np.float64):
        for shape in ((1, 1, 1), (1, 3, 7), (2, 5, 17), (1, 1, 301), (3, 23, 54)):
            for parts in PARTS[1:]:
                W = rng.standard_normal(shape).astype(dtype)
                W[rng.random(shape) < 0.2] = 0
                exact = W.astype(np.longdouble)
                step = 0.7
                yield {
                    "operation": "penalty",
                    "what": f"{np.dtype(dtype)}, {shape}, {parts}",
                    "shape": np.array(shape, np.int64),
                    "real": np.array([DTYPES.index(np.dtype(dtype).name)], np.int64),
                    "W": W,
                    "penalty": np.array(parts),
                    "step": step,
                    "value": np.array([reference.penalty_value(w, *parts) for w in exact], np.longdouble),
                    "gradient": np.stack([reference.penalty_gradient(w, *parts) for w in exact]),
                    "prox": np.stack([reference.penalty_prox(w, step, *parts) for w in exact]),
                    "magnitude": float(np.abs(exact).max()),
                    "tolerance": 4 * float(np.finfo(dtype).eps) * (1 if dtype is np.float32 else 8),
                }


def dense_algebra(rng: np.random.Generator) -> Iterator[Case]:
    for dtype in (np.float32, np.float64):
        for n_samples, K in ((1, 1), (7, 2), (130, 7), (301, 17), (50, 64), (33, 65), (130, 129)):
            Z, H = rng.standard_normal((n_samples, K)).astype(dtype), rng.uniform(0, 2, (n_samples, 3))
            A, extra = positive_definite(rng, 3, K, dtype), rng.uniform(0, 0.1, (3, K))
            whole, right = completed(A, extra), rng.standard_normal((3, K))
            yield {
                "operation": "algebra",
                "what": f"{np.dtype(dtype)}, {n_samples} samples, {K} columns",
                "shape": np.array([n_samples, K, 3], np.int64),
                "real": np.array([DTYPES.index(np.dtype(dtype).name)], np.int64),
                "Z": Z,
                "H": H,
                "A": A,
                "extra": extra,
                "right": right,
                "gram": np.einsum("ik,ib,il->bkl", Z.astype(float), H, Z.astype(float), optimize=True),
                "factor": np.linalg.cholesky(whole),
                "solution": np.linalg.solve(whole, right[..., np.newaxis])[..., 0],
                "tolerance": 2e-5 if dtype is np.float32 else 1e-12,
            }


def updated_inverse(
    steps: np.ndarray, changes: np.ndarray, diagonal: np.ndarray, least_cosine: float = 1e-10
) -> np.ndarray:
    """The inverse that quasi-Newton updates (BFGS) make of a diagonal matrix, as a full matrix."""
    H = np.diag(diagonal)
    for s, y in zip(steps, changes, strict=True):
        product = s @ y
        if product > least_cosine * np.linalg.norm(s) * np.linalg.norm(y):
            V = np.eye(len(s)) - np.outer(y, s) / product
            H = V.T @ H @ V + np.outer(s, s) / product
    return H


def quasi_newton_pairs(rng: np.random.Generator) -> Iterator[Case]:
    for n_pairs, n in ((0, 3), (1, 1), (3, 7), (5, 16), (7, 37), (40, 130)):
        steps = rng.standard_normal((n_pairs, n))
        changes = steps * rng.uniform(0.5, 2, n) + 0.1 * rng.standard_normal((n_pairs, n))
        changes[2:3] *= -1  # a pair to be left out
        bend, free = rng.uniform(0, 1, n), (rng.random(n) < 0.7).astype(float)
        diagonal, r = rng.uniform(0.5, 2, n), rng.standard_normal(n)
        for form in ("plain", "bent", "free"):
            s, y, right = steps, changes, r
            if form == "bent":
                y = changes + bend * steps
            if form == "free":
                s, y, right = free * steps, free * changes, free * r
            yield {
                "operation": "pairs",
                "what": f"{n_pairs} pairs of {n} numbers, {form}",
                "shape": np.array([n_pairs, n], np.int64),
                "steps": steps,
                "changes": changes,
                "bend": bend if form == "bent" else None,
                "free": free if form == "free" else None,
                "diagonal": diagonal,
                "right": right,
                "product": updated_inverse(s, y, diagonal) @ right,
                "tolerance": 1e-10,
            }


def colours(rng: np.random.Generator) -> Iterator[Case]:
    pixels = rng.integers(0, 256, (20_001, 4), dtype=np.uint8)
    pixels[::3, 1] = pixels[::3, 0]
    hue, saturation, value = rgb_to_hsv(np.ascontiguousarray(pixels[:, :3])).astype(int).T
    for bins in ((8, 8, 8), (180, 256, 1), (7, 5, 3)):
        index = hue * bins[0] // 180 * bins[1] + saturation * bins[1] // 256
        index = index * bins[2] + value * bins[2] // 256
        yield {
            "operation": "colours",
            "what": str(bins),
            "pixels": pixels,
            "bins": np.array(bins, np.int32),
            "counts": np.bincount(index, minlength=np.prod(bins)).astype(np.int64),
        }


# --------------------------------------------------------------------------------------------------
# Solvers' loops
# --------------------------------------------------------------------------------------------------
DESCENDED = [*((loss, 3) for loss in MULTICLASS_LOSSES), ("cross_entropy", 1), ("squared_hinge", 1)]
ASCENDED = {
    "l2": (0, 0.05, 0),
    "elastic net": (0.01, 0.05, 0),
    "l1": (0.03, 0, 0),
    "group and l2": (0, 0.05, 0.02),
}


def stochastic_descent(rng: np.random.Generator) -> Iterator[Case]:
    options = (
        {},
        {"momentum": 0.9},
        {"average_from": 5},
        {"dropout": 0.3, "momentum": 0.5, "average_from": 0},
    )
    trial = 0
    for dtype in (np.float32, np.float64):
        for loss, n_outputs in DESCENDED:
            for matrix in ("C", "F", "csr", "uint8"):
                for more in options:
                    trial += 1
                    name, penalty = list(PENALTIES.items())[trial % len(PENALTIES)]
                    s = SETTINGS | more
                    p = random_problem(rng, n_outputs, dtype, matrix)
                    while p.X.shape[0] > 70 or p.X.shape[1] > 70:
                        p = random_problem(rng, n_outputs, dtype, matrix)
                    if matrix == "uint8":
                        p.X %= 3
                    p.W = (0.1 * rng.standard_normal(p.W.shape)).astype(dtype)
                    dense = (p.X.toarray() if matrix == "csr" else p.X).astype(np.float64)
                    W, b, value = plain_sgd(
                        dense, p.y, p.W.astype(float), p.b.astype(float), loss, penalty,
                        p.sample_weight.astype(float), 2, s,
                    )  # fmt: skip
                    parts = (0.0, 0.0, 0.0) if penalty is None else (penalty.l1, penalty.l2, penalty.group)
                    yield {
                        "operation": "descend",
                        "what": f"{dtype.__name__}, {matrix} {p.X.shape}, {n_outputs} {loss}, {name}, {more}",
                        **problem_fields(p, loss, b=True, weighted=True, dtype=dtype),
                        "penalty": np.array(parts),
                        "options": np.array([float(s[key]) for key in SETTINGS]),
                        "n_epochs": np.array([2], np.int64),
                        "W_after": W,
                        "b_after": b,
                        "value": value,
                        "tolerance": 2e-4 if dtype is np.float32 else 1e-10,
                    }


def dual_ascent(rng: np.random.Generator) -> Iterator[Case]:
    for dtype in (np.float32, np.float64):
        for loss, n_outputs in (("hinge", 1), ("hinge", 3), ("crammer_singer", 3), ("crammer_singer", 17)):
            for matrix in ("C", "F", "csr", "uint8"):
                n_samples, n_features = 41, int(rng.choice([3, 17, 37]))
                X = rng.standard_normal((n_samples, n_features)).astype(dtype)
                X[rng.random(X.shape) < 0.4] = 0
                if matrix == "uint8":
                    X = (X > 0).astype(np.uint8)
                elif matrix == "F":
                    X = np.asfortranarray(X)
                elif matrix == "csr":
                    from scipy import sparse

                    X = sparse.csr_array(X)
                p = Problem(
                    X=X,
                    y=rng.integers(0, max(2, n_outputs), n_samples).astype(np.int32),
                    W=np.zeros((n_outputs, n_features), dtype),
                    b=np.zeros(n_outputs, dtype),
                    sample_weight=rng.uniform(0.1, 2, n_samples).astype(dtype),
                )
                for name, parts in ASCENDED.items():
                    proximal = name == "l1"
                    yield {
                        "operation": "ascend",
                        "what": f"{np.dtype(dtype)}, {matrix} {X.shape}, {n_outputs} outputs, {loss}, {name}",
                        **problem_fields(p, loss, b=False, weighted=True, dtype=dtype),
                        "metric": rng.uniform(0.5, 2, n_features) if proximal else None,
                        "penalty": np.array(parts, float),
                        "n_epochs": np.array([5 if proximal else 400], np.int64),
                        "gap": 1e-4,
                        "tolerance": 1e-5 if dtype is np.float32 else 1e-10,
                    }


def dual_ascent_in_blocks(rng: np.random.Generator) -> Iterator[Case]:
    """CSR data large enough for two blocks of samples."""
    from scipy import sparse

    for dtype in (np.float32, np.float64):
        for loss, n_outputs in (("hinge", 1), ("hinge", 5), ("crammer_singer", 18)):
            n_samples, n_features = {1: (6000, 300), 5: (1500, 120), 18: (800, 60)}[n_outputs]
            X = sparse.random_array(
                (n_samples, n_features), density=0.3, format="csr", rng=rng, dtype=np.float64
            ).astype(dtype)
            p = Problem(
                X=X,
                y=rng.integers(0, max(2, n_outputs), n_samples).astype(np.int32),
                W=np.zeros((n_outputs, n_features), dtype),
                b=np.zeros(n_outputs, dtype),
                sample_weight=rng.uniform(0.1, 2, n_samples).astype(dtype),
            )
            for name in ("l2", "l1"):
                yield {
                    "operation": "ascend",
                    "what": f"{np.dtype(dtype)}, csr {X.shape} in blocks, {n_outputs} {loss}, {name}",
                    **problem_fields(p, loss, b=False, weighted=True, dtype=dtype),
                    "penalty": np.array(ASCENDED[name], float),
                    "n_epochs": np.array([3 if name == "l1" else 60], np.int64),
                    "gap": 1e-3,
                    "tolerance": 1e-5 if dtype is np.float32 else 1e-10,
                }


DESCENDED = {
    "l1": (0.02, 0, 0),
    "elastic net": (0.01, 0.02, 0),
    "group": (0, 0, 0.03),
    "group and l2": (0, 0.02, 0.02),
}


def coordinate_descent(rng: np.random.Generator) -> Iterator[Case]:
    """Where a model stands, and the minimum that its steps end at."""
    trial = 0
    for dtype in (np.float32, np.float64):
        for loss, n_outputs in (
            ("cross_entropy", 1),
            ("cross_entropy", 3),
            ("cross_entropy", 11),
            ("squared_hinge", 1),
            ("squared_hinge", 4),
        ):
            for matrix in ("C", "F", "csr", "uint8"):
                for name, parts in DESCENDED.items():
                    trial += 1
                    n_samples, n_features = int(rng.choice([23, 64, 101])), int(rng.choice([3, 17, 37]))
                    X = rng.standard_normal((n_samples, n_features)).astype(dtype)
                    X[rng.random(X.shape) < 0.5] = 0
                    if matrix == "uint8":
                        X = rng.integers(0, 4, X.shape, dtype=np.uint8)
                    elif matrix == "F":
                        X = np.asfortranarray(X)
                    e = X.astype(np.longdouble)
                    fields = {}
                    if trial % 3 == 0:
                        scale = rng.uniform(0.5, 2, n_features)
                        fields["scale"] = scale
                        if matrix != "csr":
                            fields["center"] = 0.1 * rng.standard_normal(n_features)
                        e = (e - fields.get("center", 0)) / scale
                    if matrix == "csr":
                        from scipy import sparse

                        X = sparse.csr_array(X)
                    p = Problem(
                        X=X,
                        y=rng.integers(0, max(2, n_outputs), n_samples).astype(np.int32),
                        W=(0.3 * rng.standard_normal((n_outputs, n_features))).astype(dtype),
                        b=rng.standard_normal(n_outputs).astype(dtype),
                        sample_weight=rng.uniform(0.1, 2, n_samples).astype(dtype),
                    )
                    with_b = trial % 4 != 1
                    wide = p.astype(np.longdouble)
                    value, grad_W, grad_b = reference.loss_and_grad(
                        e,
                        p.y,
                        wide.W,
                        wide.b if with_b else None,
                        loss=loss,
                        sample_weight=wide.sample_weight,
                    )
                    what = f"{np.dtype(dtype)}, {matrix} {X.shape}, {n_outputs} {loss}, {name}"
                    yield {
                        "operation": "steps",
                        "what": what + ", b" * with_b,
                        **problem_fields(p, loss, b=with_b, weighted=True, dtype=dtype),
                        **fields,
                        "penalty": np.array(parts, float),
                        "value": value,
                        "grad_W": grad_W,
                        "grad_b": grad_b,
                        "residual": 1e-4 if dtype is np.float32 else 1e-8,
                    }


def all_cases() -> Iterator[Case]:
    parts = (
        evaluations,
        stacks,
        large_problems,
        extremes,
        soft_targets,
        dual_points,
        columns,
        penalties,
        dense_algebra,
        quasi_newton_pairs,
        colours,
        stochastic_descent,
        dual_ascent,
        dual_ascent_in_blocks,
        coordinate_descent,
    )
    for seed, cases in enumerate(parts):
        yield from cases(np.random.default_rng([20261122, seed]))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["little"], ["big"]):
        sys.exit(__doc__)
    write_cases(Path(sys.argv[1]), all_cases(), *sys.argv[2:])
