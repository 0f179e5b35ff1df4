"""Where samples are few beside features: the solution in the coordinates of the row space, to start from.

With no penalty or L2 the problem in these coordinates (`regcore.row_space`) has the same minimum and
is a small one. What is found goes back to W with rounding, so it is the start of a fit and not its end.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore.solvers.driving import answered, last_step
from regcore.solvers.protocol import Outcome, ProblemToSolve, Request, Step

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["RowSpaceSolution", "has_few_samples", "row_space_solution"]

_FEW_SAMPLES, _FEW_BESIDE_FEATURES = 600, 0.5
_STEPS, _TOL = 200, 0.1  # at most, and of tol


@dataclass(frozen=True, slots=True)
class RowSpaceSolution:
    """Weights, intercepts, and the passes over X that it took to go there and back."""

    W: Array
    b: Array | None
    n_passes: int


def has_few_samples(problem: ProblemToSolve) -> bool:
    """Return whether the row space is so small, and the penalty such, that a fit begins there."""
    objective, penalty = problem.objective, problem.objective.penalty
    return (
        problem.tol is not None
        and (penalty is None or not (penalty.l1 or penalty.group))
        and objective.n_samples <= min(_FEW_SAMPLES, _FEW_BESIDE_FEATURES * objective.n_features)
        and hasattr(objective, "_row_space")
    )


def row_space_solution(
    problem: ProblemToSolve,
    W: Array,
    b: Array | None,
    solver: Callable[[ProblemToSolve], Generator[Step | Request, Any, Outcome]],
) -> RowSpaceSolution:
    """Run `solver` in the coordinates of the row space from W and b, which for it are small in any type."""
    objective = problem.objective
    space = objective._row_space()
    n_passes = space.n_passes + 1
    V = np.zeros((len(W), objective.n_samples))
    if W.any():
        V = space.coordinates(W)
        n_passes += 1
    start_b = None if b is None else b.astype(np.float64)
    tol = _TOL * (problem.tol or 0.0)
    small = ProblemToSolve(objective._in_row_space(), V, start_b, tol, _STEPS, problem.seed)
    last = answered(last_step(solver(small), small), small.objective)
    return RowSpaceSolution(space.weights(last.W), last.b, n_passes)
