"""What a solver is: a generator over an objective, which yields a `Step` after every iteration.

A solver is a generator function

    def solver(problem: ProblemToSolve, *, option=default, ...) -> Generator[Step, None, Outcome]

It evaluates ``problem.objective`` (never touching the data itself), yields the state it has reached after
every iteration, and returns an `Outcome` when its criterion is met or nothing more can be gained. Everything
else (limits on iterations, history, callbacks, interrupts, warnings) happens once, in
`regcore.solvers.run.fit`.

Arrays. ``problem.W`` and ``problem.b`` belong to the solver, which may write into them. The arrays of the
last step that was yielded (before the first: ``problem.W`` and ``problem.b``) are what the fit returns,
whenever and however it ends: a KeyboardInterrupt may be raised in every line of a solver, so it must leave
those arrays a consistent pair at every point, and overwrite them only after the next step has been yielded,
or in one call of the core.

Checkpoints. Every step carries a function, ``Step.state``, that returns what the solver needs besides W and b
to go on from there as though it had never stopped: a flat mapping of names to arrays and numbers (no None: a
name may be left out). `fit` calls it only when a checkpoint is due, right after the step or once the solver
has converged, so it may return the solver's own arrays; between a step and the converged `Outcome` that
follows it nothing of the state may change. A solver that is given such a mapping as ``problem.resume`` (with
``problem.W`` and ``problem.b`` those of the step) must yield, bit for bit, the steps that would have come
next, or return the same outcome at once if none would have. That comes by itself if the loop's head is where
it decides to end:

    run = first_state() if problem.resume is None else state_from(problem.resume)
    while not run.has_ended:
        ...                                            # an iteration: changes run, W and b
        yield Step(W, b, value, run.n_passes, state=run.mapping)
    return Outcome(...)                                # from run alone

Requests. A pass over the data may also be asked for by yielding a `Request` in the place of a step; the
answer is the value of the yield expression, or an OverflowError where scores overflow:

    value, grad_W, grad_b = yield Evaluation(W, b)

A lone fit answers at once. A sweep collects the requests of many fits and answers all of a kind in one
pass (`regcore.sweeps`), which is why a solver should ask instead of calling the objective.

The state must include ``n_passes``. What can be computed again from the data, the options and the seed, bit
for bit, need not be in it. A decision that depends on `tol` belongs into the loop's head too, because a fit
may be resumed with another one. Limits on iterations, history and callbacks are resumed by `fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from regcore.losses import Loss
    from regcore.penalties import Penalty
    from regcore.row_space import RowSpace
    from regcore.solvers.curvature import Curvature

    Array: TypeAlias = npt.NDArray[Any]
    State: TypeAlias = Mapping[str, Any]  # arrays and numbers

__all__ = [
    "Bound",
    "Centring",
    "Evaluation",
    "ObjectiveLike",
    "Outcome",
    "ProblemToSolve",
    "Request",
    "SolverFunction",
    "Step",
]


class ObjectiveLike(Protocol):
    """What a solver may ask of an objective; `regcore.Objective` is one.

    ``value``, ``value_and_grad`` and ``smooth_value_and_grad`` cost one pass over the data each.
    """

    @property
    def loss(self) -> Loss:
        """The loss."""

    @property
    def penalty(self) -> Penalty | None:
        """The penalty R, or None."""

    @property
    def n_samples(self) -> int:
        """Rows of the data."""

    @property
    def n_features(self) -> int:
        """Columns of the data, and of W."""

    @property
    def n_outputs(self) -> int:
        """Rows of W."""

    @property
    def n_models(self) -> int | None:
        """Models of a stack, or None."""

    @property
    def data_dtype(self) -> np.dtype[Any]:
        """Type in which the data is stored."""

    @property
    def n_threads(self) -> int:
        """At most so many threads; 0: all."""

    def value(self, W: Any, b: Any = None) -> Any:
        """Return data term + R(W)."""

    def value_and_grad(self, W: Any, b: Any = None, *, out: Any = None) -> Any:
        """Return data term + R(W) and its gradient."""

    def smooth_value_and_grad(self, W: Any, b: Any = None, *, out: Any = None) -> Any:
        """Return data term + L2 part of R and its gradient."""

    def _data_term(self, W: Any, b: Any) -> tuple[Any, Array, Array]:
        """Return the data term and its gradient. One pass."""

    def _column_moments(self) -> tuple[Array, Array]:
        """Return the weighted means and mean squares of the features. One pass."""

    def _dense_rows(self, rows: Array, dtype: Any, out: Any = None) -> Array:
        """Return some rows of the data as a dense array: `out`, or a new one."""

    def _row_space(self) -> RowSpace:
        """Return coordinates of the row space of the data: several passes, once for all calls."""

    def _in_row_space(self) -> ObjectiveLike:
        """Return the same objective in those coordinates."""

    def _loss_curvature(self, W: Any, b: Any, rows: Array) -> tuple[Array, float]:
        """Return the second derivatives of the losses of some rows in their scores, and the rows' weight."""

    def _margin_curvature(self, W: Any, b: Any, rows: Array) -> Array:
        """Return the second derivatives of squared_hinge in each two scores, for some rows."""

    def _separates(self, W: Any, b: Any) -> bool:
        """Return whether no loss bounds W because it separates all classes. One pass."""

    def _centred(self, W: Any, b: Any, grad_b: Any) -> Any:
        """Return the intercepts after a Newton step in them alone. One pass."""

    def _certificate(
        self, W: Any, b: Any = None, value: Any = None, grad: Any = None, dual: Any = None
    ) -> Any:
        """Return the duality gap. One pass, given value and gradient."""

    def _stationarity(self, W: Any, b: Any = None, grad: Any = None) -> Any:
        """Return the relative norm of the least subgradient."""


@dataclass(frozen=True, slots=True)
class ProblemToSolve:
    """What `fit` hands to a solver.

    Attributes
    ----------
    objective : ObjectiveLike
    W : ndarray of shape (n_outputs, n_features)
        Where to start; C-contiguous, in the type of the computation, and the solver's to write into.
    b : ndarray of shape (n_outputs,) or None
        The same of the intercept; None: there is none.
    tol : float or None
        Tolerance of the solver's own criterion; None: go on for ever (`fit` counts the iterations).
    max_iter : int
        After so many steps `fit` stops asking.
    seed : int
        For everything random, in [0, 2**63).
    resume : mapping of names to arrays and numbers, or None
        What `Step.state` gave at the step to go on from: new arrays, the solver's to keep; arrays come back
        with their dtype and shape, numbers as float or int. None: start.
    curvature : Curvature or None
        A model of the second derivatives that somebody else has made, to begin with.
    """

    objective: ObjectiveLike
    W: Array
    b: Array | None
    tol: float | None
    max_iter: int
    seed: int
    resume: State | None = None
    curvature: Curvature | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A solver's state after an iteration.

    Attributes
    ----------
    W, b : ndarray
        The iterate (b: None without an intercept). The arrays may be the solver's own.
    value : float
        Objective at W and b, or the solver's best estimate of it.
    n_passes : float
        Passes over the data up to now.
    dual_gap : float or None
        Upper bound of value - minimum, if the solver has one.
    residual : float or None
        Relative norm of the optimality residual, if the solver has one: what it compares with `tol`.
    value_is_estimate : bool
        `value` was not evaluated at W and b: `fit` does that once, at the end.
    state : callable or None
        Returns the solver's state as a mapping, for a checkpoint: see the module's description.
    """

    W: Array
    b: Array | None
    value: float
    n_passes: float
    dual_gap: float | None = None
    residual: float | None = None
    value_is_estimate: bool = False
    state: Callable[[], State] | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Asks for the data term at W and b: (value, grad_W, grad_b). One pass."""

    W: Array
    b: Array | None

    def answer(self, objective: ObjectiveLike) -> Any:
        """Return the answer of one objective, or those of a stack where the attributes are stacks."""
        return objective._data_term(self.W, self.b)


@dataclass(frozen=True, slots=True)
class Centring:
    """Asks for the intercepts after a Newton step in them alone; `grad_b`: the data term's slopes there."""

    W: Array
    b: Array | None
    grad_b: Array

    def answer(self, objective: ObjectiveLike) -> Any:
        """Return the answer of one objective, or those of a stack where the attributes are stacks."""
        return objective._centred(self.W, self.b, self.grad_b)


@dataclass(frozen=True, slots=True)
class Bound:
    """Asks for the duality gap where the objective is `value`, and its data term has the gradient given."""

    W: Array
    b: Array | None
    value: Any
    grad_W: Array  # noqa: N815
    grad_b: Array

    def answer(self, objective: ObjectiveLike) -> Any:
        """Return the answer of one objective, or those of a stack where the attributes are stacks."""
        return objective._certificate(self.W, self.b, self.value, (self.grad_W, self.grad_b))


Request: TypeAlias = Evaluation | Centring | Bound


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a solver ended by itself.

    Attributes
    ----------
    converged : bool
        Whether the criterion that the solver documents is met.
    message : str
        One sentence on what happened, and, unless converged, on what to change.
    """

    converged: bool
    message: str


# A generator function of the kind described above; its options are keyword-only.
SolverFunction: TypeAlias = Callable[..., Generator[Step | Request, Any, Outcome]]
