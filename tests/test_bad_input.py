"""Bad input: an error that names the argument before anything is written, never a crash or a wrong number."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import regcore
from regcore import _core

N_SAMPLES, N_FEATURES, N_CLASSES = 12, 5, 3
BIG = 2**64 - 1


def misaligned(array):
    """The same numbers one byte off."""
    memory = bytearray(array.nbytes + 1)
    copy = np.frombuffer(memory, array.dtype, array.size, offset=1).reshape(array.shape)
    copy[...] = array
    assert not copy.flags.aligned
    return copy


def field(array):
    """The same numbers as a field of a structured array: strides are no multiples of the item size."""
    table = np.zeros(array.shape, [("before", "u1"), ("value", array.dtype)])
    table["value"] = array
    return table["value"]


def csr(X, index_dtype=np.int32):
    X = np.asarray(X)
    kept = X != 0
    return SimpleNamespace(
        data=X[kept],
        indices=np.nonzero(kept)[1].astype(index_dtype),
        indptr=np.concatenate([[0], kept.sum(axis=1).cumsum()]).astype(index_dtype),
        shape=X.shape,
    )


@pytest.fixture
def case(rng):
    return SimpleNamespace(
        X=rng.standard_normal((N_SAMPLES, N_FEATURES)),
        y=np.arange(N_SAMPLES) % N_CLASSES,
        W=rng.standard_normal((N_CLASSES, N_FEATURES)),
        b=rng.standard_normal(N_CLASSES),
        w=rng.uniform(0.5, 1, N_SAMPLES),
    )


def assert_close(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-12)


# ---------------------------------------------------------------------- memory that lies badly


@pytest.mark.parametrize("badly", [misaligned, field])
@pytest.mark.parametrize("loss", ["cross_entropy", "hinge"])
def test_arrays_off_their_boundaries(case, badly, loss):
    expected = regcore.loss_and_grad(case.X, case.y, case.W, case.b, loss=loss, sample_weight=case.w)
    bad = {name: badly(array) for name, array in vars(case).items()}
    X, y, W, b, w = (bad[name] for name in "XyWbw")
    for x in (X, np.asfortranarray(case.X), badly(case.X.T.copy()).T):
        assert_close(regcore.loss_and_grad(x, y, W, b, loss=loss, sample_weight=w), expected)
    objective = regcore.Objective(X, y, loss=loss, sample_weight=w)
    assert_close(objective.value_and_grad(W, b, rows=badly(np.arange(N_SAMPLES))), expected)


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
def test_csr_off_its_boundaries(case, index_dtype):
    case.X[case.X < 0] = 0
    expected = regcore.loss_and_grad(case.X, case.y, case.W, case.b)
    X = csr(case.X, index_dtype)
    X.data, X.indices, X.indptr = (misaligned(part) for part in (X.data, X.indices, X.indptr))
    assert_close(regcore.loss_and_grad(X, case.y, case.W, case.b), expected)


@pytest.mark.parametrize("penalty", [regcore.ElasticNet(0.1, 0.5), regcore.GroupL1(0.1)])
def test_penalties_off_their_boundaries(case, penalty):
    W = misaligned(case.W)
    assert penalty.value(W) == penalty.value(case.W)
    np.testing.assert_array_equal(penalty.gradient(W), penalty.gradient(case.W))
    expected = penalty.prox(case.W, 0.5)
    assert penalty.prox(W, 0.5, out=W) is W
    np.testing.assert_array_equal(W, expected)


# ---------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"X": [[1.0, 2.0], [3.0]]}, ValueError, "X is no array"),
        ({"X": np.zeros((0, N_FEATURES))}, ValueError, r"X must have at least one sample.*\(0, 5\)"),
        ({"X": np.zeros((N_SAMPLES, 0))}, ValueError, r"X must have .*one feature.*\(12, 0\)"),
        ({"X": np.zeros((N_SAMPLES, N_FEATURES), ">f8")}, TypeError, "X must .*native byte order; got .*>f8"),
        (
            {"y": np.full(N_SAMPLES, BIG, np.uint64)},
            ValueError,
            rf"y must hold labels below 2\*\*24; got {BIG}",
        ),
        (
            {"y": np.full(N_SAMPLES, 2**53 + 1, np.uint64)},
            ValueError,
            "y must hold labels .*9007199254740993",
        ),
        (
            {"y": np.zeros(N_SAMPLES, ">i4")},
            TypeError,
            "y must hold integers in native byte order; got .*>i4",
        ),
        ({"y": np.zeros(N_SAMPLES)}, TypeError, "y must hold integers .*got dtype float64"),
        ({"n_classes": 3.5}, TypeError, "n_classes must be an integer; got 3.5"),
        ({"n_classes": "3"}, TypeError, "n_classes must be an integer; got '3'"),
        ({"n_classes": 10**30}, ValueError, r"n_classes must be at most 2\*\*24; got 1000"),
        ({"n_models": 0}, ValueError, r"n_models must be in \[1, 2\*\*31\) .*got 0"),
        ({"n_models": 1.5}, TypeError, "n_models must be an integer; got 1.5"),
        ({"penalty": "l1"}, TypeError, "penalty must be a Penalty.*got 'l1'"),
        ({"standardize": 1}, TypeError, r"standardize must be True, False or a pair .*got 1"),
        ({"standardize": (1, 2, 3)}, TypeError, r"standardize must be .* a pair .*got \(1, 2, 3\)"),
        ({"standardize": (np.zeros(2), np.ones(2))}, ValueError, r"mean must have shape \(5,\); got \(2,\)"),
        ({"standardize": (np.zeros(5), np.full(5, np.inf))}, ValueError, "scale must be finite; got inf"),
        ({"sample_weight": -np.ones(N_SAMPLES)}, ValueError, "sample_weight must .*got -1 in row 0"),
        ({"sample_weight": np.zeros(N_SAMPLES)}, ValueError, "sample_weight must have a positive"),
        ({"sample_weight": np.full(N_SAMPLES, np.inf)}, ValueError, "sample_weight must .*got inf in row 0"),
    ],
)
def test_data(case, change, error, message):
    arguments = {"X": case.X, "y": case.y, **change}
    with pytest.raises(error, match=message):
        regcore.Objective(**arguments)


@pytest.mark.parametrize(
    ("b", "error", "message"),
    [
        (1.0, ValueError, r"b must have shape \(3,\); got \(\)"),
        ([1j, 0, 0], TypeError, "b must hold real numbers; got dtype complex128"),
        (["1", "2", "3"], TypeError, "b must hold real numbers; got dtype <U1"),
        ([0, 1e300, 0], ValueError, "b must be finite; got inf in row 0, column 1"),
    ],
)
def test_intercept(case, b, error, message):
    with pytest.raises(error, match=message):
        regcore.loss_and_grad(case.X, case.y, case.W.astype(np.float32), b)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([], ValueError, "rows must select at least one row"),
        (slice(3, 3), ValueError, "rows must select at least one row"),
        ([0, -1], ValueError, "rows must lie within the rows of X; got -1"),
        ([0, N_SAMPLES], ValueError, "rows must lie within the rows of X; got 12"),
        (np.array([BIG], np.uint64), ValueError, rf"rows must lie in \[0, 12\); got {BIG}"),
        (np.ones(N_SAMPLES, bool), TypeError, "rows must be a slice or .*got 1 dimension.* of bool"),
    ],
)
@pytest.mark.parametrize("method", ["value", "value_and_grad", "scores", "predict", "predict_proba"])
def test_rows(case, method, rows, error, message):
    objective = regcore.Objective(case.X, case.y)
    with pytest.raises(error, match=message):
        getattr(objective, method)(case.W, case.b, rows=rows)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"shape": (N_SAMPLES,)}, ValueError, r"X must have two dimensions .*got shape \(12,\)"),
        ({"shape": (12.0, 5.0)}, TypeError, "X.shape must be an integer; got 12.0"),
        ({"shape": (-1, 5)}, ValueError, r"X must have at least one sample .*got shape \(-1, 5\)"),
        (
            {"indices": (7, N_FEATURES)},
            ValueError,
            r"X.indices must lie in \[0, n_features\); got 5 in row 1",
        ),
        ({"indices": (7, -1)}, ValueError, r"X.indices must lie in \[0, n_features\); got -1 in row 1"),
        ({"indptr": (0, -1)}, ValueError, "X.indptr must start with 0; got -1"),
        ({"indptr": (3, 1)}, ValueError, "X.indptr must not decrease; got 1 in row 3"),
        ({"indptr": (-1, 2**30)}, ValueError, "X.indptr must not exceed the length of data"),
    ],
)
def test_csr_structure(case, change, error, message):
    X = csr(case.X)
    for name, value in change.items():
        if name == "shape":
            X.shape = value
        else:
            getattr(X, name)[value[0]] = value[1]
    with pytest.raises(error, match=message):
        regcore.loss_and_grad(X, case.y, case.W, case.b)


# ---------------------------------------------------------------------- out


def test_out_that_overlaps_what_was_given(case):
    objective = regcore.Objective(case.X, case.y, standardize=True)
    W, b, grad_b = case.W, case.b, np.empty(N_CLASSES)
    twice = np.repeat(b, 2)
    rows = np.zeros(W.size, np.int64)
    for given_W, given_b, given_rows, out in [
        (W, b, None, (W, grad_b)),
        (W[:, ::-1], b, None, (W, grad_b)),  # W is copied, its memory is an input all the same
        (W, twice[::2], None, (np.empty_like(W), twice[:N_CLASSES])),
        (W, b, rows[:4], (rows.view(np.float64).reshape(W.shape), grad_b)),
        (W, b, None, (np.empty_like(W), objective.mean[:N_CLASSES])),
    ]:
        before = [part.copy() for part in out]
        with pytest.raises(ValueError, match=r"out: grad_. must not overlap an input"):
            objective.value_and_grad(given_W, given_b, rows=given_rows, out=out)
        for part, kept in zip(out, before, strict=True):
            np.testing.assert_array_equal(part, kept)


def test_out_that_is_misaligned(case):
    out = misaligned(np.zeros_like(case.W)), np.empty(N_CLASSES)
    with pytest.raises(ValueError, match="out: grad_W must be C-contiguous, aligned and writeable"):
        regcore.loss_and_grad(case.X, case.y, case.W, case.b, out=out)


# ---------------------------------------------------------------------- numbers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-310, 1e-50, 1e50, 1e308])
def test_only_the_ratios_of_weights_count(case, dtype, scale):
    W = case.W.astype(dtype)
    expected = regcore.loss_and_grad(case.X, case.y, W, sample_weight=case.w)
    actual = regcore.loss_and_grad(case.X, case.y, W, sample_weight=case.w * scale)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)
    stack = np.stack([case.w, case.w * scale])
    value = regcore.loss_and_grad(case.X, case.y, np.stack([W, W]), sample_weight=stack).value
    np.testing.assert_allclose(value, expected.value, rtol=1e-5)


@pytest.mark.parametrize("kind", [np.asarray, np.asfortranarray, csr])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_standardize_says_where_x_is_not_finite(case, kind, bad):
    case.X[4, 2] = bad
    with pytest.raises(ValueError, match=r"X must be finite; got .* in row 4, column 2"):
        regcore.Objective(kind(case.X), case.y, standardize=True)


def test_standardize_of_what_cannot_be_squared(case):
    case.X[4, 2] = 1e200
    with pytest.raises(OverflowError, match="X is finite, but its variance overflows"):
        regcore.Objective(case.X, case.y, standardize=True)


# ---------------------------------------------------------------------- processes and threads


def _evaluate(objective, W, queue):
    queue.put(objective.value(W))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_hang(rng):
    X, y = rng.standard_normal((20_000, 64)), rng.integers(0, 10, 20_000)
    objective, W = regcore.Objective(X, y, n_threads=4), rng.standard_normal((10, 64))
    expected = objective.value(W)  # the threads are there now
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_evaluate, args=(objective, W, queue))
    child.start()
    child.join(60)
    if child.is_alive():
        child.kill()
    child.join()
    assert child.exitcode == 0
    assert queue.get() == expected


@pytest.mark.parametrize("kind", [np.asarray, csr])
def test_many_threads_may_share_an_objective(rng, kind):
    X, y = rng.standard_normal((3_000, 40)), rng.integers(0, 5, 3_000)
    objective, W = regcore.Objective(kind(X), y), rng.standard_normal((5, 40))
    expected = objective.value_and_grad(W)
    different = []

    def work():
        for _ in range(10):
            found = objective.value_and_grad(W)
            different.extend(a for a, e in zip(found, expected, strict=True) if not np.array_equal(a, e))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not different


def test_a_wrong_cpu_level_is_told_by_the_first_problem():
    code = """
import numpy as np, regcore
from regcore import _core
try:
    regcore.loss_and_grad(np.eye(2), [0, 1], np.zeros((2, 2)))
except ValueError as error:
    assert str(error).startswith("REGCORE_ISA must be one of "), error
else:
    raise AssertionError
_core.select_isa(_core.available_isas()[-1])
regcore.loss_and_grad(np.eye(2), [0, 1], np.zeros((2, 2)))
"""
    environment = {**os.environ, "REGCORE_ISA": "nonsense"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_memory_that_may_overlap():
    # the same answers as NumPy's, for views of every kind
    base = np.zeros((12, 10))
    views = [
        base,
        base[2:5],
        base[5:],
        base[::-2, 3:4],
        base[:, ::-1],
        base[::-1, ::-1][3:5],
        base.T[4],
        base[3:3],
        base[7, 2],
        base.view(np.uint8)[6:8, 1:3],
        np.zeros(7),
        np.zeros((3, 0, 2)),
        np.broadcast_to(base[4, 4:5], (5, 3)),
    ]
    for first in views:
        for second in views:
            pair = np.asarray(first), np.asarray(second)
            assert _core.may_overlap(pair[0], (None, "X", pair[1])) == np.may_share_memory(*pair)
