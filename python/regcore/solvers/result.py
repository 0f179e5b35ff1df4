"""What a fit returns, what its callbacks see, and the warning of a fit that stopped early."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["ConvergenceWarning", "FitResult", "FitState", "HistoryEntry"]


class ConvergenceWarning(UserWarning):
    """A fit stopped before its criterion was met; the message says what to change."""


class HistoryEntry(NamedTuple):
    """One iteration of a fit.

    Attributes
    ----------
    iteration : int
        1 for the first.
    value : float
        Objective, or the solver's estimate of it ("sgd": the mean over the batches as they were met).
    dual_gap, residual : float or None
        See `FitResult`.
    n_passes : float
        Passes over the data up to here.
    seconds : float
        Since the start of the fit, callbacks included.
    """

    iteration: int
    value: float
    dual_gap: float | None
    residual: float | None
    n_passes: float
    seconds: float


@dataclass(frozen=True, slots=True)
class FitState:
    """What a callback sees after an iteration.

    A callback returns True to stop the fit, anything false (None) to go on.

    Attributes
    ----------
    iteration, value, dual_gap, residual, n_passes, seconds
        As in `HistoryEntry`.
    solver : str
        Name of the solver.
    max_iter : int
        Most iterations that the fit will do.
    W : ndarray of shape (n_outputs, n_features)
    b : ndarray of shape (n_outputs,)
        Read-only views, valid until the callback returns; copy what is to be kept.
    """

    iteration: int
    value: float
    dual_gap: float | None
    residual: float | None
    n_passes: float
    seconds: float
    solver: str
    max_iter: int
    W: Array = field(repr=False)
    b: Array = field(repr=False)


@dataclass(frozen=True, slots=True)
class FitResult:
    """The outcome of `fit`.

    Attributes
    ----------
    W : ndarray of shape (n_outputs, n_features)
    b : ndarray of shape (n_outputs,)
        Zeros without an intercept.
    value : float
        Objective at W and b; NaN if the fit was interrupted before its first iteration.
    dual_gap : float or None
        Upper bound of value - minimum, where the solver gives one.
    residual : float or None
        Relative norm of the optimality residual, where the solver gives one.
    n_iter : int
    n_passes : float
        Passes over the data; the cost of the fit whatever the machine.
    history : list of HistoryEntry
        One entry an iteration.
    converged : bool
        Whether the solver's documented criterion was met.
    message : str
        Why the fit ended.
    solver : str
        Name of the solver that ran.
    """

    W: Array
    b: Array
    value: float
    dual_gap: float | None
    residual: float | None
    n_iter: int
    n_passes: float
    history: list[HistoryEntry] = field(repr=False)
    converged: bool
    message: str
    solver: str
