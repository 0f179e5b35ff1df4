"""`fit`: checks what was asked for, drives a solver, and turns its end into a `FitResult`."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore.solvers.protocol import ProblemToSolve, Step
from regcore.solvers.registry import Solver, resolve_solver
from regcore.solvers.result import ConvergenceWarning, FitResult, FitState, HistoryEntry

if TYPE_CHECKING:
    import numpy.typing as npt

    from regcore.solvers.protocol import ObjectiveLike

    Array: TypeAlias = npt.NDArray[Any]
    Callback: TypeAlias = Callable[[FitState], object]

__all__ = ["fit"]

_COMPUTED_IN_FLOAT32 = {np.dtype(name) for name in ("float32", "float16", "uint8", "int8", "bool")}


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
    random_state: int | np.random.Generator | None = None,
    **solver_options: Any,
) -> FitResult:
    """Minimise an objective over W and b.

    Parameters
    ----------
    objective : Objective
    solver : {"auto", "fista", "dual", "sgd"}, default="auto"
        "fista": accelerated proximal gradient, for smooth losses. "dual": dual coordinate ascent to a duality
        gap, for the hinges. "sgd": mini-batch proximal stochastic gradient, for every loss. "auto": "fista"
        for smooth losses, "dual" for the hinges; the result says which.
    tol : float, default=1e-4
        When to stop; what it is compared with depends on the solver and is relative in each. None or 0:
        never, the fit runs for `max_iter` iterations.
    max_iter : int, default=None
        Most iterations ("sgd": epochs). None: 1000 for "fista" and "dual", 100 for "sgd".
    init : (W, b), ndarray W, or FitResult, default=None
        Where to start; copied. None: zeros.
    fit_intercept : bool, default=True
        Whether there is a b at all.
    dtype : {float32, float64}, default=None
        Type of the computation, and of W. None: that of `init`; without one float32 for float32, float16,
        bool and 8-bit data, otherwise float64.
    callbacks : callable or iterable of callables, default=()
        Each is called after every iteration with a `FitState`, and stops the fit by returning True.
    random_state : int, Generator, RandomState or None, default=None
        Seed of what is random ("dual", "sgd": the order of the samples). None: a different one each time.
    **solver_options
        Options of the solver, by name: see `regcore.solvers.fista.fista`, `regcore.solvers.dual.dual` and
        `regcore.solvers.sgd.sgd`.

    Returns
    -------
    FitResult

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it may be, or the solver cannot handle the objective.

    Warns
    -----
    ConvergenceWarning
        Once, if `max_iter` came before `tol` was reached, if the solver could not get on, or after an
        interrupt.

    Notes
    -----
    A KeyboardInterrupt ends the fit, not the program: the result is the state that had been reached, with
    ``converged=False``.
    """
    if objective.n_models is not None:
        raise ValueError(f"fit takes one model; the objective is a stack of {objective.n_models}")
    chosen = resolve_solver(solver, objective)
    _check_options(chosen, solver_options)
    calls = _callbacks(callbacks)
    limit = _max_iter(max_iter, chosen)
    W, b = _start(objective, init, fit_intercept, dtype)
    problem = ProblemToSolve(objective, W, b, _tol(tol), limit, _seed(random_state))
    steps = None

    start = time.perf_counter()
    history: list[HistoryEntry] = []
    last = Step(W, b, math.nan, 0.0)
    zeros = np.zeros(W.shape[0], W.dtype)
    converged, warn, message = False, True, ""
    try:
        steps = chosen.function(problem, **solver_options)
        while len(history) < limit:
            try:
                last = next(steps)
            except StopIteration as end:
                converged, message = end.value.converged, end.value.message
                warn = not converged
                break
            seconds = time.perf_counter() - start
            entry = HistoryEntry(
                len(history) + 1, last.value, last.dual_gap, last.residual, last.n_passes, seconds
            )
            history.append(entry)
            if calls and _stopped_by(calls, _state(entry, last, chosen, limit, zeros)):
                message, warn = f"stopped by a callback after {len(history)} iterations", False
                break
        else:
            message, warn = f"ran for max_iter={limit} iterations", problem.tol is not None
            if warn:
                message = _gave_up(chosen, limit, last, problem.tol)
        if last.value_is_estimate:
            last = replace(last, value=float(objective.value(last.W, last.b)), n_passes=last.n_passes + 1)
    except KeyboardInterrupt:
        converged, warn = False, True
        message = f"interrupted after {len(history)} iterations; this is the state reached so far"
    finally:
        if steps is not None:
            steps.close()
    if warn:
        warnings.warn(f"solver={chosen.name!r}: {message}", ConvergenceWarning, stacklevel=2)
    return FitResult(
        W=last.W,
        b=zeros if last.b is None else last.b,
        value=last.value,
        dual_gap=last.dual_gap,
        residual=last.residual,
        n_iter=len(history),
        n_passes=last.n_passes,
        history=history,
        converged=converged,
        message=message,
        solver=chosen.name,
    )


def _gave_up(solver: Solver, max_iter: int, last: Step, tol: float | None) -> str:
    reached = ""
    if last.dual_gap is not None:
        reached = f", with a dual gap of {last.dual_gap:.2g} at value {last.value:.6g}"
    elif last.residual is not None:
        reached = f", with a relative residual of {last.residual:.2g}"
    return f"max_iter={max_iter} came before tol={tol:g} was reached{reached}; {solver.remedy}"


def _state(entry: HistoryEntry, step: Step, solver: Solver, max_iter: int, zeros: Array) -> FitState:
    return FitState(
        *entry,
        solver=solver.name,
        max_iter=max_iter,
        W=_read_only(step.W),
        b=_read_only(zeros if step.b is None else step.b),
    )


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def _stopped_by(callbacks: tuple[Callback, ...], state: FitState) -> bool:
    # every callback sees every iteration, also the one that another stops at
    answers = [bool(callback(state)) for callback in callbacks]
    return any(answers)


# ---------------------------------------------------------------------- arguments


def _callbacks(callbacks: Callback | Iterable[Callback]) -> tuple[Callback, ...]:
    found = (callbacks,) if callable(callbacks) else tuple(callbacks)
    for callback in found:
        if not callable(callback):
            raise TypeError(f"callbacks must be callable with one argument; got {type(callback).__name__}")
    return found


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
        real = np.dtype(np.float32 if objective.data_dtype in _COMPUTED_IN_FLOAT32 else np.float64)
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
