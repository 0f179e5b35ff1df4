"""The experiment: one linear classifier per penalty, the same splits for all, over several seeds.

Pure computation: no printing, no files, no reading of arguments. `compare_penalties` runs it,
`paired_gaps` holds the penalties against each other.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from regcore.losses import resolve_loss
from regcore.objective import Objective
from regcore.penalties import from_estimator
from regcore.solvers import fit

from .data import Dataset
from .errors import CommandError, DataError, UsageError
from .scaling import Scaling, apply_constant, apply_fitted, choose_scaling, largest_deviation
from .splits import split

if TYPE_CHECKING:
    from .recipe import Matrix

PENALTIES = ("none", "l1", "l2", "elasticnet")
LOSSES = ("cross_entropy", "hinge", "squared_hinge", "crammer_singer")
SOLVERS = ("sgd", "fista", "lbfgs", "newton-cd", "dual", "auto")
SIGNIFICANCE = 0.05


class Classifier(Protocol):
    """What the experiment needs of a classifier."""

    coef_: npt.NDArray[Any]

    def fit(self, X: Any, y: Any) -> Any:
        """Train."""

    def score(self, X: Any, y: Any) -> float:
        """Share of right answers."""


@dataclass(frozen=True)
class Settings:
    """How to train and score.

    Attributes
    ----------
    penalties : sequence of str
        Out of `PENALTIES`.
    alpha : float or None
        Strength of the penalties; None stands for `default_alpha`.
    l1_ratio : float
        Share of L1 in "elasticnet".
    loss, solver : str
    max_iter : int or None
        Epochs of "sgd" (default 20), the most iterations of other solvers (default 1000).
    power : float
        To which the features are raised; see `Scaling`.
    n_seeds, first_seed : int
        Seeds first_seed .. first_seed + n_seeds - 1; each gives one split and one order of the samples.
    test_size : float
        Share of the samples that is scored on.
    n_threads : int or None
    """

    penalties: Sequence[str] = PENALTIES
    alpha: float | None = None
    l1_ratio: float = 0.5
    loss: str = "cross_entropy"
    solver: str = "sgd"
    max_iter: int | None = None
    power: float = 1.0
    n_seeds: int = 5
    first_seed: int = 0
    test_size: float = 0.25
    n_threads: int | None = None

    @property
    def iterations(self) -> int:
        """`max_iter` or its default."""
        if self.max_iter is not None:
            return self.max_iter
        return 20 if self.solver == "sgd" else 1000


@dataclass(frozen=True)
class Run:
    """One classifier: trained on one split, scored on both of its parts."""

    seed: int
    train_accuracy: float
    test_accuracy: float
    zero_share: float
    seconds: float


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over the seeds; one seed has no deviation."""

    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Summarise one value per seed."""
        values = list(values)
        return cls(fmean(values), stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class PenaltyResult:
    """All runs of one penalty."""

    penalty: str
    alpha: float | None
    l1_ratio: float | None
    runs: tuple[Run, ...]

    def spread(self, field: str) -> Spread:
        """Mean and deviation of one field of the runs."""
        return Spread.of(getattr(run, field) for run in self.runs)


@dataclass(frozen=True)
class Gap:
    """The difference in test accuracy of two penalties, seed by seed.

    Attributes
    ----------
    better, worse : str
        Named by the mean difference.
    mean, sd : float
        Of the differences between runs on the same split.
    p_value : float
        Corrected resampled t-test, adjusted for the number of pairs (Holm).
    n_wins : int
        Seeds on which `better` was ahead.
    """

    better: str
    worse: str
    mean: float
    sd: float
    p_value: float
    n_wins: int

    @property
    def exceeds_spread(self) -> bool:
        """Whether chance in the splits does not explain the gap."""
        return self.p_value < SIGNIFICANCE


@dataclass(frozen=True)
class Comparison:
    """The outcome of the experiment."""

    settings: Settings
    scaling: Scaling
    n_train: int
    n_test: int
    results: tuple[PenaltyResult, ...]
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]


class LinearModel:
    """A linear classifier of labels 0 .. n_classes - 1.

    It is what `regcore.LinearClassifier` fits. That is an estimator of scikit-learn's, and to import
    scikit-learn takes as long as the training.

    Parameters
    ----------
    penalty : str
        Out of `PENALTIES`.
    alpha : float
    settings : Settings
    seed : int
        Of the stochastic solvers.

    Attributes
    ----------
    coef_ : ndarray of shape (n_classes, n_features), one row for two classes
    intercept_ : ndarray of shape (n_classes,), or 1
    """

    def __init__(self, penalty: str, alpha: float, settings: Settings, seed: int) -> None:
        self._penalty = from_estimator(None if penalty == "none" else penalty, alpha, settings.l1_ratio)
        self._settings = settings
        self._seed = seed

    def _objective(self, X: Matrix, y: npt.NDArray[np.int32], n_classes: int, penalty: Any) -> Objective:
        loss = resolve_loss(self._settings.loss)
        return Objective(
            X,
            y,
            loss=loss,
            penalty=penalty,
            n_classes=n_classes,
            binary=n_classes == 2 and loss.has_binary_form,
            n_threads=self._settings.n_threads,
        )

    def fit(self, X: Matrix, y: npt.NDArray[np.int32]) -> LinearModel:
        """Train; y holds each class at least once."""
        self._n_classes = int(y.max()) + 1
        stochastic = self._settings.solver == "sgd"
        result = fit(
            self._objective(X, y, self._n_classes, self._penalty),
            solver=self._settings.solver,
            max_iter=self._settings.iterations,
            tol=None if stochastic else 1e-4,  # every epoch, and no word about it
            random_state=np.random.RandomState(self._seed),  # as the estimator has it
        )
        self.coef_, self.intercept_ = result.W, result.b
        return self

    def score(self, X: Matrix, y: npt.NDArray[np.int32]) -> float:
        """Share of right answers."""
        predicted = self._objective(X, y, self._n_classes, None).predict(self.coef_, self.intercept_)
        return float((predicted == y).mean())


def default_alpha(X: Matrix, scaling: Scaling, n_train: int) -> float:
    """A strength by the scale and the number of samples: 0.05 sd / sqrt(n_train), rounded to one digit.

    sd is the largest deviation of a column. At W = 0 an entry of the gradient of the log loss is a mean over
    the training samples; were the labels drawn without regard to the feature, it would deviate from zero by
    at most sd / (2 sqrt(n_train)), since a 0/1 label deviates by at most 1/2. The default is a tenth of that
    noise: enough for L1 to leave features out that say little, too little to drown those that say something.
    No label is looked at.
    """
    sd = largest_deviation(X, scaling)
    return float(f"{0.05 * sd / sqrt(n_train):.0e}") or 1e-4


def _split_sizes(dataset: Dataset, test_size: float) -> tuple[int, int]:
    """How many samples to train on and to score."""
    n_samples, n_classes = len(dataset.y), len(dataset.classes)
    n_test = ceil(n_samples * test_size)
    n_train = n_samples - n_test
    if min(n_train, n_test) < n_classes:
        raise DataError(
            dataset.name,
            f"{n_samples} samples of {n_classes} classes leave {n_train} to train on and {n_test} to score at"
            f" --test-size {test_size:g}; each part needs at least one of each class",
        )
    return n_train, n_test


def compare_penalties(
    dataset: Dataset,
    settings: Settings,
    *,
    factory: Callable[[str, float, Settings, int], Classifier] = LinearModel,
    progress: Callable[[int, int, str], None] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Comparison:
    """Train and score one classifier per penalty and seed.

    Parameters
    ----------
    dataset : Dataset
    settings : Settings
    factory : callable
        Makes an untrained classifier from (penalty, alpha, settings, seed).
    progress : callable, optional
        Called as ``progress(n_done, n_total, what_comes_next)`` before each training and at the end.
    interrupted : callable
        Asked after each training. A trainer may end on Ctrl-C with the state it has reached, which is not a
        result to compare.

    Raises
    ------
    DataError
        Too few samples for a split.
    UsageError
        The classifier refuses the settings.
    KeyboardInterrupt
        When `interrupted` says so.
    """
    scaling = choose_scaling(dataset.X, settings.power)
    n_train, n_test = _split_sizes(dataset, settings.test_size)
    alpha = settings.alpha if settings.alpha is not None else default_alpha(dataset.X, scaling, n_train)
    X = apply_constant(dataset.X, scaling)
    y = dataset.y
    runs: dict[str, list[Run]] = {penalty: [] for penalty in settings.penalties}
    remarks: dict[tuple[str, type[Warning]], list[str]] = {}
    n_total = settings.n_seeds * len(runs)
    n_done = 0

    for seed in range(settings.first_seed, settings.first_seed + settings.n_seeds):
        train, test = split(y, settings.test_size, seed)
        X_train, X_test = apply_fitted(X[train], X[test], scaling)
        y_train, y_test = y[train], y[test]
        for penalty in runs:
            if progress is not None:
                progress(n_done, n_total, f"{penalty}, seed {seed}")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    start = time.perf_counter()
                    classifier = factory(penalty, alpha, settings, seed)
                    classifier.fit(X_train, y_train)
                    seconds = time.perf_counter() - start
                except ValueError as error:
                    raise UsageError(
                        f"loss {settings.loss}, penalty {penalty}, solver {settings.solver}: {error}"
                    ) from error
                if interrupted():
                    raise KeyboardInterrupt
                train_accuracy = float(classifier.score(X_train, y_train))
                test_accuracy = float(classifier.score(X_test, y_test))
            for category, text in {warning.category: str(warning.message) for warning in caught}.items():
                remarks.setdefault((penalty, category), []).append(text)
            coef = classifier.coef_
            if not np.isfinite(coef).all():
                raise CommandError(
                    f"training with penalty {penalty} diverged: weights are not finite; scale the features"
                )
            zero_share = 1.0 - np.count_nonzero(coef) / coef.size
            runs[penalty].append(Run(seed, train_accuracy, test_accuracy, zero_share, seconds))
            n_done += 1
    if progress is not None:
        progress(n_done, n_total, "done")

    results = tuple(
        PenaltyResult(
            penalty,
            None if penalty == "none" else alpha,
            settings.l1_ratio if penalty == "elasticnet" else None,
            tuple(of_penalty),
        )
        for penalty, of_penalty in runs.items()
    )
    return Comparison(
        settings=settings,
        scaling=scaling,
        n_train=n_train,
        n_test=n_test,
        results=results,
        gaps=paired_gaps(results, n_train, n_test),
        # Of warnings of one kind the first says it all: they differ in a figure.
        notes=tuple(
            f"{penalty}: {texts[0]} ({len(texts)} of {settings.n_seeds} fits)"
            for (penalty, _), texts in remarks.items()
        ),
    )


def paired_gaps(results: Sequence[PenaltyResult], n_train: int, n_test: int) -> tuple[Gap, ...]:
    """Hold every two penalties against each other, seed by seed.

    Splits of the same samples overlap, so their results are not independent, and the usual t-test finds
    gaps where there are none. Its variance is therefore raised from sd²/J to sd² (1/J + n_test/n_train) for
    J seeds, the corrected resampled t-test [1]_. The p-values of all pairs are then adjusted as in [2]_.

    References
    ----------
    .. [1] Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003.
    .. [2] Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scand. J. Statistics 6, 1979.

    Returns
    -------
    tuple of Gap
        The widest first; empty with one seed, which has no spread.
    """
    pairs: list[tuple[PenaltyResult, PenaltyResult, npt.NDArray[np.float64]]] = []
    for i, first in enumerate(results):
        for second in results[i + 1 :]:
            difference = np.array(
                [a.test_accuracy - b.test_accuracy for a, b in zip(first.runs, second.runs, strict=True)]
            )
            if difference.mean() < 0:
                first_, second_, difference = second, first, -difference
            else:
                first_, second_ = first, second
            pairs.append((first_, second_, difference))
    n_seeds = len(results[0].runs) if results else 0
    if n_seeds < 2:
        return ()

    from scipy.special import stdtr

    # An accuracy is a multiple of 1/n_test: no spread below that rounding is known to be a spread.
    least = 1.0 / (n_test * sqrt(12.0))
    p_values = []
    for _, _, difference in pairs:
        sd = max(float(difference.std(ddof=1)), least)
        t = float(difference.mean()) / (sd * sqrt(1.0 / n_seeds + n_test / n_train))
        p_values.append(2.0 * float(stdtr(n_seeds - 1, -t)))

    adjusted = [1.0] * len(pairs)
    running = 0.0
    for rank, k in enumerate(sorted(range(len(pairs)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(pairs) - rank) * p_values[k]))
        adjusted[k] = running
    gaps = [
        Gap(
            better=first.penalty,
            worse=second.penalty,
            mean=float(difference.mean()),
            sd=float(difference.std(ddof=1)),
            p_value=p_value,
            n_wins=int(np.count_nonzero(difference > 0)),
        )
        for (first, second, difference), p_value in zip(pairs, adjusted, strict=True)
    ]
    return tuple(sorted(gaps, key=lambda gap: -gap.mean))


def verdict(comparison: Comparison) -> str:
    """One sentence: do the gaps between the penalties exceed the spread between the seeds?"""
    n_seeds = comparison.settings.n_seeds
    if len(comparison.results) < 2:
        return "With one penalty there is nothing to compare."
    if not comparison.gaps:
        return "One seed shows no spread to hold the gaps against: use --seeds 5 or more."
    clear = [gap for gap in comparison.gaps if gap.exceeds_spread]
    n_gaps = len(comparison.gaps)

    def figures(gap: Gap) -> str:
        return f"{100 * gap.mean:.2f} ± {100 * gap.sd:.2f} points"

    if not clear:
        widest = comparison.gaps[0]
        if widest.mean == 0:
            return f"All penalties score the same over these {n_seeds} seeds."
        return (
            f"No gap in test accuracy exceeds the spread between seeds: the widest, {widest.better} over"
            f" {widest.worse}, is {figures(widest)} over {n_seeds} paired seeds ({p_value(widest.p_value)})."
        )
    named = "; ".join(
        f"{gap.better} over {gap.worse} by {figures(gap)} ({p_value(gap.p_value)})" for gap in clear[:3]
    )
    if len(clear) > 3:
        named += f"; and {len(clear) - 3} more"
    rest = n_gaps - len(clear)
    if rest == 0:
        subject = "The gap exceeds" if n_gaps == 1 else f"All {n_gaps} gaps exceed"
    else:
        subject = f"{len(clear)} of {n_gaps} gaps {'exceeds' if len(clear) == 1 else 'exceed'}"
        named += "; the other does not" if rest == 1 else f"; the other {rest} do not"
    return f"{subject} the spread between the {n_seeds} paired seeds: {named}."


def p_value(value: float) -> str:
    """A p-value in words."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
