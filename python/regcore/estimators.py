"""`LinearClassifier`: a scikit-learn estimator. Besides the command, nothing else imports scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore.losses import Loss, resolve_loss
from regcore.objective import Objective
from regcore.penalties import Penalty, from_estimator
from regcore.solvers import fit
from regcore.solvers.registry import Solver, resolve_solver

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_random_state, compute_class_weight
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        'the estimators need scikit-learn 1.6 or newer: pip install "regcore[sklearn]"'
    ) from error

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["LinearClassifier"]

# What the core reads as it is; anything else is converted to float64.
_STORAGE = [
    *(np.float64, np.float32, np.float16, np.bool_),
    *(np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64),
]
_SGD_OPTIONS = (
    "batch_size",
    "learning_rate",
    "eta0",
    "power_t",
    "momentum",
    "average",
    "dropout",
    "n_iter_no_change",
)


def _gives_probabilities(estimator: LinearClassifier) -> bool:
    if resolve_loss(estimator.loss) is not Loss.CROSS_ENTROPY:
        raise AttributeError(
            f"loss={estimator.loss!r} has no probabilities; use loss='cross_entropy', or wrap the classifier "
            "in sklearn.calibration.CalibratedClassifierCV"
        )
    return True


class LinearClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Regularised linear classifier: any of four losses with any of four penalties, or none.

    Minimises

        (1 / sum_i w_i) sum_i w_i loss(y_i, W x_i + b) + alpha * P(W)

    over W and b, with P(W) = sum |W| for "l1", sum W**2 / 2 for "l2", sum_f ||W[:, f]|| for "group_l1" and
    l1_ratio sum |W| + (1 - l1_ratio) / 2 sum W**2 for "elasticnet". The mean is over the weights, so that
    `alpha` means the same for any number of samples; the intercept is not penalised. With two classes W has
    one row where the loss has a binary form.

    Parameters
    ----------
    loss : {"cross_entropy", "hinge", "squared_hinge", "crammer_singer"}, default="cross_entropy"
        "hinge" and "squared_hinge" are those of Weston and Watkins: all classes within the margin count.
    penalty : {"l2", "l1", "elasticnet", "group_l1", "none"}, Penalty or None, default="l2"
        A `Penalty` object is taken as it is, with its own strength.
    alpha : float, default=1e-4
        Strength of the penalty. Without one it is read by "sgd", as the least decay of "optimal" steps.
    l1_ratio : float, default=0.15
        Share of L1 in "elasticnet".
    solver : {"auto", "fista", "dual", "sgd"}, default="auto"
        See `regcore.fit`.
    fit_intercept : bool, default=True
    tol : float or None, default=1e-4
        When to stop, see the solver; None or 0: after `max_iter` iterations.
    max_iter : int, default=None
        Most iterations ("sgd": epochs); None: the solver's default.
    batch_size : int, default=32
        Samples of a step of "sgd". This and the following six are read by that solver alone.
    learning_rate : {"optimal", "constant", "invscaling", "adaptive"}, default="optimal"
    eta0 : float, default=None
        First step; None: from the data.
    power_t : float, default=0.5
        Exponent of "invscaling".
    momentum : float, default=0.0
    average : bool or int, default=False
        Whether the coefficients are the mean of the iterates, or from which epoch on.
    dropout : float, default=0.0
        Probability that a feature of a sample is left out of a step.
    n_iter_no_change : int, default=5
        Epochs without improvement before "sgd" stops.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, by label; "balanced": inversely to their frequencies.
    warm_start : bool, default=False
        Start from the coefficients of the previous fit, if the classes and the number of features are the
        same.
    random_state : int, RandomState or None, default=None
        Order of the samples, for "dual" and "sgd".
    n_threads : int, default=None
        At most so many threads; None: all. The result does not depend on it.
    callbacks : callable or iterable of callables, default=()
        See `regcore.fit`.

    Attributes
    ----------
    coef_ : ndarray of shape (n_classes, n_features), or (1, n_features) with two classes
        float32 if X is float32, float16, bool or of 8 bits, otherwise float64.
    intercept_ : ndarray of shape (n_classes,) or (1,)
    classes_ : ndarray of shape (n_classes,)
    n_iter_ : int
    converged_ : bool
        Whether the solver met its criterion.
    dual_gap_ : float or None
        Upper bound of the distance from the minimum, where the solver gives one.
    history_ : list of HistoryEntry
    solver_ : str
        The solver that ran.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only if X had feature names that are all strings.

    Notes
    -----
    X is neither copied nor converted if it is dense in any order or CSR, of float64, float32, float16 or an
    integer type (`regcore.Objective`).

    Examples
    --------
    >>> from regcore import LinearClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> LinearClassifier(penalty="elasticnet", alpha=1e-3).fit(X, y).score(X, y) > 0.9
    True
    """

    def __init__(
        self,
        loss: str = "cross_entropy",
        penalty: str | Penalty | None = "l2",
        alpha: float = 1e-4,
        l1_ratio: float = 0.15,
        *,
        solver: str = "auto",
        fit_intercept: bool = True,
        tol: float | None = 1e-4,
        max_iter: int | None = None,
        batch_size: int = 32,
        learning_rate: str = "optimal",
        eta0: float | None = None,
        power_t: float = 0.5,
        momentum: float = 0.0,
        average: bool | int = False,
        dropout: float = 0.0,
        n_iter_no_change: int = 5,
        class_weight: dict[Any, float] | str | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        n_threads: int | None = None,
        callbacks: Any = (),
    ) -> None:
        self.loss = loss
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.solver = solver
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.momentum = momentum
        self.average = average
        self.dropout = dropout
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.random_state = random_state
        self.n_threads = n_threads
        self.callbacks = callbacks

    # ------------------------------------------------------------------ fit

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LinearClassifier:
        """Fit the classifier.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels of any kind; at least two classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Finite and not negative. A weight of 2 equals the sample twice, 0 its absence.

        Returns
        -------
        self : LinearClassifier

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data is not what it may be.

        Warns
        -----
        ConvergenceWarning
            If the solver stopped early; the coefficients are those that it had reached.
        """
        X, y = self._validate(X, y)
        loss = resolve_loss(self.loss)
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y must have at least 2 classes; got 1 class, {classes[0]!r}")
        weights = self._weights(sample_weight, classes, codes)
        binary = len(classes) == 2 and loss.has_binary_form
        objective = Objective(
            X,
            codes,
            loss=loss,
            penalty=self._penalty(),
            sample_weight=weights,
            n_classes=len(classes),
            binary=binary,
            n_threads=self.n_threads,
        )
        solver = resolve_solver(self.solver, objective)
        result = fit(
            objective,
            solver=solver.name,
            tol=self.tol,
            max_iter=self.max_iter,
            init=self._init(classes, objective),
            fit_intercept=self.fit_intercept,
            callbacks=self.callbacks,
            random_state=check_random_state(self.random_state),
            **self._solver_options(solver),
        )
        self.classes_ = classes
        self.solver_ = result.solver
        self.n_iter_ = result.n_iter
        self.converged_ = result.converged
        self.dual_gap_ = result.dual_gap
        self.history_ = result.history
        W, b = result.W, result.b
        if len(classes) == 2 and not binary:
            W, b = W[1:] - W[:1], b[1:] - b[:1]
        self.coef_ = W
        self.intercept_ = b
        return self

    def _validate(self, X: Any, y: Any) -> tuple[Any, Array]:
        X, y = validate_data(
            self, X, y, accept_sparse="csr", accept_large_sparse=True, dtype=_STORAGE, ensure_all_finite=False
        )
        check_classification_targets(y)
        return X, y

    def _penalty(self) -> Penalty | None:
        if isinstance(self.penalty, Penalty):
            return self.penalty
        return from_estimator(self.penalty, self.alpha, self.l1_ratio)

    def _weights(self, sample_weight: Any, classes: Array, codes: Array) -> Array | None:
        """Weights of the samples times those of their classes; None where all are 1."""
        weights: Array | None = None
        if sample_weight is not None:
            weights = np.asarray(sample_weight)
            if weights.shape != codes.shape:
                raise ValueError(
                    f"sample_weight must have shape {codes.shape}, one weight a row of X; got {weights.shape}"
                )
            if not weights.any():
                raise ValueError("sample_weight must have a positive sum; all weights are zero")
        if self.class_weight is None:
            return weights
        if self.class_weight == "balanced":
            # with the samples' weights, so that a weight of 2 is the sample twice here too
            totals = np.bincount(codes, weights, minlength=len(classes)).astype(np.float64)
            present = totals > 0
            factors = np.zeros(len(classes))
            factors[present] = totals.sum() / (present.sum() * totals[present])
        else:
            factors = compute_class_weight(self.class_weight, classes=classes, y=classes[codes])
        per_sample: Array = factors[codes] if weights is None else factors[codes] * weights
        return per_sample

    def _solver_options(self, solver: Solver) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _SGD_OPTIONS if name in solver.options}

    def _init(self, classes: Array, objective: Objective) -> tuple[Array, Array] | None:
        """Where to start: the previous coefficients, if they are wanted, there, and of this shape."""
        if not self.warm_start or not hasattr(self, "coef_") or not np.array_equal(self.classes_, classes):
            return None
        W, b = self.coef_, self.intercept_
        if len(classes) == 2 and not objective.binary:  # one row stands for the difference of two
            W, b = np.concatenate([-W, W]) / 2, np.concatenate([-b, b]) / 2
        if W.shape != objective.weight_shape:
            return None
        return W, b if self.fit_intercept else np.zeros_like(b)

    # ------------------------------------------------------------------ prediction

    def _scorer(self, X: Any) -> Objective:
        check_is_fitted(self, "coef_")
        X = validate_data(
            self,
            X,
            accept_sparse="csr",
            accept_large_sparse=True,
            dtype=_STORAGE,
            ensure_all_finite=False,
            reset=False,
        )
        return Objective(
            X,
            np.zeros(X.shape[0], np.uint8),
            n_classes=len(self.classes_),
            binary=len(self.classes_) == 2,
            n_threads=self.n_threads,
        )

    def decision_function(self, X: Any) -> Array:
        """Return the scores W x + b.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes), or (n_samples,) with two classes
            With two classes positive where ``classes_[1]`` is predicted.
        """
        scores = self._scorer(X).scores(self.coef_, self.intercept_)
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> Array:
        """Return the predicted labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        codes = self._scorer(X).predict(self.coef_, self.intercept_)
        labels: Array = self.classes_[codes]
        return labels

    @available_if(_gives_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes; for ``loss="cross_entropy"`` alone.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        return self._scorer(X).predict_proba(self.coef_, self.intercept_)

    @available_if(_gives_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities, accurate also where these vanish.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
        """
        scores = self._scorer(X).scores(self.coef_, self.intercept_)
        if len(self.classes_) == 2:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        scores -= scores.max(axis=1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return scores

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
