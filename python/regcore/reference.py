"""The objective of regcore in plain NumPy: the oracle of the tests and the yardstick of the benchmarks.

    objective(W, b) = (1 / sum_i w_i) sum_i w_i loss(y_i, W x_i + b) + R(W)
    R(W) = l1 sum |W| + l2 sum W**2 + group sum_f ||W[:, f]||_2

`regcore.losses` lists the losses. A W of one row means the binary form: one score, label 1 against label 0.
For cross_entropy y may also hold the probabilities t_i of the classes, and labels may be smoothed: the loss
is then -sum_c t_ic log p_ic. At a kink the gradient is a fixed subgradient: a margin of exactly zero
contributes nothing, the first of several largest classes stands for all of them (Crammer-Singer), and R has
the slope 0 at W = 0.

All arithmetic is done in the dtype of W, be it float32, float64 or longdouble, and only the sums over samples
are at least float64. Called with longdouble arrays these functions are a higher-precision oracle.

Two choices make this as fast as NumPy gets. Scores are held class by class, as an (n_classes, n_rows) array,
so that reductions over the classes run along contiguous memory. And rows come in blocks that stay in cache
between the two matrix products, which also bounds the memory and the cost of converting integers to floats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore.losses import Loss, resolve_loss

if TYPE_CHECKING:
    import numpy.typing as npt

    from regcore.penalties import Penalty

    Array: TypeAlias = npt.NDArray[Any]

__all__ = [
    "data_loss_and_grad",
    "dual_gap",
    "loss_and_grad",
    "penalty_gradient",
    "penalty_prox",
    "penalty_value",
    "predict",
    "predict_proba",
    "sample_conjugates",
    "sample_losses",
    "scores",
]

_BLOCK_BYTES = 4 << 20
_LEAST_BLOCK_ROWS = 1024
_NEVER = -1e30  # an intercept that no score outweighs


# --------------------------------------------------------------------------------------------------
# Objective
# --------------------------------------------------------------------------------------------------
def loss_and_grad(
    X: Any,
    y: npt.ArrayLike,
    W: npt.ArrayLike,
    b: npt.ArrayLike | None = None,
    *,
    loss: str | Loss = "cross_entropy",
    penalty: Penalty | None = None,
    sample_weight: npt.ArrayLike | None = None,
    label_smoothing: float = 0.0,
) -> tuple[Any, Array, Array]:
    """Return the penalised objective and its gradient.

    Parameters
    ----------
    X : array-like or SciPy CSR array of shape (n_samples, n_features)
        Samples, of any real dtype; blocks of rows are converted to the dtype of `W`.
    y : array-like of int, shape (n_samples,), or of float, shape (n_samples, n_classes)
        Labels in [0, n_classes), or, for cross_entropy, the probabilities of the classes; labels 0 or 1, two
        probabilities, or that of label 1, of shape (n_samples,), for the binary form.
    W : array-like of shape (n_classes, n_features) or (1, n_features)
        Weights; their dtype is the dtype of the computation. One row means the binary form.
    b : array-like of shape (n_classes,) or (1,), default=None
        Intercepts; None means zeros.
    loss : str, default="cross_entropy"
        See `regcore.losses`.
    penalty : Penalty, default=None
        Anything with the attributes `l1`, `l2` and `group`; None means no penalty.
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights; None means ones.
    label_smoothing : float, default=0.0
        e: targets are (1 - e) times those of `y` plus e / n_classes; for cross_entropy.

    Returns
    -------
    value : floating scalar
        Weighted mean loss + R(W), in float64 or, for a longdouble `W`, longdouble.
    grad_W : ndarray of the shape and dtype of `W`
    grad_b : ndarray of shape (n_classes,) or (1,)

    Raises
    ------
    TypeError
        If `y` holds neither labels nor soft targets or `loss` is no string.
    ValueError
        If shapes do not match, a label is out of range, the weights do not have a positive sum, or no loss
        has the given name.
    """
    value, grad_W, grad_b = data_loss_and_grad(
        X, y, W, b, loss=loss, sample_weight=sample_weight, label_smoothing=label_smoothing
    )
    if penalty is not None:
        triple = (penalty.l1, penalty.l2, penalty.group)
        value = value + penalty_value(W, *triple)
        grad_W += penalty_gradient(W, *triple)
    return value, grad_W, grad_b


def data_loss_and_grad(
    X: Any,
    y: npt.ArrayLike,
    W: npt.ArrayLike,
    b: npt.ArrayLike | None = None,
    *,
    loss: str | Loss = "cross_entropy",
    sample_weight: npt.ArrayLike | None = None,
    label_smoothing: float = 0.0,
) -> tuple[Any, Array, Array]:
    """Return the weighted mean of the losses and its gradient, without a penalty; see `loss_and_grad`."""
    X, W, b = _as_model(X, W, b)
    y, differentiate = _labels_and_loss(y, X, W, loss, label_smoothing)
    accumulator = _accumulator(W.dtype)
    weight = None if sample_weight is None else np.asarray(sample_weight, dtype=accumulator)
    total_weight = _total_weight(weight, X, accumulator)

    value = accumulator.type(0)
    grad_W: Any = 0
    grad_b: Any = 0
    for rows, X_block in _blocks(X, W.dtype):
        derivative = _class_scores(X_block, W, b)
        losses = differentiate(derivative, y[rows])
        if weight is None:
            value += losses.sum(dtype=accumulator)
        else:
            value += losses.astype(accumulator, copy=False) @ weight[rows]
            derivative *= weight[rows].astype(W.dtype, copy=False)
        grad_W += derivative @ X_block
        grad_b += derivative.sum(axis=1)
    grad_W /= W.dtype.type(total_weight)
    grad_b /= W.dtype.type(total_weight)
    return value / total_weight, grad_W, grad_b


def scores(X: Any, W: npt.ArrayLike, b: npt.ArrayLike | None = None) -> Array:
    """Return the scores X W^T + b, of shape (n_samples, n_classes), or (n_samples, 1) for a W of one row."""
    X, W, b = _as_model(X, W, b)
    out = np.empty((X.shape[0], W.shape[0]), dtype=W.dtype)
    for rows, X_block in _blocks(X, W.dtype):
        out[rows] = _class_scores(X_block, W, b).T
    return out


def predict(X: Any, W: npt.ArrayLike, b: npt.ArrayLike | None = None) -> Array:
    """Return the first label of the largest score, int64 of shape (n_samples,); W of one row: score > 0."""
    S = scores(X, W, b)
    labels: Array = S[:, 0] > 0 if S.shape[1] == 1 else S.argmax(axis=1)
    return labels.astype(np.int64, copy=False)


def predict_proba(X: Any, W: npt.ArrayLike, b: npt.ArrayLike | None = None) -> Array:
    """Return exp(s_j) / sum_k exp(s_k), of shape (n_samples, n_classes); W of one row: of scores 0 and s."""
    S = scores(X, W, b)
    if S.shape[1] == 1:
        S = np.hstack([np.zeros_like(S), S])
    P = np.ascontiguousarray(S.T)
    P -= P.max(axis=0)
    np.exp(P, out=P)
    P /= P.sum(axis=0)
    return P.T


def sample_losses(
    X: Any,
    y: npt.ArrayLike,
    W: npt.ArrayLike,
    b: npt.ArrayLike | None = None,
    *,
    loss: str | Loss = "cross_entropy",
    label_smoothing: float = 0.0,
) -> Array:
    """Return the loss of every sample, of shape (n_samples,), at least in float64."""
    X, W, b = _as_model(X, W, b)
    y, differentiate = _labels_and_loss(y, X, W, loss, label_smoothing)
    out = np.empty(X.shape[0], dtype=_accumulator(W.dtype))
    for rows, X_block in _blocks(X, W.dtype):
        out[rows] = differentiate(_class_scores(X_block, W, b), y[rows])
    return out


# --------------------------------------------------------------------------------------------------
# Losses: each overwrites scores S (n_classes, n_rows) with d loss / d s and returns the losses (n_rows,)
# --------------------------------------------------------------------------------------------------
def _cross_entropy(S: Array, y: Array) -> Array:
    # With m = max_j s_j, e_j = exp(s_j - m) and r = sum_{j != y} e_j the loss is m - s_y + log(e_y + r). If
    # the label is the largest class then e_y = 1 and the loss is log1p(r), without cancellation however small
    # r is; and so is the derivative at the label, e_y / (e_y + r) - 1 = -r / (e_y + r).
    column = np.arange(len(y))
    largest = S.max(axis=0)
    behind = largest - S[y, column]
    S -= largest
    np.exp(S, out=S)
    of_label = S[y, column]
    S[y, column] = 0
    of_others = S.sum(axis=0)
    total = of_label + of_others
    S /= total
    S[y, column] = -of_others / total
    losses: Array = behind + np.log1p(of_others + (of_label - 1))
    return losses


def _soft_cross_entropy(S: Array, T: Array) -> Array:
    # T (n_rows, n_classes): -sum_c t_c log p_c = sum_c t_c (m - s_c) + sum_c t_c log sum_j exp(s_j - m)
    T = T.T
    S -= S.max(axis=0)
    losses: Array = -np.einsum("ij,ij->j", T, S)
    np.exp(S, out=S)
    total, mass = S.sum(axis=0), T.sum(axis=0)
    losses += mass * np.log(total)
    S *= mass / total
    S -= T
    return losses


def _hinge(S: Array, y: Array) -> Array:
    column = _to_positive_margins(S, y)
    losses: Array = S.sum(axis=0)
    np.greater(S, 0, out=S)
    S[y, column] = -S.sum(axis=0)
    return losses


def _squared_hinge(S: Array, y: Array) -> Array:
    column = _to_positive_margins(S, y)
    # a margin of 1e30 has a square that float32 does not hold
    losses: Array = np.einsum("ij,ij->j", S, S, dtype=_accumulator(S.dtype))
    S *= 2
    S[y, column] = -S.sum(axis=0)
    return losses


def _crammer_singer(S: Array, y: Array) -> Array:
    column = _to_positive_margins(S, y)
    losses: Array = S.max(axis=0)
    violated = losses > 0
    np.equal(S, np.where(violated, losses, np.inf), out=S)
    n_largest = S.sum(axis=0)
    if (n_largest > 1).any():
        tied = np.flatnonzero(n_largest > 1)
        first = S[:, tied].argmax(axis=0)
        S[:, tied] = 0
        S[first, tied] = 1
    S[y, column] -= violated
    return losses


def _to_positive_margins(S: Array, y: Array) -> Array:
    """Overwrite S with max(0, s_j - s_y + 1), and 0 at j = y; return the index of the columns."""
    column = np.arange(len(y))
    S -= S[y, column]
    S += 1  # a separate step: s_y - 1 would be rounded where s_j - s_y is exact
    S[y, column] = 0
    np.maximum(S, 0, out=S)
    return column


def _binary_cross_entropy(S: Array, y: Array) -> Array:
    # log(1 + exp(-z)) = max(0, -z) + log1p(exp(-|z|)) with z = sign * s, and its slope in z is
    # -1 / (1 + exp(z)): -e / (1 + e) for z > 0 and -1 / (1 + e) otherwise, where e = exp(-|z|)
    s: Array = S[0]
    sign = _signs(s, y)
    s *= sign
    e = np.exp(-np.abs(s))
    losses: Array = np.maximum(-s, 0) + np.log1p(e)
    np.divide(np.where(s > 0, e, 1), 1 + e, out=s)
    s *= -sign
    return losses


def _soft_binary_cross_entropy(S: Array, T: Array) -> Array:
    # t_1 log(1 + exp(-s)) + t_0 log(1 + exp(s)), with the slope t_0 / (1 + exp(-s)) - t_1 / (1 + exp(s))
    s: Array = S[0]
    t_0, t_1 = T.T
    e = np.exp(-np.abs(s))
    losses: Array = (t_0 + t_1) * np.log1p(e) + np.where(s > 0, t_0 * s, -t_1 * s)
    small, large = e / (1 + e), 1 / (1 + e)
    s[...] = np.where(s > 0, t_0 * large - t_1 * small, t_0 * small - t_1 * large)
    return losses


def _binary_hinge(S: Array, y: Array) -> Array:
    s = S[0]
    sign = _to_positive_binary_margins(s, y)
    losses: Array = s.copy()
    np.greater(s, 0, out=s)
    s *= -sign
    return losses


def _binary_squared_hinge(S: Array, y: Array) -> Array:
    s = S[0]
    sign = _to_positive_binary_margins(s, y)
    losses: Array = np.square(s, dtype=_accumulator(s.dtype))
    s *= -2 * sign
    return losses


def _to_positive_binary_margins(s: Array, y: Array) -> Array:
    """Overwrite s with max(0, 1 - sign * s); return the signs."""
    sign = _signs(s, y)
    s *= -sign
    s += 1
    np.maximum(s, 0, out=s)
    return sign


def _signs(s: Array, y: Array) -> Array:
    signs: Array = np.where(y == 1, s.dtype.type(1), s.dtype.type(-1))
    return signs


_LossFunction: TypeAlias = "Callable[[Array, Array], Array]"

_MULTICLASS: dict[Loss, _LossFunction] = {
    Loss.CROSS_ENTROPY: _cross_entropy,
    Loss.HINGE: _hinge,
    Loss.SQUARED_HINGE: _squared_hinge,
    Loss.CRAMMER_SINGER: _crammer_singer,
}
_BINARY: dict[Loss, _LossFunction] = {
    Loss.CROSS_ENTROPY: _binary_cross_entropy,
    Loss.HINGE: _binary_hinge,
    Loss.SQUARED_HINGE: _binary_squared_hinge,
}


# --------------------------------------------------------------------------------------------------
# Penalties: R(W) = l1 sum |W| + l2 sum W**2 + group sum_f ||W[:, f]||_2, per model where W is a stack
# --------------------------------------------------------------------------------------------------
def penalty_value(W: npt.ArrayLike, l1: float = 0.0, l2: float = 0.0, group: float = 0.0) -> Any:
    """Return R(W), at least in float64.

    Parameters
    ----------
    W : array-like of shape (n_classes, n_features) or (n_models, n_classes, n_features)
    l1, l2, group : float
        Factors of sum |W|, of sum W**2 (no half hidden) and of sum_f ||W[:, f]||_2.

    Returns
    -------
    value : floating scalar, or ndarray of shape (n_models,) for a stack
    """
    W = _as_weights(W)
    accumulator = _accumulator(W.dtype)
    value = np.zeros(W.shape[:-2], dtype=accumulator)
    if l1:
        value += accumulator.type(l1) * np.abs(W).sum(axis=(-2, -1), dtype=accumulator)
    if l2:
        value += accumulator.type(l2) * np.einsum("...ij,...ij->...", W, W, dtype=accumulator)
    if group:
        value += accumulator.type(group) * _feature_norms(W).sum(axis=(-2, -1), dtype=accumulator)
    return value[()]


def penalty_gradient(
    W: npt.ArrayLike, l1: float = 0.0, l2: float = 0.0, group: float = 0.0, out: Array | None = None
) -> Array:
    """Return l1 sign(W) + 2 l2 W + group W[:, f] / ||W[:, f]||_2, with 0 for a sign or a direction of zero.

    Parameters
    ----------
    W : array-like of shape (n_classes, n_features) or (n_models, n_classes, n_features)
    l1, l2, group : float
        As in `penalty_value`.
    out : ndarray of the shape and dtype of `W`, default=None
        Where the result goes; `W` itself is allowed.

    Returns
    -------
    gradient : ndarray of the shape of `W`
    """
    W = _as_weights(W)
    gradient = W * W.dtype.type(2 * l2)
    if l1:
        gradient += W.dtype.type(l1) * np.sign(W)
    if group:
        norms = _feature_norms(W)
        gradient += W.dtype.type(group) * W / np.where(norms > 0, norms, 1)
    return _into(out, gradient)


def penalty_prox(
    W: npt.ArrayLike,
    step: float,
    l1: float = 0.0,
    l2: float = 0.0,
    group: float = 0.0,
    out: Array | None = None,
) -> Array:
    """Return argmin_V 1/2 ||V - W||**2 + step R(V).

    Soft-thresholding by step l1, then a shrink of the norm of each feature by step group, then a division by
    1 + 2 step l2.

    Parameters
    ----------
    W : array-like of shape (n_classes, n_features) or (n_models, n_classes, n_features)
    step : float
        Step length, non-negative.
    l1, l2, group : float
        As in `penalty_value`.
    out : ndarray of the shape and dtype of `W`, default=None
        Where the result goes; `W` itself is allowed.

    Returns
    -------
    prox : ndarray of the shape of `W`
    """
    W = _as_weights(W)
    accumulator = _accumulator(W.dtype)
    exact_step = accumulator.type(step)
    prox = np.empty_like(W) if out is None else out
    if l1:
        threshold = W.dtype.type(exact_step * accumulator.type(l1))
        np.subtract(W, np.clip(W, -threshold, threshold), out=prox)
    else:
        np.copyto(prox, W)
    if group:
        threshold = W.dtype.type(exact_step * accumulator.type(group))
        norms = _feature_norms(prox)
        kept = norms > threshold
        prox *= np.where(kept, 1 - threshold / np.where(kept, norms, 1), 0)
    if l2:
        prox /= W.dtype.type(1 + 2 * exact_step * accumulator.type(l2))
    return prox


def _feature_norms(W: Array) -> Array:
    """Return ||W[:, f]||_2, of shape (..., 1, n_features), free of overflow and underflow."""
    largest = np.abs(W).max(axis=-2, keepdims=True)
    scaled = W / np.where(largest > 0, largest, 1)
    squares = np.square(scaled, out=scaled).sum(axis=-2, keepdims=True, dtype=_accumulator(W.dtype))
    norms: Array = largest * np.sqrt(squares).astype(W.dtype, copy=False)
    return norms


# --------------------------------------------------------------------------------------------------
# Certificates: the dual points of all samples are held, as a (n_samples, n_classes) array
# --------------------------------------------------------------------------------------------------
def dual_gap(
    X: Any,
    y: npt.ArrayLike,
    W: npt.ArrayLike,
    b: npt.ArrayLike | None = None,
    *,
    loss: str | Loss = "cross_entropy",
    penalty: Penalty | None = None,
    sample_weight: npt.ArrayLike | None = None,
    label_smoothing: float = 0.0,
    dual: npt.ArrayLike | None = None,
) -> Any:
    """Return an upper bound of the objective minus its minimum, by Fenchel duality.

    With omega_i = w_i / sum w, any dual points u_i whose weighted mean is zero prove that no value is below

        -sum_i omega_i loss*(y_i, u_i) - R*(-V),   V = sum_i omega_i u_i x_i'

    and without an intercept the mean may be anything. The points are the slopes of the losses in the
    scores, or `dual`, and are changed until their mean is zero and R*(-V) finite; `regcore.certificate`
    says how.

    Parameters
    ----------
    X, y, W, b, loss, penalty, sample_weight, label_smoothing
        As in `loss_and_grad`. b = None: the minimum is over W alone.
    dual : array-like of shape (n_samples, n_outputs), default=None
        Other points than the slopes, which are moved to where the conjugate is finite.

    Returns
    -------
    gap : floating scalar
        At most the objective; infinite without a penalty.
    """
    X, W, b = _as_model(X, W, b)
    value, _, _ = loss_and_grad(
        X, y, W, b, loss=loss, penalty=penalty, sample_weight=sample_weight, label_smoothing=label_smoothing
    )
    if penalty is None or not (penalty.l1 or penalty.l2 or penalty.group):
        return np.inf * value
    accumulator = _accumulator(W.dtype)
    labels, differentiate = _labels_and_loss(y, X, W, loss, label_smoothing)
    weight = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight)
    omega = weight.astype(accumulator) / weight.sum(dtype=accumulator)
    kept = omega > 0
    X, labels, omega = X[kept], labels[kept], omega[kept]
    T = (labels if labels.ndim == 2 else np.eye(max(2, len(W)))[labels]).astype(accumulator)
    resolved = resolve_loss(loss, binary=len(W) == 1)
    # with a free intercept a class without samples can neither lose nor gain
    never = ~T.any(axis=0) & (b is not None)
    if dual is None:
        S = np.ascontiguousarray(scores(X, W, b).T)
        if len(W) > 1:
            S[never] = _NEVER
        differentiate(S, labels)
        U = _two_classes(S.T.astype(accumulator))
    else:
        U = np.where(never, 0, _two_classes(np.asarray(dual, dtype=accumulator)[kept]))
    U = _into_domain(U, labels, resolved)
    if b is not None:
        U = _balanced(U, T, omega, resolved)
    V = (X.T @ (omega[:, np.newaxis] * U)).T
    V = V[1:] if len(W) == 1 else V
    scale = _feasible_scale(V, penalty)
    at_zero = -omega @ _conjugates(0 * U, labels, resolved)
    rise = max(-omega @ _conjugates(scale * U, labels, resolved) - at_zero, 0)
    conjugate = _penalty_conjugate(scale * V, penalty)
    # the best of the points s u: concavity gives them at least s of the rise, and at most s**2 conjugate
    best = rise - conjugate if 2 * conjugate <= rise else rise**2 / (4 * conjugate)
    return max(value - at_zero - best, 0 * value)


def sample_conjugates(
    U: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    loss: str | Loss = "cross_entropy",
    label_smoothing: float = 0.0,
) -> Array:
    """Return loss*(y_i, u_i) = sup_s <u_i, s> - loss(y_i, s) of every sample, at least in float64.

    All are functions of a_j = u_j for j != y, and infinite unless a_j >= 0 and u_y = -sum a_j:

    =================  ================================================  ==================
    loss               loss*                                             finite where
    =================  ================================================  ==================
    cross_entropy      sum a log a + (1 - sum a) log(1 - sum a)          sum a <= 1
    hinge              -sum a                                            each a_j <= 1
    squared_hinge      sum (a**2 / 4 - a)                                everywhere
    crammer_singer     -sum a                                            sum a <= 1
    =================  ================================================  ==================

    With soft targets t, of sum 1, it is sum_c p_c log p_c, finite where p = u + t is a distribution.

    Parameters
    ----------
    U : array-like of shape (n_samples, n_classes), or (n_samples, 1) for the binary form
        In the binary form a = u for label 0 and a = -u for label 1.
    y, loss, label_smoothing
        As in `loss_and_grad`.

    Returns
    -------
    conjugates : ndarray of shape (n_samples,)
        With infinities where a bound is missed by more than rounding.
    """
    U = _as_weights(U)
    labels, _ = _labels_and_loss(y, U, U.T, loss, label_smoothing)
    return _conjugates(_two_classes(U), labels, resolve_loss(loss))


def _conjugates(U: Array, labels: Array, loss: Loss) -> Array:
    slack = 1000 * np.finfo(U.dtype).eps * (1 + np.abs(U).max(axis=1))
    U = U.astype(_accumulator(U.dtype), copy=False)
    outside = np.abs(U.sum(axis=1)) > slack
    if labels.ndim == 2:
        P = U + labels
        mass = labels.sum(axis=1, dtype=U.dtype)
        outside |= (-slack[:, np.newaxis] > P).any(axis=1)
        return np.where(outside, np.inf, _xlogx(P).sum(axis=1) - _xlogx(mass))
    column = np.arange(len(U)), labels
    of_label, others = -U[column], U.copy()
    others[column] = 0
    outside |= (others < -slack[:, np.newaxis]).any(axis=1)
    if loss in (Loss.CROSS_ENTROPY, Loss.CRAMMER_SINGER):
        outside |= of_label > 1 + slack
    elif loss is Loss.HINGE:
        outside |= others.max(axis=1) > 1 + slack
    if loss is Loss.CROSS_ENTROPY:
        below = np.where(of_label < 1, of_label, 0)
        conjugates = _xlogx(others).sum(axis=1) + (1 - below) * np.log1p(-below)
    else:
        conjugates = -of_label
    if loss is Loss.SQUARED_HINGE:
        conjugates += np.square(others).sum(axis=1) / 4
    return np.where(outside, np.inf, conjugates)


def _xlogx(x: Array) -> Array:
    positive: Array = np.where(x > 0, x, 1)
    return positive * np.log(positive)


def _two_classes(U: Array) -> Array:
    return np.hstack([-U, U]) if U.shape[1] == 1 else U


def _into_domain(U: Array, labels: Array, loss: Loss) -> Array:
    """Return U with entries outside their bounds moved to them, and the label's entry set by the others."""
    if labels.ndim == 2:
        P = np.maximum(U + labels, 0)
        mass, total = labels.sum(axis=1, keepdims=True), P.sum(axis=1, keepdims=True)
        return np.where(total > 0, P * (mass / np.where(total > 0, total, 1)) - labels, 0)
    column = np.arange(len(labels)), labels
    U = np.maximum(U, 0)
    U[column] = 0
    if loss is Loss.HINGE:
        U = np.minimum(U, 1)
    elif loss is not Loss.SQUARED_HINGE:
        U /= np.maximum(U.sum(axis=1, keepdims=True), 1)
    U[column] = -U.sum(axis=1)
    return U


def _balanced(U: Array, T: Array, omega: Array, loss: Loss) -> Array:
    """Return points with a weighted mean of zero: classes with a surplus give to those with a deficit."""
    r, shares = omega @ U, omega @ T
    surplus, gain = np.maximum(r, 0), np.maximum(-r, 0)
    if (surplus[shares == 0] > 0).any():  # in the binary form: its slopes know no class that is left out
        return np.zeros_like(U)
    if not surplus.any():
        return U
    lose = surplus / np.where(shares > 0, shares, 1) / surplus.sum()
    growth = {
        Loss.CROSS_ENTROPY: (lose * gain.sum()).max(),
        Loss.HINGE: np.outer(lose, gain).max(),
        Loss.SQUARED_HINGE: 0,
        Loss.CRAMMER_SINGER: (lose * gain.sum()).max(),
    }[loss]
    change = np.outer(T @ lose, gain) - T * (lose * gain.sum())
    balanced: Array = (U + change) / (1 + growth)
    return balanced


def _feasible_scale(V: Array, penalty: Penalty) -> Any:
    """Return the largest s <= 1 for which R*(-s V) is finite."""
    if penalty.l2:
        return 1.0
    if not penalty.group:
        return min(1.0, penalty.l1 / max(np.abs(V).max(), np.finfo(V.dtype).tiny))

    def largest_norm(s: Any) -> Any:
        return _feature_norms(penalty_prox(s * V, 1.0, l1=penalty.l1)).max()

    if largest_norm(1.0) <= penalty.group:
        return 1.0
    low, high = 0.0, 1.0
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return low
        low, high = (middle, high) if largest_norm(middle) <= penalty.group else (low, middle)


def _penalty_conjugate(V: Array, penalty: Penalty) -> Any:
    """Return R*(V), where it is finite."""
    if not penalty.l2:
        return V.dtype.type(0)
    beyond = penalty_prox(V, 1.0, l1=penalty.l1, group=penalty.group)
    return np.square(beyond, dtype=_accumulator(V.dtype)).sum() / (4 * penalty.l2)


# --------------------------------------------------------------------------------------------------
# Arrays
# --------------------------------------------------------------------------------------------------
def _is_sparse(X: Any) -> bool:
    return hasattr(X, "indptr")


def _blocks(X: Any, dtype: np.dtype[Any]) -> Iterator[tuple[slice, Any]]:
    """Yield blocks of rows in `dtype`; a sparse X is one block, since SciPy copies what it slices."""
    n_samples, n_features = X.shape
    if _is_sparse(X):
        yield slice(0, n_samples), X.astype(dtype, copy=False)
        return
    n_rows = max(_LEAST_BLOCK_ROWS, _BLOCK_BYTES // max(1, n_features * dtype.itemsize))
    for start in range(0, n_samples, n_rows):
        rows = slice(start, min(start + n_rows, n_samples))
        yield rows, X[rows].astype(dtype, copy=False)


def _class_scores(X_block: Any, W: Array, b: Array | None) -> Array:
    """Return the scores of a block class by class, C-contiguous, of shape (n_classes, n_rows)."""
    S: Array = np.ascontiguousarray(W @ X_block.T)
    if b is not None:
        S += b[:, np.newaxis]
    return S


def _labels_and_loss(
    y: npt.ArrayLike, X: Any, W: Array, loss: str | Loss, label_smoothing: float
) -> tuple[Array, _LossFunction]:
    """Return labels and the function of their losses, or soft targets and that of theirs."""
    binary = W.shape[0] == 1
    resolved = resolve_loss(loss, binary=binary)
    y = np.asarray(y)
    if not label_smoothing and y.ndim == 1 and not (binary and y.dtype.kind == "f"):
        return _as_labels(y, X, W), (_BINARY if binary else _MULTICLASS)[resolved]
    if resolved is not Loss.CROSS_ENTROPY:
        raise ValueError(f"soft targets and label_smoothing are for 'cross_entropy'; got {resolved.label!r}")
    return _as_targets(
        y, X, W, label_smoothing
    ), _soft_binary_cross_entropy if binary else _soft_cross_entropy


def _as_targets(y: Array, X: Any, W: Array, label_smoothing: float) -> Array:
    """Return the probabilities of the classes, (n_samples, n_classes); two in the binary form."""
    n_labels = max(2, W.shape[0])
    if y.ndim == 1 and y.dtype.kind == "f":
        y = np.stack([1 - y, y], axis=1)
    elif y.ndim == 1:
        y = np.eye(n_labels, dtype=W.dtype)[_as_labels(y, X, W)]
    if y.shape != (X.shape[0], n_labels) or y.dtype.kind != "f":
        raise ValueError(
            f"soft targets must be floats of shape {(X.shape[0], n_labels)}; got {y.dtype} of shape {y.shape}"
        )
    # float32 probabilities sum to 1 up to a rounding for each class
    if y.min() < 0 or not np.allclose(
        y.sum(axis=1, dtype=_accumulator(y.dtype)), 1, rtol=0, atol=1e-6 * n_labels
    ):
        raise ValueError("soft targets must be probabilities: not negative, with a sum of 1 in each row")
    e = W.dtype.type(label_smoothing)
    targets: Array = (1 - e) * y.astype(W.dtype, copy=False) + e / n_labels
    return targets


def _accumulator(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.result_type(dtype, np.float64)


def _as_weights(W: npt.ArrayLike) -> Array:
    array = np.asarray(W)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _as_model(X: Any, W: npt.ArrayLike, b: npt.ArrayLike | None) -> tuple[Any, Array, Array | None]:
    if not _is_sparse(X):
        X = np.asarray(X)
    W = _as_weights(W)
    if X.ndim != 2 or W.ndim != 2 or X.shape[1] != W.shape[1]:
        raise ValueError(
            f"X and W must have shapes (n_samples, n_features) and (n_classes, n_features); "
            f"got {X.shape} and {W.shape}"
        )
    if b is not None:
        b = np.asarray(b, dtype=W.dtype)
        if b.shape != W.shape[:1]:
            raise ValueError(f"b must have shape {W.shape[:1]}, one value per row of W; got {b.shape}")
    return X, W, b


def _as_labels(y: npt.ArrayLike, X: Any, W: Array) -> Array:
    y = np.asarray(y)
    if y.shape != X.shape[:1]:
        raise ValueError(f"y must have shape {X.shape[:1]}, one label per row of X; got {y.shape}")
    if y.dtype.kind not in "iub":
        raise TypeError(f"y must hold integers; got dtype {y.dtype}")
    n_labels = max(2, W.shape[0])
    if y.size and (y.min() < 0 or y.max() >= n_labels):
        raise ValueError(f"y must hold labels from 0 to {n_labels - 1}; got {y.min()} to {y.max()}")
    return y.astype(np.intp, copy=False)


def _total_weight(weight: Array | None, X: Any, accumulator: np.dtype[Any]) -> Any:
    if weight is not None and weight.shape != X.shape[:1]:
        raise ValueError(
            f"sample_weight must have shape {X.shape[:1]}, one weight per row of X; got {weight.shape}"
        )
    total = accumulator.type(X.shape[0]) if weight is None else weight.sum()
    if not total > 0:
        raise ValueError(
            f"sample_weight must have a positive sum, and X at least one row; got a sum of {total}"
        )
    return total


def _into(out: Array | None, values: Array) -> Array:
    if out is None:
        return values
    np.copyto(out, values)
    return out
