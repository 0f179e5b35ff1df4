"""Weights and score against the strength of the penalty."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from regcore.estimators.classifier import LinearClassifier
from regcore.estimators.data import checked_with_labels, encoded
from regcore.estimators.displays.style import COLOURS, FAINT, INK, axes_for, names_of, plain, tidy
from regcore.estimators.search import LinearClassifierCV
from regcore.estimators.strengths import spaced_strengths
from regcore.estimators.weights import sample_weights
from regcore.losses import resolve_loss
from regcore.solvers import ConvergenceWarning

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["RegularizationPathDisplay"]


class RegularizationPathDisplay:
    """Regularisation path: what becomes of each feature's weights, and of the score, as the penalty grows.

    Make one with `from_estimator` or `from_path`.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,)
        Strengths, positive, in any order.
    coefs : array-like of shape (n_alphas, n_rows, n_features)
        Weights at each.
    scores, score_spreads : array-like of shape (n_alphas,), default=None
        Score at each, and how far it varies; drawn in a second panel.
    score_name : str, default="score"
    best_alpha : float, default=None
        Marked.
    class_names : sequence of str, default=None
        One a row of weights, or two for a single row.
    feature_names : sequence of str, default=None
        None: "x0", "x1" and so on.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : ndarray of matplotlib Axes
        Of the weights, and if there are scores of these.
    lines_ : list of matplotlib Line2D
        One a feature.
    """

    def __init__(
        self,
        alphas: Any,
        coefs: Any,
        *,
        scores: Any = None,
        score_spreads: Any = None,
        score_name: str = "score",
        best_alpha: float | None = None,
        class_names: Sequence[Any] | None = None,
        feature_names: Sequence[Any] | None = None,
    ) -> None:
        alphas = np.asarray(alphas, dtype=float)
        coefs = np.asarray(coefs, dtype=float)
        if alphas.ndim != 1 or not len(alphas) or not (alphas > 0).all():
            raise ValueError("alphas must be one or more positive strengths, in one dimension")
        if coefs.ndim != 3 or len(coefs) != len(alphas):
            raise ValueError(f"coefs must have shape ({len(alphas)}, n_rows, n_features); got {coefs.shape}")
        order = np.argsort(alphas)
        self.alphas, self.coefs = alphas[order], coefs[order]
        self.scores = _in_order("scores", scores, order)
        self.score_spreads = _in_order("score_spreads", score_spreads, order)
        self.score_name = score_name
        self.best_alpha = best_alpha
        n_rows = coefs.shape[1]
        self.class_names = names_of(class_names, 2 if n_rows == 1 else n_rows, "class_names", "class ")
        self.feature_names = names_of(feature_names, coefs.shape[2], "feature_names", "x")

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        alphas: Any = None,
        X_test: Any = None,
        y_test: Any = None,
        sample_weight: Any = None,
        target: Any = None,
        n_labels: int = 6,
        ax: Any = None,
        **line_kw: Any,
    ) -> RegularizationPathDisplay:
        """Fit the estimator at every strength, from the greatest to the least, and draw.

        Parameters
        ----------
        estimator : LinearClassifier or fitted LinearClassifierCV
            Of a LinearClassifier all parameters but `alpha` are taken. A search gives its best penalty and
            l1_ratio, its strengths, and its mean scores over the folds.
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        alphas : sequence of float, default=None
            Strengths; None: those of the search, or 30 from the least at which L1 keeps no weight down to
            1e-4 times it.
        X_test, y_test : default=None
            Other samples for the score; not for a search.
        sample_weight : array-like of shape (n_samples,), default=None
        target, n_labels, ax, **line_kw
            As in `plot`.

        Returns
        -------
        display : RegularizationPathDisplay

        Warns
        -----
        ConvergenceWarning
            Once, if fits stopped early.
        """
        scores = spreads = best = None
        name = "accuracy"
        if isinstance(estimator, LinearClassifierCV):
            model, searched, scores, spreads = _from_search(estimator)
            best = estimator.best_params_["alpha"]
            alphas = searched
            name = "accuracy" if estimator.scoring is None else _scoring_name(estimator.scoring)
        elif isinstance(estimator, LinearClassifier):
            model = clone(estimator)
        else:
            raise TypeError(
                f"estimator must be a LinearClassifier or LinearClassifierCV; got {type(estimator).__name__}"
            )
        if not isinstance(model.penalty, str) or model.penalty == "none":
            raise ValueError(f"penalty must be a name that has a strength; got {model.penalty!r}")
        if alphas is None:
            alphas = _default_alphas(model, X, y, sample_weight)
        alphas = np.sort(np.asarray(alphas, dtype=float))[::-1]
        coefs, found = [], []
        model.set_params(warm_start=True)
        n_early = 0
        for alpha in alphas.tolist():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.set_params(alpha=alpha).fit(X, y, sample_weight)
            n_early += not model.converged_
            coefs.append(model.coef_)
            if X_test is not None:
                found.append(model.score(X_test, y_test))
        if n_early and model.tol:
            warnings.warn(
                f"{n_early} of {len(alphas)} fits of the path stopped early: raise max_iter or tol",
                ConvergenceWarning,
                stacklevel=2,
            )
        display = cls(
            alphas,
            np.stack(coefs),
            scores=found if found else scores,
            score_spreads=None if found else spreads,
            score_name="test accuracy" if found else name,
            best_alpha=best,
            class_names=[str(label) for label in model.classes_],
            feature_names=getattr(model, "feature_names_in_", None),
        )
        return display.plot(target=target, n_labels=n_labels, ax=ax, **line_kw)

    @classmethod
    def from_path(
        cls,
        path: Any,
        *,
        scores: Any = None,
        score_name: str = "score",
        class_names: Sequence[Any] | None = None,
        feature_names: Sequence[Any] | None = None,
        target: Any = None,
        n_labels: int = 6,
        ax: Any = None,
        **line_kw: Any,
    ) -> RegularizationPathDisplay:
        """Draw a path that is there already.

        Parameters
        ----------
        path : object with `alphas` and `coefs`
            Of shapes (n_alphas,) and (n_alphas, n_rows, n_features).
        scores, score_name, class_names, feature_names
            As in the class.
        target, n_labels, ax, **line_kw
            As in `plot`.

        Returns
        -------
        display : RegularizationPathDisplay
        """
        display = cls(
            path.alphas,
            path.coefs,
            scores=scores,
            score_name=score_name,
            class_names=class_names,
            feature_names=feature_names,
        )
        return display.plot(target=target, n_labels=n_labels, ax=ax, **line_kw)

    def plot(
        self, *, target: Any = None, n_labels: int = 6, ax: Any = None, **line_kw: Any
    ) -> RegularizationPathDisplay:
        """Draw.

        Parameters
        ----------
        target : label, default=None
            Whose weights; None: with more than two classes the norm of each feature's weights over all of
            them.
        n_labels : int, default=6
            So many features get a colour and their name: those of the greatest weights at the best strength,
            or, if none is marked, anywhere on the path.
        ax : Axes or sequence of Axes, default=None
            One, or two if there are scores. None: a new figure.
        **line_kw
            For matplotlib's `plot`.

        Returns
        -------
        self : RegularizationPathDisplay
        """
        weights, label = self._weights(target)
        n_panels = 1 if self.scores is None else 2
        self.figure_, self.axes_ = axes_for(
            ax,
            n_panels,
            n_columns=1,
            figsize=(6.8, 3.6 + 2.0 * (n_panels - 1)),
            **({"sharex": True, "gridspec_kw": {"height_ratios": (2, 1)}} if n_panels == 2 else {}),
        )
        top = self.axes_[0]
        largest = np.abs(weights).max(axis=0)
        if self.best_alpha is not None:
            largest = np.abs(weights[np.argmin(np.abs(self.alphas - self.best_alpha))])
        order = np.argsort(-largest, kind="stable")[: max(0, n_labels)]
        named = [int(f) for f in order if largest[f] > 0]
        self.lines_ = []
        for f in np.flatnonzero(weights.any(axis=0)):  # of the many that stay zero, one line tells
            settings: dict[str, Any] = {"color": FAINT, "linewidth": 0.8, "alpha": 0.5, "zorder": 1}
            if f in named:
                colour = COLOURS[named.index(int(f)) % len(COLOURS)]
                settings = {
                    "color": colour,
                    "linewidth": 1.7,
                    "zorder": 2,
                    "label": plain(self.feature_names[int(f)]),
                }
            self.lines_ += top.plot(self.alphas, weights[:, f], **(settings | line_kw))
        for axes in self.axes_:
            axes.set_xscale("log")
            tidy(axes, grid="y")
            if self.best_alpha is not None:
                axes.axvline(self.best_alpha, color=INK, linestyle=":", linewidth=1.1)
        top.axhline(0, color=INK, linewidth=0.7, zorder=1)
        top.set_ylabel(plain(label))
        if named:
            top.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(1.0, 1.02))
        if self.scores is not None:
            self._draw_scores(self.axes_[1], self.scores)
        self.axes_[-1].set_xlabel("alpha (strength of the penalty)")
        return self

    def _draw_scores(self, axes: Any, scores: npt.NDArray[np.float64]) -> None:
        axes.plot(self.alphas, scores, color=COLOURS[0], linewidth=1.8)
        if self.score_spreads is not None:
            axes.fill_between(
                self.alphas,
                scores - self.score_spreads,
                scores + self.score_spreads,
                color=COLOURS[0],
                alpha=0.15,
                linewidth=0,
            )
        axes.set_ylabel(plain(self.score_name))
        if self.best_alpha is not None:
            axes.annotate(
                f"best: {self.best_alpha:.2g}",
                (self.best_alpha, 0),
                xycoords=("data", "axes fraction"),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize=8.5,
                color=INK,
            )

    def _weights(self, target: Any) -> tuple[npt.NDArray[np.float64], str]:
        """Curves of shape (n_alphas, n_features), and what they are."""
        if self.coefs.shape[1] == 1:
            return self.coefs[:, 0], f"weight for {self.class_names[1]}"
        if target is None:
            return np.linalg.norm(self.coefs, axis=1), "norm of a feature's weights"
        if str(target) not in self.class_names:
            raise ValueError(f"target must be one of {self.class_names}; got {target!r}")
        return self.coefs[:, self.class_names.index(str(target))], f"weight for {target}"


def _default_alphas(model: LinearClassifier, X: Any, y: Any, sample_weight: Any) -> Any:
    X, y = checked_with_labels(clone(model), X, y)
    classes, codes = encoded(y)
    return spaced_strengths(
        X,
        codes,
        sample_weights(sample_weight, model.class_weight, classes, codes),
        loss=resolve_loss(model.loss),
        n_classes=len(classes),
        n_alphas=30,
        eps=1e-4,
        n_threads=model.n_threads,
    )


def _in_order(argument: str, values: Any, order: npt.NDArray[Any]) -> npt.NDArray[np.float64] | None:
    if values is None:
        return None
    found: npt.NDArray[np.float64] = np.asarray(values, dtype=float)
    if found.shape != order.shape:
        raise ValueError(f"{argument} must have shape {order.shape}, one each alpha; got {found.shape}")
    ordered: npt.NDArray[np.float64] = found[order]
    return ordered


def _scoring_name(scoring: Any) -> str:
    return scoring.replace("_", " ") if isinstance(scoring, str) else "score"


def _from_search(search: LinearClassifierCV) -> tuple[LinearClassifier, Any, Any, Any]:
    """Model, strengths, mean scores and their deviations of a search's best penalty."""
    best = search.best_params_
    if "alpha" not in best:
        raise ValueError(f"the best penalty of this search, {best['penalty']!r}, has no strength")
    same = [
        i
        for i, candidate in enumerate(search.cv_results_["params"])
        if candidate["penalty"] == best["penalty"] and candidate.get("l1_ratio") == best.get("l1_ratio")
    ]
    results = search.cv_results_
    alphas = np.array([results["params"][i]["alpha"] for i in same])
    # from the greatest to the least, as the fits will come
    order = np.argsort(-alphas)
    rows = np.array(same)[order]
    return (
        clone(search.best_estimator_),
        alphas[order],
        results["mean_test_score"][rows],
        results["std_test_score"][rows],
    )
