"""What the estimators take as X, y and weights: tables, arrays of other libraries, labels of every kind."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.exceptions import DataConversionWarning

import regcore.estimators.classifier as classifier_module
from regcore import LinearClassifier, Objective

SKLEARN = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
NAMES = ["sepal length", "sepal width", "petal length", "petal width"]


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return (X - X.mean(0)) / X.std(0), np.array(["setosa", "versicolor", "virginica"])[y]


@pytest.fixture(scope="module")
def many(iris):
    """So many samples that equal ones are not merged."""
    return np.tile(iris[0], (150, 1)), np.tile(iris[1], 150)


@pytest.fixture
def seen(monkeypatch):
    """What reaches the objective as X."""
    found = []
    monkeypatch.setattr(
        classifier_module, "Objective", lambda X, *a, **k: found.append(X) or Objective(X, *a, **k)
    )
    return found


# --------------------------------------------------------------------------------------------------
# tables
# --------------------------------------------------------------------------------------------------
@pytest.fixture(params=["pandas", "polars"])
def table(request):
    """A function that makes a DataFrame from a dict of columns."""
    return pytest.importorskip(request.param).DataFrame


def as_columns(X):
    return dict(zip(NAMES, X.T, strict=True))


def test_tables_in_labels_out(iris, table):
    X, y = iris
    frame, labels = table(as_columns(X)), table({"species": y})["species"]
    classifier = LinearClassifier().fit(frame, labels)
    plain = LinearClassifier().fit(X, y)
    np.testing.assert_array_equal(classifier.coef_, plain.coef_)
    if sees_names(table):
        assert list(classifier.feature_names_in_) == NAMES
    assert classifier.classes_.tolist() == plain.classes_.tolist()
    np.testing.assert_array_equal(classifier.predict(frame), plain.predict(X))
    np.testing.assert_array_equal(classifier.predict_proba(frame), plain.predict_proba(X))


def sees_names(table):
    """scikit-learn before 1.9 asks a DataFrame for a protocol that newer Polars has no longer."""
    return table.__module__.startswith("pandas") or hasattr(table, "__dataframe__") or SKLEARN >= (1, 9)


def test_feature_names_that_changed(iris, table):
    if not sees_names(table):
        pytest.skip("this scikit-learn does not see the names of this table")
    X, y = iris
    classifier = LinearClassifier().fit(table(as_columns(X)), y)
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        classifier.predict(table(dict(reversed(as_columns(X).items()))))
    with pytest.raises(ValueError, match="Feature names seen at fit time, yet now missing:\n- petal width"):
        classifier.predict(table(as_columns(X) | {"petal width": X[:, 3]}).rename(**renaming(table)))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        classifier.predict(X)


def renaming(table):
    new = {"petal width": "width of a petal"}
    return {"columns": new} if table.__module__.startswith("pandas") else {"mapping": new}


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.float16])
def test_types_of_columns_are_kept(many, seen, dtype):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.abs(10 * many[0]).astype(dtype), columns=NAMES)
    LinearClassifier(tol=None, max_iter=2).fit(frame, many[1])
    assert seen[0].dtype == dtype
    assert np.shares_memory(seen[0], frame.to_numpy())


def test_columns_that_are_no_numbers(iris, table):
    X, y = iris
    frame = table(as_columns(X) | {"colour": ["red", "blue", "red"] * 50})
    with pytest.raises(ValueError, match=r"X must have columns of numbers; got 'colour' \(\w+\): encode"):
        LinearClassifier().fit(frame, y)


def test_categories(iris):
    X, y = iris
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=NAMES).assign(kind=pandas.Categorical([3, 1, 2] * 50))
    with pytest.raises(ValueError, match=r"'kind' \(category\): encode .* OneHotEncoder"):
        LinearClassifier().fit(frame, y)
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(as_columns(X)).with_columns(
        kind=polars.Series(["a", "b", "c"] * 50, dtype=polars.Categorical)
    )
    with pytest.raises(ValueError, match=r"'kind' \(Categorical"):
        LinearClassifier().fit(frame, y)


def test_objects_are_read_as_numbers_where_they_are_numbers(iris):
    X, y = iris
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=NAMES)
    as_objects = frame.astype(object)
    np.testing.assert_array_equal(
        LinearClassifier().fit(as_objects, y).coef_, LinearClassifier().fit(frame, y).coef_
    )
    as_objects.iloc[3, 1] = "wide"
    with pytest.raises(ValueError, match=r"'sepal width' \(object\)"):
        LinearClassifier().fit(as_objects, y)


def test_missing_values_in_a_table(iris, table):
    X = iris[0].copy()
    X[7, 2] = np.nan
    with pytest.raises(ValueError, match=r"X.*row 7.*column 2"):
        LinearClassifier().fit(table(as_columns(X)), iris[1])


# --------------------------------------------------------------------------------------------------
# arrays of other libraries
# --------------------------------------------------------------------------------------------------
@pytest.fixture(params=["array_api_strict", "torch"])
def library(request):
    return pytest.importorskip(request.param)


def test_arrays_of_other_libraries_are_read_where_they_are(many, seen, library):
    X, y = many[0].astype(np.float32), np.unique(many[1], return_inverse=True)[1]
    foreign, labels, weights = (library.asarray(a) for a in (X, y, np.linspace(0.5, 1, len(y))))
    classifier = LinearClassifier().fit(foreign, labels, sample_weight=weights)
    assert np.shares_memory(seen[0], np.from_dlpack(foreign))
    plain = LinearClassifier().fit(X, y, sample_weight=np.linspace(0.5, 1, len(y)))
    np.testing.assert_array_equal(classifier.coef_, plain.coef_)
    assert classifier.coef_.dtype == np.float32
    for method in ("predict", "decision_function", "predict_proba", "predict_log_proba"):
        expected = getattr(plain, method)(X)
        given = getattr(classifier, method)(foreign)
        assert isinstance(given, np.ndarray)
        np.testing.assert_array_equal(given, expected)


# scikit-learn dispatches only where SciPy does, which must be told before its import.
DISPATCHED = """
import importlib, sys
import numpy as np, sklearn
from regcore import LinearClassifier
library = importlib.import_module(sys.argv[1])
rng = np.random.default_rng(0)
X, y = rng.standard_normal((60, 4)), rng.integers(0, 3, 60)
plain, foreign = LinearClassifier().fit(X, y), library.asarray(X)
sklearn.set_config(array_api_dispatch=True)
classifier = LinearClassifier().fit(foreign, library.asarray(y))
assert type(classifier.coef_) is np.ndarray
for method in ("predict", "decision_function", "predict_proba", "predict_log_proba"):
    given = getattr(classifier, method)(foreign)
    assert type(given) is type(foreign), method
    np.testing.assert_array_equal(np.from_dlpack(given), getattr(plain, method)(X))
    assert type(getattr(classifier, method)(X)) is np.ndarray
assert np.isclose(classifier.score(foreign, library.asarray(y)), plain.score(X, y))
named = LinearClassifier().fit(foreign, np.array(["a", "b", "c"])[y])
assert type(named.predict(foreign)) is np.ndarray
"""


def test_results_in_the_library_of_x_where_scikit_learn_dispatches(library):
    if SKLEARN < (1, 8):
        pytest.importorskip("array_api_compat")
    done = subprocess.run(
        [sys.executable, "-c", DISPATCHED, library.__name__],
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_a_cpu_cannot_read(iris):
    torch = pytest.importorskip("torch")
    X, y = iris
    with pytest.raises(ValueError, match="X must be in the memory of the CPU, and free of gradients"):
        LinearClassifier().fit(torch.tensor(X, requires_grad=True), y)
    with pytest.raises(ValueError, match="X must be in the memory of the CPU"):
        LinearClassifier().fit(torch.empty((150, 4), device="meta"), y)


# --------------------------------------------------------------------------------------------------
# labels
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "labels",
    [
        ["b", "a", "c"],
        np.array(["b", "a", "c"], object),
        [3, -7, 10**12],
        np.array([200, 3, 255], np.uint8),
        np.array([-128, 127, 0], np.int8),
        np.array([2**63, 2**63 + 1, 0], np.uint64),
        [1.0, -2.0, 7.0],
    ],
    ids=str,
)
def test_labels_of_every_kind(iris, labels):
    X, y = iris
    codes = np.unique(y, return_inverse=True)[1]
    named = np.asarray(labels)[codes]
    classifier = LinearClassifier().fit(X, named)
    np.testing.assert_array_equal(classifier.classes_, np.unique(named))
    assert classifier.classes_.dtype == named.dtype
    assert classifier.score(X, named) == LinearClassifier().fit(X, codes).score(X, codes) > 0.9
    assert classifier.predict(X).dtype == named.dtype


def test_two_labels_of_bool(iris):
    X, y = iris
    classifier = LinearClassifier().fit(X, y == "setosa")
    assert classifier.classes_.tolist() == [False, True]
    assert classifier.score(X, y == "setosa") == 1


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.array([1, "a", 2] * 50, object), TypeError, "labels of one kind, .* got int, str together"),
        (np.linspace(0, 1, 150), ValueError, "Unknown label type"),
        (np.array([0, 1, np.nan] * 50), ValueError, "contains NaN"),
        (np.eye(150)[:, :3], ValueError, "multilabel|shape"),
        (np.zeros(149), ValueError, "inconsistent numbers of samples"),
    ],
    ids=["kinds", "continuous", "nan", "matrix", "short"],
)
def test_wrong_labels(iris, labels, error, message):
    with pytest.raises(error, match=message):
        LinearClassifier().fit(iris[0], labels)


def test_column_of_labels_warns(iris):
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        LinearClassifier().fit(iris[0], iris[1][:, None])


def test_wrong_class_weights(iris):
    with pytest.raises(ValueError, match="class_weight must be a mapping or 'balanced'; got 'even'"):
        LinearClassifier(class_weight="even").fit(*iris)


# --------------------------------------------------------------------------------------------------
# sparse
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.bool_])
def test_csr_is_not_copied(many, seen, dtype):
    X = sparse.csr_array(np.abs(10 * many[0]).astype(dtype))
    LinearClassifier(tol=None, max_iter=2).fit(X, many[1])
    for part in ("data", "indices", "indptr"):
        assert np.shares_memory(getattr(seen[0], part), getattr(X, part))
