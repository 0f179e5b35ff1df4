"""What the pictures share: axes, colours, and names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "FAINT",
    "INK",
    "NEGATIVE",
    "PENALTY_COLOURS",
    "POSITIVE",
    "axes_for",
    "names_of",
    "plain",
    "tidy",
]

INK, FAINT, GRID = "#22282d", "#8a949c", "#e6e9ec"
PENALTY_COLOURS = {
    "none": "#5b6770",
    "l1": "#c8553d",
    "l2": "#2a6f97",
    "elasticnet": "#7a5195",
    "group_l1": "#588157",
}
COLOURS = ("#2a6f97", "#c8553d", "#588157", "#7a5195", "#b8860b", "#2f9c95", "#a23e48", "#5b6770")
POSITIVE, NEGATIVE = "#2a6f97", "#c8553d"


def axes_for(
    ax: Any, n_panels: int, *, figsize: tuple[float, float], n_columns: int | None = None, **subplots: Any
) -> tuple[Figure, npt.NDArray[Any]]:
    """Return the figure and so many axes, in one dimension: those that were given, or new ones."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "regcore[plot]"') from error
    if ax is None:
        n_columns = n_columns or n_panels
        n_rows = -(-n_panels // n_columns)
        figure, grid = pyplot.subplots(
            n_rows, n_columns, figsize=figsize, squeeze=False, layout="constrained", **subplots
        )
        axes = grid.ravel()
        for left_over in axes[n_panels:]:
            left_over.set_axis_off()
        return figure, axes[:n_panels]
    given = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    if len(given) != n_panels:
        raise ValueError(f"ax must be {n_panels} axes, one a panel; got {len(given)}")
    return given[0].figure, given


def tidy(ax: Axes, title: str = "", *, grid: str | None = None) -> None:
    """Take away what carries nothing."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(FAINT)
    ax.tick_params(axis="both", which="both", colors=FAINT, labelcolor=INK, labelsize=9)
    if grid is not None:
        ax.grid(axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
        ax.set_axisbelow(True)
    if title:
        ax.set_title(plain(title), loc="left", fontsize=10.5, color=INK)


def plain(text: Any) -> str:
    """A name as text: its dollar signs are no formula."""
    return str(text).replace("$", r"\$")


def names_of(given: Sequence[Any] | None, n_names: int, argument: str, default: str) -> list[str]:
    """Names that were given, or a default with numbers; refuse another number of them."""
    if given is None:
        return [f"{default}{i}" for i in range(n_names)]
    names = [str(name) for name in given]
    if len(names) != n_names:
        raise ValueError(f"{argument} must have {n_names} names; got {len(names)}")
    return names
