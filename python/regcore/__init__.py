"""regcore: regularised linear classifiers on a CPU, at the limit of the machine.

Loss and gradient in one pass over the data (`loss_and_grad`, `Objective`), penalties with their proximal maps
(`L1`, `L2`, `ElasticNet`, `GroupL1`), solvers (`fit`, with checkpoints, `EarlyStopping` and `Progress`), a
scikit-learn estimator over them (`LinearClassifier`, loaded when it is first named: it needs scikit-learn,
all else NumPy alone), and the same mathematics in plain NumPy (`regcore.reference`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regcore import reference
from regcore.losses import Loss
from regcore.objective import Objective, ValueAndGrad, loss_and_grad
from regcore.penalties import L1, L2, ElasticNet, GroupL1, Penalty
from regcore.solvers import ConvergenceWarning, EarlyStopping, FitResult, Progress, fit
from regcore.weights import sample_weights

if TYPE_CHECKING:
    from regcore.estimators import LinearClassifier as LinearClassifier

__version__ = "0.1.0"

# Not in __all__: "from regcore import *" must not need scikit-learn.
_LAZY = ("LinearClassifier",)

__all__ = [
    "L1",
    "L2",
    "ConvergenceWarning",
    "EarlyStopping",
    "ElasticNet",
    "FitResult",
    "GroupL1",
    "Loss",
    "Objective",
    "Penalty",
    "Progress",
    "ValueAndGrad",
    "fit",
    "loss_and_grad",
    "reference",
    "sample_weights",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from regcore import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
