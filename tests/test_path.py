"""Regularisation paths: the first strength, warm starts, certificates, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from test_solvers import overlapping

import regcore
from regcore import Objective, fit, regularization_path
from regcore.penalties import from_estimator


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
