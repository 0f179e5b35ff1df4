"""The outcome of ``regcore tune``: the winner, what to expect of it, for people and for machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .data import Dataset
from .errors import DataError, printable
from .models import Model
from .report import LOSS_NAMES, plain_text, title
from .scaling import apply_constant, choose_scaling, describe_power
from .search import (
    Candidate,
    Estimate,
    Fitted,
    Found,
    expected_accuracy,
    refit,
    scores,
    wilson,
)
from .splits import split

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
"""Number of the JSON layout; it changes when a key is renamed or removed."""


@dataclass(frozen=True)
class Tuned:
    """The winner of a search, trained on all samples.

    Attributes
    ----------
    found : Found
    candidate : Candidate
    fitted : Fitted
    expected : Estimate
        Its accuracy on new samples.
    held_out : Estimate or None
        Accuracy of the winner, trained without them, on samples that the search has not seen.
    n_held_out : int
    baseline : float
        Accuracy of always answering the most frequent class.
    """

    found: Found
    candidate: Candidate
    fitted: Fitted
    expected: Estimate
    held_out: Estimate | None
    n_held_out: int
    baseline: float

    def model(self, dataset: Dataset, version: str) -> Model:
        """The winner as a model that remembers where it comes from."""
        facts: Mapping[str, Any] = {
            "regcore": version,
            "data": dataset.name,
            "n_samples": len(dataset.y),
            "penalty": self.candidate.penalty,
            "power": self.found.settings.power,
            "alpha": self.candidate.alpha,
            "l1_ratio": self.candidate.l1_ratio,
            "expected_accuracy": asdict(self.expected),
            "held_out_accuracy": None if self.held_out is None else asdict(self.held_out),
        }
        return Model(self.fitted, dataset.classes, self.found.settings.loss, dataset.recipe, facts)


def take(dataset: Dataset, rows: npt.NDArray[np.intp]) -> Dataset:
    """Some rows of a data set."""
    samples = None if dataset.samples is None else dataset.samples.take(rows)
    return replace(dataset, X=dataset.X[rows], y=dataset.y[rows], samples=samples)


def hold_out(dataset: Dataset, share: float | None, seed: int) -> tuple[Dataset, npt.NDArray[np.intp] | None]:
    """The samples to search on, and the rows of those kept out of the search."""
    if share is None:
        return dataset, None
    try:
        kept, left_out = split(dataset.y, share, seed)
    except ValueError as error:
        raise DataError(
            dataset.name,
            f"--holdout {share:g} of {len(dataset.y)} samples leaves a part without some class",
        ) from error
    return take(dataset, kept), left_out


def finish(dataset: Dataset, kept: Dataset, left_out: npt.NDArray[np.intp] | None, found: Found) -> Tuned:
    """Judge the winner of a search and train it on all samples."""
    candidate = found.candidates[found.best]
    scaling = choose_scaling(dataset.X, found.settings.power)
    n_classes = len(dataset.classes)
    X = apply_constant(dataset.X, scaling)
    held_out = None
    if left_out is not None:
        known = refit(apply_constant(kept.X, scaling), kept.y, n_classes, scaling, candidate, found.settings)
        predicted = scores(X[left_out], known, n_classes, found.settings.n_threads).argmax(axis=1)
        held_out = wilson(int((predicted == dataset.y[left_out]).sum()), len(left_out))
    return Tuned(
        found,
        candidate,
        refit(X, dataset.y, n_classes, scaling, candidate, found.settings),
        expected_accuracy(found),
        held_out,
        0 if left_out is None else len(left_out),
        float(np.bincount(dataset.y).max() / len(dataset.y)),
    )


def _estimate(estimate: Estimate) -> str:
    return f"{100 * estimate.mean:.2f} % ({100 * estimate.low:.2f} to {100 * estimate.high:.2f} %)"


def winner(tuned: Tuned) -> str:
    """The winner in words."""
    power = tuned.found.settings.power
    return str(tuned.candidate) + ("" if power == 1 else f", on {describe_power(power)}")


def powers_in_words(found: Found) -> str:
    """Which power of the features won, and how the others did with the penalty that decided."""
    judge = found.others[0].settings.penalties[0]

    def best(one: Found) -> str:
        return f"{100 * max(one.accuracy[k] for k in one.of_penalty(judge)):.2f} %"

    rest = ", ".join(f"{describe_power(one.settings.power)}: {best(one)}" for one in found.others)
    return f"{describe_power(found.settings.power)} ({judge}: {best(found)}; {rest})"


def best_of(found: Found) -> list[int]:
    """The best candidate of each penalty."""
    return [
        max(found.of_penalty(penalty), key=lambda k: found.accuracy[k])
        for penalty in found.settings.penalties
    ]


def sentences(tuned: Tuned) -> list[tuple[str, str]]:
    """What was found, as lines of a key word and a text."""
    settings = tuned.found.settings
    found = tuned.found
    n_candidates = sum(len(one.candidates) for one in (found, *found.others))
    lines = [
        ("winner", winner(tuned)),
        ("to expect", f"accuracy {_estimate(tuned.expected)} on new samples, the choice among {n_candidates}"
         " candidates taken into account; interval at 95 %"),
        ("baseline", f"{100 * tuned.baseline:.2f} % by always answering the most frequent class"),
    ]  # fmt: skip
    if tuned.held_out is not None:
        lines.append(
            (
                "held out",
                f"accuracy {_estimate(tuned.held_out)} on {tuned.n_held_out:,} samples that the search has"
                " not seen",
            )
        )
    if found.others:
        lines.append(("features", powers_in_words(found)))
    lines.append(
        (
            "search",
            f"{settings.n_folds} folds, {LOSS_NAMES[settings.loss]}, seed {settings.seed},"
            f" {tuned.found.seconds:.1f} s",
        )
    )
    return lines


def print_table(console: Console, dataset: Dataset, tuned: Tuned, output: Path | None) -> None:
    """Print the best candidate of each penalty, the winner, and what to expect of it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    found = tuned.found
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("penalty", no_wrap=True)
    for heading in ("best strength", "accuracy in the folds", "weights\nnot zero"):
        table.add_column(heading, justify="right", no_wrap=True)
    for k in best_of(found):
        candidate, folds = found.candidates[k], found.by_fold[k]
        share = f"{100 * found.accuracy[k]:.2f} ± {100 * folds.std(ddof=1):.2f}"
        table.add_row(
            candidate.penalty,
            f"{candidate.alpha:.3g}",
            plain_text(console, share, "bold" if k == found.best else ""),
            f"{100 * found.n_nonzero[k] / found.n_weights:.1f} %",
        )
    console.print()
    console.print(Text.assemble((printable(dataset.name, console.encoding), "bold"), f"  {title(dataset)}"))
    console.print()
    console.print(table)
    console.print()
    grid = Table.grid(padding=(0, 2, 0, 0))
    for key, text in sentences(tuned):
        grid.add_row(plain_text(console, key, "dim"), plain_text(console, text))
    if output is not None:
        grid.add_row(plain_text(console, "model", "dim"), plain_text(console, str(output)))
    console.print(grid)


def _candidates(found: Found) -> list[dict[str, Any]]:
    accuracy, by_fold = found.accuracy, found.by_fold
    return [
        {
            **asdict(candidate),
            "power": found.settings.power,
            "accuracy": float(accuracy[k]),
            "per_fold": by_fold[k].tolist(),
            "nonzero_share": float(found.n_nonzero[k] / found.n_weights),
        }
        for k, candidate in enumerate(found.candidates)
    ]


def to_json(dataset: Dataset, tuned: Tuned, version: str) -> dict[str, Any]:
    """The same as plain dictionaries, lists, strings and finite numbers; shares are between 0 and 1."""
    found, settings = tuned.found, tuned.found.settings
    return {
        "schema": SCHEMA,
        "regcore": version,
        "data": {
            "name": dataset.name,
            "n_samples": int(dataset.X.shape[0]),
            "n_features": int(dataset.X.shape[1]),
            "classes": list(dataset.classes),
            "features": dataset.features,
        },
        "settings": {
            "loss": settings.loss,
            "power": settings.power,
            "n_folds": settings.n_folds,
            "seed": settings.seed,
            "tol": settings.tol,
        },
        "candidates": [candidate for one in (found, *found.others) for candidate in _candidates(one)],
        "winner": {**asdict(tuned.candidate), "power": settings.power},
        "expected_accuracy": asdict(tuned.expected),
        "held_out_accuracy": None if tuned.held_out is None else asdict(tuned.held_out),
        "n_held_out": tuned.n_held_out,
        "baseline_accuracy": tuned.baseline,
        "seconds": found.seconds,
        "notes": [*dataset.notes, *found.notes],
    }
