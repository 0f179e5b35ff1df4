"""The tasks whose time to the optimum is measured: data, objective, and the factor that is asked for.

The strengths give models that somebody would use: accuracy on the test part of 20newsgroups is 0.85 with L2
and 1e-5, 0.83 with L1 and 1e-5, 0.86 with Crammer-Singer and 1e-4; that of six folds on golub 0.94 with L1
and 0.96 with ElasticNet, of some 25 and 95 features.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from real_data import training_part

import regcore

__all__ = ["TASKS", "Problem", "Task"]

QUICK_SAMPLES = 2000


@dataclass(frozen=True)
class Task:
    """A problem with an optimum.

    `scaling` says what is done to the features: "none", "pixels" (divided by 255) or "standardize".
    `asked` is how many times faster than the best peer we mean to be. `yardstick` names another loss of ours
    on the same data, for losses that no peer has.
    """

    file: str
    title: str
    alpha: float
    l1_ratio: float = 0.0
    asked: float | None = None
    loss: str = "cross_entropy"
    scaling: str = "none"
    binary: bool = False
    intercept: bool = True
    yardstick: str | None = None

    @property
    def penalty(self) -> regcore.Penalty:
        """scikit-learn's alpha and l1_ratio as a penalty."""
        if self.l1_ratio == 0:
            return regcore.L2(self.alpha / 2)
        if self.l1_ratio == 1:
            return regcore.L1(self.alpha)
        return regcore.ElasticNet.from_l1_ratio(self.alpha, self.l1_ratio)


FASHION = {"file": "fashion_mnist.npz", "scaling": "pixels", "alpha": 1e-4}
HISTOGRAMS = {"file": "dogs_vs_cats_hsv512.npz", "binary": True, "asked": 3}
NEWS = {"file": "20newsgroups.npz"}
GOLUB = {"file": "golub.npz", "binary": True, "scaling": "standardize", "alpha": 1e-2, "asked": 3}

TASKS = {
    "fashion-l2": Task(title="Fashion-MNIST, softmax, L2", asked=5, **FASHION),
    "fashion-elasticnet": Task(
        title="Fashion-MNIST, softmax, ElasticNet 0.5", l1_ratio=0.5, asked=20, **FASHION
    ),
    "fashion-l1": Task(title="Fashion-MNIST, softmax, L1", l1_ratio=1, asked=20, **FASHION),
    "covtype-l2": Task(
        "covtype.npz", "covtype standardised, softmax, L2", 1e-5, asked=10, scaling="standardize"
    ),
    "histograms-l2": Task(title="dog/cat histograms, logistic, L2", alpha=1e-5, **HISTOGRAMS),
    "histograms-l1": Task(title="dog/cat histograms, logistic, L1", alpha=1e-4, l1_ratio=1, **HISTOGRAMS),
    "histograms-l2-through-zero": Task(
        title="dog/cat histograms, logistic, L2, no intercept", alpha=1e-5, intercept=False, **HISTOGRAMS
    ),
    "histograms-l1-through-zero": Task(
        title="dog/cat histograms, logistic, L1, no intercept",
        alpha=1e-4,
        l1_ratio=1,
        intercept=False,
        **HISTOGRAMS,
    ),
    "news-l2": Task(title="20newsgroups, softmax, L2", alpha=1e-5, asked=5, **NEWS),
    "news-l1": Task(title="20newsgroups, softmax, L1", alpha=1e-5, l1_ratio=1, asked=5, **NEWS),
    "golub-l1": Task(title="golub, logistic, L1", l1_ratio=1, **GOLUB),
    "golub-l1-through-zero": Task(
        title="golub, logistic, L1, no intercept", l1_ratio=1, intercept=False, **GOLUB
    ),
    "golub-elasticnet": Task(title="golub, logistic, ElasticNet 0.5", l1_ratio=0.5, **GOLUB),
    "news-crammer-singer": Task(
        title="20newsgroups, Crammer-Singer, L2, no intercept",
        loss="crammer_singer",
        alpha=1e-4,
        intercept=False,
        asked=3,
        **NEWS,
    ),
    "fashion-crammer-singer": Task(
        title="Fashion-MNIST, Crammer-Singer, L2, no intercept",
        loss="crammer_singer",
        intercept=False,
        asked=3,
        **FASHION,
    ),
    "fashion-weston-watkins": Task(
        title="Fashion-MNIST, Weston-Watkins, L2", loss="hinge", yardstick="cross_entropy", **FASHION
    ),
}


class Problem:
    """A task with its data, as we take it and as the peers like it."""

    def __init__(self, name: str, quick: bool = False) -> None:
        self.name = name
        self.task = TASKS[name]
        X, y = training_part(self.task.file)
        if quick:  # the files are sorted by class
            every = max(1, len(y) // QUICK_SAMPLES)
            X, y = X[::every], y[::every]
            X = X if self.is_sparse(X) else np.ascontiguousarray(X)
        self.X, self.y = X, y
        self._prepared: dict[tuple[type, str], Any] = {}

    @staticmethod
    def is_sparse(X: Any) -> bool:
        """Whether X is a CSR matrix."""
        return hasattr(X, "indptr")

    @property
    def n_samples(self) -> int:
        """Rows of X."""
        return len(self.y)

    @property
    def n_features(self) -> int:
        """Columns of X."""
        return int(self.X.shape[1])

    @property
    def n_outputs(self) -> int:
        """Rows of W."""
        return 1 if self.task.binary else int(self.y.max()) + 1

    def definition(self) -> dict[str, Any]:
        """What the optimum depends on."""
        return asdict(self.task) | {"n_samples": self.n_samples, "n_features": self.n_features}

    def objective(self, loss: str | None = None) -> regcore.Objective:
        """Return our objective, over the data as it is stored."""
        pixels = (np.zeros(self.n_features), np.full(self.n_features, 255.0))
        return regcore.Objective(
            self.X,
            self.y,
            loss=loss or self.task.loss,
            penalty=self.task.penalty,
            binary=self.task.binary,
            standardize={"none": False, "pixels": pixels, "standardize": True}[self.task.scaling],
        )

    @cached_property
    def judge(self) -> regcore.Objective:
        """The objective that judges every point; called with float64 W and b."""
        return self.objective()

    def features(self, dtype: type, order: str = "C") -> Any:
        """Return the scaled features as a peer likes them; made once."""
        key = dtype, order
        if key not in self._prepared:
            if self.is_sparse(self.X):
                prepared = self.X.astype(dtype)
                self._prepared[key] = prepared.tocsc() if order == "F" else prepared
            else:
                X = self.X.astype(np.float64)
                if self.judge.mean is not None and self.judge.scale is not None:
                    X -= self.judge.mean
                    X /= self.judge.scale
                self._prepared[key] = np.asarray(X, dtype=dtype, order=order)
        return self._prepared[key]

    def value(self, W: Any, b: Any) -> float:
        """Return the objective of somebody's coefficients, in float64."""
        shape = self.n_outputs, self.n_features
        W = np.ascontiguousarray(W, dtype=np.float64).reshape(shape)
        if not self.task.intercept:
            return float(self.judge.value(W))
        return float(self.judge.value(W, np.asarray(b, dtype=np.float64).reshape(self.n_outputs)))
