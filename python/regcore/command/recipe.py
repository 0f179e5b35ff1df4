"""How a sample becomes a row of numbers: what a model has to remember to do it again.

A recipe is plain values, which JSON can hold, and arrays. It holds no code and no Python object, so that a
model file with a recipe in it can come from a stranger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Matrix: TypeAlias = "npt.NDArray[Any] | csr_array"
Kind: TypeAlias = Literal["numbers", "images", "texts", "table"]


@dataclass(frozen=True)
class Recipe:
    """How the samples of a data set became the rows of X.

    Attributes
    ----------
    kind : {"numbers", "images", "texts", "table"}
        The module that reads such data made it, and reads it again: `archives`, `images`, `texts`, `tables`.
    values : mapping
        Whatever that module needs, of types that JSON has.
    arrays : mapping of str to ndarray
        The same for what is too large or too exact for JSON.
    """

    kind: Kind
    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Samples:
    """What the rows of X were made from, for people to look at.

    Attributes
    ----------
    kind : {"image", "text", "row"}
    names : tuple of str
        One per row: a path, or the number of a row.
    excerpts : tuple of str
        Of "text" the beginning of each; otherwise empty.
    """

    kind: Literal["image", "text", "row"]
    names: tuple[str, ...]
    excerpts: tuple[str, ...] = ()

    def take(self, rows: Any) -> Samples:
        """The same for some of the rows, by a mask or by numbers."""
        import numpy as np

        chosen = np.arange(len(self.names))[rows].tolist()
        excerpts = tuple(self.excerpts[i] for i in chosen) if self.excerpts else ()
        return Samples(self.kind, tuple(self.names[i] for i in chosen), excerpts)


@dataclass(frozen=True)
class Rows:
    """Samples to predict.

    Attributes
    ----------
    X : ndarray or csr_array, shape (n_samples, n_features)
    samples : Samples
    labels : tuple of str or None
        The true classes, where the data tells them.
    notes : tuple of str
        What was decided on the way and the user should know.
    """

    X: Matrix
    samples: Samples
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
