"""Callbacks for `fit`: a stop when a validation value no longer falls, and a line on how far the fit is.

Any callable that takes a `FitState` is a callback. It may have two kinds of methods besides:
``state_dict()`` and ``load_state_dict(mapping)``, whose mapping of names to arrays and numbers is kept in
checkpoints, and ``finish(result)``, which is called once with the `FitResult`.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore.solvers.arguments import integer, real
from regcore.solvers.protocol import Step

if TYPE_CHECKING:
    from typing import TextIO

    import numpy.typing as npt

    from regcore.solvers.protocol import ObjectiveLike
    from regcore.solvers.result import FitResult, FitState, HistoryEntry

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["EarlyStopping", "Progress"]


class EarlyStopping:
    """Stop a fit when a validation value has not fallen for a while, and return the best weights.

    Parameters
    ----------
    validation : Objective, callable or float, default=0.1
        What to watch, at W and b after every iteration: the value of an objective over other data (give it
        no penalty), or of a function ``validation(W, b)`` where less is better. A float in (0, 1) is the
        share of the samples that `fit` sets aside: their weights are zero in training, and the mean loss
        over them is the value. The share is drawn at random from every class alike; standardisation stays
        that of all samples.
    patience : int, default=10
        Iterations ("sgd": epochs) without an improvement before the fit ends.
    min_delta : float, default=0.0
        What counts as an improvement: a value that is less than the best one by more than this.
    random_state : int, default=0
        For drawing the share.

    Attributes
    ----------
    values : list of float
        The validation value after each iteration of the last fit.
    best_value : float
        The best of them; infinite before a fit.
    best_iteration : int
        Where it was, from 1 on; 0 before a fit.

    Notes
    -----
    However the fit ends, it returns the weights of the best iteration. The evaluations are not counted as
    passes.

    Examples
    --------
    >>> import numpy as np, regcore
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.standard_normal((200, 30)), rng.integers(0, 2, 200)
    >>> result = regcore.fit(regcore.Objective(X, y), early_stopping=regcore.EarlyStopping(0.2, patience=5))
    >>> result.message.startswith("the validation value has not fallen for 5 iterations")
    True
    """

    def __init__(
        self,
        validation: ObjectiveLike | Callable[[Array, Array], float] | float = 0.1,
        *,
        patience: int = 10,
        min_delta: float = 0.0,
        random_state: int = 0,
    ) -> None:
        self._share, self._given = _share_or_function(validation)
        self.validation = validation
        self.patience = integer("patience", patience)
        self.min_delta = real("min_delta", min_delta, least=0)
        self.random_state = integer("random_state", random_state, least=0)
        self._watched: Callable[[Array, Array], float] | None = None
        self._forget()

    def _forget(self) -> None:
        self.values: list[float] = []
        self.best_value = math.inf
        self.best_iteration = 0
        self._best: tuple[Array, Array] | None = None

    def _begin(self, objective: ObjectiveLike) -> ObjectiveLike:
        """Forget the last fit; return the objective to train on. Called by `fit`."""
        self._forget()
        self._watched = self._given
        if self._share is None:
            return objective
        if not hasattr(objective, "_split"):
            raise TypeError(
                "early_stopping: to set a share of the samples aside takes an Objective over data in memory; "
                "give a validation objective"
            )
        training: ObjectiveLike
        training, self._watched = objective._split(self._share, self.random_state)
        return training

    def __call__(self, state: FitState) -> bool:
        """Note the validation value; return whether to stop."""
        if self._watched is None:
            raise TypeError("EarlyStopping is for `early_stopping` of fit, not for its callbacks")
        value = float(self._watched(state.W, state.b))
        self.values.append(value)
        if value < self.best_value - self.min_delta or self._best is None:
            self.best_value, self.best_iteration = value, state.iteration
            self._best = state.W.copy(), state.b.copy()
        return self._is_over

    def _restored(self, last: Step, history: list[HistoryEntry]) -> Step:
        """Return the best step in the place of the last one. Called by `fit`."""
        if self._best is None or self.best_iteration == len(history):
            return last
        entry = history[self.best_iteration - 1]
        W, b = self._best
        return replace(
            last,
            W=W,
            b=None if last.b is None else b,
            value=entry.value,
            dual_gap=entry.dual_gap,
            residual=entry.residual,
        )

    @property
    def _is_over(self) -> bool:
        """Whether the patience is at its end."""
        return len(self.values) - self.best_iteration >= self.patience

    @property
    def _reason(self) -> str:
        """What the message of a fit says that ended for that."""
        return f"the validation value has not fallen for {self.patience} iterations"

    @property
    def _account(self) -> str:
        """What the message of the fit says of its weights."""
        return (
            f"these are the weights of iteration {self.best_iteration}, with the best validation value, "
            f"{self.best_value:.6g}"
        )

    def _describe(self) -> list[Any]:
        """Return what must be the same for a fit to be resumed."""
        return [self._share, self.patience, self.min_delta, self.random_state]

    def state_dict(self) -> Mapping[str, Any]:
        """Return what a resumed fit needs."""
        state = {"values": np.array(self.values), "best_iteration": self.best_iteration}
        if self._best is not None:
            state |= {"W": self._best[0], "b": self._best[1]}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self.values = state["values"].tolist()
        self.best_iteration = int(state["best_iteration"])
        if "W" in state:
            self._best = state["W"], state["b"]
            self.best_value = self.values[self.best_iteration - 1]


def _share_or_function(validation: Any) -> tuple[float | None, Callable[[Array, Array], float] | None]:
    if isinstance(validation, Real):
        share = real("validation", validation, above=0, below=1)
        return share, None
    if callable(validation):
        return None, validation
    if hasattr(validation, "value"):
        return None, validation.value
    raise TypeError(
        "validation must be an Objective, a function of W and b, or a share of the samples; "
        f"got {type(validation).__name__}"
    )


class Progress:
    """Write how far a fit is: one line, rewritten on a terminal, otherwise a new one each time.

    Parameters
    ----------
    stream : text stream, default=None
        Where to write; None: ``sys.stderr``.
    every : float, default=0.5
        Least seconds between two lines; the first iteration and the end are always written.
    """

    def __init__(self, stream: TextIO | None = None, *, every: float = 0.5) -> None:
        if stream is not None and not hasattr(stream, "write"):
            raise TypeError(f"stream must have a method write; got {type(stream).__name__}")
        self.stream = stream
        self.every = real("every", every, least=0)
        self._next = -math.inf
        self._width = 0

    def __call__(self, state: FitState) -> None:
        """Write a line if it is time."""
        now = time.perf_counter()
        if now >= self._next:
            self._next = now + self.every
            self._write(f"{state.solver}: {_figures(state, f'{state.iteration}/{state.max_iter}')}")

    def finish(self, result: FitResult) -> None:
        """Write the last line."""
        seconds = result.history[-1].seconds if result.history else 0.0
        self._write(f"{result.solver}: {_figures(result, str(result.n_iter), seconds)}; {result.message}")
        if self._width:
            self._out.write("\n")
        self._out.flush()
        self._next, self._width = -math.inf, 0

    @property
    def _out(self) -> TextIO:
        return sys.stderr if self.stream is None else self.stream

    def _write(self, line: str) -> None:
        out = self._out
        is_terminal = getattr(out, "isatty", None)
        if is_terminal is not None and is_terminal():
            out.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            out.write(line + "\n")
        out.flush()


def _figures(state: FitState | FitResult, iterations: str, seconds: float | None = None) -> str:
    parts = [f"iteration {iterations}", f"value {state.value:.6g}"]
    if state.dual_gap is not None:
        parts.append(f"gap {state.dual_gap:.2g}")
    if state.residual is not None:
        parts.append(f"residual {state.residual:.2g}")
    elapsed = state.seconds if seconds is None else seconds  # type: ignore[union-attr]
    return ", ".join([*parts, f"{state.n_passes:.4g} passes", f"{elapsed:.1f} s"])
