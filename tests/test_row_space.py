"""The row space of X: its coordinates, and fits with fewer samples than features."""

from __future__ import annotations

import numpy as np
import pytest
from problems import relative_error
from scipy import sparse

from regcore import L1, L2, Objective, fit
from regcore.solvers import ConvergenceWarning, row_space_start

N_SAMPLES, N_FEATURES = 30, 200


def wide(rng, n_classes: int = 3):
    X = rng.standard_normal((N_SAMPLES, N_FEATURES))
    return X, np.arange(N_SAMPLES) % n_classes


def matrices(X):
    counts = np.round(20 * np.abs(X)).astype(np.uint8)
    thinned = np.where(np.abs(X) < 1, 0, X)
    return {
        "float64": X,
        "float32, Fortran": np.asfortranarray(X, dtype=np.float32),
        "uint8": counts,
        "CSR": sparse.csr_array(thinned),
    }


@pytest.mark.parametrize("kind", ["float64", "float32, Fortran", "uint8", "CSR"])
@pytest.mark.parametrize("standardize", [False, True])
def test_coordinates_keep_scores_and_norms(rng, kind, standardize):
    X, y = wide(rng)
    objective = Objective(matrices(X)[kind], y, standardize=standardize)
    rows = objective._dense_rows(np.arange(N_SAMPLES), np.float64)
    space = objective._row_space()
    assert relative_error(space.features @ space.features.T, rows @ rows.T) < 1e-12
    W = rng.standard_normal((3, N_SAMPLES)) @ rows
    V = space.coordinates(W)
    assert relative_error(V @ space.features.T, W @ rows.T) < 1e-11
    assert np.square(V).sum() == pytest.approx(np.square(W).sum(), rel=1e-11)
    assert relative_error(space.weights(V), W) < 1e-11


def test_equal_and_empty_rows_have_a_row_space(rng):
    X, y = wide(rng)
    X[1], X[2] = X[0], 0
    space = Objective(X, y)._row_space()
    assert np.isfinite(space.features).all()
    assert relative_error(space.features @ space.features.T, X @ X.T) < 1e-12
    assert np.isfinite(Objective(np.zeros((4, 9)), [0, 1, 0, 1])._row_space().features).all()


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_hinge"])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fit_in_the_row_space_ends_at_the_optimum(rng, monkeypatch, loss, binary, fit_intercept, dtype):
    X, y = wide(rng, 2 if binary else 3)
    weights = rng.integers(0, 3, N_SAMPLES).astype(float)
    objective = Objective(
        X, y, loss=loss, penalty=L2(1e-2), binary=binary, sample_weight=weights, standardize=True
    )
    tol = 1e-8 if dtype == np.float64 else 1e-5
    settings = {"solver": "lbfgs", "tol": tol, "fit_intercept": fit_intercept, "dtype": dtype}
    result = fit(objective, **settings)
    assert result.converged, result.message
    if binary or loss == "cross_entropy":
        assert result.n_iter == 1  # nothing was left to do
    assert result.W.dtype == dtype
    gap = objective.dual_gap(result.W, result.b if fit_intercept else None)
    assert gap <= 1.01 * tol * result.value + 1e-15
    monkeypatch.setattr(row_space_start, "_FEW_SAMPLES", 0)
    plain = fit(objective, **settings | {"max_iter": 5000})
    assert plain.n_iter > 1
    assert result.value == pytest.approx(plain.value, rel=2 * tol)


def test_the_same_bits_with_any_number_of_threads_and_on_csr_the_same_optimum(rng):
    X, y = wide(rng)
    fits = [fit(Objective(X, y, penalty=L2(1e-3), n_threads=n), tol=1e-8) for n in (1, 2)]
    assert fits[0].W.tobytes() == fits[1].W.tobytes()
    csr = fit(Objective(sparse.csr_array(X), y, penalty=L2(1e-3)), tol=1e-8)
    assert csr.value == pytest.approx(fits[0].value, rel=1e-7)


def test_a_warm_start_goes_through_the_row_space(rng):
    X, y = wide(rng)
    near = fit(Objective(X, y, penalty=L2(2e-3)), tol=1e-8)
    objective = Objective(X, y, penalty=L2(1e-3))
    cold, warm = fit(objective, tol=1e-8), fit(objective, tol=1e-8, init=near)
    assert warm.converged
    assert warm.value == pytest.approx(cold.value, rel=1e-7)


def test_folds_share_the_row_space(rng):
    X, y = wide(rng)
    objective = Objective(X, y, penalty=L2(1e-3))
    space = objective._row_space()
    fold = objective._with((np.arange(N_SAMPLES) % 2).astype(np.float32), L2(1e-2))
    assert fold._row_space() is space
    assert objective._with_penalty(L1(1e-2))._row_space() is space


def test_separable_samples_without_a_penalty_are_recognised(rng):
    X, y = wide(rng)
    with pytest.warns(ConvergenceWarning, match="no minimum; add a penalty"):
        result = fit(Objective(X, y), solver="lbfgs")
    assert not result.converged


def test_a_fit_that_goes_on_after_the_row_space_is_resumed_with_the_same_bits(rng, monkeypatch, tmp_path):
    monkeypatch.setattr(row_space_start, "_STEPS", 3)
    X, y = wide(rng)
    objective = Objective(X, y, penalty=L2(1e-4))
    settings = {"solver": "lbfgs", "tol": 1e-12, "random_state": 0}
    with pytest.warns(ConvergenceWarning):
        whole = fit(objective, **settings, max_iter=8)
    checkpoint = {"checkpoint": tmp_path / "fit", "checkpoint_every": 0}
    with pytest.warns(ConvergenceWarning):
        fit(objective, **settings, max_iter=4, **checkpoint)
    with pytest.warns(ConvergenceWarning):
        resumed = fit(objective, **settings, max_iter=8, resume=tmp_path / "fit")
    assert resumed.n_iter == whole.n_iter == 8
    assert resumed.W.tobytes() == whole.W.tobytes()
