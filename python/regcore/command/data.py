"""Read what a command is pointed at: one matrix, labels and class names, or rows to predict.

The kinds have modules of their own: `archives`, `tables`, `images`, `texts`. Every data set ends in
`_dataset`, which checks what all kinds have in common: as many labels as rows, finite numbers, at least two
classes with at least two samples each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from .errors import DataError, require
from .files import visible
from .recipe import Recipe, Rows, Samples

if TYPE_CHECKING:
    from .archives import Arrays
    from .images import ImageFeatures
    from .recipe import Matrix

PARQUET_SUFFIXES = frozenset({".parquet", ".pq"})
SVMLIGHT_SUFFIXES = frozenset({".svm", ".svmlight", ".libsvm", ".txt"})
_ROWS = 4096  # rows parsed or checked at a time


@dataclass(frozen=True)
class Dataset:
    """Samples with labels.

    Attributes
    ----------
    name : str
        The path as given, or the name of a bundled data set.
    X : ndarray or csr_array, shape (n_samples, n_features)
        Finite numbers of any numeric type.
    y : ndarray of int32, shape (n_samples,)
        0 .. n_classes - 1, each of them at least twice.
    classes : tuple of str
        The class names in the order of y.
    features : str
        What the columns are, in a few words.
    skipped : tuple of str
        Damaged files that were left out.
    notes : tuple of str
        What the reader decided on its own and the user should know.
    columns : tuple of str or None
        Names of the features, where they have any.
    recipe : Recipe
        How to make such rows again.
    samples : Samples or None
        What the rows were made from.
    """

    name: str
    X: Matrix
    y: npt.NDArray[np.int32]
    classes: tuple[str, ...]
    features: str
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    recipe: Recipe = field(default_factory=lambda: Recipe("numbers"))
    samples: Samples | None = None


@dataclass(frozen=True)
class ReadOptions:
    """The user's wishes that concern the reading of data.

    Attributes
    ----------
    label : str, optional
        The label column of a CSV or Parquet file: its name, or its number counted from 1 (default: the last);
        of an .npy the file with the labels.
    text : str, optional
        A column of texts in a CSV or Parquet file.
    drop : tuple of str
        Columns of a CSV or Parquet file that are left out.
    encoding : str, optional
        Of a CSV file or of texts.
    images : ImageFeatures, optional
        What to compute from a folder of images.
    skip_damaged : bool
        Leave out damaged images instead of stopping at the first one.
    cache : path-like, optional
        A folder to keep what was read in, and to take it from.
    n_threads : int, optional
    progress : callable, optional
        Called as ``progress(n_done, n_total)`` while images or texts are read.
    """

    label: str | None = None
    text: str | None = None
    drop: tuple[str, ...] = ()
    encoding: str | None = None
    images: ImageFeatures | None = None
    skip_damaged: bool = False
    cache: Path | None = None
    n_threads: int | None = None
    progress: Callable[[int, int], None] | None = None


def kind_of(source: str | None) -> str:
    """Tell the kind of a source: "digits", "images", "texts", "npz", "npy", "csv", "parquet" or "svmlight".

    Raises
    ------
    DataError
        There is nothing at that path, or its name tells no kind.
    """
    if source is None:
        return "digits"
    path = Path(source)
    try:
        if not source:  # not the current folder, which an empty Path is
            raise FileNotFoundError
        if path.is_dir():
            return "texts" if _holds_texts(path) else "images"
        path.stat()
    except FileNotFoundError as error:
        raise DataError(source, "no such file or folder") from error
    except (OSError, ValueError) as error:
        raise DataError(source, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    suffix = path.suffix.lower()
    if suffix in SVMLIGHT_SUFFIXES:
        return "svmlight"
    if suffix in PARQUET_SUFFIXES:
        return "parquet"
    if suffix in {".npz", ".npy", ".csv"}:
        return suffix[1:]
    raise DataError(
        source,
        "unknown kind of file; give a folder of images or texts, or a file that ends in .npz, .npy, .csv,"
        " .parquet, " + ", ".join(sorted(SVMLIGHT_SUFFIXES)),
    )


def _holds_texts(folder: Path) -> bool:
    """Whether there are texts below a folder, and no images."""
    from .suffixes import IMAGES, TEXTS

    seen_text = False
    for _, folders, files in os.walk(folder):
        folders[:] = filter(visible, folders)
        suffixes = {Path(name).suffix.lower() for name in files if visible(name)}
        if suffixes & IMAGES:
            return False
        seen_text = seen_text or bool(suffixes & TEXTS)
    return seen_text


def load(source: str | None, options: ReadOptions | None = None) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    source : str or None
        A folder of images or texts, an .npz, .npy, .csv, .parquet or svmlight file; None for scikit-learn's
        bundled digits.
    options : ReadOptions, optional

    Raises
    ------
    DataError
        Names the file, and the row or column where there is one.
    MissingExtraError
        A package that reads this kind of data is not installed.
    """
    options = options or ReadOptions()
    kind = kind_of(source)
    if source is None:
        return _load_digits()
    try:
        if options.cache is not None and kind not in {"npz", "npy"}:
            from .cache import cached

            return cached(source, kind, options, lambda: _load(source, kind, options))
        return _load(source, kind, options)
    except OSError as error:
        raise DataError(source, f"cannot be read ({error.strerror or error})") from error


def _load(source: str, kind: str, options: ReadOptions) -> Dataset:
    if kind == "images":
        return _load_images(source, options)
    if kind == "texts":
        return _load_texts(source, options)
    if kind in {"csv", "parquet"}:
        return _load_table(source, kind, options)
    from . import archives

    if kind == "npz":
        arrays = archives.read_npz(source)
    elif kind == "npy":
        arrays = archives.read_npy(source, options.label)
    else:
        arrays = archives.read_svmlight(source)
    return _from_arrays(source, arrays)


def load_rows(source: str, recipe: Recipe, options: ReadOptions | None = None) -> Rows:
    """Read samples to predict, as a model was trained on them.

    Parameters
    ----------
    source : str
        Of the same kind as the training data; labels may be missing.
    recipe : Recipe
    options : ReadOptions, optional

    Raises
    ------
    DataError
        It cannot be read, or is not what the model was trained on.
    """
    options = options or ReadOptions()
    one_image = recipe.kind == "images" and Path(source).is_file()
    kind = "images" if one_image else kind_of(source)
    fitting = {
        "images": {"images"},
        "texts": {"texts", "svmlight"},
        "table": {"csv", "parquet"},
        "numbers": {"npz", "npy", "svmlight"},
    }
    if kind not in fitting[recipe.kind]:
        needs = {
            "images": "a folder of images, or one image",
            "texts": "a folder of texts, or one text",
            "table": "a .csv or .parquet file",
            "numbers": "an .npz, .npy or svmlight file",
        }
        raise DataError(
            source, f"the model was trained on another kind of data; it takes {needs[recipe.kind]}"
        )
    try:
        rows = _load_rows(source, kind, recipe, options)
    except OSError as error:
        raise DataError(source, f"cannot be read ({error.strerror or error})") from error
    if rows.X.shape[0] == 0:
        raise DataError(source, "no samples")
    _check_finite(source, rows.X, None)
    return rows


def _load_rows(source: str, kind: str, recipe: Recipe, options: ReadOptions) -> Rows:
    if recipe.kind == "table":
        from . import tables

        return tables.read_rows(source, kind, recipe, options.encoding, options.n_threads)
    if recipe.kind == "numbers":
        from . import archives

        return archives.read_rows(source, kind, recipe)
    if recipe.kind == "texts":
        from . import texts

        return texts.read_rows(
            source, recipe, encoding=options.encoding, n_threads=options.n_threads, progress=options.progress
        )
    require("PIL", purpose="reading images")
    from .images import read_rows

    return read_rows(
        source,
        recipe,
        skip_damaged=options.skip_damaged,
        n_threads=options.n_threads,
        progress=options.progress,
    )


# -- what all kinds of data have in common -------------------------------------------------------------------


def _dataset(name: str, X: Matrix, labels: npt.NDArray[Any], **rest: Any) -> Dataset:
    """Check and encode; `rest` are further fields of `Dataset`, and ``class_names``, ``feature_names``."""
    class_names: Sequence[str] | None = rest.pop("class_names", None)
    columns: Sequence[str] | None = rest.pop("feature_names", None)
    n_samples, n_features = X.shape
    if len(labels) != n_samples:
        raise DataError(name, f"{n_samples} rows of X but {len(labels)} labels in y")
    if n_samples == 0 or n_features == 0:
        raise DataError(name, f"no data: {n_samples} rows and {n_features} feature columns")
    _check_finite(name, X, columns)
    if not isinstance(X, np.ndarray) and max(X.nnz, n_features) < 2**31:
        # Half the index memory; readers hand out 64-bit indices whatever the size.
        X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    y, classes = _encode(name, labels, class_names)
    named = None if columns is None else tuple(columns)
    return Dataset(name=name, X=X, y=y, classes=classes, columns=named, **rest)


def _check_finite(name: str, X: Matrix, columns: Sequence[str] | None) -> None:
    values = X if isinstance(X, np.ndarray) else X.data
    if values.dtype.kind != "f":
        return
    step = _ROWS if values.ndim == 2 else _ROWS * 64
    for start in range(0, len(values), step):
        bad = np.argwhere(~np.isfinite(values[start : start + step]))
        if len(bad) == 0:
            continue
        if isinstance(X, np.ndarray):
            row, column = start + int(bad[0, 0]), int(bad[0, 1])
            value = X[row, column]
        else:
            at = start + int(bad[0, 0])
            row, column = int(np.searchsorted(X.indptr, at, side="right")) - 1, int(X.indices[at])
            value = values[at]
        where = repr(columns[column]) if columns is not None else str(column)
        raise DataError(
            name, f"row {row}, column {where} of X is {value}; every cell must be a finite number"
        )


def _encode(
    name: str, labels: npt.NDArray[Any], class_names: Sequence[str] | None
) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    """Number the labels 0 .. n_classes - 1 in sorted order and name the classes."""
    if labels.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(labels) | (labels != np.rint(labels)))
        if len(bad):
            value = labels[bad[0]]
            what = "there is no label" if np.isnan(value) else f"the label {value} is not a class"
            raise DataError(
                name,
                f"row {bad[0]}: {what}; labels are whole numbers or names; is it the right column?",
            )
        labels = labels.astype(np.int64)
    elif labels.dtype.kind == "U":
        empty = np.flatnonzero(np.char.strip(labels) == "")
        if len(empty):
            raise DataError(name, f"row {empty[0]}: there is no label")
    elif labels.dtype.kind not in "biu":
        raise DataError(name, f"labels of type {labels.dtype}; they must be whole numbers or names")
    found, y, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if (
        class_names is not None
        and labels.dtype.kind != "U"
        and found[0] >= 0
        and found[-1] < len(class_names)
    ):
        classes = tuple(str(class_names[int(value)]) for value in found)
    else:
        classes = tuple(str(value) for value in found)
    if len(found) == 1:
        raise DataError(name, f"one class alone ({classes[0]}); at least two are needed")
    if counts.min() < 2:
        few = classes[int(counts.argmin())]
        hint = "; is the label column the right one?" if len(found) > len(labels) // 2 else ""
        raise DataError(
            name, f"class {few!r} has a single sample; two are needed, one to train on and one to score{hint}"
        )
    return y.astype(np.int32), classes


# -- the kinds -----------------------------------------------------------------------------------------------


def _row_samples(n_samples: int) -> Samples:
    return Samples("row", tuple(f"row {i + 1}" for i in range(n_samples)))


def _load_digits() -> Dataset:
    require("sklearn", purpose="the digits data set")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # 0..16 by construction: the bytes that they are
    return _dataset(
        "digits",
        bunch.data.astype(np.uint8),
        bunch.target,
        features="pixels of 8x8 images",
        recipe=Recipe("numbers", {"n_features": 64}),
        samples=_row_samples(len(bunch.target)),
    )


def _load_images(source: str, options: ReadOptions) -> Dataset:
    require("PIL", purpose="reading images")
    from .images import ImageFeatures, read_image_folder, recipe_of

    features = options.images or ImageFeatures()
    folder = read_image_folder(
        source,
        features,
        skip_damaged=options.skip_damaged,
        n_threads=options.n_threads,
        progress=options.progress,
    )
    notes = []
    if folder.n_other_files:
        notes.append(f"{folder.n_other_files} files that are not images by their name were left alone")
    return _dataset(
        source,
        folder.X,
        folder.y,
        class_names=folder.classes,
        features=features.describe(),
        skipped=folder.skipped,
        notes=tuple(notes),
        recipe=recipe_of(features),
        samples=Samples("image", folder.paths),
    )


def _load_texts(source: str, options: ReadOptions) -> Dataset:
    from . import texts

    by_class = texts.find_texts(source)
    paths = [path for _, files in by_class for path in files]
    written = texts.read_texts(paths, encoding=options.encoding, progress=options.progress)
    X, vocabulary = texts.learn(source, written, n_threads=options.n_threads)
    y = np.repeat(np.arange(len(by_class)), [len(files) for _, files in by_class])
    return _dataset(
        source,
        X,
        y,
        class_names=[name for name, _ in by_class],
        feature_names=vocabulary.words,
        features=f"tf-idf of {len(vocabulary.words):,} words, rows of length 1",
        notes=("words and their weights come from all texts, the labels of none",),
        recipe=texts.recipe_of(vocabulary),
        samples=Samples("text", tuple(map(str, paths)), tuple(map(texts.excerpt, written))),
    )


def _load_table(source: str, kind: str, options: ReadOptions) -> Dataset:
    from . import tables

    wishes = tables.Wishes(options.label, options.text, options.drop, options.encoding)
    table = tables.read_csv(source, wishes) if kind == "csv" else tables.read_parquet(source, wishes)
    encoded = tables.encode(table, wishes, n_threads=options.n_threads)
    return _dataset(
        source,
        encoded.X,
        encoded.labels,
        feature_names=encoded.columns,
        features=encoded.features,
        notes=encoded.notes,
        recipe=encoded.recipe,
        samples=encoded.samples,
    )


def _from_arrays(source: str, arrays: Arrays) -> Dataset:
    from .archives import recipe_of

    return _dataset(
        source,
        arrays.X,
        cast("npt.NDArray[Any]", arrays.labels),
        class_names=arrays.class_names,
        features="columns of the file",
        notes=arrays.notes,
        recipe=recipe_of(arrays),
        samples=_row_samples(arrays.X.shape[0]),
    )
