"""What is written of the curves: numbers as JSON, tables as Markdown."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from convergence_curves import LEVELS, Curve, seconds_to

__all__ = ["TaskReport", "earlier_report", "environment", "markdown", "read_reports", "write_json"]

NOTHING = "-"
PACKAGES = ("regcore", "numpy", "scikit-learn", "cyanure", "celer", "skglm", "torch")
BUSY = 1.0  # load average before a run
GAP = "seconds_to_a_gap_of_1e-4"


@dataclass
class TaskReport:
    """All curves of a task, and the optimum that they are compared with."""

    name: str
    title: str
    definition: dict[str, Any]
    optimum: float
    curves: list[Curve] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)

    def seconds(self, curve: Curve, level: float) -> float | None:
        """Return when the curve came to the level; None if it never did."""
        return seconds_to(level, curve.seconds, curve.distances(self.optimum))

    def best(self, level: float, ours: bool) -> tuple[float, str] | None:
        """Return the shortest time to the level, and whose it is; of those that minimise the same."""
        times = [
            (seconds, curve.name)
            for curve in self.curves
            if curve.is_ours == ours
            and curve.optimum is None
            and (seconds := self.seconds(curve, level)) is not None
        ]
        return min(times, default=None)

    def ratio(self, level: float) -> tuple[float, bool] | None:
        """Return how many times faster we are than the best peer, and whether that is exact.

        It is a lower bound if the cap ended a peer that might have been the best. None: there is no peer, or
        we never came to the level.
        """
        ours, theirs = self.best(level, True), self.best(level, False)
        cut = [
            max(curve.seconds)
            for curve in self.curves
            if not curve.is_ours and curve.was_cut and self.seconds(curve, level) is None
        ]
        if ours is None or (theirs is None and not cut):
            return None
        exact = theirs is not None and theirs[0] <= min(cut, default=theirs[0])
        return (theirs[0] if exact and theirs else min(cut)) / ours[0], exact


def write_json(report: TaskReport, folder: Path) -> None:
    """Write a task's numbers to `name`.json."""
    content = asdict(report)
    content["seconds_to"] = {
        curve.name: {f"{level:g}": report.seconds(curve, level) for level in LEVELS}
        for curve in report.curves
    }
    content["ratio_to_the_best_peer"] = {f"{level:g}": report.ratio(level) for level in LEVELS}
    (folder / f"{report.name}.json").write_text(json.dumps(content, indent=1))


def _read(path: Path) -> TaskReport:
    content = json.loads(path.read_text())
    content = {name: content[name] for name in TaskReport.__dataclass_fields__ if name in content}
    curves = [Curve(**curve) for curve in content.pop("curves")]
    return TaskReport(**content, curves=curves)


def read_reports(folder: Path, names: Iterable[str]) -> list[TaskReport]:
    """Return the reports of those tasks that a folder has."""
    return [_read(path) for name in names if (path := folder / f"{name}.json").is_file()]


def earlier_report(folder: Path, name: str, definition: dict[str, Any]) -> TaskReport | None:
    """Return what an earlier run has left of the same task."""
    for report in read_reports(folder, [name]):
        if report.definition == json.loads(json.dumps(definition)):
            return report
    return None


def _time(report: TaskReport, curve: Curve, level: float) -> str:
    seconds = report.seconds(curve, level)
    if seconds is not None:
        return f"{seconds:.3g}"
    return f"> {max(curve.seconds):.3g}" if curve.was_cut else NOTHING


def environment() -> dict[str, Any]:
    """Return what the seconds depend on besides the code: cores, versions, and what else is running."""
    versions = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cores": os.cpu_count(), "load": load, "versions": versions}


def _environment_of(report: TaskReport) -> str:
    around = report.environment
    versions = ", ".join(f"{name} {number}" for name, number in around["versions"].items())
    busy = (around["load"] or 0) > BUSY
    return f"{around['cores']} cores, {versions}." + (
        f" **The machine was busy (load {around['load']:.1f}): no figures to quote.**" if busy else ""
    )


def _faster(report: TaskReport, level: float) -> str:
    ratio = report.ratio(level)
    return NOTHING if ratio is None else f"{'' if ratio[1] else '> '}{ratio[0]:.2g}"


def markdown(reports: list[TaskReport]) -> str:
    """Return one table of all tasks, and one of each."""
    levels = " | ".join(f"to {level:g}" for level in LEVELS)
    lines = [
        "# Time to the optimum",
        "",
        "Ratio: how many times as long as we the best peer takes to a relative distance from the optimum; "
        '"> x" where the cap on the seconds ended a peer. Seconds between two points of a curve are '
        "interpolated.",
        "",
        f"| task | asked | {' | '.join(f'ratio at {level:g}' for level in LEVELS)} | our seconds {levels} "
        "| best peer at each |",
        "|---|---|" + "---|" * (2 * len(LEVELS) + 1),
    ]
    for report in reports:
        asked = report.definition["asked"]
        cells = [report.title, NOTHING if asked is None else f"{asked:g}"]
        cells += [_faster(report, level) for level in LEVELS]
        ours, theirs = ([report.best(level, whose) for level in LEVELS] for whose in (True, False))
        cells += [NOTHING if best is None else f"{best[0]:.3g}" for best in ours]
        cells.append("; ".join(NOTHING if best is None else f"{best[1]} {best[0]:.3g}" for best in theirs))
        lines.append(f"| {' | '.join(cells)} |")
    for report in reports:
        lines += ["", f"## {report.title}", "", *_of_task(report, levels)]
    return "\n".join(lines) + "\n"


def _of_task(report: TaskReport, levels: str) -> Iterable[str]:
    task = report.definition
    yield (
        f"`{report.name}`: {task['n_samples']} x {task['n_features']}, alpha {task['alpha']:g}, "
        f"l1_ratio {task['l1_ratio']:g}; optimum {report.optimum:.10g}. "
        f"![]({report.name}.png)"
    )
    yield from (
        "",
        f"| solver | seconds {levels} | nearest | remarks |",
        "|---|" + "---|" * (len(LEVELS) + 2),
    )
    for curve in report.curves:
        times = " | ".join(_time(report, curve, level) for level in LEVELS)
        nearest = min(curve.distances(report.optimum), default=float("nan"))
        remarks = [curve.note] if curve.note else []
        if (passes := curve.extra.get("n_passes")) is not None:
            remarks.append(f"{passes:.0f} passes")
        if (gap := curve.extra.get(GAP)) is not None:
            remarks.append(f"a gap of 1e-4 after {gap:.3g} s")
        yield f"| {curve.name} | {times} | {max(nearest, 0):.1e} | {'; '.join(remarks)} |"
    yardsticks = [curve for curve in report.curves if curve.optimum is not None]
    for yardstick in yardsticks:
        for curve in report.curves:
            if curve.is_ours and curve.optimum is None and GAP in curve.extra:
                ours, its = curve.extra[GAP], yardstick.extra[GAP]
                if ours and its:
                    yield from (
                        "",
                        f"To a gap of 1e-4 {curve.name} takes {ours / its:.2f} x {yardstick.name}.",
                    )
    if report.environment:
        yield from ("", _environment_of(report))
    if report.left_out:
        yield from ("", f"Left out, not installed: {', '.join(report.left_out)}.")
