"""Proximal Newton on a working set: optima, supports, certificates, hostile data, storages, CPU levels."""

from __future__ import annotations

import _thread
import threading

import numpy as np
import pytest
from problems import relative_error
from scipy import sparse
from test_solvers import PENALTIES, SMOOTH_FORMS, make_objective, optimality, overlapping, scipy_minimum

from regcore import L1, L2, ConvergenceWarning, ElasticNet, GroupL1, Objective, _core, fit
from regcore.solvers import newton_cd

KINKS = ["l1", "elastic_net", "group_l1"]


def wide(rng, n_outputs=3, n_samples=40, n_features=300):
    """Many more features than samples, of which a few matter."""
    n_classes = max(2, n_outputs)
    y = np.arange(n_samples) % n_classes
    X = rng.standard_normal((n_samples, n_features))
    X[:, :6] += rng.standard_normal((n_classes, 6))[y]
    return X, y


# --------------------------------------------------------------------------------------------------
# the optimum
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("loss", "n_outputs"), SMOOTH_FORMS)
@pytest.mark.parametrize("penalty", ["l1", "elastic_net", "l2", "none"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_minimum_is_scipys(rng, loss, n_outputs, penalty, fit_intercept):
    X, y = overlapping(rng, n_outputs)
    weights = rng.uniform(0, 2, len(y))
    r = PENALTIES[penalty]
    objective = make_objective(X, y, n_outputs, loss=loss, penalty=r, sample_weight=weights)
    result = fit(objective, solver="newton-cd", tol=1e-9, fit_intercept=fit_intercept)
    value, W, _ = scipy_minimum(X, y, n_outputs, loss, r, weights, fit_intercept)
    assert result.converged, result.message
    assert result.value == pytest.approx(value, rel=1e-9)
    if penalty != "none":  # without a penalty the softmax has many minimisers
        np.testing.assert_allclose(result.W, W, atol=5e-5)


@pytest.mark.parametrize(("loss", "n_outputs"), SMOOTH_FORMS)
@pytest.mark.parametrize("penalty", KINKS)
@pytest.mark.parametrize("matrix", ["dense", "csr"])
def test_no_subgradient_is_left_where_features_outnumber_samples(rng, loss, n_outputs, penalty, matrix):
    X, y = wide(rng, n_outputs)
    X[:, 50:][rng.random((len(y), 250)) < 0.9] = 0
    r = PENALTIES[penalty]
    given = sparse.csr_array(X) if matrix == "csr" else X
    objective = make_objective(given, y, n_outputs, loss=loss, penalty=r)
    result = fit(objective, solver="newton-cd", tol=1e-10)
    assert result.converged, result.message
    assert optimality(X, y, result.W, result.b, loss, r) <= 1e-6
    assert objective.dual_gap(result.W, result.b) <= 1.1e-10 * result.value
    assert 0 < np.count_nonzero(result.W) < result.W.size / 4


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("penalty", KINKS)
def test_the_support_is_exact(rng, n_outputs, penalty):
    X, y = overlapping(rng, n_outputs, n_features=20)
    objective = make_objective(X, y, n_outputs, penalty=PENALTIES[penalty])
    W = fit(objective, solver="newton-cd", tol=1e-9).W
    exact = fit(objective, solver="fista", tol=1e-9, max_iter=20000).W
    assert (W == 0).any()
    np.testing.assert_array_equal(W == 0, exact == 0)
    np.testing.assert_allclose(W, exact, atol=5e-5)


@pytest.mark.parametrize("penalty", KINKS)
def test_float32_says_how_far_it_came(rng, penalty):
    X, y = wide(rng, n_samples=200)
    objective = make_objective(X.astype(np.float32), y, penalty=PENALTIES[penalty])
    result = fit(objective, solver="newton-cd", tol=1e-5)
    assert result.converged, result.message
    assert result.W.dtype == np.float32
    assert result.value == pytest.approx(objective.value(result.W, result.b), rel=1e-6)


def test_rounding_is_said(rng):
    X, y = wide(rng, n_samples=200)
    objective = make_objective(X.astype(np.float32), y, penalty=L1(0.02))
    with pytest.warns(ConvergenceWarning, match=r"rounding of float32 .* use dtype=float64"):
        fit(objective, solver="newton-cd", tol=1e-15)


@pytest.mark.parametrize("penalty", KINKS)
def test_few_samples_that_all_but_separate(rng, penalty):
    X, y = wide(rng, n_samples=60)
    objective = make_objective(
        X, y, penalty={"l1": L1(1e-5), "elastic_net": ElasticNet(1e-5, 1.0)}.get(penalty, GroupL1(1e-5))
    )
    result = fit(objective, solver="newton-cd", tol=1e-6)
    assert result.converged, result.message
    assert result.value < 0.01


def test_a_minimum_at_infinity_is_said(rng):
    X, y = wide(rng)
    objective = make_objective(X, y)
    with pytest.warns(ConvergenceWarning, match="there is no minimum; add a penalty"):
        fit(objective, solver="newton-cd", tol=1e-8)


def test_starting_elsewhere_comes_to_the_same(rng):
    X, y = wide(rng)
    objective = make_objective(X, y, penalty=L1(0.02))
    cold = fit(objective, solver="newton-cd", tol=1e-9)
    start = rng.standard_normal(cold.W.shape) * (rng.random(cold.W.shape) < 0.2), rng.standard_normal(3)
    warm = fit(objective, solver="newton-cd", tol=1e-9, init=start)
    assert warm.value == pytest.approx(cold.value, rel=2e-9)
    again = fit(objective, solver="newton-cd", tol=1e-8, init=cold)
    assert again.n_iter == 1


# --------------------------------------------------------------------------------------------------
# invariances
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("penalty", KINKS)
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_hinge"])
def test_orders_mean_nothing(rng, loss, penalty):
    X, y = wide(rng)
    r = PENALTIES[penalty]
    W = fit(make_objective(X, y, loss=loss, penalty=r), solver="newton-cd", tol=1e-10).W
    rows, columns, classes = (rng.permutation(n) for n in (len(y), X.shape[1], 3))
    moved = make_objective(X[rows][:, columns], classes[y[rows]], loss=loss, penalty=r)
    V = fit(moved, solver="newton-cd", tol=1e-10).W
    np.testing.assert_allclose(V[classes], W[:, columns], atol=1e-5)


@pytest.mark.parametrize("penalty", KINKS)
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_weights_are_repetition(rng, n_outputs, penalty):
    X, y = wide(rng, n_outputs)
    weights = rng.integers(0, 4, len(y))
    X[weights == 0] = 1e6  # absent
    rows = np.repeat(np.arange(len(y)), weights)
    r = PENALTIES[penalty]
    weighted = fit(
        make_objective(X, y, n_outputs, penalty=r, sample_weight=weights), solver="newton-cd", tol=1e-9
    )
    repeated = fit(make_objective(X[rows], y[rows], n_outputs, penalty=r), solver="newton-cd", tol=1e-9)
    assert weighted.value == pytest.approx(repeated.value, rel=1e-9)
    np.testing.assert_allclose(weighted.W, repeated.W, atol=1e-5)


@pytest.mark.parametrize("matrix", ["dense", "csr"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_standardised_features(rng, matrix, fit_intercept):
    X, y = wide(rng)
    X = (X * np.geomspace(0.1, 100, X.shape[1]) + 3) * (rng.random(X.shape) < 0.4)
    given = sparse.csr_array(X) if matrix == "csr" else X
    folded = make_objective(given, y, penalty=L1(0.02), standardize=True)
    copied = make_objective((X - X.mean(0)) / X.std(0), y, penalty=L1(0.02))
    first, second = (
        fit(o, solver="newton-cd", tol=1e-9, fit_intercept=fit_intercept) for o in (folded, copied)
    )
    assert first.value == pytest.approx(second.value, rel=2e-9)
    np.testing.assert_allclose(first.W, second.W, atol=1e-5)


@pytest.mark.parametrize("binary", [True, False])
def test_soft_targets_and_smoothing(rng, binary):
    X, y = wide(rng, 1 if binary else 3)
    T = rng.dirichlet(np.full(2 if binary else 3, 0.3), len(y))
    for targets, smoothing in ((T, 0.0), (T, 0.1), (y, 0.2)):
        objective = Objective(X, targets, penalty=L1(0.02), binary=binary, label_smoothing=smoothing)
        result = fit(objective, solver="newton-cd", tol=1e-8)
        exact = fit(objective, solver="fista", tol=1e-8, max_iter=20000)
        assert result.converged
        assert result.value == pytest.approx(exact.value, rel=1e-7)


# --------------------------------------------------------------------------------------------------
# what data may be like
# --------------------------------------------------------------------------------------------------
STORED = ["float64", "float32", "float16", "uint8", "int8", "int16", "uint16", "int32", "int64", "bool"]


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("kind", ["C", "F", "strided", "csr", "csr64"])
def test_every_storage(rng, stored, kind):
    X, y = wide(rng, n_samples=70, n_features=90)
    X = np.clip(np.abs(3 * X), 0, 100).astype(stored)
    exact = fit(Objective(X.astype(float), y, penalty=L1(0.02)), solver="newton-cd", tol=1e-8)
    given = {
        "C": X,
        "F": np.asfortranarray(X),
        "strided": np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
        "csr": sparse.csr_array(X.astype("float32" if stored == "float16" else stored)),
        "csr64": sparse.csr_array(X.astype("float32" if stored == "float16" else stored)),
    }[kind]
    if kind == "csr64":
        given.indices, given.indptr = given.indices.astype(np.int64), given.indptr.astype(np.int64)
    for dtype, tol in ((np.float64, 1e-8), (np.float32, 1e-5)):
        result = fit(Objective(given, y, penalty=L1(0.02)), solver="newton-cd", tol=tol, dtype=dtype)
        assert result.converged, result.message
        assert result.value == pytest.approx(exact.value, rel=2 * tol)


def test_columns_that_repeat_in_a_row_add_up(rng):
    X, y = wide(rng, n_samples=60, n_features=40)
    X[rng.random(X.shape) < 0.85] = 0
    csr = sparse.csr_array(X)
    indptr = 2 * csr.indptr
    parts = (np.repeat(csr.data, 2) * np.tile([0.25, 0.75], csr.nnz), np.repeat(csr.indices, 2), indptr)
    doubled = sparse.csr_array(parts, shape=X.shape)
    first, second = (
        fit(Objective(given, y, penalty=L1(0.01)), solver="newton-cd", tol=1e-9) for given in (csr, doubled)
    )
    np.testing.assert_allclose(first.W, second.W, atol=1e-8)


@pytest.mark.parametrize("penalty", ["l1", "group_l1", "l2", "elastic_net"])
@pytest.mark.parametrize("matrix", ["dense", "csr"])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_hinge"])
def test_hostile_data(rng, loss, matrix, penalty):
    X, y = wide(rng, n_samples=50, n_features=30)
    X[:, 3], X[:, 4], X[:, 5] = 1e3, 0, X[:, 6]  # constant, empty, twice
    X[7, 5:] = 0
    y[:] = np.where(y == 2, 0, y)  # a class without samples
    weights = np.ones(len(y))
    weights[:5] = 0
    X[:3] = 1e8
    given = sparse.csr_array(X) if matrix == "csr" else X
    objective = Objective(given, y, loss=loss, penalty=PENALTIES[penalty], n_classes=4, sample_weight=weights)
    result = fit(objective, solver="newton-cd", tol=1e-6)
    assert result.converged, result.message
    assert np.isfinite(result.W).all()
    assert np.isfinite(result.b).all()
    assert objective.dual_gap(result.W, result.b) <= 1.1e-6 * result.value


def test_one_class(rng):
    X = rng.standard_normal((20, 5))
    for binary in (True, False):
        objective = Objective(X, np.ones(20, int), penalty=L1(0.1), n_classes=2, binary=binary)
        result = fit(objective, solver="newton-cd", tol=1e-4)
        assert not result.W.any()
        assert result.value < 1e-3


def test_one_sample():
    result = fit(Objective(np.ones((1, 3)), [1], penalty=L1(0.1)), solver="newton-cd", fit_intercept=False)
    assert result.converged


@pytest.mark.parametrize("matrix", ["dense", "csr"])
def test_not_finite_data_is_named(rng, matrix):
    X, y = wide(rng)
    X[17, 3] = np.nan
    with pytest.raises(ValueError, match=r"X must be finite; got NaN in row 17, column 3"):
        fit(
            make_objective(sparse.csr_array(X) if matrix == "csr" else X, y, penalty=L1(0.1)),
            solver="newton-cd",
        )


def test_two_kinks_are_refused(rng):
    class Both(L1):
        group = 0.1

    objective = make_objective(*wide(rng), penalty=Both(0.1))
    with pytest.raises(ValueError, match="both an L1 and a group part"):
        fit(objective, solver="newton-cd")


# --------------------------------------------------------------------------------------------------
# the machine, and the loop itself
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("level", _core.available_isas())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("loss", "n_outputs"), SMOOTH_FORMS)
def test_every_cpu_level(rng, loss, n_outputs, level, dtype):
    X, y = wide(rng, n_outputs, n_samples=67)
    X[:, 100:][rng.random((67, 200)) < 0.95] = 0
    active = _core.info()["isa"]
    for penalty in (ElasticNet(0.01, 0.5), GroupL1(0.02)):
        exact = fit(make_objective(X, y, n_outputs, loss=loss, penalty=penalty), solver="newton-cd", tol=1e-9)
        try:
            _core.select_isa(level)
            for given in (X, sparse.csr_array(X)):
                objective = make_objective(given, y, n_outputs, loss=loss, penalty=penalty)
                result = fit(objective, solver="newton-cd", tol=1e-5, dtype=dtype)
                assert result.converged, result.message
                assert result.value == pytest.approx(exact.value, rel=2e-5)
        finally:
            _core.select_isa(active)


def test_the_number_of_threads_means_nothing(rng):
    X, y = wide(rng)
    first, second = (
        fit(make_objective(X, y, penalty=L1(0.01), n_threads=n), solver="newton-cd", tol=1e-8) for n in (1, 2)
    )
    assert first.W.tobytes() == second.W.tobytes()


def test_an_interrupt_ends_it_soon(rng):
    X, y = overlapping(rng, 3, n_samples=20000, n_features=120)
    objective = make_objective(X, y, penalty=L1(1e-6))

    def interrupt_the_next(state):
        if state.iteration == 1:
            timer.start()

    timer = threading.Timer(0.05, _thread.interrupt_main)
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        result = fit(objective, solver="newton-cd", tol=None, max_iter=100_000, callbacks=interrupt_the_next)
    timer.join()
    assert np.isfinite(result.W).all()
    assert result.value == pytest.approx(objective.value(result.W, result.b), rel=1e-9)


def test_an_objective_without_samples_is_refused(rng):
    class Stranger:
        def __init__(self, objective):
            self.__dict__.update(
                loss=objective.loss,
                penalty=None,
                n_models=None,
                n_outputs=3,
                n_features=300,
                n_samples=40,
                data_dtype=objective.data_dtype,
            )

    with pytest.raises(TypeError, match="solver='newton-cd' needs the samples themselves"):
        fit(Stranger(make_objective(*wide(rng))), solver="newton-cd")


def test_auto_takes_it_where_features_are_many(rng):
    X, y = wide(rng)
    assert fit(make_objective(X, y, penalty=L1(0.1))).solver == "newton-cd"
    assert fit(make_objective(X, y, penalty=L2(0.1))).solver == "lbfgs"
    X, y = overlapping(rng)
    assert fit(make_objective(X, y, penalty=L1(0.1))).solver == "lbfgs"


def test_the_loop_checks_what_it_is_given(rng):
    X, y = wide(rng)
    loop = _core.CoordinateDescent(make_objective(X, y)._problem, np.float64, None, intercept=True)
    columns, starts = np.zeros(0, np.int64), np.zeros(4, np.int64)
    penalty = (0.1, 0.0, 0.0)
    with pytest.raises(ValueError, match="W has not been set"):
        loop.step(columns, starts, penalty, 0.1, 3)
    loop.set(np.zeros((0, 3)), np.zeros(3))
    with pytest.raises(ValueError, match="columns must be numbers of columns"):
        loop.step(np.array([2]), np.array([0, 1, 1, 1]), penalty, 0.1, 3)
    with pytest.raises(ValueError, match="starts must go from 0"):
        loop.step(columns, np.zeros(3, np.int64), penalty, 0.1, 3)
    with pytest.raises(ValueError, match="starts must not descend"):
        loop.step(np.zeros(1, np.int64), np.array([0, 2, 0, 1]), penalty, 0.1, 3)
    with pytest.raises(ValueError, match="features must be columns of X"):
        loop.add(np.array([300]))
    loop.add(np.array([5, 7]))
    loop.add(np.array([7, 9]))
    assert loop.n_columns == 3
    with pytest.raises(ValueError, match="W must be C-contiguous"):
        loop.set(np.zeros((2, 3)), np.zeros(3))
    with pytest.raises(ValueError, match="out must be"):
        loop.slopes(np.zeros((40, 3), np.float32))


def test_steps_lower_the_objective(rng):
    X, y = wide(rng)
    result = fit(make_objective(X, y, penalty=ElasticNet(1e-3, 0.5)), solver="newton-cd", tol=1e-9)
    values = [entry.value for entry in result.history]
    assert (np.diff(values) <= 1e-12 * np.abs(values[1:])).all()
    assert result.n_passes > 1
    assert relative_error(result.history[-1].value, result.value) == 0


def test_a_long_way_in_one_step_is_cut(rng, monkeypatch):
    monkeypatch.setattr(newton_cd, "_MOST_STEPS", 1)
    X, y = wide(rng)
    result = fit(make_objective(100 * X, y, penalty=L1(1e-4)), solver="newton-cd", tol=1e-6)
    assert result.converged, result.message


def test_interrupts_come_through_while_columns_are_copied():
    n_samples, n_features = 20000, 300
    objective = Objective(np.ones((n_samples, n_features), np.uint8), np.arange(n_samples) % 2)

    def copy_until_it_comes():
        for _ in range(20000):
            objective._coordinate_descent(np.float64, intercept=True).add(np.arange(n_features))

    timer = threading.Timer(0.05, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        copy_until_it_comes()
    timer.join()
