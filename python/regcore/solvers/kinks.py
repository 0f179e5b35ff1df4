"""What the kinked part of a penalty, lambda sum ||w||, adds to a smooth objective's slopes and curvature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore.penalties import Penalty

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["Kinks", "Slopes"]

_ENTERING = 2.0  # a weight that leaves zero has this many times its curvature added
_HALVINGS = 30  # of the interval that holds a shift
_FIXED = 1e9  # of a weight that stays at zero
_SURE = 100.0  # a weight that moved by less than 1 / sqrt of this of its size is taken to keep its sign


@dataclass(slots=True)
class Slopes:
    """What a penalty's kinked part adds at a point: its slope, curvature, and which weights may move."""

    gradient: Array  # of the whole objective
    extra: Array  # for the diagonal of the metric
    free: Array | None = None


class Kinks:
    """The kinked part lambda sum ||w||: over single weights (L1) or over the columns of W (group)."""

    def __init__(self, penalty: Penalty | None, n_features: int) -> None:
        self.strength = 0.0 if penalty is None else penalty.l1 or penalty.group
        self.in_groups = penalty is not None and penalty.group > 0
        self.l2 = 0.0 if penalty is None else penalty.l2
        self.n_features = n_features

    def norms(self, z: Array) -> Array:
        """Return |w| of each weight, or ||w|| of each group in a row."""
        w = z[:, : self.n_features]
        return np.sqrt(np.square(w).sum(axis=0, keepdims=True)) if self.in_groups else np.abs(w)

    def value(self, z: Array, epsilon: float) -> float:
        """Return the kinked part of the penalty, smoothed if `epsilon` is not zero."""
        if not self.strength:
            return 0.0
        norms = self.norms(z)
        if epsilon:
            norms = np.sqrt(norms * norms + epsilon * epsilon) - epsilon
        return self.strength * float(norms.sum())

    def smoothed(self, z: Array, slope: Array, epsilon: float, moved: Array) -> Slopes:
        """Return the slopes with the norms smoothed; the weights have `moved` by so much in the last step."""
        w = z[:, : self.n_features]
        curvature = self.strength / np.sqrt(self.norms(z) ** 2 + epsilon * epsilon)
        gradient, extra = slope.copy(), np.full(z.shape, 2 * self.l2)
        gradient[:, : self.n_features] += curvature * w
        squares = self.norms(z) ** 2 + epsilon * epsilon
        share = np.clip(_SURE * self.norms(moved) ** 2 / squares, epsilon**2 / squares, 1)
        extra[:, : self.n_features] += curvature * share
        extra[:, self.n_features :] = 0
        return Slopes(gradient, extra)

    def exact(self, z: Array, slope: Array, diagonal: Array) -> Slopes:
        """Return the slopes of the exact norms, and hold the weights that want to be zero and are."""
        D = self.n_features
        if not self.strength:
            extra = np.full(z.shape, 2 * self.l2)
            extra[:, D:] = 0
            return Slopes(slope, extra)
        w, g = z[:, :D], slope[:, :D]
        norms, slopes = self.norms(z), self.norms(slope)
        is_zero = np.broadcast_to(norms == 0, w.shape)
        held = is_zero & np.broadcast_to(slopes <= self.strength, w.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            along = np.where(is_zero, -g / slopes, w / norms)
        gradient, extra = slope.copy(), np.full(z.shape, 2 * self.l2)
        gradient[:, :D] = np.where(held, 0, g + self.strength * np.nan_to_num(along))
        if self.in_groups:
            with np.errstate(divide="ignore"):
                extra[:, :D] += np.where(is_zero, 0, self.strength / norms)
        extra[:, :D] += np.where(is_zero, _ENTERING * diagonal[:, :D], 0)
        extra[:, :D] = np.where(held, _FIXED * (1 + diagonal[:, :D]), extra[:, :D])
        extra[:, D:] = 0
        free = np.ones(z.shape, dtype=bool)
        free[:, :D] = ~held
        return Slopes(gradient, extra, free)

    def slope_of_groups(self, z: Array) -> Array:
        """Gradient of the norms of the groups, 0 for one that is zero."""
        norms = self.norms(z)
        return self.strength * z[:, : self.n_features] / np.where(norms > 0, norms, 1)

    def of_features(self, w: Array, epsilon: float) -> Array:
        """Return the smoothed L1 and the L2 penalty of each feature."""
        norms = np.sqrt(w * w + epsilon * epsilon)
        penalties: Array = self.strength * norms.sum(axis=0) + self.l2 * np.square(w).sum(axis=0)
        return penalties

    def least_shifts(self, w: Array, epsilon: float) -> Array:
        """Return what to take from all outputs of a feature for its least smoothed L1 and L2 penalty."""
        low, high = w.min(axis=0), w.max(axis=0)
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            rest = w - middle
            slopes = self.strength / np.sqrt(rest * rest + epsilon * epsilon) + 2 * self.l2
            is_below = (rest * slopes).sum(axis=0) > 0
            low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
        found: Array = 0.5 * (low + high)
        return found

    def wants_zero(self, z: Array, slope: Array, diagonal: Array) -> Array:
        """Which of W a proximal step along the diagonal sets to zero."""
        D = self.n_features
        h = diagonal[:, :D].max(axis=0, keepdims=True) if self.in_groups else diagonal[:, :D]
        aim = h * z[:, :D] - slope[:, :D]
        return np.broadcast_to(self.norms(aim) <= self.strength, (len(z), D))

    def stopped_at_zero(self, new: Array, old: Array, direction_sign: Array, leaving: Array) -> Array:
        """`new` with the weights that changed their sign, or are about to leave, set to zero."""
        D = self.n_features
        stopped = new.copy()
        if self.in_groups:
            shrunk = self.norms(new) < 0.5 * self.norms(old)
            stopped[:, :D][leaving & np.broadcast_to(shrunk, leaving.shape)] = 0
        else:
            stopped[:, :D][np.sign(new[:, :D]) != direction_sign] = 0
        return stopped
