"""The scikit-learn face: estimators over the solvers, their files, and their pictures.

``classifier`` and ``search`` hold the estimators, ``prediction`` what a fitted one does with new data,
``data``, ``weights`` and ``repetition`` what they make of the arrays that they are given; ``model_files``
and ``onnx_export`` write models to files, ``displays`` draws. Besides the command, nothing else in regcore
imports scikit-learn. Each name is loaded, and scikit-learn with it, when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regcore.estimators.classifier import LinearClassifier as LinearClassifier
    from regcore.estimators.displays import CoefficientsDisplay as CoefficientsDisplay
    from regcore.estimators.displays import ConvergenceDisplay as ConvergenceDisplay
    from regcore.estimators.displays import PenaltyComparisonDisplay as PenaltyComparisonDisplay
    from regcore.estimators.displays import RegularizationPathDisplay as RegularizationPathDisplay
    from regcore.estimators.model_files import ModelFileError as ModelFileError
    from regcore.estimators.model_files import load_model as load_model
    from regcore.estimators.model_files import save_model as save_model
    from regcore.estimators.onnx_export import to_onnx as to_onnx
    from regcore.estimators.search import LinearClassifierCV as LinearClassifierCV

__all__ = [
    "CoefficientsDisplay",
    "ConvergenceDisplay",
    "LinearClassifier",
    "LinearClassifierCV",
    "ModelFileError",
    "PenaltyComparisonDisplay",
    "RegularizationPathDisplay",
    "load_model",
    "save_model",
    "to_onnx",
]

_HOMES = ("classifier", "search", "model_files", "onnx_export", "displays")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from sklearn.utils.validation import validate_data as _new_in_1_6  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'the estimators need scikit-learn 1.6 or newer: pip install "regcore[sklearn]"'
        ) from error
    homes = (importlib.import_module(f"{__name__}.{home}") for home in _HOMES)
    return next(getattr(home, name) for home in homes if name in home.__all__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
