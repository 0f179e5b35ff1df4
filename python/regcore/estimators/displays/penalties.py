"""Scores by penalty: does it matter which one?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from regcore.estimators.displays.style import COLOURS, FAINT, INK, PENALTY_COLOURS, axes_for, plain, tidy

__all__ = ["PenaltyComparisonDisplay"]


class PenaltyComparisonDisplay:
    """The best score of each penalty over the folds of a search, with error bars.

    Make one with `from_estimator` or `from_cv_results`.

    Parameters
    ----------
    names : sequence of str
        Penalties.
    scores : array-like of shape (n_penalties, n_splits)
        Scores of each penalty's best candidate.
    details : sequence of str, default=None
        What is said below each name, such as its strength.
    score_name : str, default="accuracy"

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    errorbars_ : list of matplotlib ErrorbarContainer
        One a penalty.
    """

    def __init__(self, names: Any, scores: Any, *, details: Any = None, score_name: str = "accuracy") -> None:
        self.names = [str(name) for name in names]
        self.scores = np.asarray(scores, dtype=float)
        if self.scores.ndim != 2 or len(self.scores) != len(self.names) or not self.scores.size:
            raise ValueError(
                f"scores must have a row for each of {len(self.names)} names; got shape {self.scores.shape}"
            )
        self.details = [""] * len(self.names) if details is None else [str(detail) for detail in details]
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, score_name: str | None = None, ax: Any = None, **errorbar_kw: Any
    ) -> PenaltyComparisonDisplay:
        """Draw what a search found.

        Parameters
        ----------
        estimator : LinearClassifierCV, or GridSearchCV over a "penalty"
            Fitted.
        score_name : str, default=None
            None: the name of its `scoring`, or "accuracy".
        ax, **errorbar_kw
            As in `plot`.

        Returns
        -------
        display : PenaltyComparisonDisplay
        """
        check_is_fitted(estimator, "cv_results_")
        if score_name is None:
            scoring = getattr(estimator, "scoring", None)
            score_name = "accuracy" if scoring is None else scoring if isinstance(scoring, str) else "score"
        return cls.from_cv_results(
            estimator.cv_results_, score_name=score_name.replace("_", " "), ax=ax, **errorbar_kw
        )

    @classmethod
    def from_cv_results(
        cls,
        cv_results: Mapping[str, Any],
        *,
        score_name: str = "accuracy",
        ax: Any = None,
        **errorbar_kw: Any,
    ) -> PenaltyComparisonDisplay:
        """Draw the `cv_results_` of a search.

        Parameters
        ----------
        cv_results : dict
            With "params" whose dicts have a "penalty" (or "step__penalty" in a pipeline).
        score_name, ax, **errorbar_kw
            As in `from_estimator` and `plot`.

        Returns
        -------
        display : PenaltyComparisonDisplay

        Raises
        ------
        ValueError
            If no penalty was searched.
        """
        candidates = [
            {name.rpartition("__")[2]: value for name, value in params.items()}
            for params in cv_results["params"]
        ]
        if not all("penalty" in candidate for candidate in candidates):
            raise ValueError('cv_results must have a "penalty" in all of its params; these have none')
        n_splits = sum(key.startswith("split") and key.endswith("_test_score") for key in cv_results)
        scores = np.array([cv_results[f"split{k}_test_score"] for k in range(n_splits)]).T
        best: dict[str, int] = {}
        for i, candidate in enumerate(candidates):
            name = "none" if candidate["penalty"] is None else str(candidate["penalty"])
            if name not in best or scores[i].mean() > scores[best[name]].mean():
                best[name] = i
        details = [
            ", ".join(
                f"{name} {candidates[i][name]:.2g}" for name in ("alpha", "l1_ratio") if name in candidates[i]
            )
            for i in best.values()
        ]
        display = cls(list(best), scores[list(best.values())], details=details, score_name=score_name)
        return display.plot(ax=ax, **errorbar_kw)

    def plot(self, *, ax: Any = None, **errorbar_kw: Any) -> PenaltyComparisonDisplay:
        """Draw.

        Parameters
        ----------
        ax : Axes, default=None
            None: a new figure.
        **errorbar_kw
            For matplotlib's `errorbar`.

        Returns
        -------
        self : PenaltyComparisonDisplay
        """
        n_penalties, n_splits = self.scores.shape
        self.figure_, (self.ax_,) = axes_for(ax, 1, figsize=(6.4, 1.2 + 0.62 * n_penalties))
        tidy(self.ax_, grid="x")
        for split in self.scores.T:
            self.ax_.plot(
                split, np.arange(n_penalties) + 0.22, color=FAINT, linewidth=0.6, alpha=0.4, zorder=1
            )
        self.errorbars_ = []
        for row, name in enumerate(self.names):
            colour = PENALTY_COLOURS.get(name, COLOURS[row % len(COLOURS)])
            scores = self.scores[row]
            self.ax_.scatter(
                scores, np.full(n_splits, row + 0.22), s=16, color=colour, alpha=0.6, linewidths=0, zorder=2
            )
            settings = {"fmt": "D", "markersize": 6, "color": colour, "elinewidth": 2, "capsize": 4}
            spread = scores.std(ddof=1) if n_splits > 1 else None
            self.errorbars_.append(
                self.ax_.errorbar(scores.mean(), row, xerr=spread, **(settings | errorbar_kw), zorder=3)
            )
            text = f"{scores.mean():.4f}" + ("" if spread is None else f" ± {spread:.4f}")
            self.ax_.annotate(
                text,
                (scores.mean(), row),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
                color=INK,
            )
        self.ax_.set_ylim(n_penalties - 0.45, -0.6)
        labels = [
            plain(name) + (f"\n{plain(detail)}" if detail else "")
            for name, detail in zip(self.names, self.details, strict=True)
        ]
        self.ax_.set_yticks(np.arange(n_penalties), labels)
        self.ax_.spines["left"].set_visible(False)
        self.ax_.tick_params(axis="y", length=0)
        self.ax_.margins(x=0.12)
        self.ax_.set_xlabel(
            f"{plain(self.score_name)}: mean and standard deviation over {n_splits} folds", fontsize=9
        )
        return self
