"""Tables with named columns: CSV and Parquet files into numbers, categories and texts.

A column is one of four things: numbers; categories, which scikit-learn turns into one column each; a text,
where ``--text`` says so; or the label. What is none of them is refused, with a word on what to do.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import texts
from .errors import DataError, require
from .recipe import Recipe, Rows, Samples

if TYPE_CHECKING:
    from .recipe import Matrix

_ROWS = 4096  # rows parsed at a time
_MISSING = frozenset({"", "?", "na", "n/a", "null", "none"})
_LABEL_NAMES = frozenset({"label", "labels", "class", "target", "species"})
_MOST_CATEGORIES = 1000
_FEW = 10  # as many categories are plausible whatever the number of rows

Numbers: TypeAlias = npt.NDArray[np.float64]
Column: TypeAlias = "Numbers | list[str]"


@dataclass(frozen=True)
class Wishes:
    """What the user said about columns: names, or numbers counted from 1.

    Attributes
    ----------
    label : str or None
        None: the last column.
    text : str or None
        A column of texts.
    drop : tuple of str
        Columns to leave out.
    encoding : str or None
        Of a CSV file; None: UTF-8, or what its byte order mark says.
    """

    label: str | None = None
    text: str | None = None
    drop: tuple[str, ...] = ()
    encoding: str | None = None


@dataclass
class Table:
    """The columns of a file.

    Attributes
    ----------
    source : str
    names : list of str
        Without a header "1", "2", ...
    has_header : bool
    columns : list
        ndarray of float64, or list of str.
    where : callable
        ``where(row)`` names the place of a row in the file, for messages.
    notes : list of str
    """

    source: str
    names: list[str]
    has_header: bool
    columns: list[Column]
    where: Callable[[int], str]
    notes: list[str] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        """Number of rows; a column that is left out may be empty."""
        return max(map(len, self.columns), default=0)

    def index(self, wanted: str, what: str) -> int:
        """The column of this name or number; `what` says in the message what it is for."""
        header = self.names if self.has_header else None
        found = find_column(wanted, header, len(self.names))
        if found is None:
            raise DataError(self.source, _no_column(wanted, what, header, len(self.names)))
        return found


def find_column(wanted: str, header: Sequence[str] | None, n_columns: int) -> int | None:
    """The column of a name, or of a number counted from 1."""
    if header is not None and list(header).count(wanted) == 1:
        return list(header).index(wanted)
    if re.fullmatch(r"\d+", wanted) and 1 <= int(wanted) <= n_columns:
        return int(wanted) - 1
    return None


def _no_column(wanted: str, what: str, header: Sequence[str] | None, n_columns: int) -> str:
    names = "no names"
    if header is not None:
        names = ", ".join(header[:8]) + (", ..." if len(header) > 8 else "")
    return f"no {what} column {wanted!r}; the file has {n_columns} columns ({names}), numbered from 1"


def is_number(cell: str) -> bool:
    """Whether a cell reads as a number, infinite ones and nan among them."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_word(cell: str) -> bool:
    return not is_number(cell) and cell.lower() not in _MISSING


# -- CSV -----------------------------------------------------------------------------------------------------


def _is_header(first: list[str], second: list[str] | None) -> bool:
    """Whether the first row holds names: words over numbers, or columns that are counted 0, 1, 2, ..."""
    if second is None or len(first) != len(second):
        return False
    numbers = [cell for cell in first if is_number(cell)]
    counted = numbers in ([str(i + base) for i in range(len(numbers))] for base in (0, 1))
    if numbers and not counted:
        return False
    words = [is_number(below) for cell, below in zip(first, second, strict=True) if _is_word(cell)]
    # A few small numbers in order may well be a sample; five and more are names.
    return any(words) or len(numbers) >= 5


def _encoding(source: str, wanted: str | None) -> str:
    if wanted is not None:
        return wanted
    with open(source, "rb") as file:
        start = file.read(4)
    return "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _rows(source: str, delimiter: str, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of the lines that are not blank."""
    with open(source, newline="", encoding=encoding) as file:
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        try:
            for row in reader:
                if row and any(cell.strip() for cell in row):
                    yield reader.line_num, row
        except UnicodeError as error:
            name = "UTF-8" if encoding == "utf-8-sig" else encoding
            raise DataError(
                f"{source}, line {reader.line_num + 1}",
                f"not CSV text in {name}; give --encoding, as latin-1 or cp1252",
            ) from error
        except csv.Error as error:
            raise DataError(f"{source}, line {reader.line_num + 1}", f"not CSV text ({error})") from error


def _delimiter(source: str, encoding: str) -> str:
    with open(source, newline="", encoding=encoding, errors="replace") as file:
        line = next((line for line in file if line.strip()), "")
    unquoted = re.sub(r'"[^"]*"', "", line)
    return max(",;\t", key=unquoted.count)


@dataclass(frozen=True)
class Known:
    """What a model knows of the columns of the file that it was trained on.

    Attributes
    ----------
    names : tuple of str
        All of them, in the order of that file.
    label : str
    numbers : frozenset of str
        Those that must hold numbers; the others are read as words, if they are wanted at all.
    has_header : bool
    """

    names: tuple[str, ...]
    label: str
    numbers: frozenset[str]
    has_header: bool

    def names_of(self, source: str, n_columns: int) -> list[str]:
        """Names of the columns of a file without a header, which may lack the label."""
        if n_columns == len(self.names):
            return list(self.names)
        if n_columns == len(self.names) - 1:
            return [name for name in self.names if name != self.label]
        raise DataError(
            source,
            f"{n_columns} columns without names; the model was trained on {len(self.names)},"
            " the label among them",
        )


def _asked_columns(source: str, wishes: Wishes, header: list[str] | None, n_columns: int) -> set[int]:
    """Columns that the user named, and the label."""
    found = set() if wishes.label is not None else {n_columns - 1}
    named = [(wishes.label, "label"), (wishes.text, "text"), *((name, "dropped") for name in wishes.drop)]
    for name, what in named:
        if name is not None:
            column = find_column(name, header, n_columns)
            if column is None:
                raise DataError(source, _no_column(name, what, header, n_columns))
            found.add(column)
    return found


class _CsvReader:
    """Rows of cells, block by block, into typed columns."""

    def __init__(self, source: str, names: list[str], as_text: frozenset[int]) -> None:
        self.source = source
        self.names = names
        self.as_text = as_text
        self.numeric: list[int] | None = None
        self.words: list[int] = []
        self.blocks: list[Numbers] = []
        self.strings: list[list[str]] = []
        self.lines: list[int] = []
        self._chunk: list[list[str]] = []

    def add(self, line: int, row: list[str]) -> None:
        if len(row) != len(self.names):
            raise DataError(
                f"{self.source}, line {line}", f"{len(row)} cells, but the first line has {len(self.names)}"
            )
        self.lines.append(line)
        self._chunk.append(row)
        if len(self._chunk) == _ROWS:
            self._parse()

    def _parse(self) -> None:
        if self.numeric is None:
            # The first row decides; a later cell of another kind is an error with a place.
            first = self._chunk[0]
            self.words = [j for j, cell in enumerate(first) if j in self.as_text or _is_word(cell.strip())]
            self.numeric = [j for j in range(len(first)) if j not in set(self.words)]
            self.strings = [[] for _ in self.words]
        start = len(self.lines) - len(self._chunk)
        for strings, j in zip(self.strings, self.words, strict=True):
            cells = [row[j].strip() for row in self._chunk]
            if j not in self.as_text:
                for i, cell in enumerate(cells):
                    if cell.lower() in _MISSING:
                        raise self._problem(start + i, j, cell)
            strings += cells
        rows = self._chunk if not self.words else [[row[j] for j in self.numeric] for row in self._chunk]
        try:
            block = np.array(rows, dtype=np.float64).reshape(len(rows), len(self.numeric))
        except ValueError as error:
            raise self._bad_number(start) from error
        if not np.isfinite(block).all():
            raise self._bad_number(start)
        self.blocks.append(block)
        self._chunk = []

    def _bad_number(self, start: int) -> DataError:
        for i, row in enumerate(self._chunk):
            for j in self.numeric or ():
                cell = row[j].strip()
                if not (is_number(cell) and np.isfinite(float(cell))):
                    return self._problem(start + i, j, cell)
        raise AssertionError("every cell is a finite number")

    def _problem(self, row: int, column: int, cell: str) -> DataError:
        where = f"{self.source}, line {self.lines[row]}, column {self.names[column]!r}"
        if not cell:
            return DataError(where, "the cell is empty; fill in or remove missing values")
        if is_number(cell) or cell.lower() in _MISSING:
            return DataError(where, f"{cell!r}; fill in or remove missing values")
        return DataError(
            where,
            f"{cell!r} is not a number, as the first one is; correct it, or --drop the column",
        )

    def finish(self) -> list[Column]:
        if self._chunk:
            self._parse()
        columns: list[Column] = [[] for _ in self.names]
        if self.blocks:
            X = np.concatenate(self.blocks)
            for k, j in enumerate(self.numeric or ()):
                columns[j] = X[:, k]
        for strings, j in zip(self.strings, self.words, strict=True):
            columns[j] = strings
        return columns


def _first_row(source: str, encoding: str) -> list[str]:
    first = next((row for _, row in _rows(source, _delimiter(source, encoding), encoding)), None)
    if first is None:
        raise DataError(source, "the file is empty")
    return [cell.strip() for cell in first]


def read_csv(source: str, wishes: Wishes, *, known: Known | None = None) -> Table:
    """Read a CSV file: comma, semicolon or tab between the cells, a line of names or none.

    Parameters
    ----------
    source : str
    wishes : Wishes
        The label and the text are read as words, whatever they look like; so are the columns to leave out.
    known : Known, optional
        What a model knows of the columns. Without it, the file must have a label, and its looks decide.

    Raises
    ------
    DataError
        Names the line and the column.
    """
    encoding = _encoding(source, wishes.encoding)
    try:
        "".encode(encoding)
    except LookupError as error:
        raise DataError(source, f"no encoding is called {encoding!r}; try latin-1 or utf-16") from error
    delimiter = _delimiter(source, encoding)
    rows = (row for _, row in _rows(source, delimiter, encoding))
    first = _first_row(source, encoding)
    next(rows, None)
    if known is not None:
        header = first if known.has_header else None
        names = header or known.names_of(source, len(first))
        words = {j for j, name in enumerate(names) if name not in known.numbers}
    else:
        asked = [name for name in (wishes.label, wishes.text, *wishes.drop) if name is not None]
        named = any(not name.isdecimal() and name in first for name in asked)
        header = first if named or _is_header(first, next(rows, None)) else None
        if len(first) < 2:
            raise DataError(
                source, "one column alone; features and a label column are needed, separated by commas"
            )
        names = list(header) if header is not None else [str(j + 1) for j in range(len(first))]
        words = _asked_columns(source, wishes, header, len(first))
    reader = _CsvReader(source, names, frozenset(words))
    for i, (line, row) in enumerate(_rows(source, delimiter, encoding)):
        if i > 0 or header is None:
            reader.add(line, row)
    columns = reader.finish()
    lonely = len(reader.lines) == 1 and header is None and not any(map(is_number, first))
    if not reader.lines or (known is None and lonely):
        raise DataError(source, "a line of column names, but no rows below it")
    table = Table(
        source, names, header is not None, columns, lambda row: f"{source}, line {reader.lines[row]}"
    )
    if known is None and header is not None and names[0] == "" and len(names) > 2 and 0 not in words:
        # A table written with its row numbers: they would give the labels away where the rows are sorted.
        table.columns[0] = []
        table.notes.append("the first column has no name; it was taken for row numbers and left out")
    return table


# -- Parquet -------------------------------------------------------------------------------------------------


def read_parquet(source: str, wishes: Wishes, *, known: Known | None = None) -> Table:
    """Read a Parquet file by pyarrow; with `known` only the columns that a model knows.

    Raises
    ------
    DataError
        It is none, or has missing values, nested columns or columns of a kind that is no feature.
    """
    require("pyarrow", purpose="reading Parquet files", extra="parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open(source, "rb"):  # as other kinds of files say why they cannot be read
        pass
    try:
        schema = pq.read_schema(source)
        unused = _unused(source, schema.names, wishes, known)
        wanted = [name for name in schema.names if name not in unused]
        for name in wanted:
            _check_type(source, name, schema.field(name).type)
        read = pq.read_table(source, columns=wanted)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(source, f"not a Parquet file, or damaged ({_first_line(error)})") from error
    if read.num_rows == 0:
        raise DataError(source, "it has no rows")
    columns: list[Column] = []
    for name in schema.names:
        if name in unused:
            columns.append([])
            continue
        values = read.column(name)
        if values.null_count and name != wishes.text:
            row = next(i for i, value in enumerate(values) if not value.is_valid)
            raise DataError(
                f"{source}, row {row + 1}, column {name!r}",
                "the value is missing; fill in or remove missing values",
            )
        type_ = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
        if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
            columns.append([value or "" for value in values.to_pylist()])
        else:
            columns.append(np.asarray(values.cast(pa.float64()).to_numpy(), dtype=np.float64))
    return Table(source, list(schema.names), True, columns, lambda row: f"{source}, row {row + 1}")


def _unused(source: str, names: list[str], wishes: Wishes, known: Known | None) -> set[str]:
    """Columns that are not read."""
    if known is not None:
        return {name for name in names if name not in known.names}
    # pandas writes the numbers of its rows along.
    unused = {name for name in names if re.fullmatch(r"__index_level_\d+__", name)}
    for name in wishes.drop:
        column = find_column(name, names, len(names))
        if column is None:
            raise DataError(source, _no_column(name, "dropped", names, len(names)))
        unused.add(names[column])
    return unused


def _check_type(source: str, name: str, type_: Any) -> None:
    import pyarrow as pa

    if pa.types.is_nested(type_):
        raise DataError(
            source,
            f"column {name!r} is nested ({type_}); write each of its numbers into a column of its own,"
            " or leave it out (--drop)",
        )
    plain = type_.value_type if pa.types.is_dictionary(type_) else type_
    is_number_type = (
        pa.types.is_integer(plain)
        or pa.types.is_floating(plain)
        or pa.types.is_boolean(plain)
        or pa.types.is_decimal(plain)
    )
    is_word = pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain)
    if not (is_number_type or is_word):
        raise DataError(
            source,
            f"column {name!r} has type {type_}, neither numbers nor words; turn it into numbers,"
            " or leave it out (--drop)",
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


# -- features ------------------------------------------------------------------------------------------------


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
    if kind == "parquet":
        table = read_parquet(source, Wishes(text=text), known=known)
    else:
        table = read_csv(source, Wishes(encoding=encoding), known=known)
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
