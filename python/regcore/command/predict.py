"""Predictions as a table: one line a sample, with the probabilities of the classes where there are any."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import DataError
from .models import softmax

if TYPE_CHECKING:
    from .models import Model
    from .recipe import Rows

_BLOCK = 8192


@dataclass(frozen=True)
class Predictions:
    """What a model says of some samples.

    Attributes
    ----------
    names : tuple of str
        Path or number of each sample.
    predicted : tuple of str
    labels : tuple of str or None
        The true classes, where the data tells them.
    classes : tuple of str
    probabilities : ndarray of float64, shape (n_samples, n_classes), or None
    n_right : int or None
        Of the samples whose label is one of the classes.
    n_known : int
        Number of these samples.
    """

    names: tuple[str, ...]
    predicted: tuple[str, ...]
    labels: tuple[str, ...] | None
    classes: tuple[str, ...]
    probabilities: npt.NDArray[np.float64] | None
    n_right: int | None
    n_known: int


def predict(source: str, model: Model, rows: Rows, n_threads: int | None = None) -> Predictions:
    """Let a model predict.

    Raises
    ------
    DataError
        The rows have another number of features than the model.
    """
    n_features = model.fitted.W.shape[1]
    if rows.X.shape[1] != n_features:
        raise DataError(source, f"{rows.X.shape[1]:,} features; the model was trained on {n_features:,}")
    scores = model.scores(rows.X, n_threads)
    codes = scores.argmax(axis=1)
    predicted = tuple(model.classes[code] for code in codes)
    n_right, n_known = None, 0
    if rows.labels is not None:
        classes = set(model.classes)
        pairs = [
            label == guess for label, guess in zip(rows.labels, predicted, strict=True) if label in classes
        ]
        n_known = len(pairs)
        n_right = sum(pairs) if pairs else None
    return Predictions(
        rows.samples.names,
        predicted,
        rows.labels if n_known else None,
        model.classes,
        softmax(scores) if model.gives_probabilities else None,
        n_right,
        n_known,
    )


def _header(predictions: Predictions) -> list[str]:
    header = ["sample", "predicted"]
    if predictions.labels is not None:
        header.append("label")
    if predictions.probabilities is not None:
        header += [f"p_{name}" for name in predictions.classes]
    return header


def csv_blocks(predictions: Predictions) -> Iterator[str]:
    """The table as CSV text, some lines at a time."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_header(predictions))
    for i in range(len(predictions.names)):
        line: list[Any] = [predictions.names[i], predictions.predicted[i]]
        if predictions.labels is not None:
            line.append(predictions.labels[i])
        if predictions.probabilities is not None:
            line += [f"{p:.6g}" for p in predictions.probabilities[i].tolist()]
        writer.writerow(line)
        if i % _BLOCK == _BLOCK - 1:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def to_json(predictions: Predictions) -> dict[str, Any]:
    """The same as plain values."""
    probabilities = predictions.probabilities
    return {
        "classes": list(predictions.classes),
        "accuracy": None if predictions.n_right is None else predictions.n_right / predictions.n_known,
        "n_labelled": predictions.n_known,
        "samples": [
            {
                "sample": name,
                "predicted": guess,
                "label": None if predictions.labels is None else predictions.labels[i],
                "probabilities": None if probabilities is None else probabilities[i].tolist(),
            }
            for i, (name, guess) in enumerate(zip(predictions.names, predictions.predicted, strict=True))
        ],
    }
