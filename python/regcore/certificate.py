"""What proves a point to be near the optimum: dual points, conjugates of penalties, minimal subgradients.

Let omega_i = w_i / sum w. By Fenchel's inequality, for any u_i where the loss's conjugate is finite and with
V = sum_i omega_i u_i x_i', every W and b obey

    value(W, b) >= -sum_i omega_i loss*(y_i, u_i) - R*(-V) + <b, sum_i omega_i u_i>

so that the right side without its last term bounds the minimum from below if r = sum_i omega_i u_i is zero,
or if there is no intercept (Rockafellar, "Convex analysis", 1970, section 31). The bound is tight at the
optimum, where u_i is a slope of the loss. ``src/regcore/conjugates.h`` lists the loss* and where they are
finite: always sum_c u_ic = 0 and u_ij >= 0 for j != y_i; that set is convex and contains 0, where every
loss* is 0.

Slopes at some other point have r != 0 (then r is the gradient in b), and V may lie where R* is infinite. Two
steps make them feasible, and both vanish as the optimum is approached.

1. `intercept_shift`. Every sample of a class y with r_y > 0 gives from its own u_iy to the classes j with
   r_j < 0, in the proportions of r:

       u'_ij = (1 - t) (u_ij + r_y r-_j / (pi_y sum r+))   for j != y_i,   pi_y the weight share of class y,

   and u'_iy keeps the sum over the classes zero. Summed over the samples, class j gains
   sum_y pi_y r_y r-_j / (pi_y sum r+) = r-_j, and class y loses r_y: r' = 0. What a loss bounds from above is
   kept by t: with d_yj the numbers that are added, cross_entropy and crammer_singer want
   (1 - t) (1 + sum_j d_yj) <= 1, hinge wants (1 - t) (1 + d_yj) <= 1, and squared_hinge bounds nothing.
   V follows by the sums M_y of the samples of a class, without another pass.
2. `feasible_scale`. Without an L2 part R* is the indicator of a ball of the dual norm around zero, into which
   s u, s <= 1, is scaled. s u is in the domain of loss*, which is star-shaped at 0.

A sample with soft targets t_i is as much as copies of it with the labels c and the weights t_ic: each label
gives its share, pi and M are the sums of t_ic and t_ic x_i, and the mean of the copies' dual points, which is
what is used, proves at least as much as they do. Minus loss*(0) is then the entropy of t_i.

All arrays have the models of a stack in front: V is (n_models, n_outputs, n_features), r (n_models,
n_outputs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from regcore import _core

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]
    Bound: TypeAlias = Literal["sum", "each"] | None

__all__ = [
    "Shift",
    "best_bound",
    "feasible_scale",
    "intercept_shift",
    "minimal_subgradient",
    "no_shift",
    "penalty_conjugate",
]

_BISECTIONS = 60


class Shift(NamedTuple):
    """A change of dual points: u_ij = shrink u_ij + lose_y gain_j for j != y, and u_iy keeps the sum zero.

    Attributes
    ----------
    shrink : ndarray of float64 of shape (n_models,)
    lose, gain : ndarray of float64 of shape (n_models, n_classes)
        The binary form counts as two classes.
    """

    shrink: Array
    lose: Array
    gain: Array

    def scaled(self, factor: Array) -> Shift:
        """Return the shift followed by a multiplication by factor, of shape (n_models,)."""
        return Shift(self.shrink * factor, self.lose, self.gain * factor[:, None])

    def applied_to(self, V: Array, class_sums: Array) -> Array:
        """Return V of the changed points, given the sums M_y, of shape (n_models, n_classes, n_features)."""
        shifted: Array = V * self.shrink.astype(V.dtype)[:, None, None]
        if not self.gain.any():
            return shifted
        lose, gain = self.lose.astype(V.dtype), self.gain.astype(V.dtype)
        if V.shape[1] == 1:
            given = np.stack([lose[:, 0] * gain[:, 1], -lose[:, 1] * gain[:, 0]], axis=1)
            shifted[:, 0] += np.einsum("mc,mcd->md", given, class_sums)
            return shifted
        given = np.einsum("mc,mcd->md", lose, class_sums)
        lost = lose * gain.sum(axis=1, keepdims=True)
        term = np.empty_like(given[0])
        for m, c in np.ndindex(gain.shape):  # a class gains or loses, and no copy of V is made besides
            if gain[m, c]:
                shifted[m, c] += np.multiply(given[m], gain[m, c], out=term)
            elif lost[m, c]:
                shifted[m, c] -= np.multiply(class_sums[m, c], lost[m, c], out=term)
        return shifted


def no_shift(n_models: int, n_classes: int) -> Shift:
    """Return the shift that changes nothing."""
    return Shift(np.ones(n_models), np.zeros((n_models, n_classes)), np.zeros((n_models, n_classes)))


def intercept_shift(r: Array, shares: Array, bound: Bound) -> Shift:
    """Return the shift after which the weighted mean of the dual points is zero.

    Parameters
    ----------
    r : ndarray of shape (n_models, n_outputs)
        Weighted mean of the dual points; n_outputs = 1 for the binary form.
    shares : ndarray of shape (n_models, n_classes)
        Weight shares of the classes.
    bound : {"sum", "each", None}
        Whether the loss bounds sum_{j != y} u_ij, each of them, or nothing, by 1.

    Returns
    -------
    Shift
        The one to u = 0 for a model in which a class without samples has to lose: no other point is feasible.
    """
    r = r.astype(np.float64)
    if r.shape[1] == 1:
        r = np.hstack([-r, r])
    surplus, gain = np.maximum(r, 0), np.maximum(-r, 0)
    total = surplus.sum(axis=1, keepdims=True)
    empty = (shares == 0) & (surplus > 0)
    lose = surplus / np.where(shares == 0, 1, shares) / np.where(total == 0, 1, total)
    most_lost = lose.max(axis=1)
    growth = {
        "sum": most_lost * gain.sum(axis=1),
        "each": most_lost * gain.max(axis=1),
        None: np.zeros(len(r)),
    }[bound]
    feasible = ~empty.any(axis=1)
    shrink = np.where(feasible, 1 / (1 + growth), 0.0)
    return Shift(shrink, np.where(feasible[:, None], lose, 0), gain * shrink[:, None])


def feasible_scale(V: Array, l1: float, l2: float, group: float) -> Array:
    """Return the largest s <= 1 for which R*(-s V) is finite, of shape (n_models,); 0 without a penalty."""
    if l2 > 0:
        return np.ones(len(V))
    if l1 > 0 and group > 0:
        return _scale_of_both(V, l1, group)
    if group > 0:
        bound, norms = group, np.sqrt(_squared_columns(V).max(axis=1))
    else:
        bound, norms = l1, np.maximum(V.max(axis=(1, 2)), -V.min(axis=(1, 2))).astype(np.float64)
    scale: Array = np.where(norms > bound, bound / np.where(norms > 0, norms, 1), 1.0)
    return scale


def _scale_of_both(V: Array, l1: float, group: float) -> Array:
    """As `feasible_scale`: no column's soft threshold, which grows with s, has a norm above `group`."""
    scale = np.ones(len(V))
    for m, model in enumerate(V):
        excess = _squared_columns(_core.penalty_prox(model, 1.0, l1, 0.0, 0.0)[None])[0] > group**2
        columns = np.ascontiguousarray(model[:, excess])
        low, high = 0.0, 1.0
        for _ in range(_BISECTIONS if columns.size else 0):
            middle = (low + high) / 2
            outside = _core.penalty_prox(columns * columns.dtype.type(middle), 1.0, l1, 0.0, group).any()
            low, high = (low, middle) if outside else (middle, high)
        scale[m] = low if columns.size else 1.0
    return scale


def penalty_conjugate(V: Array, l1: float, l2: float, group: float) -> Array:
    """Return R*(V), of shape (n_models,), where it is finite.

    With l2 > 0 it is sum_f max(0, ||soft(V[:, f], l1)||_2 - group)**2 / (4 l2); for group = 0 that is the
    sum of the squared soft thresholds of all entries. Otherwise it is 0.
    """
    if l2 == 0:
        return np.zeros(len(V))
    beyond = V if l1 == group == 0 else _core.penalty_prox(V, 1.0, l1, 0.0, group)
    with np.errstate(over="ignore"):
        conjugate: Array = _core.penalty_value(beyond, 0.0, 1.0, 0.0) / (4 * l2)
    return conjugate


def best_bound(h: Array, at_zero: Array, conjugate: Array) -> Array:
    """Return the best bound that is known of the points s u, 0 <= s <= 1, without another pass.

    Parameters
    ----------
    h, at_zero : ndarray of shape (n_models,)
        -sum_i omega_i loss*(y_i, u_i), and the same of u = 0: zero, or the entropy of soft targets. The
        first is concave in u, so that s u has at least s h + (1 - s) at_zero.
    conjugate : ndarray of shape (n_models,)
        R*(-V). It is 0, or made of squares of thresholds, so that s u has at most s**2 times it.
    """
    rise = np.maximum(h - at_zero, 0)
    scaled = conjugate > rise / 2
    gained = np.where(scaled, rise**2 / (4 * np.where(scaled, conjugate, 1)), rise - conjugate)
    bound: Array = at_zero + gained
    return bound


def minimal_subgradient(grad_W: Array, W: Array, l1: float, l2: float, group: float) -> Array:
    """Return the element of least norm of grad_W + subdifferential of R at W; all (n_models, ...).

    Where W is not zero R is smooth; where it is, l1 and group leave a ball to choose from, and the choice
    is a soft threshold of the entry, or of the norm of the feature.
    """
    gradient = _core.penalty_gradient(W, l1, l2, group)
    gradient += grad_W
    if l1 > 0:
        soft = _core.penalty_prox(gradient, 1.0, l1, 0.0, 0.0)
        np.copyto(gradient, soft, where=W == 0)
    if group > 0:
        norms = np.sqrt(_squared_columns(gradient))
        factor = np.where(norms > group, 1 - group / np.where(norms > 0, norms, 1), 0.0)
        factor[W.any(axis=1)] = 1.0
        gradient *= factor.astype(W.dtype)[:, None, :]
    return gradient


def _squared_columns(V: Array) -> Array:
    """||V[m, :, f]||**2 in float64, of shape (n_models, n_features)."""
    squares: Array = np.einsum("mcd,mcd->md", V, V, dtype=np.float64)
    return squares
