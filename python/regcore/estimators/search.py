"""`LinearClassifierCV`: which penalty, how strong, and does it matter? By cross-validation."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from scipy.stats import rankdata
from sklearn import get_config
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch, check_random_state
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from regcore.estimators.classifier import LinearClassifier
from regcore.estimators.data import checked_with_labels, encoded
from regcore.estimators.folds import fit_folds
from regcore.estimators.prediction import LinearPrediction
from regcore.estimators.repetition import merged
from regcore.estimators.strengths import spaced_strengths
from regcore.estimators.weights import sample_weights
from regcore.losses import Loss, resolve_loss
from regcore.objective import Objective
from regcore.penalties import Penalty, from_estimator
from regcore.solvers import ConvergenceWarning

if TYPE_CHECKING:
    import numpy.typing as npt

    from regcore.solvers import FitResult, HistoryEntry

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["LinearClassifierCV"]

_WITHOUT_STRENGTH = (None, "none")


class LinearClassifierCV(LinearPrediction):
    """`LinearClassifier` whose penalty, strength and l1_ratio are chosen by cross-validation.

    Every penalty with every strength (and, for "elasticnet", every l1_ratio) is fitted on every fold, "none"
    among them; the best mean score on what the folds leave out decides, and that model is fitted again on all
    samples.

    Parameters
    ----------
    loss : {"cross_entropy", "hinge", "squared_hinge", "crammer_singer"}, default="cross_entropy"
    penalties : sequence of str or None, default=("none", "l1", "l2", "elasticnet")
        Names as in `LinearClassifier`: also "group_l1".
    alphas : int or sequence of float, default=10
        Strengths. An int: so many, evenly spaced in their logarithm, from the least at which "l1" keeps no
        weight (about that, for losses other than "cross_entropy") down to `eps` times it.
    l1_ratios : sequence of float, default=(0.15, 0.5, 0.85)
        For "elasticnet".
    eps : float, default=1e-4
        Least strength as a share of the greatest, for an int as `alphas`.
    cv : int, splitter or iterable of (train, test), default=5
        An int: so many stratified folds, as everywhere in scikit-learn.
    scoring : str, callable or None, default=None
        A scorer of scikit-learn. None: accuracy, with the weights of the samples if there are any.
    solver, fit_intercept, tol, max_iter, class_weight, random_state, n_threads
        As in `LinearClassifier`. "balanced" weights are those of each training part.

    Attributes
    ----------
    best_params_ : dict
        "penalty", and where it has them "alpha" and "l1_ratio": parameters of `LinearClassifier`.
    best_score_ : float
        Their mean score over the folds.
    best_index_ : int
        Their place in `cv_results_`; of equal ones the first.
    best_estimator_ : LinearClassifier
        The model fitted on all samples.
    cv_results_ : dict of arrays
        In the form of GridSearchCV: "params", "param_penalty", "param_alpha", "param_l1_ratio" (masked where
        there is none), "split0_test_score" and so on, "mean_test_score", "std_test_score",
        "rank_test_score"; besides "mean_n_iter", "converged" (in all folds) and "mean_sparsity" (share of
        weights that are zero). Candidates are fitted together: there is no time of each.
    alphas_ : ndarray of shape (n_alphas,)
        The strengths, the greatest first.
    n_splits_ : int
    scorer_ : callable
    search_time_, refit_time_ : float
        Seconds.
    coef_, intercept_, classes_, n_iter_, converged_, dual_gap_, history_, solver_, n_features_in_
        Those of `best_estimator_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only if X had feature names that are all strings.

    See Also
    --------
    LinearClassifier : The estimator for given parameters.
    PenaltyComparisonDisplay : A picture of `cv_results_`.

    Examples
    --------
    >>> from regcore import LinearClassifierCV
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> search = LinearClassifierCV(penalties=("none", "l2"), alphas=5, max_iter=5000).fit(X, y)
    >>> search.best_score_ > 0.95
    True
    """

    def __init__(
        self,
        loss: str = "cross_entropy",
        penalties: Sequence[str | None] = ("none", "l1", "l2", "elasticnet"),
        alphas: int | Sequence[float] = 10,
        l1_ratios: Sequence[float] = (0.15, 0.5, 0.85),
        *,
        eps: float = 1e-4,
        cv: Any = 5,
        scoring: Any = None,
        solver: str = "auto",
        fit_intercept: bool = True,
        tol: float | None = 1e-4,
        max_iter: int | None = None,
        class_weight: dict[Any, float] | str | None = None,
        random_state: Any = None,
        n_threads: int | None = None,
    ) -> None:
        self.loss = loss
        self.penalties = penalties
        self.alphas = alphas
        self.l1_ratios = l1_ratios
        self.eps = eps
        self.cv = cv
        self.scoring = scoring
        self.solver = solver
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.random_state = random_state
        self.n_threads = n_threads

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> LinearClassifierCV:
        """Search, and fit the best model on all samples.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels of any kind that can be sorted; at least two classes.
        sample_weight : array-like of shape (n_samples,), default=None
            As in `LinearClassifier`; for fits and, with ``scoring=None``, for scores.
        **params : dict
            `groups` for the splitter; with metadata routing also what the scorer asks for.

        Returns
        -------
        self : LinearClassifierCV

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data is not what it may be.

        Warns
        -----
        ConvergenceWarning
            If fits stopped early: once for all of the folds, and once for the last fit. Of the folds' fits
            without a penalty `cv_results_` alone says so: to separable classes they may have no minimum, and
            what they reached is scored like any other model.
        """
        routed = self._routed(sample_weight, params)
        X, y = checked_with_labels(self, X, y)
        loss = resolve_loss(self.loss)
        classes, codes = encoded(y)
        if len(classes) < 2:
            raise ValueError(f"y must have at least 2 classes; got 1 class, {classes[0]!r}")
        weights = sample_weights(sample_weight, None, classes, codes)
        splits = list(check_cv(self.cv, y, classifier=True).split(X, y, **routed.splitter.split))
        self.scorer_ = check_scoring(self, self.scoring)
        data = _Samples(X, codes, weights, splits)
        if self.solver != "sgd":  # as in `LinearClassifier.fit`
            data = data.merged()
        self.alphas_ = self._alphas(data, loss, len(classes))
        candidates = list(self._candidates())
        start = time.perf_counter()
        with warnings.catch_warnings():  # `_warn_of` says what matters of them
            warnings.simplefilter("ignore", ConvergenceWarning)
            results = fit_folds(
                data.X,
                data.codes,
                loss=loss,
                penalties=[_penalty(candidate) for candidate in candidates],
                fold_weights=[self._fold_weights(classes, data, train) for train, _ in data.splits],
                n_classes=len(classes),
                binary=len(classes) == 2 and loss.has_binary_form,
                n_threads=self.n_threads,
                solver=self.solver,
                tol=self.tol,
                max_iter=self.max_iter,
                fit_intercept=self.fit_intercept,
                random_state=int(check_random_state(self.random_state).randint(2**31 - 1)),
            )
        if self.tol:
            _warn_of(candidates, results)
        self.classes_ = classes
        accuracy = _Accuracy(data, loss, classes, self.n_threads)
        scores = np.array(
            [
                [
                    accuracy(result, data.splits[k][1])
                    if self.scoring is None
                    else self._scored(result, candidate, X, y, splits[k][1], routed.scorer.score)
                    for k, result in enumerate(results[i])
                ]
                for i, candidate in enumerate(candidates)
            ]
        )
        self.search_time_ = time.perf_counter() - start
        self.n_splits_ = len(splits)
        self.cv_results_ = _cv_results(candidates, scores, results)
        self.best_index_ = int(self.cv_results_["rank_test_score"].argmin())
        self.best_params_ = candidates[self.best_index_]
        self.best_score_ = float(self.cv_results_["mean_test_score"][self.best_index_])
        start = time.perf_counter()
        self.best_estimator_ = self._classifier(self.best_params_).fit(X, y, sample_weight)
        self.refit_time_ = time.perf_counter() - start
        if hasattr(self, "feature_names_in_"):
            self.best_estimator_.feature_names_in_ = self.feature_names_in_
        self.coef_ = self.best_estimator_.coef_
        self.intercept_ = self.best_estimator_.intercept_
        self.n_iter_ = self.best_estimator_.n_iter_
        self.converged_ = self.best_estimator_.converged_
        self.dual_gap_ = self.best_estimator_.dual_gap_
        self.history_: list[HistoryEntry] = self.best_estimator_.history_
        self.solver_ = self.best_estimator_.solver_
        return self

    # ------------------------------------------------------------------ what is searched

    def _candidates(self) -> Iterator[dict[str, Any]]:
        """Parameters of the candidates, neighbours alike and the strongest penalties first."""
        for penalty in self._penalties():
            if penalty in _WITHOUT_STRENGTH:
                yield {"penalty": penalty}
                continue
            ratios = self._l1_ratios() if penalty == "elasticnet" else [None]
            for ratio in ratios:
                for alpha in self.alphas_.tolist():
                    found = {"penalty": penalty, "alpha": alpha}
                    yield found if ratio is None else found | {"l1_ratio": ratio}

    def _penalties(self) -> list[str | None]:
        if isinstance(self.penalties, str) or not isinstance(self.penalties, Iterable):
            raise TypeError(f"penalties must be a sequence of names; got {self.penalties!r}")
        names = list(self.penalties)
        if not names:
            raise ValueError("penalties must name at least one penalty; got none")
        for name in names:
            try:
                from_estimator(name, 1.0)
            except (TypeError, ValueError) as error:
                raise type(error)(f"penalties: {error}") from None
        return names

    def _l1_ratios(self) -> list[float]:
        ratios = _numbers("l1_ratios", self.l1_ratios)
        if not all(0 <= ratio <= 1 for ratio in ratios):
            raise ValueError(f"l1_ratios must be in [0, 1]; got {ratios}")
        return ratios

    def _alphas(self, data: _Samples, loss: Loss, n_classes: int) -> Array:
        if isinstance(self.alphas, bool) or not isinstance(self.alphas, Integral):
            alphas = _numbers("alphas", self.alphas)
            if not all(alpha >= 0 for alpha in alphas):
                raise ValueError(f"alphas must not be negative; got {alphas}")
            return np.unique(alphas)[::-1]
        if self.alphas < 1:
            raise ValueError(f"alphas must be at least 1, or a sequence of strengths; got {self.alphas}")
        (eps,) = _numbers("eps", [self.eps])
        if not 0 < eps < 1:
            raise ValueError(f"eps must be in (0, 1); got {self.eps}")
        return spaced_strengths(
            data.X,
            data.codes,
            data.weights,
            loss=loss,
            n_classes=n_classes,
            n_alphas=int(self.alphas),
            eps=eps,
            n_threads=self.n_threads,
        )

    def _fold_weights(self, classes: Array, data: _Samples, train: Array) -> Array:
        """Weights of all samples, zero for those that the fold leaves out."""
        part = data.counts(train).astype(np.float64)
        if data.weights is not None:
            part *= data.weights
        found = sample_weights(part, self.class_weight, classes, data.codes)
        return part if found is None else found

    # ------------------------------------------------------------------ models and scores

    def _classifier(self, candidate: dict[str, Any]) -> LinearClassifier:
        return LinearClassifier(
            self.loss,
            **candidate,
            solver=self.solver,
            fit_intercept=self.fit_intercept,
            tol=self.tol,
            max_iter=self.max_iter,
            class_weight=self.class_weight,
            random_state=self.random_state,
            n_threads=self.n_threads,
        )

    def _scored(
        self,
        result: FitResult,
        candidate: dict[str, Any],
        X: Any,
        y: Array,
        test: Array,
        params: dict[str, Any],
    ) -> float:
        """The user's scorer on what a fold left out."""
        model = self._classifier(candidate)
        model.classes_, model.n_features_in_ = self.classes_, X.shape[1]
        model._keep(result, result.W, result.b)
        n_samples = len(y)
        part = {
            name: np.asarray(value)[test] if np.ndim(value) and len(value) == n_samples else value
            for name, value in params.items()
        }
        return float(self.scorer_(model, X[test], y[test], **part))

    def _routed(self, sample_weight: Any, params: dict[str, Any]) -> Bunch:
        if get_config()["enable_metadata_routing"]:
            return process_routing(self, "fit", sample_weight=sample_weight, **params)
        unknown = sorted(set(params) - {"groups"})
        if unknown:
            raise TypeError(
                f"fit takes sample_weight and groups; got {', '.join(unknown)} as well (with "
                "sklearn.set_config(enable_metadata_routing=True) also what the scorer asks for)"
            )
        return Bunch(splitter=Bunch(split=params), scorer=Bunch(score={}))

    def get_metadata_routing(self) -> Any:
        """Return who is asked for which metadata: see scikit-learn's user guide on routing.

        Returns
        -------
        routing : MetadataRouter
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        router.add(
            splitter=check_cv(self.cv, classifier=True),
            method_mapping=MethodMapping().add(caller="fit", callee="split"),
        )
        if self.scoring is not None:
            router.add(
                scorer=check_scoring(self, self.scoring),
                method_mapping=MethodMapping().add(caller="fit", callee="score"),
            )
        return router


class _Samples(NamedTuple):
    """The samples, and the folds that they are in."""

    X: Any
    codes: Array
    weights: Array | None
    splits: list[tuple[Array, Array]]

    def counts(self, part: Array) -> Array:
        """How often each sample is in a part of a split: an index may repeat, and a mask is one, too."""
        return np.bincount(np.arange(len(self.codes))[part], minlength=len(self.codes))

    def merged(self) -> _Samples:
        """The same with equal samples merged that are in the same folds, see `merged`."""
        counts = np.stack([self.counts(part) for split in self.splits for part in split], axis=1)
        found = merged(self.X, self.codes, self.weights, apart=counts)
        if found is None:
            return self
        places = np.arange(len(found.rows))
        parts = [np.repeat(places, n_times) for n_times in counts[found.rows].T]
        splits = list(zip(parts[::2], parts[1::2], strict=True))
        return _Samples(found.X, found.codes, found.weights, splits)


class _Accuracy:
    """Share of the left-out samples, by weight, that a result labels rightly; no rows of X are copied."""

    def __init__(self, data: _Samples, loss: Loss, classes: Array, n_threads: int | None) -> None:
        self.codes, self.weights = data.codes, data.weights
        self.objective = Objective(
            data.X,
            data.codes,
            n_classes=len(classes),
            binary=len(classes) == 2 and loss.has_binary_form,
            n_threads=n_threads,
        )

    def __call__(self, result: FitResult, test: Array) -> float:
        rows = np.arange(len(self.codes))[test]
        weights = None if self.weights is None else self.weights[rows]
        if weights is not None and not weights.any():  # or no rows, once those without weight are gone
            raise ValueError("sample_weight must leave some weight to the samples that each fold leaves out")
        right = self.objective.predict(result.W, result.b, rows=rows) == self.codes[rows]
        return float(np.average(right, weights=weights))


def _warn_of(candidates: list[dict[str, Any]], results: list[list[FitResult]]) -> None:
    """Warn once of all fits with a penalty that stopped early.

    Without a penalty the fit to a separable fold has no end: its score is as good as any other, and whoever
    looks for the best penalty need not be told to add one. If none is the best, the last fit says so.
    """
    early = [
        (candidate, [result for result in row if not result.converged])
        for candidate, row in zip(candidates, results, strict=True)
        if candidate.get("alpha")
    ]
    early = [(candidate, row) for candidate, row in early if row]
    if not early:
        return
    first, row = early[0]
    warnings.warn(
        f"{sum(len(row) for _, row in early)} of {sum(map(len, results))} fits of the cross-validation "
        f"stopped early, of {len(early)} of {len(candidates)} candidates (cv_results_['converged'] says of "
        f"which); one of {first} says: {row[0].message}",
        ConvergenceWarning,
        stacklevel=3,
    )


def _penalty(candidate: dict[str, Any]) -> Penalty | None:
    return from_estimator(candidate["penalty"], candidate.get("alpha", 0.0), candidate.get("l1_ratio", 0.0))


def _cv_results(
    candidates: list[dict[str, Any]], scores: Array, results: list[list[FitResult]]
) -> dict[str, Any]:
    found: dict[str, Any] = {"params": candidates}
    for name in ("penalty", "alpha", "l1_ratio"):
        empty = np.empty(len(candidates), object if name == "penalty" else np.float64)
        column: Any = np.ma.MaskedArray(empty, mask=True)
        for i, candidate in enumerate(candidates):
            if name in candidate:
                column[i] = candidate[name]
        found[f"param_{name}"] = column
    for k in range(scores.shape[1]):
        found[f"split{k}_test_score"] = scores[:, k]
    mean = scores.mean(axis=1)
    found["mean_test_score"] = mean
    found["std_test_score"] = scores.std(axis=1)
    # a score of NaN is the last of all, as in GridSearchCV
    ranked = np.where(np.isnan(mean), np.nanmin(mean) - 1 if not np.isnan(mean).all() else 0, mean)
    found["rank_test_score"] = rankdata(-ranked, method="min").astype(np.int32)
    found["mean_n_iter"] = np.array([np.mean([result.n_iter for result in row]) for row in results])
    found["converged"] = np.array([all(result.converged for result in row) for row in results])
    found["mean_sparsity"] = np.array(
        [np.mean([(result.W == 0).mean() for result in row]) for row in results]
    )
    return found


def _numbers(argument: str, values: Any) -> list[float]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{argument} must be a sequence of numbers; got {values!r}")
    found = list(values)
    if not found:
        raise ValueError(f"{argument} must hold at least one number; got none")
    for value in found:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{argument} must hold numbers; got {value!r}")
        if not np.isfinite(float(value)):
            raise ValueError(f"{argument} must hold finite numbers; got {value!r}")
    return [float(value) for value in found]
