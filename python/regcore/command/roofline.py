"""The outcome of ``regcore bench`` as a picture: rooflines, and every case as a multiple of its limit.

A roofline [1]_ shows operations per second over operations per byte of X, both on logarithmic scales. The
roof is the bandwidth, a slope, as far as the peak, a level: nothing comes above it.

References
----------
.. [1] Williams, Waterman and Patterson, "Roofline: An Insightful Visual Performance Model for Multicore
   Architectures", Communications of the ACM 52(4), 2009.
"""

from __future__ import annotations

import os
import statistics
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from math import atan2, degrees, log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bench import Benchmark, Case, Timing
from .bench_report import in_order, remarks, title, verdict
from .errors import printable
from .files import atomic_write
from .peers import PEERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _FAINT, _RULE, _GRID, _ROOM = "#22282d", "#6d777f", "#ccd2d7", "#eef0f2", "#f6f8fa"
_OURS = ("#c8401f", "#e08a3c", "#b5a642", "#8c6d5a")  # by CPU level, in the order asked for
_PEERS = {"numpy": "#5b6770", "sklearn": "#2a6f97", "torch": "#7a5195", "jax": "#2f9e7d"}
_MARKERS = {"cross_entropy": "o", "hinge": "s", "squared_hinge": "^", "crammer_singer": "D"}


@dataclass(frozen=True)
class _Point:
    """One timing of one case, and how it is drawn."""

    case: Case
    timing: Timing
    multiple: float
    lane: int
    colour: str
    ours: bool

    @property
    def gflops(self) -> float:
        return self.case.n_operations / self.timing.median / 1e9

    def style(self) -> dict[str, Any]:
        return {
            "marker": _MARKERS[self.case.loss],
            "s": 46 if self.ours else 24,
            "color": self.colour,
            "alpha": 1.0 if self.ours else 0.75,
            "edgecolors": "white",
            "linewidths": 0.7,
            "zorder": 4 if self.ours else 3,
        }


def _series(benchmark: Benchmark) -> list[tuple[str, str, str, bool]]:
    """Key, label and colour of every series, and whether it is ours; ours come first."""
    isas = benchmark.settings.isas
    ours = [
        (isa, "regcore" if len(isas) == 1 else f"regcore {isa}", _OURS[k % len(_OURS)], True)
        for k, isa in enumerate(isas)
    ]
    return ours + [(name, PEERS[name].label, _PEERS.get(name, _FAINT), False) for name in benchmark.versions]


def _points(benchmark: Benchmark, dtype: str) -> Iterator[_Point]:
    for m in benchmark.measurements:
        if m.case.dtype != dtype:
            continue
        for k, (key, _, colour, ours) in enumerate(_series(benchmark)):
            timing = (m.ours if ours else m.peers).get(key)
            lane = 0 if ours else k + 1 - len(m.ours)
            if timing is not None:
                yield _Point(m.case, timing, m.multiple(timing), lane, colour, ours)


def _style(ax: Axes) -> None:
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(_RULE)
    ax.tick_params(axis="both", which="both", length=0, labelsize=8.5, colors=_FAINT)
    ax.set_axisbelow(True)


def _plain_ticks(ax: Axes, axis: str) -> None:
    """Tick labels such as 1, 10, 1,000 in place of powers of ten."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    chosen = ax.xaxis if axis == "x" else ax.yaxis
    chosen.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    chosen.set_minor_formatter(NullFormatter())


def _roofline_panel(ax: Axes, benchmark: Benchmark, dtype: str, y_range: tuple[float, float]) -> None:
    points = list(_points(benchmark, dtype))
    bandwidths = [value / 1e9 for value in benchmark.bandwidths()]
    bandwidth, peak = statistics.median(bandwidths), benchmark.peak(dtype) / 1e9
    ridge = peak / bandwidth
    intensities = [point.case.intensity for point in points]
    low, high = min([ridge, *intensities]) / 2.2, max([ridge, *intensities]) * 2.2
    _style(ax)
    ax.set_title(f"Computed in {dtype}", loc="left", fontsize=10.5, fontweight="bold", color=_INK, pad=8)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    ax.set_ylim(*y_range)
    ax.grid(color=_GRID, linewidth=0.8)
    _plain_ticks(ax, "x")
    _plain_ticks(ax, "y")

    roof_x, roof_y = (low, ridge, high), (low * bandwidth, peak, peak)
    ax.fill_between(roof_x, roof_y, y_range[0], color=_ROOM, zorder=0)
    # From case to case the bandwidth drifts: so wide is the slope.
    slope = (low, peak / bandwidths[-1], ridge, peak / bandwidths[0])
    bottom, top = ([min(x * value, peak) for x in slope] for value in (bandwidths[0], bandwidths[-1]))
    ax.fill_between(slope, bottom, top, color=_RULE, alpha=0.6, linewidth=0, zorder=1)
    ax.plot(roof_x, roof_y, color=_INK, linewidth=1.8, solid_joinstyle="round", zorder=2)
    label: dict[str, Any] = {"fontsize": 9, "color": _INK, "ha": "left", "va": "bottom", "parse_math": False}
    ax.annotate(
        f"{peak:,.0f} GFLOP/s", (high, peak), (-2, 4), textcoords="offset points", **{**label, "ha": "right"}
    )
    # The angle of the slope as it will be seen, from the size of the panel and its ranges.
    box = ax.get_window_extent()
    per_decade = (box.width / log10(high / low), box.height / log10(y_range[1] / y_range[0]))
    middle = low * (ridge / low) ** 0.5
    ax.annotate(
        f"{bandwidth:.1f} GB/s",
        (middle, middle * bandwidth),
        (-7, 7),
        textcoords="offset points",
        rotation=degrees(atan2(per_decade[1], per_decade[0])),
        rotation_mode="anchor",
        **{**label, "ha": "center"},
    )
    for isa in benchmark.settings.isas:
        if isa != benchmark.best_isa:
            level = benchmark.peak(dtype, isa) / 1e9
            ax.plot(
                (level / bandwidth, high), (level, level), color=_FAINT, linewidth=1, dashes=(4, 3), zorder=2
            )
            ax.annotate(
                f"{isa}: {level:,.0f}",
                (high, level),
                (-2, 3),
                textcoords="offset points",
                **{**label, "ha": "right", "fontsize": 7.5, "color": _FAINT},
            )

    # Cases with the same classes and type have the same intensity: ours stand there, peers beside it on the
    # right, where the roof is no lower.
    step = 0.016 * log10(high / low)
    for point in points:
        x = point.case.intensity
        if point.ours:
            roof = min(x * bandwidth, peak)
            ax.plot((x, x), (point.gflops, roof), color=point.colour, alpha=0.35, linewidth=0.9, zorder=1)
        ax.scatter(x * 10 ** (step * point.lane), point.gflops, **point.style())
    storages = list(dict.fromkeys(point.case.storage for point in points))
    columns = {(p.case.intensity, p.case.shape.n_classes, p.case.storage) for p in points}
    for intensity, n_classes, storage in columns:
        what = f"C={n_classes}" if storage == dtype else f"{storage} C={n_classes}"
        ax.annotate(
            what,
            (intensity, y_range[0]),
            (0, 4 + 11 * storages.index(storage)),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7.5,
            color=_FAINT,
        )
    ax.set_xlabel("operations per byte of X", fontsize=9, color=_FAINT)


def _multiples_panel(ax: Axes, benchmark: Benchmark, dtype: str, x_max: float) -> None:
    """Every array a row, its cases dots at their multiple of the limit."""
    _style(ax)
    rows = _rows(benchmark, dtype)
    ax.set_xscale("log")
    ax.set_xlim(0.9, x_max)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ticks = [tick for tick in (1, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000) if tick <= x_max]
    ax.set_xticks(ticks)
    ax.set_xticks([], minor=True)
    _plain_ticks(ax, "x")
    ax.grid(axis="x", color=_GRID, linewidth=0.8)
    ax.axvline(1, color=_INK, linewidth=1.8, zorder=2)
    names = [shape if storage == dtype else f"{shape} {storage}" for shape, storage in rows]
    ax.set_yticks(range(len(rows)), names)
    for label in ax.get_yticklabels():
        label.set_color(_INK)
    for row in range(len(rows)):
        ax.axhline(row, color=_GRID, linewidth=0.8, zorder=0)
    n_losses = len(benchmark.settings.losses)
    for point in _points(benchmark, dtype):
        row = rows.index((str(point.case.shape), point.case.storage))
        place = benchmark.settings.losses.index(point.case.loss)
        ax.scatter(point.multiple, row + 0.3 * ((place + 0.5) / n_losses - 0.5) * 2, **point.style())
    ax.set_xlabel("time, as a multiple of the limit", fontsize=9, color=_FAINT)


def _rows(benchmark: Benchmark, dtype: str) -> list[tuple[str, str]]:
    found = [(str(m.case.shape), m.case.storage) for m in in_order(benchmark) if m.case.dtype == dtype]
    return list(dict.fromkeys(found))


def _legend(fig: Figure, benchmark: Benchmark, height: float, inches: float) -> None:
    from matplotlib.lines import Line2D

    def entry(label: str, marker: str, colour: str, size: float) -> Line2D:
        return Line2D([], [], linestyle="", marker=marker, color=colour, markersize=size, label=label)

    handles = [entry(label, "o", colour, 7.5) for _, label, colour, _ in _series(benchmark)]
    handles += [entry(loss, _MARKERS[loss], "white", 6.5) for loss in benchmark.settings.losses]
    for handle in handles[-len(benchmark.settings.losses) :]:
        handle.set_markeredgecolor(_FAINT)
    fig.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.012, 1 - inches / height),
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        labelcolor=_INK,
        handletextpad=0.1,
        columnspacing=1.4,
        borderaxespad=0,
    )


def draw(benchmark: Benchmark) -> Figure:
    """Draw the rooflines and the multiples.

    Returns
    -------
    matplotlib.figure.Figure
        Not known to pyplot; no window opens.
    """
    from matplotlib.figure import Figure

    dtypes = sorted({m.case.dtype for m in benchmark.measurements})
    answer = [
        line
        for isa in benchmark.settings.isas
        for line in textwrap.wrap(verdict(benchmark.summary(isa)), 150)
    ]
    notes = [line for text in remarks(benchmark) for line in textwrap.wrap(text, 190)]
    n_rows = max(len(_rows(benchmark, dtype)) for dtype in dtypes)

    # In inches from the edges: heading, answer, legend, rooflines, multiples, notes.
    head, foot = 1.42 + 0.2 * len(answer), 0.6 + 0.165 * len(notes)
    roof, gap, table = 4.2, 0.75, 0.5 + 0.34 * n_rows
    width, height = 12.0, head + roof + gap + table + foot
    fig = Figure(figsize=(width, height), dpi=150, facecolor="white")
    left, between = 0.115, 0.125
    panel = (0.985 - left - between * (len(dtypes) - 1)) / len(dtypes)

    gflops = [point.gflops for dtype in dtypes for point in _points(benchmark, dtype)]
    peak = max(benchmark.peak(dtype) for dtype in dtypes) / 1e9
    y_range = (min(gflops) / 2.6, peak * 1.9)
    multiples = [point.multiple for dtype in dtypes for point in _points(benchmark, dtype)]
    x_max = max(3.0, max(multiples) * 1.25)
    for k, dtype in enumerate(dtypes):
        x = left + k * (panel + between)
        ax = fig.add_axes((x, (foot + table + gap) / height, panel, roof / height))
        _roofline_panel(ax, benchmark, dtype, y_range)
        if k == 0:
            ax.set_ylabel("GFLOP/s", fontsize=9, color=_FAINT)
        own = 0.5 + 0.34 * len(_rows(benchmark, dtype))
        ax = fig.add_axes((x, (foot + table - own) / height, panel, own / height))
        _multiples_panel(ax, benchmark, dtype, x_max)

    def write(inches: float, text: str, size: float, colour: str, **more: Any) -> None:
        more |= {"fontsize": size, "color": colour, "parse_math": False, "va": "top"}
        fig.text(0.02, 1 - inches / height, printable(text, "utf-8"), **more)

    write(0.17, "Loss and gradient against the limits of the machine", 15, _INK, fontweight="bold")
    write(0.47, title(benchmark), 9.5, _FAINT)
    for k, line in enumerate(answer):
        write(0.72 + 0.2 * k, line, 10, _INK)
    _legend(fig, benchmark, height, 0.78 + 0.2 * len(answer))
    for k, line in enumerate(notes):
        write(height - foot + 0.5 + 0.165 * k, line, 8, _FAINT)
    return fig


def save(path: str | os.PathLike[str], benchmark: Benchmark) -> None:
    """Draw and write the picture; its suffix (.png, .svg, .pdf) chooses the format."""
    figure = draw(benchmark)
    with atomic_write(path) as file:
        figure.savefig(file, format=Path(path).suffix.lower()[1:])
