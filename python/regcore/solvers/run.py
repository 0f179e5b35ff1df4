"""`fit`: checks what was asked for, drives a solver, and turns its end into a `FitResult`."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore.solvers.callbacks import EarlyStopping
from regcore.solvers.checkpoint import Checkpoints, fingerprint_of_fit
from regcore.solvers.driving import answered, next_step
from regcore.solvers.protocol import Outcome, ProblemToSolve, Request, Step
from regcore.solvers.registry import Solver, resolve_solver
from regcore.solvers.result import ConvergenceWarning, FitResult, FitState, HistoryEntry

if TYPE_CHECKING:
    import numpy.typing as npt

    from regcore.solvers.curvature import Curvature
    from regcore.solvers.protocol import ObjectiveLike

    Array: TypeAlias = npt.NDArray[Any]
    Callback: TypeAlias = Callable[[FitState], object]

__all__ = ["Run", "compute_dtype", "fit", "start"]

_COMPUTED_IN_FLOAT32 = {np.dtype(name) for name in ("float32", "float16", "uint8", "int8", "bool")}


def compute_dtype(objective: ObjectiveLike) -> np.dtype[Any]:
    """Return the type in which `fit` computes if nothing else says it: that of small data is float32."""
    return np.dtype(np.float32 if objective.data_dtype in _COMPUTED_IN_FLOAT32 else np.float64)


def fit(
    objective: ObjectiveLike,
    *,
    solver: str = "auto",
    tol: float | None = 1e-4,
    max_iter: int | None = None,
    init: Any = None,
    fit_intercept: bool = True,
    dtype: Any = None,
    callbacks: Callback | Iterable[Callback] = (),
    early_stopping: EarlyStopping | None = None,
    random_state: int | np.random.Generator | np.random.RandomState | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 60.0,
    resume: str | os.PathLike[str] | bool = False,
    **solver_options: Any,
) -> FitResult:
    """Minimise an objective over W and b.

    Parameters
    ----------
    objective : Objective
    solver : {"auto", "fista", "lbfgs", "newton-cd", "dual", "sgd"}, default="auto"
        For smooth losses "fista": accelerated proximal gradient, "lbfgs": quasi-Newton, and "newton-cd":
        proximal Newton steps by coordinate descent on a working set, or by the matrix of second derivatives.
        For the hinges, and for cross_entropy with an L2 part, "dual": dual coordinate ascent. All of these
        end with a duality gap, or with the residual if there is no penalty. "sgd": mini-batch proximal
        stochastic gradient, for every loss. "auto": "dual" for the hinges and for cross_entropy with L2 on
        text, "newton-cd" where a penalty makes weights zero and the samples are few beside the features, the
        features many, or there is one output of some hundred dense features, else "lbfgs"; the result says
        which.
    tol : float, default=1e-4
        When to stop; what it is compared with depends on the solver and is relative in each. None or 0:
        never, the fit runs for `max_iter` iterations.
    max_iter : int, default=None
        Most iterations ("sgd": epochs). None: 100 for "sgd", 1000 for the others.
    init : (W, b), ndarray W, or FitResult, default=None
        Where to start; copied. None: zeros.
    fit_intercept : bool, default=True
        Whether there is a b at all.
    dtype : {float32, float64}, default=None
        Type of the computation, and of W. None: that of `init`; without one float32 for float32, float16,
        bool and 8-bit data, otherwise float64.
    callbacks : callable or iterable of callables, default=()
        Each is called after every iteration with a `FitState`, and stops the fit by returning True;
        `Progress` is one.
    early_stopping : EarlyStopping, default=None
        Watches a validation value, stops the fit when it no longer falls, and gives it its best weights.
    random_state : int, Generator, RandomState or None, default=None
        Seed of what is random ("dual" with the hinges, "sgd": the order of the samples). None: a different
        one each time.
    checkpoint : path, default=None
        File to which the state of the fit is written now and then, and at its end: see Notes.
    checkpoint_every : float, default=60.0
        Seconds between two checkpoints; 0: one after every iteration.
    resume : path or bool, default=False
        Checkpoint to go on from. True: `checkpoint` itself if that file is there, otherwise the fit starts
        anew, so that the same call serves for the first run and for all that follow.
    **solver_options
        Options of the solver, by name: see `regcore.solvers.fista.fista`, `regcore.solvers.dual.dual` and
        `regcore.solvers.sgd.sgd`.

    Returns
    -------
    FitResult

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it may be, the solver cannot handle the objective, or the file to resume
        from is damaged, is no checkpoint, or one of another fit.
    OSError
        If no file can be made at `checkpoint`, or none can be read at `resume`.

    Warns
    -----
    ConvergenceWarning
        Once, if `max_iter` came before `tol` was reached, if the solver could not get on, or after an
        interrupt.
    RuntimeWarning
        If a checkpoint could not be written, say to a full disk. The fit goes on, and tries again when the
        next one is due; the last good checkpoint stays where it is.

    Notes
    -----
    A KeyboardInterrupt ends the fit, not the program: the result is the state that had been reached, with
    ``converged=False``.

    A fit that goes on from a checkpoint ends where the fit that wrote it would have ended, bit for bit (the
    seconds apart), on the same kind of CPU. The arguments must be those of that fit, which a fingerprint of
    the problem, the solver and its options checks; only `tol`, `max_iter` and callbacks without a state may
    differ, and `init` and `random_state` are not read. A checkpoint appears under its name when it is whole:
    a fit that is killed, whenever it is, leaves the last one. One that converged, came to `max_iter` or was
    stopped by a callback leaves its end; after an interrupt, or if the solver could not get on, the last
    checkpoint that was due stands. A new fit replaces a file that is there already.

    A callback may have a state of its own to be kept: a method ``state_dict()`` that returns a mapping of
    names to arrays and numbers, and a method ``load_state_dict(mapping)`` that takes it back; and a method
    ``finish(result)``, called when the fit is over.
    """
    run = start(
        objective,
        solver=solver,
        tol=tol,
        max_iter=max_iter,
        init=init,
        fit_intercept=fit_intercept,
        dtype=dtype,
        callbacks=callbacks,
        early_stopping=early_stopping,
        random_state=random_state,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        resume=resume,
        solver_options=solver_options,
    )
    run.go_alone()
    if run.must_warn:
        warnings.warn(f"solver={run.solver.name!r}: {run.message}", ConvergenceWarning, stacklevel=2)
    return run.result()


def start(
    objective: ObjectiveLike,
    *,
    solver: str = "auto",
    tol: float | None = 1e-4,
    max_iter: int | None = None,
    init: Any = None,
    fit_intercept: bool = True,
    dtype: Any = None,
    callbacks: Callback | Iterable[Callback] = (),
    early_stopping: EarlyStopping | None = None,
    random_state: int | np.random.Generator | np.random.RandomState | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 60.0,
    resume: str | os.PathLike[str] | bool = False,
    curvature: Curvature | None = None,
    solver_options: Mapping[str, Any] | None = None,
) -> Run:
    """Check the arguments of a `fit` and return it, not yet begun.

    `curvature` is a model of the data term's second derivatives to begin with, for solvers that use one.
    """
    options = solver_options or {}
    if objective.n_models is not None:
        raise ValueError(f"fit takes one model; the objective is a stack of {objective.n_models}")
    chosen = resolve_solver(solver, objective)
    _check_options(chosen, options)
    calls = _callbacks(callbacks)
    if early_stopping is not None:
        objective = _checked_early_stopping(early_stopping)._begin(objective)
        calls = (early_stopping, *calls)
    limit = _max_iter(max_iter, chosen)
    W, b = _start(objective, init, fit_intercept, dtype)
    problem = ProblemToSolve(objective, W, b, _tol(tol), limit, _seed(random_state), curvature=curvature)
    checkpoints = Checkpoints(
        checkpoint,
        checkpoint_every,
        resume,
        calls,
        lambda: fingerprint_of_fit(
            objective,
            chosen.name,
            options,
            W,
            fit_intercept,
            None if early_stopping is None else early_stopping._describe(),
        ),
    )
    return Run(chosen, options, problem, calls, early_stopping, checkpoints)


class Run:
    """A fit under way: the solver's steps, what is recorded of them, and how it ended."""

    def __init__(
        self,
        solver: Solver,
        options: Mapping[str, Any],
        problem: ProblemToSolve,
        callbacks: tuple[Callback, ...],
        early_stopping: EarlyStopping | None,
        checkpoints: Checkpoints,
    ) -> None:
        self.solver = solver
        self.options = options
        self.problem = problem
        self.callbacks = callbacks
        self.early_stopping = early_stopping
        self.checkpoints = checkpoints
        self.last = Step(problem.W, problem.b, math.nan, 0.0)
        self.history: list[HistoryEntry] = []
        self.stopped_by: list[Callback] = []
        self.is_stopped = False
        self.is_interrupted = False
        self.converged, self.must_warn, self.message = False, True, "interrupted before it began"
        self._zeros = np.zeros(problem.W.shape[0], problem.W.dtype)
        if (resumed := checkpoints.resumed) is not None:
            self.last, self.history, self.is_stopped = resumed.step, resumed.history, resumed.was_stopped
            self.problem = replace(
                problem, W=self.last.W, b=self.last.b, seed=resumed.seed, resume=resumed.state
            )
        self._start = time.perf_counter() - (self.history[-1].seconds if self.history else 0.0)

    def go_alone(self) -> None:
        """Run the fit to its end."""
        answered(self.go(), self.problem.objective)

    def go(self) -> Generator[Request, Any, None]:
        """Run the solver to its end, the limit, a callback's stop, or an interrupt; yield its requests."""
        steps = None
        try:
            steps = self.solver.function(self.problem, **self.options)
            outcome = yield from self._follow(steps)
            self._conclude(outcome)
            if self.converged or outcome is None:
                self.checkpoints.at_end(self.last, self.history, self.problem.seed, self.stopped_by)
            self._take_the_best()
            if self.last.value_is_estimate:
                value = float(self.problem.objective.value(self.last.W, self.last.b))
                self.last = replace(self.last, value=value, n_passes=self.last.n_passes + 1)
        except KeyboardInterrupt:
            self.is_interrupted = True
            self.converged, self.must_warn = False, True
            n_iter = len(self.history)
            self.message = f"interrupted after {n_iter} iterations; this is the state reached so far"
            self._take_the_best()
        finally:
            if steps is not None:
                steps.close()
            self.last = replace(self.last, state=None)  # which holds all that the solver worked with
        best = 0 if self.early_stopping is None else self.early_stopping.best_iteration
        if self.early_stopping is not None and 0 < best < len(self.history):
            self.message += f"; {self.early_stopping._account}"

    def _follow(
        self, steps: Generator[Step | Request, Any, Outcome]
    ) -> Generator[Request, Any, Outcome | None]:
        """Record the steps; return the solver's outcome, or None if it could have gone on."""
        while len(self.history) < self.problem.max_iter and not self.is_stopped:
            step = yield from next_step(steps)
            if isinstance(step, Outcome):
                return step
            self.last = step
            seconds = time.perf_counter() - self._start
            iteration = len(self.history) + 1
            entry = HistoryEntry(iteration, step.value, step.dual_gap, step.residual, step.n_passes, seconds)
            self.history.append(entry)
            if self.callbacks:
                state = self._state(entry)
                # every callback sees every iteration, also the one that another stops at
                self.stopped_by = [callback for callback in self.callbacks if callback(state)]
                self.is_stopped = bool(self.stopped_by)
            if not self.is_stopped:
                self.checkpoints.after_step(step, self.history, self.problem.seed)
        return None

    def _conclude(self, outcome: Outcome | None) -> None:
        n_iter = len(self.history)
        if outcome is not None:
            self.converged, self.message = outcome.converged, outcome.message
            self.must_warn = not outcome.converged
        elif self.is_stopped:
            self.must_warn = False
            self.message = f"stopped by a callback after {n_iter} iterations"
            if self.early_stopping is not None and self.early_stopping._is_over:
                self.message = self.early_stopping._reason
        else:
            self.must_warn = self.problem.tol is not None
            self.message = f"ran for max_iter={self.problem.max_iter} iterations"
            if self.problem.tol is not None:
                self.message = _gave_up(self.solver, self.problem.max_iter, self.last, self.problem.tol)

    def _take_the_best(self) -> None:
        if self.early_stopping is not None:
            self.last = self.early_stopping._restored(self.last, self.history)

    def _state(self, entry: HistoryEntry) -> FitState:
        return FitState(
            *entry,
            solver=self.solver.name,
            max_iter=self.problem.max_iter,
            W=_read_only(self.last.W),
            b=_read_only(self._zeros if self.last.b is None else self.last.b),
        )

    def result(self) -> FitResult:
        """Return what has come of it, and tell the callbacks."""
        last = self.last
        result = FitResult(
            W=last.W,
            b=self._zeros if last.b is None else last.b,
            value=last.value,
            dual_gap=last.dual_gap,
            residual=last.residual,
            n_iter=len(self.history),
            n_passes=last.n_passes,
            history=self.history,
            converged=self.converged,
            message=self.message,
            solver=self.solver.name,
        )
        for callback in self.callbacks:
            if hasattr(callback, "finish"):
                callback.finish(result)
        return result


def _gave_up(solver: Solver, max_iter: int, last: Step, tol: float) -> str:
    reached = ""
    if last.dual_gap is not None:
        reached = f", with a dual gap of {last.dual_gap:.2g} at value {last.value:.6g}"
    elif last.residual is not None:
        reached = f", with a relative residual of {last.residual:.2g}"
    return f"max_iter={max_iter} came before tol={tol:g} was reached{reached}; {solver.remedy}"


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


# ---------------------------------------------------------------------- arguments


def _callbacks(callbacks: Callback | Iterable[Callback]) -> tuple[Callback, ...]:
    found = (callbacks,) if callable(callbacks) else tuple(callbacks)
    for callback in found:
        if not callable(callback):
            raise TypeError(f"callbacks must be callable with one argument; got {type(callback).__name__}")
    return found


def _checked_early_stopping(early_stopping: Any) -> EarlyStopping:
    if not isinstance(early_stopping, EarlyStopping):
        raise TypeError(
            f"early_stopping must be an EarlyStopping or None; got {type(early_stopping).__name__}"
        )
    return early_stopping


def _check_options(solver: Solver, options: Mapping[str, Any]) -> None:
    unknown = sorted(set(options) - set(solver.options))
    if unknown:
        raise TypeError(
            f"solver={solver.name!r} has no option {', '.join(map(repr, unknown))}; "
            f"its options are {', '.join(solver.options)}"
        )


def _max_iter(max_iter: Any, solver: Solver) -> int:
    if max_iter is None:
        return solver.max_iter
    if isinstance(max_iter, bool) or not isinstance(max_iter, Integral):
        raise TypeError(f"max_iter must be an integer or None; got {type(max_iter).__name__}")
    if max_iter < 1:
        raise ValueError(f"max_iter must be at least 1; got {max_iter}")
    return int(max_iter)


def _tol(tol: Any) -> float | None:
    if tol is None:
        return None
    if isinstance(tol, bool) or not isinstance(tol, Real):
        raise TypeError(f"tol must be a real number or None; got {type(tol).__name__}")
    number = float(tol)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"tol must be finite and >= 0; got {tol}")
    return number or None


def _seed(random_state: Any) -> int:
    """A seed in [0, 2**63) from all that may be given as a random state."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, bool) or not isinstance(random_state, Integral):
        raise TypeError(
            f"random_state must be an integer, a Generator, a RandomState or None; "
            f"got {type(random_state).__name__}"
        )
    seed = int(random_state)
    if not 0 <= seed < 2**63:
        raise ValueError(f"random_state must be in [0, 2**63); got {seed}")
    return seed


def _start(
    objective: ObjectiveLike, init: Any, fit_intercept: bool, dtype: Any
) -> tuple[Array, Array | None]:
    """New arrays W and b to start from."""
    W = b = None
    if isinstance(init, FitResult):
        W, b = init.W, init.b
    elif isinstance(init, tuple):
        if len(init) != 2:
            raise ValueError(f"init must be a pair (W, b); got a tuple of {len(init)}")
        W, b = init
    elif init is not None:
        W = init
    if W is not None:
        W = np.asarray(W)
    if dtype is not None:
        real = np.dtype(dtype)
    elif W is not None and W.dtype.kind == "f":
        real = W.dtype
    else:
        real = compute_dtype(objective)
    if real != np.float32 and real != np.float64:
        raise TypeError(f"dtype must be float32 or float64; got {real}")
    shape = (objective.n_outputs, objective.n_features)
    start_W = np.zeros(shape, real) if W is None else _parameter("W", W, shape, real)
    if not fit_intercept:
        if b is not None and np.any(np.asarray(b) != 0):
            raise ValueError("init has an intercept that is not zero, and fit_intercept is False")
        return start_W, None
    start_b = np.zeros(shape[:1], real) if b is None else _parameter("b", b, shape[:1], real)
    return start_W, start_b


def _parameter(name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    array = np.array(value, dtype=dtype, order="C")
    if array.shape != shape:
        raise ValueError(f"init: {name} must have shape {shape}; got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"init: {name} must be finite")
    return array
