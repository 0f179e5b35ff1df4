"""``regcore report``: the experiment as one page of HTML that needs nothing else."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import drawing
from .compare import Comparison, Gap, p_value, verdict
from .data import Dataset
from .models import softmax
from .report import LOSS_NAMES, facts, percent, strength
from .report import title as title_of
from .scaling import apply_constant, choose_scaling
from .search import Found, at_the_edge, refit, scores
from .tune import Tuned, best_of, sentences, winner

_MOST_CLASSES = 12  # shown one by one
_MOST_CELLS = 30  # rows of a confusion matrix that a person still reads
_MOST_CONFUSIONS = 20
_N_FEATURES = 12
_N_MISTAKES = 12


@dataclass(frozen=True)
class Mistake:
    """A sample that the winner got wrong when it was left out.

    Attributes
    ----------
    name : str
    image : str or None
        A data URL.
    text : str
    label, predicted : str
    how_sure : str
        In words.
    """

    name: str
    image: str | None
    text: str
    label: str
    predicted: str
    how_sure: str


@dataclass(frozen=True)
class ClassWeights:
    """What speaks for one class: a picture (SVG or a data URL), or the largest weights by name."""

    name: str
    svg: str = ""
    image: str = ""
    features: Sequence[tuple[str, float, float]] = ()


def _image_shape(dataset: Dataset) -> tuple[int, ...] | None:
    """The shape of the picture that a row is, if it is one."""
    values = dataset.recipe.values
    if dataset.recipe.kind == "images":
        return (values["size"][1], values["size"][0], 3) if values["kind"] == "pixels" else None
    n_features = dataset.X.shape[1]
    side = isqrt(n_features)
    # 8-bit numbers in a square are pixels, nearly always.
    if isinstance(dataset.X, np.ndarray) and dataset.X.dtype == np.uint8 and side * side == n_features > 16:
        return (side, side)
    return None


def _feature_name(dataset: Dataset, j: int) -> str:
    return dataset.columns[j] if dataset.columns is not None else f"column {j + 1}"


def class_weights(dataset: Dataset, tuned: Tuned) -> list[ClassWeights]:
    """What speaks for each class, of the first dozen of them."""
    W = tuned.fitted.W.astype(np.float64)
    if len(W) == 1:
        W = np.concatenate([-W, W])
    largest = float(np.abs(W).max())
    shape = _image_shape(dataset)
    found = []
    for name, row in list(zip(dataset.classes, W, strict=True))[:_MOST_CLASSES]:
        if dataset.recipe.kind == "images" and dataset.recipe.values["kind"] == "hsv-histogram":
            bins = tuple(dataset.recipe.values["bins"])
            label = f"colours that speak for {name}"
            found.append(ClassWeights(name, svg=drawing.bins(row.reshape(bins), bins, largest, label)))
        elif shape is not None:
            found.append(ClassWeights(name, image=drawing.weight_image(row.reshape(shape), largest)))
        else:
            top = [int(j) for j in np.argsort(-row, kind="stable")[:_N_FEATURES] if row[j] > 0]
            features = [(_feature_name(dataset, j), float(row[j]), float(row[j]) / largest) for j in top]
            found.append(ClassWeights(name, features=features))
    return found


def left_out_scores(dataset: Dataset, tuned: Tuned) -> npt.NDArray[np.float64]:
    """Scores of the winner for each sample, by a model that has not seen it."""
    found = tuned.found
    n_classes = len(dataset.classes)
    scaling = choose_scaling(dataset.X, found.settings.power)
    X = apply_constant(dataset.X, scaling)
    out = np.empty((len(dataset.y), n_classes))
    for k in range(found.settings.n_folds):
        train, left_out = np.flatnonzero(found.fold != k), np.flatnonzero(found.fold == k)
        fitted = refit(X[train], dataset.y[train], n_classes, scaling, tuned.candidate, found.settings)
        out[left_out] = scores(X[left_out], fitted, n_classes, found.settings.n_threads)
    return out


def mistakes(dataset: Dataset, tuned: Tuned) -> tuple[list[Mistake], npt.NDArray[np.int64]]:
    """The samples that were wrong by most, and the confusion matrix (true class, predicted class)."""
    out = left_out_scores(dataset, tuned)
    predicted = out.argmax(axis=1)
    n_classes = len(dataset.classes)
    confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(confusion, (dataset.y, predicted), 1)
    rows = np.arange(len(out))
    by = out[rows, predicted] - out[rows, dataset.y]
    wrong = np.flatnonzero(predicted != dataset.y)
    worst = wrong[np.argsort(-by[wrong], kind="stable")][:_N_MISTAKES]
    shape = _image_shape(dataset)
    shown = []
    for i in worst.tolist():
        samples = dataset.samples
        image, text, name = None, "", f"row {i + 1}"
        if samples is not None:
            name = samples.names[i]
            if samples.kind == "image":
                image, name = drawing.thumbnail(name), _short(dataset.name, name)
            elif samples.kind == "text":
                text, name = samples.excerpts[i], _short(dataset.name, name)
        if image is None and shape is not None and isinstance(dataset.X, np.ndarray):
            image = drawing.grey_image(dataset.X[i], shape)
        how_sure = f"wrong by {by[i]:.2f} points of score"
        if tuned.found.settings.loss == "cross_entropy":
            how_sure = f"{100 * softmax(out[i : i + 1])[0, predicted[i]]:.1f} % sure"
        shown.append(
            Mistake(name, image, text, dataset.classes[dataset.y[i]], dataset.classes[predicted[i]], how_sure)
        )
    return shown, confusion


def _short(folder: str, path: str) -> str:
    try:
        return str(Path(path).relative_to(folder))
    except ValueError:
        return path


def _confusions(
    classes: Sequence[str], confusion: npt.NDArray[np.int64]
) -> list[tuple[str, str, int, float]]:
    """The most frequent confusions of many classes: true, predicted, number, share of the true class."""
    off = confusion.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind="stable")[:_MOST_CONFUSIONS]
    pairs = [divmod(int(k), len(classes)) for k in order]
    return [
        (classes[i], classes[j], int(off[i, j]), float(off[i, j] / max(1, confusion[i].sum())))
        for i, j in pairs
        if off[i, j]
    ]


def curves(found: Found) -> list[str]:
    """A drawing for each penalty."""
    by_fold, accuracy = found.by_fold, found.accuracy
    made = []
    for penalty, best in zip(found.settings.penalties, best_of(found), strict=True):
        of_penalty = found.of_penalty(penalty)
        made.append(
            drawing.Curve(
                name=penalty,
                alphas=[found.candidates[k].alpha for k in of_penalty],
                mean=[float(accuracy[k]) for k in of_penalty],
                sd=[float(by_fold[k].std(ddof=1)) for k in of_penalty],
                zero_share=[float(1 - found.n_nonzero[k] / found.n_weights) for k in of_penalty],
                best=of_penalty.index(best),
            )
        )
    limits = drawing.curve_limits(made)
    return [drawing.curve(one, limits) for one in made]


def _gap(gap: Gap, n_seeds: int) -> dict[str, str]:
    return {
        "pair": f"{gap.better} over {gap.worse}",
        "points": f"{100 * gap.mean:.2f} ± {100 * gap.sd:.2f}",
        "wins": f"{gap.n_wins} of {n_seeds}",
        "p": p_value(gap.p_value).removeprefix("p = ").removeprefix("p "),
        "judgement": "more than chance" if gap.exceeds_spread else "not told from chance",
    }


def _environment(version: str) -> list[tuple[str, str]]:
    from importlib import metadata

    from regcore import _core

    return [
        ("regcore", version),
        ("NumPy", np.__version__),
        ("scikit-learn", metadata.version("scikit-learn")),
        ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("CPU level", str(_core.info()["isa"])),
    ]


def render(
    dataset: Dataset,
    comparison: Comparison,
    tuned: Tuned,
    *,
    title: str | None,
    version: str,
    command: Sequence[str],
) -> str:
    """The page.

    Parameters
    ----------
    dataset, comparison, tuned
        What was found.
    title : str or None
        Heading; None: the name of the data.
    version : str
    command : sequence of str
        The words after ``regcore`` that made it.

    Returns
    -------
    str
        HTML with everything in it: style, drawings, pictures.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    shown, confusion = mistakes(dataset, tuned)
    n_classes = len(dataset.classes)
    counts = np.bincount(dataset.y, minlength=n_classes)
    frequent = np.argsort(-counts, kind="stable")
    environment = Environment(
        loader=PackageLoader("regcore.command", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    expected = tuned.expected
    return environment.get_template("page.html").render(
        title=title or Path(dataset.name).name or dataset.name,
        source=dataset.name,
        summary=title_of(dataset),
        dataset=dataset,
        class_counts=[(dataset.classes[k], int(counts[k])) for k in frequent[:_MOST_CLASSES]],
        n_more_classes=max(0, n_classes - _MOST_CLASSES),
        largest_count=int(counts.max()),
        expected=f"{100 * expected.mean:.1f} %",
        interval=f"{100 * expected.low:.1f} to {100 * expected.high:.1f} %",
        baseline=f"{100 * tuned.baseline:.1f} %",
        beats_baseline=expected.low > tuned.baseline,
        winner=winner(tuned),
        verdict=verdict(comparison),
        results=[
            {
                "penalty": result.penalty,
                "strength": strength(result),
                "train": percent(result.spread("train_accuracy")),
                "test": percent(result.spread("test_accuracy")),
                "zeros": f"{100 * result.spread('zero_share').mean:.1f} %",
            }
            for result in comparison.results
        ],
        strips=drawing.strips(
            [(result.penalty, [run.test_accuracy for run in result.runs]) for result in comparison.results]
        ),
        gaps=[_gap(gap, comparison.settings.n_seeds) for gap in comparison.gaps],
        facts=facts(dataset, comparison),
        curves=curves(tuned.found),
        search_facts=sentences(tuned),
        weights=class_weights(dataset, tuned),
        weights_kind=_weights_kind(dataset),
        confusion=_confusion_rows(dataset.classes, confusion) if n_classes <= _MOST_CELLS else [],
        confusions=_confusions(dataset.classes, confusion),
        accuracy=f"{100 * np.trace(confusion) / confusion.sum():.2f} %",
        n_wrong=int(confusion.sum() - np.trace(confusion)),
        mistakes=shown,
        loss=LOSS_NAMES[tuned.found.settings.loss],
        command=shlex.join(["regcore", *command]),
        environment=_environment(version),
        notes=[
            *dataset.notes,
            *comparison.notes,
            *tuned.found.notes,
            *filter(None, [at_the_edge(tuned.found)]),
        ],
    )


def _weights_kind(dataset: Dataset) -> str:
    if dataset.recipe.kind == "images" and dataset.recipe.values["kind"] == "hsv-histogram":
        return "bins"
    return "names" if _image_shape(dataset) is None else "pixels"


def _confusion_rows(classes: Sequence[str], confusion: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    totals = confusion.sum(axis=1)
    return [
        {
            "name": name,
            "cells": [
                {
                    "count": int(confusion[i, j]),
                    "share": float(confusion[i, j] / max(1, totals[i])),
                    "right": i == j,
                    "predicted": classes[j],
                }
                for j in range(len(classes))
            ],
            "recall": f"{100 * confusion[i, i] / max(1, totals[i]):.1f} %",
        }
        for i, name in enumerate(classes)
    ]
