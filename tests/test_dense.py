"""Algebra of small dense matrices in the core, against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

from regcore import _core

SIZES = [1, 2, 7, 17, 64, 65, 100, 129, 300]
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}
DTYPES = [np.float32, np.float64]


@pytest.fixture(params=_core.available_isas())
def isa(request):
    """Run a test at every CPU level of this machine."""
    _core.select_isa(request.param)
    yield request.param
    _core.select_isa(None)


def relative_error(actual, expected):
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def positive_definite(rng, n_blocks, K, dtype):
    """Random matrices with condition numbers of about 100, and NaN above their diagonals."""
    Z = rng.standard_normal((n_blocks, K, 2 * K))
    A = (Z @ Z.transpose(0, 2, 1) / (2 * K) + 0.05 * np.eye(K)).astype(dtype)
    A[:, *np.triu_indices(K, 1)] = np.nan
    return A


def completed(A, extra):
    """The symmetric matrices that the lower triangles of A stand for, plus diagonals, in float64."""
    lower = np.tril(A).astype(np.float64)
    return lower + np.tril(lower, -1).transpose(0, 2, 1) + extra[..., None] * np.eye(A.shape[-1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [*SIZES, 331])
@pytest.mark.parametrize("n_samples", [1, 130, 301])
def test_gram_blocks(isa, rng, dtype, K, n_samples):
    Z = rng.standard_normal((n_samples, K)).astype(dtype)
    H = rng.uniform(0, 2, (n_samples, 3))
    H[:, 1] = 0
    start = rng.standard_normal((3, K, K))
    start = (start + start.transpose(0, 2, 1)).astype(dtype)
    out = start.copy()
    _core.gram_blocks(Z, H, out, 2)
    wide = Z.astype(np.float64)
    expected = start + np.einsum("ik,ib,il->bkl", wide, H, wide, optimize=True)
    assert relative_error(out, expected) < TOLERANCE[dtype]
    np.testing.assert_array_equal(out, out.transpose(0, 2, 1))
    np.testing.assert_array_equal(out[1], start[1])


def test_gram_blocks_adds_nothing_without_samples():
    out = np.ones((2, 5, 5))
    _core.gram_blocks(np.empty((0, 5)), np.empty((0, 2)), out, 1)
    np.testing.assert_array_equal(out, 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", SIZES)
def test_cholesky_blocks(isa, rng, dtype, K):
    A, extra = positive_definite(rng, 3, K, dtype), rng.uniform(0, 0.1, (3, K))
    L = np.full_like(A, np.nan)
    definite = _core.cholesky_blocks(A, extra, L, 2)
    assert definite.dtype == bool
    assert definite.tolist() == [True, True, True]
    np.testing.assert_array_equal(L, np.tril(L))
    assert relative_error(L, np.linalg.cholesky(completed(A, extra))) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [1, 7, 129])
@pytest.mark.parametrize("bad", [-3.0, np.nan, np.inf])
def test_cholesky_blocks_that_are_not_positive_definite(isa, rng, dtype, K, bad):
    A, extra = positive_definite(rng, 3, K, dtype), np.zeros((3, K))
    A[0, K - 1, K - 1] = A[2, 0, 0] = bad
    L, alone = np.empty_like(A), np.empty_like(A[:1])
    assert _core.cholesky_blocks(A, extra, L, 2).tolist() == [False, True, False]
    assert _core.cholesky_blocks(A[1:2], extra[1:2], alone, 1).tolist() == [True]
    np.testing.assert_array_equal(L[1], alone[0])


def test_cholesky_blocks_of_a_singular_matrix():
    definite = _core.cholesky_blocks(np.ones((1, 80, 80)), np.zeros((1, 80)), np.empty((1, 80, 80)), 1)
    assert not definite[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", SIZES)
@pytest.mark.parametrize(("n_factors", "n_right"), [(1, 1), (3, 3), (1, 19)])
def test_cholesky_solve(isa, rng, dtype, K, n_factors, n_right):
    A = completed(positive_definite(rng, n_factors, K, dtype), np.zeros((n_factors, K)))
    L = np.linalg.cholesky(A).astype(dtype)
    L[:, *np.triu_indices(K, 1)] = np.nan
    r = rng.standard_normal((n_right, K))
    out = np.full_like(r, np.nan)
    _core.cholesky_solve(L, r, out, 2)
    expected = np.linalg.solve(A, r[..., None])[..., 0]
    assert relative_error(out, expected) < 100 * TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_with_any_number_of_threads(rng, dtype):
    n_blocks, K = 5, 301
    Z, H = rng.standard_normal((700, K)).astype(dtype), rng.uniform(0, 1, (700, n_blocks))
    right = rng.standard_normal((n_blocks, K))
    found = []
    for n_threads in (1, 2, 3, 11):
        gram = np.zeros((n_blocks, K, K), dtype)
        _core.gram_blocks(Z, H, gram, n_threads)
        L = np.empty_like(gram)
        assert _core.cholesky_blocks(gram, np.ones((n_blocks, K)), L, n_threads).all()
        each, shared = np.empty_like(right), np.empty((n_blocks, K))
        _core.cholesky_solve(L, right, each, n_threads)
        _core.cholesky_solve(L[:1].copy(), right, shared, n_threads)
        found.append((gram, L, each, shared))
    for others in found[1:]:
        for first, other in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(first, other)


def test_same_bits_of_a_large_factor_with_any_number_of_threads(rng):
    A = np.eye(1030, dtype=np.float32)[None] + rng.uniform(0, 1e-3, (1, 1030, 1030)).astype(np.float32)
    one, two = np.empty_like(A), np.empty_like(A)
    for out, n_threads in ((one, 1), (two, 2)):
        assert _core.cholesky_blocks(A, np.zeros((1, 1030)), out, n_threads).all()
    np.testing.assert_array_equal(one, two)
    assert np.linalg.norm(np.tril(one[0] @ one[0].T - A[0])) < 1e-4


def test_what_is_not_allowed_is_refused():
    Z, H, out = np.ones((6, 4)), np.ones((6, 3)), np.zeros((3, 4, 4))
    with pytest.raises(ValueError, match="Z must be C-contiguous"):
        _core.gram_blocks(np.asfortranarray(Z), H, out, 1)
    with pytest.raises(ValueError, match="H must be C-contiguous"):
        _core.gram_blocks(Z, np.asfortranarray(H), out, 1)
    with pytest.raises(ValueError, match="out must be C-contiguous"):
        _core.gram_blocks(Z, H, np.zeros((4, 4, 3)).T, 1)
    with pytest.raises(TypeError, match="Z must be float32 or float64; got int64"):
        _core.gram_blocks(Z.astype(np.int64), H, out, 1)
    with pytest.raises(TypeError, match="out must be float32; got float64"):
        _core.gram_blocks(Z.astype(np.float32), H, out, 1)
    with pytest.raises(ValueError, match=r"H must have shape \(6, any\); got \(5, 3\)"):
        _core.gram_blocks(Z, H[:5], out, 1)
    with pytest.raises(ValueError, match="A must hold square matrices"):
        _core.cholesky_blocks(np.ones((1, 3, 4)), np.ones((1, 3)), np.ones((1, 3, 4)), 1)
    with pytest.raises(ValueError, match="out must not overlap"):
        _core.cholesky_blocks(out, np.ones((3, 4)), out, 1)
    read_only = np.zeros((3, 4, 4))
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="out must be writeable"):
        _core.gram_blocks(Z, H, read_only, 1)
    with pytest.raises(ValueError, match="one for each of the 2 rows"):
        _core.cholesky_solve(out, np.ones((2, 4)), np.ones((2, 4)), 1)
    with pytest.raises(TypeError, match="r must be float64; got float32"):
        _core.cholesky_solve(out, np.ones((3, 4), np.float32), np.ones((3, 4)), 1)
