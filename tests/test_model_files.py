"""Models in files: what comes back, and what is refused. No file runs code."""

from __future__ import annotations

import json
import struct
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import regcore
from regcore import L1, L2, ElasticNet, GroupL1, LinearClassifier, ModelFileError, load_model, save_model
from regcore.estimators import model_files

safetensors = pytest.importorskip("safetensors")
numpy_files = pytest.importorskip("safetensors.numpy")


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return (X - X.mean(0)) / X.std(0), np.array(["setosa", "versicolor", "virginica"])[y]


@pytest.fixture(scope="module")
def model(iris):
    return LinearClassifier(
        penalty="elasticnet", alpha=1e-3, class_weight={"setosa": 2.0}, random_state=3
    ).fit(*iris)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def rewritten(model, path):
    """A function that saves the model with other contents and the right checksum, and returns the path."""

    def write(change=lambda described, tensors: None, *, metadata=None):
        save_model(model, path)
        with safetensors.safe_open(path, framework="numpy") as file:
            described = json.loads(file.metadata()["regcore"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        change(described, tensors)
        text = json.dumps(described)
        found = {"regcore": text, "sha256": model_files._checksum(text, tensors)} | (metadata or {})
        numpy_files.save_file(tensors, path, metadata=found)
        return path

    return write


# --------------------------------------------------------------------------------------------------
# what comes back
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "labels",
    [
        ["a", "b", "c"],
        np.array(["a", "b", "c"], object),
        ["Zürich", "東京", "🐈"],
        [-1, 0, 2**40],
        np.array([3, 200, 255], np.uint8),
        [0.5, 1.0, 7.0],
        [False, True],
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip(iris, path, labels, dtype):
    X, y = iris[0].astype(dtype), np.unique(iris[1], return_inverse=True)[1]
    X, y = X[y < len(labels)], np.asarray(labels)[y[y < len(labels)]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = LinearClassifier(alpha=1e-3).fit(X, y.astype(object) if y.dtype == float else y)
    save_model(model, path)
    again = load_model(path)
    assert type(again) is LinearClassifier
    assert again.get_params() == model.get_params()
    assert again.classes_.dtype == model.classes_.dtype
    for name in ("coef_", "intercept_", "classes_"):
        np.testing.assert_array_equal(getattr(again, name), getattr(model, name))
        assert getattr(again, name).dtype == getattr(model, name).dtype
    for name in ("n_iter_", "t_", "converged_", "dual_gap_", "solver_", "n_features_in_", "history_"):
        assert getattr(again, name) == getattr(model, name), name
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize(
    "parameters",
    [
        {"penalty": L1(0.01)},
        {"penalty": L2(0.01)},
        {"penalty": ElasticNet(0.01, 2.0)},
        {"penalty": GroupL1(0.01)},
        {"penalty": None, "class_weight": "balanced"},
        {"early_stopping": True, "validation_fraction": 0.3, "random_state": 0},
        {"class_weight": {"setosa": np.float32(2), "virginica": 1}},
        {"alpha": np.float64(0.1), "random_state": np.int64(3), "max_iter": 7, "tol": None},
        {"loss": "squared_hinge", "fit_intercept": False, "callbacks": [lambda state: None]},
    ],
    ids=str,
)
def test_parameters(iris, path, parameters):
    model = LinearClassifier(**parameters).fit(*iris)
    save_model(model, path)
    again = load_model(path)
    assert again.get_params() == model.get_params() | {"callbacks": ()}
    assert again.validation_losses_ == model.validation_losses_
    np.testing.assert_array_equal(again.fit(*iris).coef_, model.coef_)


def test_feature_names_and_partial_fit(iris, path):
    pandas = pytest.importorskip("pandas")
    X, y = iris
    frame = pandas.DataFrame(X, columns=["a", "b", "c", "ä"])
    model = LinearClassifier(random_state=0).partial_fit(frame, y, classes=np.unique(y))
    save_model(model, path)
    again = load_model(path)
    assert list(again.feature_names_in_) == ["a", "b", "c", "ä"]
    with pytest.raises(ValueError, match="feature names"):
        again.predict(frame[["b", "a", "c", "ä"]])
    np.testing.assert_array_equal(again.partial_fit(frame, y).coef_, model.partial_fit(frame, y).coef_)


def test_an_existing_file_is_replaced_whole(model, path, monkeypatch):
    path.write_text("old")
    monkeypatch.setattr(type(path), "replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_model(model, path)
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
    save_model(model, str(path))
    assert load_model(str(path)).score is not None


# --------------------------------------------------------------------------------------------------
# what is refused
# --------------------------------------------------------------------------------------------------
def test_what_cannot_be_saved(iris, model, path):
    with pytest.raises(TypeError, match=r"must be a LinearClassifier; got Pipeline .*skops"):
        save_model(make_pipeline(StandardScaler(), LinearClassifier()).fit(*iris), path)
    with pytest.raises(NotFittedError):
        save_model(LinearClassifier(), path)
    with pytest.raises(TypeError, match=r"random_state must be a number, .* got RandomState"):
        save_model(LinearClassifier(random_state=np.random.RandomState(0)).fit(*iris), path)
    with pytest.raises(FileNotFoundError):
        save_model(model, path / "there" / "is none")
    assert not path.exists()


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        load_model(tmp_path)


def test_every_cut_is_refused(model, path):
    save_model(model, path)
    content = path.read_bytes()
    for length in [*range(0, 64), *range(64, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match=r"cut short or damaged|is damaged"):
            load_model(path)


def test_every_flipped_byte_is_refused(model, path, rng):
    save_model(model, path)
    content = path.read_bytes()
    places = {*range(0, 200), *rng.integers(0, len(content), 400).tolist(), len(content) - 1}
    for place in sorted(places):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError, match=r"damaged|none that regcore"):
            load_model(path)


def test_appended_bytes_are_refused(model, path):
    save_model(model, path)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(ModelFileError, match="damaged"):
        load_model(path)


def test_foreign_files(path):
    numpy_files.save_file({"W": np.eye(3)}, path)
    with pytest.raises(ModelFileError, match="a safetensors file, but none that regcore"):
        load_model(path)
    path.write_bytes(b"\x80\x04\x95 pickled")
    with pytest.raises(ModelFileError, match="no model file"):
        load_model(path)
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(ModelFileError, match="no model file"):
        load_model(path)


def test_other_versions(rewritten):
    with pytest.raises(ModelFileError, match=r"format 2, of a newer regcore \(9\.9\).*upgrade regcore"):
        load_model(rewritten(lambda d, t: d.update(format=2, regcore_version="9.9")))
    for version in (0, "1", None, True):
        with pytest.raises(ModelFileError, match="no format number"):
            load_model(rewritten(lambda d, t, version=version: d.update(format=version)))


def test_checksum_is_needed(rewritten):
    with pytest.raises(ModelFileError, match="checksum"):
        load_model(rewritten(metadata={"sha256": "0" * 64}))
    with pytest.raises(ModelFileError, match="checksum"):
        load_model(rewritten(metadata={"regcore": "{}"}))


def test_a_description_that_is_no_description(rewritten, path):
    rewritten()
    with safetensors.safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for text in ("[" * 10_000, "", "[]", "3", "{}", '{"format": {}}'):
        metadata = {"regcore": text, "sha256": model_files._checksum(text, tensors)}
        numpy_files.save_file(tensors, path, metadata=metadata)
        with pytest.raises(ModelFileError, match=r"description cannot be read|no format number"):
            load_model(path)


LIES = {
    "coef of two rows": lambda d, t: t.update(coef=t["coef"][:2]),
    "coef of three dimensions": lambda d, t: t.update(coef=t["coef"][None]),
    "coef of no features": lambda d, t: t.update(coef=t["coef"][:, :0]),
    "coef in float16": lambda d, t: t.update(coef=t["coef"].astype(np.float16)),
    "coef with a NaN": lambda d, t: t["coef"].__setitem__((0, 0), np.nan),
    "intercept in float32": lambda d, t: t.update(intercept=t["intercept"].astype(np.float32)),
    "intercept too long": lambda d, t: t.update(intercept=np.zeros(4)),
    "intercept with an infinity": lambda d, t: t["intercept"].__setitem__(0, np.inf),
    "history of other columns": lambda d, t: t.update(history=t["history"][:, :3].copy()),
    "history of integers": lambda d, t: t.update(history=np.zeros((2, 6), int)),
    "another tensor": lambda d, t: t.update(more=np.zeros(3)),
    "losses of two dimensions": lambda d, t: t.update(validation_losses=np.zeros((2, 2))),
    "no intercept": lambda d, t: t.pop("intercept"),
    "one class": lambda d, t: d["classes"].update(values=["a"]),
    "classes out of order": lambda d, t: d["classes"].update(values=["c", "b", "a"]),
    "classes twice": lambda d, t: d["classes"].update(values=["a", "a", "b"]),
    "classes of two kinds": lambda d, t: d["classes"].update(values=["a", 1, "c"]),
    "classes of lists": lambda d, t: d["classes"].update(values=[["a"], ["b"], ["c"]]),
    "classes of NaN": lambda d, t: d["classes"].update(dtype="float64", values=[0.0, 1.0, float("nan")]),
    "labels that are no int8": lambda d, t: d["classes"].update(dtype="int8", values=[0, 1, 1000]),
    "labels of a record": lambda d, t: d["classes"].update(dtype="i4,i4", values=[0, 1, 2]),
    "labels of no dtype": lambda d, t: d["classes"].update(dtype="what"),
    "labels of a number as dtype": lambda d, t: d["classes"].update(dtype=3),
    "no classes": lambda d, t: d.pop("classes"),
    "too few names": lambda d, t: d.update(feature_names=["a"]),
    "names of numbers": lambda d, t: d.update(feature_names=[1, 2, 3, 4]),
    "another estimator": lambda d, t: d.update(estimator="os.system"),
    "another parameter": lambda d, t: d["parameters"].update(command="rm"),
    "callbacks": lambda d, t: d["parameters"].update(callbacks="print"),
    "a parameter of a list": lambda d, t: d["parameters"].update(alpha=[1]),
    "a loss of no name": lambda d, t: d["parameters"].update(loss="log"),
    "a penalty of no name": lambda d, t: d["parameters"].update(penalty={"kind": "Popen"}),
    "a penalty of no strength": lambda d, t: d["parameters"].update(penalty={"kind": "L1", "strength": -1}),
    "a penalty of another field": lambda d, t: d["parameters"].update(penalty={"kind": "L1", "a": 1}),
    "a weight too few": lambda d, t: d["parameters"]["class_weight"].update(weights=[]),
    "a negative count": lambda d, t: d["attributes"].update(n_iter=-1),
    "a solver of no string": lambda d, t: d["attributes"].update(solver=["sgd"]),
    "no attributes": lambda d, t: d.pop("attributes"),
    "attributes of a list": lambda d, t: d.update(attributes=[1]),
    "a gap of no number": lambda d, t: d["attributes"].update(dual_gap="much"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_contents_that_do_not_fit_together(rewritten, lie):
    with pytest.raises(ModelFileError, match=r"model.safetensors contradicts itself, and is not used: .+"):
        load_model(rewritten(lie))


def test_the_rewriting_itself_is_readable(rewritten, model):
    np.testing.assert_array_equal(load_model(rewritten()).coef_, model.coef_)


# --------------------------------------------------------------------------------------------------
# skops
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("penalty", ["l1", GroupL1(1e-3)], ids=str)
def test_skops(iris, penalty):
    skops = pytest.importorskip("skops.io")
    model = make_pipeline(StandardScaler(), LinearClassifier(penalty=penalty)).fit(*iris)
    written = skops.dumps(model)
    types = skops.get_untrusted_types(data=written)
    assert all(name.startswith("regcore.") for name in types)
    again = skops.loads(written, trusted=types)
    np.testing.assert_array_equal(again.predict_proba(iris[0]), model.predict_proba(iris[0]))
    assert again[-1].history_ == model[-1].history_
    assert again[-1].get_params() == model[-1].get_params()


def test_names_are_found_without_being_loaded():
    assert regcore.save_model is save_model
    assert {"save_model", "load_model", "to_onnx"} <= set(dir(regcore))
