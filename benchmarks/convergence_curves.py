"""Curves: how far from the optimum a solver was after how many seconds, and when it came how near."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

__all__ = ["LEVELS", "Curve", "Point", "fits_with_growing_budgets", "seconds_to"]

LEVELS = (1e-3, 1e-4, 1e-6)

SHORT = 0.5  # seconds; a shorter fit is timed again
ROUNDS = 3


class Point(NamedTuple):
    """Weights, the seconds after which they were there, and whether more seconds would change nothing."""

    seconds: float
    W: Any
    b: Any
    is_last: bool = False


@dataclass
class Curve:
    """The points of one solver.

    `values` are the objectives at the points, in float64; `is_ours` says whether the solver is one of
    regcore's, `was_cut` whether the cap on the seconds ended it, `note` what else is to be said. `optimum`
    is that of another objective, for a yardstick.
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    is_ours: bool = False
    was_cut: bool = False
    note: str = ""
    optimum: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def distances(self, optimum: float) -> list[float]:
        """Relative distances from the optimum; rounding can make one negative."""
        least = optimum if self.optimum is None else self.optimum
        return [value / least - 1 for value in self.values]


def seconds_to(level: float, seconds: list[float], distances: list[float]) -> float | None:
    """Return when a curve came to a level, between two of its points by interpolation of the logarithms.

    None if it never did. The points are those of growing seconds; one that is worse than another before it
    does not count.
    """
    best, at = math.inf, 0.0
    for second, distance in sorted(zip(seconds, distances, strict=True)):
        if not distance < best:
            continue
        if distance <= level:
            if not math.isfinite(best) or at <= 0 or distance <= 0:
                return second
            share = math.log(best / level) / math.log(best / distance)
            return at * (second / at) ** share
        best, at = distance, second
    return None


def fits_with_growing_budgets(
    fit: Callable[[int], tuple[Any, Any, bool]], cap: float, first: int = 1, growth: float = 2
) -> Iterator[Point]:
    """Yield fits from scratch with growing budgets, until the seconds of all would exceed the cap.

    ``fit(budget)`` returns W, b and whether a larger budget changes nothing.
    """
    budget, spent = float(first), 0.0
    while True:
        fastest = math.inf
        for _ in range(ROUNDS):
            start = time.perf_counter()
            W, b, is_over = fit(round(budget))
            seconds = time.perf_counter() - start
            spent += seconds
            fastest = min(fastest, seconds)
            if seconds > SHORT:
                break
        yield Point(fastest, np.copy(W), np.copy(b), is_over)
        if is_over or spent + growth * fastest > cap:
            return
        budget *= growth
