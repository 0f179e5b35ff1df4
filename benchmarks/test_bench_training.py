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
ROUNDS = 5
SECONDS_BETWEEN = 1.0  # a sixtieth of the default
MOST_OVERHEAD = 0.02


@pytest.mark.operation("fit")
@pytest.mark.parametrize(("solver", "max_iter"), [("fista", 60), ("sgd", 40)])
def test_a_watched_fit_costs_what_a_bare_one_does(dense, report, full_size, tmp_path, solver, max_iter):
    """The overhead is added up from its parts: a difference of whole fits is lost in the noise."""
    p = dense(SHAPE, "float32")
    objective = regcore.Objective(p.X, p.y, penalty=regcore.ElasticNet(1e-4, 0.5))
    arguments = {"solver": solver, "tol": None, "max_iter": max_iter, "random_state": 0}
    seen: list[float] = []
    callbacks = [lambda state: seen.append(state.value), regcore.Progress(io.StringIO())]
    path = tmp_path / "fit"
    variants = {
        "bare": {},
        "watched": {"callbacks": callbacks},
        "saved": {"checkpoint": path, "checkpoint_every": 0},  # after every iteration
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):  # in turn: the machine's speed drifts
        for name, more in variants.items():
            start = time.perf_counter()
            regcore.fit(objective, **arguments, **more)
            seconds[name].append((time.perf_counter() - start) / max_iter)
    assert len(seen) == ROUNDS * max_iter
    iteration, watched, saved = (min(seconds[name]) for name in variants)
    checkpoint = saved - iteration
    overhead = max(watched / iteration - 1, 0) + checkpoint / SECONDS_BETWEEN
    report(
        f"{solver} {p.shape}: an iteration {1e3 * iteration:.2f} ms, with two callbacks "
        f"{1e3 * watched:.2f} ms; a checkpoint {1e3 * checkpoint:.2f} ms; "
        f"with one each second all this costs {overhead:.1%}"
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
