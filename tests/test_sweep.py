"""Sweeps: every model is the one that a lone fit gives, whatever is fitted beside it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import scipy.sparse as sp

import regcore.sweeps as sweeps_module
from regcore import (
    L1,
    L2,
    ConvergenceWarning,
    ElasticNet,
    GroupL1,
    Objective,
    fit,
    sweep,
)
from regcore._core import Stop
from regcore.solvers.protocol import Evaluation, Step

N_SAMPLES, N_FEATURES, N_CLASSES = 240, 12, 4
KINDS = [L2(0.02), L2(0.2), L1(0.01), L1(0.03), ElasticNet(0.02, 0.5), GroupL1(0.02), L2(0.005)]


@pytest.fixture
def data(rng):
    X = rng.standard_normal((N_SAMPLES, N_FEATURES))
    y = (X[:, :N_CLASSES] + 0.7 * rng.standard_normal((N_SAMPLES, N_CLASSES))).argmax(axis=1)
    return X, y


def lone(X, y, penalty, weights, **settings):
    data = {key: settings.pop(key) for key in ("loss", "standardize", "binary") if key in settings}
    return fit(Objective(X, y, penalty=penalty, sample_weight=weights, **data), random_state=0, **settings)


def weights_of(folds, n_samples=N_SAMPLES):
    return [np.isin(np.arange(n_samples), train).astype(float) for train, _ in folds]


def some_folds(n_samples=N_SAMPLES, n_folds=3):
    rows = np.arange(n_samples)
    return [(rows[rows % n_folds != k], rows[rows % n_folds == k]) for k in range(n_folds)]


# ---------------------------------------------------------------------- each model


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_hinge", "hinge", "crammer_singer"])
def test_each_model_is_its_lone_fit(data, loss):
    X, y = data
    folds = some_folds()
    is_smooth = loss in ("cross_entropy", "squared_hinge")
    tol = 1e-6 if is_smooth else 1e-4
    found = sweep(X, y, loss=loss, penalties=KINDS, folds=folds, tol=tol)
    for p, penalty in enumerate(KINDS):
        for k, weights in enumerate(weights_of(folds)):
            alone, model = lone(X, y, penalty, weights, loss=loss, tol=tol), found.results[p][k]
            assert model.converged
            assert model.value == pytest.approx(alone.value, rel=2 * tol)
            objective = Objective(X, y, loss=loss, penalty=penalty, sample_weight=weights)
            assert objective.value(model.W, model.b) == pytest.approx(model.value, rel=1e-12)
            assert model.dual_gap <= tol * model.value
            if is_smooth:
                assert objective.dual_gap(model.W, model.b) <= 2e-6 * model.value


@pytest.mark.parametrize("kind", ["float32", "uint8", "csr", "fortran"])
def test_every_kind_of_data(data, rng, kind):
    X, y = data
    X = {
        "float32": lambda: X.astype(np.float32),
        "uint8": lambda: (30 * (X + 4)).clip(0, 255).astype(np.uint8),
        "csr": lambda: sp.csr_array(np.where(np.abs(X) > 0.5, X, 0)),
        "fortran": lambda: np.asfortranarray(X),
    }[kind]()
    folds = some_folds()
    standardize = kind == "uint8"
    found = sweep(X, y, penalties=[L2(0.01), L1(0.01)], folds=folds, standardize=standardize, dtype="float64")
    mean_and_scale = standardize and (lambda o: (o.mean, o.scale))(Objective(X, y, standardize=True))
    for p, penalty in enumerate(found.penalties):
        for k, weights in enumerate(weights_of(folds)):
            alone = lone(X, y, penalty, weights, standardize=mean_and_scale, dtype="float64")
            assert found.results[p][k].value == pytest.approx(alone.value, rel=2e-4)
            assert found.results[p][k].converged


def test_binary_and_weights_and_soft_targets(data, rng):
    X, y = data
    weights = rng.uniform(0.2, 3, N_SAMPLES)
    soft = rng.dirichlet(np.ones(3), N_SAMPLES)
    folds = some_folds()
    for labels, binary in ((y % 2, True), (soft, False)):
        found = sweep(
            X,
            labels,
            penalties=[L2(0.1), L2(0.01)],
            folds=folds,
            sample_weight=weights,
            binary=binary,
            tol=1e-7,
        )
        for p, penalty in enumerate(found.penalties):
            for k, part in enumerate(weights_of(folds)):
                alone = lone(X, labels, penalty, part * weights, binary=binary, tol=1e-7)
                np.testing.assert_allclose(found.results[p][k].W, alone.W, atol=2e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_features", [3, 12, 130])
def test_bits_do_not_depend_on_the_neighbours(rng, dtype, n_features):
    X = rng.standard_normal((300, n_features)).astype(dtype)
    y = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 1)
    folds = some_folds(300)
    settings = {"tol": 1e-5, "dtype": dtype}
    pens = [L2(0.1), L2(0.01), L1(0.01), ElasticNet(0.01, 0.5)]
    everything = sweep(X, y, penalties=pens, folds=folds, **settings)
    for members in ([0, 1], [2], [3]):  # whole chains: a model starts from the stronger one of its kind
        few = sweep(X, y, penalties=[pens[m] for m in members], folds=folds[:2], **settings)
        for row, m in zip(few.results, members, strict=True):
            for k in range(2):
                np.testing.assert_array_equal(row[k].W, everything.results[m][k].W)
                assert row[k].dual_gap == everything.results[m][k].dual_gap


@pytest.mark.parametrize("storage", ["float32", "float64", "uint8"])
@pytest.mark.parametrize(
    ("n_features", "n_classes", "binary"), [(5, 2, True), (130, 3, False), (130, 2, True)]
)
def test_bits_of_a_stack(rng, storage, n_features, n_classes, binary):
    """An evaluation gives each model the same bits, however many there are."""
    X = (rng.random((700, n_features)) * (255 if storage == "uint8" else 1)).astype(storage)
    y = rng.integers(0, n_classes, 700)
    weights = (rng.random((3, 700)) > 0.2).astype(np.float32)
    whole = Objective(X, y, sample_weight=weights, n_classes=n_classes, binary=binary)
    n_models = 40
    owner = rng.integers(0, 3, n_models).astype(np.int32)
    dtype = np.float64 if storage == "float64" else np.float32
    W = (0.01 * rng.standard_normal((n_models, *whole.weight_shape[1:]))).astype(dtype)
    b = rng.standard_normal(W.shape[:2]).astype(dtype)
    every = Evaluation(W, b).answer(whole._stack(owner, [None] * n_models))
    for chosen in ([0], [39], [5, 6], list(range(10, 27))):
        some = Evaluation(W[chosen], b[chosen]).answer(whole._stack(owner[chosen], [None] * len(chosen)))
        for one, all_of_them in zip(some, every, strict=True):
            np.testing.assert_array_equal(one, all_of_them[chosen])
    alone = Objective(X, y, sample_weight=weights[owner[3]], n_classes=n_classes, binary=binary)
    value, grad_W, _ = alone.value_and_grad(W[3], b[3])
    assert every[0][3] == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(every[1][3], grad_W, atol=1e-5 * np.abs(grad_W).max())


def test_a_pass_serves_all_models(data, monkeypatch):
    X, y = data
    passes = []
    evaluate = Objective._evaluate

    def counted(self, W, *args):
        passes.append(np.shape(W))
        return evaluate(self, W, *args)

    monkeypatch.setattr(Objective, "_evaluate", counted)
    found = sweep(X, y, penalties=[L2(0.1 / 2**i) for i in range(4)] + [L1(0.02)], folds=5)
    assert len(passes) < 0.3 * sum(result.n_passes for row in found.results for result in row)
    assert max(shape[0] for shape in passes[:-1] if len(shape) == 3) == 10  # the last: scores of all


# ---------------------------------------------------------------------- scores


def test_scores_are_those_of_the_left_out_samples(data, rng):
    X, y = data
    weights = rng.uniform(0.2, 3, N_SAMPLES)
    folds = some_folds()
    found = sweep(X, y, penalties=[L2(0.1), L1(0.01)], folds=folds, sample_weight=weights)
    bare = Objective(X, y)
    for p in range(2):
        for k, (_, test) in enumerate(folds):
            result = found.results[p][k]
            labels = bare.predict(result.W, result.b)[test]
            np.testing.assert_array_equal(found.predictions[p, test], labels)
            assert found.scores[p, k] == pytest.approx(np.average(labels == y[test], weights=weights[test]))
            left_out = Objective(X[test], y[test], sample_weight=weights[test], n_classes=N_CLASSES)
            assert found.losses[p, k] == pytest.approx(left_out.value(result.W, result.b))


def test_drawn_folds_leave_out_each_sample_once(data):
    X, y = data
    found = sweep(X, y, penalties=[L2(0.1)], folds=4)
    assert found.scores.shape == (1, 4)
    assert (found.predictions >= 0).all()
    again = sweep(X, y, penalties=[L2(0.1)], folds=4)
    np.testing.assert_array_equal(found.scores, again.scores)
    other = sweep(X, y, penalties=[L2(0.1)], folds=4, random_state=1)
    assert (found.scores != other.scores).any()


def test_rows_that_repeat_count_twice(data):
    X, y = data
    rows = np.arange(N_SAMPLES)
    twice = np.concatenate([rows[:150], rows[:50]])
    found = sweep(X, y, penalties=[L2(0.05)], folds=[(twice, rows[150:])], tol=1e-8).results[0][0]
    weights = np.bincount(twice, minlength=N_SAMPLES).astype(float)
    np.testing.assert_allclose(found.W, lone(X, y, L2(0.05), weights, tol=1e-8).W, atol=1e-4)


def test_without_folds(data):
    X, y = data
    found = sweep(X, y, penalties=[None, L2(0.1)], tol=1e-7)
    assert found.scores is found.losses is found.predictions is None
    np.testing.assert_allclose(found.results[1][0].W, lone(X, y, L2(0.1), None, tol=1e-7).W, atol=1e-4)
    assert found.results[0][0].dual_gap is None or np.isinf(found.results[0][0].dual_gap)


def test_threads_do_not_change_the_bits(data):
    X, y = data
    one, two = (sweep(X, y, penalties=KINDS[:4], folds=3, n_threads=n) for n in (1, 2))
    for first, second in zip(one.results, two.results, strict=True):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a.W, b.W)


# ---------------------------------------------------------------------- chains apart


@pytest.fixture
def words(rng):
    """CSR with many outputs, and more features than samples: no chain gains from a common pass."""
    n_samples, n_features, n_classes = 160, 300, 9
    y = np.arange(n_samples) % n_classes
    X = sp.random_array((n_samples, n_features), density=0.05, rng=rng, format="csr")
    X = X + sp.csr_array((np.ones(n_samples), (np.arange(n_samples), 3 * y)), shape=X.shape)
    return sp.csr_array(X), y


SMOOTH_WORDS = [L2(0.02), L2(0.004), L2(0.0008)]
WORDS = [*SMOOTH_WORDS, L1(0.004), L1(0.002), ElasticNet(0.003, 0.5), ElasticNet(0.001, 0.5)]


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_chains_apart_give_the_lone_fits(words, n_threads):
    X, y = words
    folds = some_folds(len(y))
    seen = []
    found = sweep(
        X,
        y,
        penalties=WORDS,
        folds=folds,
        tol=1e-6,
        n_threads=n_threads,
        callback=lambda *counts: seen.append(counts),
    )
    assert seen == [(i, 21) for i in range(1, 22)]
    for p, penalty in enumerate(WORDS):
        for k, weights in enumerate(weights_of(folds, len(y))):
            model = found.results[p][k]
            assert model.converged
            assert model.value == pytest.approx(lone(X, y, penalty, weights, tol=1e-6).value, rel=2e-6)


def test_threads_do_not_change_the_bits_of_chains_apart(words):
    X, y = words
    one, *others = (sweep(X, y, penalties=WORDS, folds=3, n_threads=n) for n in (1, 2, 4))
    for other in others:
        for first, second in zip(one.results, other.results, strict=True):
            for a, b in zip(first, second, strict=True):
                np.testing.assert_array_equal(a.W, b.W)
                assert (a.value, a.n_iter, a.dual_gap) == (b.value, b.n_iter, b.dual_gap)


def test_the_last_models_lead_to_the_next(data, monkeypatch):
    X, y = data
    pens = [L2(0.3 / 1.5**i) for i in range(12)]
    ahead = sweep(X, y, penalties=pens, tol=1e-5)
    monkeypatch.setattr(sweeps_module._Models, "_ahead", lambda self, p, first, last: (last[1].W, last[1].b))
    behind = sweep(X, y, penalties=pens, tol=1e-5)
    n_ahead, n_behind = (sum(row[0].n_iter for row in found.results) for found in (ahead, behind))
    assert n_ahead < n_behind
    for one, other in zip(ahead.results, behind.results, strict=True):
        assert one[0].value == pytest.approx(other[0].value, rel=2e-5)


def test_where_the_last_models_lead(data):
    """With weights that are linear in the logarithm of the strength, to the next ones; zeros stay."""
    X, y = data
    pens = [ElasticNet(0.1 / 2**i, 0.5) for i in range(3)] + [L1(0.1 / 2**i) for i in range(3)]
    objective = Objective(X, y)
    settings = {"solver": "auto", "fit_intercept": True, "dtype": np.dtype(np.float64)}
    models = sweeps_module._Models(objective, [np.ones(len(y))], pens, settings, [1e-4] * 6, 0.0, None)
    W = np.zeros((2, *objective.weight_shape))
    W[:, 0, 0], W[:, 0, 1], W[:, 1, 0] = (1, 1.5), (3, 1), (2, 0)
    b = np.array([[0, 0, 1, 0], [1, 0, 1, 0]], float)
    steps = [Step(W[i], b[i], 1.0, 1.0) for i in range(2)]
    found, intercepts = models._ahead(2, (0, steps[0]), (1, steps[1]))
    assert found[0, 0] == pytest.approx(2)
    assert found[0, 1] == 0  # would change its sign
    assert found[1, 0] == 0
    np.testing.assert_allclose(intercepts, [2, 0, 1, 0])
    np.testing.assert_array_equal(models._ahead(5, (3, steps[0]), (4, steps[1]))[0], W[1])  # L1 alone


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_callback_stops_chains_apart(words, n_threads):
    X, y = words
    with pytest.warns(ConvergenceWarning, match="models stopped early"):
        found = sweep(
            X, y, penalties=WORDS, folds=3, n_threads=n_threads, callback=lambda done, of: done == 3
        )
    flat = [result for row in found.results for result in row]
    assert 3 <= sum(result.converged for result in flat) < len(flat)
    assert all(np.isfinite(result.W).all() for result in flat)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("at", [5, 40])  # in the common model of the curvature, and later
def test_an_interrupt_ends_all_chains_apart(words, monkeypatch, n_threads, at):
    X, y = words
    answer, calls = Evaluation.answer, []

    def interrupted(self, objective):
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return answer(self, objective)

    monkeypatch.setattr(Evaluation, "answer", interrupted)
    with pytest.warns(ConvergenceWarning, match="stopped early; one of them says: interrupted"):
        found = sweep(X, y, penalties=SMOOTH_WORDS, folds=3, tol=1e-9, n_threads=n_threads)
    flat = [result for row in found.results for result in row]
    assert not all(result.converged for result in flat)
    assert all(np.isfinite(result.W).all() for result in flat)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_error_of_a_chain_apart_is_raised(words, monkeypatch, n_threads):
    X, y = words

    def broken(self, objective):
        raise ZeroDivisionError("not this one")

    monkeypatch.setattr(Evaluation, "answer", broken)
    with pytest.raises(ZeroDivisionError, match="not this one"):
        sweep(X, y, penalties=SMOOTH_WORDS, folds=3, n_threads=n_threads)


def test_a_stop_ends_a_call_of_the_core_in_another_thread(rng):
    X = rng.standard_normal((400_000, 20)).astype(np.float32)
    objective = Objective(X, (X[:, 0] > 0).astype(int))
    stop, ended = Stop(), threading.Event()

    def evaluate():
        stop.heed()
        try:
            while True:
                objective.value(np.zeros(objective.weight_shape, np.float32))
        except KeyboardInterrupt:
            ended.set()

    thread = threading.Thread(target=evaluate, daemon=True)
    thread.start()
    stop.set()
    assert stop.is_set()
    thread.join(60)
    assert ended.is_set()


# ---------------------------------------------------------------------- tolerances


def test_each_penalty_may_have_its_tolerance(data):
    X, y = data
    found = sweep(X, y, penalties=[L2(0.02), L1(0.01)], tol=[1e-8, 1e-2])
    tight, loose = (row[0].dual_gap / row[0].value for row in found.results)
    assert tight <= 1e-8 < loose <= 1e-2
    with pytest.raises(ValueError, match="tol must have one number for each of 2 penalties; got 1"):
        sweep(X, y, penalties=[L2(0.02), L1(0.01)], tol=[1e-8])


def test_an_error_that_is_small_enough_ends_later_models(data):
    X, y = data
    pens = [L2(0.1 / 4**i) for i in range(5)]
    exact = sweep(X, y, penalties=pens, tol=1e-8)
    found = sweep(X, y, penalties=pens, tol=1e-8, atol=1e-3)
    assert found.results[0][0].dual_gap <= 1e-8 * found.results[0][0].value  # there is none before it
    assert sum(row[0].n_iter for row in found.results) < sum(row[0].n_iter for row in exact.results)
    for one, other in zip(found.results, exact.results, strict=True):
        assert one[0].converged
        assert one[0].value - other[0].value <= 1e-3
    for wrong in (-1, np.nan, "a", True):
        with pytest.raises(ValueError, match="atol must be a finite number >= 0"):
            sweep(X, y, penalties=pens, atol=wrong)


# ---------------------------------------------------------------------- what goes wrong


def test_a_fold_without_a_class(data):
    X, y = data
    train = np.flatnonzero(y != 2)
    result = sweep(X, y, penalties=[L2(0.05), L1(0.02)], folds=[(train, np.flatnonzero(y == 2))], n_classes=4)
    for row in result.results:
        assert row[0].converged
        assert np.isfinite(row[0].W).all()
    assert (result.scores == 0).all()  # nothing says that there is such a class


def test_constant_columns_under_standardisation(data):
    X, y = data
    X = X.copy()
    X[:, 3] = 7
    found = sweep(X, y, penalties=[L2(0.05), L1(0.01)], folds=3, standardize=True)
    assert all(result.converged for row in found.results for result in row)
    assert all((result.W[:, 3] == 0).all() for result in found.results[1])


def test_one_model_that_overflows_does_not_stop_the_others(data, monkeypatch):
    X, y = data
    answer, stacks, failed = Evaluation.answer, [], []

    def overflow(self, objective):
        if np.ndim(self.W) == 3:
            stacks.append(len(self.W))
            # the third pass of all models fails, and so does then the first of them by itself
            if len(stacks) in (3, 4):
                failed.append(len(self.W))
                raise OverflowError("a score overflows")
        return answer(self, objective)

    plain = sweep(X, y, penalties=[L2(0.02)], folds=3, tol=1e-8)
    monkeypatch.setattr(Evaluation, "answer", overflow)
    found = sweep(X, y, penalties=[L2(0.02)], folds=3, tol=1e-8)
    assert failed == [3, 1]
    for k in range(3):  # a shorter step takes the one that failed to the same optimum
        assert found.results[0][k].converged
        np.testing.assert_allclose(found.results[0][k].W, plain.results[0][k].W, atol=1e-4)


def test_early_ends_warn_once(data):
    X, y = data
    with pytest.warns(ConvergenceWarning, match="6 of 6 models stopped early; one of them says: max_iter=1"):
        sweep(X, y, penalties=[L2(0.001), L1(0.001)], folds=3, max_iter=1)


def test_a_callback_sees_all_models_and_may_stop(data):
    X, y = data
    seen = []
    sweep(X, y, penalties=[L2(0.1), L2(0.2), L1(0.02)], folds=2, callback=lambda *counts: seen.append(counts))
    assert seen == [(i, 6) for i in range(1, 7)]
    with pytest.warns(ConvergenceWarning, match="models stopped early"):
        found = sweep(
            X, y, penalties=[L2(0.1), L2(0.2), L1(0.02)], folds=2, callback=lambda done, of: done == 2
        )
    flat = [result for row in found.results for result in row]
    assert sum(result.converged for result in flat) == 2
    assert any("interrupted" in result.message for result in flat)
    assert all(np.isfinite(result.W).all() for result in flat)


def test_an_interrupt_leaves_a_usable_result(data, monkeypatch):
    X, y = data
    answer, calls = Evaluation.answer, []

    def interrupted(self, objective):
        calls.append(1)
        if len(calls) == 25:
            raise KeyboardInterrupt
        return answer(self, objective)

    monkeypatch.setattr(Evaluation, "answer", interrupted)
    with pytest.warns(ConvergenceWarning, match="stopped early; one of them says: interrupted"):
        found = sweep(X, y, penalties=[L2(0.1 / 2**i) for i in range(6)], folds=2, tol=1e-9)
    flat = [result for row in found.results for result in row]
    assert {result.converged for result in flat} == {True, False}
    assert all(np.isfinite(result.W).all() for result in flat)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"penalties": []}, ValueError, "penalties must hold at least one"),
        ({"penalties": ["l2"]}, TypeError, "penalties must hold Penalty objects"),
        ({"folds": 1}, ValueError, "folds must be at least 2"),
        ({"folds": 1000}, ValueError, "folds must be at least 2 and at most n_samples=240; got 1000"),
        ({"folds": []}, ValueError, "folds must hold at least one pair"),
        ({"folds": [np.arange(3)]}, TypeError, r"folds must hold pairs \(train, test\); got ndarray at 0"),
        ({"folds": [([0, 999], [1])]}, ValueError, "train of fold 0 must be rows of the 240; got 0 to 999"),
        ({"folds": [([0.5], [1])]}, TypeError, "train of fold 0 must be row numbers"),
        (
            {"folds": [(np.arange(200), [])]},
            ValueError,
            "test of fold 0 must hold samples that have a weight",
        ),
        ({"solver": "simplex"}, ValueError, "solver must be one of"),
        ({"tol": -1}, ValueError, "tol must be"),
    ],
)
def test_bad_arguments(data, arguments, error, message):
    X, y = data
    with pytest.raises(error, match=message):
        sweep(X, y, **{"penalties": [L2(0.1)]} | arguments)


def test_no_weight_in_a_fold(data):
    X, y = data
    weights = np.ones(N_SAMPLES)
    weights[::3] = 0
    with pytest.raises(ValueError, match="test of fold 0 must hold samples that have a weight"):
        sweep(X, y, penalties=[L2(0.1)], folds=some_folds(), sample_weight=weights)


def test_nan_is_found(data):
    X, y = data
    X = X.copy()
    X[17, 3] = np.nan
    with pytest.raises(ValueError, match="17"):
        sweep(X, y, penalties=[L2(0.1), L1(0.1)], folds=3)


def test_memory_limits_the_models_of_a_pass(data, monkeypatch):
    X, y = data
    plain = sweep(X, y, penalties=[L2(0.1), L2(0.05)], folds=4)
    monkeypatch.setattr(sweeps_module, "_GRADIENT_BYTES", 2 * 8 * N_CLASSES * N_FEATURES)
    monkeypatch.setattr(sweeps_module, "_LABELS", 3 * N_SAMPLES)
    small = sweep(X, y, penalties=[L2(0.1), L2(0.05)], folds=4)
    np.testing.assert_array_equal(plain.scores, small.scores)
    for p in range(2):
        for k in range(4):
            np.testing.assert_array_equal(plain.results[p][k].W, small.results[p][k].W)
