"""Solvers: `fit`, what it returns, and one small module a solver.

``protocol`` says what a solver is, ``registry`` lists them and chooses, ``run`` drives them.
"""

from regcore.solvers.callbacks import EarlyStopping, Progress
from regcore.solvers.protocol import ObjectiveLike, Outcome, ProblemToSolve, Step
from regcore.solvers.registry import SOLVERS, Solver
from regcore.solvers.result import ConvergenceWarning, FitResult, FitState, HistoryEntry
from regcore.solvers.run import fit

__all__ = [
    "SOLVERS",
    "ConvergenceWarning",
    "EarlyStopping",
    "FitResult",
    "FitState",
    "HistoryEntry",
    "ObjectiveLike",
    "Outcome",
    "ProblemToSolve",
    "Progress",
    "Solver",
    "Step",
    "fit",
]
