"""Fitted classifiers as ONNX graphs of standard operators, for runtimes without Python."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sklearn.utils.validation import check_is_fitted

from regcore.estimators.prediction import LinearPrediction
from regcore.losses import Loss, resolve_loss

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["to_onnx"]

# As old as Gemm, ArgMax, Softmax and Gather of today's meaning allow, so that older runtimes read it.
_OPSET = 13
_IR_VERSION = 8


def to_onnx(
    estimator: LinearPrediction,
    path: str | os.PathLike[str] | None = None,
    *,
    input_dtype: npt.DTypeLike | None = None,
) -> Any:
    """Return a fitted classifier as an ONNX model, and write it to a file if asked to.

    ===============  ============================================================  =======================
    tensor           what                                                          shape
    ===============  ============================================================  =======================
    X (input)        samples, of `input_dtype`                                     (n_samples, n_features)
    label            what `predict` returns: strings, integers, numbers or bools   (n_samples,)
    scores           what `decision_function` returns                              (n_samples, n_classes),
                                                                                   (n_samples,) for two
    probabilities    what `predict_proba` returns; for ``loss="cross_entropy"``    (n_samples, n_classes)
    ===============  ============================================================  =======================

    Parameters
    ----------
    estimator : LinearClassifier or LinearClassifierCV
        Fitted.
    path : path, default=None
        Where to write the model; None: nowhere.
    input_dtype : dtype, default=None
        Type of X, which is converted to that of the coefficients: floating point or integers. None: the type
        of the coefficients, float32 or float64.

    Returns
    -------
    model : onnx.ModelProto

    Raises
    ------
    TypeError
        If `estimator` is something else, or its labels are neither strings nor numbers.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError('to_onnx needs onnx: pip install "regcore[onnx]"') from error
    from onnx import TensorProto, helper, numpy_helper

    if not isinstance(estimator, LinearPrediction):
        raise TypeError(f"estimator must be a linear classifier of regcore; got {type(estimator).__name__}")
    check_is_fitted(estimator, "coef_")
    W, b = estimator.coef_, estimator.intercept_
    given = W.dtype if input_dtype is None else np.dtype(input_dtype)
    if given.kind not in "fiu":
        raise TypeError(f"input_dtype must be a floating point or an integer type; got {given}")
    labels = _label_tensor(estimator.classes_)
    is_binary = len(estimator.classes_) == 2
    with_probabilities = resolve_loss(estimator.loss) is Loss.CROSS_ENTROPY

    constants = {"weights": np.ascontiguousarray(W.T), "intercept": b, "labels": labels}
    nodes: list[Any] = []

    def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    real = helper.np_dtype_to_tensor_dtype(W.dtype)
    X = "X" if given == W.dtype else node("Cast", ["X"], "X_real", to=real)
    if is_binary:
        constants |= {"zero": np.zeros(1, W.dtype), "flat": np.array([-1], np.int64)}
        column = node("Gemm", [X, "weights", "intercept"], "score_of_second")
        scores = node("Reshape", [column, "flat"], "scores")
        code = node("Cast", [node("Greater", [scores, "zero"], "is_second")], "code", to=TensorProto.INT64)
        if with_probabilities:
            # not by Sigmoid, of which some runtimes cut the small values off
            first = node("Sub", [column, column], "score_of_first")
            node("Softmax", [node("Concat", [first, column], "both", axis=1)], "probabilities", axis=1)
    else:
        scores = node("Gemm", [X, "weights", "intercept"], "scores")
        code = node("ArgMax", [scores], "code", axis=1, keepdims=0)
        if with_probabilities:
            node("Softmax", [scores], "probabilities", axis=1)
    node("Gather", ["labels", code], "label")

    n_features, n_classes = W.shape[1], len(estimator.classes_)
    label_type = (
        TensorProto.STRING if labels.dtype == object else helper.np_dtype_to_tensor_dtype(labels.dtype)
    )
    outputs = [
        helper.make_tensor_value_info("label", label_type, ["n_samples"]),
        helper.make_tensor_value_info(
            "scores", real, ["n_samples"] if is_binary else ["n_samples", n_classes]
        ),
    ]
    if with_probabilities:
        outputs.append(helper.make_tensor_value_info("probabilities", real, ["n_samples", n_classes]))
    graph = helper.make_graph(
        nodes,
        "regcore_linear_classifier",
        [
            helper.make_tensor_value_info(
                "X", helper.np_dtype_to_tensor_dtype(given), ["n_samples", n_features]
            )
        ],
        outputs,
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(
        graph,
        producer_name="regcore",
        producer_version=version("regcore"),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    onnx.checker.check_model(model)
    if path is not None:
        Path(path).write_bytes(model.SerializeToString())
    return model


def _label_tensor(classes: Array) -> Array:
    """Labels in a type that ONNX has: strings as objects, integers as int64, numbers, bool."""
    if classes.dtype.kind in "UO":
        if not all(isinstance(label, str) for label in classes.tolist()):
            raise TypeError("labels of dtype object must be strings to be exported")
        return classes.astype(object)
    if classes.dtype.kind in "iu":
        if int(classes[-1]) >= 2**63:
            raise TypeError(f"labels must be below 2**63 to be exported; got {classes[-1]}")
        return classes.astype(np.int64)
    if classes.dtype.kind not in "fb":
        raise TypeError(f"labels must be strings or numbers to be exported; got dtype {classes.dtype}")
    return classes
