"""regcore: regularised linear classifiers on a CPU, at the limit of the machine.

Loss and gradient in one pass over the data (`loss_and_grad`, `Objective`), penalties with their proximal maps
(`L1`, `L2`, `ElasticNet`, `GroupL1`), solvers (`fit`, with checkpoints, `EarlyStopping` and `Progress`),
`regularization_path`, and the same mathematics in plain NumPy (`regcore.reference`): all of that needs NumPy
alone. What scikit-learn's users need is loaded when first named: the estimators `LinearClassifier` and
`LinearClassifierCV`, their files (`save_model`, `load_model` and `to_onnx`), and their pictures
(`RegularizationPathDisplay` and so on).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from regcore import estimators
from regcore.losses import Loss
from regcore.objective import Objective, ValueAndGrad, loss_and_grad
from regcore.path import RegularizationPath, regularization_path
from regcore.penalties import L1, L2, ElasticNet, GroupL1, Penalty
from regcore.solvers import ConvergenceWarning, EarlyStopping, FitResult, Progress, fit
from regcore.sweeps import SweepResult, sweep
from regcore.weights import sample_weights

if TYPE_CHECKING:
    from regcore import reference as reference
    from regcore.estimators import *  # noqa: F403

__version__ = "0.1.0"

# The estimators' names are not here: "from regcore import *" must not need scikit-learn.
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
    "RegularizationPath",
    "SweepResult",
    "ValueAndGrad",
    "fit",
    "loss_and_grad",
    "reference",
    "regularization_path",
    "sample_weights",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name == "reference":  # for tests and yardsticks: not everybody's import should pay for it
        return importlib.import_module("regcore.reference")
    if name in estimators.__all__:
        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *estimators.__all__, "reference"})
