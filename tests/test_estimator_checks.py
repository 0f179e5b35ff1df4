"""scikit-learn's own checks, for every loss with every penalty; no failure is expected."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator

from regcore import LinearClassifier, LinearClassifierCV, Objective
from regcore.penalties import from_estimator
from regcore.solvers.registry import resolve_solver

LOSSES = ("cross_entropy", "hinge", "squared_hinge", "crammer_singer")
PENALTIES = ("l1", "l2", "elasticnet", "group_l1", None)
SMOOTH = ("cross_entropy", "squared_hinge")
# Weights equal repetition at the optimum, of which nine digits are compared: the fit must have got there, and
# there must be one optimum alone. A hinge without a penalty has many on the few samples of the check
# (`test_weights_are_repetition_in_the_value` is for it), and steps over samples in random order get to none.
AT_THE_OPTIMUM = {
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
}


def solvers_of(estimator):
    """Names of the solvers that an estimator takes."""
    searches = isinstance(estimator, LinearClassifierCV)
    for penalty in estimator.penalties if searches else [estimator.penalty]:
        objective = Objective(
            np.eye(3), np.arange(3), loss=estimator.loss, penalty=from_estimator(penalty, 1e-4, 0.5)
        )
        yield resolve_solver(estimator.solver, objective).name


def checks():
    chosen = [LinearClassifier(loss, penalty) for loss in LOSSES for penalty in PENALTIES]
    chosen += [LinearClassifier("hinge", penalty, solver="sgd") for penalty in PENALTIES]
    chosen += [LinearClassifier(solver="sgd", average=True)]
    chosen += [LinearClassifierCV(loss, alphas=2, l1_ratios=(0.5,), cv=3) for loss in SMOOTH]
    hinges = [loss for loss in LOSSES if loss not in SMOOTH]
    chosen += [LinearClassifierCV(loss, ("l1", "l2"), alphas=(0.1, 1.0), cv=3) for loss in hinges]
    for estimator in chosen:
        is_random = "sgd" in solvers_of(estimator)
        penalty = getattr(estimator, "penalty", "search")
        name = f"{estimator.loss}-{penalty}-{estimator.solver}"
        for found, check in estimator_checks_generator(estimator):
            check_name = getattr(check, "func", check).__name__
            if check_name in AT_THE_OPTIMUM:
                if is_random or (estimator.loss not in SMOOTH and penalty is None):
                    continue
                found = clone(found).set_params(**to_the_optimum(estimator))
            yield pytest.param(found, check, id=f"{name}-{check_name}")


def to_the_optimum(estimator):
    searches = isinstance(estimator, LinearClassifierCV)
    if estimator.loss in SMOOTH:
        # full-batch steps take the same way with weights as with repetition, also where it has no end
        settings = {"solver": "fista", "tol": 1e-11, "max_iter": 100_000}
        return settings | ({"alphas": [0.1]} if searches else {"alpha": 0.1})
    # to the last digit; at 0.1 crammer_singer with L1 has samples with two equal scores
    return {"tol": None, "max_iter": 3000} | ({"alphas": [0.05]} if searches else {"alpha": 0.05})


@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_scikit_learn_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss not in SMOOTH])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_weights_are_repetition_in_the_value(rng, loss, penalty, kind):
    X, y = rng.standard_normal((40, 3)), np.repeat([0, 1, 2, 0], 10)
    weights = rng.integers(0, 4, 40)
    rows = rng.permutation(np.repeat(np.arange(40), weights))
    settings = {"alpha": 0.05, "tol": 1e-6, "max_iter": 3000, "random_state": 0}
    objective = Objective(
        X, y, loss=loss, penalty=from_estimator(penalty, 0.05, 0.15), sample_weight=weights, n_classes=3
    )
    values = []
    for X_seen, y_seen, w in ((X, y, weights), (X[rows], y[rows], None)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LinearClassifier(loss, penalty, **settings).fit(kind(X_seen), y_seen, w)
        if model.solver_ == "sgd":
            pytest.skip("steps over samples in a random order")
        values.append(objective.value(model.coef_, model.intercept_))
    assert values[0] == pytest.approx(values[1], rel=1e-5)
