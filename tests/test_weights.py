"""Weights are repetition, over all losses and penalties; weights of classes are weights of samples."""

from __future__ import annotations

import numpy as np
import pytest
from problems import BINARY_LOSSES, MULTICLASS_LOSSES, relative_error
from scipy import sparse

import regcore
from regcore import L1, L2, ElasticNet, GroupL1, Objective, fit, sample_weights
from regcore.solvers import SOLVERS

PENALTIES = {
    "none": None,
    "l1": L1(0.02),
    "l2": L2(0.03),
    "elastic_net": ElasticNet(0.02, 0.7),
    "group_l1": GroupL1(0.03),
}
FORMS = [*((loss, 3) for loss in MULTICLASS_LOSSES), *((loss, 1) for loss in BINARY_LOSSES)]


def overlapping(rng, n_labels=3, n_samples=100, n_features=6):
    y = rng.integers(0, n_labels, n_samples)
    return rng.standard_normal((n_samples, n_features)) + 0.7 * rng.standard_normal((n_labels, n_features))[
        y
    ], y


# --------------------------------------------------------------------------------------------------
# weights are repetition
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("matrix", ["dense", "csr"])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(("loss", "n_outputs"), FORMS)
def test_value_and_gradient(rng, loss, n_outputs, penalty, matrix):
    X, y = overlapping(rng, max(2, n_outputs))
    X[X < 0] = 0
    weights = rng.integers(0, 4, len(y))
    rows = np.repeat(np.arange(len(y)), weights)
    form = {
        "loss": loss,
        "penalty": PENALTIES[penalty],
        "n_classes": max(2, n_outputs),
        "binary": n_outputs == 1,
    }
    make = sparse.csr_array if matrix == "csr" else np.asarray
    weighted = Objective(make(X), y, sample_weight=weights, **form)
    repeated = Objective(make(X[rows]), y[rows], **form)
    absent = Objective(make(X[weights > 0]), y[weights > 0], sample_weight=weights[weights > 0], **form)
    W, b = rng.standard_normal((n_outputs, 6)), rng.standard_normal(n_outputs)
    for other in (repeated, absent):
        for a, e in zip(weighted.value_and_grad(W, b), other.value_and_grad(W, b), strict=True):
            assert relative_error(a, e) < 1e-12
    # as rows of one evaluation
    everything = Objective(make(X), y, **form).value_and_grad(W, b, rows=rows)
    for a, e in zip(weighted.value_and_grad(W, b), everything, strict=True):
        assert relative_error(a, e) < 1e-12


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(("loss", "n_outputs"), FORMS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_fits(rng, solver, loss, n_outputs, penalty):
    X, y = overlapping(rng, max(2, n_outputs), n_samples=300)  # enough not to be separable
    weights = rng.integers(0, 4, len(y))
    rows = np.repeat(np.arange(len(y)), weights)
    form = {
        "loss": loss,
        "penalty": PENALTIES[penalty],
        "n_classes": max(2, n_outputs),
        "binary": n_outputs == 1,
    }
    weighted, repeated = Objective(X, y, sample_weight=weights, **form), Objective(X[rows], y[rows], **form)
    if solver == "sgd" or not SOLVERS[solver].handles(weighted):
        pytest.skip("the batches decide, or the solver does not handle this")
    results = [fit(o, solver=solver, tol=1e-6, max_iter=20_000) for o in (weighted, repeated)]
    assert all(result.converged for result in results)
    assert results[0].value == pytest.approx(results[1].value, rel=1e-5)
    if PENALTIES[penalty] is not None and loss in ("cross_entropy", "squared_hinge"):
        assert relative_error(results[0].W, results[1].W) < 1e-3


def test_a_common_factor_means_nothing(rng):
    X, y = overlapping(rng)
    weights, W = rng.random(len(y)), rng.standard_normal((3, 6))
    expected = Objective(X, y, sample_weight=weights, penalty=L1(0.1)).value_and_grad(W)
    for factor in (0.5, 3.0, 1e-300, 1e300):
        scaled = Objective(X, y, sample_weight=factor * weights, penalty=L1(0.1)).value_and_grad(W)
        for a, e in zip(scaled, expected, strict=True):
            assert relative_error(a, e) < 1e-12


# --------------------------------------------------------------------------------------------------
# weights of classes
# --------------------------------------------------------------------------------------------------
def test_balanced_classes_weigh_the_same(rng):
    y = np.array(["a", "b", "c"])[rng.choice(3, 90, p=[0.7, 0.2, 0.1])]
    weights = sample_weights(y)
    for label in "abc":
        assert weights[y == label].sum() == pytest.approx(30)
    given = rng.random(90)
    weights = sample_weights(y, "balanced", given)
    totals = [weights[y == label].sum() for label in "abc"]
    np.testing.assert_allclose(totals, given.sum() / 3)
    np.testing.assert_allclose((weights / given)[y == "a"], (weights / given)[y == "a"][0])


def test_balanced_weights_count_repetitions(rng):
    y = rng.integers(0, 3, 40)
    counts = rng.integers(0, 4, 40)
    rows = np.repeat(np.arange(40), counts)
    by_weight = sample_weights(y, "balanced", counts)
    by_row = sample_weights(y[rows])
    np.testing.assert_allclose(np.bincount(rows, by_row, 40), by_weight)


def test_balanced_as_scikit_learn_has_it(rng):
    utils = pytest.importorskip("sklearn.utils")
    y = rng.integers(0, 4, 50)
    np.testing.assert_allclose(sample_weights(y), utils.compute_sample_weight("balanced", y))
    chosen = {0: 2.0, 3: 0.5}
    np.testing.assert_allclose(
        sample_weights(y, chosen), utils.compute_sample_weight({1: 1, 2: 1, **chosen}, y)
    )


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_weight_of_a_class_is_repetition_of_its_samples(rng, penalty):
    X, y = overlapping(rng)
    rows = np.repeat(np.arange(len(y)), np.array([3, 1, 2])[y])
    W = rng.standard_normal((3, 6))
    weighted = Objective(X, y, penalty=PENALTIES[penalty], sample_weight=sample_weights(y, {0: 3, 2: 2}))
    repeated = Objective(X[rows], y[rows], penalty=PENALTIES[penalty])
    for a, e in zip(weighted.value_and_grad(W), repeated.value_and_grad(W), strict=True):
        assert relative_error(a, e) < 1e-12


@pytest.mark.parametrize("loss", MULTICLASS_LOSSES)
def test_a_class_of_weight_zero_is_a_class_without_samples(rng, loss):
    X, y = overlapping(rng)
    weighted = Objective(X, y, loss=loss, penalty=L2(0.1), sample_weight=sample_weights(y, {1: 0}))
    without = Objective(X[y != 1], y[y != 1], loss=loss, penalty=L2(0.1), n_classes=3)
    W, b = rng.standard_normal((3, 6)), rng.standard_normal(3)
    for a, e in zip(weighted.value_and_grad(W, b), without.value_and_grad(W, b), strict=True):
        assert relative_error(a, e) < 1e-12
    if loss == "cross_entropy":
        result = fit(weighted, tol=1e-3, max_iter=5000)
        assert np.isfinite(result.W).all()
        assert not (weighted.predict(result.W, result.b) == 1).any()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"y": [[0, 1]]}, ValueError, r"y must have shape \(n_samples,\).*got shape \(1, 2\)"),
        ({"y": []}, ValueError, "y must have shape"),
        ({"class_weight": "even"}, ValueError, "class_weight must be a mapping or 'balanced'; got 'even'"),
        ({"class_weight": None}, ValueError, "class_weight must be a mapping or 'balanced'; got None"),
        ({"class_weight": {5: 1.0}}, ValueError, "class_weight has a weight for 5, which is no label of y"),
        ({"class_weight": {0: -1.0}}, ValueError, "the weight of 0 must be finite and >= 0; got -1.0"),
        ({"class_weight": {0: np.inf}}, ValueError, "the weight of 0 must be finite"),
        ({"class_weight": {0: "1"}}, TypeError, "the weight of 0 must be a number; got '1'"),
        ({"sample_weight": [1.0, 2.0]}, ValueError, r"sample_weight must have shape \(3,\)"),
        ({"sample_weight": [1.0, 2.0, -1.0]}, ValueError, "sample_weight must be finite and not negative"),
        ({"sample_weight": [0, 0, 0]}, ValueError, "with a positive sum"),
        ({"sample_weight": ["1", "2", "3"]}, TypeError, "sample_weight must hold real numbers"),
    ],
    ids=str,
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        sample_weights(**{"y": [0, 1, 1]} | arguments)


def test_the_doctests_are_right():
    import doctest

    from regcore import weights
    from regcore.solvers import callbacks

    for module in (weights, callbacks):
        assert doctest.testmod(module).failed == 0
    assert regcore.sample_weights is weights.sample_weights
