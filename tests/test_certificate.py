"""Duality gaps: the core against the reference, the reference against optima that SciPy finds by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import BINARY_LOSSES, MULTICLASS_LOSSES
from test_against_reference import CLASSES, STORAGES, TOLERANCE, exactly, isa, random_problem

import regcore
from regcore import _core, reference
from regcore.certificate import feasible_scale, minimal_subgradient, penalty_conjugate
from regcore.penalties import Penalty

__all__ = ["isa"]  # a fixture

LOSSES = [*((loss, False) for loss in MULTICLASS_LOSSES), *((loss, True) for loss in BINARY_LOSSES)]
SMOOTH = [(loss, binary) for loss, binary in LOSSES if loss in ("cross_entropy", "squared_hinge")]
KINKED = [(loss, binary) for loss, binary in LOSSES if loss in ("hinge", "crammer_singer")]
each_loss = pytest.mark.parametrize(("loss", "binary"), LOSSES)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@dataclass(frozen=True)
class Triple(Penalty):
    """All three parts at once."""

    parts: tuple[float, float, float]

    def __post_init__(self) -> None:
        pass

    @property
    def l1(self) -> float:
        return self.parts[0]

    @property
    def l2(self) -> float:
        return self.parts[1]

    @property
    def group(self) -> float:
        return self.parts[2]


PENALTIES = {
    "l1": Triple((0.02, 0, 0)),
    "l2": Triple((0, 0.05, 0)),
    "group": Triple((0, 0, 0.03)),
    "elasticnet": Triple((0.02, 0.05, 0)),
    "l1 + group": Triple((0.02, 0, 0.02)),
    "all": Triple((0.02, 0.03, 0.02)),
}
each_penalty = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)


def small_problem(rng, binary, n_samples=30, n_features=4, n_classes=3):
    n_classes = 2 if binary else n_classes
    centres = rng.standard_normal((n_classes, n_features))
    y = rng.integers(0, n_classes, n_samples)
    X = 0.5 * centres[y] + rng.standard_normal((n_samples, n_features))
    return X, y


def parameters(rng, objective, scale=0.1, dtype=np.float64):
    W = scale * rng.standard_normal(objective.weight_shape)
    return W.astype(dtype), (scale * rng.standard_normal(objective.intercept_shape)).astype(dtype)


# --------------------------------------------------------------------------------------------------
# The core against the reference
# --------------------------------------------------------------------------------------------------
@each_dtype
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("loss", MULTICLASS_LOSSES)
def test_core_against_reference(loss, storage, dtype):
    rng = np.random.default_rng([MULTICLASS_LOSSES.index(loss), STORAGES.index(storage), dtype is np.float32])
    n_informative = 0
    for trial in range(6):
        binary = trial % 4 == 0 and loss in BINARY_LOSSES
        p = random_problem(rng, 1 if binary else int(rng.choice(CLASSES)), dtype, storage)
        p.W *= dtype(0.1)
        p.b *= dtype(0.1)
        b = p.b if trial % 3 else None
        weight = p.sample_weight if trial % 2 else None
        X = p.X.toarray() if hasattr(p.X, "toarray") else p.X
        size = max(np.abs(X.astype(np.float64)).mean() / len(p.W), 1e-3)
        penalty = Triple(tuple(size * part for part in list(PENALTIES.values())[trial % 6].parts))
        dual = rng.random((len(p.y), len(p.W))).astype(dtype) / len(p.W) if trial == 4 else None
        e = exactly(p, dtype)
        expected = reference.dual_gap(
            e.X,
            e.y,
            e.W,
            None if b is None else e.b,
            loss=loss,
            penalty=penalty,
            sample_weight=None if weight is None else e.sample_weight,
            dual=dual,
        )
        objective = regcore.Objective(
            p.X,
            p.y,
            loss=loss,
            penalty=penalty,
            sample_weight=weight,
            n_classes=max(2, len(p.W)),
            binary=binary,
        )
        value = objective.value(p.W, b)
        n_informative += bool(expected < (1 - 1e-6) * value)
        for name in _core.available_isas():
            _core.select_isa(name)
            try:
                error = abs(objective.dual_gap(p.W, b, dual=dual) - expected)
            finally:
                _core.select_isa(None)
            what = f"{name}, {p.X.shape} {len(p.W)} classes, {penalty}, b {b is not None}"
            assert error <= 10 * TOLERANCE[dtype] * value, what
    assert n_informative > 2


@each_dtype
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("labels", ["soft", "one column", "whole"])
def test_soft_targets_against_reference(isa, labels, smoothing, dtype):
    rng = np.random.default_rng(5)
    for trial in range(8):
        binary = labels == "one column" or trial % 4 == 0
        n_classes = 2 if binary else int(rng.choice(CLASSES[:8]))
        n_samples = int(rng.choice([1, 17, 100]))
        X = rng.standard_normal((n_samples, 9)).astype(dtype)
        T = rng.dirichlet(np.full(n_classes, 0.3), n_samples).astype(dtype)
        if trial % 2:  # a class that nobody has any of
            T[:, 0], T[:, 1] = 0, T[:, 1] + T[:, 0]
        y = {"soft": T, "one column": np.clip(T[:, 1], 0, 1), "whole": T.argmax(axis=1)}[labels]
        weight = rng.random(n_samples).astype(dtype) if trial % 3 else None
        penalty = list(PENALTIES.values())[trial % 6]
        objective = regcore.Objective(
            X,
            y,
            binary=binary,
            n_classes=n_classes,
            penalty=penalty,
            sample_weight=weight,
            label_smoothing=smoothing,
        )
        W, b = parameters(rng, objective, 0.3, dtype)
        for intercept in (b, None):
            for dual in (None, rng.standard_normal((n_samples, objective.n_outputs)).astype(dtype)):
                value, gap = objective.value(W, intercept), objective.dual_gap(W, intercept, dual=dual)
                expected = reference.dual_gap(
                    X.astype(np.longdouble),
                    y if labels == "whole" else y.astype(np.longdouble),
                    W.astype(np.longdouble),
                    intercept,
                    penalty=penalty,
                    sample_weight=weight,
                    label_smoothing=smoothing,
                    dual=dual,
                )
                assert abs(gap - expected) <= 10 * TOLERANCE[dtype] * value, (trial, binary)


def test_conjugates_of_soft_targets(rng):
    T = rng.dirichlet(np.ones(4), 50)
    S = rng.standard_normal((50, 4))
    X = np.eye(50)
    P = reference.predict_proba(X, S.T)
    losses = reference.sample_losses(X, T, S.T)
    conjugates = reference.sample_conjugates(P - T, T)
    np.testing.assert_allclose(conjugates, ((P - T) * S).sum(axis=1) - losses, atol=1e-13)
    assert np.isinf(reference.sample_conjugates(P - T - [0.1, 0, 0, 0], T)).all()
    assert np.isinf(reference.sample_conjugates(-T + [2.0, -1.0, 0, 0], T)).all()


@pytest.mark.parametrize("binary", [False, True])
def test_newton_steps_with_soft_targets(rng, binary):
    n_classes = 2 if binary else 4
    X, T = rng.standard_normal((400, 5)), rng.dirichlet(np.ones(n_classes), 400)
    objective = regcore.Objective(X, T, binary=binary, sample_weight=rng.random(400))
    W, b = parameters(rng, objective, 0.5)
    for _ in range(6):
        b = objective._centred(W, b, objective.value_and_grad(W, b).grad_b)
    assert np.abs(objective.value_and_grad(W, b).grad_b).max() < 1e-14


@pytest.mark.parametrize("storage", ["C", "F", "csr", "uint8"])
@each_loss
def test_bits_do_not_depend_on_threads(rng, loss, binary, storage):
    X = rng.integers(0, 9, (3000, 100)).astype(np.uint8 if storage == "uint8" else np.float32)
    y = rng.integers(0, 2 if binary else 5, len(X))
    if storage == "csr":
        X = pytest.importorskip("scipy.sparse").csr_array(X * (rng.random(X.shape) < 0.1))
    X = np.asfortranarray(X) if storage == "F" else X
    gaps = []
    for n_threads in (1, 2, 3, 8):
        objective = regcore.Objective(
            X, y, loss=loss, binary=binary, penalty=regcore.ElasticNet(0.01, 0.5), n_threads=n_threads
        )
        W, b = parameters(np.random.default_rng(0), objective, 0.01, np.float32)
        gaps.append((objective.dual_gap(W, b), objective._stationarity(W, b)))
    assert len(set(gaps)) == 1


@pytest.mark.parametrize("shape", [(200, 1500, 400), (90, 40, 3)])
def test_many_classes_and_sums_of_classes(rng, shape):
    n_samples, n_features, n_classes = shape
    X = rng.standard_normal((n_samples, n_features))
    y = rng.integers(0, n_classes, n_samples)
    weight = rng.random(n_samples)
    objective = regcore.Objective(X, y, sample_weight=weight, n_classes=n_classes)
    sums, shares = objective._class_sums(np.dtype(np.float64))
    one_hot = (y[:, None] == np.arange(n_classes)) * (weight / weight.sum())[:, None]
    np.testing.assert_allclose(sums[0], one_hot.T @ X, atol=1e-14)
    np.testing.assert_allclose(shares[0], one_hot.sum(axis=0), atol=1e-15)
    dual = rng.random((n_samples, n_classes)) / n_classes
    V, r = objective._adjoint(dual, np.dtype(np.float64))
    dual[np.arange(n_samples), y] = 0
    dual[np.arange(n_samples), y] = -dual.sum(axis=1)
    u = dual * (weight / weight.sum())[:, None]
    np.testing.assert_allclose(V, u.T @ X, atol=1e-13)
    np.testing.assert_allclose(r, u.sum(axis=0), atol=1e-14)


@pytest.mark.parametrize("n_features", [2, 60])
def test_sums_of_many_sparse_rows_in_float32(rng, n_features):
    # two columns that every row has: what a float32 sum over all rows would round
    sparse = pytest.importorskip("scipy.sparse")
    X = np.zeros((60_000, n_features), np.float32)
    X[:, 0], X[:, 1] = 1, 1000 + rng.random(len(X))
    y = rng.integers(0, 3, len(X))
    objective = regcore.Objective(sparse.csr_array(X), y)
    sums, _ = objective._class_sums(np.dtype(np.float32))
    one_hot = (y[:, None] == np.arange(3)) / len(X)
    np.testing.assert_allclose(sums[0], one_hot.T @ X.astype(np.float64), rtol=1e-6)
    others = np.roll(one_hot, 1, axis=1)
    V, r = objective._adjoint((others * len(X)).astype(np.float32), np.dtype(np.float32))
    u = others - one_hot
    np.testing.assert_allclose(V, u.T @ X.astype(np.float64), rtol=1e-6, atol=1e-6 * 1000)
    np.testing.assert_allclose(r, u.sum(axis=0), atol=1e-7)


@each_loss
def test_stack_is_its_models(rng, loss, binary):
    X, y = small_problem(rng, binary, 200)
    weight = rng.random((3, len(y)))
    weight[1, y == 0] = 0  # a class that is absent from one model
    penalty = regcore.ElasticNet(0.02, 0.5)
    stack = regcore.Objective(X, y, loss=loss, binary=binary, penalty=penalty, sample_weight=weight)
    W, b = parameters(rng, stack)
    dual = rng.random((len(y), *stack.intercept_shape))
    gaps = stack.dual_gap(W, b), stack.dual_gap(W), stack.dual_gap(W, b, dual=dual), stack._stationarity(W, b)
    for m in range(3):
        single = regcore.Objective(X, y, loss=loss, binary=binary, penalty=penalty, sample_weight=weight[m])
        expected = (
            single.dual_gap(W[m], b[m]),
            single.dual_gap(W[m]),
            single.dual_gap(W[m], b[m], dual=dual[:, m]),
            single._stationarity(W[m], b[m]),
        )
        np.testing.assert_allclose([gap[m] for gap in gaps], expected, rtol=1e-11)
    assert stack.dual_gap(W, b).shape == (3,)


@each_loss
def test_standardised_features(rng, loss, binary):
    X, y = small_problem(rng, binary, 100)
    X = 3 + 5 * X
    plain = (X - X.mean(axis=0)) / X.std(axis=0)
    settings_ = {"loss": loss, "binary": binary, "penalty": regcore.ElasticNet(0.02, 0.5)}
    folded = regcore.Objective(X, y, standardize=True, **settings_)
    copied = regcore.Objective(plain, y, **settings_)
    W, b = parameters(rng, folded)
    dual = rng.random((len(y), folded.n_outputs))
    assert folded.dual_gap(W, b) == pytest.approx(copied.dual_gap(W, b), rel=1e-10)
    assert folded.dual_gap(W, b, dual=dual) == pytest.approx(copied.dual_gap(W, b, dual=dual), rel=1e-10)
    assert folded._stationarity(W, b) == pytest.approx(copied._stationarity(W, b), rel=1e-10)


@each_loss
def test_what_a_solver_knows_already_saves_passes(rng, loss, binary, monkeypatch):
    X, y = small_problem(rng, binary)
    penalty = regcore.ElasticNet(0.02, 0.5)
    objective = regcore.Objective(X, y, loss=loss, binary=binary, penalty=penalty)
    W, b = parameters(rng, objective)
    expected = objective.dual_gap(W, b), objective._stationarity(W, b)
    value, grad_W, grad_b = objective.value_and_grad(W, b)
    grad = grad_W - penalty.gradient(W), grad_b
    monkeypatch.delattr(regcore.Objective, "_evaluate")
    assert objective._certificate(W, b, value, grad) == pytest.approx(expected[0], rel=1e-12)
    assert objective._stationarity(W, b, grad) == pytest.approx(expected[1], rel=1e-12)


# --------------------------------------------------------------------------------------------------
# Conjugates, by their definition
# --------------------------------------------------------------------------------------------------
@each_loss
def test_conjugates_of_slopes(rng, loss, binary):
    # at u = dloss/ds the supremum <u, s> - loss(s) is attained at s
    n_classes = 1 if binary else 4
    S = 2 * rng.standard_normal((50, n_classes))
    y = rng.integers(0, max(2, n_classes), len(S))
    X = np.eye(len(S))
    slopes = np.stack(
        [reference.data_loss_and_grad(X[[i]], y[[i]], S.T, loss=loss)[1][:, i] for i in range(len(S))]
    )
    losses = reference.sample_losses(X, y, S.T, loss=loss)
    expected = (slopes * S).sum(axis=1) - losses
    np.testing.assert_allclose(reference.sample_conjugates(slopes, y, loss=loss), expected, atol=1e-13)
    # and elsewhere it is no less than what any other scores give
    for trial in range(20):
        other = 3 * rng.standard_normal(S.shape)
        below = (slopes * other).sum(axis=1) - reference.sample_losses(X, y, other.T, loss=loss)
        assert (below <= expected + 1e-12).all(), trial


@pytest.mark.parametrize("loss", MULTICLASS_LOSSES)
def test_conjugates_are_infinite_outside_their_domain(loss):
    def conjugate(*u):
        return reference.sample_conjugates([u], [0], loss=loss)[0]

    assert conjugate(0, 0, 0) == 0
    assert np.isinf(conjugate(0.5, -0.5, 0))
    assert np.isinf(conjugate(-0.5, 0.2, 0.2))
    assert np.isinf(conjugate(-1.2, 1.2, 0)) == (loss != "squared_hinge")
    assert np.isinf(conjugate(-1.2, 0.6, 0.6)) == (loss in ("cross_entropy", "crammer_singer"))


@each_dtype
def test_saturated_probabilities_keep_their_digits(isa, dtype):
    # value and gap of well fitted samples are tiny, and are no differences of large numbers
    X = np.array([[1.0], [-1.0]], dtype=dtype)
    y = np.array([1, 0])
    penalty = Triple((0, 1e-12, 0))
    for scale in (5.0, 20.0, 60.0):
        for binary in (True, False):
            W = np.array([[scale]] if binary else [[-scale / 2], [scale / 2]], dtype=dtype)
            objective = regcore.Objective(X, y, penalty=penalty, binary=binary)
            expected = reference.dual_gap(X, y, W.astype(np.longdouble), penalty=penalty)
            assert objective.dual_gap(W) == pytest.approx(
                float(expected), rel=100 * float(np.finfo(dtype).eps)
            )


@each_dtype
@each_loss
def test_huge_scores(isa, loss, binary, dtype):
    X = np.array([[1.0], [-1.0], [0.5]], dtype=dtype)
    y = np.array([0, 1, 1])
    objective = regcore.Objective(X, y, loss=loss, binary=binary, penalty=regcore.L2(1e-3))
    W = np.full(objective.weight_shape, 1e10, dtype=dtype)
    W[-1] *= -2
    b = np.ones(objective.intercept_shape, dtype)
    gap, value = objective.dual_gap(W, b), objective.value(W, b)
    assert 0.99 * value <= gap <= value


@pytest.mark.parametrize("penalty", [p for p in PENALTIES.values() if p.l2 == 0])
def test_scale_that_makes_the_penalty_feasible(rng, penalty):
    V = rng.standard_normal((4, 3, 7)) * np.array([0, 1e-3, 1, 100])[:, None, None]
    for model, scale in zip(V, feasible_scale(V, *penalty.parts), strict=True):
        soft = reference.penalty_prox(scale * model, 1, l1=penalty.l1)
        size = np.linalg.norm(soft, axis=0).max() if penalty.group else np.abs(model).max() * scale
        limit = penalty.group or penalty.l1
        assert size <= limit * (1 + 1e-12)
        assert scale == 1 or size == pytest.approx(limit, rel=1e-9)


@pytest.mark.parametrize("penalty", [p for p in PENALTIES.values() if p.l2 > 0])
def test_conjugate_of_the_penalty(rng, penalty):
    V = 0.1 * rng.standard_normal((1, 3, 7))
    # sup <V, W> - R(W) is attained at a scaled prox
    W = reference.penalty_prox(V[0], 1, l1=penalty.l1, group=penalty.group) / (2 * penalty.l2)
    attained = (V[0] * W).sum() - reference.penalty_value(W, *penalty.parts)
    assert penalty_conjugate(V, *penalty.parts)[0] == pytest.approx(attained, rel=1e-12)
    for _ in range(50):
        other = W + 0.1 * rng.standard_normal(W.shape)
        assert (V[0] * other).sum() - reference.penalty_value(other, *penalty.parts) <= attained


# --------------------------------------------------------------------------------------------------
# Weak duality: no other point is better than the gap allows
# --------------------------------------------------------------------------------------------------
@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(LOSSES),
    st.tuples(*[st.sampled_from([0.0, 1e-3, 0.1])] * 3).filter(any),
    st.integers(0, 2**32),
    st.sampled_from([1e-3, 0.1, 1.0, 30.0]),
    st.booleans(),
    st.sampled_from([0.0, 0.3, 0.9]),
    st.booleans(),
)
def test_gap_bounds_the_distance_to_any_other_point(kind, parts, seed, scale, intercept, rare, with_dual):
    loss, binary = kind
    rng = np.random.default_rng(seed)
    n_classes = 2 if binary else int(rng.integers(2, 5))
    y = rng.integers(0, n_classes, int(rng.integers(1, 25)))
    y[rng.random(len(y)) < rare] = 0  # some classes have few samples, or none
    X = rng.standard_normal((len(y), 3)) + y[:, None] * rng.choice([0, 3])
    weight = rng.random(len(y)) * (rng.random(len(y)) < 0.8)
    weight[0] += 0.1
    objective = regcore.Objective(
        X,
        y,
        loss=loss,
        binary=binary,
        n_classes=n_classes,
        penalty=Triple(parts),
        sample_weight=weight if seed % 2 else None,
    )
    W, b = parameters(rng, objective, scale)
    b = b if intercept else None
    dual = 2 * rng.standard_normal((len(y), objective.n_outputs)) if with_dual else None
    value, gap = objective.value(W, b), objective.dual_gap(W, b, dual=dual)
    assert 0 <= gap <= value
    expected = reference.dual_gap(
        X,
        y,
        W,
        b,
        loss=loss,
        penalty=objective.penalty,
        sample_weight=weight if seed % 2 else None,
        dual=dual,
    )
    assert gap == pytest.approx(expected, rel=1e-9, abs=1e-11 * value)
    bound = value - gap - 1e-12 * value
    others = [parameters(rng, objective, s) for s in (1e-3, 0.1, 1, 10)]
    smooth = regcore.Objective(
        X,
        y,
        loss=loss if objective.loss.is_smooth else "squared_hinge",
        binary=binary,
        n_classes=n_classes,
        penalty=objective.penalty if not (parts[0] and parts[2]) else regcore.L1(parts[0]),
        sample_weight=weight if seed % 2 else None,
    )
    start = np.zeros(objective.weight_shape), np.zeros(objective.intercept_shape) if intercept else None
    best = regcore.fit(smooth, solver="fista", init=start, max_iter=30, tol=None)
    others += [(best.W, best.b), start]
    for other_W, other_b in others:
        assert bound <= objective.value(other_W, other_b if intercept else None)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_hinge"])
def test_classes_without_samples(rng, loss, weighted):
    # their intercepts fall for ever; what is left is the problem of the other classes
    X, y = small_problem(rng, False, 60, n_classes=2)
    penalty = regcore.L2(0.05)
    best = regcore.fit(
        regcore.Objective(X, y, loss=loss, penalty=penalty), solver="fista", tol=1e-10, max_iter=5000
    )
    W, b = np.zeros((5, 4)), np.full(5, -50.0)
    W[[1, 4]], b[[1, 4]] = best.W, best.b
    y, weight = np.array([1, 4])[y], np.ones(len(y))
    if weighted:
        X, y, weight = np.vstack([X, X[:2]]), np.append(y, [0, 2]), np.append(weight, [0, 0])
    objective = regcore.Objective(X, y, loss=loss, penalty=penalty, sample_weight=weight, n_classes=5)
    assert objective.dual_gap(W, b) <= 1e-8 * best.value
    b[2] = 0
    assert objective.dual_gap(W, b) == pytest.approx(objective.value(W, b) - best.value, rel=1e-6)
    assert objective.dual_gap(W) > 0.01  # without an intercept they keep their share


@each_loss
def test_labels_of_one_class(loss, binary):
    # W = 0 and a large intercept bring every loss to nothing
    X = np.arange(12.0).reshape(6, 2)
    for label in (0, 1):
        objective = regcore.Objective(
            X, np.full(6, label), loss=loss, binary=binary, n_classes=2, penalty=regcore.L1(0.1)
        )
        W, b = np.zeros(objective.weight_shape), np.zeros(objective.intercept_shape)
        assert objective.dual_gap(W, b) == objective.value(W, b)
        b += 40 if label else -40
        if not binary:
            b[0] *= -1
        assert objective.dual_gap(W, b) < 1e-15


@each_loss
def test_separable_data(loss, binary):
    # a weak penalty lets the margins grow until nearly all slopes vanish
    X = np.array([[-2.0, 0.1], [-1.5, -0.2], [2.0, 0.3], [1.7, -0.1]])
    y = np.array([0, 0, 1, 1])
    objective = regcore.Objective(X, y, loss=loss, binary=binary, penalty=regcore.L2(1e-6))
    W = np.zeros(objective.weight_shape)
    W[-1, 0] = 5.0
    gap = objective.dual_gap(W, np.zeros(objective.intercept_shape))
    assert 0 < gap <= objective.value(W, np.zeros(objective.intercept_shape)) < 1e-3


@each_loss
def test_no_penalty_has_no_gap(rng, loss, binary):
    X, y = small_problem(rng, binary)
    for penalty in (None, regcore.L2(0)):
        objective = regcore.Objective(X, y, loss=loss, binary=binary, penalty=penalty)
        assert objective.dual_gap(*parameters(rng, objective)) == np.inf
        assert reference.dual_gap(X, y, *parameters(rng, objective), loss=loss, penalty=penalty) == np.inf
    stack = regcore.Objective(X, y, loss=loss, binary=binary, n_models=2)
    assert (stack.dual_gap(*parameters(rng, stack)) == [np.inf, np.inf]).all()


@pytest.mark.parametrize("intercept", [True, False])
def test_stationarity_without_a_penalty(rng, intercept):
    X, y = small_problem(rng, True, 100)
    objective = regcore.Objective(X, y, binary=True)
    best = regcore.fit(
        objective, solver="fista", init=None if intercept else (np.zeros((1, 4)), None), tol=1e-9
    )
    assert best.converged
    assert objective._stationarity(best.W, best.b) <= 1e-8
    zero = np.zeros((1, 4)), np.zeros(1) if intercept else None
    assert objective._stationarity(*zero) == 1


@each_dtype
@pytest.mark.parametrize("n_models", [None, 2])
@pytest.mark.parametrize(("loss", "binary"), SMOOTH)
def test_newton_steps_in_the_intercepts(rng, loss, binary, n_models, dtype):
    X, y = small_problem(rng, binary, 600)
    weight = rng.random((n_models, len(y)) if n_models else len(y))
    objective = regcore.Objective(
        X, y, loss=loss, binary=binary, n_classes=2 if binary else 3, sample_weight=weight
    )
    W, b = parameters(rng, objective, 0.3, dtype)
    b += dtype(0.5) * np.arange(objective.n_outputs) + dtype(0.5)
    sizes = []
    for _ in range(12):
        grad_b = objective.value_and_grad(W, b).grad_b
        sizes.append(np.abs(grad_b).max())
        b = objective._centred(W, b, grad_b)
    assert sizes[0] > 0.01
    assert min(sizes) < (1e-9 if dtype is np.float64 else 2e-6)


def test_a_newton_step_tightens_the_gap(rng):
    X, y = small_problem(rng, False, 300)
    objective = regcore.Objective(X, y, penalty=regcore.L2(0.01))
    best = regcore.fit(objective, solver="fista", tol=1e-10, max_iter=5000)
    b = best.b + 1e-4 * rng.standard_normal(3)
    b -= b.mean()
    centred = objective._centred(best.W, b, objective.value_and_grad(best.W, b).grad_b)
    assert objective.dual_gap(best.W, centred) < 1e-3 * objective.dual_gap(best.W, b)


def test_a_dual_solver_that_keeps_its_products_needs_no_pass(rng, monkeypatch):
    X, y = small_problem(rng, False)
    objective = regcore.Objective(X, y, loss="hinge", penalty=regcore.L2(0.05))
    W, b = parameters(rng, objective)
    dual = rng.random((len(y), 3))
    value, expected = objective.value(W, b), objective.dual_gap(W, b, dual=dual)
    products = objective._adjoint(dual, W.dtype)
    monkeypatch.delattr(regcore.Objective, "_adjoint")
    monkeypatch.delattr(regcore.Objective, "_evaluate")
    X[:] = np.nan  # nobody reads it
    assert objective._certificate(W, b, value, products, dual) == pytest.approx(expected, rel=1e-12)


@each_penalty
def test_subgradient_of_least_norm(rng, penalty):
    # no other one is shorter: of the sign of a zero entry, and the direction of a zero feature
    W = rng.standard_normal((1, 3, 40)) * (rng.random((1, 3, 40)) < 0.6)
    W[..., 10:20] = 0
    grad_W = 0.05 * rng.standard_normal(W.shape)
    least = minimal_subgradient(grad_W, W, *penalty.parts)
    norms = np.linalg.norm(W, axis=1, keepdims=True)
    for trial in range(100):
        sign = np.where(W == 0, rng.uniform(-1, 1, W.shape), np.sign(W))
        ball = rng.standard_normal(W.shape)
        ball *= rng.random(norms.shape) / np.linalg.norm(ball, axis=1, keepdims=True)
        direction = np.where(norms > 0, W / np.where(norms > 0, norms, 1), ball)
        if trial == 0:  # one that undoes the gradient where it can
            sign = np.where(W == 0, np.clip(-grad_W / max(penalty.l1, 1e-9), -1, 1), np.sign(W))
        other = grad_W + penalty.l1 * sign + 2 * penalty.l2 * W + penalty.group * direction
        shorter = np.linalg.norm(least, axis=1) <= np.linalg.norm(other, axis=1) + 1e-12
        assert shorter.all()
    smooth = (W != 0) if penalty.l1 else (norms > 0) & np.ones_like(W, bool)
    expected = grad_W + reference.penalty_gradient(W, *penalty.parts)
    np.testing.assert_allclose(least[smooth], expected[smooth], atol=1e-15)


def test_float32_reaches_a_millionth(rng):
    X = rng.standard_normal((500, 30)).astype(np.float32)
    y = (X[:, :10] + rng.standard_normal((500, 10))).argmax(axis=1)
    for penalty in (regcore.L2(1e-3), regcore.ElasticNet(1e-3, 0.5)):
        objective = regcore.Objective(X, y, penalty=penalty)
        best = regcore.fit(objective, solver="fista", dtype=np.float64, tol=1e-9, max_iter=2000)
        exact = objective.dual_gap(best.W, best.b)
        single = objective.dual_gap(best.W.astype(np.float32), best.b.astype(np.float32))
        assert exact <= 1e-8 * best.value
        assert single <= 1e-6 * best.value


@pytest.mark.parametrize(
    ("dual", "error", "message"),
    [
        (np.zeros((3, 3)), ValueError, r"dual must have shape \(30, 3\); got \(3, 3\)"),
        (np.zeros((30, 3), complex), TypeError, "dual must hold real numbers; got dtype complex128"),
        (np.full((30, 3), np.inf), ValueError, "dual must be finite"),
    ],
)
def test_bad_dual_points(rng, dual, error, message):
    objective = regcore.Objective(*small_problem(rng, False), loss="squared_hinge", penalty=regcore.L2(0.1))
    with pytest.raises(error, match=message):
        objective.dual_gap(*parameters(rng, objective), dual=dual)


# --------------------------------------------------------------------------------------------------
# Strong duality: the gap vanishes at optima that others find
# --------------------------------------------------------------------------------------------------
def scipy_optimum(objective: Any, intercept: bool) -> tuple[Any, Any]:
    """W and b by SciPy alone: W = P - Q with P, Q >= 0 for |W|, and norms smoothed away for none."""
    optimize = pytest.importorskip("scipy.optimize")
    n = int(np.prod(objective.weight_shape))

    def split(z):
        return (z[:n] - z[n : 2 * n]).reshape(objective.weight_shape), z[2 * n :] if intercept else None

    def function(z):
        W, b = split(z)
        value, grad_W, grad_b = objective.smooth_value_and_grad(W, b)
        slope = [grad_W.ravel() + objective.penalty.l1, objective.penalty.l1 - grad_W.ravel()]
        value += objective.penalty.l1 * z[: 2 * n].sum()
        return value, np.concatenate([*slope, grad_b] if intercept else slope)

    n_b = objective.n_outputs if intercept else 0
    bounds = [(0, None)] * (2 * n) + [(None, None)] * n_b
    options = {"maxiter": 20000, "maxfun": 40000, "ftol": 1e-16, "gtol": 1e-10, "maxcor": 50}
    found = optimize.minimize(
        function, np.zeros(2 * n + n_b), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    return split(found.x)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("name", ["l1", "l2", "elasticnet"])
@pytest.mark.parametrize(("loss", "binary"), SMOOTH)
def test_gap_vanishes_at_the_optimum_of_smooth_losses(rng, loss, binary, name, intercept):
    X, y = small_problem(rng, binary, 60)
    objective = regcore.Objective(
        X, y, loss=loss, binary=binary, penalty=PENALTIES[name], sample_weight=rng.random(len(y))
    )
    W, b = scipy_optimum(objective, intercept)
    value = objective.value(W, b)
    assert objective.dual_gap(W, b) <= 1e-6 * value
    assert objective._stationarity(W, b) <= 1e-4
    for size in (1e-1, 1e-2, 1e-3):
        near = W + size * rng.standard_normal(W.shape)
        near_b = b + size * rng.standard_normal(b.shape) if intercept else None
        gap = objective.dual_gap(near, near_b)
        assert objective.value(near, near_b) - value <= gap + 1e-12
        assert gap <= 100 * size * value


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("name", ["group", "all"])
@pytest.mark.parametrize(("loss", "binary"), SMOOTH)
def test_gap_vanishes_at_the_optimum_of_group_penalties(rng, loss, binary, name, intercept):
    # by proximal gradient steps in NumPy: SciPy has no solver for norms that are not squared
    X, y = small_problem(rng, binary, 60)
    X[:, 0] *= 0.05
    penalty = PENALTIES[name]
    objective = regcore.Objective(X, y, loss=loss, binary=binary, penalty=penalty)
    W, b = np.zeros(objective.weight_shape), np.zeros(objective.intercept_shape)
    curvature = {"cross_entropy": 0.5, "squared_hinge": 2 * objective.n_classes}[loss]
    step = 1 / (curvature * (1 + np.linalg.eigvalsh(X.T @ X / len(X)).max()))
    for _ in range(6000):
        _, grad_W, grad_b = reference.data_loss_and_grad(X, y, W, b if intercept else None, loss=loss)
        W = reference.penalty_prox(W - step * grad_W, step, *penalty.parts)
        b = b - step * grad_b
    b = b if intercept else None
    assert not W.any(axis=0).all()
    assert objective.dual_gap(W, b) <= 1e-9 * objective.value(W, b)
    assert objective._stationarity(W, b) <= 1e-8


def hinge_dual_optimum(objective, X, y, omega, l2, intercept):
    """The u of a hinge that maximise sum_i omega_i sum_{j != y_i} u_ij - R*(-V), by SLSQP."""
    optimize = pytest.importorskip("scipy.optimize")
    n_classes, n = objective.n_classes, len(X)
    others = np.arange(n_classes) != y[:, None]
    rows = slice(1, None) if objective.binary else slice(None)
    penalty = objective.penalty
    weights = np.repeat(omega, n_classes - 1)

    def points(a):
        U = np.zeros((n, n_classes))
        U[others] = a
        U[~others] = -U.sum(axis=1)
        return U

    def negative(a):
        V = (points(a) * omega[:, None]).T @ X
        W = np.zeros_like(V)
        W[rows] = reference.penalty_prox(-V[rows], 1, l1=penalty.l1, group=penalty.group) / (2 * l2)
        slope = -(X @ W.T) * omega[:, None]
        slope -= slope[~others][:, None]
        return l2 * np.square(W).sum() - weights @ a, slope[others] - weights

    size = n * (n_classes - 1)
    in_rows = np.eye(size).reshape(size, n, n_classes - 1).sum(axis=2).T
    means = np.stack([omega @ points(unit) for unit in np.eye(size)], axis=1)
    constraints = []
    if objective.loss.label == "crammer_singer":
        constraints.append({"type": "ineq", "fun": lambda a: 1 - in_rows @ a, "jac": lambda a: -in_rows})
    if intercept:
        constraints.append({"type": "eq", "fun": lambda a: means[1:] @ a, "jac": lambda a: means[1:]})
    found = optimize.minimize(
        negative,
        np.full(size, 1e-3),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * size,
        constraints=constraints,
        options={"maxiter": 1000, "ftol": 1e-13},
    )
    return points(found.x)


def best_intercept(objective, X, y, omega, W):
    """The intercepts that minimise a hinge for these weights, by a linear programme."""
    optimize = pytest.importorskip("scipy.optimize")
    S = X @ W.T
    if objective.binary:
        S = np.hstack([np.zeros_like(S), S])
    n, n_classes = S.shape
    shared = objective.loss.label == "crammer_singer"
    pairs = [(i, j) for i in range(n) for j in range(n_classes) if j != y[i]]
    n_slacks = n if shared else len(pairs)
    above, limits = np.zeros((len(pairs), n_classes + n_slacks)), []
    for row, (i, j) in enumerate(pairs):
        above[row, j], above[row, y[i]] = 1, -1
        above[row, n_classes + (i if shared else row)] = -1
        limits.append(S[i, y[i]] - S[i, j] - 1)
    cost = np.concatenate([np.zeros(n_classes), omega if shared else [omega[i] for i, _ in pairs]])
    bounds = [(0, 0)] + [(None, None)] * (n_classes - 1) + [(0, None)] * n_slacks
    found = optimize.linprog(cost, above, limits, bounds=bounds)
    return found.x[1:2] if objective.binary else found.x[:n_classes]


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("name", ["l1", "l2", "group", "all"])
@pytest.mark.parametrize(("loss", "binary"), KINKED)
def test_gap_vanishes_at_the_optimum_of_the_hinges(rng, loss, binary, name, intercept):
    # with an L2 part the dual optimum gives W; without one a small part stands in, and leaves a small gap
    X, y = small_problem(rng, binary, 10, 2)
    omega = rng.uniform(0.5, 1.5, len(y))
    omega /= omega.sum()
    penalty = PENALTIES[name]
    objective = regcore.Objective(X, y, loss=loss, binary=binary, penalty=penalty, sample_weight=omega)
    l2 = penalty.l2 or 1e-5
    U = hinge_dual_optimum(objective, X, y, omega, l2, intercept)
    U = U[:, 1:] if binary else U
    V = (U * omega[:, None]).T @ X
    W = reference.penalty_prox(-V, 1, l1=penalty.l1, group=penalty.group) / (2 * l2)
    b = best_intercept(objective, X, y, omega, W) if intercept else None
    value = objective.value(W, b)
    assert W.any()
    assert objective.dual_gap(W, b, dual=U) <= (1e-6 if penalty.l2 else 1e-2) * value
    # the slopes at a kink make a bound, too, if not a tight one
    assert objective.dual_gap(W, b) >= value - (value - objective.dual_gap(W, b, dual=U)) - 1e-9
