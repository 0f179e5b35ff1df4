"""What only CSR has: panels of classes, tables of the columns that occur, sums of frequent columns."""

from __future__ import annotations

import numpy as np
import pytest
from problems import relative_error

import regcore
from regcore import _core, reference

sparse = pytest.importorskip("scipy.sparse")

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}


@pytest.fixture(params=_core.available_isas())
def isa(request):
    """Run a test at every CPU level of this machine."""
    _core.select_isa(request.param)
    yield request.param
    _core.select_isa(None)


def random_csr(rng, n_samples, n_features, nonzeros, dtype):
    """`nonzeros` in each row: unsorted, repeated, a third of them in the first five columns."""
    shape = (n_samples, nonzeros)
    few, all_columns = (rng.integers(0, most, shape) for most in (min(5, n_features), n_features))
    columns = np.where(rng.random(shape) < 1 / 3, few, all_columns)
    indptr = np.arange(0, n_samples * nonzeros + 1, nonzeros) if nonzeros else np.zeros(n_samples + 1)
    values = rng.standard_normal(columns.size).astype(dtype)
    return sparse.csr_array(
        (values, columns.ravel().astype(np.int32), indptr.astype(np.int32)), shape=(n_samples, n_features)
    )


def assert_right(X, y, W, b, *, rows=None, loss="cross_entropy", penalty=None, standardize=False):
    """Check value and gradient against the reference in float64, and their bits with one thread and three."""
    n_labels = max(2, len(W))
    objective = regcore.Objective(
        X, y, loss=loss, penalty=penalty, n_classes=n_labels, binary=len(W) == 1, standardize=standardize
    )
    exact = X.astype(np.float64)
    if standardize:
        exact = (exact.toarray() - standardize[0]) / standardize[1]
    selected = slice(None) if rows is None else rows
    expected = reference.loss_and_grad(
        exact[selected], y[selected], W.astype(np.float64), b.astype(np.float64), loss=loss, penalty=penalty
    )
    value, grad_W, grad_b = objective.value_and_grad(W, b, rows=rows)
    tolerance = TOLERANCE[W.dtype.type]
    assert relative_error(value, expected[0]) < tolerance
    gradients = [np.concatenate([g.ravel(), h]) for g, h in ((grad_W, grad_b), expected[1:])]
    assert relative_error(*gradients) < tolerance
    for n_threads in (1, 3):
        again = regcore.Objective(
            X,
            y,
            loss=loss,
            penalty=penalty,
            n_classes=n_labels,
            binary=len(W) == 1,
            standardize=standardize,
            n_threads=n_threads,
        ).value_and_grad(W, b, rows=rows)
        assert again[0] == value
        np.testing.assert_array_equal(again[1], grad_W)
        np.testing.assert_array_equal(again[2], grad_b)


def reference_of_csr(X, y, W):
    """cross_entropy and its gradient in float64; X stays sparse."""
    X, W = X.astype(np.float64), W.astype(np.float64)
    scores = X @ W.T
    scores -= scores.max(axis=1, keepdims=True)
    own = (np.arange(len(y)), y)
    slopes = np.exp(scores)
    total = slopes.sum(axis=1)
    slopes /= total[:, None]
    slopes[own] -= 1
    return np.mean(np.log(total) - scores[own]), (X.T @ slopes).T / len(y), slopes.mean(axis=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_width_of_a_panel(isa, rng, dtype):
    X = random_csr(rng, 40, 37, 5, dtype)
    for n_classes in (*range(1, 36), 63, 64, 65, 72, 100, 127, 128, 129, 140, 257):
        W = rng.standard_normal((n_classes, 37)).astype(dtype)
        b = rng.standard_normal(n_classes).astype(dtype)
        y = rng.integers(0, max(2, n_classes), 40)
        assert_right(X, y, W, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [1, 2, 10, 20, 70])
def test_few_columns_that_occur_among_many(isa, rng, n_classes, dtype):
    for n_samples, n_features, nonzeros in ((30, 2000, 5), (7, 6400, 20), (1, 50, 1), (3, 64, 0)):
        X = random_csr(rng, n_samples, n_features, nonzeros, dtype)
        W = rng.standard_normal((n_classes, n_features)).astype(dtype)
        b = rng.standard_normal(n_classes).astype(dtype)
        y = rng.integers(0, max(2, n_classes), n_samples)
        for rows in (None, slice(n_samples - 1, None, -2), rng.integers(0, n_samples, n_samples)):
            assert_right(X, y, W, b, rows=rows, penalty=regcore.ElasticNet(0.1, 0.3))
        mean, scale = rng.standard_normal(n_features), rng.random(n_features) + 0.5
        assert_right(X, y, W, b, standardize=(mean, scale))
        scores = regcore.Objective(X, y, n_classes=max(2, n_classes), binary=n_classes == 1).scores(W, b)
        assert relative_error(scores, reference.scores(X.toarray(), W, b)) < TOLERANCE[dtype]


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
@pytest.mark.parametrize("value_dtype", [np.float32, np.float64, np.uint8])
def test_batches_of_other_types_among_many_columns(rng, value_dtype, index_dtype):
    X = random_csr(rng, 200, 3000, 8, np.float64)
    X.data = np.rint(4 * np.abs(X.data)).astype(value_dtype)
    X.indices, X.indptr = X.indices.astype(index_dtype), X.indptr.astype(index_dtype)
    W, b = 0.1 * rng.standard_normal((4, 3000)), rng.standard_normal(4)
    assert_right(X, rng.integers(0, 4, 200), W, b, rows=slice(20, 60))


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
@pytest.mark.parametrize("value_dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("n_classes", [1, 5, 20])
def test_rows_of_very_different_lengths(isa, rng, n_classes, value_dtype, index_dtype):
    # rows that are converted together, rows that are cut in pieces, empty ones, also at the end
    n_features = 4000
    lengths = np.array([0, 3, 1023, 1, 0, 1024, 1025, 2, 500, 600, 0, 3100, 7, 0, 0, 0, 2048, 5, 40, 0, 0])
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(index_dtype)
    indices = np.concatenate([np.sort(rng.permutation(n_features)[:n]) for n in lengths]).astype(index_dtype)
    values = rng.integers(1, 4, len(indices)).astype(value_dtype)
    X = sparse.csr_array((values, indices, indptr), shape=(len(lengths), n_features))
    W = (0.05 * rng.standard_normal((n_classes, n_features))).astype(np.float32)
    y = rng.integers(0, max(2, n_classes), len(lengths))
    for rows in (None, slice(0, 12), rng.permutation(len(lengths))):
        assert_right(X, y, W, np.zeros(n_classes, np.float32), rows=rows)


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
@pytest.mark.parametrize("n_classes", [2, 8])
def test_narrow_rows_of_a_large_table(isa, rng, n_classes, index_dtype):
    # more than 4 MiB of weights, and more nonzeros than a quarter of the columns
    n_samples, n_features = 10_000, 600_000
    indices = rng.integers(0, n_features, (n_samples, 16)).astype(index_dtype)
    indptr = np.arange(0, indices.size + 1, 16).astype(index_dtype)
    values = rng.standard_normal(indices.size).astype(np.float32)
    X = sparse.csr_array((values, indices.ravel(), indptr), shape=(n_samples, n_features))
    y = rng.integers(0, n_classes, n_samples)
    W = (0.1 * rng.standard_normal((n_classes, n_features))).astype(np.float32)
    value, grad_W, grad_b = regcore.loss_and_grad(X, y, W)
    expected = reference_of_csr(X, y, W)
    assert relative_error(value, expected[0]) < 1e-6
    assert relative_error(grad_W, expected[1]) < 1e-5
    assert relative_error(grad_b, expected[2]) < 1e-5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["cross_entropy", "hinge"])
def test_classes_shared_by_the_threads(isa, rng, loss, dtype):
    # more than 4 MiB of gradient, and more classes than fit in registers at any level
    n_samples, n_features, n_classes = 300, 8200, 140
    X = random_csr(rng, n_samples, n_features, 6, dtype)
    W = rng.standard_normal((n_classes, n_features)).astype(dtype)
    b = rng.standard_normal(n_classes).astype(dtype)
    assert_right(X, rng.integers(0, n_classes, n_samples), W, b, loss=loss)


@pytest.mark.parametrize(("n_samples", "n_features"), [(6000, 40), (20_000, 2000), (20_000, 200_000)])
@pytest.mark.parametrize("n_classes", [1, 3, 10])
def test_equal_terms_do_not_drift(isa, rng, n_classes, n_samples, n_features):
    # At W = 0 all slopes are equal, and the rounding errors of a float32 sum have one sign: they come to 1e-4
    # and more without sums in double.
    columns = rng.integers(3, n_features, (n_samples, 5))
    columns[:, :3] = range(3)
    columns[::2, 2] = 4
    values = np.ones(columns.shape, dtype=np.float32)
    values[:, 1] = 0.1
    indptr = np.arange(0, columns.size + 1, 5)
    X = sparse.csr_array((values.ravel(), columns.ravel(), indptr), shape=(n_samples, n_features))
    y = np.minimum((max(2, n_classes) * rng.random(n_samples) ** 3).astype(int), max(2, n_classes) - 1)
    W, b = np.zeros((n_classes, n_features), dtype=np.float32), np.zeros(n_classes, dtype=np.float32)
    slopes = np.full((n_samples, n_classes), 1 / max(2, n_classes))
    if n_classes == 1:
        slopes[:, 0] -= y
    else:
        slopes[np.arange(n_samples), y] -= 1
    expected = (X.astype(np.float64).T @ slopes).T / n_samples
    for n_threads in (1, 2):
        _, grad_W, grad_b = regcore.loss_and_grad(X, y, W, b, n_threads=n_threads)
        assert relative_error(grad_W, expected) < 1e-5
        assert relative_error(grad_b, slopes.mean(axis=0)) < 1e-5


def test_frequent_columns_of_many_classes(rng):
    # a shared table and frequent columns at once, against the same in float64
    n_samples, n_features, n_classes = 3000, 11_000, 100
    X = random_csr(rng, n_samples, n_features, 12, np.float32)
    W = (0.1 * rng.standard_normal((n_classes, n_features))).astype(np.float32)
    b = np.zeros(n_classes, dtype=np.float32)
    y = rng.integers(0, n_classes, n_samples)
    value, grad_W, _ = regcore.loss_and_grad(X, y, W, b)
    expected = regcore.loss_and_grad(X, y, W.astype(np.float64), b.astype(np.float64))
    assert relative_error(value, expected[0]) < 1e-6
    assert relative_error(grad_W, expected[1]) < 1e-5


@pytest.mark.parametrize("n_samples", [1, 7, 3000])
def test_a_constant_column_keeps_scale_1(rng, n_samples):
    dense = rng.standard_normal((n_samples, 4))
    dense[:, 1], dense[:, 2], dense[1:, 3] = 0.1, 1e6 / 3, 0
    weight = rng.uniform(0.1, 2, n_samples)
    objective = regcore.Objective(
        sparse.csr_array(dense), np.arange(n_samples) % 2, sample_weight=weight, standardize=True
    )
    mean = weight @ dense / weight.sum()
    deviation = np.sqrt(weight @ (dense - mean) ** 2 / weight.sum())
    np.testing.assert_allclose(objective.mean, mean, rtol=1e-12)
    assert objective.scale[1] == objective.scale[2] == 1
    if n_samples > 1:
        np.testing.assert_allclose(objective.scale[[0, 3]], deviation[[0, 3]], rtol=1e-12)
