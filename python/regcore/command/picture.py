"""The outcome of ``regcore compare`` as a picture: accuracies seed by seed, and zero weights."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .compare import Comparison, verdict
from .data import Dataset
from .errors import printable
from .files import atomic_write
from .report import facts, percent, strength, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = frozenset({".png", ".svg", ".pdf"})

_COLOURS = {"none": "#5b6770", "l1": "#c8553d", "l2": "#2a6f97", "elasticnet": "#7a5195"}
_INK, _FAINT, _RULE, _GRID = "#22282d", "#6d777f", "#ccd2d7", "#eef0f2"
_DOTS = 0.24  # how far below a penalty's mean its dots lie, in rows


def _style(ax: Axes, heading: str) -> None:
    ax.set_title(heading, loc="left", fontsize=10.5, fontweight="bold", color=_INK, pad=8)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(_RULE)
    ax.tick_params(axis="both", length=0, labelsize=8.5, colors=_FAINT)
    ax.xaxis.set_major_formatter("{x:g} %")
    ax.grid(axis="x", color=_GRID, linewidth=0.8)
    ax.set_axisbelow(True)


def _accuracy_panel(ax: Axes, comparison: Comparison, field: str, heading: str) -> None:
    """Mean and deviation of each penalty, and a dot per seed; a line joins the dots of a split."""
    _style(ax, heading)
    results = comparison.results
    shares = np.array([[100 * getattr(run, field) for run in result.runs] for result in results])
    for split in shares.T:
        ax.plot(split, np.arange(len(results)) + _DOTS, color=_RULE, linewidth=0.9, zorder=1)
    for row, result in enumerate(results):
        colour = _COLOURS[result.penalty]
        dots = np.full(shares.shape[1], row + _DOTS)
        ax.scatter(shares[row], dots, s=22, color=colour, alpha=0.6, linewidths=0, zorder=2)
        spread = result.spread(field)
        ax.errorbar(
            100 * spread.mean,
            row,
            xerr=None if spread.sd is None else 100 * spread.sd,
            fmt="D",
            markersize=6.5,
            color=colour,
            elinewidth=2,
            capsize=4,
            capthick=2,
            zorder=3,
        )
        ax.annotate(
            percent(spread),
            (100 * spread.mean, row),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=_INK,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
            zorder=4,
        )
    ax.margins(x=0.17)
    ax.locator_params(axis="x", nbins=6)


def _zero_panel(ax: Axes, comparison: Comparison) -> None:
    _style(ax, "Weights that are zero")
    for row, result in enumerate(comparison.results):
        share = 100 * result.spread("zero_share").mean
        ax.barh(row, share, height=0.3, color=_COLOURS[result.penalty], alpha=0.85)
        ax.annotate(
            f"{share:.1f}",
            (share, row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=_INK,
        )
    ax.set_xlim(0, 118)
    ax.set_xticks((0, 50, 100))


def draw(dataset: Dataset, comparison: Comparison) -> Figure:
    """Draw the comparison.

    Returns
    -------
    matplotlib.figure.Figure
        Not known to pyplot; no window opens.
    """
    from matplotlib.figure import Figure

    results = comparison.results
    name = printable(Path(os.path.abspath(dataset.name)).name or dataset.name, "utf-8")
    # A break between "p =" and its number, or around a plus-minus sign, would be odd.
    answer = textwrap.wrap(re.sub(" ([=±<]) ", "\u00a0\\1\u00a0", verdict(comparison)), 132)
    notes = [
        line for key, text in facts(dataset, comparison) for line in textwrap.wrap(f"{key}: {text}", 185)
    ]
    if comparison.settings.n_seeds > 1:
        notes.append("dots: one seed each; grey lines join the dots of the same split")

    # In inches from the edges, whatever the number of rows: heading, answer, panels, notes.
    top, bottom = 1.13 + 0.2 * len(answer), 0.55 + 0.165 * len(notes)
    height = top + bottom + 0.72 * len(results)
    fig = Figure(figsize=(10.5, height), dpi=160, facecolor="white")
    axes: Any = fig.subplots(
        1,
        3,
        sharey=True,
        gridspec_kw={
            "width_ratios": (1.75, 1.5, 0.9),
            "left": 0.125,
            "right": 0.98,
            "top": 1 - top / height,
            "bottom": bottom / height,
            "wspace": 0.1,
        },
    )
    _accuracy_panel(axes[0], comparison, "test_accuracy", "Test accuracy")
    _accuracy_panel(axes[1], comparison, "train_accuracy", "Training accuracy")
    _zero_panel(axes[2], comparison)

    axes[0].set_ylim(len(results) - 0.5, -0.55)
    axes[0].set_yticks(())
    beside = axes[0].get_yaxis_transform()  # x in shares of the panel, y in rows
    for row, result in enumerate(results):
        label = {"transform": beside, "ha": "right", "va": "center"}
        has_alpha = result.alpha is not None
        axes[0].text(-0.04, row - 0.1 * has_alpha, result.penalty, fontsize=10.5, color=_INK, **label)
        if has_alpha:
            axes[0].text(-0.04, row + 0.18, f"alpha {strength(result)}", fontsize=8.5, color=_FAINT, **label)

    def write(inches: float, text: str, size: float, colour: str, **more: Any) -> None:
        # The name is the user's: a $ in it is no formula.
        more |= {"fontsize": size, "color": colour, "parse_math": False, "va": "top"}
        fig.text(0.02, 1 - inches / height, text, **more)

    write(0.17, name if len(name) <= 70 else f"...{name[-67:]}", 15, _INK, fontweight="bold")
    write(0.47, title(dataset), 9.5, _FAINT)
    for k, line in enumerate(answer):
        write(0.72 + 0.2 * k, line, 10, _INK)
    for k, line in enumerate(notes):
        write(height - bottom + 0.42 + 0.165 * k, line, 8, _FAINT)
    return fig


def save(path: str | os.PathLike[str], dataset: Dataset, comparison: Comparison) -> None:
    """Draw and write the picture; its suffix (.png, .svg, .pdf) chooses the format."""
    figure = draw(dataset, comparison)
    with atomic_write(path) as file:
        figure.savefig(file, format=Path(path).suffix.lower()[1:])
