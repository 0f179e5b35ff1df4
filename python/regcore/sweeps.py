"""Sweeps: many models of one loss on the same data, that differ in penalty, strength and fold.

The models advance together: one pass over X serves all of them. A fold is a set of weights, zero for the
samples that it leaves out, so that no rows are copied. Solvers that ask for their passes (see
`regcore.solvers.protocol`) take part in that; the others run one model after the other.

The penalties of one kind form a chain, the strongest first, each of whose models starts where those before it
lead; the chains of all kinds and folds run side by side. With dense X the bits of a model depend on its own
chain alone, not on the others that are fitted beside it.

Chains that gain nothing from a common pass are shared out among threads instead, and each fit has one, or its
share of them if the chains are fewer: those of solvers that do not ask for passes, and those of CSR matrices
and many outputs, where a nonzero number already serves a whole vector of outputs.
"""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore import _core
from regcore.objective import Objective
from regcore.penalties import L2, Penalty
from regcore.solvers import ConvergenceWarning, FitResult
from regcore.solvers.curvature import Curvature, block_count
from regcore.solvers.newton_matrix import has_matrix
from regcore.solvers.registry import resolve_solver
from regcore.solvers.run import Run, compute_dtype, start

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy.typing as npt

    from regcore.losses import Loss
    from regcore.solvers.protocol import Request, Step

    Array: TypeAlias = npt.NDArray[Any]
    Folds: TypeAlias = int | Iterable[tuple[Any, Any]] | None

__all__ = ["SweepResult", "sweep"]

_GRADIENT_BYTES = 4 << 20  # of the models of one pass: the core gives each chunk of rows its own up to here
_SPARSE_GRADIENT_BYTES = 32 << 20
_MANY_OUTPUTS = 8  # a vector of them; with CSR, more models of such a kind in a pass save nothing
_LABELS = 1 << 22  # labels that are held at a time
_PILOT_STEPS = 12
_PILOT_STRENGTH = 1e-3  # of its L2 penalty, in mean squares of the features
_SHARED_COST = 64  # passes that the common curvature may cost; whatever the number of models, for their bits


@dataclass(frozen=True, slots=True)
class SweepResult:
    """The models of a sweep.

    Attributes
    ----------
    penalties : tuple of Penalty or None
        As they were given.
    results : list of list of FitResult
        ``results[p][k]`` of penalty p and fold k (k = 0 without folds).
    scores : ndarray of float64 of shape (n_penalties, n_folds), or None
        Accuracy on the samples that the fold leaves out, by their weights; None without folds.
    losses : ndarray of float64 of shape (n_penalties, n_folds), or None
        Mean loss, without the penalty, on those samples.
    predictions : ndarray of int32 of shape (n_penalties, n_samples), or None
        The label of each sample by the model whose fold leaves it out (the last such fold); -1: none does.
    """

    penalties: tuple[Penalty | None, ...]
    results: list[list[FitResult]]
    scores: Array | None
    losses: Array | None
    predictions: Array | None


def sweep(
    X: Any,
    y: Any,
    *,
    loss: str | Loss = "cross_entropy",
    penalties: Iterable[Penalty | None],
    folds: Folds = None,
    sample_weight: Any = None,
    n_classes: int | None = None,
    binary: bool = False,
    standardize: bool | tuple[Any, Any] = False,
    label_smoothing: float = 0.0,
    n_threads: int | None = None,
    solver: str = "auto",
    fit_intercept: bool = True,
    dtype: Any = None,
    tol: float | Sequence[float] | None = 1e-4,
    atol: float = 0.0,
    max_iter: int | None = None,
    random_state: int | None = 0,
    callback: Callable[[int, int], object] | None = None,
) -> SweepResult:
    """Fit every penalty on every fold, all models together.

    Parameters
    ----------
    X, y, loss, n_classes, binary, label_smoothing, n_threads
        As for `Objective`.
    penalties : iterable of Penalty or None
        In any order; those of one kind go on from each other, the strongest first.
    folds : int, iterable of (train, test), or None, default=None
        Pairs of arrays of row numbers or of bool, as the splitters of scikit-learn yield them; a row that is
        there twice counts twice. An integer k: k folds that leave out each sample once, of every class alike,
        drawn with `random_state`. None: all samples, one model a penalty, no scores.
    sample_weight : array-like of shape (n_samples,), default=None
        In the fits and in the scores.
    standardize : bool or (mean, scale), default=False
        As for `Objective`; True takes mean and scale of all samples, with their weights, for every fold.
    solver, fit_intercept, dtype, max_iter
        As for `fit`.
    tol : float, sequence of float, or None, default=1e-4
        As for `fit`; a sequence has one for each penalty.
    atol : float, default=0.0
        An error of the objective that is small enough whatever its value, say a share of what it is without
        weights: `tol` is raised to `atol` over the value of the model before in the chain.
    random_state : int, default=0
        Of the draw of the folds, and of the solvers.
    callback : callable, default=None
        Called with the number of models that are done and that of all, after each; if it returns something
        true, the sweep ends as after an interrupt.

    Returns
    -------
    SweepResult

    Raises
    ------
    TypeError, ValueError
        As `Objective` and `fit`; ValueError also if a fold is empty, holds rows that there are not, or has no
        weight, and if there is no penalty.

    Warns
    -----
    ConvergenceWarning
        Once, if models stopped early, with their number.

    Notes
    -----
    Each model ends with the certificate that a call of `fit` would give it. The scores are computed when all
    models are there, in one pass for all of them and one more for the losses.

    A KeyboardInterrupt ends all models where they are; those that had not begun are zero, with
    ``converged=False``.
    """
    kinds = tuple(penalties)
    if not kinds:
        raise ValueError("penalties must hold at least one Penalty or None; got none")
    for penalty in kinds:
        if penalty is not None and not isinstance(penalty, Penalty):
            raise TypeError(
                f"penalties must hold Penalty objects, such as L2(1e-3), or None; got {penalty!r}"
            )
    everything = Objective(
        X,
        y,
        loss=loss,
        sample_weight=sample_weight,
        n_classes=n_classes,
        binary=binary,
        standardize=standardize,
        label_smoothing=label_smoothing,
        n_threads=n_threads,
    )
    splits = _splits(folds, everything, random_state)
    results, warning = fit_models(
        everything,
        [train for train, _ in splits],
        kinds,
        callback=callback,
        solver=solver,
        fit_intercept=fit_intercept,
        dtype=dtype,
        tol=tol,
        atol=_checked_atol(atol),
        max_iter=max_iter,
        random_state=random_state,
    )
    if warning:
        warnings.warn(warning, ConvergenceWarning, stacklevel=2)
    scores = losses = predictions = None
    if folds is not None:
        scores, losses, predictions = _left_out(everything, [test for _, test in splits], results)
    return SweepResult(kinds, results, scores, losses, predictions)


def fit_models(
    everything: Objective,
    weights: Sequence[Array],
    penalties: Sequence[Penalty | None],
    *,
    callback: Callable[[int, int], object] | None = None,
    dtype: Any = None,
    tol: float | Sequence[float] | None,
    atol: float = 0.0,
    **settings: Any,
) -> tuple[list[list[FitResult]], str]:
    """Fit every penalty with every one of `weights`, of shape (n_samples,) each; what `sweep` rests on.

    The settings are those of `fit`. Return ``results[p][k]``, and a sentence on the models that stopped
    early, empty if there are none.
    """
    settings |= {"dtype": np.dtype(dtype) if dtype is not None else compute_dtype(everything)}
    tols: list[Any] = list(tol) if isinstance(tol, Sequence) else [tol] * len(penalties)
    if len(tols) != len(penalties):
        raise ValueError(f"tol must have one number for each of {len(penalties)} penalties; got {len(tols)}")
    models = _Models(everything, weights, penalties, settings, tols, atol, callback)
    models.fit()
    runs = models.runs
    results = [[runs[p, k].result() for k in range(len(weights))] for p in range(len(penalties))]
    early = [run for run in runs.values() if run.must_warn]
    message = ""
    if early and tol:
        message = f"{len(early)} of {len(runs)} models stopped early; one of them says: {early[0].message}"
    return results, message


# ---------------------------------------------------------------------- folds


def _splits(folds: Folds, objective: Objective, random_state: int | None) -> list[tuple[Array, Array]]:
    """The weights of the samples in each fold, and of those that it leaves out."""
    n_samples = objective.n_samples
    own = objective._weights_of(0)
    weights = np.ones(n_samples, np.float32) if own is None else own
    if folds is None:
        return [(weights, np.zeros_like(weights))]
    pairs = _drawn(folds, objective, random_state) if isinstance(folds, int) else folds
    splits = []
    for k, pair in enumerate(pairs):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"folds must hold pairs (train, test); got {type(pair).__name__} at {k}")
        parts = []
        for name, rows in zip(("train", "test"), pair, strict=True):
            part = _counts(rows, n_samples, f"folds: {name} of fold {k}") * weights
            if not part.any():
                raise ValueError(f"folds: {name} of fold {k} must hold samples that have a weight")
            parts.append(part)
        splits.append((parts[0], parts[1]))
    if not splits:
        raise ValueError("folds must hold at least one pair (train, test); got none")
    return splits


def _counts(rows: Any, n_samples: int, name: str) -> Array:
    """How often each sample is among `rows`, float32."""
    index = np.asarray(rows)
    if index.dtype == bool and index.shape == (n_samples,):
        return index.astype(np.float32)
    if index.ndim != 1 or (index.size and index.dtype.kind not in "iu"):
        raise TypeError(
            f"{name} must be row numbers, or bool of shape ({n_samples},); got {index.dtype} "
            f"of shape {index.shape}"
        )
    if index.size and not (-n_samples <= index.min() and index.max() < n_samples):
        raise ValueError(f"{name} must be rows of the {n_samples}; got {index.min()} to {index.max()}")
    chosen = np.arange(n_samples)[index.astype(np.int64)]
    return np.bincount(chosen, minlength=n_samples).astype(np.float32)


def _drawn(n_folds: int, objective: Objective, random_state: int | None) -> list[tuple[Array, Array]]:
    """Folds that leave out each sample once, of every class alike unless the targets are soft."""
    n_samples = objective.n_samples
    if not 2 <= n_folds <= n_samples:
        raise ValueError(f"folds must be at least 2 and at most n_samples={n_samples}; got {n_folds}")
    order = np.random.default_rng(random_state).permutation(n_samples)
    if not objective._is_soft:
        order = order[np.argsort(objective._y[order], kind="stable")]
    fold = np.empty(n_samples, np.int64)
    fold[order] = np.arange(n_samples) % n_folds
    return [(fold != k, fold == k) for k in range(n_folds)]


# ---------------------------------------------------------------------- fits


class _Models:
    """The fits of a sweep, by penalty and fold, and the stack that answers what they ask."""

    def __init__(
        self,
        everything: Objective,
        weights: Sequence[Array],
        penalties: Sequence[Penalty | None],
        settings: dict[str, Any],
        tols: Sequence[Any],
        atol: float,
        callback: Callable[[int, int], object] | None,
    ) -> None:
        self.penalties = penalties
        self.settings = settings
        self.tols, self.atol = tols, atol
        self.callback = callback
        self.stack = everything._with(np.stack(weights), None)
        self.folds = [everything._with(own, None) for own in weights]
        self.runs: dict[tuple[int, int], Run] = {}
        self.n_done = 0
        self.stop = _core.Stop()
        self.finished: Callable[[], None] = self.finished_one
        itemsize = settings["dtype"].itemsize * everything.n_outputs * everything.n_features
        most = _SPARSE_GRADIENT_BYTES if everything._is_sparse else _GRADIENT_BYTES
        self.most_at_once = max(most // itemsize, 1)
        self.everything = everything
        self.curvature: Curvature | None = None

    def _common_curvature(self) -> Curvature | None:
        """A model of the curvature for all fits to begin with, at a rough solution of all samples."""
        everything = self.everything
        K = everything.n_features + 1
        if not block_count(everything, K):
            return None
        if resolve_solver(self.settings["solver"], everything).name != "lbfgs":
            return None
        moments = everything._column_moments()
        n_samples, with_intercept = everything.n_samples, self.settings["fit_intercept"]

        def curvature(W: Array, b: Array, n_rows: int) -> Curvature:
            return Curvature(everything, W, b if with_intercept else None, n_rows, moments, seed=0)

        W = np.zeros(everything.weight_shape, self.settings["dtype"])
        first = curvature(W, W[:, 0], 4 * K)
        penalty = L2(_PILOT_STRENGTH * float(moments[1].mean()))
        pilot = start(
            everything._with_penalty(penalty),
            curvature=first,
            **self.settings | {"tol": None, "max_iter": _PILOT_STEPS},
        )
        pilot.go_alone()
        if pilot.is_interrupted:
            raise KeyboardInterrupt
        n_rows = int(_SHARED_COST * 4 * n_samples / K)
        return curvature(pilot.last.W, pilot.result().b, max(n_rows, 4 * K))

    def fit(self) -> None:
        """Run all chains to their ends."""
        n_folds = len(self.folds)
        alone: list[_Chain] = []
        live: list[_Chain] = []
        for kind in self._kinds():
            chains = alone if self._goes_apart(kind) else live
            chains += [_Chain(self, kind, k) for k in range(n_folds)]
        try:
            self.curvature = self._common_curvature()
            self._share_out(alone)
            for chain in live:
                chain.go_on()
            while live := [chain for chain in live if chain.request is not None]:
                for request in {type(chain.request): None for chain in live}:
                    asking = [chain for chain in live if type(chain.request) is request]
                    for first in range(0, len(asking), self.most_at_once):
                        self._answer(asking[first : first + self.most_at_once])
        except KeyboardInterrupt as interrupt:
            for chain in live:
                chain.interrupt(interrupt)
        for p in range(len(self.penalties)):
            for k in range(n_folds):
                if (p, k) not in self.runs:
                    self.start(p, k, ())

    def _solver_of(self, objective: Objective) -> str:
        """The solver of a model: "lbfgs", whose passes many share, where "auto" means Newton's matrix."""
        name: str = self.settings["solver"]
        return "lbfgs" if name == "auto" and has_matrix(objective) else name

    def _goes_apart(self, kind: Sequence[int]) -> bool:
        """Whether the chains of a kind gain nothing from a pass that other models share."""
        everything = self.folds[0]._with_penalty(self.penalties[kind[0]])
        if not resolve_solver(self._solver_of(everything), everything).asks:
            return True
        return everything._is_sparse and everything.n_outputs >= _MANY_OUTPUTS

    def _share_out(self, chains: Sequence[_Chain]) -> None:
        """Run chains to their ends, each by itself, on as many threads as the objective may use."""
        import queue  # here, since most programs that import regcore never sweep
        from concurrent.futures import ThreadPoolExecutor

        n_threads = self.folds[0].n_threads or _core.info()["threads"]
        n_workers = min(n_threads, len(chains))
        if n_workers < 2:
            for chain in chains:
                chain.go_alone()
            return
        folds = self.folds
        self.folds = [fold._with_threads(max(n_threads // n_workers, 1)) for fold in folds]
        reports: queue.SimpleQueue[Future[None] | None] = queue.SimpleQueue()
        self.finished = lambda: reports.put(None)
        pool = ThreadPoolExecutor(n_workers, initializer=self.stop.heed)
        n_left = len(chains)
        try:
            for chain in chains:
                pool.submit(chain.go_alone).add_done_callback(reports.put)
            while n_left:
                report = reports.get()
                if report is None:
                    self.finished_one()
                else:
                    n_left -= 1
                    report.result()
        finally:
            if n_left:
                self.stop.set()
            pool.shutdown(cancel_futures=True)
            self.folds, self.finished = folds, self.finished_one

    def _kinds(self) -> list[list[int]]:
        """The penalties by kind, the strongest of each first."""
        kinds: dict[tuple[bool, ...], list[int]] = {}
        for p, penalty in enumerate(self.penalties):
            kinds.setdefault(tuple(part > 0 for part in _parts(penalty)), []).append(p)
        return [sorted(kind, key=lambda p: -sum(_parts(self.penalties[p]))) for kind in kinds.values()]

    def finished_one(self) -> None:
        """Tell the callback, which may end the sweep."""
        self.n_done += 1
        n_models = len(self.penalties) * len(self.folds)
        if self.callback is not None and self.callback(self.n_done, n_models):
            raise KeyboardInterrupt

    def start(self, p: int, k: int, before: Sequence[tuple[int, Run]]) -> Run:
        """Make the fit of penalty p and fold k, which goes on from those before it if they are finite."""
        ends = [(q, run.last) for q, run in before if np.isfinite(run.last.W).all()]
        init: Any = None
        tol = self.tols[p]
        if ends:
            _, last = ends[-1]
            W, b = self._ahead(p, *ends) if len(ends) > 1 else (last.W, last.b)
            init = W if b is None else (W, b)
            if tol and self.atol > tol * last.value > 0:
                tol = self.atol / last.value
        objective = self.folds[k]._with_penalty(self.penalties[p])
        settings = self.settings | {"solver": self._solver_of(objective)}
        run = start(objective, init=init, curvature=self.curvature, tol=tol, **settings)
        self.runs[p, k] = run
        return run

    def _ahead(self, p: int, first: tuple[int, Step], second: tuple[int, Step]) -> tuple[Array, Array | None]:
        """Where the way from one minimiser to the next leads by the strength of penalty p.

        With an L2 part minimisers are nearly linear in the logarithm of the strength. Without one the weights
        that come and go make the start a worse one than the last minimiser. Zeros stay, and signs that would
        change become zeros, where the penalty makes zeros.
        """
        (i, before), (j, last) = first, second
        logs = [math.log(max(sum(_parts(self.penalties[q])), 1e-300)) for q in (i, j, p)]
        l1, l2, group = _parts(self.penalties[p])
        if l2 == 0 or not logs[0] > logs[1] > logs[2]:
            return last.W, last.b
        share = last.W.dtype.type(min((logs[1] - logs[2]) / (logs[0] - logs[1]), 1.0))
        W = last.W - before.W
        W *= share
        W += last.W
        if l1 > 0:
            W[np.sign(W) != np.sign(last.W)] = 0
        if group > 0:
            W[:, ~last.W.any(axis=0)] = 0
        if last.b is None or before.b is None:
            return W, None
        return W, last.b + share * (last.b - before.b)

    def _answer(self, asking: Sequence[_Chain]) -> None:
        """Answer requests of one kind in one pass; where scores overflow, each by itself."""
        stack = self.stack._stack(
            np.array([chain.k for chain in asking], np.int32),
            [self.penalties[chain.p] for chain in asking],
        )
        try:
            answers = _together([chain.request for chain in asking]).answer(stack)
        except OverflowError as error:
            if len(asking) == 1:
                asking[0].fail(error)
            else:
                for chain in asking:
                    self._answer([chain])
            return
        for i, chain in enumerate(asking):
            own = tuple(part[i] for part in answers) if isinstance(answers, tuple) else answers[i]
            chain.go_on(own)


class _Chain:
    """The fits of one kind of penalty on one fold, one after the other, and what the one under way asks."""

    def __init__(self, models: _Models, penalties: Sequence[int], k: int) -> None:
        self.models = models
        self.waiting = list(penalties)
        self.k = k
        self.p = -1
        self.run: Run | None = None
        self.before: list[tuple[int, Run]] = []  # the last two that are over
        self.steps = _nothing()
        self.request: Request | None = None

    def go_on(self, answer: Any = None) -> None:
        """Go on to the next request, of this fit or a later one; it is None at the end."""
        self._resume(lambda: self.steps.send(answer))

    def go_alone(self) -> None:
        """Go on to the end, with passes for this chain alone."""
        self.go_on()
        while self.request is not None:
            objective = self.models.folds[self.k]._with_penalty(self.models.penalties[self.p])
            try:
                if self.models.stop.is_set():
                    raise KeyboardInterrupt
                answer = self.request.answer(objective)
            except (OverflowError, KeyboardInterrupt) as error:
                self.fail(error)
            else:
                self.go_on(answer)

    def fail(self, error: BaseException) -> None:
        """Raise an error where the answer would have come."""
        self._resume(lambda: self.steps.throw(error))

    def _resume(self, resume: Callable[[], Request]) -> None:
        self.request = None
        while self.request is None:
            try:
                self.request = resume()
            except StopIteration:
                if self.run is not None:
                    self.models.finished()
                    if self.run.is_interrupted:
                        raise KeyboardInterrupt from None
                if not self.waiting or self.models.stop.is_set():
                    return
                if self.run is not None:
                    self.before = [*self.before[-1:], (self.p, self.run)]
                self.p = self.waiting.pop(0)
                self.run = self.models.start(self.p, self.k, self.before)
                self.steps = self.run.go()
                resume = functools.partial(next, self.steps)

    def interrupt(self, interrupt: KeyboardInterrupt) -> None:
        """End the fit under way, and begin no other."""
        self.waiting.clear()
        with contextlib.suppress(KeyboardInterrupt):  # of the callback, once more
            if self.request is not None:
                self.fail(interrupt)


def _nothing() -> Generator[Request, Any, None]:
    yield from ()


def _checked_atol(atol: Any) -> float:
    if isinstance(atol, bool) or not isinstance(atol, (int, float)) or not 0 <= atol < math.inf:
        raise ValueError(f"atol must be a finite number >= 0; got {atol!r}")
    return float(atol)


def _parts(penalty: Penalty | None) -> tuple[float, float, float]:
    return (0.0, 0.0, 0.0) if penalty is None else (penalty.l1, penalty.l2, penalty.group)


def _together(requests: Sequence[Any]) -> Any:
    """One request of a stack for those of single models."""
    kind = type(requests[0])
    columns = ([getattr(request, field.name) for request in requests] for field in fields(kind))
    return kind(*(None if column[0] is None else np.stack(column) for column in columns))


# ---------------------------------------------------------------------- scores


def _left_out(
    everything: Objective, weights: Sequence[Array], results: Sequence[Sequence[FitResult]]
) -> tuple[Array, Array, Array]:
    """Accuracies, mean losses and labels of (n_penalties, n_folds) models on what their folds leave out."""
    n_penalties, n_folds = len(results), len(weights)
    accuracies, losses = np.full((2, n_penalties, n_folds), np.nan)
    predictions = np.full((n_penalties, everything.n_samples), -1, np.int32)
    left_out = everything._with(np.stack(weights), None)
    all_models = [(p, k) for p in range(n_penalties) for k in range(n_folds)]
    models = [(p, k) for p, k in all_models if np.isfinite(results[p][k].W).all()]
    itemsize = everything.n_outputs * everything.n_features * 8
    n_models = max(min(_LABELS // everything.n_samples, _SPARSE_GRADIENT_BYTES // itemsize), 1)
    truth = np.argmax(everything._y, axis=-1) if everything._is_soft else everything._y
    for first in range(0, len(models), n_models):
        some = models[first : first + n_models]
        stack = left_out._stack(np.array([k for _, k in some], np.int32), [None] * len(some))
        W = np.stack([results[p][k].W for p, k in some])
        b = np.stack([results[p][k].b for p, k in some])
        labels, mean_losses = stack.predict(W, b), stack.value(W, b)
        for i, (p, k) in enumerate(some):
            rows = weights[k] > 0
            accuracies[p, k] = np.average(labels[rows, i] == truth[rows], weights=weights[k][rows])
            losses[p, k] = mean_losses[i]
            predictions[p, rows] = labels[rows, i]
    return accuracies, losses, predictions
