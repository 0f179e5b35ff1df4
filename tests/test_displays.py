"""Displays: what they draw is what the estimators hold."""

from __future__ import annotations

import subprocess
import sys
import types
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from regcore import (
    L2,
    CoefficientsDisplay,
    ConvergenceDisplay,
    ConvergenceWarning,
    LinearClassifier,
    LinearClassifierCV,
    PenaltyComparisonDisplay,
    RegularizationPathDisplay,
)

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    rng = np.random.default_rng(0)
    y = np.where(rng.random(150) < 0.2, rng.integers(0, 3, 150), y)
    return (X - X.mean(0)) / X.std(0), np.array(["setosa", "versicolor", "virginica"])[y]


@pytest.fixture(scope="module")
def search(iris):
    return LinearClassifierCV(alphas=4, l1_ratios=(0.5,), max_iter=5000).fit(*iris)


def drawn(display):
    """Draw all of it; what is wrong inside shows here."""
    display.figure_.canvas.draw()


# --------------------------------------------------------------------------------------------------
# convergence
# --------------------------------------------------------------------------------------------------
def test_convergence(iris):
    model = LinearClassifier(alpha=1e-3).fit(*iris)
    display = ConvergenceDisplay.from_estimator(model, kind="value")
    drawn(display)
    assert [axes.get_xlabel() for axes in display.axes_] == ["passes over the data", "seconds"]
    values = np.array([entry.value for entry in model.history_])
    np.testing.assert_allclose(display.distances, values - values.min())
    np.testing.assert_array_equal(display.lines_[0].get_xdata(), [entry.n_passes for entry in model.history_])
    np.testing.assert_array_equal(display.lines_[1].get_xdata(), [entry.seconds for entry in model.history_])
    # the lowest of all has no logarithm, and is drawn as the least that has
    shown = display.lines_[0].get_ydata()
    assert shown.min() == display.distances[display.distances > 0].min()
    assert display.axes_[0].get_yscale() == "log"


def test_convergence_of_two_in_one_picture(iris):
    short, long = (LinearClassifier(alpha=alpha, tol=1e-6).fit(*iris) for alpha in (1e-1, 1e-3))
    first = ConvergenceDisplay.from_estimator(short, name="short", kind="value", x="passes")
    second = ConvergenceDisplay.from_estimator(
        make_pipeline(long), name="long $", kind="value", x=["passes"], ax=first.axes_, color="red"
    )
    drawn(second)
    assert second.figure_ is first.figure_
    assert [text.get_text() for text in first.axes_[0].get_legend().get_texts()] == ["short", r"long \$"]
    assert first.axes_[0].get_xlim()[1] > long.history_[-1].n_passes
    assert second.lines_[0].get_color() == "red"


def test_convergence_of_a_gap_is_relative():
    entries = [
        types.SimpleNamespace(value=2.0, dual_gap=0.5, residual=None, n_passes=1.0, seconds=0.1),
        types.SimpleNamespace(value=1.0, dual_gap=0.0, residual=None, n_passes=2.0, seconds=0.2),
    ]
    display = ConvergenceDisplay.from_history(entries, tol=1e-4)
    drawn(display)
    assert display.kind == "dual_gap"
    assert display.distances.tolist() == [0.25, 0.0]
    assert "duality gap" in display.axes_[0].get_ylabel()
    with pytest.raises(ValueError, match=r"kind='residual': the solver of this history gave none"):
        ConvergenceDisplay.from_history(entries, kind="residual")


def test_convergence_refuses(iris):
    model = LinearClassifier().fit(*iris)
    with pytest.raises(ValueError, match="kind must be 'auto' or one of"):
        ConvergenceDisplay.from_estimator(model, kind="gap")
    with pytest.raises(ValueError, match="x must hold some of"):
        ConvergenceDisplay.from_estimator(model, x=["epochs"])
    with pytest.raises(ValueError, match="ax must be 2 axes, one a panel; got 1"):
        ConvergenceDisplay.from_estimator(model, ax=pyplot.figure().subplots())
    with pytest.raises(ValueError, match="history must have at least one iteration"):
        ConvergenceDisplay.from_history([])
    with pytest.raises(NotFittedError):
        ConvergenceDisplay.from_estimator(LinearClassifier())


# --------------------------------------------------------------------------------------------------
# coefficients
# --------------------------------------------------------------------------------------------------
def test_coefficients_as_images():
    X, y = load_digits(return_X_y=True)
    model = LinearClassifier(tol=None, max_iter=20).fit(X / 16, y)
    display = CoefficientsDisplay.from_estimator(model, image_shape=(8, 8))
    drawn(display)
    assert len(display.axes_) == 10
    np.testing.assert_array_equal(display.axes_[3].images[0].get_array(), model.coef_[3].reshape(8, 8))
    limits = {axes.images[0].get_clim() for axes in display.axes_}
    assert len(limits) == 1
    assert sum(limits.pop()) == 0
    some = CoefficientsDisplay.from_estimator(model, image_shape=(4, 16), classes=[7, 2], cmap="gray")
    assert [axes.get_title() for axes in some.axes_] == ["7", "2"]
    with pytest.raises(ValueError, match="image_shape must have 64 pixels, one a feature; got 8 x 9"):
        display.plot(image_shape=(8, 9))
    with pytest.raises(ValueError, match=r"image_shape must be \(height, width\)"):
        display.plot(image_shape=64)
    with pytest.raises(ValueError, match="classes must be some of"):
        display.plot(classes=["ten"])


def test_coefficients_as_bars(iris):
    X, y = iris
    names = ["a", "b", "c", "d $ and much more than anybody would call it"]
    model = LinearClassifier(penalty="l1", alpha=0.02, tol=1e-7, max_iter=20_000).fit(X, y)
    display = CoefficientsDisplay.from_estimator(model, feature_names=names, n_top=3)
    drawn(display)
    for row, axes in enumerate(display.axes_):
        weights = np.sort(model.coef_[row][np.argsort(-np.abs(model.coef_[row]))[:3]])
        np.testing.assert_allclose([bar.get_width() for bar in axes.patches], weights[weights != 0])
        assert axes.get_title(loc="left") == model.classes_[row]
    assert any(r"d \$ and" in text.get_text() for axes in display.axes_ for text in axes.get_yticklabels())


def test_coefficients_of_two_classes_in_a_pipeline(iris):
    pandas = pytest.importorskip("pandas")
    X, y = iris
    frame = pandas.DataFrame(X[50:], columns=list("abcd"))
    model = make_pipeline(StandardScaler(), LinearClassifier()).fit(frame, y[50:] == "virginica")
    display = CoefficientsDisplay.from_estimator(model)
    assert display.feature_names == list("abcd")
    assert display.axes_[0].get_title(loc="left") == "True (> 0) against False (< 0)"
    theirs = CoefficientsDisplay.from_estimator(LogisticRegression().fit(X, y))
    assert len(theirs.axes_) == 3
    with pytest.raises(ValueError, match="feature_names must have 4 names; got 1"):
        CoefficientsDisplay.from_estimator(model, feature_names=["a"])
    with pytest.raises(ValueError, match="n_top must be a positive integer"):
        display.plot(n_top=0)
    with pytest.raises(ValueError, match="coef must have shape"):
        CoefficientsDisplay([1.0], class_names=["a", "b"])


# --------------------------------------------------------------------------------------------------
# penalties
# --------------------------------------------------------------------------------------------------
def test_penalty_comparison(search):
    display = PenaltyComparisonDisplay.from_estimator(search)
    drawn(display)
    assert display.names == ["none", "l1", "l2", "elasticnet"]
    results = search.cv_results_
    for name, scores, detail in zip(display.names, display.scores, display.details, strict=True):
        same = [i for i, params in enumerate(results["params"]) if params["penalty"] == name]
        best = max(same, key=lambda i: results["mean_test_score"][i])
        assert scores.mean() == pytest.approx(results["mean_test_score"][best])
        assert ("alpha" in detail) == (name != "none")
    centers = [bar.lines[0].get_xdata()[0] for bar in display.errorbars_]
    np.testing.assert_allclose(centers, display.scores.mean(axis=1))
    assert "accuracy" in display.ax_.get_xlabel()


def test_penalty_comparison_of_a_grid_search(iris):
    grid = {"linearclassifier__penalty": ["l1", None], "linearclassifier__alpha": [1e-3, 1e-2]}
    searched = GridSearchCV(
        make_pipeline(StandardScaler(), LinearClassifier()), grid, cv=3, scoring="balanced_accuracy"
    ).fit(*iris)
    axes = pyplot.figure().subplots()
    display = PenaltyComparisonDisplay.from_estimator(searched, ax=axes)
    drawn(display)
    assert display.ax_ is axes
    assert display.names == ["l1", "none"]
    assert "balanced accuracy" in axes.get_xlabel()
    with pytest.raises(ValueError, match='cv_results must have a "penalty"'):
        PenaltyComparisonDisplay.from_cv_results({"params": [{"alpha": 1}], "split0_test_score": [1.0]})
    with pytest.raises(ValueError, match="scores must have a row for each of 2 names"):
        PenaltyComparisonDisplay(["a", "b"], [1.0, 2.0])


# --------------------------------------------------------------------------------------------------
# path
# --------------------------------------------------------------------------------------------------
def test_path_of_a_classifier(iris):
    X, y = iris
    model = LinearClassifier(penalty="l1", tol=1e-6, max_iter=20_000)
    alphas = [1e-3, 0.1, 0.01]
    display = RegularizationPathDisplay.from_estimator(
        model, X[::2], y[::2], alphas=alphas, X_test=X[1::2], y_test=y[1::2], target="virginica"
    )
    drawn(display)
    assert display.alphas.tolist() == [1e-3, 0.01, 0.1]
    for i, alpha in enumerate(display.alphas):
        plain = LinearClassifier(penalty="l1", alpha=alpha, tol=1e-6, max_iter=20_000).fit(X[::2], y[::2])
        np.testing.assert_allclose(display.coefs[i], plain.coef_, atol=1e-3)
        assert display.scores[i] == pytest.approx(plain.score(X[1::2], y[1::2]), abs=0.02)
    np.testing.assert_array_equal(display.lines_[1].get_ydata(), display.coefs[:, 2, 1])
    assert display.axes_[1].get_ylabel() == "test accuracy"
    assert not hasattr(model, "coef_")
    display.plot()
    np.testing.assert_allclose(display.lines_[1].get_ydata(), np.linalg.norm(display.coefs[:, :, 1], axis=1))
    with pytest.raises(ValueError, match="target must be one of"):
        display.plot(target="lily")


def test_path_of_its_own_strengths_begins_without_weights(iris):
    X, y = iris
    display = RegularizationPathDisplay.from_estimator(
        LinearClassifier(penalty="l1", solver="fista", tol=1e-5, max_iter=20_000),
        X[50:],
        y[50:] == "virginica",
    )
    drawn(display)
    assert len(display.alphas) == 30
    assert len(display.axes_) == 1
    assert np.abs(display.coefs[-1]).max() < 1e-5
    assert display.coefs[0].all()
    assert "True" in display.axes_[0].get_ylabel()


def test_path_of_a_search(iris):
    X, y = iris
    search = LinearClassifierCV(penalties=["elasticnet"], alphas=5, solver="fista", max_iter=5000).fit(X, y)
    display = RegularizationPathDisplay.from_estimator(search, X, y)
    drawn(display)
    assert display.best_alpha == search.best_params_["alpha"]
    np.testing.assert_allclose(display.alphas[::-1], search.alphas_)
    assert display.scores.max() == pytest.approx(search.best_score_)
    best = np.argmin(np.abs(display.alphas - display.best_alpha))
    np.testing.assert_allclose(display.coefs[best], search.coef_, atol=1e-2)


def test_path_of_arrays():
    path = types.SimpleNamespace(alphas=np.array([1.0, 0.1]), coefs=np.arange(12.0).reshape(2, 2, 3))
    display = RegularizationPathDisplay.from_path(path, scores=[0.5, 0.9], class_names=["a", "b"])
    drawn(display)
    assert display.coefs[0].tolist() == path.coefs[1].tolist()
    assert display.scores.tolist() == [0.9, 0.5]


def test_path_refuses(iris, search):
    X, y = iris
    with pytest.raises(TypeError, match="must be a LinearClassifier or LinearClassifierCV"):
        RegularizationPathDisplay.from_estimator(LogisticRegression(), X, y)
    for penalty in (None, "none", L2(1.0)):
        with pytest.raises(ValueError, match="penalty must be a name that has a strength"):
            RegularizationPathDisplay.from_estimator(LinearClassifier(penalty=penalty), X, y)
    with pytest.raises(ValueError, match="alphas must be one or more positive"):
        RegularizationPathDisplay([0.0, 1.0], np.zeros((2, 1, 3)))
    with pytest.raises(ValueError, match=r"coefs must have shape \(1, n_rows, n_features\)"):
        RegularizationPathDisplay([1.0], np.zeros((2, 1, 3)))
    with pytest.raises(ValueError, match="scores must have shape"):
        RegularizationPathDisplay([1.0], np.zeros((1, 1, 3)), scores=[1, 2])
    none = LinearClassifierCV(penalties=["none"], max_iter=5000).fit(X, y)
    with pytest.raises(ValueError, match="'none', has no strength"):
        RegularizationPathDisplay.from_estimator(none, X, y)


def test_path_warns_once(iris):
    with pytest.warns(ConvergenceWarning, match="2 of 2 fits of the path stopped early") as caught:
        RegularizationPathDisplay.from_estimator(LinearClassifier(max_iter=1), *iris, alphas=[1e-3, 1e-4])
    assert len(caught) == 1
    assert caught[0].filename == __file__


# --------------------------------------------------------------------------------------------------
def test_without_matplotlib_the_error_names_the_extra():
    code = """
import sys
sys.modules["matplotlib"] = None
import numpy as np
from regcore import ConvergenceDisplay, LinearClassifier
model = LinearClassifier().fit(np.eye(4), [0, 1, 0, 1])
try:
    ConvergenceDisplay.from_estimator(model)
except ImportError as error:
    assert "regcore[plot]" in str(error), error
else:
    raise AssertionError
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_estimators_loads_no_matplotlib():
    code = "import sys; from regcore import ConvergenceDisplay; assert 'matplotlib' not in sys.modules"
    with warnings.catch_warnings():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
