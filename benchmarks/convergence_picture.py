"""A picture of a task's curves: relative distance from the optimum against seconds, both logarithmic."""

from __future__ import annotations

from pathlib import Path

from convergence_curves import LEVELS
from convergence_report import TaskReport

__all__ = ["draw"]

LEAST = 1e-8  # nearer than that is noise in the optimum
OURS = ("#c1121f", "#f77f00", "#7b2cbf", "#d90368")
THEIRS = ("#0072b2", "#56b4e9", "#009e73", "#7f7f7f", "#8c564b", "#bcbd22", "#17becf", "#1b4965", "#a1c181")
MARKERS = "os^Dv<>phX"


def draw(report: TaskReport, folder: Path) -> None:
    """Write `name`.png: our curves as lines, a dot for each fit of a peer."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5.5), layout="constrained")
    n_ours = n_theirs = 0
    for curve in report.curves:
        distances = [max(distance, LEAST) for distance in curve.distances(report.optimum)]
        if curve.is_ours:
            style = {"color": OURS[n_ours % len(OURS)], "linewidth": 2.2, "zorder": 3}
            n_ours += 1
        else:
            style = {
                "color": THEIRS[n_theirs % len(THEIRS)],
                "marker": MARKERS[n_theirs % len(MARKERS)],
                "markersize": 4,
                "linewidth": 1,
            }
            n_theirs += 1
        axes.plot(curve.seconds, distances, label=curve.name, **style)
    for level in LEVELS:
        axes.axhline(level, color="0.75", linewidth=0.8, linestyle=":", zorder=0)
    axes.set(
        xscale="log",
        yscale="log",
        ylim=(LEAST / 2, 3),
        xlabel="seconds",
        ylabel="relative distance from the optimum",
        title=f"{report.title} (alpha {report.definition['alpha']:g})",
    )
    axes.grid(alpha=0.25, linewidth=0.5)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    figure.savefig(folder / f"{report.name}.png", dpi=130)
    pyplot.close(figure)
