"""The hinges to a duality gap: Crammer-Singer beside liblinear at the same objective, and each penalty."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from cases import Shape
from real_data import training_part

import regcore

pytestmark = pytest.mark.operation("fit")

ALPHA = 1e-4
SHAPE = Shape(20_000, 784, 10)
PENALTIES = {
    "l2": regcore.L2(5e-3),
    "elasticnet": regcore.ElasticNet.from_l1_ratio(1e-2, 0.5),
    "l1": regcore.L1(1e-2),
    "group_l1": regcore.GroupL1(2e-2),
}


def real_data(name, scale):
    """Return the first samples of a training part; without the file the test is skipped."""
    try:
        X, y = training_part(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    n = max(100, int(scale * len(y)))
    return X[:n], y[:n]


def news(scale):
    pytest.importorskip("scipy.sparse")
    return real_data("20newsgroups.npz", scale)


def fashion(scale):
    X, y = real_data("fashion_mnist.npz", scale)
    return X / np.float32(255), y


@pytest.mark.parametrize(("load", "tols"), [(news, (0.1, 0.03, 0.01)), (fashion, (0.5, 0.1))])
def test_crammer_singer_beside_liblinear(load, tols, scale, report, full_size):
    """Seconds to an objective, without intercept, which liblinear would penalise."""
    svm = pytest.importorskip("sklearn.svm")
    X, y = load(scale)
    objective = regcore.Objective(X, y, loss="crammer_singer", penalty=regcore.L2(ALPHA / 2))
    best = regcore.fit(objective, tol=1e-5, fit_intercept=False, dtype=np.float64, random_state=0)
    for tol in tols:
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer = svm.LinearSVC(
                multi_class="crammer_singer",
                C=1 / (ALPHA * len(y)),
                fit_intercept=False,
                tol=tol,
                random_state=0,
            ).fit(X, y)
        theirs = time.perf_counter() - start
        reached = objective.value(np.ascontiguousarray(peer.coef_))

        def as_good(state, reached=reached):
            return state.value <= reached

        start = time.perf_counter()
        result = regcore.fit(
            objective, tol=None, fit_intercept=False, callbacks=as_good, random_state=0, max_iter=200
        )
        ours = time.perf_counter() - start
        report(
            f"crammer_singer {load.__name__} {X.shape}: {reached / best.value - 1:.1e} from the optimum, "
            f"liblinear {theirs:.2f} s, ours {ours:.2f} s and {result.n_passes:.0f} passes, "
            f"{theirs / ours:.1f} times as fast"
        )
        assert result.value <= reached
        if full_size and load is fashion:
            assert theirs >= 3 * ours


def test_weston_watkins_to_a_gap(scale, report, full_size):
    X, y = fashion(scale)
    objective = regcore.Objective(X, y, loss="hinge", penalty=regcore.L2(ALPHA / 2))
    start = time.perf_counter()
    result = regcore.fit(objective, tol=1e-4, random_state=0)
    seconds = time.perf_counter() - start
    report(
        f"hinge fashion {X.shape}: a gap of {result.dual_gap / result.value:.1e} in {seconds:.2f} s "
        f"and {result.n_passes:.0f} passes"
    )
    assert result.converged
    if full_size:
        assert seconds < 7


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", ["hinge", "crammer_singer"])
def test_dual(benchmark, scale, loss, penalty):
    rng = np.random.default_rng(7)
    shape = SHAPE.scaled(scale)
    y = rng.integers(0, shape.n_classes, shape.n_samples)
    X = rng.standard_normal((shape.n_samples, shape.n_features), dtype=np.float32)
    X[np.arange(len(y)), y] += 2
    objective = regcore.Objective(X, y, loss=loss, penalty=PENALTIES[penalty])
    benchmark.group = f"dual to 1e-2, {loss} {penalty} {X.shape}"
    result = benchmark.pedantic(
        regcore.fit, (objective,), {"solver": "dual", "tol": 1e-2, "random_state": 0}, rounds=2
    )
    benchmark.extra_info.update(passes=result.n_passes)
    assert result.converged
    assert result.dual_gap <= 1e-2 * result.value
