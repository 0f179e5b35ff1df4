"""The objective: data, labels, weights and a penalty, checked once and evaluated in one pass by the core.

    value(W, b) = (1 / sum_i w_i) sum_i w_i loss(y_i, W x_i + b) + R(W)

Nothing of X is copied or converted: it may be C-ordered, F-ordered or strided; float64, float32, float16, an
integer type or bool; a CSR matrix; a memmap; read-only. The dtype of W, float32 or float64, is what is
computed in.
"""

from __future__ import annotations

import copy
from numbers import Real
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from regcore import _core
from regcore.certificate import (
    best_bound,
    feasible_scale,
    intercept_curvature,
    intercept_shift,
    minimal_subgradient,
    newton_step,
    no_shift,
    penalty_conjugate,
)
from regcore.losses import Loss, resolve_loss
from regcore.penalties import Penalty
from regcore.row_space import RowSpace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]
    Rows: TypeAlias = slice | npt.ArrayLike | None

__all__ = ["Objective", "ValueAndGrad", "loss_and_grad"]

_NO_PENALTY = (0.0, 0.0, 0.0)
_MOST_CLASSES = 1 << 24  # a float32 counts so far
_SAMPLED_ROWS, _SAMPLED_VALUES = 32, 2048  # of a fingerprint
_DIGEST_ROWS = 1 << 18  # that are converted at a time
_CURVATURE_NUMBERS = 1 << 20  # of probabilities or scores that are held at a time
_DENSE_NUMBERS = 1 << 17  # of rows that are made dense at a time
_NEVER = -1e30  # an intercept that no score outweighs, and whose sum with one is finite in float32
_MOST_THREADS = 1024  # an OpenMP runtime that cannot start a thread ends the process


# What a loss bounds by 1 of its slopes in the scores of the other classes: their sum, each, or nothing.
_DUAL_BOUND: dict[Loss, Literal["sum", "each"] | None] = {
    Loss.CROSS_ENTROPY: "sum",
    Loss.HINGE: "each",
    Loss.SQUARED_HINGE: None,
    Loss.CRAMMER_SINGER: "sum",
}


class ValueAndGrad(NamedTuple):
    """An objective's value and gradient.

    Attributes
    ----------
    value : float, or ndarray of float64 of shape (n_models,) for a stack
    grad_W : ndarray of the shape and dtype of W
    grad_b : ndarray of the shape and dtype of b
        With an objective evaluated without b, the gradient at b = 0.
    """

    value: Any
    grad_W: Array  # noqa: N815
    grad_b: Array


class Objective:
    """Loss plus penalty over fixed data, as a function of W and b.

    Parameters
    ----------
    X : ndarray, array-like or CSR matrix of shape (n_samples, n_features)
        Used as it is: see the module's description.
    y : array-like of shape (n_samples,) or (n_samples, n_classes)
        Labels 0 .. n_classes - 1. For cross_entropy also soft targets: probabilities of the classes, float32
        or float64, one row a sample; in the binary form those of label 1 alone will do. The loss is then
        -sum_c y[c] log p[c].
    loss : {"cross_entropy", "hinge", "squared_hinge", "crammer_singer"}
    penalty : Penalty, default=None
        `L1`, `L2`, `ElasticNet`, `GroupL1`, or None.
    sample_weight : array-like of shape (n_samples,) or (n_models, n_samples), default=None
        Finite, not negative, with a positive sum. A weight of 2 equals the sample twice, 0 its absence.
    n_classes : int, default=None
        Number of classes; None: the largest label plus one (at least 2).
    binary : bool, default=False
        The binary form: W has one row, the score of label 1 against label 0.
    n_models : int, default=None
        M for a stack: W is then (M, n_classes, n_features) and b (M, n_classes). None: no stack,
        unless `sample_weight` is two-dimensional.
    standardize : bool or (mean, scale), default=False
        Work on (x - mean) / scale without a copy of X: both are folded into W, b and the gradient.
        True computes them by `column_statistics`, with the sample weights; a constant column keeps scale 1.
    label_smoothing : float, default=0.0
        e in [0, 1), for cross_entropy: the target of a sample is (1 - e) times its own (1 for its label) plus
        e / n_classes for every class.
    n_threads : int, default=None
        At most so many threads; None: all. The result does not depend on it, to the last bit.

    Attributes
    ----------
    n_samples, n_features, n_classes : int
    n_outputs : int
        Rows of W: n_classes, or 1 in the binary form.
    n_models : int or None
    loss : Loss
    penalty : Penalty or None
    label_smoothing : float
    mean, scale : ndarray of float64 of shape (n_features,), or None
        The standardisation.

    Raises
    ------
    TypeError
        If a dtype or a kind of argument is not supported.
    ValueError
        If shapes, labels, weights or the structure of a CSR matrix are wrong. NaN and infinities in X are
        found by the evaluation that meets them, which says where they are and writes nothing.

    Notes
    -----
    The arrays are borrowed and checked once. Values of X may change between two evaluations; labels, weights
    and above all the indices of a CSR matrix must not, since nothing checks them again. `dual_gap` keeps the
    sums of the classes from its first call on, so that X must not change after that either.
    """

    def __init__(
        self,
        X: Any,
        y: Any,
        *,
        loss: str | Loss = "cross_entropy",
        penalty: Penalty | None = None,
        sample_weight: Any = None,
        n_classes: int | None = None,
        binary: bool = False,
        n_models: int | None = None,
        standardize: bool | tuple[Any, Any] = False,
        label_smoothing: float = 0.0,
        n_threads: int | None = None,
    ) -> None:
        self.loss = resolve_loss(loss, binary=binary)
        if penalty is not None and not isinstance(penalty, Penalty):
            raise TypeError(f"penalty must be a Penalty, such as L2(1e-3), or None; got {penalty!r}")
        self.penalty = penalty
        self._n_threads = _thread_count(n_threads)
        self._X, shape = _matrix(X)
        self.n_samples, self.n_features = shape
        self._y = _labels(y, self.n_samples, self.loss, binary)
        self.label_smoothing = _label_smoothing(label_smoothing, self.loss)
        if self._y.ndim == 2:
            n_classes = _columns(self._y) if n_classes is None else n_classes
        if n_classes is None:
            n_classes = 2 if self._y.dtype.kind == "f" else max(2, int(self._y.max(initial=0)) + 1)
            if n_classes > _MOST_CLASSES:
                raise ValueError(f"y must hold labels below 2**24; got {n_classes - 1}")
        n_classes = _integer("n_classes", n_classes)
        if binary and n_classes != 2:
            raise ValueError(f"binary=True needs two classes, labels 0 and 1; got n_classes={n_classes}")
        if not binary and n_classes < 2:
            raise ValueError(
                f"n_classes must be at least 2 (with binary=True, W has one row); got {n_classes}"
            )
        if n_classes > _MOST_CLASSES:
            raise ValueError(f"n_classes must be at most 2**24; got {n_classes}")
        if self._y.ndim == 2 and self._y.shape[1] != n_classes:
            raise ValueError(f"y must have n_classes={n_classes} columns; got shape {self._y.shape}")
        self.n_classes = n_classes
        self.binary = binary
        self.n_outputs = 1 if binary else self.n_classes
        self._weights = _sample_weight(sample_weight, self.n_samples)
        if n_models is not None:
            n_models = _integer("n_models", n_models)
            if not 1 <= n_models < 2**31:
                raise ValueError(f"n_models must be in [1, 2**31) (None: no stack); got {n_models}")
        if self._weights is not None and self._weights.ndim == 2:
            n_models = len(self._weights) if n_models is None else n_models
            if n_models != len(self._weights):
                raise ValueError(
                    f"sample_weight must have n_models={n_models} rows; got {len(self._weights)}"
                )
        self.n_models = n_models
        self._problem = _core.Problem(
            self._X,
            self._y,
            self._weights,
            int(self.loss),
            self.n_outputs,
            n_models or 1,
            self.label_smoothing,
        )
        self._penalties: tuple[Penalty | None, ...] | None = None
        self._of_models: tuple[Objective, Array] | None = None
        self._class_sums_of: dict[np.dtype[Any], tuple[Array, Array]] = {}
        self._entropy_of: dict[np.dtype[Any], Array] = {}
        self._slope_at_zero: dict[tuple[np.dtype[Any], bool], Array] = {}
        self._moments: list[Array] = []
        self._row_spaces: list[RowSpace] = []
        self.mean: Array | None = None
        self.scale: Array | None = None
        if standardize is not False:
            self._set_standardization(standardize)

    def _set_standardization(self, standardize: Any) -> None:
        if standardize is True:
            if self._weights is not None and self._weights.ndim == 2:
                raise ValueError("standardize=True needs weights shared by all models; give (mean, scale)")
            mean, scale = self._problem.column_statistics(self._n_threads)
            self._moments.extend((np.zeros_like(mean), (scale > 0).astype(np.float64)))
            scale[scale == 0] = 1.0
        elif isinstance(standardize, (tuple, list)) and len(standardize) == 2:
            mean, scale = (np.array(part, dtype=np.float64) for part in standardize)
        else:
            raise TypeError(f"standardize must be True, False or a pair (mean, scale); got {standardize!r}")
        for name, part in (("mean", mean), ("scale", scale)):
            if part.shape != (self.n_features,):
                raise ValueError(
                    f"standardize: {name} must have shape ({self.n_features},); got {part.shape}"
                )
            if not np.isfinite(part).all():
                raise ValueError(f"standardize: {name} must be finite; got {part[~np.isfinite(part)][0]}")
        if not (scale > 0).all():
            raise ValueError(f"standardize: scale must be positive; got {scale.min():g}")
        self.mean, self.scale = mean, scale

    # ------------------------------------------------------------------ shapes

    @property
    def data_dtype(self) -> np.dtype[Any]:
        """Type in which X is stored."""
        dtype: np.dtype[Any] = (self._X[0] if isinstance(self._X, tuple) else self._X).dtype
        return dtype

    @property
    def n_threads(self) -> int:
        """At most so many threads; 0: all."""
        return self._n_threads

    @property
    def _is_soft(self) -> bool:
        return self._y.dtype.kind == "f"

    @property
    def _has_plain_labels(self) -> bool:
        return not self._is_soft and not self.label_smoothing

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of W: (n_outputs, n_features), with n_models before it for a stack."""
        shape = (self.n_outputs, self.n_features)
        return shape if self.n_models is None else (self.n_models, *shape)

    @property
    def intercept_shape(self) -> tuple[int, ...]:
        """Shape of b: (n_outputs,), with n_models before it for a stack."""
        return self.weight_shape[:-1]

    def _parameters(self, W: Any, b: Any) -> tuple[Array, Array | None]:
        W = np.asarray(W)
        if W.shape != self.weight_shape:
            raise ValueError(f"W must have shape {self.weight_shape}; got {W.shape}")
        if W.dtype != np.float32 and W.dtype != np.float64:
            raise TypeError(f"W must be float32 or float64 (the type of the computation); got {W.dtype}")
        if b is not None:
            b = np.asarray(b)
            if b.shape != W.shape[:-1]:
                raise ValueError(f"b must have shape {W.shape[:-1]}; got {b.shape}")
            if b.dtype != W.dtype:
                if b.dtype.kind not in "fiub":
                    raise TypeError(f"b must hold real numbers; got dtype {b.dtype}")
                with np.errstate(over="ignore"):  # the core says which number is not finite
                    b = b.astype(W.dtype)
            b = _packed(b)
        return _packed(W), b

    def _rows(self, rows: Rows) -> slice | Array | None:
        if rows is None or isinstance(rows, slice):
            return rows
        index = np.asarray(rows)
        if index.size == 0:
            raise ValueError("rows must select at least one row; got none")
        if index.ndim != 1 or index.dtype.kind not in "iu":
            raise TypeError(
                f"rows must be a slice or a one-dimensional array of integers; "
                f"got {index.ndim} dimension(s) of {index.dtype}"
            )
        if index.dtype.kind == "u" and index.max() >= self.n_samples:
            raise ValueError(f"rows must lie in [0, {self.n_samples}); got {index.max()}")
        return _packed(index.astype(np.int64, copy=False))

    @property
    def _standardization(self) -> tuple[Array, Array] | None:
        return None if self.mean is None or self.scale is None else (self.mean, self.scale)

    # ------------------------------------------------------------------ evaluation

    def _evaluate(
        self,
        W: Any,
        b: Any,
        penalty: tuple[float, float, float],
        rows: Rows,
        out: tuple[Array, Array] | None,
        with_gradient: bool,
    ) -> tuple[Any, Array | None, Array | None]:
        given = (W, b, rows)
        W, b = self._parameters(W, b)
        values = np.empty(self.n_models or 1)
        grad_W = grad_b = None
        if with_gradient and out is None:
            grad_W, grad_b = np.empty_like(W), np.empty(W.shape[:-1], W.dtype)
        elif with_gradient and out is not None:
            grad_W, grad_b = self._check_out(out, W, given)
        self._problem.evaluate(
            W,
            b,
            penalty,
            self._rows(rows),
            values,
            grad_W,
            grad_b,
            self._n_threads,
            self._standardization,
        )
        return (float(values[0]) if self.n_models is None else values), grad_W, grad_b

    def _check_out(
        self, out: tuple[Array, Array], W: Array, given: tuple[Any, Any, Rows]
    ) -> tuple[Array, Array]:
        try:
            grad_W, grad_b = out
        except (TypeError, ValueError):
            raise TypeError("out must be a pair of arrays (grad_W, grad_b)") from None
        X = self._X if isinstance(self._X, tuple) else (self._X,)
        inputs = (*given, self._y, self._weights, self.mean, self.scale, *X)
        for name, array, shape in (("grad_W", grad_W, W.shape), ("grad_b", grad_b, W.shape[:-1])):
            if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != W.dtype:
                got = (
                    f"shape {array.shape} and dtype {array.dtype}"
                    if isinstance(array, np.ndarray)
                    else type(array).__name__
                )
                raise ValueError(
                    f"out: {name} must be an array of shape {shape} and dtype {W.dtype}; got {got}"
                )
            if not array.flags.carray:
                raise ValueError(f"out: {name} must be C-contiguous, aligned and writeable")
            if _core.may_overlap(array, inputs):
                raise ValueError(f"out: {name} must not overlap an input")
        if _core.may_overlap(grad_W, (grad_b,)):
            raise ValueError("out: grad_W and grad_b must not overlap")
        return grad_W, grad_b

    @property
    def _triple(self) -> tuple[float, float, float]:
        return _NO_PENALTY if self.penalty is None else (self.penalty.l1, self.penalty.l2, self.penalty.group)

    @property
    def _triples(self) -> list[tuple[float, float, float]]:
        """The penalties of all models."""
        if self._penalties is None:
            return [self._triple] * (self.n_models or 1)
        return [_NO_PENALTY if p is None else (p.l1, p.l2, p.group) for p in self._penalties]

    @property
    def _stack_shape(self) -> tuple[int, int, int]:
        return (self.n_models or 1, self.n_outputs, self.n_features)

    def value(self, W: Any, b: Any = None, rows: Rows = None) -> Any:
        """Return data term + R(W): a float, or an array of shape (n_models,) for a stack.

        Parameters
        ----------
        W : ndarray of shape `weight_shape`, float32 or float64
        b : ndarray of shape `intercept_shape`, default=None
            None: no intercept.
        rows : slice or array of integers, default=None
            Evaluate the mean over these samples only (an index may repeat).
        """
        return self._evaluate(W, b, self._triple, rows, None, False)[0]

    def value_and_grad(
        self, W: Any, b: Any = None, rows: Rows = None, out: tuple[Array, Array] | None = None
    ) -> ValueAndGrad:
        """Return data term + R(W) and its gradient, in one pass over X.

        The gradient takes l1 sign(W), 0 at 0, for an L1 term.

        Parameters
        ----------
        W, b, rows
            As in `value`.
        out : (grad_W, grad_b), default=None
            C-contiguous arrays for the gradient, of the shapes of W and b and W's dtype.

        Raises
        ------
        ValueError
            If X, W or b hold a NaN or an infinity (with its row and column), or `out` overlaps an input.
            `out` is then unchanged.
        OverflowError
            If a score overflows W's dtype.
        """
        value, grad_W, grad_b = self._evaluate(W, b, self._triple, rows, out, True)
        return ValueAndGrad(value, grad_W, grad_b)  # type: ignore[arg-type]

    def smooth_value_and_grad(
        self, W: Any, b: Any = None, rows: Rows = None, out: tuple[Array, Array] | None = None
    ) -> ValueAndGrad:
        """As `value_and_grad`, of the data term and the L2 part alone: what a proximal method needs."""
        triple = (0.0, self._triple[1], 0.0)
        value, grad_W, grad_b = self._evaluate(W, b, triple, rows, out, True)
        return ValueAndGrad(value, grad_W, grad_b)  # type: ignore[arg-type]

    def _data_term(self, W: Any, b: Any) -> tuple[Any, Array, Array]:
        """The data term alone and its gradient."""
        return self._evaluate(W, b, _NO_PENALTY, None, None, True)  # type: ignore[return-value]

    # ------------------------------------------------------------------ a part of the samples

    def _split(self, share: float, seed: int) -> tuple[Objective, Callable[[Array, Array], float]]:
        """Set a share of the samples aside, of every class alike unless the targets are soft.

        Return the objective of the others, and the mean loss of those as a function of W and b.
        """
        weights = np.ones(self.n_samples) if self._weights is None else self._weights.astype(np.float64)
        rows = np.random.default_rng(seed).permutation(np.flatnonzero(weights))
        if not self._is_soft:
            rows = rows[np.argsort(self._y[rows], kind="stable")]
        # every 1/share-th of the rows in the order of their labels
        counts = np.floor(np.arange(len(rows) + 1) * share)
        held_out = np.sort(rows[np.diff(counts) > 0])
        if not 0 < len(held_out) < len(rows):
            raise ValueError(
                f"a share of {share:g} of {len(rows)} samples sets {len(held_out)} aside; "
                "there must be at least one, and one left"
            )
        watched = self._with(weights, None)
        weights = weights.copy()
        weights[held_out] = 0
        return self._with(weights, self.penalty), lambda W, b: float(watched.value(W, b, rows=held_out))

    def _with(self, sample_weight: Array, penalty: Penalty | None) -> Objective:
        """The same problem with other weights and another penalty."""
        X = self._X
        if isinstance(X, tuple):
            X = SimpleNamespace(**dict(zip(("data", "indices", "indptr", "shape"), X, strict=True)))
        other = self._remade(
            X, sample_weight=sample_weight, penalty=penalty, standardize=self._standardization or False
        )
        other._row_spaces = self._row_spaces  # which depend on X alone
        return other

    def _remade(self, X: Any, **changed: Any) -> Objective:
        """The same samples with another matrix of features, and what else is changed."""
        arguments = {
            "loss": self.loss,
            "penalty": self.penalty,
            "sample_weight": self._weights,
            "n_classes": self.n_classes,
            "binary": self.binary,
            "label_smoothing": self.label_smoothing,
            "n_threads": self._n_threads or None,
        }
        return Objective(X, self._y, **arguments | changed)

    # ------------------------------------------------------------------ other penalties, other models

    def _with_penalty(self, penalty: Penalty | None) -> Objective:
        """The same problem with another penalty; what is kept of the data is shared."""
        other = copy.copy(self)
        other.penalty = penalty
        return other

    def _with_threads(self, n_threads: int) -> Objective:
        """The same problem on so many threads; what is kept of the data is shared."""
        other = copy.copy(self)
        other._n_threads = n_threads
        return other

    def _stack(self, weights_of: Array, penalties: Sequence[Penalty | None]) -> Objective:
        """A stack of models on the same data: model m with the weights of model weights_of[m] here.

        Each has a penalty of its own, which `_certificate` alone knows. With dense X the bits of a model do
        not depend on how many there are.
        """
        stack = copy.copy(self)
        stack.penalty, stack._penalties = None, tuple(penalties)
        stack._problem = self._problem.models(weights_of)
        stack.n_models = len(weights_of)
        stack._of_models = self, weights_of
        return stack

    def _weights_of(self, model: int) -> Array | None:
        """The sample weights of a model of a stack."""
        if self._of_models is not None:
            model = int(self._of_models[1][model])
        return self._weights if self._weights is None or self._weights.ndim == 1 else self._weights[model]

    # ------------------------------------------------------------------ the row space

    def _row_space(self) -> RowSpace:
        """The row space of (the standardised) X; kept."""
        if not self._row_spaces:
            shape = self.n_samples, self.n_features
            self._row_spaces.append(
                RowSpace(self._X, shape, self._dense_rows, self._standardization, self._n_threads)
            )
        return self._row_spaces[0]

    def _in_row_space(self) -> Objective:
        """This problem in the coordinates of the row space; float64."""
        return self._remade(self._row_space().features)

    # ------------------------------------------------------------------ certificates

    def dual_gap(self, W: Any, b: Any = None, *, dual: Any = None) -> Any:
        """Return an upper bound of value(W, b) - minimum: a float, or (n_models,) for a stack.

        The minimum is over W and b, or over W alone if `b` is None.

        Parameters
        ----------
        W : ndarray of shape `weight_shape`, float32 or float64
        b : ndarray of shape `intercept_shape`, default=None
        dual : ndarray of shape (n_samples, n_outputs), or (n_samples, n_models, n_outputs), default=None
            Dual points u_i, slopes of the losses in the scores, of which the bound is made; None: the
            slopes at W and b. Any finite numbers are valid: they are moved to where the loss's conjugate is
            finite. A copy is made unless they are C-contiguous and of W's dtype.

        Returns
        -------
        dual_gap : float, or ndarray of float64 of shape (n_models,) for a stack
            Never negative, at most value(W, b), and infinite without a penalty: the bound is then finite in
            special cases only.

        Raises
        ------
        ValueError, TypeError, OverflowError
            As `value_and_grad`; ValueError also if `dual` has a wrong shape or holds NaN or infinities.

        Notes
        -----
        Three passes over X: the gradient, once for all calls the sums of the classes, and the conjugates,
        which cost a pass for scores alone. See `regcore.certificate` for the bound. For cross_entropy and
        squared_hinge it vanishes at the optimum. hinge and crammer_singer have kinks, where the slope that
        `value_and_grad` takes is an arbitrary one: the bound made of it is valid and in general does not
        vanish; a solver of the dual problem gives `dual`.

        The gap is a difference of two numbers as large as the value, and so is accurate to a rounding of
        those: for float32 about 1e-7 of the value, beyond which W and b in float64 prove more.
        """
        return self._certificate(W, b, dual=dual)

    def _certificate(
        self,
        W: Any,
        b: Any = None,
        value: Any = None,
        grad: tuple[Array, Array] | None = None,
        dual: Any = None,
    ) -> Any:
        """`dual_gap` for a solver that knows value(W, b) and the gradient of the data term (without R).

        One pass, for the scores alone, with `value` and either `grad` or `dual` given (and one for all
        calls). With all three, none: `grad` is then `_adjoint(dual)`, which a solver of the dual keeps.
        """
        W, b = self._parameters(W, b)
        triples = self._triples
        if not any(any(triple) for triple in triples):
            return np.inf if self.n_models is None else np.full(self.n_models, np.inf)
        if value is None or (grad is None and dual is None):
            value, grad_W, grad_b = self._evaluate(W, b, _NO_PENALTY, None, None, True)
            value = value + _by_model(_core.penalty_value, np.reshape(W, self._stack_shape), triples)
            if dual is None:
                grad = (grad_W, grad_b)  # type: ignore[assignment]
        V, r, b, dual = self._first_dual_point(W, b, grad, dual)
        sums, shares = (V, None) if b is None or not r.any() else self._class_sums(W.dtype)
        if shares is None:
            shift = no_shift(len(V), self.n_classes)
        else:
            shift = intercept_shift(r, shares, _DUAL_BOUND[self.loss])
            V = shift.applied_to(V, sums)
        scale = _by_model(feasible_scale, V, triples)
        shift = shift.scaled(scale)
        conjugates = np.empty(len(V))
        self._problem.conjugate(W, b, dual, *shift, conjugates, self._n_threads, self._standardization)
        bound = best_bound(-conjugates, self._entropy(W), _by_model(penalty_conjugate, V, triples))
        gap = np.maximum(value - bound, 0)
        gap[[not any(triple) for triple in triples]] = np.inf
        return float(gap[0]) if self.n_models is None else gap

    def _first_dual_point(
        self, W: Array, b: Array | None, grad: tuple[Array, Array] | None, dual: Any
    ) -> tuple[Array, Array, Array | None, Array | None]:
        """V and r of the slopes or of `dual`, as stacks, and the b and dual that they belong to.

        With a free intercept a class without samples keeps its u at zero, which is where the slopes are
        once its intercept is low enough.
        """
        never = np.zeros((self.n_models or 1, self.n_outputs), dtype=bool)
        if b is not None and not self.binary and (grad is None or np.any(grad[1] > 0)):
            never = self._class_sums(W.dtype)[1] == 0
        if dual is not None:
            dual = self._dual(dual, W.dtype)
            if never.any():
                dual = np.where(never, 0, dual.reshape(-1, *never.shape)).astype(W.dtype)
                grad = None
            grad = self._adjoint(dual, W.dtype) if grad is None else grad
        elif grad is None or (never & (np.reshape(grad[1], never.shape) > 0)).any():
            if b is not None:
                b = np.where(never.reshape(b.shape), b.dtype.type(_NEVER), b)
            grad = self._evaluate(W, b, _NO_PENALTY, None, None, True)[1:]  # type: ignore[assignment]
        assert grad is not None
        V = np.reshape(grad[0], (-1, self.n_outputs, self.n_features))
        return V, np.reshape(grad[1], (-1, self.n_outputs)), b, dual

    def _dual(self, dual: Any, dtype: np.dtype[Any]) -> Array:
        models = () if self.n_models is None else (self.n_models,)
        shape = (self.n_samples, *models, self.n_outputs)
        dual = _as_array("dual", dual)
        if dual.shape != shape:
            raise ValueError(f"dual must have shape {shape}; got {dual.shape}")
        if dual.dtype.kind not in "fiub":
            raise TypeError(f"dual must hold real numbers; got dtype {dual.dtype}")
        return _packed(dual.astype(dtype, copy=False))

    def _adjoint(self, dual: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """(V, r) of dual points, moved into the loss's domain: sum w u x' / sum w and sum w u / sum w.

        `dual` has the shape that `dual_gap` wants, is C-contiguous and of this dtype.
        """
        V, r = np.empty(self.weight_shape, dtype), np.empty(self.intercept_shape, dtype)
        self._problem.adjoint(dual, V, r, self._n_threads, self._standardization)
        if not (np.isfinite(V).all() and np.isfinite(r).all()):
            raise ValueError("dual must be finite, and so must its products with X")
        return V, r

    def _class_sums(self, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Sums of w x / sum w over the samples of each class, and the weight shares of the classes; kept."""
        if self._of_models is not None:
            whole, models = self._of_models
            sums, shares = whole._class_sums(dtype)
            return sums[models], shares[models]
        if dtype not in self._class_sums_of:
            n_models = self.n_models or 1
            sums = np.empty((n_models, self.n_classes, self.n_features), dtype)
            shares = np.empty((n_models, self.n_classes), dtype)
            self._problem.adjoint(None, sums, shares, self._n_threads, self._standardization)
            self._class_sums_of[dtype] = sums, shares
        return self._class_sums_of[dtype]

    def _entropy(self, W: Array) -> Array:
        """Weighted mean of the entropies of soft targets, (n_models,): no data term is below it; kept."""
        n_models = self.n_models or 1
        if not (self._is_soft or self.label_smoothing):
            return np.zeros(n_models)
        if self._of_models is not None:
            whole, models = self._of_models
            entropy: Array = whole._entropy(np.zeros(whole.weight_shape, W.dtype))[models]
            return entropy
        if W.dtype not in self._entropy_of:
            # the conjugates at u = 0
            zero, conjugates = np.zeros((n_models, self.n_classes)), np.empty(n_models)
            self._problem.conjugate(
                np.zeros_like(W), None, None, np.zeros(n_models), zero, zero, conjugates, self._n_threads
            )
            self._entropy_of[W.dtype] = -conjugates
        return self._entropy_of[W.dtype]

    def _centred(self, W: Any, b: Any, grad_b: Array) -> Array:
        """Intercepts after a Newton step in them alone, for the smooth losses; `grad_b` belongs to W and b.

        A pass for the scores. What `dual_gap` does about a gradient in b that is not zero costs more than
        that gradient is worth: it adds to u_ij, however small they are. Close to the optimum a step like
        this one, of at most 1 in each intercept, can make the gap smaller by two orders of magnitude.
        """
        W, b = self._parameters(W, b)
        assert b is not None
        n_models, n_outputs = self.n_models or 1, self.n_outputs
        smooth = self.predict_proba if self.loss is Loss.CROSS_ENTROPY else self.scores
        curvature = np.zeros((n_models, n_outputs, n_outputs))
        n_rows = max(_CURVATURE_NUMBERS // (n_models * self.n_classes), 256)
        for first in range(0, self.n_samples, n_rows):
            rows = slice(first, first + n_rows)
            values = smooth(W, b, rows)
            values = values.reshape(len(values), n_models, -1)
            for m in range(n_models):
                weights = self._weights_of(m)
                w = None if weights is None else weights[rows]
                if w is None or w.any():
                    # that of cross_entropy is the same for all labels
                    labels = np.zeros(len(values), np.uint8) if self._is_soft else self._y[rows]
                    curvature[m] += intercept_curvature(
                        np.ascontiguousarray(values[:, m]),
                        labels,
                        w,
                        self.loss is Loss.CROSS_ENTROPY,
                        n_outputs,
                        self._n_threads,
                    )
        curvature /= self._problem.weight_sums[:, None, None]
        step = newton_step(curvature, grad_b.reshape(n_models, n_outputs))
        centred: Array = b - step.reshape(b.shape).astype(b.dtype)
        return centred

    def _stationarity(self, W: Any, b: Any = None, grad: tuple[Array, Array] | None = None) -> Any:
        """Norm of the least subgradient at W and b, relative to that of the data term's gradient at zero.

        All of W and b together: a float, or (n_models,) for a stack.
        It is zero at the optimum and nowhere else, save for the hinges: only one subgradient of those is
        known, so that theirs is an upper bound, which need not vanish. `grad` is the gradient of the data
        term alone. One pass without it, and one for all calls.
        """
        W, b = self._parameters(W, b)
        if grad is None:
            grad = self._evaluate(W, b, _NO_PENALTY, None, None, True)[1:]  # type: ignore[assignment]
        assert grad is not None
        shape = (-1, self.n_outputs, self.n_features)
        least = minimal_subgradient(np.reshape(grad[0], shape), np.reshape(W, shape), *self._triple)
        key = W.dtype, b is not None
        if key not in self._slope_at_zero:
            zero = np.zeros_like(W)
            if W.any() or (b is not None and b.any()):
                at_zero = self._evaluate(zero, zero[..., 0], _NO_PENALTY, None, None, True)[1:]
            else:
                at_zero = grad
            norms = self._norms(at_zero[0], at_zero[1] if b is not None else None)  # type: ignore[arg-type]
            self._slope_at_zero[key] = np.where(norms > 0, norms, 1)
        residual = self._norms(least, grad[1] if b is not None else None) / self._slope_at_zero[key]
        return float(residual[0]) if self.n_models is None else residual

    def _norms(self, grad_W: Array, grad_b: Array | None) -> Array:
        parts = [grad_W] if grad_b is None else [grad_W, grad_b]
        squares = (np.square(part, dtype=np.float64).reshape(self.n_models or 1, -1) for part in parts)
        norms: Array = np.sqrt(sum(part.sum(axis=1) for part in squares))
        return norms

    # ------------------------------------------------------------------ second derivatives

    def _column_moments(self) -> tuple[Array, Array]:
        """Return the weighted means and mean squares of the (standardised) features. One pass; kept."""
        if not self._moments:
            mean, deviation = self._problem.column_statistics(self._n_threads)
            center = 0.0 if self.mean is None else self.mean
            scale = 1.0 if self.scale is None else self.scale
            mean = (mean - center) / scale
            self._moments.extend((mean, mean**2 + (deviation / scale) ** 2))
        return self._moments[0], self._moments[1]

    def _dense_rows(self, rows: Array, dtype: npt.DTypeLike, out: Array | None = None) -> Array:
        """Those rows of X, standardised, as a dense array (n_rows, n_features): `out`, or a new one."""
        dense = np.empty((len(rows), self.n_features), dtype) if out is None else out
        # a part at a time, which is still in the cache when it is converted
        part = max(_DENSE_NUMBERS // self.n_features, 1)
        for first in range(0, len(rows), part):
            some, target = rows[first : first + part], dense[first : first + part]
            if isinstance(self._X, tuple):
                self._scatter(some, target)
            else:
                target[...] = self._X[some]
            if self.mean is not None and self.scale is not None:
                target -= self.mean.astype(dtype)
                target /= self.scale.astype(dtype)
        return dense

    def _scatter(self, rows: Array, out: Array) -> None:
        """Write rows of a CSR matrix into a dense array; numbers that are there twice add up."""
        data, indices, indptr, _ = self._X
        lengths = indptr[rows + 1] - indptr[rows]
        ends = np.cumsum(lengths)
        places = np.arange(ends[-1]) + np.repeat(indptr[rows] - (ends - lengths), lengths)
        out[...] = 0
        np.add.at(
            out, (np.repeat(np.arange(len(rows)), lengths), indices[places]), data[places].astype(out.dtype)
        )

    def _separates(self, W: Any, b: Any) -> bool:
        """Whether no loss bounds W: cross_entropy, and every sample's own score is the largest. One pass."""
        if self.loss is not Loss.CROSS_ENTROPY or self._is_soft or self.label_smoothing:
            return False
        right = self.predict(W, b) == self._y
        return bool(right.all() if self._weights is None else right[self._weights > 0].all())

    def _loss_curvature(self, W: Any, b: Any, rows: Array) -> tuple[Array, float]:
        """Second derivatives of the losses of those rows in their scores, (n_rows, n_outputs) in float64.

        They contain the sample weights, whose sum is the second thing returned. cross_entropy: p (1 - p);
        squared_hinge: 2 for each margin that is violated.
        """
        if self.loss is Loss.CROSS_ENTROPY:
            p = self.predict_proba(W, b, rows).astype(np.float64)
            h: Array = p * (1 - p)
            h = h[:, 1:] if self.binary else h
        elif self.loss is Loss.SQUARED_HINGE:
            s, y = self.scores(W, b, rows).astype(np.float64), self._y[rows]
            if self.binary:
                h = 2.0 * ((2.0 * y[:, None] - 1) * s < 1)
            else:
                own = (np.arange(len(y)), y)
                h = 2.0 * (s + 1 > s[own][:, None])
                h[own] = 0
                h[own] = h.sum(axis=1)
        else:
            raise ValueError(f"loss={self.loss.label!r} has no second derivative")
        if self._weights is None:
            return h, float(len(rows))
        weights = self._weights[rows].astype(np.float64)
        return h * weights[:, None], float(weights.sum())

    def _margin_curvature(self, W: Any, b: Any, rows: Array) -> Array:
        """Second derivatives of squared_hinge in two scores: (n_rows, n_outputs (n_outputs + 1) / 2).

        A violated margin of class j and label y has 2 (e_j - e_y) (e_j - e_y)'. With the sample weights; the
        pairs (c, d) with c >= d in the order of `numpy.tril_indices`.
        """
        s, y = self.scores(W, b, rows).astype(np.float64), self._y[rows]
        own = (np.arange(len(y)), y)
        violated = 2.0 * (s + 1 > s[own][:, None])
        violated[own] = 0
        label = np.zeros_like(violated)
        label[own] = 1
        diagonal = violated + label * violated.sum(axis=1, keepdims=True)
        curvature = np.empty((len(y), self.n_outputs * (self.n_outputs + 1) // 2))
        for p, (c, d) in enumerate(zip(*np.tril_indices(self.n_outputs), strict=True)):
            pair = diagonal[:, c] if c == d else -violated[:, c] * label[:, d] - violated[:, d] * label[:, c]
            curvature[:, p] = pair
        if self._weights is not None:
            curvature *= self._weights[rows].astype(np.float64)[:, None]
        return curvature

    # ------------------------------------------------------------------ stochastic steps

    def _stochastic_gradient(self, W: Array, b: Array | None, **settings: Any) -> _core.StochasticGradient:
        """The compiled loop of `regcore.solvers.sgd`, starting at W and b."""
        return _core.StochasticGradient(self._problem, W, b, self._triple, self._standardization, **settings)

    @property
    def _is_sparse(self) -> bool:
        return isinstance(self._X, tuple)

    def _dual_ascent(
        self, dtype: Any, standardization: tuple[Array | None, Array | None] | None, **settings: Any
    ) -> _core.DualAscent:
        """The compiled loop of `regcore.solvers.dual`, at dual variables of 0, with features of its own."""
        return _core.DualAscent(self._problem, dtype, self._triple, standardization, **settings)

    @property
    def _stored_numbers(self) -> int:
        """How many numbers of X are stored."""
        return int(self._X[2][-1]) if isinstance(self._X, tuple) else int(self._X.size)

    def _coordinate_descent(self, dtype: Any, *, intercept: bool) -> _core.CoordinateDescent:
        """The compiled loop of `regcore.solvers.newton_cd`, without columns yet."""
        return _core.CoordinateDescent(self._problem, dtype, self._standardization, intercept=intercept)

    @property
    def _mean_square(self) -> float | None:
        """Mean ||x||**2, nearly, of a CSR matrix without weights; None: the columns' statistics tell."""
        if not isinstance(self._X, tuple) or self._weights is not None or self._standardization is not None:
            return None
        values = self._X[0]
        return float(np.einsum("i,i->", values, values, dtype=np.float64)) / self.n_samples

    def _columns(self, features: Array) -> Array:
        """Some columns of X as they are, float64 of shape (n_samples, n)."""
        if not isinstance(self._X, tuple):
            dense: Array = self._X[:, features].astype(np.float64)
            return dense
        data, indices, indptr, _ = self._X
        place = np.full(self.n_features, -1)
        place[features] = np.arange(len(features))
        found = np.flatnonzero(place[indices] >= 0)
        columns = np.zeros((self.n_samples, len(features)))
        rows = np.searchsorted(indptr, found, side="right") - 1
        np.add.at(columns, (rows, place[indices[found]]), data[found])
        return columns

    def _column_statistics(self) -> tuple[Array, Array]:
        """(mean, standard deviation) of the columns of X as they are, weighted."""
        found: tuple[Array, Array] = self._problem.column_statistics(self._n_threads)
        return found

    def _curvature(self, seed: int, n_rows: int) -> tuple[float, float, float]:
        """(largest eigenvalue of mean x x', mean and largest ||x||**2) over at most n_rows random samples."""
        found: tuple[float, float, float] = self._problem.curvature(seed, n_rows, self._standardization)
        return found

    def _fingerprint(self) -> dict[str, Any]:
        """What tells this problem from another one at little cost: labels, weights, a sample of X."""
        rows = np.unique(np.linspace(0, self.n_samples - 1, _SAMPLED_ROWS).astype(np.int64))
        if isinstance(self._X, tuple):
            data, indices, indptr, _ = self._X
            kind, stored = "csr", int(indptr[-1])
            places = np.unique(np.linspace(0, max(stored - 1, 0), _SAMPLED_VALUES).astype(np.int64))[:stored]
            sample = [indptr[rows].astype(np.int64), indices[places].astype(np.int64), data[places]]
        else:
            kind, stored = "dense", self._X.size
            columns = np.unique(np.linspace(0, self.n_features - 1, _SAMPLED_VALUES).astype(np.int64))
            sample = [self._X[np.ix_(rows, columns)]]
        standardization = [] if self.mean is None or self.scale is None else [self.mean, self.scale]
        return {
            "n_classes": self.n_classes,
            "matrix": kind,
            "stored values": stored,
            "sample of X": _digest(*sample),
            "labels": _digest(self._y, dtype=np.float64 if self._is_soft else np.int64),
            "label_smoothing": self.label_smoothing,
            "sample_weight": None if self._weights is None else _digest(self._weights, dtype=np.float64),
            "standardize": _digest(*standardization) if standardization else None,
        }

    # ------------------------------------------------------------------ prediction

    def scores(self, W: Any, b: Any = None, rows: Rows = None) -> Array:
        """Return the scores W x + b: (n_rows, n_outputs), or (n_rows, n_models, n_outputs) for a stack."""
        W, b = self._parameters(W, b)
        rows = self._rows(rows)
        scores = np.empty((self._n_rows(rows), W.size // self.n_features), W.dtype)
        self._problem.predict(W, b, rows, scores, None, None, self._n_threads, self._standardization)
        return scores.reshape(len(scores), *W.shape[:-1])

    def predict_proba(self, W: Any, b: Any = None, rows: Rows = None) -> Array:
        """Return softmax probabilities: (n_rows, n_classes), or (n_rows, n_models, n_classes) for a stack."""
        W, b = self._parameters(W, b)
        rows = self._rows(rows)
        models = () if self.n_models is None else (self.n_models,)
        p = np.empty((self._n_rows(rows), (self.n_models or 1) * self.n_classes), W.dtype)
        self._problem.predict(W, b, rows, None, p, None, self._n_threads, self._standardization)
        return p.reshape(len(p), *models, self.n_classes)

    def predict(self, W: Any, b: Any = None, rows: Rows = None) -> Array:
        """Return the label of the largest score, the first of several: (n_rows,) or (n_rows, n_models)."""
        W, b = self._parameters(W, b)
        rows = self._rows(rows)
        labels = np.empty((self._n_rows(rows), self.n_models or 1), np.int64)
        self._problem.predict(W, b, rows, None, None, labels, self._n_threads, self._standardization)
        return labels[:, 0] if self.n_models is None else labels

    def _n_rows(self, rows: slice | Array | None) -> int:
        if rows is None:
            return self.n_samples
        return len(range(*rows.indices(self.n_samples))) if isinstance(rows, slice) else len(rows)


def loss_and_grad(
    X: Any,
    y: Any,
    W: Any,
    b: Any = None,
    *,
    loss: str | Loss = "cross_entropy",
    penalty: Penalty | None = None,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    out: tuple[Array, Array] | None = None,
    n_threads: int | None = None,
) -> ValueAndGrad:
    """Value and gradient of loss plus penalty at W and b, in one pass over X.

    Parameters
    ----------
    X : ndarray, array-like or CSR matrix of shape (n_samples, n_features)
    y : array-like of integers of shape (n_samples,), or soft targets as in `Objective`
    W : ndarray of shape (n_classes, n_features), (1, n_features) for the binary form, or a stack of models
        (n_models, n_classes, n_features); float32 or float64
    b : ndarray of shape (n_classes,) or (n_models, n_classes), default=None
    loss, penalty, sample_weight, label_smoothing, n_threads
        As in `Objective`.
    out : (grad_W, grad_b), default=None
        Where the gradient goes.

    Returns
    -------
    value, grad_W, grad_b : ValueAndGrad

    Raises
    ------
    TypeError, ValueError, OverflowError
        As `Objective` and its `value_and_grad`.
    """
    W = np.asarray(W)
    if W.ndim not in (2, 3):
        raise ValueError(
            f"W must have shape (n_classes, n_features) or (n_models, n_classes, n_features); got {W.shape}"
        )
    n_outputs, n_features = W.shape[-2:]
    objective = Objective(
        X,
        y,
        loss=loss,
        penalty=penalty,
        sample_weight=sample_weight,
        label_smoothing=label_smoothing,
        n_classes=max(2, n_outputs),
        binary=n_outputs == 1,
        n_models=len(W) if W.ndim == 3 else None,
        n_threads=n_threads,
    )
    if n_features != objective.n_features:
        raise ValueError(
            f"W must have one column a feature of X ({objective.n_features}); got shape {W.shape}"
        )
    return objective.value_and_grad(W, b, out=out)


# ---------------------------------------------------------------------- arguments


def _thread_count(n_threads: int | None) -> int:
    if n_threads is None:
        return 0
    if isinstance(n_threads, bool) or not isinstance(n_threads, (int, np.integer)) or n_threads < 1:
        raise ValueError(f"n_threads must be a positive integer or None; got {n_threads!r}")
    return min(int(n_threads), _MOST_THREADS)


def _integer(argument: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{argument} must be an integer; got {value!r}")
    return int(value)


def _packed(array: Array) -> Array:
    """The array itself if it is C-contiguous and aligned, otherwise a copy that is."""
    if array.flags.c_contiguous and array.flags.aligned:
        return array
    return array.copy(order="C")


def _digest(*arrays: Array, dtype: npt.DTypeLike | None = None) -> str:
    """Of the arrays' numbers in C order, as those of `dtype`."""
    import hashlib  # for checkpoints alone: not everybody's import should pay for it

    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        for first in range(0, len(array), _DIGEST_ROWS):
            digest.update(np.ascontiguousarray(array[first : first + _DIGEST_ROWS], dtype).data)
    return digest.hexdigest()


def _as_array(argument: str, value: Any) -> Array:
    try:
        return np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{argument} is no array: {error}") from None


def _matrix(X: Any) -> tuple[Any, tuple[int, int]]:
    """X as the core takes it (an array, or the parts of a CSR matrix), and its shape."""
    if hasattr(X, "indptr") and hasattr(X, "indices"):
        if getattr(X, "format", "csr") != "csr":
            raise TypeError(f"X must be dense or CSR; got {X.format!r} format (X.tocsr() converts)")
        return _csr_parts(X)
    if hasattr(X, "tocsr"):
        raise TypeError(f"X must be dense or CSR; got {type(X).__name__} (X.tocsr() converts)")
    X = _as_array("X", X)
    if X.ndim != 2:
        raise ValueError(f"X must have two dimensions (n_samples, n_features); got shape {X.shape}")
    return X, _not_empty(X.shape)


def _not_empty(shape: tuple[Any, ...]) -> tuple[int, int]:
    n_samples, n_features = shape
    if n_samples < 1 or n_features < 1:
        raise ValueError(f"X must have at least one sample and one feature; got shape {shape}")
    return n_samples, n_features


def _csr_parts(X: Any) -> tuple[Any, tuple[int, int]]:
    data, indices, indptr = (_packed(np.asarray(part)) for part in (X.data, X.indices, X.indptr))
    if not isinstance(X.shape, tuple) or len(X.shape) != 2:
        raise ValueError(f"X must have two dimensions (n_samples, n_features); got shape {X.shape}")
    n_samples, n_features = _not_empty(tuple(_integer("X.shape", n) for n in X.shape))
    for name, part in (("data", data), ("indices", indices), ("indptr", indptr)):
        if part.ndim != 1:
            raise ValueError(f"X.{name} must be one-dimensional; got shape {part.shape}")
    for name, part in (("indices", indices), ("indptr", indptr)):
        if part.dtype not in (np.int32, np.int64):
            raise TypeError(f"X.{name} must be int32 or int64; got {part.dtype}")
    if len(indptr) != n_samples + 1:
        raise ValueError(f"X.indptr must have n_samples + 1 = {n_samples + 1} entries; got {len(indptr)}")
    if len(data) != len(indices):
        raise ValueError(
            f"X.data and X.indices must have the same length; got {len(data)} and {len(indices)}"
        )
    if indptr.dtype != indices.dtype:
        indptr, indices = indptr.astype(np.int64), indices.astype(np.int64)
    return (data, indices, indptr, (n_samples, n_features)), (n_samples, n_features)


def _labels(values: Any, n_samples: int, loss: Loss, binary: bool) -> Array:
    y = _as_array("y", values)
    if y.ndim == 2 or (binary and y.dtype.kind == "f"):
        return _soft_targets(y, n_samples, loss)
    if y.shape != (n_samples,):
        raise ValueError(f"y must have shape ({n_samples},), one label a row of X; got {y.shape}")
    if y.dtype.kind == "b":
        y = y.view(np.uint8)
    if y.dtype.kind not in "iu":
        raise TypeError(f"y must hold integers 0 .. n_classes - 1; got dtype {y.dtype}")
    if not y.dtype.isnative:
        raise TypeError(f"y must hold integers in native byte order; got dtype {y.dtype}")
    return y


def _soft_targets(y: Array, n_samples: int, loss: Loss) -> Array:
    if loss is not Loss.CROSS_ENTROPY:
        raise ValueError(
            f"y must hold labels for loss={loss.label!r}; soft targets are for 'cross_entropy', got {y.ndim} "
            f"dimension(s) of {y.dtype}"
        )
    if y.ndim not in (1, 2) or len(y) != n_samples:
        raise ValueError(f"y must have {n_samples} rows, one a row of X; got shape {y.shape}")
    if y.dtype not in (np.float32, np.float64):
        raise TypeError(f"y must hold float32 or float64 if it has two dimensions; got dtype {y.dtype}")
    return y


def _columns(y: Array) -> int:
    if y.shape[1] < 2:
        raise ValueError(f"y must have a column for each of at least two classes; got shape {y.shape}")
    return int(y.shape[1])


def _label_smoothing(value: Any, loss: Loss) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"label_smoothing must be a real number; got {type(value).__name__}")
    if not 0 <= float(value) < 1:
        raise ValueError(f"label_smoothing must be in [0, 1); got {value}")
    if value and loss is not Loss.CROSS_ENTROPY:
        raise ValueError(f"label_smoothing is for loss='cross_entropy'; got loss={loss.label!r}")
    return float(value)


def _by_model(function: Callable[..., Any], W: Array, triples: Sequence[tuple[float, float, float]]) -> Array:
    """``function(W[m : m + 1], *triples[m])`` of all models, in one call if they have one penalty."""
    if len(set(triples)) == 1:
        return np.asarray(function(W, *triples[0]))
    return np.concatenate([function(W[m : m + 1], *triple) for m, triple in enumerate(triples)])


def _sample_weight(sample_weight: Any, n_samples: int) -> Array | None:
    if sample_weight is None:
        return None
    weights = _as_array("sample_weight", sample_weight)
    if weights.ndim not in (1, 2) or weights.shape[-1] != n_samples:
        raise ValueError(
            f"sample_weight must have shape ({n_samples},) or (n_models, {n_samples}); got {weights.shape}"
        )
    if weights.dtype.kind not in "fiub":
        raise TypeError(f"sample_weight must hold real numbers; got dtype {weights.dtype}")
    if weights.dtype not in (np.float32, np.float64) or not weights.flags.aligned:
        weights = weights.astype(np.float32 if weights.dtype == np.float32 else np.float64)
    return _in_range(weights)


def _in_range(weights: Array) -> Array:
    """Weights and a sum that float32 can hold: a common factor, a power of two, does not change the mean."""
    largest = weights.max(axis=-1, keepdims=True)
    outside = np.isfinite(largest) & (largest > 0) & ((largest < 2.0**-60) | (largest > 2.0**60))
    if not outside.any():
        return weights
    scaled: Array = np.ldexp(weights, np.where(outside, -np.frexp(largest)[1], 0))
    return scaled
