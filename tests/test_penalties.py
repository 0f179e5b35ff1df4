"""The penalties: their parameters, and the compiled core's value, gradient and prox against the reference."""

from __future__ import annotations

import dataclasses
import math
import pickle
from decimal import Decimal

import numpy as np
import pytest
from problems import relative_error

from regcore import reference
from regcore.penalties import L1, L2, ElasticNet, GroupL1, from_estimator

PENALTIES = [L1(0.3), L2(0.7), ElasticNet(0.3, 0.5), GroupL1(0.8), L1(0.0), GroupL1(0.0)]
DTYPES = [np.float32, np.float64]
# a vector register, its neighbours, one feature, one class, and more than one block of features
SHAPES = [(1, 1), (1, 17), (3, 16), (5, 33), (2, 1000), (64, 3), (4, 3, 9), (1, 2, 5)]


def triple(penalty):
    return penalty.l1, penalty.l2, penalty.group


def random_weights(rng, shape, dtype):
    W = rng.standard_normal(shape)
    W[rng.random(shape) < 0.2] = 0
    W[..., -1] = 0  # a feature that no class uses
    return W.astype(dtype)


def layouts(W):
    """Yield the same numbers in C and Fortran order, strided, reversed and read-only."""
    yield W.copy()
    yield np.array(W, order="F")
    wide = np.full((*W.shape[:-1], 2 * W.shape[-1] + 1), np.nan, dtype=W.dtype)
    wide[..., 1::2] = W
    yield wide[..., 1::2]
    yield np.ascontiguousarray(W[..., ::-1])[..., ::-1]
    read_only = W.copy()
    read_only.setflags(write=False)
    yield read_only


# --------------------------------------------------------------------------------------------------
# Parameters
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        (L1(0.5), (0.5, 0.0, 0.0)),
        (L2(0.5), (0.0, 0.5, 0.0)),
        (ElasticNet(0.5, 0.25), (0.5, 0.125, 0.0)),
        (GroupL1(0.5), (0.0, 0.0, 0.5)),
    ],
)
def test_a_penalty_is_three_factors(penalty, expected):
    assert triple(penalty) == expected
    assert all(type(factor) is float for factor in triple(penalty))


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalties_are_values(penalty):
    assert penalty == dataclasses.replace(penalty)
    assert hash(penalty) == hash(dataclasses.replace(penalty))
    assert pickle.loads(pickle.dumps(penalty)) == penalty
    with pytest.raises(dataclasses.FrozenInstanceError):
        penalty.strength = 1.0
    assert not hasattr(penalty, "__dict__")


@pytest.mark.parametrize("number", [1, np.float32(0.5), np.float64(2.0), np.int32(3)])
def test_any_real_number_is_a_strength(number):
    assert L1(number).strength == float(number)
    assert type(L1(number).strength) is float


@pytest.mark.parametrize("kind", [L1, L2, GroupL1, lambda strength: ElasticNet(strength, 1.0)])
@pytest.mark.parametrize("strength", [-1.0, -1e-300, math.nan, math.inf, -math.inf])
def test_a_strength_is_finite_and_not_negative(kind, strength):
    with pytest.raises(ValueError, match=r"^strength must be finite and >= 0; got "):
        kind(strength)


@pytest.mark.parametrize("strength", [None, "1", 1j, True, Decimal(1), [1.0], np.ones(1)])
def test_a_strength_is_a_real_number(strength):
    with pytest.raises(TypeError, match=r"^strength must be a real number, finite and >= 0; got "):
        L1(strength)


def test_beta_is_checked_too():
    with pytest.raises(ValueError, match=r"^beta must be finite and >= 0; got -1"):
        ElasticNet(1.0, -1)
    with pytest.raises(TypeError, match=r"^beta must be a real number"):
        ElasticNet(1.0, None)
    with pytest.raises(ValueError, match=r"^strength \* beta must be finite"):
        ElasticNet(1e200, 1e200)


@pytest.mark.parametrize("alpha", [0.0, 1e-5, 0.3])
@pytest.mark.parametrize("l1_ratio", [1e-3, 0.15, 0.5, 1.0])
def test_from_l1_ratio_has_the_factors_of_scikit_learn(alpha, l1_ratio):
    penalty = ElasticNet.from_l1_ratio(alpha, l1_ratio)
    assert penalty.l1 == pytest.approx(alpha * l1_ratio, rel=1e-15)
    assert penalty.l2 == pytest.approx(alpha * (1 - l1_ratio) / 2, rel=1e-14)


@pytest.mark.parametrize(
    ("alpha", "l1_ratio", "message"),
    [
        (-1.0, 0.5, r"^alpha must be finite and >= 0"),
        (1.0, 1.5, r"^l1_ratio must be in \[0, 1\]; got 1.5"),
        (1.0, -0.5, r"^l1_ratio must be finite and >= 0"),
        (1.0, 0.0, r"^l1_ratio must be in \(0, 1\]; got 0.0, which is L2\(0.5\)"),
    ],
)
def test_from_l1_ratio_names_what_is_wrong(alpha, l1_ratio, message):
    with pytest.raises(ValueError, match=message):
        ElasticNet.from_l1_ratio(alpha, l1_ratio)


@pytest.mark.parametrize(
    ("name", "l1_ratio", "expected"),
    [
        (None, 0.15, None),
        ("none", 0.15, None),
        ("l1", 0.15, L1(0.4)),
        ("l2", 0.15, L2(0.2)),
        ("elasticnet", 0.5, ElasticNet(0.2, 0.5)),
        ("elasticnet", 1, ElasticNet(0.4, 0.0)),
        ("elasticnet", 0, L2(0.2)),
        ("group_l1", 0.15, GroupL1(0.4)),
    ],
)
def test_from_estimator(name, l1_ratio, expected):
    assert from_estimator(name, 0.4, l1_ratio) == expected


def test_from_estimator_names_what_is_wrong():
    with pytest.raises(ValueError, match=r'^penalty must be None or one of "l1", .*; got \'lasso\''):
        from_estimator("lasso", 1.0)
    with pytest.raises(TypeError, match=r"^penalty must be None or one of .*; got int"):
        from_estimator(1, 1.0)
    for name in ("l1", "l2", "elasticnet", "group_l1"):
        with pytest.raises(ValueError, match=r"^alpha must be finite"):
            from_estimator(name, -1.0)
    with pytest.raises(TypeError, match=r"^l1_ratio must be a real number"):
        from_estimator("elasticnet", 1.0, None)


# --------------------------------------------------------------------------------------------------
# The core
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_value_is_that_of_the_reference(rng, penalty, shape, dtype):
    W = random_weights(rng, shape, dtype)
    expected = reference.penalty_value(W.astype(np.longdouble), *triple(penalty))
    for laid_out in layouts(W):
        value = penalty.value(laid_out)
        assert np.shape(value) == shape[:-2]
        assert relative_error(value, expected) < 8 * np.finfo(dtype).eps
        if len(shape) == 2:
            assert isinstance(value, float)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_gradient_is_that_of_the_reference(rng, penalty, shape, dtype):
    W = random_weights(rng, shape, dtype)
    expected = reference.penalty_gradient(W.astype(np.longdouble), *triple(penalty))
    check_against(expected, W, penalty.gradient)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("step", [0.0, 0.6, 3.0])
def test_prox_is_that_of_the_reference(rng, penalty, shape, dtype, step):
    W = random_weights(rng, shape, dtype)
    expected = reference.penalty_prox(W.astype(np.longdouble), step, *triple(penalty))
    result = check_against(expected, W, lambda V, out=None: penalty.prox(V, step, out=out))
    clear = np.abs(expected) > 10 * np.finfo(dtype).eps
    assert (result[clear] != 0).all()
    assert (result[expected == 0] == 0).all()


def check_against(expected, W, function):
    """Check every layout, an `out` of its own, one with strides, and `out` as W itself; return the result."""
    result = function(W.copy())
    assert result.dtype == W.dtype
    assert result.shape == W.shape
    # relative to W: what a threshold leaves of an entry may be all cancellation
    tolerance = 8 * np.finfo(W.dtype).eps * np.abs(W).max(initial=1)
    assert np.abs(result - expected).max() < tolerance
    for laid_out in layouts(W):
        before = laid_out.copy()
        np.testing.assert_array_equal(function(laid_out), result)
        np.testing.assert_array_equal(laid_out, before)
        out = np.full(W.shape, np.nan, dtype=W.dtype)
        assert function(laid_out, out=out) is out
        np.testing.assert_array_equal(out, result)
        if laid_out.flags.writeable:
            assert function(laid_out, out=laid_out) is laid_out
            np.testing.assert_array_equal(laid_out, result)
    strided = np.full((*W.shape[:-1], 3 * W.shape[-1]), np.nan, dtype=W.dtype)
    function(W, out=strided[..., ::3])
    np.testing.assert_array_equal(strided[..., ::3], result)
    assert np.isnan(strided[..., 1::3]).all()
    assert np.isnan(strided[..., 2::3]).all()
    return result


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_scalar_prox_is_the_brute_force_argmin(penalty, dtype):
    grid = np.linspace(-3, 3, 6001)
    l1, l2, group = triple(penalty)
    for step in (0.2, 1.0, 4.0):
        for w in (-2.5, -0.4, 0.0, 0.2, 1.0, 2.9):
            values = (grid - w) ** 2 / 2 + step * ((l1 + group) * np.abs(grid) + l2 * grid**2)
            prox = penalty.prox(np.array([[w]], dtype=dtype), step)
            assert prox.item() == pytest.approx(grid[values.argmin()], abs=1e-3)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_prox_is_the_argmin(rng, penalty):
    # at the minimiser P of a function h that is 1-strongly convex, h(V) >= h(P) + ||V - P||^2 / 2 for every V
    W = rng.standard_normal((4, 30))
    step = 1.3
    P = penalty.prox(W, step)

    def h(V):
        return ((V - W) ** 2).sum() / 2 + step * penalty.value(V)

    for scale in (1e-6, 1e-3, 0.1, 1.0):
        for _ in range(50):
            V = P + scale * rng.standard_normal(W.shape)
            assert h(V) >= h(P) + ((V - P) ** 2).sum() / 2 - 1e-12


@pytest.mark.parametrize("penalty", PENALTIES)
def test_gradient_is_a_subgradient(rng, penalty):
    W = random_weights(rng, (3, 12), np.float64)
    gradient = penalty.gradient(W)
    for _ in range(100):
        V = W + rng.standard_normal(W.shape)
        assert penalty.value(V) >= penalty.value(W) + (gradient * (V - W)).sum() - 1e-12


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("penalty", [L1(1.0), GroupL1(1.0)])
def test_zero_and_signed_zero_stay_zero(penalty, dtype):
    W = np.array([[0.0, -0.0, 1e-3], [-0.0, 0.0, -1e-3]], dtype=dtype)
    assert not penalty.gradient(W)[:, :2].any()
    assert not penalty.prox(W, 1.0).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("penalty", [L1(1.0), GroupL1(1.0)])
def test_extreme_weights_neither_overflow_nor_vanish(penalty, scale, dtype):
    W = np.array([[3.0, 0.0], [4.0, 0.0]], dtype=dtype) * dtype(scale)
    exact = W.astype(np.longdouble)
    assert penalty.value(W) == pytest.approx(
        float(reference.penalty_value(exact, *triple(penalty))), rel=1e-6
    )
    assert relative_error(penalty.gradient(W), reference.penalty_gradient(exact, *triple(penalty))) < 1e-6
    assert (
        relative_error(penalty.prox(W, scale), reference.penalty_prox(exact, scale, *triple(penalty))) < 1e-6
    )


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (-0.1, ValueError, r"^step must be finite and >= 0; got -0.1"),
        (math.nan, ValueError, r"^step must be finite and >= 0; got nan"),
        (math.inf, ValueError, r"^step must be finite and >= 0; got inf"),
        (None, TypeError, r"^step must be a real number, finite and >= 0; got NoneType"),
        ("1", TypeError, r"^step must be a real number, finite and >= 0; got str"),
    ],
)
def test_a_step_is_finite_and_not_negative(step, error, message):
    W = np.ones((2, 2))
    with pytest.raises(error, match=message):
        L1(1.0).prox(W, step, out=W)
    np.testing.assert_array_equal(W, 1.0)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(
    ("W", "error"),
    [
        (np.ones((2, 2), dtype=np.float16), TypeError),
        (np.ones((2, 2), dtype=np.int64), TypeError),
        (np.ones((2, 2), dtype=np.complex128), TypeError),
        (np.ones((2, 2), dtype=">f8"), TypeError),
        ("W", TypeError),
        (np.ones(3), ValueError),
        (np.ones((1, 1, 1, 1)), ValueError),
    ],
)
def test_weights_that_are_no_weights_are_named(penalty, W, error):
    for function in (penalty.value, penalty.gradient, lambda W: penalty.prox(W, 1.0)):
        with pytest.raises(error, match=r"\bW\b"):
            function(W)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_an_out_that_does_not_fit_is_named_and_left_alone(penalty):
    W = np.arange(6.0).reshape(2, 3)
    memory = np.arange(12.0)
    read_only = np.ones((2, 3))
    read_only.setflags(write=False)
    cases = [
        (W, np.ones((3, 2))),
        (W, np.ones((2, 3), dtype=np.float32)),
        (W, [[0.0] * 3] * 2),
        (W, read_only),
        # overlaps W without being W
        (memory[:6].reshape(2, 3), memory[1:7].reshape(2, 3)),
        (memory[:6].reshape(2, 3), memory[:6].reshape(2, 3)[:, ::-1]),
    ]
    for weights, out in cases:
        before = np.array(out, copy=True)
        for function in (penalty.gradient, lambda V, out: penalty.prox(V, 1.0, out=out)):
            with pytest.raises((TypeError, ValueError), match=r"\bout\b"):
                function(weights, out=out)
            np.testing.assert_array_equal(out, before)
