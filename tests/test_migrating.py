"""docs/migrating.rst: the conversions of arguments lead to the same optimum."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC

from regcore import LinearClassifier, Objective
from regcore.penalties import from_estimator

TIGHT = {"tol": 1e-9, "max_iter": 100_000}


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return (X - X.mean(0)) / X.std(0), y


@pytest.fixture(scope="module")
def two(iris):
    """Two classes that overlap, centred."""
    X, y = iris[0][50:], iris[1][50:]
    return X - X.mean(0), (y == 2).astype(int)


@pytest.fixture
def weights(two):
    return np.random.default_rng(0).uniform(0.2, 3, len(two[1]))


def value_at(estimator, other, X, y, sample_weight=None):
    """Our estimator's objective at the coefficients of another."""
    penalty = from_estimator(estimator.penalty, estimator.alpha, estimator.l1_ratio)
    W, b = np.array(other.coef_, float), np.zeros(len(other.coef_)) + other.intercept_
    n_classes = len(np.unique(y))
    objective = Objective(
        X,
        y,
        loss=estimator.loss,
        penalty=penalty,
        sample_weight=sample_weight,
        n_classes=n_classes,
        binary=len(W) == 1,
    )
    return objective.value(W, b)


def assert_same_optimum(ours, theirs, X, y, sample_weight=None, tolerance=1e-6):
    reached = value_at(ours, ours, X, y, sample_weight)
    assert value_at(ours, theirs, X, y, sample_weight) == pytest.approx(reached, rel=tolerance)


def quiet(estimator, *data, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(*data, **more)


@pytest.mark.parametrize("with_weights", [False, True])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("data", ["iris", "two"])
def test_logistic_regression(request, data, l1_ratio, with_weights):
    X, y = request.getfixturevalue(data)
    w = np.random.default_rng(0).uniform(0.2, 3, len(y)) if with_weights else None
    C = 0.3
    alpha = 1 / (C * (len(y) if w is None else w.sum()))
    penalty = {0.0: "l2", 1.0: "l1"}.get(l1_ratio, "elasticnet")
    ours = LinearClassifier(penalty=penalty, alpha=alpha, l1_ratio=l1_ratio, **TIGHT).fit(X, y, w)
    # from 1.8 on l1_ratio alone says which penalty is meant
    kind = {"penalty": penalty} if LogisticRegression().get_params().get("penalty") == "l2" else {}
    theirs = quiet(
        LogisticRegression(C=C, l1_ratio=l1_ratio, solver="saga", tol=1e-10, max_iter=20_000, **kind), X, y, w
    )
    assert_same_optimum(ours, theirs, X, y, w)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize(
    ("loss", "name"), [("cross_entropy", "log_loss"), ("squared_hinge", "squared_hinge")]
)
@pytest.mark.parametrize("penalty", ["l1", "l2", "elasticnet"])
def test_sgd_classifier(two, weights, loss, name, penalty):
    X, y = two
    alpha = 0.02
    for w in (None, weights):
        ours = LinearClassifier(
            loss, penalty, alpha if w is None else alpha * len(y) / w.sum(), l1_ratio=0.3, **TIGHT
        ).fit(X, y, w)
        theirs = SGDClassifier(
            loss=name,
            penalty=penalty,
            alpha=alpha,
            l1_ratio=0.3,
            learning_rate="constant",  # "optimal" steps grow without end on the squared hinge
            eta0=1e-3,
            max_iter=3000,
            tol=None,
            random_state=0,
        )
        theirs.fit(X, y, sample_weight=w)
        # steps of a stochastic method that has no end
        assert_same_optimum(ours, theirs, X, y, w, tolerance=5e-3)


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_linear_svc(two, weights, penalty):
    X, y = two
    C = 0.1
    for w in (None, weights):
        alpha = 1 / (C * (len(y) if w is None else w.sum()))
        settings = {"fit_intercept": False}
        ours = LinearClassifier("squared_hinge", penalty, alpha, **settings, **TIGHT).fit(X, y, w)
        theirs = quiet(
            LinearSVC(penalty=penalty, C=C, dual=False, tol=1e-10, max_iter=100_000, **settings), X, y, w
        )
        assert_same_optimum(ours, theirs, X, y, w)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-3)


def test_linear_svc_with_an_intercept_that_is_hardly_penalised(two):
    X, y = two
    ours = LinearClassifier("squared_hinge", alpha=1 / (0.1 * len(y)), **TIGHT).fit(X, y)
    theirs = quiet(LinearSVC(C=0.1, dual=False, intercept_scaling=1e3, tol=1e-12, max_iter=100_000), X, y)
    assert_same_optimum(ours, theirs, X, y, tolerance=1e-5)


def test_one_problem_per_class(iris):
    X, y = iris
    C = 0.1
    ours = OneVsRestClassifier(
        LinearClassifier("squared_hinge", alpha=1 / (C * len(y)), fit_intercept=False, **TIGHT)
    ).fit(X, y)
    theirs = quiet(LinearSVC(C=C, dual=False, tol=1e-10, max_iter=100_000, fit_intercept=False), X, y)
    coef = np.vstack([estimator.coef_ for estimator in ours.estimators_])
    np.testing.assert_allclose(coef, theirs.coef_, atol=1e-3)


@pytest.mark.parametrize("loss", ["hinge", "crammer_singer"])
def test_linear_svc_of_the_hinges(request, loss):
    """Never above theirs; where a solver that converges is there, their optimum."""
    X, y = request.getfixturevalue("two" if loss == "hinge" else "iris")
    C = 0.1
    more = {"multi_class": "crammer_singer"} if loss == "crammer_singer" else {"loss": "hinge"}
    theirs = quiet(LinearSVC(C=C, tol=1e-10, max_iter=1_000_000, fit_intercept=False, **more), X, y)
    ours = quiet(
        LinearClassifier(
            loss, alpha=1 / (C * len(y)), fit_intercept=False, tol=1e-7, max_iter=3000, random_state=0
        ),
        X,
        y,
    )
    assert_same_optimum(ours, theirs, X, y, tolerance=1e-3 if ours.solver_ == "sgd" else 1e-6)


def test_the_example_and_the_names(repository):
    text = (repository / "docs" / "migrating.rst").read_text(encoding="utf-8")
    examples = re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", text)
    assert examples
    for code in examples:
        exec(compile(textwrap.dedent(code), "migrating.rst", "exec"), {"__name__": "migrating"})
    table = text[text.index("\nArguments\n") : text.index("``LinearSVC`` treats")]
    known = set(inspect.signature(LinearClassifier).parameters)
    rows = [re.findall(r"(?:^   \* -|^     -) ?(.*)$", row, re.MULTILINE) for row in table.split("\n   * -")]
    named = {name for row in rows[2:] for name in re.findall(r"``(\w+)=", row[-1])}
    assert len(named) > 12
    assert named <= known


@pytest.mark.parametrize("name", ["penalties.py", "penalties_sklearn.py"])
def test_the_experiment(repository, load_data, tmp_path, name):
    """On a fifth of the histograms."""
    pytest.importorskip("matplotlib")
    data = load_data("dogs_vs_cats_hsv512.npz")
    np.savez(tmp_path / "some.npz", X=data["X"][::5], y=data["y"][::5])
    done = subprocess.run(
        [sys.executable, repository / "docs" / "experiments" / name, "some.npz"],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"\{.*'penalty': .*\} (0\.\d+) (0\.\d+)\n", done.stdout)
    assert 0.5 < float(found[1]) < 0.75
