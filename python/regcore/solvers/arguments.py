"""Checks of numbers that solvers and callbacks are given."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

__all__ = ["integer", "real"]


def integer(argument: str, value: Any, *, least: int = 1) -> int:
    """Return the value as an int.

    Raises
    ------
    TypeError, ValueError
        If it is not an integer of at least `least`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{argument} must be an integer; got {type(value).__name__}")
    if int(value) < least:
        raise ValueError(f"{argument} must be at least {least}; got {value}")
    return int(value)


def real(
    argument: str, value: Any, *, least: float = -math.inf, above: float = -math.inf, below: float = math.inf
) -> float:
    """Return the value as a float.

    Raises
    ------
    TypeError, ValueError
        If it is not a finite real number within the limits.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{argument} must be a real number; got {type(value).__name__}")
    number = float(value)
    if not (math.isfinite(number) and number >= least and above < number < below):
        low = f"> {above:g}" if above > -math.inf else f">= {least:g}"
        high = f" and < {below:g}" if below < math.inf else ""
        raise ValueError(f"{argument} must be finite, {low}{high}; got {value!r}")
    return number
