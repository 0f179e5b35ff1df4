"""Loss and gradient in one call: every loss, multi-class and binary, dense and CSR, and X of other types."""

from __future__ import annotations

import numpy as np
import pytest
from cases import (
    BINARY_LOSSES,
    BINARY_SHAPES,
    DENSE_SHAPES,
    DTYPES,
    LOSSES,
    SPARSE_SHAPES,
    STORAGE_DTYPES,
    STORAGE_SHAPES,
    Problem,
    assert_agree,
)

import regcore
from regcore import reference

IMPLEMENTATIONS = {"regcore": regcore.loss_and_grad, "reference": reference.loss_and_grad}

pytestmark = pytest.mark.operation("loss_and_grad")


@pytest.fixture
def check_and_time(benchmark, expected, settle):
    """A function that times one implementation and checks its answer."""

    def run(group, implementation, p: Problem, **arguments):
        benchmark.group = f"loss_and_grad {group} {p.shape}"
        benchmark.extra_info.update(bytes=p.n_bytes, operations=p.n_operations)
        answer = expected(benchmark.group, lambda: reference.loss_and_grad(p.X, p.y, p.W, p.b, **arguments))
        settle()
        result = benchmark(IMPLEMENTATIONS[implementation], p.X, p.y, p.W, p.b, **arguments)
        assert_agree(result, answer, p.W.dtype.name)

    return run


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", DENSE_SHAPES, ids=str)
def test_dense(check_and_time, dense, shape, dtype, loss, implementation):
    check_and_time(f"{loss} {dtype}", implementation, dense(shape, dtype), loss=loss)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("loss", BINARY_LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", BINARY_SHAPES, ids=str)
def test_binary(check_and_time, dense, shape, dtype, loss, implementation):
    check_and_time(f"{loss} {dtype}", implementation, dense(shape, dtype), loss=loss)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SPARSE_SHAPES, ids=str)
def test_csr(check_and_time, csr, shape, dtype, loss, implementation):
    if shape.n_classes == 1 and loss not in BINARY_LOSSES:
        pytest.skip(f"{loss} has no binary form")
    check_and_time(f"csr {loss} {dtype}", implementation, csr(shape, dtype), loss=loss)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("storage", STORAGE_DTYPES)
@pytest.mark.parametrize("shape", STORAGE_SHAPES, ids=str)
def test_storage(check_and_time, dense, shape, storage, implementation):
    check_and_time(
        f"cross_entropy float32, X {storage}",
        implementation,
        dense(shape, "float32", storage),
        loss="cross_entropy",
    )


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("layout", ["F", "strided"])
@pytest.mark.parametrize("shape", STORAGE_SHAPES, ids=str)
def test_layout(check_and_time, dense, shape, layout, implementation):
    p = dense(shape, "float32")
    X = np.asfortranarray(p.X) if layout == "F" else np.repeat(p.X, 2, axis=1)[:, ::2]
    p = Problem(X, p.y, p.W, p.b, p.shape)
    check_and_time(f"cross_entropy float32, X {layout}", implementation, p, loss="cross_entropy")


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("shape", STORAGE_SHAPES, ids=str)
def test_weights_and_penalty(check_and_time, dense, shape, implementation):
    p = dense(shape, "float32")
    check_and_time(
        "cross_entropy float32, weights, elastic net",
        implementation,
        p,
        loss="cross_entropy",
        penalty=regcore.ElasticNet(1e-3, 0.5),
        sample_weight=np.random.default_rng(0).random(p.shape.n_samples, dtype=np.float32),
    )
