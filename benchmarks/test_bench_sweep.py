"""Penalties, strengths and folds in one pass, beside one fit after the other and scikit-learn's searches."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from real_data import training_part

import regcore

pytestmark = pytest.mark.operation("sweep")

N_FOLDS = 5
ALPHAS = np.geomspace(1e-5, 1e-1, 10)
KINDS: dict[str, Callable[[float], regcore.Penalty]] = {
    "l1": regcore.L1,
    "l2": lambda alpha: regcore.L2(alpha / 2),
    "elasticnet": lambda alpha: regcore.ElasticNet.from_l1_ratio(alpha, 0.5),
}
PIXELS = {"standardize": (np.zeros(784), np.full(784, 255.0))}


def thinned(name: str, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Some of the rows of a file, all at full size."""
    try:
        X, y = training_part(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    every = max(1, min(round(1 / scale), len(y) // 500))  # the files are sorted by class
    return np.ascontiguousarray(X[::every]).reshape(-1, X[0].size), y[::every]


def folds(y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    rows = np.random.default_rng(0).permutation(len(y))
    fold = np.empty(len(y), np.int64)
    fold[rows[np.argsort(y[rows], kind="stable")]] = np.arange(len(y)) % N_FOLDS
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(N_FOLDS)]


def timed(settle: Callable[[], None], function: Callable[[], Any]) -> tuple[float, Any]:
    settle()
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = function()
    return time.perf_counter() - start, found


def one_by_one(
    X: np.ndarray, y: np.ndarray, penalties: list[regcore.Penalty], splits: list[Any], **data: Any
) -> list[list[regcore.FitResult]]:
    results: list[list[regcore.FitResult]] = [[] for _ in penalties]
    for train, _ in splits:
        weights = np.zeros(len(y), np.float32)
        weights[train] = 1
        for found, penalty in zip(results, penalties, strict=True):
            objective = regcore.Objective(X, y, penalty=penalty, sample_weight=weights, **data)
            found.append(regcore.fit(objective, random_state=0))
    return results


def assert_equal_optima(found: regcore.SweepResult, results: list[list[regcore.FitResult]]) -> None:
    for mine, others in zip(found.results, results, strict=True):
        for a, b in zip(mine, others, strict=True):
            assert a.converged
            assert abs(a.value - b.value) <= 2e-4 * b.value


def peers(X: np.ndarray, y: np.ndarray, splits: list[Any]) -> dict[str, Callable[[], Any]]:
    linear_model = pytest.importorskip("sklearn.linear_model")
    from sklearn.model_selection import GridSearchCV

    sgd = linear_model.SGDClassifier(loss="log_loss", random_state=0)
    grid = {"alpha": ALPHAS, "penalty": ["l1", "l2", "elasticnet"], "l1_ratio": [0.5]}
    C = 1 / (ALPHAS * 0.8 * len(y))

    def cross_validated(solver: str, l1_ratios: list[float], **settings: Any) -> Any:
        return linear_model.LogisticRegressionCV(
            Cs=C,
            cv=splits,
            solver=solver,
            l1_ratios=np.array(l1_ratios),
            refit=False,
            random_state=0,
            n_jobs=2,
            **settings,
        ).fit(X, y)

    return {
        "GridSearchCV(SGDClassifier)": lambda: GridSearchCV(sgd, grid, cv=splits, n_jobs=2, refit=False).fit(
            X, y
        ),
        "LogisticRegressionCV(saga)": lambda: cross_validated("saga", [0.0, 0.5, 1.0], max_iter=100),
        "LogisticRegressionCV(lbfgs), the L2 third": lambda: cross_validated("lbfgs", [0.0], max_iter=100),
    }


def test_search_on_histograms(scale, full_size, report, settle):
    X, y = thinned("dogs_vs_cats_hsv512.npz", scale)
    splits = folds(y)
    by_kind = {
        name: [make(alpha) for alpha in (ALPHAS if full_size else ALPHAS[5::2])]
        for name, make in KINDS.items()
    }
    everything = [penalty for kind in by_kind.values() for penalty in kind]

    def ours(penalties: list[regcore.Penalty]) -> regcore.SweepResult:
        return regcore.sweep(X, y, penalties=penalties, folds=splits, binary=True)

    seconds, found = timed(settle, lambda: ours(everything))
    lone, results = timed(settle, lambda: one_by_one(X, y, everything, splits, binary=True))
    again, _ = timed(settle, lambda: ours(everything))
    l2, _ = timed(settle, lambda: ours(by_kind["l2"]))
    assert_equal_optima(found, results)
    seconds = min(seconds, again)
    best = found.scores.mean(axis=1).max()
    report(
        f"histograms, {found.scores.size} models: {seconds:.2f} s, best accuracy {best:.2%}; "
        f"one after the other {lone:.2f} s ({lone / seconds:.1f} x); the L2 third {l2:.2f} s"
    )
    if not full_size:
        return
    for name, peer in peers(X, y, splits).items():
        theirs, _ = timed(settle, peer)
        mine = l2 if "L2" in name else seconds
        report(f"histograms: {name} {theirs:.1f} s, {theirs / mine:.0f} x ours")
        assert mine <= theirs


def test_search_on_pixels(scale, full_size, report, settle):
    X, y = thinned("fashion_mnist.npz", scale)
    splits = folds(y)
    penalties = [
        regcore.L2(alpha / 2)
        for alpha in np.geomspace(1e-5 if full_size else 1e-3, 1e-2, 10 if full_size else 2)
    ]
    seconds, found = timed(settle, lambda: regcore.sweep(X, y, penalties=penalties, folds=splits, **PIXELS))
    lone, results = timed(settle, lambda: one_by_one(X, y, penalties, splits, **PIXELS))
    assert_equal_optima(found, results)
    report(
        f"Fashion-MNIST, {found.scores.size} softmax models with L2: {seconds:.1f} s, best accuracy "
        f"{found.scores.mean(axis=1).max():.2%}; one after the other {lone:.1f} s ({lone / seconds:.1f} x)"
    )
    if full_size:
        assert lone > seconds


@pytest.mark.parametrize("kind", KINDS)
def test_sweep(benchmark, scale, kind):
    rng = np.random.default_rng(7)
    X = rng.standard_normal((max(200, int(20_000 * scale)), 200), dtype=np.float32)
    y = (X[:, :4].sum(axis=1) + rng.standard_normal(len(X)) > 0).astype(np.int32)
    found = benchmark.pedantic(
        regcore.sweep,
        (X, y),
        {
            "penalties": [KINDS[kind](a) for a in (0.1, 0.03, 0.01)],
            "folds": N_FOLDS,
            "binary": True,
            "tol": 1e-3,
        },
        rounds=2,
        warmup_rounds=1,
    )
    assert found.scores.mean() > 0.6
