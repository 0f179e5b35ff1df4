"""Texts as rows of tf-idf weights, by scikit-learn; and folders of texts, one sub-folder per class."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import DataError, require
from .files import usable_cpus, visible
from .recipe import Recipe, Rows, Samples
from .suffixes import TEXTS

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MIN_DOCUMENTS = 2
"""Words of fewer texts are left out: one text says nothing about another."""

_EXCERPT = 600
_PARALLEL = 60_000_000  # characters from which on a second process pays for its start, some two seconds
_CHUNK = 4_000_000  # characters counted at a time


@dataclass(frozen=True)
class Vocabulary:
    """The words that have a column, and the weight of each.

    Attributes
    ----------
    words : tuple of str
        In the order of the columns.
    idf : ndarray of float64, shape (n_words,)
        Inverse document frequency as in scikit-learn: log((1 + n) / (1 + n_with_word)) + 1.
    """

    words: tuple[str, ...]
    idf: npt.NDArray[np.float64]


def excerpt(text: str) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text[: 2 * _EXCERPT].split())
    return line if len(line) <= _EXCERPT else line[: _EXCERPT - 1] + "…"


def _counter(**options: Any) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(dtype=np.float32, **options)


def _count(texts: Sequence[str]) -> tuple[list[str], csr_array]:
    """Words of some texts, sorted, and their numbers; a list that is empty if there are none."""
    from scipy.sparse import csr_array

    counter = _counter()
    try:
        counts = counter.fit_transform(texts)
    except ValueError:  # scikit-learn's word for texts without a word
        return [], csr_array((len(texts), 0), dtype=np.float32)
    return counter.get_feature_names_out().tolist(), csr_array(counts)


def _chunks(texts: Sequence[str]) -> Iterable[Sequence[str]]:
    start = size = 0
    for i, text in enumerate(texts):
        size += len(text)
        if size >= _CHUNK:
            yield texts[start : i + 1]
            start, size = i + 1, 0
    if start < len(texts):
        yield texts[start:]


def _each(
    function: Callable[..., Any], texts: Sequence[str], *arguments: Any, n_threads: int | None
) -> list[Any]:
    """``function(chunk, *arguments)`` of every chunk, in several processes where the texts are long.

    Splitting text into words holds Python's lock; threads would not help.
    """
    chunks = list(_chunks(texts))
    n_workers = min(n_threads or usable_cpus(), len(chunks))
    if n_workers < 2 or sum(map(len, texts)) < _PARALLEL:
        return [function(chunk, *arguments) for chunk in chunks]
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_workers, mp_context=context) as pool:
        futures = [pool.submit(function, chunk, *arguments) for chunk in chunks]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _weigh(counts: csr_array, idf: npt.NDArray[np.float64]) -> csr_array:
    """Counts to 1 + log(count), times idf, rows of length 1."""
    from scipy.sparse import csr_array

    data = (1.0 + np.log(counts.data.astype(np.float64))) * idf[counts.indices]
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    norms = np.sqrt(np.bincount(rows, data * data, counts.shape[0]))
    data /= norms[rows]
    return csr_array((data.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape)


def learn(source: str, texts: Sequence[str], *, n_threads: int | None = None) -> tuple[csr_array, Vocabulary]:
    """Choose the words of a collection of texts and weigh them.

    Words are scikit-learn's: two letters, digits or underscores and more, in lower case, found in at least
    `MIN_DOCUMENTS` texts. A weight is (1 + log count) · idf, and each row has length 1.

    Raises
    ------
    DataError
        No word is found in two texts.
    """
    require("sklearn", "scipy", purpose="tf-idf")
    from scipy.sparse import csr_array, vstack

    parts = _each(_count, texts, n_threads=n_threads)
    words = sorted(set().union(*(found for found, _ in parts)))
    column = {word: j for j, word in enumerate(words)}
    moved = []
    for found, counts in parts:
        places = np.array([column[word] for word in found], dtype=np.int64)
        shape = (counts.shape[0], len(words))
        moved.append(csr_array((counts.data, places[counts.indices], counts.indptr), shape=shape))
    counts = csr_array(vstack(moved, format="csr"))
    n_texts = np.bincount(counts.indices, minlength=len(words))
    kept = np.flatnonzero(n_texts >= MIN_DOCUMENTS)
    if len(kept) == 0:
        raise DataError(source, f"no word is found in {MIN_DOCUMENTS} of its {len(texts)} texts")
    counts = csr_array(counts[:, kept])
    counts.sort_indices()
    idf = np.log((1 + len(texts)) / (1 + n_texts[kept])) + 1
    return _weigh(counts, idf), Vocabulary(tuple(words[j] for j in kept), idf)


def _count_known(texts: Sequence[str], words: tuple[str, ...]) -> Any:
    return _counter(vocabulary=words).transform(texts)


def apply(texts: Sequence[str], vocabulary: Vocabulary, *, n_threads: int | None = None) -> csr_array:
    """Weigh the words of other texts as `learn` did."""
    require("sklearn", "scipy", purpose="tf-idf")
    from scipy.sparse import csr_array, vstack

    if not texts:
        return csr_array((0, len(vocabulary.words)), dtype=np.float32)
    parts = _each(_count_known, texts, vocabulary.words, n_threads=n_threads)
    return _weigh(csr_array(vstack(parts, format="csr")), vocabulary.idf)


# -- files ---------------------------------------------------------------------------------------------------


def is_text(path: Path) -> bool:
    """Whether a file has the name of a text."""
    return path.suffix.lower() in TEXTS


def find_texts(folder: str | os.PathLike[str]) -> list[tuple[str, list[Path]]]:
    """List a folder's classes and their texts, sorted by name.

    Raises
    ------
    DataError
        One class alone, or a class folder without a text.
    """
    top = Path(folder)
    try:
        names = sorted(entry.name for entry in os.scandir(top) if visible(entry.name) and entry.is_dir())
        found = [(name, text_files(top / name)) for name in names]
    except OSError as error:
        raise DataError(error.filename or top, f"cannot be read ({error.strerror})") from error
    for name, files in found:
        if not files:
            raise DataError(top / name, "the class folder holds no texts (.txt, .text, .md)")
    if len(found) == 1:
        raise DataError(top, f"has one class alone ({names[0]}); at least two sub-folders are needed")
    return found


def text_files(folder: Path) -> list[Path]:
    """Texts in a folder and the folders below it, in sorted order."""
    paths = (path for path in folder.rglob("*") if is_text(path) and path.is_file())
    return sorted(path for path in paths if all(map(visible, path.relative_to(folder).parts)))


def read_text(path: str | os.PathLike[str], encoding: str | None = None) -> str:
    """Read one text.

    Raises
    ------
    DataError
        It cannot be read, or is not in this encoding (default: UTF-8).
    """
    try:
        return Path(path).read_text(encoding=encoding or "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            path,
            f"not {encoding or 'UTF-8'} text (byte {error.start}); give --encoding, as latin-1 or cp1252",
        ) from error
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror or error})") from error


def read_texts(
    paths: Sequence[Path],
    *,
    encoding: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Read many; `progress` is called as ``progress(n_done, n_files)``."""
    texts = []
    for i, path in enumerate(paths):
        texts.append(read_text(path, encoding))
        if progress is not None:
            progress(i + 1, len(paths))
    return texts


def recipe_of(vocabulary: Vocabulary) -> Recipe:
    """What a model has to remember of how texts became rows."""
    return Recipe("texts", {"vocabulary": list(vocabulary.words)}, {"idf": vocabulary.idf})


def read_rows(
    source: str,
    recipe: Recipe,
    *,
    encoding: str | None = None,
    n_threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Rows:
    """Read texts to predict: one file, a folder of texts, or one with a sub-folder per class.

    Raises
    ------
    DataError
        There is no text.
    """
    top = Path(source)
    paths = [top] if top.is_file() else text_files(top)
    if not paths:
        raise DataError(top, "holds no texts (.txt, .text, .md)")
    written = read_texts(paths, encoding=encoding, progress=progress)
    vocabulary = Vocabulary(tuple(recipe.values["vocabulary"]), recipe.arrays["idf"])
    X = apply(written, vocabulary, n_threads=n_threads)
    parts = [path.relative_to(top).parts if top.is_dir() else () for path in paths]
    labels = tuple(part[0] for part in parts) if all(len(part) > 1 for part in parts) else None
    return Rows(X, Samples("text", tuple(map(str, paths)), tuple(map(excerpt, written))), labels)
