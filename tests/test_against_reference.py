"""The compiled core against the reference in longdouble, at every CPU level of this machine."""

from __future__ import annotations

import numpy as np
import pytest
from problems import BINARY_LOSSES, MULTICLASS_LOSSES, Problem, relative_error

import regcore
from regcore import _core, reference

# around the widths of vectors and tiles, and sizes that take other ways through the core
SAMPLES = (1, 2, 7, 8, 9, 15, 16, 17, 33, 64, 65, 300, 1000)
FEATURES = (1, 2, 3, 7, 8, 15, 16, 17, 20, 54, 64, 100, 257, 777)
CLASSES = (2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 23, 33, 129)
STORAGES = (
    "C",
    "F",
    "strided",
    "reversed",
    "csr",
    "csr64",
    "float16",
    "float32",
    "float64",
    "uint8",
    "int8",
    "bool",
)

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}


def assert_close(actual, expected, tolerance, what=""):
    """Check the value, and the gradient as one vector: the sums of grad_b alone may cancel to nothing."""
    gradients = [np.concatenate([grad_W.ravel(), grad_b]) for _, grad_W, grad_b in (actual, expected)]
    assert relative_error(actual[0], expected[0]) < tolerance, f"value, {what}"
    assert relative_error(*gradients) < tolerance, f"gradient, {what}"


@pytest.fixture(params=_core.available_isas())
def isa(request):
    """Run a test at every CPU level of this machine."""
    _core.select_isa(request.param)
    yield request.param
    _core.select_isa(None)


def random_problem(rng, n_classes, dtype, storage) -> Problem:
    """A problem of random odd size whose X is what `storage` says."""
    n_samples, n_features = int(rng.choice(SAMPLES)), int(rng.choice(FEATURES))
    X = rng.standard_normal((n_samples, n_features)).astype(dtype)
    scale = 10.0 ** rng.integers(-2, 2) / np.sqrt(n_features)
    if storage in ("uint8", "int8"):
        low, high = np.iinfo(storage).min, np.iinfo(storage).max
        X = rng.integers(low, high, X.shape, dtype=storage, endpoint=True)
        scale /= 100
    elif storage == "bool":
        X = X > 0
    elif storage.startswith("float"):
        X = X.astype(storage)
    elif storage == "F":
        X = np.asfortranarray(X)
    elif storage == "strided":
        X = np.repeat(X, 3, axis=1)[:, ::3]
    elif storage == "reversed":
        X = X[::-1, ::-1]
    elif storage.startswith("csr"):
        sparse = pytest.importorskip("scipy.sparse")
        X[rng.random(X.shape) < 0.7] = 0
        X[rng.random(n_samples) < 0.1] = 0
        X = sparse.csr_array(X)
        if storage == "csr64":
            X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return Problem(
        X=X,
        y=rng.integers(0, max(2, n_classes), n_samples),
        W=(rng.standard_normal((n_classes, n_features)) * scale).astype(dtype),
        b=rng.standard_normal(n_classes).astype(dtype),
        sample_weight=rng.random(n_samples).astype(dtype) + dtype(1e-3),
    )


def exactly(p: Problem, dtype) -> Problem:
    """Return the problem in longdouble, X rounded to the type of the computation first."""
    X = p.X.toarray() if hasattr(p.X, "toarray") else p.X
    exact = Problem(X.astype(dtype), p.y, p.W, p.b, p.sample_weight)
    return exact.astype(np.longdouble)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("loss", MULTICLASS_LOSSES)
def test_value_and_gradient(isa, loss, storage, dtype):
    rng = np.random.default_rng([MULTICLASS_LOSSES.index(loss), STORAGES.index(storage), dtype is np.float32])
    for trial in range(12):
        binary = trial % 4 == 0 and loss in BINARY_LOSSES
        p = random_problem(rng, 1 if binary else int(rng.choice(CLASSES)), dtype, storage)
        b = p.b if trial % 2 else None
        weight = p.sample_weight if trial % 3 else None
        penalty = regcore.ElasticNet(0.01, 0.5) if trial % 5 == 0 else None
        e = exactly(p, dtype)
        expected = reference.loss_and_grad(
            e.X,
            e.y,
            e.W,
            None if b is None else e.b,
            loss=loss,
            penalty=penalty,
            sample_weight=None if weight is None else e.sample_weight,
        )
        actual = regcore.loss_and_grad(p.X, p.y, p.W, b, loss=loss, penalty=penalty, sample_weight=weight)
        size = f"{p.X.shape} {len(p.W)} classes, b {b is not None}, weights {weight is not None}"
        assert_close(actual, expected, TOLERANCE[dtype], size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_features", [500, 512, 513, 1000, 1023, 1024, 1030, 1100])
@pytest.mark.parametrize("n_classes", [1, 4, 10])
def test_weights_whose_rows_are_about_4096_bytes_apart(isa, rng, n_classes, n_features, dtype):
    X = rng.standard_normal((70, n_features)).astype(dtype)
    y = rng.integers(0, max(2, n_classes), 70)
    W = (rng.standard_normal((n_classes, n_features)) / 30).astype(dtype)
    b = rng.standard_normal(n_classes).astype(dtype)
    expected = reference.loss_and_grad(*(a if a is y else a.astype(np.longdouble) for a in (X, y, W, b)))
    assert_close(regcore.loss_and_grad(X, y, W, b), expected, TOLERANCE[dtype])


@pytest.mark.parametrize("storage", ["float32", "float64", "float16", "uint8", "int8"])
@pytest.mark.parametrize("n_features", [1, 2, 3, 5, 7, 8, 11, 15])
def test_short_rows_among_numbers_that_are_not_theirs(isa, rng, n_features, storage):
    # what lies between the rows, and before and behind them, must not be seen
    dtype = np.float64 if storage == "float64" else np.float32
    around = rng.integers(0, 100, (2 * 77 + 1, n_features + 3)).astype(storage)
    X = around[1::2, 1 : n_features + 1]
    inside = np.zeros(around.shape, bool)
    inside[1::2, 1 : n_features + 1] = True
    around[~inside] = np.nan if storage.startswith("float") else 100
    contiguous = np.ascontiguousarray(X)
    misaligned = (
        np.frombuffer(b"?" + contiguous.tobytes() + b"?", np.uint8)[1:-1].view(storage).reshape(X.shape)
    )
    y = rng.integers(0, 3, len(X))
    W = (rng.standard_normal((3, n_features)) / 50).astype(dtype)
    order = rng.permutation(len(X))
    for rows in (X, X[::-1], X[:1], X[:16], X[:17], contiguous, misaligned):
        labels = y[: len(rows)]
        expected = reference.loss_and_grad(rows.astype(np.longdouble), labels, W.astype(np.longdouble))
        assert_close(regcore.loss_and_grad(rows, labels, W), expected, TOLERANCE[dtype])
    expected = reference.loss_and_grad(X[order].astype(np.longdouble), y[order], W.astype(np.longdouble))
    assert_close(regcore.Objective(X, y).value_and_grad(W, rows=order), expected, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [1, 2, 10, 40])
def test_scores_labels_and_probabilities(isa, rng, n_classes, dtype):
    for storage in ("C", "F", "csr", "uint8"):
        p = random_problem(rng, n_classes, dtype, storage)
        e = exactly(p, dtype)
        objective = regcore.Objective(p.X, p.y, n_classes=max(2, n_classes), binary=n_classes == 1)
        S = reference.scores(e.X, e.W, e.b)
        assert relative_error(objective.scores(p.W, p.b), S) < TOLERANCE[dtype]
        P = reference.predict_proba(e.X, e.W, e.b)
        assert relative_error(objective.predict_proba(p.W, p.b), P) < 10 * TOLERANCE[dtype]
        labels = objective.predict(p.W, p.b)
        own = P[np.arange(len(P)), labels]
        assert (own >= P.max(axis=1) * (1 - 100 * TOLERANCE[dtype])).all()


@pytest.mark.parametrize("storage", ["C", "F", "csr", "uint8"])
@pytest.mark.parametrize("loss", MULTICLASS_LOSSES)
@pytest.mark.parametrize("shape", [(3000, 100, 5), (700, 300, 400)])
def test_bits_do_not_depend_on_threads_or_repetition(rng, loss, storage, shape):
    n_samples, n_features, n_classes = shape
    p = random_problem(rng, n_classes, np.float32, storage)
    X = rng.integers(0, 9, (n_samples, n_features)).astype(np.uint8 if storage == "uint8" else np.float32)
    if storage == "csr":
        X[rng.random(X.shape) < 0.9] = 0
        X = pytest.importorskip("scipy.sparse").csr_array(X)
    X = np.asfortranarray(X) if storage == "F" else X
    W = (0.03 * rng.standard_normal((n_classes, n_features))).astype(np.float32)
    y = rng.integers(0, n_classes, n_samples)
    first = regcore.loss_and_grad(X, y, W, p.b, loss=loss, n_threads=1)
    for n_threads in (1, 2, 3, 8, None):
        again = regcore.loss_and_grad(X, y, W, p.b, loss=loss, n_threads=n_threads)
        for a, e in zip(again, first, strict=True):
            np.testing.assert_array_equal(a, e)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("loss", "n_classes"),
    [*((loss, 3) for loss in MULTICLASS_LOSSES), *((loss, 1) for loss in BINARY_LOSSES)],
)
def test_kinks_and_ties_take_the_same_subgradient(isa, rng, loss, n_classes, dtype):
    # small integers: margins of exactly zero and ties between classes are frequent, and no sum is rounded
    X = rng.integers(-2, 3, (200, 4)).astype(dtype)
    W = rng.integers(-1, 2, (n_classes, 4)).astype(dtype)
    y = rng.integers(0, max(2, n_classes), 200)
    expected = reference.loss_and_grad(X.astype(np.longdouble), y, W.astype(np.longdouble), loss=loss)
    assert_close(regcore.loss_and_grad(X, y, W, loss=loss), expected, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("loss", "n_classes"),
    [*((loss, 4) for loss in MULTICLASS_LOSSES), *((loss, 1) for loss in BINARY_LOSSES)],
)
def test_scores_of_1e30(isa, loss, n_classes, dtype):
    n_labels = max(2, n_classes)
    y = np.tile(np.arange(n_labels), 3)
    X = np.repeat(np.array([[1.0], [-1.0], [0.0]], dtype=dtype), n_labels, axis=0)
    W = np.linspace(-1, 1, n_labels).astype(dtype)[-n_classes:, None] * dtype(1e30)
    expected = reference.loss_and_grad(X.astype(np.longdouble), y, W.astype(np.longdouble), loss=loss)
    assert_close(regcore.loss_and_grad(X, y, W, loss=loss), expected, TOLERANCE[dtype])


@pytest.mark.parametrize("n_classes", [1, 2, 4, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tiny_cross_entropy_keeps_its_digits(isa, dtype, n_classes):
    for gap in (0.0, 0.5, 5.0, 17.0, 40.0, 80.0):
        X = np.full((3, 1), gap, dtype=dtype)
        W = np.zeros((n_classes, 1), dtype=dtype)
        W[-1] = 1
        y = np.full(3, max(1, n_classes - 1))
        expected = reference.loss_and_grad(X.astype(np.longdouble), y, W.astype(np.longdouble))
        assert_close(regcore.loss_and_grad(X, y, W), expected, 100 * np.finfo(dtype).eps)
