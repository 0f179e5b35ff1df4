"""LinearClassifier.partial_fit: batches that come one by one."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris

from regcore import LinearClassifier, Objective, fit

LOSSES = ("cross_entropy", "hinge", "squared_hinge", "crammer_singer")
SETTINGS = {"random_state": 0, "alpha": 1e-3}


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return ((X - X.mean(0)) / X.std(0))[order], np.array(["setosa", "versicolor", "virginica"])[y][order]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", ["l1", "l2", "elasticnet", "group_l1", None])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_learns_from_batches(iris, loss, penalty, n_classes):
    X, y = iris
    if n_classes == 2:
        X, y = X[y != "setosa"], y[y != "setosa"]
    classifier = LinearClassifier(loss, penalty, **SETTINGS)
    for _ in range(30):
        for start in range(0, len(y), 40):
            batch = slice(start, start + 40)
            classifier.partial_fit(X[batch], y[batch], classes=np.unique(y))
    assert classifier.score(X, y) > 0.92
    n_batches = 30 * -(-len(y) // 40)
    assert classifier.n_iter_ == len(classifier.history_) == n_batches
    assert [entry.iteration for entry in classifier.history_] == list(range(1, n_batches + 1))


@pytest.mark.parametrize("learning_rate", ["optimal", "invscaling", "constant"])
def test_steps_go_on_where_the_last_call_left_them(iris, learning_rate):
    """One sample a call, one step a call: the steps of the schedule, counted through."""
    X, y = iris
    eta0, decay = 0.5, 0.1
    classifier = LinearClassifier(
        penalty="l2", alpha=decay, eta0=eta0, learning_rate=learning_rate, power_t=0.7, **{"random_state": 0}
    )
    W, b = np.zeros((3, 4)), np.zeros(3)
    classes, codes = np.unique(y, return_inverse=True)
    for t in range(12):
        rows = slice(t, t + 1)
        eta = {
            "optimal": 1 / (decay * (1 / (decay * eta0) + t)),
            "invscaling": eta0 / (1 + t) ** 0.7,
            "constant": eta0,
        }[learning_rate]
        classifier.partial_fit(X[rows], y[rows], classes=classes)
        p = np.exp(X[rows] @ W.T + b)
        p /= p.sum(axis=1, keepdims=True)
        p[0, codes[t]] -= 1
        # the intercept moves a quarter as fast as all features together would
        rate_b = 0.25 * (X[rows] ** 2).sum()
        W = (W - eta * p.T @ X[rows]) / (1 + eta * decay)
        b = b - eta * rate_b * p[0]
        np.testing.assert_allclose(classifier.coef_, W, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(classifier.intercept_, b, rtol=1e-9, atol=1e-12)
    assert classifier.t_ == 12


def test_average_is_over_the_ends_of_the_calls(iris):
    X, y = iris
    plain = LinearClassifier(**SETTINGS)
    mean = LinearClassifier(average=True, **SETTINGS)
    ends, steps = [], []
    for start, size in ((0, 32), (32, 64), (96, 10), (106, 44)):
        batch = slice(start, start + size)
        plain.partial_fit(X[batch], y[batch], classes=np.unique(y))
        mean.partial_fit(X[batch], y[batch], classes=np.unique(y))
        ends.append(plain.coef_)
        steps.append(-(-size // 32))
    np.testing.assert_allclose(mean.coef_, np.average(ends, axis=0, weights=steps), rtol=1e-9, atol=1e-12)


def test_goes_on_from_fit_and_fit_starts_anew(iris):
    X, y = iris
    fitted = LinearClassifier(tol=1e-6, **SETTINGS).fit(X, y)
    n_iter, objective = fitted.n_iter_, Objective(X, np.unique(y, return_inverse=True)[1])
    before = objective.value(fitted.coef_, fitted.intercept_)
    fitted.partial_fit(X[:32], y[:32])
    assert fitted.n_iter_ == n_iter + 1
    assert fitted.solver_ == "sgd"
    assert objective.value(fitted.coef_, fitted.intercept_) < 1.5 * before
    again = LinearClassifier(tol=1e-6, **SETTINGS).fit(X, y)
    np.testing.assert_array_equal(fitted.fit(X, y).coef_, again.coef_)


def test_one_call_is_one_epoch_of_fit(iris):
    X, y = iris
    classes, codes = np.unique(y, return_inverse=True)
    once = LinearClassifier(penalty=None, random_state=3).partial_fit(X, y, classes=classes)
    seed = int(np.random.RandomState(3).randint(2**31 - 1))
    result = fit(Objective(X, codes), solver="sgd", tol=None, max_iter=1, random_state=seed)
    np.testing.assert_array_equal(once.coef_, result.W)


def test_same_seed_same_model_also_through_a_pickle(iris):
    X, y = iris
    models = [LinearClassifier(**SETTINGS, average=True) for _ in range(2)]
    for start in range(0, 150, 30):
        for i in range(2):
            models[i].partial_fit(X[start : start + 30], y[start : start + 30], classes=np.unique(y))
        models[1] = pickle.loads(pickle.dumps(models[1]))
    np.testing.assert_array_equal(models[0].coef_, models[1].coef_)


def test_batch_of_one_class(iris):
    X, y = iris
    classifier = LinearClassifier(**SETTINGS)
    for label in np.unique(y):
        classifier.partial_fit(X[y == label], y[y == label], classes=np.unique(y))
    assert set(classifier.predict(X)) <= set(y)


def test_sample_and_class_weights(iris):
    X, y = iris
    weight = {"setosa": 1.0, "versicolor": 2.5, "virginica": 0.5}
    by_class = LinearClassifier(class_weight=weight, **SETTINGS)
    by_sample = LinearClassifier(**SETTINGS)
    for start in range(0, 150, 50):
        rows = slice(start, start + 50)
        by_class.partial_fit(X[rows], y[rows], classes=list(weight))
        by_sample.partial_fit(
            X[rows], y[rows], classes=list(weight), sample_weight=[weight[label] for label in y[rows]]
        )
    np.testing.assert_array_equal(by_class.coef_, by_sample.coef_)


def test_first_call_needs_classes(iris):
    with pytest.raises(ValueError, match="classes must be given in the first call"):
        LinearClassifier().partial_fit(*iris)
    with pytest.raises(ValueError, match="classes must hold at least 2 labels"):
        LinearClassifier().partial_fit(*iris, classes=["setosa"])


def test_unseen_labels_and_other_classes_are_refused(iris):
    X, y = iris
    classifier = LinearClassifier(**SETTINGS)
    with pytest.raises(ValueError, match=r"got \['virginica'\], which the first call"):
        classifier.partial_fit(X, y, classes=["setosa", "versicolor"])
    classifier = LinearClassifier(**SETTINGS).partial_fit(X, y, classes=np.unique(y))
    before = classifier.coef_
    with pytest.raises(ValueError, match=r"got \['lily'\]"):
        classifier.partial_fit(X[:2], ["setosa", "lily"])
    with pytest.raises(ValueError, match="classes must be those of the first call"):
        classifier.partial_fit(X, y, classes=["setosa", "versicolor", "lily"])
    with pytest.raises(ValueError, match=r"3 features.*expecting 4"):
        classifier.partial_fit(X[:, :3], y)
    assert classifier.coef_ is before


def test_balanced_is_refused_with_a_way_out(iris):
    with pytest.raises(ValueError, match="'balanced' needs all labels at once"):
        LinearClassifier(class_weight="balanced").partial_fit(*iris, classes=np.unique(iris[1]))


def test_other_solvers_have_no_partial_fit():
    assert not hasattr(LinearClassifier(solver="fista"), "partial_fit")
    with pytest.raises(AttributeError) as raised:
        LinearClassifier(solver="fista").partial_fit([[1.0]], [1])
    assert "partial_fit is for solver='sgd'" in str(raised.value.__cause__)


def test_clone_has_no_memory(iris):
    classifier = LinearClassifier(**SETTINGS).partial_fit(*iris, classes=np.unique(iris[1]))
    assert not hasattr(clone(classifier), "coef_")
