"""The scikit-learn face: estimators over the solvers, their files, and their pictures.

``classifier`` and ``search`` hold the estimators, ``prediction`` what a fitted one does with new data,
``data`` and ``weights`` what they make of the arrays that they are given; ``model_files`` and ``onnx_export``
write models to files, ``displays`` draws. Besides the command, nothing else in regcore imports scikit-learn.
"""

from __future__ import annotations

try:
    from sklearn.utils.validation import validate_data as _needs_scikit_learn_1_6  # noqa: F401
except ImportError as error:
    raise ImportError(
        'the estimators need scikit-learn 1.6 or newer: pip install "regcore[sklearn]"'
    ) from error

from regcore.estimators.classifier import LinearClassifier
from regcore.estimators.displays import (
    CoefficientsDisplay,
    ConvergenceDisplay,
    PenaltyComparisonDisplay,
    RegularizationPathDisplay,
)
from regcore.estimators.model_files import ModelFileError, load_model, save_model
from regcore.estimators.onnx_export import to_onnx
from regcore.estimators.search import LinearClassifierCV

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
