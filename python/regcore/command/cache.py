"""Keep what was read from a folder or a table, so that the next command does not read it again.

An entry is found by what it was made from: the names, sizes and times of all files, and the options. It is an
.npz without pickles; one that cannot be read is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .data import Dataset
from .errors import CommandError
from .files import atomic_write, visible
from .recipe import Recipe, Samples

if TYPE_CHECKING:
    from .data import ReadOptions

_FORMAT = 1  # raise it when a reader gives other rows


def _files(source: str) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of change of the file, or of all files in the folder."""
    top = Path(source)
    if top.is_file():
        found = top.stat()
        yield top.name, found.st_size, found.st_mtime_ns
        return
    for root, folders, files in os.walk(top):
        folders[:] = sorted(filter(visible, folders))
        for name in sorted(filter(visible, files)):
            path = Path(root, name)
            found = path.stat() if path.exists() else path.lstat()
            yield path.relative_to(top).as_posix(), found.st_size, found.st_mtime_ns


def _key(source: str, kind: str, options: ReadOptions) -> str:
    wishes = {
        "format": _FORMAT,
        "source": os.path.realpath(source),
        "kind": kind,
        "label": options.label,
        "text": options.text,
        "drop": options.drop,
        "encoding": options.encoding,
        "images": None if options.images is None else asdict(options.images),
        "skip_damaged": options.skip_damaged,
    }
    digest = hashlib.sha256(json.dumps(wishes, sort_keys=True).encode())
    for entry in _files(source):
        digest.update(repr(entry).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _write(path: Path, dataset: Dataset) -> None:
    arrays: dict[str, Any] = {"y": dataset.y}
    if isinstance(dataset.X, np.ndarray):
        arrays["X"] = dataset.X
    else:
        arrays |= {
            "X_data": dataset.X.data,
            "X_indices": dataset.X.indices,
            "X_indptr": dataset.X.indptr,
            "X_shape": np.array(dataset.X.shape),
        }
    arrays |= {f"recipe_{name}": array for name, array in dataset.recipe.arrays.items()}
    values = {
        "classes": dataset.classes,
        "features": dataset.features,
        "skipped": dataset.skipped,
        "notes": dataset.notes,
        "columns": dataset.columns,
        "recipe": {"kind": dataset.recipe.kind, "values": dict(dataset.recipe.values)},
        "samples": None if dataset.samples is None else asdict(dataset.samples),
    }
    arrays["values"] = np.frombuffer(json.dumps(values).encode("utf-8", "surrogatepass"), dtype=np.uint8)
    with atomic_write(path) as file:
        np.savez(file, **arrays)


def _read(path: Path, name: str) -> Dataset | None:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        values = json.loads(arrays.pop("values").tobytes().decode("utf-8", "surrogatepass"))
        X: Any
        if "X" in arrays:
            X = arrays["X"]
        else:
            from scipy.sparse import csr_array

            shape = tuple(int(n) for n in arrays["X_shape"])
            X = csr_array((arrays["X_data"], arrays["X_indices"], arrays["X_indptr"]), shape=shape)
        samples = values["samples"]
        return Dataset(
            name=name,
            X=X,
            y=arrays["y"],
            classes=tuple(values["classes"]),
            features=values["features"],
            skipped=tuple(values["skipped"]),
            notes=tuple(values["notes"]),
            columns=None if values["columns"] is None else tuple(values["columns"]),
            recipe=Recipe(
                values["recipe"]["kind"],
                values["recipe"]["values"],
                {
                    key.removeprefix("recipe_"): array
                    for key, array in arrays.items()
                    if key.startswith("recipe_")
                },
            ),
            samples=None
            if samples is None
            else Samples(samples["kind"], tuple(samples["names"]), tuple(samples["excerpts"])),
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def cached(source: str, kind: str, options: ReadOptions, make: Callable[[], Dataset]) -> Dataset:
    """The data set of this source from the cache, or made and put there.

    Raises
    ------
    CommandError
        The cache cannot be written.
    """
    folder = Path(options.cache or "")
    path = folder / f"{_key(source, kind, options)}.npz"
    if path.is_file():
        found = _read(path, source)
        if found is not None:
            return replace(found, notes=(*found.notes, f"taken from the cache {path}"))
    dataset = make()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, dataset)
    except OSError as error:
        raise CommandError(f"{folder}: the cache cannot be written ({error.strerror or error})") from error
    return dataset
