"""Our own curves: one fit each, whose callback keeps the weights."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
from convergence_curves import ROUNDS, Curve, Point
from convergence_tasks import Problem

import regcore

__all__ = ["optimum", "our_curve"]

TOL = {np.float32: 2e-7, np.float64: 1e-8}
OPTIMUM_TOL = 1e-9
SPACING = 1.03  # from one point to the next, in seconds
SHORT = 1.0
MOST_FITS = 20  # of a short one
SETTLE_SECONDS = 0.3  # the threads of a BLAS spin for some time, and take a core from whoever comes next
MAX_ITER = 100_000
GAP = 1e-4


class _Recorder:
    """Keeps weights and the seconds since the start, without those of keeping them."""

    def __init__(self, cap: float) -> None:
        self.cap = cap
        self.points: list[Point] = []
        self.gap_seconds: float | None = None
        self._own = 0.0
        self._last: Point | None = None
        self._start = time.perf_counter()

    def __call__(self, state: Any) -> bool:
        now = time.perf_counter()
        seconds = now - self._start - self._own
        # a first-order method has thousands of iterations: their weights would fill the memory
        if not self.points or seconds >= SPACING * self.points[-1].seconds:
            self.points.append(Point(seconds, state.W.copy(), state.b.copy()))
        if self.gap_seconds is None and state.dual_gap is not None and state.dual_gap <= GAP * state.value:
            self.gap_seconds = seconds
        self._own += time.perf_counter() - now
        return seconds > self.cap

    def finish(self, result: regcore.FitResult) -> None:
        """Keep the end."""
        seconds = time.perf_counter() - self._start - self._own
        self.points.append(Point(seconds, result.W, result.b))


def our_curve(
    problem: Problem, cap: float, dtype: type = np.float32, solver: str = "auto", loss: str | None = None
) -> tuple[Curve, list[Point]]:
    """Return a curve without values, and its points; of a short fit the fastest of some.

    The seconds include the making of the objective, and so the statistics of a standardisation.
    """
    spent, fastest = 0.0, None
    for _ in range(MOST_FITS):
        time.sleep(SETTLE_SECONDS)
        recorder = _Recorder(cap)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", regcore.ConvergenceWarning)  # the curve shows where it ended
            result = regcore.fit(
                problem.objective(loss),
                solver=solver,
                tol=TOL[dtype],
                max_iter=MAX_ITER,
                dtype=dtype,
                fit_intercept=problem.task.intercept,
                random_state=0,
                callbacks=recorder,
            )
        seconds = recorder.points[-1].seconds
        spent += seconds
        if fastest is None or seconds < fastest[0].points[-1].seconds:
            fastest = recorder, result
        if spent > SHORT * ROUNDS or seconds > SHORT or spent > cap:
            break
    assert fastest is not None
    recorder, result = fastest
    curve = Curve(
        " ".join(["regcore", loss or "", result.solver, np.dtype(dtype).name]).replace("  ", " "),
        is_ours=True,
        was_cut=bool(recorder.points[-1].seconds > cap),
        note=result.message,
        extra={
            "n_passes": result.n_passes,
            "n_iter": result.n_iter,
            "dual_gap": None if result.dual_gap is None else result.dual_gap / result.value,
            "zeros": float((result.W == 0).mean()),
            "seconds_to_a_gap_of_1e-4": recorder.gap_seconds,
        },
    )
    return curve, recorder.points


def optimum(problem: Problem, cap: float, loss: str | None = None) -> float:
    """Return the best objective that we know how to reach, in float64."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", regcore.ConvergenceWarning)
        result = regcore.fit(
            problem.objective(loss),
            tol=OPTIMUM_TOL,
            max_iter=MAX_ITER,
            dtype=np.float64,
            fit_intercept=problem.task.intercept,
            random_state=0,
            callbacks=lambda state: state.seconds > cap,
        )
    return float(result.value)
