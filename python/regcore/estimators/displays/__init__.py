"""Pictures in the style of scikit-learn's displays: from_estimator computes, plot draws, the axes are kept.

Nothing is drawn, and matplotlib is not imported, before `plot`.
"""

from regcore.estimators.displays.coefficients import CoefficientsDisplay
from regcore.estimators.displays.convergence import ConvergenceDisplay
from regcore.estimators.displays.path import RegularizationPathDisplay
from regcore.estimators.displays.penalties import PenaltyComparisonDisplay

__all__ = [
    "CoefficientsDisplay",
    "ConvergenceDisplay",
    "PenaltyComparisonDisplay",
    "RegularizationPathDisplay",
]
