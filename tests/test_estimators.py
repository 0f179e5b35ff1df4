"""LinearClassifier: scikit-learn's own checks, and what it adds to the solvers."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import regcore
import regcore.estimators.classifier as classifier_module
import regcore.estimators.prediction as prediction_module
from regcore import ConvergenceWarning, ElasticNet, LinearClassifier, Objective, fit

LOSSES = ("cross_entropy", "hinge", "squared_hinge", "crammer_singer")
PENALTIES = ("l1", "l2", "elasticnet", "group_l1", None)


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return (X - X.mean(0)) / X.std(0), np.array(["setosa", "versicolor", "virginica"])[y]


@pytest.fixture(scope="module")
def two(iris):
    """Two classes that overlap."""
    X, y = iris
    return X[50:], y[50:]


# --------------------------------------------------------------------------------------------------
# the model
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("penalty", ["l1", "l2", "elasticnet", None])
def test_is_scikit_learns_logistic_regression(iris, penalty):
    X, y = iris
    alpha, l1_ratio = 0.01, 0.3
    ours = LinearClassifier(penalty=penalty, alpha=alpha, l1_ratio=l1_ratio, tol=1e-8, max_iter=50000).fit(
        X, y
    )
    ratio = {"l1": 1.0, "l2": 0.0, "elasticnet": l1_ratio, None: 0.0}[penalty]
    C = np.inf if penalty is None else 1 / (alpha * len(y))
    # from 1.8 on l1_ratio alone says which penalty is meant
    kind = {"penalty": penalty} if LogisticRegression().get_params().get("penalty") == "l2" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = LogisticRegression(
            C=C, l1_ratio=ratio, solver="lbfgs" if ratio == 0 else "saga", tol=1e-8, max_iter=20000, **kind
        ).fit(X, y)
    if penalty is not None:
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=2e-3)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-3)
    assert list(ours.classes_) == ["setosa", "versicolor", "virginica"]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("solver", ["fista", "sgd"])
def test_every_loss_with_every_penalty_learns(iris, two, loss, penalty, solver):
    if solver == "fista" and loss in ("hinge", "crammer_singer"):
        pytest.skip("not smooth")
    for X, y in (iris, two):
        classifier = LinearClassifier(
            loss, penalty, 1e-3, solver=solver, tol=None, max_iter=200, random_state=0
        )
        classifier.fit(X, y)
        assert classifier.score(X, y) > 0.93
        n_classes = len(classifier.classes_)
        assert classifier.coef_.shape == (1 if n_classes == 2 else n_classes, 4)
        assert classifier.intercept_.shape == classifier.coef_.shape[:1]
        scores = classifier.decision_function(X)
        assert scores.shape == ((len(X),) if n_classes == 2 else (len(X), n_classes))
        codes = (scores > 0).astype(int) if n_classes == 2 else scores.argmax(axis=1)
        np.testing.assert_array_equal(classifier.predict(X), classifier.classes_[codes])
        np.testing.assert_allclose(
            scores.reshape(len(X), -1), X @ classifier.coef_.T + classifier.intercept_, atol=1e-9
        )


def test_two_classes_of_crammer_and_singer(two):
    X, y = two
    objective = Objective(
        X, (y == "virginica").astype(int), loss="crammer_singer", penalty=regcore.L2(0.5e-2)
    )
    result = fit(objective, tol=None, max_iter=20, random_state=np.random.RandomState(3))
    classifier = LinearClassifier("crammer_singer", alpha=1e-2, tol=None, max_iter=20, random_state=3).fit(
        X, y
    )
    # to rounding: two of the flowers are equal, and become one
    np.testing.assert_allclose(classifier.coef_, result.W[1:] - result.W[:1], rtol=1e-12)
    np.testing.assert_allclose(classifier.intercept_, result.b[1:] - result.b[:1], rtol=1e-12)


def test_penalty_object_is_taken_as_it_is(iris):
    X, y = iris
    named = LinearClassifier(penalty="elasticnet", alpha=0.01, l1_ratio=0.3).fit(X, y)
    given = LinearClassifier(penalty=ElasticNet.from_l1_ratio(0.01, 0.3), alpha=77.0).fit(X, y)
    np.testing.assert_array_equal(named.coef_, given.coef_)


@pytest.mark.parametrize("loss", ["cross_entropy"])
def test_probabilities(iris, two, loss):
    for X, y in (iris, two):
        classifier = LinearClassifier(loss).fit(X, y)
        p, log_p = classifier.predict_proba(X), classifier.predict_log_proba(X)
        np.testing.assert_allclose(p.sum(axis=1), 1)
        np.testing.assert_allclose(np.exp(log_p), p, rtol=1e-10, atol=1e-300)
        far = classifier.predict_log_proba(1e4 * X)
        assert np.isfinite(far).all()
        assert far.min() < -2000


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "crammer_singer"])
def test_hinges_have_no_probabilities_and_say_what_has(two, loss):
    classifier = LinearClassifier(loss, tol=None, max_iter=20, random_state=0).fit(*two)
    assert not hasattr(classifier, "predict_proba")
    assert not hasattr(classifier, "predict_log_proba")
    with pytest.raises(AttributeError) as raised:
        classifier.predict_proba(two[0])
    assert "CalibratedClassifierCV" in str(raised.value.__cause__)
    calibrated = CalibratedClassifierCV(classifier, cv=3).fit(*two)
    assert calibrated.predict_proba(two[0]).shape == (100, 2)


# --------------------------------------------------------------------------------------------------
# data
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("dtype", "coef_dtype"),
    [
        (np.float64, np.float64),
        (np.float32, np.float32),
        (np.float16, np.float32),
        (np.uint8, np.float32),
        (np.int8, np.float32),
        (np.bool_, np.float32),
        (np.int64, np.float64),
    ],
)
@pytest.mark.parametrize("order", ["C", "F", "strided", "read-only"])
def test_x_is_not_copied(iris, monkeypatch, dtype, coef_dtype, order):
    X, y = (np.concatenate([part] * 150) for part in iris)  # so much that equal samples are not merged
    X = np.asarray(np.abs(10 * X).astype(dtype), order="F" if order == "F" else "C")
    X = np.repeat(X, 2, axis=0)[::2] if order == "strided" else X
    X.flags.writeable = order != "read-only"
    seen = []
    for module in (classifier_module, prediction_module):
        monkeypatch.setattr(module, "Objective", lambda X, *a, **k: seen.append(X) or Objective(X, *a, **k))
    classifier = LinearClassifier(tol=None, max_iter=3).fit(X, y)
    classifier.predict(X)
    assert len(seen) == 2
    assert all(np.shares_memory(x, X) and x.dtype == X.dtype for x in seen)
    assert classifier.coef_.dtype == coef_dtype


@pytest.mark.parametrize("solver", ["fista", "sgd"])
@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csr_matrix, sparse.csc_array, sparse.coo_array])
def test_sparse(iris, solver, kind):
    X, y = iris
    X = np.where(np.abs(X) > 0.8, X, 0)
    settings = {"solver": solver, "tol": None, "max_iter": 30, "random_state": 0}
    dense = LinearClassifier(**settings).fit(X, y)
    other = LinearClassifier(**settings).fit(kind(X), y)
    np.testing.assert_allclose(other.coef_, dense.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(other.predict(kind(X)), other.predict(X))


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_hinge"])
@pytest.mark.parametrize("class_weight", [None, "balanced", {"versicolor": 3.0}])
def test_weights_are_repetition(iris, rng, loss, class_weight):
    X, y = iris
    weights = rng.integers(0, 4, len(y))
    rows = np.repeat(np.arange(len(y)), weights)
    classifier = LinearClassifier(loss, alpha=1e-2, class_weight=class_weight, tol=1e-8, max_iter=20000)
    weighted = clone(classifier).fit(X, y, sample_weight=weights)
    repeated = clone(classifier).fit(X[rows], y[rows])
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-5)


def test_class_weight_is_sample_weight(iris):
    X, y = iris
    weight = {"setosa": 1.0, "versicolor": 2.5, "virginica": 0.5}
    by_class = LinearClassifier(class_weight=weight).fit(X, y)
    by_sample = LinearClassifier().fit(X, y, sample_weight=[weight[label] for label in y])
    np.testing.assert_array_equal(by_class.coef_, by_sample.coef_)


# --------------------------------------------------------------------------------------------------
# as scikit-learn's users use it
# --------------------------------------------------------------------------------------------------
def test_pipeline_search_clone_and_pickle(iris):
    X, y = iris
    pipeline = make_pipeline(StandardScaler(), LinearClassifier(penalty="elasticnet"))
    search = GridSearchCV(pipeline, {"linearclassifier__alpha": [1e-3, 1.0]}, cv=3).fit(X, y)
    assert search.best_params_ == {"linearclassifier__alpha": 1e-3}
    best = search.best_estimator_
    again = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(again.predict_proba(X), best.predict_proba(X))
    assert clone(best[-1]).get_params() == best[-1].get_params()


@pytest.mark.parametrize("loss", ["cross_entropy", "crammer_singer"])
def test_warm_start(two, loss):
    X, y = two
    classifier = LinearClassifier(
        loss, alpha=1e-2, warm_start=True, solver="sgd", tol=None, max_iter=100, random_state=0
    ).fit(X, y)
    far = classifier.coef_.copy()
    classifier.set_params(max_iter=1, eta0=1e-9).fit(X, y)
    np.testing.assert_allclose(classifier.coef_, far, rtol=1e-4)
    classifier.set_params(warm_start=False).fit(X, y)
    assert np.abs(classifier.coef_).max() < 1e-4
    # other classes: a new start
    classifier.set_params(warm_start=True).fit(X, np.where(y == "virginica", "a", "b"))
    assert np.abs(classifier.coef_).max() < 1e-4


def test_fewer_iterations_after_a_warm_start(iris):
    classifier = LinearClassifier(warm_start=True, alpha=1e-3).fit(*iris)
    first = classifier.n_iter_
    assert classifier.fit(*iris).n_iter_ < first / 4


def test_attributes(iris):
    classifier = LinearClassifier(alpha=1e-3).fit(*iris)
    assert classifier.converged_
    assert classifier.solver_ == "lbfgs"
    assert classifier.n_iter_ == len(classifier.history_)
    assert classifier.dual_gap_ <= 1e-4 * classifier.history_[-1].value
    assert classifier.n_features_in_ == 4
    assert not LinearClassifier(fit_intercept=False).fit(*iris).intercept_.any()


def test_feature_names(iris):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(iris[0], columns=list("abcd"))
    classifier = LinearClassifier().fit(frame, iris[1])
    assert list(classifier.feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        classifier.predict(frame[list("bacd")])


def test_callbacks_reach_the_solver(iris):
    seen = []
    LinearClassifier(tol=None, max_iter=5, callbacks=lambda state: seen.append(state.value)).fit(*iris)
    assert len(seen) == 5


def test_seeds(iris):
    X, y = iris

    def coefficients(random_state):
        return LinearClassifier(solver="sgd", tol=None, max_iter=2, random_state=random_state).fit(X, y).coef_

    np.testing.assert_array_equal(coefficients(1), coefficients(1))
    np.testing.assert_array_equal(coefficients(np.random.RandomState(1)), coefficients(1))
    assert not np.array_equal(coefficients(1), coefficients(2))


@pytest.mark.parametrize("solver", ["fista", "sgd"])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_early_stopping(iris, rng, solver, kind):
    X, y = np.hstack([iris[0], rng.standard_normal((150, 60))]), iris[1]
    settings = {"penalty": None, "solver": solver, "tol": None, "max_iter": 400, "random_state": 0}
    stopped = LinearClassifier(
        early_stopping=True, validation_fraction=0.3, n_iter_no_change=4, **settings
    ).fit(kind(X), y)
    losses = stopped.validation_losses_
    assert len(losses) == stopped.n_iter_ == np.argmin(losses) + 1 + 4 < 400
    assert stopped.coef_.shape == (3, 64)
    again = clone(stopped).fit(kind(X), y)
    np.testing.assert_array_equal(again.coef_, stopped.coef_)
    other = clone(stopped).set_params(random_state=1).fit(kind(X), y)
    assert other.validation_losses_ != losses
    plain = LinearClassifier(**settings).fit(kind(X), y)
    assert plain.validation_losses_ is None
    assert plain.n_iter_ == 400


@pytest.mark.parametrize("fraction", [0.0, 1.0, "half"])
def test_wrong_validation_fraction(iris, fraction):
    with pytest.raises((TypeError, ValueError), match="validation"):
        LinearClassifier(early_stopping=True, validation_fraction=fraction).fit(*iris)


def test_class_weights_of_a_part_of_the_classes(iris):
    X, y = iris
    weight = {"setosa": 1.0, "versicolor": 2.0, "virginica": 3.0}
    part = LinearClassifier(class_weight=weight).fit(X[:100], y[:100])
    same = LinearClassifier(class_weight={"versicolor": 2.0}).fit(X[:100], y[:100])
    np.testing.assert_array_equal(part.coef_, same.coef_)
    with pytest.raises(ValueError, match="class_weight has a weight for 'rose', which is no label of y"):
        LinearClassifier(class_weight={"rose": 2.0}).fit(X, y)


def test_early_end_warns_and_leaves_a_model(iris):
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        classifier = LinearClassifier(max_iter=2).fit(*iris)
    assert not classifier.converged_
    assert classifier.score(*iris) > 0.7


def test_one_epoch_of_sgd_is_quiet_without_tol(iris):
    assert LinearClassifier(solver="sgd", tol=0.0, max_iter=1).fit(*iris).n_iter_ == 1


# --------------------------------------------------------------------------------------------------
# what is refused
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"loss": "log"}, ValueError, "loss must be one of 'cross_entropy'"),
        ({"penalty": "l3"}, ValueError, "penalty must be None or one of"),
        ({"penalty": 3}, TypeError, "penalty must be None or one of"),
        ({"alpha": -1.0}, ValueError, "alpha must be finite and >= 0"),
        ({"penalty": "elasticnet", "l1_ratio": 2.0}, ValueError, r"l1_ratio must be in \[0, 1\]"),
        ({"solver": "newton"}, ValueError, "solver must be one of 'auto'"),
        ({"loss": "hinge", "solver": "fista"}, ValueError, "'fista' needs a smooth loss.* use 'dual', 'sgd'"),
        ({"solver": "sgd", "batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"solver": "sgd", "learning_rate": "quick"}, ValueError, "learning_rate must be one of"),
        ({"max_iter": 0}, ValueError, "max_iter must be at least 1"),
        ({"n_threads": 0}, ValueError, "n_threads must be a positive integer"),
        (
            {"class_weight": {"setosa": -1.0}},
            ValueError,
            "class_weight: the weight of 'setosa' must be finite",
        ),
    ],
    ids=str,
)
def test_wrong_parameters(iris, parameters, error, message):
    classifier = LinearClassifier(**parameters)
    with pytest.raises(error, match=message):
        classifier.fit(*iris)
    with pytest.raises(NotFittedError):
        classifier.predict(iris[0])


def test_one_class_is_refused(iris):
    with pytest.raises(ValueError, match="y must have at least 2 classes; got 1 class"):
        LinearClassifier().fit(iris[0], np.zeros(150))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros(150), "all weights are zero"),
        (np.ones((150, 1)), r"must have shape \(150,\), one weight a row of X; got \(150, 1\)"),
        (np.ones(149), r"got \(149,\)"),
        (np.full(150, np.nan), "must be finite"),
    ],
    ids=["zero", "matrix", "short", "nan"],
)
def test_wrong_weights(iris, weights, message):
    with pytest.raises(ValueError, match=f"sample_weight .*{message}"):
        LinearClassifier().fit(*iris, sample_weight=weights)


def test_is_found_without_being_loaded():
    assert regcore.LinearClassifier is LinearClassifier
    assert "LinearClassifier" in dir(regcore)
    assert "LinearClassifier" not in regcore.__all__
    with pytest.raises(AttributeError, match="no attribute 'Classifier'"):
        regcore.Classifier  # noqa: B018
