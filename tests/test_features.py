"""Products and statistics whose threads share the features: more features than samples, in every layout."""

from __future__ import annotations

import numpy as np
import pytest
from problems import relative_error

from regcore import L1, ElasticNet, GroupL1, Objective, _core

N_SAMPLES, N_FEATURES = 70, 531  # neither whole vectors nor whole strips
LAYOUTS = ["C", "F", "rows apart", "columns apart", "every other column", "backwards"]


def laid_out(X, layout):
    """The same matrix in another layout; where "apart", the memory ends with the last number."""
    n_samples, n_features = X.shape
    if layout in ("C", "F"):
        return np.array(X, order=layout)
    if layout == "rows apart":
        return np.concatenate([X, np.full((n_samples, 9), 255).astype(X.dtype)], axis=1)[:, :n_features]
    if layout == "columns apart":
        room = np.zeros(n_features * (n_samples + 3) - 3, X.dtype)
        item = X.dtype.itemsize
        view = np.lib.stride_tricks.as_strided(room, X.shape, (item, (n_samples + 3) * item))
        view[...] = X
        return view
    if layout == "every other column":
        return np.repeat(X, 2, axis=1)[:, ::2]
    return np.array(X[::-1, ::-1])[::-1, ::-1]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stored", ["float64", "float32", "float16", "uint8"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_outputs", [1, 4])
def test_adjoint(rng, layout, stored, dtype, n_outputs):
    X = (rng.uniform(0, 100, (N_SAMPLES, N_FEATURES))).astype(stored)
    y = np.arange(N_SAMPLES) % max(n_outputs, 2)
    weights = rng.uniform(0, 2, N_SAMPLES)
    objective = Objective(
        laid_out(X, layout), y, sample_weight=weights, binary=n_outputs == 1, n_classes=max(n_outputs, 2),
        standardize=True, penalty=L1(0.1),
    )  # fmt: skip
    p = rng.dirichlet(np.ones(max(n_outputs, 2)), N_SAMPLES)
    u = p - np.eye(p.shape[1])[y]
    u = np.ascontiguousarray(u[:, 1:] if n_outputs == 1 else u, dtype=dtype)
    V, r = objective._adjoint(u, np.dtype(dtype))
    exact = X.astype(np.float64)
    mean = np.average(exact, axis=0, weights=weights)
    scale = np.sqrt(np.average((exact - mean) ** 2, axis=0, weights=weights))
    shares = weights / weights.sum()
    expected = (u.astype(np.float64) * shares[:, None]).T @ ((exact - mean) / scale)
    assert relative_error(V, expected) < (2e-5 if dtype == np.float32 else 1e-12)
    np.testing.assert_allclose(r, u.T @ shares, atol=1e-6)
    sums, _ = objective._class_sums(np.dtype(dtype))
    expected = (np.eye(p.shape[1])[y] * shares[:, None]).T @ ((exact - mean) / scale)
    assert relative_error(sums[0], expected) < (2e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n_samples", [1, 3, N_SAMPLES, 1030])
def test_statistics(rng, layout, n_samples):
    X = rng.standard_normal((n_samples, 1100)).astype(np.float32) + 100
    X[:, 7] = 0.1
    weights = rng.uniform(0.1, 2, n_samples)
    objective = Objective(laid_out(X, layout), np.zeros(n_samples, int), sample_weight=weights)
    mean, scale = objective._column_statistics()
    exact = X.astype(np.float64)
    expected = np.average(exact, axis=0, weights=weights)
    np.testing.assert_allclose(mean, expected, rtol=1e-13)
    spread = np.sqrt(np.average((exact - expected) ** 2, axis=0, weights=weights))
    np.testing.assert_allclose(scale, spread, rtol=1e-9, atol=1e-9)
    assert scale[7] == 0


@pytest.mark.parametrize("layout", ["C", "F"])
def test_the_bits_do_not_depend_on_the_threads(rng, layout):
    X = laid_out(rng.standard_normal((N_SAMPLES, 40_000)).astype(np.float32), layout)
    y = np.arange(N_SAMPLES) % 3
    u = np.ascontiguousarray(rng.uniform(0, 0.3, (N_SAMPLES, 3)), np.float32)
    found = []
    for n_threads in (1, 2, 5):
        objective = Objective(X, y, standardize=True, n_threads=n_threads)
        found.append((*objective._adjoint(u, np.dtype(np.float32)), objective.mean, objective.scale))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_not_finite_is_found(rng, layout):
    X = rng.standard_normal((N_SAMPLES, N_FEATURES))
    X[17, 400] = np.inf
    given = laid_out(X, layout)
    with pytest.raises(ValueError, match="row 17, column 400"):
        Objective(given, np.arange(N_SAMPLES) % 2, standardize=True)


def test_columns_far_apart_in_size_do_not_overflow(rng):
    X = np.asfortranarray(rng.standard_normal((9, 300)) * np.where(np.arange(300) % 2, 1e-150, 1e150))
    _, scale = Objective(X, np.arange(9) % 2)._column_statistics()
    np.testing.assert_allclose(scale, X.std(axis=0), rtol=1e-12)


def certificate_problem(rng, loss, n_outputs, penalty, soft, weighted, dtype):
    n_classes = max(2, n_outputs)
    X = rng.standard_normal((50, 320)).astype(dtype)
    y = np.arange(50) % n_classes
    X[:, :n_classes] += 2 * np.eye(n_classes)[y]
    if soft:
        y = rng.dirichlet(np.ones(n_classes), 50)
    return Objective(
        X, y, loss=loss, penalty=penalty, binary=n_outputs == 1,
        sample_weight=rng.uniform(0, 2, 50) * (rng.random(50) > 0.2) if weighted else None,
        label_smoothing=0.1 if loss == "cross_entropy" and not soft and weighted else 0.0,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("penalty", [L1(0.02), ElasticNet(0.01, 0.5), GroupL1(0.02)], ids=str)
@pytest.mark.parametrize(
    ("loss", "n_outputs", "soft"),
    [
        ("cross_entropy", 1, False),
        ("cross_entropy", 3, False),
        ("cross_entropy", 3, True),
        ("cross_entropy", 1, True),
        ("squared_hinge", 1, False),
        ("squared_hinge", 3, False),
    ],
)
def test_the_loops_certificate_is_the_objectives(
    rng, loss, n_outputs, soft, penalty, weighted, fit_intercept, dtype
):
    objective = certificate_problem(rng, loss, n_outputs, penalty, soft, weighted, dtype)
    loop = _core.CoordinateDescent(objective._problem, np.dtype(dtype), None, intercept=fit_intercept)
    features = np.array([0, 1, 2, 200])
    loop.add(features)
    W = np.zeros((n_outputs, 320), dtype)
    W[:, features] = rng.standard_normal((n_outputs, 4)).astype(dtype) / 4
    b = (rng.standard_normal(n_outputs) / 4).astype(dtype) if fit_intercept else None
    loop.set(
        np.ascontiguousarray(W[:, features].T, np.float64),
        np.zeros(n_outputs) if b is None else b.astype(np.float64),
    )
    triple = penalty.l1, penalty.l2, penalty.group
    value = loop.settle(triple)
    assert value == pytest.approx(float(objective.value(W, b)), rel=1e-6)
    rounded, intercepts = np.zeros_like(W), np.zeros(n_outputs, dtype)
    loop.write(rounded, intercepts)
    np.testing.assert_array_equal(rounded, W)
    loop.look(0)
    V, r = loop.gradient()
    _, grad_W, grad_b = objective._data_term(W, b)
    np.testing.assert_allclose(V, grad_W, atol=1e-6)
    np.testing.assert_allclose(r, grad_b, atol=1e-6)
    sums, shares = objective._class_sums(np.dtype(dtype))
    gap = loop.gap(triple, value, sums[0], shares[0].astype(np.float64))
    exact = objective.dual_gap(W.astype(np.float64), None if b is None else b.astype(np.float64))
    assert gap == pytest.approx(exact, rel=1e-4 if dtype == np.float32 else 1e-9)

    outside, n_listed = loop.choose(triple, 0.0, 10)
    columns, starts = loop.listed(penalty.group > 0)
    assert starts[-1] == len(columns) == n_listed
    slopes = np.linalg.norm(grad_W, axis=0, keepdims=True) if penalty.group else np.abs(grad_W)
    members = W.any(axis=0, keepdims=True) if penalty.group else W != 0
    bound = penalty.group or penalty.l1
    beyond = np.where(members, 0, slopes)
    assert outside == pytest.approx(max(beyond.max() / bound - 1, 0), rel=1e-4, abs=1e-6)
    listed = np.zeros_like(members)
    for c in range(len(starts) - 1):
        listed[c, loop.features[columns[starts[c] : starts[c + 1]]]] = True
    most = max(10, int(members.sum()))
    least = np.sort(beyond.ravel())[::-1][most]
    np.testing.assert_array_equal(listed, members | (beyond > max(bound, least)))


def test_without_weights_the_classes_tell_the_slopes(rng):
    for n_outputs in (1, 3):
        objective = certificate_problem(rng, "cross_entropy", n_outputs, L1(0.1), False, True, np.float64)
        loop = _core.CoordinateDescent(objective._problem, np.dtype(np.float64), None, intercept=True)
        b = rng.standard_normal(n_outputs)
        loop.set(np.zeros((0, n_outputs)), b)
        loop.look_at_zero(objective._class_sums(np.dtype(np.float64))[0][0])
        V, r = loop.gradient()
        _, grad_W, grad_b = objective._data_term(np.zeros((n_outputs, 320)), b)
        np.testing.assert_allclose(V, grad_W, atol=1e-14)
        np.testing.assert_allclose(r, grad_b, atol=1e-14)


def test_the_loop_says_what_it_wants(rng):
    objective = certificate_problem(rng, "squared_hinge", 3, L1(0.1), False, False, np.float64)
    loop = _core.CoordinateDescent(objective._problem, np.dtype(np.float64), None, intercept=True)
    sums, shares = objective._class_sums(np.dtype(np.float64))
    triple = 0.1, 0.0, 0.0
    with pytest.raises(ValueError, match="W has not been set"):
        loop.look(0)
    loop.set(np.zeros((0, 3)), np.zeros(3))
    with pytest.raises(ValueError, match="W has no slopes yet"):
        loop.gap(triple, 1.0, sums[0], shares[0])
    with pytest.raises(ValueError, match="W has no slopes yet"):
        loop.choose(triple, 0.0, 5)
    with pytest.raises(ValueError, match="columns have not been chosen"):
        loop.step(None, None, triple, 0.1, 3)
    with pytest.raises(ValueError, match="columns have not been chosen"):
        loop.listed(False)
    with pytest.raises(ValueError, match="loss must be cross_entropy"):
        loop.look_at_zero(sums[0])
    with pytest.raises(ValueError, match="class_sums and shares are missing"):
        loop.gap(triple, 1.0, None, None)
    with pytest.raises(ValueError, match="class_sums must be C-contiguous"):
        loop.gap(triple, 1.0, sums[0, :2], shares[0])
    with pytest.raises(ValueError, match="penalty must have an L1 or a group part"):
        loop.choose((0.0, 1.0, 0.0), 0.0, 5)
    with pytest.raises(ValueError, match="W must be C-contiguous"):
        loop.write(np.zeros((3, 319)), None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_samples", [1, 3, 16, 1030])
def test_what_lies_between_columns_is_not_read(rng, n_samples, dtype):
    around = np.full((n_samples + 7, 1100), np.nan, dtype, order="F")
    X = around[:n_samples]
    X[...] = rng.standard_normal(X.shape)
    y = rng.integers(0, 3, n_samples)
    given, apart = (Objective(array, y, n_classes=3) for array in (X, X.copy(order="C")))
    for found, expected in zip(given._column_statistics(), apart._column_statistics(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    for found, expected in zip(
        given._class_sums(np.dtype(dtype)), apart._class_sums(np.dtype(dtype)), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
