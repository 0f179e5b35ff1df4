"""What training needs besides a solver: to be watched and saved, soft targets, weights of classes."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from cases import Problem, Shape, assert_agree

import regcore
from regcore import reference

IMPLEMENTATIONS = {"regcore": regcore.loss_and_grad, "reference": reference.loss_and_grad}
SHAPE = Shape(20_000, 784, 10)
SOFT_SHAPES = (Shape(60_000, 784, 1), Shape(60_000, 784, 10), Shape(20_000, 768, 1000))
ROUNDS = 3
MOST_OVERHEAD = 0.02


@pytest.mark.operation("fit")
@pytest.mark.parametrize(("solver", "max_iter"), [("fista", 200), ("sgd", 150)])
def test_a_watched_fit_costs_what_a_bare_one_does(dense, report, full_size, tmp_path, solver, max_iter):
    p = dense(SHAPE, "float32")
    objective = regcore.Objective(p.X, p.y, penalty=regcore.ElasticNet(1e-4, 0.5))
    bare = {"solver": solver, "tol": None, "max_iter": max_iter, "random_state": 0}
    seen: list[float] = []
    watched = bare | {
        "callbacks": [lambda state: seen.append(state.value), regcore.Progress(io.StringIO())],
        "checkpoint": tmp_path / "fit",
        "checkpoint_every": 0.5,
    }
    seconds: dict[str, list[float]] = {"bare": [], "watched": []}
    for _ in range(ROUNDS):  # in turn: the machine's speed drifts
        for name, arguments in (("bare", bare), ("watched", watched)):
            start = time.perf_counter()
            regcore.fit(objective, **arguments)
            seconds[name].append(time.perf_counter() - start)
    assert len(seen) == ROUNDS * max_iter
    least = {name: min(values) for name, values in seconds.items()}
    overhead = least["watched"] / least["bare"] - 1
    report(
        f"{solver} {p.shape}, {max_iter} iterations: {least['bare']:.3f} s; with two callbacks and a "
        f"checkpoint each half second {overhead:+.1%}"
    )
    if full_size:
        assert overhead < MOST_OVERHEAD


@pytest.mark.operation("fit")
def test_early_stopping(benchmark, dense):
    p = dense(SHAPE, "float32")
    objective = regcore.Objective(p.X, p.y)
    stopping = regcore.EarlyStopping(0.1, patience=5)
    benchmark.group = f"fista, 30 iterations, a tenth of the samples aside, {p.shape}"
    benchmark.pedantic(
        regcore.fit, (objective,), {"tol": None, "max_iter": 30, "early_stopping": stopping}, rounds=2
    )
    assert 0 < stopping.best_iteration <= 30


@pytest.mark.operation("loss_and_grad")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("labels", ["hard", "smoothed", "soft"])
@pytest.mark.parametrize("shape", SOFT_SHAPES, ids=str)
def test_soft_targets(benchmark, expected, settle, dense, shape, labels, implementation):
    p: Problem = dense(shape, "float32")
    n_labels = max(2, shape.n_classes)
    y, arguments = p.y, {}
    if labels == "smoothed":
        arguments = {"label_smoothing": 0.1}
    elif labels == "soft":
        T = np.random.default_rng(3).random((len(y), n_labels), dtype=np.float32)
        y = T / T.sum(axis=1, keepdims=True)
    benchmark.group = f"cross_entropy float32, {labels} labels, {p.shape}"
    answer = expected(benchmark.group, lambda: reference.loss_and_grad(p.X, y, p.W, p.b, **arguments))
    settle()
    result = benchmark(IMPLEMENTATIONS[implementation], p.X, y, p.W, p.b, **arguments)
    assert_agree(result, answer, "float32")


@pytest.mark.operation("sample_weights")
@pytest.mark.parametrize("implementation", ["regcore", "scikit-learn"])
def test_sample_weights(benchmark, scale, implementation):
    utils = pytest.importorskip("sklearn.utils")
    y = np.random.default_rng(0).integers(0, 100, int(1_000_000 * scale))
    benchmark.group = f"balanced weights of {len(y)} samples"
    if implementation == "regcore":
        weights = benchmark(regcore.sample_weights, y, "balanced")
    else:
        weights = benchmark(utils.compute_sample_weight, "balanced", y)
    assert weights.sum() == pytest.approx(len(y))
