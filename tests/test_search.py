"""LinearClassifierCV: the same scores as scikit-learn's search over the same models, and what it adds."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.metrics import make_scorer, matthews_corrcoef
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    LeaveOneGroupOut,
    StratifiedKFold,
    StratifiedShuffleSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import regcore.estimators.search as search_module
from regcore import ConvergenceWarning, LinearClassifier, LinearClassifierCV, Objective
from regcore.matrix import Matrix

ALPHAS = (1e-3, 3e-2, 0.1)  # of balanced classes without weights the labels are a matter of rounding
SETTINGS = {"tol": 1e-7, "max_iter": 20_000}


@pytest.fixture(scope="module")
def iris():
    """Standardised, and three samples in ten with a label at random: no penalty is perfect, or useless."""
    X, y = load_iris(return_X_y=True)
    rng = np.random.default_rng(0)
    y = np.where(rng.random(150) < 0.3, rng.integers(0, 3, 150), y)
    return (X - X.mean(0)) / X.std(0), np.array(["setosa", "versicolor", "virginica"])[y]


@pytest.fixture(scope="module")
def two():
    X, y = load_breast_cancer(return_X_y=True)
    return ((X - X.mean(0)) / X.std(0))[:200], y[:200]


def grid(penalties=("none", "l1", "l2", "elasticnet"), alphas=ALPHAS, l1_ratios=(0.3, 0.8)):
    found = []
    for penalty in penalties:
        if penalty == "none":
            found.append({"penalty": [penalty]})
        elif penalty == "elasticnet":
            found += [
                {"penalty": [penalty], "l1_ratio": [ratio], "alpha": sorted(alphas)[::-1]}
                for ratio in l1_ratios
            ]
        else:
            found.append({"penalty": [penalty], "alpha": sorted(alphas)[::-1]})
    return found


@pytest.mark.parametrize("data", ["iris", "two"])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_hinge"])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_is_a_grid_search(request, data, loss, class_weight):
    X, y = request.getfixturevalue(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # two classes that no penalty keeps apart
        ours = LinearClassifierCV(
            loss, alphas=ALPHAS, l1_ratios=(0.3, 0.8), cv=3, class_weight=class_weight, **SETTINGS
        ).fit(X, y)
        theirs = GridSearchCV(
            LinearClassifier(loss, class_weight=class_weight, **SETTINGS), grid(), cv=3
        ).fit(X, y)
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    has_strength = np.array([p["penalty"] != "none" for p in ours.cv_results_["params"]])
    for key in ("split0_test_score", "split1_test_score", "split2_test_score", "mean_test_score"):
        # without a penalty the minimum of `two` is at infinity, and each comes as far as it comes
        rows = has_strength if data == "two" else slice(None)
        np.testing.assert_allclose(ours.cv_results_[key][rows], theirs.cv_results_[key][rows], atol=1e-12)
    if data == "iris":
        for key in ("std_test_score", "rank_test_score"):
            np.testing.assert_allclose(ours.cv_results_[key], theirs.cv_results_[key], atol=1e-12)
        assert ours.best_params_ == theirs.best_params_
        assert ours.best_score_ == pytest.approx(theirs.best_score_)
        np.testing.assert_allclose(ours.coef_, theirs.best_estimator_.coef_, rtol=1e-10)
    assert set(ours.cv_results_) - set(theirs.cv_results_) == {"mean_n_iter", "converged", "mean_sparsity"}
    for name in ("penalty", "alpha", "l1_ratio"):
        given, expected = ours.cv_results_[f"param_{name}"], theirs.cv_results_[f"param_{name}"]
        np.testing.assert_array_equal(np.ma.getmaskarray(given), np.ma.getmaskarray(expected))
        assert given.compressed().tolist() == expected.compressed().tolist()


def test_is_the_estimator_of_its_best_parameters(iris):
    X, y = iris
    search = LinearClassifierCV(alphas=ALPHAS, **SETTINGS).fit(X, y)
    plain = LinearClassifier(**search.best_params_, **SETTINGS).fit(X, y)
    for name in ("coef_", "intercept_", "classes_"):
        np.testing.assert_array_equal(getattr(search, name), getattr(plain, name))
    for name in ("n_iter_", "converged_", "dual_gap_", "solver_", "n_features_in_"):
        assert getattr(search, name) == getattr(plain, name)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        np.testing.assert_array_equal(getattr(search, method)(X), getattr(plain, method)(X))
    assert search.n_splits_ == 5
    assert search.search_time_ > 0 < search.refit_time_
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))
    assert not hasattr(clone(search), "coef_")


def test_hinges_have_no_probabilities(iris):
    search = LinearClassifierCV("squared_hinge", ["l2"], alphas=[0.1]).fit(*iris)
    assert not hasattr(search, "predict_proba")


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_weights_are_repetition(iris, rng, kind):
    X, y = iris
    groups = np.arange(150) % 3
    weights = rng.integers(0, 3, 150)
    rows = np.repeat(np.arange(150), weights)
    search = LinearClassifierCV(penalties=("l1", "l2"), alphas=ALPHAS, tol=1e-10, max_iter=50_000)

    def fit(rows, sample_weight=None):
        cv = list(LeaveOneGroupOut().split(X[rows], y[rows], groups[rows]))
        return clone(search).set_params(cv=cv).fit(kind(X[rows]), y[rows], sample_weight)

    weighted, repeated = fit(np.arange(150), weights), fit(rows)
    for key in ("mean_test_score", "split1_test_score"):
        np.testing.assert_allclose(weighted.cv_results_[key], repeated.cv_results_[key], atol=1e-12)
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-7)


def test_greatest_strength_keeps_no_weight(iris, two):
    for X, y in (iris, two):
        search = LinearClassifierCV(penalties=["l1"], alphas=4, **SETTINGS).fit(X, y)
        assert len(search.alphas_) == 4
        assert search.alphas_[-1] == pytest.approx(1e-4 * search.alphas_[0])
        at, below = (
            LinearClassifier(penalty="l1", alpha=factor * search.alphas_[0], tol=1e-9, max_iter=50_000).fit(
                X, y
            )
            for factor in (1.0001, 0.95)
        )
        assert not at.coef_.any()
        assert below.coef_.any()


def test_zeros_and_iterations_are_reported(iris):
    search = LinearClassifierCV(penalties=["l1"], alphas=4, **SETTINGS).fit(*iris)
    sparsity = search.cv_results_["mean_sparsity"]
    assert (np.diff(sparsity) <= 0).all()
    assert sparsity[0] > 0.9
    assert search.cv_results_["converged"].all()


def test_of_equal_scores_the_first_is_taken(iris):
    X, y = iris[0], (iris[1] == "setosa").astype(int)
    y[:] = X[:, 2] < 0
    search = LinearClassifierCV(penalties=["l2"], alphas=[1e-5, 1e-4], **SETTINGS).fit(X, y)
    assert search.cv_results_["rank_test_score"].tolist() == [1, 1]
    assert search.best_params_ == {"penalty": "l2", "alpha": 1e-4}


# --------------------------------------------------------------------------------------------------
# folds and scores
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "cv",
    [
        4,
        StratifiedKFold(3, shuffle=True, random_state=0),
        StratifiedShuffleSplit(3, test_size=0.2, random_state=0),
        [(np.arange(150) % 2 == 0, np.arange(150) % 2 == 1)],
        [(np.arange(0, 150, 2).tolist(), np.arange(1, 150, 2).tolist())],
    ],
    ids=["int", "splitter", "shuffle", "mask", "lists"],
)
@pytest.mark.parametrize("scoring", [None, "accuracy", "neg_log_loss", make_scorer(matthews_corrcoef)])
def test_folds_and_scorers(iris, cv, scoring):
    if isinstance(cv, list) and isinstance(cv[0][0], list):
        cv = [(np.array(train), np.array(test)) for train, test in cv]
    ours = LinearClassifierCV(penalties=["l2"], alphas=ALPHAS, cv=cv, scoring=scoring, **SETTINGS).fit(*iris)
    theirs = GridSearchCV(LinearClassifier(**SETTINGS), grid(["l2"]), cv=cv, scoring=scoring).fit(*iris)
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-4
    )
    assert ours.best_params_ == theirs.best_params_


def test_no_rows_of_x_are_copied(iris, monkeypatch):
    seen = []
    monkeypatch.setattr(
        search_module.fit_folds.__globals__["Objective"],
        "__init__",
        lambda self, X, *a, __init__=Objective.__init__, **k: seen.append(X) or __init__(self, X, *a, **k),
    )
    X, y = iris
    LinearClassifierCV(alphas=2, max_iter=5, tol=None).fit(X, y)
    assert len(seen) > 5
    assert all(np.shares_memory(x.parts if isinstance(x, Matrix) else x, X) for x in seen)


def test_groups(iris):
    X, y = iris
    groups = np.arange(150) % 7
    search = LinearClassifierCV(penalties=["l2"], alphas=ALPHAS, cv=GroupKFold(3))
    ours = clone(search).fit(X, y, groups=groups)
    with config_context(enable_metadata_routing=True):
        routed = clone(search).fit(X, y, groups=groups)
    theirs = GridSearchCV(LinearClassifier(), grid(["l2"]), cv=GroupKFold(3)).fit(X, y, groups=groups)
    for other in (routed, theirs):
        np.testing.assert_array_equal(
            ours.cv_results_["mean_test_score"], other.cv_results_["mean_test_score"]
        )
    with pytest.raises(TypeError, match="got colour as well"):
        search.fit(X, y, colour=groups)


def test_weights_are_routed_to_the_scorer(iris, rng):
    X, y = iris
    weights = rng.uniform(0.1, 3, 150)
    plain = LinearClassifierCV(penalties=["l2"], alphas=ALPHAS).fit(X, y, weights)
    with config_context(enable_metadata_routing=True):
        scorer = make_scorer(
            lambda y_true, y_pred, sample_weight: np.average(y_true == y_pred, weights=sample_weight)
        ).set_score_request(sample_weight=True)
        routed = LinearClassifierCV(penalties=["l2"], alphas=ALPHAS, scoring=scorer)
        routed.set_fit_request(sample_weight=True).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(
        plain.cv_results_["mean_test_score"], routed.cv_results_["mean_test_score"], rtol=1e-12
    )


def test_inside_others(iris):
    X, y = iris
    search = LinearClassifierCV(penalties=["l1", "l2"], alphas=3, cv=3)
    assert cross_val_score(make_pipeline(StandardScaler(), search), X, y, cv=3).mean() > 0.6
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    fitted = clone(search).fit(frame, y)
    assert list(fitted.feature_names_in_) == list(fitted.best_estimator_.feature_names_in_) == list("abcd")
    fitted.best_estimator_.predict(frame)


def test_early_ends_warn_once_for_all_folds(iris):
    with pytest.warns(ConvergenceWarning) as caught:
        LinearClassifierCV(penalties=["l2"], alphas=[1e-4, 1e-5], max_iter=2).fit(*iris)
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 2
    assert messages[0].startswith(
        "10 of 10 fits of the cross-validation stopped early, of 2 of 2 candidates (cv_results_['converged'] "
        "says of which); one of {'penalty': 'l2', 'alpha': 0.0001} says: max_iter=2"
    )
    assert caught[0].filename == __file__


def test_separable_folds_are_no_reason_to_warn(two):
    search = LinearClassifierCV(penalties=("none", "l2"), alphas=[0.0, 0.1, 1.0]).fit(*two)  # in silence
    results = search.cv_results_
    endless = [not params.get("alpha") for params in results["params"]]
    assert results["converged"].tolist() == np.logical_not(endless).tolist()
    assert results["mean_test_score"].min() > 0.8
    with pytest.warns(ConvergenceWarning, match="there is no minimum") as caught:
        LinearClassifierCV(penalties=["none"]).fit(*two)
    assert len(caught) == 1  # of the model that the user gets


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"penalties": "l1"}, TypeError, "penalties must be a sequence of names; got 'l1'"),
        ({"penalties": []}, ValueError, "penalties must name at least one"),
        ({"penalties": ["l3"]}, ValueError, "penalties: penalty must be None or one of"),
        ({"alphas": []}, ValueError, "alphas must hold at least one number"),
        ({"alphas": 0}, ValueError, "alphas must be at least 1"),
        ({"alphas": [-1.0]}, ValueError, "alphas must not be negative"),
        ({"alphas": ["a"]}, TypeError, "alphas must hold numbers; got 'a'"),
        ({"alphas": [np.inf]}, ValueError, "alphas must hold finite numbers"),
        ({"alphas": 2.5}, TypeError, "alphas must be a sequence of numbers; got 2.5"),
        ({"eps": 2.0}, ValueError, r"eps must be in \(0, 1\)"),
        ({"l1_ratios": [1.5]}, ValueError, r"l1_ratios must be in \[0, 1\]"),
        ({"cv": 1}, ValueError, "k-fold cross-validation requires at least one"),
        ({"scoring": "best"}, ValueError, "scoring"),
        ({"loss": "log"}, ValueError, "loss must be one of"),
    ],
    ids=str,
)
def test_wrong_parameters(iris, parameters, error, message):
    with pytest.raises(error, match=message):
        LinearClassifierCV(**parameters).fit(*iris)


def test_fold_without_weight(iris):
    weights = np.ones(150)
    weights[::2] = 0
    cv = [(np.arange(1, 150, 2), np.arange(0, 150, 2))]
    with pytest.raises(ValueError, match="sample_weight must leave some weight"):
        LinearClassifierCV(penalties=["l2"], alphas=[0.1], cv=cv).fit(*iris, sample_weight=weights)
