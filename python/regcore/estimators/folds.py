"""Many penalties over the folds of a cross-validation: the one function that `LinearClassifierCV` asks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore.objective import Objective
from regcore.solvers import ConvergenceWarning, FitResult, fit

if TYPE_CHECKING:
    import numpy.typing as npt

    from regcore.losses import Loss
    from regcore.penalties import Penalty

    Array: TypeAlias = npt.NDArray[Any]
    Folds: TypeAlias = Sequence[tuple[Array, Array]]

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
    """Fit every penalty on every fold.

    One model after another, each a call of `regcore.fit` that starts from the last one of its fold if its
    penalty is of the same kind and weaker: hand over the penalties so that neighbours are alike, the
    strongest first. A fold is a set of weights over all samples, zero for those left out, so that no rows of
    X are copied.

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
    by_fold = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for weights in fold_weights:
            results: list[FitResult] = []
            last: Penalty | None = None
            for penalty in penalties:
                objective = Objective(
                    X,
                    y,
                    loss=loss,
                    penalty=penalty,
                    sample_weight=weights,
                    n_classes=n_classes,
                    binary=binary,
                    n_threads=n_threads,
                )
                start = results[-1] if _is_weaker(penalty, last) and _is_finite(results[-1]) else None
                results.append(fit(objective, init=start, **settings))
                last = penalty
            by_fold.append(results)
    early = [result for results in by_fold for result in results if not result.converged]
    if early and settings.get("tol"):
        warnings.warn(
            f"{len(early)} of {len(penalties) * len(fold_weights)} fits of the cross-validation stopped "
            f"early; one of them says: {early[0].message}",
            ConvergenceWarning,
            stacklevel=3,
        )
    return [list(results) for results in zip(*by_fold, strict=True)]


def _is_weaker(penalty: Penalty | None, last: Penalty | None) -> bool:
    """Whether a penalty is of the kind of the last one, and asks for no more."""
    return (
        penalty is not None
        and type(penalty) is type(last)
        and all(getattr(penalty, part) <= getattr(last, part) for part in ("l1", "l2", "group"))
    )


def _is_finite(result: FitResult) -> bool:
    return bool(np.isfinite(result.W).all() and np.isfinite(result.b).all())
