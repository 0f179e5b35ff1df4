"""The objective: data, labels, weights and a penalty, checked once and evaluated in one pass by the core.

    value(W, b) = (1 / sum_i w_i) sum_i w_i loss(y_i, W x_i + b) + R(W)

Nothing of X is copied or converted: it may be C-ordered, F-ordered or strided; float64, float32, float16, an
integer type or bool; a CSR matrix; a memmap; read-only. The dtype of W, float32 or float64, is what is
computed in.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from regcore import _core
from regcore.arguments import (
    as_array,
    class_count,
    label_smoothing_share,
    labels_or_targets,
    model_count,
    packed,
    scaling_pair,
    selected_rows,
    thread_count,
    weights_of_samples,
)
from regcore.certificate import (
    best_bound,
    feasible_scale,
    intercept_shift,
    minimal_subgradient,
    no_shift,
    penalty_conjugate,
)
from regcore.losses import Loss, resolve_loss
from regcore.matrix import as_matrix
from regcore.penalties import Penalty
from regcore.row_space import RowSpace
from regcore.second_derivatives import intercept_curvature, loss_curvature, margin_curvature, newton_step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]
    Rows: TypeAlias = slice | npt.ArrayLike | None

__all__ = ["Objective", "ValueAndGrad", "loss_and_grad"]

_NO_PENALTY = (0.0, 0.0, 0.0)
_DIGEST_ROWS = 1 << 18  # that are converted at a time
_CURVATURE_NUMBERS = 1 << 20  # of probabilities or scores that are held at a time
_NEVER = -1e30  # an intercept that no score outweighs, and whose sum with one is finite in float32


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
        self._n_threads = thread_count(n_threads)
        self._matrix = as_matrix(X)
        self.n_samples, self.n_features = self._matrix.shape
        self._y = labels_or_targets(y, self.n_samples, self.loss, binary)
        self.label_smoothing = label_smoothing_share(label_smoothing, self.loss)
        self.n_classes = class_count(n_classes, self._y, binary)
        self.binary = binary
        self.n_outputs = 1 if binary else self.n_classes
        self._weights = weights_of_samples(sample_weight, self.n_samples)
        self.n_models = model_count(n_models, self._weights)
        self._problem = _core.Problem(
            self._matrix.parts,
            self._y,
            self._weights,
            int(self.loss),
            self.n_outputs,
            self.n_models or 1,
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
        else:
            mean, scale = scaling_pair(standardize, self.n_features)
        self.mean, self.scale = mean, scale

    # ------------------------------------------------------------------ shapes

    @property
    def data_dtype(self) -> np.dtype[Any]:
        """Type in which X is stored."""
        return self._matrix.dtype

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
            b = packed(b)
        return packed(W), b

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
            selected_rows(rows, self.n_samples),
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
        inputs = (*given, self._y, self._weights, self.mean, self.scale, *self._matrix.arrays)
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
        other = self._remade(
            self._matrix,
            sample_weight=sample_weight,
            penalty=penalty,
            standardize=self._standardization or False,
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
            self._row_spaces.append(RowSpace(self._matrix, self._standardization, self._n_threads))
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
        dual = as_array("dual", dual)
        if dual.shape != shape:
            raise ValueError(f"dual must have shape {shape}; got {dual.shape}")
        if dual.dtype.kind not in "fiub":
            raise TypeError(f"dual must hold real numbers; got dtype {dual.dtype}")
        return packed(dual.astype(dtype, copy=False))

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
        curvature = np.zeros((n_models, n_outputs, n_outputs))
        n_rows = max(_CURVATURE_NUMBERS // (n_models * self.n_classes), 256)
        for first in range(0, self.n_samples, n_rows):
            rows = slice(first, first + n_rows)
            values = self._curved_by(W, b, rows)
            values = values.reshape(len(values), n_models, -1)
            for m in range(n_models):
                weights = self._weights_of(m)
                w = None if weights is None else weights[rows]
                if w is None or w.any():
                    # that of cross_entropy is the same for all labels
                    labels = np.zeros(len(values), np.uint8) if self._is_soft else self._y[rows]
                    scores = np.ascontiguousarray(values[:, m])
                    curvature[m] += intercept_curvature(
                        self.loss, scores, labels, w, n_outputs, self._n_threads
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
        return self._matrix.rows(rows, dtype, self._standardization, out)

    @property
    def _has_different_labels(self) -> bool:
        return bool(self._y.min() != self._y.max())

    def _dense_part(self, rows: slice, features: Array, out: Array) -> Array:
        """Some features of some rows of a dense X, standardised: in out, or where they are."""
        part: Array = self._matrix.parts[rows]
        out = out[: len(part)]
        is_whole = len(features) == self.n_features
        is_packed = part.flags.c_contiguous and part.flags.aligned
        if is_whole and is_packed and part.dtype == out.dtype and self.mean is None:
            return part
        if is_whole:
            out[...] = part
        elif part.dtype == out.dtype:
            part.take(features, axis=1, out=out, mode="clip")
        else:
            out[...] = part.take(features, axis=1)
        if self.mean is not None and self.scale is not None:
            out -= self.mean[features].astype(out.dtype)
            out /= self.scale[features].astype(out.dtype)
        return out

    def _separates(self, W: Any, b: Any) -> bool:
        """Whether no loss bounds W: cross_entropy, and every sample's own score is the largest. One pass."""
        if self.loss is not Loss.CROSS_ENTROPY or self._is_soft or self.label_smoothing:
            return False
        right = self.predict(W, b) == self._y
        return bool(right.all() if self._weights is None else right[self._weights > 0].all())

    def _curved_by(self, W: Any, b: Any, rows: Rows) -> Array:
        """What the loss's curvature depends on: probabilities for cross_entropy, otherwise scores."""
        return (self.predict_proba if self.loss is Loss.CROSS_ENTROPY else self.scores)(W, b, rows)

    def _loss_curvature(self, W: Any, b: Any, rows: Array) -> tuple[Array, float]:
        """Second derivatives of the losses of those rows in their scores, (n_rows, n_outputs) in float64.

        They contain the sample weights, whose sum is the second thing returned.
        """
        weights = None if self._weights is None else self._weights[rows].astype(np.float64)
        values = self._curved_by(W, b, rows)
        h = loss_curvature(self.loss, values, self._y[rows], weights, binary=self.binary)
        return h, float(len(rows) if weights is None else weights.sum())

    def _margin_curvature(self, W: Any, b: Any, rows: Array) -> Array:
        """Second derivatives of squared_hinge in two scores of those rows, with the sample weights."""
        weights = None if self._weights is None else self._weights[rows].astype(np.float64)
        return margin_curvature(self.scores(W, b, rows), self._y[rows], weights)

    # ------------------------------------------------------------------ stochastic steps

    def _stochastic_gradient(self, W: Array, b: Array | None, **settings: Any) -> _core.StochasticGradient:
        """The compiled loop of `regcore.solvers.sgd`, starting at W and b."""
        return _core.StochasticGradient(self._problem, W, b, self._triple, self._standardization, **settings)

    @property
    def _is_sparse(self) -> bool:
        return self._matrix.is_sparse

    def _dual_ascent(
        self, dtype: Any, standardization: tuple[Array | None, Array | None] | None, **settings: Any
    ) -> _core.DualAscent:
        """The compiled loop of `regcore.solvers.dual`, at dual variables of 0, with features of its own."""
        return _core.DualAscent(self._problem, dtype, self._triple, standardization, **settings)

    @property
    def _stored_numbers(self) -> int:
        """How many numbers of X are stored."""
        return self._matrix.n_stored

    def _coordinate_descent(self, dtype: Any, *, intercept: bool) -> _core.CoordinateDescent:
        """The compiled loop of `regcore.solvers.newton_cd`, without columns yet."""
        return _core.CoordinateDescent(self._problem, dtype, self._standardization, intercept=intercept)

    @property
    def _mean_square(self) -> float | None:
        """Mean ||x||**2, nearly, of a CSR matrix without weights; None: the columns' statistics tell."""
        if self._weights is not None or self._standardization is not None:
            return None
        return self._matrix.mean_square()

    def _columns(self, features: Array) -> Array:
        """Some columns of X as they are, float64 of shape (n_samples, n)."""
        return self._matrix.columns(features)

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
        standardization = [] if self.mean is None or self.scale is None else [self.mean, self.scale]
        return {
            "n_classes": self.n_classes,
            "matrix": "csr" if self._matrix.is_sparse else "dense",
            "stored values": self._matrix.n_stored,
            "sample of X": _digest(*self._matrix.sample()),
            "labels": _digest(self._y, dtype=np.float64 if self._is_soft else np.int64),
            "label_smoothing": self.label_smoothing,
            "sample_weight": None if self._weights is None else _digest(self._weights, dtype=np.float64),
            "standardize": _digest(*standardization) if standardization else None,
        }

    # ------------------------------------------------------------------ prediction

    def scores(self, W: Any, b: Any = None, rows: Rows = None) -> Array:
        """Return the scores W x + b: (n_rows, n_outputs), or (n_rows, n_models, n_outputs) for a stack."""
        W, b = self._parameters(W, b)
        rows = selected_rows(rows, self.n_samples)
        scores = np.empty((self._n_rows(rows), W.size // self.n_features), W.dtype)
        self._problem.predict(W, b, rows, scores, None, None, self._n_threads, self._standardization)
        return scores.reshape(len(scores), *W.shape[:-1])

    def predict_proba(self, W: Any, b: Any = None, rows: Rows = None) -> Array:
        """Return softmax probabilities: (n_rows, n_classes), or (n_rows, n_models, n_classes) for a stack."""
        W, b = self._parameters(W, b)
        rows = selected_rows(rows, self.n_samples)
        models = () if self.n_models is None else (self.n_models,)
        p = np.empty((self._n_rows(rows), (self.n_models or 1) * self.n_classes), W.dtype)
        self._problem.predict(W, b, rows, None, p, None, self._n_threads, self._standardization)
        return p.reshape(len(p), *models, self.n_classes)

    def predict(self, W: Any, b: Any = None, rows: Rows = None) -> Array:
        """Return the label of the largest score, the first of several: (n_rows,) or (n_rows, n_models)."""
        W, b = self._parameters(W, b)
        rows = selected_rows(rows, self.n_samples)
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


def _digest(*arrays: Array, dtype: npt.DTypeLike | None = None) -> str:
    """Of the arrays' numbers in C order, as those of `dtype`."""
    import hashlib  # for checkpoints alone: not everybody's import should pay for it

    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        for first in range(0, len(array), _DIGEST_ROWS):
            digest.update(np.ascontiguousarray(array[first : first + _DIGEST_ROWS], dtype).data)
    return digest.hexdigest()


def _by_model(function: Callable[..., Any], W: Array, triples: Sequence[tuple[float, float, float]]) -> Array:
    """``function(W[m : m + 1], *triples[m])`` of all models, in one call if they have one penalty."""
    if len(set(triples)) == 1:
        return np.asarray(function(W, *triples[0]))
    return np.concatenate([function(W[m : m + 1], *triple) for m, triple in enumerate(triples)])
