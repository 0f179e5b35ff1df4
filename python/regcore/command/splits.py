"""Splits and folds that leave the classes in proportion, by a seed.

Written out here, though scikit-learn has both: the import of `sklearn.model_selection` takes as long as the
training of a whole comparison.
"""

from __future__ import annotations

from math import ceil

import numpy as np
import numpy.typing as npt


def _by_class(y: npt.NDArray[np.int32], rng: np.random.Generator) -> list[npt.NDArray[np.intp]]:
    """The rows of each class, shuffled."""
    order = rng.permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    return np.split(order, np.cumsum(np.bincount(y))[:-1])


def split(
    y: npt.NDArray[np.int32], test_size: float, seed: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Row numbers of the training and of the test part, each with the classes in the same proportion.

    Parameters
    ----------
    y : ndarray of int32, shape (n_samples,)
        0 .. n_classes - 1, at least two samples of each.
    test_size : float
        Share of the test part, rounded up.
    seed : int

    Returns
    -------
    train, test : ndarray of intp
        In ascending order, so that rows are gathered front to back. Both have a sample of each class.

    Raises
    ------
    ValueError
        One of the parts is too small for that.
    """
    rng = np.random.default_rng(seed)
    counts = np.bincount(y)
    n_test = ceil(len(y) * test_size)
    if min(n_test, len(y) - n_test) < len(counts):
        raise ValueError(
            f"{len(y)} samples of {len(counts)} classes cannot be split into {len(y) - n_test} and {n_test}"
        )
    share = counts * (n_test / len(y))
    taken = np.clip(np.floor(share).astype(np.int64), 1, counts - 1)
    # What rounding down has left goes to the largest remainders; of equal ones chance has the say.
    while (missing := n_test - int(taken.sum())) != 0:
        step = 1 if missing > 0 else -1
        free = np.flatnonzero((taken + step >= 1) & (taken + step <= counts - 1))
        order = free[np.lexsort((rng.random(len(free)), -step * (share - taken)[free]))]
        taken[order[: abs(missing)]] += step
    parts = [(rows[n:], rows[:n]) for rows, n in zip(_by_class(y, rng), taken.tolist(), strict=True)]
    train, test = (np.sort(np.concatenate(part)) for part in zip(*parts, strict=True))
    return train, test


def folds(y: npt.NDArray[np.int32], n_folds: int, seed: int) -> npt.NDArray[np.int32]:
    """A fold for each sample, each with the classes in the same proportion.

    The rows of one class after the other are dealt out like cards, so that neither the folds nor the shares
    of a class in them differ by more than one sample.
    """
    found = np.empty(len(y), dtype=np.int32)
    found[np.concatenate(_by_class(y, np.random.default_rng(seed)))] = np.arange(len(y)) % n_folds
    return found
