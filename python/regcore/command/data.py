"""Read what ``regcore compare`` is pointed at into one matrix, labels and class names.

Every reader ends in `_dataset`, which checks what all kinds of data have in common: as many labels as rows,
finite numbers, at least two classes with at least two samples each.
"""

from __future__ import annotations

import csv
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import DataError, require

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from .images import ImageFeatures

Matrix: TypeAlias = "npt.NDArray[Any] | csr_array"

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
    """

    name: str
    X: Matrix
    y: npt.NDArray[np.int32]
    classes: tuple[str, ...]
    features: str
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadOptions:
    """The user's wishes that concern the reading of data.

    Attributes
    ----------
    label : str, optional
        A CSV file's label column: its name, or its number counted from 1. Default: the last.
    images : ImageFeatures, optional
        What to compute from a folder of images.
    skip_damaged : bool
        Leave out damaged images instead of stopping at the first one.
    n_threads : int, optional
    progress : callable, optional
        Called as ``progress(n_done, n_total)`` while images are read.
    """

    label: str | None = None
    images: ImageFeatures | None = None
    skip_damaged: bool = False
    n_threads: int | None = None
    progress: Callable[[int, int], None] | None = None


def kind_of(source: str | None) -> str:
    """Tell the kind of a source: "digits", "folder", "npz", "csv" or "svmlight".

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
            return "folder"
        path.stat()
    except FileNotFoundError as error:
        raise DataError(source, "no such file or folder") from error
    except (OSError, ValueError) as error:
        raise DataError(source, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    suffix = path.suffix.lower()
    if suffix in SVMLIGHT_SUFFIXES:
        return "svmlight"
    if suffix in {".npz", ".csv"}:
        return suffix[1:]
    raise DataError(
        source,
        "unknown kind of file; give a folder of images, or a file that ends in .npz, .csv, "
        + ", ".join(sorted(SVMLIGHT_SUFFIXES)),
    )


def load(source: str | None, options: ReadOptions | None = None) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    source : str or None
        A folder of images, an .npz, .csv or svmlight file; None for scikit-learn's bundled digits.
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
        if kind == "folder":
            return _load_folder(source, options)
        if kind == "npz":
            return _load_npz(source)
        if kind == "csv":
            return _load_csv(source, options.label)
        return _load_svmlight(source)
    except OSError as error:
        raise DataError(source, f"cannot be read ({error.strerror or error})") from error


# -- what all kinds of data have in common -------------------------------------------------------------------


def _dataset(name: str, X: Matrix, labels: npt.NDArray[Any], **rest: Any) -> Dataset:
    """Check and encode; `rest` are further fields of `Dataset`, and ``class_names``, ``columns``."""
    class_names: Sequence[str] | None = rest.pop("class_names", None)
    columns: Sequence[str] | None = rest.pop("columns", None)
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
    return Dataset(name=name, X=X, y=y, classes=classes, **rest)


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
            raise DataError(name, f"row {bad[0]}: {what}; labels are whole numbers or names")
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


def _load_digits() -> Dataset:
    require("sklearn", purpose="the digits data set")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # 0..16 by construction: the bytes that they are
    return _dataset("digits", bunch.data.astype(np.uint8), bunch.target, features="pixels of 8x8 images")


def _load_folder(source: str, options: ReadOptions) -> Dataset:
    require("PIL", purpose="reading images")
    from .images import ImageFeatures, read_image_folder

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
    )


def _array(source: str, archive: Any, key: str) -> npt.NDArray[Any]:
    """One array of an .npz, never through pickle."""
    try:
        array: npt.NDArray[Any] = archive[key]
    except (ValueError, EOFError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        pickled = "pickle" in str(error)
        problem = (
            "holds Python objects, which are not read from files" if pickled else f"is damaged ({error})"
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


def _load_npz(source: str) -> Dataset:
    with open(source, "rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(source, f"not an .npz file, or damaged ({_first_line(error)})") from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(source, "holds one array; an .npz with the arrays X and y is needed")
        keys = list(archive.files)
        parts: list[tuple[Matrix, npt.NDArray[Any]]] = []
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
            if label_key not in keys:
                notes.append(f"{stem} has no labels {label_key} and is left out")
                continue
            X: Matrix = (
                _sparse_part(source, archive, stem)
                if sparse
                else _dense_part(source, key, _array(source, archive, key))
            )
            y = _array(source, archive, label_key)
            y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
            if y.ndim != 1:
                raise DataError(source, f"array {label_key!r} has shape {y.shape}; (n_samples,) is needed")
            if len(y) != X.shape[0]:
                raise DataError(source, f"{X.shape[0]} rows in {stem} but {len(y)} labels in {label_key}")
            parts.append((X, y))
        if not parts:
            missing = "; ".join(notes) if notes else f"it holds {', '.join(keys) or 'no array'}"
            raise DataError(
                source,
                f"no X with labels y, and no X_train with y_train: {missing} (see regcore compare --help)",
            )
        names = _array(source, archive, "classes") if "classes" in keys else None
    if len(parts) > 1:
        notes.append("the parts of the file were pooled; the splits are made anew, one per seed")
    return _dataset(
        source,
        _pool(source, [X for X, _ in parts]),
        np.concatenate([y for _, y in parts]),
        class_names=None if names is None or names.ndim != 1 else [str(name) for name in names],
        features="columns of the file",
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


def _load_svmlight(source: str) -> Dataset:
    require("sklearn", purpose="reading svmlight files")
    from scipy.sparse import csr_array
    from sklearn.datasets import load_svmlight_file

    try:
        X, y = load_svmlight_file(source, dtype=np.float32)
    except (ValueError, OverflowError, IndexError) as error:
        raise DataError(source, f"not a file in svmlight format ({_first_line(error)})") from error
    return _dataset(source, csr_array(X), y, features="columns of the file")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


# -- CSV -----------------------------------------------------------------------------------------------------


@dataclass
class _Table:
    """What the first lines of a CSV file tell about the rest."""

    delimiter: str
    header: list[str] | None
    n_columns: int
    label: int
    notes: list[str] = field(default_factory=list)

    def column(self, index: int) -> str:
        return self.header[index] if self.header is not None else str(index + 1)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


_MISSING = frozenset({"", "?", "na", "n/a", "null", "none"})


def _is_header(first: list[str], second: list[str] | None) -> bool:
    """Whether the first row holds names: words over numbers, or columns that are counted 0, 1, 2, ..."""
    if second is None or len(first) != len(second):
        return False
    numbers = [cell for cell in first if _is_number(cell)]
    counted = numbers in ([str(i + base) for i in range(len(numbers))] for base in (0, 1))
    if numbers and not counted:
        return False
    words = [_is_number(below) for cell, below in zip(first, second, strict=True) if _is_word(cell)]
    # A few small numbers in order may well be a sample; five and more are names.
    return any(words) or len(numbers) >= 5


def _is_word(cell: str) -> bool:
    return not _is_number(cell) and cell.lower() not in _MISSING


def _label_column(source: str, wanted: str | None, header: list[str] | None, n_columns: int) -> int:
    if wanted is None:
        return n_columns - 1
    if header is not None and header.count(wanted) == 1:
        return header.index(wanted)
    if re.fullmatch(r"\d+", wanted) and 1 <= int(wanted) <= n_columns:
        return int(wanted) - 1
    names = ", ".join(header[:8]) + (", ..." if len(header) > 8 else "") if header is not None else "no names"
    raise DataError(
        source, f"no label column {wanted!r}; the file has {n_columns} columns ({names}), numbered from 1"
    )


def _inspect(source: str, rows: Iterator[list[str]], delimiter: str, wanted: str | None) -> _Table:
    first = next(rows, None)
    if first is None:
        raise DataError(source, "the file is empty")
    first = [cell.strip() for cell in first]
    named = wanted is not None and not wanted.isdecimal() and wanted in first
    header = first if named or _is_header(first, next(rows, None)) else None
    if len(first) < 2:
        raise DataError(
            source, "one column alone; features and a label column are needed, separated by commas"
        )
    table = _Table(delimiter, header, len(first), _label_column(source, wanted, header, len(first)))
    if header is None:
        return table
    if wanted is None:
        table.notes.append(f"the label is the last column, {header[-1]!r}")
        other = [
            name for name in header[:-1] if name.lower() in {"label", "labels", "class", "target", "species"}
        ]
        if other:
            table.notes.append(
                f"there is a column {other[0]!r}, too: --label {other[0]} if that is the label"
            )
    return table


def _rows(source: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of the lines that are not blank."""
    with open(source, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        try:
            for row in reader:
                if row and any(cell.strip() for cell in row):
                    yield reader.line_num, row
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{source}, line {reader.line_num + 1}", f"not CSV text ({error})") from error


def _delimiter(source: str) -> str:
    with open(source, newline="", encoding="utf-8-sig", errors="replace") as file:
        line = next((line for line in file if line.strip()), "")
    unquoted = re.sub(r'"[^"]*"', "", line)
    return max(",;\t", key=unquoted.count)


def _cell_problem(
    source: str, table: _Table, numbers: Sequence[int], chunk: Sequence[list[str]]
) -> DataError:
    """Say which cell of `chunk` is not a finite number."""
    columns = [i for i in range(table.n_columns) if i != table.label]
    for number, row in zip(numbers, chunk, strict=True):
        for column, cell in zip(columns, row, strict=True):
            if _is_number(cell) and np.isfinite(float(cell)):
                continue
            where = f"{source}, line {number}, column {table.column(column)!r}"
            if not cell.strip():
                return DataError(where, "the cell is empty; fill in or remove missing values")
            if _is_number(cell) or cell.strip().lower() in _MISSING:
                return DataError(where, f"{cell.strip()!r}; fill in or remove missing values")
            return DataError(
                where, f"{cell.strip()!r} is not a number; turn names into numbers or remove the column"
            )
    raise AssertionError("every cell is a finite number")


def _load_csv(source: str, wanted: str | None) -> Dataset:
    delimiter = _delimiter(source)
    table = _inspect(source, (row for _, row in _rows(source, delimiter)), delimiter, wanted)
    blocks: list[npt.NDArray[np.float64]] = []
    labels: list[str] = []
    numbers: list[int] = []
    chunk: list[list[str]] = []

    def parse() -> None:
        try:
            block = np.array(chunk, dtype=np.float64)
        except ValueError as error:
            raise _cell_problem(source, table, numbers, chunk) from error
        if not np.isfinite(block).all():
            raise _cell_problem(source, table, numbers, chunk)
        blocks.append(block)
        chunk.clear()
        numbers.clear()

    for i, (number, row) in enumerate(_rows(source, delimiter)):
        if i == 0 and table.header is not None:
            continue
        if len(row) != table.n_columns:
            raise DataError(
                f"{source}, line {number}", f"{len(row)} cells, but the first line has {table.n_columns}"
            )
        label = row.pop(table.label).strip()
        if not label:
            column = table.column(table.label)
            raise DataError(f"{source}, line {number}, column {column!r}", "the label is missing")
        labels.append(label)
        numbers.append(number)
        chunk.append(row)
        if len(chunk) == _ROWS:
            parse()
    if chunk:
        parse()
    if not blocks:
        raise DataError(source, "a line of column names, but no rows below it")
    X = np.concatenate(blocks)
    columns = [table.column(i) for i in range(table.n_columns) if i != table.label]
    if table.header is not None and columns[0] == "" and X.shape[1] > 1:
        # A table written with its row numbers: they would give the labels away where the rows are sorted.
        X, columns = X[:, 1:], columns[1:]
        table.notes.append("the first column has no name; it was taken for row numbers and left out")
    y = np.array(labels)
    if all(map(_is_number, labels)):
        y = y.astype(np.float64)
    return _dataset(source, X, y, columns=columns, features="columns of the file", notes=tuple(table.notes))
