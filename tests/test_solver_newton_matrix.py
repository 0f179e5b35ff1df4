"""Proximal Newton by the matrix of second derivatives: optima, storages, resumed fits, and who takes it."""

from __future__ import annotations

import numpy as np
import pytest
from problems import relative_error
from test_checkpoint import assert_resumes_everywhere

from regcore import L1, L2, ConvergenceWarning, ElasticNet, GroupL1, Objective, _core, fit, sweep
from regcore.solvers.newton_matrix import has_matrix
from regcore.solvers.registry import choose

N_SAMPLES, N_FEATURES = 2300, 24


def samples(rng, n_features=N_FEATURES):
    X = rng.standard_normal((N_SAMPLES, n_features))
    X[:, 1] += X[:, 0]
    X[:, 5] = X[:, 4]
    w = np.where(np.arange(n_features) < 8, rng.standard_normal(n_features), 0)
    return X, (X @ w + rng.standard_normal(N_SAMPLES) > 0.5).astype(int)


def binary(X, y, **arguments):
    return Objective(X, y, binary=True, **arguments)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_hinge"])
@pytest.mark.parametrize("penalty", [L1(0.02), L1(0.001), ElasticNet(0.01, 0.5)], ids=str)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_minimum(rng, loss, penalty, fit_intercept, weighted):
    X, y = samples(rng)
    weights = rng.uniform(0, 2, len(y)) if weighted else None
    objective = binary(X, y, loss=loss, penalty=penalty, sample_weight=weights)
    assert has_matrix(objective)
    assert choose(objective) == "newton-cd"
    result = fit(objective, tol=1e-9, fit_intercept=fit_intercept, random_state=0)
    assert result.converged, result.message
    exact = fit(objective, solver="lbfgs", tol=1e-10, fit_intercept=fit_intercept, random_state=0)
    assert result.value == pytest.approx(exact.value, rel=1e-9)
    b = result.b if fit_intercept else None
    assert objective.dual_gap(result.W, b) <= 1.1e-9 * result.value
    assert result.n_passes < 60
    if penalty != L1(0.001):
        assert (result.W == 0).any()


@pytest.mark.parametrize("stored", ["float32", "float16", "uint8", "strided"])
def test_storages(rng, stored):
    X, y = samples(rng)
    X = np.clip(20 * X + 128, 0, 255)
    given = np.repeat(X, 2, axis=1)[:, ::2] if stored == "strided" else X.astype(stored)
    objective = binary(given, y, penalty=L1(0.01), standardize=True)
    result = fit(objective, tol=1e-6, random_state=0)
    assert result.converged, result.message
    exact = fit(objective, solver="lbfgs", tol=1e-9, dtype=np.float64, random_state=0)
    assert result.value == pytest.approx(exact.value, rel=2e-6)
    for W in (result.W, exact.W):  # of two equal columns the sum alone is unique
        W[:, 4] += W[:, 5]
    assert relative_error(np.delete(result.W, 5, axis=1), np.delete(exact.W, 5, axis=1)) < 1e-2


@pytest.mark.parametrize("penalty", [L1(0.01), ElasticNet(0.01, 0.5)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resumed_fits(rng, tmp_path, penalty, dtype):
    X, y = samples(rng)
    objective = binary(X.astype(dtype), y, penalty=penalty)
    assert_resumes_everywhere(
        objective, tmp_path / "fit", solver="newton-cd", tol=1e-5, random_state=1, dtype=dtype
    )


def test_strong_penalties_leave_nothing(rng):
    X, y = samples(rng)
    result = fit(binary(X, y, penalty=L1(10.0)), tol=1e-9)
    assert result.converged, result.message
    assert not result.W.any()
    assert result.b[0] == pytest.approx(np.log(y.mean() / (1 - y.mean())))


def test_a_start_near_the_end(rng):
    X, y = samples(rng)
    objective = binary(X, y, penalty=L1(0.01))
    first = fit(objective, tol=1e-8, random_state=0)
    again = fit(objective, tol=1e-6, init=first, random_state=0)
    assert again.converged, again.message
    assert again.n_iter <= first.n_iter
    assert again.value == pytest.approx(first.value, rel=1e-8)


def test_soft_targets_and_one_class(rng):
    X, _ = samples(rng)
    p = rng.uniform(0, 1, len(X))
    soft = binary(X, p, penalty=L1(0.005))
    result = fit(soft, tol=1e-8, random_state=0)
    assert result.converged, result.message
    alone = fit(binary(X, np.ones(len(X), int), penalty=L1(0.1)), tol=1e-4, max_iter=400)
    assert not alone.W.any()
    assert alone.value < 1e-3


def test_float32_says_where_it_ends(rng):
    X, y = samples(rng)
    with pytest.warns(ConvergenceWarning, match=r"beyond the rounding of float32|max_iter"):
        result = fit(binary(X.astype(np.float32), y, penalty=L1(0.01)), tol=1e-12, max_iter=60)
    assert not result.converged
    assert result.dual_gap is None or result.dual_gap < 1e-5


def test_what_has_no_matrix(rng):
    X, y = samples(rng)
    assert not has_matrix(binary(X, y, penalty=L2(0.1)))
    assert not has_matrix(binary(X, y, penalty=GroupL1(0.1)))
    assert not has_matrix(binary(X, y))
    assert not has_matrix(binary(X[:1000], y[:1000], penalty=L1(0.1)))
    assert not has_matrix(Objective(X, y, penalty=L1(0.1), n_classes=3))
    assert not has_matrix(binary(X, y, loss="hinge", penalty=L1(0.1)))


def test_the_models_of_a_sweep_share_passes(rng):
    X, y = samples(rng)
    found = sweep(X, y, binary=True, penalties=[L1(0.03), L1(0.01)], folds=2, tol=1e-5)
    for results in found.results:
        assert all(result.solver == "lbfgs" for result in results)


def test_quadratic_models(rng):
    A = rng.standard_normal((40, 12))
    H, g = A.T @ A / 40, rng.standard_normal(12)
    w = np.concatenate([np.zeros(6), rng.standard_normal(6)])
    start = w.copy()
    assert _core.minimise_quadratic(H, g, w, 10, 0.3, 0.05, 0.0)
    slope = g + H @ (w - start)
    slope[:10] += 0.1 * w[:10]
    zero = w[:10] == 0
    assert zero.any()
    assert (np.abs(slope[:10][zero]) <= 0.3 + 1e-12).all()
    np.testing.assert_allclose(slope[:10][~zero], -0.3 * np.sign(w[:10][~zero]), atol=1e-10)
    np.testing.assert_allclose(slope[10:], 0, atol=1e-10)
    large = rng.standard_normal((400, 150))
    w = np.zeros(150)
    g = rng.standard_normal(150)
    assert _core.minimise_quadratic(large.T @ large / 400, g, w, 150, 0.0, 0.0, 0.0)
    np.testing.assert_allclose(large.T @ (large @ w) / 400, -g, atol=1e-9)


def test_what_is_no_quadratic_model():
    g, w = np.ones(2), np.zeros(2)
    assert not _core.minimise_quadratic(np.array([[1.0, 2.0], [2.0, 1.0]]), g, w, 2, 0.0, 0.0, 0.0)
    assert not _core.minimise_quadratic(np.zeros((2, 2)), g, w, 2, 0.1, 0.0, 0.0)
    with pytest.raises(ValueError, match="n_weights must lie in"):
        _core.minimise_quadratic(np.eye(2), g, w, 3, 0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="must not overlap"):
        _core.minimise_quadratic(np.eye(2), g, g, 2, 0.0, 0.0, 0.0)
