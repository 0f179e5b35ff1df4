"""Roots of the features before a search: what a linear classifier of histograms gains most from.

Between two histograms a difference in a small value says more than the same difference in a large one. The
Hellinger's kernel [1]_. Whether that, or a stronger root, helps is a question to the data, so it is searched
for like a strength, by samples that were left out.

References
----------
.. [1] Perronnin, Sanchez and Liu, "Large-scale image categorization with explicit data embedding", CVPR 2010.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .scaling import has_negative
from .search import Found, SearchSettings, search

if TYPE_CHECKING:
    from .data import Dataset
    from .recipe import Matrix

POWERS = (1.0, 0.5, 0.25)


def powers_to_try(X: Matrix) -> tuple[float, ...]:
    """`POWERS` for dense fractions between 0 and 1, as in histograms, and 1 alone for all else.

    Sparse values are left alone: those of tf-idf are damped and weighted already, which roots undo.
    """
    if not isinstance(X, np.ndarray):
        return (1.0,)
    if X.dtype.kind != "f" or X.size == 0 or has_negative(X) or X.max() > 1:
        return (1.0,)
    return POWERS if ((X > 0) & (X < 1)).any() else (1.0,)


def search_powers(
    dataset: Dataset,
    settings: SearchSettings,
    powers: Sequence[float] | None = None,
    *,
    progress: Callable[[int, int, str], None] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Found:
    """Search over powers of the features, too.

    One penalty decides which power is best, l2 if it is among those to try: it is the one that keeps all
    features. The other penalties are searched under that power alone.

    Parameters
    ----------
    dataset : Dataset
    settings : SearchSettings
    powers : sequence of float, optional
        By default `powers_to_try`.
    progress : callable, optional
        Called as ``progress(n_done, n_total, what)``.
    interrupted : callable
        Asked after each training.

    Raises
    ------
    DataError
        As in `search`.
    KeyboardInterrupt
        When `interrupted` says so.
    """
    tried = tuple(powers) if powers is not None else powers_to_try(dataset.X)
    if len(tried) == 1:
        return search(dataset, replace(settings, power=tried[0]), progress=progress, interrupted=interrupted)
    judge = "l2" if "l2" in settings.penalties else settings.penalties[0]
    rest = tuple(penalty for penalty in settings.penalties if penalty != judge)
    n_parts = len(tried) + len(rest)
    n_done = 0

    def run(penalties: Sequence[str], power: float) -> Found:
        """Search, with the progress of all searches as one."""
        nonlocal n_done

        def part(done: int, total: int, what: str) -> None:
            if progress is not None:
                each = total // len(penalties)
                progress(n_done * each + done, n_parts * each, f"{what}, power {power:g}")

        found = search(
            dataset,
            replace(settings, penalties=penalties, power=power),
            progress=part,
            interrupted=interrupted,
        )
        n_done += len(penalties)
        return found

    by_power = [run((judge,), power) for power in tried]
    best = max(range(len(tried)), key=lambda k: by_power[k].accuracy.max())  # of equal ones the first
    found = by_power[best]
    if rest:
        found = _joined(replace(settings, power=tried[best]), found, run(rest, tried[best]))
    others = tuple(one for k, one in enumerate(by_power) if k != best)
    return replace(found, others=others, seconds=found.seconds + sum(one.seconds for one in others))


def _joined(settings: SearchSettings, first: Found, second: Found) -> Found:
    """Two searches over different penalties as one, in the order of ``settings.penalties``."""
    order = sorted(
        ((penalty, one) for one in (first, second) for penalty in one.settings.penalties),
        key=lambda pair: settings.penalties.index(pair[0]),
    )
    parts = [(one, one.of_penalty(penalty)) for penalty, one in order]
    return replace(
        first,
        settings=settings,
        candidates=tuple(one.candidates[k] for one, rows in parts for k in rows),
        predicted=np.concatenate([one.predicted[rows] for one, rows in parts]),
        n_nonzero=np.concatenate([one.n_nonzero[rows] for one, rows in parts]),
        seconds=first.seconds + second.seconds,
        notes=(*first.notes, *second.notes),
    )
