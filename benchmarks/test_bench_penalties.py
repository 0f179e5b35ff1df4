"""Value, gradient and prox of every penalty."""

from __future__ import annotations

import numpy as np
import pytest
from cases import DTYPES, WEIGHT_SHAPES, assert_agree

import regcore
from regcore import reference

PENALTIES = {
    "l1": regcore.L1(0.3),
    "l2": regcore.L2(0.3),
    "elastic_net": regcore.ElasticNet(0.3, 0.5),
    "group_l1": regcore.GroupL1(0.3),
}


def reference_value(penalty, W):
    return reference.penalty_value(W, penalty.l1, penalty.l2, penalty.group)


def reference_gradient(penalty, W, out):
    return reference.penalty_gradient(W, penalty.l1, penalty.l2, penalty.group, out=out)


def reference_prox(penalty, W, out):
    return reference.penalty_prox(W, 0.7, penalty.l1, penalty.l2, penalty.group, out=out)


def core_value(penalty, W):
    return penalty.value(W)


def core_gradient(penalty, W, out):
    return penalty.gradient(W, out=out)


def core_prox(penalty, W, out):
    return penalty.prox(W, 0.7, out=out)


def weights(shape, dtype):
    return np.random.default_rng(3).standard_normal(shape).astype(dtype)


def grid(function):
    """Every shape, dtype and penalty; the two implementations next to each other."""
    for name, values in (("shape", WEIGHT_SHAPES), ("dtype", DTYPES), ("penalty", PENALTIES)):
        ids = ["x".join(map(str, value)) for value in values] if name == "shape" else None
        function = pytest.mark.parametrize(name, values, ids=ids)(function)
    return pytest.mark.parametrize("implementation", ["regcore", "reference"])(function)


@pytest.mark.operation("Penalty.value")
@grid
def test_value(benchmark, shape, dtype, penalty, implementation):
    W = weights(shape, dtype)
    benchmark.group = f"penalty value {penalty} {dtype} {shape}"
    function = core_value if implementation == "regcore" else reference_value
    result = benchmark(function, PENALTIES[penalty], W)
    assert_agree(result, reference_value(PENALTIES[penalty], W), dtype)


@pytest.mark.operation("Penalty.gradient")
@grid
def test_gradient(benchmark, shape, dtype, penalty, implementation):
    W = weights(shape, dtype)
    benchmark.group = f"penalty gradient {penalty} {dtype} {shape}"
    function = core_gradient if implementation == "regcore" else reference_gradient
    result = benchmark(function, PENALTIES[penalty], W, np.empty_like(W))
    assert_agree(result, reference_gradient(PENALTIES[penalty], W, None), dtype)


@pytest.mark.operation("Penalty.prox")
@grid
def test_prox(benchmark, shape, dtype, penalty, implementation):
    W = weights(shape, dtype)
    benchmark.group = f"penalty prox {penalty} {dtype} {shape}"
    function = core_prox if implementation == "regcore" else reference_prox
    result = benchmark(function, PENALTIES[penalty], W, np.empty_like(W))
    assert_agree(result, reference_prox(PENALTIES[penalty], W, None), dtype)
