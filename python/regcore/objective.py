"""The objective: data, labels, weights and a penalty, checked once and evaluated in one pass by the core.

    value(W, b) = (1 / sum_i w_i) sum_i w_i loss(y_i, W x_i + b) + R(W)

Nothing of X is copied or converted: it may be C-ordered, F-ordered or strided; float64, float32, float16, an
integer type or bool; a CSR matrix; a memmap; read-only. The dtype of W, float32 or float64, is what is
computed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from regcore import _core
from regcore.losses import Loss, resolve_loss
from regcore.penalties import Penalty

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]
    Rows: TypeAlias = slice | npt.ArrayLike | None

__all__ = ["Objective", "ValueAndGrad", "loss_and_grad"]

_NO_PENALTY = (0.0, 0.0, 0.0)
_MOST_CLASSES = 1 << 24  # a float32 counts so far
_MOST_THREADS = 1024  # an OpenMP runtime that cannot start a thread ends the process


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
    y : array-like of integers of shape (n_samples,)
        Labels 0 .. n_classes - 1.
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
    and above all the indices of a CSR matrix must not, since nothing checks them again.
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
        n_threads: int | None = None,
    ) -> None:
        self.loss = resolve_loss(loss, binary=binary)
        if penalty is not None and not isinstance(penalty, Penalty):
            raise TypeError(f"penalty must be a Penalty, such as L2(1e-3), or None; got {penalty!r}")
        self.penalty = penalty
        self._n_threads = _thread_count(n_threads)
        self._X, shape = _matrix(X)
        self.n_samples, self.n_features = shape
        self._y = _labels(y, self.n_samples)
        if n_classes is None:
            n_classes = max(2, int(self._y.max(initial=0)) + 1)
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
            self._X, self._y, self._weights, int(self.loss), self.n_outputs, n_models or 1
        )
        self.mean: Array | None = None
        self.scale: Array | None = None
        if standardize is not False:
            self._set_standardization(standardize)

    def _set_standardization(self, standardize: Any) -> None:
        if standardize is True:
            if self._weights is not None and self._weights.ndim == 2:
                raise ValueError("standardize=True needs weights shared by all models; give (mean, scale)")
            mean, scale = self._problem.column_statistics(self._n_threads)
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
        inputs = [*given, self._y, self._weights, self.mean, self.scale]
        inputs += self._X if isinstance(self._X, tuple) else (self._X,)
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
            if any(isinstance(i, np.ndarray) and np.may_share_memory(array, i) for i in inputs):
                raise ValueError(f"out: {name} must not overlap an input")
        if np.may_share_memory(grad_W, grad_b):
            raise ValueError("out: grad_W and grad_b must not overlap")
        return grad_W, grad_b

    @property
    def _triple(self) -> tuple[float, float, float]:
        return _NO_PENALTY if self.penalty is None else (self.penalty.l1, self.penalty.l2, self.penalty.group)

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

    def _column_statistics(self) -> tuple[Array, Array]:
        """(mean, standard deviation) of the columns of X as they are, weighted."""
        found: tuple[Array, Array] = self._problem.column_statistics(self._n_threads)
        return found

    def _curvature(self, seed: int, n_rows: int) -> tuple[float, float, float]:
        """(largest eigenvalue of mean x x', mean and largest ||x||**2) over at most n_rows random samples."""
        found: tuple[float, float, float] = self._problem.curvature(seed, n_rows, self._standardization)
        return found

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
    out: tuple[Array, Array] | None = None,
    n_threads: int | None = None,
) -> ValueAndGrad:
    """Value and gradient of loss plus penalty at W and b, in one pass over X.

    Parameters
    ----------
    X : ndarray, array-like or CSR matrix of shape (n_samples, n_features)
    y : array-like of integers of shape (n_samples,)
    W : ndarray of shape (n_classes, n_features), (1, n_features) for the binary form, or a stack of models
        (n_models, n_classes, n_features); float32 or float64
    b : ndarray of shape (n_classes,) or (n_models, n_classes), default=None
    loss, penalty, sample_weight, n_threads
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


def _labels(values: Any, n_samples: int) -> Array:
    y = _as_array("y", values)
    if y.shape != (n_samples,):
        raise ValueError(f"y must have shape ({n_samples},), one label a row of X; got {y.shape}")
    if y.dtype.kind == "b":
        y = y.view(np.uint8)
    if y.dtype.kind not in "iu":
        raise TypeError(f"y must hold integers 0 .. n_classes - 1; got dtype {y.dtype}")
    if not y.dtype.isnative:
        raise TypeError(f"y must hold integers in native byte order; got dtype {y.dtype}")
    return y


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
