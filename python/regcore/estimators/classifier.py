"""`LinearClassifier`: fitting, at once and batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import unique_labels

from regcore.estimators.data import as_numpy, checked_with_labels, encoded
from regcore.estimators.prediction import LinearPrediction
from regcore.estimators.repetition import merged
from regcore.estimators.weights import sample_weights
from regcore.losses import resolve_loss
from regcore.objective import Objective
from regcore.penalties import Penalty, from_estimator
from regcore.solvers import EarlyStopping, fit
from regcore.solvers.registry import Solver, resolve_solver

if TYPE_CHECKING:
    import numpy.typing as npt

    from regcore.losses import Loss
    from regcore.solvers import FitResult, HistoryEntry

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["LinearClassifier"]

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


def _is_stochastic(estimator: LinearClassifier) -> bool:
    if estimator.solver not in ("auto", "sgd"):
        raise AttributeError(
            f"solver={estimator.solver!r} needs all of the data at once; partial_fit is for solver='sgd' "
            "(which it takes for 'auto' as well)"
        )
    return True


class LinearClassifier(LinearPrediction):
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
    solver : str, default="auto"
        "auto", or a solver of `regcore.fit` by name, such as "fista" or "sgd".
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
        Iterations without improvement before "sgd", or any solver with `early_stopping`, stops.
    early_stopping : bool, default=False
        Set samples aside, and stop when their mean loss has not fallen for `n_iter_no_change` iterations; the
        coefficients are those of the best iteration.
    validation_fraction : float, default=0.1
        Share of the samples for `early_stopping`, drawn from every class alike.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, by label; "balanced": inversely to their frequencies.
    warm_start : bool, default=False
        Start from the coefficients of the previous fit, if the classes and the number of features are the
        same. Without it `fit` starts anew, whatever came before.
    random_state : int, RandomState or None, default=None
        Order of the samples, for solvers that take them one by one, such as "sgd", and which of them
        `early_stopping` sets aside.
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
    validation_losses_ : list of float or None
        With `early_stopping` the mean loss of the samples set aside, after each iteration.
    solver_ : str
        The solver that ran.
    t_ : int
        Steps of "sgd" that `partial_fit` counts on from; an iteration of another solver counts as an epoch.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only if X had feature names that are all strings.

    Notes
    -----
    X is neither copied nor converted if it is dense in any order or CSR, of float64, float32, float16 or an
    integer type (`regcore.Objective`); other sparse formats become CSR, other types float64. Of DataFrames
    (pandas, Polars) all columns must hold numbers; their names are kept and compared, if scikit-learn
    sees them (before 1.9 it does not see those of Polars 2).

    Weights are repetition: for data of any size up to `tol`, and to the last bit for small data (up to 2**16
    numbers), whatever the loss, the penalty and the order of the samples. There equal samples are merged into
    one of their common weight, unless the solver is "sgd", or with `early_stopping`.

    Arrays of other libraries (PyTorch, JAX and whatever speaks DLPack) are read where they are, if that is
    the memory of the CPU. The coefficients are NumPy's. So are results, unless scikit-learn is told otherwise
    by ``sklearn.set_config(array_api_dispatch=True)``: then they come in the library of X, labels that are no
    numbers excepted.

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
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
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
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
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
            Labels of any kind that can be sorted; at least two classes.
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
        X, y = checked_with_labels(self, X, y)
        classes, codes = encoded(y)
        if len(classes) < 2:
            raise ValueError(f"y must have at least 2 classes; got 1 class, {classes[0]!r}")
        n_steps = self._n_steps(len(codes))
        weights = sample_weights(sample_weight, None, classes, codes)
        if self.solver != "sgd" and not self.early_stopping:  # which take samples one by one
            distinct = merged(X, codes, weights)
            if distinct is not None:
                X, codes, weights = distinct.X, distinct.codes, distinct.weights
        weights = sample_weights(weights, self.class_weight, classes, codes)
        objective = self._objective(X, codes, classes, weights)
        solver = resolve_solver(self.solver, objective)
        random_state = check_random_state(self.random_state)
        stopping = self._early_stopping(random_state)
        result = fit(
            objective,
            solver=solver.name,
            tol=self.tol,
            max_iter=self.max_iter,
            init=self._init(classes, objective) if self.warm_start else None,
            fit_intercept=self.fit_intercept,
            callbacks=self.callbacks,
            early_stopping=stopping,
            random_state=random_state,
            **self._solver_options(solver),
        )
        self.classes_ = classes
        self.validation_losses_ = None if stopping is None else stopping.values
        self.n_iter_ = result.n_iter
        self.history_ = result.history
        self.t_ = result.n_iter * n_steps
        self._end_of_batch: tuple[Array, Array] | None = None
        self._keep(result, result.W, result.b)
        return self

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> LinearClassifier:
        """Go on from the present coefficients with one epoch of stochastic gradient descent over a batch.

        The steps shrink from call to call as if all batches were one run (`t_` counts them); momentum starts
        anew in each call.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The next samples, one or more.
        y : array-like of shape (n_samples,)
            Their labels.
        classes : array-like of shape (n_classes,), default=None
            All labels that will ever come; needed in the first call, and no others may be given later.
        sample_weight : array-like of shape (n_samples,), default=None
            As in `fit`, relative to the weights of this batch.

        Returns
        -------
        self : LinearClassifier

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data is not what it may be, above all if a label is not among `classes`.

        Notes
        -----
        Without `eta0` the size of a step is taken from each batch, so that it fits features whose scale
        drifts. With `average` the coefficients are the mean of what each call ended with, weighted by its
        steps. `tol`, `max_iter`, `warm_start` and `early_stopping` are not read.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight must be a dict or None in partial_fit: 'balanced' needs all labels at once "
                "(compute_class_weight('balanced', classes=classes, y=all_labels) gives the numbers)"
            )
        is_first = not hasattr(self, "classes_")
        known = self._known_classes(classes)
        X, y = checked_with_labels(self, X, y, reset=is_first)
        _, codes = encoded(y, known)
        weights = sample_weights(sample_weight, self.class_weight, known, codes)
        objective = self._objective(X, codes, known, weights)
        n_before = 0 if is_first else self.t_
        options = self._solver_options(resolve_solver("sgd", objective)) | {"average": False}
        result = fit(
            objective,
            solver="sgd",
            tol=None,
            max_iter=1,
            init=None if is_first else self._init(known, objective),
            fit_intercept=self.fit_intercept,
            callbacks=self.callbacks,
            # another order in each call, whatever the kind of random_state
            random_state=int(check_random_state(self.random_state).randint(2**31 - 1)) + n_before,
            n_steps_before=n_before,
            **options,
        )
        self.classes_ = known
        self.validation_losses_ = None
        n_now = self._n_steps(len(codes))
        self.n_iter_ = 1 if is_first else self.n_iter_ + 1
        earlier = [] if is_first else self.history_
        self.history_ = earlier + [_after(earlier, entry) for entry in result.history]
        self.t_ = n_before + n_now
        W, b = result.W, result.b
        self._end_of_batch = None
        if self.average and not is_first:
            self._end_of_batch = W, b
            share = n_now / self.t_
            W0, b0 = self._as_rows(self.coef_, self.intercept_, objective)
            W, b = W0 + share * (W - W0), b0 + share * (b - b0)
        self._keep(result, W, b)
        return self

    def _known_classes(self, classes: Any) -> Array:
        """The classes of a sequence of calls of partial_fit, checked against those of this call."""
        given: Array | None = None if classes is None else unique_labels(as_numpy("classes", classes))
        if not hasattr(self, "classes_"):
            if given is None:
                raise ValueError("classes must be given in the first call of partial_fit: all labels to come")
            if len(given) < 2:
                raise ValueError(f"classes must hold at least 2 labels; got {given.tolist()}")
            return given
        known = self.classes_
        if given is not None and not np.array_equal(given, known):
            raise ValueError(
                f"classes must be those of the first call, {known.tolist()}; got {given.tolist()} "
                "(fit, or a clone, starts anew)"
            )
        return known

    def _objective(self, X: Any, codes: Array, classes: Array, weights: Array | None) -> Objective:
        loss = resolve_loss(self.loss)
        return Objective(
            X,
            codes,
            loss=loss,
            penalty=self._penalty(),
            sample_weight=weights,
            n_classes=len(classes),
            binary=_is_binary(classes, loss),
            n_threads=self.n_threads,
        )

    def _penalty(self) -> Penalty | None:
        if isinstance(self.penalty, Penalty):
            return self.penalty
        return from_estimator(self.penalty, self.alpha, self.l1_ratio)

    def _solver_options(self, solver: Solver) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _SGD_OPTIONS} if solver.name == "sgd" else {}

    def _early_stopping(self, random_state: np.random.RandomState) -> EarlyStopping | None:
        if not self.early_stopping:
            return None
        return EarlyStopping(
            self.validation_fraction,
            patience=self.n_iter_no_change,
            random_state=int(random_state.randint(2**31 - 1)),
        )

    def _n_steps(self, n_samples: int) -> int:
        """Steps of an epoch of "sgd"; any other iteration counts as an epoch."""
        return -(-n_samples // max(1, int(self.batch_size)))

    def _keep(self, result: FitResult, W: Array, b: Array) -> None:
        self.solver_ = result.solver
        self.converged_ = result.converged
        self.dual_gap_ = result.dual_gap
        if len(self.classes_) == 2 and len(W) == 2:
            W, b = W[1:] - W[:1], b[1:] - b[:1]
        self.coef_ = W
        self.intercept_ = b

    def _init(self, classes: Array, objective: Objective) -> tuple[Array, Array] | None:
        """Where to start: the previous coefficients, if they are there and of this shape."""
        if not hasattr(self, "coef_") or not np.array_equal(self.classes_, classes):
            return None
        W, b = self._end_of_batch or self._as_rows(self.coef_, self.intercept_, objective)
        if W.shape != objective.weight_shape:
            return None
        return W, b if self.fit_intercept else np.zeros_like(b)

    def _as_rows(self, W: Array, b: Array, objective: Objective) -> tuple[Array, Array]:
        """Coefficients in the shape of the objective, of whose two rows one may hold the difference."""
        if len(self.classes_) == 2 and not objective.binary:
            return np.concatenate([-W, W]) / 2, np.concatenate([-b, b]) / 2
        return W, b


def _is_binary(classes: Array, loss: Loss) -> bool:
    return len(classes) == 2 and loss.has_binary_form


def _after(earlier: list[HistoryEntry], entry: HistoryEntry) -> HistoryEntry:
    """An entry of a later call, counted on from the earlier ones."""
    if not earlier:
        return entry
    last = earlier[-1]
    return entry._replace(
        iteration=last.iteration + entry.iteration,
        n_passes=last.n_passes + entry.n_passes,
        seconds=last.seconds + entry.seconds,
    )
