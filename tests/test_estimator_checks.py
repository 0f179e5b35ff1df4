"""scikit-learn's own checks, for every loss with every penalty; no failure is expected."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator

from regcore import LinearClassifier, LinearClassifierCV, Objective
from regcore.penalties import from_estimator
from regcore.solvers.registry import resolve_solver

LOSSES = ("cross_entropy", "hinge", "squared_hinge", "crammer_singer")
PENALTIES = ("l1", "l2", "elasticnet", "group_l1", None)
# Weights equal repetition at the optimum, to the eight digits that are compared: the fit must have got there.
# Steps over samples in a random order meet other batches, and are left out.
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
    chosen += [LinearClassifierCV(loss, alphas=2, l1_ratios=(0.5,), cv=3) for loss in LOSSES]
    for estimator in chosen:
        is_random = "sgd" in solvers_of(estimator)
        penalty = getattr(estimator, "penalty", "search")
        name = f"{estimator.loss}-{penalty}-{estimator.solver}"
        for found, check in estimator_checks_generator(estimator):
            check_name = getattr(check, "func", check).__name__
            if check_name in AT_THE_OPTIMUM:
                if is_random:
                    continue
                strength = {"alphas": [0.1]} if penalty == "search" else {"alpha": 0.1}
                found = clone(found).set_params(tol=1e-11, max_iter=100_000, **strength)
            yield pytest.param(found, check, id=f"{name}-{check_name}")


@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_scikit_learn_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)
