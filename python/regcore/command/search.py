"""Cross-validated search over penalty and strength, and what accuracy to expect of its winner.

Pure computation, like `compare`. `search` is the one place that trains many models; it gives the class that
each candidate predicts for each sample when that sample was left out, and all else follows from these.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regcore.losses import resolve_loss
from regcore.objective import Objective
from regcore.penalties import from_estimator
from regcore.solvers import ConvergenceWarning, FitResult, fit
from regcore.sweeps import sweep

from .errors import CommandError, DataError
from .scaling import FittedScaling, apply_constant, choose_scaling, fit_scaling
from .splits import folds

if TYPE_CHECKING:
    from .data import Dataset
    from .recipe import Matrix
    from .scaling import Scaling

PENALTIES = ("l1", "l2", "elasticnet")
_N_BOOTSTRAPS = 1000
# The weakest strength as a share of the strongest, of a penalty with an L1 part and of L2 alone. More
# features than samples fit the samples exactly long before, and what is weaker makes the same predictions.
_SPAN_L1, _SPAN_L2 = 1e-4, 1e-5
_SHARE_MANY_FEATURES = 10.0  # times as strong is the weakest one then
_FIRST_SCORES = 0.1  # of the strongest L2: nothing to speak of
_ENOUGH = 1e-3  # of the loss without weights: an error that says nothing about samples that were left out
# The gap of L1 alone is about its largest violation; its objective is by then far more accurate.
_L1_TOL = 4.0
_FINAL_TOL, _FINAL_MAX_ITER = 1e-4, 3000
_MAX_ITER = 300  # enough to rank candidates; each starts from the one before


@dataclass(frozen=True)
class Candidate:
    """A penalty with a strength.

    Attributes
    ----------
    penalty : {"l1", "l2", "elasticnet"}
    alpha : float
        As in `regcore.LinearClassifier`.
    l1_ratio : float or None
        Of "elasticnet" alone.
    """

    penalty: str
    alpha: float
    l1_ratio: float | None = None

    def __str__(self) -> str:
        ratio = "" if self.l1_ratio is None else f", l1_ratio {self.l1_ratio:g}"
        return f"{self.penalty}, strength {self.alpha:.3g}{ratio}"


@dataclass(frozen=True)
class SearchSettings:
    """What to try, and how.

    Attributes
    ----------
    penalties : sequence of str
    alphas : sequence of float or None
        The strengths; None: `n_alphas` of them for each penalty, by the data.
    n_alphas : int
    l1_ratio : float
    loss : str
    n_folds : int
    seed : int
        Of the folds, of the stochastic solvers and of the bootstrap.
    max_iter : int or None
        Most iterations of a fit; None: 300.
    tol : float
        Of the fits that rank the candidates, which score no better when they go on, nor where the error is
        below a thousandth of the loss without weights; four times as much for "l1". `refit` goes on.
    n_threads : int or None
    """

    penalties: Sequence[str] = PENALTIES
    alphas: Sequence[float] | None = None
    n_alphas: int = 12
    l1_ratio: float = 0.5
    loss: str = "cross_entropy"
    power: float = 1.0
    n_folds: int = 5
    seed: int = 0
    max_iter: int | None = None
    tol: float = 5e-3
    n_threads: int | None = None


@dataclass(frozen=True)
class Found:
    """The outcome of a search.

    Attributes
    ----------
    settings : SearchSettings
    candidates : tuple of Candidate
        Penalty by penalty, the strongest first.
    y : ndarray of int32, shape (n_samples,)
    fold : ndarray of int32, shape (n_samples,)
        In which fold a sample was left out.
    predicted : ndarray of int32, shape (n_candidates, n_samples)
        The class predicted by a model that has not seen the sample.
    n_nonzero : ndarray of float64, shape (n_candidates,)
        Weights that are not zero, on average over the folds.
    n_weights : int
    seconds : float
    notes : tuple of str
    others : tuple of Found
        Searches under other powers of the features, none of which did better.
    """

    settings: SearchSettings
    candidates: tuple[Candidate, ...]
    y: npt.NDArray[np.int32]
    fold: npt.NDArray[np.int32]
    predicted: npt.NDArray[np.int32]
    n_nonzero: npt.NDArray[np.float64]
    n_weights: int
    seconds: float
    notes: tuple[str, ...] = ()
    others: tuple[Found, ...] = ()

    @property
    def hits(self) -> npt.NDArray[np.bool_]:
        """Whether each candidate is right about each sample, shape (n_candidates, n_samples)."""
        right: npt.NDArray[np.bool_] = self.predicted == self.y
        return right

    @property
    def accuracy(self) -> npt.NDArray[np.float64]:
        """Share of right answers of each candidate over all samples."""
        shares: npt.NDArray[np.float64] = self.hits.mean(axis=1)
        return shares

    @property
    def by_fold(self) -> npt.NDArray[np.float64]:
        """The same fold by fold, shape (n_candidates, n_folds)."""
        hits = self.hits
        return np.stack([hits[:, self.fold == k].mean(axis=1) for k in range(self.settings.n_folds)], axis=1)

    @property
    def best(self) -> int:
        """The candidate with the highest accuracy; of equal ones the strongest of the first penalty."""
        return int(self.accuracy.argmax())

    def of_penalty(self, penalty: str) -> list[int]:
        """The candidates of one penalty."""
        return [k for k, candidate in enumerate(self.candidates) if candidate.penalty == penalty]


@dataclass(frozen=True)
class Estimate:
    """A share with the interval in which it lies at 95 %."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Fitted:
    """One trained model with its scaling."""

    W: npt.NDArray[Any]
    b: npt.NDArray[Any]
    scaling: FittedScaling


def check_folds(dataset: Dataset, n_folds: int) -> None:
    """Refuse more folds than the rarest class has samples: a model would be trained without it."""
    counts = np.bincount(dataset.y)
    rarest = int(counts.argmin())
    if counts[rarest] < n_folds:
        raise DataError(
            dataset.name,
            f"class {dataset.classes[rarest]!r} has {counts[rarest]} samples, fewer than the {n_folds} folds;"
            " give --folds a smaller number, or leave such classes out",
        )


def strengths(X: Matrix, y: npt.NDArray[np.int32], penalty: str, settings: SearchSettings) -> list[float]:
    """Strengths to try, the strongest first, spaced evenly on a logarithmic scale.

    With an L1 part from the one at which the first weight leaves zero (the largest entry of the gradient at
    W = 0, over the share of L1) down to 1e-4 of it; with L2 alone from one that holds the scores to about
    0.1, down to 1e-5 of it. With more features than samples down to ten times that.
    """
    if settings.alphas is not None:
        return sorted(set(settings.alphas), reverse=True)
    objective, _, gradient = slope_at_zero(X, y, settings)
    if penalty == "l2":
        # The minimiser is close to -gradient / alpha, as long as that is so small; intercepts take the means.
        pull = objective.scores(gradient, np.zeros(len(gradient)))
        pull -= pull.mean(axis=0)
        top = float(np.sqrt(np.square(pull).mean())) / _FIRST_SCORES
        span = _SPAN_L2
    else:
        ratio = settings.l1_ratio if penalty == "elasticnet" else 1.0
        top = float(np.abs(gradient).max()) / ratio
        span = _SPAN_L1
    if X.shape[1] > X.shape[0]:
        span *= _SHARE_MANY_FEATURES
    top = top or 1.0
    return [float(alpha) for alpha in np.geomspace(top, span * top, settings.n_alphas)]


class Start(NamedTuple):
    """The data term where W = 0, with the classes' shares as intercepts: its value, and its gradient in W."""

    objective: Objective
    value: float
    gradient: npt.NDArray[np.float64]


def slope_at_zero(X: Matrix, y: npt.NDArray[np.int32], settings: SearchSettings) -> Start:
    """Evaluate the data term without weights."""
    objective = _objective(X, y, int(y.max()) + 1, settings.loss, None, settings.n_threads)
    W = np.zeros((objective.n_outputs, X.shape[1]))
    shares = np.bincount(y) / len(y)
    b = np.zeros(objective.n_outputs)
    if resolve_loss(settings.loss).name == "CROSS_ENTROPY":
        b = np.log(shares) if objective.n_outputs > 1 else np.array([np.log(shares[1] / shares[0])])
    value, gradient, _ = objective.value_and_grad(W, b)
    return Start(objective, value, gradient)


def _objective(
    X: Matrix, y: npt.NDArray[np.int32], n_classes: int, loss: str, penalty: Any, n_threads: int | None
) -> Objective:
    resolved = resolve_loss(loss)
    return Objective(
        X,
        y,
        loss=resolved,
        penalty=penalty,
        n_classes=n_classes,
        binary=n_classes == 2 and resolved.has_binary_form,
        n_threads=n_threads,
    )


def _train(
    X: Matrix,
    y: npt.NDArray[np.int32],
    n_classes: int,
    candidate: Candidate,
    settings: SearchSettings,
) -> FitResult:
    penalty = from_estimator(candidate.penalty, candidate.alpha, settings.l1_ratio)
    result = fit(
        _objective(X, y, n_classes, settings.loss, penalty, settings.n_threads),
        tol=settings.tol,
        max_iter=settings.max_iter or _MAX_ITER,
        random_state=settings.seed,
    )
    _check_finite(candidate, [result])
    return result


def _check_finite(candidate: Candidate, results: Sequence[FitResult]) -> None:
    if not all(np.isfinite(result.W).all() and np.isfinite(result.b).all() for result in results):
        raise CommandError(f"training with {candidate} diverged: weights are not finite; scale the features")


def scores(X: Matrix, fitted: Fitted, n_classes: int, n_threads: int | None = None) -> npt.NDArray[Any]:
    """Scores of rows for which `apply_constant` is done, shape (n_samples, n_classes).

    Of the binary form the two scores are -s/2 and s/2, so that their softmax is its sigmoid.
    """
    scaled = fitted.scaling.apply(X)
    y = np.zeros(scaled.shape[0], np.uint8)
    objective = Objective(scaled, y, n_classes=n_classes, binary=len(fitted.W) == 1, n_threads=n_threads)
    found: npt.NDArray[Any] = objective.scores(fitted.W, fitted.b)
    if found.shape[1] == 1:
        found = np.concatenate([-found / 2, found / 2], axis=1)
    return found


def refit(
    X: Matrix,
    y: npt.NDArray[np.int32],
    n_classes: int,
    scaling: Scaling,
    candidate: Candidate,
    settings: SearchSettings,
) -> Fitted:
    """Train one candidate to the end, on rows for which `apply_constant` is done."""
    settings = replace(settings, tol=_FINAL_TOL, max_iter=settings.max_iter or _FINAL_MAX_ITER)
    fitted = fit_scaling(X, scaling)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `search` has said what there is to say
        result = _train(fitted.apply(X), y, n_classes, candidate, settings)
    return Fitted(result.W, result.b, fitted)


def search(
    dataset: Dataset,
    settings: SearchSettings,
    *,
    progress: Callable[[int, int, str], None] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Found:
    """Train every candidate on all folds but one, and let it predict the one left out; see `regcore.sweep`.

    Scaling takes the measures of all samples, whose classes it does not see. The strengths of a penalty are
    the same in all folds, and each model starts from the next stronger one.

    Raises
    ------
    DataError
        A class has fewer samples than there are folds.
    KeyboardInterrupt
        When `interrupted` says so, asked after each training.
    """
    check_folds(dataset, settings.n_folds)
    start = time.perf_counter()
    n_classes, loss = len(dataset.classes), resolve_loss(settings.loss)
    scaling = choose_scaling(dataset.X, settings.power)
    X, y = apply_constant(dataset.X, scaling), dataset.y
    fold = folds(y, settings.n_folds, settings.seed)
    X = fit_scaling(X, scaling).apply(X)
    candidates = [
        Candidate(penalty, alpha, settings.l1_ratio if penalty == "elasticnet" else None)
        for penalty in settings.penalties
        for alpha in strengths(X, y, penalty, settings)
    ]
    n_fits = settings.n_folds * len(candidates)

    def after_each(n_done: int, n_models: int) -> bool:
        if progress is not None:
            progress(n_done, n_models, f"{n_done} of {n_models} models")
        return interrupted()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the notes say it
        swept = sweep(
            X,
            y,
            loss=loss,
            penalties=[from_estimator(c.penalty, c.alpha, settings.l1_ratio) for c in candidates],
            folds=[(fold != k, fold == k) for k in range(settings.n_folds)],
            n_classes=n_classes,
            binary=n_classes == 2 and loss.has_binary_form,
            n_threads=settings.n_threads,
            tol=[settings.tol * (_L1_TOL if c.penalty == "l1" else 1.0) for c in candidates],
            atol=_ENOUGH * slope_at_zero(X, y, settings).value,
            max_iter=settings.max_iter or _MAX_ITER,
            random_state=settings.seed,
            callback=after_each,
        )
    if interrupted():
        raise KeyboardInterrupt
    for candidate, results in zip(candidates, swept.results, strict=True):
        _check_finite(candidate, results)
    assert swept.predictions is not None
    n_early = sum(not result.converged for results in swept.results for result in results)
    notes = []
    if n_early:
        notes.append(f"{n_early} of {n_fits} fits had not converged when they reached their last iteration")
    return Found(
        settings,
        tuple(candidates),
        y,
        fold,
        swept.predictions,
        np.array([np.mean([np.count_nonzero(r.W) for r in results]) for results in swept.results]),
        swept.results[0][0].W.size,
        time.perf_counter() - start,
        tuple(notes),
    )


def at_the_edge(found: Found) -> str | None:
    """A remark if the best strength of a penalty is the weakest or the strongest that was tried."""
    best: dict[str, list[str]] = {"strongest": [], "weakest": []}
    for penalty in found.settings.penalties:
        tried = found.of_penalty(penalty)
        if len(tried) < 2:
            continue
        winner = int(np.argmax(found.accuracy[tried]))
        if winner in (0, len(tried) - 1):
            best["weakest" if winner else "strongest"].append(penalty)
    parts = [
        f"the best strength of {' and of '.join(names)} is the {which} that was tried"
        for which, names in best.items()
        if names
    ]
    return f"{', '.join(parts)}; others may do better: see --strengths" if parts else None


def expected_accuracy(found: Found) -> Estimate:
    """What accuracy to expect of the winner on new samples, with an interval at 95 %.

    The winner's own cross-validated accuracy is too high: it is the largest of many noisy figures. Here the
    choice is part of what is judged [1]_: the samples are drawn with replacement, the candidate that is best
    on those drawn is scored on those that were not, and that is repeated. No model is trained anew.
    Candidates under other powers of the features take part.

    References
    ----------
    .. [1] Tsamardinos, Greasidou and Borboudakis, "Bootstrapping the out-of-sample predictions for efficient
       and accurate cross-validation", Machine Learning 107, 2018.
    """
    hits = np.concatenate([one.hits for one in (found, *found.others)]).astype(np.float32)
    n_samples = hits.shape[1]
    rng = np.random.default_rng(found.settings.seed)
    shares: list[float] = []
    block = max(1, min(_N_BOOTSTRAPS, 20_000_000 // n_samples))
    while len(shares) < _N_BOOTSTRAPS:
        drawn = np.stack(
            [np.bincount(rng.integers(n_samples, size=n_samples), minlength=n_samples) for _ in range(block)],
            axis=1,
        )
        winners = (hits @ drawn.astype(np.float32)).argmax(axis=0)
        for winner, counts in zip(winners, drawn.T, strict=True):
            left = counts == 0
            if left.any():
                shares.append(float(hits[winner, left].mean()))
    low, high = np.quantile(shares, (0.025, 0.975))
    return Estimate(float(np.mean(shares)), float(low), float(high))


def wilson(n_right: int, n_samples: int) -> Estimate:
    """A share of independent samples, with Wilson's score interval at 95 %."""
    z = 1.959963984540054
    share = n_right / n_samples
    centre = (share + z * z / (2 * n_samples)) / (1 + z * z / n_samples)
    half = (
        z
        / (1 + z * z / n_samples)
        * np.sqrt(share * (1 - share) / n_samples + z * z / (4 * n_samples * n_samples))
    )
    return Estimate(share, float(centre - half), float(centre + half))
