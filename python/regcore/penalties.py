"""Penalties: what is added to the data term to keep the weights small, or zero.

A penalty is three numbers, and these are all that the solvers and the compiled core read of it:

    R(W) = l1 sum |W| + l2 sum W**2 + group sum_f ||W[:, f]||_2

with W of shape (n_classes, n_features), no half hidden anywhere, and the intercept never penalised. All of it
also takes a stack W of shape (n_models, n_classes, n_features), whose models are penalised one by one.

The form of scikit-learn, alpha (l1_ratio sum |W| + (1 - l1_ratio) / 2 sum W**2), is converted in this module
alone: by `from_estimator` and `ElasticNet.from_l1_ratio`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

from regcore import _core

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Weights: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float64]

__all__ = ["L1", "L2", "ElasticNet", "GroupL1", "Penalty", "from_estimator"]


class Penalty:
    """What all penalties share; not to be used by itself.

    Attributes
    ----------
    l1, l2, group : float
        Factors of sum |W|, of sum W**2 and of sum_f ||W[:, f]||_2.
    """

    __slots__: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for parameter in self.__slots__:
            object.__setattr__(self, parameter, _non_negative(parameter, getattr(self, parameter)))

    @property
    def l1(self) -> float:
        """Factor of sum |W|."""
        return 0.0

    @property
    def l2(self) -> float:
        """Factor of sum W**2 (not of half of it)."""
        return 0.0

    @property
    def group(self) -> float:
        """Factor of sum_f ||W[:, f]||_2."""
        return 0.0

    def value(self, W: Weights) -> Any:
        """Return R(W).

        Parameters
        ----------
        W : ndarray of shape (n_classes, n_features) or (n_models, n_classes, n_features)
            Weights, float32 or float64, at any strides.

        Returns
        -------
        value : float, or ndarray of float64 of shape (n_models,) for a stack
        """
        return _core.penalty_value(W, self.l1, self.l2, self.group)

    def gradient(self, W: Weights, out: Weights | None = None) -> Weights:
        """Return the gradient of R at W, with the slope 0 where R has a kink.

        Parameters
        ----------
        W : ndarray of shape (n_classes, n_features) or (n_models, n_classes, n_features)
            Weights, float32 or float64, at any strides.
        out : ndarray of the shape and dtype of `W`, default=None
            Where the result goes; `W` itself is allowed. None makes a new array.

        Returns
        -------
        gradient : ndarray of the shape and dtype of `W`
        """
        return _core.penalty_gradient(W, self.l1, self.l2, self.group, out)

    def prox(self, W: Weights, step: float, out: Weights | None = None) -> Weights:
        """Return the proximal step argmin_V 1/2 ||V - W||**2 + step R(V).

        Parameters
        ----------
        W : ndarray of shape (n_classes, n_features) or (n_models, n_classes, n_features)
            Weights, float32 or float64, at any strides.
        step : float
            Step length, finite and >= 0.
        out : ndarray of the shape and dtype of `W`, default=None
            Where the result goes; `W` itself is allowed. None makes a new array.

        Returns
        -------
        prox : ndarray of the shape and dtype of `W`
        """
        step = _non_negative("step", step)
        return _core.penalty_prox(W, step, self.l1, self.l2, self.group, out)


@dataclass(frozen=True, slots=True)
class L1(Penalty):
    """R(W) = strength * sum |W|; its minimisers have entries of exactly zero.

    prox(W, step) = argmin_V 1/2 ||V - W||**2 + step * strength * sum |V|
                  = sign(W) * max(0, |W| - step * strength), soft-thresholding.
    The gradient is strength * sign(W), 0 at 0.

    Parameters
    ----------
    strength : float
        Finite and >= 0.

    Raises
    ------
    TypeError, ValueError
        If `strength` is no real number, or negative, infinite or NaN.
    """

    strength: float

    @property
    def l1(self) -> float:
        """Factor of sum |W|: the strength."""
        return self.strength


@dataclass(frozen=True, slots=True)
class L2(Penalty):
    """R(W) = strength * sum W**2; it shrinks all weights and makes none zero.

    prox(W, step) = argmin_V 1/2 ||V - W||**2 + step * strength * sum V**2
                  = W / (1 + 2 * step * strength).
    The gradient is 2 * strength * W.

    Parameters
    ----------
    strength : float
        Finite and >= 0.

    Raises
    ------
    TypeError, ValueError
        If `strength` is no real number, or negative, infinite or NaN.
    """

    strength: float

    @property
    def l2(self) -> float:
        """Factor of sum W**2: the strength."""
        return self.strength


@dataclass(frozen=True, slots=True)
class ElasticNet(Penalty):
    """R(W) = strength * (beta * sum W**2 + sum |W|): the zeros of L1, the stability of L2.

    prox(W, step) = argmin_V 1/2 ||V - W||**2 + step * strength * (beta * sum V**2 + sum |V|)
                  = sign(W) * max(0, |W| - step * strength) / (1 + 2 * step * strength * beta).
    The gradient is strength * (2 * beta * W + sign(W)), with sign 0 at 0.

    Parameters
    ----------
    strength : float
        Finite and >= 0.
    beta : float
        Weight of sum W**2 against sum |W|; finite and >= 0.

    Raises
    ------
    TypeError, ValueError
        If `strength` or `beta` is no real number, or negative, infinite or NaN.

    References
    ----------
    Zou and Hastie, "Regularization and variable selection via the elastic net", Journal of the Royal
    Statistical Society B 67 (2005), equation 3 (with other names for the two factors).
    """

    strength: float
    beta: float

    def __post_init__(self) -> None:
        Penalty.__post_init__(self)
        _non_negative("strength * beta", self.l2)

    @classmethod
    def from_l1_ratio(cls, alpha: float, l1_ratio: float) -> ElasticNet:
        """Return alpha * (l1_ratio * sum |W| + (1 - l1_ratio) / 2 * sum W**2), the form of scikit-learn.

        Parameters
        ----------
        alpha : float
            Finite and >= 0.
        l1_ratio : float
            Share of the L1 part, in (0, 1]. At 0 no L1 part is left to weigh the other against: that penalty
            is ``L2(alpha / 2)``.

        Returns
        -------
        ElasticNet

        Raises
        ------
        TypeError, ValueError
            If an argument is no real number or out of its range.
        """
        l1, l2 = _from_l1_ratio(alpha, l1_ratio)
        ratio = float(l1_ratio)
        if ratio == 0:
            raise ValueError(f"l1_ratio must be in (0, 1]; got {l1_ratio!r}, which is L2({l2!r})")
        return cls(strength=l1, beta=(1.0 - ratio) / (2.0 * ratio))

    @property
    def l1(self) -> float:
        """Factor of sum |W|: the strength."""
        return self.strength

    @property
    def l2(self) -> float:
        """Factor of sum W**2: strength * beta."""
        return self.strength * self.beta


@dataclass(frozen=True, slots=True)
class GroupL1(Penalty):
    """R(W) = strength * sum_f ||W[:, f]||_2; a feature leaves all classes at once, or none.

    prox(W, step) = argmin_V 1/2 ||V - W||**2 + step * strength * sum_f ||V[:, f]||_2
                  = W[:, f] * max(0, 1 - step * strength / ||W[:, f]||_2) for every feature f.
    The gradient is strength * W[:, f] / ||W[:, f]||_2, 0 where the feature's weights are all zero.

    Parameters
    ----------
    strength : float
        Finite and >= 0.

    Raises
    ------
    TypeError, ValueError
        If `strength` is no real number, or negative, infinite or NaN.

    References
    ----------
    Yuan and Lin, "Model selection and estimation in regression with grouped variables", Journal of the Royal
    Statistical Society B 68 (2006).
    """

    strength: float

    @property
    def group(self) -> float:
        """Factor of sum_f ||W[:, f]||_2: the strength."""
        return self.strength


def from_estimator(penalty: str | None, alpha: float, l1_ratio: float = 0.15) -> Penalty | None:
    """Return the penalty that an estimator's parameters mean.

    ===============  ========================================================================
    penalty          R(W)
    ===============  ========================================================================
    "l1"             alpha * sum |W|
    "l2"             alpha / 2 * sum W**2
    "elasticnet"     alpha * (l1_ratio * sum |W| + (1 - l1_ratio) / 2 * sum W**2)
    "group_l1"       alpha * sum_f ||W[:, f]||_2
    None, "none"     0; `alpha` and `l1_ratio` are not read
    ===============  ========================================================================

    Parameters
    ----------
    penalty : str or None
        A name of the table.
    alpha : float
        Finite and >= 0.
    l1_ratio : float, default=0.15
        In [0, 1]; read by "elasticnet" alone.

    Returns
    -------
    Penalty or None
        None for no penalty.

    Raises
    ------
    TypeError, ValueError
        If no penalty has that name, or a number is no real number or out of its range.
    """
    if penalty is not None and not isinstance(penalty, str):
        raise TypeError(f"penalty must be None or one of {_NAMES}; got {type(penalty).__name__}")
    match penalty:
        case None | "none":
            return None
        case "l1":
            return L1(_from_l1_ratio(alpha, 1.0)[0])
        case "l2":
            return L2(_from_l1_ratio(alpha, 0.0)[1])
        case "elasticnet":
            return (
                ElasticNet.from_l1_ratio(alpha, l1_ratio)
                if l1_ratio
                else L2(_from_l1_ratio(alpha, l1_ratio)[1])
            )
        case "group_l1":
            return GroupL1(_non_negative("alpha", alpha))
        case _:
            raise ValueError(f"penalty must be None or one of {_NAMES}; got {penalty!r}")


_NAMES = '"l1", "l2", "elasticnet", "group_l1", "none"'


def _from_l1_ratio(alpha: float, l1_ratio: float) -> tuple[float, float]:
    """Return (l1, l2) of alpha * (l1_ratio * sum |W| + (1 - l1_ratio) / 2 * sum W**2)."""
    alpha = _non_negative("alpha", alpha)
    ratio = _non_negative("l1_ratio", l1_ratio)
    if ratio > 1:
        raise ValueError(f"l1_ratio must be in [0, 1]; got {l1_ratio!r}")
    return alpha * ratio, alpha * (1.0 - ratio) / 2.0


def _non_negative(argument: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{argument} must be a real number, finite and >= 0; got {type(value).__name__}")
    number = float(value)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{argument} must be finite and >= 0; got {value!r}")
    return number
