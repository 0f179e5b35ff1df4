"""`fit` and the full-batch solvers: the optimum, its certificate, and how a fit ends."""

from __future__ import annotations

import _thread
import pickle
import threading
import time
import warnings

import numpy as np
import pytest
from problems import loss_of, relative_error
from scipy import optimize, sparse

import regcore
from regcore import L1, L2, ElasticNet, FitResult, GroupL1, Objective, fit, reference
from regcore.solvers import SOLVERS, FitState

PENALTIES = {
    "none": None,
    "l1": L1(0.02),
    "l2": L2(0.03),
    "elastic_net": ElasticNet(0.02, 0.7),
    "group_l1": GroupL1(0.03),
}
SMOOTH_FORMS = [(loss, n_outputs) for loss in ("cross_entropy", "squared_hinge") for n_outputs in (1, 3)]


def overlapping(rng, n_outputs=3, n_samples=120, n_features=6):
    """Data that no hyperplane separates, so that there is a minimum without a penalty."""
    n_classes = max(2, n_outputs)
    y = rng.integers(0, n_classes, n_samples)
    X = rng.standard_normal((n_samples, n_features)) + 0.7 * rng.standard_normal((n_classes, n_features))[y]
    return X, y


def make_objective(X, y, n_outputs=3, **arguments):
    return Objective(X, y, n_classes=max(2, n_outputs), binary=n_outputs == 1, **arguments)


def scipy_minimum(X, y, n_outputs, loss, penalty, sample_weight, fit_intercept):
    """Minimise with L-BFGS-B over the positive and the negative part of W, and b."""
    l1, l2 = (0.0, 0.0) if penalty is None else (penalty.l1, penalty.l2)
    shape = (n_outputs, X.shape[1])
    n = shape[0] * shape[1]

    def unpack(z):
        return (z[:n] - z[n : 2 * n]).reshape(shape), z[2 * n :] if fit_intercept else np.zeros(n_outputs)

    def function(z):
        W, b = unpack(z)
        value, grad_W, grad_b = reference.loss_and_grad(X, y, W, b, loss=loss, sample_weight=sample_weight)
        g = (grad_W + 2 * l2 * W).ravel()
        value += l2 * (W**2).sum() + l1 * z[: 2 * n].sum()
        return value, np.concatenate([g + l1, -g + l1, grad_b if fit_intercept else []])

    bounds = [(0, None)] * (2 * n) + [(None, None)] * (n_outputs if fit_intercept else 0)
    found = optimize.minimize(
        function,
        np.zeros(len(bounds)),
        jac=True,
        bounds=bounds,
        method="L-BFGS-B",
        options={"maxiter": 20000, "maxfun": 40000, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 50},
    )
    return found.fun, *unpack(found.x)


def optimality(X, y, W, b, loss, penalty, sample_weight=None):
    """Norm of the smallest subgradient of the objective, in plain NumPy."""
    l1, l2, group = (0.0, 0.0, 0.0) if penalty is None else (penalty.l1, penalty.l2, penalty.group)
    _, g, grad_b = reference.loss_and_grad(X, y, W, b, loss=loss, sample_weight=sample_weight)
    g = g + 2 * l2 * W
    g = np.where(W != 0, g + l1 * np.sign(W), np.sign(g) * np.maximum(np.abs(g) - l1, 0))
    if group:
        for feature in range(W.shape[1]):
            norm, slope = np.linalg.norm(W[:, feature]), np.linalg.norm(g[:, feature])
            if norm > 0:
                g[:, feature] += group * W[:, feature] / norm
            elif slope > 0:
                g[:, feature] *= max(0, 1 - group / slope)
    return np.sqrt((g**2).sum() + (grad_b**2).sum())


# --------------------------------------------------------------------------------------------------
# the optimum
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("loss", "n_outputs"), SMOOTH_FORMS)
@pytest.mark.parametrize("penalty", ["none", "l1", "l2", "elastic_net"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("solver", "tol"), [("fista", 1e-8), ("lbfgs", 1e-9)])
def test_the_minimum_is_scipys(rng, loss, n_outputs, penalty, fit_intercept, solver, tol):
    X, y = overlapping(rng, n_outputs)
    sample_weight = rng.uniform(0, 2, len(y))
    r = PENALTIES[penalty]
    objective = make_objective(X, y, n_outputs, loss=loss, penalty=r, sample_weight=sample_weight)
    result = fit(objective, solver=solver, tol=tol, max_iter=20000, fit_intercept=fit_intercept)
    value, W, _ = scipy_minimum(X, y, n_outputs, loss, r, sample_weight, fit_intercept)
    assert result.converged
    assert result.value == pytest.approx(value, rel=1e-9)
    if penalty != "none":  # without a penalty the softmax has many minimisers
        np.testing.assert_allclose(result.W, W, atol=5e-5)
    if not fit_intercept:
        assert not result.b.any()


@pytest.mark.parametrize(("loss", "n_outputs"), SMOOTH_FORMS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("matrix", ["dense", "csr"])
def test_converged_means_that_no_subgradient_is_left(rng, loss, n_outputs, penalty, matrix):
    X, y = overlapping(rng, n_outputs)
    X[rng.random(X.shape) < 0.3] = 0
    r = PENALTIES[penalty]
    objective = make_objective(
        sparse.csr_array(X) if matrix == "csr" else X, y, n_outputs, loss=loss, penalty=r
    )
    result = fit(objective, solver="fista", tol=1e-7, max_iter=20000)
    _, grad_W, grad_b = objective.smooth_value_and_grad(np.zeros_like(result.W), np.zeros_like(result.b))
    at_zero = np.sqrt((grad_W**2).sum() + (grad_b**2).sum())
    assert result.converged
    assert result.residual <= 1e-7
    # the proximal gradient bounds the smallest subgradient from below, and near the support they agree
    assert optimality(X, y, result.W, result.b, loss, r) <= 3e-7 * at_zero


def test_the_optimum_has_exact_zeros(rng):
    X, y = overlapping(rng)
    W = fit(make_objective(X, y, penalty=L1(0.05)), tol=1e-8, max_iter=20000).W
    assert 0 < (W == 0).mean() < 1
    W = fit(make_objective(X, y, penalty=GroupL1(0.15)), tol=1e-8, max_iter=20000).W
    gone = (W == 0).all(axis=0)
    assert 0 < gone.mean() < 1
    assert (W[:, ~gone] != 0).all()


@pytest.mark.parametrize("penalty", PENALTIES)
def test_float32_comes_to_the_same(rng, penalty):
    X, y = overlapping(rng)
    r = PENALTIES[penalty]
    exact = fit(make_objective(X, y, penalty=r), solver="fista", tol=1e-9, max_iter=20000)
    single = fit(make_objective(X.astype(np.float32), y, penalty=r), solver="fista", tol=1e-4)
    assert single.converged
    assert single.W.dtype == np.float32
    assert single.value == pytest.approx(exact.value, rel=1e-5)


def test_weights_are_repetition(rng):
    X, y = overlapping(rng)
    weights = rng.integers(0, 4, len(y))
    rows = np.repeat(np.arange(len(y)), weights)
    for penalty in PENALTIES.values():
        weighted = fit(make_objective(X, y, penalty=penalty, sample_weight=weights), tol=1e-8, max_iter=20000)
        repeated = fit(make_objective(X[rows], y[rows], penalty=penalty), tol=1e-8, max_iter=20000)
        assert weighted.value == pytest.approx(repeated.value, rel=1e-10)
        assert relative_error(weighted.W, repeated.W) < 1e-4


def test_standardised_features_need_no_copy(rng):
    X, y = overlapping(rng)
    X = X * np.geomspace(0.1, 100, 6) + 3
    folded = make_objective(X, y, penalty=L1(0.02), standardize=True)
    copied = make_objective((X - X.mean(0)) / X.std(0), y, penalty=L1(0.02))
    first, second = (fit(objective, tol=1e-8, max_iter=20000) for objective in (folded, copied))
    assert first.value == pytest.approx(second.value, rel=1e-9)


@pytest.mark.parametrize("step", [1e-12, 1.0, 1e30])
def test_any_first_step_will_do(rng, step):
    X, y = overlapping(rng)
    objective = make_objective(X, y, loss="squared_hinge", penalty=L2(0.03))
    result = fit(objective, solver="fista", step=step, tol=1e-6, max_iter=5000)
    assert result.value == pytest.approx(fit(objective, tol=1e-6, max_iter=5000).value, rel=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_stay_finite_where_the_gradient_vanishes(dtype):
    X, y = np.repeat(np.eye(3), 4, axis=0).astype(dtype), np.repeat(np.arange(3), 4)
    result = fit(Objective(X, y), solver="fista", tol=None, max_iter=4000, init=1e4 * np.eye(3, dtype=dtype))
    assert result.n_iter == 4000
    assert np.isfinite(result.W).all()
    assert result.value == 0


def test_nothing_to_learn(rng):
    # no feature, balanced classes: zero is the minimum, and so is the gradient there
    objective = make_objective(np.zeros((6, 4)), np.arange(6) % 3)
    result = fit(objective, solver="fista")
    assert result.converged
    assert not result.W.any()
    assert result.value == pytest.approx(np.log(3))


def test_too_strong_a_penalty_gives_zero(rng):
    X, y = overlapping(rng)
    result = fit(make_objective(X, y, penalty=L1(10.0)), tol=1e-10, max_iter=5000)
    assert result.converged
    assert not result.W.any()
    assert result.b.any()


# --------------------------------------------------------------------------------------------------
# what a solver sees, and what it reports
# --------------------------------------------------------------------------------------------------
class Counting:
    """An objective that offers what the protocol names, nothing else, and counts the passes over the data."""

    def __init__(self, objective):
        self._objective = objective
        self.n_passes = 0
        for name in ("loss", "penalty", "n_samples", "n_features", "n_outputs", "n_models", "data_dtype"):
            setattr(self, name, getattr(objective, name))

    def value(self, W, b=None):
        self.n_passes += 1
        return self._objective.value(W, b)

    def value_and_grad(self, W, b=None, *, out=None):
        self.n_passes += 1
        return self._objective.value_and_grad(W, b, out=out)

    def smooth_value_and_grad(self, W, b=None, *, out=None):
        self.n_passes += 1
        return self._objective.smooth_value_and_grad(W, b, out=out)

    def _certificate(self, W, b=None, value=None, grad=None, dual=None):
        self.n_passes += 1
        return self._objective._certificate(W, b, value, grad, dual)


@pytest.mark.parametrize("init", ["zeros", "elsewhere"])
def test_passes_are_counted(rng, init):
    X, y = overlapping(rng)
    objective = Counting(make_objective(X, y, penalty=L1(0.01)))
    start = None if init == "zeros" else (rng.standard_normal((3, 6)), None)
    result = fit(objective, solver="fista", tol=1e-6, max_iter=5000, init=start)
    assert result.converged
    assert result.n_passes == objective.n_passes == result.history[-1].n_passes


def test_sgd_needs_the_samples(rng):
    objective = Counting(make_objective(*overlapping(rng)))
    with pytest.raises(TypeError, match="solver='sgd' needs the samples themselves"):
        fit(objective, solver="sgd")


def test_history(rng):
    X, y = overlapping(rng)
    result = fit(make_objective(X, y, penalty=L1(0.01)), solver="fista", tol=1e-6, max_iter=5000)
    columns = np.array([[h.iteration, h.n_passes, h.seconds] for h in result.history])
    assert columns[:, 0].tolist() == list(range(1, result.n_iter + 1))
    assert (np.diff(columns, axis=0) >= 0).all()
    assert result.history[-1].value == result.value
    assert result.history[-1].residual == result.residual
    assert result.history[0].dual_gap is None
    assert result.history[-1].dual_gap == result.dual_gap
    assert result.value < result.history[0].value


@pytest.mark.parametrize("penalty", [L1(1e-4), L2(1e-4), ElasticNet(1e-4, 0.5)])
def test_fista_converges_to_a_gap(rng, penalty):
    X, y = overlapping(rng)
    objective = make_objective(X, y, penalty=penalty)
    result = fit(objective, solver="fista", tol=1e-3, max_iter=20_000)
    assert result.converged
    gap = objective.dual_gap(result.W, result.b)
    assert result.dual_gap == pytest.approx(gap, abs=1e-12)
    assert gap <= 1e-3 * result.value


def test_fista_says_of_separable_samples_that_there_is_no_minimum(rng):
    X = rng.standard_normal((60, 4))
    objective = make_objective(X, (X[:, 0] > 0).astype(int), 1)
    with pytest.warns(regcore.ConvergenceWarning, match="there is no minimum"):
        result = fit(objective, solver="fista", tol=1e-2, max_iter=100_000)
    assert not result.converged


def test_value_is_that_of_the_returned_point(rng):
    X, y = overlapping(rng)
    objective = make_objective(X, y, penalty=ElasticNet(0.01, 0.5))
    for max_iter in (1, 2, 7):
        result = fit(objective, solver="fista", tol=None, max_iter=max_iter)
        assert result.value == pytest.approx(objective.value(result.W, result.b), rel=1e-14)


def test_result_pickles_and_prints_shortly(rng):
    result = fit(make_objective(*overlapping(rng)))
    assert pickle.loads(pickle.dumps(result)).value == result.value
    assert "history" not in repr(result)


def test_auto_says_what_it_chose(rng):
    X, y = overlapping(rng)
    assert fit(make_objective(X, y)).solver == "lbfgs"
    assert fit(make_objective(X, y, loss="hinge"), tol=None, max_iter=2).solver == "dual"


# --------------------------------------------------------------------------------------------------
# where a fit starts
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("solver", SOLVERS)
def test_start_is_copied(rng, solver):
    X, y = overlapping(rng)
    W, b = rng.standard_normal((3, 6)), rng.standard_normal(3)
    before = W.copy(), b.copy()
    fit(make_objective(X, y, loss=loss_of(solver)), solver=solver, tol=None, max_iter=2, init=(W, b))
    np.testing.assert_array_equal(W, before[0])
    np.testing.assert_array_equal(b, before[1])


def test_starting_at_the_end_is_quick(rng):
    objective = make_objective(*overlapping(rng), penalty=L1(0.01))
    cold = fit(objective, tol=1e-6, max_iter=5000)
    for init in (cold, (cold.W, cold.b)):
        warm = fit(objective, tol=1e-6, max_iter=5000, init=init)
        assert warm.converged
        assert warm.n_iter < cold.n_iter / 4


@pytest.mark.parametrize(
    ("stored", "init_dtype", "dtype", "expected"),
    [
        (np.float32, None, None, np.float32),
        (np.float16, None, None, np.float32),
        (np.uint8, None, None, np.float32),
        (np.int8, None, None, np.float32),
        (np.float64, None, None, np.float64),
        (np.int16, None, None, np.float64),
        (np.int64, None, None, np.float64),
        (np.float32, np.float64, None, np.float64),
        (np.float64, np.float32, None, np.float32),
        (np.float64, np.float64, "float32", np.float32),
        (np.float32, None, np.float64, np.float64),
    ],
)
@pytest.mark.parametrize("solver", SOLVERS)
def test_type_of_the_computation(rng, stored, init_dtype, dtype, expected, solver):
    X, y = overlapping(rng)
    init = None if init_dtype is None else np.zeros((3, 6), init_dtype)
    objective = make_objective(np.abs(3 * X).astype(stored), y, loss=loss_of(solver))
    result = fit(objective, solver=solver, tol=None, max_iter=1, init=init, dtype=dtype)
    assert result.W.dtype == result.b.dtype == expected


# --------------------------------------------------------------------------------------------------
# how a fit ends
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("solver", SOLVERS)
def test_max_iter_warns_once(rng, solver):
    objective = make_objective(*overlapping(rng), loss=loss_of(solver))
    with pytest.warns(
        regcore.ConvergenceWarning, match=f"{solver}.*max_iter=2 came before tol=1e-12"
    ) as caught:
        result = fit(objective, solver=solver, tol=1e-12, max_iter=2)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert not result.converged
    assert result.n_iter == 2
    assert issubclass(regcore.ConvergenceWarning, UserWarning)


@pytest.mark.parametrize("tol", [None, 0, 0.0])
@pytest.mark.parametrize("solver", SOLVERS)
def test_without_tol_a_fit_runs_to_max_iter_in_silence(rng, solver, tol):
    result = fit(make_objective(*overlapping(rng), loss=loss_of(solver)), solver=solver, tol=tol, max_iter=4)
    assert result.n_iter == 4
    assert not result.converged
    assert result.message == "ran for max_iter=4 iterations"


@pytest.mark.parametrize("solver", SOLVERS)
def test_callbacks(rng, solver):
    objective = make_objective(*overlapping(rng), loss=loss_of(solver))
    seen: list[FitState] = []
    copies = []

    def watch(state):
        seen.append(state)
        copies.append(state.W.copy())
        with pytest.raises(ValueError, match="read-only"):
            state.W[0, 0] = 1
        with pytest.raises(AttributeError):
            state.value = 0

    def stop(state):
        return state.iteration == 3

    result = fit(objective, solver=solver, tol=None, max_iter=10, callbacks=[stop, watch])
    assert [state.iteration for state in seen] == [1, 2, 3]
    assert [state.value for state in seen] == [entry.value for entry in result.history]
    assert {(state.solver, state.max_iter) for state in seen} == {(solver, 10)}
    assert result.message == "stopped by a callback after 3 iterations"
    assert not result.converged
    np.testing.assert_array_equal(copies[-1], result.W)
    assert not np.array_equal(copies[0], copies[1])
    assert fit(objective, solver=solver, callbacks=lambda state: True).n_iter == 1


@pytest.mark.parametrize("solver", SOLVERS)
def test_interrupt_in_a_callback(rng, solver):
    objective = make_objective(*overlapping(rng), loss=loss_of(solver))

    def interrupt(state):
        if state.iteration == 3:
            raise KeyboardInterrupt

    with pytest.warns(regcore.ConvergenceWarning, match="interrupted after 3 iterations"):
        result = fit(objective, solver=solver, tol=None, max_iter=10, callbacks=interrupt)
    assert result.n_iter == 3
    assert not result.converged
    assert result.value == result.history[-1].value
    assert np.isfinite(result.W).all()


def interrupted_fit(objective, seconds=0.3, **arguments) -> FitResult:
    """A fit that would never end, with a Ctrl-C after a moment."""
    timer = threading.Timer(seconds, _thread.interrupt_main)
    timer.start()
    try:
        with pytest.warns(regcore.ConvergenceWarning, match="interrupted after"):
            return fit(objective, tol=None, max_iter=10**9, **arguments)
    finally:
        timer.cancel()


@pytest.mark.parametrize("solver", SOLVERS)
def test_interrupt_ends_the_fit_with_what_it_has(rng, solver):
    objective = make_objective(*overlapping(rng, n_samples=2000), loss=loss_of(solver))
    # "lbfgs" would be at the optimum, to the last digit, before the moment is over
    wait = (lambda state: time.sleep(0.05)) if solver == "lbfgs" else ()
    result = interrupted_fit(objective, solver=solver, random_state=0, callbacks=wait)
    assert not result.converged
    assert "this is the state reached so far" in result.message
    assert result.n_iter == len(result.history) > 0
    assert np.isfinite(result.W).all()
    assert objective.value(result.W, result.b) < 0.95 * objective.value(np.zeros_like(result.W))


def test_interrupt_in_the_middle_of_an_epoch(rng):
    # with momentum a step on CSR costs all of W: an epoch takes longer than the moment before the interrupt
    n_samples, n_features = 200_000, 20_000
    columns = rng.integers(0, n_features, n_samples)
    y = columns % 2
    X = sparse.csr_array(
        (np.ones(n_samples), columns, np.arange(n_samples + 1)), shape=(n_samples, n_features)
    )
    objective = Objective(X, y, penalty=L1(1e-9))
    result = interrupted_fit(objective, solver="sgd", batch_size=1, momentum=0.1, random_state=0)
    assert result.n_iter == 0
    assert np.isnan(result.value)
    assert np.isfinite(result.W).all()
    assert 0 < np.count_nonzero(result.W) < 2 * n_features  # some of the columns have been met


def test_float32_says_when_it_can_do_no_more(rng):
    X, y = overlapping(rng)
    objective = make_objective(X.astype(np.float32), y, penalty=L2(1e-3))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = fit(objective, solver="fista", tol=1e-12, max_iter=3000)
    assert not result.converged
    assert len(caught) == 1
    assert optimality(X, y, result.W.astype(float), result.b.astype(float), "cross_entropy", L2(1e-3)) < 1e-4


# --------------------------------------------------------------------------------------------------
# what is refused
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("loss", ["hinge", "crammer_singer"])
def test_fista_names_the_solvers_of_hinges(rng, loss):
    objective = make_objective(*overlapping(rng), loss=loss)
    with pytest.raises(ValueError, match=f"'fista' needs a smooth loss .*loss='{loss}'.* use 'dual', 'sgd'"):
        fit(objective, solver="fista")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"solver": "newton"},
            ValueError,
            "solver must be one of 'auto', 'fista', 'lbfgs', 'newton-cd', 'dual', 'sgd'; got 'newton'",
        ),
        ({"solver": 3}, TypeError, "solver must be a string"),
        ({"max_iter": 0}, ValueError, "max_iter must be at least 1; got 0"),
        ({"max_iter": 2.0}, TypeError, "max_iter must be an integer or None; got float"),
        ({"max_iter": True}, TypeError, "max_iter must be an integer or None; got bool"),
        ({"tol": -1.0}, ValueError, "tol must be finite and >= 0; got -1.0"),
        ({"tol": np.nan}, ValueError, "tol must be finite"),
        ({"tol": "small"}, TypeError, "tol must be a real number or None; got str"),
        ({"random_state": -1}, ValueError, r"random_state must be in \[0, 2\*\*63\); got -1"),
        ({"random_state": 1.5}, TypeError, "random_state must be an integer, a Generator"),
        ({"init": np.zeros((2, 6))}, ValueError, r"init: W must have shape \(3, 6\); got \(2, 6\)"),
        ({"init": (np.zeros((3, 6)), np.zeros(2))}, ValueError, r"init: b must have shape \(3,\)"),
        ({"init": np.full((3, 6), np.nan)}, ValueError, "init: W must be finite"),
        ({"init": (1, 2, 3)}, ValueError, r"init must be a pair \(W, b\); got a tuple of 3"),
        (
            {"init": (np.zeros((3, 6)), np.ones(3)), "fit_intercept": False},
            ValueError,
            "init has an intercept that is not zero, and fit_intercept is False",
        ),
        ({"dtype": np.float16}, TypeError, "dtype must be float32 or float64; got float16"),
        ({"callbacks": [3]}, TypeError, "callbacks must be callable with one argument; got int"),
        (
            {"solver": "fista", "batch_size": 3},
            TypeError,
            "'fista' has no option 'batch_size'; its options are step",
        ),
        ({"solver": "fista", "step": -1.0}, ValueError, "step must be finite and > 0; got -1.0"),
    ],
    ids=str,
)
def test_wrong_arguments(rng, arguments, error, message):
    with pytest.raises(error, match=message):
        fit(make_objective(*overlapping(rng)), **arguments)


def test_a_stack_is_refused(rng):
    X, y = overlapping(rng)
    with pytest.raises(ValueError, match="fit takes one model; the objective is a stack of 2"):
        fit(Objective(X, y, n_models=2))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("solver", SOLVERS)
def test_not_finite_data_is_named(rng, solver, bad):
    X, y = overlapping(rng)
    X[17, 3] = bad
    with pytest.raises(ValueError, match=r"X must be finite; got (NaN|inf) in row 17, column 3"):
        fit(make_objective(X, y, loss=loss_of(solver)), solver=solver)


@pytest.mark.parametrize("solver", SOLVERS)
def test_random_states(rng, solver):
    objective = make_objective(*overlapping(rng), loss=loss_of(solver))

    def weights(random_state):
        return fit(objective, solver=solver, tol=None, max_iter=1, random_state=random_state).W.tobytes()

    assert weights(3) == weights(np.int64(3))
    assert weights(np.random.default_rng(3)) == weights(np.random.default_rng(3))
    assert weights(np.random.RandomState(3)) == weights(np.random.RandomState(3))
