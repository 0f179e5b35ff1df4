"""Models in files without pickle: safetensors for the numbers, JSON for everything else.

Layout of a file, format 1:

    tensors     coef (1 or n_classes, n_features) and intercept (1 or n_classes,), float32 or float64
                history (n_iter, 6), float64: iteration, value, dual_gap, residual, n_passes, seconds
                validation_losses (n_iter,), float64: only of a fit with early_stopping
    metadata    "regcore": JSON, an object of
                    format, regcore_version, estimator, parameters, attributes,
                    classes {"dtype", "values"}, feature_names (or null)
                "sha256": of that JSON and all tensors, see `_checksum`

Nothing of a file is run, and nothing of it is believed: a reader checks every number, shape and name.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sklearn.utils.validation import check_is_fitted

from regcore.estimators.classifier import LinearClassifier
from regcore.losses import resolve_loss
from regcore.penalties import L1, L2, ElasticNet, GroupL1, Penalty
from regcore.solvers import HistoryEntry

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["ModelFileError", "load_model", "save_model"]

FORMAT = 1

_KEY, _CHECKSUM = "regcore", "sha256"
_PENALTIES: dict[str, type[Penalty]] = {kind.__name__: kind for kind in (L1, L2, ElasticNet, GroupL1)}
_NOT_KEPT = ("callbacks",)  # functions; they are not asked for by a fitted model
_TENSORS, _MAY_BE_THERE = {"coef", "intercept", "history"}, {"validation_losses"}


class ModelFileError(ValueError):
    """A file is no model that this version of regcore can read; the message says why, and what to do."""


def save_model(estimator: LinearClassifier, path: str | os.PathLike[str]) -> None:
    """Write a fitted classifier to a file, in the safetensors format.

    The file has the coefficients, classes and names of features, the history of the fit and all parameters
    but `callbacks`, with a checksum. It appears whole or not at all.

    Parameters
    ----------
    estimator : LinearClassifier
        Fitted. Of a `LinearClassifierCV` give its `best_estimator_`.
    path : path
        Usually ending in ".safetensors"; an existing file is replaced.

    Raises
    ------
    TypeError
        If `estimator` is something else (for a whole Pipeline there is skops), or its labels or parameters
        are of a kind that no file can hold.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    OSError
        If the file cannot be written.

    See Also
    --------
    load_model : Read the file.
    to_onnx : A file for other runtimes.
    """
    save = _safetensors().numpy.save
    if type(estimator) is not LinearClassifier:
        raise TypeError(
            f"estimator must be a LinearClassifier; got {type(estimator).__name__} (of a search save "
            "best_estimator_, of a Pipeline its last step, or all of it with skops)"
        )
    check_is_fitted(estimator, "coef_")
    names = getattr(estimator, "feature_names_in_", None)
    described = {
        "format": FORMAT,
        "regcore_version": version("regcore"),
        "estimator": "LinearClassifier",
        "parameters": {
            name: _written(name, value)
            for name, value in estimator.get_params(deep=False).items()
            if name not in _NOT_KEPT
        },
        "attributes": {
            "n_iter": int(estimator.n_iter_),
            "t": int(estimator.t_),
            "converged": bool(estimator.converged_),
            "dual_gap": _written_number(estimator.dual_gap_),
            "solver": str(estimator.solver_),
        },
        "classes": _written_classes(estimator.classes_),
        "feature_names": None if names is None else [str(name) for name in names],
    }
    text = json.dumps(described, allow_nan=False)
    history = [[math.nan if x is None else x for x in entry] for entry in estimator.history_]
    tensors = {
        "coef": np.ascontiguousarray(estimator.coef_),
        "intercept": np.ascontiguousarray(estimator.intercept_),
        "history": np.array(history, np.float64).reshape(-1, len(HistoryEntry._fields)),
    }
    if estimator.validation_losses_ is not None:
        tensors["validation_losses"] = np.array(estimator.validation_losses_, np.float64)
    _write_whole(path, save(tensors, metadata={_KEY: text, _CHECKSUM: _checksum(text, tensors)}))


def load_model(path: str | os.PathLike[str]) -> LinearClassifier:
    """Read a classifier that `save_model` wrote. No code of the file is run, whatever it holds.

    Parameters
    ----------
    path : path

    Returns
    -------
    estimator : LinearClassifier
        Fitted, with the same parameters (`callbacks` excepted), coefficients and history.

    Raises
    ------
    ModelFileError
        If the file is damaged, of another kind or of a newer version, or contradicts itself.
    OSError
        If there is no such file, or it cannot be read.
    """
    safetensors = _safetensors()
    path = Path(path)
    with path.open("rb"):  # says what is wrong with the path, which safetensors does not always
        pass
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise ModelFileError(f"{path} is a safetensors file, but none that regcore.save_model wrote")
            text, checksum = metadata[_KEY], metadata.get(_CHECKSUM)
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except safetensors.SafetensorError as error:
        raise ModelFileError(
            f"{path} is no model file, or it is cut short or damaged ({error}); fetch it again, or save the "
            "model again"
        ) from error
    if checksum != _checksum(text, tensors):
        raise ModelFileError(
            f"{path} is damaged: its contents do not have the checksum that was saved with them; fetch it "
            "again, or save the model again"
        )
    described = _described(path, text)
    if tensors.keys() != _TENSORS and tensors.keys() != _TENSORS | _MAY_BE_THERE:
        raise _contradiction(path, f"it must hold the tensors {sorted(_TENSORS)}, not {sorted(tensors)}")
    try:
        return _assembled(described, tensors)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise _contradiction(path, reason) from error


def _contradiction(path: Path, reason: str) -> ModelFileError:
    return ModelFileError(f"{path} contradicts itself, and is not used: {reason}")


def _safetensors() -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError('model files need safetensors: pip install "regcore[files]"') from error
    return safetensors


def _checksum(text: str, tensors: dict[str, Array]) -> str:
    """SHA-256 of the JSON and of every tensor's name, type, shape and bytes, each with its length."""
    digest = hashlib.sha256()

    def add(part: Any) -> None:
        view = memoryview(part).cast("B")
        digest.update(view.nbytes.to_bytes(8, "little"))
        digest.update(view)

    add(text.encode("utf-8", "surrogatepass"))
    for name in sorted(tensors):
        tensor = tensors[name]
        add(f"{name} {tensor.dtype.str} {tensor.shape}".encode())
        add(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    path = Path(path)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with beside.open("xb") as file:
            file.write(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


# ---------------------------------------------------------------------- to JSON


def _written(name: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Penalty):
        kind = type(value).__name__
        if _PENALTIES.get(kind) is not type(value):
            raise TypeError(f"penalty must be one of regcore's own to be saved; got {kind}")
        return {"kind": kind, **{field: getattr(value, field) for field in value.__slots__}}
    if name == "class_weight" and isinstance(value, dict):
        return {
            "labels": _written_classes(_as_labels(list(value))),
            "weights": [float(w) for w in value.values()],
        }
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"{name} must be finite to be saved; got {value}")
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise TypeError(
            f"{name} must be a number, a string or None to be saved; got {type(value).__name__} "
            f"(set_params({name}=...) changes it and keeps the fit)"
        )
    return value


def _written_number(value: Any) -> Any:
    """A number in JSON, which has no infinities."""
    if value is None:
        return None
    return float(value) if math.isfinite(value) else str(float(value))


def _written_classes(classes: Array) -> dict[str, Any]:
    values = classes.tolist()
    if classes.dtype.kind not in "biufUO" or not _are_of_one_kind(values):
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        raise TypeError(f"labels must be strings or numbers to be saved; got {kinds} (dtype {classes.dtype})")
    kind = classes.dtype.kind
    return {"dtype": {"U": "str", "O": "object"}.get(kind, classes.dtype.name), "values": values}


def _are_of_one_kind(values: list[Any]) -> bool:
    kinds = {type(value) for value in values}
    return len(kinds) == 1 and kinds <= {bool, int, float, str}


def _as_labels(values: list[Any]) -> Array:
    labels = np.empty(len(values), object)
    labels[:] = [value.item() if isinstance(value, np.generic) else value for value in values]
    return labels


# ---------------------------------------------------------------------- from JSON


def _described(path: Path, text: str) -> dict[str, Any]:
    try:
        described = json.loads(text)
        number = described["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileError(
            f"{path} is damaged: its description cannot be read; fetch it again, or save the model again"
        ) from error
    if type(number) is not int or number < 1:
        raise ModelFileError(f"{path} is damaged: it has no format number, but {number!r}")
    if number > FORMAT:
        raise ModelFileError(
            f"{path} has format {number}, of a newer regcore ({described.get('regcore_version')}); this one "
            f"reads formats up to {FORMAT}: upgrade regcore"
        )
    found: dict[str, Any] = described
    return found


def _assembled(described: dict[str, Any], tensors: dict[str, Array]) -> LinearClassifier:
    """Return the estimator; raise a ValueError, TypeError or KeyError on whatever does not fit together."""
    if described["estimator"] != "LinearClassifier":
        raise ValueError(f"its estimator is {described['estimator']!r}, which this version does not know")
    estimator = LinearClassifier(**_parameters(described["parameters"]))
    resolve_loss(estimator.loss)
    classes = _read_classes(described["classes"])
    if len(classes) < 2 or not all(a < b for a, b in pairwise(classes.tolist())):
        raise ValueError("its classes must be two or more, sorted, each once")
    coef, intercept, history = tensors["coef"], tensors["intercept"], tensors["history"]
    n_rows = 1 if len(classes) == 2 else len(classes)
    if coef.ndim != 2 or coef.shape[0] != n_rows or coef.shape[1] < 1:
        raise ValueError(
            f"coef must have shape ({n_rows}, n_features) for {len(classes)} classes, not {coef.shape}"
        )
    if intercept.shape != (n_rows,):
        raise ValueError(f"intercept must have shape ({n_rows},), not {intercept.shape}")
    if coef.dtype not in (np.float32, np.float64) or intercept.dtype != coef.dtype:
        raise ValueError(
            f"coef and intercept must both be float32 or float64, not {coef.dtype} and {intercept.dtype}"
        )
    if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
        raise ValueError("coef and intercept must be finite")
    if history.dtype != np.float64 or history.ndim != 2 or history.shape[1] != len(HistoryEntry._fields):
        raise ValueError(f"history must be float64 of shape (n_iter, 6), not {history.dtype} {history.shape}")

    names = described["feature_names"]
    if names is not None:
        if len(_strings("feature_names", names)) != coef.shape[1]:
            raise ValueError(f"it has {len(names)} names of features, and {coef.shape[1]} features")
        estimator.feature_names_in_ = np.array(names, object)
    estimator.n_features_in_ = coef.shape[1]
    attributes = described["attributes"]
    estimator.classes_ = classes
    estimator.coef_, estimator.intercept_ = coef, intercept
    estimator.n_iter_ = _count("n_iter", attributes["n_iter"])
    estimator.t_ = _count("t", attributes["t"])
    estimator.converged_ = bool(attributes["converged"])
    gap = attributes["dual_gap"]
    estimator.dual_gap_ = None if gap is None else float(gap)
    (estimator.solver_,) = _strings("solver", [attributes["solver"]])
    estimator.history_ = list(_history(history))
    losses = tensors.get("validation_losses")
    if losses is not None and (losses.dtype != np.float64 or losses.ndim != 1):
        raise ValueError(
            f"validation_losses must be float64 of one dimension, not {losses.dtype} {losses.shape}"
        )
    estimator.validation_losses_ = None if losses is None else losses.tolist()
    estimator._end_of_batch = None
    return estimator


def _parameters(written: dict[str, Any]) -> dict[str, Any]:
    known = set(LinearClassifier._get_param_names()) - set(_NOT_KEPT)
    unknown = sorted(set(written) - known)
    if unknown:
        raise ValueError(f"its parameters {unknown} are none of LinearClassifier's")
    return {name: _read_parameter(name, value) for name, value in written.items()}


def _read_parameter(name: str, value: Any) -> Any:
    if name == "penalty" and isinstance(value, dict):
        fields = dict(value)
        kind = fields.pop("kind")
        if kind not in _PENALTIES:
            raise ValueError(f"its penalty is {kind!r}, which is none of {sorted(_PENALTIES)}")
        return _PENALTIES[kind](**fields)
    if name == "class_weight" and isinstance(value, dict):
        labels = _read_classes(value["labels"]).tolist()
        weights = [float(weight) for weight in value["weights"]]
        return dict(zip(labels, weights, strict=True))
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise TypeError(f"its parameter {name} is a {type(value).__name__}")
    return value


def _read_classes(written: dict[str, Any]) -> Array:
    dtype, values = written["dtype"], written["values"]
    if not isinstance(values, list) or not values or not _are_of_one_kind(values):
        raise ValueError("its labels must be a list of strings or of numbers, all of one kind")
    if dtype == "object":
        return _as_labels(values)
    if dtype == "str":
        return np.array(_strings("labels", values))
    if not isinstance(dtype, str) or np.dtype(dtype).kind not in "biuf":
        raise ValueError(f"its labels have the dtype {dtype!r}")
    labels = np.array(values, dtype)
    if labels.tolist() != values:
        raise ValueError(f"its labels are not of the dtype {dtype}")
    return labels


def _strings(name: str, values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"its {name} must be strings")
    return values


def _count(name: str, value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"its {name} must be a number of iterations or steps, not {value!r}")
    return value


def _history(table: Array) -> Iterator[HistoryEntry]:
    for iteration, value, gap, residual, n_passes, seconds in table.tolist():
        yield HistoryEntry(
            int(iteration),
            value,
            None if math.isnan(gap) else gap,
            None if math.isnan(residual) else residual,
            n_passes,
            seconds,
        )
