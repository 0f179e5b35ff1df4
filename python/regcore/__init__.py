"""regcore: regularised linear classifiers on a CPU, at the limit of the machine.

Loss and gradient in one pass over the data (`loss_and_grad`, `Objective`), penalties with their proximal maps
(`L1`, `L2`, `ElasticNet`, `GroupL1`), and the same mathematics in plain NumPy (`regcore.reference`).
"""

from __future__ import annotations

from regcore import reference
from regcore.losses import Loss
from regcore.objective import Objective, ValueAndGrad, loss_and_grad
from regcore.penalties import L1, L2, ElasticNet, GroupL1, Penalty

__version__ = "0.1.0"

__all__ = [
    "L1",
    "L2",
    "ElasticNet",
    "GroupL1",
    "Loss",
    "Objective",
    "Penalty",
    "ValueAndGrad",
    "loss_and_grad",
    "reference",
]
