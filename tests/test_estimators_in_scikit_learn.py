"""The estimators inside those of scikit-learn: pipelines, searches, ensembles, calibration, routing."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.inspection import permutation_importance
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_validate,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from regcore import LinearClassifier

SKLEARN = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
LOSSES = ("cross_entropy", "hinge", "squared_hinge", "crammer_singer")
ALPHAS = [1e-3, 1e-2, 3.0]


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return X[order], np.array(["setosa", "versicolor", "virginica"])[y][order]


def pipeline(**parameters):
    return make_pipeline(StandardScaler(), LinearClassifier(tol=1e-3, random_state=0, **parameters))


@pytest.mark.parametrize("loss", LOSSES)
def test_pipeline(iris, loss):
    X, y = iris
    parameters = {} if loss in ("cross_entropy", "squared_hinge") else {"solver": "sgd", "max_iter": 200}
    assert pipeline(loss=loss, **parameters).fit(X, y).score(X, y) > 0.93


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_pipeline_with_tables_between_the_steps(iris, library):
    if library == "polars" and SKLEARN < (1, 9):
        pytest.skip("this scikit-learn does not see the names of this table")
    X, y = iris
    frame = pytest.importorskip(library).DataFrame(dict(zip("abcd", X.T, strict=True)))
    model = pipeline().set_output(transform=library).fit(frame, y)
    assert list(model[-1].feature_names_in_) == list("abcd")
    np.testing.assert_array_equal(model.predict(frame), pipeline().fit(X, y).predict(X))


def test_column_transformer(iris):
    pandas = pytest.importorskip("pandas")
    X, y = iris
    frame = pandas.DataFrame(X, columns=list("abcd")).assign(colour=np.where(X[:, 0] > 5.8, "red", "blue"))
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), list("abcd")), ("names", OneHotEncoder(), ["colour"])]
    )
    model = Pipeline([("columns", columns), ("model", LinearClassifier())]).fit(frame, y)
    assert model.score(frame, y) > 0.95
    assert model[-1].n_features_in_ == 6


@pytest.mark.filterwarnings("ignore:.*there is no minimum")  # without a penalty, on a separable fold
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_search(iris, n_jobs):
    grid = {"linearclassifier__alpha": ALPHAS, "linearclassifier__penalty": ["l1", "l2", None]}
    search = GridSearchCV(pipeline(), grid, cv=3, n_jobs=n_jobs).fit(*iris)
    assert search.best_score_ > 0.95
    assert search.best_params_["linearclassifier__alpha"] < 3
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_randomized_and_halving_search(iris, n_jobs):
    for kind, parameters in ((RandomizedSearchCV, {"n_iter": 3}), (HalvingGridSearchCV, {"factor": 2})):
        search = kind(
            pipeline(),
            {"linearclassifier__alpha": ALPHAS},
            cv=3,
            n_jobs=n_jobs,
            random_state=0,
            **parameters,
        ).fit(*iris)
        assert search.best_estimator_.score(*iris) > 0.9


@pytest.mark.parametrize("loss", ["squared_hinge", "cross_entropy"])
@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration(iris, loss, method):
    X, y = iris
    calibrated = CalibratedClassifierCV(pipeline(loss=loss), method=method, cv=3).fit(X, y)
    p = calibrated.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert calibrated.score(X, y) > 0.9


@pytest.mark.parametrize("kind", [OneVsRestClassifier, OneVsOneClassifier])
def test_one_against_others(iris, kind):
    X, y = iris
    model = kind(LinearClassifier(alpha=1e-3)).fit(X, y)
    assert model.score(X, y) > 0.9
    assert len(model.estimators_) == 3


@pytest.mark.parametrize("with_probabilities", [True, False])
def test_bagging(iris, with_probabilities):
    loss = "cross_entropy" if with_probabilities else "squared_hinge"
    model = BaggingClassifier(pipeline(loss=loss), n_estimators=4, max_features=0.75, random_state=0).fit(
        *iris
    )
    assert model.score(*iris) > 0.9


def test_voting_and_stacking(iris):
    models = [("a", pipeline()), ("b", pipeline(penalty="l1"))]
    assert VotingClassifier(models, voting="soft").fit(*iris).score(*iris) > 0.9
    assert StackingClassifier(models, pipeline(), cv=3).fit(*iris).score(*iris) > 0.9


def test_several_outputs(iris):
    X, y = iris
    Y = np.stack([y == "setosa", y == "virginica"], axis=1)
    assert MultiOutputClassifier(LinearClassifier(alpha=1e-3)).fit(X, Y).predict(X).shape == Y.shape


def test_selection_by_weights(iris, rng):
    X, y = iris
    noisy = np.hstack([(X - X.mean(0)) / X.std(0), rng.standard_normal((150, 20))])
    selection = SelectFromModel(LinearClassifier(penalty="group_l1", alpha=0.1, tol=1e-6)).fit(noisy, y)
    kept = selection.get_support()
    assert kept[2:4].all()
    assert kept.sum() < 8
    assert RFE(LinearClassifier(), n_features_to_select=2).fit(noisy, y).support_[2:4].any()


def test_cross_val_predict(iris):
    X, y = iris
    for method in ("predict", "predict_proba", "decision_function", "predict_log_proba"):
        found = cross_val_predict(pipeline(), X, y, cv=3, method=method)
        assert len(found) == len(y)
    assert (cross_val_predict(pipeline(), X, y, cv=3) == y).mean() > 0.9


def test_cross_validate_with_threads_and_processes(iris):
    found = [cross_validate(pipeline(), *iris, cv=3, n_jobs=n_jobs)["test_score"] for n_jobs in (None, 2)]
    with joblib.parallel_config("threading"):
        found.append(cross_validate(pipeline(), *iris, cv=3, n_jobs=2)["test_score"])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_permutation_importance(iris):
    model = pipeline().fit(*iris)
    assert permutation_importance(model, *iris, n_repeats=3, random_state=0).importances_mean[2:].min() > 0.05


def test_clone_pickle_and_joblib(iris, tmp_path):
    X, y = iris
    model = LinearClassifier(penalty="elasticnet", alpha=1e-3, class_weight={"setosa": 2.0}).fit(X, y)
    joblib.dump(model, tmp_path / "model.joblib")
    for again in (
        pickle.loads(pickle.dumps(model)),
        joblib.load(tmp_path / "model.joblib"),
        joblib.load(tmp_path / "model.joblib", mmap_mode="r"),
    ):
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
        assert again.get_params() == model.get_params()
        again.set_params(warm_start=True).fit(X, y)
    assert clone(model).get_params() == model.get_params()
    assert not hasattr(clone(model), "coef_")


def test_a_process_gets_memory_mapped_data():
    """joblib maps arrays above a megabyte, read-only."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_000, 20), dtype=np.float32)
    y = (X[:, 0] > 0).astype(int)
    scores = cross_validate(LinearClassifier(tol=1e-2), X, y, cv=2, n_jobs=2)["test_score"]
    assert (scores > 0.95).all()
    assert (
        cross_validate(LinearClassifier(tol=1e-2), sparse.csr_array(X), y, cv=2, n_jobs=2)["test_score"]
        > 0.95
    ).all()


# --------------------------------------------------------------------------------------------------
# metadata routing
# --------------------------------------------------------------------------------------------------
def test_weights_are_routed(iris, rng):
    X, y = iris
    weights = rng.uniform(0.1, 2, len(y))
    with config_context(enable_metadata_routing=True):
        classifier = LinearClassifier(alpha=0.01).set_fit_request(sample_weight=True)
        model = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), classifier)
        routed = model.fit(X, y, sample_weight=weights)[-1]
        direct = LinearClassifier(alpha=0.01).fit(StandardScaler().fit_transform(X), y, weights)
        np.testing.assert_array_equal(routed.coef_, direct.coef_)
        request = LinearClassifier().set_partial_fit_request(classes=True).get_metadata_routing()
        assert request.partial_fit.requests["classes"] is True
