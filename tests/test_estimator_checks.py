"""scikit-learn's own checks, for every loss with every penalty; no failure is expected, no check left out."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.utils.estimator_checks import estimator_checks_generator

from regcore import LinearClassifier, LinearClassifierCV, Objective
from regcore.estimators.repetition import merged
from regcore.penalties import from_estimator

LOSSES = ("cross_entropy", "hinge", "squared_hinge", "crammer_singer")
PENALTIES = ("l1", "l2", "elasticnet", "group_l1", "none")
# They ask for the same model from samples in another order, of which there are more: for a solver that steps
# from sample to sample that is another walk, which ends near the first one's end.
NOT_FOR_SINGLE_SAMPLES = {
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
}


def checks():
    chosen = [LinearClassifier(loss, penalty) for loss in LOSSES for penalty in PENALTIES]
    chosen += [LinearClassifier("hinge", penalty, solver="sgd") for penalty in PENALTIES]
    chosen += [LinearClassifier(solver="sgd", average=True)]
    chosen += [LinearClassifierCV(loss, alphas=2, l1_ratios=(0.5,), cv=3, max_iter=100) for loss in LOSSES]
    for estimator in chosen:
        name = f"{estimator.loss}-{getattr(estimator, 'penalty', 'search')}-{estimator.solver}"
        for found, check in estimator_checks_generator(estimator):
            check_name = getattr(check, "func", check).__name__
            if estimator.solver == "sgd" and check_name in NOT_FOR_SINGLE_SAMPLES:
                continue
            yield pytest.param(found, check, id=f"{name}-{check_name}")


@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_scikit_learn_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


# scikit-learn hands over arrays of the standard only where SciPy does, which must be told before its import.
ARRAY_CHECKS = """
import warnings
from sklearn.utils.estimator_checks import check_estimator
from regcore import LinearClassifier
warnings.simplefilter("ignore")
results = check_estimator(LinearClassifier(), on_skip=None)
found = {result["check_name"]: result["status"] for result in results}
assert found["check_array_api_input"] == "passed", found
"""


@pytest.mark.skipif(
    tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 9), reason="older checks do not dispatch"
)
def test_checks_with_dispatch():
    done = subprocess.run(
        [sys.executable, "-c", ARRAY_CHECKS],
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# --------------------------------------------------------------------------------------------------
# weights are repetition
# --------------------------------------------------------------------------------------------------
def samples(rng, n_samples, n_features=3):
    """Noisy labels of three classes, weights 0 .. 3, and which rows say the same without weights."""
    X = rng.standard_normal((n_samples, n_features))
    y = (X[:, :3] + rng.standard_normal((n_samples, 3))).argmax(axis=1)
    weights = rng.integers(0, 4, n_samples)
    return X, y, weights, rng.permutation(np.repeat(np.arange(n_samples), weights))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_weights_are_repetition_to_the_last_bit_of_small_data(rng, loss, penalty, kind):
    X, y, weights, rows = samples(rng, 40)
    for class_weight in (None, "balanced"):
        model = LinearClassifier(loss, penalty, class_weight=class_weight, max_iter=20, random_state=0)
        found = []
        for X_seen, y_seen, w in ((X, y, weights), (X[rows], y[rows], None)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(kind(X_seen), y_seen, w)
            found.append((model.coef_, model.intercept_, model.n_iter_, model.dual_gap_))
        np.testing.assert_equal(found[0], found[1])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_weights_are_repetition_in_the_value_of_all_data(rng, monkeypatch, loss, penalty, kind):
    monkeypatch.setattr("regcore.estimators.repetition._MOST_NUMBERS", 0)
    X, y, weights, rows = samples(rng, 200)
    objective = Objective(
        X, y, loss=loss, penalty=from_estimator(penalty, 0.01, 0.15), sample_weight=weights, n_classes=3
    )
    values = []
    for X_seen, y_seen, w in ((X, y, weights), (X[rows], y[rows], None)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LinearClassifier(loss, penalty, alpha=0.01, tol=1e-6, max_iter=3000, random_state=0)
            model.fit(kind(X_seen), y_seen, w)
        values.append(objective.value(model.coef_, model.intercept_))
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_what_is_merged(rng):
    X, y, weights, rows = samples(rng, 40)
    by_weight, by_rows = merged(X, y, weights), merged(X[rows], y[rows], None)
    for one, other in zip(by_weight[:3], by_rows[:3], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(X[by_weight.rows], by_weight.X)
    assert by_weight.weights.sum() == weights.sum()
    apart = merged(X[rows], y[rows], None, apart=np.arange(len(rows))[:, None] % 2)
    assert len(by_rows.X) < len(apart.X) < len(rows)
    # equal samples of different classes, and those that differ in sign alone, are different
    assert len(merged(np.zeros((4, 1)), np.array([0, 1, 0, 1]), None).X) == 2
    assert merged(np.array([[0.0], [-1.0], [1.0]]), np.zeros(3, int), None) is None


@pytest.mark.parametrize(
    ("X", "weights"),
    [
        (np.eye(4), None),
        (np.eye(4), np.ones(4)),
        (np.array([[1.0], [1.0], [np.nan], [2.0]]), None),
        (np.ones((4, 1)), np.array([1.0, -1, 1, 1])),
        (np.ones((4, 1)), np.array([1.0, np.inf, 1, 1])),
        (np.ones((4, 1 << 15)), None),
    ],
    ids=["different", "ones", "nan", "negative", "infinite", "large"],
)
def test_what_stays_as_it_is(X, weights):
    assert merged(X, np.zeros(4, int), weights) is None
