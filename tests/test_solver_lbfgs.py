"""The quasi-Newton solver: certificates, exact zeros, models of the curvature, problems without minimum."""

from __future__ import annotations

import numpy as np
import pytest
from problems import relative_error
from scipy import sparse
from test_solvers import PENALTIES, SMOOTH_FORMS, make_objective, overlapping

from regcore import L1, L2, ElasticNet, GroupL1, Objective, fit
from regcore.solvers import ConvergenceWarning, curvature
from regcore.solvers.curvature import Curvature
from regcore.solvers.kinks import Kinks


@pytest.mark.parametrize(("loss", "n_outputs"), SMOOTH_FORMS)
@pytest.mark.parametrize("penalty", [name for name in PENALTIES if name != "none"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_converged_is_a_gap(rng, loss, n_outputs, penalty, fit_intercept):
    X, y = overlapping(rng, n_outputs)
    weights = rng.integers(0, 3, len(y)).astype(float)
    objective = make_objective(
        X, y, n_outputs, loss=loss, penalty=PENALTIES[penalty], sample_weight=weights, standardize=True
    )
    result = fit(objective, solver="lbfgs", tol=1e-7, max_iter=2000, fit_intercept=fit_intercept)
    assert result.converged, result.message
    gap = objective.dual_gap(result.W, result.b if fit_intercept else None)
    assert gap <= 1.01e-7 * result.value
    assert result.dual_gap == pytest.approx(gap, abs=1e-12)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("penalty", ["l1", "elastic_net", "group_l1"])
def test_zeros_are_those_of_the_proximal_method(rng, n_outputs, penalty):
    X, y = overlapping(rng, n_outputs, n_features=20)
    objective = make_objective(X, y, n_outputs, penalty=PENALTIES[penalty])
    W = fit(objective, solver="lbfgs", tol=1e-9, max_iter=2000).W
    exact = fit(objective, solver="fista", tol=1e-9, max_iter=20000).W
    assert (W == 0).any()
    np.testing.assert_array_equal(W == 0, exact == 0)
    np.testing.assert_allclose(W, exact, atol=1e-4)


@pytest.mark.parametrize("penalty", ["l2", "l1", "elastic_net", "group_l1"])
def test_float32_reaches_a_gap_of_1e_5(rng, penalty):
    X, y = overlapping(rng, 3, n_samples=400)
    objective = make_objective(X.astype(np.float32), y, penalty=PENALTIES[penalty])
    result = fit(objective, solver="lbfgs", tol=1e-5, max_iter=1000)
    assert result.converged, result.message
    assert result.W.dtype == np.float32


@pytest.mark.parametrize("penalty", ["l2", "l1", "group_l1"])
def test_csr_and_dense_have_the_same_optimum(rng, penalty):
    X, y = overlapping(rng, n_features=30)
    X[rng.random(X.shape) < 0.6] = 0
    dense = fit(make_objective(X, y, penalty=PENALTIES[penalty]), solver="lbfgs", tol=1e-9)
    sparse_ = fit(
        make_objective(sparse.csr_array(X), y, penalty=PENALTIES[penalty]), solver="lbfgs", tol=1e-9
    )
    assert sparse_.value == pytest.approx(dense.value, rel=1e-8)


@pytest.mark.parametrize(("setting", "value", "blocks"), [("_MOST_FEATURES", 1, 0), ("_MOST_NUMBERS", 1, 1)])
@pytest.mark.parametrize("penalty", ["none", "l2", "l1", "group_l1"])
def test_smaller_models_of_the_curvature_lead_to_the_same_optimum(
    rng, monkeypatch, setting, value, blocks, penalty
):
    X, y = overlapping(rng)
    objective = make_objective(X, y, penalty=PENALTIES[penalty])
    best = fit(objective, solver="lbfgs", tol=1e-9).value
    monkeypatch.setattr(curvature, setting, value)
    assert curvature.block_count(objective, 7) == blocks
    result = fit(objective, solver="lbfgs", tol=1e-8, max_iter=3000)
    assert result.converged, result.message
    assert result.value == pytest.approx(best, rel=1e-7)


@pytest.mark.parametrize(("loss", "n_outputs"), SMOOTH_FORMS)
@pytest.mark.parametrize("with_intercept", [True, False])
def test_blocks_are_the_diagonal_of_the_second_derivative(rng, loss, n_outputs, with_intercept):
    X, y = overlapping(rng, n_outputs)
    weights = rng.uniform(0, 2, len(y))
    objective = make_objective(X, y, n_outputs, loss=loss, sample_weight=weights)
    W = 0.3 * rng.standard_normal((n_outputs, X.shape[1]))
    b = 0.1 * rng.standard_normal(n_outputs) if with_intercept else None
    model = Curvature(objective, W, b, 10**6, objective._column_moments(), seed=0)
    for c in range(n_outputs):
        for k in range(X.shape[1] + with_intercept):
            slopes = []
            for sign in (1, -1):
                moved_W, moved_b = W.copy(), None if b is None else b.copy()
                (moved_W if k < X.shape[1] else moved_b[:, None])[c, k % X.shape[1]] += sign * 1e-6
                _, grad_W, grad_b = objective.value_and_grad(moved_W, moved_b)
                slopes.append((grad_W if k < X.shape[1] else grad_b[:, None])[c, k % X.shape[1]])
            assert model.diagonal[c, k] == pytest.approx((slopes[0] - slopes[1]) / 2e-6, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("with_intercept", [True, False])
def test_the_block_of_all_outputs_is_the_second_derivative_of_squared_hinge(rng, with_intercept):
    X, y = overlapping(rng)
    weights = rng.uniform(0, 2, len(y))
    objective = make_objective(X, y, loss="squared_hinge", sample_weight=weights)
    K = X.shape[1] + with_intercept
    W = 0.3 * rng.standard_normal((3, X.shape[1]))
    b = 0.1 * rng.standard_normal(3) if with_intercept else None
    model = Curvature(objective, W, b, 10**6, objective._column_moments(), seed=0)
    step = 1e-6 * rng.standard_normal((3, K))

    def slope(sign):
        moved = W + sign * step[:, : X.shape[1]]
        _, grad_W, grad_b = objective.value_and_grad(moved, None if b is None else b + sign * step[:, -1])
        return np.column_stack([grad_W, grad_b]) if with_intercept else grad_W

    change = (slope(1) - slope(-1)) / 2
    extra = np.full((3, K), 1e-3)
    solved = model.metric(extra).solve(change + (extra + model.floor) * step)
    assert relative_error(solved, step) < 1e-5


def test_a_rare_feature_has_its_curvature_though_no_drawn_row_shows_it(rng):
    X = rng.standard_normal((5000, 3))
    X[:, 2] = 0
    X[7, 2] = 70.0
    y = rng.integers(0, 2, 5000)
    objective = Objective(X, y, binary=True)
    model = Curvature(objective, np.zeros((1, 3)), None, 50, objective._column_moments(), seed=1)
    assert model.diagonal[0, 2] == pytest.approx(0.25 * 70**2 / 5000, rel=1e-6)


def test_dense_rows_are_the_standardised_rows(rng):
    X, y = overlapping(rng)
    X[rng.random(X.shape) < 0.5] = 0
    rows = np.array([5, 0, 17])
    expected = (X[rows] - X.mean(axis=0)) / X.std(axis=0)
    for matrix in (X, sparse.csr_array(X)):
        objective = make_objective(matrix, y, standardize=True)
        assert relative_error(objective._dense_rows(rows, np.float64), expected) < 1e-12
    assert relative_error(objective._column_moments()[1], np.ones(6)) < 1e-12


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_separable_classes_without_a_penalty_have_no_minimum(rng, n_outputs):
    y = np.arange(60) % max(2, n_outputs)
    X = 5 * np.eye(3)[y] + 0.1 * rng.standard_normal((60, 3))
    with pytest.warns(ConvergenceWarning, match="no minimum; add a penalty"):
        result = fit(make_objective(X, y, n_outputs), solver="lbfgs", tol=1e-4)
    assert not result.converged
    squared = fit(make_objective(X, y, n_outputs, loss="squared_hinge"), solver="lbfgs", tol=1e-4)
    assert squared.converged
    assert squared.value == pytest.approx(0, abs=1e-6)


def test_the_optimum_does_not_depend_on_the_order_of_samples_and_classes(rng):
    X, y = overlapping(rng)
    order, names = rng.permutation(len(y)), np.array([2, 0, 1])
    for penalty in (L2(0.03), ElasticNet(0.02, 0.7), GroupL1(0.03)):
        first = fit(make_objective(X, y, penalty=penalty), solver="lbfgs", tol=1e-9)
        second = fit(make_objective(X[order], names[y][order], penalty=penalty), solver="lbfgs", tol=1e-9)
        np.testing.assert_allclose(second.W[names], first.W, atol=1e-4)


def test_a_warm_start_at_the_optimum_ends_at_once(rng):
    X, y = overlapping(rng)
    objective = make_objective(X, y, penalty=L1(0.02))
    first = fit(objective, solver="lbfgs", tol=1e-6)
    second = fit(objective, solver="lbfgs", tol=1e-5, init=first)
    assert second.n_iter == 1
    assert second.converged
    assert second.value == pytest.approx(first.value, rel=1e-6)
    np.testing.assert_array_equal(second.W, first.W)


@pytest.mark.parametrize("penalty", ["l2", "l1"])
def test_the_same_bits_with_any_number_of_threads(rng, penalty):
    X, y = overlapping(rng, n_samples=5000, n_features=40)
    fits = [
        fit(make_objective(X, y, penalty=PENALTIES[penalty], n_threads=n), solver="lbfgs", max_iter=60)
        for n in (1, 2)
    ]
    assert fits[0].W.tobytes() == fits[1].W.tobytes()


@pytest.mark.parametrize("memory", [0, True, 2.0])
def test_bad_memory_is_refused(rng, memory):
    X, y = overlapping(rng)
    with pytest.raises(ValueError, match="memory must be an integer >= 1"):
        fit(make_objective(X, y), solver="lbfgs", memory=memory)


def test_a_penalty_of_strength_zero_is_none(rng):
    X, y = overlapping(rng)
    none, zero = (fit(make_objective(X, y, penalty=p), solver="lbfgs", tol=1e-6) for p in (None, L2(0.0)))
    assert zero.converged
    assert zero.value == pytest.approx(none.value, rel=1e-9)


def test_a_checkpoint_before_the_first_model_is_resumed_with_a_smaller_tolerance(rng, tmp_path):
    X, y = overlapping(rng)
    objective = make_objective(X, y, penalty=L2(0.03))
    start = fit(objective, solver="lbfgs", tol=1e-6)
    settings = {"solver": "lbfgs", "init": start, "checkpoint": tmp_path / "fit", "checkpoint_every": 0}
    assert fit(objective, tol=1e-4, **settings).n_iter == 1
    resumed = fit(objective, solver="lbfgs", tol=1e-10, resume=tmp_path / "fit")
    assert resumed.dual_gap <= 1e-10 * resumed.value


@pytest.mark.parametrize("penalty", [L1(0.3), ElasticNet(0.3, 0.5)])
def test_no_other_common_change_of_the_outputs_has_a_smaller_penalty(rng, penalty):
    kinks, w, epsilon = Kinks(penalty, 8), rng.standard_normal((5, 8)), 0.01
    shifts = kinks.least_shifts(w, epsilon)
    least = kinks.of_features(w - shifts, epsilon)
    for other in np.linspace(-2, 2, 41):
        assert (kinks.of_features(w - other, epsilon) >= least - 1e-12).all()
    assert kinks.least_shifts(w - shifts, epsilon) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("penalty", [L1(1e-4), ElasticNet(1e-4, 0.5), GroupL1(1e-4)])
def test_changes_that_no_loss_sees_do_not_hold_a_fit_up(rng, penalty):
    X = rng.standard_normal((600, 20))
    y = (X @ rng.standard_normal((20, 8)) + rng.gumbel(size=(600, 8))).argmax(axis=1)
    objective = Objective(X, y, penalty=penalty)
    result = fit(objective, solver="lbfgs", tol=1e-6)
    assert result.converged, result.message
    assert result.n_passes < 110
    assert objective.dual_gap(result.W, result.b) <= 1.01e-6 * result.value
