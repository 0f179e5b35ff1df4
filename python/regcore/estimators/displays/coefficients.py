"""Weights of a linear classifier, as images or as the features that weigh most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from regcore.estimators.displays.style import NEGATIVE, POSITIVE, axes_for, names_of, plain, tidy

__all__ = ["CoefficientsDisplay"]

_MOST_COLUMNS = 5


class CoefficientsDisplay:
    """Weights of each class: as an image, or as bars of the features that weigh most.

    Make one with `from_estimator`.

    Parameters
    ----------
    coef : array-like of shape (n_rows, n_features)
        With two classes one row, for the second against the first.
    class_names : sequence of str
        One for each row, or two for a single row.
    feature_names : sequence of str, default=None
        None: "x0", "x1" and so on.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : ndarray of matplotlib Axes
        One a row of `coef`.
    """

    def __init__(
        self, coef: Any, *, class_names: Sequence[Any], feature_names: Sequence[Any] | None = None
    ) -> None:
        self.coef = np.asarray(coef, dtype=float)
        if self.coef.ndim != 2:
            raise ValueError(f"coef must have shape (n_rows, n_features); got {self.coef.shape}")
        n_rows, n_features = self.coef.shape
        self.class_names = names_of(class_names, 2 if n_rows == 1 else n_rows, "class_names", "")
        self.feature_names = names_of(feature_names, n_features, "feature_names", "x")

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        feature_names: Sequence[Any] | None = None,
        image_shape: tuple[int, int] | None = None,
        n_top: int = 10,
        classes: Sequence[Any] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> CoefficientsDisplay:
        """Draw the weights of a fitted linear classifier.

        Parameters
        ----------
        estimator : estimator or Pipeline that ends in one
            Fitted, with `coef_` and `classes_`.
        feature_names : sequence of str, default=None
            None: those that the estimator, or the steps before it, knows.
        image_shape, n_top, classes, ax, **kwargs
            As in `plot`.

        Returns
        -------
        display : CoefficientsDisplay
        """
        check_is_fitted(estimator)
        last, known = estimator, getattr(estimator, "feature_names_in_", None)
        if hasattr(estimator, "steps"):
            last = estimator[-1]
            before = estimator[:-1]
            if len(estimator) > 1 and hasattr(before, "get_feature_names_out"):
                known = before.get_feature_names_out()
        display = cls(
            last.coef_,
            class_names=[str(name) for name in last.classes_],
            feature_names=known if feature_names is None else feature_names,
        )
        return display.plot(image_shape=image_shape, n_top=n_top, classes=classes, ax=ax, **kwargs)

    def plot(
        self,
        *,
        image_shape: tuple[int, int] | None = None,
        n_top: int = 10,
        classes: Sequence[Any] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> CoefficientsDisplay:
        """Draw.

        Parameters
        ----------
        image_shape : (height, width), default=None
            Weights as images of this shape, on one scale, white for zero. None: as bars.
        n_top : int, default=10
            At most so many bars a class: the features of the greatest absolute weights, zeros excepted.
        classes : sequence of labels, default=None
            Which classes; None: all.
        ax : Axes or sequence of Axes, default=None
            One a class (one in all for two classes). None: a new figure.
        **kwargs
            For matplotlib's `imshow` or `barh`.

        Returns
        -------
        self : CoefficientsDisplay
        """
        rows = self._rows(classes)
        if image_shape is None:
            self._bars(rows, n_top, ax, kwargs)
        else:
            self._images(rows, image_shape, ax, kwargs)
        return self

    def _rows(self, classes: Sequence[Any] | None) -> list[int]:
        if len(self.coef) == 1 or classes is None:
            return list(range(len(self.coef)))
        unknown = [str(name) for name in classes if str(name) not in self.class_names]
        if unknown or not len(classes):
            raise ValueError(f"classes must be some of {self.class_names}; got {[str(c) for c in classes]}")
        return [self.class_names.index(str(name)) for name in classes]

    def _title(self, row: int) -> str:
        if len(self.coef) == 1:
            return f"{self.class_names[1]} (> 0) against {self.class_names[0]} (< 0)"
        return self.class_names[row]

    def _bars(self, rows: list[int], n_top: int, ax: Any, kwargs: dict[str, Any]) -> None:
        if isinstance(n_top, bool) or not isinstance(n_top, (int, np.integer)) or n_top < 1:
            raise ValueError(f"n_top must be a positive integer; got {n_top!r}")
        n_bars = min(int(n_top), self.coef.shape[1])
        n_columns = min(len(rows), _MOST_COLUMNS)
        n_lines = -(-len(rows) // n_columns)
        width = 5.0 if len(rows) == 1 else 3.3
        self.figure_, self.axes_ = axes_for(
            ax, len(rows), n_columns=n_columns, figsize=(width * n_columns, (0.9 + 0.24 * n_bars) * n_lines)
        )
        for row, axes in zip(rows, self.axes_, strict=True):
            weights = self.coef[row]
            top = np.argsort(-np.abs(weights), kind="stable")[:n_bars]
            top = top[weights[top] != 0]
            top = top[np.argsort(weights[top], kind="stable")]
            colours = [POSITIVE if weight > 0 else NEGATIVE for weight in weights[top]]
            axes.barh(np.arange(len(top)), weights[top], **({"color": colours, "height": 0.72} | kwargs))
            axes.set_yticks(np.arange(len(top)), [plain(_short(self.feature_names[f])) for f in top])
            axes.axvline(0, color="black", linewidth=0.8)
            tidy(axes, self._title(row), grid="x")
            axes.spines["left"].set_visible(False)
            axes.locator_params(axis="x", nbins=5)
            axes.set_xlabel("weight", fontsize=9)

    def _images(self, rows: list[int], image_shape: tuple[int, int], ax: Any, kwargs: dict[str, Any]) -> None:
        height, width = _image_shape(image_shape, self.coef.shape[1])
        n_columns = min(len(rows), _MOST_COLUMNS)
        n_lines = -(-len(rows) // n_columns)
        side = 4.2 if len(rows) == 1 else 1.9
        self.figure_, self.axes_ = axes_for(
            ax,
            len(rows),
            n_columns=n_columns,
            figsize=(side * n_columns + 0.9, side * n_lines * height / width + 0.4 * n_lines),
        )
        # a few weights of pixels that are hardly ever set would make all others pale
        most = (
            float(np.quantile(np.abs(self.coef[rows]), 0.995)) or float(np.abs(self.coef[rows]).max()) or 1.0
        )
        settings: dict[str, Any] = {"cmap": "RdBu", "vmin": -most, "vmax": most, "interpolation": "nearest"}
        image = None
        for row, axes in zip(rows, self.axes_, strict=True):
            image = axes.imshow(self.coef[row].reshape(height, width), **(settings | kwargs))
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(plain(self._title(row)), fontsize=10)
        if ax is None and image is not None:
            bar = self.figure_.colorbar(image, ax=self.axes_.tolist(), shrink=0.85, extend="both")
            bar.set_label("weight", fontsize=9)
            bar.ax.tick_params(labelsize=8)
            bar.outline.set_visible(False)


def _image_shape(image_shape: Any, n_features: int) -> tuple[int, int]:
    shape = tuple(image_shape) if isinstance(image_shape, Sequence) else ()
    if len(shape) != 2 or not all(isinstance(side, (int, np.integer)) and side > 0 for side in shape):
        raise ValueError(f"image_shape must be (height, width); got {image_shape!r}")
    if shape[0] * shape[1] != n_features:
        raise ValueError(
            f"image_shape must have {n_features} pixels, one a feature; got {shape[0]} x {shape[1]}"
        )
    return int(shape[0]), int(shape[1])


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:25]}..."
