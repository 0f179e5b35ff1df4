"""Sums over many samples: the gradient's error must not grow with their number, whatever the data.

At W = 0 each sample's slopes are known exactly, and sums of one-signed or constant features round the same
way again and again: what float32 loses then is not averaged away.
"""

from __future__ import annotations

import numpy as np
import pytest
from problems import relative_error
from scipy import sparse

import regcore
from regcore import _core

N_CLASSES = 10
TOLERANCE = {np.float32: 3e-6, np.float64: 1e-12}


@pytest.fixture(params=_core.available_isas())
def isa(request):
    """Run a test at every CPU level of this machine."""
    _core.select_isa(request.param)
    yield request.param
    _core.select_isa(None)


def hostile_features(rng, n_samples, n_features, storage):
    """Constant and one-signed columns; uint8: pixels."""
    if storage == "uint8":
        X = rng.integers(0, 256, (n_samples, n_features), dtype=np.uint8)
        X[:, ::3] = (1, 100, 255, 3)[n_features % 4]
        return X
    X = rng.random((n_samples, n_features)).astype(storage)
    for column, value in enumerate((1, 3.14159, 0.1)):
        X[:, column] = value
    X[:, 3] = 1 + X[:, 3] / 1000
    return X


def exact_sum(A):
    """Sum of the rows, in pieces: NumPy adds rows one by one."""
    return np.sum([piece.sum(axis=0) for piece in np.array_split(A, 300)], axis=0)


def gradient_at_zero(X, y, loss):
    """The gradient at W = 0, from the sums of the classes in float64."""
    others, own = (1 / N_CLASSES, 1 / N_CLASSES - 1) if loss == "cross_entropy" else (1.0, 1.0 - N_CLASSES)
    rows = [exact_sum(X[y == c].astype(np.float64)) for c in range(N_CLASSES)]
    total = np.sum(rows, axis=0)
    return np.array([others * (total - row) + own * row for row in rows]) / len(y)


@pytest.mark.parametrize("loss", ["cross_entropy", "hinge"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("storage", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("n_features", [5, 40])
def test_error_does_not_grow_with_the_number_of_samples(isa, rng, n_features, storage, order, loss):
    dtype = np.float64 if storage == "float64" else np.float32
    n_samples = 20_000 if isa == "plain" else 400_000
    X = np.asarray(hostile_features(rng, n_samples, n_features, storage), order=order)
    y = (rng.random(n_samples) ** 3 * N_CLASSES).astype(np.int64)
    W = np.zeros((N_CLASSES, n_features), dtype)
    value, grad_W, _ = regcore.loss_and_grad(X, y, W, loss=loss)
    exact = np.log(N_CLASSES) if loss == "cross_entropy" else N_CLASSES - 1
    assert abs(value / exact - 1) < TOLERANCE[dtype]
    assert relative_error(grad_W, gradient_at_zero(X, y, loss)) < TOLERANCE[dtype]


@pytest.mark.parametrize("as_csr", [False, True])
@pytest.mark.parametrize("n_classes", [3, 10])
@pytest.mark.parametrize("grid", [255, 2**24])
def test_slopes_that_cancel_leave_no_rounding_errors_behind(isa, rng, grid, n_classes, as_csr):
    # Balanced classes: the gradient is as small as chance makes it, and 1/n_classes is no float32.
    n_samples = 20_000 if isa == "plain" else 400_000
    X = (rng.integers(0, grid + 1, (n_samples, 5)) / grid).astype(np.float32)
    y = rng.permutation(np.arange(n_samples) % n_classes)
    rows = [exact_sum(X[y == c].astype(np.float64)) for c in range(n_classes)]
    exact = (np.sum(rows, axis=0) / n_classes - rows) / n_samples
    grad_W = regcore.loss_and_grad(
        sparse.csr_array(X) if as_csr else X, y, np.zeros((n_classes, 5), np.float32)
    )[1]
    assert relative_error(grad_W, exact) < TOLERANCE[np.float32]


def columns_of_few_values(rng, n_samples):
    """Constants that are no float32, and standardised indicators: terms that round alike every time."""
    constants = [np.full(n_samples, value) for value in (0.1, 1 / 3, 3.14159)]
    shares = np.array([0.3, 0.07, 0.02])[:, np.newaxis]
    indicators = ((rng.random((3, n_samples)) < shares) - shares) / np.sqrt(shares * (1 - shares))
    return np.array([*constants, *indicators], np.float32).T


@pytest.mark.parametrize("loss", ["cross_entropy", "hinge"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n_features", [6, 42])
def test_features_of_few_values_leave_no_rounding_errors_behind(isa, rng, n_features, order, loss):
    n_samples = 20_000 if isa == "plain" else 400_000
    X = columns_of_few_values(rng, n_samples)
    X = np.asarray(np.tile(X, (1, n_features // X.shape[1])), order=order)
    y = rng.permutation(np.arange(n_samples) % N_CLASSES)
    grad_W = regcore.loss_and_grad(X, y, np.zeros((N_CLASSES, n_features), np.float32), loss=loss)[1]
    assert relative_error(grad_W, gradient_at_zero(X, y, loss)) < 1e-5


@pytest.mark.parametrize("loss", ["cross_entropy", "hinge", "squared_hinge", "crammer_singer"])
def test_counts_add_up_exactly(isa, rng, loss):
    # Whole numbers times whole slopes: the units of the chunks have few bits, and are divided out in double.
    X = rng.integers(0, 4, (30_000, 20), dtype=np.uint8)
    y = rng.integers(0, N_CLASSES, len(X))
    value, grad_W, grad_b = regcore.loss_and_grad(
        X, y, np.zeros((N_CLASSES, 20), np.float32), np.zeros(N_CLASSES, np.float32), loss=loss
    )
    if loss == "cross_entropy":
        assert value == pytest.approx(np.log(N_CLASSES), rel=1e-7)
        return
    own = np.eye(N_CLASSES, dtype=np.int64)[y]
    slopes = {
        "hinge": 1 - N_CLASSES * own,
        "squared_hinge": 2 - 2 * N_CLASSES * own,
        "crammer_singer": np.eye(N_CLASSES, dtype=np.int64)[np.where(y == 0, 1, 0)] - own,
    }[loss]
    np.testing.assert_allclose(grad_W, slopes.T @ X.astype(np.int64) / len(X), rtol=1e-7)
    np.testing.assert_allclose(grad_b, slopes.sum(axis=0) / len(X), rtol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_features", [40, 300])
def test_bits_of_a_model_do_not_depend_on_how_many_stand_beside_it(isa, rng, n_features, dtype):
    n_samples, n_models = 1500, 31
    X = rng.standard_normal((n_samples, n_features)).astype(dtype)
    y = rng.integers(0, N_CLASSES, n_samples)
    W = rng.standard_normal((n_models, N_CLASSES, n_features)).astype(dtype) / dtype(n_features)
    b = rng.standard_normal((n_models, N_CLASSES)).astype(dtype)
    all_at_once = regcore.Objective(X, y, n_models=n_models).value_and_grad(W, b)
    some = regcore.Objective(X, y, n_models=n_models - 11).value_and_grad(W[11:], b[11:])
    for expected, actual in zip(all_at_once, some, strict=True):
        np.testing.assert_array_equal(actual, expected[11:])
