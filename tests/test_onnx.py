"""ONNX export: onnxruntime and ONNX's own reference agree with the estimator."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from regcore import LinearClassifier, to_onnx

onnx = pytest.importorskip("onnx")

LOSSES = ("cross_entropy", "hinge", "squared_hinge", "crammer_singer")


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return (X - X.mean(0)) / X.std(0), np.array(["setosa", "versicolor", "virginica"])[y]


def run(model, X):
    """Outputs by name, of onnxruntime where it is there and of the evaluator that comes with ONNX."""
    from onnx.reference import ReferenceEvaluator

    names = [output.name for output in model.graph.output]
    yield dict(zip(names, ReferenceEvaluator(model).run(None, {"X": X}), strict=True))
    try:
        import onnxruntime
    except ImportError:
        return
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    yield dict(zip(names, session.run(None, {"X": X}), strict=True))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_agrees(iris, loss, dtype, n_classes):
    X, y = iris[0].astype(dtype), iris[1]
    if n_classes == 2:
        X, y = X[50:], y[50:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = LinearClassifier(loss, alpha=1e-2, random_state=0, max_iter=50).fit(X, y)
    model = to_onnx(classifier)
    for found in run(model, X):
        np.testing.assert_array_equal(
            np.asarray(found["label"], object), classifier.predict(X).astype(object)
        )
        tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-12}
        np.testing.assert_allclose(found["scores"], classifier.decision_function(X), **tolerance)
        assert found["scores"].dtype == dtype
        if loss == "cross_entropy":
            np.testing.assert_allclose(found["probabilities"], classifier.predict_proba(X), **tolerance)
        else:
            assert "probabilities" not in found


@pytest.mark.parametrize(
    "labels",
    [
        [3, -1, 7],
        np.array([1, 2, 250], np.uint8),
        np.array(["x", "y", "z"], object),
        [False, True],
        [0.0, 2.0],
    ],
    ids=str,
)
def test_labels(iris, labels):
    X, y = iris
    codes = np.unique(y, return_inverse=True)[1]
    X, codes = X[codes < len(labels)], codes[codes < len(labels)]
    classifier = LinearClassifier().fit(X, np.asarray(labels)[codes])
    for found in run(to_onnx(classifier), X):
        assert np.asarray(found["label"]).tolist() == classifier.predict(X).tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float64])
def test_input_of_another_type(iris, dtype):
    X, y = np.clip(40 * (iris[0] + 3), 0, 255).astype(dtype), iris[1]
    classifier = LinearClassifier(tol=None, max_iter=20).fit(X.astype(np.float32), y)
    for found in run(to_onnx(classifier, input_dtype=dtype), X):
        np.testing.assert_allclose(
            found["scores"], classifier.decision_function(X.astype(np.float32)), rtol=1e-4, atol=1e-4
        )


def test_small_probabilities_are_kept(iris):
    X, y = iris
    classifier = LinearClassifier().fit(X[50:], y[50:])
    for found in run(to_onnx(classifier), 20 * X):
        np.testing.assert_allclose(found["probabilities"], classifier.predict_proba(20 * X), rtol=1e-8)


def test_file(iris, tmp_path):
    classifier = LinearClassifier().fit(*iris)
    model = to_onnx(classifier, tmp_path / "model.onnx")
    assert onnx.load(tmp_path / "model.onnx") == model
    assert model.producer_name == "regcore"


def test_refused(iris):
    with pytest.raises(NotFittedError):
        to_onnx(LinearClassifier())
    with pytest.raises(TypeError, match="must be a linear classifier of regcore; got LogisticRegression"):
        to_onnx(LogisticRegression().fit(*iris))
    classifier = LinearClassifier().fit(*iris)
    with pytest.raises(TypeError, match="input_dtype must be"):
        to_onnx(classifier, input_dtype=str)
    classifier = LinearClassifier().fit(iris[0], np.array([0, 1, 2**63], np.uint64)[np.arange(150) % 3])
    with pytest.raises(TypeError, match=r"labels must be below 2\*\*63"):
        to_onnx(classifier)
