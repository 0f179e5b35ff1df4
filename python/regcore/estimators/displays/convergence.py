"""How near a fit was to the optimum, against passes over the data and seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from regcore.estimators.displays.style import FAINT, axes_for, plain, tidy

if TYPE_CHECKING:
    import numpy.typing as npt

    from regcore.solvers import HistoryEntry

__all__ = ["ConvergenceDisplay"]

_LABELS = {
    "dual_gap": "duality gap / value",
    "residual": "relative optimality residual",
    "value": "value above the lowest seen",
}
_AXES = {"passes": "passes over the data", "seconds": "seconds"}


class ConvergenceDisplay:
    """Convergence of a fit: its distance from the optimum after each iteration.

    Make one with `from_estimator` or `from_history`.

    Parameters
    ----------
    passes, seconds : array-like of shape (n_iter,)
        Passes over the data and seconds up to each iteration.
    distances : array-like of shape (n_iter,)
        Duality gap relative to the value, optimality residual, or value above the lowest.
    kind : {"dual_gap", "residual", "value"}
        Which of these.
    tol : float, default=None
        Where the fit was to stop; None: not drawn.
    name : str, default=None
        For the legend.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : ndarray of matplotlib Axes
    lines_ : list of matplotlib Line2D
        One a panel.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from regcore import ConvergenceDisplay, LinearClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> weak = LinearClassifier(alpha=1e-2).fit(X / 8, y)
    >>> strong = LinearClassifier(alpha=1e-1).fit(X / 8, y)
    >>> display = ConvergenceDisplay.from_estimator(weak, name="1e-2")
    >>> _ = ConvergenceDisplay.from_estimator(strong, name="1e-1", ax=display.axes_)
    >>> plt.close()
    """

    def __init__(
        self,
        passes: Any,
        seconds: Any,
        distances: Any,
        *,
        kind: str = "dual_gap",
        tol: float | None = None,
        name: str | None = None,
    ) -> None:
        self.passes = np.asarray(passes, dtype=float)
        self.seconds = np.asarray(seconds, dtype=float)
        self.distances = np.asarray(distances, dtype=float)
        self.kind = kind
        self.tol = tol
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        kind: str = "auto",
        name: str | None = None,
        x: Sequence[str] = ("passes", "seconds"),
        ax: Any = None,
        **line_kw: Any,
    ) -> ConvergenceDisplay:
        """Draw the history of a fitted classifier.

        Parameters
        ----------
        estimator : LinearClassifier, LinearClassifierCV or Pipeline that ends in one
            Fitted.
        kind, x, ax, **line_kw
            As in `from_history` and `plot`.
        name : str, default=None
            For the legend; None: the solver.

        Returns
        -------
        display : ConvergenceDisplay
        """
        check_is_fitted(estimator)
        last = estimator[-1] if hasattr(estimator, "steps") else estimator
        return cls.from_history(
            last.history_,
            kind=kind,
            tol=last.tol,
            name=last.solver_ if name is None else name,
            x=x,
            ax=ax,
            **line_kw,
        )

    @classmethod
    def from_history(
        cls,
        history: Sequence[HistoryEntry],
        *,
        kind: str = "auto",
        tol: float | None = None,
        name: str | None = None,
        x: Sequence[str] = ("passes", "seconds"),
        ax: Any = None,
        **line_kw: Any,
    ) -> ConvergenceDisplay:
        """Draw the history of a fit.

        Parameters
        ----------
        history : list of HistoryEntry
            Of a `FitResult`, or the `history_` of an estimator.
        kind : {"auto", "dual_gap", "residual", "value"}, default="auto"
            What is drawn: the duality gap divided by the value, the optimality residual, or the value less
            the lowest of the history. "auto": the first of these that the history has.
        tol : float, default=None
            Drawn as a line where it means something, which is for "dual_gap" and "residual".
        name, x, ax, **line_kw
            As in `plot`.

        Returns
        -------
        display : ConvergenceDisplay

        Raises
        ------
        ValueError
            If the history is empty, or has not what `kind` asks for.
        """
        if not len(history):
            raise ValueError("history must have at least one iteration; got none")
        table = {field: _column(history, field) for field in ("value", "dual_gap", "residual")}
        there = [found for found in ("dual_gap", "residual") if np.isfinite(table[found]).any()] + ["value"]
        if kind == "auto":
            kind = there[0]
        if kind not in _LABELS:
            raise ValueError(f"kind must be 'auto' or one of {list(_LABELS)}; got {kind!r}")
        if kind not in there:
            raise ValueError(f"kind={kind!r}: the solver of this history gave none; it has {there}")
        distances = table[kind]
        if kind == "dual_gap":
            distances = distances / np.maximum(np.abs(table["value"]), np.finfo(float).tiny)
        elif kind == "value":
            distances = distances - np.nanmin(distances)
        return cls(
            _column(history, "n_passes"),
            _column(history, "seconds"),
            distances,
            kind=kind,
            tol=None if kind == "value" else tol,
            name=name,
        ).plot(x=x, ax=ax, **line_kw)

    def plot(
        self,
        *,
        x: Sequence[str] = ("passes", "seconds"),
        ax: Any = None,
        name: str | None = None,
        **line_kw: Any,
    ) -> ConvergenceDisplay:
        """Draw.

        Parameters
        ----------
        x : sequence of {"passes", "seconds"}, default=("passes", "seconds")
            One panel each.
        ax : Axes or sequence of Axes, default=None
            As many as panels; those of another display put both into one picture. None: a new figure.
        name : str, default=None
            For the legend; None: that of the display.
        **line_kw
            For matplotlib's `plot`.

        Returns
        -------
        self : ConvergenceDisplay
        """
        panels = [x] if isinstance(x, str) else list(x)
        wrong = [panel for panel in panels if panel not in _AXES]
        if wrong or not panels:
            raise ValueError(f"x must hold some of {list(_AXES)}; got {panels}")
        name = self.name if name is None else name
        is_new = ax is None
        self.figure_, self.axes_ = axes_for(
            ax, len(panels), figsize=(4.6 * len(panels), 3.6), sharey=len(panels) > 1
        )
        # a logarithm shows no zero, and an end at the optimum is worth a place
        positive = self.distances[self.distances > 0]
        shown = np.where(self.distances > 0, self.distances, positive.min() if len(positive) else 1.0)
        marker = {"marker": "o", "markersize": 3.5} if len(shown) <= 30 else {}
        self.lines_ = []
        for panel, axes in zip(panels, self.axes_, strict=True):
            at = self.passes if panel == "passes" else self.seconds
            label = {} if name is None else {"label": plain(name)}
            self.lines_ += axes.plot(at, shown, **({"linewidth": 1.8} | marker | label | line_kw))
            if is_new:
                tidy(axes, grid="y")
                axes.set_yscale("log")
                axes.set_xlabel(_AXES[panel])
                axes.set_xlim(0, 1e-12)
            axes.set_xlim(0, max(axes.get_xlim()[1], 1.02 * np.nanmax(at)))
            if self.tol:
                axes.axhline(self.tol, color=FAINT, linestyle=":", linewidth=1.2, zorder=1)
        if is_new:
            self.axes_[0].set_ylabel(_LABELS[self.kind])
            if self.tol:
                self.axes_[-1].annotate(
                    "tol",
                    (0, self.tol),
                    xycoords=("axes fraction", "data"),
                    xytext=(3, 3),
                    textcoords="offset points",
                    fontsize=8.5,
                    color=FAINT,
                )
        if name is not None:
            self.axes_[0].legend(frameon=False, fontsize=9)
        return self


def _column(history: Sequence[HistoryEntry], field: str) -> npt.NDArray[np.float64]:
    found = [getattr(entry, field) for entry in history]
    return np.array([np.nan if value is None else value for value in found], dtype=float)
