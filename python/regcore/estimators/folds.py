"""Many penalties over the folds of a cross-validation: the one function that `LinearClassifierCV` asks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from regcore.objective import Objective
from regcore.solvers import ConvergenceWarning, FitResult
from regcore.sweeps import fit_models

if TYPE_CHECKING:
    import numpy.typing as npt

    from regcore.losses import Loss
    from regcore.penalties import Penalty

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["fit_folds"]


def fit_folds(
    X: Any,
    y: Array,
    *,
    loss: Loss,
    penalties: Sequence[Penalty | None],
    fold_weights: Sequence[Array],
    n_classes: int,
    binary: bool,
    n_threads: int | None,
    **settings: Any,
) -> list[list[FitResult]]:
    """Fit every penalty on every fold, all models together: see `regcore.sweep`.

    A fold is a set of weights over all samples, zero for those left out, so that no rows of X are copied.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
        Labels 0 .. n_classes - 1.
    loss : Loss
    penalties : sequence of Penalty or None
    fold_weights : sequence of ndarray of shape (n_samples,)
    n_classes, binary, n_threads
        As in `Objective`.
    **settings
        As in `regcore.fit`.

    Returns
    -------
    results : list of list of FitResult
        ``results[i][k]`` for penalty i and fold k.

    Warns
    -----
    ConvergenceWarning
        Once, if fits stopped early, with their number.
    """
    everything = Objective(X, y, loss=loss, n_classes=n_classes, binary=binary, n_threads=n_threads)
    results, warning = fit_models(everything, fold_weights, penalties, **settings)
    if warning:
        warnings.warn(warning, ConvergenceWarning, stacklevel=3)
    return results
