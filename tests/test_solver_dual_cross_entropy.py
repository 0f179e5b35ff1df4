"""`dual` with cross_entropy, and the dual start of `newton-cd`: the optimum of others, and its proof."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from regcore import L1, L2, ElasticNet, GroupL1, Objective, fit
from regcore.solvers.dual_cross_entropy import starts_in_the_dual, work_per_sample
from regcore.solvers.protocol import ProblemToSolve

PENALTIES = {
    "l2": L2(0.01),
    "elastic_net": ElasticNet(0.01, 0.7),
}
ALMOST_FREE = L2(1e-7)


def samples(rng, n_classes, n_samples=60, n_features=7):
    """Overlapping classes, half of the numbers zero."""
    y = rng.integers(0, n_classes, n_samples)
    X = rng.standard_normal((n_samples, n_features)) + rng.standard_normal((n_classes, n_features))[y]
    X[rng.random(X.shape) < 0.5] = 0
    return X, y


def texts(rng, n_samples=1500, n_features=4000, n_classes=5, words=60):
    """Rows of tf-idf, nearly: words by a power law, some of them typical of a class, of length 1."""
    y = rng.integers(0, n_classes, n_samples)
    popularity = 1 / np.arange(2, n_features + 2)
    rows = []
    for label in y:
        weights = popularity * np.where(np.arange(n_features) % n_classes == label, 3.0, 1.0)
        rows.append(rng.choice(n_features, words, p=weights / weights.sum()))
    indptr = np.arange(n_samples + 1) * words
    X = sparse.csr_matrix((np.ones(indptr[-1]), np.concatenate(rows), indptr), shape=(n_samples, n_features))
    X.sum_duplicates()
    X = sparse.csr_matrix(X.multiply(-np.log(popularity / popularity.sum())))
    return sparse.csr_matrix(X.multiply(1 / np.sqrt(X.multiply(X).sum(axis=1)))).astype(np.float32), y


def matrix_of(X, kind):
    return X if kind == "dense" else sparse.csr_matrix(X)


def least_value(objective, tol=1e-9, **arguments):
    """The minimum, by another solver."""
    found = fit(objective, solver="lbfgs", tol=tol, max_iter=5000, dtype=np.float64, **arguments)
    return found.value - found.dual_gap


@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
@pytest.mark.parametrize("n_outputs", [1, 2, 3, 17])
def test_optimum(rng, n_outputs, penalty, fit_intercept, kind):
    X, y = samples(rng, max(n_outputs, 2))
    weights = rng.uniform(0, 2, len(y)) * (rng.random(len(y)) < 0.8)
    weights[: 2 * n_outputs] += 0.1
    y[: 2 * n_outputs] = np.arange(2 * n_outputs) % max(n_outputs, 2)
    objective = Objective(
        matrix_of(X, kind),
        y,
        loss="cross_entropy",
        penalty=penalty,
        sample_weight=weights,
        n_classes=max(n_outputs, 2),
        binary=n_outputs == 1,
    )
    found = fit(objective, solver="dual", tol=1e-7, dtype=np.float64, fit_intercept=fit_intercept)
    assert found.converged, found.message
    least = least_value(objective, fit_intercept=fit_intercept)
    assert least - 2e-9 * least <= found.value <= least + 1.1e-7 * found.value
    assert found.dual_gap >= found.value - least - 2e-9 * found.value


def test_the_certificate_is_that_of_any_point(rng):
    """No gap on the way is smaller than what there is left to gain."""
    X, y = samples(rng, 3)
    objective = Objective(sparse.csr_matrix(X), y, loss="cross_entropy", penalty=L2(1e-3))
    least = least_value(objective)
    gaps = []

    def look(state):
        if state.dual_gap is not None:
            gaps.append((state.dual_gap, state.value - least))

    assert fit(objective, solver="dual", tol=1e-8, dtype=np.float64, callbacks=look).converged
    assert gaps
    assert all(gap >= left - 2e-9 * least for gap, left in gaps)


@pytest.mark.parametrize("n_outputs", [1, 4])
def test_a_single_sample_is_solved_at_once(rng, n_outputs):
    """Its step is exact: what is left after it is rounding."""
    X = rng.standard_normal((1, 5))
    objective = Objective(
        X, [1], loss="cross_entropy", penalty=L2(0.05), n_classes=max(2, n_outputs), binary=n_outputs == 1
    )
    values = []
    fit(
        objective,
        solver="dual",
        tol=None,
        max_iter=4,
        dtype=np.float64,
        fit_intercept=False,
        callbacks=lambda state: values.append(state.value),
    )
    assert values[-1] == pytest.approx(least_value(objective, fit_intercept=False), rel=1e-9)
    assert values[0] == pytest.approx(values[-1], rel=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 5.0])
def test_scales(rng, scale, dtype):
    X, y = samples(rng, 4, n_features=40)
    objective = Objective(sparse.csr_matrix(X * scale), y, loss="cross_entropy", penalty=L2(0.1))
    found = fit(objective, solver="dual", tol=1e-4, dtype=dtype, random_state=0)
    assert found.converged, found.message
    assert found.value == pytest.approx(least_value(objective), rel=1.1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_far_too_long_end_in_no_lie(rng, dtype):
    X, y = samples(rng, 4, n_features=40)
    objective = Objective(sparse.csr_matrix(X * 1e5), y, loss="cross_entropy", penalty=L2(1e-3))
    with pytest.warns(match="max_iter=20 came before tol"):
        found = fit(objective, solver="dual", tol=1e-4, dtype=dtype, max_iter=20, random_state=0)
    assert np.isfinite(found.W).all()
    assert not found.converged


def test_class_without_samples(rng):
    X, y = samples(rng, 3)
    objective = Objective(sparse.csr_matrix(X), y, loss="cross_entropy", penalty=L2(0.01), n_classes=5)
    found = fit(objective, solver="dual", tol=1e-6, dtype=np.float64)
    assert found.converged, found.message
    three = Objective(sparse.csr_matrix(X), y, loss="cross_entropy", penalty=L2(0.01))
    assert found.value == pytest.approx(least_value(three), rel=3e-6)


def test_a_start_near_the_optimum_is_used(rng):
    X, y = texts(rng)
    objective = Objective(X, y, loss="cross_entropy", penalty=L2(1e-5))
    cold = fit(objective, solver="dual", tol=1e-4)
    warm = fit(objective, solver="dual", tol=1e-4, init=(cold.W, cold.b))
    assert warm.converged
    assert warm.n_iter < cold.n_iter


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_with_any_number_of_threads(rng, dtype):
    X, y = texts(rng, n_samples=2500)
    found = [
        fit(
            Objective(X, y, loss="cross_entropy", penalty=L2(1e-5), n_threads=n_threads),
            solver="dual",
            tol=1e-4,
            dtype=dtype,
            random_state=0,
        )
        for n_threads in (1, 2, 3)
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(found[0].W, other.W)
        np.testing.assert_array_equal(found[0].b, other.b)
        assert found[0].value == other.value


def test_float32_ends_where_it_can_do_no_more(rng):
    X, y = samples(rng, 3)
    objective = Objective(sparse.csr_matrix(X), y, loss="cross_entropy", penalty=L2(1e-3))
    with pytest.warns(match="float32 gives nothing more"):
        found = fit(objective, solver="dual", tol=1e-12, dtype=np.float32)
    assert not found.converged


# --------------------------------------------------------------------------------------------------
# auto, and what it is not for
# --------------------------------------------------------------------------------------------------
def test_auto_takes_it_on_text_unless_the_penalty_is_too_weak(rng):
    X, y = texts(rng)
    easy = Objective(X, y, loss="cross_entropy", penalty=L2(1e-5))
    hard = Objective(X, y, loss="cross_entropy", penalty=ALMOST_FREE)
    assert work_per_sample(easy) == pytest.approx(1 / (2e-5 * len(y)), rel=1e-5)
    for objective, solver in ((easy, "dual"), (hard, "lbfgs")):
        assert fit(objective, tol=0.1).solver == solver
    dense = Objective(X.toarray(), y, loss="cross_entropy", penalty=L2(1e-5))
    assert fit(dense, tol=0.1).solver == "lbfgs"


@pytest.mark.parametrize(
    ("arguments", "penalty"),
    [({}, None), ({}, L1(0.1)), ({"label_smoothing": 0.1}, L2(0.1)), ({"standardize": True}, L2(0.1))],
)
def test_what_it_does_not_handle(rng, arguments, penalty):
    X, y = samples(rng, 3)
    objective = Objective(sparse.csr_matrix(X), y, loss="cross_entropy", penalty=penalty, **arguments)
    with pytest.raises(ValueError, match="or cross_entropy of labels with an L2 part"):
        fit(objective, solver="dual")


def test_soft_targets_are_for_others(rng):
    X, y = samples(rng, 3)
    objective = Objective(sparse.csr_matrix(X), np.eye(3)[y], loss="cross_entropy", penalty=L2(0.1))
    with pytest.raises(ValueError, match="or cross_entropy of labels with an L2 part"):
        fit(objective, solver="dual")


# --------------------------------------------------------------------------------------------------
# the start of newton-cd
# --------------------------------------------------------------------------------------------------
def problem_of(objective):
    shape = objective.n_outputs, objective.n_features
    return ProblemToSolve(objective, np.zeros(shape), np.zeros(shape[0]), 1e-4, 1000, 0)


@pytest.mark.parametrize(
    "penalty",
    [L1(1e-5), ElasticNet.from_l1_ratio(1e-5, 0.9), GroupL1(3e-5)],
    ids=["l1", "elastic_net", "group"],
)
def test_a_weak_penalty_on_text_starts_in_the_dual(rng, penalty):
    X, y = texts(rng, n_samples=400, n_features=800)
    objective = Objective(X, y, loss="cross_entropy", penalty=penalty)
    assert starts_in_the_dual(problem_of(objective))
    found = fit(objective, solver="newton-cd", tol=1e-4, dtype=np.float64)
    assert found.converged, found.message
    assert found.value == pytest.approx(least_value(objective, tol=1e-7), rel=1.1e-4)
    again = fit(objective, solver="newton-cd", tol=1e-4, dtype=np.float64, init=(found.W, found.b))
    assert again.n_iter <= 2


def test_other_penalties_do_not(rng):
    X, y = texts(rng, n_samples=400, n_features=800)
    for penalty in (None, L1(1e-3), L2(1e-5)):
        assert not starts_in_the_dual(problem_of(Objective(X, y, loss="cross_entropy", penalty=penalty)))
    dense = Objective(X.toarray(), y, loss="cross_entropy", penalty=L1(1e-5))
    assert not starts_in_the_dual(problem_of(dense))
