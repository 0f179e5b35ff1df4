"""A prepared `Objective`: values, small batches, stacks of models, standardised features, prediction."""

from __future__ import annotations

import numpy as np
import pytest
from cases import Shape, assert_agree

import regcore
from regcore import reference

SHAPE = Shape(60_000, 784, 10)
PREDICTION_SHAPES = (Shape(100_000, 512, 1), SHAPE, Shape(20_000, 512, 1000))
STACK_SHAPE = Shape(100_000, 512, 1)
STACK_MODELS = 16
BATCH = 32

each_implementation = pytest.mark.parametrize("implementation", ["regcore", "reference"])


def prepared(p, **arguments):
    return regcore.Objective(
        p.X, p.y, n_classes=max(2, p.shape.n_classes), binary=p.shape.n_classes == 1, **arguments
    )


@pytest.fixture
def compare(benchmark, settle):
    """A function that times one of two functions and checks its answer against the second."""

    def run(group, implementation, ours, numpy):
        benchmark.group = group
        answer = numpy()
        settle()
        assert_agree(benchmark({"regcore": ours, "reference": numpy}[implementation]), answer, "float32")

    return run


@pytest.mark.operation("Objective.value")
@each_implementation
def test_value(compare, dense, implementation):
    p = dense(SHAPE, "float32")
    objective = prepared(p)
    compare(
        f"Objective.value float32 {p.shape}",
        implementation,
        lambda: objective.value(p.W, p.b),
        lambda: reference.sample_losses(p.X, p.y, p.W, p.b).mean(),
    )


@pytest.mark.operation("Objective.value_and_grad")
@each_implementation
@pytest.mark.parametrize("kind", ["slice", "index"])
def test_batch(compare, dense, implementation, kind):
    p = dense(SHAPE, "float32")
    objective = prepared(p, penalty=regcore.L2(1e-4))
    index = np.random.default_rng(0).integers(0, p.shape.n_samples, BATCH)
    rows = slice(0, BATCH) if kind == "slice" else index
    out = np.empty_like(p.W), np.empty_like(p.b)
    compare(
        f"Objective.value_and_grad float32 batch of {BATCH} by {kind}, 784x10",
        implementation,
        lambda: tuple(objective.value_and_grad(p.W, p.b, rows=rows, out=out)),
        lambda: reference.loss_and_grad(p.X[rows], p.y[rows], p.W, p.b, penalty=objective.penalty),
    )


@pytest.mark.operation("Objective.value_and_grad")
@each_implementation
def test_stack(compare, dense, implementation):
    p = dense(STACK_SHAPE, "float32")
    scales = np.linspace(0.1, 2, STACK_MODELS, dtype=np.float32)
    W = scales[:, None, None] * p.W
    b = scales[:, None] * p.b
    objective = prepared(p, n_models=STACK_MODELS)

    def one_by_one():
        results = [reference.loss_and_grad(p.X, p.y, W[m], b[m]) for m in range(STACK_MODELS)]
        return tuple(np.stack(part) for part in zip(*results, strict=True))

    compare(
        f"Objective.value_and_grad float32 {STACK_MODELS} models {p.shape}",
        implementation,
        lambda: tuple(objective.value_and_grad(W, b)),
        one_by_one,
    )


@pytest.mark.operation("Objective.smooth_value_and_grad")
@each_implementation
def test_smooth(compare, dense, implementation):
    p = dense(SHAPE, "float32")
    penalty = regcore.ElasticNet(1e-3, 0.5)
    objective = prepared(p, penalty=penalty)
    compare(
        f"Objective.smooth_value_and_grad float32 {p.shape}",
        implementation,
        lambda: tuple(objective.smooth_value_and_grad(p.W, p.b)),
        lambda: reference.loss_and_grad(p.X, p.y, p.W, p.b, penalty=regcore.L2(penalty.l2)),
    )


@pytest.mark.operation("Objective.value_and_grad")
@each_implementation
def test_standardised(compare, dense, implementation):
    p = dense(SHAPE, "float32", "uint8")
    mean, scale = p.X.mean(axis=0, dtype=np.float64), p.X.std(axis=0, dtype=np.float64)
    objective = prepared(p, standardize=(mean, scale))
    copy = ((p.X - mean) / scale).astype(np.float32)  # what a user without folding has made beforehand
    compare(
        f"Objective.value_and_grad float32, X uint8 standardised {p.shape}",
        implementation,
        lambda: tuple(objective.value_and_grad(p.W, p.b)),
        lambda: reference.loss_and_grad(copy, p.y, p.W, p.b),
    )


@pytest.mark.operation("Objective.dual_gap")
@each_implementation
@pytest.mark.parametrize("loss", ["cross_entropy", "hinge"])
def test_dual_gap(compare, dense, implementation, loss):
    p = dense(SHAPE, "float32")
    penalty = regcore.ElasticNet(1e-3, 0.5)
    objective = prepared(p, loss=loss, penalty=penalty)
    compare(
        f"Objective.dual_gap {loss} float32 {p.shape}",
        implementation,
        lambda: objective.dual_gap(p.W, p.b),
        lambda: reference.dual_gap(p.X, p.y, p.W, p.b, loss=loss, penalty=penalty),
    )


@pytest.mark.operation("Objective.scores")
@each_implementation
@pytest.mark.parametrize("shape", PREDICTION_SHAPES, ids=str)
def test_scores(compare, dense, implementation, shape):
    p = dense(shape, "float32")
    objective = prepared(p)
    compare(
        f"Objective.scores float32 {p.shape}",
        implementation,
        lambda: objective.scores(p.W, p.b),
        lambda: reference.scores(p.X, p.W, p.b),
    )


@pytest.mark.operation("Objective.predict")
@each_implementation
@pytest.mark.parametrize("shape", PREDICTION_SHAPES, ids=str)
def test_predict(benchmark, settle, dense, implementation, shape):
    p = dense(shape, "float32")
    objective = prepared(p)
    functions = {
        "regcore": lambda: objective.predict(p.W, p.b),
        "reference": lambda: reference.predict(p.X, p.W, p.b),
    }
    benchmark.group = f"Objective.predict {p.shape}"
    settle()
    labels = benchmark(functions[implementation])
    # where two scores are as good as equal either label is right
    S = reference.scores(p.X, p.W, p.b)
    S = np.hstack([np.zeros_like(S), S]) if shape.n_classes == 1 else S
    assert (S[np.arange(len(S)), labels] >= S.max(axis=1) - 1e-4 * np.abs(S).max()).all()


@pytest.mark.operation("Objective.predict_proba")
@each_implementation
@pytest.mark.parametrize("shape", PREDICTION_SHAPES, ids=str)
def test_predict_proba(compare, dense, implementation, shape):
    p = dense(shape, "float32")
    objective = prepared(p)
    compare(
        f"Objective.predict_proba float32 {p.shape}",
        implementation,
        lambda: objective.predict_proba(p.W, p.b),
        lambda: reference.predict_proba(p.X, p.W, p.b),
    )
