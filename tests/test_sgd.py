"""Stochastic gradient descent: against a plain NumPy loop, on CSR against dense, and its options."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import relative_error
from scipy import sparse

import regcore
from regcore import L1, L2, ElasticNet, GroupL1, Objective, _core, fit, reference

PENALTIES = {
    "none": None,
    "l1": L1(0.02),
    "l2": L2(0.03),
    "elastic_net": ElasticNet(0.02, 0.7),
    "group_l1": GroupL1(0.03),
}
FORMS = [
    *(("cross_entropy", n_outputs) for n_outputs in (1, 3, 20)),
    *(("hinge", n_outputs) for n_outputs in (1, 3)),
    *(("squared_hinge", n_outputs) for n_outputs in (1, 3)),
    ("crammer_singer", 3),
]
SETTINGS = {
    "batch_size": 4,
    "eta0": 0.05,
    "rate": 0.01,
    "power": 0.6,
    "momentum": 0.0,
    "intercept_rate": 0.7,
    "dropout": 0.0,
    "average_from": -1,
    "seed": 12345,
}


# --------------------------------------------------------------------------------------------------
# the same in plain NumPy
# --------------------------------------------------------------------------------------------------
MASK = (1 << 64) - 1


def mix64(z: int) -> int:
    z &= MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def shuffled(n: int, seed: int, epoch: int) -> np.ndarray:
    """SplitMix64, and the shuffle of Fisher and Yates."""
    state = mix64(mix64(seed) + epoch)
    order = np.arange(n)
    for i in range(n - 1):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        j = i + ((mix64(state) >> 32) * (n - i) >> 32)
        order[i], order[j] = order[j], order[i]
    return order


def kept(n_features: int, seed: int, epoch: int, sample: int, dropout: float) -> np.ndarray:
    """Which features of a sample a step with dropout sees."""
    h = np.uint32(mix64(mix64(seed + epoch) + int(sample)) & 0xFFFFFFFF)
    with np.errstate(over="ignore"):
        h = h + np.uint32(0x9E3779B9) * np.arange(n_features, dtype=np.uint32)
        h = (h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D)
        h = (h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B)
    return (h ^ (h >> np.uint32(16))) >= np.uint32(dropout * 2**32)


def plain_sgd(X, y, W, b, loss, penalty, sample_weight, n_epochs, s):
    """Return W, b and the objective as the batches of the last epoch met it."""
    W, b, n_samples = W.copy(), b.copy(), len(X)
    weights = np.ones(n_samples) if sample_weight is None else sample_weight
    V_W, V_b = np.zeros_like(W), np.zeros_like(b)
    sum_W, sum_b, n_averaged, t = np.zeros_like(W), np.zeros_like(b), 0, 0
    triple = (0.0, 0.0, 0.0) if penalty is None else (penalty.l1, penalty.l2, penalty.group)
    for epoch in range(n_epochs):
        order, total = shuffled(n_samples, s["seed"], epoch), 0.0
        for start in range(0, n_samples, s["batch_size"]):
            rows = order[start : start + s["batch_size"]]
            share = len(rows) / s["batch_size"]
            eta = s["eta0"] * (1 + s["rate"] * t) ** -s["power"]
            x = X[rows]
            if s["dropout"]:
                mask = [kept(x.shape[1], s["seed"], epoch, i, s["dropout"]) for i in rows]
                x = x * np.array(mask) / (1 - s["dropout"])
            # the reference divides by the sum of the weights
            w = weights[rows]
            value, grad_W, grad_b = reference.loss_and_grad(x, y[rows], W, b, loss=loss, sample_weight=w)
            total += value * w.sum()
            scale = share * w.sum() / len(rows) * n_samples / weights.sum()
            V_W = s["momentum"] * V_W + scale * grad_W
            V_b = s["momentum"] * V_b + scale * grad_b
            W = reference.penalty_prox(W - eta * V_W, eta * share, *triple)
            b = b - eta * s["intercept_rate"] * V_b
            if 0 <= s["average_from"] <= t:
                sum_W, sum_b, n_averaged = sum_W + W, sum_b + b, n_averaged + 1
            t += 1
        value = total / weights.sum() + reference.penalty_value(W, *triple)
    return (sum_W / n_averaged, sum_b / n_averaged, value) if n_averaged else (W, b, value)


def core_sgd(X, y, W, b, loss, penalty, sample_weight, n_epochs, s, standardize=None):
    objective = Objective(
        X,
        y,
        loss=loss,
        sample_weight=sample_weight,
        n_classes=max(2, len(W)),
        binary=len(W) == 1,
    )
    triple = (0.0, 0.0, 0.0) if penalty is None else (penalty.l1, penalty.l2, penalty.group)
    loop = _core.StochasticGradient(objective._problem, W, b, triple, standardize, **s)
    for _ in range(n_epochs):
        value = loop.epoch()
    W, b = np.empty_like(W), np.empty_like(b)
    loop.parameters(W, b, s["average_from"] >= 0)
    return W, b, value


def assert_same(actual, expected, tolerance=1e-10):
    for a, e in zip(actual, expected, strict=True):
        assert relative_error(a, e) < tolerance


@pytest.mark.parametrize(("loss", "n_outputs"), FORMS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("matrix", ["dense", "csr"])
def test_is_the_plain_loop(make_problem, loss, n_outputs, penalty, matrix):
    p = make_problem(n_samples=30, n_features=19, n_classes=n_outputs)
    arguments = (p.y, p.W, p.b, loss, PENALTIES[penalty], p.sample_weight, 3, SETTINGS)
    X = sparse.csr_array(p.X) if matrix == "csr" else p.X
    assert_same(core_sgd(X, *arguments), plain_sgd(p.X, *arguments))


@pytest.mark.parametrize("n_features", [1, 7, 8, 9, 16, 40, 130, 1025])
@pytest.mark.parametrize(
    "changed",
    [
        {"momentum": 0.8},
        {"average_from": 0},
        {"average_from": 5, "momentum": 0.5},
        {"batch_size": 1},
        {"batch_size": 200},
        {"power": 0.0},
        {"intercept_rate": 0.0},
        {"dropout": 0.3},
    ],
    ids=str,
)
@pytest.mark.parametrize("matrix", ["dense", "csr", "strided", "uint8"])
def test_every_option_in_every_shape(make_problem, n_features, changed, matrix):
    p = make_problem(n_samples=30, n_features=n_features, n_classes=3)
    X = {
        "dense": lambda: p.X,
        "csr": lambda: sparse.csr_array(p.X),
        "strided": lambda: np.repeat(np.asfortranarray(p.X), 2, axis=1)[:, ::2],
        "uint8": lambda: np.clip(np.abs(4 * p.X), 0, 9).astype(np.uint8),
    }[matrix]()
    dense = X.astype(np.float64) if matrix == "uint8" else p.X
    for penalty in ("elastic_net", "group_l1"):
        arguments = (p.y, p.W, p.b, "cross_entropy", PENALTIES[penalty], None, 2, SETTINGS | changed)
        assert_same(core_sgd(X, *arguments), plain_sgd(dense, *arguments))


@pytest.mark.parametrize("n_features", [3, 40])
@pytest.mark.parametrize("n_outputs", [3, 20])
@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_standardised_features(make_problem, n_features, n_outputs, dropout):
    p = make_problem(n_samples=30, n_features=n_features, n_classes=n_outputs)
    mean, scale = np.linspace(-1, 2, n_features), np.linspace(0.5, 3, n_features)
    arguments = (p.y, p.W, p.b, "cross_entropy", L1(0.01), None, 2, SETTINGS | {"dropout": dropout})
    assert_same(core_sgd(p.X * scale + mean, *arguments, (mean, scale)), plain_sgd(p.X, *arguments))


# --------------------------------------------------------------------------------------------------
# CSR: penalty steps that wait
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("average_from", [-1, 0, 700])
@pytest.mark.parametrize("strength", [1.0, 300.0])
def test_waiting_steps_come_out_the_same(rng, penalty, average_from, strength):
    # columns in hardly any sample, steps for several windows, and (strongly) shrinks beyond a double's range
    X = sparse.random_array((400, 300), density=0.01, rng=rng, format="csr")
    y = rng.integers(0, 3, 400)
    W, b = rng.standard_normal((3, 300)), np.zeros(3)
    settings = SETTINGS | {"batch_size": 1, "average_from": average_from, "rate": 0.0}
    r = PENALTIES[penalty]
    if r is not None:
        r = {"l1": L1, "l2": L2, "group_l1": GroupL1}.get(penalty, lambda s: ElasticNet(s, 0.7))(
            strength * 1e-3
        )
    arguments = (y, W, b, "cross_entropy", r, None, 2, settings)
    assert_same(core_sgd(X, *arguments), core_sgd(X.toarray(), *arguments), 1e-9)


def test_unsorted_and_duplicated_columns(make_problem):
    p = make_problem(n_samples=12, n_features=5)
    X = sparse.csr_array(p.X)
    halves = sparse.csr_array(
        (np.repeat(X.data / 2, 2)[::-1], np.repeat(X.indices, 2)[::-1], 2 * X.indptr), shape=X.shape
    )
    dense = p.X[::-1]
    arguments = (p.y, p.W, p.b, "hinge", L1(0.1), None, 2, SETTINGS)
    assert_same(core_sgd(halves, *arguments), core_sgd(dense, *arguments))


# --------------------------------------------------------------------------------------------------
# fit
# --------------------------------------------------------------------------------------------------
def easy(rng, n_samples=300, n_features=12, n_classes=3, dtype=np.float64):
    centers = 2 * rng.standard_normal((n_classes, n_features))
    y = rng.integers(0, n_classes, n_samples)
    return (centers[y] + rng.standard_normal((n_samples, n_features))).astype(dtype), y


@pytest.mark.parametrize("learning_rate", ["constant", "optimal", "invscaling", "adaptive"])
@pytest.mark.parametrize("loss", ["cross_entropy", "hinge", "squared_hinge", "crammer_singer"])
def test_every_schedule_descends_without_tuning(rng, learning_rate, loss):
    X, y = easy(rng)
    for scale in (1e-3, 1.0, 1e4):
        objective = Objective(scale * X, y, loss=loss)
        start = objective.value(np.zeros((3, 12)), np.zeros(3))
        result = fit(
            objective, solver="sgd", tol=None, max_iter=10, learning_rate=learning_rate, random_state=0
        )
        assert result.value < 0.5 * start
        assert (objective.predict(result.W, result.b) == y).mean() > 0.9


@pytest.mark.parametrize("penalty", [None, L2(1e-2), L1(1e-2), ElasticNet(1e-2, 0.5), GroupL1(1e-2)])
def test_comes_near_the_minimum(rng, penalty):
    X, y = easy(rng)
    y[::4] = rng.integers(0, 3, len(y[::4]))
    objective = Objective(X, y, penalty=penalty)
    best = fit(objective, solver="fista", tol=1e-8, max_iter=20000)
    near = fit(objective, solver="sgd", tol=None, max_iter=200, random_state=0)
    assert best.value <= near.value < 1.02 * best.value


def test_adaptive_lowers_its_step_until_it_ends(rng):
    X, y = easy(rng)
    y[::4] = rng.integers(0, 3, len(y[::4]))
    objective = Objective(X, y, penalty=L2(1e-2))
    best = fit(objective, solver="fista", tol=1e-10, max_iter=20000)
    result = fit(objective, solver="sgd", learning_rate="adaptive", tol=1e-4, max_iter=1000, random_state=0)
    assert result.converged
    assert best.value <= result.value < 1.001 * best.value


def test_averaging_lowers_the_noise(rng):
    X, y = easy(rng, n_samples=2000)
    y[::3] = rng.integers(0, 3, len(y[::3]))
    objective = Objective(X, y, penalty=L2(1e-3))
    best = fit(objective, solver="fista", tol=1e-8, max_iter=20000).value
    settings = {"solver": "sgd", "tol": None, "max_iter": 10, "learning_rate": "constant", "batch_size": 4}
    last, second, fifth = (
        fit(objective, average=average, random_state=0, **settings).value - best
        for average in (False, True, 5)
    )
    assert second < 0.5 * last
    assert fifth < 0.5 * last
    assert second != fifth


def test_value_is_that_of_the_returned_point(rng):
    X, y = easy(rng)
    objective = Objective(X, y, penalty=L2(1e-3))
    for average in (False, True):
        result = fit(objective, solver="sgd", tol=None, max_iter=3, average=average, random_state=0)
        assert result.value == objective.value(result.W, result.b)
        assert result.n_iter == len(result.history) == 3


@pytest.mark.parametrize("matrix", ["dense", "csr"])
def test_a_seed_gives_the_same_bits_with_any_number_of_threads(rng, matrix):
    X, y = easy(rng, dtype=np.float32)
    X = sparse.csr_array(X) if matrix == "csr" else X
    results = [
        fit(
            Objective(X, y, penalty=ElasticNet(1e-3, 1.0), n_threads=n_threads),
            solver="sgd",
            tol=None,
            max_iter=3,
            average=True,
            dropout=0.1,
            random_state=seed,
        )
        for n_threads, seed in ((1, 7), (2, 7), (3, 7), (1, 8))
    ]
    for other in results[1:3]:
        assert other.W.tobytes() == results[0].W.tobytes()
        assert other.b.tobytes() == results[0].b.tobytes()
    assert results[3].W.tobytes() != results[0].W.tobytes()


def test_without_a_seed_each_fit_has_its_own_order(rng):
    X, y = easy(rng)
    W = [fit(Objective(X, y), solver="sgd", tol=None, max_iter=1).W for _ in range(2)]
    assert not np.array_equal(*W)


def test_a_zero_weight_is_no_gradient(rng):
    X, y = easy(rng)
    weights = np.ones(len(X))
    weights[::3] = 0
    changed = X.copy()
    changed[::3] = rng.standard_normal(X[::3].shape)
    first, second = (
        fit(
            Objective(x, y, sample_weight=weights),
            solver="sgd",
            eta0=0.1,
            tol=None,
            max_iter=2,
            random_state=0,
        )
        for x in (X, changed)
    )
    np.testing.assert_allclose(first.W, second.W, rtol=1e-12)


def test_scaled_weights_change_nothing(rng):
    X, y = easy(rng)
    weights = rng.uniform(0.5, 2, len(X))
    first, second = (
        fit(Objective(X, y, sample_weight=w), solver="sgd", tol=None, max_iter=3, random_state=0)
        for w in (weights, 1000 * weights)
    )
    np.testing.assert_allclose(first.W, second.W, rtol=1e-10)


def test_dropout_keeps_the_mean_of_the_scores(rng):
    # one step from W = 1 on one sample: its loss shows the score of what was kept
    n_features = 4000
    X = np.full((1, n_features), 1 / n_features)
    objective = Objective(X, np.array([0]), loss="hinge", n_classes=2, binary=True)
    settings = SETTINGS | {"dropout": 0.25, "eta0": 1e-30, "intercept_rate": 0.0}
    scores = []
    for seed in range(20):
        loop = _core.StochasticGradient(
            objective._problem,
            np.ones((1, n_features)),
            np.zeros(1),
            (0.0, 0.0, 0.0),
            None,
            **(settings | {"seed": seed}),
        )
        scores.append(loop.epoch() - 1)
    assert abs(np.mean(scores) - 1) < 0.01
    assert 0.5 < np.std(scores) / np.sqrt(0.25 / 0.75 / n_features) < 1.5


@settings(max_examples=25, deadline=None)
@given(
    n_samples=st.integers(1, 20),
    n_features=st.integers(1, 40),
    n_outputs=st.integers(1, 9),
    batch_size=st.integers(1, 25),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_shape(n_samples, n_features, n_outputs, batch_size, seed):
    rng = np.random.default_rng(seed % 2**32)
    X = rng.standard_normal((n_samples, n_features))
    X[rng.random(X.shape) < 0.5] = 0
    y = rng.integers(0, max(2, n_outputs), n_samples)
    W, b = rng.standard_normal((n_outputs, n_features)), rng.standard_normal(n_outputs)
    changed = SETTINGS | {"batch_size": batch_size, "seed": seed, "average_from": 1}
    arguments = (y, W, b, "squared_hinge", ElasticNet(0.1, 0.1), None, 2, changed)
    expected = plain_sgd(X, *arguments)
    assert_same(core_sgd(X, *arguments), expected, 1e-9)
    assert_same(core_sgd(sparse.csr_array(X), *arguments), expected, 1e-9)


# --------------------------------------------------------------------------------------------------
# what goes wrong
# --------------------------------------------------------------------------------------------------
def test_plateau_is_convergence(rng):
    X, y = easy(rng)
    result = fit(Objective(X, y, penalty=L2(0.1)), solver="sgd", tol=1e-2, max_iter=500, random_state=0)
    assert result.converged
    assert result.n_iter < 500
    assert "fell by less than 0.01" in result.message


def test_too_few_epochs_warn_once(rng):
    X, y = easy(rng)
    with pytest.warns(regcore.ConvergenceWarning, match=r"'sgd'.*max_iter=2.*raise max_iter") as caught:
        result = fit(Objective(X, y), solver="sgd", tol=1e-8, max_iter=2, random_state=0)
    assert len(caught) == 1
    assert not result.converged


def test_divergence_returns_the_last_finite_state(rng):
    X, y = easy(rng)
    objective = Objective(X, y, loss="squared_hinge")
    with pytest.warns(regcore.ConvergenceWarning, match="lower eta0"):
        result = fit(
            objective, solver="sgd", eta0=1e3, learning_rate="constant", tol=None, max_iter=50, random_state=0
        )
    assert not result.converged
    assert np.isfinite(result.W).all()
    assert np.isfinite(result.b).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("matrix", ["dense", "csr"])
def test_not_finite_data_is_named(rng, bad, matrix):
    X, y = easy(rng)
    X[17, 3] = bad
    X = sparse.csr_array(X) if matrix == "csr" else X
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", regcore.ConvergenceWarning)
        with pytest.raises(ValueError, match=r"X must be finite; got (NaN|inf) in row 17, column 3"):
            fit(Objective(X, y), solver="sgd", random_state=0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1; got 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be an integer"),
        ({"learning_rate": "fast"}, ValueError, "learning_rate must be one of 'constant', 'optimal'"),
        ({"eta0": 0.0}, ValueError, "eta0 must be finite, > 0; got 0.0"),
        ({"eta0": "big"}, TypeError, "eta0 must be a real number; got str"),
        ({"momentum": 1.0}, ValueError, "momentum must be finite, >= 0 and < 1; got 1.0"),
        ({"dropout": -0.1}, ValueError, "dropout must be finite, >= 0 and < 1; got -0.1"),
        ({"power_t": np.nan}, ValueError, "power_t must be finite"),
        ({"decay": -1.0}, ValueError, "decay must be finite, >= 0"),
        ({"average": 0}, ValueError, "average must be at least 1; got 0"),
        ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change must be at least 1"),
        ({"step": 1.0}, TypeError, "solver='sgd' has no option 'step'; its options are batch_size"),
    ],
    ids=str,
)
def test_wrong_options(rng, options, error, message):
    X, y = easy(rng)
    with pytest.raises(error, match=message):
        fit(Objective(X, y), solver="sgd", **options)


def test_csr_is_not_standardised(rng):
    X, y = easy(rng)
    objective = Objective(sparse.csr_array(X), y, standardize=True)
    with pytest.raises(ValueError, match="standardize is not for stochastic steps on a CSR matrix"):
        fit(objective, solver="sgd")
