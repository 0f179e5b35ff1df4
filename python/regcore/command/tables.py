"""Tables with named columns into numbers, categories and texts.

A column is one of four things: numbers; categories, which scikit-learn turns into one column each; a text,
where ``--text`` says so; or the label. What is none of them is refused, with a word on what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import texts
from .columns import Column, Known, Table, Wishes, is_number
from .csv_files import read_csv
from .errors import DataError, require
from .parquet_files import read_parquet
from .recipe import Recipe, Rows, Samples

if TYPE_CHECKING:
    from .recipe import Matrix

_LABEL_NAMES = frozenset({"label", "labels", "class", "target", "species"})
_MOST_CATEGORIES = 1000
_FEW = 10  # as many categories are plausible whatever the number of rows


def read(source: str, kind: str, wishes: Wishes, *, known: Known | None = None) -> Table:
    """Read a file of `kind` "csv" or "parquet"; with `known` only the columns that a model knows."""
    reader = read_parquet if kind == "parquet" else read_csv
    return reader(source, wishes, known=known)


@dataclass(frozen=True)
class Encoded:
    """A table as features and labels."""

    X: Matrix
    labels: npt.NDArray[Any]
    columns: tuple[str, ...]
    recipe: Recipe
    samples: Samples
    features: str
    notes: tuple[str, ...]


def _words(column: Column) -> list[str]:
    return column if isinstance(column, list) else [f"{value:g}" for value in column]


def _check_categories(table: Table, name: str, cells: Sequence[str]) -> list[str]:
    found = sorted(set(cells))
    if "" in found:
        raise DataError(
            f"{table.where(list(cells).index(''))}, column {name!r}",
            "the cell is empty; fill in or remove missing values",
        )
    if len(found) > max(_FEW, min(_MOST_CATEGORIES, len(cells) // 2)):
        raise DataError(
            table.source,
            f"column {name!r} has {len(found):,} different words in {len(cells):,} rows: neither a number nor"
            f" a category; read it as a text (--text {name}) or leave it out (--drop {name})",
        )
    return found


def encode(table: Table, wishes: Wishes, *, n_threads: int | None = None) -> Encoded:
    """Split a table into labels and features: numbers, one column per category, words of the text."""
    notes = list(table.notes)
    n_columns = len(table.names)
    label = n_columns - 1 if wishes.label is None else table.index(wishes.label, "label")
    if wishes.label is None and table.has_header:
        notes.insert(0, f"the label is the last column, {table.names[label]!r}")
        other = [name for name in table.names[:label] if name.lower() in _LABEL_NAMES]
        if other:
            notes.insert(1, f"there is a column {other[0]!r}, too: --label {other[0]} if that is the label")
    text = None if wishes.text is None else table.index(wishes.text, "text")
    if text == label:
        raise DataError(table.source, f"column {table.names[label]!r} cannot be the text and the label")
    out = {table.index(name, "dropped") for name in wishes.drop}
    twice = next((name for j, name in enumerate(table.names) if name in table.names[:j]), None)
    if twice is not None:
        raise DataError(table.source, f"two columns are called {twice!r}; give each a name of its own")
    described: list[dict[str, Any]] = []
    for j, (name, column) in enumerate(zip(table.names, table.columns, strict=True)):
        if j == label or j in out or len(column) == 0:
            continue
        if j == text:
            described.append({"name": name, "kind": "text"})
        elif isinstance(column, list):
            categories = _check_categories(table, name, column)
            described.append({"name": name, "kind": "category", "categories": categories})
        else:
            described.append({"name": name, "kind": "number"})
    if not described:
        raise DataError(table.source, "no column is left for features")
    arrays = {}
    values: dict[str, Any] = {
        "columns": described,
        "names": [name for name, column in zip(table.names, table.columns, strict=True) if len(column)],
        "label": table.names[label],
        "has_header": table.has_header,
    }
    if text is not None:
        written = _words(table.columns[text])
        weights, vocabulary = texts.learn(table.source, written, n_threads=n_threads)
        values["vocabulary"] = list(vocabulary.words)
        arrays["idf"] = vocabulary.idf
        samples = Samples("text", _row_names(table), tuple(map(texts.excerpt, written)))
    else:
        weights = None
        samples = Samples("row", _row_names(table))
    recipe = Recipe("table", values, arrays)
    X, _ = _features(table, recipe, weights, n_threads)
    labels = _labels(table, label)
    counts = {kind: sum(c["kind"] == kind for c in described) for kind in ("number", "category", "text")}
    parts = [
        f"{counts['number']} columns of numbers" if counts["number"] else "",
        f"{counts['category']} of categories, one column each" if counts["category"] else "",
        f"tf-idf of {len(values.get('vocabulary', ())):,} words" if text is not None else "",
    ]
    plain = counts["category"] == counts["text"] == 0
    features = "columns of the file" if plain else ", ".join(filter(None, parts))
    return Encoded(X, labels, tuple(column_names(recipe)), recipe, samples, features, tuple(notes))


def _row_names(table: Table) -> tuple[str, ...]:
    return tuple(f"row {i + 1}" for i in range(table.n_rows))


def _labels(table: Table, label: int) -> npt.NDArray[Any]:
    column = table.columns[label]
    if isinstance(column, np.ndarray):
        return column
    for i, cell in enumerate(column):
        if not cell:
            where = f"{table.where(i)}, column {table.names[label]!r}"
            raise DataError(where, "the label is missing")
    return np.array(column).astype(np.float64) if all(map(is_number, column)) else np.array(column)


def column_names(recipe: Recipe) -> list[str]:
    """Names of the columns of X."""
    names: list[str] = []
    for column in recipe.values["columns"]:
        if column["kind"] == "category":
            names += [f"{column['name']}={category}" for category in column["categories"]]
        elif column["kind"] == "text":
            names += recipe.values["vocabulary"]
        else:
            names.append(column["name"])
    return names


def _features(
    table: Table, recipe: Recipe, weights: Matrix | None, n_threads: int | None
) -> tuple[Matrix, list[str]]:
    """The columns of X in the recipe's order, and what was odd; `weights` are those of the text, if known."""
    from_name = {name: j for j, name in enumerate(table.names)}
    blocks: list[Any] = []
    notes = []
    for column in recipe.values["columns"]:
        cells = table.columns[from_name[column["name"]]]
        if column["kind"] == "number":
            if isinstance(cells, list):
                raise DataError(
                    table.source, f"column {column['name']!r} holds words; the model was trained on numbers"
                )
            blocks.append(cells[:, np.newaxis])
        elif column["kind"] == "category":
            block, n_unknown = _one_hot(_words(cells), column["categories"])
            blocks.append(block)
            if n_unknown:
                notes.append(
                    f"column {column['name']!r}: {n_unknown} rows have categories unknown to the model"
                )
        elif weights is not None:
            blocks.append(weights)
        else:
            vocabulary = texts.Vocabulary(tuple(recipe.values["vocabulary"]), recipe.arrays["idf"])
            blocks.append(texts.apply(_words(cells), vocabulary, n_threads=n_threads))
    sparse = any(not isinstance(block, np.ndarray) for block in blocks)
    if not sparse:
        return np.concatenate(blocks, axis=1), notes
    from scipy.sparse import csr_array, hstack

    return csr_array(hstack([csr_array(block) for block in blocks], format="csr")), notes


def _one_hot(cells: Sequence[str], categories: Sequence[str]) -> tuple[Any, int]:
    """A 1 in the column of the category; a category that is not known gives a row of zeros, and counts."""
    require("sklearn", purpose="columns of categories")
    from sklearn.preprocessing import OneHotEncoder

    sparse = len(categories) > 100
    encoder = OneHotEncoder(
        categories=[np.array(categories, dtype=object)], handle_unknown="ignore", sparse_output=sparse
    )
    array = np.array(cells, dtype=object).reshape(-1, 1)
    known = set(categories)
    encoder.fit(np.array([[categories[0]]], dtype=object))
    return encoder.transform(array), sum(cell not in known for cell in cells)


def read_rows(source: str, kind: str, recipe: Recipe, encoding: str | None, n_threads: int | None) -> Rows:
    """Read a table to predict: the columns that the model knows, in any order; others are left alone."""
    values = recipe.values
    text = next((c["name"] for c in values["columns"] if c["kind"] == "text"), None)
    known = Known(
        names=tuple(values["names"]),
        label=values["label"],
        numbers=frozenset(c["name"] for c in values["columns"] if c["kind"] == "number"),
        has_header=values["has_header"],
    )
    table = read(source, kind, Wishes(text=text, encoding=encoding), known=known)
    missing = [c["name"] for c in values["columns"] if c["name"] not in table.names]
    if missing:
        shown = ", ".join(map(repr, missing[:5])) + (", ..." if len(missing) > 5 else "")
        what = "a column that is" if len(missing) == 1 else f"{len(missing)} columns that are"
        raise DataError(source, f"the model needs {what} not there: {shown}")
    X, notes = _features(table, recipe, None, n_threads)
    labels = None
    if values["label"] in table.names:
        found = _labels(table, table.names.index(values["label"]))
        labels = tuple(_label_name(value) for value in found)
    samples = Samples("row", _row_names(table))
    if text is not None:
        written = _words(table.columns[table.names.index(text)])
        samples = Samples("text", samples.names, tuple(map(texts.excerpt, written)))
    return Rows(X, samples, labels, (*table.notes, *notes))


def _label_name(value: Any) -> str:
    return f"{int(value)}" if isinstance(value, np.floating) and float(value).is_integer() else str(value)
