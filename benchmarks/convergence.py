"""Time to the optimum beside the peers: a picture, numbers and a table of each task.

    python benchmarks/convergence.py -o FOLDER                    every task: an hour
    python benchmarks/convergence.py -o FOLDER --task golub-l1    one; FOLDER keeps those of other runs
    python benchmarks/convergence.py -o FOLDER --quick            a part of the samples: no figures to quote
    python benchmarks/convergence.py -o FOLDER --optimum          only the optima, kept for later runs
    python benchmarks/convergence.py -o FOLDER --solver fista     also another solver than that of "auto"

Nothing else should run meanwhile. FOLDER gets a JSON and a PNG for each task, and convergence.md for all. The
optimum is the best that anybody comes to, our own fit in float64 to a gap of 1e-9 among them, or that an
earlier run in FOLDER came to. Peers that are not installed are left out, and named.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
from convergence_apart import peer_curve
from convergence_curves import Curve, Point
from convergence_ours import optimum, our_curve
from convergence_peers import PEERS, missing_packages
from convergence_picture import draw
from convergence_report import TaskReport, earlier_report, environment, markdown, read_reports, write_json
from convergence_tasks import TASKS, Problem

import regcore

QUICK_SECONDS = 2.0


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def judged(curve: Curve, points: list[Point], problem: Problem, loss: str | None = None) -> Curve:
    """Return our curve with the objectives at its points."""
    objective = problem.judge if loss is None else problem.objective(loss)
    curve.seconds = [point.seconds for point in points]
    curve.values = [
        float(
            objective.value(
                point.W.astype(np.float64), point.b.astype(np.float64) if problem.task.intercept else None
            )
        )
        for point in points
    ]
    return curve


def run_task(name: str, given: argparse.Namespace) -> None:
    """Measure one task, and write what came of it."""
    problem = Problem(name, given.quick)
    definition = problem.definition()
    report = earlier_report(given.output, name, definition)
    if report is None:
        report = TaskReport(name, problem.task.title, definition, np.inf)
    if given.optimum or not np.isfinite(report.optimum):
        report.optimum = min(report.optimum, optimum(problem, given.optimum_seconds))
        say(f"{name}: optimum {report.optimum:.12g}")
        write_json(report, given.output)
    if given.optimum:
        return
    report.left_out, report.environment = [], environment()
    if not given.curve:
        report.curves = []
    for curve in curves(problem, given, report):
        report.curves = [other for other in report.curves if other.name != curve.name] + [curve]
        nearest = min(curve.distances(report.optimum), default=np.inf)
        say(f"{name}: {curve.name}, {len(curve.seconds)} points, nearest {nearest:.1e} {curve.note}")
        finish(report, given.output)


def curves(problem: Problem, given: argparse.Namespace, report: TaskReport) -> Iterator[Curve]:
    """Yield the curves of a task: ours, that of a yardstick, and the peers'."""

    def is_wanted(name: str) -> bool:
        return not given.curve or any(part in name for part in given.curve)

    solvers = ["auto", *(given.solver if problem.judge.loss.is_smooth else ())]
    for dtype, solver in product((np.float32, np.float64), solvers):
        if is_wanted("regcore"):
            yield judged(*our_curve(problem, given.seconds, dtype, solver), problem)
    if (yardstick := problem.task.yardstick) is not None and is_wanted("regcore"):
        curve, points = our_curve(problem, given.seconds, loss=yardstick)
        curve.optimum = optimum(problem, given.optimum_seconds, yardstick)
        yield judged(curve, points, problem, yardstick)
    for peer in PEERS:
        if is_wanted(peer.name) and peer.handles(problem):
            if peer.is_installed:
                yield peer_curve(peer, problem.name, given.quick, given.seconds, report.optimum)
            else:
                report.left_out.append(peer.name)


def finish(report: TaskReport, folder: Path) -> None:
    """Write what there is of a task: an interrupted run leaves it."""
    values = [
        value
        for curve in report.curves
        if curve.optimum is None
        for value in curve.values
        if np.isfinite(value)
    ]
    report.optimum = min([report.optimum, *values])
    write_json(report, folder)
    draw(report, folder)
    (folder / "convergence.md").write_text(markdown([r for r in read_reports(folder, TASKS) if r.curves]))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--task", action="append", choices=TASKS, metavar="NAME", help=", ".join(TASKS))
    parser.add_argument(
        "--curve",
        action="append",
        metavar="PART",
        help="only the curves with this in their name (regcore, saga, ...); FOLDER keeps the others",
    )
    parser.add_argument("--solver", action="append", default=[], help="of ours, besides 'auto'")
    parser.add_argument("--seconds", type=float, help="cap of a curve (default: 60)")
    parser.add_argument("--optimum-seconds", type=float, default=600.0, help="cap of the optimum's fit")
    parser.add_argument("--optimum", action="store_true", help="only the optima, kept in FOLDER")
    parser.add_argument("--quick", action="store_true", help="a part of the samples")
    given = parser.parse_args()
    if given.seconds is None:
        given.seconds = QUICK_SECONDS if given.quick else 60.0
    given.output.mkdir(parents=True, exist_ok=True)
    if missing := missing_packages():
        say(f"not installed, and left out: {', '.join(missing)}")
    say(f"regcore {regcore.__version__}")
    for name in given.task or TASKS:
        try:
            run_task(name, given)
        except FileNotFoundError as error:
            say(f"{name} is left out: {error}")


if __name__ == "__main__":
    main()
