"""What a fitted linear classifier says about new data; shared by all estimators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from regcore.estimators.data import as_caller_has_it, checked
from regcore.losses import Loss, resolve_loss
from regcore.objective import Objective

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["LinearPrediction"]

_BLOCK = 1 << 16  # numbers of a block, to stay in cache


def _gives_probabilities(estimator: LinearPrediction) -> bool:
    if resolve_loss(estimator.loss) is not Loss.CROSS_ENTROPY:
        raise AttributeError(
            f"loss={estimator.loss!r} has no probabilities; use loss='cross_entropy', or wrap the classifier "
            "in sklearn.calibration.CalibratedClassifierCV"
        )
    return True


class LinearPrediction(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Scores, labels and probabilities from `coef_`, `intercept_` and `classes_`; to be derived from.

    New data is read in blocks, dense or CSR, as it is stored; beyond the result nothing of its size is made.
    """

    loss: Any
    n_threads: Any
    coef_: Array
    intercept_: Array
    classes_: Array

    def _scorer(self, X: Any) -> Objective:
        check_is_fitted(self, "coef_")
        X = checked(self, X)
        return Objective(
            X,
            np.zeros(X.shape[0], np.uint8),
            n_classes=len(self.classes_),
            binary=len(self.classes_) == 2,
            n_threads=self.n_threads,
        )

    def decision_function(self, X: Any) -> Any:
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
        return as_caller_has_it(scores[:, 0] if len(self.classes_) == 2 else scores, X)

    def predict(self, X: Any) -> Any:
        """Return the predicted labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        labels = self._scorer(X).predict(self.coef_, self.intercept_)
        if not _are_codes(self.classes_):  # otherwise they are what they stand for
            labels = np.take(self.classes_, labels)
        return as_caller_has_it(labels, X)

    @available_if(_gives_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Any:
        """Return the probabilities of the classes; for ``loss="cross_entropy"`` alone.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        return as_caller_has_it(self._scorer(X).predict_proba(self.coef_, self.intercept_), X)

    @available_if(_gives_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Any:
        """Return the logarithms of the probabilities, accurate also where these vanish.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        scores = self._scorer(X).scores(self.coef_, self.intercept_)
        return as_caller_has_it(_log_sigmoid(scores) if scores.shape[1] == 1 else _log_softmax(scores), X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _are_codes(classes: Array) -> bool:
    return classes.dtype == np.int64 and np.array_equal(classes, np.arange(len(classes)))


def _log_softmax(scores: Array) -> Array:
    """Turn scores into log-probabilities, in place and in blocks of rows."""
    n_rows = max(1, _BLOCK // scores.shape[1])
    for start in range(0, len(scores), n_rows):
        block = scores[start : start + n_rows]
        block -= block.max(axis=1, keepdims=True)
        block -= np.log(np.exp(block).sum(axis=1, keepdims=True))
    return scores


def _log_sigmoid(scores: Array) -> Array:
    """Return the log-probabilities of both classes from the score of the second."""
    found = np.empty((len(scores), 2), scores.dtype)
    zero = scores.dtype.type(0)
    np.negative(np.logaddexp(zero, scores[:, 0]), out=found[:, 0])
    np.negative(np.logaddexp(zero, -scores[:, 0]), out=found[:, 1])
    return found
