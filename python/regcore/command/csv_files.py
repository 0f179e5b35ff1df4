"""CSV files: their encoding, delimiter and header, and their rows as columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

import numpy as np

from .columns import (
    MISSING,
    Column,
    Known,
    Numbers,
    Table,
    Wishes,
    find_column,
    is_number,
    is_word,
    no_column,
)
from .errors import DataError

_ROWS = 4096  # rows parsed at a time


def _is_header(first: list[str], second: list[str] | None) -> bool:
    """Whether the first row holds names: words over numbers, or columns that are counted 0, 1, 2, ..."""
    if second is None or len(first) != len(second):
        return False
    numbers = [cell for cell in first if is_number(cell)]
    counted = numbers in ([str(i + base) for i in range(len(numbers))] for base in (0, 1))
    if numbers and not counted:
        return False
    words = [is_number(below) for cell, below in zip(first, second, strict=True) if is_word(cell)]
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


def _asked_columns(source: str, wishes: Wishes, header: list[str] | None, n_columns: int) -> set[int]:
    """Columns that the user named, and the label."""
    found = set() if wishes.label is not None else {n_columns - 1}
    named = [(wishes.label, "label"), (wishes.text, "text"), *((name, "dropped") for name in wishes.drop)]
    for name, what in named:
        if name is not None:
            column = find_column(name, header, n_columns)
            if column is None:
                raise DataError(source, no_column(name, what, header, n_columns))
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
            self.words = [j for j, cell in enumerate(first) if j in self.as_text or is_word(cell.strip())]
            self.numeric = [j for j in range(len(first)) if j not in set(self.words)]
            self.strings = [[] for _ in self.words]
        start = len(self.lines) - len(self._chunk)
        for strings, j in zip(self.strings, self.words, strict=True):
            cells = [row[j].strip() for row in self._chunk]
            if j not in self.as_text:
                for i, cell in enumerate(cells):
                    if cell.lower() in MISSING:
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
        if is_number(cell) or cell.lower() in MISSING:
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
