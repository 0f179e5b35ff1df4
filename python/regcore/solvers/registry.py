"""The solvers by name, what each can handle, and the one place that chooses among them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regcore.losses import Loss
from regcore.solvers.curvature import block_count
from regcore.solvers.dual import dual
from regcore.solvers.dual_cross_entropy import has_probabilities, work_per_sample
from regcore.solvers.fista import fista
from regcore.solvers.newton_cd import newton_cd
from regcore.solvers.newton_matrix import has_matrix
from regcore.solvers.quasi_newton import quasi_newton
from regcore.solvers.sgd import sgd

if TYPE_CHECKING:
    from collections.abc import Callable

    from regcore.solvers.protocol import ObjectiveLike, SolverFunction

_SAMPLES_PER_FEATURE = 4  # up to which "newton-cd" is the faster one
_MOST_WORK = 100.0  # of a sample's step in the dual, for "dual" to be the faster one on CSR

__all__ = ["SOLVERS", "Solver", "choose", "resolve_solver"]


@dataclass(frozen=True, slots=True)
class Solver:
    """A registered solver.

    Attributes
    ----------
    name : str
    function : SolverFunction
    max_iter : int
        Default of `fit`'s `max_iter`.
    handles : callable
        ``handles(objective)`` is whether the solver converges on it; `requirement` says what it needs.
    requirement : str
    remedy : str
        What to change when `max_iter` came before the criterion.
    asks : bool
        Whether its passes are requests, which a sweep can answer together.
    """

    name: str
    function: SolverFunction
    max_iter: int
    handles: Callable[[ObjectiveLike], bool]
    requirement: str
    remedy: str
    asks: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the solver's own options."""
        parameters = inspect.signature(self.function).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


_SMOOTH_LOSS = "a smooth loss (cross_entropy or squared_hinge)"
_SCALING = "raise max_iter or tol, or bring the features to a common scale"


def _has_smooth_loss(objective: ObjectiveLike) -> bool:
    return objective.loss.is_smooth


def _has_dual_ascent(objective: ObjectiveLike) -> bool:
    return objective.loss in (Loss.HINGE, Loss.CRAMMER_SINGER) or has_probabilities(objective)


SOLVERS: dict[str, Solver] = {
    solver.name: solver
    for solver in (
        Solver(
            name="fista",
            function=fista,
            max_iter=1000,
            handles=_has_smooth_loss,
            requirement=_SMOOTH_LOSS,
            remedy=_SCALING,
        ),
        Solver(
            name="lbfgs",
            function=quasi_newton,
            max_iter=1000,
            handles=_has_smooth_loss,
            requirement=_SMOOTH_LOSS,
            remedy=_SCALING,
            asks=True,
        ),
        Solver(
            name="newton-cd",
            function=newton_cd,
            max_iter=1000,
            handles=_has_smooth_loss,
            requirement=_SMOOTH_LOSS,
            remedy=_SCALING,
        ),
        Solver(
            name="dual",
            function=dual,
            max_iter=1000,
            handles=_has_dual_ascent,
            requirement="a hinge loss (hinge or crammer_singer), or cross_entropy of labels with an L2 part",
            remedy=_SCALING,
        ),
        Solver(
            name="sgd",
            function=sgd,
            max_iter=100,
            handles=lambda objective: True,
            requirement="nothing",
            remedy="raise max_iter or tol (tol=None runs max_iter epochs without a word)",
        ),
    )
}


def choose(objective: ObjectiveLike) -> str:
    """Return the solver that ``solver="auto"`` means.

    "dual" for the hinges, and for cross_entropy of several outputs with L2 on CSR with many features, unless
    the penalty is so weak that a sample's step in the dual would be much work. For the other smooth ones
    "lbfgs", whose iterations are passes over the data, unless the penalty makes weights zero and the samples
    are few beside the features, or the features too many for a model of their curvature: there "newton-cd"
    is faster, whose sweeps cost the samples times the weights that are not zero. It is, too, for one output
    of a few hundred features that are not sparse, whose matrix of second derivatives it uses.
    """
    if not objective.loss.is_smooth:
        return "dual"
    penalty = objective.penalty
    has_kink = penalty is not None and (penalty.l1 > 0 or penalty.group > 0)
    if not has_kink and _is_easy_in_the_dual(objective):
        return "dual"
    in_memory = hasattr(objective, "_coordinate_descent")
    few = objective.n_samples <= _SAMPLES_PER_FEATURE * objective.n_features
    has_model = block_count(objective, objective.n_features) > 0  # of the curvature, for lbfgs
    fits_newton = few or not has_model or (in_memory and has_matrix(objective))
    return "newton-cd" if has_kink and in_memory and fits_newton else "lbfgs"


def _is_easy_in_the_dual(objective: ObjectiveLike) -> bool:
    """Whether the samples' own steps in the dual beat a method that needs a model of all features."""
    return (
        has_probabilities(objective)
        and objective.n_outputs > 1
        and objective._is_sparse  # type: ignore[attr-defined]
        and block_count(objective, objective.n_features) < objective.n_outputs
        and work_per_sample(objective) <= _MOST_WORK
    )


def resolve_solver(name: str, objective: ObjectiveLike) -> Solver:
    """Return the solver of that name, once it is known to handle the objective.

    Raises
    ------
    TypeError, ValueError
        If there is no such solver, or it cannot handle the objective; the message names those that can.
    """
    if not isinstance(name, str):
        raise TypeError(
            f"solver must be a string, one of {_listed(['auto', *SOLVERS])}; got {type(name).__name__}"
        )
    if name == "auto":
        return SOLVERS[choose(objective)]
    if name not in SOLVERS:
        raise ValueError(f"solver must be one of {_listed(['auto', *SOLVERS])}; got {name!r}")
    solver = SOLVERS[name]
    if not solver.handles(objective):
        able = [other.name for other in SOLVERS.values() if other.handles(objective)]
        raise ValueError(
            f"solver={name!r} needs {solver.requirement}; for loss={objective.loss.label!r} "
            f"with penalty={objective.penalty!r} use {_listed(able)}"
        )
    return solver


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
