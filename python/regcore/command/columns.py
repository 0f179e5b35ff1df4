"""The columns of a table, and what the user or a model knows of them, whatever the kind of file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import DataError

MISSING = frozenset({"", "?", "na", "n/a", "null", "none"})
"""Cells that stand for a value that is not there, in small letters."""

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
            raise DataError(self.source, no_column(wanted, what, header, len(self.names)))
        return found


def find_column(wanted: str, header: Sequence[str] | None, n_columns: int) -> int | None:
    """The column of a name, or of a number counted from 1."""
    if header is not None and list(header).count(wanted) == 1:
        return list(header).index(wanted)
    if re.fullmatch(r"\d+", wanted) and 1 <= int(wanted) <= n_columns:
        return int(wanted) - 1
    return None


def no_column(wanted: str, what: str, header: Sequence[str] | None, n_columns: int) -> str:
    """What to say where `find_column` finds nothing; `what` says what the column is for."""
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


def is_word(cell: str) -> bool:
    """Whether a cell is neither a number nor a sign that one is missing."""
    return not is_number(cell) and cell.lower() not in MISSING


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
