"""The peers beside us, each with the settings that suit it, on the same objective.

A point of a peer's curve is a fit from scratch; PyTorch, whose loop is the user's own, has one fit with a
point now and then. What is done to the data beforehand (another type, another order, a first call that
compiles) is not counted.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import numpy as np
from convergence_curves import Point, fits_with_growing_budgets
from convergence_tasks import Problem

__all__ = ["PEERS", "Peer", "missing_packages"]

NEVER = 1e-12  # a tolerance that leaves the end to the budget
MOST_HESSIAN_NUMBERS = 10_000**2
TOLERANCES_PER_DECADE = 2
SPACING = 0.1  # of a loop that is watched: the least part of its seconds from one point to the next


@dataclass(frozen=True)
class Peer:
    """A solver of another library.

    Attributes
    ----------
    name : str
    package : str
        What must be installed.
    handles : callable
        ``handles(problem)`` is whether it has this problem, exactly.
    points : callable
        ``points(problem, cap)`` yields its points, for about `cap` seconds.
    """

    name: str
    package: str
    handles: Callable[[Problem], bool]
    points: Callable[[Problem, float], Iterator[Point]]

    @property
    def is_installed(self) -> bool:
        """Whether its package can be imported."""
        return importlib.util.find_spec(self.package) is not None


@contextmanager
def _silence() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# --------------------------------------------------------------------------------------------------
# scikit-learn
# --------------------------------------------------------------------------------------------------
def _logistic_regression(
    solver: str, dtype: type, first: int, problem: Problem, cap: float
) -> Iterator[Point]:
    from sklearn.linear_model import LogisticRegression

    task = problem.task
    X = problem.features(dtype)

    def fit(budget: int) -> tuple[Any, Any, bool]:
        model = LogisticRegression(
            C=1 / (task.alpha * problem.n_samples),
            l1_ratio=task.l1_ratio,
            solver=solver,
            max_iter=budget,
            tol=NEVER,
            fit_intercept=task.intercept,
            random_state=0,
        )
        with _silence():
            model.fit(X, problem.y)
        return model.coef_, model.intercept_, bool(model.n_iter_.max() < budget)

    return fits_with_growing_budgets(fit, cap, first)


def _linear_svc(problem: Problem, cap: float) -> Iterator[Point]:
    from sklearn.svm import LinearSVC

    X = problem.features(np.float64)

    def fit(budget: int) -> tuple[Any, Any, bool]:
        model = LinearSVC(
            multi_class="crammer_singer",
            C=1 / (problem.task.alpha * problem.n_samples),
            fit_intercept=False,
            max_iter=budget,
            tol=1e-6,
            random_state=0,
        )
        with _silence():
            model.fit(X, problem.y)
        return model.coef_, model.intercept_, bool(model.n_iter_ < budget)

    return fits_with_growing_budgets(fit, cap)


# --------------------------------------------------------------------------------------------------
# Cyanure, celer, skglm
# --------------------------------------------------------------------------------------------------
def _cyanure(solver: str, problem: Problem, cap: float) -> Iterator[Point]:
    from cyanure.estimators import Classifier

    task = problem.task
    X = problem.features(np.float32)
    strengths: dict[str, Any] = {"penalty": "elasticnet"}
    strengths |= {"lambda_1": task.alpha * task.l1_ratio, "lambda_2": task.alpha * (1 - task.l1_ratio)}
    if task.l1_ratio in (0, 1):
        strengths = {"penalty": "l1" if task.l1_ratio else "l2", "lambda_1": task.alpha}

    def fit(budget: int) -> tuple[Any, Any, bool]:
        model = Classifier(
            loss="logistic" if task.binary else "multiclass-logistic",
            solver=solver,
            max_iter=budget,
            duality_gap_interval=budget,
            tol=NEVER,
            fit_intercept=task.intercept,
            verbose=False,
            **strengths,
        )
        with _silence():
            model.fit(X, problem.y)
        # coef_ is (n_features, n_classes)
        return np.transpose(model.coef_), np.ravel(getattr(model, "intercept_", 0.0)), False

    return fits_with_growing_budgets(fit, cap, first=2)


def _celer(problem: Problem, cap: float) -> Iterator[Point]:
    from celer import LogisticRegression

    X = problem.features(np.float64, "F")

    def fit(budget: int) -> tuple[Any, Any, bool]:
        tol = 10 ** (-budget / TOLERANCES_PER_DECADE)
        model = LogisticRegression(C=1 / (problem.task.alpha * problem.n_samples), tol=tol, max_iter=1000)
        with _silence():
            model.fit(X, problem.y)
        return model.coef_, 0.0, tol < NEVER

    return _with_falling_tolerances(fit, cap)


def _skglm(problem: Problem, cap: float) -> Iterator[Point]:
    from skglm import SparseLogisticRegression

    task = problem.task
    X = problem.features(np.float64, "F")
    signs = np.where(problem.y == 1, 1.0, -1.0)

    def model_of(tol: float) -> Any:
        return SparseLogisticRegression(
            alpha=task.alpha,
            l1_ratio=task.l1_ratio,
            tol=tol,
            max_iter=1000,
            max_epochs=10_000,
            fit_intercept=task.intercept,
        )

    def fit(budget: int) -> tuple[Any, Any, bool]:
        tol = 10 ** (-budget / TOLERANCES_PER_DECADE)
        model = model_of(tol)
        with _silence():
            model.fit(X, signs)
        return model.coef_, np.ravel(model.intercept_), tol < NEVER

    some = slice(None, None, max(1, problem.n_samples // 50))
    with _silence():
        model_of(1e-4).fit(np.asfortranarray(X[some, :20]), signs[some])  # compiles
    return _with_falling_tolerances(fit, cap)


def _with_falling_tolerances(fit: Callable[[int], Any], cap: float) -> Iterator[Point]:
    """The budget is the negative logarithm of the tolerance, times TOLERANCES_PER_DECADE."""
    for budget in count(1):
        fits = fits_with_growing_budgets(fit, cap=0, first=budget)
        yield (point := next(fits))
        if point.is_last:
            return
        cap -= point.seconds
        if cap < point.seconds:
            return


# --------------------------------------------------------------------------------------------------
# PyTorch
# --------------------------------------------------------------------------------------------------
def _pytorch(problem: Problem, cap: float) -> Iterator[Point]:
    import torch
    from torch.nn import functional

    task = problem.task
    X = _tensor(problem.features(np.float32))
    y = torch.from_numpy(problem.y.astype(np.float32 if task.binary else np.int64))
    W = torch.zeros((problem.n_outputs, problem.n_features), requires_grad=True)
    b = torch.zeros(problem.n_outputs, requires_grad=task.intercept)
    optimizer = torch.optim.LBFGS(
        [W, b] if task.intercept else [W],
        max_iter=10,
        max_eval=25,
        history_size=20,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Any:
        optimizer.zero_grad()
        scores = X @ W.T + b
        if task.binary:
            loss = functional.binary_cross_entropy_with_logits(scores[:, 0], y)
        else:
            loss = functional.cross_entropy(scores, y)
        loss = loss + task.alpha / 2 * W.square().sum()
        loss.backward()
        return loss

    closure()  # the first call loads what the others need
    seconds = 0.0
    while seconds < cap:
        start, elapsed = time.perf_counter(), 0.0
        while elapsed <= SPACING * seconds:
            optimizer.step(closure)
            elapsed = time.perf_counter() - start
        seconds += elapsed
        yield Point(seconds, W.detach().numpy().copy(), b.detach().numpy().copy())


def _tensor(X: Any) -> Any:
    import torch

    if not Problem.is_sparse(X):
        return torch.from_numpy(X)
    parts = (torch.from_numpy(part) for part in (X.indptr, X.indices, X.data))
    with _silence():  # says that it is in beta state
        return torch.sparse_csr_tensor(*parts, size=X.shape)


# --------------------------------------------------------------------------------------------------
# Who has what
# --------------------------------------------------------------------------------------------------
def _is_logistic(problem: Problem) -> bool:
    return problem.task.loss == "cross_entropy"


def _is_smooth(problem: Problem) -> bool:
    return _is_logistic(problem) and problem.task.l1_ratio == 0


def _fits_a_hessian(problem: Problem) -> bool:
    return _is_smooth(problem) and (problem.n_outputs * problem.n_features) ** 2 <= MOST_HESSIAN_NUMBERS


def _is_for_liblinear(problem: Problem) -> bool:
    # it penalises an intercept, and has no softmax
    task = problem.task
    return _is_logistic(problem) and task.binary and not task.intercept and task.l1_ratio in (0, 1)


def _is_for_celer(problem: Problem) -> bool:
    return _is_for_liblinear(problem) and problem.task.l1_ratio == 1


def _is_for_skglm(problem: Problem) -> bool:
    return _is_logistic(problem) and problem.task.binary and problem.task.l1_ratio > 0


def _is_crammer_singer(problem: Problem) -> bool:
    return problem.task.loss == "crammer_singer" and not problem.task.intercept


def _scikit_learn() -> Iterator[Peer]:
    for solver, dtype, first, handles in (
        ("lbfgs", np.float32, 8, _is_smooth),
        ("lbfgs", np.float64, 8, _is_smooth),
        ("newton-cg", np.float64, 1, _is_smooth),
        ("newton-cholesky", np.float64, 1, _fits_a_hessian),
        ("saga", np.float32, 1, _is_logistic),
        ("liblinear", np.float64, 1, _is_for_liblinear),
    ):
        yield Peer(
            f"scikit-learn {solver} {np.dtype(dtype).name}",
            "sklearn",
            handles,
            partial(_logistic_regression, solver, dtype, first),
        )
    yield Peer("liblinear Crammer-Singer", "sklearn", _is_crammer_singer, _linear_svc)


PEERS = (
    *_scikit_learn(),
    *(
        Peer(f"Cyanure {solver}", "cyanure", _is_logistic, partial(_cyanure, solver))
        for solver in ("catalyst-miso", "qning-miso", "acc-svrg")
    ),
    Peer("celer", "celer", _is_for_celer, _celer),
    Peer("skglm", "skglm", _is_for_skglm, _skglm),
    Peer("PyTorch L-BFGS float32", "torch", _is_smooth, _pytorch),
)


def missing_packages() -> list[str]:
    """Return the packages of peers that are not installed."""
    return sorted({peer.package for peer in PEERS if not peer.is_installed})
