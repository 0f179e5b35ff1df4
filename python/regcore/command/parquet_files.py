"""Parquet files: which of their columns are features."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from .columns import Column, Known, Table, Wishes, find_column, no_column
from .errors import DataError, require


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
            raise DataError(source, no_column(name, "dropped", names, len(names)))
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
