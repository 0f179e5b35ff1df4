"""Arrays in files: .npz and .npy by NumPy, never through pickle, and svmlight text by scikit-learn."""

from __future__ import annotations

import re
import zipfile
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import DataError, require
from .recipe import Recipe, Rows, Samples

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from .recipe import Matrix


@dataclass(frozen=True)
class Arrays:
    """A matrix with labels, as a file has them.

    Attributes
    ----------
    X : ndarray or csr_array
    labels : ndarray or None
    class_names : list of str or None
        Names of the labels 0, 1, 2, ...
    notes : tuple of str
    """

    X: Matrix
    labels: npt.NDArray[Any] | None
    class_names: list[str] | None = None
    notes: tuple[str, ...] = ()


def _array(source: str, archive: Any, key: str) -> npt.NDArray[Any]:
    """One array of an .npz, never through pickle."""
    try:
        array: npt.NDArray[Any] = archive[key]
    except (ValueError, EOFError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        pickled = "pickle" in str(error)
        problem = (
            "holds Python objects, which are not read from files; save numbers, or names as text"
            if pickled
            else f"is damaged ({error})"
        )
        raise DataError(source, f"array {key!r} {problem}") from error
    return array


def _dense_part(source: str, key: str, X: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if X.dtype.kind not in "biuf":
        raise DataError(source, f"array {key!r} has type {X.dtype}; numbers are needed")
    if X.ndim < 2:
        raise DataError(source, f"array {key!r} has shape {X.shape}; (n_samples, n_features) is needed")
    X = X.reshape(len(X), prod(X.shape[1:]))  # images of two or three axes
    if X.dtype == np.bool_:
        return X.view(np.uint8)
    if not X.dtype.isnative:
        return X.astype(X.dtype.newbyteorder("="))
    return X


def _sparse_part(source: str, archive: Any, stem: str) -> csr_array:
    require("scipy", purpose="sparse data")
    from scipy.sparse import csr_array

    data, indices, indptr, shape = (
        _array(source, archive, f"{stem}_{part}") for part in ("data", "indices", "indptr", "shape")
    )
    try:
        X = csr_array((data, indices, indptr), shape=tuple(int(n) for n in shape))
        X.check_format(full_check=True)
    except (ValueError, TypeError) as error:
        raise DataError(
            source, f"{stem}_data, _indices, _indptr, _shape are no CSR matrix ({error})"
        ) from error
    if X.dtype.kind not in "biuf":
        raise DataError(source, f"array '{stem}_data' has type {X.dtype}; numbers are needed")
    X.sum_duplicates()
    return X


def read_npz(source: str, *, need_labels: bool = True) -> Arrays:
    """Read every X and its labels y of an .npz, the parts under each other.

    Raises
    ------
    DataError
        There are none, or they do not fit together.
    """
    with open(source, "rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(source, f"not an .npz file, or damaged ({_first_line(error)})") from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(source, "holds one array; an .npz with the arrays X and y is needed (.npy: one)")
        keys = list(archive.files)
        parts: list[tuple[Matrix, npt.NDArray[Any] | None]] = []
        notes: list[str] = []
        for key in keys:
            if not re.fullmatch(r"[Xx](_\w+)?", key) or key.endswith(("_indices", "_indptr", "_shape")):
                continue
            stem = key.removesuffix("_data")
            others = {f"{stem}_{part}" for part in ("indices", "indptr", "shape")}
            sparse = stem != key and not others.isdisjoint(keys)
            if sparse and not others <= set(keys):
                raise DataError(source, f"{key!r} without {', '.join(sorted(others - set(keys)))}")
            stem = stem if sparse else key
            label_key = "y" + stem[1:]
            if label_key not in keys and need_labels:
                notes.append(f"{stem} has no labels {label_key} and is left out")
                continue
            X: Matrix = (
                _sparse_part(source, archive, stem)
                if sparse
                else _dense_part(source, key, _array(source, archive, key))
            )
            if label_key not in keys:
                parts.append((X, None))
                continue
            y = _array(source, archive, label_key)
            y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
            if y.ndim != 1:
                raise DataError(source, f"array {label_key!r} has shape {y.shape}; (n_samples,) is needed")
            if len(y) != X.shape[0]:
                raise DataError(source, f"{X.shape[0]} rows in {stem} but {len(y)} labels in {label_key}")
            parts.append((X, y))
        if not parts:
            missing = "; ".join(notes) if notes else f"it holds {', '.join(keys) or 'no array'}"
            wanted = "X with labels y, and no X_train with y_train" if need_labels else "X"
            raise DataError(source, f"no {wanted}: {missing} (see regcore compare --help)")
        names = _array(source, archive, "classes") if "classes" in keys else None
    if len(parts) > 1 and need_labels:
        notes.append("the parts of the file were pooled; the splits are made anew, one per seed")
    labels = [y for _, y in parts if y is not None]
    return Arrays(
        _pool(source, [X for X, _ in parts]),
        np.concatenate(labels) if len(labels) == len(parts) else None,
        class_names=None if names is None or names.ndim != 1 else [str(name) for name in names],
        notes=tuple(notes),
    )


def _pool(source: str, parts: list[Matrix]) -> Matrix:
    """Put the parts of a file under each other."""
    widths = {X.shape[1] for X in parts}
    if len(widths) > 1:
        raise DataError(source, f"its parts have {' and '.join(map(str, sorted(widths)))} columns")
    if len(parts) == 1:
        return parts[0]
    dense = [X for X in parts if isinstance(X, np.ndarray)]
    if len(dense) == len(parts):
        return np.concatenate(dense)
    if dense:
        raise DataError(source, "dense and sparse parts in one file")
    from scipy.sparse import csr_array, vstack

    return csr_array(vstack(parts, format="csr"))


def _one_array(source: str) -> npt.NDArray[Any]:
    """The array of an .npy, mapped into memory, never through pickle."""
    try:
        return np.lib.format.open_memmap(source, mode="r")
    except (ValueError, EOFError) as error:
        problem = (
            "holds Python objects, which are not read from files; save numbers, or names as text"
            if "Python objects" in str(error)
            else f"not an .npy file, or damaged ({_first_line(error)})"
        )
        raise DataError(source, problem) from error


def read_npy(source: str, labels: str | None = None, *, need_labels: bool = True) -> Arrays:
    """Read the matrix of an .npy, and its labels from another.

    Parameters
    ----------
    source : str
    labels : str, optional
        The other file; None: the neighbour whose name has y for X, as ``y_train.npy`` beside ``X_train.npy``.
    need_labels : bool
        If not, none are looked for.

    Raises
    ------
    DataError
        There are no labels, or they do not fit.
    """
    X = _dense_part(source, Path(source).name, _one_array(source))
    if not need_labels:
        return Arrays(X, None)
    path = Path(source)
    neighbour = path.with_name("y" + path.name[1:]) if path.name[:1] in "Xx" else None
    if labels is None and neighbour is not None and neighbour.is_file():
        labels = str(neighbour)
    if labels is None:
        raise DataError(
            source, "no labels; give their file (--label labels.npy), or call the two X.npy and y.npy"
        )
    y = np.asarray(_one_array(labels))
    y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim != 1 or len(y) != len(X):
        raise DataError(labels, f"labels of shape {y.shape} for the {len(X)} rows of {path.name}")
    return Arrays(X, y)


def read_svmlight(source: str, n_features: int | None = None) -> Arrays:
    """Read svmlight text; `n_features` is what a model was trained on."""
    require("sklearn", purpose="reading svmlight files")
    from scipy.sparse import csr_array
    from sklearn.datasets import load_svmlight_file

    try:
        X, y = load_svmlight_file(source, dtype=np.float32)
    except (ValueError, OverflowError, IndexError) as error:
        raise DataError(source, f"not a file in svmlight format ({_first_line(error)})") from error
    X = csr_array(X)
    if n_features is not None and X.shape[1] < n_features:  # columns of zeros are not written
        X.resize((X.shape[0], n_features))
    return Arrays(X, y)


def recipe_of(arrays: Arrays) -> Recipe:
    """Rows of numbers as they are."""
    return Recipe("numbers", {"n_features": int(arrays.X.shape[1])})


def read_rows(source: str, kind: str, recipe: Recipe) -> Rows:
    """Read a matrix to predict; labels that are there come along."""
    n_features = recipe.values["n_features"]
    if kind == "npz":
        arrays = read_npz(source, need_labels=False)
    elif kind == "npy":
        arrays = read_npy(source, need_labels=False)
    else:
        arrays = read_svmlight(source, n_features)
    if arrays.X.shape[1] != n_features:
        raise DataError(source, f"{arrays.X.shape[1]:,} features; the model was trained on {n_features:,}")
    labels = None
    if arrays.labels is not None:
        labels = label_names(arrays.labels, arrays.class_names)
    samples = Samples("row", tuple(f"row {i + 1}" for i in range(arrays.X.shape[0])))
    return Rows(arrays.X, samples, labels, arrays.notes)


def label_names(labels: npt.NDArray[Any], class_names: list[str] | None) -> tuple[str, ...]:
    """Labels as the names that a data set gives its classes."""
    if labels.dtype.kind == "U":
        return tuple(labels.tolist())
    numbers = [int(label) if float(label).is_integer() else label for label in labels.tolist()]
    if class_names is not None and all(
        isinstance(label, int) and 0 <= label < len(class_names) for label in numbers
    ):
        return tuple(class_names[label] for label in numbers)
    return tuple(map(str, numbers))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
