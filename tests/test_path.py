"""Regularisation paths: the first strength, warm starts, certificates, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from test_solvers import overlapping

import regcore
from regcore import Objective, fit, regularization_path
from regcore.penalties import from_estimator
from regcore.solvers import newton_cd


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_hinge"])
@pytest.mark.parametrize("penalty", ["l1", "elasticnet", "group_l1"])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_first_strength_is_the_least_without_weights(rng, loss, penalty, binary, fit_intercept):
    X, y = overlapping(rng, 1 if binary else 3)
    weights = rng.uniform(0.1, 2, len(y))
    settings = {"loss": loss, "binary": binary, "sample_weight": weights, "standardize": True}
    path = regularization_path(
        X, y, penalty=penalty, n_alphas=6, fit_intercept=fit_intercept, tol=1e-7, **settings
    )
    assert not path.coefs[0].any()
    assert path.converged.all()
    assert (np.diff(path.alphas) < 0).all()
    assert path.alphas[-1] == pytest.approx(1e-3 * path.alphas[0])
    below = Objective(X, y, penalty=from_estimator(penalty, 0.98 * path.alphas[0], 0.5), **settings)
    assert fit(below, tol=1e-9, fit_intercept=fit_intercept, max_iter=3000).W.any()


@pytest.mark.parametrize("penalty", ["l1", "elasticnet", "group_l1"])
def test_each_model_is_the_lone_fit(rng, penalty):
    X, y = overlapping(rng, n_features=12)
    path = regularization_path(sparse.csr_array(X), y, penalty=penalty, n_alphas=5, tol=1e-8)
    for i, alpha in enumerate(path.alphas):
        lone = fit(Objective(X, y, penalty=from_estimator(penalty, alpha, 0.5)), tol=1e-8)
        assert path.values[i] == pytest.approx(lone.value, rel=3e-8)
        assert path.dual_gaps[i] <= 1.01e-8 * path.values[i]


def test_given_strengths_for_losses_with_kinks(rng):
    X, y = overlapping(rng)
    path = regularization_path(X, y, loss="hinge", penalty="l2", alphas=[0.1, 1.0], tol=1e-3)
    assert path.alphas.tolist() == [1.0, 0.1]
    assert path.converged.all()
    assert path.coefs.shape == (2, 3, 6)
    assert path.intercepts.shape == (2, 3)


def test_uint8_is_computed_in_float32(rng):
    X, y = overlapping(rng)
    pixels = np.clip(100 + 40 * X, 0, 255).astype(np.uint8)
    path = regularization_path(pixels, y, n_alphas=3, standardize=True)
    assert path.coefs.dtype == np.float32
    assert path.converged.all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"penalty": "l2"}, "alphas must be given"),
        ({"loss": "hinge"}, "alphas must be given: only a smooth loss"),
        ({"n_alphas": 0}, "n_alphas must be an integer >= 1; got 0"),
        ({"alpha_ratio": 1.0}, r"alpha_ratio must be in \(0, 1\); got 1.0"),
        ({"alphas": []}, "alphas must be finite and > 0"),
        ({"alphas": [1.0, 0.0]}, "alphas must be finite and > 0"),
        ({"penalty": "l3"}, "penalty must be"),
    ],
)
def test_wrong_arguments(rng, arguments, message):
    X, y = overlapping(rng)
    with pytest.raises(ValueError, match=message):
        regcore.regularization_path(X, y, **arguments)


def test_without_features_there_is_no_grid(rng):
    with pytest.raises(ValueError, match="give alphas"):
        regularization_path(np.zeros((6, 2)), np.arange(6) % 2)


@pytest.mark.parametrize("penalty", ["l1", "elasticnet", "group_l1"])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_hinge"])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_more_features_than_samples(rng, loss, penalty, binary, fit_intercept, monkeypatch):
    """Models that are certified together have the gaps of each by itself, and so have those that are not."""
    X, y = overlapping(rng, 1 if binary else 3, n_samples=50, n_features=200)
    settings = {"loss": loss, "binary": binary, "standardize": True, "sample_weight": rng.uniform(0, 2, 50)}
    for large in (10_000, 0):
        monkeypatch.setattr(newton_cd, "_LARGE", large)
        path = regularization_path(
            X, y, penalty=penalty, n_alphas=20, alpha_ratio=0.02, fit_intercept=fit_intercept, **settings
        )
        assert path.converged.all()
        assert (path.n_passes > 0).all()
        assert not path.coefs[0].any()
        for i, alpha in enumerate(path.alphas):
            objective = Objective(X, y, penalty=from_estimator(penalty, alpha, 0.5), **settings)
            W, b = path.coefs[i], path.intercepts[i] if fit_intercept else None
            assert path.values[i] == pytest.approx(objective.value(W, b), rel=1e-12)
            assert objective.dual_gap(W, b) <= 1.01e-4 * path.values[i]
            assert path.dual_gaps[i] == pytest.approx(objective.dual_gap(W, b), abs=1e-9 * path.values[i])


def test_strengths_far_from_each_other(rng):
    """The working set of a neighbour lacks much, and each model is repaired."""
    X, y = overlapping(rng, n_samples=60, n_features=400)
    alphas = [0.3, 0.1, 0.01, 0.001, 0.0001]
    path = regularization_path(X, y, alphas=alphas, tol=1e-6)
    assert path.converged.all()
    for i, alpha in enumerate(alphas):
        lone = fit(Objective(X, y, penalty=from_estimator("l1", alpha)), tol=1e-6)
        assert path.values[i] == pytest.approx(lone.value, rel=2e-6)


def test_a_class_without_samples_in_a_path(rng):
    X, y = overlapping(rng, n_samples=40, n_features=100)
    path = regularization_path(X, y, n_classes=5, n_alphas=8, alpha_ratio=0.1)
    assert path.converged.all()
    assert not path.coefs[:, 3:].any()


def test_a_path_that_is_cut_short_says_so(rng):
    X, y = overlapping(rng, n_samples=40, n_features=100)
    with pytest.warns(regcore.ConvergenceWarning, match=r"solver='newton-cd': max_iter=1 came before tol"):
        path = regularization_path(X, y, alphas=[0.001], max_iter=1, tol=1e-9)
    assert not path.converged.any()
    assert np.isfinite(path.values).all()


def test_float32_and_csr_with_few_samples(rng):
    X, y = overlapping(rng, n_samples=60, n_features=300)
    X[rng.random(X.shape) < 0.7] = 0
    exact = regularization_path(X, y, n_alphas=12, alpha_ratio=0.05, tol=1e-7)
    for given in (sparse.csr_array(X.astype(np.float32)), X.astype(np.float32)):
        path = regularization_path(given, y, alphas=exact.alphas)
        assert path.coefs.dtype == np.float32
        assert path.converged.all()
        np.testing.assert_allclose(path.values, exact.values, rtol=2e-4)
