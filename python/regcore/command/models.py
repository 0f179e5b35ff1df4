"""Models as files: arrays and JSON in the safetensors format, nothing that runs when it is read.

A model remembers how its rows were made (`Recipe`), how they were scaled, and the names of its classes, so
that `regcore predict` needs nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import DataError, require
from .files import atomic_write
from .recipe import Matrix, Recipe
from .scaling import FittedScaling, Scaling, apply_constant
from .search import Fitted, scores

FORMAT = 1
"""Number of the layout of a model file."""

_KEY, _CHECKSUM = "regcore.command", "sha256"


@dataclass(frozen=True)
class Model:
    """A trained classifier from the samples on.

    Attributes
    ----------
    fitted : Fitted
        Weights (n_classes, n_features), or one row for two classes, intercepts, and the scaling.
    classes : tuple of str
    loss : str
    recipe : Recipe
    facts : mapping
        What else is known of it, in JSON's types: the penalty, the data, the expected accuracy.
    """

    fitted: Fitted
    classes: tuple[str, ...]
    loss: str
    recipe: Recipe
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def gives_probabilities(self) -> bool:
        """Whether the scores are logarithms of probabilities."""
        return self.loss == "cross_entropy"

    def scores(self, X: Matrix, n_threads: int | None = None) -> npt.NDArray[Any]:
        """Scores of rows as the recipe makes them, shape (n_samples, n_classes)."""
        return scores(
            apply_constant(X, self.fitted.scaling.scaling), self.fitted, len(self.classes), n_threads
        )


def softmax(scores: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Probabilities of scores, row by row."""
    shifted = scores.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=1, keepdims=True)
    return shifted


def _checksum(text: str, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def save(path: str | os.PathLike[str], model: Model) -> None:
    """Write a model; the file appears whole or not at all."""
    require("safetensors", purpose="model files")
    from safetensors.numpy import save as to_bytes

    arrays = {"coef": model.fitted.W, "intercept": model.fitted.b}
    scaling = model.fitted.scaling
    if scaling.mean is not None:
        arrays["mean"] = scaling.mean
    if scaling.scale is not None:
        arrays["scale"] = scaling.scale
    arrays |= {f"recipe.{name}": array for name, array in model.recipe.arrays.items()}
    values = {
        "format": FORMAT,
        "classes": list(model.classes),
        "loss": model.loss,
        "scaling": asdict(scaling.scaling),
        "recipe": {"kind": model.recipe.kind, "values": dict(model.recipe.values)},
        "facts": dict(model.facts),
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps(values, allow_nan=False)
    content = to_bytes(arrays, metadata={_KEY: text, _CHECKSUM: _checksum(text, arrays)})
    with atomic_write(path) as file:
        file.write(content)


def load(path: str) -> Model:
    """Read a model.

    Raises
    ------
    DataError
        There is none, it is damaged, or another version wrote it.
    """
    require("safetensors", purpose="model files")
    from safetensors import SafetensorError, safe_open

    try:
        with open(path, "rb"):  # says why it cannot be read
            pass
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        problem = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or error
        raise DataError(path, f"the model cannot be read ({problem})") from error
    except SafetensorError as error:
        raise DataError(path, f"not a model file, or damaged ({error})") from error
    if _KEY not in metadata:
        raise DataError(path, "a safetensors file, but not one that `regcore tune` wrote")
    try:
        values = json.loads(metadata[_KEY])
        if values["format"] != FORMAT:
            raise DataError(
                path, f"its layout has number {values['format']}; this version of regcore reads {FORMAT}"
            )
        model = _assemble(values, arrays)
        if metadata.get(_CHECKSUM) != _checksum(metadata[_KEY], arrays):
            raise DataError(path, "the model is damaged: its checksum is not that of its content")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(path, f"the model is damaged ({type(error).__name__}: {error})") from error
    _check(path, model)
    return model


def _assemble(values: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Model:
    recipe = Recipe(
        values["recipe"]["kind"],
        dict(values["recipe"]["values"]),
        {name.removeprefix("recipe."): array for name, array in arrays.items() if name.startswith("recipe.")},
    )
    scaling = FittedScaling(
        Scaling(
            values["scaling"]["kind"],
            float(values["scaling"]["divisor"]),
            float(values["scaling"]["power"]),
        ),
        arrays.get("mean"),
        arrays.get("scale"),
    )
    return Model(
        Fitted(arrays["coef"], arrays["intercept"], scaling),
        tuple(map(str, values["classes"])),
        str(values["loss"]),
        recipe,
        dict(values["facts"]),
    )


def _check(path: str, model: Model) -> None:
    """Refuse arrays that do not fit together: a checksum keeps off accidents, not malice."""
    W, b, n_classes = model.fitted.W, model.fitted.b, len(model.classes)
    n_rows = 1 if n_classes == 2 and len(W) == 1 else n_classes
    wrong = (
        W.ndim != 2
        or W.dtype not in (np.float32, np.float64)
        or b.dtype != W.dtype
        or len(W) != n_rows
        or b.shape != (n_rows,)
        or not (np.isfinite(W).all() and np.isfinite(b).all())
    )
    for figures in (model.fitted.scaling.mean, model.fitted.scaling.scale):
        wrong = wrong or (figures is not None and (W.ndim != 2 or figures.shape != W.shape[1:]))
    wrong = wrong or model.fitted.scaling.scaling.kind not in ("none", "divide", "standardise", "max_abs")
    wrong = wrong or model.recipe.kind not in ("numbers", "images", "texts", "table")
    if wrong:
        raise DataError(path, "the model is damaged: its arrays do not fit together")
